// SPDX-License-Identifier: MIT
//
// What: asking about files: stat, statx, statfs, access, readlink.
#include "kernel/sys/sys_file.h"

#include "fs/file.h"
#include "fs/fs_context.h"
#include "fs/namei.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define NS_PER_S       1000000000ull
#define STATX_BASIC    0x7ffu
#define STATX_RESERVED 0x80000000u
#define AT_STATX_SYNC  0x6000u
#define R_OK_W_OK_X_OK 7u

static struct abi_timespec to_timespec(u64 ns)
{
	return (struct abi_timespec){ (s64)(ns / NS_PER_S), (s64)(ns % NS_PER_S) };
}

static s64 put_stat(struct inode *i, uva_t user)
{
	struct inode_attr a;
	struct abi_stat st;
	int err = vfs_getattr(i, &a);

	if (err)
		return err;
	st = (struct abi_stat){
		.dev = i->super->dev,
		.ino = a.ino,
		.nlink = a.nlink,
		.mode = a.mode,
		.uid = a.uid,
		.gid = a.gid,
		.rdev = a.rdev,
		.size = (s64)a.size,
		.blksize = a.blksize,
		.blocks = (s64)a.blocks,
		.atime = to_timespec(a.atime_ns),
		.mtime = to_timespec(a.mtime_ns),
		.ctime = to_timespec(a.ctime_ns),
	};
	return copy_to_user(user, &st, sizeof(st));
}

static s64 stat_at(int dirfd, uva_t path, unsigned flags, uva_t user)
{
	struct inode *i;
	s64 err = user_inode_at(dirfd, path, flags, &i);

	if (err)
		return err;
	err = put_stat(i, user);
	inode_put(i);
	return err;
}

s64 sys_stat(const struct syscall_args *args)
{
	return stat_at(AT_FDCWD, UVA(args->a[0]), 0, UVA(args->a[1]));
}

s64 sys_lstat(const struct syscall_args *args)
{
	return stat_at(AT_FDCWD, UVA(args->a[0]), AT_SYMLINK_NOFOLLOW, UVA(args->a[1]));
}

s64 sys_fstat(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	s64 err;

	if (!u.file)
		return -EBADF;
	err = put_stat(u.file->inode, UVA(args->a[1]));
	fd_end(u);
	return err;
}

s64 sys_newfstatat(const struct syscall_args *args)
{
	unsigned flags = (unsigned)args->a[3];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	return stat_at((int)args->a[0], UVA(args->a[1]), flags, UVA(args->a[2]));
}

static struct abi_statx_time to_statx_time(u64 ns)
{
	return (struct abi_statx_time){ .sec = (s64)(ns / NS_PER_S), .nsec = (u32)(ns % NS_PER_S) };
}

s64 sys_statx(const struct syscall_args *args)
{
	unsigned flags = (unsigned)args->a[2];
	struct inode_attr a;
	struct abi_statx st;
	struct inode *i;
	int err;

	if ((args->a[3] & STATX_RESERVED) || (flags & AT_STATX_SYNC) == AT_STATX_SYNC ||
	    (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC)))
		return -EINVAL;
	err = user_inode_at((int)args->a[0], UVA(args->a[1]), flags, &i);
	if (err)
		return err;
	err = vfs_getattr(i, &a);
	st = (struct abi_statx){
		.mask = STATX_BASIC,
		.blksize = a.blksize,
		.nlink = a.nlink,
		.uid = a.uid,
		.gid = a.gid,
		.mode = (u16)a.mode,
		.ino = a.ino,
		.size = a.size,
		.blocks = a.blocks,
		.atime = to_statx_time(a.atime_ns),
		.ctime = to_statx_time(a.ctime_ns),
		.mtime = to_statx_time(a.mtime_ns),
		.rdev_major = (u32)(a.rdev >> 8),
		.rdev_minor = a.rdev & 0xff,
		.dev_minor = (u32)i->super->dev,
	};
	inode_put(i);
	return err ? err : copy_to_user(UVA(args->a[4]), &st, sizeof(st));
}

// ---- statfs -------------------------------------------------------------------------------------

static s64 put_statfs(struct super *s, uva_t user)
{
	struct statfs_info info = { .namelen = NAME_MAX, .bsize = PAGE_SIZE };
	struct abi_statfs st;
	int err = s->ops && s->ops->statfs ? s->ops->statfs(s, &info) : 0;

	if (err)
		return err;
	st = (struct abi_statfs){
		.type = (s64)info.type,
		.bsize = (s64)info.bsize,
		.blocks = info.blocks,
		.bfree = info.bfree,
		.bavail = info.bavail,
		.files = info.files,
		.ffree = info.ffree,
		.fsid = { (s32)info.fsid, (s32)(info.fsid >> 32) },
		.namelen = (s64)info.namelen,
		.frsize = (s64)info.bsize,
		.flags = (s64)(info.flags | (s->no_suid ? MOUNT_NOSUID : 0) |
			       (s->no_dev ? MOUNT_NODEV : 0) | (s->no_exec ? MOUNT_NOEXEC : 0)),
	};
	return copy_to_user(user, &st, sizeof(st));
}

s64 sys_statfs(const struct syscall_args *args)
{
	struct inode *i;
	s64 err = user_inode_at(AT_FDCWD, UVA(args->a[0]), 0, &i);

	if (err)
		return err;
	err = put_statfs(i->super, UVA(args->a[1]));
	inode_put(i);
	return err;
}

s64 sys_fstatfs(const struct syscall_args *args)
{
	struct inode *i;
	s64 err = fd_inode((int)args->a[0], &i);

	if (err)
		return err;
	err = put_statfs(i->super, UVA(args->a[1]));
	inode_put(i);
	return err;
}

// ---- access -------------------------------------------------------------------------------------

// The walk itself goes by the effective user; a set-uid program that asks for the real one about a
// directory that only the effective one may search gets an answer Linux would refuse.
static s64 access_at(int dirfd, uva_t path, unsigned mask, unsigned flags)
{
	struct inode *i;
	s64 err;

	if ((mask & ~R_OK_W_OK_X_OK) ||
	    (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	err = user_inode_at(dirfd, path, flags & ~AT_EACCESS, &i);
	if (err)
		return err;
	err = inode_access(i, mask, flags & AT_EACCESS);
	inode_put(i);
	return err;
}

s64 sys_access(const struct syscall_args *args)
{
	return access_at(AT_FDCWD, UVA(args->a[0]), (unsigned)args->a[1], 0);
}

s64 sys_faccessat(const struct syscall_args *args)
{
	return access_at((int)args->a[0], UVA(args->a[1]), (unsigned)args->a[2], 0);
}

s64 sys_faccessat2(const struct syscall_args *args)
{
	return access_at((int)args->a[0], UVA(args->a[1]), (unsigned)args->a[2],
			 (unsigned)args->a[3]);
}

// ---- readlink -----------------------------------------------------------------------------------

static int link_dentry(int dirfd, uva_t path, struct dentry **out)
{
	struct user_path p;
	struct file *f;
	int err = user_path_get(&p, path);

	if (err)
		return err;
	if (*p.str) {
		err = path_at(dirfd, p.str, 0, out);
	} else { // a link opened with O_PATH | O_NOFOLLOW
		f = fd_get(dirfd);
		err = !f ? (dirfd == AT_FDCWD ? -ENOENT : -EBADF)
		      : f->dentry && S_ISLNK(f->inode->mode) ? 0
							     : -ENOENT;
		if (!err)
			*out = dentry_get(f->dentry);
		if (f)
			file_put(f);
	}
	user_path_put(&p);
	return err;
}

static s64 readlink_at(int dirfd, uva_t path, uva_t user, s64 bytes)
{
	struct dentry *d;
	char *buf;
	ssize n;
	int err;

	if (bytes <= 0)
		return -EINVAL;
	err = link_dentry(dirfd, path, &d);
	if (err)
		return err;
	buf = kmalloc(PATH_MAX);
	n = buf ? vfs_readlink(d, buf, min((size_t)bytes, (size_t)PATH_MAX)) : -ENOMEM;
	dentry_put(d);
	if (n > 0 && copy_to_user(user, buf, (size_t)n))
		n = -EFAULT;
	kfree(buf);
	return n;
}

s64 sys_readlink(const struct syscall_args *args)
{
	return readlink_at(AT_FDCWD, UVA(args->a[0]), UVA(args->a[1]), (int)args->a[2]);
}

s64 sys_readlinkat(const struct syscall_args *args)
{
	return readlink_at((int)args->a[0], UVA(args->a[1]), UVA(args->a[2]), (int)args->a[3]);
}
