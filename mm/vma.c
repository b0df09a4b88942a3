// SPDX-License-Identifier: MIT
//
// What: the tree of mappings (vma.h) and the search for free addresses in it.
// Not here: what a mapping means (mm/aspace.c), its translations (mm/pagetable.c).
//
// Invariants
//   I1  nodes are ordered by lo and do not overlap: prev.hi <= lo; lo <= start < end <= hi.
//   I2  each node's number is its gap: lo - (previous node's hi, or the tree's floor).
//   I3  a search enters only subtrees that hold a gap that is long enough.
//   I4  prev and next link all nodes in their order, from first to last.
//   I5  the vacant record is a node like the others, and I1 to I4 hold for it. It is taken out
//       before anything else enters the tree or grows in it, which may lie where it is, and before
//       a search for gaps, which is to see its range as free.
#include "mm/vma.h"

#define TRIES 4u // gaps that a search looks at before it goes by the tree

static struct vma *vma_of(struct avl_node *n)
{
	return n ? avl_entry(n, struct vma, node) : NULL;
}

static struct avl_node *node_of(struct vma *v)
{
	return v ? &v->node : NULL;
}

// I2 says that this is its gap.
static u64 gap_before(const struct vma_tree *t, const struct vma *v)
{
	return v->lo - (v->prev ? v->prev->hi : t->floor);
}

void vma_tree_init(struct vma_tree *t, u64 floor)
{
	*t = (struct vma_tree){ .floor = floor };
}

// I4. `a` and `b` are neighbours now; NULL: the end.
static void join_up(struct vma_tree *t, struct vma *a, struct vma *b)
{
	*(a ? &a->next : &t->first) = b;
	*(b ? &b->prev : &t->last) = a;
}

void vma_tree_remove(struct vma_tree *t, struct vma *v)
{
	join_up(t, v->prev, v->next);
	if (v->next)
		v->next->node.own = gap_before(t, v->next);
	avl_remove(&t->avl, &v->node, node_of(v->next));
	if (t->recent == v)
		t->recent = NULL;
	t->count--;
}

// I5
void vma_tree_settle(struct vma_tree *t)
{
	struct vma *v = t->vacant;

	if (!v)
		return;
	vma_tree_remove(t, vma_tree_occupy(t));
	v->next = t->dead;
	t->dead = v;
}

void vma_tree_resized(struct vma_tree *t, struct vma *v)
{
	vma_tree_settle(t);
	v->node.own = gap_before(t, v);
	avl_changed(&v->node);
	if (v->next) {
		v->next->node.own = gap_before(t, v->next);
		avl_changed(&v->next->node);
	}
}

void vma_tree_insert(struct vma_tree *t, struct vma *v)
{
	struct avl_node **link, *parent = NULL;
	struct vma *prev = NULL, *next = NULL;

	vma_tree_settle(t);
	link = &t->avl.root;
	// Its neighbours are on the way: the last ones that it lies right and left of.
	while (*link) {
		struct vma *at = vma_of(*link);

		parent = *link;
		if (v->lo < at->lo) {
			next = at;
			link = &parent->left;
		} else {
			prev = at;
			link = &parent->right;
		}
	}
	join_up(t, prev, v);
	join_up(t, v, next);
	v->node.own = gap_before(t, v);
	if (next)
		next->node.own = gap_before(t, next);
	avl_insert(&t->avl, &v->node, parent, link, node_of(next));
	t->recent = v;
	t->count++;
}

struct vma *vma_search_from(const struct vma_tree *t, u64 addr)
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
	return best && best->vacant ? best->next : best;
}

struct vma *vma_find(const struct vma_tree *t, u64 addr)
{
	struct vma *v = vma_find_from(t, addr);

	return v && v->lo <= addr ? v : NULL;
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

	if (!v || v->node.most < len)
		return 0;
	// What lies to the right begins at v->hi: of no use if that is above the top already.
	if (v->hi < top) {
		at = search(t, n->right, len, align, skew, top);
		if (at)
			return at;
	}
	at = place_in_gap(v->lo - v->node.own, min(v->lo, top), len, align, skew);
	return at ? at : search(t, n->left, len, align, skew, top);
}

u64 vma_find_gap(struct vma_tree *t, u64 len, u64 align, u64 skew, u64 top)
{
	const struct vma *v;
	u64 at;

	vma_tree_settle(t);
	v = t->last;
	at = place_in_gap(v ? v->hi : t->floor, top, len, align, skew);
	// Usually one of the highest gaps will do.
	for (unsigned i = 0; !at && v && i < TRIES; i++, v = v->prev)
		at = place_in_gap(v->lo - v->node.own, min(v->lo, top), len, align, skew);
	return at || !v ? at : search(t, t->avl.root, len, align, skew, top);
}

// The number of nodes of a subtree, if each is linked to its neighbours in the subtree's order and
// *prev is the one before; ~0 else.
static unsigned count_in_order(struct avl_node *n, const struct vma **prev)
{
	const struct vma *v = vma_of(n);
	unsigned left, right;

	if (!n)
		return 0;
	left = count_in_order(n->left, prev);
	if (v->prev != *prev || (*prev && (*prev)->next != v))
		return ~0u;
	*prev = v;
	right = count_in_order(n->right, prev);
	return left == ~0u || right == ~0u ? ~0u : left + right + 1;
}

bool vma_tree_verify(const struct vma_tree *t)
{
	const struct vma *v, *prev = NULL;

	if (!avl_verify(&t->avl) ||
	    count_in_order(t->avl.root, &prev) != t->count + (t->vacant ? 1 : 0) ||
	    prev != t->last || (t->first && t->first->prev))
		return false;
	for (v = t->first; v; v = v->next) {
		u64 before = v->prev ? v->prev->hi : t->floor;

		if (v->lo < before || v->start < v->lo || v->end <= v->start || v->hi < v->end)
			return false;
		if (v->node.own != v->lo - before || v->vacant != (v == t->vacant))
			return false;
	}
	return true;
}
