// SPDX-License-Identifier: MIT
//
// What: whole trees into an image and out of it: modes, owners, times, symlinks, names of one file,
// holes, special files.
// Not here: the bytes of one file (tool.c).
#define _GNU_SOURCE // asprintf
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "user/ptfs/tool.h"

// Files with several names: what they became.
struct seen {
	u64 dev, from; // where it comes from
	u64 ino;       // in
	char *path;    // out
	struct seen *next;
};

struct copy {
	struct ptfs_fs *fs;
	bool root_owner;
	struct seen *seen;
};

static struct seen *seen_find(struct copy *c, u64 dev, u64 from)
{
	struct seen *s = c->seen;

	while (s && (s->dev != dev || s->from != from))
		s = s->next;
	return s;
}

static void seen_add(struct copy *c, u64 dev, u64 from, u64 ino, const char *path)
{
	struct seen *s = malloc(sizeof(*s));

	if (!s)
		tool_fail("memory", ENOMEM);
	*s = (struct seen){ dev, from, ino, path ? strdup(path) : NULL, c->seen };
	c->seen = s;
}

static void seen_free(struct copy *c)
{
	while (c->seen) {
		struct seen *s = c->seen;

		c->seen = s->next;
		free(s->path);
		free(s);
	}
}

// ---- In ----

static u64 nanoseconds(struct timespec t)
{
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

static void attr_in(const struct copy *c, struct ptfs_inode *ip, const struct stat *st)
{
	// The access time becomes the other one: copying reads, and equal trees make equal images.
	struct ptfs_attr a = { .mode = st->st_mode,
			       .uid = c->root_owner ? 0 : st->st_uid,
			       .gid = c->root_owner ? 0 : st->st_gid,
			       .atime_ns = nanoseconds(st->st_mtim),
			       .mtime_ns = nanoseconds(st->st_mtim) };
	int err = ptfs_setattr(ip,
			       PTFS_ATTR_MODE | PTFS_ATTR_UID | PTFS_ATTR_GID | PTFS_ATTR_ATIME |
				       PTFS_ATTR_MTIME,
			       &a);

	if (err)
		tool_fail("setattr", err);
}

static bool link_again(struct copy *c, struct ptfs_inode *dir, const char *name,
		       const struct stat *st)
{
	struct seen *s = seen_find(c, st->st_dev, st->st_ino);
	struct ptfs_inode *ip;
	int err;

	if (!s)
		return false;
	err = ptfs_iget(c->fs, s->ino, &ip);
	if (!err)
		err = ptfs_link(dir, name, strlen(name), ip);
	if (err)
		tool_fail(name, err);
	ptfs_iput(ip);
	return true;
}

static void dir_in(struct copy *c, struct ptfs_inode *to, int fd);

static void contents_in(struct copy *c, struct ptfs_inode *ip, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW);
	int err = 0;

	if (fd < 0)
		tool_fail(name, errno);
	if ((ip->mode & PTFS_S_IFMT) == PTFS_S_IFDIR)
		dir_in(c, ip, fd);
	else
		err = tool_copy_in(ip, fd);
	if (err)
		tool_fail(name, err);
	close(fd);
}

// Makes `to`/`as` from the host's dirfd/name. A directory or file that is there is filled.
static void entry_in(struct copy *c, struct ptfs_inode *to, const char *as, int dirfd,
		     const char *name)
{
	char target[4097] = "";
	struct ptfs_create_args a = { .target = target };
	struct ptfs_inode *ip;
	struct stat st;
	int err;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		tool_fail(name, errno);
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && link_again(c, to, as, &st))
		return;
	if (S_ISLNK(st.st_mode) && readlinkat(dirfd, name, target, sizeof(target) - 1) < 0)
		tool_fail(name, errno);
	a.mode = st.st_mode;
	a.rdev = st.st_rdev;
	err = ptfs_create(to, as, strlen(as), &a, &ip);
	if (err == -EEXIST && (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))) {
		err = ptfs_lookup(to, as, strlen(as), &ip);
		if (!err && (ip->mode & PTFS_S_IFMT) != (st.st_mode & S_IFMT))
			err = -EEXIST;
		if (!err && S_ISREG(st.st_mode))
			err = ptfs_truncate(ip, 0);
	}
	if (err)
		tool_fail(as, err);
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
		seen_add(c, st.st_dev, st.st_ino, ip->ino, NULL);
	if (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))
		contents_in(c, ip, dirfd, name);
	attr_in(c, ip, &st);
	ptfs_iput(ip);
}

struct names {
	char **name;
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_read(struct names *names, int fd)
{
	DIR *d = fdopendir(dup(fd));
	struct dirent *e;

	*names = (struct names){ 0 };
	if (!d)
		tool_fail("directory", errno);
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		names->name = realloc(names->name, (names->n + 1) * sizeof(*names->name));
		if (!names->name || !(names->name[names->n++] = strdup(e->d_name)))
			tool_fail("memory", ENOMEM);
	}
	closedir(d);
	if (names->n)
		qsort(names->name, names->n, sizeof(*names->name), by_name);
}

// In order of names, so that equal trees make equal images.
static void dir_in(struct copy *c, struct ptfs_inode *to, int fd)
{
	struct names names;

	names_read(&names, fd);
	for (size_t i = 0; i < names.n; i++) {
		entry_in(c, to, names.name[i], fd, names.name[i]);
		free(names.name[i]);
	}
	free(names.name);
}

void tool_dir_in(struct ptfs_fs *fs, struct ptfs_inode *to, const char *dir, bool root_owner)
{
	struct copy c = { .fs = fs, .root_owner = root_owner };
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		tool_fail(dir, errno);
	dir_in(&c, to, fd);
	attr_in(&c, to, &st);
	close(fd);
	seen_free(&c);
}

void tool_path_in(struct ptfs_fs *fs, struct ptfs_inode *to, const char *as, const char *path)
{
	struct copy c = { .fs = fs };

	entry_in(&c, to, as, AT_FDCWD, path);
	seen_free(&c);
}

// ---- Out ----

struct out {
	struct copy copy;
	const char *path; // of the directory
};

static void path_out(struct copy *c, struct ptfs_inode *ip, const char *path);

static bool name_out(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct out *o = ctx;
	struct ptfs_inode *ip;
	char *path;
	int err;

	(void)type;
	(void)next;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return true;
	err = ptfs_iget(o->copy.fs, ino, &ip);
	if (err)
		tool_fail(o->path, err);
	if (asprintf(&path, "%s/%.*s", o->path, (int)len, name) < 0)
		tool_fail("memory", ENOMEM);
	path_out(&o->copy, ip, path);
	free(path);
	ptfs_iput(ip);
	return true;
}

static void dir_out(struct copy *c, struct ptfs_inode *dir, const char *path)
{
	struct out o = { .copy = *c, .path = path };
	u64 pos = 0;
	int err;

	if (mkdir(path, 0700) && errno != EEXIST)
		tool_fail(path, errno);
	err = ptfs_readdir(dir, &pos, name_out, &o);
	if (err)
		tool_fail(path, err);
	c->seen = o.copy.seen;
}

static void file_out(struct ptfs_inode *ip, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int err;

	if (fd < 0)
		tool_fail(path, errno);
	err = tool_copy_out(ip, fd);
	if (err || close(fd))
		tool_fail(path, err ? err : errno);
}

static void link_out(struct ptfs_inode *ip, const char *path)
{
	char target[4097];
	ssize n = ptfs_readlink(ip, target, sizeof(target) - 1);

	if (n < 0)
		tool_fail(path, (int)n);
	target[n] = 0;
	if (symlink(target, path) && (errno != EEXIST || unlink(path) || symlink(target, path)))
		tool_fail(path, errno);
}

// An ordinary user may not give files away: then they stay theirs.
static void attr_out(const struct ptfs_attr *a, const char *path)
{
	const struct timespec times[2] = {
		{ (time_t)(a->atime_ns / 1000000000ull), (long)(a->atime_ns % 1000000000ull) },
		{ (time_t)(a->mtime_ns / 1000000000ull), (long)(a->mtime_ns % 1000000000ull) },
	};

	if (lchown(path, a->uid, a->gid) && errno != EPERM)
		tool_fail(path, errno);
	if (!S_ISLNK(a->mode) && chmod(path, a->mode & 07777))
		tool_fail(path, errno);
	if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW))
		tool_fail(path, errno);
}

static void path_out(struct copy *c, struct ptfs_inode *ip, const char *path)
{
	struct seen *s = seen_find(c, 0, ip->ino);
	struct ptfs_attr a;

	ptfs_getattr(ip, &a);
	if (s) {
		if (link(s->path, path))
			tool_fail(path, errno);
		return;
	}
	if (a.nlink > 1 && !S_ISDIR(a.mode))
		seen_add(c, 0, ip->ino, 0, path);
	switch (a.mode & PTFS_S_IFMT) {
	case PTFS_S_IFDIR: dir_out(c, ip, path); break;
	case PTFS_S_IFREG: file_out(ip, path); break;
	case PTFS_S_IFLNK: link_out(ip, path); break;
	default:
		if (mknod(path, a.mode, a.rdev) && errno != EEXIST)
			tool_fail(path, errno);
	}
	attr_out(&a, path);
}

void tool_path_out(struct ptfs_inode *ip, const char *path)
{
	struct copy c = { .fs = ip->fs };

	path_out(&c, ip, path);
	seen_free(&c);
}
