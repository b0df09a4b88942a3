// SPDX-License-Identifier: MIT
//
// The change batch: every change to translations that a CPU may have cached goes through one. It
// gathers cleared ranges and the frames that they led to; finishing it shoots down, then frees.
//
// Order on finish (each step needs the one before it):
//   1. full fence: no CPU can load a cleared entry any more
//   2. shoot down: INVLPG for up to 33 pages else CR3, IPI to the CPUs that have the space loaded
//   3. free frames and tables: only now can nobody reach them
#pragma once

#include "kernel/lib/pte.h"

struct aspace;

#define PTBATCH_INVLPG_MAX 33
#define PTBATCH_FRAMES     64

struct ptbatch {
	struct aspace *as;
	u64 start, end;   // range to flush; start >= end: nothing yet
	bool all;         // also upper-level entries changed: flush everything
	bool finished;
	unsigned nr_frames;
	phys_t frames[PTBATCH_FRAMES]; // references to drop after the shootdown
};

void ptbatch_begin(struct ptbatch *b, struct aspace *as);
// Replace the entry at `slot` (level, mapping `va`); notes the range if a present entry went away or
// lost rights. Returns the old entry. A level > 1 table entry that goes sets `all`.
pte_t ptbatch_set(struct ptbatch *b, pte_t *slot, int level, u64 va, pte_t e);
// Drop one reference of `frame` after the shootdown. May finish and restart the batch when full, so
// the caller must be able to wait for other CPUs (no spinlock that an interrupt handler takes).
void ptbatch_free(struct ptbatch *b, phys_t frame);
// Fence, shoot down, free. Must be called before the batch goes out of scope; asserts otherwise.
void ptbatch_finish(struct ptbatch *b);
