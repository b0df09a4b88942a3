// SPDX-License-Identifier: MIT
//
// What: truncate and fallocate, its holes and zeros too: sizes and blocks that change without data.
// Not here: taking blocks out of the tree (shrink.c), closing the gap (collapse.c).
//
// Bytes at or beyond the size are never trusted. Who moves the size up makes them zero first. Those
// in a block that has failed (mend.c) stay what they are: nobody can read them. So a truncate into
// such a block succeeds; what is left of it is as lost as it was.
// Locking: mapping lock exclusively, then the inode lock.
// Persistence
//   down  size; fence; zeros behind it; entries; free
//   up    zeros in what exists of [old, new); fence; size
//   PREALLOC is durable before blocks are published beyond EOF for good; without it recovery frees
//   them, and that is also how a failed fallocate cleans up.
#include "fs/ptfs/ptfs_internal.h"

static int regular_check(const struct ptfs_inode *ip)
{
	if (ptfs_is(ip, PTFS_S_IFDIR))
		return -EISDIR;
	if (!ptfs_is(ip, PTFS_S_IFREG))
		return -EINVAL;
	return ip->bad;
}

// Not fenced: a block that is published later is fenced before its entry is stored, and the flags
// with it. A flag that outlives a truncate only keeps recovery from looking behind EOF, where
// nothing is.
static void flags_set(struct ptfs_inode *ip, u64 flags)
{
	if (ip->flags == flags)
		return;
	ip->flags = flags;
	ptfs_store8_flush(ip->fs, PTFS_FIELD(ip, flags), flags);
}

// The rest of the leaf that the new end falls into; what follows is cut off.
static int zero_tail(struct ptfs_inode *ip, u64 size)
{
	u64 skip = size & (PTFS_BLOCK - 1);
	struct ptfs_extent x;
	u64 len;
	int err = ptfs_map_extent(ip, size >> PTFS_BLOCK_SHIFT, 1, &x);

	if (err || x.hole)
		return err;
	len = (x.level == PT_PMD ? x.blocks : 1) * PTFS_BLOCK - skip;
	// A leaf that begins at the new end goes as a whole.
	if (x.level == PT_PMD ? IS_ALIGNED(size, PTFS_CHUNK) : !skip)
		return 0;
	ptfs_zero_data(ip->fs, x.off + skip, len);
	return 0;
}

static int truncate_down(struct ptfs_inode *ip, u64 size)
{
	u64 from = ALIGN_UP(size, PTFS_BLOCK);
	struct ptfs_extent x;
	int err;

	// Decode first: both walks below go where these go.
	err = ptfs_map_extent(ip, size >> PTFS_BLOCK_SHIFT, 1, &x);
	if (!err)
		err = ptfs_map_extent(ip, from >> PTFS_BLOCK_SHIFT, 1, &x);
	if (err && size)
		return err;
	// Without a table page to be had a 2 MiB leaf stays as a whole, and becomes zero behind the
	// end.
	err = ptfs_map_part(ip, from);
	if (err && err != -ENOSPC && err != -ENOMEM && size)
		return err;
	if (size != ip->size) // else only what was kept behind the end goes
		ptfs_times_set(ip, true);
	ptfs_size_set(ip, size);
	// The zeros need no fence of their own: a crash before they are durable leaves bytes behind
	// EOF, and the scan makes them zero.
	err = size ? zero_tail(ip, size) : 0;
	if (!err)
		err = ptfs_map_cut(ip, from);
	if (!err)
		flags_set(ip, ip->flags & ~PTFS_INODE_PREALLOC);
	return err;
}

static int truncate_up(struct ptfs_inode *ip, u64 size)
{
	int err = ptfs_zero_existing(ip, ip->size, ALIGN_UP(size, PTFS_BLOCK));

	if (err)
		return err;
	ptfs_times_set(ip, true);
	ptfs_fence(ip->fs);
	ptfs_size_set(ip, size);
	return 0;
}

int ptfs_truncate(struct ptfs_inode *ip, u64 size)
{
	int err = regular_check(ip);

	if (!err && size > PTFS_FILE_MAX)
		err = -EFBIG;
	if (!err)
		err = ptfs_dirty(ip->fs);
	if (err)
		return err;
	ptfs_map_lock(&ip->home);
	ptfs_mutex_lock(&ip->lock);
	if (size < ip->size || (size == ip->size && (ip->flags & PTFS_INODE_PREALLOC)))
		err = truncate_down(ip, size);
	else if (size > ip->size)
		err = truncate_up(ip, size);
	ptfs_mutex_unlock(&ip->lock);
	ptfs_map_unlock(&ip->home);
	return err;
}

// Blocks for every hole of [block, end). What is there already and lies beyond EOF becomes zeros if
// the size is going to move.
static int fill_holes(struct ptfs_inode *ip, u64 block, u64 end, bool keep_size)
{
	u64 eof = DIV_ROUND_UP(ip->size, PTFS_BLOCK);

	while (block < end) {
		struct ptfs_extent x;
		int err = ptfs_map_extent(ip, block, end - block, &x);

		if (err)
			return err;
		if (!x.hole) {
			u64 from = max(block, eof) << PTFS_BLOCK_SHIFT;
			u64 to = min(block + x.blocks, end) << PTFS_BLOCK_SHIFT;

			err = keep_size ? 0 : ptfs_zero_existing(ip, from, to);
			if (err)
				return err;
			block += x.blocks;
			continue;
		}
		err = -ENOSPC;
		if (ptfs_chunk_fits(block, end - block, &x))
			err = ptfs_map_zeroed(ip, block, PT_PMD);
		if (!err) {
			block += PTFS_CHUNK_BLOCKS;
			continue;
		}
		// No whole chunk, or an empty table page where its leaf would stand.
		if (err == -ENOSPC || err == -EEXIST)
			err = ptfs_map_zeroed(ip, block, PT_PTE);
		if (err && err != -EEXIST)
			return err;
		block += !err;
	}
	return 0;
}

static int fallocate_locked(struct ptfs_inode *ip, u64 off, u64 end, bool keep_size)
{
	u64 flags = ip->flags;
	int err = 0;

	__atomic_store_n(&ip->ahead, end, __ATOMIC_RELAXED);
	if (keep_size && end > ip->size)
		flags_set(ip, flags | PTFS_INODE_PREALLOC);
	// What the range does not touch, too: the size uncovers it, and behind EOF anything may
	// stand (a crash inside a truncate of a file with PREALLOC, stores through an attached
	// mapping).
	if (!keep_size && end > ip->size)
		err = ptfs_zero_existing(ip, ip->size, max(ALIGN_UP(ip->size, PTFS_BLOCK), off));
	if (!err)
		err = fill_holes(ip, off >> PTFS_BLOCK_SHIFT, DIV_ROUND_UP(end, PTFS_BLOCK),
				 keep_size);
	if (err && end > ip->size && !(flags & PTFS_INODE_PREALLOC) &&
	    !ptfs_map_cut(ip, ALIGN_UP(ip->size, PTFS_BLOCK)))
		flags_set(ip, flags);
	if (err)
		return err;
	ptfs_times_set(ip, true);
	ptfs_fence(ip->fs);
	if (!keep_size && end > ip->size)
		ptfs_size_set(ip, end);
	return 0;
}

// A 2 MiB leaf may reach beyond EOF, and may have been taken apart just now; small blocks may not
// stay there. A crash before this: recovery does it.
static int beyond_eof_free(struct ptfs_inode *ip)
{
	if (ip->flags & PTFS_INODE_PREALLOC)
		return 0;
	return ptfs_map_cut(ip, ALIGN_UP(ip->size, PTFS_BLOCK));
}

// The zeros lie in blocks that stay; what goes as a whole goes through the one way out.
static int punch_locked(struct ptfs_inode *ip, u64 off, u64 end)
{
	u64 first = ALIGN_UP(off, PTFS_BLOCK), last = ALIGN_DOWN(end, PTFS_BLOCK);
	int err;

	if (first >= last) {
		err = ptfs_mend_zero(ip, off, end);
		if (!err)
			err = ptfs_zero_existing(ip, off, end);
	} else {
		err = ptfs_mend_zero(ip, off, first);
		if (!err)
			err = ptfs_mend_zero(ip, last, end);
		if (!err)
			err = ptfs_zero_existing(ip, off, first);
		if (!err)
			err = ptfs_zero_existing(ip, last, end);
		if (!err)
			err = ptfs_map_punch(ip, first, last);
		if (!err)
			err = beyond_eof_free(ip);
	}
	ptfs_times_set(ip, true);
	ptfs_fence(ip->fs);
	return err;
}

// Holes first, and blocks that have failed: that is what can fail. Zeros that were there before
// need no allocation.
static int zero_locked(struct ptfs_inode *ip, u64 off, u64 end, bool keep_size)
{
	int err = ptfs_mend_zero(ip, off, end);

	if (!err)
		err = fallocate_locked(ip, off, end, keep_size);
	if (!err)
		err = ptfs_zero_existing(ip, off, end);
	ptfs_fence(ip->fs);
	return err;
}

static int collapse_locked(struct ptfs_inode *ip, u64 off, u64 end)
{
	int err;

	if (!IS_ALIGNED(off, PTFS_BLOCK) || !IS_ALIGNED(end, PTFS_BLOCK) || end >= ip->size)
		return -EINVAL;
	err = ptfs_map_collapse(ip, off, end - off);
	return err ? err : beyond_eof_free(ip);
}

enum range_kind { FILL, FILL_KEEP, PUNCH, ZERO, ZERO_KEEP, COLLAPSE };

static int range_locked(struct ptfs_inode *ip, enum range_kind kind, u64 off, u64 end)
{
	switch (kind) {
	case FILL:
	case FILL_KEEP: return fallocate_locked(ip, off, end, kind == FILL_KEEP);
	case PUNCH: return punch_locked(ip, off, end);
	case ZERO:
	case ZERO_KEEP: return zero_locked(ip, off, end, kind == ZERO_KEEP);
	case COLLAPSE: return collapse_locked(ip, off, end);
	}
	return -EINVAL;
}

static int range_call(struct ptfs_inode *ip, enum range_kind kind, u64 off, u64 len)
{
	int err = regular_check(ip);

	if (!err && !len)
		err = -EINVAL;
	if (!err && (off > PTFS_FILE_MAX || len > PTFS_FILE_MAX - off))
		err = -EFBIG;
	if (!err)
		err = ptfs_dirty(ip->fs);
	if (err)
		return err;
	ptfs_map_lock(&ip->home);
	ptfs_mutex_lock(&ip->lock);
	err = range_locked(ip, kind, off, off + len);
	ptfs_mutex_unlock(&ip->lock);
	ptfs_map_unlock(&ip->home);
	ptfs_merge(ip);
	return err;
}

int ptfs_fallocate(struct ptfs_inode *ip, u64 off, u64 len, bool keep_size)
{
	return range_call(ip, keep_size ? FILL_KEEP : FILL, off, len);
}

int ptfs_punch(struct ptfs_inode *ip, u64 off, u64 len)
{
	return range_call(ip, PUNCH, off, len);
}

int ptfs_zero_range(struct ptfs_inode *ip, u64 off, u64 len, bool keep_size)
{
	return range_call(ip, keep_size ? ZERO_KEEP : ZERO, off, len);
}

int ptfs_collapse(struct ptfs_inode *ip, u64 off, u64 len)
{
	return range_call(ip, COLLAPSE, off, len);
}
