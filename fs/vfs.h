// SPDX-License-Identifier: MIT
//
// The virtual file system: inodes, names, open files, and what a file system provides.
//
//      descriptor table -> struct file -> struct inode -> file system's own inode
//                          (position)     (vm_object for mapping)
//      path walk: struct dentry, a cached (parent, name) -> inode edge (fs/dcache.h)
//
// Permission checks follow Linux with real uids although the first shell is root; they are the
// VFS's business: a file system is called only for what is allowed.
//
// Locks: the VFS takes directory locks, and nothing else, around calls into a file system:
//   lookup, readdir                          the directory's inode.lock
//   create, mkdir, symlink, link, unlink     the directory's inode.lock
//   rmdir                                    the directory's, then the victim's
//   rename                                   the global rename lock if two directories or a
//                                            directory are involved, both directories' (ancestor
//                                            first), then those of a moved or replaced directory
//   tmpfile                                  the directory's inode.lock
//   all others                               none: the file system takes inode.lock itself, for
//                                            directories too (order: lock.h)
#pragma once

#include "fs/fcntl.h"
#include "fs/iov.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/list.h"
#include "kernel/lib/types.h"
#include "kernel/sched/lock.h"
#include "mm/vmobject.h"

struct inode;
struct file;
struct dentry;
struct file_locks;
struct super; // one mounted file system
struct poll_table;

// What stat(2) tells; times in nanoseconds since 1970.
struct inode_attr {
	u64 ino, size, blocks; // blocks of 512 bytes
	u32 mode, uid, gid, nlink;
	u64 rdev, atime_ns, mtime_ns, ctime_ns;
	u32 blksize;
};

enum {
	ATTR_MODE = 1,
	ATTR_UID = 2,
	ATTR_GID = 4,
	ATTR_SIZE = 8,
	ATTR_ATIME = 16,
	ATTR_MTIME = 32,
	// With ATTR_SIZE: mtime and ctime are now, also if the size stays.
	ATTR_TOUCH = 64
};

// One call per entry that readdir found, "." and ".." excepted (the VFS emits them; positions 0 and
// 1 are theirs, so a file system's own begin at 2). False: the caller's buffer is full, stop before
// this one. `next_pos` continues after it, also when entries came and went in between.
typedef bool (*dir_emit)(void *ctx, const char *name, size_t len, u64 ino, unsigned d_type,
			 u64 next_pos);

// What a file system does with an inode. NULL members: the call answers as Linux does for that
// kind. Names have 1 to NAME_MAX bytes and are not "." or "..", nor NUL-terminated. `*out` and
// lookup's result carry a reference. All change times: mtime and ctime are the file system's to
// keep.
struct inode_ops {
	int (*lookup)(struct inode *dir, const char *name, size_t len, struct inode **out);
	int (*create)(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev,
		      struct inode **out); // regular files, devices, fifos; new_inode_owner() whose
	int (*mkdir)(struct inode *dir, const char *name, size_t len, u32 mode, struct inode **out);
	int (*symlink)(struct inode *dir, const char *name, size_t len, const char *target,
		       struct inode **out);
	// A regular file without a name (O_TMPFILE), nlink 0, owned as one made in `dir`.
	// `linkable`: may be given a name later. NULL: -EOPNOTSUPP.
	int (*tmpfile)(struct inode *dir, u32 mode, bool linkable, struct inode **out);
	int (*link)(struct inode *dir, const char *name, size_t len, struct inode *target);
	int (*unlink)(struct inode *dir, const char *name, size_t len, struct inode *victim);
	int (*rmdir)(struct inode *dir, const char *name, size_t len, struct inode *victim);
	// `moved` is name's inode, `replaced` new_name's or NULL (then no such name exists). The
	// VFS has checked kinds, loops, permissions; -ENOTEMPTY is the file system's to find. With
	// RENAME_EXCHANGE the two change places; -EINVAL if that is not supported.
	int (*rename)(struct inode *from, const char *name, size_t len, struct inode *moved,
		      struct inode *to, const char *new_name, size_t new_len,
		      struct inode *replaced, unsigned flags);
	// Copies the target, not NUL-terminated, cut at `bytes`. Its length.
	ssize (*readlink)(struct inode *i, char *buf, size_t bytes);
	// Links that lead to a place instead of a name (/proc/PID/exe, fd/N). Reference in *out.
	int (*follow)(struct inode *i, struct dentry **out);
	int (*getattr)(struct inode *i, struct inode_attr *out);
	// `which` says which members of `attr` count. The caller has settled who may; ctime
	// changes.
	int (*setattr)(struct inode *i, unsigned which, const struct inode_attr *attr);
	// The last in-memory reference is gone; with nlink 0 the file itself goes. A lookup of the
	// same number waits until this has returned. Then `destroy` frees the memory.
	void (*evict)(struct inode *i);
	void (*destroy)(struct inode *i);
};

struct file_ops {
	int (*open)(struct inode *i, struct file *f);
	void (*release)(struct file *f);
	// *pos is read and advanced. write: with O_APPEND in f->flags the file system sets *pos to
	// the size, under the lock that guards it. NULL: -EINVAL.
	ssize (*read)(struct file *f, struct iov_iter *to, u64 *pos);
	ssize (*write)(struct file *f, struct iov_iter *from, u64 *pos);
	int (*readdir)(struct file *f, u64 *pos, dir_emit emit, void *ctx);
	s64 (*lseek)(struct file *f, s64 off, int whence);       // NULL: generic, by size
	s64 (*ioctl)(struct file *f, unsigned cmd, u64 arg);     // NULL: -ENOTTY
	unsigned (*poll)(struct file *f, struct poll_table *pt); // ready events; NULL: always ready
	int (*fsync)(struct file *f, bool data_only);
	// Bytes [off, end) at least. NULL: they are written back when they are stored.
	int (*sync_range)(struct file *f, u64 off, u64 end);
	int (*fallocate)(struct file *f, unsigned mode, u64 off, u64 len);
	// The object to map; NULL: -ENODEV. May adjust (device files).
	int (*mmap)(struct file *f, struct vm_object **out);
};

enum inode_flags {
	INODE_HASHED = 1,    // in the inode cache (inode_insert)
	INODE_EVICTING = 2,  // the last reference is gone, evict runs
	INODE_DEAD = 4,      // a directory that was removed: nothing is created in it any more
	INODE_VOLATILE = 8,  // a directory whose names change by themselves (/proc): not cached
	INODE_LINKABLE = 16, // O_TMPFILE without O_EXCL: may be linked although it has no links
};

struct inode {
	struct super *super;
	const struct inode_ops *ops;
	const struct file_ops *fops;
	u64 ino;
	u32 mode;            // type is constant; permission bits [lock]
	u32 uid, gid, nlink; // [lock]
	u64 rdev;
	u32 refs;                 // atomic; see fs/inode.c
	u32 flags;                // INODE_* [inode cache lock]; VOLATILE constant
	s32 writers;              // > 0: files open for writing; < 0: running programs [atomic]
	struct mutex lock;        // RANK_DIR for directories, else RANK_INODE
	struct list hash_node;    // [inode cache lock]
	void *pipe;               // fifo state [fs/pipe.c]
	struct dentry *names;     // its cached names [dcache lock]
	struct file_locks *locks; // advisory locks [fs/flock.c]
};

struct file {
	struct inode *inode;
	struct dentry *dentry; // NULL for pipes
	const struct file_ops *ops;
	u32 flags;             // O_*, changed by F_SETFL only
	u32 refs;              // atomic
	struct mutex pos_lock; // RANK_FILE_POS: guards pos for read, write, lseek, getdents64
	u64 pos;
	// What mmap found here the first time, for the next [atomic]; NULL: ask ops->mmap.
	struct vm_object *map_object;
	bool stream;   // no position: pipes, terminals; set by open
	void *private; // the file system's
};

struct statfs_info {
	u64 type, bsize, blocks, bfree, bavail, files, ffree, namelen, fsid;
	u64 flags; // ST_RDONLY = 1
};

struct fs_type {
	const char *name;
	bool nodev; // needs no device ("nodev" in /proc/filesystems)
	// Mounts `source` ("pmem0", "none"); `options` as in mount(8). The super (super_init) with
	// its root inode, one reference, which the VFS gives back. 0 or -errno with a log line.
	int (*mount)(const char *source, const char *options, bool read_only, struct super **out);
	struct list node;
};

struct super_ops {
	int (*statfs)(struct super *s, struct statfs_info *out);
	int (*sync)(struct super *s);
	// No name is in use any more and s->root is the only inode in the inode cache. Makes the
	// medium clean; -EBUSY leaves all as it was. After 0 the VFS drops the last references to
	// s->root (evict, destroy) and then calls `destroy`, which frees `s`.
	int (*unmount)(struct super *s);
	void (*destroy)(struct super *s);
};

struct super {
	const struct fs_type *type;
	const struct super_ops *ops;
	struct inode *root;
	u64 dev; // unique; st_dev
	bool read_only;
	// The VFS's own, as the mount asked.
	bool no_exec; // nothing here is executed, or mapped to be
	bool no_dev;  // a device's name here opens nothing
	bool no_suid; // nothing to do: no program gets rights of its file's owner
	char source[32];
	char options[96];
	void *private;
	// The VFS's own.
	struct dentry *root_dentry;
	struct dentry *covered; // what it is mounted on; NULL: the root [dcache lock]
	struct list node;       // mount table [mount lock]
	u32 nr_hashed;          // inodes in the inode cache [inode cache lock]
};

void fs_register(struct fs_type *type);
const struct fs_type *fs_find(const char *name); // NULL: no such type
// Clears `s`, gives it a device number and its names.
void super_init(struct super *s, const struct fs_type *type, const struct super_ops *ops,
		const char *source, const char *options, bool read_only);

// `path` "/" once, first of all; then any directory that is not a mount point yet. Kernel threads
// may call it; permission is the system call's business. -ENODEV: no such type; what lookup and the
// file system say; -EBUSY. `flags`: MOUNT_*; others are ignored.
int vfs_mount(const char *source, const char *path, const char *type, const char *options,
	      unsigned flags) __must_check;
int vfs_unmount(const char *path) __must_check; // -EINVAL: no mount point; -EBUSY
void vfs_sync_all(void);                        // sync(2)
void vfs_unmount_all(void); // poweroff: as much as can be, in reverse order of mounting
// Registers ramfs, devfs, procfs and mounts an empty ramfs as root with /dev and /proc in it. After
// the heap; before anything opens a file.
void vfs_init(void);
// Forget all unused names. For leak checks in tests, and when memory is short.
void vfs_drop_caches(void);

// A new inode: one reference, all else as given; nlink 1, owner root. Not in the cache.
void inode_init(struct inode *i, struct super *s, const struct inode_ops *ops,
		const struct file_ops *fops, u64 ino, u32 mode);
// The cached inode `ino` of `s` with a reference, or NULL. Sleeps while that number is evicted.
struct inode *inode_find(struct super *s, u64 ino) __must_check;
// Puts `i` in the cache, which a file system that makes inodes on lookup needs. Returns `i`, or the
// one that another thread put there first, with a reference (free `i` then).
struct inode *inode_insert(struct inode *i) __must_check;
struct inode *inode_get(struct inode *i);
void inode_put(struct inode *i);        // may sleep (evict)
bool inode_put_shared(struct inode *i); // unless it is the last one: false. Does not sleep
// Mode and owner of what the current thread makes in `dir`: fsuid, fsgid or the group of a set-gid
// directory; *mode gets S_ISGID for directories there.
void new_inode_owner(const struct inode *dir, u32 *mode, u32 *uid, u32 *gid);
// May the current thread do `mask` (MAY_*) to it? 0, -EACCES, -EROFS.
int inode_permission(const struct inode *i, unsigned mask) __must_check;

// A program is being run from it: nobody may open it for writing. -ETXTBSY: somebody has.
int inode_deny_write(struct inode *i) __must_check;
void inode_allow_write(struct inode *i);
// The counterpart: somebody writes, so that no program may be run from it. -ETXTBSY: one is.
int inode_begin_write(struct inode *i) __must_check;
void inode_end_write(struct inode *i);

// Opens a path for the current thread (kernel threads: from the root, as root). 0 or -errno.
int vfs_open(const char *path, unsigned flags, u32 mode, struct file **out) __must_check;
// The same from the directory `dirfd` (or AT_FDCWD).
int vfs_openat(int dirfd, const char *path, unsigned flags, u32 mode, struct file **out)
	__must_check;
// A file to execute: regular, executable by the current thread. -EACCES, -ENOENT, ...
int vfs_open_exec(const char *path, struct file **out) __must_check;
struct file *file_get(struct file *f);
void file_put(struct file *f); // may sleep (release, evict)
// Reads into kernel memory at `off`; bytes read (short at EOF) or -errno. For exec and initrd.
ssize file_read_kernel(struct file *f, void *buf, size_t bytes, u64 off) __must_check;
// Writes all of it at `off` or appends; bytes written or -errno.
ssize file_write_kernel(struct file *f, const void *buf, size_t bytes, u64 off) __must_check;
int vfs_getattr(struct inode *i, struct inode_attr *out) __must_check;

// The path of `d` as the current thread sees it, NUL-terminated; its length, or -ERANGE if it does
// not fit. Deleted names end in " (deleted)".
ssize vfs_path(struct dentry *d, char *buf, size_t bytes);
ssize file_path(struct file *f, char *buf, size_t bytes); // "pipe:[7]" and the like too
// For vm_object_ops.describe: st_dev, st_ino, and one of the cached names of `i` or "".
// No spinlock of rank DCACHE or above held.
void inode_describe(struct inode *i, u64 *dev, u64 *ino, char *path, size_t bytes);
