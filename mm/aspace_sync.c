// SPDX-License-Identifier: MIT
//
// What: msync, mlock and mincore.
// Not here: the dirty set and what a sync does (mm/dirty.c), fsync (fs/).
//
// What a range means. On plain mappings msync works by whole pages, as POSIX says. On mappings with
// MAP_DAXVM it works by cache lines: who asks for 8 bytes pays for one line.
//
// Locking: as->lock shared while looking at a mapping; not while its object is written back, which
// takes time and is nobody else's business: the object is held by a reference meanwhile.
#include "kernel/lib/errno.h"
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/pagetable.h"

// ---- msync --------------------------------------------------------------------------------------

#define MS_ASYNC      1u
#define MS_INVALIDATE 2u
#define MS_SYNC       4u

// Part of one mapping.
struct piece {
	struct vm_object *object;
	u64 off, end; // of the object
	bool nosync;
};

// [start, end) of `v`, whole pages. `exact`: where the caller's range ends.
static struct piece piece_of(const struct vma *v, u64 start, u64 end, u64 exact)
{
	u64 stop = v->flags & (MAP_DAXVM | MAP_DAXVM_EPHEMERAL) ? min(end, exact) : end;

	return (struct piece){ v->object, vma_offset(v, start), vma_offset(v, stop),
			       v->flags & MAP_DAXVM_NOSYNC };
}

// The program flushes its own cache lines where it said so; what is left are the file's times.
static int sync_piece(const struct piece *p)
{
	struct vm_object *o = p->object;

	if (p->nosync)
		return o->ops->touch ? o->ops->touch(o) : 0;
	return vm_sync_range(o, p->off, p->end);
}

struct slot_sync {
	unsigned flags;
	u64 exact;
};

static int sync_slot(const struct vma *v, u64 start, u64 end, void *ctx)
{
	const struct slot_sync *s = ctx;
	struct piece p = piece_of(v, start, end, s->exact);

	return s->flags & MS_SYNC ? sync_piece(&p) : 0;
}

// as->lock is held shared, but not any more on return.
static int sync_vma(struct aspace *as, const struct piece *p) RELEASE_SHARED(&as->lock)
{
	struct vm_object *o = p->object;
	int err;

	vm_object_get(o);
	rwlock_read_unlock(&as->lock);
	err = sync_piece(p);
	vm_object_put(o);
	return err;
}

// Linux's order: what is found wrong ends it, but for holes between mappings, which are reported
// when all else is done.
static int sync_range(struct aspace *as, u64 start, u64 end, u64 exact, unsigned flags)
{
	int gap = 0, err = 0;

	rwlock_read_lock(&as->lock);
	while (start < end) {
		struct vma *v = vma_find_from(&as->vmas, start);
		struct piece p;

		while (v && start >= v->end) // what lies beyond is reserved, not mapped
			v = vma_next(v);
		if (!v || v->start > start)
			gap = -ENOMEM;
		if (!v || v->start >= end || (gap && flags == MS_ASYNC))
			break;
		if ((flags & MS_INVALIDATE) && v->locked) {
			err = -EBUSY;
			break;
		}
		p = piece_of(v, max(start, v->start), min(end, v->end), exact);
		start = min(end, v->end);
		if (!(flags & MS_SYNC) || !v->object || !vma_is_shared(v))
			continue;
		err = sync_vma(as, &p);
		if (err || start == end)
			return err ? err : gap;
		rwlock_read_lock(&as->lock);
	}
	rwlock_read_unlock(&as->lock);
	return err ? err : gap;
}

int aspace_sync(struct aspace *as, uva_t addr, u64 len, unsigned flags)
{
	struct slot_sync s = { flags, addr.va + len };
	u64 start, end;

	if (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) ||
	    (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC) ||
	    !IS_ALIGNED(addr.va, PAGE_SIZE))
		return -EINVAL;
	if (!page_range(addr, len, &start, &end))
		return -ENOMEM;
	if (start < end && arena_overlaps(as, start, end))
		return arena_for_range(as, start, end, sync_slot, &s);
	return sync_range(as, start, end, s.exact, flags);
}

// ---- mlock --------------------------------------------------------------------------------------

static int lock_slot(const struct vma *v, u64 start, u64 end, void *ctx)
{
	(void)v; // an ephemeral mapping keeps no record of it
	(void)start;
	(void)end;
	(void)ctx;
	return 0;
}

// [start, end) of `v` becomes a mapping of its own, if it has to.
static int lock_vma(struct aspace *as, struct vma *v, u64 start, u64 end, bool locked)
{
	int err;

	if (v->locked == locked)
		return 0;
	err = vma_cut(as, start);
	if (!err)
		err = vma_cut(as, end);
	if (err)
		return err;
	v = vma_find(&as->vmas, start);
	v->locked = locked;
	vma_join(v);
	return 0;
}

int aspace_lock_range(struct aspace *as, uva_t addr, u64 len, bool locked)
{
	u64 start, end;
	int err = 0;

	if (!page_range(addr, len, &start, &end))
		return -ENOMEM;
	if (start < end && arena_overlaps(as, start, end))
		return arena_for_range(as, start, end, lock_slot, NULL);
	rwlock_write_lock(&as->lock);
	while (start < end && !err) {
		struct vma *v = vma_find(&as->vmas, start);
		u64 upto;

		if (!v || start < v->start || start >= v->end) {
			err = -ENOMEM;
			break;
		}
		upto = min(end, v->end);
		err = lock_vma(as, v, start, upto, locked);
		start = upto;
	}
	aspace_unlock(as);
	return err;
}

void aspace_lock_all(struct aspace *as, bool current, bool locked, bool future)
{
	rwlock_write_lock(&as->lock);
	as->lock_future = future;
	for (struct vma *v = vma_first(&as->vmas); current && v; v = vma_next(v))
		v->locked = locked;
	aspace_unlock(as);
}

// ---- mincore ------------------------------------------------------------------------------------

// Files are memory: always there. Other pages are if a frame was given to them.
static bool in_core(struct aspace *as, const struct vma *v, u64 va)
{
	struct pt_cursor c;
	bool yes;

	if (v->object && v->object->ops->table)
		return true;
	spin_lock(&as->pt_lock);
	pt_look(as, &c, va);
	yes = !pte_is_none(pt_cursor_get(&c));
	spin_unlock(&as->pt_lock);
	return yes;
}

static int incore_slot(const struct vma *v, u64 start, u64 end, void *ctx)
{
	u8 **vec = ctx;

	(void)v; // a file is memory: always there
	for (; start < end; start += PAGE_SIZE)
		*(*vec)++ = true;
	return 0;
}

int aspace_incore(struct aspace *as, uva_t addr, u64 len, u8 *vec)
{
	u64 start, end;
	int err = 0;

	if (!IS_ALIGNED(addr.va, PAGE_SIZE))
		return -EINVAL;
	if (!page_range(addr, len, &start, &end))
		return -ENOMEM;
	if (start < end && arena_overlaps(as, start, end))
		return arena_for_range(as, start, end, incore_slot, &vec);
	rwlock_read_lock(&as->lock);
	for (; start < end && !err; start += PAGE_SIZE) {
		const struct vma *v = vma_find(&as->vmas, start);

		if (!v || start < v->start || start >= v->end)
			err = -ENOMEM;
		else
			*vec++ = in_core(as, v, start);
	}
	rwlock_read_unlock(&as->lock);
	return err;
}
