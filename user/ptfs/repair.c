// SPDX-License-Identifier: MIT
//
// What: the passes of a repair in their order, and the stores that they are made of.
// Not here: what each pass finds (repair_*.c).
//
// Order: superblock; types of chunks; open transactions; inode table, inodes and their trees
// (claims); what has two owners; names; link counts. From then on every structure is sound, and a
// mount with a scan does the rest: bitmap, entries behind the end, files without links.
#include <stdlib.h>

#include "user/ptfs/repair_internal.h"

void fix_begin(struct fix *x)
{
	if (x->changed)
		return;
	x->changed = true;
	x->result->written = true;
	if (ptfs_dirty(x->fs))
		x->err = -EROFS;
}

void fix_store(struct fix *x, u64 off, u64 value)
{
	fix_begin(x);
	if (x->err == -EROFS)
		return;
	ptfs_fence(x->fs);
	ptfs_store8_flush(x->fs, off, value);
	ptfs_fence(x->fs);
}

void fix_copy(struct fix *x, u64 off, const void *src, u64 len)
{
	fix_begin(x);
	if (x->err == -EROFS)
		return;
	ptfs_copy_nt(x->fs, off, src, len);
	ptfs_fence(x->fs);
}

void *fix_room(struct fix *x, void *array, size_t *room, size_t nr, size_t bytes)
{
	size_t want = *room ? *room * 2 : 64;
	void *p;

	if (nr < *room)
		return array;
	p = realloc(array, want * bytes);
	if (!p) {
		x->err = -ENOMEM;
		return NULL;
	}
	*room = want;
	return p;
}

// Heads that no transaction writes. Recovery closes their slots like those that had not begun.
static void journal_look(struct fix *x)
{
	for (u64 s = 0; s < PTFS_JOURNAL_SLOTS; s++) {
		u64 head = ptfs_word(x->fs, x->fs->journal_off + s * PTFS_JOURNAL_SLOT_BYTES);
		u64 n = head & ((1u << PTFS_TX_COUNT_BITS) - 1);

		if (head && (!n || n > PTFS_TX_RECORDS))
			fix_found(x, "impossible head of a journal slot: slot, head", 0, s, head);
	}
}

// Memory that has failed there keeps a mount from recovering, for the transaction may be an open
// one. Here nothing depends on that: what it has changed in part is looked at like everything else.
// A store to the whole line makes it good again, if anything does.
static void journal_mend(struct fix *x)
{
	for (u64 s = 0; s < PTFS_JOURNAL_SLOTS; s++) {
		u64 off = x->fs->journal_off + s * PTFS_JOURNAL_SLOT_BYTES;

		if (ptfs_loadable(x->fs, off, PTFS_JOURNAL_SLOT_BYTES))
			continue;
		fix_found(x, "journal slot that cannot be read: slot", 0, s, 0);
		fix_begin(x);
		x->result->written = true;
		pmem_memset_nt(ptfs_pa(x->fs, off), 0, PTFS_JOURNAL_SLOT_BYTES);
		pmem_fence();
	}
}

// What the bitmap of a clean image says against what was claimed.
static void bitmap_compare(struct fix *x)
{
	struct ptfs_fs *fs = x->fs;
	u64 leaked = 0, missing = 0, live = 0;

	ptfs_bad_load(fs); // those are in use, and nobody's
	for (u64 off = 0; off < fs->region.bytes; off += PTFS_BLOCK) {
		u64 nr = off >> PTFS_CHUNK_SHIFT;
		unsigned b = ptfs_block_index(off);
		const u8 *map =
			ptfs_at(fs, fs->snapshot_off + PTFS_BLOCK + nr * PTFS_BITMAP_BYTES + b / 8,
				1);
		bool used = x->type[nr] != PTFS_CHUNK_FREE && (*map >> b % 8 & 1);

		leaked += used && !fix_is_claimed(x, off) && !ptfs_is_bad(fs, off, PTFS_BLOCK);
		missing += !used && fix_is_claimed(x, off);
	}
	for (size_t i = 0; i < x->iblocks; i++)
		for (unsigned k = 0; k < PTFS_INODES_PER_BLOCK; k++)
			live += x->iblock[i].node[k].mode != 0;
	if (leaked)
		fix_found(x, "blocks in use by the bitmap that nothing names: number", 0, leaked,
			  0);
	if (missing)
		fix_found(x, "blocks in use that the bitmap calls free: number", 0, missing, 0);
	if (live != ptfs_word(fs, fs->snapshot_off + offsetof(struct ptfs_snapshot, inodes)))
		fix_found(x, "inodes in use that the snapshot did not count: are", 0, live, 0);
	if (leaked || missing || x->result->found)
		fix_begin(x);
}

static int open_bare(struct fix *x)
{
	struct ptfs_fs *fs;
	int err = ptfs_mount_bare(x->region, "fsck", &x->fs);

	if (err)
		return err;
	fs = x->fs;
	x->type = calloc(fs->chunks, 1);
	x->claimed = calloc(fs->chunks, PTFS_BITMAP_BYTES);
	if (!x->type || !x->claimed)
		return -ENOMEM;
	fix_claim(x, 0, fs->system_bytes >> PTFS_BLOCK_SHIFT);
	return 0;
}

static int tables_and_names(struct fix *x)
{
	struct ptfs_fs *fs = x->fs;
	int err = ptfs_alloc_init(fs);

	if (err)
		return err;
	x->result->was_clean = !x->changed && ptfs_snapshot_valid(fs) && !ptfs_journal_open(fs);
	journal_look(x);
	if (ptfs_journal_open(fs)) {
		fix_begin(x);
		ptfs_journal_recover(fs);
	}
	journal_mend(x);
	fix_itable_claim(x);
	fix_inodes(x);
	fix_dups(x);
	fix_itable_write(x);
	if (x->err)
		return x->err;
	fix_names(x);
	fix_links(x);
	if (!x->err && x->result->was_clean)
		bitmap_compare(x);
	return x->err;
}

// The bitmap, and what lost its name. An unclean image is recovered by the same mount.
static int rebuild(struct fix *x)
{
	struct ptfs_fs *fs;
	int err;

	fix_progress(x, 6, 0, 1);
	err = ptfs_mount(x->region, "fsck", PTFS_MOUNT_SCAN, &fs);
	if (err)
		return err;
	x->result->written = true;
	err = fix_lost_found(x, fs);
	if (!err)
		err = ptfs_unmount(fs);
	else
		ptfs_abandon(fs);
	fix_progress(x, 6, 1, 1);
	return err;
}

int ptfs_repair(struct ptfs_region *r, const struct repair_options *o, struct repair_result *result)
{
	struct fix x = { .region = r, .o = o, .result = result };
	int err;

	*result = (struct repair_result){ 0 };
	err = fix_super(&x);
	if (!err)
		err = open_bare(&x);
	if (!err)
		err = fix_types(&x);
	if (!err)
		err = tables_and_names(&x);
	if (x.fs)
		ptfs_abandon(x.fs);
	if (!err && (x.changed || !result->was_clean))
		err = rebuild(&x);
	free(x.type);
	free(x.claimed);
	free(x.dup);
	free(x.iblock);
	return err;
}
