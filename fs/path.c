// SPDX-License-Identifier: MIT
//
// What: from a place back to its path (getcwd, /proc/PID/exe, /proc/mounts).
#include "fs/vfs_internal.h"

#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"

// Writes "/name" in front of *at. False: no room.
static bool put_in_front(char *buf, size_t *at, const struct dentry *d)
{
	if (*at < d->name_len + 1u)
		return false;
	*at -= d->name_len;
	memcpy(buf + *at, d->name, d->name_len);
	buf[--*at] = '/';
	return true;
}

// The path of `d` at the end of buf; where it begins in *at.
static bool path_backwards(struct dentry *d, const struct dentry *root, char *buf, size_t *at)
{
	size_t end = *at;

	while (d != root) {
		if (d->parent == d) {
			if (!d->super->covered)
				break; // the root of all: `root` does not lie above it
			d = d->super->covered;
			continue;
		}
		if (!put_in_front(buf, at, d))
			return false;
		d = d->parent;
	}
	if (*at == end) {
		if (!*at)
			return false;
		buf[--*at] = '/';
	}
	return true;
}

// The path of `d`, from the beginning of buf on. Its length, or -ERANGE.
static ssize path_locked(struct dentry *d, char *buf, size_t bytes) REQUIRES(dcache_lock)
{
	static const char deleted[] = " (deleted)";
	size_t at = bytes - 1, len;

	if (bytes < sizeof(deleted) + 2)
		return -ERANGE;
	if (d->flags & DENTRY_DEAD) {
		at -= sizeof(deleted) - 1;
		memcpy(buf + at, deleted, sizeof(deleted) - 1);
	}
	if (!path_backwards(d, fs_current()->place->root, buf, &at))
		return -ERANGE;
	len = bytes - 1 - at;
	memmove(buf, buf + at, len);
	buf[len] = 0;
	return (ssize)len;
}

ssize vfs_path(struct dentry *d, char *buf, size_t bytes)
{
	ssize n;

	spin_lock(&dcache_lock);
	n = path_locked(d, buf, bytes);
	spin_unlock(&dcache_lock);
	return n;
}

void inode_describe(struct inode *i, u64 *dev, u64 *ino, char *path, size_t bytes)
{
	*dev = i->super->dev;
	*ino = i->ino;
	spin_lock(&dcache_lock);
	if (bytes && (!i->names || path_locked(i->names, path, bytes) < 0))
		path[0] = 0;
	spin_unlock(&dcache_lock);
}

ssize file_path(struct file *f, char *buf, size_t bytes)
{
	size_t n;

	if (f->dentry)
		return vfs_path(f->dentry, buf, bytes);
	n = ksnprintf(buf, bytes, "pipe:[%llu]", (unsigned long long)f->inode->ino);
	return n < bytes ? (ssize)n : -ERANGE;
}
