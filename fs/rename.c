// SPDX-License-Identifier: MIT
//
// What: rename(2) and renameat2(2).
// Not here: the other calls on names (fs/namei_ops.c).
//
// Two renames at once could move each of two directories into the other and cut both off from the
// root. So whenever a directory may get another parent, one global lock is held: then the shape of
// the tree stands still, "is inside" is a fact, and two directories are locked ancestor first
// without another thread turning the order around.
//
// Invariants:
//   I1  No directory is moved into itself or below itself: checked under rename_lock.
// Locking: rename_lock (renames across directories, and of directories), both directories (ancestor
// first, else by address), then a moved directory, then a replaced one.
#include "fs/namei.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"

static struct mutex rename_lock;

void rename_init(void)
{
	mutex_init(&rename_lock, RANK_RENAME);
}

struct rename {
	struct walk from, to;
	struct dentry *old, *new; // what the names stand for; new may be negative
	unsigned flags;
	char *heap_name; // memory for a long new name
};

// The analysis of locks does not follow which of several are taken: NO_TSA.
static NO_TSA void lock_dirs(struct dentry *a, struct dentry *b)
{
	struct dentry *first = a, *second = b;

	if (a == b) {
		mutex_lock(&a->inode->lock);
		return;
	}
	if (dentry_is_inside(a, b) || (!dentry_is_inside(b, a) && a > b)) {
		first = b;
		second = a;
	}
	mutex_lock(&first->inode->lock);
	mutex_lock(&second->inode->lock);
}

static NO_TSA void unlock_dirs(struct dentry *a, struct dentry *b)
{
	mutex_unlock(&a->inode->lock);
	if (a != b)
		mutex_unlock(&b->inode->lock);
}

static bool is_dir(const struct dentry *d)
{
	return d->inode && S_ISDIR(d->inode->mode);
}

// The rules of rename(2) that do not depend on the file system, in Linux's order.
static int check_names(const struct rename *r)
{
	if (!r->old->inode)
		return -ENOENT;
	if ((r->flags & RENAME_NOREPLACE) && r->new->inode)
		return -EEXIST;
	if ((r->flags & RENAME_EXCHANGE) && !r->new->inode)
		return -ENOENT;
	if (!is_dir(r->old) && r->from.slash)
		return -ENOTDIR;
	if (!is_dir(r->old) && r->to.slash && !(r->flags & RENAME_EXCHANGE))
		return -ENOTDIR;
	if (dentry_is_inside(r->to.at, r->old)) // I1
		return -EINVAL;
	if (dentry_is_inside(r->from.at, r->new))
		return r->flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	return 0;
}

static int check_rights(const struct rename *r)
{
	struct inode *from = r->from.at->inode, *to = r->to.at->inode;
	int err = may_delete(from, r->old->inode);

	if (!err && r->new->inode)
		err = may_delete(to, r->new->inode);
	else if (!err)
		err = inode_permission(to, MAY_WRITE | MAY_EXEC);
	if (err)
		return err;
	if (r->new->inode && !(r->flags & RENAME_EXCHANGE)) {
		if (is_dir(r->old) && !is_dir(r->new))
			return -ENOTDIR;
		if (!is_dir(r->old) && is_dir(r->new))
			return -EISDIR;
	}
	// A directory's ".." changes: that takes the right to write it.
	if (is_dir(r->old) && from != to)
		err = inode_permission(r->old->inode, MAY_WRITE);
	if (!err && (r->flags & RENAME_EXCHANGE) && is_dir(r->new) && from != to)
		err = inode_permission(r->new->inode, MAY_WRITE);
	return err;
}

static NO_TSA int call_fs(struct rename *r)
{
	struct inode *from = r->from.at->inode, *old = r->old->inode, *new = r->new->inode;
	struct inode *lock_old = S_ISDIR(old->mode) ? old : NULL;
	struct inode *lock_new = new &&S_ISDIR(new->mode) ? new : NULL;
	int err;

	if (!from->ops->rename)
		return -EPERM;
	if (lock_old)
		mutex_lock(&lock_old->lock);
	if (lock_new)
		mutex_lock(&lock_new->lock);
	if (r->old->mounted || r->new->mounted)
		err = -EBUSY;
	else
		err = from->ops->rename(from, r->from.name, r->from.name_len, old, r->to.at->inode,
					r->to.name, r->to.name_len, new, r->flags);
	if (!err && lock_new && !(r->flags & RENAME_EXCHANGE))
		lock_new->flags |= INODE_DEAD;
	if (lock_new)
		mutex_unlock(&lock_new->lock);
	if (lock_old)
		mutex_unlock(&lock_old->lock);
	return err;
}

// Both directories are locked.
static int rename_locked(struct rename *r)
{
	int err = check_names(r);

	if (err)
		return err;
	if (r->old->inode == r->new->inode)
		return 0; // two names of one file: nothing happens
	err = check_rights(r);
	if (!err)
		err = call_fs(r);
	if (err)
		return err;
	if (r->flags & RENAME_EXCHANGE) {
		dcache_exchange(r->old, r->new);
		return 0;
	}
	dcache_delete(r->new);
	dcache_move(r->old, r->to.at, r->to.name, r->to.name_len, r->heap_name);
	r->heap_name = NULL;
	return 0;
}

static int look(struct walk *w, struct dentry **out)
{
	return dcache_lookup(w->at, w->name, w->name_len, w->hash, out);
}

// Locks, looks both names up, acts. -EAGAIN: it takes rename_lock (`across` tells that it is held).
static int rename_try(struct rename *r, bool across)
{
	struct dentry *from = r->from.at, *to = r->to.at;
	int err;

	lock_dirs(from, to);
	err = look(&r->from, &r->old);
	if (!err) {
		err = look(&r->to, &r->new);
		if (!err && !across && (is_dir(r->old) || is_dir(r->new)))
			err = -EAGAIN;
		if (!err)
			err = rename_locked(r);
		if (r->new)
			dentry_put(r->new);
		dentry_put(r->old);
	}
	unlock_dirs(from, to);
	r->old = r->new = NULL;
	return err;
}

static int rename_walked(struct rename *r)
{
	int err;

	if (r->from.at->super != r->to.at->super)
		return -EXDEV;
	if (r->from.last != LAST_NAME)
		return -EBUSY;
	if (r->to.last != LAST_NAME)
		return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (r->from.at->super->read_only)
		return -EROFS;
	if (r->to.name_len > DENTRY_INLINE) {
		r->heap_name = dcache_long_name(r->to.name, r->to.name_len);
		if (!r->heap_name)
			return -ENOMEM;
	}
	err = -EAGAIN;
	if (r->from.at == r->to.at)
		err = rename_try(r, false);
	if (err == -EAGAIN) {
		mutex_lock(&rename_lock);
		err = rename_try(r, true);
		mutex_unlock(&rename_lock);
	}
	kfree(r->heap_name);
	return err;
}

int vfs_renameat(int old_fd, const char *old_path, int new_fd, const char *new_path, unsigned flags)
{
	struct rename r = { .flags = flags };
	int err;

	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = walk_start(&r.from, old_fd, old_path, 0);
	if (err)
		return err;
	err = walk_start(&r.to, new_fd, new_path, 0);
	if (!err) {
		err = walk_parent(&r.from);
		if (!err)
			err = walk_parent(&r.to);
		if (!err)
			err = rename_walked(&r);
		walk_finish(&r.to);
	}
	walk_finish(&r.from);
	return err;
}
