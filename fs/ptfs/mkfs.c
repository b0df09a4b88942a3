// SPDX-License-Identifier: MIT
//
// What: an empty file system: system area, first block of the inode table, root directory.
// Not here: filling it (user/ptfs/mkfs_main.c uses the ordinary operations).
//
// Everything is written with the bits of a mounted file system, and the superblock's first word
// last, so an interrupted mkfs leaves no image rather than half of one.
#include "fs/ptfs/ptfs_internal.h"

// Where the first chunks go; chunk 0 up to the end of the system area is META.
struct plan {
	u64 inode_chunk, table_chunk; // numbers
	struct ptfs_super s;
};

static void zero_range(const struct ptfs_region *r, u64 off, u64 len)
{
	const u8 *view = r->view;

	for (u64 end = off + len; off < end; off += PTFS_BLOCK) {
		const u64 *p = (const void *)(view + off);
		u64 any = 0;

		for (unsigned i = 0; i < PTFS_BLOCK / 8; i++)
			any |= p[i];
		if (any)
			pmem_memset_nt(PHYS(r->base.pa + off), 0, PTFS_BLOCK);
	}
}

static void put(const struct ptfs_region *r, u64 off, const void *src, size_t len)
{
	pmem_memcpy_nt(PHYS(r->base.pa + off), src, len);
}

static void put_types(const struct ptfs_region *r, const struct plan *p)
{
	u64 map = le64(p->s.chunk_map_off);

	for (u64 nr = 0; nr <= p->table_chunk; nr++) {
		u8 type = nr == p->table_chunk   ? PTFS_CHUNK_TABLE
			  : nr == p->inode_chunk ? PTFS_CHUNK_INODE
						 : PTFS_CHUNK_META;

		put(r, map + nr, &type, 1);
	}
}

// The bitmaps are those of the chunks that are not FREE: all of the system area, and one block each
// for inodes and tables.
static void put_snapshot(const struct ptfs_region *r, const struct plan *p)
{
	struct ptfs_snapshot snap = { .magic = LE64(PTFS_SNAPSHOT_MAGIC),
				      .generation = p->s.generation,
				      .chunks = p->s.chunks,
				      .inode_hint = LE64(PTFS_INO_ROOT + 1),
				      .inodes = LE64(1) };
	u64 at = le64(p->s.snapshot_off);
	u64 system = le64(p->s.system_bytes) >> PTFS_BLOCK_SHIFT;
	u32 crc = 0;

	for (u64 nr = 0; nr <= p->table_chunk; nr++) {
		u8 map[PTFS_BITMAP_BYTES] = { 0 };
		u64 first = nr * PTFS_CHUNK_BLOCKS;

		for (u64 b = 0; b < PTFS_CHUNK_BLOCKS; b++)
			if (first + b < system || (nr >= p->inode_chunk && !b))
				map[b / 8] |= (u8)BIT(b % 8);
		crc = crc32c(crc, map, sizeof(map));
		put(r, at + PTFS_BLOCK + nr * PTFS_BITMAP_BYTES, map, sizeof(map));
	}
	snap.data_crc = LE32(crc);
	snap.crc = LE32(crc32c(0, &snap, PTFS_SNAPSHOT_CRC_BYTES));
	snap.clean = p->s.generation;
	put(r, at, &snap, sizeof(snap));
}

static void put_root(const struct ptfs_region *r, const struct plan *p)
{
	u64 inodes = p->inode_chunk << PTFS_CHUNK_SHIFT;
	u64 table = p->table_chunk << PTFS_CHUNK_SHIFT;
	u64 now = ptfs_time_ns();
	le64_t entry =
		LE64((r->base.pa + inodes) | PTFS_E_LEAF | PTFS_E_P | 1ull << PTFS_E_TAG_SHIFT);
	struct ptfs_dinode d = {
		.magic = LE32(PTFS_INODE_MAGIC),
		.ino = LE64(PTFS_INO_ROOT),
		.generation = p->s.generation,
		.created_ns = LE64(now),
		.mode_links = LE64((u64)2 << 32 | PTFS_S_IFDIR | 0755),
		.atime_ns = LE64(now),
		.mtime_ns = LE64(now),
		.ctime_ns = LE64(now),
		.parent = LE64(PTFS_INO_ROOT),
	};

	d.crc = LE32(crc32c(0, (const u8 *)&d + PTFS_INODE_CRC_FROM,
			    PTFS_INODE_CRC_TO - PTFS_INODE_CRC_FROM));
	zero_range(r, inodes, PTFS_BLOCK);
	zero_range(r, table, PTFS_BLOCK);
	put(r, inodes + PTFS_INO_ROOT * PTFS_INODE_BYTES, &d, sizeof(d));
	put(r, table, &entry, sizeof(entry));
}

int ptfs_format(const struct ptfs_region *r, const struct ptfs_format_options *o)
{
	u64 chunks = min(r->bytes >> PTFS_CHUNK_SHIFT, PTFS_CHUNKS_MAX);
	struct plan p;

	if (r->read_only || !IS_ALIGNED(r->base.pa, PTFS_CHUNK) || !r->base.pa ||
	    chunks < PTFS_CHUNKS_MIN)
		return -EINVAL;
	ptfs_layout(&p.s, chunks);
	p.inode_chunk = DIV_ROUND_UP(le64(p.s.system_bytes), PTFS_CHUNK);
	p.table_chunk = p.inode_chunk + 1;
	memcpy(p.s.uuid, o->uuid, sizeof(p.s.uuid));
	memcpy(p.s.label, o->label, sizeof(p.s.label));
	p.s.created_ns = LE64(ptfs_time_ns());
	p.s.crc = LE32(crc32c(0, &p.s, PTFS_SUPER_CRC_BYTES));
	p.s.generation = LE64(1);
	p.s.base_current = LE64(1);
	p.s.base[1] = LE64(ptfs_base_encode(r->base.pa, 1));
	p.s.itable_root =
		LE64(ptfs_root_make((r->base.pa + (p.table_chunk << PTFS_CHUNK_SHIFT)) |
					    PTFS_E_TABLE | PTFS_E_P | 1ull << PTFS_E_TAG_SHIFT,
				    PT_PMD));
	zero_range(r, 0, le64(p.s.system_bytes));
	pmem_fence();
	put_types(r, &p);
	put_snapshot(r, &p);
	put_root(r, &p);
	put(r, le64(p.s.copy_off), &p.s, sizeof(p.s));
	put(r, 8, (const u8 *)&p.s + 8, sizeof(p.s) - 8);
	pmem_fence();
	put(r, 0, &p.s.magic, 8);
	pmem_fence();
	return 0;
}
