// SPDX-License-Identifier: MIT
//
// What: the dirty set of an object, granting W, and the sync that takes both away (dirty.h).
// Not here: who calls for a sync (fsync: fs/ptfs_glue, msync: mm/aspace_sync.c), write-back itself
// (object->ops->sync), the walk over the slots of ephemeral mappings (mm/arena_find.c).
//
// The protocol is tests/model/fsync.pml, with map_lock as its lock: shared by faults, exclusive for
// who takes. In that order:
//
//	store fault                       sync
//	  map_lock shared                   one at a time per object (`sync`)
//	  chunk into the set                map_lock exclusively
//	  W granted                           chunks out of the set
//	  map_lock released                   W out of all mappings, unmapped ones too
//	                                    map_lock released
//	                                    one shootdown
//	                                    lines written back, fence
//
// Invariants
//   I1  outside of map_lock: where an entry of a tracked mapping has W, its chunk is in the set.
//   I2  a line that was stored to and is not written back belongs to a chunk in the set, or to a
//       sync that is under way.
//   I3  the spaces of all mappings of a taken chunk are flushed, also where no W was found: another
//       CPU may have cleared the entry and not flushed yet, and a third one stores by it still.
//   I4  a private table that W was the reason for gives way to the file's own again (mm/unsplit.h)
//       at the first sync of the whole file that finds its GiB clean; a PUD page, of which there
//       is one for the whole file, at the first that finds the file clean.
//
// Locking: sync (RANK_SYNC), map_lock, object->vmas_lock or a pool's lock, pt_lock. No spinlock is
// held over the shootdown.
// Failure: no memory for the set: the fault fails, nothing was granted. A write-back that fails
// puts the chunks back into the set.
#include "mm/dirty.h"

#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "mm/arena.h"
#include "mm/attach.h"
#include "mm/heap.h"
#include "mm/pagetable.h"
#include "mm/shadow.h"
#include "mm/stat.h"

#define GIB_CHUNKS  512u // chunks of a GiB
#define GIBS        512u // what an object can have (PTFS_FILE_MAX)
#define CHUNKS      (GIBS * GIB_CHUNKS)
#define WORD_BITS   64u
#define GROUP_BYTES (16 * PAGE_SIZE) // small pages that get W together
#define LINE_BYTES  64u

// A bit per chunk.
struct chunk_set {
	u64 gibs[GIBS / WORD_BITS];          // GiBs that may have a bit below
	u64 first[GIB_CHUNKS / WORD_BITS];   // chunks of the first GiB
	u64 (*more)[GIB_CHUNKS / WORD_BITS]; // of the others, from GiB 1 on; NULL: none ever was
};

// Made at the first store; lives as long as the object.
struct vm_dirty {
	struct mutex sync;           // RANK_SYNC
	struct chunk_set set;        // [map_lock shared to add (atomic), exclusively to take away]
	struct chunk_set taken;      // by the sync that is under way [sync]
	u64 split[GIBS / WORD_BITS]; // GiBs for which private tables were made (I4) [atomic]
	bool split_top;              // and a PUD page [atomic]
};

// ---- The set ------------------------------------------------------------------------------------

static bool bit_get(const u64 *words, u64 n)
{
	return READ_ONCE(words[n / WORD_BITS]) >> n % WORD_BITS & 1;
}

static void bit_set(u64 *words, u64 n)
{
	__atomic_fetch_or(&words[n / WORD_BITS], 1ull << n % WORD_BITS, __ATOMIC_SEQ_CST);
}

static void bit_clear(u64 *words, u64 n)
{
	__atomic_fetch_and(&words[n / WORD_BITS], ~(1ull << n % WORD_BITS), __ATOMIC_SEQ_CST);
}

// The words of a chunk's GiB; NULL: there are none yet.
static u64 *gib_words(const struct chunk_set *s, u64 gib)
{
	u64(*more)[GIB_CHUNKS / WORD_BITS] = __atomic_load_n(&s->more, __ATOMIC_ACQUIRE);

	if (gib == 0)
		return (u64 *)(uintptr_t)s->first;
	return more ? more[gib - 1] : NULL;
}

static bool has_chunk(const struct chunk_set *s, u64 chunk)
{
	const u64 *words = gib_words(s, chunk / GIB_CHUNKS);

	return words && bit_get(words, chunk % GIB_CHUNKS);
}

static void add_chunk(struct chunk_set *s, u64 chunk)
{
	bit_set(gib_words(s, chunk / GIB_CHUNKS), chunk % GIB_CHUNKS);
	bit_set(s->gibs, chunk / GIB_CHUNKS);
}

// The GiB's own bit stays if others may be left.
static void remove_chunk(struct chunk_set *s, u64 chunk)
{
	u64 gib = chunk / GIB_CHUNKS, left = 0;
	u64 *words = gib_words(s, gib);

	bit_clear(words, chunk % GIB_CHUNKS);
	for (unsigned i = 0; i < GIB_CHUNKS / WORD_BITS; i++)
		left |= words[i];
	if (!left)
		bit_clear(s->gibs, gib);
}

// The first bit that is set in [at, end), or `end`.
static u64 next_bit(const u64 *words, u64 at, u64 end)
{
	while (at < end) {
		u64 word = READ_ONCE(words[at / WORD_BITS]) >> at % WORD_BITS;

		if (word)
			return min(at + (u64)__builtin_ctzll(word), end);
		at = ALIGN_DOWN(at, WORD_BITS) + WORD_BITS;
	}
	return end;
}

// The first chunk of the set in [at, end), or `end`.
static u64 next_chunk(const struct chunk_set *s, u64 at, u64 end)
{
	while (at < end) {
		u64 gib = next_bit(s->gibs, at / GIB_CHUNKS, GIBS), found;

		if (gib >= GIBS)
			break;
		at = max(at, gib * GIB_CHUNKS) % GIB_CHUNKS;
		found = next_bit(gib_words(s, gib), at, GIB_CHUNKS);
		at = gib * GIB_CHUNKS + found;
		if (found < GIB_CHUNKS)
			return min(at, end);
	}
	return end;
}

// The first chunk in [at, end) that is not in the set, or `end`.
static u64 run_end(const struct chunk_set *s, u64 at, u64 end)
{
	while (at < end && has_chunk(s, at))
		at++;
	return at;
}

// Chunks that [off, end) meets.
static void chunks_of(u64 off, u64 end, u64 *first, u64 *last)
{
	*first = min(off >> VM_CHUNK_SHIFT, (u64)CHUNKS);
	*last = end > CHUNKS * VM_CHUNK_BYTES ? CHUNKS : DIV_ROUND_UP(end, VM_CHUNK_BYTES);
}

static struct vm_dirty *record_of(const struct vm_object *o)
{
	return __atomic_load_n(&o->dirty, __ATOMIC_ACQUIRE);
}

// NULL: no memory.
static struct vm_dirty *record_make(struct vm_object *o)
{
	struct vm_dirty *d = record_of(o), *none = NULL;

	if (d)
		return d;
	d = kzalloc(sizeof(*d));
	if (!d)
		return NULL;
	mutex_init(&d->sync, RANK_SYNC);
	if (__atomic_compare_exchange_n(&o->dirty, &none, d, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return d;
	kfree(d);
	return none;
}

// Room for chunks beyond the first GiB, in both sets: taking must not fail.
static bool set_extend(struct vm_dirty *d)
{
	u64(*more)[GIB_CHUNKS / WORD_BITS], (*none)[GIB_CHUNKS / WORD_BITS] = NULL;
	struct chunk_set *sets[] = { &d->taken, &d->set };

	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++, none = NULL) {
		if (__atomic_load_n(&sets[i]->more, __ATOMIC_ACQUIRE))
			continue;
		more = kzalloc((GIBS - 1) * sizeof(*more));
		if (!more)
			return false;
		if (!__atomic_compare_exchange_n(&sets[i]->more, &none, more, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			kfree(more); // another fault was faster
	}
	return true;
}

int vm_dirty_mark(struct vm_object *o, u64 off)
{
	u64 chunk = off >> VM_CHUNK_SHIFT;
	struct vm_dirty *d = record_make(o);

	if (!d)
		return -ENOMEM;
	if (chunk >= CHUNKS)
		return -EFBIG;
	if (chunk >= GIB_CHUNKS && !set_extend(d))
		return -ENOMEM;
	if (has_chunk(&d->set, chunk))
		return 0;
	add_chunk(&d->set, chunk);
	mm_count(dirty_chunks);
	return o->ops->touch ? o->ops->touch(o) : 0;
}

bool vm_dirty_any(const struct vm_object *o, u64 off, u64 len)
{
	const struct vm_dirty *d = record_of(o);
	u64 first, last;

	if (!d)
		return false;
	chunks_of(off, len > ~0ull - off ? ~0ull : off + len, &first, &last);
	return next_chunk(&d->set, first, last) < last;
}

void vm_dirty_free(struct vm_object *o)
{
	struct vm_dirty *d = o->dirty;

	if (!d)
		return;
	kfree(d->set.more);
	kfree(d->taken.more);
	kfree(d);
	o->dirty = NULL;
}

int vm_sync_hold(struct vm_object *o) NO_TSA
{
	struct vm_dirty *d = record_make(o);

	if (!d)
		return -ENOMEM;
	mutex_lock(&d->sync);
	return 0;
}

void vm_sync_release(struct vm_object *o) NO_TSA
{
	mutex_unlock(&record_of(o)->sync);
}

void vm_dirty_moved(struct vm_object *o, u64 off)
{
	struct vm_dirty *d = record_of(o);
	u64 first, last;

	// Contents move towards the beginning, so where the set has no room nothing is dirty now.
	chunks_of(off, o->ops->size(o), &first, &last);
	if (!__atomic_load_n(&d->set.more, __ATOMIC_ACQUIRE))
		last = min(last, (u64)GIB_CHUNKS);
	for (; first < last; first++)
		add_chunk(&d->set, first);
}

// ---- Granting W ---------------------------------------------------------------------------------

// W for small pages of a tracked mapping: those of an aligned group that show the same chunk, so
// that storing to one page after the other costs a fault per 64 KiB, as reading them does. The
// group lies within one table; `slot` is the entry for `va`.
static void grant_group(const struct vma *v, u64 va, pte_t *slot)
{
	u64 chunk = vma_offset(v, va) >> VM_CHUNK_SHIFT;
	u64 at = max(ALIGN_DOWN(va, GROUP_BYTES), v->lo);
	u64 end = min(ALIGN_DOWN(va, GROUP_BYTES) + GROUP_BYTES, v->hi);

	for (slot -= (va - at) / PAGE_SIZE; at < end; at += PAGE_SIZE, slot++) {
		pte_t e = pte_read(slot);

		if (pte_present(e) && !pt_is_zero_page(e, PT_PTE) &&
		    vma_offset(v, at) >> VM_CHUNK_SHIFT == chunk)
			pte_write(slot, (pte_t){ e.bits | PTE_W });
	}
}

// Down from the attachment of a whole GiB or more to the chunk. Nobody has to forget the table
// above: what a CPU remembers of it leads to the same places, without W; a store by it faults,
// which is when that CPU forgets (SDM 3A, 4.10.4.1). Who takes rights away later flushes
// everything.
static int split_and_grant(const struct vma *v, u64 va, const pte_t *slot, int level)
{
	struct pt_cursor c;
	int err;

	pt_cursor_init_entry(&c, &pt_private, slot, level);
	err = attach_split_to(NULL, &c, va, PT_PMD);
	if (err)
		return err; // -EAGAIN: a leaf of 1 GiB
	pte_write(pt_slot(&c), (pte_t){ pt_cursor_get(&c).bits | PTE_W });
	vm_dirty_split(v->object, vma_offset(v, va), level);
	return ATTACH_DONE;
}

void vm_dirty_split(struct vm_object *o, u64 off, int unit_level)
{
	struct vm_dirty *d = record_of(o);

	if (!d)
		return; // nobody ever stored
	bit_set(d->split, off / PUD_SIZE);
	if (unit_level == PT_PML4)
		WRITE_ONCE(d->split_top, true);
}

// Rights are added only, so nothing has to be flushed: no batch.
int dirty_grant(struct aspace *as, struct vma *v, u64 va)
{
	int err = vm_dirty_mark(v->object, vma_offset(v, va)); // before W: I1
	int result = ATTACH_DONE, level;
	pte_t *slot, e;

	if (err)
		return err;
	spin_lock(&as->pt_lock);
	slot = pt_find(as, va, &level);
	e = pte_read(slot);
	if (!pt_reaches(e, level, va) || pt_is_zero_page(e, level))
		result = ATTACH_NONE;
	else if (level > PT_PMD)
		result = split_and_grant(v, va, slot, level);
	else if (level == PT_PMD)
		pte_write(slot, (pte_t){ e.bits | PTE_W });
	else
		grant_group(v, va, slot);
	spin_unlock(&as->pt_lock);
	if (result == ATTACH_DONE)
		mm_count(fault_dirty);
	return result;
}

// ---- Taking W -----------------------------------------------------------------------------------

void dirty_pass_over(struct dirty_pass *p, struct ptbatch *b, const struct unsplit_view *w)
{
	u64 at, first, last, end = w->off + w->len;

	chunks_of(w->off, end, &first, &last);
	for (at = next_chunk(p->taken, first, last); at < last;
	     at = next_chunk(p->taken, at, last)) {
		u64 lo = max(at * VM_CHUNK_BYTES, w->off), hi;

		at = run_end(p->taken, at, last);
		hi = min(at * VM_CHUNK_BYTES, end);
		pt_take_write(b, w->va + (lo - w->off), w->va + (hi - w->off));
		ptbatch_flush_all(b); // I3
	}
	for (unsigned i = 0; i < p->nr_tries; i++)
		unsplit_shown(b, w, &p->try[i]);
}

static void try_again(struct dirty_pass *p)
{
	for (unsigned i = 0; i < p->nr_tries; i++)
		p->try[i].again = true;
}

static void pass_over_mappings(struct vm_object *o, struct ptbatch *b, struct dirty_pass *p)
{
	struct vma *v;

	spin_lock(&o->vmas_lock);
	list_for_each(v, &o->vmas, object_node) {
		struct unsplit_view w = { v->lo, vma_offset(v, v->lo), v->hi - v->lo,
					  READ_ONCE(v->prot), v->unit_level };

		if (!vma_tracks(v))
			continue;
		spin_lock(&v->as->pt_lock);
		ptbatch_switch(b, v->as);
		if (READ_ONCE(v->cutting)) { // it was, before tables were split under pt_lock
			w.unit_level = 0;
			try_again(p);
		}
		dirty_pass_over(p, b, &w);
		spin_unlock(&v->as->pt_lock);
	}
	// The space may go as soon as the list is released, so its CPUs are noted now.
	ptbatch_switch(b, NULL);
	spin_unlock(&o->vmas_lock);
}

// map_lock is held exclusively.
static bool take_chunks(struct vm_dirty *d, u64 first, u64 last)
{
	u64 at = next_chunk(&d->set, first, last), n = 0;

	for (; at < last; at = next_chunk(&d->set, at, last), n++) {
		add_chunk(&d->taken, at);
		remove_chunk(&d->set, at);
	}
	mm_count_many(MM_STAT_dirty_cleaned, n);
	return n;
}

// The file's table of `level` around `off`, or a lower one that is all it has. What cannot be told
// now is left to the next faults there.
static void add_try(struct vm_object *o, u64 off, int level, struct dirty_pass *p)
{
	struct vm_table own = { .kind = VM_TABLE_NONE }, t = { .kind = VM_TABLE_NONE };

	if (o->ops->table(o, off, level, &own) || own.kind != VM_TABLE_ENTRY ||
	    vm_table(o, off, own.level, &t) || t.kind != VM_TABLE_ENTRY || t.level != own.level)
		return;
	p->try[p->nr_tries++] = (struct unsplit_try){
		.off = ALIGN_DOWN(off, pt_span(t.level)),
		.table = { t.level, t.entry, own.entry },
	};
}

static bool any_split(const struct vm_dirty *d)
{
	return next_bit(d->split, 0, GIBS) < GIBS;
}

// I4. The GiBs that are clean, of those for which tables were made; last, what is above them.
// map_lock is held exclusively, so the file's tables stay until the pass is over.
static void choose_tries(struct vm_object *o, struct vm_dirty *d, struct dirty_pass *p)
{
	for (unsigned w = 0; w < GIBS / WORD_BITS; w++) {
		u64 clean = READ_ONCE(d->split[w]) & ~d->taken.gibs[w];

		for (; clean && p->nr_tries < DIRTY_TRIES; clean &= clean - 1) {
			u64 gib = w * WORD_BITS + (u64)__builtin_ctzll(clean);

			bit_clear(d->split, gib);
			add_try(o, gib * PUD_SIZE, PT_PUD, p);
		}
	}
	if (READ_ONCE(d->split_top) && p->nr_tries < DIRTY_TRIES && !any_split(d) &&
	    next_bit(d->taken.gibs, 0, GIBS) == GIBS) {
		d->split_top = false;
		add_try(o, 0, PT_PML4, p);
	}
}

// What could not be done is tried at the next sync.
static void keep_tries(struct vm_object *o, const struct dirty_pass *p)
{
	for (unsigned i = 0; i < p->nr_tries; i++)
		if (p->try[i].again)
			vm_dirty_split(o, p->try[i].off, p->try[i].table.level);
}

// ---- Sync ---------------------------------------------------------------------------------------

static u64 lines(u64 off, u64 len)
{
	return DIV_ROUND_UP(off % LINE_BYTES + len, LINE_BYTES);
}

static int write_back(struct vm_object *o, u64 off, u64 len)
{
	mm_count_many(MM_STAT_dirty_lines, lines(off, len));
	return o->ops->sync ? o->ops->sync(o, off, len) : 0;
}

static int write_back_taken(struct vm_object *o, struct vm_dirty *d, u64 first, u64 last)
{
	int err = 0;

	for (u64 at = next_chunk(&d->taken, first, last); at < last;
	     at = next_chunk(&d->taken, at, last)) {
		u64 end = run_end(&d->taken, at, last);

		if (!err)
			err = write_back(o, at * VM_CHUNK_BYTES, (end - at) * VM_CHUNK_BYTES);
		for (; at < end; at++) {
			if (err)
				add_chunk(&d->set, at); // I2
			remove_chunk(&d->taken, at);
		}
	}
	return err;
}

// Chunks first to last - 1. `whole`: these are all.
static int sync_chunks(struct vm_object *o, u64 first, u64 last, bool whole)
{
	struct vm_dirty *d = record_of(o);
	struct dirty_pass pass = { 0 };
	struct ptbatch b;
	bool any;
	int err = 0;

	if (!d)
		return 0; // nobody ever stored
	pass.taken = &d->taken;
	mutex_lock(&d->sync); // a second caller waits: it must not return before the lines are out
	ptbatch_begin(&b, NULL);
	rwlock_write_lock(&o->map_lock);
	any = take_chunks(d, first, last);
	// Where nobody maps it nothing is split, and to ask might make a copy of its tables.
	if (whole && vm_object_mapped(o))
		choose_tries(o, d, &pass);
	if (any || pass.nr_tries) {
		pass_over_mappings(o, &b, &pass);
		arena_pass(o, &b, &pass);
		keep_tries(o, &pass);
	}
	rwlock_write_unlock(&o->map_lock);
	ptbatch_finish(&b);
	if (any) {
		mm_count(dirty_syncs);
		// Only now: a CPU that remembered W could have stored until the shootdown.
		err = write_back_taken(o, d, first, last);
		if (!err && o->ops->touch)
			err = o->ops->touch(o);
	}
	mutex_unlock(&d->sync);
	return err;
}

int vm_sync(struct vm_object *o)
{
	return sync_chunks(o, 0, CHUNKS, true);
}

// Part of a chunk. W and the chunk's place in the set stay.
static int sync_lines(struct vm_object *o, u64 off, u64 end)
{
	const struct vm_dirty *d = record_of(o);
	int err;

	if (off >= end)
		return 0;
	err = write_back(o, off, end - off);
	if (!err && o->ops->touch && d && has_chunk(&d->set, off >> VM_CHUNK_SHIFT))
		err = o->ops->touch(o);
	return err;
}

int vm_sync_range(struct vm_object *o, u64 off, u64 end)
{
	bool to_the_end = end >= o->ops->size(o);
	u64 first = DIV_ROUND_UP(off, VM_CHUNK_BYTES), last = end >> VM_CHUNK_SHIFT;
	int err;

	if (to_the_end)
		last = CHUNKS;
	err = sync_lines(o, off, min(end, first * VM_CHUNK_BYTES));
	if (!err && first < last)
		err = sync_chunks(o, first, last, first == 0 && to_the_end);
	if (!err && !to_the_end)
		err = sync_lines(o, max(last, first) * VM_CHUNK_BYTES, end);
	return err;
}

// ---- For tests ----------------------------------------------------------------------------------

bool dirty_verify(struct aspace *as, const struct vma *v)
{
	const struct vm_dirty *d = record_of(v->object);
	struct pt_cursor c;
	bool good = true;

	spin_lock(&as->pt_lock);
	for (u64 va = v->lo; va < v->hi && good; va = pt_cursor_end(&c)) {
		u64 first, last;

		pt_look(as, &c, va);
		if (!(pt_cursor_get(&c).bits & PTE_W) || !pte_present(pt_cursor_get(&c)))
			continue;
		chunks_of(vma_offset(v, max(c.va, v->lo)), vma_offset(v, pt_cursor_end(&c)), &first,
			  &last);
		good = d && run_end(&d->set, first, last) == last;
	}
	spin_unlock(&as->pt_lock);
	return good;
}
