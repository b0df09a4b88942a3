// SPDX-License-Identifier: MIT
//
// Numbers of the file ABI that the kernel's own code uses: file types, permission bits, open flags,
// *at flags (Linux x86-64 values). Layouts of structs that travel to user space: kernel/sys/abi.h.
#pragma once

#define NAME_MAX 255
#define PATH_MAX 4096 // with the NUL

// File types and permission bits (inode(7)).
#define S_IFMT      0170000u
#define S_IFSOCK    0140000u
#define S_IFLNK     0120000u
#define S_IFREG     0100000u
#define S_IFBLK     0060000u
#define S_IFDIR     0040000u
#define S_IFCHR     0020000u
#define S_IFIFO     0010000u
#define S_ISUID     0004000u
#define S_ISGID     0002000u
#define S_ISVTX     0001000u
#define S_IXGRP     0000010u
#define S_ISDIR(m)  (((m)&S_IFMT) == S_IFDIR)
#define S_ISREG(m)  (((m)&S_IFMT) == S_IFREG)
#define S_ISLNK(m)  (((m)&S_IFMT) == S_IFLNK)
#define S_ISCHR(m)  (((m)&S_IFMT) == S_IFCHR)
#define S_ISBLK(m)  (((m)&S_IFMT) == S_IFBLK)
#define S_ISFIFO(m) (((m)&S_IFMT) == S_IFIFO)

// d_type of getdents64 is the file type shifted down.
#define DT_OF_MODE(m) (((m)&S_IFMT) >> 12)

// open(2) flags, x86-64 values.
#define O_ACCMODE   00000003u
#define O_RDONLY    00000000u
#define O_WRONLY    00000001u
#define O_RDWR      00000002u
#define O_CREAT     00000100u
#define O_EXCL      00000200u
#define O_NOCTTY    00000400u
#define O_TRUNC     00001000u
#define O_APPEND    00002000u
#define O_NONBLOCK  00004000u
#define O_DSYNC     00010000u
#define O_ASYNC     00020000u
#define O_DIRECT    00040000u
#define O_LARGEFILE 00100000u
#define O_DIRECTORY 00200000u
#define O_NOFOLLOW  00400000u
#define O_NOATIME   01000000u
#define O_CLOEXEC   02000000u
#define O_PATH      010000000u
#define O_TMPFILE   020000000u // always together with O_DIRECTORY

#define AT_FDCWD            (-100)
#define AT_SYMLINK_NOFOLLOW 0x100u
#define AT_REMOVEDIR        0x200u
#define AT_EACCESS          0x200u
#define AT_SYMLINK_FOLLOW   0x400u
#define AT_NO_AUTOMOUNT     0x800u
#define AT_EMPTY_PATH       0x1000u

#define SEEK_SET  0
#define SEEK_CUR  1
#define SEEK_END  2
#define SEEK_DATA 3
#define SEEK_HOLE 4

#define FALLOC_FL_KEEP_SIZE      0x1u
#define FALLOC_FL_PUNCH_HOLE     0x2u
#define FALLOC_FL_COLLAPSE_RANGE 0x8u
#define FALLOC_FL_ZERO_RANGE     0x10u

#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE  2u

// mount(2), and the same bits in what statfs(2) says.
#define MOUNT_RDONLY 0x1u
#define MOUNT_NOSUID 0x2u
#define MOUNT_NODEV  0x4u
#define MOUNT_NOEXEC 0x8u

// access(2), and what permission checks ask for.
#define MAY_EXEC  1u
#define MAY_WRITE 2u
#define MAY_READ  4u

// Ready events of poll(2).
#define POLLIN     0x001u
#define POLLPRI    0x002u
#define POLLOUT    0x004u
#define POLLERR    0x008u
#define POLLHUP    0x010u
#define POLLNVAL   0x020u
#define POLLRDNORM 0x040u
#define POLLWRNORM 0x100u
