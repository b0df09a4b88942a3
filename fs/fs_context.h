// SPDX-License-Identifier: MIT
//
// What a thread sees of the file systems: root, working directory, umask, credentials, descriptors.
// thread->fs points here. Each thread has a context of its own, so credentials are a thread's, as
// in Linux; what clone(2) shares (CLONE_FS: root, directory, umask; CLONE_FILES: descriptors) hangs
// on it, and counts its users.
#pragma once

#include "fs/vfs.h"

#define FD_MAX 1024 // the most that RLIMIT_NOFILE can be

struct credentials {
	u32 uid, euid, suid, fsuid;
	u32 gid, egid, sgid, fsgid;
	unsigned nr_groups;
	u32 groups[32];
};

struct fs_context; // fs/fs_context.c

// A context at "/" with no descriptors (init), or one for a new thread: a copy (fork: descriptors
// share their open files), or with root, directory and umask (share_place) or the descriptor table
// (share_files) in common. One reference. NULL when memory is short.
struct fs_context *fs_context_create(void);
struct fs_context *fs_context_clone(struct fs_context *from, bool share_place, bool share_files);
// One more that looks at it (/proc), one less: the last one lets go of everything (may sleep).
struct fs_context *fs_context_get(struct fs_context *c);
void fs_context_free(struct fs_context *c);
// The thread's descriptors are others' too, which execve must not go on with.
bool fs_context_shares_files(const struct fs_context *c);
// execve: close-on-exec; the effective numbers become the saved ones, so that a program cannot go
// back to what its starter gave up for it (credentials(7)).
void fs_context_exec(struct fs_context *c);
struct credentials *fs_credentials(struct fs_context *c);
// RLIMIT_NOFILE, at most FD_MAX.
unsigned fs_nofile(struct fs_context *c);
// RLIMIT_NOFILE and RLIMIT_FSIZE.
void fs_set_limits(struct fs_context *c, u64 nofile, u64 max_file);

// The current thread's context; kernel threads use a boot context at "/" with root's credentials.
struct fs_context *fs_current(void);

// The working directory and the root, with references (dentry_put in fs/dcache.h).
struct dentry *fs_cwd(struct fs_context *c);
struct dentry *fs_root(struct fs_context *c);
// Takes over the reference to `d`, a directory.
void fs_set_cwd(struct fs_context *c, struct dentry *d);
void fs_set_root(struct fs_context *c, struct dentry *d);
u32 fs_set_umask(struct fs_context *c, u32 mask); // the old one

// Descriptor -> open file with a reference, or NULL (EBADF). Descriptors opened with O_PATH count.
struct file *fd_get(int fd);
// The same in another process's table (/proc/PID/fd).
struct file *fd_get_of(struct fs_context *c, int fd);
// What fd_grant (fs/fd_table.h) finds from now on, until `f` leaves its place. Nothing if it has
// left it, or memory is short.
void fd_set_grant(int fd, const struct file *f, u64 grant);
// The lowest open descriptor >= fd, or -1.
int fd_next_of(struct fs_context *c, int fd);
// Puts `f` (reference consumed on success) at the lowest free descriptor >= min; or -EMFILE.
int fd_install(struct file *f, int min, bool cloexec) __must_check;
int fd_close(int fd) __must_check;
// Descriptors from here on are not in the table: it grows when one is used. What select(2) looks
// at.
unsigned fd_table_size(void);
// dup2, dup3: `f` (reference consumed on success) takes the place `fd`, whatever was there is
// closed.
int fd_replace(int fd, struct file *f, bool cloexec) __must_check;
int fd_get_cloexec(int fd);          // 0, 1 or -EBADF
int fd_set_cloexec(int fd, bool on); // 0 or -EBADF

// A file for the duration of one system call. While a table belongs to one thread alone, nobody can
// close what that thread uses, and no reference is taken: fd_end() undoes what fd_begin() did.
struct fd_use {
	struct file *file; // NULL: EBADF
	bool counted;
};
struct fd_use fd_begin(int fd);
static inline void fd_end(struct fd_use u)
{
	if (u.counted)
		file_put(u.file);
}
