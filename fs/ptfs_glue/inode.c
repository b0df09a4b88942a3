// SPDX-License-Identifier: MIT
//
// What: the VFS's inodes of ptfs, and names: lookup, create, link, unlink, rename, attributes.
// Not here: contents (file.c), mounting (super.c), the format and all that is atomic (fs/ptfs).
//
// Invariants
//   I1  A VFS inode holds one reference to its core inode from glue_inode_of() to evict. So the
//       core frees a file without links only when the VFS has let go: open and mapped files live
//       on.
//   I2  home.vfs names the inode that is in the VFS's cache, if any. It is set by the thread whose
//       inode_insert() won and cleared in evict, and the VFS lets no two such inodes overlap.
//   I3  mode, uid, gid and nlink in the VFS's inode are copies; the core's are the truth. Each is
//       copied whole after whatever may have changed it.
// Locking: as fs/vfs.h says. Nothing is locked here: directory locks come from the VFS, the rest is
// the core's. The VFS's inode.lock of regular files is not used: it would have to be held
// around the core's mapping lock, which comes before it.
#include "fs/ptfs_glue/glue_internal.h"

#include "kernel/panic.h"
#include "mm/heap.h"

static void refresh(struct inode *i)
{
	const struct ptfs_inode *ip = glue_ip(i);

	i->mode = READ_ONCE(ip->mode);
	i->uid = READ_ONCE(ip->uid);
	i->gid = READ_ONCE(ip->gid);
	i->nlink = READ_ONCE(ip->nlink);
}

static const struct inode_ops *ops_of(u32 mode)
{
	if (S_ISDIR(mode))
		return &glue_dir_ops;
	return S_ISLNK(mode) ? &glue_symlink_ops : &glue_file_inode_ops;
}

static const struct file_ops *fops_of(u32 mode)
{
	if (S_ISDIR(mode))
		return &glue_dir_fops;
	return S_ISREG(mode) ? &glue_file_fops : NULL;
}

// Makes `fresh` (from the heap, consumed; all of it is set here) the VFS's inode of `ip`, unless
// there is one; takes over the reference.
static struct inode *install(struct super *s, struct glue_inode *fresh, struct ptfs_inode *ip)
{
	struct inode *i;

	inode_init(&fresh->vfs, s, ops_of(ip->mode), fops_of(ip->mode), ip->ino, ip->mode);
	fresh->vfs.rdev = ip->rdev;
	fresh->ip = ip;
	list_init(&fresh->dirty_node);
	refresh(&fresh->vfs);
	i = inode_insert(&fresh->vfs);
	if (i == &fresh->vfs) {
		__atomic_store_n(&ip->home.vfs, i, __ATOMIC_RELEASE);
	} else {
		kfree(fresh);
		ptfs_iput(ip);
	}
	return i;
}

int glue_inode_of(struct super *s, struct ptfs_inode *ip, struct inode **out)
{
	struct inode *i = inode_find(s, ip->ino);
	struct glue_inode *fresh;

	if (i) {
		ptfs_iput(ip);
		*out = i;
		return 0;
	}
	fresh = kmalloc(sizeof(*fresh));
	if (!fresh) {
		ptfs_iput(ip);
		return -ENOMEM;
	}
	*out = install(s, fresh, ip);
	return 0;
}

static void glue_evict(struct inode *i)
{
	struct glue_inode *gi = glue_inode(i);

	// What is unlinked need not be durable. No mapping is left, so the file is clean from here
	// on.
	if (READ_ONCE(gi->ip->nlink) && glue_write_back(gi))
		ptfs_log(PTFS_LOG_WARN, "ptfs %s: inode %llu: write-back at eviction failed",
			 i->super->source, (unsigned long long)i->ino);
	mutex_lock(&glue_super(i->super)->dirty_lock);
	list_del(&gi->dirty_node);
	mutex_unlock(&glue_super(i->super)->dirty_lock);
	glue_forget_path(gi->ip);
	__atomic_store_n(&gi->ip->home.vfs, NULL, __ATOMIC_RELEASE);
	ptfs_iput(gi->ip);
}

static void glue_destroy(struct inode *i)
{
	kfree(glue_inode(i));
}

static int glue_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	struct ptfs_inode *ip;
	int err = ptfs_lookup(glue_ip(dir), name, len, &ip);

	return err ? err : glue_inode_of(dir->super, ip, out);
}

static int make(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev,
		const char *target, struct inode **out)
{
	struct ptfs_create_args args = { .mode = mode, .rdev = rdev, .target = target };
	// All memory first: once the name is made nothing may fail.
	struct glue_inode *fresh = kmalloc(sizeof(*fresh));
	struct ptfs_inode *ip;
	int err;

	if (!fresh)
		return -ENOMEM;
	new_inode_owner(dir, &args.mode, &args.uid, &args.gid);
	err = ptfs_create(glue_ip(dir), name, len, &args, &ip);
	if (err) {
		kfree(fresh);
		return err;
	}
	refresh(dir);
	*out = install(dir->super, fresh, ip);
	return 0;
}

static int glue_create(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev,
		       struct inode **out)
{
	return make(dir, name, len, mode & S_IFMT ? mode : mode | S_IFREG, rdev, NULL, out);
}

static int glue_mkdir(struct inode *dir, const char *name, size_t len, u32 mode, struct inode **out)
{
	return make(dir, name, len, (mode & ~S_IFMT) | S_IFDIR, 0, NULL, out);
}

static int glue_symlink(struct inode *dir, const char *name, size_t len, const char *target,
			struct inode **out)
{
	return make(dir, name, len, S_IFLNK | 0777, 0, target, out);
}

static int glue_tmpfile(struct inode *dir, u32 mode, bool linkable, struct inode **out)
{
	struct ptfs_create_args args = { .mode = S_IFREG | (mode & ~S_IFMT) };
	struct glue_inode *fresh = kmalloc(sizeof(*fresh));
	struct ptfs_inode *ip;
	int err;

	if (!fresh)
		return -ENOMEM;
	new_inode_owner(dir, &args.mode, &args.uid, &args.gid);
	err = ptfs_tmpfile(glue_ip(dir), &args, linkable, &ip);
	if (err) {
		kfree(fresh);
		return err;
	}
	*out = install(dir->super, fresh, ip);
	return 0;
}

static int glue_link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
	int err = ptfs_link(glue_ip(dir), name, len, glue_ip(target));

	refresh(target);
	return err;
}

// The last name is gone: ranges that were unmapped a moment ago show the file no more.
static void refresh_unlinked(struct inode *victim)
{
	refresh(victim);
	if (!victim->nlink)
		vm_unlinked(&glue_ip(victim)->home.object);
}

static int glue_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
	int err = ptfs_unlink(glue_ip(dir), name, len);

	refresh_unlinked(victim);
	return err;
}

static int glue_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
	int err = ptfs_rmdir(glue_ip(dir), name, len);

	refresh(victim);
	refresh(dir);
	return err;
}

static int glue_rename(struct inode *from, const char *name, size_t len, struct inode *moved,
		       struct inode *to, const char *new_name, size_t new_len,
		       struct inode *replaced, unsigned flags)
{
	unsigned core_flags = (flags & RENAME_NOREPLACE ? PTFS_RENAME_NOREPLACE : 0) |
			      (flags & RENAME_EXCHANGE ? PTFS_RENAME_EXCHANGE : 0);
	int err;

	err = ptfs_rename(glue_ip(from), name, len, glue_ip(to), new_name, new_len, core_flags);
	refresh(from);
	refresh(to);
	refresh(moved);
	if (replaced)
		refresh_unlinked(replaced);
	return err;
}

static ssize glue_readlink(struct inode *i, char *buf, size_t bytes)
{
	return ptfs_readlink(glue_ip(i), buf, bytes);
}

static int glue_getattr(struct inode *i, struct inode_attr *out)
{
	struct ptfs_attr a;

	ptfs_getattr(glue_ip(i), &a);
	*out = (struct inode_attr){
		.ino = a.ino,
		.size = a.size,
		.blocks = a.blocks * (PTFS_BLOCK / 512),
		.mode = a.mode,
		.uid = a.uid,
		.gid = a.gid,
		.nlink = a.nlink,
		.rdev = a.rdev,
		.atime_ns = a.atime_ns,
		.mtime_ns = a.mtime_ns,
		.ctime_ns = a.ctime_ns,
		.blksize = PTFS_BLOCK,
	};
	return 0;
}

static int resize(struct ptfs_inode *ip, u64 size, bool touch)
{
	bool stays = READ_ONCE(ip->size) == size;
	int err = ptfs_truncate(ip, size);

	return !err && touch && stays ? ptfs_touch(ip) : err;
}

static int glue_setattr(struct inode *i, unsigned which, const struct inode_attr *attr)
{
	static const struct {
		unsigned vfs;
		u64 core;
	} bits[] = {
		{ ATTR_MODE, PTFS_ATTR_MODE },   { ATTR_UID, PTFS_ATTR_UID },
		{ ATTR_GID, PTFS_ATTR_GID },     { ATTR_ATIME, PTFS_ATTR_ATIME },
		{ ATTR_MTIME, PTFS_ATTR_MTIME },
	};
	struct ptfs_attr a = {
		.mode = attr->mode,
		.uid = attr->uid,
		.gid = attr->gid,
		.atime_ns = attr->atime_ns,
		.mtime_ns = attr->mtime_ns,
	};
	u64 core = 0;
	int err = 0;

	for (size_t k = 0; k < ARRAY_SIZE(bits); k++)
		if (which & bits[k].vfs)
			core |= bits[k].core;
	// The size first: it can fail for want of space, and then nothing has changed.
	if (which & ATTR_SIZE)
		err = resize(glue_ip(i), attr->size, which & ATTR_TOUCH);
	if (!err && core)
		err = ptfs_setattr(glue_ip(i), core, &a);
	refresh(i);
	return err;
}

// The core's positions begin with "." and "..", which the VFS makes itself; ours are two higher, so
// that 0 and 1 stay the VFS's whatever the core's numbers are.
struct emit_filter {
	dir_emit emit;
	void *ctx;
};

static bool emit_without_dots(void *ctx, const char *name, size_t len, u64 ino, unsigned type,
			      u64 next_pos)
{
	const struct emit_filter *f = ctx;

	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return true;
	return f->emit(f->ctx, name, len, ino, type, next_pos + 2);
}

static int glue_readdir(struct file *f, u64 *pos, dir_emit emit, void *ctx)
{
	struct emit_filter filter = { emit, ctx };
	u64 core_pos = *pos >= 2 ? *pos - 2 : 0;
	int err = ptfs_readdir(glue_ip(f->inode), &core_pos, emit_without_dots, &filter);

	*pos = core_pos + 2;
	return err;
}

static int glue_dir_fsync(struct file *f, bool data_only)
{
	(void)f;
	(void)data_only;
	return 0; // what changed names was durable before it returned
}

const struct inode_ops glue_dir_ops = {
	.lookup = glue_lookup,
	.create = glue_create,
	.mkdir = glue_mkdir,
	.symlink = glue_symlink,
	.tmpfile = glue_tmpfile,
	.link = glue_link,
	.unlink = glue_unlink,
	.rmdir = glue_rmdir,
	.rename = glue_rename,
	.getattr = glue_getattr,
	.setattr = glue_setattr,
	.evict = glue_evict,
	.destroy = glue_destroy,
};

const struct inode_ops glue_file_inode_ops = {
	.getattr = glue_getattr,
	.setattr = glue_setattr,
	.evict = glue_evict,
	.destroy = glue_destroy,
};

const struct inode_ops glue_symlink_ops = {
	.readlink = glue_readlink,
	.getattr = glue_getattr,
	.setattr = glue_setattr,
	.evict = glue_evict,
	.destroy = glue_destroy,
};

const struct file_ops glue_dir_fops = {
	.readdir = glue_readdir,
	.fsync = glue_dir_fsync,
};
