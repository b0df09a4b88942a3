// SPDX-License-Identifier: MIT
//
// MAP_DAXVM: mapping a file by attaching the page table that the file system stores for it. Within
// mm/.
//
// Locking: all functions hold as->lock (shared, unless said otherwise) and the object's map_lock
// shared, so that what is read from the file's table still holds when it is installed; they take
// as->pt_lock themselves.
#pragma once

#include "mm/dirty.h"
#include "mm/pagetable.h"
#include "mm/vma.h"
#include "mm/vmobject.h"

// Answers of attach_at and attach_fault besides -errno.
enum { ATTACH_NONE = 0, ATTACH_DONE = 1 };

// Byte of the file that `va` shows.
static inline u64 vma_offset(const struct vma *v, u64 va)
{
	return v->offset + (va - v->start);
}

// How much of the address space a mapping of [offset, offset + len) of `o` takes, and how it is
// aligned: unit_level and the bytes per unit. unit_level 0: serve it as plain mmap. No as->lock
// needed.
struct attach_unit {
	int level; // PT_PTE: a 32 KiB slot of copied direct entries; PT_PMD ... PT_PML4; 0: none
	u64 bytes;
};
int attach_choose_unit(struct vm_object *o, u64 offset, u64 len, struct attach_unit *out)
	__must_check;

// Attach the highest subtree of the file that covers `va` and fits in the VMA. ATTACH_DONE: there
// is an attachment at `va` now (whose entry for va may still be a hole). ATTACH_NONE: not to be
// had, or not for long: for a read of a hole among private pages.
int attach_at(struct aspace *as, struct vma *v, u64 va, bool write) __must_check;

// Attach everything that the VMA covers, as far as it can be had. 0 or -errno.
int attach_all(struct aspace *as, struct vma *v) __must_check;

// Instead of the PMD page that the file's entry `e` for `va` names, one leaf for all of its GiB, if
// there is: a level of the walk less, one TLB entry. Not where stores are going to be tracked: each
// first one to 2 MiB would have to split it.
static inline pte_t attach_prefer(const struct vma *v, u64 va, int level, pte_t e)
{
	pte_t leaf;

	if (level != PT_PUD || (vma_tracks(v) && (v->prot & PROT_WRITE)))
		return e;
	leaf = vm_gib_leaf(v->object, vma_offset(v, va));
	return pte_present(leaf) ? leaf : e;
}

// A fault in a VMA that attaches, after dirty_grant found nothing to grant. ATTACH_DONE: resolved,
// or look again. ATTACH_NONE: the page is to be mapped by itself.
int attach_fault(struct aspace *as, struct vma *v, u64 va, bool write) __must_check;

// `e`, an entry of `level` that stands at `va`, is an attachment, and shows a block there by now:
// one that was published since it was looked at, or is missing in the copy of the table, which is
// brought up to date then. map_lock is held shared, no spinlock.
bool attach_shows(const struct vma *v, u64 va, pte_t e, int level);

// Under as->pt_lock: move the cursor, which stands on the lowest private entry for `va` (pt_look),
// down to the one of `level`, splitting attached tables and making tables on the way. The batch may
// be NULL as for pt_split. -ENOMEM; -EAGAIN: a large leaf is in the way, see attach_split_leaf.
int attach_split_to(struct ptbatch *b, struct pt_cursor *c, u64 va, int level) __must_check;

// Replace a large leaf at `va`, if there is one, by 512 small ones: clear, flush, set. as->lock
// held exclusively, since others must not fill the gap.
int attach_split_leaf(struct aspace *as, u64 va) __must_check;

// Make `va` a boundary that no attachment and no large leaf of the VMA crosses. as->lock held
// exclusively, map_lock NOT held. Until the bounds are set (v->cutting) it stays one.
int attach_split_boundary(struct aspace *as, struct vma *v, u64 va) __must_check;
