// SPDX-License-Identifier: MIT
//
// What: the tree of mappings (vma.h) and the search for free addresses in it.
// Not here: what a mapping means (mm/aspace.c), its translations (mm/pagetable.c).
//
// Invariants
//   I1  nodes are ordered by lo and do not overlap: prev.hi <= lo; lo <= start < end <= hi.
//   I2  gap = lo - (previous node's hi, or the tree's floor).
//   I3  max_gap = the largest gap of the node's subtree, so a search enters only subtrees that hold
//       a gap that is long enough.
#include "mm/vma.h"

static struct vma *vma_of(struct avl_node *n)
{
	return n ? avl_entry(n, struct vma, node) : NULL;
}

// I3. Called by the tree whenever a child or the node itself changed.
static void update_max_gap(struct avl_node *n)
{
	struct vma *v = vma_of(n);
	u64 most = v->gap;

	if (n->left)
		most = max(most, vma_of(n->left)->max_gap);
	if (n->right)
		most = max(most, vma_of(n->right)->max_gap);
	v->max_gap = most;
}

// I2 for `v`, given the node before it.
static void update_gap(struct vma_tree *t, struct vma *v)
{
	struct vma *prev = vma_prev(v);

	v->gap = v->lo - (prev ? prev->hi : t->floor);
	avl_changed(&t->avl, &v->node);
}

void vma_tree_init(struct vma_tree *t, u64 floor)
{
	*t = (struct vma_tree){ .floor = floor, .avl = { .update = update_max_gap } };
}

void vma_tree_resized(struct vma_tree *t, struct vma *v)
{
	struct vma *next = vma_next(v);

	update_gap(t, v);
	if (next)
		update_gap(t, next);
}

void vma_tree_insert(struct vma_tree *t, struct vma *v)
{
	struct avl_node **link = &t->avl.root, *parent = NULL;

	while (*link) {
		parent = *link;
		link = v->lo < vma_of(parent)->lo ? &parent->left : &parent->right;
	}
	v->gap = 0;
	avl_insert(&t->avl, &v->node, parent, link);
	t->count++;
	vma_tree_resized(t, v);
}

void vma_tree_remove(struct vma_tree *t, struct vma *v)
{
	struct vma *next = vma_next(v);

	avl_remove(&t->avl, &v->node);
	t->count--;
	if (next)
		update_gap(t, next);
}

struct vma *vma_find_from(const struct vma_tree *t, u64 addr)
{
	struct avl_node *n = t->avl.root;
	struct vma *best = NULL;

	while (n) {
		struct vma *v = vma_of(n);

		if (v->hi > addr) {
			best = v;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

struct vma *vma_find(const struct vma_tree *t, u64 addr)
{
	struct vma *v = vma_find_from(t, addr);

	return v && v->lo <= addr ? v : NULL;
}

struct vma *vma_first(const struct vma_tree *t)
{
	return vma_of(avl_first(&t->avl));
}

struct vma *vma_next(const struct vma *v)
{
	return vma_of(avl_next(&v->node));
}

struct vma *vma_prev(const struct vma *v)
{
	return vma_of(avl_prev(&v->node));
}

bool vma_range_free(const struct vma_tree *t, u64 lo, u64 hi)
{
	struct vma *v = vma_find_from(t, lo);

	return !v || v->lo >= hi;
}

// The highest place in the gap [from, to), or 0.
static u64 place_in_gap(u64 from, u64 to, u64 len, u64 align, u64 skew)
{
	u64 at;

	if (to < from || to - from < len || to - len < skew)
		return 0;
	at = ALIGN_DOWN(to - len - skew, align) + skew;
	return at >= from ? at : 0;
}

// The highest place in a gap before a node of the subtree `n`, below `top`. Recursion is as deep as
// the tree is high (at most 1.44 log2 of the number of mappings).
static u64 search(const struct vma_tree *t, struct avl_node *n, u64 len, u64 align, u64 skew,
		  u64 top)
{
	struct vma *v = vma_of(n);
	u64 at;

	if (!v || v->max_gap < len)
		return 0;
	// What lies to the right begins at v->hi: of no use if that is above the top already.
	if (v->hi < top) {
		at = search(t, n->right, len, align, skew, top);
		if (at)
			return at;
	}
	at = place_in_gap(v->lo - v->gap, min(v->lo, top), len, align, skew);
	return at ? at : search(t, n->left, len, align, skew, top);
}

u64 vma_find_gap(const struct vma_tree *t, u64 len, u64 align, u64 skew, u64 top)
{
	struct vma *last = vma_of(avl_last(&t->avl));
	u64 at = place_in_gap(last ? last->hi : t->floor, top, len, align, skew);

	return at ? at : search(t, t->avl.root, len, align, skew, top);
}

bool vma_tree_verify(const struct vma_tree *t)
{
	const struct vma *v, *prev = NULL;
	unsigned count = 0;

	if (!avl_verify(&t->avl))
		return false;
	for (v = vma_first(t); v; prev = v, v = vma_next(v), count++) {
		u64 before = prev ? prev->hi : t->floor, most = v->gap;

		if (v->lo < before || v->start < v->lo || v->end <= v->start || v->hi < v->end)
			return false;
		if (v->node.left)
			most = max(most, vma_of(v->node.left)->max_gap);
		if (v->node.right)
			most = max(most, vma_of(v->node.right)->max_gap);
		if (v->gap != v->lo - before || v->max_gap != most)
			return false;
	}
	return count == t->count;
}
