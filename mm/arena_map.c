// SPDX-License-Identifier: MIT
//
// What: ephemeral mapping: the fast path without locks, and the slow one that makes what it lacks.
// Not here: unmapping (mm/arena_unmap.c), arenas and what happens to slots later (mm/arena.c),
// faults in slots and revoke (mm/arena_find.c).
//
// A mapping, against a revoke (revoke.pml)
//
//	mapper, preemption off                   revoke, map_lock held exclusively
//	descriptor = object, offset, ...         flag raised    (locked)
//	state = SETTING  (locked: a barrier)     scan; where SETTING or LOCK: wait
//	flag raised? back to FREE, slow way      clear entries
//	read the root, write the entry           fence, flush
//	state = LIVE                             flag lowered, blocks freed
//
// Flag and state word are both changed by locked operations, and each side looks at the other's
// after it changed its own: one of the two gives way.
//
// Invariants
//   I1  what is read from vm_object.root_word and .direct while SETTING, with no revoke under way,
//       still holds (mm/vmobject.h, I1).
//   I2  arena_map_fast is given the address of an object that lived at some moment in its caller's
//       section, and may be gone. If this arena holds an object of that address, it is this one,
//       and lives: records are made with preemption off on the arena's CPU, so it was held
//       before the section began, and two objects do not share an address. Before a record (or a
//       slot, which is counted in one) is found, the object is not looked at.
//
// Failure: whatever is missing or in the way sends the caller the slow way; what cannot be had
// there, to an ordinary mapping.
#include "kernel/lib/errno.h"
#include "kernel/random.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/trap.h"
#include "mm/arena_internal.h"
#include "mm/aspace_internal.h"
#include "mm/heap.h"
#include "mm/shadow.h"

#define DIRECT_BYTES (VM_DIRECT_BLOCKS * PAGE_SIZE)
#define PLACE_TRIES  64u

// What mmap may ask for here; other flags want more than this file does.
#define FLAGS_KNOWN (MAP_SHARED_VALIDATE | MAP_DAXVM_ALL | MAP_SYNC | MAP_NORESERVE)

// What is wanted.
struct want {
	struct vm_object *object;
	u64 grant;
	u64 offset, len;
	u64 last; // byte of the object
	u32 key;  // slot_key
	unsigned prot, flags;
};

// Rights of an entry by what stands in the key: PROT_* and more. W only where stores are not
// tracked: else the first one to each chunk grants it (mm/dirty.c).
#define RIGHTS_BITS (PROT_READ | PROT_WRITE | PROT_EXEC | SLOT_BATCHING | SLOT_DAXVM | SLOT_NOSYNC)
static u64 rights_of[RIGHTS_BITS + 1];

void arena_map_init(void)
{
	for (unsigned how = 0; how < ARRAY_SIZE(rights_of); how++)
		rights_of[how] = pt_user_rights(how & 7, how & SLOT_NOSYNC) | PTE_ATTACHED | PTE_A |
				 PTE_D | PTE_P;
}

// `len` is a number of pages.
FAST struct want want(u64 grant, u64 off, u64 len, unsigned prot, unsigned flags)
{
	_Static_assert(MAP_DAXVM_BATCHING >> 18 == SLOT_BATCHING && MAP_DAXVM >> 18 == SLOT_DAXVM &&
			       MAP_DAXVM_NOSYNC >> 18 == SLOT_NOSYNC,
		       "one shift for the three");
	const u64 how = SLOT_BATCHING | SLOT_DAXVM | SLOT_NOSYNC;

	return (struct want){ .object = vm_grant_object(grant),
			      .grant = grant,
			      .offset = off,
			      .len = len,
			      .last = off + len - 1,
			      .key = slot_key(len, prot | (flags >> 18 & how)),
			      .prot = prot,
			      .flags = flags };
}

// Object and page number; the rest of the words counts for nothing here.
FAST struct warm *warm_of(struct arena *a, u64 grant, u64 off)
{
	_Static_assert(sizeof(struct warm) == BIT(6) && WARM_SLOTS == BIT(6), "no shifts");

	return (struct warm *)((u8 *)a->warm + ((grant ^ off >> 6) & 0xfc0));
}

FAST pte_t with_rights(pte_t e, u64 key)
{
	return (pte_t){ (e.bits & (PTE_ADDR | PTE_PS)) | rights_of[key & RIGHTS_BITS] };
}

// ---- One mapping: on the arena's CPU, preemption off --------------------------------------------

// The same call was made a moment ago, its mapping was unmapped, and the entry still stands:
// nothing to write, nothing to flush. A revoke has cleared the entry and changed the state, or
// comes later and finds the slot LIVE: no need to look at the flag.
// Nothing is checked that the comparison says was checked then: a length of 0 or more than 1 GiB,
// an offset inside a page, what the descriptor denies, and flags that are not known are never found
// here. Nor is a record without a call, whose flags are 0.
FAST bool map_warm(struct arena *a, u64 grant, u64 off, u64 len, u64 prot, unsigned flags, u64 *va)
{
	struct warm *e = warm_of(a, grant, off);
	u64 word;

	if (e->grant != grant || e->offset != off || e->len != len || e->prot != prot ||
	    e->flags != flags || READ_ONCE(a->as->limit_bytes) != ~0ull)
		return false;
	word = e->zombie;
	if (!slot_cas(e->slot, &word, word + SLOT_LIVE - SLOT_ZOMBIE))
		return false;
	a->bytes += len;
	a->nr_warm++;
	*va = e->start;
	return true;
}

// Back out of SETTING, before an entry was written.
static u64 give_up(struct arena *a, struct slot *s)
{
	__atomic_store_n(&s->state, slot_load(s) + SLOT_FREE - SLOT_SETTING, __ATOMIC_RELEASE);
	s->next = a->free[slot_class(s)];
	a->free[slot_class(s)] = s;
	return 0;
}

// Copy the direct entries, one cache line. The pages from `first` to `last` must be there.
static bool copy_direct(pte_t *to, const struct vm_object *o, unsigned first, unsigned last,
			u64 key)
{
	// Before the first is written: what stands there once may be cached.
	for (unsigned i = first; i <= last; i++)
		if (!pte_present(pte_read(&o->direct[i])))
			return false;
	for (unsigned i = 0; i < VM_DIRECT_BLOCKS; i++) {
		pte_t e = pte_read(&o->direct[i]);

		if (pte_present(e))
			pte_write(&to[i], with_rights(e, key));
	}
	return true;
}

// The smallest slot that shows what is wanted in one piece. False: none does.
FAST bool choose_class(u64 root, const struct want *w, enum slot_class *c)
{
	u64 apart = w->offset ^ w->last;

	if (vm_root_level(root) == PT_PTE && w->last < DIRECT_BYTES)
		*c = SLOT_32K;
	else
		*c = apart < PMD_SIZE ? SLOT_2M : SLOT_1G;
	return apart < PUD_SIZE;
}

// For map_warm. `word`: what unmapping will leave, but for the list.
FAST void remember(struct arena *a, struct slot *s, const struct want *w, u64 word, u64 va)
{
	*warm_of(a, w->grant, w->offset) = (struct warm){ .grant = w->grant,
							  .offset = w->offset,
							  .len = w->len,
							  .prot = w->prot,
							  .flags = w->flags,
							  .slot = s,
							  .zombie = word | SLOT_LISTED,
							  .start = va };
}

// A free slot shows what is wanted. `given`: its entry; NULL: read from the object's root. 0: a
// revoke is under way, or the root is not what it was.
FAST u64 set_slot(struct arena *a, struct held *h, const struct want *w, enum slot_class c,
		  u64 root, const pte_t *given)
{
	struct slot *s = a->free[c];
	u64 word = s->state + SLOT_GENERATION + SLOT_SETTING - SLOT_FREE, va;
	pte_t e;

	a->free[c] = s->next;
	s->object = w->object;
	s->offset = w->offset;
	s->key = w->key;
	s->held = h;
	s->tree = NULL;
	// FREE changes by this CPU's hand alone, so a swap needs no comparison. Locked: what is
	// above is visible before what is below is read.
	__atomic_exchange_n(&s->state, word, __ATOMIC_SEQ_CST);
	if (READ_ONCE(w->object->revoking) || READ_ONCE(w->object->root_word) != root)
		return give_up(a, s);
	if (c == SLOT_32K) {
		// `given`: whatever is missing is a hole.
		unsigned first = given ? 1 : (unsigned)(w->offset >> PAGE_SHIFT);
		unsigned end = given ? 0 : (unsigned)(w->last >> PAGE_SHIFT);

		if ((w->key & 7) && !copy_direct(s->entry, w->object, first, end, w->key))
			return give_up(a, s);
	} else {
		e = given ? *given : vm_root_entry(root, (int)c + PT_PTE, w->offset);
		if (pte_present(e) && (w->key & 7)) // PROT_NONE: nothing to show
			pte_write(s->entry, with_rights(e, w->key));
	}
	if (h->slots++ == 0)
		a->nr_unused--;
	a->bytes += w->len;
	va = slot_va(a, s) + (w->offset & class_mask(c));
	if (!(w->flags & ~FLAGS_KNOWN))
		remember(a, s, w, word + SLOT_ZOMBIE - SLOT_SETTING, va);
	// TSO: nobody sees LIVE without the entry.
	__atomic_store_n(&s->state, word + SLOT_LIVE - SLOT_SETTING, __ATOMIC_RELEASE);
	a->nr_maps++;
	return va;
}

// As arena_map_light.
static __attribute__((noinline)) s64 map_cold(struct arena *a, u64 grant, u64 len, u64 prot,
					      unsigned flags, u64 off)
{
	_Static_assert((int)SLOT_2M + PT_PTE == PT_PMD, "classes and levels go together");
	const struct want w = want(grant, off, len, (unsigned)prot, flags);
	struct held *h = a->recent;
	enum slot_class c;
	u64 root, va;

	if (len - 1 >= PUD_SIZE || (off & (PAGE_SIZE - 1)) || prot & (~(u64)PROT_ALL | grant) ||
	    (flags & (~FLAGS_KNOWN | MAP_SHARED)) != MAP_SHARED ||
	    READ_ONCE(a->as->limit_bytes) != ~0ull)
		return TRAP_NOT_LIGHT;
	if (unlikely(!h || h->object != w.object))
		h = arena_find_held(a, w.object);
	if (!h)
		return TRAP_NOT_LIGHT; // I2: and nothing of the object was looked at
	root = READ_ONCE(w.object->root_word);
	if (!root || !choose_class(root, &w, &c) || !a->free[c] ||
	    (c != SLOT_32K &&
	     (vm_root_level(root) < (int)c + PT_PTE || w.last >> pt_shift(vm_root_level(root)))))
		return TRAP_NOT_LIGHT;
	va = set_slot(a, h, &w, c, root, NULL);
	return va ? (s64)va : TRAP_NOT_LIGHT;
}

FAST s64 map_at_once(struct arena *a, u64 grant, u64 len, u64 prot, unsigned flags, u64 off)
{
	u64 va;

	if (unlikely(!a))
		return TRAP_NOT_LIGHT;
	len = ALIGN_UP(len, PAGE_SIZE);
	if (likely(map_warm(a, grant, off, len, prot, flags, &va)))
		return (s64)va;
	return map_cold(a, grant, len, prot, flags, off);
}

u64 arena_map_fast(struct aspace *as, u64 grant, u64 len, u64 prot, unsigned flags, u64 off)
{
	s64 va;

	section_begin();
	va = map_at_once(arena_of_this_cpu(as), grant, len, prot, flags, off);
	section_end();
	return va == TRAP_NOT_LIGHT ? 0 : (u64)va;
}

s64 arena_map_light(u64 grant, u64 len, u64 prot, unsigned flags, u64 off)
{
	return map_at_once(asm_gs_arena(), grant, len, prot, flags, off);
}

// ---- The slow way -------------------------------------------------------------------------------

// What the slot is to hold: read from the object, and its root published. map_lock held shared.
// ARENA_OTHERWISE, or an error.
static int look_up(const struct want *w, enum slot_class *c, pte_t *given)
{
	struct vm_object *o = w->object;
	struct vm_table t = { .kind = VM_TABLE_NONE };
	u64 root = vm_root_word((pte_t){ 0 }, PT_PMD); // none: by length alone
	int err;

	*given = (pte_t){ 0 };
	err = vm_table(o, 0, PT_PML4, &t);
	if (err)
		return err;
	vm_root_publish(o, 0, &t);
	if (t.kind == VM_TABLE_DIRECT)
		root = READ_ONCE(o->root_word);
	if (!choose_class(root, w, c))
		return ARENA_OTHERWISE;
	if (*c == SLOT_32K || t.kind == VM_TABLE_DIRECT)
		return 0; // copied; or what is longer, by faults
	err = vm_table(o, w->offset, slot_level[*c], &t);
	if (!err && t.kind == VM_TABLE_ENTRY && t.level == slot_level[*c])
		*given = t.entry;
	return err;
}

// On whatever CPU it is. 0: a revoke, or no memory; or no slots, see *stamp.
static u64 map_here_once(struct arenas *all, struct aspace *as, const struct want *w,
			 enum slot_class c, const pte_t *given, u64 *stamp)
{
	struct arena *a;
	struct held *h;
	u64 va = 0;

	*stamp = 0;
	preempt_disable();
	a = arena_here(all, as);
	h = a ? arena_hold(a, w->object) : NULL;
	if (h && (a->free[c] || arena_refill(a, c, stamp)))
		va = set_slot(a, h, w, c, READ_ONCE(w->object->root_word), given);
	preempt_enable();
	return va;
}

// Slots that only wait for other CPUs to forget are had at the price of interrupting them, all at
// once. Who is met in a section forgets at its end, which is waited for with preemption on, so that
// two do not wait for each other.
static u64 map_here(struct arenas *all, struct aspace *as, const struct want *w, enum slot_class c,
		    const pte_t *given)
{
	u64 stamp, va = map_here_once(all, as, w, c, given, &stamp);

	if (!va && stamp) {
		epoch_kick(stamp, as);
		va = map_here_once(all, as, w, c, given, &stamp);
	}
	if (!va && stamp) {
		epoch_wait(stamp);
		va = map_here_once(all, as, w, c, given, &stamp);
	}
	return va;
}

// The addresses of the arenas: so many free slots of the PML4 in a row, anywhere.
static u64 find_place(struct aspace *as, u64 bytes)
{
	u64 span = pt_span(PT_PML4), places = (USER_END + 1) / span - bytes / span - 1;

	for (unsigned i = 0; i < PLACE_TRIES; i++) {
		u64 base = (1 + random_u64() % places) * span;

		if (vma_range_free(&as->vmas, base, base + bytes))
			return base;
	}
	return 0;
}

static int make_arenas(struct aspace *as)
{
	u64 bytes = cpu_count() * pt_span(PT_PML4);
	struct arenas *all = kzalloc(sizeof(*all));
	struct vma *v = vma_new(as, 0, 0);

	rwlock_write_lock(&as->lock);
	if (all && v && !as->arenas)
		all->base = find_place(as, bytes);
	if (!all || !v || !all->base) {
		rwlock_write_unlock(&as->lock);
		kfree(v);
		kfree(all);
		return as->arenas ? 0 : ARENA_OTHERWISE;
	}
	all->count = cpu_count();
	all->vma = v;
	v->arenas = all;
	v->lo = v->start = v->end = all->base; // nothing is asked for
	v->hi = all->base + bytes;
	v->dont_fork = true;
	vma_tree_insert(&as->vmas, v);
	as->arenas_base = all->base;
	as->arenas_bytes = bytes;
	__atomic_store_n(&as->arenas, all, __ATOMIC_RELEASE);
	rwlock_write_unlock(&as->lock);
	return 0;
}

static int map_slow(struct aspace *as, const struct want *w, u64 *va)
{
	struct vm_object *o = w->object;
	enum slot_class c;
	pte_t given;
	int err;

	// Before a slot shows it: a revoke that comes later looks at the arenas, one that is under
	// way is over when the lock is had. Once true, they stay so.
	if (!READ_ONCE(o->ever_mapped))
		WRITE_ONCE(o->ever_mapped, true);
	if (!READ_ONCE(o->ever_ephemeral))
		__atomic_store_n(&o->ever_ephemeral, true, __ATOMIC_SEQ_CST);
	rwlock_read_lock(&o->map_lock);
	err = look_up(w, &c, &given);
	*va = err ? 0 : map_here(as->arenas, as, w, c, &given);
	rwlock_read_unlock(&o->map_lock);
	if (err)
		return err;
	return *va ? 0 : ARENA_OTHERWISE;
}

int arena_map(struct aspace *as, const struct map_request *req, uva_t *out)
{
	u64 len = ALIGN_UP(req->len, PAGE_SIZE);
	struct want w =
		want(vm_grant(req->object, req->may_prot), req->offset, len, req->prot, req->flags);
	u64 va = 0;
	int err = 0;

	if (req->len > PUD_SIZE || w.last < w.offset)
		return ARENA_OTHERWISE;
	if (!as->arenas)
		err = make_arenas(as);
	if (err)
		return err;
	if (READ_ONCE(as->limit_bytes) == ~0ull) {
		err = map_slow(as, &w, &va);
	} else { // the sum has to be right, so calls take turns
		rwlock_write_lock(&as->lock);
		if (as->mapped_bytes + arena_bytes(as) + len > as->limit_bytes)
			err = -ENOMEM;
		else
			err = map_slow(as, &w, &va);
		rwlock_write_unlock(&as->lock);
	}
	*out = UVA(va);
	return err;
}
