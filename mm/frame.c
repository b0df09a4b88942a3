// SPDX-License-Identifier: MIT
//
// What: allocation of physical frames: the buddy system under a lock, with a cache of single frames
// per CPU in front of it, and reference counts of shared frames.
// Not here: which blocks are free (mm/buddy.c), memory in bytes (mm/heap.c).
//
// Invariants
//   I1  a frame's refs is 0 exactly while it is in the buddy system, in a CPU's cache, or inside a
//       larger block.
//   I2  a CPU's cache is touched by that CPU alone, interrupts off.
//   I3  to the buddy system the frames in caches are allocated blocks of order 0.
//
// Locking: frame_lock (RANK_FRAME, interrupts off) guards `buddy`. References are atomic.
// Failure: PHYS_NONE; nothing is reclaimed here, callers report ENOMEM.
#include "mm/frame.h"

#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/ktest.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/lock.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/tlbmark.h"
#include "mm/bootmem.h"
#include "mm/buddy.h"
#include "mm/kmap_internal.h"
#include "mm/layout.h"

#define CACHE_MAX   64
#define CACHE_BATCH 32 // moved to and from the buddy system at once

struct frame_cpu {
	unsigned nr;
	phys_t frame[CACHE_MAX];
} __cacheline;

static struct buddy buddy; // [frame_lock]
static struct spinlock frame_lock = SPINLOCK_INIT(RANK_FRAME);
static struct frame_cpu frame_cpu[CPU_MAX]; // I2
static s64 frames_kept;                     // atomic

// Armed by frame_fail_nth, for one thread, so that the rest of the system goes on.
static struct {
	u64 left; // 0: off
	void *thread;
} fail;

static struct frame *record(phys_t p)
{
	struct frame *f = buddy_frame(&buddy, p);

	ASSERT(f && f->state == FRAME_USED);
	return f;
}

void frame_fail_nth(u64 n)
{
	fail.thread = this_cpu()->current;
	fail.left = n;
}

bool frame_fail_armed(void)
{
	return fail.left != 0;
}

bool frame_fail_now(void)
{
	if (likely(!READ_ONCE(fail.left)) || fail.thread != this_cpu()->current ||
	    this_cpu()->irq_depth)
		return false;
	return --fail.left == 0;
}

// Interrupts are off. False: no memory.
static bool cache_fill(struct frame_cpu *c)
{
	spin_lock(&frame_lock);
	while (c->nr < CACHE_BATCH) {
		phys_t p = buddy_alloc(&buddy, 0);

		if (p.pa == PHYS_NONE.pa)
			break;
		c->frame[c->nr++] = p;
	}
	spin_unlock(&frame_lock);
	return c->nr;
}

// Interrupts are off.
static void cache_drain(struct frame_cpu *c, unsigned keep)
{
	spin_lock(&frame_lock);
	while (c->nr > keep)
		buddy_free(&buddy, c->frame[--c->nr], 0);
	spin_unlock(&frame_lock);
}

static phys_t alloc_one(void)
{
	u64 irq = asm_irq_save();
	struct frame_cpu *c = &frame_cpu[this_cpu()->index];
	phys_t p = PHYS_NONE;

	if (c->nr || cache_fill(c))
		p = c->frame[--c->nr];
	asm_irq_restore(irq);
	return p;
}

static void free_one(phys_t p)
{
	u64 irq = asm_irq_save();
	struct frame_cpu *c = &frame_cpu[this_cpu()->index];

	if (c->nr == CACHE_MAX)
		cache_drain(c, CACHE_MAX - CACHE_BATCH);
	c->frame[c->nr++] = p;
	asm_irq_restore(irq);
}

phys_t frame_alloc(unsigned order, unsigned flags)
{
	phys_t p;

	if (frame_fail_now())
		return PHYS_NONE;
	if (order == 0) {
		p = alloc_one();
	} else {
		u64 irq = spin_lock_irqsave(&frame_lock);

		p = buddy_alloc(&buddy, order);
		spin_unlock_irqrestore(&frame_lock, irq);
	}
	if (p.pa == PHYS_NONE.pa)
		return p;
	__atomic_store_n(&record(p)->refs, 1, __ATOMIC_RELAXED);
	if (flags & FRAME_ZERO)
		memset(phys_to_virt(p), 0, PAGE_SIZE << order);
	return p;
}

void frame_free(phys_t block, unsigned order)
{
	struct frame *f = record(block);
	u64 irq;

	ASSERT(f->order == order && f->refs == 1);
	tlb_mark(TLB_MARK_MEMORY, block.pa, PAGE_SIZE << order);
	f->refs = 0;
	f->owner = 0;
	if (order == 0) {
		free_one(block);
		return;
	}
	irq = spin_lock_irqsave(&frame_lock);
	buddy_free(&buddy, block, order);
	spin_unlock_irqrestore(&frame_lock, irq);
}

void frame_get(phys_t p)
{
	u32 before = __atomic_fetch_add(&record(p)->refs, 1, __ATOMIC_RELAXED);

	ASSERT(before > 0 && before < ~0u);
}

// Release: what this holder did with the frame comes before its next use.
void frame_put(phys_t p)
{
	struct frame *f = record(p);
	u32 before = __atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL);

	ASSERT(before > 0 && f->order == 0);
	if (before > 1)
		return;
	tlb_mark(TLB_MARK_MEMORY, p.pa, PAGE_SIZE);
	f->owner = 0;
	free_one(p);
}

u32 frame_refs(phys_t p)
{
	return __atomic_load_n(&record(p)->refs, __ATOMIC_ACQUIRE);
}

// The inside frames of a block have records too, so record() is too strict here.
void frame_set_owner(phys_t p, u64 owner)
{
	struct frame *f = buddy_frame(&buddy, p);

	ASSERT(f && f->state != FRAME_FREE);
	f->owner = owner;
}

u64 frame_owner(phys_t p)
{
	const struct frame *f = buddy_frame(&buddy, p);

	ASSERT(f && f->state != FRAME_FREE);
	return f->owner;
}

u64 frame_owner_add(phys_t p, s64 n)
{
	struct frame *f = buddy_frame(&buddy, p);

	ASSERT(f && f->state != FRAME_FREE);
	f->owner += (u64)n;
	return f->owner;
}

bool frame_is_ram(phys_t p)
{
	return buddy_is_ram(&buddy, p);
}

int frame_reserve(phys_t base, u64 len)
{
	u64 irq = asm_irq_save();
	int err;

	// A cached frame of this CPU must not stand in the way; those of others may.
	cache_drain(&frame_cpu[this_cpu()->index], 0);
	spin_lock(&frame_lock);
	err = buddy_reserve(&buddy, base, len);
	spin_unlock(&frame_lock);
	asm_irq_restore(irq);
	return err;
}

struct frame_stats frame_stats(void)
{
	struct frame_stats s = { .total = buddy.total_frames };

	s.free = READ_ONCE(buddy.free_frames);
	for (unsigned i = 0; i < CPU_MAX; i++)
		s.free += READ_ONCE(frame_cpu[i].nr);
	return s;
}

void frame_note_kept(s64 frames)
{
	__atomic_fetch_add(&frames_kept, frames, __ATOMIC_RELAXED);
}

static u64 frames_in_use(void)
{
	struct frame_stats s = frame_stats();

	return s.total - s.free - (u64)READ_ONCE(frames_kept);
}

// ---- Start --------------------------------------------------------------------------------------

static void note_section(phys_t base, u64 len)
{
	u64 last = (base.pa + len - 1) >> BUDDY_SECTION_SHIFT;

	for (u64 s = base.pa >> BUDDY_SECTION_SHIFT; s <= last && s < BUDDY_SECTIONS; s++)
		buddy.section[s].ram = 1;
}

static void add_free(phys_t base, u64 len)
{
	u64 limit = (u64)BUDDY_SECTIONS << BUDDY_SECTION_SHIFT;

	if (base.pa < limit)
		buddy_add(&buddy, base, min(len, limit - base.pa));
}

// Two passes: the records are allocated from the memory that they describe, so first it is noted
// which sections need records (in `ram`, which buddy_add then fills for good).
void frame_init(void)
{
	u64 bytes = BUDDY_SECTION_FRAMES * sizeof(struct frame);

	buddy_init(&buddy);
	bootmem_for_each(note_section);
	for (unsigned i = 0; i < BUDDY_SECTIONS; i++) {
		if (!buddy.section[i].ram)
			continue;
		buddy.section[i].ram = 0;
		buddy_set_section(&buddy, i, phys_to_virt(bootmem_alloc(bytes, PAGE_SIZE, ~0ull)));
	}
	bootmem_hand_over(add_free);
	kmap_frames_ready();
	ktest_watch("frames", frames_in_use);
	log_info("memory: %lu MiB, %lu MiB free", buddy.total_frames >> 8, buddy.free_frames >> 8);
}
