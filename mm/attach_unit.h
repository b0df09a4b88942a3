// SPDX-License-Identifier: MIT
//
// The usual case of attach.h, and its end: a mapping that is one unit of a file's table, whose one
// entry has a place that is known from the mapping before (vma.slot). Put together with its callers
// by the compiler. Within mm/.
//
// Why the place stays what it is: it lies in a private upper table, and those stay as long as the
// space does, but for tables below an entry that is attached as a whole, or prefers to be
// (make_way, unsplit). Such an entry lies within one VMA (attach.c, I1). So as long as a record
// with these bounds is in the tree, vacant or not, nobody attaches above it.
//
// Locking: attach.h; detach_unit without map_lock.
#pragma once

#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/stat.h"
#include "mm/vmobject.h"

#define ATTACH_DIRECT_BYTES (VM_DIRECT_BLOCKS * PAGE_SIZE)

// From this length on a whole PML4 slot is spent for one mapping.
#define PML4_UNIT_FROM GIB(64)

// A mapping of so little may copy the direct entries of a file that has no table yet.
static inline bool attach_may_copy(u64 offset, u64 len)
{
	return offset + len <= ATTACH_DIRECT_BYTES;
}

// Else the unit goes by the length asked for, since files grow.
static inline int attach_level_of(u64 len)
{
	return len <= PMD_SIZE ? PT_PMD : len < PML4_UNIT_FROM ? PT_PUD : PT_PML4;
}

// The file's entry `e` with the mapping's rights: without W where stores are tracked, since the
// first one to each chunk grants it (dirty_grant).
static inline pte_t attached_entry(const struct vma *v, pte_t e)
{
	u64 rights = pt_user_rights(v->prot, vma_is_shared(v) && !vma_tracks(v));

	rights |= PTE_ATTACHED | PTE_A | PTE_D | (v->prot == PROT_NONE ? 0 : PTE_P);
	return (pte_t){ (e.bits & (PTE_ADDR | PTE_PS)) | rights };
}

static inline void note_attached(struct vma *v, int level, pte_t e)
{
	if (level > v->attach_level)
		v->attach_level = (u8)level;
	if (pte_is_leaf(e, level))
		mm_count_many(level == PT_PUD ? MM_STAT_attach_leaf_1g : MM_STAT_attach_leaf_2m, 1);
	else if (level == PT_PMD)
		mm_count(attach_pte_page);
	else if (level == PT_PUD)
		mm_count(attach_pmd_page);
	else
		mm_count(attach_pud_page);
}

// The file's entry of `level` for byte `off`, where its unit begins, if the root that is remembered
// of the file leads to one; else none. map_lock held shared.
static inline pte_t attach_entry_of(const struct vm_object *o, int level, u64 off)
{
	u64 root = READ_ONCE(o->root_word);

	if (vm_root_level(root) < level || off >> pt_shift(vm_root_level(root)))
		return (pte_t){ 0 };
	return vm_root_entry(root, level, off);
}

// Nothing is in the place of `v`: so nobody can have cached anything, and I3 of attach.c has
// nothing to ask.
static inline void attach_unit(struct aspace *as, struct vma *v, int level, pte_t e)
{
	e = attached_entry(v, attach_prefer(v, v->lo, level, e));
	spin_lock(&as->pt_lock);
	pte_write(v->slot, e);
	pt_filled(v->slot, 1);
	spin_unlock(&as->pt_lock);
	note_attached(v, level, e);
}

enum detached {
	DETACHED_NOT,  // there is more than one entry, or its place is not known: nothing was done
	DETACHED_NONE, // there was none
	DETACHED_PRESENT, // it is cleared, by a locked instruction: ptbatch_flush_space()
};
static inline enum detached detach_unit(struct aspace *as, struct vma *v)
{
	enum detached how = DETACHED_NOT;
	pte_t e;

	if (!v->slot || !v->unit_level)
		return DETACHED_NOT;
	spin_lock(&as->pt_lock);
	e = pte_read(v->slot);
	if (pte_is_none(e)) {
		how = DETACHED_NONE;
	} else if (e.bits & PTE_ATTACHED) {
		e = pte_exchange(v->slot, (pte_t){ 0 });
		pt_emptied(v->slot, 1);
		how = pte_present(e) ? DETACHED_PRESENT : DETACHED_NONE;
	}
	spin_unlock(&as->pt_lock);
	return how;
}
