// SPDX-License-Identifier: MIT
//
// What: mapping and unmapping.
// Not here: where a mapping goes (mm/place.c), records of mappings (mm/aspace.c, mm/vma.c),
// attaching (mm/attach.c), translations (mm/pagetable.c).
//
// What comes and goes often is a whole file: one unit, one entry. Such a mapping stands here in one
// piece, put together by the compiler, and finds its record linked in the tree and its entry's
// place noted in it (the vacant record, mm/vma.h). All else is called.
//
// Invariants and locking: mm/aspace.c.
// Failure: what cannot get its memory leaves everything as it was.
#include "kernel/lib/errno.h"
#include "kernel/x86/tlbmark.h"
#include "kernel/x86/trap.h"
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/attach_unit.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/vmobject.h"

// The bits of mmap's flags that a VMA keeps.
#define VMA_FLAGS                                                                                  \
	(MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING | MAP_DAXVM_NOSYNC | MAP_SHARED |    \
	 MAP_PRIVATE)

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

// The same, but the record stays as the vacant one, for what is mapped next.
static inline void vma_vacate(struct vma *v)
{
	struct aspace *as = v->as;

	if (unlikely(as->parting)) { // the second one under this hold of the lock
		vma_bury(v);
		return;
	}
	vma_leave_object(v);
	as->parting = v->object;
	v->object = NULL;
	vma_tree_vacate(&as->vmas, v);
}

// A mapping as it was made. What was attached is mostly one entry: then there is nothing to gather
// for a batch. If it is gone already, a round over all mappings of the object may have cleared it
// whose flush is still to come (others_zap).
static inline void unmap_whole(struct aspace *as, struct vma *v)
{
	enum detached how = detach_unit(as, v);

	if (unlikely(how == DETACHED_NOT))
		zap_mappings(as, v, v->end);
	else if (how == DETACHED_PRESENT || others_zap(v))
		ptbatch_flush_space(as);
	tlb_mark_range(TLB_MARK_UNMAPPED, as->root.pa, v->start, v->end);
	vma_vacate(v); // I1: only now
}

static __attribute__((noinline)) int unmap_parts(struct aspace *as, u64 start, u64 end)
{
	struct vma *first, *v, *next;
	int err = arena_overlaps(as, start, end) ? UNMAP_ARENAS : clear_edges(as, start, end);

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

// clang's analysis cannot follow where the lock comes from.
NO_TSA void aspace_unmap_rest(struct aspace *as)
{
	struct vma *v = as->half_unmapped;

	as->half_unmapped = NULL;
	if (v) {
		ptbatch_flush_space(as);
		tlb_mark_range(TLB_MARK_UNMAPPED, as->root.pa, v->start, v->end);
		vma_vacate(v);
	}
	aspace_unlock(as);
}

int aspace_unmap(struct aspace *as, uva_t addr, u64 len)
{
	u64 end;
	int err = check_range(addr.va, len, &end);

	if (err)
		return err;
	do {
		if (READ_ONCE(as->arenas)) {
			err = arena_unmap(as, addr.va, len);
			if (err <= 0)
				return err;
		}
		rwlock_write_lock(&as->lock);
		err = unmap_locked(as, addr.va, end);
		aspace_unlock(as);
	} while (unlikely(err == UNMAP_ARENAS)); // made meanwhile: now arena_unmap() knows them
	return err;
}

// Interrupts are off. What needs more than that has begun when it turns out so, and is handed over
// with the lock: aspace_unmap_rest().
NO_TSA s64 aspace_unmap_light(struct aspace *as, u64 addr, u64 len)
{
	struct vma *v;
	enum detached how = DETACHED_NOT;

	// Whose mappings come and go in arenas need not touch the lock.
	if (aspace_in_arenas(as, addr) || !rwlock_write_trylock(&as->lock))
		return TRAP_NOT_LIGHT;
	v = as->vmas.recent;
	if (v && v->start == addr && v->end - addr == ALIGN_UP(len, PAGE_SIZE))
		how = detach_unit(as, v);
	if (how == DETACHED_NOT) {
		rwlock_write_unlock(&as->lock);
		return TRAP_NOT_LIGHT;
	}
	if ((how == DETACHED_PRESENT || others_zap(v)) && !ptbatch_flush_light(as)) {
		as->half_unmapped = v;
		return TRAP_NOT_LIGHT;
	}
	tlb_mark_range(TLB_MARK_UNMAPPED, as->root.pa, v->start, v->end);
	vma_vacate(v);
	if (as->vmas.dead || !vm_object_put_shared(as->parting))
		return TRAP_NOT_LIGHT;
	as->parting = NULL;
	rwlock_write_unlock(&as->lock);
	return 0;
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

// The record in the place that place.c chooses, linked in the tree; what it replaces is unmapped.
// NULL: nothing has changed, and *err says why.
static struct vma *record_at_place(struct aspace *as, const struct map_request *req, u64 len,
				   int *err)
{
	bool replaces = req->flags & MAP_FIXED; // else the place is free
	struct place p;
	struct vma *v;

	*err = place_choose(as, req, len, &p);
	if (*err)
		return NULL;
	*err = -ENOMEM;
	if (over_limit(as, &p, replaces))
		return NULL;
	v = p.vacant ? NULL : vma_new(as, p.start, p.end);
	if (!p.vacant && !v)
		return NULL;
	if (replaces && unmap_locked(as, p.start, p.end)) {
		vma_free(as, v);
		return NULL;
	}
	*err = 0;
	if (!v)
		v = vma_tree_occupy(&as->vmas);
	v->start = p.start;
	v->end = p.end;
	v->unit_level = (u8)p.unit_level;
	if (p.vacant)
		return v;
	v->lo = p.lo;
	v->hi = p.hi;
	vma_tree_insert(&as->vmas, v);
	return v;
}

// A mapping that is one unit, in the place that was left last, of a file whose entry for it is
// known: nothing has to be searched or made, so it cannot fail once it has begun. as->lock held
// exclusively; `prots`: PROT_*, and above them (PROTS_MAY) what mprotect may grant. 0: it is not
// so, or somebody waits for the file; nothing was done.
static inline __attribute__((always_inline)) u64 map_unit(struct aspace *as, struct vm_object *o,
							  u64 off, u64 len, unsigned prots,
							  unsigned flags)
{
	struct vma *v = as->vmas.vacant;
	int level = attach_level_of(len);
	u64 span = pt_span(level), head = off & (span - 1), va = 0;
	pte_t e;

	if (unlikely(!v || !v->slot || v->hi - v->lo != span || head + len > span ||
		     attach_may_copy(off, len) || as->limit_bytes != ~0ull ||
		     !rwlock_read_trylock(&o->map_lock)))
		return 0;
	e = attach_entry_of(o, level, off - head);
	// What is there of old is private tables: attach.c folds them.
	if (likely(pte_present(e) && pte_is_none(pte_read(v->slot)))) {
		vma_tree_occupy(&as->vmas);
		v->start = va = v->lo + head;
		v->end = va + len;
		v->object = o;
		v->offset = off;
		v->flags = flags & VMA_FLAGS;
		v->prot = (u8)(prots & 7);
		v->may_prot = (u8)(prots >> PROTS_MAY);
		v->unit_level = (u8)level;
		v->attach_level = 0;
		v->dont_fork = v->split = false;
		v->locked = (flags & MAP_LOCKED) || as->lock_future;
		vma_join_object(v);
		attach_unit(as, v, level, e);
	}
	rwlock_read_unlock(&o->map_lock);
	return va;
}

u64 aspace_map_light(struct aspace *as, struct vm_object *o, u64 off, u64 len, unsigned prots,
		     unsigned flags)
{
	u64 va;

	if (len - 1 >= USER_END || !rwlock_write_trylock(&as->lock))
		return 0;
	va = map_unit(as, o, off, ALIGN_UP(len, PAGE_SIZE), prots, flags);
	rwlock_write_unlock(&as->lock);
	return va;
}

static int map_record(struct aspace *as, const struct map_request *req, struct vma *v)
{
	int err;

	v->attach_level = 0;
	v->dont_fork = v->split = false;
	v->locked = (req->flags & MAP_LOCKED) || as->lock_future;
	v->object = req->object;
	v->offset = req->object ? req->offset : 0;
	v->flags = req->flags & VMA_FLAGS;
	v->prot = (u8)req->prot;
	v->may_prot = (u8)req->may_prot;
	vma_join_object(v);
	if (!v->unit_level) {
		vma_join(v);
		return 0;
	}
	rwlock_read_lock(&v->object->map_lock);
	err = attach_all(as, v);
	rwlock_read_unlock(&v->object->map_lock);
	if (err)
		(void)!unmap_locked(as, v->start, v->end); // whole: cannot fail
	return err;
}

// MAP_POPULATE: as much as there is; errors show when the memory is touched.
static void populate(struct aspace *as, const struct map_request *req, u64 start, u64 len)
{
	bool write = (req->prot & PROT_WRITE) && (req->flags & MAP_PRIVATE);

	if (req->prot != PROT_NONE)
		(void)!aspace_fault_in(as, UVA(start), len, write);
}

// In a place that is to be chosen. as->lock held exclusively.
static __attribute__((noinline)) int map_somewhere(struct aspace *as, const struct map_request *req,
						   u64 len, uva_t *out)
{
	int err;
	struct vma *v = record_at_place(as, req, len, &err);

	if (!v)
		return err;
	*out = UVA(v->start);
	return map_record(as, req, v);
}

static inline int map_usual(struct aspace *as, const struct map_request *req, u64 len, uva_t *out)
{
	const unsigned placed = MAP_FIXED | MAP_FIXED_NOREPLACE;
	int err = 0;

	out->va = 0;
	rwlock_write_lock(&as->lock);
	if ((req->flags & (MAP_DAXVM | placed)) == MAP_DAXVM && !req->addr.va && req->object &&
	    req->object->ops->table)
		out->va = map_unit(as, req->object, req->offset, len,
				   req->prot | req->may_prot << PROTS_MAY, req->flags);
	if (!out->va)
		err = map_somewhere(as, req, len, out);
	aspace_unlock(as);
	if (!err && unlikely(req->flags & MAP_POPULATE))
		populate(as, req, out->va, len);
	return err;
}

static __attribute__((noinline)) int map_shared_memory(struct aspace *as,
						       const struct map_request *req, u64 len,
						       uva_t *out)
{
	struct map_request r = *req;
	int err;

	r.object = anon_object_create(len);
	r.offset = 0;
	if (!r.object)
		return -ENOMEM;
	err = aspace_map(as, &r, out);
	r.object->ops->put(r.object); // the mapping holds its own reference
	return err;
}

// Shared mappings of files that can be attached; everything else is served as if not asked.
static bool may_be_ephemeral(const struct map_request *req)
{
	return (req->flags & MAP_SHARED) && req->object && req->object->ops->table &&
	       !(req->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE));
}

static __attribute__((noinline)) int map_ephemeral(struct aspace *as, const struct map_request *req,
						   u64 len, uva_t *out)
{
	struct map_request r = *req;
	int err = may_be_ephemeral(req) ? arena_map(as, req, out) : ARENA_OTHERWISE;

	if (err == 0 && (req->flags & MAP_POPULATE))
		populate(as, req, out->va, len);
	if (err <= 0)
		return err;
	r.flags &= ~MAP_DAXVM_EPHEMERAL;
	return aspace_map(as, &r, out);
}

int aspace_map(struct aspace *as, const struct map_request *req, uva_t *out)
{
	u64 len = ALIGN_UP(req->len, PAGE_SIZE);

	if (!req->len || !IS_ALIGNED(req->offset, PAGE_SIZE))
		return -EINVAL;
	if (len < req->len || len > USER_END - USER_BASE)
		return -ENOMEM;
	if (unlikely(req->object && req->offset > MAP_OFFSET_END - len))
		return -EOVERFLOW;
	if (unlikely(req->flags & MAP_DAXVM_EPHEMERAL))
		return map_ephemeral(as, req, len, out);
	if (unlikely(!req->object && (req->flags & MAP_SHARED)))
		return map_shared_memory(as, req, len, out);
	return map_usual(as, req, len, out);
}
