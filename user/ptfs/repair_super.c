// SPDX-License-Identifier: MIT
//
// What: what a mount needs before it can look at anything else: superblock, base table, types of
// chunks.
//
// The superblock has a copy behind the snapshot. Its fixed part is taken from whichever of the two
// has a right checksum; the words that change in place come from the first one, as long as they
// make sense, because the copy's are as old as the last clean unmount. Types of chunks are voted
// on: each reference from a table or an inode says which type it needs.
//
// Persistence: one of the two superblocks is whole at every moment.
#include <stdlib.h>

#include "user/ptfs/repair_internal.h"

#define SUPER(field) offsetof(struct ptfs_super, field)
#define COPY_SEARCH  GIB(1) // the system area of the largest file system is smaller

static void super_at(const struct ptfs_region *r, u64 off, struct ptfs_super *s)
{
	memcpy(s, (const u8 *)r->view + off, sizeof(*s));
}

static bool copy_at(const struct ptfs_region *r, u64 off, struct ptfs_super *s)
{
	if (!off || !IS_ALIGNED(off, PTFS_BLOCK) || off > r->bytes - PTFS_BLOCK)
		return false;
	super_at(r, off, s);
	return !ptfs_super_wrong(s, r->bytes) && le64(s->copy_off) == off;
}

// By the size of the region first: most file systems fill theirs.
static bool copy_find(const struct ptfs_region *r, struct ptfs_super *s)
{
	struct ptfs_super want;

	ptfs_layout(&want, min(r->bytes >> PTFS_CHUNK_SHIFT, PTFS_CHUNKS_MAX));
	if (copy_at(r, le64(want.copy_off), s))
		return true;
	for (u64 off = PTFS_BLOCK; off < min(r->bytes, (u64)COPY_SEARCH); off += PTFS_BLOCK)
		if (copy_at(r, off, s))
			return true;
	return false;
}

static bool base_sound(const struct ptfs_super *s, unsigned t)
{
	u64 base = ptfs_base_decode(le64(s->base[t]), t);

	return base != PTFS_NOTHING && (t || !base);
}

static bool current_sound(const struct ptfs_super *s)
{
	u64 t = le64(s->base_current);

	return t && t < PTFS_TAGS && le64(s->base[t]) && base_sound(s, (unsigned)t);
}

static bool root_sound(const struct ptfs_super *s)
{
	u64 root = le64(s->itable_root);
	int level = ptfs_root_level(root);
	unsigned t = (root & PTFS_E_TAG) >> PTFS_E_TAG_SHIFT;
	u64 base = ptfs_base_decode(le64(s->base[t]), t);

	return level >= PTFS_ROOT_LEVEL_MIN && level <= PTFS_ROOT_LEVEL_MAX && base &&
	       base != PTFS_NOTHING && (root & PTE_ADDR) >= base &&
	       (root & PTE_ADDR) - base < le64(s->chunks) << PTFS_CHUNK_SHIFT;
}

// The words of `s` that make no sense, from `other` (NULL: there is none).
static int words_mend(struct fix *x, struct ptfs_super *s, const struct ptfs_super *other)
{
	for (unsigned t = 0; t < PTFS_TAGS; t++) {
		if (base_sound(s, t))
			continue;
		fix_found(x, "broken base address: tag, word", 0, t, le64(s->base[t]));
		s->base[t] = other && base_sound(other, t) ? other->base[t] : LE64(0);
	}
	if (!current_sound(s)) {
		unsigned t = PTFS_TAGS;

		fix_found(x, "no current base address: tag", 0, le64(s->base_current), 0);
		if (other && current_sound(other)) {
			t = (unsigned)le64(other->base_current);
			s->base[t] = other->base[t];
		} else if (x->o->base && IS_ALIGNED(x->o->base, PTFS_CHUNK)) {
			t = 1;
			s->base[t] = LE64(ptfs_base_encode(x->o->base, t));
		}
		while (t == PTFS_TAGS || (t && !le64(s->base[t])))
			t--;
		if (!t)
			return -ENXIO;
		s->base_current = LE64(t);
	}
	if (other && !root_sound(s) && root_sound(other)) {
		fix_found(x, "root of the inode table: word", 0, le64(s->itable_root), 0);
		s->itable_root = other->itable_root;
	}
	return 0;
}

static void super_write(struct fix *x, u64 off, const struct ptfs_super *s)
{
	x->result->written = true;
	pmem_memcpy_nt(PHYS(x->region->base.pa + off), s, sizeof(*s));
	pmem_fence();
}

// Word by word: each store leaves a whole superblock.
static void words_write(struct fix *x, const struct ptfs_super *from)
{
	struct ptfs_super now;

	super_at(x->region, 0, &now);
	for (u64 off = SUPER(generation); off < sizeof(now); off += 8) {
		le64_t word;

		memcpy(&word, (const u8 *)from + off, sizeof(word));
		if (!memcmp(&word, (const u8 *)&now + off, sizeof(word)))
			continue;
		x->result->written = true;
		pmem_store8(PHYS(x->region->base.pa + off), le64(word));
		pmem_flush(PHYS(x->region->base.pa + off), 8);
		pmem_fence();
	}
}

int fix_super(struct fix *x)
{
	struct ptfs_super s, copy, mended;
	const char *why = "the image is smaller than 16 MiB";
	bool have_copy;
	int err;

	fix_progress(x, 1, 0, 1);
	if (x->region->bytes < PTFS_CHUNKS_MIN * PTFS_CHUNK)
		return -EUCLEAN;
	super_at(x->region, 0, &s);
	why = ptfs_super_wrong(&s, x->region->bytes);
	have_copy = why ? copy_find(x->region, &copy) : copy_at(x->region, le64(s.copy_off), &copy);
	if (why && !have_copy)
		return -EUCLEAN;
	if (why)
		fix_found(x, why, 0, 0, 0);
	mended = s;
	if (why)
		memcpy(&mended, &copy, SUPER(generation));
	// A later version of ptfs allows us to read, and not to write.
	if (le64(mended.ro_compat))
		return -EROFS;
	memset(mended.reserved1, 0, sizeof(mended.reserved1));
	// A generation that went astray: the copy's is as good, for the bitmap is rebuilt.
	if (have_copy && le64(s.generation) - le64(copy.generation) > 1ull << 32)
		mended.generation = copy.generation;
	err = words_mend(x, &mended, have_copy ? &copy : NULL);
	if (err)
		return err;
	x->region->base = PHYS(ptfs_base_decode(le64(mended.base[le64(mended.base_current)]),
						(unsigned)le64(mended.base_current)));
	if (!why && (!have_copy || memcmp(&copy, &s, SUPER(generation)) != 0)) {
		fix_found(x, "copy of the superblock: offset", 0, le64(s.copy_off), 0);
		super_write(x, le64(s.copy_off), &mended);
	}
	if (why)
		super_write(x, 0, &mended);
	words_write(x, &mended);
	fix_progress(x, 1, 1, 1);
	return 0;
}

// ---- Types of chunks ----

struct votes {
	struct fix *x;
	u32 (*of)[PTFS_CHUNK_TYPES];
	u8 *seen; // tables that were walked, a bit per block
};

static void vote_file(struct votes *v, const struct ptfs_dinode *d);

static void vote_inodes(struct votes *v, u64 off, u64 block)
{
	for (unsigned i = 0; i < PTFS_INODES_PER_BLOCK; i++) {
		struct ptfs_dinode d;

		memcpy(&d, ptfs_at(v->x->fs, off + i * PTFS_INODE_BYTES, sizeof(d)), sizeof(d));
		if (le64(d.mode_links) && !ptfs_inode_wrong(&d, block * PTFS_INODES_PER_BLOCK + i))
			vote_file(v, &d);
	}
}

// A block that looks like what the entry takes it for outvotes a chunk full of data: an entry that
// went astray must not turn a chunk of tables or inodes into something else.
static u32 vote_weight(const struct votes *v, const struct ptfs_ref *ref, int level, u64 va,
		       u8 leaf_type)
{
	unsigned good = 0, bad = 0;
	struct ptfs_ref below;

	if (ref->leaf)
		return leaf_type == PTFS_CHUNK_INODE &&
				       fix_iblock_place(v->x, ref->off) == va >> PTFS_BLOCK_SHIFT
			       ? PTFS_CHUNK_BLOCKS
			       : 1;
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		u64 e = ptfs_word(v->x->fs, ref->off + 8 * i);

		if (e && ptfs_entry_decode(v->x->fs, e, level - 1, &below))
			bad++;
		else if (e)
			good++;
	}
	return good > bad ? PTFS_CHUNK_BLOCKS : 1;
}

// True: nobody has been there.
static bool see(struct votes *v, u64 off)
{
	u64 block = off >> PTFS_BLOCK_SHIFT;
	u8 bit = (u8)(1u << block % 8);
	bool first = !(v->seen[block / 8] & bit);

	v->seen[block / 8] |= bit;
	return first;
}

static void vote_entry(struct votes *v, u64 e, int level, u64 va, u8 leaf_type)
{
	struct ptfs_fs *fs = v->x->fs;
	struct ptfs_ref ref;

	if (!e || ptfs_entry_decode(fs, e, level, &ref))
		return;
	v->of[ref.off >> PTFS_CHUNK_SHIFT][ref.leaf ? leaf_type : PTFS_CHUNK_TABLE] +=
		vote_weight(v, &ref, level, va, leaf_type);
	if (!see(v, ref.off))
		return;
	if (ref.leaf && leaf_type == PTFS_CHUNK_INODE)
		vote_inodes(v, ref.off, va >> PTFS_BLOCK_SHIFT);
	for (unsigned i = 0; !ref.leaf && i < PT_ENTRIES; i++)
		vote_entry(v, ptfs_word(fs, ref.off + 8 * i), level - 1,
			   va + i * pt_span(level - 1), leaf_type);
}

static void vote_root(struct votes *v, u64 root, u8 leaf_type)
{
	int level = ptfs_root_level(root);

	if (level >= PTFS_ROOT_LEVEL_MIN && level <= PTFS_ROOT_LEVEL_MAX)
		vote_entry(v, root & ~PTFS_E_LEVEL, level, 0, leaf_type);
}

static void vote_file(struct votes *v, const struct ptfs_dinode *d)
{
	u8 type = fix_leaf_type((u32)le64(d->mode_links), le64(d->size));

	if (type && le64(d->root))
		vote_root(v, le64(d->root), type);
	for (unsigned i = 0; type && !le64(d->root) && i < PTFS_DIRECT; i++)
		vote_entry(v, le64(d->direct[i]), PT_PTE, i * PTFS_BLOCK, type);
}

// True: the table has another block for the inodes that the one at `off` says it holds.
static bool place_taken(const struct fix *x, const u8 *stored, u64 place, u64 off)
{
	u64 root = ptfs_word(x->fs, SUPER(itable_root)), va = place << PTFS_BLOCK_SHIFT, is;
	int level = ptfs_root_level(root);
	u64 e = root & ~PTFS_E_LEVEL;
	struct ptfs_ref ref;

	if (level < PTFS_ROOT_LEVEL_MIN || level > PTFS_ROOT_LEVEL_MAX || va >= pt_span(level))
		return false;
	for (; level > PT_PTE; level--) {
		if (!e || ptfs_entry_decode(x->fs, e, level, &ref) || ref.leaf ||
		    stored[ref.off >> PTFS_CHUNK_SHIFT] != PTFS_CHUNK_TABLE)
			return false;
		e = ptfs_word(x->fs, ref.off + 8 * pt_index(va, level - 1));
	}
	if (!e || ptfs_entry_decode(x->fs, e, PT_PTE, &ref) || ref.off == off ||
	    stored[ref.off >> PTFS_CHUNK_SHIFT] != PTFS_CHUNK_INODE)
		return false;
	is = fix_iblock_place(x, ref.off);
	return is == PTFS_NOTHING || is == place;
}

// Blocks that say themselves that they hold inodes, in chunks that are said to: these vote first,
// and so do the files in them. The way to them from the superblock may be lost or lead elsewhere;
// then it makes no votes but wrong ones, one of which would be enough where there is no other.
// Not those whose place in the table is another block's: they are what an earlier block has left,
// nothing will lead to them (iblocks_rescue()), and what their files name may be free.
static void vote_found_inodes(struct votes *v)
{
	struct ptfs_fs *fs = v->x->fs;
	const u8 *stored = ptfs_at(fs, fs->chunk_map_off, fs->chunks);

	for (u64 off = fs->system_bytes; off < fs->region.bytes; off += PTFS_BLOCK) {
		u64 nr = off >> PTFS_CHUNK_SHIFT, place;

		if (stored[nr] != PTFS_CHUNK_INODE)
			continue;
		place = fix_iblock_place(v->x, off);
		if (place == PTFS_NOTHING || place_taken(v->x, stored, place, off))
			continue;
		v->of[nr][PTFS_CHUNK_INODE] += PTFS_CHUNK_BLOCKS;
		if (see(v, off))
			vote_inodes(v, off, place);
	}
}

// What the chunk should be, as far as votes and what is stored tell.
static u8 type_of(const struct votes *v, u64 nr, u8 stored)
{
	const u32 *votes = v->of[nr];
	u8 best = PTFS_CHUNK_FREE;

	if (nr << PTFS_CHUNK_SHIFT < v->x->fs->system_bytes)
		return PTFS_CHUNK_META;
	if (stored < PTFS_CHUNK_TYPES)
		best = stored;
	for (u8 t = PTFS_CHUNK_META; t < PTFS_CHUNK_TYPES; t++)
		if (votes[t] > votes[best])
			best = t;
	return best;
}

static void types_apply(struct fix *x, const struct votes *v)
{
	struct ptfs_fs *fs = x->fs;
	const u8 *stored = ptfs_at(fs, fs->chunk_map_off, fs->chunks);

	for (u64 nr = 0; nr < fs->chunks; nr++) {
		x->type[nr] = type_of(v, nr, stored[nr]);
		if (x->type[nr] != stored[nr])
			fix_found(x, "type of a chunk: chunk, type", 0, nr, stored[nr]);
	}
	for (u64 nr = 0; nr < fs->chunks; nr += 8) {
		u64 word = 0;

		for (u64 i = 0; i < 8 && nr + i < fs->chunks; i++)
			word |= (u64)x->type[nr + i] << 8 * i;
		if (word != ptfs_word(fs, fs->chunk_map_off + nr))
			fix_store(x, fs->chunk_map_off + nr, word);
	}
}

int fix_types(struct fix *x)
{
	struct ptfs_fs *fs = x->fs;
	struct votes v = { .x = x,
			   .of = calloc(fs->chunks, sizeof(*v.of)),
			   .seen = calloc(fs->chunks, PTFS_BITMAP_BYTES) };
	int err = v.of && v.seen ? 0 : -ENOMEM;

	fix_progress(x, 2, 0, 1);
	if (!err) {
		vote_found_inodes(&v);
		vote_root(&v, ptfs_word(fs, SUPER(itable_root)), PTFS_CHUNK_INODE);
		types_apply(x, &v);
	}
	free(v.of);
	free(v.seen);
	fix_progress(x, 2, 1, 1);
	return err;
}
