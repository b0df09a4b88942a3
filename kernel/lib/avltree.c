// SPDX-License-Identifier: MIT
//
// What: the balanced tree of avltree.h. Insertion and removal change one place and then walk up to
// the root, restoring height, the owner's sum and balance at each node.
//
// Invariants
//   I1  height = 1 + the larger of the children's heights (none: 0).
//   I2  the children's heights differ by at most one.
//   I3  a child's parent link names its parent; the root's is NULL.
#include "kernel/lib/avltree.h"

static int height(const struct avl_node *n)
{
	return n ? n->height : 0;
}

static void refresh(struct avl_tree *t, struct avl_node *n)
{
	n->height = 1 + max(height(n->left), height(n->right));
	if (t->update)
		t->update(n);
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
	refresh(t, n);
	refresh(t, up);
	return up;
}

// Restore I1 and I2 from `n` up to the root; both hold below it.
static void rebalance(struct avl_tree *t, struct avl_node *n)
{
	while (n) {
		int lean = height(n->left) - height(n->right);

		refresh(t, n);
		if (lean > 1) {
			if (height(n->left->left) < height(n->left->right))
				rotate(t, n->left, false);
			n = rotate(t, n, true);
		} else if (lean < -1) {
			if (height(n->right->right) < height(n->right->left))
				rotate(t, n->right, true);
			n = rotate(t, n, false);
		}
		n = n->parent;
	}
}

static struct avl_node *leftmost(struct avl_node *n)
{
	while (n && n->left)
		n = n->left;
	return n;
}

static struct avl_node *rightmost(struct avl_node *n)
{
	while (n && n->right)
		n = n->right;
	return n;
}

void avl_insert(struct avl_tree *t, struct avl_node *n, struct avl_node *parent,
		struct avl_node **link)
{
	*n = (struct avl_node){ .parent = parent };
	*link = n;
	rebalance(t, n);
}

void avl_remove(struct avl_tree *t, struct avl_node *n)
{
	struct avl_node *from = n->parent; // the lowest node whose subtree shrinks

	if (n->left && n->right) {
		// The successor, which has no left child, takes the place of `n`.
		struct avl_node *s = leftmost(n->right);

		from = s->parent == n ? s : s->parent;
		set_child(s->parent, link_to(t, s), s->right);
		set_child(n->parent, link_to(t, n), s);
		set_child(s, &s->left, n->left);
		set_child(s, &s->right, n->right);
	} else {
		set_child(n->parent, link_to(t, n), n->left ? n->left : n->right);
	}
	n->parent = n->left = n->right = NULL;
	rebalance(t, from);
}

void avl_changed(struct avl_tree *t, struct avl_node *n)
{
	for (; n; n = n->parent)
		refresh(t, n);
}

struct avl_node *avl_first(const struct avl_tree *t)
{
	return leftmost(t->root);
}

struct avl_node *avl_last(const struct avl_tree *t)
{
	return rightmost(t->root);
}

struct avl_node *avl_next(const struct avl_node *n)
{
	if (n->right)
		return leftmost(n->right);
	while (n->parent && n->parent->right == n)
		n = n->parent;
	return n->parent;
}

struct avl_node *avl_prev(const struct avl_node *n)
{
	if (n->left)
		return rightmost(n->left);
	while (n->parent && n->parent->left == n)
		n = n->parent;
	return n->parent;
}

bool avl_verify(const struct avl_tree *t)
{
	const struct avl_node *n;

	if (t->root && t->root->parent)
		return false;
	for (n = leftmost(t->root); n; n = avl_next(n)) {
		int l = height(n->left), r = height(n->right);

		if (n->height != 1 + max(l, r) || l - r > 1 || r - l > 1)
			return false;
		if ((n->left && n->left->parent != n) || (n->right && n->right->parent != n))
			return false;
	}
	return true;
}
