// SPDX-License-Identifier: MIT
//
// System calls on files, and what their files share.
#pragma once

#include "fs/vfs.h"
#include "kernel/lib/types.h"
#include "kernel/sys/abi.h"
#include "kernel/sys/syscall.h"

// sys_file_io.c
s64 sys_read(const struct syscall_args *args);
s64 sys_write(const struct syscall_args *args);
s64 sys_pread64(const struct syscall_args *args);
s64 sys_pwrite64(const struct syscall_args *args);
s64 sys_readv(const struct syscall_args *args);
s64 sys_writev(const struct syscall_args *args);
s64 sys_preadv(const struct syscall_args *args);
s64 sys_pwritev(const struct syscall_args *args);
s64 sys_lseek(const struct syscall_args *args);
s64 sys_sendfile(const struct syscall_args *args);
s64 sys_fsync(const struct syscall_args *args);
s64 sys_fdatasync(const struct syscall_args *args);
s64 sys_sync_file_range(const struct syscall_args *args);
s64 sys_ftruncate(const struct syscall_args *args);
s64 sys_fallocate(const struct syscall_args *args);
s64 sys_fadvise64(const struct syscall_args *args);
s64 sys_getdents64(const struct syscall_args *args);

// sys_file_fd.c
s64 sys_open(const struct syscall_args *args);
s64 sys_openat(const struct syscall_args *args);
s64 sys_creat(const struct syscall_args *args);
s64 sys_close(const struct syscall_args *args);
s64 sys_dup(const struct syscall_args *args);
s64 sys_dup2(const struct syscall_args *args);
s64 sys_dup3(const struct syscall_args *args);
s64 sys_fcntl(const struct syscall_args *args);
s64 sys_ioctl(const struct syscall_args *args);
s64 sys_flock(const struct syscall_args *args);
s64 sys_pipe(const struct syscall_args *args);
s64 sys_pipe2(const struct syscall_args *args);

// sys_file_stat.c
s64 sys_stat(const struct syscall_args *args);
s64 sys_lstat(const struct syscall_args *args);
s64 sys_fstat(const struct syscall_args *args);
s64 sys_newfstatat(const struct syscall_args *args);
s64 sys_statx(const struct syscall_args *args);
s64 sys_statfs(const struct syscall_args *args);
s64 sys_fstatfs(const struct syscall_args *args);
s64 sys_access(const struct syscall_args *args);
s64 sys_faccessat(const struct syscall_args *args);
s64 sys_faccessat2(const struct syscall_args *args);
s64 sys_readlink(const struct syscall_args *args);
s64 sys_readlinkat(const struct syscall_args *args);

// sys_file_name.c
s64 sys_mkdir(const struct syscall_args *args);
s64 sys_mkdirat(const struct syscall_args *args);
s64 sys_mknod(const struct syscall_args *args);
s64 sys_mknodat(const struct syscall_args *args);
s64 sys_rmdir(const struct syscall_args *args);
s64 sys_unlink(const struct syscall_args *args);
s64 sys_unlinkat(const struct syscall_args *args);
s64 sys_rename(const struct syscall_args *args);
s64 sys_renameat(const struct syscall_args *args);
s64 sys_renameat2(const struct syscall_args *args);
s64 sys_link(const struct syscall_args *args);
s64 sys_linkat(const struct syscall_args *args);
s64 sys_symlink(const struct syscall_args *args);
s64 sys_symlinkat(const struct syscall_args *args);
s64 sys_getcwd(const struct syscall_args *args);
s64 sys_chdir(const struct syscall_args *args);
s64 sys_fchdir(const struct syscall_args *args);
s64 sys_chroot(const struct syscall_args *args);
s64 sys_umask(const struct syscall_args *args);

// sys_file_attr.c
s64 sys_chmod(const struct syscall_args *args);
s64 sys_fchmod(const struct syscall_args *args);
s64 sys_fchmodat(const struct syscall_args *args);
s64 sys_chown(const struct syscall_args *args);
s64 sys_lchown(const struct syscall_args *args);
s64 sys_fchown(const struct syscall_args *args);
s64 sys_fchownat(const struct syscall_args *args);
s64 sys_utime(const struct syscall_args *args);
s64 sys_utimes(const struct syscall_args *args);
s64 sys_futimesat(const struct syscall_args *args);
s64 sys_utimensat(const struct syscall_args *args);
s64 sys_truncate(const struct syscall_args *args);
s64 sys_xattr(const struct syscall_args *args); // the whole family: none are kept

// sys_file_poll.c
s64 sys_poll(const struct syscall_args *args);
s64 sys_ppoll(const struct syscall_args *args);
s64 sys_select(const struct syscall_args *args);
s64 sys_pselect6(const struct syscall_args *args);

// sys_file_mount.c
s64 sys_mount(const struct syscall_args *args);
s64 sys_umount2(const struct syscall_args *args);
s64 sys_sync(const struct syscall_args *args);
s64 sys_syncfs(const struct syscall_args *args);

// ---- Shared helpers -----------------------------------------------------------------------------

// A path copied from user space. Short ones need no memory.
struct user_path {
	char *str;
	char small[120];
};

// -EFAULT, -ENAMETOOLONG, -ENOMEM. On success user_path_put() must follow.
int user_path_get(struct user_path *p, uva_t user) __must_check;
void user_path_put(struct user_path *p);

// The inode that (dirfd, path, AT_* flags) names, with a reference: AT_SYMLINK_NOFOLLOW,
// AT_EMPTY_PATH.
int user_inode_at(int dirfd, uva_t path, unsigned flags, struct inode **out) __must_check;
// The same by descriptor. -EBADF.
int fd_inode(int fd, struct inode **out) __must_check;
