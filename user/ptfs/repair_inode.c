// SPDX-License-Identifier: MIT
//
// What: the inode table and the inodes in it.
// Not here: names and link counts (repair_names.c).
//
// The inode table. Each inode says in its checked part which number it has, so a block of the table
// knows its place. Blocks in INODE chunks that no entry leads to any more are found that way, and
// the tree over all blocks is then built anew beside the old one; one store of the root word makes
// it the table.
// An inode. Its checked part is rewritten when the rest makes sense; fields out of range get what
// the contents say; what is beyond that becomes free, and its names go. The root directory always
// comes back.
#include <stdlib.h>

#include "user/ptfs/repair_internal.h"

#define FIELD(f)  offsetof(struct ptfs_dinode, f)
#define LINKS_MAX 0xffffffu
#define ROOT_MODE (PTFS_S_IFDIR | 0755u)

static void dinode_at(const struct fix *x, u64 off, struct ptfs_dinode *d)
{
	memcpy(d, ptfs_at(x->fs, off, sizeof(*d)), sizeof(*d));
}

static u32 dinode_crc(const struct ptfs_dinode *d)
{
	return crc32c(0, (const u8 *)d + PTFS_INODE_CRC_FROM,
		      PTFS_INODE_CRC_TO - PTFS_INODE_CRC_FROM);
}

static bool checked_part_sound(const struct ptfs_dinode *d)
{
	return le32_get(d->magic) == PTFS_INODE_MAGIC && le32_get(d->crc) == dinode_crc(d);
}

u64 fix_iblock_place(const struct fix *x, u64 off)
{
	u64 place = PTFS_NOTHING;

	for (unsigned i = 0; i < PTFS_INODES_PER_BLOCK; i++) {
		struct ptfs_dinode d;
		u64 ino;

		// A chunk of inodes is empty for the most part: most places end here.
		if ((u32)ptfs_word(x->fs, off + i * PTFS_INODE_BYTES) != PTFS_INODE_MAGIC)
			continue;
		dinode_at(x, off + i * PTFS_INODE_BYTES, &d);
		ino = le64(d.ino);
		if (!checked_part_sound(&d) || ino % PTFS_INODES_PER_BLOCK != i ||
		    ino >= PTFS_FILE_MAX / PTFS_INODE_BYTES)
			continue;
		if (place != PTFS_NOTHING && place != ino / PTFS_INODES_PER_BLOCK)
			return PTFS_NOTHING;
		place = ino / PTFS_INODES_PER_BLOCK;
	}
	return place;
}

// ---- The list of blocks ----

static void iblock_add(struct fix *x, u64 index, u64 off)
{
	struct fix_iblock *b =
		fix_room(x, x->iblock, &x->iblock_room, x->iblocks, sizeof(*x->iblock));

	if (!b)
		return;
	x->iblock = b;
	b += x->iblocks++;
	memset(b, 0, sizeof(*b));
	b->index = index;
	b->off = off;
}

static int by_index(const void *a, const void *b)
{
	u64 x = ((const struct fix_iblock *)a)->index;
	u64 y = ((const struct fix_iblock *)b)->index;

	return x < y ? -1 : x > y;
}

static void iblocks_sort(struct fix *x)
{
	if (x->iblocks)
		qsort(x->iblock, x->iblocks, sizeof(*x->iblock), by_index);
}

static struct fix_iblock *iblock_find(const struct fix *x, size_t nr, u64 index)
{
	struct fix_iblock key = { .index = index };

	return nr ? bsearch(&key, x->iblock, nr, sizeof(key), by_index) : NULL;
}

struct fix_inode *fix_inode_of(const struct fix *x, u64 ino, u64 *off)
{
	struct fix_iblock *b = iblock_find(x, x->iblocks, ino / PTFS_INODES_PER_BLOCK);

	if (!b || !ino)
		return NULL;
	if (off)
		*off = b->off + ino % PTFS_INODES_PER_BLOCK * PTFS_INODE_BYTES;
	return &b->node[ino % PTFS_INODES_PER_BLOCK];
}

static void itable_leaf(struct fix *x, void *ctx, u64 block, u64 off, u64 blocks)
{
	(void)ctx;
	(void)blocks;
	iblock_add(x, block, off);
}

// Blocks of inodes that nothing leads to.
static void iblocks_rescue(struct fix *x)
{
	size_t known = x->iblocks;

	for (u64 off = x->fs->system_bytes; off < x->fs->region.bytes; off += PTFS_BLOCK) {
		u64 place;

		if (x->type[off >> PTFS_CHUNK_SHIFT] != PTFS_CHUNK_INODE || fix_is_claimed(x, off))
			continue;
		place = fix_iblock_place(x, off);
		if (place == PTFS_NOTHING || iblock_find(x, known, place))
			continue;
		fix_found(x, "block of inodes that nothing led to: place, offset", 0, place, off);
		fix_claim(x, off, 1);
		iblock_add(x, place, off);
	}
	iblocks_sort(x);
	for (size_t i = 1; i < x->iblocks; i++)
		if (x->iblock[i].index == x->iblock[i - 1].index)
			x->iblock[i--] = x->iblock[--x->iblocks], iblocks_sort(x);
	x->itable_rebuild |= x->iblocks > known;
}

void fix_itable_claim(struct fix *x)
{
	struct fix_tree t = { .root_off = offsetof(struct ptfs_super, itable_root),
			      .limit = PTFS_NOTHING,
			      .leaf_type = PTFS_CHUNK_INODE,
			      .itable = true };

	if (ptfs_word(x->fs, t.root_off))
		fix_tree_claim(x, &t, itable_leaf, NULL);
	else
		fix_found(x, "the inode table has no root", 0, 0, 0);
	x->itable_rebuild |= !ptfs_word(x->fs, t.root_off);
	iblocks_sort(x);
	iblocks_rescue(x);
}

// ---- Building the tree anew ----

static u64 table_write(struct fix *x, const le64_t *page)
{
	u64 off;

	if (!fix_alloc(x, PTFS_CHUNK_TABLE, &off))
		return 0;
	fix_copy(x, off, page, PTFS_BLOCK);
	return ptfs_entry_table(x->fs, off);
}

// The entry of `level` for the blocks [first, first + span) of the list.
static u64 build(struct fix *x, size_t *i, u64 first, int level)
{
	u64 span = pt_span(level) >> PTFS_BLOCK_SHIFT;
	le64_t page[PT_ENTRIES];

	if (*i == x->iblocks || x->iblock[*i].index >= first + span)
		return 0;
	if (level == PT_PTE)
		return ptfs_entry_leaf(x->fs, x->iblock[(*i)++].off, PT_PTE);
	for (unsigned k = 0; k < PT_ENTRIES; k++)
		page[k] = LE64(build(x, i, first + k * (span / PT_ENTRIES), level - 1));
	return table_write(x, page);
}

static void root_block_new(struct fix *x)
{
	static const u8 zeros[PTFS_BLOCK];
	u64 off;

	if (iblock_find(x, x->iblocks, 0) || !fix_alloc(x, PTFS_CHUNK_INODE, &off))
		return;
	fix_copy(x, off, zeros, sizeof(zeros));
	iblock_add(x, 0, off);
	iblocks_sort(x);
	x->itable_rebuild = true;
}

static void root_dir_make(struct fix *x, u64 off, struct ptfs_dinode *d);

void fix_itable_write(struct fix *x)
{
	u64 root_off = offsetof(struct ptfs_super, itable_root);
	struct fix_inode *root;
	struct ptfs_dinode d;
	int level = PT_PMD;
	size_t i = 0;
	u64 e, off;

	root_block_new(x);
	root = fix_inode_of(x, PTFS_INO_ROOT, &off);
	if (root && !root->mode) {
		dinode_at(x, off, &d);
		memset(d.direct, 0, sizeof(d.direct));
		d.root = d.size = LE64(0);
		root_dir_make(x, off, &d);
		root->mode = ROOT_MODE;
	}
	if (x->err || !x->itable_rebuild)
		return;
	fix_found(x, "inode table is built anew: blocks", 0, x->iblocks, 0);
	while (x->iblock[x->iblocks - 1].index >= pt_span(level) >> PTFS_BLOCK_SHIFT)
		level++;
	e = build(x, &i, 0, level);
	if (!x->err)
		fix_store(x, root_off, ptfs_root_make(e, level));
}

// ---- One inode ----

// The type, 0 if there is no such type.
static u32 type_of(u32 mode)
{
	switch (mode & PTFS_S_IFMT) {
	case PTFS_S_IFREG:
	case PTFS_S_IFDIR:
	case PTFS_S_IFLNK:
	case PTFS_S_IFCHR:
	case PTFS_S_IFBLK:
	case PTFS_S_IFIFO:
	case PTFS_S_IFSOCK: return mode & PTFS_S_IFMT;
	default: return 0;
	}
}

static bool mode_sound(u32 mode)
{
	return type_of(mode) && !(mode >> 16);
}

// The rest of an inode whose checked part is broken could be one.
static bool rest_plausible(const struct ptfs_dinode *d)
{
	u64 mode_links = le64(d->mode_links);

	for (unsigned i = 0; i < sizeof(d->reserved1); i++)
		if (d->reserved1[i])
			return false;
	return mode_sound((u32)mode_links) && mode_links >> 32 <= LINKS_MAX &&
	       le64(d->size) <= PTFS_FILE_MAX && !(le64(d->flags) & ~PTFS_INODE_FLAGS);
}

// The checked part as it must have been. It is one cache line: a crash within leaves a part of
// either, which is repaired in the same way.
static void checked_part_write(struct fix *x, u64 off, u64 ino, const struct ptfs_dinode *d)
{
	struct ptfs_dinode new = { .magic = LE32(PTFS_INODE_MAGIC),
				   .ino = LE64(ino),
				   .generation = LE64(x->fs->generation),
				   .rdev = d->rdev,
				   .created_ns = d->created_ns };

	new.crc = LE32(dinode_crc(&new));
	fix_copy(x, off, &new, PTFS_INODE_CRC_TO);
}

static void root_dir_make(struct fix *x, u64 off, struct ptfs_dinode *d)
{
	u64 now = ptfs_time_ns();

	fix_found(x, "no root directory", PTFS_INO_ROOT, 0, 0);
	d->mtime_ns = d->ctime_ns = d->atime_ns = LE64(now);
	d->created_ns = LE64(now);
	d->rdev = d->owner = d->flags = LE64(0);
	d->parent = LE64(PTFS_INO_ROOT);
	d->mode_links = LE64((u64)2 << 32 | ROOT_MODE);
	d->size = LE64(ALIGN_UP(min(le64(d->size), PTFS_FILE_MAX), PTFS_BLOCK));
	memset(d->reserved1, 0, sizeof(d->reserved1));
	fix_copy(x, off + PTFS_INODE_CRC_TO, (const u8 *)d + PTFS_INODE_CRC_TO,
		 sizeof(*d) - PTFS_INODE_CRC_TO);
	checked_part_write(x, off, PTFS_INO_ROOT, d);
}

static void last_leaf(struct fix *x, void *ctx, u64 block, u64 off, u64 blocks)
{
	(void)x;
	(void)off;
	*(u64 *)ctx = max(*(u64 *)ctx, block + blocks);
}

// Blocks from the first to the last that is mapped. Nothing has been claimed yet, so a damaged tree
// may say too much; its size is looked at again with its names.
static u64 mapped_blocks(struct fix *x, const struct ptfs_dinode *d, u64 ino, u64 off)
{
	struct fix_tree t;
	u64 end = 0;

	fix_tree_of(x, d, ino, off, &t);
	if (t.leaf_type)
		fix_tree_visit(x, &t, last_leaf, &end);
	return end;
}

// Type of the chunk that holds the file's first block, 0: it has none.
struct first {
	u64 off;
	bool any;
};

static void first_leaf(struct fix *x, void *ctx, u64 block, u64 off, u64 blocks)
{
	struct first *f = ctx;

	(void)x;
	(void)block;
	(void)blocks;
	if (!f->any)
		*f = (struct first){ off, true };
}

static u32 type_guess(struct fix *x, const struct ptfs_dinode *d, u64 ino, u64 off)
{
	struct first first = { 0 };
	struct ptfs_record r;
	struct fix_tree t;

	fix_tree_of(x, d, ino, off, &t);
	fix_tree_visit(x, &t, first_leaf, &first);
	if (!first.any)
		return 0;
	switch (x->type[first.off >> PTFS_CHUNK_SHIFT]) {
	case PTFS_CHUNK_DATA: return PTFS_S_IFREG;
	case PTFS_CHUNK_META:
		return ptfs_record_read(ptfs_at(x->fs, first.off, PTFS_BLOCK), 0, &r) ||
				       !IS_ALIGNED(le64(d->size), PTFS_BLOCK)
			       ? PTFS_S_IFLNK
			       : PTFS_S_IFDIR;
	default: return 0;
	}
}

// Bytes of a symlink's target, 0: there is none. Up to PTFS_INLINE_BYTES it stands in the inode:
// then direct[] is text, whatever block it might seem to name. A longer one stands in a block.
static u64 target_bytes(const struct fix *x, const struct ptfs_dinode *d)
{
	const char *inside = (const char *)d->direct;
	u64 e = le64(d->direct[0]), size = le64(d->size), bytes = 0;
	struct ptfs_ref ref;

	if (size && size <= PTFS_INLINE_BYTES)
		return strnlen(inside, PTFS_INLINE_BYTES);
	if (!le64(d->root) && e && !ptfs_entry_decode(x->fs, e, PT_PTE, &ref) &&
	    x->type[ref.off >> PTFS_CHUNK_SHIFT] == PTFS_CHUNK_META)
		bytes = strnlen(ptfs_at(x->fs, ref.off, PTFS_BLOCK), PTFS_BLOCK - 1);
	return bytes > PTFS_INLINE_BYTES ? bytes : strnlen(inside, PTFS_INLINE_BYTES);
}

static void word_mend(struct fix *x, struct ptfs_dinode *d, u64 ino, u64 off, size_t field,
		      u64 value, const char *what)
{
	le64_t word;

	memcpy(&word, (const u8 *)d + field, sizeof(word));
	if (le64(word) == value)
		return;
	fix_found(x, what, ino, le64(word), value);
	fix_store(x, off + field, value);
	word = LE64(value);
	memcpy((u8 *)d + field, &word, sizeof(word));
}

static void fields_mend(struct fix *x, struct ptfs_dinode *d, u64 ino, u64 off)
{
	u64 mode_links = le64(d->mode_links);
	u64 size = le64(d->size);

	if (!mode_sound((u32)mode_links)) {
		u32 type = ino == PTFS_INO_ROOT ? PTFS_S_IFDIR : type_guess(x, d, ino, off);

		// Of two words that say it the tree is the better one.
		type = type ? type : type_of((u32)mode_links);
		mode_links = (mode_links & ~(u64)0xffffffff) | type | (mode_links & 07777);
		if (type)
			word_mend(x, d, ino, off, FIELD(mode_links), mode_links,
				  "mode: is, becomes");
	}
	word_mend(x, d, ino, off, FIELD(flags), le64(d->flags) & PTFS_INODE_FLAGS,
		  "unknown flags: are, become");
	switch (mode_links & PTFS_S_IFMT) {
	case PTFS_S_IFREG:
		if (size > PTFS_FILE_MAX)
			size = mapped_blocks(x, d, ino, off) << PTFS_BLOCK_SHIFT;
		break;
	case PTFS_S_IFDIR:
		if (size > PTFS_FILE_MAX || !IS_ALIGNED(size, PTFS_BLOCK))
			size = mapped_blocks(x, d, ino, off) << PTFS_BLOCK_SHIFT;
		break;
	case PTFS_S_IFLNK:
		if (!size || size >= PTFS_BLOCK || target_bytes(x, d) < size)
			size = target_bytes(x, d);
		break;
	default: break;
	}
	word_mend(x, d, ino, off, FIELD(size), min(size, PTFS_FILE_MAX), "size: is, becomes");
}

static void inode_free(struct fix *x, u64 ino, u64 off, const char *why)
{
	x->result->lost++;
	fix_found(x, why, ino, off, 0);
	fix_store(x, off + FIELD(mode_links), 0);
}

// Its checked part and its fields. False: it is free now.
static bool inode_mend(struct fix *x, u64 ino, u64 off, struct ptfs_dinode *d)
{
	if (!checked_part_sound(d) || le64(d->ino) != ino) {
		bool some = le32_get(d->magic) == PTFS_INODE_MAGIC || le64(d->ino) == ino;

		if (!some || !rest_plausible(d)) {
			inode_free(x, ino, off, "inode that is beyond repair: offset");
			return false;
		}
		fix_found(x, "checked part of the inode: offset", ino, off, 0);
		checked_part_write(x, off, ino, d);
		dinode_at(x, off, d);
	}
	fields_mend(x, d, ino, off);
	if (ptfs_inode_wrong(d, ino)) {
		inode_free(x, ino, off, "inode without a type or contents: offset");
		return false;
	}
	return true;
}

static void count_leaf(struct fix *x, void *ctx, u64 block, u64 off, u64 blocks)
{
	(void)x;
	(void)block;
	(void)off;
	*(u64 *)ctx += blocks;
}

static void inode_fix(struct fix *x, struct fix_inode *node, u64 ino, u64 off)
{
	struct ptfs_dinode d;
	struct fix_tree t;
	u64 blocks = 0;
	size_t dups = x->dups;

	dinode_at(x, off, &d);
	if (!le64(d.mode_links) && ino != PTFS_INO_ROOT)
		return;
	if (ino == PTFS_INO_ROOT && (((u32)le64(d.mode_links) & PTFS_S_IFMT) != PTFS_S_IFDIR ||
				     !checked_part_sound(&d) || le64(d.ino) != ino)) {
		root_dir_make(x, off, &d);
		dinode_at(x, off, &d);
	}
	if (!inode_mend(x, ino, off, &d))
		return;
	node->mode = (u32)le64(d.mode_links);
	fix_tree_of(x, &d, ino, off, &t);
	if (!t.leaf_type) {
		word_mend(x, &d, ino, off, FIELD(root), 0, "root of a file without blocks: is");
		return;
	}
	fix_tree_claim(x, &t, count_leaf, &blocks);
	if (t.behind && x->result->was_clean) {
		fix_found(x, "blocks behind the end of the file: size", ino, le64(d.size), 0);
		fix_begin(x);
	}
	if ((node->mode & PTFS_S_IFMT) == PTFS_S_IFLNK && !blocks && dups == x->dups) {
		inode_free(x, ino, off, "symlink that has lost its target: offset");
		node->mode = 0;
	}
}

void fix_inodes(struct fix *x)
{
	for (size_t b = 0; b < x->iblocks && !x->err; b++) {
		for (unsigned i = 0; i < PTFS_INODES_PER_BLOCK; i++) {
			u64 ino = x->iblock[b].index * PTFS_INODES_PER_BLOCK + i;

			if (ino)
				inode_fix(x, &x->iblock[b].node[i], ino,
					  x->iblock[b].off + i * PTFS_INODE_BYTES);
		}
		fix_progress(x, 3, b + 1, x->iblocks);
	}
}
