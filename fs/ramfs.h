// SPDX-License-Identifier: MIT
//
// The RAM file system: everything in frames and heap objects, gone with the machine. Root, /tmp,
// /dev.
//
// Limits: file size 512 GiB; all RAM file systems together use at most half of the RAM for file
// contents (ENOSPC beyond), and make at most one inode per 16 KiB of RAM.
#pragma once

#include "fs/vfs.h"

struct ramfs_entry; // one name in a directory

struct ramfs_dir {
	struct ramfs_entry **table; // 1 << bits chains by hash; NULL: no entry yet
	unsigned bits;
	u64 count;
	u64 next_pos;      // of the next new entry
	struct list order; // entries by position
};

// File contents: a radix tree of frames, 512 pointers a node. height 0: the root is the only page.
struct ramfs_data {
	u64 root; // physical address, 0: nothing
	unsigned height;
	u64 frames; // pages of data, nodes not counted
};

struct ramfs_inode {
	struct inode inode;
	struct vm_object object;          // regular files
	u64 size;                         // [inode.lock]; links: length of the target
	u64 atime_ns, mtime_ns, ctime_ns; // [inode.lock]
	struct list super_node;           // all inodes of the file system [ramfs_super.lock]
	union {
		struct ramfs_data data; // [inode.lock]
		struct ramfs_dir dir;   // [inode.lock]
		char *target;           // constant
	};
};

struct ramfs_super {
	struct super super;
	struct spinlock lock; // RANK_FS_SPIN
	struct list inodes;   // [lock]
	u64 next_ino;         // atomic
};

static inline struct ramfs_inode *ramfs_i(struct inode *i)
{
	return container_of(i, struct ramfs_inode, inode);
}

extern struct fs_type ramfs_type;
extern struct fs_type tmpfs_type; // the same by the name that programs use
// The same with another name: /dev.
int ramfs_mount(const struct fs_type *type, const char *source, const char *options, bool read_only,
		struct super **out) __must_check;

// fs/ramfs_data.c
extern const struct file_ops ramfs_file_ops;
extern const struct vm_object_ops ramfs_object_ops;
int ramfs_set_size(struct ramfs_inode *r, u64 size); // takes map_lock and inode.lock
void ramfs_data_free(struct ramfs_inode *r);         // the last reference is gone
bool ramfs_reserve_inode(void);                      // within the limit?
void ramfs_release_inode(void);
u64 ramfs_pages_max(void);
u64 ramfs_pages_used(void);
