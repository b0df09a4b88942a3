// SPDX-License-Identifier: MIT
//
// Address spaces, within mm/ only. Callers of all of these hold as->lock exclusively.
#pragma once

#include "mm/aspace.h"
#include "mm/layout.h"
#include "mm/ptbatch.h"
#include "mm/vma.h"
#include "mm/vmobject.h"

// Rounds; false: not a range of user addresses.
static inline bool page_range(uva_t addr, u64 len, u64 *start, u64 *end)
{
	if (!IS_ALIGNED(addr.va, PAGE_SIZE) || len > USER_END || addr.va > USER_END - len)
		return false;
	*start = addr.va;
	*end = addr.va + ALIGN_UP(len, PAGE_SIZE);
	return true;
}

// A zeroed record with the given bounds (lo = start, hi = end), in no tree yet. NULL: no memory.
struct vma *vma_new(struct aspace *as, u64 start, u64 end);

// Enter `v` in the tree and, with a reference, in its object's list; charge it.
void vma_link(struct vma *v);

// It is in no tree and no list. A space keeps one in store.
void vma_free(struct aspace *as, struct vma *v);

// Charge it, and enter it in its object's list, with a reference.
static inline void vma_join_object(struct vma *v)
{
	struct vm_object *o = v->object;

	v->as->mapped_bytes += v->end - v->start;
	if (!o)
		return;
	vm_object_get(o);
	spin_lock(&o->vmas_lock);
	WRITE_ONCE(o->ever_mapped, true);
	list_add_tail(&o->vmas, &v->object_node);
	spin_unlock(&o->vmas_lock);
}

// The reference stays.
static inline void vma_leave_object(struct vma *v)
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
void vma_bury(struct vma *v);
void vma_free_dead(struct aspace *as, struct vma *dead); // as->lock not held

// If `addr` lies within what was asked for by a mapping, cut that in two. 0 or -ENOMEM.
int vma_cut(struct aspace *as, u64 addr) __must_check;

// Join anonymous neighbours of `v` that are like it. Returns the one that covers v now.
struct vma *vma_join(struct vma *v);

// Change the bounds of a linked VMA (a revoke may be reading them).
void vma_set_bounds(struct vma *v, u64 lo, u64 start, u64 end, u64 hi);

// Entries of `v` were changed, or found cleared: then perhaps by a round over all mappings of the
// object (mm/vmobject.c), on another CPU, whose flush is still to come. Who found them makes up for
// it, so that nothing of before is left when the call returns.
static inline bool others_zap(const struct vma *v)
{
	return v->object && vm_zap_pending(v->object);
}

static inline void flush_zapped(struct ptbatch *b, const struct vma *v)
{
	if (others_zap(v))
		ptbatch_flush_all(b);
}

// Remove every mapping of [start, end), reservations at its edges included. 0, or nothing was
// unmapped: -ENOMEM; UNMAP_ARENAS: the range reaches into the arenas, whose addresses stay theirs
// as long as the space lives. There may be arenas since the caller looked, unless it held the lock.
enum { UNMAP_ARENAS = 1 };
int unmap_locked(struct aspace *as, u64 start, u64 end) __must_check;

// Release as->lock (held exclusively), then let go of the objects of what was unmapped.
static inline void aspace_unlock(struct aspace *as) RELEASE(&as->lock)
{
	struct vma *dead = as->vmas.dead;
	struct vm_object *o = as->parting;

	as->vmas.dead = NULL;
	as->parting = NULL;
	rwlock_write_unlock(&as->lock);
	if (o)
		vm_object_put(o);
	if (unlikely(dead))
		vma_free_dead(as, dead);
}

// The space has kept mappings that may come and go by light calls. Other CPUs see it when they load
// the space.
void aspace_try_light(struct aspace *as);

// Bytes that RLIMIT_AS counts.
u64 aspace_bytes(struct aspace *as);

// Where a mapping goes.
struct place {
	u64 lo, start, end, hi;
	int unit_level;
	struct vma *vacant; // the record that stands there already (vma_tree_occupy), or NULL
};

// Choose it for `len` bytes (rounded) of the request. 0, -ENOMEM, -EEXIST, -EPERM, -EINVAL,
// -EUCLEAN.
int place_choose(struct aspace *as, const struct map_request *req, u64 len, struct place *out)
	__must_check;

// An object of zeros in RAM, for MAP_SHARED|MAP_ANONYMOUS; one reference. NULL: no memory.
struct vm_object *anon_object_create(u64 bytes);
