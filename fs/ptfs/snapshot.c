// SPDX-License-Identifier: MIT
//
// What: the allocation bitmap that a clean unmount leaves on the medium, so that mounting needs no
// scan.
// Not here: the clean mark (super.c).
//
// Trust: the snapshot is a hint about free space, not about ownership. If it lies, a block may be
// handed out that a stored table names too; then that table is refused when it is verified. FREE
// chunks are neither written nor read, so an image that is mostly empty stays sparse.
#include "fs/ptfs/ptfs_internal.h"

static u64 bitmap_off(const struct ptfs_fs *fs, u64 chunk)
{
	return fs->snapshot_off + PTFS_BLOCK + chunk * PTFS_BITMAP_BYTES;
}

bool ptfs_snapshot_valid(const struct ptfs_fs *fs)
{
	struct ptfs_snapshot s;
	u32 crc = 0;

	ptfs_copy_out(fs, &s, fs->snapshot_off, sizeof(s));
	if (le64(s.magic) != PTFS_SNAPSHOT_MAGIC || le64(s.generation) != fs->generation ||
	    le64(s.clean) != fs->generation || le64(s.chunks) != fs->chunks ||
	    le32_get(s.crc) != crc32c(0, &s, PTFS_SNAPSHOT_CRC_BYTES))
		return false;
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		u8 map[PTFS_BITMAP_BYTES];

		if (ptfs_chunk_nr(fs, nr)->type == PTFS_CHUNK_FREE)
			continue;
		ptfs_copy_out(fs, map, bitmap_off(fs, nr), sizeof(map));
		crc = crc32c(crc, map, sizeof(map));
	}
	return crc == le32_get(s.data_crc);
}

void ptfs_snapshot_load(struct ptfs_fs *fs)
{
	struct ptfs_snapshot s;

	ptfs_copy_out(fs, &s, fs->snapshot_off, sizeof(s));
	fs->inode_cursor =
		min(le64(s.inode_hint), PTFS_FILE_MAX / PTFS_INODE_BYTES) / PTFS_INODES_PER_BLOCK;
	fs->inodes = le64(s.inodes);
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);
		le64_t stored[PTFS_BITMAP_BYTES / 8];
		u64 map[ARRAY_SIZE(stored)];

		if (c->type == PTFS_CHUNK_FREE)
			continue;
		// As ptfs_snapshot_valid has seen it. What cannot be loaded is in use.
		ptfs_copy_out(fs, stored, bitmap_off(fs, nr), sizeof(stored));
		for (unsigned w = 0; w < ARRAY_SIZE(map); w++)
			map[w] = le64(stored[w]);
		ptfs_use_map(fs, c, map);
	}
}

// No inode below this number is free.
static u64 inode_hint(struct ptfs_fs *fs)
{
	u64 hint = fs->inode_cursor * PTFS_INODES_PER_BLOCK;

	for (u64 i = 0; i < fs->free_count; i++)
		hint = min(hint, *(u64 *)ptfs_segs_at(&fs->free_inodes, i, sizeof(u64)));
	return hint;
}

void ptfs_snapshot_store(struct ptfs_fs *fs)
{
	struct ptfs_snapshot s = { .magic = LE64(PTFS_SNAPSHOT_MAGIC),
				   .generation = LE64(fs->generation),
				   .chunks = LE64(fs->chunks),
				   .inode_hint = LE64(inode_hint(fs)),
				   .inodes = LE64(fs->inodes) };
	u32 crc = 0;

	ptfs_alloc_release(fs);
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);
		le64_t map[PTFS_BITMAP_BYTES / 8];

		if (c->type == PTFS_CHUNK_FREE)
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
			map[i] = LE64(c->used_map[i]);
		ptfs_copy_nt(fs, bitmap_off(fs, nr), map, sizeof(map));
		crc = crc32c(crc, map, sizeof(map));
	}
	s.data_crc = LE32(crc);
	s.crc = LE32(crc32c(0, &s, PTFS_SNAPSHOT_CRC_BYTES));
	ptfs_copy_nt(fs, fs->snapshot_off, &s, sizeof(s)); // fenced before the clean mark is set
}
