// SPDX-License-Identifier: MIT
//
// What: when a private table may give way to the file's own, and how (unsplit.h).
// Not here: when this is tried (mm/attach.c, mm/dirty.c); clear, flush, set, by which a fault does
// it (make_way in mm/attach.c).
//
// Invariants
//   I1  translations are the same before and after, and rights no more. So one store does, and no
//       CPU uses a wrong one meanwhile. A and D are set from the beginning: the MMU writes nothing
//       to a table that is about to go.
//   I2  a private table is freed by the batch, after its flush: until then a CPU may have it in its
//       paging-structure cache, and walk on from there.
//   I3  nothing is attached where nothing was mapped: the space may be about to lose the place
//       (munmap clears entries before it takes the mapping out of its object's list).
//
// Locking: unsplit.h.
// Failure: none; what cannot be done stays split.
#include "mm/unsplit.h"

#include "mm/stat.h"

#define PLACE  (PTE_ADDR | PTE_PS)
#define RIGHTS (PTE_P | PTE_W | PTE_U | PTE_NX)

// Entry `i` of the table that the file's entry `e` of `level` names; of a leaf, its i-th part.
static pte_t below(pte_t e, int level, unsigned i)
{
	u64 part = i * pt_span(level - 1);

	if (!pte_present(e))
		return (pte_t){ 0 };
	if (pte_is_leaf(e, level))
		return (pte_t){ (pte_addr(e).pa + part) | PTE_P |
				(level - 1 > PT_PTE ? PTE_PS : 0) };
	return pte_read((const pte_t *)phys_to_virt(pte_addr(e)) + i);
}

static struct file_table table_below(const struct file_table *f, unsigned i)
{
	return (struct file_table){ f->level - 1, below(f->entry, f->level, i),
				    f->own.bits == f->entry.bits ? below(f->entry, f->level, i)
								 : below(f->own, f->level, i) };
}

static bool leads_to(pte_t e, pte_t file)
{
	return pte_present(file) && !((e.bits ^ file.bits) & PLACE);
}

// An entry that names no private table.
static bool says_the_same(pte_t e, const struct file_table *f, u64 rights)
{
	return (leads_to(e, f->entry) || leads_to(e, f->own)) && (e.bits & RIGHTS) == rights &&
	       !(e.bits & PTE_OWNED);
}

bool unsplit_may(pte_t e, const struct file_table *f, u64 rights)
{
	const pte_t *table;

	if (pte_is_none(e))
		return true;
	if (!pt_is_private(e, f->level))
		return says_the_same(e, f, rights);
	if (!pt_private_count(e))
		return true;
	table = phys_to_virt(pte_addr(e));
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		struct file_table part;

		if (pte_is_none(table[i]))
			continue;
		part = table_below(f, i);
		if (!unsplit_may(table[i], &part, rights))
			return false;
	}
	return true;
}

// The private table at the cursor, which has nothing in it, or nothing that is not in `e`.
static void replace(struct ptbatch *b, struct pt_cursor *c, pte_t e)
{
	ptbatch_drop(b, pte_addr(pt_set(b, c, e))); // I2
}

// A private table below one that is looked at. False: it keeps that from going.
static bool unsplit_below(struct ptbatch *b, struct pt_cursor *c, const struct file_table *f,
			  u64 rights, bool *again)
{
	if (pt_private_count(pt_cursor_get(c)))
		return unsplit(b, c, f, rights, again);
	if (ptbatch_full(b)) {
		*again = true;
		return false;
	}
	replace(b, c, (pte_t){ 0 });
	return true;
}

bool unsplit(struct ptbatch *b, struct pt_cursor *c, const struct file_table *f, u64 rights,
	     bool *again)
{
	pte_t e = pt_cursor_get(c);
	bool same = pt_is_private(e, c->level) && pte_present(f->entry) &&
		    !pte_is_leaf(f->entry, f->level);
	const pte_t *table = phys_to_virt(pte_addr(e));

	if (!same)
		return false;
	// Of tables below each goes that can, whatever becomes of the others.
	for (unsigned i = 0; i < PT_ENTRIES && (same || f->level > PT_PMD); i++) {
		struct pt_cursor child = *c;
		struct file_table part;

		if (pte_is_none(table[i]))
			continue;
		part = table_below(f, i);
		if (!pt_is_private(table[i], part.level))
			same = same && says_the_same(table[i], &part, rights);
		else if (!pt_cursor_down(&child, c->va + i * pt_span(part.level)) ||
			 !unsplit_below(b, &child, &part, rights, again))
			same = false;
	}
	if (!same || !pt_private_count(e)) // I3
		return false;
	if (ptbatch_full(b)) {
		*again = true;
		return false;
	}
	replace(b, c, (pte_t){ (f->entry.bits & PLACE) | rights | PTE_ATTACHED | PTE_A | PTE_D });
	mm_count(dirty_folds);
	return true;
}

static void unsplit_at(struct ptbatch *b, u64 va, const struct file_table *f, u64 rights,
		       bool *again)
{
	struct pt_cursor c;

	pt_cursor_init_table(&c, &pt_private, b->as->root_table, PT_PML4, va);
	if (pt_cursor_descend(&c, va, f->level) == f->level)
		(void)!unsplit(b, &c, f, rights, again);
}

void unsplit_shown(struct ptbatch *b, const struct unsplit_view *w, struct unsplit_try *t)
{
	u64 span = pt_span(t->table.level), rights = unsplit_rights(w->prot, false);
	u64 off = max(w->off, t->off), end = min(w->off + w->len, t->off + span);

	if (off < end && end - off == span && w->unit_level >= t->table.level &&
	    IS_ALIGNED(w->va - w->off, span)) {
		unsplit_at(b, w->va + (off - w->off), &t->table, rights, &t->again);
		return;
	}
	if (t->table.level != PT_PUD || w->unit_level < PT_PMD)
		return; // smaller tables of larger files have tries of their own
	for (off = ALIGN_UP(off, PMD_SIZE); off + PMD_SIZE <= end; off += PMD_SIZE) {
		struct file_table part = table_below(&t->table, pt_index(off, PT_PMD));

		if (IS_ALIGNED(w->va - w->off, PMD_SIZE))
			unsplit_at(b, w->va + (off - w->off), &part, rights, &t->again);
	}
}
