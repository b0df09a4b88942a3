// SPDX-License-Identifier: MIT
//
// What: names: mkdir, mknod, unlink, rename, link, symlink; the working directory and the root.
// Not here: what they do (fs/namei_ops.c, fs/rename.c).
#include "kernel/sys/sys_file.h"

#include "fs/fs_context.h"
#include "fs/namei.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

static s64 mkdir_at(int dirfd, uva_t path, u32 mode)
{
	struct user_path p;
	s64 err = user_path_get(&p, path);

	if (err)
		return err;
	err = vfs_mkdirat(dirfd, p.str, mode);
	user_path_put(&p);
	return err;
}

s64 sys_mkdir(const struct syscall_args *args)
{
	return mkdir_at(AT_FDCWD, UVA(args->a[0]), (u32)args->a[1]);
}

s64 sys_mkdirat(const struct syscall_args *args)
{
	return mkdir_at((int)args->a[0], UVA(args->a[1]), (u32)args->a[2]);
}

static s64 mknod_at(int dirfd, uva_t path, u32 mode, u64 rdev)
{
	struct user_path p;
	s64 err = user_path_get(&p, path);

	if (err)
		return err;
	err = vfs_mknodat(dirfd, p.str, mode, rdev);
	user_path_put(&p);
	return err;
}

s64 sys_mknod(const struct syscall_args *args)
{
	return mknod_at(AT_FDCWD, UVA(args->a[0]), (u32)args->a[1], (u32)args->a[2]);
}

s64 sys_mknodat(const struct syscall_args *args)
{
	return mknod_at((int)args->a[0], UVA(args->a[1]), (u32)args->a[2], (u32)args->a[3]);
}

static s64 remove_at(int dirfd, uva_t path, bool dir)
{
	struct user_path p;
	s64 err = user_path_get(&p, path);

	if (err)
		return err;
	err = dir ? vfs_rmdirat(dirfd, p.str) : vfs_unlinkat(dirfd, p.str);
	user_path_put(&p);
	return err;
}

s64 sys_rmdir(const struct syscall_args *args)
{
	return remove_at(AT_FDCWD, UVA(args->a[0]), true);
}

s64 sys_unlink(const struct syscall_args *args)
{
	return remove_at(AT_FDCWD, UVA(args->a[0]), false);
}

s64 sys_unlinkat(const struct syscall_args *args)
{
	unsigned flags = (unsigned)args->a[2];

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return remove_at((int)args->a[0], UVA(args->a[1]), flags & AT_REMOVEDIR);
}

static s64 rename_at(int old_fd, uva_t old, int new_fd, uva_t new, unsigned flags)
{
	struct user_path from, to;
	s64 err = user_path_get(&from, old);

	if (err)
		return err;
	err = user_path_get(&to, new);
	if (!err) {
		err = vfs_renameat(old_fd, from.str, new_fd, to.str, flags);
		user_path_put(&to);
	}
	user_path_put(&from);
	return err;
}

s64 sys_rename(const struct syscall_args *args)
{
	return rename_at(AT_FDCWD, UVA(args->a[0]), AT_FDCWD, UVA(args->a[1]), 0);
}

s64 sys_renameat(const struct syscall_args *args)
{
	return rename_at((int)args->a[0], UVA(args->a[1]), (int)args->a[2], UVA(args->a[3]), 0);
}

s64 sys_renameat2(const struct syscall_args *args)
{
	return rename_at((int)args->a[0], UVA(args->a[1]), (int)args->a[2], UVA(args->a[3]),
			 (unsigned)args->a[4]);
}

static s64 link_at(int old_fd, uva_t old, int new_fd, uva_t new, unsigned flags)
{
	struct user_path from, to;
	s64 err;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = user_path_get(&from, old);
	if (err)
		return err;
	err = user_path_get(&to, new);
	if (!err) {
		err = vfs_linkat(old_fd, from.str, new_fd, to.str, flags);
		user_path_put(&to);
	}
	user_path_put(&from);
	return err;
}

s64 sys_link(const struct syscall_args *args)
{
	return link_at(AT_FDCWD, UVA(args->a[0]), AT_FDCWD, UVA(args->a[1]), 0);
}

s64 sys_linkat(const struct syscall_args *args)
{
	return link_at((int)args->a[0], UVA(args->a[1]), (int)args->a[2], UVA(args->a[3]),
		       (unsigned)args->a[4]);
}

static s64 symlink_at(uva_t target, int dirfd, uva_t path)
{
	struct user_path to, at;
	s64 err = user_path_get(&to, target);

	if (err)
		return err;
	err = user_path_get(&at, path);
	if (!err) {
		err = vfs_symlinkat(to.str, dirfd, at.str);
		user_path_put(&at);
	}
	user_path_put(&to);
	return err;
}

s64 sys_symlink(const struct syscall_args *args)
{
	return symlink_at(UVA(args->a[0]), AT_FDCWD, UVA(args->a[1]));
}

s64 sys_symlinkat(const struct syscall_args *args)
{
	return symlink_at(UVA(args->a[0]), (int)args->a[1], UVA(args->a[2]));
}

// ---- Where the process stands -------------------------------------------------------------------

s64 sys_getcwd(const struct syscall_args *args)
{
	struct dentry *d = fs_cwd(fs_current());
	char *buf = kmalloc(PATH_MAX);
	ssize n = -ENOMEM;

	if (buf)
		n = vfs_path(d, buf, PATH_MAX);
	if (n >= 0 && READ_ONCE(d->flags) & DENTRY_DEAD)
		n = -ENOENT;
	dentry_put(d);
	if (n == -ERANGE)
		n = -ENAMETOOLONG;
	if (n >= 0)
		n++; // the NUL counts
	if (n > 0 && (u64)n > args->a[1])
		n = -ERANGE;
	if (n > 0 && copy_to_user(UVA(args->a[0]), buf, (size_t)n))
		n = -EFAULT;
	kfree(buf);
	return n;
}

// The directory that a path names, if the caller may search it.
static int directory_at(uva_t path, struct dentry **out)
{
	struct user_path p;
	int err = user_path_get(&p, path);

	if (err)
		return err;
	err = path_at(AT_FDCWD, p.str, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);
	user_path_put(&p);
	if (err)
		return err;
	err = inode_permission((*out)->inode, MAY_EXEC);
	if (err)
		dentry_put(*out);
	return err;
}

s64 sys_chdir(const struct syscall_args *args)
{
	struct dentry *d;
	int err = directory_at(UVA(args->a[0]), &d);

	if (!err)
		fs_set_cwd(fs_current(), d);
	return err;
}

s64 sys_fchdir(const struct syscall_args *args)
{
	struct file *f = fd_get((int)args->a[0]);
	int err;

	if (!f)
		return -EBADF;
	err = f->dentry && S_ISDIR(f->inode->mode) ? inode_permission(f->inode, MAY_EXEC)
						   : -ENOTDIR;
	if (!err)
		fs_set_cwd(fs_current(), dentry_get(f->dentry));
	file_put(f);
	return err;
}

s64 sys_chroot(const struct syscall_args *args)
{
	struct dentry *d;
	int err = directory_at(UVA(args->a[0]), &d);

	if (err)
		return err;
	if (fs_credentials(fs_current())->euid) {
		dentry_put(d);
		return -EPERM;
	}
	fs_set_root(fs_current(), d);
	return 0;
}

s64 sys_umask(const struct syscall_args *args)
{
	return fs_set_umask(fs_current(), (u32)args->a[0]);
}
