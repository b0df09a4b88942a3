// SPDX-License-Identifier: MIT
//
// What: attributes: stat, chmod, chown, times, truncate, access, with Linux's rules of who may.
// Not here: permission bits as such (fs/inode.c).
//
// Invariants:
//   I1  Who makes a mode or an owner out of the present ones holds attr_lock until they are stored:
//       a mode that somebody else set in between would be lost, and what it closed be open again.
// Locking: attr_lock, one mutex for all files; the file system's own locks come below it.
#include "fs/file.h"

#include "fs/vfs_internal.h"

static struct mutex attr_lock;

void attr_init(void)
{
	mutex_init(&attr_lock, RANK_ATTR);
}

int vfs_getattr(struct inode *i, struct inode_attr *out)
{
	*out = (struct inode_attr){
		.ino = i->ino,
		.mode = i->mode,
		.uid = i->uid,
		.gid = i->gid,
		.nlink = i->nlink,
		.rdev = i->rdev,
		.blksize = PAGE_SIZE,
	};
	return i->ops->getattr ? i->ops->getattr(i, out) : 0;
}

int inode_may_setattr(const struct inode *i)
{
	const struct credentials *c = &fs_current()->cred;

	return c->fsuid == 0 || c->fsuid == i->uid ? 0 : -EPERM;
}

static int set(struct inode *i, unsigned which, const struct inode_attr *attr)
{
	if (i->super->read_only)
		return -EROFS;
	return i->ops->setattr ? i->ops->setattr(i, which, attr) : -EPERM;
}

static int chmod_locked(struct inode *i, u32 mode)
{
	const struct credentials *c = &fs_current()->cred;
	struct inode_attr attr = { .mode = (i->mode & S_IFMT) | (mode & 07777) };

	if (i->super->read_only)
		return -EROFS;
	if (S_ISLNK(i->mode))
		return -EOPNOTSUPP;
	if (inode_may_setattr(i))
		return -EPERM;
	if (c->fsuid && !cred_in_group(c, i->gid))
		attr.mode &= ~S_ISGID;
	return set(i, ATTR_MODE, &attr);
}

int inode_chmod(struct inode *i, u32 mode)
{
	int err;

	mutex_lock(&attr_lock);
	err = chmod_locked(i, mode);
	mutex_unlock(&attr_lock);
	return err;
}

static u32 without_set_id(u32 mode)
{
	return mode & ~(u32)(S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
}

static int chown_locked(struct inode *i, u32 uid, u32 gid)
{
	const struct credentials *c = &fs_current()->cred;
	struct inode_attr attr = { .uid = uid, .gid = gid, .mode = without_set_id(i->mode) };
	unsigned which = 0;

	if (i->super->read_only)
		return -EROFS;
	if (uid != ~0u) {
		if (c->fsuid && (c->fsuid != i->uid || uid != i->uid))
			return -EPERM;
		which |= ATTR_UID;
	}
	if (gid != ~0u) {
		if (c->fsuid && (c->fsuid != i->uid || (!cred_in_group(c, gid) && gid != i->gid)))
			return -EPERM;
		which |= ATTR_GID;
	}
	// Also if no owner was asked for: that takes the right to change the mode.
	if (!S_ISDIR(i->mode) && attr.mode != i->mode) {
		if (inode_may_setattr(i))
			return -EPERM;
		which |= ATTR_MODE;
	}
	return which ? set(i, which, &attr) : 0;
}

int inode_chown(struct inode *i, u32 uid, u32 gid)
{
	int err;

	mutex_lock(&attr_lock);
	err = chown_locked(i, uid, gid);
	mutex_unlock(&attr_lock);
	return err;
}

int inode_set_times(struct inode *i, const u64 *atime_ns, const u64 *mtime_ns, bool now)
{
	struct inode_attr attr = { .atime_ns = atime_ns ? *atime_ns : 0,
				   .mtime_ns = mtime_ns ? *mtime_ns : 0 };
	unsigned which = (atime_ns ? ATTR_ATIME : 0) | (mtime_ns ? ATTR_MTIME : 0);

	if (i->super->read_only)
		return -EROFS;
	if (!which)
		return 0;
	if (inode_may_setattr(i)) {
		if (!now)
			return -EPERM;
		if (inode_permission(i, MAY_WRITE))
			return -EACCES;
	}
	return set(i, which, &attr);
}

void inode_drop_set_id(struct inode *i)
{
	u32 mode = READ_ONCE(i->mode);
	struct inode_attr attr;

	if (mode == without_set_id(mode) || !S_ISREG(mode) || fs_current()->cred.fsuid == 0)
		return;
	mutex_lock(&attr_lock);
	attr.mode = without_set_id(i->mode);
	if (i->ops->setattr && attr.mode != i->mode)
		(void)i->ops->setattr(i, ATTR_MODE, &attr);
	mutex_unlock(&attr_lock);
}

// RLIMIT_FSIZE: 0 if the file may have `size` bytes, which is no question unless it grows.
int inode_size_allowed(struct inode *i, u64 size)
{
	struct inode_attr attr;
	int err;

	if (likely(size <= READ_ONCE(current_context()->max_file)))
		return 0;
	err = vfs_getattr(i, &attr);
	if (err || size <= attr.size)
		return err;
	file_too_large();
	return -EFBIG;
}

int inode_truncate(struct inode *i, s64 size, bool touch)
{
	struct inode_attr attr = { .size = (u64)size };
	int err;

	if (S_ISDIR(i->mode))
		return -EISDIR;
	if (size < 0 || !S_ISREG(i->mode))
		return -EINVAL;
	err = inode_begin_write(i);
	if (err)
		return err;
	err = inode_size_allowed(i, (u64)size);
	if (!err) {
		inode_drop_set_id(i);
		err = set(i, ATTR_SIZE | (touch ? ATTR_TOUCH : 0), &attr);
	}
	inode_end_write(i);
	return err;
}

int inode_access(struct inode *i, unsigned mask, bool effective)
{
	struct credentials c = fs_current()->cred;

	if (!effective) { // access(2) asks for the real user
		c.fsuid = c.uid;
		c.fsgid = c.gid;
	}
	return mask ? cred_permission(&c, i, mask) : 0;
}
