// SPDX-License-Identifier: MIT
//
// What: the list on the medium of blocks whose memory has failed.
// Not here: who finds them, and what is known while the machine runs (the home: ptfs_bad_find);
// keeping them from being used (alloc.c).
//
//	mount     the list              -> what the home knows
//	running   what the home knows   -> the list      (the home calls; at the latest, unmounting)
//
// A block stays in the list when its file goes: that is what the list is for.
//
// Persistence: a word is stored, written back and fenced, here and in the superblock's copy. It
// stands for itself, so there is no order to keep; one that does not check itself counts as empty.
// Locking: dirty_lock for storing. The image may be clean: nothing of this concerns what is in use.
// Failure: a full list is logged once. What is not in it is found anew by the next machine check.
#include "fs/ptfs/ptfs_internal.h"

static u64 word_off(unsigned i)
{
	return PTFS_BAD_OFF + 8ull * i;
}

static u64 encode(u64 off, unsigned i)
{
	le64_t words[2] = { LE64(off), LE64(i) };

	return off | (crc32c(0, words, sizeof(words)) & PTFS_BAD_CRC);
}

// The block that word `i` of the list names; 0: none.
static u64 listed(const struct ptfs_fs *fs, unsigned i)
{
	u64 word = ptfs_word(fs, word_off(i)), off = word & ~PTFS_BAD_CRC;

	return word == encode(off, i) && off < fs->region.bytes ? off : 0;
}

// The word that names `off`, else the first empty one; PTFS_BAD_MAX: none is empty.
static unsigned place_of(const struct ptfs_fs *fs, u64 off)
{
	unsigned place = PTFS_BAD_MAX;

	for (unsigned i = 0; i < PTFS_BAD_MAX; i++) {
		u64 found = listed(fs, i);

		if (found == off)
			return i;
		if (!found && place == PTFS_BAD_MAX && ptfs_word(fs, word_off(i)) != PTFS_FAILED)
			place = i;
	}
	return place;
}

unsigned ptfs_bad_load(struct ptfs_fs *fs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PTFS_BAD_MAX; i++) {
		u64 off = listed(fs, i);

		if (!off)
			continue;
		ptfs_bad_add(ptfs_pa(fs, off));
		n++;
	}
	if (n)
		ptfs_log(PTFS_LOG_INFO, "ptfs %s: %u blocks are known to have failed", fs->name, n);
	return n;
}

static void store(struct ptfs_fs *fs, u64 off)
{
	unsigned i = place_of(fs, off);

	if (i < PTFS_BAD_MAX && !listed(fs, i)) {
		ptfs_super_store(fs, word_off(i), encode(off, i));
	} else if (i == PTFS_BAD_MAX && !fs->bad_full) {
		fs->bad_full = true;
		ptfs_log(PTFS_LOG_ERROR, "ptfs %s: the list of failed blocks is full", fs->name);
	}
}

void ptfs_bad_store(struct ptfs_fs *fs)
{
	u64 end = fs->region.base.pa + fs->region.bytes;
	phys_t from = ptfs_pa(fs, PTFS_BLOCK), first; // who cannot read block 0 reads no list

	if (fs->read_only || likely(!ptfs_bad_count()))
		return;
	ptfs_mutex_lock(&fs->dirty_lock);
	while (from.pa < end && ptfs_bad_find(from, end - from.pa, &first)) {
		store(fs, first.pa - fs->region.base.pa);
		from.pa = first.pa + PTFS_BLOCK;
	}
	ptfs_fence(fs);
	ptfs_mutex_unlock(&fs->dirty_lock);
}
