// SPDX-License-Identifier: MIT
//
// What: slab caches (Bonwick, USENIX Summer 1994) and kmalloc.
// Not here: frames (mm/frame.c).
//
// A slab is a block of frames: a header of one cache line, then objects of one size. Each of its
// frames carries the header's address as its owner word, so kfree finds the slab of any pointer in
// one look-up. A large allocation has LARGE | order there instead.
//
// Invariants
//   I1  a slab is on its cache's partial list exactly if it has a free object.
//   I2  of the slabs with no object in use a cache keeps at most one; the others go back.
//   I3  a free object begins with the link to the next free one, xor FREE_MARK in its second word:
//       freeing it again is noticed.
//
// Locking: cache.lock (RANK_HEAP, interrupts off) guards a cache and its slabs.
// Failure: NULL.
#include "mm/heap.h"

#include "kernel/ktest.h"
#include "kernel/lib/list.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/lock.h"
#include "mm/frame.h"
#include "mm/layout.h"

#define SLAB_HEADER 64u
#define OBJECT_MAX  2048u
#define LARGE       1ull // in the owner word; a slab header's address has this bit clear
#define FREE_MARK   0x5a5af4ee0b1ec7edull

struct free_object {
	struct free_object *next;
	u64 mark;
};

struct slab {
	struct list node; // in cache->partial [cache->lock]
	struct slab_cache *cache;
	struct free_object *free; // [cache->lock]
	unsigned used;            // [cache->lock]
};
_Static_assert(sizeof(struct slab) <= SLAB_HEADER, "header must leave objects aligned");

// A line each, so that sizes do not hinder one another.
struct slab_cache {
	struct spinlock lock;
	const char *name;
	u32 bytes;           // of an object, rounded up to its alignment
	u8 order;            // of a slab
	u16 count;           // objects in a slab
	u16 spare;           // slabs with no object in use, 0 or 1 [lock]
	struct list partial; // [lock]
} __cacheline;

#define LADDER(i, n)                                                                               \
	[i] = { .lock = SPINLOCK_INIT(RANK_HEAP),                                                  \
		.name = "kmalloc-" #n,                                                             \
		.bytes = (n),                                                                      \
		.order = (n) <= 256   ? 0                                                          \
			 : (n) <= 512 ? 1                                                          \
				      : 3,                                                         \
		.count = ((PAGE_SIZE << ((n) <= 256   ? 0                                          \
					 : (n) <= 512 ? 1                                          \
						      : 3)) -                                      \
			  SLAB_HEADER) /                                                           \
			 (n),                                                                      \
		.partial = LIST_INIT(ladder[i].partial) }
static struct slab_cache ladder[] = {
	LADDER(0, 16),  LADDER(1, 32),   LADDER(2, 64),    LADDER(3, 128),
	LADDER(4, 192), LADDER(5, 256),  LADDER(6, 384),   LADDER(7, 512),
	LADDER(8, 768), LADDER(9, 1024), LADDER(10, 1536), LADDER(11, 2048),
};
static u64 objects; // in use, large ones too; atomic

static void count_object(s64 n)
{
	__atomic_fetch_add(&objects, (u64)n, __ATOMIC_RELAXED);
}

// A new slab, all objects free, not on a list yet. Takes no lock.
static struct slab *slab_new(struct slab_cache *c)
{
	phys_t block = frame_alloc(c->order, 0);
	struct slab *s;
	u8 *object;

	if (block.pa == PHYS_NONE.pa)
		return NULL;
	frame_note_kept(1 << c->order);
	s = phys_to_virt(block);
	*s = (struct slab){ .cache = c };
	for (unsigned i = 0; i < 1u << c->order; i++)
		frame_set_owner(PHYS(block.pa + i * PAGE_SIZE), (u64)s);
	// From the end, so that the first object handed out is the first one.
	object = (u8 *)s + SLAB_HEADER + (size_t)(c->count - 1) * c->bytes;
	for (unsigned i = 0; i < c->count; i++, object -= c->bytes) {
		struct free_object *o = (void *)object;

		o->next = s->free;
		o->mark = (u64)o ^ FREE_MARK;
		s->free = o;
	}
	return s;
}

static void slab_release(struct slab_cache *c, struct slab *s)
{
	frame_note_kept(-(1 << c->order));
	frame_free(virt_to_phys(s), c->order);
}

void *slab_alloc(struct slab_cache *c)
{
	struct free_object *o;
	struct slab *s;
	u64 irq;

	if (frame_fail_now())
		return NULL;
	irq = spin_lock_irqsave(&c->lock);
	if (list_empty(&c->partial)) {
		spin_unlock_irqrestore(&c->lock, irq);
		s = slab_new(c);
		if (!s)
			return NULL;
		irq = spin_lock_irqsave(&c->lock);
		list_add(&c->partial, &s->node);
		c->spare++;
	}
	s = list_entry(c->partial.next, struct slab, node);
	o = s->free;
	ASSERT(o->mark == ((u64)o ^ FREE_MARK)); // else: written to after it was freed
	s->free = o->next;
	if (s->used++ == 0)
		c->spare--;
	if (!s->free)
		list_del(&s->node);
	spin_unlock_irqrestore(&c->lock, irq);
	o->mark = 0;
	count_object(1);
	return o;
}

// I3 can hit by chance (the user's data looks like it): then the free list decides.
static bool is_free(const struct slab *s, const struct free_object *o)
{
	const struct free_object *f;

	if (o->mark != ((u64)o ^ FREE_MARK))
		return false;
	for (f = s->free; f && f != o; f = f->next)
		;
	return f;
}

// `s`: the slab that `p` lies in.
static void free_in(struct slab_cache *c, struct slab *s, void *p)
{
	struct slab *release = NULL;
	struct free_object *o = p;
	u64 irq;

	ASSERT(((u64)p - (u64)s - SLAB_HEADER) % c->bytes == 0);
	irq = spin_lock_irqsave(&c->lock);
	if (is_free(s, o))
		panic("heap: object of %s freed twice", c->name);
	if (!s->free)
		list_add(&c->partial, &s->node);
	o->next = s->free;
	o->mark = (u64)o ^ FREE_MARK;
	s->free = o;
	if (--s->used == 0) {
		if (c->spare) {
			list_del(&s->node);
			release = s;
		} else {
			c->spare = 1;
		}
	}
	spin_unlock_irqrestore(&c->lock, irq);
	count_object(-1);
	if (release)
		slab_release(c, release);
}

void slab_free(struct slab_cache *c, void *p)
{
	struct slab *s = (void *)(uintptr_t)frame_owner(virt_to_phys(p));

	ASSERT(s && s->cache == c);
	free_in(c, s, p);
}

struct slab_cache *slab_create(const char *name, size_t bytes, size_t align)
{
	struct slab_cache *c = kmalloc(sizeof(*c));
	u8 order;

	if (!c)
		return NULL;
	bytes = ALIGN_UP(max(bytes, sizeof(struct free_object)), max(align, (size_t)16));
	ASSERT(bytes <= OBJECT_MAX && align <= SLAB_HEADER);
	order = bytes <= 256 ? 0 : bytes <= 512 ? 1 : 3;
	*c = (struct slab_cache){ .name = name,
				  .bytes = (u32)bytes,
				  .order = order,
				  .count = (u16)(((PAGE_SIZE << order) - SLAB_HEADER) / bytes) };
	spin_init(&c->lock, RANK_HEAP);
	list_init(&c->partial);
	return c;
}

// ---- kmalloc ------------------------------------------------------------------------------------

static void *large_alloc(size_t bytes)
{
	unsigned order = 0;
	phys_t block;

	while (PAGE_SIZE << order < bytes)
		if (++order > FRAME_ORDER_MAX)
			return NULL;
	block = frame_alloc(order, 0);
	if (block.pa == PHYS_NONE.pa)
		return NULL;
	frame_set_owner(block, LARGE | (u64)order << 1);
	count_object(1);
	return phys_to_virt(block);
}

// The step of the ladder for more than 32 bytes, by whole cache lines.
static const u8 step_of[OBJECT_MAX / 64] = {
	[0] = 2,       [1] = 3,        [2] = 4,         [3] = 5,          [4 ... 5] = 6,
	[6 ... 7] = 7, [8 ... 11] = 8, [12 ... 15] = 9, [16 ... 23] = 10, [24 ... 31] = 11,
};

void *kmalloc(size_t bytes)
{
	if (unlikely(bytes > OBJECT_MAX))
		return large_alloc(bytes);
	if (bytes <= 32)
		return slab_alloc(&ladder[bytes > 16]);
	return slab_alloc(&ladder[step_of[(bytes - 1) / 64]]);
}

void *kzalloc(size_t bytes)
{
	void *p = kmalloc(bytes);

	if (p)
		memset(p, 0, bytes);
	return p;
}

void kfree(void *p)
{
	u64 owner;

	if (!p)
		return;
	owner = frame_owner(virt_to_phys(p));
	if (owner & LARGE) {
		ASSERT(IS_ALIGNED((u64)p, PAGE_SIZE));
		count_object(-1);
		frame_free(virt_to_phys(p), (unsigned)(owner >> 1));
		return;
	}
	ASSERT(owner);
	free_in(((struct slab *)(uintptr_t)owner)->cache, (struct slab *)(uintptr_t)owner, p);
}

char *kstrdup(const char *s)
{
	size_t bytes = strlen(s) + 1;
	char *copy = kmalloc(bytes);

	if (copy)
		memcpy(copy, s, bytes);
	return copy;
}

u64 heap_objects_in_use(void)
{
	return READ_ONCE(objects);
}

void heap_init(void)
{
	ktest_watch("heap objects", heap_objects_in_use);
}
