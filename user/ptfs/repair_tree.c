// SPDX-License-Identifier: MIT
//
// What: trees of tables: what they claim, entries that are damaged, blocks that two of them name.
// Not here: whose trees (repair_inode.c).
//
// An entry that decodes to nothing sound becomes a hole. Of two that name the same block or table
// the one that came second gets a copy of it, so both files keep what they had, whoever is right.
// Copies are made when every tree has claimed what it names: only then is it known what is free.
#include <stdlib.h>

#include "user/ptfs/repair_internal.h"

bool fix_is_claimed(const struct fix *x, u64 off)
{
	u64 block = off >> PTFS_BLOCK_SHIFT;

	return x->claimed[block / 8] >> block % 8 & 1;
}

void fix_claim(struct fix *x, u64 off, u64 blocks)
{
	for (u64 b = off >> PTFS_BLOCK_SHIFT; blocks--; b++)
		x->claimed[b / 8] |= (u8)(1u << b % 8);
}

static bool any_claimed(const struct fix *x, u64 off, u64 blocks)
{
	for (u64 i = 0; i < blocks; i++)
		if (fix_is_claimed(x, off + i * PTFS_BLOCK))
			return true;
	return false;
}

u8 fix_leaf_type(u32 mode, u64 size)
{
	switch (mode & PTFS_S_IFMT) {
	case PTFS_S_IFREG: return PTFS_CHUNK_DATA;
	case PTFS_S_IFDIR: return PTFS_CHUNK_META;
	case PTFS_S_IFLNK: return size > PTFS_INLINE_BYTES ? PTFS_CHUNK_META : 0;
	default: return 0;
	}
}

void fix_tree_of(struct fix *x, const struct ptfs_dinode *d, u64 ino, u64 off, struct fix_tree *t)
{
	u64 size = le64(d->size);

	*t = (struct fix_tree){
		.ino = ino,
		.root_off = off + offsetof(struct ptfs_dinode, root),
		.direct_off = off + offsetof(struct ptfs_dinode, direct),
		.limit = le64(d->flags) & PTFS_INODE_PREALLOC ? PTFS_NOTHING
							      : ALIGN_UP(size, PTFS_BLOCK),
		.leaf_type = fix_leaf_type((u32)le64(d->mode_links), size),
	};
	(void)x;
}

static u64 root_bits(const struct fix_tree *t, u64 slot, u64 word)
{
	return slot == t->root_off ? word & PTFS_E_LEVEL : 0;
}

// Direct words become the file when the root word goes, so they go first.
static void slot_clear(struct fix *x, struct fix_tree *t, u64 slot)
{
	x->result->lost++;
	if (t->itable) {
		x->itable_rebuild = true;
		if (slot == t->root_off)
			return; // the new tree takes its place
	}
	if (slot == t->root_off && t->direct_off) {
		fix_begin(x);
		ptfs_zero(x->fs, t->direct_off, PTFS_DIRECT * 8);
	}
	fix_store(x, slot, 0);
}

static u8 type_at(const struct fix *x, u64 off)
{
	return x->type[off >> PTFS_CHUNK_SHIFT];
}

// More of its entries make sense than not.
static bool table_plausible(const struct fix *x, u64 off, int level, u8 leaf_type)
{
	unsigned good = 0, bad = 0;

	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		u64 e = ptfs_word(x->fs, off + 8 * i);
		struct ptfs_ref ref;

		if (!e)
			continue;
		if (!ptfs_entry_decode(x->fs, e, level, &ref) &&
		    type_at(x, ref.off) == (ref.leaf ? leaf_type : PTFS_CHUNK_TABLE))
			good++;
		else
			bad++;
	}
	return good >= bad;
}

// Why an entry that decodes may not name what it names, or NULL.
static const char *target_wrong(const struct fix *x, const struct fix_tree *t,
				const struct ptfs_ref *ref, int level, u64 va)
{
	u8 type = type_at(x, ref->off);
	u64 place;

	if (ref->off < x->fs->system_bytes)
		return "entry names the system area: entry, word";
	if (!ref->leaf && type != PTFS_CHUNK_TABLE)
		return "table entry into a chunk of another type: entry, word";
	if (!ref->leaf && !table_plausible(x, ref->off, level - 1, t->leaf_type))
		return "entry names no table of its level: entry, word";
	if (ref->leaf && type != t->leaf_type)
		return "entry into a chunk of another type: entry, word";
	if (ref->leaf && level == PT_PMD && t->leaf_type != PTFS_CHUNK_DATA)
		return "2 MiB leaf in a file that is not regular: entry, word";
	place = ref->leaf && t->itable ? fix_iblock_place(x, ref->off) : PTFS_NOTHING;
	if (place != PTFS_NOTHING && place != va >> PTFS_BLOCK_SHIFT)
		return "block of inodes in the wrong place: entry, word";
	return NULL;
}

static void dup_note(struct fix *x, const struct fix_tree *t, u64 slot, int level, u64 va)
{
	struct fix_dup *dup = fix_room(x, x->dup, &x->dup_room, x->dups, sizeof(*x->dup));

	if (!dup)
		return;
	x->dup = dup;
	x->dup[x->dups++] = (struct fix_dup){ .tree = *t, .slot = slot, .va = va, .level = level };
}

// Where a walk goes.
struct walk {
	struct fix *x;
	struct fix_tree *t;
	fix_leaf leaf;
	void *ctx;
};

static void claim_entry(struct walk *w, u64 slot, int level, u64 va)
{
	struct fix *x = w->x;
	u64 word = ptfs_word(x->fs, slot);
	u64 e = word & ~root_bits(w->t, slot, word);
	struct ptfs_ref ref;
	const char *why;
	u64 blocks;

	if (!word)
		return;
	why = ptfs_entry_decode(x->fs, e, level, &ref);
	if (!why)
		why = target_wrong(x, w->t, &ref, level, va);
	if (why) {
		fix_found(x, why, w->t->ino, slot, word);
		slot_clear(x, w->t, slot);
		return;
	}
	w->t->behind |= va >= w->t->limit;
	blocks = ref.leaf ? pt_span(level) >> PTFS_BLOCK_SHIFT : 1;
	if (any_claimed(x, ref.off, blocks)) {
		fix_found(x, "named twice: entry, offset of what it names", w->t->ino, slot,
			  ref.off);
		if (w->t->itable)
			slot_clear(x, w->t, slot);
		else
			dup_note(x, w->t, slot, level, va);
		return;
	}
	fix_claim(x, ref.off, blocks);
	if (ref.leaf && w->leaf)
		w->leaf(x, w->ctx, va >> PTFS_BLOCK_SHIFT, ref.off, blocks);
	for (unsigned i = 0; !ref.leaf && i < PT_ENTRIES; i++)
		claim_entry(w, ref.off + 8 * i, level - 1, va + i * pt_span(level - 1));
}

// The level that the root's page is a table for, if only its level bits are damaged; 0: none. A
// page of tables is one of level 2 or of level 3: then the lower one that reaches the end.
static int level_guess(const struct fix *x, const struct fix_tree *t, u64 root)
{
	u64 e = root & ~PTFS_E_LEVEL;
	struct ptfs_ref ref;

	for (int level = PTFS_ROOT_LEVEL_MIN; level <= PTFS_ROOT_LEVEL_MAX; level++) {
		if (ptfs_entry_decode(x->fs, e, level, &ref) || target_wrong(x, t, &ref, level, 0))
			continue;
		if (ref.leaf || level == PTFS_ROOT_LEVEL_MAX || t->limit == PTFS_NOTHING ||
		    t->limit <= pt_span(level))
			return level;
	}
	return 0;
}

static int root_level_mend(struct fix *x, struct fix_tree *t, u64 root)
{
	int level = ptfs_root_level(root);
	struct ptfs_ref ref;
	int guess;

	if (level >= PTFS_ROOT_LEVEL_MIN && level <= PTFS_ROOT_LEVEL_MAX &&
	    !ptfs_entry_decode(x->fs, root & ~PTFS_E_LEVEL, level, &ref) &&
	    !target_wrong(x, t, &ref, level, 0))
		return level;
	guess = level_guess(x, t, root);
	if (guess) {
		fix_found(x, "level of the root: says, is", t->ino, (u64)level, (u64)guess);
		fix_store(x, t->root_off,
			  (root & ~PTFS_E_LEVEL) | (u64)guess << PTFS_E_LEVEL_SHIFT);
		return guess;
	}
	return level < PTFS_ROOT_LEVEL_MIN || level > PTFS_ROOT_LEVEL_MAX ? 0 : level;
}

void fix_tree_claim(struct fix *x, struct fix_tree *t, fix_leaf leaf, void *ctx)
{
	struct walk w = { .x = x, .t = t, .leaf = leaf, .ctx = ctx };
	u64 root = ptfs_word(x->fs, t->root_off);
	int level = root ? root_level_mend(x, t, root) : 0;

	if (root && !level) {
		fix_found(x, "impossible root word: word", t->ino, root, 0);
		slot_clear(x, t, t->root_off);
		return;
	}
	if (root)
		claim_entry(&w, t->root_off, level, 0);
	for (unsigned i = 0; !root && t->direct_off && i < PTFS_DIRECT; i++)
		claim_entry(&w, t->direct_off + 8 * i, PT_PTE, i * PTFS_BLOCK);
}

static void visit_entry(struct walk *w, u64 slot, int level, u64 va)
{
	u64 word = ptfs_word(w->x->fs, slot);
	struct ptfs_ref ref;

	if (!word || ptfs_entry_decode(w->x->fs, word & ~root_bits(w->t, slot, word), level, &ref))
		return;
	if (ref.leaf)
		w->leaf(w->x, w->ctx, va >> PTFS_BLOCK_SHIFT, ref.off,
			pt_span(level) >> PTFS_BLOCK_SHIFT);
	for (unsigned i = 0; !ref.leaf && i < PT_ENTRIES; i++)
		visit_entry(w, ref.off + 8 * i, level - 1, va + i * pt_span(level - 1));
}

void fix_tree_visit(struct fix *x, const struct fix_tree *t, fix_leaf leaf, void *ctx)
{
	struct fix_tree copy = *t;
	struct walk w = { .x = x, .t = &copy, .leaf = leaf, .ctx = ctx };
	u64 root = ptfs_word(x->fs, t->root_off);
	int level = ptfs_root_level(root);

	if (level >= PTFS_ROOT_LEVEL_MIN && level <= PTFS_ROOT_LEVEL_MAX)
		visit_entry(&w, t->root_off, level, 0);
	for (unsigned i = 0; !root && t->direct_off && i < PTFS_DIRECT; i++)
		visit_entry(&w, t->direct_off + 8 * i, PT_PTE, i * PTFS_BLOCK);
}

// ---- New blocks ----

static bool chunk_take(struct fix *x, unsigned type, u64 *nr)
{
	struct ptfs_fs *fs = x->fs;
	u64 word = 0;

	for (*nr = 0; *nr < fs->chunks; ++*nr)
		if (x->type[*nr] == PTFS_CHUNK_FREE)
			break;
	if (*nr == fs->chunks) {
		x->err = -ENOSPC;
		return false;
	}
	x->type[*nr] = (u8)type;
	for (u64 i = 0, first = *nr & ~7ull; i < 8 && first + i < fs->chunks; i++)
		word |= (u64)x->type[first + i] << 8 * i;
	fix_store(x, fs->chunk_map_off + (*nr & ~7ull), word);
	return true;
}

bool fix_alloc(struct fix *x, unsigned type, u64 *off)
{
	u64 nr;

	for (u64 block = 0; block < x->fs->chunks * PTFS_CHUNK_BLOCKS; block++) {
		*off = block << PTFS_BLOCK_SHIFT;
		if (type_at(x, *off) != type)
			block |= PTFS_CHUNK_BLOCKS - 1;
		else if (!fix_is_claimed(x, *off))
			goto found;
	}
	if (!chunk_take(x, type, &nr))
		return false;
	*off = nr << PTFS_CHUNK_SHIFT;
found:
	fix_claim(x, *off, 1);
	return true;
}

static u64 clone(struct fix *x, u64 e, int level, u8 leaf_type);

static u64 clone_table(struct fix *x, u64 from, int level, u8 leaf_type)
{
	le64_t page[PT_ENTRIES];
	u64 off;

	if (!fix_alloc(x, PTFS_CHUNK_TABLE, &off))
		return 0;
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		page[i] = LE64(clone(x, ptfs_word(x->fs, from + 8 * i), level, leaf_type));
	fix_copy(x, off, page, sizeof(page));
	return ptfs_entry_table(x->fs, off);
}

// A copy of what `e` names and of all below it; 0: what cannot be copied.
static u64 clone(struct fix *x, u64 e, int level, u8 leaf_type)
{
	struct ptfs_ref ref;
	u64 off, nr;

	if (!e || x->err || ptfs_entry_decode(x->fs, e, level, &ref))
		return 0;
	if (!ref.leaf)
		return type_at(x, ref.off) == PTFS_CHUNK_TABLE
			       ? clone_table(x, ref.off, level - 1, leaf_type)
			       : 0;
	if (type_at(x, ref.off) != leaf_type)
		return 0;
	if (level == PT_PTE) {
		if (!fix_alloc(x, leaf_type, &off))
			return 0;
	} else {
		if (!chunk_take(x, leaf_type, &nr))
			return 0;
		off = nr << PTFS_CHUNK_SHIFT;
		fix_claim(x, off, PTFS_CHUNK_BLOCKS);
	}
	fix_copy(x, off, ptfs_at(x->fs, ref.off, pt_span(level)), pt_span(level));
	return ptfs_entry_leaf(x->fs, off, level);
}

void fix_dups(struct fix *x)
{
	for (size_t i = 0; i < x->dups; i++) {
		struct fix_dup *d = &x->dup[i];
		u64 word = ptfs_word(x->fs, d->slot);
		u64 bits = root_bits(&d->tree, d->slot, word);
		u64 e = clone(x, word & ~bits, d->level, d->tree.leaf_type);

		if (x->err == -ENOSPC) {
			x->err = 0;
			e = 0;
		}
		if (e)
			fix_store(x, d->slot, e | bits);
		else
			slot_clear(x, &d->tree, d->slot);
		fix_progress(x, 4, i + 1, x->dups);
	}
}

void fix_tree_insert(struct fix *x, const struct fix_tree *t, u64 block, u64 entry)
{
	static const u8 zeros[PTFS_BLOCK];
	u64 va = block << PTFS_BLOCK_SHIFT;
	u64 root = ptfs_word(x->fs, t->root_off);
	u64 slot = t->direct_off + 8 * block;
	struct ptfs_ref ref;
	u64 e = root & ~PTFS_E_LEVEL;

	for (int level = ptfs_root_level(root); root && level > PT_PTE; level--) {
		if (!e) {
			u64 off;

			if (!fix_alloc(x, PTFS_CHUNK_TABLE, &off))
				return;
			fix_copy(x, off, zeros, sizeof(zeros));
			e = ptfs_entry_table(x->fs, off);
			fix_store(x, slot, e);
		}
		if (ptfs_entry_decode(x->fs, e, level, &ref) || ref.leaf)
			return;
		slot = ref.off + 8 * pt_index(va, level - 1);
		e = ptfs_word(x->fs, slot);
	}
	if (root || block < PTFS_DIRECT)
		fix_store(x, slot, entry);
}
