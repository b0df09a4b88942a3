// SPDX-License-Identifier: MIT
//
// Intrusive balanced search tree (AVL; Knuth, TAOCP vol. 3, 6.2.3; Foster's variant, in which
// heights may differ by two: at most 1.81 log2 n high, and what comes and goes at one place does
// not turn the tree back and forth). Each node carries a number, and the largest number of its
// subtree ("augmented"). Not locked: the owner of the tree says which lock guards it.
//
// The tree knows no keys. The owner searches by following left and right itself, and links a new
// node below the place where its search ended.
#pragma once

#include "kernel/lib/types.h"

struct avl_node {
	struct avl_node *parent, *left, *right;
	u64 own;    // the owner's number; avl_changed() tells that it is another
	u64 most;   // the largest `own` of the subtree
	int height; // of the subtree; a leaf has 1
};

struct avl_tree {
	struct avl_node *root;
};

#define avl_entry(ptr, type, member) container_of(ptr, type, member)

// Link `n`, whose own number is set, as the child of `parent` (NULL: empty tree) at `*link`, one of
// its NULL child pointers or &tree->root, and rebalance. `next`, if not NULL, is the node after it
// in order: its own number may have changed, too.
void avl_insert(struct avl_tree *t, struct avl_node *n, struct avl_node *parent,
		struct avl_node **link, struct avl_node *next);
void avl_remove(struct avl_tree *t, struct avl_node *n, struct avl_node *next);
// The own number of `n` has changed.
void avl_changed(struct avl_node *n);

// Heights, balance, largest numbers and parent links are sound. O(n): for tests.
bool avl_verify(const struct avl_tree *t);
