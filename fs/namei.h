// SPDX-License-Identifier: MIT
//
// From paths to files: the walk, and the calls that change names. Paths are NUL-terminated strings
// in kernel memory, of at most PATH_MAX - 1 bytes; `dirfd` is a descriptor or AT_FDCWD. All act
// with the current thread's credentials, root, working directory and umask, and return 0 or -errno
// as the system call of the name does on Linux.
#pragma once

#include "fs/dcache.h"

enum {
	LOOKUP_FOLLOW = 1,    // follow a symbolic link in the last place
	LOOKUP_DIRECTORY = 2, // must be a directory
};

// The file that `path` names: a positive dentry with a reference.
int path_at(int dirfd, const char *path, unsigned flags, struct dentry **out) __must_check;
// The same from the root as the kernel sees it, whoever runs.
int path_kernel(const char *path, struct dentry **out) __must_check;

int vfs_mkdirat(int dirfd, const char *path, u32 mode) __must_check;
int vfs_mknodat(int dirfd, const char *path, u32 mode, u64 rdev) __must_check;
int vfs_symlinkat(const char *target, int dirfd, const char *path) __must_check;
// `flags`: AT_SYMLINK_FOLLOW, AT_EMPTY_PATH.
int vfs_linkat(int old_fd, const char *old_path, int new_fd, const char *new_path, unsigned flags)
	__must_check;
int vfs_unlinkat(int dirfd, const char *path) __must_check;
int vfs_rmdirat(int dirfd, const char *path) __must_check;
int vfs_renameat(int old_fd, const char *old_path, int new_fd, const char *new_path, unsigned flags)
	__must_check;
// The link's text, not NUL-terminated; bytes.
ssize vfs_readlink(struct dentry *d, char *buf, size_t bytes);

// A walk in progress. The calls above use it so: walk_start, walk_parent, then look at the last
// name with the directory's lock held; walk_finish gives everything back.
struct walk_link; // a symbolic link whose target is being walked

enum walk_last { LAST_NAME, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

struct walk {
	struct dentry *at;    // where the walk stands, with a reference
	struct dentry *child; // what slow lookup found for the present name, with a reference
	const char *rest;     // what is left of the present string
	const char *name;     // the present component
	u32 name_len, hash;
	u64 head;            // its first bytes: name_head()
	enum walk_last last; // kind of the last component
	bool slash;          // slashes follow the last component: it must be a directory
	bool kernel;         // from the kernel's root, as root
	unsigned flags;      // LOOKUP_*, and internal ones
	unsigned links;      // followed so far
	int dirfd;
	struct fs_context *ctx;
	struct walk_link *link; // strings in use; the innermost first
};

// -ENOENT: the path is empty; -EBADF, -ENOTDIR: dirfd.
int walk_start(struct walk *w, int dirfd, const char *path, unsigned flags) __must_check;
// To the directory of the last component: then `at`, `last`, `name`, `slash` are set.
int walk_parent(struct walk *w) __must_check;
// All the way: `at` is the file.
int walk_all(struct walk *w) __must_check;
// The last name was found to be the symbolic link `d` (reference stays the caller's): goes on with
// its target. Then walk_parent again.
int walk_follow(struct walk *w, struct dentry *d) __must_check;
void walk_finish(struct walk *w);
// Where the walk stands; the reference is the caller's. The walk is over but for walk_finish.
static inline struct dentry *walk_take(struct walk *w)
{
	struct dentry *d = w->at;

	w->at = NULL;
	return d;
}
