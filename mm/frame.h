// SPDX-License-Identifier: MIT
//
// Physical frames of RAM: a buddy allocator from 4 KiB (order 0) to 2 MiB (order 9) with a cache of
// order-0 frames per CPU. PMem is not RAM and never comes from here.
//
// Context: any, interrupts on or off, except that FRAME_WAIT may sleep. Locks: takes RANK_FRAME.
#pragma once

#include "kernel/lib/types.h"

#define FRAME_ORDER_MAX 9

enum frame_flags {
	FRAME_ZERO = 1, // filled with zeros
};

// One for each frame of RAM. User pages and page tables count their references.
struct frame {
	u32 refs;    // 0: free, or the inside of a larger block. Atomic.
	u8 order;    // of the block that begins here
	u8 state;    // frame.c
	u16 reserved;
	u64 owner;   // free for the owner's use while allocated
	struct frame *next, *prev; // free lists
};

// Takes the RAM ranges of `bootinfo`, less the kernel image, the modules and low 1 MiB; the frame
// array lies in RAM itself. Called once, after the direct map is there.
void frame_init(void);

// A block of 4 KiB << order bytes, aligned to its size, one reference; PHYS_NONE when there is none.
phys_t frame_alloc(unsigned order, unsigned flags);
// Gives back a block whose only reference is the caller's. Order must be the allocation's.
void frame_free(phys_t block, unsigned order);

// References of an order-0 frame (shared pages). frame_put frees it with the last one.
void frame_get(phys_t frame);
void frame_put(phys_t frame);
u32 frame_refs(phys_t frame);

// True for addresses inside RAM that frame_alloc may hand out (device and PMem addresses: false).
bool frame_is_ram(phys_t p);

// Remove [base, base + len) from the allocator before anyone used it (`pmem=` carve-outs, boot
// modules). -EBUSY if part of it is in use or not RAM. 2 MiB granularity.
int frame_reserve(phys_t base, u64 len) __must_check;

struct frame_stats {
	u64 total, free; // frames of 4 KiB; free counts the per-CPU caches too
};
struct frame_stats frame_stats(void);

// Allocation-failure injection for tests: the n-th allocation from now on fails (0: off). Counts
// frames and heap objects alike.
void frame_fail_nth(u64 n);
