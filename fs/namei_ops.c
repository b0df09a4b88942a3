// SPDX-License-Identifier: MIT
//
// What: making, linking and removing names: mkdir, mknod, symlink, link, unlink, rmdir.
// Not here: rename (fs/rename.c), O_CREAT (fs/open.c).
//
// All go the same way: walk to the parent, lock it, look at the last name, check, call the file
// system, then tell the name cache, with the lock still held: a lookup that misses the cache waits
// for the lock, so cache and file system agree whenever the lock is free.
//
// Errors come in Linux's order: kind of the last component, existence, read-only, permission.
#include "fs/namei.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"

// A last name with its directory locked.
struct place {
	struct walk walk;
	struct dentry *d; // what stands there, maybe negative
};

static struct inode *place_dir(const struct place *p)
{
	return p->walk.at->inode;
}

// Locks the directory and looks at the last name. On success place_close() must follow.
static NO_TSA int place_look(struct place *p)
{
	struct walk *w = &p->walk;
	int err;

	mutex_lock(&place_dir(p)->lock);
	err = dcache_lookup(w->at, w->name, w->name_len, w->hash, &p->d);
	if (err)
		mutex_unlock(&place_dir(p)->lock);
	return err;
}

static NO_TSA void place_close(struct place *p)
{
	mutex_unlock(&place_dir(p)->lock);
	dentry_put(p->d);
	walk_finish(&p->walk);
}

// `not_a_name`: what ".", ".." and "/" in the last place mean to the call.
static int place_open(struct place *p, int dirfd, const char *path, const int not_a_name[4])
{
	int err = walk_start(&p->walk, dirfd, path, 0);

	if (err)
		return err;
	err = walk_parent(&p->walk);
	if (!err && p->walk.last != LAST_NAME)
		err = not_a_name[p->walk.last];
	if (!err)
		err = place_look(p);
	if (err)
		walk_finish(&p->walk);
	return err;
}

// A place where something new comes: the name is free and the directory may be changed.
static int place_open_new(struct place *p, int dirfd, const char *path, bool is_dir)
{
	static const int not_a_name[4] = { 0, -EEXIST, -EEXIST, -EEXIST };
	int err = place_open(p, dirfd, path, not_a_name);

	if (err)
		return err;
	if (p->d->inode)
		err = -EEXIST;
	else if (p->walk.slash && !is_dir)
		err = -ENOENT;
	else
		err = inode_permission(place_dir(p), MAY_WRITE | MAY_EXEC);
	if (err)
		place_close(p);
	return err;
}

// Ends a call that made `made` there (or failed).
static int place_made(struct place *p, int err, struct inode *made)
{
	if (!err)
		dcache_instantiate(p->d, made);
	place_close(p);
	return err;
}

static u32 without_umask(u32 mode)
{
	return mode & ~READ_ONCE(fs_current()->place->umask);
}

int vfs_mkdirat(int dirfd, const char *path, u32 mode)
{
	struct place p;
	struct inode *made = NULL;
	int err = place_open_new(&p, dirfd, path, true);

	if (err)
		return err;
	mode = S_IFDIR | without_umask(mode & (0777 | S_ISVTX));
	err = -EPERM;
	if (place_dir(&p)->ops->mkdir)
		err = place_dir(&p)->ops->mkdir(place_dir(&p), p.walk.name, p.walk.name_len, mode,
						&made);
	return place_made(&p, err, made);
}

int vfs_mknodat(int dirfd, const char *path, u32 mode, u64 rdev)
{
	struct place p;
	struct inode *made = NULL;
	int err;

	switch (mode & S_IFMT) {
	case 0: mode |= S_IFREG; break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK: break;
	case S_IFCHR:
	case S_IFBLK:
		if (fs_current()->cred.fsuid != 0)
			return -EPERM;
		break;
	case S_IFDIR: return -EPERM;
	default: return -EINVAL;
	}
	err = place_open_new(&p, dirfd, path, false);
	if (err)
		return err;
	mode = (mode & S_IFMT) | without_umask(mode & 07777);
	err = -EPERM;
	if (place_dir(&p)->ops->create)
		err = place_dir(&p)->ops->create(place_dir(&p), p.walk.name, p.walk.name_len, mode,
						 rdev, &made);
	return place_made(&p, err, made);
}

int vfs_symlinkat(const char *target, int dirfd, const char *path)
{
	struct place p;
	struct inode *made = NULL;
	int err;

	if (!*target)
		return -ENOENT;
	err = place_open_new(&p, dirfd, path, false);
	if (err)
		return err;
	err = -EPERM;
	if (place_dir(&p)->ops->symlink)
		err = place_dir(&p)->ops->symlink(place_dir(&p), p.walk.name, p.walk.name_len,
						  target, &made);
	return place_made(&p, err, made);
}

static int link_to(struct inode *target, int dirfd, const char *path)
{
	struct place p;
	struct inode *dir;
	int err = place_open_new(&p, dirfd, path, false);

	if (err)
		return err;
	dir = place_dir(&p);
	if (target->super != dir->super)
		err = -EXDEV;
	else if (S_ISDIR(target->mode) || !dir->ops->link)
		err = -EPERM;
	else if (READ_ONCE(target->nlink) == 0 && !(READ_ONCE(target->flags) & INODE_LINKABLE))
		err = -ENOENT;
	else
		err = dir->ops->link(dir, p.walk.name, p.walk.name_len, target);
	if (!err && unlikely(READ_ONCE(target->flags) & INODE_LINKABLE))
		__atomic_fetch_and(&target->flags, ~(u32)INODE_LINKABLE, __ATOMIC_RELAXED);
	return place_made(&p, err, err ? NULL : inode_get(target));
}

int vfs_linkat(int old_fd, const char *old_path, int new_fd, const char *new_path, unsigned flags)
{
	struct dentry *d;
	struct file *f;
	int err;

	if (!*old_path && (flags & AT_EMPTY_PATH)) {
		f = fd_get(old_fd);
		if (!f)
			return -EBADF;
		err = fs_current()->cred.fsuid ? -ENOENT : link_to(f->inode, new_fd, new_path);
		file_put(f);
		return err;
	}
	err = path_at(old_fd, old_path, flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0, &d);
	if (err)
		return err;
	err = link_to(d->inode, new_fd, new_path);
	dentry_put(d);
	return err;
}

int may_delete(const struct inode *dir, const struct inode *victim)
{
	const struct credentials *c = &fs_current()->cred;
	int err = inode_permission(dir, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if ((dir->mode & S_ISVTX) && c->fsuid && c->fsuid != victim->uid && c->fsuid != dir->uid)
		return -EPERM;
	return 0;
}

static int place_open_victim(struct place *p, int dirfd, const char *path, const int not_a_name[4])
{
	int err = place_open(p, dirfd, path, not_a_name);

	if (err)
		return err;
	if (place_dir(p)->super->read_only)
		err = -EROFS;
	else
		err = p->d->inode ? may_delete(place_dir(p), p->d->inode) : -ENOENT;
	if (err)
		place_close(p);
	return err;
}

int vfs_unlinkat(int dirfd, const char *path)
{
	struct place p;
	static const int not_a_name[4] = { 0, -EISDIR, -EISDIR, -EISDIR };
	struct inode *dir, *victim, *gone = NULL;
	int err = place_open_victim(&p, dirfd, path, not_a_name);

	if (err)
		return err;
	dir = place_dir(&p);
	victim = p.d->inode;
	if (S_ISDIR(victim->mode))
		err = -EISDIR;
	else if (p.walk.slash)
		err = -ENOTDIR;
	else
		err = dir->ops->unlink ? dir->ops->unlink(dir, p.walk.name, p.walk.name_len, victim)
				       : -EPERM;
	if (!err)
		gone = dcache_unlinked(p.d);
	place_close(&p);
	if (gone)
		inode_put(gone);
	return err;
}

int vfs_rmdirat(int dirfd, const char *path)
{
	struct place p;
	static const int not_a_name[4] = { 0, -EINVAL, -ENOTEMPTY, -EBUSY };
	struct inode *dir, *victim;
	int err = place_open_victim(&p, dirfd, path, not_a_name);

	if (err)
		return err;
	dir = place_dir(&p);
	victim = p.d->inode;
	err = -ENOTDIR;
	if (S_ISDIR(victim->mode)) {
		mutex_lock(&victim->lock); // nothing is made or mounted in it from here on
		if (p.d->mounted)
			err = -EBUSY;
		else
			err = dir->ops->rmdir
				      ? dir->ops->rmdir(dir, p.walk.name, p.walk.name_len, victim)
				      : -EPERM;
		if (!err)
			victim->flags |= INODE_DEAD;
		mutex_unlock(&victim->lock);
	}
	if (!err)
		dcache_delete(p.d);
	place_close(&p);
	return err;
}
