// SPDX-License-Identifier: MIT
//
// What: file operations as libfuse asks for them (fuse3/fuse.h), on a mounted ptfs.
// Not here: options, mounting (main.c).
//
// Open files are inodes with a reference, in fi->fh, so a file lives on when its name goes. The
// kernel checks permissions (default_permissions) and calls one operation at a time. It also keeps
// pages of each path apart: what was read by one name while the file is written by another may be
// old until it is opened again.
#define _GNU_SOURCE // RENAME_*, FALLOC_*
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "tools/ptfs-fuse/ops.h"
#include "user/ptfs/tool.h"

static struct {
	struct ptfs_fs *fs;
	void (*who)(u32 *uid, u32 *gid);
} mounted;

void ptfs_fuse_start(struct ptfs_fs *fs, void (*who)(u32 *uid, u32 *gid))
{
	mounted.fs = fs;
	mounted.who = who;
}

// The inode of an open file, else the one that the path names. Dropped by inode_put.
static int inode_get(const char *path, const struct fuse_file_info *fi, struct ptfs_inode **ip)
{
	if (!fi || !fi->fh)
		return tool_resolve(mounted.fs, path, ip);
	*ip = (struct ptfs_inode *)(uintptr_t)fi->fh;
	ptfs_ihold(*ip);
	return 0;
}

// A name in its directory.
struct place {
	struct ptfs_inode *dir;
	const char *name;
	size_t len;
};

static int place_get(const char *path, struct place *p)
{
	int err = tool_resolve_parent(mounted.fs, path, &p->dir, &p->name, &p->len);

	return err == -EINVAL ? -EEXIST : err; // the root
}

static struct timespec time_of(u64 ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000ull), (long)(ns % 1000000000ull) };
}

static void stat_of(struct ptfs_inode *ip, struct stat *st)
{
	struct ptfs_attr a;

	ptfs_getattr(ip, &a);
	*st = (struct stat){ .st_ino = a.ino,
			     .st_mode = a.mode,
			     .st_nlink = a.nlink,
			     .st_uid = a.uid,
			     .st_gid = a.gid,
			     .st_rdev = a.rdev,
			     .st_size = (off_t)a.size,
			     .st_blksize = (blksize_t)PTFS_BLOCK,
			     .st_blocks = (blkcnt_t)(a.blocks * (PTFS_BLOCK / 512)),
			     .st_atim = time_of(a.atime_ns),
			     .st_mtim = time_of(a.mtime_ns),
			     .st_ctim = time_of(a.ctime_ns) };
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	(void)conn;
	config->use_ino = 1;
	// To libfuse each path is a file of its own, so what the kernel remembers of one name of a
	// file says nothing of a change by another name: it must ask each time.
	config->attr_timeout = 0;
	config->hard_remove = 1;
	config->nullpath_ok = 1;
	return NULL;
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);

	if (err)
		return err;
	stat_of(ip, st);
	ptfs_iput(ip);
	return 0;
}

static int op_readlink(const char *path, char *buf, size_t bytes)
{
	struct ptfs_inode *ip;
	int err = tool_resolve(mounted.fs, path, &ip);
	ssize n;

	if (err)
		return err;
	n = ptfs_readlink(ip, buf, bytes - 1);
	if (n >= 0)
		buf[n] = 0;
	ptfs_iput(ip);
	return n < 0 ? (int)n : 0;
}

// ---- Names ----

static int create(const char *path, u32 mode, u64 rdev, const char *target, struct ptfs_inode **out)
{
	struct ptfs_create_args a = { .mode = mode, .rdev = rdev, .target = target };
	struct ptfs_inode *ip;
	struct place p;
	int err = place_get(path, &p);

	if (err)
		return err;
	mounted.who(&a.uid, &a.gid);
	if (p.dir->mode & S_ISGID) {
		a.gid = p.dir->gid;
		a.mode |= S_ISDIR(mode) ? S_ISGID : 0;
	}
	err = ptfs_create(p.dir, p.name, p.len, &a, &ip);
	ptfs_iput(p.dir);
	if (!err && out)
		*out = ip;
	else if (!err)
		ptfs_iput(ip);
	return err;
}

static int op_mknod(const char *path, mode_t mode, dev_t rdev)
{
	return create(path, S_IFMT & mode ? mode : mode | S_IFREG, rdev, NULL, NULL);
}

static int op_mkdir(const char *path, mode_t mode)
{
	return create(path, (mode & 07777) | S_IFDIR, 0, NULL, NULL);
}

static int op_symlink(const char *target, const char *path)
{
	return create(path, S_IFLNK | 0777, 0, target, NULL);
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	struct ptfs_inode *ip;
	int err = create(path, (mode & 07777) | S_IFREG, 0, NULL, &ip);

	if (!err)
		fi->fh = (uintptr_t)ip;
	return err;
}

static int op_unlink(const char *path)
{
	struct place p;
	int err = place_get(path, &p);

	if (err)
		return err;
	err = ptfs_unlink(p.dir, p.name, p.len);
	ptfs_iput(p.dir);
	return err;
}

static int op_rmdir(const char *path)
{
	struct place p;
	int err = place_get(path, &p);

	if (err)
		return err == -EEXIST ? -EBUSY : err;
	err = ptfs_rmdir(p.dir, p.name, p.len);
	ptfs_iput(p.dir);
	return err;
}

static int op_rename(const char *from, const char *to, unsigned flags)
{
	struct place f, t;
	int err = place_get(from, &f);

	if (err)
		return err;
	err = place_get(to, &t);
	if (!err) {
		unsigned how = (flags & RENAME_NOREPLACE ? PTFS_RENAME_NOREPLACE : 0) |
			       (flags & RENAME_EXCHANGE ? PTFS_RENAME_EXCHANGE : 0);

		err = ptfs_rename(f.dir, f.name, f.len, t.dir, t.name, t.len, (unsigned)how);
		ptfs_iput(t.dir);
	}
	ptfs_iput(f.dir);
	return err;
}

static int op_link(const char *from, const char *to)
{
	struct ptfs_inode *ip;
	struct place p;
	int err = tool_resolve(mounted.fs, from, &ip);

	if (err)
		return err;
	err = place_get(to, &p);
	if (!err) {
		err = ptfs_link(p.dir, p.name, p.len, ip);
		ptfs_iput(p.dir);
	}
	ptfs_iput(ip);
	return err;
}

// ---- Attributes ----

static int setattr(const char *path, const struct fuse_file_info *fi, u64 which,
		   const struct ptfs_attr *a)
{
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);

	if (err)
		return err;
	err = which ? ptfs_setattr(ip, which, a) : 0;
	ptfs_iput(ip);
	return err;
}

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	const struct ptfs_attr a = { .mode = mode };

	return setattr(path, fi, PTFS_ATTR_MODE, &a);
}

static int op_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
	const struct ptfs_attr a = { .uid = uid, .gid = gid };

	return setattr(path, fi,
		       (uid == (uid_t)-1 ? 0 : PTFS_ATTR_UID) |
			       (gid == (gid_t)-1 ? 0 : PTFS_ATTR_GID),
		       &a);
}

static u64 time_from(const struct timespec *t)
{
	if (t->tv_nsec == UTIME_NOW)
		return ptfs_time_ns();
	return (u64)t->tv_sec * 1000000000ull + (u64)t->tv_nsec;
}

static int op_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
	const struct ptfs_attr a = { .atime_ns = time_from(&times[0]),
				     .mtime_ns = time_from(&times[1]) };

	return setattr(path, fi,
		       (times[0].tv_nsec == UTIME_OMIT ? 0 : PTFS_ATTR_ATIME) |
			       (times[1].tv_nsec == UTIME_OMIT ? 0 : PTFS_ATTR_MTIME),
		       &a);
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);

	if (err)
		return err;
	err = size < 0 ? -EINVAL : ptfs_truncate(ip, (u64)size);
	ptfs_iput(ip);
	return err;
}

static int op_statfs(const char *path, struct statvfs *out)
{
	struct ptfs_statfs s;

	(void)path;
	ptfs_statfs(mounted.fs, &s);
	*out = (struct statvfs){ .f_bsize = PTFS_BLOCK,
				 .f_frsize = PTFS_BLOCK,
				 .f_blocks = s.blocks,
				 .f_bfree = s.blocks_free,
				 .f_bavail = s.blocks_free,
				 .f_files = s.inodes + s.blocks_free,
				 .f_ffree = s.blocks_free,
				 .f_favail = s.blocks_free,
				 .f_namemax = PTFS_NAME_MAX };
	return 0;
}

// ---- Open files ----

static int op_open(const char *path, struct fuse_file_info *fi)
{
	struct ptfs_inode *ip;
	int err = tool_resolve(mounted.fs, path, &ip);

	if (!err && (fi->flags & O_TRUNC))
		err = ptfs_truncate(ip, 0);
	if (!err)
		fi->fh = (uintptr_t)ip;
	return err;
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	ptfs_iput((struct ptfs_inode *)(uintptr_t)fi->fh);
	fi->fh = 0;
	return 0;
}

static int op_read(const char *path, char *buf, size_t bytes, off_t pos, struct fuse_file_info *fi)
{
	struct ptfs_iter it = host_iter(buf, bytes);
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);
	ssize n;

	if (err)
		return err;
	n = ptfs_read(ip, &it, (u64)pos, bytes);
	ptfs_iput(ip);
	return (int)n;
}

static int op_write(const char *path, const char *buf, size_t bytes, off_t pos,
		    struct fuse_file_info *fi)
{
	struct ptfs_iter it = host_iter((void *)(uintptr_t)buf, bytes);
	u64 at = (u64)pos;
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);
	ssize n;

	if (err)
		return err;
	n = ptfs_write(ip, &it, &at, bytes, fi->flags & O_APPEND);
	ptfs_iput(ip);
	return (int)n;
}

// Everything is durable when its call has returned, but for the file that stands in for the medium.
static int op_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	(void)path;
	(void)data_only;
	(void)fi;
	return 0;
}

static int op_fallocate(const char *path, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	u64 from = (u64)off, bytes = (u64)len;
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);

	if (err)
		return err;
	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0: err = ptfs_fallocate(ip, from, bytes, keep); break;
	case FALLOC_FL_PUNCH_HOLE: err = ptfs_punch(ip, from, bytes); break;
	case FALLOC_FL_ZERO_RANGE: err = ptfs_zero_range(ip, from, bytes, keep); break;
	case FALLOC_FL_COLLAPSE_RANGE: err = ptfs_collapse(ip, from, bytes); break;
	default: err = -EOPNOTSUPP;
	}
	ptfs_iput(ip);
	return err;
}

static off_t op_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi)
{
	struct ptfs_inode *ip;
	int err = inode_get(path, fi, &ip);
	s64 found = -EINVAL;

	if (err)
		return err;
	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		found = ptfs_seek(ip, (u64)off, whence == SEEK_HOLE);
	ptfs_iput(ip);
	return (off_t)found;
}

// ---- Directories ----

struct listing {
	void *buf;
	fuse_fill_dir_t fill;
};

static bool fill_one(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct listing *l = ctx;
	struct stat st = { .st_ino = ino, .st_mode = type << 12 };
	char text[PTFS_NAME_MAX + 1];

	memcpy(text, name, len);
	text[len] = 0;
	return !l->fill(l->buf, text, &st, (off_t)next, (enum fuse_fill_dir_flags)0);
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t from,
		      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	struct listing l = { .buf = buf, .fill = fill };
	struct ptfs_inode *ip;
	u64 pos = (u64)from;
	int err = inode_get(path, fi, &ip);

	(void)flags;
	if (err)
		return err;
	err = ptfs_readdir(ip, &pos, fill_one, &l);
	ptfs_iput(ip);
	return err;
}

const struct fuse_operations *ptfs_fuse_operations(void)
{
	static const struct fuse_operations operations = {
		.init = op_init,
		.getattr = op_getattr,
		.readlink = op_readlink,
		.mknod = op_mknod,
		.mkdir = op_mkdir,
		.symlink = op_symlink,
		.create = op_create,
		.unlink = op_unlink,
		.rmdir = op_rmdir,
		.rename = op_rename,
		.link = op_link,
		.chmod = op_chmod,
		.chown = op_chown,
		.utimens = op_utimens,
		.truncate = op_truncate,
		.statfs = op_statfs,
		.open = op_open,
		.release = op_release,
		.read = op_read,
		.write = op_write,
		.fsync = op_fsync,
		.fallocate = op_fallocate,
		.lseek = op_lseek,
		.opendir = op_open,
		.releasedir = op_release,
		.readdir = op_readdir,
		.fsyncdir = op_fsync,
	};

	return &operations;
}
