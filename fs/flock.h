// SPDX-License-Identifier: MIT
//
// Advisory locks: byte ranges of a process (fcntl F_SETLK) and whole files of an open file (flock).
// Locks of a process are those of its descriptor table, so threads share them.
#pragma once

#include "fs/vfs.h"

enum { LOCK_READ, LOCK_WRITE, LOCK_NONE }; // F_RDLCK, F_WRLCK, F_UNLCK

struct lock_range {
	int kind;
	u64 start, end; // first and last byte
	u32 pid;        // F_GETLK: who has it
};

void flock_init(void);

// F_SETLK(W): 0, -EAGAIN (somebody else has it, and !wait), -EINTR, -ENOLCK (no memory), -EDEADLK.
int flock_set(struct file *f, const void *owner, const struct lock_range *want, bool wait)
	__must_check;
// F_GETLK: the first lock in the way, kind LOCK_NONE if there is none.
void flock_get(struct file *f, const void *owner, struct lock_range *range);
// flock(2): kind over the whole file, owned by the open file.
int flock_file(struct file *f, int kind, bool wait) __must_check;

// A descriptor was closed: the process's locks on that file go (POSIX). `owner` is the table.
void flock_close(struct file *f, const void *owner);
void flock_release_file(struct file *f); // the last reference to an open file goes
const void *fs_lock_owner(void);         // of the current process
