// SPDX-License-Identifier: MIT
//
// What the files of ptfs's kernel home share.
//
//      struct inode (VFS)  --ip-->  struct ptfs_inode (core)  --home.object-->  mappings
//           ^                            |
//           +------- home.vfs -----------+      while the VFS knows the file
#pragma once

#include "fs/ptfs/ptfs.h"
#include "fs/vfs.h"
#include "kernel/sched/wait.h"
#include "mm/dirty.h"

#define GLUE_READY_QUEUE 64

// One mounted file system.
struct glue_super {
	struct super vfs;
	struct ptfs_fs *fs;
	struct pmem_region *region;
	struct ptfs_options options; // of the mount [const]
	bool no_attach;              // option nodaxvm: mappings by faults only
	struct mutex dirty_lock;     // RANK_FS_INNER
	struct list dirty; // glue_inode.dirty_node: mapped shared and writable [dirty_lock]
	// Files whose tables a thread verifies in the background, by number [ready_lock].
	struct spinlock ready_lock; // RANK_FS_SPIN
	u64 ready_ino[GLUE_READY_QUEUE];
	unsigned ready_head, ready_count;
	bool rebasing; // the region has moved: the thread rewrites entries when it has nothing else
	bool ready_stop;
	bool ready_running;
	struct wait_queue ready_wait;
	bool zero_stop, zero_running; // the thread of prezero.c [ready_lock]
	u32 bad_written; // ptfs_bad_count() when it wrote the list last, that thread's own
};

struct glue_inode {
	struct inode vfs;
	struct ptfs_inode *ip;  // one reference
	struct list dirty_node; // [dirty_lock]
};

static inline struct glue_inode *glue_inode(struct inode *i)
{
	return container_of(i, struct glue_inode, vfs);
}

static inline struct ptfs_inode *glue_ip(struct inode *i)
{
	return glue_inode(i)->ip;
}

static inline struct ptfs_iter *glue_iter(struct iov_iter *it)
{
	return container_of(it, struct ptfs_iter, iov);
}

// Nobody uses the region, and it has nothing where a file system begins (super.c).
bool glue_region_is_blank(const struct pmem_region *r);

static inline struct glue_super *glue_super(struct super *s)
{
	return container_of(s, struct glue_super, vfs);
}

extern const struct vm_object_ops glue_vm_ops;
extern const struct inode_ops glue_dir_ops, glue_file_inode_ops, glue_symlink_ops;
extern const struct file_ops glue_dir_fops, glue_file_fops;

// inode.c: the VFS's inode of `ip`, whose reference it takes over, also when it fails.
int glue_inode_of(struct super *s, struct ptfs_inode *ip, struct inode **out) __must_check;

// mapping.c: the thread that readies tables. stop waits until it has ended.
int glue_ready_start(struct glue_super *g) __must_check;
void glue_ready_stop(struct glue_super *g);
void glue_ready_queue(struct glue_super *g, u64 ino);
// prezero.c: the thread that zeroes free blocks; none for a read-only mount.
void glue_epoch_init(void); // platform.c: reads the boot parameters
void glue_zero_init(void);
int glue_zero_start(struct glue_super *g) __must_check;
void glue_zero_stop(struct glue_super *g);
// The name that /proc/PID/maps shows.
void glue_remember_path(struct ptfs_inode *ip, struct file *f);
// A block of the file was found bad by a call: out of all mappings with it.
void glue_detach_bad(struct ptfs_inode *ip);
void glue_forget_path(struct ptfs_inode *ip);
// Writes back what mappings may have left in CPU caches.
int glue_write_back(struct glue_inode *gi) __must_check;
int glue_write_back_all(struct glue_super *g) __must_check;
