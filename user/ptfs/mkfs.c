// SPDX-License-Identifier: MIT
//
// mkfs.ptfs: makes an image, and fills it from a directory of the host.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "user/ptfs/tool.h"

#define FALLOCATE_MAX 64u

static const char usage[] =
	"usage: mkfs.ptfs [options] IMAGE\n"
	"  -d DIR                 copy the contents of DIR into it; everything belongs to root\n"
	"  -s SIZE                size (512M, 1G; default 1G); the file is sparse\n"
	"  -L LABEL               up to 32 bytes\n"
	"  -f                     although IMAGE holds a ptfs already\n"
	"  --base ADDR            address at which the image will be mapped (default 0x100000000)\n"
	"  --fallocate PATH:SIZE  a file of zeros with all its blocks; may be repeated\n";

struct options {
	const char *dir, *image;
	u64 bytes, base;
	bool force;
	struct ptfs_format_options format;
	const char *fallocate[FALLOCATE_MAX];
	unsigned nr_fallocate;
};

// Files with several names: what they became.
struct hard_link {
	dev_t dev;
	ino_t host;
	u64 ino;
	struct hard_link *next;
};

struct copy {
	struct ptfs_fs *fs;
	struct hard_link *links;
};

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "base", 1, NULL, 'B' },
					       { "fallocate", 1, NULL, 'F' },
					       { "help", 0, NULL, 'h' },
					       { NULL, 0, NULL, 0 } };
	int c;

	*o = (struct options){ .bytes = GIB(1), .base = HOST_DEFAULT_BASE };
	while ((c = getopt_long(argc, argv, "d:s:L:fh", longs, NULL)) != -1) {
		switch (c) {
		case 'd': o->dir = optarg; break;
		case 's': o->bytes = tool_number(optarg); break;
		case 'L': strncpy(o->format.label, optarg, sizeof(o->format.label) - 1); break;
		case 'f': o->force = true; break;
		case 'B': o->base = tool_number(optarg); break;
		case 'F':
			if (o->nr_fallocate < FALLOCATE_MAX)
				o->fallocate[o->nr_fallocate++] = optarg;
			break;
		default: fputs(usage, c == 'h' ? stdout : stderr); exit(c == 'h' ? 0 : 2);
		}
	}
	if (optind != argc - 1) {
		fputs(usage, stderr);
		exit(2);
	}
	o->image = argv[optind];
}

static void random_uuid(u8 *uuid)
{
	int fd = open("/dev/urandom", O_RDONLY);

	if (fd < 0 || read(fd, uuid, 16) != 16) {
		u64 now = ptfs_time_ns();

		memcpy(uuid, &now, sizeof(now));
	}
	if (fd >= 0)
		close(fd);
	uuid[6] = (uuid[6] & 0x0f) | 0x40; // version 4, RFC 4122
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static void refuse_existing(const struct options *o)
{
	u64 magic = 0;
	int fd = open(o->image, O_RDONLY);

	if (fd < 0)
		return;
	if (read(fd, &magic, sizeof(magic)) == sizeof(magic) && LE_ORDER64(magic) == PTFS_MAGIC &&
	    !o->force) {
		fprintf(stderr, "%s holds a ptfs already; -f makes a new one over it\n", o->image);
		exit(1);
	}
	close(fd);
}

static u64 nanoseconds(struct timespec t)
{
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

static void set_times(struct ptfs_inode *ip, const struct stat *st)
{
	struct ptfs_attr a = { .atime_ns = nanoseconds(st->st_mtim),
			       .mtime_ns = nanoseconds(st->st_mtim) };
	int err = ptfs_setattr(ip, PTFS_ATTR_ATIME | PTFS_ATTR_MTIME, &a);

	if (err)
		tool_fail("setattr", err);
}

static bool link_again(struct copy *c, struct ptfs_inode *dir, const char *name,
		       const struct stat *st)
{
	struct ptfs_inode *ip;
	int err;

	for (struct hard_link *l = c->links; l; l = l->next) {
		if (l->dev != st->st_dev || l->host != st->st_ino)
			continue;
		err = ptfs_iget(c->fs, l->ino, &ip);
		if (!err)
			err = ptfs_link(dir, name, strlen(name), ip);
		if (err)
			tool_fail(name, err);
		ptfs_iput(ip);
		return true;
	}
	return false;
}

static void link_remember(struct copy *c, const struct stat *st, u64 ino)
{
	struct hard_link *l = malloc(sizeof(*l));

	if (!l)
		tool_fail("memory", ENOMEM);
	*l = (struct hard_link){ st->st_dev, st->st_ino, ino, c->links };
	c->links = l;
}

static void copy_dir(struct copy *c, struct ptfs_inode *to, int fd);

static void copy_contents(struct copy *c, struct ptfs_inode *ip, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW);
	int err = 0;

	if (fd < 0)
		tool_fail(name, errno);
	if ((ip->mode & PTFS_S_IFMT) == PTFS_S_IFDIR)
		copy_dir(c, ip, fd);
	else
		err = tool_copy_in(ip, fd);
	if (err)
		tool_fail(name, err);
	close(fd);
}

static void copy_entry(struct copy *c, struct ptfs_inode *to, int dirfd, const char *name)
{
	char target[4097] = "";
	struct ptfs_create_args a = { .target = target };
	struct ptfs_inode *ip;
	struct stat st;
	int err;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		tool_fail(name, errno);
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && link_again(c, to, name, &st))
		return;
	if (S_ISLNK(st.st_mode) && readlinkat(dirfd, name, target, sizeof(target) - 1) < 0)
		tool_fail(name, errno);
	a.mode = st.st_mode;
	a.rdev = st.st_rdev;
	err = ptfs_create(to, name, strlen(name), &a, &ip);
	if (err)
		tool_fail(name, err);
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
		link_remember(c, &st, ip->ino);
	if (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))
		copy_contents(c, ip, dirfd, name);
	set_times(ip, &st);
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
static void copy_dir(struct copy *c, struct ptfs_inode *to, int fd)
{
	struct names names;

	names_read(&names, fd);
	for (size_t i = 0; i < names.n; i++) {
		copy_entry(c, to, fd, names.name[i]);
		free(names.name[i]);
	}
	free(names.name);
}

static void copy_tree(struct ptfs_fs *fs, const char *dir)
{
	struct copy c = { .fs = fs };
	struct ptfs_inode *root = tool_get(fs, "/");
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		tool_fail(dir, errno);
	copy_dir(&c, root, fd);
	close(fd);
	ptfs_iput(root);
	while (c.links) {
		struct hard_link *l = c.links;

		c.links = l->next;
		free(l);
	}
}

static void fallocate_file(struct ptfs_fs *fs, const char *arg)
{
	static const struct ptfs_create_args regular = { .mode = PTFS_S_IFREG | 0644 };
	char *path = strdup(arg);
	char *colon = path ? strrchr(path, ':') : NULL;
	struct ptfs_inode *dir, *ip;
	const char *name;
	size_t len;
	int err;

	if (!colon) {
		fprintf(stderr, "--fallocate wants PATH:SIZE, not %s\n", arg);
		exit(2);
	}
	*colon = 0;
	err = tool_resolve_parent(fs, path, &dir, &name, &len);
	if (err)
		tool_fail(path, err);
	err = ptfs_create(dir, name, len, &regular, &ip);
	if (!err)
		err = ptfs_fallocate(ip, 0, tool_number(colon + 1), false);
	if (err)
		tool_fail(path, err);
	ptfs_iput(ip);
	ptfs_iput(dir);
	free(path);
}

int main(int argc, char **argv)
{
	struct options o;
	struct tool t;
	int err;

	parse(argc, argv, &o);
	refuse_existing(&o);
	random_uuid(o.format.uuid);
	if (host_image_create(&t.image, o.image, o.bytes, o.base))
		return 1;
	err = ptfs_format(&t.image.region, &o.format);
	if (err == -EINVAL)
		fprintf(stderr,
			"the base must be a multiple of 2 MiB, and the size at least 16 MiB\n");
	if (!err)
		err = ptfs_mount(&t.image.region, o.image, 0, &t.fs);
	if (err)
		tool_fail(o.image, err);
	if (o.dir)
		copy_tree(t.fs, o.dir);
	for (unsigned i = 0; i < o.nr_fallocate; i++)
		fallocate_file(t.fs, o.fallocate[i]);
	tool_close(&t);
	return 0;
}
