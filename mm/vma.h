// SPDX-License-Identifier: MIT
//
// The mappings of an address space: one record (VMA) per mapping in a balanced tree by address,
// with the search for free addresses. Pure: no page tables, no locks (the owner's: aspace.lock).
//
//        lo      start                 end        hi
//        |.........|#####################|.........|
//         reserved    what was asked for   reserved
//
// A mapping that attaches a file's own table covers whole units of that table: what it keeps others
// out of (lo..hi) is rounded out to them, what it reports and is charged for is what was asked for.
// Every other mapping has lo = start and hi = end.
//
// What was unmapped last may stay linked in the tree, as the *vacant* record: a free place that the
// next mapping of that size takes as it is, without a search and without a change of the tree. It
// is no mapping: who looks for one does not meet it. Whatever else changes the tree takes it out.
#pragma once

#include "kernel/lib/avltree.h"
#include "kernel/lib/list.h"
#include "kernel/lib/pte.h"

struct arenas;
struct aspace;
struct vm_object;

struct vma {
	struct avl_node node;    // by lo; its number: free bytes between the VMA before and lo
	struct vma *prev, *next; // in order; NULL at the ends
	struct list object_node; // in object->vmas [object->vmas_lock]
	struct aspace *as;
	// The bounds are changed under aspace.lock held exclusively, and, while the VMA is in its
	// object's list, under object->vmas_lock too: a revoke reads them there.
	u64 lo, start, end, hi;
	u64 offset;               // of `start` in the object, bytes [as the bounds]
	struct vm_object *object; // a reference is held; NULL: anonymous and private
	u32 flags;                // MAP_SHARED or MAP_PRIVATE, MAP_DAXVM..., as given to mmap
	u8 prot, may_prot;        // PROT_*
	u8 unit_level;            // MAP_DAXVM: level of the entries it attaches; 0: plain mapping
	u8 attach_level; // highest level attached so far; 0: none (shown in /proc/PID/maps)
	bool dont_fork;  // madvise(MADV_DONTFORK)
	bool locked;     // mlock: msync(MS_INVALIDATE) is refused
	bool split;      // part of what was attached went private once: look before folding
	// A boundary was made in what is attached, and the bounds are still to follow: no table of
	// the file is put across it [pt_lock to set, vmas_lock to clear].
	bool cutting;
	bool vacant; // no mapping: vma_tree.vacant
	pte_t *slot; // of a mapping that is one unit: where its entry stands; NULL: find it
	struct arenas *arenas; // not a mapping: keeps others out of these (mm/arena.h)
};

struct vma_tree {
	struct avl_tree avl;
	struct vma *first, *last;
	struct vma *recent; // the newest, as long as it is there: it is asked for most
	struct vma *vacant; // what was unmapped last: its range is free; NULL: none
	struct vma *dead;   // were taken out, linked by next: the owner frees them
	unsigned count;     // of mappings
	u64 floor;          // addresses below are never given out
};

void vma_tree_init(struct vma_tree *t, u64 floor);
// `v` overlaps nothing in the tree.
void vma_tree_insert(struct vma_tree *t, struct vma *v);
void vma_tree_remove(struct vma_tree *t, struct vma *v);
// The bounds of `v` were changed in place (order in the tree stays).
void vma_tree_resized(struct vma_tree *t, struct vma *v);

// Take the vacant record out, if there is one: it is dead then.
void vma_tree_settle(struct vma_tree *t);
// Instead of removing it: `v` becomes the vacant record.
static inline void vma_tree_vacate(struct vma_tree *t, struct vma *v)
{
	if (unlikely(t->vacant))
		vma_tree_settle(t);
	v->vacant = true;
	t->vacant = v;
	if (t->recent == v)
		t->recent = NULL;
	t->count--;
}
// The vacant record becomes a mapping again, with the lo and hi that it had.
static inline struct vma *vma_tree_occupy(struct vma_tree *t)
{
	struct vma *v = t->vacant;

	t->vacant = NULL;
	t->recent = v;
	t->count++;
	v->vacant = false;
	return v;
}

// The VMA with lo <= addr < hi, or NULL.
struct vma *vma_find(const struct vma_tree *t, u64 addr);
// The first VMA with hi > addr, or NULL.
struct vma *vma_search_from(const struct vma_tree *t, u64 addr);
static inline struct vma *vma_find_from(const struct vma_tree *t, u64 addr)
{
	struct vma *v = t->recent;

	return v && addr - v->lo < v->hi - v->lo ? v : vma_search_from(t, addr);
}

// In order; NULL at the ends. There is one vacant record at most.
static inline struct vma *vma_next(const struct vma *v)
{
	struct vma *n = v->next;

	return unlikely(n && n->vacant) ? n->next : n;
}

static inline struct vma *vma_prev(const struct vma *v)
{
	struct vma *p = v->prev;

	return unlikely(p && p->vacant) ? p->prev : p;
}

static inline struct vma *vma_first(const struct vma_tree *t)
{
	return t->first && t->first->vacant ? t->first->next : t->first;
}

// The highest free place for `len` bytes that begins at a multiple of `align` (a power of two) plus
// `skew` (< align) and ends at or below `top`. 0: there is none.
u64 vma_find_gap(struct vma_tree *t, u64 len, u64 align, u64 skew, u64 top);

// Whether [lo, hi) is free.
bool vma_range_free(const struct vma_tree *t, u64 lo, u64 hi);

// Order, gaps, bounds: sound. O(n), for tests.
bool vma_tree_verify(const struct vma_tree *t);
