// SPDX-License-Identifier: MIT
//
// Persistent memory that has failed: which blocks, and what happens when somebody meets one. A
// block is 4 KiB, whatever the hardware's grain. The list holds until the machine is switched off.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/sched/thread.h"

// Takes machine checks, makes /proc/badblocks. After pmem_init.
void poison_init(void);
// The thread that writes the log and looks after what no call stumbled over. When threads run.
void poison_start(void);

// How many bad blocks there are; it never goes down (but in tests). Any context.
extern u32 poison_blocks; // [atomic]
static inline u32 poison_count(void)
{
	return __atomic_load_n(&poison_blocks, __ATOMIC_ACQUIRE);
}
// Is any of [start, start + len) bad? *first: the lowest bad block there. Any context.
bool poison_find(phys_t start, u64 len, phys_t *first);
// The block that holds `pa` of a region is bad from now on; one log line. False: it was known, or
// the list is full (logged). Thread context.
bool poison_add(phys_t pa);
// The same of a block that was known before the machine started: nothing new for the log.
void poison_known(phys_t pa);
// For tests: the list is what it was when it had `nr` blocks. Nobody is at work with the others.
void poison_list_cut(u32 nr);
// Called after each addition, in thread context, perhaps with locks of a file system held. Once.
void poison_on_added(void (*fn)(void));

// Since the thread last asked, a copy of its was cut short by memory that failed: what failed is in
// the list now, and the call it is in gives -EIO. Thread context.
bool poison_met(void);
// What was met before does not concern the call that begins: copies of other calls may have met
// memory that has failed, and said -EFAULT.
static inline void poison_forget(void)
{
	thread_current()->memory_failed = 0;
}
