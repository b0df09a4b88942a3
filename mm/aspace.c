// SPDX-License-Identifier: MIT
//
// What: address spaces: their life, mapping and unmapping.
// Not here: where a mapping goes (mm/place.c), the other calls of mmap's family (mm/aspace_ops.c),
// fork (mm/fork.c), faults (mm/fault.c), attaching (mm/attach.c), translations (mm/pagetable.c).
//
// Invariants
//   I1  a VMA enters its object's list before its first entry is installed, and leaves it after its
//       last one was cleared and flushed on every CPU. A revoke misses nothing.
//   I2  mapped_bytes is the sum of end - start of all VMAs.
//
// Locking: lock order as->lock, object->map_lock, object->vmas_lock, as->pt_lock. as->lock
// exclusively for all changes of VMAs.
// Failure: what cannot get its memory leaves everything as it was.
#include "mm/aspace.h"

#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/tlbmark.h"
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/attach.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/vmobject.h"

#define MMAP_TOP_DEFAULT (USER_END - GIB(1)) // the stack lies above

// The bits of mmap's flags that a VMA keeps.
#define VMA_FLAGS                                                                                  \
	(MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING | MAP_DAXVM_NOSYNC | MAP_SHARED |    \
	 MAP_PRIVATE)

// ---- Life ---------------------------------------------------------------------------------------

struct aspace *aspace_create(void)
{
	struct aspace *as = kzalloc(sizeof(*as));

	if (!as)
		return NULL;
	if (pt_init(as)) {
		kfree(as);
		return NULL;
	}
	rwlock_init(&as->lock, RANK_ASPACE);
	spin_init(&as->pt_lock, RANK_PT);
	vma_tree_init(&as->vmas, USER_BASE);
	as->mmap_top = MMAP_TOP_DEFAULT;
	as->limit_bytes = ~0ull;
	as->refs = 1;
	return as;
}

void aspace_get(struct aspace *as)
{
	__atomic_fetch_add(&as->refs, 1, __ATOMIC_RELAXED);
}

void aspace_put(struct aspace *as)
{
	int err;

	if (!as || __atomic_fetch_sub(&as->refs, 1, __ATOMIC_ACQ_REL) > 1)
		return;
	for (unsigned i = 0; i < cpu_count(); i++)
		ASSERT(READ_ONCE(cpus[i].loaded_as) != as);
	arena_destroy(as);
	rwlock_write_lock(&as->lock);
	err = unmap_locked(as, USER_BASE, USER_END);
	ASSERT(err == 0); // no mapping crosses these bounds, so nothing had to be cut
	aspace_unlock(as);
	pt_destroy(as);
	kfree(as->vmas.vacant);
	kfree(as->spare_vma);
	kfree(as);
}

// ---- VMAs ---------------------------------------------------------------------------------------

struct vma *vma_new(struct aspace *as, u64 start, u64 end)
{
	struct vma *v = __atomic_exchange_n(&as->spare_vma, NULL, __ATOMIC_ACQUIRE);

	if (!v)
		v = kmalloc(sizeof(*v));
	if (!v)
		return NULL;
	*v = (struct vma){ .as = as, .lo = start, .start = start, .end = end, .hi = end };
	list_init(&v->object_node);
	return v;
}

// It is in no tree and no list. A space keeps one in store.
static void vma_free(struct aspace *as, struct vma *v)
{
	struct vma *none = NULL;

	if (!__atomic_compare_exchange_n(&as->spare_vma, &none, v, false, __ATOMIC_RELEASE,
					 __ATOMIC_RELAXED))
		kfree(v);
}

// Charge it, and enter it in its object's list, with a reference.
static void join_object(struct vma *v)
{
	struct vm_object *o = v->object;

	v->as->mapped_bytes += v->end - v->start;
	if (!o)
		return;
	if (o->ops->get)
		o->ops->get(o);
	spin_lock(&o->vmas_lock);
	WRITE_ONCE(o->ever_mapped, true);
	list_add_tail(&o->vmas, &v->object_node);
	spin_unlock(&o->vmas_lock);
}

void vma_link(struct vma *v)
{
	vma_tree_insert(&v->as->vmas, v);
	join_object(v);
}

// The reference stays.
static void leave_object(struct vma *v)
{
	v->as->mapped_bytes -= v->end - v->start;
	if (v->object) {
		spin_lock(&v->object->vmas_lock);
		list_del(&v->object_node);
		spin_unlock(&v->object->vmas_lock);
	}
}

// Its entries are cleared and flushed. The object is let go after as->lock is: its last reference
// may take the file with it, which is the file system's business and its locks'.
static void vma_bury(struct vma *v)
{
	struct vma_tree *t = &v->as->vmas;

	leave_object(v);
	vma_tree_remove(t, v);
	v->next = t->dead;
	t->dead = v;
}

// The same, but the record stays as the vacant one, for what is mapped next.
static void vma_vacate(struct vma *v)
{
	struct aspace *as = v->as;

	if (unlikely(as->parting)) { // the second one under this hold of the lock
		vma_bury(v);
		return;
	}
	leave_object(v);
	as->parting = v->object;
	v->object = NULL;
	vma_tree_vacate(&as->vmas, v);
}

static __attribute__((noinline)) void free_dead(struct aspace *as, struct vma *v)
{
	struct vma *next;

	for (; v; v = next) {
		next = v->next;
		if (v->object && v->object->ops->put)
			v->object->ops->put(v->object);
		vma_free(as, v);
	}
}

void aspace_unlock(struct aspace *as)
{
	struct vma *dead = as->vmas.dead;
	struct vm_object *o = as->parting;

	as->vmas.dead = NULL;
	as->parting = NULL;
	rwlock_write_unlock(&as->lock);
	if (o && o->ops->put)
		o->ops->put(o);
	if (dead)
		free_dead(as, dead);
}

// The lock is there only if there is an object, which clang's analysis cannot follow.
NO_TSA void vma_set_bounds(struct vma *v, u64 lo, u64 start, u64 end, u64 hi)
{
	struct vm_object *o = v->object;

	v->as->mapped_bytes += (end - start) - (v->end - v->start);
	if (o)
		spin_lock(&o->vmas_lock);
	v->offset += start - v->start;
	v->lo = lo;
	v->start = start;
	v->end = end;
	v->hi = hi;
	if (o)
		spin_unlock(&o->vmas_lock);
	vma_tree_resized(&v->as->vmas, v);
}

int vma_cut(struct aspace *as, u64 addr)
{
	struct vma *v = vma_find(&as->vmas, addr), *right;

	if (!v || addr <= v->start || addr >= v->end)
		return 0;
	if (attach_split_boundary(as, v, addr))
		return -ENOMEM;
	right = vma_new(as, addr, v->end);
	if (!right)
		return -ENOMEM;
	right->hi = v->hi;
	right->object = v->object;
	right->offset = v->offset + (addr - v->start);
	right->flags = v->flags;
	right->prot = v->prot;
	right->may_prot = v->may_prot;
	right->unit_level = v->unit_level;
	right->attach_level = v->attach_level;
	right->split = v->split;
	right->dont_fork = v->dont_fork;
	right->locked = v->locked;
	// In between a revoke would find the right part in the left one's bounds: the same entries.
	if (v->object) {
		if (v->object->ops->get)
			v->object->ops->get(v->object);
		spin_lock(&v->object->vmas_lock);
		list_add_tail(&v->object->vmas, &right->object_node);
		spin_unlock(&v->object->vmas_lock);
	}
	vma_set_bounds(v, v->lo, v->start, addr, addr);
	as->mapped_bytes += right->end - right->start;
	vma_tree_insert(&as->vmas, right);
	return 0;
}

// Only anonymous private memory is joined: programs map it piece by piece and unmap it as a whole.
static bool alike(const struct vma *a, const struct vma *b)
{
	return a && b && !a->object && !b->object && a->hi == b->lo && a->prot == b->prot &&
	       a->may_prot == b->may_prot && a->flags == b->flags && a->dont_fork == b->dont_fork &&
	       a->locked == b->locked;
}

static struct vma *join_two(struct vma *a, struct vma *b)
{
	struct aspace *as = a->as;
	u64 end = b->end;

	as->mapped_bytes -= b->end - b->start;
	vma_tree_remove(&as->vmas, b);
	kfree(b);
	vma_set_bounds(a, a->lo, a->start, end, end);
	return a;
}

struct vma *vma_join(struct vma *v)
{
	struct vma *prev = vma_prev(v), *next = vma_next(v);

	if (alike(v, next))
		join_two(v, next);
	return alike(prev, v) ? join_two(prev, v) : v;
}

// ---- Unmapping ----------------------------------------------------------------------------------

// A mapping whose reservation reaches into [start, end) from outside, without what was asked for:
// take that part of the reservation away. Translations go first, then the bounds (I1).
static int trim_reservation(struct aspace *as, struct vma *v, u64 start, u64 end)
{
	u64 lo = v->end <= start ? start : v->lo, hi = v->end <= start ? v->hi : end;
	struct ptbatch b;
	int err;

	err = attach_split_boundary(as, v, v->end <= start ? start : end);
	if (err)
		return err;
	ptbatch_begin(&b, as);
	pt_zap_range(&b, lo, hi, PT_ZAP_ALL);
	flush_zapped(&b, v);
	ptbatch_finish(&b);
	if (v->end <= start)
		vma_set_bounds(v, v->lo, v->start, v->end, start);
	else
		vma_set_bounds(v, end, v->start, v->end, v->hi);
	return 0;
}

// Cut and trim at the edges, so that the mappings of [start, end) are whole ones.
static int clear_edges(struct aspace *as, u64 start, u64 end)
{
	struct vma *v;
	int err = vma_cut(as, start);

	if (!err)
		err = vma_cut(as, end);
	v = vma_find(&as->vmas, start);
	if (!err && v && v->lo < start && v->end <= start)
		err = trim_reservation(as, v, start, end);
	v = vma_find(&as->vmas, end - 1);
	if (!err && v && v->hi > end && v->start >= end)
		err = trim_reservation(as, v, start, end);
	return err;
}

// All entries of some mappings, from `first` on.
static __attribute__((noinline)) void zap_mappings(struct aspace *as, struct vma *first, u64 end)
{
	struct ptbatch b;

	ptbatch_begin(&b, as);
	for (struct vma *v = first; v && v->lo < end; v = vma_next(v)) {
		pt_zap_range(&b, v->lo, v->hi, PT_ZAP_ALL);
		flush_zapped(&b, v);
	}
	ptbatch_finish(&b);
}

// A mapping as it was made. What was attached is mostly one entry: then there is nothing to gather
// for a batch. If it is gone already, a round over all mappings of the object may have cleared it
// whose flush is still to come (flush_zapped).
static void unmap_whole(struct aspace *as, struct vma *v)
{
	enum pt_one one = PT_ONE_OF_MANY;

	if (v->unit_level > PT_PTE) {
		spin_lock(&as->pt_lock);
		one = pt_clear_one(as, v->lo, v->hi);
		spin_unlock(&as->pt_lock);
	}
	if (one == PT_ONE_OF_MANY)
		zap_mappings(as, v, v->end);
	else if (one == PT_ONE_CLEARED || others_zap(v))
		ptbatch_flush_space(as);
	tlb_mark_range(TLB_MARK_UNMAPPED, as->root.pa, v->start, v->end);
	vma_vacate(v); // I1: only now
}

static __attribute__((noinline)) int unmap_parts(struct aspace *as, u64 start, u64 end)
{
	struct vma *first, *v, *next;
	int err = clear_edges(as, start, end);

	if (err)
		return err;
	first = vma_find_from(&as->vmas, start);
	zap_mappings(as, first, end);
	tlb_mark_range(TLB_MARK_UNMAPPED, as->root.pa, start, end);
	// I1: only now, with all entries cleared and flushed.
	for (v = first; v && v->lo < end; v = next) {
		next = vma_next(v);
		vma_bury(v);
	}
	return 0;
}

int unmap_locked(struct aspace *as, u64 start, u64 end)
{
	struct vma *v = vma_find_from(&as->vmas, start);

	if (unlikely(!v || v->start != start || v->end != end))
		return unmap_parts(as, start, end);
	unmap_whole(as, v);
	return 0;
}

// Page-aligned range in user space, not empty. Linux calls everything else EINVAL here.
static int check_range(u64 addr, u64 len, u64 *end)
{
	if (!IS_ALIGNED(addr, PAGE_SIZE) || !len || len > USER_END || addr > USER_END - len)
		return -EINVAL;
	*end = addr + ALIGN_UP(len, PAGE_SIZE);
	return 0;
}

int aspace_unmap(struct aspace *as, uva_t addr, u64 len)
{
	u64 end;
	int err = check_range(addr.va, len, &end);

	if (err)
		return err;
	if (READ_ONCE(as->arenas)) {
		err = arena_unmap(as, addr.va, len);
		if (err <= 0)
			return err;
	}
	rwlock_write_lock(&as->lock);
	err = unmap_locked(as, addr.va, end);
	aspace_unlock(as);
	return err;
}

u64 aspace_bytes(struct aspace *as)
{
	return as->mapped_bytes + (as->arenas ? arena_bytes(as) : 0);
}

// ---- Mapping ------------------------------------------------------------------------------------

static u64 mapped_within(const struct aspace *as, u64 start, u64 end)
{
	const struct vma *v;
	u64 sum = 0;

	for (v = vma_find_from(&as->vmas, start); v && v->start < end; v = vma_next(v))
		if (v->end > start)
			sum += min(v->end, end) - max(v->start, start);
	return sum;
}

// Without a limit nobody adds up: what each CPU has mapped stands on lines that it writes all the
// time.
static bool over_limit(struct aspace *as, const struct place *p, bool replaces)
{
	u64 freed;

	if (as->limit_bytes == ~0ull)
		return false;
	freed = replaces ? mapped_within(as, p->start, p->end) : 0;
	return aspace_bytes(as) - freed + (p->end - p->start) > as->limit_bytes;
}

// The record for the place, linked in the tree; what it replaces is unmapped. NULL: no memory, and
// nothing has changed.
static struct vma *record_at(struct aspace *as, const struct place *p, bool replaces)
{
	struct vma *v;

	if (likely(p->vacant)) {
		v = vma_tree_occupy(&as->vmas);
		v->start = p->start;
		v->end = p->end;
		v->attach_level = 0;
		v->dont_fork = v->split = false;
		return v;
	}
	v = vma_new(as, p->start, p->end);
	if (!v)
		return NULL;
	if (replaces && unmap_locked(as, p->start, p->end)) {
		vma_free(as, v);
		return NULL;
	}
	v->lo = p->lo;
	v->hi = p->hi;
	vma_tree_insert(&as->vmas, v);
	return v;
}

static int map_locked(struct aspace *as, const struct map_request *req, const struct place *p)
{
	bool replaces = req->flags & MAP_FIXED; // else the place is free
	struct vma *v;
	int err = 0;

	if (over_limit(as, p, replaces))
		return -ENOMEM;
	v = record_at(as, p, replaces);
	if (!v)
		return -ENOMEM;
	v->unit_level = (u8)p->unit_level;
	v->locked = (req->flags & MAP_LOCKED) || as->lock_future;
	v->object = req->object;
	v->offset = req->object ? req->offset : 0;
	v->flags = req->flags & VMA_FLAGS;
	v->prot = (u8)req->prot;
	v->may_prot = (u8)req->may_prot;
	join_object(v);
	if (v->unit_level) {
		rwlock_read_lock(&v->object->map_lock);
		err = attach_all(as, v);
		rwlock_read_unlock(&v->object->map_lock);
		if (err)
			(void)!unmap_locked(as, v->start, v->end); // whole: cannot fail
	} else {
		vma_join(v);
	}
	return err;
}

// MAP_POPULATE: as much as there is; errors show when the memory is touched.
static void populate(struct aspace *as, const struct map_request *req, u64 start, u64 len)
{
	bool write = (req->prot & PROT_WRITE) && (req->flags & MAP_PRIVATE);

	if (req->prot != PROT_NONE)
		(void)!aspace_fault_in(as, UVA(start), len, write);
}

static int populated(struct aspace *as, const struct map_request *req, uva_t at, u64 len)
{
	if (req->flags & MAP_POPULATE)
		populate(as, req, at.va, len);
	return 0;
}

// Shared mappings of files that can be attached; everything else is served as if not asked.
static bool may_be_ephemeral(const struct map_request *req)
{
	return (req->flags & MAP_DAXVM_EPHEMERAL) && (req->flags & MAP_SHARED) && req->object &&
	       req->object->ops->table && !(req->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE));
}

int aspace_map(struct aspace *as, const struct map_request *req, uva_t *out)
{
	struct map_request r = *req;
	struct vm_object *own = NULL;
	u64 len = ALIGN_UP(r.len, PAGE_SIZE);
	struct place place;
	int err;

	if (!r.len || !IS_ALIGNED(r.offset, PAGE_SIZE))
		return -EINVAL;
	if (len < r.len || len > USER_END - USER_BASE)
		return -ENOMEM;
	// The validating kind of shared is a question of mmap's flags, not of the mapping.
	if ((r.flags & MAP_TYPE) == MAP_SHARED_VALIDATE)
		r.flags &= ~(MAP_TYPE & ~MAP_SHARED);
	if (!r.object && (r.flags & MAP_SHARED)) {
		r.object = own = anon_object_create(len);
		r.offset = 0;
		if (!own)
			return -ENOMEM;
	}
	if (may_be_ephemeral(&r)) {
		err = arena_map(as, &r, out);
		if (err <= 0)
			return err ? err : populated(as, &r, *out, len);
	}
	r.flags &= ~MAP_DAXVM_EPHEMERAL;
	if (req->flags & MAP_DAXVM_EPHEMERAL)
		r.flags |= MAP_DAXVM;
	rwlock_write_lock(&as->lock);
	err = place_choose(as, &r, len, &place);
	if (!err)
		err = map_locked(as, &r, &place);
	aspace_unlock(as);
	if (own)
		own->ops->put(own); // the mapping holds its own reference
	if (err)
		return err;
	*out = UVA(place.start);
	return populated(as, &r, *out, len);
}

// ---- Looking ------------------------------------------------------------------------------------

void aspace_for_each_vma(struct aspace *as, bool (*fn)(void *ctx, const struct vma *vma), void *ctx)
{
	const struct vma *v;

	rwlock_read_lock(&as->lock);
	for (v = vma_first(&as->vmas); v; v = vma_next(v))
		if (!(v->arenas ? arena_for_each(as, fn, ctx) : fn(ctx, v)))
			break;
	rwlock_read_unlock(&as->lock);
}

// As vma_set_bounds: a lock that may not be there.
NO_TSA unsigned aspace_walk(struct aspace *as, uva_t va, struct aspace_step step[PT_PML4])
{
	struct vma *v, in_slot;
	struct slot *s;
	struct pt_cursor c;
	bool attached = false;
	unsigned n = 0;

	rwlock_read_lock(&as->lock);
	s = arena_pin(as, va.va, &in_slot);
	v = s ? &in_slot : vma_find(&as->vmas, va.va);
	if (v && v->object) // or the file's table might go while it is read
		rwlock_read_lock(&v->object->map_lock);
	spin_lock(&as->pt_lock);
	pt_cursor_init_table(&c, &pt_mmu, as->root_table, PT_PML4, va.va);
	do {
		const void *table = (const void *)ALIGN_DOWN((u64)pt_cursor_slot(&c), PAGE_SIZE);

		step[n] = (struct aspace_step){ c.level, pt_cursor_get(&c), virt_to_phys(table),
						attached };
		attached |= step[n++].entry.bits & PTE_ATTACHED ? true : false;
	} while (va.va < USER_END && pt_cursor_down(&c, va.va));
	spin_unlock(&as->pt_lock);
	if (v && v->object)
		rwlock_read_unlock(&v->object->map_lock);
	if (s)
		arena_unpin(s);
	rwlock_read_unlock(&as->lock);
	return n;
}
