// SPDX-License-Identifier: MIT
//
// What: where a mapping goes: the address asked for, or the highest free one that suits.
//
// Mappings that attach a file's table are placed so that addresses and file offsets are congruent
// modulo the unit attached, and keep the whole unit free for it. Large units are searched for from
// the middle of the address space down, small ones from the top: so the slot of a large unit never
// holds tables that small mappings left behind.
//
// Boot parameter `forceattach`: every other shared mapping of a file attaches, too, but only units
// that lie wholly inside the range asked for, so that no program sees a difference: a way to run
// all tests of plain mmap on attached tables (tests/system/abi.t).
#include "kernel/bootinfo.h"
#include "kernel/lib/errno.h"
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/attach.h"
#include "mm/layout.h"

#define LARGE_UNIT_TOP (USER_END / 2 & ~(pt_span(PT_PML4) - 1))

static bool force;

void place_init(void)
{
	force = bootparam_present("forceattach");
}

static bool asks_attach(const struct map_request *req)
{
	return req->object && (req->flags & (MAP_DAXVM | MAP_DAXVM_EPHEMERAL));
}

static bool is_forced(const struct map_request *req)
{
	return force && req->object && (req->flags & MAP_SHARED) && !asks_attach(req);
}

// The reservation around an address that is given: the units that it cuts, where they are free.
static void reserve_around(struct aspace *as, const struct map_request *req, struct place *p,
			   struct attach_unit unit)
{
	u64 head = req->offset & (unit.bytes - 1);
	u64 tail = -(req->offset + (p->end - p->start)) & (unit.bytes - 1);

	if (p->start >= USER_BASE + head && vma_range_free(&as->vmas, p->start - head, p->start))
		p->lo = p->start - head;
	if (tail <= USER_END - p->end && vma_range_free(&as->vmas, p->end, p->end + tail))
		p->hi = p->end + tail;
}

static int place_at(struct aspace *as, const struct map_request *req, u64 start, u64 len,
		    struct attach_unit unit, struct place *out)
{
	*out = (struct place){ .lo = start, .start = start, .end = start + len, .hi = start + len };
	if (!unit.level)
		return 0;
	if (unit.level == PT_PTE) {
		out->unit_level = PT_PTE; // copied entries fit anywhere
		return 0;
	}
	if (!IS_ALIGNED(start - req->offset, PMD_SIZE))
		return 0;
	out->unit_level = unit.level;
	if (!IS_ALIGNED(start - req->offset, unit.bytes))
		unit = (struct attach_unit){ PT_PMD, PMD_SIZE };
	if (!is_forced(req))
		reserve_around(as, req, out, unit);
	return 0;
}

// What was unmapped last, if it is just such a place. Large units stay apart from small ones.
static struct vma *vacant_place(const struct aspace *as, u64 bytes, u64 align, u64 skew, u64 top)
{
	struct vma *v = as->vmas.vacant;
	u64 bottom = top > LARGE_UNIT_TOP ? LARGE_UNIT_TOP : USER_BASE;

	if (!v || v->hi - v->lo != bytes || !IS_ALIGNED(v->lo - skew, align) || v->hi > top ||
	    v->lo < bottom)
		return NULL;
	return v;
}

static int place_anywhere(struct aspace *as, const struct map_request *req, u64 len,
			  struct attach_unit unit, struct place *out)
{
	u64 top = unit.level >= PT_PUD ? min(as->mmap_top, LARGE_UNIT_TOP) : as->mmap_top;
	u64 head = 0, bytes = len, align = PAGE_SIZE, skew = 0, at;

	if (unit.level && !is_forced(req)) {
		head = req->offset & (unit.bytes - 1);
		bytes = ALIGN_UP(head + len, unit.bytes);
		align = unit.bytes;
	} else if (unit.level) {
		align = unit.bytes;
		skew = req->offset & (unit.bytes - 1);
	} else if (req->object && len >= PUD_SIZE) {
		top = min(as->mmap_top, LARGE_UNIT_TOP);
		align = PUD_SIZE; // so that 1 GiB leaves can be used
		skew = req->offset & (PUD_SIZE - 1);
	} else if (req->object && len >= PMD_SIZE) {
		align = PMD_SIZE; // so that 2 MiB leaves can be used
		skew = req->offset & (PMD_SIZE - 1);
	}
	out->vacant = vacant_place(as, bytes, align, skew, top);
	at = out->vacant ? out->vacant->lo : vma_find_gap(&as->vmas, bytes, align, skew, top);
	if (!at && (align > PAGE_SIZE || top < as->mmap_top)) {
		// Crowded: anywhere at all, as a plain mapping.
		unit.level = 0;
		head = 0;
		bytes = len;
		at = vma_find_gap(&as->vmas, len, PAGE_SIZE, 0, as->mmap_top);
	}
	if (!at)
		return -ENOMEM;
	out->lo = at;
	out->start = at + head;
	out->end = at + head + len;
	out->hi = at + bytes;
	out->unit_level = unit.level;
	return 0;
}

int place_choose(struct aspace *as, const struct map_request *req, u64 len, struct place *out)
{
	struct attach_unit unit = { 0 };
	u64 hint = req->addr.va;
	int err;

	if (asks_attach(req) || is_forced(req)) {
		err = attach_choose_unit(req->object, req->offset, len, &unit);
		if (err)
			return err;
	}
	if (req->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (!IS_ALIGNED(hint, PAGE_SIZE))
			return -EINVAL;
		if (len > USER_END || hint > USER_END - len)
			return -ENOMEM;
		if (hint < USER_BASE)
			return -EPERM;
		if (arena_overlaps(as, hint, hint + len))
			return -EINVAL;
		if ((req->flags & MAP_FIXED_NOREPLACE) &&
		    !vma_range_free(&as->vmas, hint, hint + len))
			return -EEXIST;
		return place_at(as, req, hint, len, unit, out);
	}
	hint = ALIGN_DOWN(hint, PAGE_SIZE);
	if (hint >= USER_BASE && hint <= USER_END - len &&
	    vma_range_free(&as->vmas, hint, hint + len))
		return place_at(as, req, hint, len, unit, out);
	return place_anywhere(as, req, len, unit, out);
}
