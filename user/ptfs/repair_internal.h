// SPDX-License-Identifier: MIT
//
// What the files of the repair share.
//
//      repair.c         the passes in their order; stores
//      repair_super.c   superblock, its copy, the base table; types of chunks
//      repair_tree.c    trees of tables: claims, damaged entries, blocks with two owners
//      repair_inode.c   the inode table and the inodes
//      repair_names.c   directories, link counts
//      repair_found.c   /lost+found
//
// The repair does not trust what it has not looked at, so it works below the mount: on words of the
// medium, with claims of its own. Only the last step, when the tables are sound, mounts the image,
// which rebuilds the bitmap and takes in what lost its name.
//
// Invariants
//   R1  a change is one durable 8-byte store, or becomes visible by one: what it refers to is
//       durable before
//   R2  the clean mark is gone before the first change (fix_store and fix_copy see to it)
//   R3  a block is taken for new contents only after every tree was claimed
//   R4  running twice gives the same as running once; a run that was cut off is continued by the
//       next
#pragma once

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/repair.h"

struct fix_inode {
	u32 names, subdirs;
	u64 named_in;  // directories: inode of the directory that names it, 0: none yet
	u64 record_at; // directories: offset of that record
	u32 mode;      // 0: free
	bool reached;  // directories: hangs below the root
	bool detached; // goes to /lost+found
};

// A block of the inode table.
struct fix_iblock {
	u64 index, off;
	struct fix_inode node[PTFS_INODES_PER_BLOCK];
};

// The tree of one file, as the inode says.
struct fix_tree {
	u64 ino;
	u64 root_off, direct_off; // direct_off 0: has none
	u64 limit;                // entries from this byte on lie behind the end
	u8 leaf_type;
	bool itable;
	bool behind; // some do
};

// An entry that names what somebody else has claimed.
struct fix_dup {
	struct fix_tree tree;
	u64 slot, va;
	int level;
};

struct fix {
	struct ptfs_region *region;
	const struct repair_options *o;
	struct repair_result *result;
	struct ptfs_fs *fs; // bare: superblock, bases and types of chunks only
	u8 *type;           // of each chunk
	u8 *claimed;        // a bit per block
	struct fix_dup *dup;
	size_t dups, dup_room;
	struct fix_iblock *iblock; // sorted by index
	size_t iblocks, iblock_room;
	bool itable_rebuild; // the stored tree is not the list above
	bool changed;
	int err; // the first failure of memory or space
};

static inline void fix_found(struct fix *x, const char *what, u64 ino, u64 a, u64 b)
{
	x->result->found++;
	x->o->report(x->o->ctx, what, ino, a, b);
}

static inline void fix_progress(struct fix *x, unsigned pass, u64 done, u64 total)
{
	if (x->o->progress)
		x->o->progress(x->o->ctx, pass, done, total);
}

// ---- repair.c ----

void fix_begin(struct fix *x);                     // the image is not clean from here on
void fix_store(struct fix *x, u64 off, u64 value); // durable when it returns
void fix_copy(struct fix *x, u64 off, const void *src, u64 len); // fenced, not atomic
void *fix_room(struct fix *x, void *array, size_t *room, size_t nr, size_t bytes); // NULL: x->err

// ---- repair_super.c ----

int fix_super(struct fix *x) __must_check;
int fix_types(struct fix *x) __must_check;

// ---- repair_tree.c ----

void fix_tree_of(struct fix *x, const struct ptfs_dinode *d, u64 ino, u64 off, struct fix_tree *t);
u8 fix_leaf_type(u32 mode, u64 size);
// Claims what the tree names; clears entries that are damaged, notes those with two owners. `leaf`
// may be NULL.
typedef void (*fix_leaf)(struct fix *x, void *ctx, u64 block, u64 off, u64 blocks);
void fix_tree_claim(struct fix *x, struct fix_tree *t, fix_leaf leaf, void *ctx);
// Visits the leaves of a tree that was claimed.
void fix_tree_visit(struct fix *x, const struct fix_tree *t, fix_leaf leaf, void *ctx);
// A new entry for the hole at `block`, which lies below the top of the tree.
void fix_tree_insert(struct fix *x, const struct fix_tree *t, u64 block, u64 entry);
void fix_dups(struct fix *x);
bool fix_alloc(struct fix *x, unsigned type, u64 *off);
bool fix_is_claimed(const struct fix *x, u64 off);
void fix_claim(struct fix *x, u64 off, u64 blocks);

// ---- repair_inode.c ----

void fix_itable_claim(struct fix *x);
void fix_inodes(struct fix *x);
void fix_itable_write(struct fix *x);
struct fix_inode *fix_inode_of(const struct fix *x, u64 ino, u64 *off); // NULL: no such number
// Place in the inode table that the inodes of this block say, PTFS_NOTHING: they say none.
u64 fix_iblock_place(const struct fix *x, u64 off);

// ---- repair_names.c, repair_found.c ----

void fix_names(struct fix *x);
void fix_links(struct fix *x);
int fix_lost_found(struct fix *x, struct ptfs_fs *fs) __must_check;
