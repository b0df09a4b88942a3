// SPDX-License-Identifier: MIT
//
// What: the rest of mmap's family: mprotect, brk, mremap, madvise.
// Not here: mmap and munmap (mm/aspace.c), msync, mlock and mincore (mm/aspace_sync.c), checks of
// flags and descriptors (kernel/sys/sys_mm.c).
//
// Invariants
//   I1  rights of entries are those of their VMA's prot or less.
//   I2  mremap moves only memory of the process's own; what shows a file faults in again.
//
// Failure: as Linux: mprotect that meets a gap has changed what lies before it (ENOMEM).
#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/shadow.h"
#include "mm/vmobject.h"

// ---- mprotect -----------------------------------------------------------------------------------

static void protect_vma(struct aspace *as, struct vma *v, unsigned prot)
{
	struct ptbatch b;

	v->prot = (u8)prot;
	ptbatch_begin(&b, as);
	spin_lock(&as->pt_lock);
	pt_protect(&b, v->lo, v->hi, prot, vma_is_shared(v) && !vma_tracks(v));
	spin_unlock(&as->pt_lock);
	flush_zapped(&b, v);
	ptbatch_finish(&b);
}

static int protect_locked(struct aspace *as, u64 start, u64 end, unsigned prot)
{
	while (start < end) {
		struct vma *v = vma_find(&as->vmas, start);
		int err;

		if (!v || start < v->start || start >= v->end)
			return -ENOMEM;
		if (prot & ~v->may_prot)
			return -EACCES;
		err = vma_cut(as, start);
		if (!err)
			err = vma_cut(as, end);
		if (err)
			return err;
		v = vma_find(&as->vmas, start);
		start = v->end;
		if (v->prot != prot) {
			protect_vma(as, v, prot);
			vma_join(v);
		}
	}
	return 0;
}

int aspace_protect(struct aspace *as, uva_t addr, u64 len, unsigned prot)
{
	u64 start, end;
	int err;

	if (!IS_ALIGNED(addr.va, PAGE_SIZE))
		return -EINVAL;
	if (!page_range(addr, len, &start, &end))
		return -ENOMEM;
	if (arena_any_mapped(as, start, end))
		return -EINVAL; // an ephemeral mapping is what it is
	rwlock_write_lock(&as->lock);
	err = protect_locked(as, start, end, prot);
	aspace_unlock(as);
	return err;
}

// ---- brk ----------------------------------------------------------------------------------------

static bool grow_heap(struct aspace *as, u64 start, u64 end)
{
	struct vma *v;

	if (!vma_range_free(&as->vmas, start, end) ||
	    aspace_bytes(as) + (end - start) > as->limit_bytes)
		return false;
	v = vma_new(as, start, end);
	if (!v)
		return false;
	v->flags = MAP_PRIVATE;
	v->locked = as->lock_future;
	v->prot = PROT_READ | PROT_WRITE;
	v->may_prot = PROT_READ | PROT_WRITE | PROT_EXEC;
	vma_link(v);
	vma_join(v);
	return true;
}

uva_t aspace_brk(struct aspace *as, uva_t want)
{
	u64 old_end, new_end, now;
	bool ok = true;

	rwlock_write_lock(&as->lock);
	old_end = ALIGN_UP(as->brk_end, PAGE_SIZE);
	new_end = ALIGN_UP(want.va, PAGE_SIZE);
	if (want.va < as->brk_start || want.va >= USER_END)
		ok = false;
	else if (new_end > old_end)
		ok = grow_heap(as, old_end, new_end);
	else if (new_end < old_end)
		ok = unmap_locked(as, new_end, old_end) == 0;
	if (ok)
		as->brk_end = want.va;
	now = as->brk_end;
	aspace_unlock(as);
	return UVA(now);
}

// ---- mremap -------------------------------------------------------------------------------------

#define MREMAP_MAYMOVE 1u
#define MREMAP_FIXED   2u

// Move one entry of the process's own memory, if there is one, from `from` to `to`. as->pt_lock
// held.
static int move_page(struct ptbatch *b, u64 from, u64 to)
{
	struct pt_cursor c, d;
	pte_t e;

	pt_look(b->as, &c, from);
	e = pt_cursor_get(&c);
	if (c.level != PT_PTE || !(e.bits & PTE_ANON))
		return 0;
	if (pt_reach(b->as, &d, to, PT_PTE))
		return -ENOMEM;
	pt_set(b, &c, (pte_t){ 0 }); // its table stays: moving back must not fail
	pt_set(b, &d, e);
	return 0;
}

// Some pages at a time, so that nobody waits long for the lock.
static int move_chunk(struct ptbatch *b, u64 from, u64 to, u64 len, u64 *done)
{
	int err = 0;

	spin_lock(&b->as->pt_lock);
	for (*done = 0; *done < len && !err; *done += err ? 0 : PAGE_SIZE)
		err = move_page(b, from + *done, to + *done);
	spin_unlock(&b->as->pt_lock);
	return err;
}

static int move_pages(struct ptbatch *b, u64 from, u64 to, u64 len)
{
	u64 off = 0, done;
	int err = 0;

	while (off < len && !err) {
		err = move_chunk(b, from + off, to + off, min(len - off, PMD_SIZE), &done);
		off += done;
	}
	for (; err && off; off -= done) {
		u64 back = min(off, PMD_SIZE);

		(void)!move_chunk(b, to + off - back, from + off - back, back, &done);
		ASSERT(done == back);
	}
	return err;
}

// A record like `v` (a whole mapping) at `place`.
static struct vma *vma_like(struct vma *v, const struct place *p)
{
	struct vma *n = vma_new(v->as, p->start, p->end);

	if (!n)
		return NULL;
	n->lo = p->lo;
	n->hi = p->hi;
	n->object = v->object;
	n->offset = v->offset;
	n->flags = v->flags;
	n->prot = v->prot;
	n->may_prot = v->may_prot;
	n->unit_level = (u8)p->unit_level;
	n->split = v->split;
	n->dont_fork = v->dont_fork;
	n->locked = v->locked;
	return n;
}

static int move_mapping(struct aspace *as, struct vma *v, const struct map_request *req,
			u64 new_len, u64 *out)
{
	u64 from = v->start, end = v->end, len = min(new_len, end - from);
	struct place place;
	struct ptbatch b;
	struct vma *n;
	int err = place_choose(as, req, new_len, &place);

	if (err)
		return err;
	n = vma_like(v, &place);
	if (!n)
		return -ENOMEM;
	err = unmap_locked(as, place.start, place.end); // place_choose() keeps out of arenas
	if (err) {
		kfree(n);
		return err;
	}
	vma_link(n);
	ptbatch_begin(&b, as);
	err = move_pages(&b, from, place.start, len);
	ptbatch_finish(&b);
	if (err) {
		(void)!unmap_locked(as, place.start, place.end);
		return err;
	}
	err = unmap_locked(as, from, end); // whole mapping: cannot fail
	*out = place.start;
	return err;
}

// More of the same right behind it.
static bool grow_in_place(struct aspace *as, struct vma *v, u64 end)
{
	if (end > USER_END || (end > v->hi && !vma_range_free(&as->vmas, v->hi, end)))
		return false;
	vma_set_bounds(v, v->lo, v->start, end, max(v->hi, end));
	return true;
}

static int remap_locked(struct aspace *as, const struct map_request *to, u64 old, u64 old_len,
			u64 new_len, unsigned flags, u64 *out)
{
	struct vma *v = vma_find(&as->vmas, old);
	struct map_request req;
	int err;

	if (!v || old < v->start || old_len > v->end - old)
		return -EFAULT;
	*out = old;
	if (!(flags & MREMAP_FIXED) && new_len <= old_len)
		return new_len == old_len ? 0 : unmap_locked(as, old + new_len, old + old_len);
	if (new_len > old_len && aspace_bytes(as) + (new_len - old_len) > as->limit_bytes)
		return -ENOMEM;
	if (!(flags & MREMAP_FIXED) && old + old_len == v->end &&
	    grow_in_place(as, v, old + new_len))
		return 0;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	err = vma_cut(as, old);
	if (!err)
		err = vma_cut(as, old + old_len);
	if (err)
		return err;
	v = vma_find(&as->vmas, old);
	req = *to;
	req.object = v->object;
	req.offset = v->offset;
	req.flags |= v->flags;
	return move_mapping(as, v, &req, new_len, out);
}

int aspace_remap(struct aspace *as, uva_t old, u64 old_len, u64 new_len, unsigned flags, uva_t to,
		 uva_t *out)
{
	struct map_request req = { 0 };
	u64 at;
	int err;

	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED) || !IS_ALIGNED(old.va, PAGE_SIZE))
		return -EINVAL;
	if ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (!old_len || !new_len || old_len > USER_END || new_len > USER_END)
		return -EINVAL;
	old_len = ALIGN_UP(old_len, PAGE_SIZE);
	new_len = ALIGN_UP(new_len, PAGE_SIZE);
	if (flags & MREMAP_FIXED) {
		req.addr = to;
		req.flags = MAP_FIXED;
		if (!IS_ALIGNED(to.va, PAGE_SIZE) || to.va > USER_END - new_len)
			return -EINVAL;
		if (to.va < old.va + old_len && old.va < to.va + new_len)
			return -EINVAL;
	}
	if (arena_any_mapped(as, old.va, old.va + old_len))
		return -EINVAL;
	rwlock_write_lock(&as->lock);
	err = remap_locked(as, &req, old.va, old_len, new_len, flags, &at);
	aspace_unlock(as);
	if (!err)
		*out = UVA(at);
	return err;
}

// ---- madvise ------------------------------------------------------------------------------------

enum {
	MADV_NORMAL = 0,
	MADV_RANDOM = 1,
	MADV_SEQUENTIAL = 2,
	MADV_WILLNEED = 3,
	MADV_DONTNEED = 4,
	MADV_FREE = 8,
	MADV_DONTFORK = 10,
	MADV_DOFORK = 11,
	MADV_HUGEPAGE = 14,
	MADV_NOHUGEPAGE = 15,
	MADV_DONTDUMP = 16,
	MADV_DODUMP = 17,
	MADV_COLD = 20,
	MADV_PAGEOUT = 21,
	MADV_POPULATE_READ = 22,
	MADV_POPULATE_WRITE = 23,
};

static void forget(struct aspace *as, const struct vma *v, u64 start, u64 end)
{
	struct ptbatch b;

	ptbatch_begin(&b, as);
	pt_zap_range(&b, start, end, PT_ZAP_ALL);
	flush_zapped(&b, v);
	ptbatch_finish(&b);
}

// How the mapping will be read: each of these ends the one before.
static void advise_walks(const struct vma *v, int advice)
{
	if (v->object && advice <= MADV_SEQUENTIAL)
		shadow_advise(v->object, advice == MADV_RANDOM);
}

static int advise_vma(struct aspace *as, struct vma *v, u64 start, u64 end, int advice)
{
	int err;

	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL: advise_walks(v, advice); return 0;
	case MADV_DONTNEED: forget(as, v, start, end); return 0;
	case MADV_FREE:
		// Allowed to do nothing: the pages are given back when they are unmapped.
		return v->object ? -EINVAL : 0;
	case MADV_DONTFORK:
	case MADV_DOFORK:
		err = vma_cut(as, start);
		if (!err)
			err = vma_cut(as, end);
		if (!err)
			vma_find(&as->vmas, start)->dont_fork = advice == MADV_DONTFORK;
		return err;
	default: return 0; // hints that change nothing here
	}
}

static bool advice_known(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE: return true;
	default: return false;
	}
}

// A piece of one ephemeral mapping. What it shows is shared, so that dropping pages changes
// nothing.
static int advise_slot(const struct vma *v, u64 start, u64 end, void *ctx)
{
	int advice = *(int *)ctx;

	(void)start;
	(void)end;
	advise_walks(v, advice);
	return advice == MADV_FREE || advice == MADV_DOFORK ? -EINVAL : 0;
}

int aspace_advise(struct aspace *as, uva_t addr, u64 len, int advice)
{
	u64 start, end;
	int err = 0, gap = 0;

	if (!advice_known(advice) || !page_range(addr, len, &start, &end))
		return -EINVAL;
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		return aspace_fault_in(as, addr, len, advice == MADV_POPULATE_WRITE);
	rwlock_write_lock(&as->lock);
	if (start < end && arena_overlaps(as, start, end)) { // asked with the lock: none come now
		aspace_unlock(as);
		return arena_for_range(as, start, end, advise_slot, &advice);
	}
	while (start < end && !err) {
		struct vma *v = vma_find_from(&as->vmas, start);
		u64 upto;

		// Gaps are skipped and reported at the end.
		if (v && start >= v->end) {
			start = v->hi;
			gap = -ENOMEM;
			continue;
		}
		if (!v || v->start > start)
			gap = -ENOMEM;
		if (!v || v->start >= end)
			break;
		start = max(start, v->start);
		upto = min(end, v->end);
		err = advise_vma(as, v, start, upto, advice);
		start = upto;
	}
	aspace_unlock(as);
	return err ? err : gap;
}
