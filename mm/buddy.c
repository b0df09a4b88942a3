// SPDX-License-Identifier: MIT
//
// What: the buddy system (buddy.h).
// Not here: locks, references, per-CPU caches, zeroing (mm/frame.c).
//
// Invariants
//   I1  a frame whose state is FREE begins a block of 2^order frames, aligned to its size, that is
//       on free[order]; all other frames of the block are INSIDE.
//   I2  no two buddies of the same order below the largest are both FREE (they would be merged).
//   I3  records of a block are meaningful only if its init bit is set.
#include "mm/buddy.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"

static struct buddy_section *section_of(struct buddy *b, u64 pa)
{
	return &b->section[pa >> BUDDY_SECTION_SHIFT];
}

static u64 block_bit(u64 pa)
{
	return BIT((pa >> PMD_SHIFT) & 63);
}

// The record of an address whose block is initialised.
static struct frame *record(struct buddy *b, u64 pa)
{
	return section_of(b, pa)->frames + (pa & (BUDDY_SECTION_SIZE - 1)) / PAGE_SIZE;
}

static u64 order_bytes(unsigned order)
{
	return PAGE_SIZE << order;
}

void buddy_init(struct buddy *b)
{
	for (unsigned i = 0; i <= FRAME_ORDER_MAX; i++)
		list_init(&b->free[i]);
	b->fresh_hint = BUDDY_SECTIONS;
}

void buddy_set_section(struct buddy *b, unsigned section, struct frame *records)
{
	b->section[section].frames = records;
	b->sections_end = max(b->sections_end, section + 1);
}

// Initialise the records of the block at `pa`: all INSIDE, of nothing yet.
static void block_records_init(struct buddy *b, u64 pa)
{
	struct frame *f = record(b, ALIGN_DOWN(pa, PMD_SIZE));

	memset(f, 0, BUDDY_BLOCK_FRAMES * sizeof(*f));
	section_of(b, pa)->init |= block_bit(pa);
}

// The address stands in `owner`, which is unused while a block is free: a list node does not tell
// which section its record is in.
static void push(struct buddy *b, u64 pa, unsigned order)
{
	struct frame *f = record(b, pa);

	f->state = FRAME_FREE;
	f->order = (u8)order;
	f->owner = pa;
	list_add(&b->free[order], &f->node);
}

static void take(struct frame *f)
{
	list_del(&f->node);
	f->state = FRAME_INSIDE;
}

// Merge upwards and put the result on its list.
static void free_block(struct buddy *b, u64 pa, unsigned order)
{
	while (order < FRAME_ORDER_MAX) {
		struct frame *buddy = record(b, pa ^ order_bytes(order));

		if (buddy->state != FRAME_FREE || buddy->order != order)
			break;
		take(buddy);
		record(b, pa)->state = FRAME_INSIDE;
		pa &= ~order_bytes(order);
		order++;
	}
	push(b, pa, order);
}

// Free RAM that is only part of a block: the rest of the block is RESERVED.
static void add_partial(struct buddy *b, u64 pa, u64 end)
{
	struct buddy_section *s = section_of(b, pa);

	if (!(s->init & block_bit(pa))) {
		struct frame *f = record(b, ALIGN_DOWN(pa, PMD_SIZE));

		block_records_init(b, pa);
		for (unsigned i = 0; i < BUDDY_BLOCK_FRAMES; i++)
			f[i].state = FRAME_RESERVED;
		s->ram |= block_bit(pa);
	}
	for (; pa < end; pa += PAGE_SIZE)
		free_block(b, pa, 0);
}

void buddy_add(struct buddy *b, phys_t base, u64 len)
{
	u64 end = base.pa + len, pa = base.pa;

	b->total_frames += len / PAGE_SIZE;
	b->free_frames += len / PAGE_SIZE;
	while (pa < end) {
		u64 next = min(ALIGN_DOWN(pa, PMD_SIZE) + PMD_SIZE, end);

		if (next - pa < PMD_SIZE) {
			add_partial(b, pa, next);
		} else {
			section_of(b, pa)->ram |= block_bit(pa);
			b->fresh_hint = min(b->fresh_hint, (unsigned)(pa >> BUDDY_SECTION_SHIFT));
		}
		pa = next;
	}
}

// The lowest fresh block, initialised and on the free list. False: there is none.
static bool grow(struct buddy *b)
{
	for (; b->fresh_hint < b->sections_end; b->fresh_hint++) {
		struct buddy_section *s = &b->section[b->fresh_hint];
		u64 fresh = s->ram & ~s->init, pa;

		if (!fresh)
			continue;
		pa = ((u64)b->fresh_hint << BUDDY_SECTION_SHIFT) +
		     ((u64)__builtin_ctzll(fresh) << PMD_SHIFT);
		block_records_init(b, pa);
		push(b, pa, FRAME_ORDER_MAX);
		return true;
	}
	return false;
}

phys_t buddy_alloc(struct buddy *b, unsigned order)
{
	unsigned o = order;
	struct frame *f;
	u64 pa;

	while (o <= FRAME_ORDER_MAX && list_empty(&b->free[o]))
		o++;
	if (o > FRAME_ORDER_MAX) {
		if (order > FRAME_ORDER_MAX || !grow(b))
			return PHYS_NONE;
		o = FRAME_ORDER_MAX;
	}
	f = list_entry(b->free[o].next, struct frame, node);
	pa = f->owner;
	take(f);
	while (o > order) {
		o--;
		push(b, pa + order_bytes(o), o);
	}
	f->state = FRAME_USED;
	f->order = (u8)order;
	f->owner = 0;
	b->free_frames -= 1ull << order;
	return PHYS(pa);
}

void buddy_free(struct buddy *b, phys_t block, unsigned order)
{
	record(b, block.pa)->state = FRAME_INSIDE;
	b->free_frames += 1ull << order;
	free_block(b, block.pa, order);
}

// Whether the whole block at `pa` is fresh or one free block of the largest order.
static bool block_is_free(struct buddy *b, u64 pa)
{
	const struct buddy_section *s = section_of(b, pa);
	const struct frame *f;

	if (!(s->ram & block_bit(pa)))
		return false;
	if (!(s->init & block_bit(pa)))
		return true;
	f = record(b, pa);
	return f->state == FRAME_FREE && f->order == FRAME_ORDER_MAX;
}

int buddy_reserve(struct buddy *b, phys_t base, u64 len)
{
	u64 limit = (u64)BUDDY_SECTIONS << BUDDY_SECTION_SHIFT, pa;

	if (!len || !IS_ALIGNED(base.pa | len, PMD_SIZE))
		return -EINVAL;
	if (base.pa >= limit || len > limit - base.pa)
		return -EBUSY;
	for (pa = base.pa; pa < base.pa + len; pa += PMD_SIZE)
		if (!block_is_free(b, pa))
			return -EBUSY;
	for (pa = base.pa; pa < base.pa + len; pa += PMD_SIZE) {
		struct buddy_section *s = section_of(b, pa);

		if (s->init & block_bit(pa))
			take(record(b, pa));
		s->ram &= ~block_bit(pa);
		s->init &= ~block_bit(pa);
	}
	b->total_frames -= len / PAGE_SIZE;
	b->free_frames -= len / PAGE_SIZE;
	return 0;
}

bool buddy_is_ram(struct buddy *b, phys_t p)
{
	const struct frame *f = buddy_frame(b, p);

	if (f)
		return f->state != FRAME_RESERVED;
	return p.pa >> BUDDY_SECTION_SHIFT < BUDDY_SECTIONS &&
	       (section_of(b, p.pa)->ram & block_bit(p.pa));
}

// I1 and I2 for the initialised block at `pa`. Returns its free frames, or ~0 if it is broken.
static u64 verify_block(struct buddy *b, u64 pa)
{
	const struct frame *f = record(b, pa);
	u64 free = 0;

	for (unsigned i = 0; i < BUDDY_BLOCK_FRAMES;) {
		unsigned n = 1u << f[i].order;

		if (f[i].state == FRAME_RESERVED) {
			i++;
			continue;
		}
		if (f[i].state == FRAME_INSIDE || f[i].order > FRAME_ORDER_MAX || i % n)
			return ~0ull;
		for (unsigned k = 1; k < n; k++)
			if (f[i + k].state != FRAME_INSIDE)
				return ~0ull;
		if (f[i].state == FRAME_FREE) {
			const struct frame *other = &f[(i ^ n) % BUDDY_BLOCK_FRAMES];

			if (n < BUDDY_BLOCK_FRAMES && other->state == FRAME_FREE &&
			    other->order == f[i].order)
				return ~0ull;
			if (f[i].owner != pa + i * PAGE_SIZE)
				return ~0ull;
			free += n;
		}
		i += n;
	}
	return free;
}

bool buddy_verify(struct buddy *b)
{
	u64 free = 0, listed = 0;

	for (unsigned s = 0; s < b->sections_end; s++) {
		for (unsigned i = 0; i < 64; i++) {
			u64 n = BUDDY_BLOCK_FRAMES;

			if (!(b->section[s].ram & BIT(i)))
				continue;
			if (b->section[s].init & BIT(i))
				n = verify_block(b, ((u64)s << BUDDY_SECTION_SHIFT) +
							    ((u64)i << PMD_SHIFT));
			else
				listed += n;
			if (n == ~0ull)
				return false;
			free += n;
		}
	}
	for (unsigned o = 0; o <= FRAME_ORDER_MAX; o++) {
		const struct frame *f;

		list_for_each(f, &b->free[o], node) {
			if (f->state != FRAME_FREE || f->order != o)
				return false;
			listed += 1ull << o;
		}
	}
	return free == b->free_frames && listed == free;
}
