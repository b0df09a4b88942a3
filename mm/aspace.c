// SPDX-License-Identifier: MIT
//
// What: address spaces: their life, and their VMAs.
// Not here: mapping and unmapping (mm/map.c), where a mapping goes (mm/place.c), the other calls of
// mmap's family (mm/aspace_ops.c), fork (mm/fork.c), faults (mm/fault.c), attaching (mm/attach.c),
// translations (mm/pagetable.c).
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

void vma_free(struct aspace *as, struct vma *v)
{
	struct vma *none = NULL;

	if (!__atomic_compare_exchange_n(&as->spare_vma, &none, v, false, __ATOMIC_RELEASE,
					 __ATOMIC_RELAXED))
		kfree(v);
}

void vma_link(struct vma *v)
{
	vma_tree_insert(&v->as->vmas, v);
	vma_join_object(v);
}

void vma_bury(struct vma *v)
{
	struct vma_tree *t = &v->as->vmas;

	vma_leave_object(v);
	vma_tree_remove(t, v);
	v->next = t->dead;
	t->dead = v;
}

void vma_free_dead(struct aspace *as, struct vma *v)
{
	struct vma *next;

	for (; v; v = next) {
		next = v->next;
		if (v->object)
			vm_object_put(v->object);
		vma_free(as, v);
	}
}

// The lock is there only if there is an object, which clang's analysis cannot follow.
NO_TSA void vma_set_bounds(struct vma *v, u64 lo, u64 start, u64 end, u64 hi)
{
	struct vm_object *o = v->object;

	v->as->mapped_bytes += (end - start) - (v->end - v->start);
	if (o)
		spin_lock(&o->vmas_lock);
	v->slot = NULL; // of other bounds
	WRITE_ONCE(v->cutting, false);
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
	if (!right) {
		WRITE_ONCE(v->cutting, false);
		return -ENOMEM;
	}
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
		vm_object_get(v->object);
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
