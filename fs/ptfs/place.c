// SPDX-License-Identifier: MIT
//
// What: where the next block of a file should lie, so that 512 of them can become one 2 MiB leaf,
// and the next leaf, so that 512 of them can be mapped as 1 GiB (mm/vmobject.c, vm_gib_leaf).
// Not here: taking it (alloc.c), making the leaf (merge.c).
//
//      file    | .. 511 | 512 | 513 | ..           behind its neighbour, while that place is free
//                   |      |     |
//      chunks  ..[511]   [0]-->[1]--> ..           at a multiple of 2 MiB that the file grows into:
//              |_______| |_____________            the first block of a fresh chunk, which is held
//              chunk a    chunk b                  for it against others
//
// A chunk lies behind the chunk before it. At each GiB of a large file, where one begins in
// physical memory: a mapping's leaf of 1 GiB needs both aligned. (At another base, unless that is
// congruent modulo 1 GiB, the file has 2 MiB leaves.)
//
// It is a wish only: who does not get the place takes any block. A chunk is held when a file that
// has a block before the 2 MiB boundary goes on behind it: a file with one block here and there
// takes none, and neither does a small one.
//
// Trust: the neighbour's entry stands in a verified page; it is decoded like any other all the
// same.
#include "fs/ptfs/ptfs_internal.h"

static u64 neighbour(const struct ptfs_inode *ip, u64 slot)
{
	u64 e = ptfs_word(ip->fs, slot), off;
	struct ptfs_ref ref;

	if (likely(ptfs_leaf_current(ip->fs, e, &off)))
		return off;
	return e && !ptfs_entry_decode(ip->fs, e, PT_PTE, &ref) ? ref.off : PTFS_NOTHING;
}

// `nr` words stand around `slot`, which is number i of them.
static u64 beside(const struct ptfs_inode *ip, u64 slot, unsigned i, unsigned nr)
{
	u64 off = i ? neighbour(ip, slot - 8) : PTFS_NOTHING;

	if (off != PTFS_NOTHING)
		return ptfs_block_index(off) + 1 < PTFS_CHUNK_BLOCKS ? off + PTFS_BLOCK
								     : PTFS_NOTHING;
	off = i + 1 < nr ? neighbour(ip, slot + 8) : PTFS_NOTHING;
	return off != PTFS_NOTHING && ptfs_block_index(off) ? off - PTFS_BLOCK : PTFS_NOTHING;
}

u64 ptfs_place_chunk(struct ptfs_inode *ip, u64 block)
{
	u64 at = block << PTFS_BLOCK_SHIFT, goal = PTFS_NOTHING;
	u64 bytes = max(ptfs_size(ip), __atomic_load_n(&ip->ahead, __ATOMIC_RELAXED));
	struct ptfs_extent x;

	// How large it is going to be may not be known. Where its second GiB begins it is large.
	if (IS_ALIGNED(at, PUD_SIZE) && (at || bytes >= PUD_SIZE))
		goal = ptfs_chunk_gib(ip->fs);
	if (goal == PTFS_NOTHING && block && !ptfs_map_extent(ip, block - 1, 1, &x) && !x.hole &&
	    IS_ALIGNED(x.off + PTFS_BLOCK, PTFS_CHUNK))
		goal = x.off + PTFS_BLOCK;
	return goal;
}

static u64 fresh(struct ptfs_inode *ip, u64 block, bool zeros)
{
	struct ptfs_extent x;

	if (ptfs_map_extent(ip, block - 1, 1, &x) || x.hole)
		return PTFS_NOTHING;
	return ptfs_chunk_hold(ip->fs, ptfs_place_chunk(ip, block), zeros);
}

int ptfs_place_block(struct ptfs_inode *ip, u64 block, u64 slot, bool in_inode, bool zeros,
		     struct ptfs_new *out)
{
	unsigned i = block % PT_ENTRIES;
	u64 goal = PTFS_NOTHING;

	if (ip->leaf_type == PTFS_CHUNK_DATA) {
		goal = beside(ip, slot, i, in_inode ? PTFS_DIRECT : PT_ENTRIES);
		if (!i && block && goal == PTFS_NOTHING)
			goal = fresh(ip, block, zeros);
	}
	return ptfs_block_take(ip->fs, ip->leaf_type, goal, zeros, out);
}
