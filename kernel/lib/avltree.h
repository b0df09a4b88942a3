// SPDX-License-Identifier: MIT
//
// Intrusive balanced search tree (AVL; Knuth, TAOCP vol. 3, 6.2.3), with a hook that keeps a sum of
// each subtree up to date ("augmented"). Not locked: the owner of the tree says which lock guards
// it.
//
// The tree knows no keys. The owner searches by following left and right itself, and links a new
// node below the place where its search ended.
#pragma once

#include "kernel/lib/types.h"

struct avl_node {
	struct avl_node *parent, *left, *right;
	int height; // of the subtree; a leaf has 1
};

struct avl_tree {
	struct avl_node *root;
	// Recompute what `n` keeps about its subtree from n itself and its children. NULL: nothing
	// kept.
	void (*update)(struct avl_node *n);
};

#define avl_entry(ptr, type, member) container_of(ptr, type, member)

// Link `n` as the child of `parent` (NULL: empty tree) at `*link`, one of its NULL child pointers
// or &tree->root, and rebalance.
void avl_insert(struct avl_tree *t, struct avl_node *n, struct avl_node *parent,
		struct avl_node **link);
void avl_remove(struct avl_tree *t, struct avl_node *n);
// What `n` keeps about itself has changed: update it and everything above.
void avl_changed(struct avl_tree *t, struct avl_node *n);

// In order; NULL at the ends.
struct avl_node *avl_first(const struct avl_tree *t);
struct avl_node *avl_last(const struct avl_tree *t);
struct avl_node *avl_next(const struct avl_node *n);
struct avl_node *avl_prev(const struct avl_node *n);

// Heights, balance and parent links are sound. O(n): for tests.
bool avl_verify(const struct avl_tree *t);
