// SPDX-License-Identifier: MIT
//
// What: open files: open(2) with all its flags, references, the last close.
// Not here: reading and writing (fs/rw.c), descriptors (fs/fd_table.c).
//
// Invariants:
//   I1  A file holds a reference to its dentry, which holds the inode (dcache.c, I4); without a
//       dentry, to its inode. It goes with the file's last reference.
//   I2  A file open for writing counts in inode->writers from before `open` of the file system
//       until after `release`.
//   I3  Who created the file may use it as asked, whatever its mode (open(2), O_CREAT).
#include "fs/namei.h"
#include "fs/file.h"
#include "fs/vfs.h"

#include "fs/chrdev.h"
#include "fs/flock.h"
#include "fs/pipe.h"
#include "fs/vfs_internal.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/x86/asm.h"
#include "mm/heap.h"

// What F_GETFL may show and struct file keeps.
#define FILE_FLAGS (~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC))

static const struct file_ops path_only_ops;

static struct file *file_memory(void)
{
	struct file *f = kmalloc(sizeof(*f));

	if (f)
		mutex_init(&f->pos_lock, RANK_FILE_POS);
	return f;
}

// Takes over the reference to `d`, if it does not fail. The memory of a closed file comes with its
// lock, which nobody holds; every other field is set.
static inline __attribute__((always_inline)) struct file *alloc(struct inode *i, struct dentry *d,
								const struct file_ops *ops,
								unsigned flags)
{
	struct fs_context *c = current_context();
	struct file *f = c->spare ? __atomic_exchange_n(&c->spare, NULL, __ATOMIC_ACQUIRE) : NULL;

	if (unlikely(!f))
		f = file_memory();
	if (unlikely(!f))
		return NULL;
	f->inode = d ? i : inode_get(i);
	f->dentry = d;
	f->ops = ops;
	f->flags = flags & FILE_FLAGS;
	f->refs = 1;
	f->pos = 0;
	f->map_object = NULL;
	f->stream = false;
	f->private = NULL;
	return f;
}

struct file *file_alloc(struct inode *i, struct dentry *d, const struct file_ops *ops,
			unsigned flags)
{
	return alloc(i, d, ops, flags);
}

struct file *file_get(struct file *f)
{
	ref_get(&f->refs);
	return f;
}

static bool writes(unsigned flags)
{
	return (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
}

// Opening and closing in turns is common: a process keeps the memory of one file.
static inline __attribute__((always_inline)) void keep_or_free(struct file *f)
{
	struct fs_context *c = current_context();

	if (c != boot_context())
		f = __atomic_exchange_n(&c->spare, f, __ATOMIC_ACQ_REL);
	kfree(f);
}

static inline __attribute__((always_inline)) void file_free(struct file *f)
{
	if (writes(f->flags))
		inode_end_write(f->inode);
	if (f->dentry)
		dentry_put(f->dentry);
	else
		inode_put(f->inode);
	keep_or_free(f);
}

static __attribute__((noinline)) int drop(struct file *f, int err)
{
	file_free(f);
	return err;
}

void file_put(struct file *f)
{
	if (!ref_put_is_last(&f->refs))
		return;
	if (f->inode->locks)
		flock_release_file(f);
	if (f->ops->release)
		f->ops->release(f);
	file_free(f);
}

static const struct file_ops *ops_of(const struct inode *i)
{
	switch (i->mode & S_IFMT) {
	case S_IFCHR: return chrdev_ops(i->rdev);
	case S_IFIFO: return &fifo_ops;
	case S_IFBLK:
	case S_IFSOCK: return NULL;
	default: return i->fops;
	}
}

// Takes over the reference to `d`, also when it fails.
static inline __attribute__((always_inline)) int do_open(struct inode *i, struct dentry *d,
							 unsigned flags, struct file **out)
{
	const struct file_ops *ops = flags & O_PATH ? &path_only_ops : ops_of(i);
	struct file *f;
	int err;

	f = ops ? alloc(i, d, ops, flags) : NULL;
	if (unlikely(!f)) {
		dentry_put(d);
		return ops ? -ENOMEM : -ENXIO;
	}
	if (writes(flags)) {
		err = inode_begin_write(i);
		if (err) {
			f->flags &= ~O_ACCMODE; // nothing to give back
			return drop(f, err);
		}
	}
	err = ops->open ? ops->open(i, f) : 0;
	if (unlikely(err))
		return drop(f, err);
	*out = f;
	return 0;
}

int inode_open(struct inode *i, struct dentry *d, unsigned flags, struct file **out)
{
	return do_open(i, d, flags, out);
}

static unsigned mask_of(unsigned flags)
{
	static const unsigned mask[4] = { MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE,
					  MAY_READ | MAY_WRITE };

	return mask[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static int may_open(const struct walk *w, struct inode *i, unsigned flags)
{
	const struct credentials *c = &w->ctx->cred;
	unsigned mask = mask_of(flags);

	if (S_ISLNK(i->mode) && !(flags & O_PATH))
		return -ELOOP;
	if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode))
		return -ENOTDIR;
	if (flags & O_PATH)
		return 0;
	if (S_ISDIR(i->mode) && (mask & MAY_WRITE))
		return -EISDIR;
	if ((S_ISCHR(i->mode) || S_ISBLK(i->mode)) && i->super->no_dev)
		return -EACCES;
	if ((flags & O_NOATIME) && c->fsuid && c->fsuid != i->uid)
		return -EPERM;
	return cred_permission(c, i, mask);
}

// Opens what the walk has arrived at; the reference to `d` is taken over, also when it fails.
// `created`: I3.
static int open_here(struct walk *w, struct dentry *d, unsigned flags, bool created,
		     struct file **out)
{
	int err = created ? 0 : may_open(w, d->inode, flags);

	if (err) {
		dentry_put(d);
		return err;
	}
	err = do_open(d->inode, d, flags, out);
	if (!err && (flags & O_TRUNC) && !created && S_ISREG(d->inode->mode)) {
		err = inode_truncate(d->inode, 0, true);
		if (err)
			file_put(*out);
	}
	return err;
}

// The last name, with the directory locked, is free: makes a regular file of that name.
static int create_here(struct walk *w, struct dentry *d, u32 mode)
{
	struct inode *dir = w->at->inode;
	struct inode *made;
	int err = w->kernel ? 0 : cred_permission(&w->ctx->cred, dir, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if (!dir->ops->create)
		return -EACCES;
	mode = S_IFREG | (mode & 07777 & ~READ_ONCE(w->ctx->place->umask));
	err = dir->ops->create(dir, w->name, w->name_len, mode, 0, &made);
	if (!err)
		dcache_instantiate(d, made);
	return err;
}

// What stands at the last name of an O_CREAT open, made if need be. Negative never.
static int look_or_create(struct walk *w, unsigned flags, u32 mode, struct dentry **out,
			  bool *created)
{
	struct inode *dir = w->at->inode;
	int err;

	*created = false;
	mutex_lock(&dir->lock);
	err = dcache_lookup(w->at, w->name, w->name_len, w->hash, out);
	if (err) {
		mutex_unlock(&dir->lock);
		return err;
	}
	if ((*out)->inode) {
		err = flags & O_EXCL ? -EEXIST : 0;
	} else {
		err = create_here(w, *out, mode);
		*created = !err;
	}
	mutex_unlock(&dir->lock);
	if (err)
		dentry_put(*out);
	return err;
}

static int open_create(struct walk *w, unsigned flags, u32 mode, struct file **out)
{
	for (;;) {
		struct dentry *d;
		bool created;
		int err = walk_parent(w);

		if (err)
			return err;
		if (w->last == LAST_ROOT && !S_ISDIR(w->at->inode->mode)) // a link to a place
			return flags & O_EXCL ? -EEXIST
					      : open_here(w, walk_take(w), flags, false, out);
		if (w->last != LAST_NAME || w->slash)
			return -EISDIR;
		err = look_or_create(w, flags, mode, &d, &created);
		if (err)
			return err;
		if (S_ISLNK(d->inode->mode) && !(flags & O_NOFOLLOW)) {
			err = walk_follow(w, d);
			dentry_put(d);
			if (err)
				return err;
			continue;
		}
		if (!S_ISDIR(d->inode->mode))
			return open_here(w, d, flags, created, out);
		dentry_put(d);
		return -EISDIR;
	}
}

// A new file in the file system of the directory `dir`, which is locked.
static int make_tmpfile(struct walk *w, struct inode *dir, unsigned flags, u32 mode,
			struct inode **out)
{
	int err = w->kernel ? 0 : cred_permission(&w->ctx->cred, dir, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if (!dir->ops->tmpfile)
		return -EOPNOTSUPP;
	mode = S_IFREG | (mode & 07777 & ~READ_ONCE(w->ctx->place->umask));
	err = dir->ops->tmpfile(dir, mode, !(flags & O_EXCL), out);
	if (!err && !(flags & O_EXCL))
		__atomic_fetch_or(&(*out)->flags, INODE_LINKABLE, __ATOMIC_RELAXED);
	return err;
}

// O_TMPFILE: the path names a directory. /proc shows the file as "/dir/#ino (deleted)".
static int open_tmpfile(struct walk *w, unsigned flags, u32 mode, struct file **out)
{
	struct inode *dir, *made;
	struct dentry *d;
	char name[24];
	size_t len;
	int err;

	w->flags |= LOOKUP_FOLLOW | LOOKUP_DIRECTORY;
	err = walk_all(w);
	if (err)
		return err;
	dir = w->at->inode;
	mutex_lock(&dir->lock);
	err = make_tmpfile(w, dir, flags, mode, &made);
	mutex_unlock(&dir->lock);
	if (err)
		return err;
	len = ksnprintf(name, sizeof(name), "#%llu", (unsigned long long)made->ino);
	d = dentry_create_dead(w->at, name, len, made);
	if (!d) {
		inode_put(made);
		return -ENOMEM;
	}
	return inode_open(made, d, flags & ~O_TMPFILE, out);
}

static int open_walk(struct walk *w, unsigned flags, u32 mode, struct file **out)
{
	int err;

	if ((flags & O_CREAT) && !(flags & O_PATH)) {
		if (flags & O_EXCL)
			flags |= O_NOFOLLOW; // the link itself is what exists
		return open_create(w, flags, mode, out);
	}
	w->flags |= (flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
		    (flags & O_DIRECTORY ? LOOKUP_DIRECTORY : 0);
	err = walk_all(w);
	return err ? err : open_here(w, walk_take(w), flags, false, out);
}

int vfs_openat(int dirfd, const char *path, unsigned flags, u32 mode, struct file **out)
{
	struct walk w;
	int err;

	if ((flags & O_TMPFILE) &&
	    ((flags & (O_CREAT | O_DIRECTORY)) != O_DIRECTORY || !(mask_of(flags) & MAY_WRITE)))
		return -EINVAL;
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		return -EINVAL;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	err = walk_start(&w, dirfd, path, 0);
	if (err)
		return err;
	err = flags & O_TMPFILE ? open_tmpfile(&w, flags, mode, out)
				: open_walk(&w, flags, mode, out);
	walk_finish(&w);
	return err;
}

int vfs_open(const char *path, unsigned flags, u32 mode, struct file **out)
{
	return vfs_openat(AT_FDCWD, path, flags, mode, out);
}

int vfs_open_exec(const char *path, struct file **out)
{
	struct dentry *d;
	int err = path_at(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	if (err)
		return err;
	err = S_ISREG(d->inode->mode) ? inode_permission(d->inode, MAY_EXEC) : -EACCES;
	if (!err)
		return inode_open(d->inode, d, O_RDONLY, out);
	dentry_put(d);
	return err;
}
