// SPDX-License-Identifier: MIT
//
// What: the balanced tree of avltree.h. Insertion and removal change one place and then walk up to
// the root, restoring height, largest number and balance at each node.
//
// Invariants
//   I1  height = 1 + the larger of the children's heights (none: 0).
//   I2  the children's heights differ by at most two.
//   I3  a child's parent link names its parent; the root's is NULL.
//   I4  most = the largest of own and the children's most.
#include "kernel/lib/avltree.h"

static int height(const struct avl_node *n)
{
	return n ? n->height : 0;
}

static u64 largest(const struct avl_node *n)
{
	u64 most = n->own;

	if (n->left)
		most = max(most, n->left->most);
	return n->right ? max(most, n->right->most) : most;
}

// I1 and I4.
static void refresh(struct avl_node *n)
{
	n->height = 1 + max(height(n->left), height(n->right));
	n->most = largest(n);
}

// The pointer that names `n`: its parent's left or right, or the root.
static struct avl_node **link_to(struct avl_tree *t, struct avl_node *n)
{
	if (!n->parent)
		return &t->root;
	return n->parent->left == n ? &n->parent->left : &n->parent->right;
}

static void set_child(struct avl_node *parent, struct avl_node **link, struct avl_node *child)
{
	*link = child;
	if (child)
		child->parent = parent;
}

// Lift the left (or right) child of `n` into its place. Returns the lifted node.
static struct avl_node *rotate(struct avl_tree *t, struct avl_node *n, bool lift_left)
{
	struct avl_node *up = lift_left ? n->left : n->right;
	struct avl_node **link = link_to(t, n);

	set_child(n->parent, link, up);
	if (lift_left) {
		set_child(n, &n->left, up->right);
		set_child(up, &up->right, n);
	} else {
		set_child(n, &n->right, up->left);
		set_child(up, &up->left, n);
	}
	refresh(n);
	refresh(up);
	return up;
}

// One side of `n` is higher by three. Returns the node that takes its place.
static __attribute__((noinline)) struct avl_node *lean_back(struct avl_tree *t, struct avl_node *n)
{
	if (height(n->left) > height(n->right)) {
		if (height(n->left->left) < height(n->left->right))
			rotate(t, n->left, false);
		return rotate(t, n, true);
	}
	if (height(n->right->right) < height(n->right->left))
		rotate(t, n->right, true);
	return rotate(t, n, false);
}

// Restore I1, I2 and I4 from `n` up; they hold below it. It ends where nothing changes any more,
// but not before `changed`, a node on the way that is to be looked at (NULL: there is none).
static void rebalance(struct avl_tree *t, struct avl_node *n, const struct avl_node *changed)
{
	for (; n; n = n->parent) {
		int left = height(n->left), right = height(n->right), high = 1 + max(left, right);
		u64 most = largest(n);

		if (n == changed)
			changed = NULL;
		if (unlikely(left - right > 2 || right - left > 2)) {
			n = lean_back(t, n);
			continue;
		}
		if (n->height == high && n->most == most && !changed)
			return;
		n->height = high;
		n->most = most;
	}
}

void avl_insert(struct avl_tree *t, struct avl_node *n, struct avl_node *parent,
		struct avl_node **link, struct avl_node *next)
{
	n->parent = parent;
	n->left = n->right = NULL;
	n->most = n->own;
	n->height = 1;
	*link = n;
	rebalance(t, parent, next);
}

// `heir` takes the place of `n`. It is looked at afterwards, against what was known of `n`: if that
// is still so, nothing changes above.
static void replace(struct avl_tree *t, struct avl_node *n, struct avl_node *heir)
{
	set_child(n->parent, link_to(t, n), heir);
	heir->height = n->height;
	heir->most = n->most;
}

void avl_remove(struct avl_tree *t, struct avl_node *n, struct avl_node *next)
{
	if (n->left && n->right) {
		// The next one, which has no left child, is the heir.
		struct avl_node *from = next->parent == n ? next : next->parent;

		set_child(next->parent, link_to(t, next), next->right);
		replace(t, n, next);
		set_child(next, &next->left, n->left);
		set_child(next, &next->right, n->right);
		rebalance(t, from, next);
	} else if (n->right) {
		replace(t, n, n->right); // the next one is that, or below
		rebalance(t, next, n->right);
	} else {
		set_child(n->parent, link_to(t, n), n->left);
		rebalance(t, n->parent, next);
	}
}

void avl_changed(struct avl_node *n)
{
	for (; n; n = n->parent)
		n->most = largest(n);
}

// Of the subtree, below `parent`. Heights of children are checked by the recursion.
static bool sound(const struct avl_node *n, const struct avl_node *parent)
{
	int l, r;

	if (!n)
		return true;
	l = height(n->left);
	r = height(n->right);
	return n->parent == parent && n->height == 1 + max(l, r) && l - r <= 2 && r - l <= 2 &&
	       n->most == largest(n) && sound(n->left, n) && sound(n->right, n);
}

bool avl_verify(const struct avl_tree *t)
{
	return sound(t->root, NULL);
}
