// SPDX-License-Identifier: MIT
//
// The virtual file system: inodes, names, open files, and what a file system provides.
//
//      descriptor table -> struct file -> struct inode -> file system's own inode
//                          (position)     (vm_object for mapping)
//      path walk: struct dentry, a cached (parent, name) -> inode edge
//
// Permission checks follow Linux with real uids although the first shell is root.
#pragma once

#include "kernel/lib/errno.h"
#include "kernel/lib/list.h"
#include "kernel/lib/types.h"
#include "kernel/sched/lock.h"
#include "mm/vmobject.h"

#define NAME_MAX 255
#define PATH_MAX 4096

// File types and permission bits (inode(7)).
#define S_IFMT   0170000u
#define S_IFSOCK 0140000u
#define S_IFLNK  0120000u
#define S_IFREG  0100000u
#define S_IFBLK  0060000u
#define S_IFDIR  0040000u
#define S_IFCHR  0020000u
#define S_IFIFO  0010000u
#define S_ISUID  0004000u
#define S_ISGID  0002000u
#define S_ISVTX  0001000u
#define S_ISDIR(m) (((m)&S_IFMT) == S_IFDIR)
#define S_ISREG(m) (((m)&S_IFMT) == S_IFREG)
#define S_ISLNK(m) (((m)&S_IFMT) == S_IFLNK)
#define S_ISCHR(m) (((m)&S_IFMT) == S_IFCHR)
#define S_ISFIFO(m) (((m)&S_IFMT) == S_IFIFO)

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
#define O_DIRECT    00040000u
#define O_LARGEFILE 00100000u
#define O_DIRECTORY 00200000u
#define O_NOFOLLOW  00400000u
#define O_NOATIME   01000000u
#define O_CLOEXEC   02000000u
#define O_PATH      010000000u

struct inode;
struct file;
struct dentry;
struct super; // one mounted file system
struct poll_table;

// Where data comes from or goes to: user memory or kernel memory, in pieces (readv, writev). The file
// system moves bytes only through iov_copy_*; they return the bytes done, short on a bad address.
struct iov_iter {
	bool user;        // pieces are user addresses, else kernel pointers
	bool nofault;     // do not take faults: a short copy means "fault in and call again"
	const struct iov_piece {
		u64 base; // uva or kernel pointer
		u64 len;  // bytes
	} *piece;
	unsigned nr_pieces;
	u64 piece_off;    // bytes used of piece[0]
	u64 left;         // bytes left over all pieces
};
size_t iov_copy_to(struct iov_iter *it, const void *src, size_t bytes);   // read(): to the caller
size_t iov_copy_from(struct iov_iter *it, void *dst, size_t bytes);       // write(): from the caller
size_t iov_zero(struct iov_iter *it, size_t bytes);                       // read() of a hole

// What stat(2) tells; times in nanoseconds since 1970.
struct inode_attr {
	u64 ino, size, blocks; // blocks of 512 bytes
	u32 mode, uid, gid, nlink;
	u64 rdev, atime_ns, mtime_ns, ctime_ns;
	u32 blksize;
};

enum { ATTR_MODE = 1, ATTR_UID = 2, ATTR_GID = 4, ATTR_SIZE = 8, ATTR_ATIME = 16, ATTR_MTIME = 32 };

// One call per entry that readdir found; false: the caller's buffer is full, stop before this one.
typedef bool (*dir_emit)(void *ctx, const char *name, size_t len, u64 ino, unsigned d_type,
			 u64 next_pos);

// What a file system does with an inode. NULL members: the call answers as Linux does for that kind.
// Directories are called with their lock held by the VFS (exclusively for changes).
struct inode_ops {
	int (*lookup)(struct inode *dir, const char *name, size_t len, struct inode **out);
	int (*create)(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev,
		      struct inode **out); // regular files, devices, fifos
	int (*mkdir)(struct inode *dir, const char *name, size_t len, u32 mode, struct inode **out);
	int (*symlink)(struct inode *dir, const char *name, size_t len, const char *target,
		       struct inode **out);
	int (*link)(struct inode *dir, const char *name, size_t len, struct inode *target);
	int (*unlink)(struct inode *dir, const char *name, size_t len, struct inode *victim);
	int (*rmdir)(struct inode *dir, const char *name, size_t len, struct inode *victim);
	int (*rename)(struct inode *from, const char *name, size_t len, struct inode *to,
		      const char *new_name, size_t new_len, unsigned flags);
	ssize (*readlink)(struct inode *i, char *buf, size_t bytes);
	int (*getattr)(struct inode *i, struct inode_attr *out);
	int (*setattr)(struct inode *i, unsigned which, const struct inode_attr *attr);
	void (*evict)(struct inode *i); // last in-memory reference gone
};

struct file_ops {
	int (*open)(struct inode *i, struct file *f);
	void (*release)(struct file *f);
	ssize (*read)(struct file *f, struct iov_iter *to, u64 *pos);
	ssize (*write)(struct file *f, struct iov_iter *from, u64 *pos);
	int (*readdir)(struct file *f, u64 *pos, dir_emit emit, void *ctx);
	s64 (*lseek)(struct file *f, s64 off, int whence); // NULL: generic, by size
	int (*ioctl)(struct file *f, unsigned cmd, uva_t arg);
	unsigned (*poll)(struct file *f, struct poll_table *pt); // returns ready events now
	int (*fsync)(struct file *f, bool data_only);
	int (*fallocate)(struct file *f, unsigned mode, u64 off, u64 len);
	// The object to map, or -ENODEV. May adjust (device files).
	int (*mmap)(struct file *f, struct vm_object **out);
};

struct inode {
	struct super *super;
	const struct inode_ops *ops;
	const struct file_ops *fops;
	u64 ino;
	u32 mode;            // type is constant; permission bits [lock]
	u32 uid, gid, nlink; // [lock]
	u64 rdev;
	u32 refs;            // atomic
	struct mutex lock;   // RANK_DIR for directories, else RANK_INODE
	struct list hash_node;
	void *pipe;          // fifo state, fs/pipe.c
};

struct file {
	struct inode *inode;
	struct dentry *dentry; // NULL for pipes
	const struct file_ops *ops;
	u32 flags;             // O_*, changed by F_SETFL only
	u32 refs;              // atomic
	struct mutex pos_lock; // guards pos for read/write/lseek/getdents
	u64 pos;
	void *private;         // the file system's
};

struct statfs_info {
	u64 type, bsize, blocks, bfree, bavail, files, ffree, namelen, fsid;
	u64 flags; // ST_RDONLY = 1
};

struct fs_type {
	const char *name;
	// Mounts `source` ("pmem0", "none"); `options` as in mount(8). 0 or -errno with a log line.
	int (*mount)(const char *source, const char *options, bool read_only, struct super **out);
};

struct super_ops {
	int (*statfs)(struct super *s, struct statfs_info *out);
	int (*sync)(struct super *s);
	int (*unmount)(struct super *s); // -EBUSY leaves it mounted
};

struct super {
	const struct fs_type *type;
	const struct super_ops *ops;
	struct inode *root;
	u64 dev;         // unique; st_dev
	bool read_only;
	char source[32];
	char options[64];
	void *private;
};

void fs_register(const struct fs_type *type);
int vfs_mount(const char *source, const char *path, const char *type, const char *options,
	      bool read_only) __must_check;
int vfs_unmount(const char *path) __must_check;
void vfs_sync_all(void);      // sync(2)
void vfs_unmount_all(void);   // poweroff: as much as can be, in reverse order of mounting

struct inode *inode_get(struct inode *i);
void inode_put(struct inode *i);

// Opens a path for the current thread (kernel threads: from the root, as root). 0 or -errno.
int vfs_open(const char *path, unsigned flags, u32 mode, struct file **out) __must_check;
struct file *file_get(struct file *f);
void file_put(struct file *f);
// Reads into kernel memory at `off`; bytes read (short at EOF) or -errno. For exec and initrd.
ssize file_read_kernel(struct file *f, void *buf, size_t bytes, u64 off) __must_check;
