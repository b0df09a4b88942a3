// SPDX-License-Identifier: MIT
//
// What: a read-only mount of an image with open transactions (PTFS_MOUNT_NORECOVERY). The blocks
// that rolling back would change are copied to DRAM and changed there; whoever reads the medium by
// ptfs_at() sees the copies in their place. Nothing is written to the medium.
// Not here: which words an open transaction has changed (journal.c).
//
//      medium      | block | block | block |       ptfs_at(): a copy, if the block has one
//      fs->shadow            copy                  NULL in every other mount: one load and branch
//
// Invariants
//   I1  blocks with a copy lie in chunks of inodes and directories: no table page and no block of a
//       regular file has one, so nothing that the MMU could see differs from the medium
//   I2  the copies are complete before anybody reads, and never change then
//   I3  with copies there is no current base tag (fs->tag 0): whatever takes a shortcut past
//       ptfs_at() for entries that are as the MMU wants them finds none
// Failure: -ENOMEM, and there is no mount.
#include "fs/ptfs/ptfs_internal.h"

#define SLOTS 2048u // a power of two, twice what all transactions together can name
_Static_assert(SLOTS >= 2 * PTFS_JOURNAL_SLOTS * PTFS_TX_RECORDS, "there is always a free slot");

struct ptfs_shadow {
	struct {
		u64 off;  // of the block
		u8 *copy; // NULL: free slot
	} slot[SLOTS];
};

// The slot of the block at `off`, or the free one where it belongs.
static unsigned slot_of(const struct ptfs_shadow *s, u64 off)
{
	unsigned i = (unsigned)((off >> PTFS_BLOCK_SHIFT) * 0x9e3779b97f4a7c15ull >> 53) % SLOTS;

	while (s->slot[i].copy && s->slot[i].off != off)
		i = (i + 1) % SLOTS;
	return i;
}

const void *ptfs_shadow_at(const struct ptfs_fs *fs, u64 off, u64 len)
{
	u64 in_block = off % PTFS_BLOCK;
	const u8 *copy = fs->shadow->slot[slot_of(fs->shadow, off - in_block)].copy;

	ptfs_assert(!copy || in_block + len <= PTFS_BLOCK);
	return copy ? copy + in_block : (const u8 *)fs->region.view + off;
}

int ptfs_shadow_set(struct ptfs_fs *fs, u64 off, u64 value)
{
	u64 block = ALIGN_DOWN(off, PTFS_BLOCK);
	le64_t word = LE64(value);
	unsigned i;

	if (!fs->shadow)
		fs->shadow = ptfs_zalloc(sizeof(*fs->shadow));
	if (!fs->shadow)
		return -ENOMEM;
	fs->tag = 0;
	fs->leaf_first = PTFS_NO_LEAF; // I3
	i = slot_of(fs->shadow, block);
	if (!fs->shadow->slot[i].copy) {
		u8 *copy = ptfs_alloc(PTFS_BLOCK);

		if (!copy)
			return -ENOMEM;
		ptfs_medium_copy(copy, (const u8 *)fs->region.view + block, PTFS_BLOCK);
		fs->shadow->slot[i].off = block;
		fs->shadow->slot[i].copy = copy;
	}
	memcpy(fs->shadow->slot[i].copy + off % PTFS_BLOCK, &word, sizeof(word));
	return 0;
}

void ptfs_shadow_free(struct ptfs_fs *fs)
{
	for (unsigned i = 0; fs->shadow && i < SLOTS; i++)
		ptfs_free(fs->shadow->slot[i].copy);
	ptfs_free(fs->shadow);
	fs->shadow = NULL;
}
