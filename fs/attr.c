// SPDX-License-Identifier: MIT
//
// What: attributes: stat, chmod, chown, times, truncate, access, with Linux's rules of who may.
// Not here: permission bits as such (fs/inode.c).
#include "fs/file.h"

#include "fs/vfs_internal.h"

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

int inode_chmod(struct inode *i, u32 mode)
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

int inode_chown(struct inode *i, u32 uid, u32 gid)
{
	const struct credentials *c = &fs_current()->cred;
	struct inode_attr attr = { .uid = uid, .gid = gid, .mode = i->mode };
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
	if (!S_ISDIR(i->mode) && (i->mode & (S_ISUID | S_ISGID))) {
		attr.mode &= ~S_ISUID;
		if (i->mode & S_IXGRP)
			attr.mode &= ~S_ISGID;
		which |= ATTR_MODE;
	}
	return which ? set(i, which, &attr) : 0;
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
	u32 drop = 0;
	struct inode_attr attr;

	if (i->mode & S_ISUID)
		drop |= S_ISUID;
	if ((i->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		drop |= S_ISGID;
	if (!drop || !S_ISREG(i->mode) || fs_current()->cred.fsuid == 0)
		return;
	attr.mode = i->mode & ~drop;
	if (i->ops->setattr)
		(void)i->ops->setattr(i, ATTR_MODE, &attr);
}

int inode_truncate(struct inode *i, s64 size)
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
	inode_drop_set_id(i);
	err = set(i, ATTR_SIZE, &attr);
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
