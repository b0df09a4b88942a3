// SPDX-License-Identifier: MIT
//
// What: from an object to all that maps it: revoke, and taking out zero pages of filled holes.
// Not here: what a file system does before and after (fs/ptfs_glue/), faults (mm/fault.c).
//
// Revoke, in the order that makes it safe (daxvm: "Revoke"):
//   1. the caller holds map_lock exclusively: no fault or attach is between reading the file's
//      table and installing what it read
//   2. the caller clears the entries in the file's own table
//   3. here: all private entries that lead to the range are cleared, in every address space
//   4. fence, and every CPU that has one of those spaces loaded flushes, paging-structure caches
//      too
//   5. the caller lets blocks and tables rest for an epoch, or has asked for VM_FORGET_ALL
//
// Invariants
//   I1  a VMA is in its object's list from before its first entry is installed until after the last
//       one was cleared and flushed (aspace_unmap). So who walks the list misses nothing.
//   I2  another CPU may have cleared an entry and not flushed yet, and then nothing is found here.
//       With VM_FORGET_ALL the spaces of all mappings of the range are flushed nevertheless; else
//       nobody is interrupted for it, and the epoch protects what was there (revoke.pml:
//       FREED_AT_ONCE).
//   I3  `zapping` is up while entries are cleared here and not flushed: munmap, which holds no lock
//       that keeps this out, finds nothing to flush then, and flushes all (flush_zapped).
//
// Locking: object->vmas_lock, then each space's pt_lock; never as->lock, which comes before
// map_lock.
// Failure: none; nothing is allocated.
#include "mm/vmobject.h"

#include "kernel/panic.h"
#include "kernel/x86/cpu.h"
#include "mm/arena.h"
#include "mm/attach.h"
#include "mm/pagetable.h"
#include "mm/shadow.h"
#include "mm/stat.h"

void vm_object_init(struct vm_object *o, const struct vm_object_ops *ops)
{
	*o = (struct vm_object){ .ops = ops };
	rwlock_init(&o->map_lock, RANK_MAPPING);
	spin_init(&o->vmas_lock, RANK_OBJECT);
	list_init(&o->vmas);
}

// Stores only what changed: the fast paths of other CPUs read these lines. A root that leads to
// more stays: what is remembered still holds.
static void set_root(struct vm_object *o, u64 root)
{
	u64 old = READ_ONCE(o->root_word);

	if (old != root && vm_root_level(old) <= vm_root_level(root))
		__atomic_store_n(&o->root_word, root, __ATOMIC_RELEASE);
}

void vm_root_publish(struct vm_object *o, u64 off, const struct vm_table *t)
{
	if (t->kind == VM_TABLE_DIRECT) {
		for (unsigned i = 0; i < VM_DIRECT_BLOCKS; i++)
			if (pte_read(&o->direct[i]).bits != t->direct[i].bits)
				pte_write(&o->direct[i], t->direct[i]);
		set_root(o, vm_root_word((pte_t){ 0 }, PT_PTE));
	} else if (t->kind == VM_TABLE_ENTRY && pte_present(t->entry) && off < pt_span(t->level)) {
		set_root(o, vm_root_word(t->entry, t->level));
	}
}

static bool side_by_side(const pte_t *pmd)
{
	const u64 place = PTE_ADDR | PTE_PS | PTE_P;
	u64 first = pmd[0].bits & place;

	if ((first & (PTE_PS | PTE_P)) != (PTE_PS | PTE_P) ||
	    !IS_ALIGNED(first & PTE_ADDR, PUD_SIZE))
		return false;
	// From the end: what was put together by chance differs there first.
	for (unsigned i = PT_ENTRIES - 1; i > 0; i--)
		if ((pte_read(&pmd[i]).bits & place) != first + i * PMD_SIZE)
			return false;
	return true;
}

// One table that was found good is remembered, as the root is.
pte_t vm_gib_leaf(struct vm_object *o, u64 off)
{
	u64 root = READ_ONCE(o->root_word), table;
	int level = vm_root_level(root);
	const pte_t *pmd;
	pte_t e;

	if (!cpu_features.gib_pages || level < PT_PUD || off >= pt_span(level))
		return (pte_t){ 0 };
	e = vm_root_entry(root, PT_PUD, off);
	if (!pte_present(e) || pte_is_leaf(e, PT_PUD))
		return (pte_t){ 0 };
	table = pte_addr(e).pa;
	pmd = phys_to_virt(PHYS(table));
	if (READ_ONCE(o->gib_table) != table) {
		if (!side_by_side(pmd))
			return (pte_t){ 0 };
		__atomic_store_n(&o->gib_table, table, __ATOMIC_RELAXED);
	}
	return (pte_t){ (pte_read(&pmd[0]).bits & PTE_ADDR) | PTE_PS | PTE_P };
}

// The addresses at which `v` shows bytes [off, end) of its object. False: none of them.
static bool shown_at(const struct vma *v, u64 off, u64 end, u64 *lo, u64 *hi)
{
	u64 first = vma_offset(v, v->lo), last = first + (v->hi - v->lo);

	if (off >= last || end <= first)
		return false;
	*lo = v->lo + (max(off, first) - first);
	*hi = v->lo + (min(end, last) - first);
	return true;
}

// One round over all mappings. False: the batch became full, flush and go round again; what was
// cleared stays clear.
static bool zap_mappings(struct vm_object *o, struct ptbatch *b, u64 off, u64 end, enum pt_zap what,
			 bool all)
{
	bool all_done = true;
	struct vma *v;

	spin_lock(&o->vmas_lock);
	list_for_each(v, &o->vmas, object_node) {
		u64 lo, hi;

		if (!shown_at(v, off, end, &lo, &hi))
			continue;
		spin_lock(&v->as->pt_lock);
		ptbatch_switch(b, v->as);
		all_done = pt_zap(b, lo, hi, what) == hi;
		if (all)
			ptbatch_flush_all(b); // I2
		spin_unlock(&v->as->pt_lock);
		if (!all_done)
			break;
	}
	// The space may go as soon as the list is released, so its CPUs are noted now.
	ptbatch_switch(b, NULL);
	spin_unlock(&o->vmas_lock);
	return all_done;
}

static void zap_everywhere(struct vm_object *o, u64 off, u64 end, enum pt_zap what, bool all)
{
	enum arena_zap slots = what == PT_ZAP_ZERO ? ARENA_ZERO
			       : all               ? ARENA_REVOKE_ALL
						   : ARENA_REVOKE;
	struct ptbatch b;

	__atomic_fetch_add(&o->zapping, 1, __ATOMIC_SEQ_CST); // I3: before the first clear
	ptbatch_begin(&b, NULL);
	while (!zap_mappings(o, &b, off, end, what, all) || !arena_zap(o, &b, off, end, slots))
		ptbatch_flush(&b);
	ptbatch_finish(&b);
	__atomic_fetch_sub(&o->zapping, 1, __ATOMIC_SEQ_CST);
}

void vm_unlinked(struct vm_object *o)
{
	struct ptbatch b;

	if (!READ_ONCE(o->ever_mapped)) // most files that come and go never were
		return;
	ptbatch_begin(&b, NULL);
	while (!arena_zap(o, &b, 0, ~0ull, ARENA_ZOMBIES))
		ptbatch_flush(&b);
	ptbatch_finish(&b);
}

void vm_revoke_begin(struct vm_object *o)
{
	// Locked, before any slot is looked at: who maps by an arena sees it, or is seen
	// (arena_map.c).
	__atomic_fetch_add(&o->revoking, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&o->root_word, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&o->gib_table, 0, __ATOMIC_RELAXED);
}

void vm_revoke_finish(struct vm_object *o, u64 off, u64 len, enum vm_forget how)
{
	bool all = how == VM_FORGET_ALL;
	u64 end = len > ~0ull - off ? ~0ull : off + len;

	mm_count(revokes);
	if (READ_ONCE(o->ever_mapped)) {
		u64 size = ALIGN_UP(o->ops->size(o), PAGE_SIZE);

		// Private copies of pages that are beyond the end now go too (SIGBUS from then on);
		// of pages that were punched out they stay, as Linux does it.
		if (off < min(size, end))
			zap_everywhere(o, off, min(size, end), PT_ZAP_FILE, all);
		if (end > max(size, off))
			zap_everywhere(o, max(size, off), end, PT_ZAP_ALL, all);
	}
	shadow_retire(o);
	__atomic_fetch_sub(&o->revoking, 1, __ATOMIC_SEQ_CST);
}

void vm_hole_filled(struct vm_object *o, u64 off, u64 len)
{
	// Pairs with the fault that maps a zero page: it sets zero_maps, installs, fences, looks
	// for the hole again; here the hole is gone, fence, look for zero pages. One of the two
	// sees the other.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (READ_ONCE(o->zero_maps))
		zap_everywhere(o, off, off + len, PT_ZAP_ZERO, false);
}
