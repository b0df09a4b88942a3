// SPDX-License-Identifier: MIT
//
// What: files from cpio archives, by the VFS's own calls.
// Not here: the format (fs/cpio.c).
//
// An archive is input: its names are walked like any path, from the root, by root; existing files
// are replaced as Linux does, existing directories kept.
#include "fs/initrd.h"

#include "fs/chrdev.h"
#include "fs/cpio.h"
#include "fs/file.h"
#include "fs/namei.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"
#include "mm/layout.h"

#define LINKS 64 // hard links that wait for the entry with the contents

struct unpack {
	const char *into;
	char path[PATH_MAX];
	char target[PATH_MAX];
	struct {
		u32 ino, dev_major, dev_minor;
		char *path;
	} first[LINKS]; // first name of each file with several
	unsigned nr_first;
	unsigned made, failed;
};

static int make_parents(char *path)
{
	for (char *s = strchr(path + 1, '/'); s; s = strchr(s + 1, '/')) {
		int err;

		*s = 0;
		err = vfs_mkdirat(AT_FDCWD, path, 0755);
		*s = '/';
		if (err && err != -EEXIST)
			return err;
	}
	return 0;
}

static int set_attributes(const struct unpack *u, const struct cpio_entry *e)
{
	u64 mtime_ns = e->mtime * 1000000000ull;
	struct dentry *d;
	int err = path_at(AT_FDCWD, u->path, 0, &d);

	if (err)
		return err;
	err = inode_chown(d->inode, e->uid, e->gid);
	if (!err && !S_ISLNK(e->mode))
		err = inode_chmod(d->inode, e->mode);
	if (!err)
		err = inode_set_times(d->inode, &mtime_ns, &mtime_ns, false);
	dentry_put(d);
	return err;
}

// The place of a file with several names in u->first: its first name, or a free place.
static unsigned find_first(const struct unpack *u, const struct cpio_entry *e)
{
	unsigned k = 0;

	while (k < u->nr_first &&
	       (u->first[k].ino != e->ino || u->first[k].dev_major != e->dev_major ||
		u->first[k].dev_minor != e->dev_minor))
		k++;
	return k;
}

static int write_contents(const struct unpack *u, const struct cpio_entry *e)
{
	struct file *f;
	ssize n = 0;
	int err = vfs_open(u->path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &f);

	if (err)
		return err;
	if (e->bytes)
		n = file_write_kernel(f, e->data, e->bytes, 0);
	file_put(f);
	if (n < 0)
		return (int)n;
	return n == e->bytes ? 0 : -ENOSPC;
}

// A regular file. Of one with several names, the last in the archive carries the contents.
static int make_file(struct unpack *u, const struct cpio_entry *e)
{
	unsigned k = e->nlink > 1 ? find_first(u, e) : LINKS;
	int err;

	if (k < u->nr_first) {
		err = vfs_linkat(AT_FDCWD, u->first[k].path, AT_FDCWD, u->path, 0);
		if (err || !e->bytes)
			return err;
		return write_contents(u, e);
	}
	err = write_contents(u, e);
	if (!err && k < LINKS) {
		u->first[k].ino = e->ino;
		u->first[k].dev_major = e->dev_major;
		u->first[k].dev_minor = e->dev_minor;
		u->first[k].path = kstrdup(u->path);
		if (u->first[k].path)
			u->nr_first++;
	}
	return err;
}

static int make_link(struct unpack *u, const struct cpio_entry *e)
{
	if (e->bytes >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(u->target, e->data, e->bytes);
	u->target[e->bytes] = 0;
	return vfs_symlinkat(u->target, AT_FDCWD, u->path);
}

static int make_kind(struct unpack *u, const struct cpio_entry *e)
{
	int err;

	switch (e->mode & S_IFMT) {
	case S_IFDIR: err = vfs_mkdirat(AT_FDCWD, u->path, 0700); return err == -EEXIST ? 0 : err;
	case S_IFREG: return make_file(u, e);
	case S_IFLNK: return e->bytes ? make_link(u, e) : -EINVAL;
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
		return vfs_mknodat(AT_FDCWD, u->path, e->mode,
				   MKDEV(e->rdev_major, e->rdev_minor & 0xff));
	default: return -EINVAL;
	}
}

static int make_entry(struct unpack *u, const struct cpio_entry *e)
{
	int err;

	if (!e->name[0] || strcmp(e->name, ".") == 0)
		return 0; // the root itself
	if (ksnprintf(u->path, sizeof(u->path), "%s/%s", u->into, e->name) >= sizeof(u->path))
		return -ENAMETOOLONG;
	err = make_parents(u->path);
	// What is there gives way, except directories, and files of several names (make_file).
	if (!err && !S_ISDIR(e->mode) && (!S_ISREG(e->mode) || e->nlink > 1))
		(void)!vfs_unlinkat(AT_FDCWD, u->path);
	if (!err)
		err = make_kind(u, e);
	return err ? err : set_attributes(u, e);
}

unsigned initrd_unpack_at(const void *base, u64 len, const char *into)
{
	struct unpack *u = kzalloc(sizeof(*u));
	struct cpio_entry e;
	enum cpio_result r;
	struct cpio c;
	unsigned made;

	if (!u) {
		log_err("initrd: no memory");
		return 0;
	}
	u->into = into;
	cpio_begin(&c, base, len);
	while ((r = cpio_next(&c, &e)) == CPIO_ENTRY) {
		int err = make_entry(u, &e);

		u->made += !err;
		if (err && u->failed++ < 8)
			log_warn("initrd: %s: error %d", e.name, -err);
	}
	if (r == CPIO_BAD)
		log_warn("initrd: %s at byte %llu of %llu; what came before is kept", c.why,
			 (unsigned long long)c.at, (unsigned long long)len);
	if (u->failed > 8)
		log_warn("initrd: %u more entries failed", u->failed - 8);
	for (unsigned k = 0; k < u->nr_first; k++)
		kfree(u->first[k].path);
	made = u->made;
	kfree(u);
	return made;
}

void initrd_unpack(void)
{
	for (unsigned k = 0; k < bootinfo.nr_modules; k++) {
		const struct boot_module *m = &bootinfo.module[k];
		unsigned made = initrd_unpack_at(phys_to_virt(m->base), m->len, "");

		vfs_drop_caches(); // few of these names are ever asked for again
		log_info("initrd: %u files from %llu KiB", made, (unsigned long long)m->len >> 10);
	}
}
