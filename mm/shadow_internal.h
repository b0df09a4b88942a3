// SPDX-License-Identifier: MIT
//
// What mm/shadow.c and mm/shadow_thread.c share. Within them, and for tests of the thread.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/pte.h"
#include "kernel/sched/lock.h"
#include "mm/shadow.h"

#define PTE_COPY PTE_SW0 // in the copy: leads to a page of the copy

enum shadow_mode { SHADOW_AUTO, SHADOW_ALWAYS, SHADOW_NEVER };
extern enum shadow_mode shadow_mode; // [atomic]

// Frames, chained by their owner words; first 0: none.
struct shadow_chain {
	u64 first, last;
};

struct vm_shadow {
	struct mutex lock;        // RANK_SHADOW
	struct vm_object *object; // constant
	pte_t top;                // marked PTE_COPY; 0: there is no copy now [lock]
	int level;                // of `top` [lock]
	bool partial;             // some entry leads to the file's table [lock]
	u32 left;                 // pages that the call under way may still take [lock]
	u64 pages;                // of the copy [lock]
	struct shadow_chain dead; // until the revoke under way is done [lock]
	u64 used_ns;              // when it was last attached, or seen to be [atomic]
	struct list node;         // [list lock]
	bool listed, busy;        // busy: the thread works on it [list lock]
};

// ---- shadow.c ----

// Every page of the copy below `e` of `level`, which nothing in the copy names any more, goes to
// the chain. shadow->lock held.
void shadow_bury(struct vm_shadow *s, pte_t e, int level);
// Copy what could not be copied before. map_lock held shared, and shadow->lock.
void shadow_deepen(struct vm_shadow *s);
// The copy goes. map_lock held exclusively.
void shadow_give_back(struct vm_object *o);

// ---- shadow_thread.c ----

// How many pages one call may take now.
u32 shadow_room(void);
void shadow_count_made(u64 pages);
// It has a copy that is to be looked after / it has none. shadow->lock held.
void shadow_list(struct vm_shadow *s);
void shadow_unlist(struct vm_shadow *s);
// The thread will not touch it any more. No lock held.
void shadow_forget(struct vm_shadow *s);
// Frees the chain in its epoch, and empties it. Any lock may be held that comes before RANK_OBJECT.
void shadow_rest(struct shadow_chain *c);
