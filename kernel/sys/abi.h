// SPDX-License-Identifier: MIT
//
// Structs that travel between user space and kernel: Linux x86-64's layouts.
#pragma once

#include "kernel/lib/types.h"

struct abi_timespec {
	s64 sec, nsec;
};

struct abi_timeval {
	s64 sec, usec;
};

struct abi_stat {
	u64 dev, ino, nlink;
	u32 mode, uid, gid, pad0;
	u64 rdev;
	s64 size, blksize, blocks;
	struct abi_timespec atime, mtime, ctime;
	s64 reserved[3];
};
_Static_assert(sizeof(struct abi_stat) == 144, "struct stat");

struct abi_statfs {
	s64 type, bsize;
	u64 blocks, bfree, bavail, files, ffree;
	s32 fsid[2];
	s64 namelen, frsize, flags, spare[4];
};
_Static_assert(sizeof(struct abi_statfs) == 120, "struct statfs");

struct abi_statx_time {
	s64 sec;
	u32 nsec;
	s32 pad;
};

struct abi_statx {
	u32 mask, blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, pad0;
	u64 ino, size, blocks, attributes_mask;
	struct abi_statx_time atime, btime, ctime, mtime;
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 mnt_id;
	u32 dio_mem_align, dio_offset_align;
	u64 spare[12];
};
_Static_assert(sizeof(struct abi_statx) == 256, "struct statx");

// struct linux_dirent64 without the name, which begins at byte 19.
struct abi_dirent64 {
	u64 ino;
	s64 off;
	u16 reclen;
	u8 type;
	char name[];
} __attribute__((packed));
_Static_assert(sizeof(struct abi_dirent64) == 19, "struct linux_dirent64");

struct abi_flock {
	s16 type, whence;
	s32 pad0;
	s64 start, len;
	s32 pid, pad1;
};
_Static_assert(sizeof(struct abi_flock) == 32, "struct flock");

struct abi_pollfd {
	s32 fd;
	s16 events, revents;
};

struct abi_utimbuf {
	s64 actime, modtime;
};
