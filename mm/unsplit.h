// SPDX-License-Identifier: MIT
//
// The way back from a split. One rule for all levels, and for all that a table was split for:
//
//	a private table whose entries all say what the file's table says, with the rights of the
//	mapping, gives way to the file's table
//
// An entry that says something else is the reason for the split: W of a dirty chunk, the page of
// zeros of a hole, a private copy. None at all is no reason, for at most the file has something
// there by now. Reasons go by themselves: a sync takes W away, what fills a hole takes the zero
// pages out. So the rule is tried where that shows:
//
//	a fault where nothing stands (attach_at): as it finds a zero page that was taken out
//	the sync after the one that took W (mm/dirty.c)
//
// Within mm/. Locking: as->pt_lock is held by callers of all of these; the object's map_lock so
// that the file's table loses nothing meanwhile.
#pragma once

#include "mm/pagetable.h"

// The file's table, or leaf, of `level` in a place. If the file has a copy of its tables, private
// entries may lead into the copy, or to what it was made of.
struct file_table {
	int level;
	pte_t entry; // what is to be attached: the copy, where there is one
	pte_t own;   // the file's own
};

// What one address space shows of an object: bytes [off, off + len), from `va` on.
struct unsplit_view {
	u64 va, off, len;
	unsigned prot;
	int unit_level; // the highest that is attached there; 0: nothing is, or not now
};

// A table of an object that mappings of it, which have no W now, may be given again.
struct unsplit_try {
	u64 off; // of what it maps
	struct file_table table;
	bool again; // something could not be done now: at the next sync
};

// The rights bits of all that is attached in a mapping of `prot`; `writable`: with W, if `prot` has
// it.
static inline u64 unsplit_rights(unsigned prot, bool writable)
{
	return pt_user_rights(prot, writable) | (prot == PROT_NONE ? 0 : PTE_P);
}

// The rule, for the private entry `e` of `f->level`, which may name tables.
bool unsplit_may(pte_t e, const struct file_table *f, u64 rights);

// Apply it to the private table at the cursor, and to those below it one by one, by one store each.
// Where the file has a leaf instead of a table nothing is done: that goes clear, flush, set. False:
// the table stays; *again is set where it need not, if the batch had room.
bool unsplit(struct ptbatch *b, struct pt_cursor *c, const struct file_table *f, u64 rights,
	     bool *again);

// The same for what a space shows of the table's range; for tables below it where that is not all.
void unsplit_shown(struct ptbatch *b, const struct unsplit_view *w, struct unsplit_try *t);
