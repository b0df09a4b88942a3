// SPDX-License-Identifier: MIT
//
// What: a block whose memory has failed leaves its file, and a new one with new contents takes its
// place: for who overwrites all of it.
// Not here: who does (file.c, falloc.c), holes in its place (shrink.c), what keeps the old block
// from being used again (alloc.c).
//
//      entry    bad block  --one store-->  new block, P = 0  --fence, revoke-->  P = 1
//
// Invariants
//   I1  what is lost is never passed off as zeros: from the bad block the entry goes to the new one
//       without a hole between, and a crash shows the bad block or all of the new contents
//   I2  only who replaces every byte that the file has in the block may do that (ptfs_mend_covers);
//       for who has a part of it the call fails, and the block stays
//   I3  as wherever a block is published, nobody sees the new one before it and its entry are
//       durable: the MMU does not follow P = 0, and faults and readers wait for the mapping lock
// Locking: the mapping lock exclusively, inode lock.
// Persistence: contents, fence; entry with P = 0, flush, fence (ptfs_gone_finish); P.
// Failure: no space for the block, or for the table page that a 2 MiB leaf is split into: -ENOSPC
// and -ENOMEM. A page of the caller's that is not there: -EFAULT. The bad block is still in place.
#include "fs/ptfs/ptfs_internal.h"

bool ptfs_mend_covers(const struct ptfs_inode *ip, u64 from, u64 end)
{
	u64 start = ALIGN_DOWN(from, PTFS_BLOCK);
	u64 kept = min(ip->size, start + PTFS_BLOCK); // behind the size nothing is

	return kept <= start || (from == start && end >= kept);
}

// Where the 4 KiB entry of `block` stands: there is one.
static int slot_of(struct ptfs_inode *ip, u64 block, u64 *slot)
{
	struct ptfs_walk w;

	*slot = PTFS_FIELD(ip, direct) + 8 * block;
	if (!ptfs_walk_init(&w, ip))
		return 0;
	pt_cursor_descend(&w.c, block << PTFS_BLOCK_SHIFT, PT_PTE);
	if (w.err)
		return w.err;
	ptfs_assert(w.c.level == PT_PTE);
	*slot = ptfs_walk_slot(&w);
	return 0;
}

// All bytes or none: the caller comes again for the same ones.
static int fill(struct ptfs_fs *fs, const struct ptfs_new *b, struct ptfs_iter *from, u64 skip,
		u64 len)
{
	struct ptfs_iter start;

	if (len) {
		start = *from;
		if (ptfs_iter_to_medium(from, ptfs_pa(fs, b->off + skip), len) < len) {
			*from = start;
			return -EFAULT;
		}
	}
	ptfs_zero_new(fs, b, 0, skip);
	ptfs_zero_new(fs, b, skip + len, PTFS_BLOCK - skip - len);
	return 0;
}

static void replace(struct ptfs_inode *ip, u64 block, u64 slot, u64 old, u64 new)
{
	struct ptfs_fs *fs = ip->fs;
	u64 va = block << PTFS_BLOCK_SHIFT, e = ptfs_entry_leaf(fs, new, PT_PTE);
	struct ptfs_gone g;

	ptfs_map_forget(ip); // and that the file has a bad block
	ptfs_fence(fs);      // I1: the contents
	ptfs_gone_init(&g, ip);
	ptfs_gone_revoke(&g, va, va + PTFS_BLOCK);
	ptfs_store8_flush(fs, slot, e & ~PTFS_E_P);
	ptfs_entry_changed(ip, slot);
	ptfs_gone_add(&g, old, 1);
	ptfs_gone_finish(&g); // I3: the entry
	ptfs_store8(fs, slot, e);
	ptfs_entry_changed(ip, slot);
}

int ptfs_mend(struct ptfs_inode *ip, u64 block, struct ptfs_iter *from, u64 skip, u64 len)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_extent x;
	struct ptfs_new b;
	u64 slot;
	int err = ptfs_map_extent(ip, block, 1, &x);

	if (!err && x.level == PT_PMD)
		err = ptfs_map_split(ip, block);
	if (!err)
		err = slot_of(ip, block, &slot);
	if (!err)
		err = ptfs_block_take(fs, PTFS_CHUNK_DATA, PTFS_NOTHING, len < PTFS_BLOCK, &b);
	if (err)
		return err;
	err = fill(fs, &b, from, skip, len);
	if (err)
		ptfs_block_free(fs, b.off);
	else
		replace(ip, block, slot, x.off, b.off);
	return err;
}

int ptfs_mend_zero(struct ptfs_inode *ip, u64 from, u64 end)
{
	while (unlikely(ptfs_bad_count()) && from < end) {
		u64 block = from >> PTFS_BLOCK_SHIFT, skip = from & (PTFS_BLOCK - 1), n;
		struct ptfs_extent x;
		int err = ptfs_map_extent(ip, block, ptfs_blocks_touched(skip, end - from), &x);

		if (err)
			return err;
		n = min(end - from, x.blocks * PTFS_BLOCK - skip);
		if (!x.hole)
			n = ptfs_before_bad(ip->fs, x.off + skip, n);
		if (!n) {
			if (!ptfs_mend_covers(ip, from, end))
				return -EIO;
			err = ptfs_mend(ip, block, NULL, 0, 0);
			if (err)
				return err;
			n = PTFS_BLOCK - skip;
		}
		from += n;
	}
	return 0;
}
