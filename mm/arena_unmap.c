// SPDX-License-Identifier: MIT
//
// What: ephemeral unmapping: the fast path without locks, munmap without MAP_DAXVM_BATCHING, and of
// ranges that cover several mappings.
// Not here: mapping (mm/arena_map.c), what happens to slots later (mm/arena.c).
//
// Invariants
//   I1  unmapping takes LIVE to ZOMBIE by compare-and-swap with no pin and no lock bit in it: of
//       two calls one wins.
//   I2  without MAP_DAXVM_BATCHING munmap returns after every CPU that could know has flushed.
//   I3  a call that is refused has changed nothing.
//
// Locking: none but as->lock for what lies around the arenas.
// Failure: -EINVAL where no mapping is, or a part of one.
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/trap.h"
#include "mm/arena_internal.h"
#include "mm/aspace_internal.h"
#include "mm/ptbatch.h"

// I2. The entry is cleared and fenced.
static void flush_slot(struct arena *a, const struct slot *s)
{
	struct ptbatch b;

	ptbatch_begin(&b, a->as);
	if (slot_class(s) == SLOT_32K) {
		b.start = slot_va(a, s);
		b.end = b.start + VM_DIRECT_BLOCKS * PAGE_SIZE;
	} else {
		ptbatch_flush_all(&b); // a table went, or 512 pages at least
	}
	ptbatch_finish(&b);
}

static bool too_many_rest(const struct arena *a)
{
	bool many = false;

	for (int c = 0; c < SLOT_CLASSES; c++)
		many |= a->nr_resting[c] > RESTING_MAX;
	return many;
}

// The CPU at this mark begins an epoch and forgets, too: nobody is interrupted.
static __attribute__((noinline)) void clear_and_forget(struct arena *a)
{
	arena_clear_zombies(a);
	epoch_flush_here();
	arena_reap(a);
	if (unlikely(too_many_rest(a)))
		epoch_kick(a->resting->stamp, a->as); // after all: those that lag behind
}

// It was marked LISTED by this CPU just now, and is one of its own. 0.
// `room`: there is some below the mark.
static __attribute__((noinline)) s64 list_slot_here(struct arena *a, struct slot *s, bool room)
{
	s->next = a->zombies;
	a->zombies = s;
	if (unlikely(!READ_ONCE(a->busy)))
		arena_make_busy(a);
	a->nr_zombies++;
	if (unlikely(a->nr_zombies >= ZOMBIES_MAX) && !room)
		clear_and_forget(a);
	return 0;
}

// Preemption is off. `word` is LIVE, without lock and pins. False: it changed, look again.
static bool unmap_slot(struct arenas *all, struct arena *a, struct slot *s, u64 word)
{
	struct arena *mine = all->cpu[this_cpu()->index];
	bool now = !(s->key & SLOT_BATCHING);
	u64 next = (word + SLOT_ZOMBIE - SLOT_LIVE) | SLOT_LISTED | (now ? SLOT_LOCK : 0);
	u64 len = slot_len(s);

	if (!slot_cas(s, &word, next)) // I1
		return false;
	if (mine)
		mine->bytes -= len;
	else
		__atomic_fetch_sub(&all->stray_bytes, len, __ATOMIC_RELAXED);
	if (now) {
		slot_clear_entry(s);
		s->stamp = epoch_stamp();
		__atomic_store_n(&s->state, (next & ~(SLOT_STATE | SLOT_LOCK)) | SLOT_CLEARED,
				 __ATOMIC_RELEASE);
	}
	if (word & SLOT_LISTED)
		return true;
	if (a == mine)
		list_slot_here(a, s, false);
	else
		arena_list_remote(a, s);
	return true;
}

// Within [addr, end), unless `exact`: then it must be all of that. 0, -EINVAL.
static int unmap_one(struct arenas *all, struct arena *a, struct slot *s, u64 addr, u64 end,
		     bool exact)
{
	bool done = false, now;

	while (!done) {
		u64 word = slot_load(s), start = slot_start(a, s), stop = start + slot_len(s);

		if (slot_state(word) != SLOT_LIVE || start < addr || stop > end ||
		    (exact && (start != addr || stop != end)))
			return -EINVAL;
		now = !(s->key & SLOT_BATCHING);
		if (word & (SLOT_LOCK | SLOT_PINS)) { // a revoke, or a fault: soon over
			thread_yield();
			continue;
		}
		section_begin();
		done = unmap_slot(all, a, s, word);
		section_end();
	}
	if (now)
		flush_slot(a, s);
	return 0;
}

// I3: first ask whether each is covered in full, then unmap.
static int unmap_range(struct arenas *all, u64 addr, u64 end, bool ask)
{
	int found = -EINVAL;

	for (u64 k = 0; k < (u64)all->count * SLOT_CLASSES; k++) {
		struct arena *a = all->cpu[k / SLOT_CLASSES];
		enum slot_class c = k % SLOT_CLASSES;

		for (u32 i = 0; a && i < READ_ONCE(a->nr_chunks[c]) * SLOTS_PER_CHUNK; i++) {
			struct slot *s = slot_get(a, c, i);
			u64 start = slot_start(a, s), stop = start + slot_len(s);

			if (slot_state(slot_load(s)) != SLOT_LIVE || stop <= addr || start >= end)
				continue;
			if (start < addr || stop > end)
				return -EINVAL;
			if (ask || unmap_one(all, a, s, addr, end, false) == 0)
				found = 0;
		}
	}
	return found;
}

static u64 arenas_bytes(const struct arenas *all)
{
	return (u64)all->count * pt_span(PT_PML4);
}

static int unmap_around(struct aspace *as, u64 addr, u64 end)
{
	struct arenas *all = as->arenas;
	u64 top = all->base + arenas_bytes(all);
	bool inside = addr >= all->base && end <= top;
	int err = unmap_range(all, addr, end, true);

	// Outside of the arenas munmap of nothing is no error.
	if (err && (inside || arena_any_mapped(as, addr, end)))
		return err;
	rwlock_write_lock(&as->lock);
	err = 0;
	if (addr < all->base)
		err = unmap_locked(as, addr, all->base);
	if (!err && end > top)
		err = unmap_locked(as, top, end);
	aspace_unlock(as);
	if (!err)
		(void)!unmap_range(all, addr, end, false); // who was faster has done it
	return err;
}

// Everything that is not simple is left to unmap_one(). `light`: so is clearing what was unmapped,
// which may end with interrupts to other CPUs, for which one's own must be on.
FAST s64 unmap_at_once(struct arena *a, u64 addr, u64 len, bool light)
{
	struct slot *s = likely(a) ? slot_of(a, addr) : NULL;
	u64 word;

	if (unlikely(!s)) // not of this arena, perhaps of none
		return light ? aspace_unmap_light(thread_current()->as, addr, len) : TRAP_NOT_LIGHT;
	word = slot_load(s);
	len = ALIGN_UP(len, PAGE_SIZE);
	if ((word & (SLOT_STATE | SLOT_LOCK | SLOT_PINS)) != SLOT_LIVE ||
	    ((s->key ^ (len | SLOT_BATCHING)) & ~(SLOT_HOW & ~SLOT_BATCHING)) ||
	    ((addr ^ s->offset) & class_mask(slot_class(s))))
		return TRAP_NOT_LIGHT;
	if (!(word & SLOT_LISTED) && light && unlikely(a->nr_zombies + 1 >= ZOMBIES_MAX))
		return TRAP_NOT_LIGHT;
	if (!slot_cas(s, &word, (word + SLOT_ZOMBIE - SLOT_LIVE) | SLOT_LISTED)) // I1
		return TRAP_NOT_LIGHT;
	a->bytes -= len;
	return word & SLOT_LISTED ? 0 : list_slot_here(a, s, light);
}

bool arena_unmap_fast(struct aspace *as, u64 addr, u64 len)
{
	s64 ret;

	section_begin();
	ret = unmap_at_once(arena_of_this_cpu(as), addr, len, false);
	section_end();
	return ret == 0;
}

s64 arena_unmap_light(u64 addr, u64 len)
{
	return unmap_at_once(asm_gs_arena(), addr, len, true);
}

int arena_unmap(struct aspace *as, u64 addr, u64 len)
{
	struct arenas *all = as->arenas;
	u64 end = addr + ALIGN_UP(len, PAGE_SIZE);
	struct arena *a;
	struct slot *s;

	if (addr - all->base >= arenas_bytes(all))
		return arena_overlaps(as, addr, end) ? unmap_around(as, addr, end)
						     : ARENA_OTHERWISE;
	a = all->cpu[(addr - all->base) >> pt_shift(PT_PML4)];
	s = a ? slot_of(a, addr) : NULL;
	if (s && unmap_one(all, a, s, addr, end, true) == 0)
		return 0;
	return unmap_around(as, addr, end);
}
