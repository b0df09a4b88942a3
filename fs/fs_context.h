// SPDX-License-Identifier: MIT
//
// What a process sees of the file systems: root, working directory, umask, credentials, descriptors.
// thread->fs points here. Shared between threads of a process; copied by fork.
#pragma once

#include "fs/vfs.h"

#define FD_MAX 1024

struct credentials {
	u32 uid, euid, suid, fsuid;
	u32 gid, egid, sgid, fsgid;
	unsigned nr_groups;
	u32 groups[32];
};

struct fs_context; // fs/fs_context.c

// A context at "/" with no descriptors (init), or a copy (fork): descriptors share their open files.
struct fs_context *fs_context_create(void);
struct fs_context *fs_context_copy(const struct fs_context *from);
void fs_context_free(struct fs_context *c); // closes everything
void fs_context_exec(struct fs_context *c); // close-on-exec, set-uid comes here later
struct credentials *fs_credentials(struct fs_context *c);

// The current thread's context; kernel threads use a boot context at "/" with root's credentials.
struct fs_context *fs_current(void);

// Descriptor -> open file with a reference, or NULL (EBADF).
struct file *fd_get(int fd);
// Puts `f` (reference consumed on success) at the lowest free descriptor >= min; or -EMFILE.
int fd_install(struct file *f, int min, bool cloexec) __must_check;
int fd_close(int fd) __must_check;
