// SPDX-License-Identifier: MIT
//
// The buddy system under mm/frame.c (Knuth, TAOCP vol. 1, 2.5): which frames are free. Pure: it
// touches no frame, only its own records, and takes no lock; the host tests run it as it is.
//
// RAM is seen in sections of 128 MiB, each of 64 blocks of 2 MiB, so that two words describe a
// section: which blocks hold RAM, and which of those have initialised records. Blocks that nobody
// has needed yet are "fresh": their 512 records are not even zeroed. That makes the start-up cost
// of gigabytes a few words per section.
//
//      alloc: free list of the order, else split a larger one, else the next fresh block
//      free:  merge with the buddy while that is free too, up to 2 MiB
#pragma once

#include "mm/frame.h"

#define BUDDY_SECTION_SHIFT  27
#define BUDDY_SECTION_SIZE   (1ull << BUDDY_SECTION_SHIFT)
#define BUDDY_SECTIONS       8192u // RAM above 1 TiB is not used
#define BUDDY_SECTION_FRAMES (BUDDY_SECTION_SIZE / PAGE_SIZE)
#define BUDDY_BLOCK_FRAMES   512u

enum frame_state {
	FRAME_INSIDE,   // not the first frame of its block
	FRAME_FREE,     // first frame of a free block, on the free list of its order
	FRAME_USED,     // first frame of an allocated block (those in a per-CPU cache too)
	FRAME_RESERVED, // never handed out: not RAM, or taken before the allocator was there
};

struct buddy_section {
	struct frame *frames; // records of all its frames; NULL: no RAM here
	u64 ram;              // bit per 2 MiB block: some of it is RAM
	u64 init;             // bit per block: its records are initialised; ram & ~init: fresh
};

struct buddy {
	struct list free[FRAME_ORDER_MAX + 1];
	u64 total_frames, free_frames; // free counts fresh blocks
	unsigned sections_end;         // above the highest section with RAM
	unsigned fresh_hint;           // no section below has a fresh block
	struct buddy_section section[BUDDY_SECTIONS];
};

void buddy_init(struct buddy *b);

// Give the section its records: BUDDY_SECTION_FRAMES of them, contents undefined.
void buddy_set_section(struct buddy *b, unsigned section, struct frame *records);

// [base, base + len) is free RAM (4 KiB aligned). Its sections have their records. Never twice.
void buddy_add(struct buddy *b, phys_t base, u64 len);

// As frame_alloc and frame_free, without references and zeroing.
phys_t buddy_alloc(struct buddy *b, unsigned order);
void buddy_free(struct buddy *b, phys_t block, unsigned order);

// As frame_reserve.
int buddy_reserve(struct buddy *b, phys_t base, u64 len) __must_check;

// The record of `p`, or NULL if that is not RAM or lies in a fresh block.
static inline struct frame *buddy_frame(struct buddy *b, phys_t p)
{
	const struct buddy_section *s = &b->section[p.pa >> BUDDY_SECTION_SHIFT];

	if (p.pa >> BUDDY_SECTION_SHIFT >= BUDDY_SECTIONS ||
	    !(s->ram & s->init & BIT((p.pa >> PMD_SHIFT) & 63)))
		return NULL;
	return s->frames + (p.pa & (BUDDY_SECTION_SIZE - 1)) / PAGE_SIZE;
}

// True if `p` is RAM that can be or was handed out.
bool buddy_is_ram(struct buddy *b, phys_t p);

// Free lists, states and counts agree. O(n), for tests.
bool buddy_verify(struct buddy *b);
