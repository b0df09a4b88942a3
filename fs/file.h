// SPDX-License-Identifier: MIT
//
// What the system calls do with an open file. All return what their call on Linux does.
#pragma once

#include "fs/vfs.h"

// At the file's position, which moves along.
ssize file_read(struct file *f, struct iov_iter *to);
ssize file_write(struct file *f, struct iov_iter *from);
// At *off, which moves along. -ESPIPE for streams, -EINVAL for what is negative as a signed number.
ssize file_pread(struct file *f, struct iov_iter *to, u64 *off);
ssize file_pwrite(struct file *f, struct iov_iter *from, u64 *off);
s64 file_lseek(struct file *f, s64 off, int whence);
// Entries from the position on, "." and ".." first.
int file_readdir(struct file *f, dir_emit emit, void *ctx);
unsigned file_poll(struct file *f, struct poll_table *pt);
int file_sync(struct file *f, bool data_only);
// sync_file_range(2), in Linux's order of checks. -EBADF, -EINVAL, -ESPIPE.
int file_sync_range(struct file *f, s64 off, s64 len, unsigned flags);
int file_truncate(struct file *f, s64 size);
int file_fallocate(struct file *f, unsigned mode, s64 off, s64 len);
s64 file_ioctl(struct file *f, unsigned cmd, u64 arg);
// What sends SIGXFSZ to the current thread; set by kernel/proc.
void file_set_signal(void (*fn)(void));

// Changes of attributes, with permission checked (fs/attr.c).
int inode_chmod(struct inode *i, u32 mode);
int inode_chown(struct inode *i, u32 uid, u32 gid); // ~0u: leave
// NULL: leave. `now`: both become the present time, for which write permission is enough; anything
// else takes the owner.
int inode_set_times(struct inode *i, const u64 *atime_ns, const u64 *mtime_ns, bool now);
// Permission is the caller's. `touch`: the times change even if the size does not (ftruncate,
// O_TRUNC; with truncate(2) they do not).
int inode_truncate(struct inode *i, s64 size, bool touch);
int inode_access(struct inode *i, unsigned mask, bool effective);
