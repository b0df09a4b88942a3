// SPDX-License-Identifier: MIT
//
// Shared by the files of procfs.
#pragma once

#include "fs/procfs.h"
#include "fs/vfs.h"

struct seq {
	u32 refs; // the open file's and those of reads under way [text_lock in procfs.c]
	char *text;
	size_t len, room;
	bool full; // memory ran short: what is there is a beginning only
};

// One registered name.
struct proc_node {
	struct proc_node *next, *child; // siblings; first entry of a folder [constant after boot]
	const char *name;
	u32 mode, ino;
	void (*show)(struct seq *s, void *arg);
	int (*store)(const char *text, void *arg);
	void *arg; // links: the target
};

struct proc_inode {
	struct inode inode;
	const struct proc_node *node; // registered files and folders, else NULL
	u32 pid, tid, kind, fd;       // files of processes (fs/procfs_task.c); tid 0: of no thread
};

extern struct proc_node proc_root;
extern const struct inode_ops proc_dir_ops; // of folders with registered entries
struct proc_inode *proc_inode_make(struct super *s, const struct inode_ops *ops,
				   const struct file_ops *fops, u64 ino, u32 mode);
void proc_inode_destroy(struct inode *i);
struct proc_node *proc_node_find(const struct proc_node *dir, const char *name, size_t len);
struct inode *proc_node_inode(struct super *s, const struct proc_node *n);
int proc_text_open(struct file *f, int (*print)(struct seq *s, struct proc_inode *pi));
void proc_text_release(struct file *f);
ssize proc_text_read(struct file *f, struct iov_iter *to, u64 *pos);

// fs/procfs_task.c: what the root has beside registered names. Position >= PROC_TASK_POS.
#define PROC_TASK_POS 0x10000u
int proc_task_lookup(struct inode *root, const char *name, size_t len, struct inode **out);
int proc_task_readdir(u64 *pos, dir_emit emit, void *ctx);

static inline struct proc_inode *proc_i(struct inode *i)
{
	return container_of(i, struct proc_inode, inode);
}
