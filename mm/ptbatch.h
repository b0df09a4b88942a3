// SPDX-License-Identifier: MIT
//
// The change batch: every change to user translations that a CPU may have cached goes through one.
// It gathers cleared ranges and the frames that they led to; flushing it shoots down, then frees.
//
// Order of a flush (each step needs the one before it):
//   1. full fence: no CPU can load a cleared entry any more
//   2. which CPUs may hold translations? Those whose loaded_as is the address space, or SWITCHING
//   3. shoot down: INVLPG for up to 33 pages else CR3; by IPI on those CPUs, directly on this one
//   4. drop frames and tables: only now can nobody reach them
//
// and aspace_switch() does its half: loaded_as = SWITCHING, MOV CR3, loaded_as = new. A CPU whose
// CR3 load comes before the fence of step 1 is seen in step 2; one that loads later finds the
// entries cleared.
//
//	ptbatch_begin(&b, as);
//	spin_lock(&as->pt_lock);
//	... ptbatch_set(), ptbatch_drop(); when ptbatch_full(): unlock, ptbatch_flush(), lock ...
//	spin_unlock(&as->pt_lock);
//	ptbatch_finish(&b);
#pragma once

#include "kernel/lib/pte.h"
#include "kernel/x86/smp.h"

struct aspace;

#define PTBATCH_INVLPG_MAX 33
#define PTBATCH_FRAMES     64
#define PTBATCH_RESERVE    8 // what is guaranteed to fit while not full

struct ptbatch {
	struct aspace *as;
	u64 start, end; // range to flush in `as`; start >= end: nothing yet
	bool all;       // upper-level entries changed, or several spaces: flush everything
	bool finished;
	cpumask_t others; // CPUs that hold translations of spaces before `as` (ptbatch_switch)
	unsigned nr_frames;
	phys_t frames[PTBATCH_FRAMES]; // references to drop after the shootdown
};

void ptbatch_init(void); // reads the boot parameters
void ptbatch_begin(struct ptbatch *b, struct aspace *as);

// Replace the entry at `slot` (of `level`, mapping `va`) in a private table of b->as and note what
// has to be flushed: the range, if a present leaf went away, moved or lost rights; everything, if a
// present table did. Returns the old entry. Caller holds as->pt_lock.
pte_t ptbatch_set(struct ptbatch *b, pte_t *slot, int level, u64 va, pte_t e);

// Present leaves of b->as in [start, end) were cleared in another way. Caller holds as->pt_lock.
static inline void ptbatch_cleared(struct ptbatch *b, u64 start, u64 end)
{
	b->start = min(b->start, start);
	b->end = max(b->end, end);
}

// Drop one reference of `frame` after the shootdown. Not when full.
void ptbatch_drop(struct ptbatch *b, phys_t frame);

// The same for a private table of b->as that is empty: the space may keep it in store.
void ptbatch_drop_table(struct ptbatch *b, phys_t table);

static inline bool ptbatch_full(const struct ptbatch *b)
{
	return b->nr_frames > PTBATCH_FRAMES - PTBATCH_RESERVE;
}

// Whatever `as` may have cached is to be flushed, whether or not this batch finds an entry to
// clear: another batch may have cleared it and not flushed yet.
void ptbatch_flush_all(struct ptbatch *b);

// From here on the entries are those of `as` (a revoke goes through many). Entries of the space
// before are cleared by now; its CPUs are noted. Any lock held.
void ptbatch_switch(struct ptbatch *b, struct aspace *as);

// Fence, shoot down, drop; the batch is empty and can be used on. Thread context, interrupts on, no
// spinlock held (other CPUs may wait for it with interrupts off), sleeping locks allowed.
void ptbatch_flush(struct ptbatch *b);
// The same for the last time; must be called before the batch goes out of scope.
void ptbatch_finish(struct ptbatch *b);

// Without a batch: the one entry of an upper level that led to something was cleared, by a locked
// instruction, so step 1 is done; 2 and 3 for everything that CPUs may hold of `as`. As
// ptbatch_flush.
void ptbatch_flush_space(struct aspace *as);

// The same with interrupts off, if no other CPU may hold any. False: nothing was done.
bool ptbatch_flush_light(struct aspace *as) __must_check;

// Flush all translations of all CPUs, global ones too, after the kernel map changed. As
// ptbatch_flush.
void ptbatch_flush_kernel(void);
