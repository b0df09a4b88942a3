// SPDX-License-Identifier: MIT
//
// Tables of descriptors and the contexts that use them: for fs/, and for mmap's look at a place
// without a call, a lock or a reference.
//
// What a place grants (mm/arena.h, vm_grant) is one word beside it: 0, or what an mmap of the
// file there found. To read it is to see the file in its place at that moment, so neither the file
// nor the place is looked at.
#pragma once

#include "fs/fs_context.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"

#define FD_FIRST 64 // places in a new table; grows to FD_MAX by doubling

// Made when a first file is mapped that may have one.
struct fd_grants {
	struct epoch_node retired;
	unsigned size; // constant
	u64 grant[];   // [table's lock; atomic for fd_grant]
};

struct fd_table {
	// What every look-up reads, and hardly anything writes.
	struct file **files;      // [lock] `size` places
	unsigned size;            // [lock; atomic] never more than `files` has
	u32 users;                // contexts that use it [atomic]
	struct fd_grants *grants; // [lock; atomic for fd_grant] perhaps smaller than `size`

	struct spinlock lock __cacheline; // RANK_FILES
	unsigned next;                    // [lock] I2
	u64 cloexec[FD_MAX / 64];         // [lock]
	struct file *first[FD_FIRST];
};

struct fs_context {
	u32 refs;                // its thread, and /proc readers [atomic]
	unsigned nofile;         // RLIMIT_NOFILE [atomic]
	u64 max_file;            // RLIMIT_FSIZE [atomic]
	struct fs_place *place;  // constant
	struct fd_table *fds;    // constant
	struct credentials cred; // [own thread]
	struct file *spare;      // memory of a closed file, for the next one [atomic exchange]
};

static inline u64 fd_table_grant(const struct fd_table *t, int fd)
{
	const struct fd_grants *g = __atomic_load_n(&t->grants, __ATOMIC_ACQUIRE);

	if (unlikely((unsigned)fd >= g->size)) // a negative one is a large number
		return 0;
	return __atomic_load_n(&g->grant[(unsigned)fd], __ATOMIC_ACQUIRE);
}

// What the current thread's descriptor grants; 0: ask the file. The thread has a context, and is in
// a section with preemption off: the object lives at this moment, and may be gone in the next
// (arena_map_fast).
static inline u64 fd_grant(int fd)
{
	return fd_table_grant(thread_current()->fs->fds, fd);
}

// The same, and the object lives until the thread's call ends: nobody else can close the file, as
// with fd_begin. 0 also if that is not so.
static inline u64 fd_grant_kept(int fd)
{
	const struct fd_table *t = thread_current()->fs->fds;

	return __atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 1 ? fd_table_grant(t, fd) : 0;
}
