// SPDX-License-Identifier: MIT
//
// ptfs: look into an image and change it, without mounting it. Commands that only look work on a
// private copy, so they change nothing even where the image needs recovery.
#define _GNU_SOURCE // asprintf
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/ptfs/tool.h"

struct command {
	const char *name, *args, *help;
	int (*run)(int argc, char **argv); // argv[0]: the image
	int min, max;                      // arguments, the image included
};

// ---- Looking ----

static void mode_text(u32 mode, char *out)
{
	static const char types[] = "?pc?d?b?-?l?s???";
	static const char rwx[] = "rwxrwxrwx";

	out[0] = types[(mode & PTFS_S_IFMT) >> 12];
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode >> (8 - i) & 1 ? rwx[i] : '-';
	if (mode & 04000)
		out[3] = out[3] == 'x' ? 's' : 'S';
	if (mode & 02000)
		out[6] = out[6] == 'x' ? 's' : 'S';
	if (mode & 01000)
		out[9] = out[9] == 'x' ? 't' : 'T';
	out[10] = 0;
}

static void line(struct ptfs_inode *ip, const char *name, size_t len)
{
	struct ptfs_attr a;
	char mode[11], date[32], target[4096];
	time_t t;
	struct tm tm;
	ssize n;

	ptfs_getattr(ip, &a);
	mode_text(a.mode, mode);
	t = (time_t)(a.mtime_ns / 1000000000ull);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M", gmtime_r(&t, &tm));
	printf("%s %3u %5u %5u %12llu %s %.*s", mode, a.nlink, a.uid, a.gid,
	       (unsigned long long)a.size, date, (int)len, name);
	n = (a.mode & PTFS_S_IFMT) == PTFS_S_IFLNK ? ptfs_readlink(ip, target, sizeof(target)) : -1;
	if (n >= 0)
		printf(" -> %.*s", (int)n, target);
	printf("\n");
}

struct listing {
	struct ptfs_fs *fs;
	bool all_of_it, recurse, tree;
	const char *path;
	int depth, errors;
};

static void list_dir(struct listing *l, struct ptfs_inode *dir, const char *path);

static void list_one(struct listing *l, struct ptfs_inode *ip, const char *name, size_t len)
{
	if (l->tree)
		printf("%*s%.*s%s\n", 2 * l->depth, "", (int)len, name,
		       (ip->mode & PTFS_S_IFMT) == PTFS_S_IFDIR ? "/" : "");
	else if (l->all_of_it)
		line(ip, name, len);
	else
		printf("%.*s\n", (int)len, name);
}

static bool list_entry_emit(void *ctx, const char *name, size_t len, u64 ino, unsigned type,
			    u64 next)
{
	struct listing *l = ctx;
	struct ptfs_inode *ip;
	int err;

	(void)type;
	(void)next;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return true;
	err = ptfs_iget(l->fs, ino, &ip);
	if (err) {
		fprintf(stderr, "%.*s: %s\n", (int)len, name, strerror(-err));
		l->errors++;
		return true;
	}
	list_one(l, ip, name, len);
	if (l->tree) {
		l->depth++;
		list_dir(l, ip, "");
		l->depth--;
	}
	ptfs_iput(ip);
	return true;
}

// For ls -R: the directories of one, after its listing.
static bool list_below_emit(void *ctx, const char *name, size_t len, u64 ino, unsigned type,
			    u64 next)
{
	struct listing *l = ctx;
	const char *path = l->path;
	struct ptfs_inode *ip;
	char *below;

	(void)next;
	if (type != PTFS_S_IFDIR >> 12 ||
	    (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))))
		return true;
	if (ptfs_iget(l->fs, ino, &ip))
		return true;
	if (asprintf(&below, "%s%s%.*s", path, strcmp(path, "/") != 0 ? "/" : "", (int)len, name) <
	    0)
		tool_fail("memory", ENOMEM);
	printf("\n%s:\n", below);
	list_dir(l, ip, below);
	l->path = path;
	free(below);
	ptfs_iput(ip);
	return true;
}

static void list_dir(struct listing *l, struct ptfs_inode *dir, const char *path)
{
	u64 pos = 0;
	int err;

	if ((dir->mode & PTFS_S_IFMT) != PTFS_S_IFDIR)
		return;
	err = ptfs_readdir(dir, &pos, list_entry_emit, l);
	if (err) {
		fprintf(stderr, "inode %llu: %s\n", (unsigned long long)dir->ino, strerror(-err));
		l->errors++;
	}
	l->path = path;
	pos = 0;
	if (l->recurse && !l->tree && ptfs_readdir(dir, &pos, list_below_emit, l))
		l->errors++;
}

static int list(char **argv, struct listing *l, const char *path)
{
	struct ptfs_inode *ip;
	struct tool t;

	tool_open(&t, argv[0], HOST_PRIVATE);
	l->fs = t.fs;
	ip = tool_get(t.fs, path);
	if ((ip->mode & PTFS_S_IFMT) == PTFS_S_IFDIR)
		list_dir(l, ip, path);
	else
		list_one(l, ip, path, strlen(path));
	ptfs_iput(ip);
	tool_close(&t);
	return l->errors ? 1 : 0;
}

static int cmd_ls(int argc, char **argv)
{
	struct listing l = { 0 };
	const char *path = "/";

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-') {
			path = argv[i];
			continue;
		}
		l.all_of_it |= strchr(argv[i], 'l') != NULL;
		l.recurse |= strchr(argv[i], 'R') != NULL;
	}
	return list(argv, &l, path);
}

static int cmd_tree(int argc, char **argv)
{
	struct listing l = { .tree = true };

	return list(argv, &l, argc > 1 ? argv[1] : "/");
}

static int cmd_cat(int argc, char **argv)
{
	struct tool t;

	tool_open(&t, argv[0], HOST_PRIVATE);
	for (int i = 1; i < argc; i++) {
		struct ptfs_inode *ip = tool_get(t.fs, argv[i]);
		int err = tool_copy_out(ip, STDOUT_FILENO);

		if (err)
			tool_fail(argv[i], err);
		ptfs_iput(ip);
	}
	tool_close(&t);
	return 0;
}

static void print_map(struct ptfs_inode *ip)
{
	struct ptfs_map map;

	if (ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u) < 0 || ptfs_map_table(ip, &map) < 0) {
		printf("map:        refused\n");
		return;
	}
	switch (map.kind) {
	case PTFS_MAP_DIRECT: printf("map:        direct entries\n"); break;
	case PTFS_MAP_ROOT:
		printf("map:        root of level %d: %s at %#llx\n", map.level,
		       pte_is_leaf(map.entry, map.level) ? "2 MiB leaf" : "table page",
		       (unsigned long long)pte_addr(map.entry).pa);
		break;
	case PTFS_MAP_NONE: printf("map:        not ready\n"); break;
	}
}

static int cmd_stat(int argc, char **argv)
{
	struct ptfs_inode *ip;
	struct ptfs_attr a;
	char mode[11];
	struct tool t;

	(void)argc;
	tool_open(&t, argv[0], HOST_PRIVATE);
	ip = tool_get(t.fs, argv[1]);
	ptfs_getattr(ip, &a);
	mode_text(a.mode, mode);
	printf("inode:      %llu (at offset %#llx), generation %llu\n", (unsigned long long)a.ino,
	       (unsigned long long)ip->media_off, (unsigned long long)a.generation);
	printf("mode:       %06o %s\nlinks:      %u\nowner:      %u:%u\n", a.mode, mode, a.nlink,
	       a.uid, a.gid);
	printf("size:       %llu\nblocks:     %llu of 4 KiB\n", (unsigned long long)a.size,
	       (unsigned long long)a.blocks);
	printf("flags:      %s\n", a.flags & PTFS_INODE_PREALLOC ? "prealloc" : "none");
	printf("modified:   %llu.%09llu\n", (unsigned long long)(a.mtime_ns / 1000000000ull),
	       (unsigned long long)(a.mtime_ns % 1000000000ull));
	if (ip->leaf_type)
		print_map(ip);
	ptfs_iput(ip);
	tool_close(&t);
	return 0;
}

static int cmd_df(int argc, char **argv)
{
	static const char *const types[PTFS_CHUNK_TYPES] = { "free", "meta", "inode", "table",
							     "data" };
	struct ptfs_statfs s;
	struct tool t;

	(void)argc;
	tool_open(&t, argv[0], HOST_PRIVATE);
	ptfs_statfs(t.fs, &s);
	printf("size %llu KiB, usable for data %llu KiB, %llu inodes\n",
	       (unsigned long long)s.blocks * 4, (unsigned long long)s.blocks_free * 4,
	       (unsigned long long)s.inodes);
	for (unsigned i = 0; i < PTFS_CHUNK_TYPES; i++)
		printf("%-6s %6llu chunks, %8llu blocks in use\n", types[i],
		       (unsigned long long)s.chunks[i], (unsigned long long)s.used[i]);
	tool_close(&t);
	return 0;
}

static void report(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	printf("inode %llu: %s: %llu, %llu\n", (unsigned long long)ino, what, (unsigned long long)a,
	       (unsigned long long)b);
}

static int cmd_check(int argc, char **argv)
{
	struct ptfs_check_result r;
	struct host_image image;
	int err;

	(void)argc;
	if (host_image_open(&image, argv[0], HOST_PRIVATE))
		return 1;
	err = ptfs_check(&image.region, report, NULL, &r);
	if (err)
		tool_fail(argv[0], err);
	printf("%s: %s, %llu inodes, %llu directories, %llu table pages, %llu data blocks; "
	       "%llu errors, %llu blocks leaked\n",
	       argv[0], r.was_clean ? "clean" : "needs recovery (done in memory)",
	       (unsigned long long)r.inodes, (unsigned long long)r.directories,
	       (unsigned long long)r.tables, (unsigned long long)r.used[PTFS_CHUNK_DATA],
	       (unsigned long long)r.errors, (unsigned long long)r.leaked);
	if (r.bad)
		printf("%s: %llu blocks are in the list of those that have failed\n", argv[0],
		       (unsigned long long)r.bad);
	host_image_close(&image);
	return r.errors ? 1 : 0;
}

// ---- Changing ----

static struct ptfs_inode *make(struct ptfs_fs *fs, const char *path, u32 mode)
{
	struct ptfs_create_args a = { .mode = mode };
	struct ptfs_inode *dir, *ip;
	const char *name;
	size_t len;
	int err = tool_resolve_parent(fs, path, &dir, &name, &len);

	if (err)
		tool_fail(path, err);
	err = ptfs_create(dir, name, len, &a, &ip);
	if (err == -EEXIST && (mode & PTFS_S_IFMT) == PTFS_S_IFREG)
		err = ptfs_lookup(dir, name, len, &ip);
	if (err)
		tool_fail(path, err);
	ptfs_iput(dir);
	return ip;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

// To a directory that is there: into it, under the old name.
static void copy_in(struct tool *t, const char *from, const char *to)
{
	struct ptfs_inode *dir;
	const char *name = base_name(from);
	char *as;
	size_t len = strlen(name);
	int err = tool_resolve(t->fs, to, &dir);

	if (!err && (dir->mode & PTFS_S_IFMT) != PTFS_S_IFDIR) {
		ptfs_iput(dir);
		err = -ENOENT;
	}
	if (err == -ENOENT)
		err = tool_resolve_parent(t->fs, to, &dir, &name, &len);
	if (err)
		tool_fail(to, err);
	as = strndup(name, len);
	while (len && as[len - 1] == '/')
		as[--len] = 0;
	tool_path_in(t->fs, dir, as, from);
	free(as);
	ptfs_iput(dir);
}

static void copy_out(struct tool *t, const char *from, const char *to)
{
	struct ptfs_inode *ip = tool_get(t->fs, from);
	struct stat st;
	char *path = NULL;

	if (!stat(to, &st) && S_ISDIR(st.st_mode) && base_name(from)[0] != '/' && from[0] &&
	    asprintf(&path, "%s/%s", to, base_name(from)) < 0)
		tool_fail("memory", ENOMEM);
	tool_path_out(ip, path ? path : to);
	free(path);
	ptfs_iput(ip);
}

static int cmd_cp(int argc, char **argv)
{
	const char *to = argv[argc - 1];
	bool in = to[0] == ':';
	struct tool t;

	for (int i = 1; i < argc - 1; i++) {
		if (in != (argv[i][0] == ':'))
			continue;
		fprintf(stderr,
			"paths in the image begin with ':', either the last or all others\n");
		return 2;
	}
	tool_open(&t, argv[0], in ? HOST_SHARED : HOST_PRIVATE);
	for (int i = 1; i < argc - 1; i++) {
		if (in)
			copy_in(&t, argv[i], to + 1);
		else
			copy_out(&t, argv[i] + 1, to);
	}
	tool_close(&t);
	return 0;
}

static int cmd_mkdir(int argc, char **argv)
{
	struct tool t;

	(void)argc;
	tool_open(&t, argv[0], HOST_SHARED);
	ptfs_iput(make(t.fs, argv[1], PTFS_S_IFDIR | 0755));
	tool_close(&t);
	return 0;
}

static int cmd_rm(int argc, char **argv)
{
	struct ptfs_inode *dir;
	const char *name;
	size_t len;
	struct tool t;
	int err;

	(void)argc;
	tool_open(&t, argv[0], HOST_SHARED);
	err = tool_resolve_parent(t.fs, argv[1], &dir, &name, &len);
	if (!err) {
		err = ptfs_unlink(dir, name, len);
		if (err == -EISDIR)
			err = ptfs_rmdir(dir, name, len);
		ptfs_iput(dir);
	}
	if (err)
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
	tool_close(&t);
	return err ? 1 : 0;
}

static int cmd_fallocate(int argc, char **argv)
{
	struct ptfs_inode *ip;
	struct tool t;
	int err;

	(void)argc;
	tool_open(&t, argv[0], HOST_SHARED);
	ip = make(t.fs, argv[1], PTFS_S_IFREG | 0644);
	err = ptfs_fallocate(ip, 0, tool_number(argv[2]), false);
	if (err)
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
	ptfs_iput(ip);
	tool_close(&t);
	return err ? 1 : 0;
}

static int cmd_truncate(int argc, char **argv)
{
	struct ptfs_inode *ip;
	struct tool t;
	int err;

	(void)argc;
	tool_open(&t, argv[0], HOST_SHARED);
	ip = make(t.fs, argv[1], PTFS_S_IFREG | 0644);
	err = ptfs_truncate(ip, tool_number(argv[2]));
	if (err)
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
	ptfs_iput(ip);
	tool_close(&t);
	return err ? 1 : 0;
}

static const struct command commands[] = {
	{ "ls", "[-l] [-R] [PATH]", "list a directory", cmd_ls, 1, 4 },
	{ "tree", "[PATH]", "list everything below", cmd_tree, 1, 2 },
	{ "cat", "PATH...", "print files", cmd_cat, 2, 64 },
	{ "stat", "PATH", "what an inode says, and how it is mapped", cmd_stat, 2, 2 },
	{ "df", "", "space by type of chunk", cmd_df, 1, 1 },
	{ "check", "", "check all invariants; status 1 if one is broken", cmd_check, 1, 1 },
	{ "cp", ":PATH... TO | FILE... :TO", "copy files and trees out of the image or into it",
	  cmd_cp, 3, 64 },
	{ "show", "[--dot | --svg] PATH", "a file's tables as text, or as a picture (graphviz)",
	  tool_show, 2, 3 },
	{ "mkdir", "PATH", "make a directory", cmd_mkdir, 2, 2 },
	{ "rm", "PATH", "remove a file or an empty directory", cmd_rm, 2, 2 },
	{ "fallocate", "PATH SIZE", "give a file blocks of zeros", cmd_fallocate, 3, 3 },
	{ "truncate", "PATH SIZE", "set a file's size", cmd_truncate, 3, 3 },
	{ "peek", "PATH [BLOCK]", "entries on the way to a block", tool_peek, 2, 3 },
	{ "poke", "PATH BLOCK LEVEL CHANGE...", "damage one of them (see docs/ptfs.md)", tool_poke,
	  5, 64 },
	{ "unclean", "", "clear the clean mark, as a crash does", tool_unclean, 1, 1 },
};

static int usage(void)
{
	fprintf(stderr, "usage: ptfs COMMAND IMAGE [ARGUMENTS]\n");
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(stderr, "  %-10s %-28s %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	return 2;
}

int main(int argc, char **argv)
{
	host_clock_from_environment();
	for (unsigned i = 0; argc > 2 && i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (!strcmp(argv[1], c->name) && argc - 2 >= c->min && argc - 2 <= c->max)
			return c->run(argc - 2, argv + 2);
	}
	return usage();
}
