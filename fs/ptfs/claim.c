// SPDX-License-Identifier: MIT
//
// What: claims that come from looking at stored entries: who names a block first has it, and a
// second name is refused.
// Not here: the entries themselves (verify.c), claims that come with allocation (alloc.c).
//
// Two times, one answer. While the file system is in use, claims are made under the chunk's lock,
// which also guards the used bits and the counts. While everything is walked (scan.c; fs->walking)
// nothing is allocated or freed, several CPUs claim at once, and only bits change: each word of a
// claim map by one atomic OR, and whoever finds a bit set already gives back the bits that it has
// set itself. The counts are made anew when the walk is over.
//
// Invariants of a walk
//   I1  a claim bit was set by exactly one CPU, and only that CPU clears it
//   I2  what belongs to a claimed block (the state of a table page) is touched only by the CPU that
//       set the bit, until all CPUs have met again
//   I3  used bits are only set, and by `quarantine` alone; a scan adds the claims at the end
// A bit may be set for a moment by a CPU that gives it back, and another one is refused meanwhile.
// That takes an image in which a block is named twice; which of the two names loses (or both)
// depends on the order then, and a block with no claim left is quarantined by its refusal.
#include "fs/ptfs/ptfs_internal.h"

// The bits of word `w` that belong to blocks [first, end).
static u64 word_mask(unsigned w, unsigned first, unsigned end)
{
	u64 mask = ~0ull;

	if (first > w * 64)
		mask <<= first - w * 64;
	if (end < (w + 1) * 64)
		mask &= ~0ull >> ((w + 1) * 64 - end);
	return mask;
}

static void walk_unclaim(struct ptfs_chunk *c, unsigned first, unsigned end)
{
	for (unsigned w = first / 64; w * 64 < end; w++)
		__atomic_fetch_and(&c->claim_map[w], ~word_mask(w, first, end), __ATOMIC_RELEASE);
}

// All of the blocks or none.
static bool walk_claim(struct ptfs_chunk *c, unsigned first, unsigned end)
{
	for (unsigned w = first / 64; w * 64 < end; w++) {
		u64 mask = word_mask(w, first, end);
		u64 old = __atomic_fetch_or(&c->claim_map[w], mask, __ATOMIC_ACQUIRE);

		if (likely(!(old & mask)))
			continue;
		__atomic_fetch_and(&c->claim_map[w], ~(mask & ~old), __ATOMIC_RELEASE);
		walk_unclaim(c, first, max(first, w * 64));
		return false;
	}
	return true;
}

static bool any_set(const u64 *map, unsigned first, unsigned end)
{
	for (unsigned w = first / 64; w * 64 < end; w++)
		if (map[w] & word_mask(w, first, end))
			return true;
	return false;
}

static bool all_set(const u64 *map, unsigned first, unsigned end)
{
	for (unsigned w = first / 64; w * 64 < end; w++)
		if (~map[w] & word_mask(w, first, end))
			return false;
	return true;
}

static const char *claim(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned type, unsigned first,
			 unsigned nr)
{
	unsigned end = first + nr;

	if (c->type != type || type == PTFS_CHUNK_FREE)
		return "in a chunk of the wrong type";
	if (fs->walking ? !walk_claim(c, first, end) : any_set(c->claim_map, first, end))
		return "block is claimed already";
	if (!fs->scanning && !all_set(c->used_map, first, end)) {
		if (fs->walking)
			walk_unclaim(c, first, end);
		return "block is not allocated";
	}
	if (!fs->walking)
		ptfs_claim_locked(c, first, nr);
	return NULL;
}

const char *ptfs_claim(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned type, unsigned first,
		       unsigned nr)
{
	const char *why;

	if (fs->walking)
		return claim(fs, c, type, first, nr);
	ptfs_mutex_lock(&c->lock);
	why = claim(fs, c, type, first, nr);
	ptfs_mutex_unlock(&c->lock);
	return why;
}

void ptfs_unclaim(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	if (fs->walking) {
		walk_unclaim(c, first, first + nr);
		return;
	}
	ptfs_mutex_lock(&c->lock);
	ptfs_unclaim_locked(c, first, nr);
	ptfs_mutex_unlock(&c->lock);
}

void ptfs_quarantine(struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	for (unsigned w = first / 64; w * 64 < first + nr; w++)
		__atomic_fetch_or(&c->used_map[w], word_mask(w, first, first + nr),
				  __ATOMIC_RELAXED);
}
