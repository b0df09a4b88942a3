// SPDX-License-Identifier: MIT
//
// What: zeros. New blocks are made zero here unless they are known to be, and free blocks are made
// zero ahead of their use, a bounded amount of work a call.
// Not here: when that is done and at which rate (the home's thread), which block is taken
// (alloc.c).
//
//      has rested, or    --ptfs_prezero-->   known to   --taken, zeros wanted-->  as it is
//      never looked at                       be zero    --taken, to be filled-->  filled
//
// A free block is named nowhere and revoked everywhere, so nobody can see or disturb the zeroing.
//
// Invariant: A6 (space.h): the bit is set after the fence that makes the zeros durable.
// Locking: the chunk's lock is held while one block is looked at, so that nobody takes it meanwhile
// and it still counts as free; who wants a block of that chunk waits for 4 KiB at most.
// Persistence: nothing is written before the clean mark is cleared: a mount that changes nothing
// leaves the image as it found it.
#include "fs/ptfs/ptfs_internal.h"

// What looking at a chunk costs that has nothing to do, in bytes of zeroing.
#define LOOK_BYTES 512u

void ptfs_zero_new(struct ptfs_fs *fs, const struct ptfs_new *b, u64 skip, u64 len)
{
	if (!len)
		return;
	if (b->zero) {
		ptfs_count(PTFS_STAT_ZERO_READY, ptfs_blocks_touched(0, len));
		return;
	}
	ptfs_zero(fs, b->off + skip, len);
	ptfs_count(PTFS_STAT_ZERO_ALLOC, ptfs_blocks_touched(0, len));
}

static bool block_is_zero(const struct ptfs_fs *fs, u64 off)
{
	const u64 *p = ptfs_at(fs, off, PTFS_BLOCK);

	for (unsigned i = 0; i < PTFS_BLOCK / 8; i += 8)
		if (media_any8(p + i))
			return false;
	return true;
}

// An unused block that may hold anything; PTFS_CHUNK_BLOCKS: there is none. Chunk's lock held.
static unsigned find_dirty(const struct ptfs_chunk *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->used_map); i++) {
		u64 m = ~(c->used_map[i] | c->zero_map[i]);

		if (m)
			return i * 64 + (unsigned)__builtin_ctzll(m);
	}
	return PTFS_CHUNK_BLOCKS;
}

// False: there was nothing to do. Blocks that read as zero are written back all the same, for the
// medium may differ below the cache (ptfs_zero).
static bool zero_one(struct ptfs_fs *fs, struct ptfs_chunk *c)
{
	unsigned block;

	ptfs_mutex_lock(&c->lock);
	block = find_dirty(c);
	if (block < PTFS_CHUNK_BLOCKS) {
		u64 off = ptfs_block_off(c, block);
		bool found = !ptfs_is_bad(fs, off, PTFS_BLOCK) && block_is_zero(fs, off);

		if (!found)
			ptfs_bad_update();
		if (ptfs_is_bad(fs, off, PTFS_BLOCK)) {
			// Not to be read; who takes it sees that it is bad, and leaves it alone.
			c->zero_map[block / 64] |= BIT(block % 64);
			c->zeroed++;
			ptfs_mutex_unlock(&c->lock);
			return true;
		}
		ptfs_zero(fs, off, PTFS_BLOCK);
		ptfs_fence(fs);
		c->zero_map[block / 64] |= BIT(block % 64);
		c->zeroed++;
		ptfs_count(found ? PTFS_STAT_ZERO_FOUND : PTFS_STAT_ZERO_BACKGROUND, 1);
	}
	ptfs_mutex_unlock(&c->lock);
	return block < PTFS_CHUNK_BLOCKS;
}

static u64 zero_chunk(struct ptfs_fs *fs, struct ptfs_chunk *c, u64 bytes)
{
	u64 spent = LOOK_BYTES;
	bool any = false;

	while (spent < bytes && zero_one(fs, c)) {
		spent += PTFS_BLOCK;
		any = true;
	}
	if (!any)
		return spent;
	ptfs_mutex_lock(&fs->alloc_lock);
	ptfs_mutex_lock(&c->lock);
	ptfs_chunk_relist(fs, c); // A5
	ptfs_mutex_unlock(&c->lock);
	ptfs_mutex_unlock(&fs->alloc_lock);
	return spent;
}

// The chunks that blocks are being taken from come first, then all in turn.
u64 ptfs_prezero(struct ptfs_fs *fs, u64 bytes)
{
	u64 spent = 0;

	if (fs->read_only || !__atomic_load_n(&fs->dirty, __ATOMIC_ACQUIRE))
		return 0;
	ptfs_rest_poll(fs);
	if (!fs->zero_next && !__atomic_exchange_n(&fs->zero_wanted, false, __ATOMIC_ACQ_REL))
		return 0;
	for (unsigned owner = 1; owner <= PTFS_OWNERS && spent < bytes; owner++) {
		struct ptfs_chunk *c = ptfs_owned(fs, owner);

		if (c)
			spent += zero_chunk(fs, c, bytes - spent);
	}
	while (spent < bytes && fs->zero_next < fs->chunks) {
		u64 budget = bytes - spent;
		u64 n = zero_chunk(fs, ptfs_chunk_nr(fs, fs->zero_next), budget);

		spent += n;
		fs->zero_next += n < budget; // else there may be more in it
	}
	if (fs->zero_next == fs->chunks) {
		fs->zero_next = 0;
		return min(spent, bytes - 1); // and again, if something was freed meanwhile
	}
	return bytes;
}
