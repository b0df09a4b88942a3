// SPDX-License-Identifier: MIT
//
// The page-table cursor: the one way in which anything in dax64 walks a page table.
//
// A cursor stands on one entry of a table tree, remembers the path that led there, and moves
// down into a table, sideways to the next entry, or up again. The kernel map, user address
// spaces, the tables of a ptfs file and the checker on the host are all walked by it; they differ
// only in how an entry that names a table becomes readable memory (`pt_space.table`).
//
//      level 3   [ . . X . ]          path[3]
//                      |
//      level 2   [ . X . . ]          path[2]
//                    |
//      level 1   [ . . . X ]          path[1]  <- the cursor stands here: level = 1
//
// The cursor only reads. Who changes an entry does so at pt_cursor_slot() under the tree's own
// lock (or by compare-and-swap), through a change batch (mm/ptbatch.h) where translations may be
// cached, or through the pmem functions where the table is on the medium.
#pragma once

#include "kernel/lib/pte.h"

// How the entries of one tree are followed.
struct pt_space {
	// The 512-entry table that `e`, an entry of `level` (>= 2, not a leaf), points at, or
	// NULL if it may not be followed (not present here, outside the region, not verified).
	const pte_t *(*table)(const struct pt_space *s, pte_t e, int level);
};

struct pt_cursor {
	const struct pt_space *space;
	u64 va;        // lowest address that the current entry maps
	int level;     // level of the current entry
	int top;       // level of the entry (or table) that the walk started from
	bool in_table; // the start was a whole table: sideways steps at `top` are allowed
	const pte_t *path[PT_PML4 + 2]; // path[l]: the entry of level l on the way down
};

// Start on entry `pt_index(va, level)` of the given table of `level`.
void pt_cursor_init_table(struct pt_cursor *c, const struct pt_space *s, const pte_t *table,
			  int level, u64 va);

// Start on a single entry of `level` (a file's root word, say) that maps from address 0 on.
// The cursor never leaves the subtree below it.
void pt_cursor_init_entry(struct pt_cursor *c, const struct pt_space *s, const pte_t *entry,
			  int level);

static inline const pte_t *pt_cursor_slot(const struct pt_cursor *c)
{
	return c->path[c->level];
}

static inline pte_t pt_cursor_get(const struct pt_cursor *c)
{
	return pte_read(c->path[c->level]);
}

// Go down to the entry for `va` in the table that the current entry names. False, and no move,
// if the entry is none, a leaf, or may not be followed.
bool pt_cursor_down(struct pt_cursor *c, u64 va);

// Go down as far as tables reach, but not below `level`. Returns the level it stands on.
int pt_cursor_descend(struct pt_cursor *c, u64 va, int level);

// Step to the entry after the current one at the same level, or, at a table's end, to the entry
// after its parent, and so on. False at the end of what the cursor was started on.
bool pt_cursor_next(struct pt_cursor *c);

// Step up to the entry that names the current table. False at the top.
bool pt_cursor_up(struct pt_cursor *c);

// Find the first nonzero leaf entry whose range ends above `from` and starts below `end`, entering
// tables on the way. False if there is none. Start with the range's beginning; for the next one
// pass from = pt_cursor_end().
bool pt_cursor_find_leaf(struct pt_cursor *c, u64 from, u64 end);

// First address after what the current entry maps.
static inline u64 pt_cursor_end(const struct pt_cursor *c)
{
	return c->va + pt_span(c->level);
}
