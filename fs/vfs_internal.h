// SPDX-License-Identifier: MIT
//
// What the VFS's files share among themselves.
#pragma once

#include "fs/dcache.h"
#include "fs/fd_table.h"
#include "fs/vfs.h"
#include "kernel/sched/thread.h"

// Reference counts. The last one is given back under the lock of the cache that can find the object
// (I1 of fs/inode.c and fs/dcache.c), so that nobody finds what is being freed.
static inline void ref_get(u32 *refs)
{
	__atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}

// Drops one reference unless it is the last one.
static inline bool ref_put_not_last(u32 *refs)
{
	u32 old = __atomic_load_n(refs, __ATOMIC_RELAXED);

	while (old > 1)
		if (__atomic_compare_exchange_n(refs, &old, old - 1, true, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

static inline bool ref_put_is_last(u32 *refs)
{
	return __atomic_sub_fetch(refs, 1, __ATOMIC_ACQ_REL) == 0;
}

// What CLONE_FS shares.
struct fs_place {
	u32 users;           // contexts [atomic]
	u32 umask;           // [atomic]
	struct dentry *root; // [dcache_lock]
	struct dentry *cwd;  // [dcache_lock]
};

extern struct fs_context fs_boot_context; // of kernel threads: "/" and root's credentials
static inline struct fs_context *boot_context(void)
{
	return &fs_boot_context;
}
// fs_current() for this folder.
static inline struct fs_context *current_context(void)
{
	struct thread *t = thread_current();

	return likely(t && t->fs) ? t->fs : &fs_boot_context;
}
void boot_context_set_root(struct dentry *root); // once, when the root is mounted

// fs/fd_table.c: tables of descriptors, counted by the contexts that use them.
struct fd_table *fd_table_create(void);
struct fd_table *fd_table_copy(struct fd_table *from);
struct fd_table *fd_table_get(struct fd_table *t);
void fd_table_put(struct fd_table *t);             // the last user closes everything (may sleep)
bool fd_table_is_shared(const struct fd_table *t); // other contexts use it, too
void fd_table_close_on_exec(struct fd_table *t);

// fs/inode.c
bool cred_in_group(const struct credentials *c, u32 gid);
int cred_permission(const struct credentials *c, const struct inode *i, unsigned mask);

// fs/namei_ops.c: may the current thread take `victim` out of `dir` (sticky bit)?
int may_delete(const struct inode *dir, const struct inode *victim);

// fs/open.c
// A file without a name if `d` is NULL; else the reference to `d` is taken over. NULL: no memory,
// and nothing was taken over.
struct file *file_alloc(struct inode *i, struct dentry *d, const struct file_ops *ops,
			unsigned flags);
// Takes over the reference to `d`, which names `i`, also when it fails.
int inode_open(struct inode *i, struct dentry *d, unsigned flags, struct file **out);

// fs/attr.c
// What a write or truncate by somebody but root must not leave: the right to run as the owner, or
// as the group (inode(7)).
void inode_drop_set_id(struct inode *i);
void attr_init(void); // fs/attr.c
// RLIMIT_FSIZE lets the file have `size` bytes; else -EFBIG, and SIGXFSZ is sent.
int inode_size_allowed(struct inode *i, u64 size);
void file_too_large(void);                    // SIGXFSZ, fs/rw.c
int inode_may_setattr(const struct inode *i); // owner or root: 0 or -EPERM

// fs/rw.c: lseek(2) of a file that knows no holes
s64 file_seek_by_size(struct file *f, s64 off, int whence);

// fs/super.c: /proc/mounts, /proc/filesystems
struct seq;
void mounts_show(struct seq *out, void *arg);
void filesystems_show(struct seq *out, void *arg);

void rename_init(void);          // fs/rename.c
extern struct fs_type proc_type; // fs/procfs.c
