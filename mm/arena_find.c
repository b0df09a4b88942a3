// SPDX-License-Identifier: MIT
//
// What: from an address to the ephemeral mapping there (faults, msync, /proc), and from an object
// to all slots that show it (revoke).
// Not here: mapping and unmapping (mm/arena_map.c, mm/arena_unmap.c), the faults themselves
// (mm/fault.c), which see a slot as a VMA made for the occasion.
//
// Entries below a LIVE slot change under pt_lock, by threads that hold a pin, as those of a VMA do
// under its address space's lock. Nobody waits for a pin but who unmaps: a revoke, which has the
// object's map_lock, finds no fault between reading the file's table and installing what it read.
//
// Invariants
//   I1  the lock bit is held with preemption off and for a bounded time, by nobody who waits for a
//       lock that a holder of the pool's lock may want.
//   I2  who scans looks at a slot after it has done what a mapper must see (the flag raised, the
//       hole filled), with a full fence between.
//
// Locking: pool lock, lock bit, pt_lock, in this order.
#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "mm/arena_internal.h"
#include "mm/dirty.h"
#include "mm/heap.h"
#include "mm/ptbatch.h"

// ---- From an address ----------------------------------------------------------------------------

static u64 arenas_top(const struct arenas *all)
{
	return all->base + all->count * pt_span(PT_PML4);
}

bool arena_overlaps(struct aspace *as, u64 start, u64 end)
{
	const struct arenas *all = __atomic_load_n(&as->arenas, __ATOMIC_ACQUIRE);

	return all && start < arenas_top(all) && end > all->base;
}

static void describe(const struct arena *a, const struct slot *s, struct vma *v)
{
	struct aspace *as = a->as;
	u64 how = s->key;
	struct pt_cursor c;

	*v = (struct vma){
		.as = as,
		.lo = slot_va(a, s),
		.start = slot_start(a, s),
		.end = slot_start(a, s) + slot_len(s),
		.hi = slot_va(a, s) + BIT(class_shift(slot_class(s))),
		.offset = s->offset,
		.object = s->object,
		.flags = MAP_SHARED | MAP_DAXVM_EPHEMERAL | (how & SLOT_DAXVM ? MAP_DAXVM : 0) |
			 (how & SLOT_BATCHING ? MAP_DAXVM_BATCHING : 0) |
			 (how & SLOT_NOSYNC ? MAP_DAXVM_NOSYNC : 0),
		.prot = (u8)(how & 7),
		.may_prot = (u8)(how & 7),
		.unit_level = (u8)slot_level[slot_class(s)],
		.dont_fork = true,
	};
	list_init(&v->object_node);
	spin_lock(&as->pt_lock);
	pt_look(as, &c, v->start);
	if (pt_cursor_get(&c).bits & PTE_ATTACHED)
		v->attach_level = (u8)c.level;
	v->split = c.level < v->unit_level; // private tables below the slot's own entry
	spin_unlock(&as->pt_lock);
}

// False: it is not mapped.
static bool pin(struct slot *s)
{
	u64 word = slot_load(s);

	while (slot_state(word) == SLOT_LIVE) {
		if ((word & SLOT_LOCK) || (word & SLOT_PINS) == SLOT_PINS) {
			asm_pause(); // I1; and 255 threads in the same slot will not stay there
			word = slot_load(s);
		} else if (slot_cas(s, &word, word + SLOT_PIN)) {
			return true;
		}
	}
	return false;
}

void arena_unpin(struct slot *s)
{
	__atomic_fetch_sub(&s->state, SLOT_PIN, __ATOMIC_SEQ_CST);
}

struct slot *arena_pin(struct aspace *as, u64 va, struct vma *v)
{
	const struct arenas *all = __atomic_load_n(&as->arenas, __ATOMIC_ACQUIRE);
	const struct arena *a;
	struct slot *s;

	if (!arena_overlaps(as, va, va + 1))
		return NULL;
	a = __atomic_load_n(&all->cpu[(va - all->base) >> pt_shift(PT_PML4)], __ATOMIC_ACQUIRE);
	s = a ? slot_of(a, va) : NULL;
	if (!s || !pin(s))
		return NULL;
	describe(a, s, v);
	return s;
}

int arena_prepare_fault(struct slot *s, const struct vma *v)
{
	struct slot_tree *t, *none = NULL;

	// A write to an ephemeral mapping fills holes, and reading one maps a zero page: below the
	// entry of a larger slot that takes tables of the process's own.
	if (v->unit_level == PT_PTE || __atomic_load_n(&s->tree, __ATOMIC_ACQUIRE))
		return 0;
	t = kzalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	if (!__atomic_compare_exchange_n(&s->tree, &none, t, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		kfree(t);
	return 0;
}

static bool for_each_in(struct arena *a, enum slot_class c,
			bool (*fn)(void *ctx, const struct vma *vma), void *ctx)
{
	for (u32 i = 0; i < READ_ONCE(a->nr_chunks[c]) * SLOTS_PER_CHUNK; i++) {
		struct slot *s = slot_get(a, c, i);
		struct vma v;
		bool go_on;

		if (!pin(s))
			continue;
		describe(a, s, &v);
		go_on = fn(ctx, &v);
		arena_unpin(s);
		if (!go_on)
			return false;
	}
	return true;
}

bool arena_for_each(struct aspace *as, bool (*fn)(void *ctx, const struct vma *vma), void *ctx)
{
	const struct arenas *all = __atomic_load_n(&as->arenas, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; all && i < all->count; i++) {
		struct arena *a = __atomic_load_n(&all->cpu[i], __ATOMIC_ACQUIRE);

		for (int c = 0; a && c < SLOT_CLASSES; c++)
			if (!for_each_in(a, c, fn, ctx))
				return false;
	}
	return true;
}

struct range {
	u64 start, end;
	bool found;
};

static bool note_overlap(void *ctx, const struct vma *v)
{
	struct range *r = ctx;

	r->found = v->start < r->end && v->end > r->start;
	return !r->found;
}

bool arena_any_mapped(struct aspace *as, u64 start, u64 end)
{
	struct range r = { start, end, false };

	if (arena_overlaps(as, start, end))
		arena_for_each(as, note_overlap, &r);
	return r.found;
}

int arena_for_range(struct aspace *as, u64 start, u64 end,
		    int (*fn)(const struct vma *v, u64 start, u64 end, void *ctx), void *ctx)
{
	while (start < end) {
		struct vma v;
		struct slot *s = arena_pin(as, start, &v);
		int err = -ENOMEM;
		u64 upto;

		if (!s)
			return err;
		upto = min(end, v.end);
		if (start >= v.start && start < v.end)
			err = fn(&v, start, upto, ctx);
		arena_unpin(s);
		if (err)
			return err;
		start = upto;
	}
	return 0;
}

u64 arena_bytes(struct aspace *as)
{
	const struct arenas *all = __atomic_load_n(&as->arenas, __ATOMIC_ACQUIRE);
	u64 sum = all ? READ_ONCE(all->stray_bytes) : 0; // the parts wrap, the sum does not

	for (unsigned i = 0; all && i < all->count; i++) {
		const struct arena *a = __atomic_load_n(&all->cpu[i], __ATOMIC_ACQUIRE);

		sum += a ? READ_ONCE(a->bytes) : 0;
	}
	return (s64)sum > 0 ? sum : 0; // calls that go on meanwhile may be in it by half
}

// ---- From an object -----------------------------------------------------------------------------

struct scan {
	struct vm_object *object;
	struct ptbatch *batch;
	u64 off, end;
	enum arena_zap what;
	struct dirty_pass *pass; // ARENA_PASS
};

// An unmapped mapping whose entry still stands. It has the lock bit now.
static void end_zombie(struct slot *s, u64 word)
{
	slot_clear_entry(s);
	s->stamp = epoch_stamp(); // fence, then E
	__atomic_store_n(&s->state, (word & ~(SLOT_STATE | SLOT_LOCK)) | SLOT_CLEARED,
			 __ATOMIC_RELEASE);
}

// A mapping that is in use stays; what leads to the range goes. It has the lock bit now. False: the
// batch is full.
static bool zap_live(const struct arena *a, struct slot *s, const struct scan *scan)
{
	struct aspace *as = a->as;
	u64 base = ALIGN_DOWN(s->offset, BIT(class_shift(slot_class(s))));
	u64 lo = max(scan->off, base), hi = min(scan->end, base + BIT(class_shift(slot_class(s))));
	bool done = true;

	if (lo >= hi)
		return true;
	lo += slot_va(a, s) - base;
	hi += slot_va(a, s) - base;
	spin_lock(&as->pt_lock);
	done = pt_zap(scan->batch, lo, hi, scan->what == ARENA_ZERO ? PT_ZAP_ZERO : PT_ZAP_ALL) ==
	       hi;
	spin_unlock(&as->pt_lock);
	return done;
}

// What a sync does: an unmapped mapping, too, may be mapped again with the W that it has. It has
// the lock bit now.
static void pass_over_slot(const struct arena *a, struct slot *s, const struct scan *scan)
{
	u64 bytes = BIT(class_shift(slot_class(s)));
	struct unsplit_view w = { slot_va(a, s), ALIGN_DOWN(s->offset, bytes), bytes, s->key & 7,
				  slot_level[slot_class(s)] };
	struct aspace *as = a->as;

	if (s->key & SLOT_NOSYNC)
		return;
	spin_lock(&as->pt_lock);
	dirty_pass_over(scan->pass, scan->batch, &w);
	spin_unlock(&as->pt_lock);
}

static bool scan_slot(const struct arena *a, struct slot *s, const struct scan *scan)
{
	u64 word = slot_load(s);
	bool done = true;

	while (slot_state(word) == SLOT_SETTING || (word & SLOT_LOCK) ||
	       slot_state(word) == SLOT_LIVE || slot_state(word) == SLOT_ZOMBIE) {
		if (scan->what == ARENA_ZOMBIES && slot_state(word) == SLOT_LIVE)
			return true;
		// The model's "wait": preemption is off where a slot is SETTING or locked.
		if (slot_state(word) == SLOT_SETTING || (word & SLOT_LOCK)) {
			asm_pause();
			word = slot_load(s);
		} else if (slot_cas(s, &word, word | SLOT_LOCK)) {
			word |= SLOT_LOCK;
			break;
		}
	}
	if (slot_state(word) == SLOT_FREE)
		return true;
	ptbatch_switch(scan->batch, a->as);
	// Another CPU may have cleared an entry, or taken its W, and not flushed yet. A sync must
	// end that W: a store by it would not be in the next round.
	if (scan->what == ARENA_REVOKE_ALL || scan->what == ARENA_PASS)
		ptbatch_flush_all(scan->batch);
	if (slot_state(word) == SLOT_CLEARED) {
		// Unmapped, and perhaps still reachable: a revoke ends that at once.
		if (scan->what != ARENA_ZERO)
			ptbatch_flush_all(scan->batch);
		return true;
	}
	// It may have been used again for something else before it was locked.
	if (s->object != scan->object) {
		__atomic_fetch_and(&s->state, ~SLOT_LOCK, __ATOMIC_SEQ_CST);
	} else if (scan->what == ARENA_PASS) {
		pass_over_slot(a, s, scan);
		__atomic_fetch_and(&s->state, ~SLOT_LOCK, __ATOMIC_SEQ_CST);
	} else if (slot_state(word) == SLOT_ZOMBIE) {
		end_zombie(s, word);
		ptbatch_flush_all(scan->batch);
	} else {
		done = zap_live(a, s, scan);
		__atomic_fetch_and(&s->state, ~SLOT_LOCK, __ATOMIC_SEQ_CST);
	}
	return done;
}

static bool scan_arena(struct arena *a, const struct scan *scan)
{
	for (int c = 0; c < SLOT_CLASSES; c++) {
		for (u32 i = 0; i < READ_ONCE(a->nr_chunks[c]) * SLOTS_PER_CHUNK; i++) {
			struct slot *s = slot_get(a, c, i);

			if (READ_ONCE(s->object) == scan->object && !scan_slot(a, s, scan))
				return false;
		}
	}
	return true;
}

static bool scan_all(const struct scan *scan)
{
	struct ptbatch *b = scan->batch;
	bool done = true;

	if (!__atomic_load_n(&scan->object->ever_ephemeral, __ATOMIC_SEQ_CST))
		return true;
	asm_mfence(); // I2
	for (unsigned i = 0; i < cpu_count() && done; i++) {
		u64 flags = spin_lock_irqsave(&pools[i].lock);
		struct arena *a;

		list_for_each(a, &pools[i].arenas, node) {
			done = scan_arena(a, scan);
			if (!done)
				break;
		}
		// The space may go as soon as the list is released, so its CPUs are noted now.
		ptbatch_switch(b, NULL);
		spin_unlock_irqrestore(&pools[i].lock, flags);
	}
	return done;
}

bool arena_zap(struct vm_object *o, struct ptbatch *b, u64 off, u64 end, enum arena_zap what)
{
	const struct scan scan = { o, b, off, end, what, NULL };

	return scan_all(&scan);
}

void arena_pass(struct vm_object *o, struct ptbatch *b, struct dirty_pass *pass)
{
	const struct scan scan = { o, b, 0, ~0ull, ARENA_PASS, pass };

	(void)!scan_all(&scan); // takes nothing out that it must, so a full batch is no matter
}
