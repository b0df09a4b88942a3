// SPDX-License-Identifier: MIT
//
// What: the page-table cursor (ptcursor.h): movement over a table tree, reading only.
// Not here: building tables (mm/pagetable.c), the file tables' verification (fs/ptfs/).
//
// Invariants
//   I1  path[l] for level <= l <= top are the entries on the way to the current one, and each
//       path[l] with l > level named, when it was read, the table that path[l - 1] lies in.
//   I2  va is aligned to pt_span(level).
#include "kernel/lib/ptcursor.h"

void pt_cursor_init_table(struct pt_cursor *c, const struct pt_space *s, const pte_t *table,
			  int level, u64 va)
{
	*c = (struct pt_cursor){ .space = s,
				 .va = ALIGN_DOWN(va, pt_span(level)),
				 .level = level,
				 .top = level,
				 .in_table = true };
	c->path[level] = table + pt_index(va, level);
}

void pt_cursor_init_entry(struct pt_cursor *c, const struct pt_space *s, const pte_t *entry,
			  int level)
{
	*c = (struct pt_cursor){ .space = s, .va = 0, .level = level, .top = level };
	c->path[level] = entry;
}

bool pt_cursor_down(struct pt_cursor *c, u64 va)
{
	pte_t e = pt_cursor_get(c);
	const pte_t *table;

	if (pte_is_none(e) || pte_is_leaf(e, c->level))
		return false;
	table = c->space->table(c->space, e, c->level);
	if (!table)
		return false;
	c->level--;
	c->path[c->level] = table + pt_index(va, c->level);
	c->va = ALIGN_DOWN(va, pt_span(c->level));
	return true;
}

int pt_cursor_descend(struct pt_cursor *c, u64 va, int level)
{
	while (c->level > level && pt_cursor_down(c, va))
		;
	return c->level;
}

bool pt_cursor_up(struct pt_cursor *c)
{
	if (c->level == c->top)
		return false;
	c->level++;
	c->va = ALIGN_DOWN(c->va, pt_span(c->level));
	return true;
}

bool pt_cursor_next(struct pt_cursor *c)
{
	for (;;) {
		bool last = pt_index(c->va, c->level) == PT_ENTRIES - 1;

		if (c->level == c->top && !c->in_table)
			return false;
		if (!last) {
			c->path[c->level]++;
			c->va += pt_span(c->level);
			return true;
		}
		if (!pt_cursor_up(c))
			return false;
	}
}

// Back up to an entry that covers `va`, and sideways to it. False if `va` is past the start's end.
static bool pt_cursor_seek(struct pt_cursor *c, u64 va)
{
	while (va >= pt_cursor_end(c))
		if (!pt_cursor_next(c))
			return false;
	return true;
}

bool pt_cursor_find_leaf(struct pt_cursor *c, u64 from, u64 end)
{
	if (!pt_cursor_seek(c, from))
		return false;
	while (c->va < end) {
		pte_t e = pt_cursor_get(c);

		if (!pte_is_none(e) && pte_is_leaf(e, c->level))
			return true;
		if (pt_cursor_down(c, max(from, c->va)))
			continue;
		if (!pt_cursor_next(c))
			return false;
	}
	return false;
}
