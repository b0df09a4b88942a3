// SPDX-License-Identifier: MIT
//
// Physical frames of RAM: a buddy allocator from 4 KiB (order 0) to 2 MiB (order 9) with a cache of
// order-0 frames per CPU. PMem is not RAM and never comes from here.
//
// Context: any, interrupts on or off; never sleeps. Locks: takes RANK_FRAME.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/types.h"

#define FRAME_ORDER_MAX 9

enum frame_flags {
	FRAME_ZERO = 1, // filled with zeros
};

// One for each frame of RAM. User pages and page tables count their references.
struct frame {
	u32 refs; // 0: free, or the inside of a larger block. Atomic.
	u8 order; // of the block that begins here [frame lock while free]
	u8 state; // enum frame_state, mm/buddy.h [as order]
	u16 reserved;
	u64 owner;        // free for the owner's use while allocated
	struct list node; // free list [frame lock]
};

// Takes the RAM ranges of `bootinfo`, less what mm/bootmem.h has given out; the frame array lies in
// RAM itself. Called once, after the direct map is there.
void frame_init(void);

// A block of 4 KiB << order bytes, aligned to its size, one reference; PHYS_NONE when there is
// none.
phys_t frame_alloc(unsigned order, unsigned flags) __must_check;
// Gives back a block whose only reference is the caller's. Order must be the allocation's.
void frame_free(phys_t block, unsigned order);

// References of an order-0 frame (shared pages). frame_put frees it with the last one.
void frame_get(phys_t frame);
void frame_put(phys_t frame);
u32 frame_refs(phys_t frame);

// The owner's word of an allocated frame (any frame inside the block has one of its own).
void frame_set_owner(phys_t frame, u64 owner);
u64 frame_owner(phys_t frame);
// Where it is a count: adds `n`. Returns the new one.
u64 frame_owner_add(phys_t frame, s64 n);

// True for addresses inside RAM that frame_alloc may hand out (device and PMem addresses: false).
bool frame_is_ram(phys_t p);

// Remove [base, base + len) from the allocator before anyone used it (`pmem=` carve-outs).
// -EINVAL: not 2 MiB aligned; -EBUSY: part of it is in use or not RAM.
int frame_reserve(phys_t base, u64 len) __must_check;

struct frame_stats {
	u64 total, free; // frames of 4 KiB; free counts the per-CPU caches too
};
struct frame_stats frame_stats(void);

// Frames that a module keeps in store for re-use (empty slabs, stacks of dead threads): leak checks
// do not count them. May be negative: given back.
void frame_note_kept(s64 frames);

// Allocation-failure injection for tests: the n-th allocation by the calling thread from now on
// fails (0: off). Counts frames and heap objects alike.
void frame_fail_nth(u64 n);
// True if that allocation has not come yet.
bool frame_fail_armed(void);
// True if the allocation that is being made has to fail. For mm/heap.c.
bool frame_fail_now(void);
