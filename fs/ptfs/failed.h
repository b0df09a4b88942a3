// SPDX-License-Identifier: MIT
//
// Memory that has failed, inside ptfs (platform.h says how it shows): the last part of
// ptfs_internal.h.
#pragma once

#include "fs/ptfs/ptfs_internal.h"

// ---- Reading (medium.c) ----

// Bytes [off, off + len) into a copy, to be validated (ptfs_medium_copy).
static inline void ptfs_copy_out(const struct ptfs_fs *fs, void *dst, u64 off, u64 len)
{
	ptfs_medium_copy(dst, ptfs_at(fs, off, len), len);
}
// Can all lines of the range be loaded? Whoever then looks at bytes there at once finds the lines
// in the cache.
bool ptfs_loadable(const struct ptfs_fs *fs, u64 off, u64 len);

// Is any block of the range known to have failed?
static inline bool ptfs_is_bad(const struct ptfs_fs *fs, u64 off, u64 len)
{
	phys_t first;

	return unlikely(ptfs_bad_count()) && ptfs_bad_find(ptfs_pa(fs, off), len, &first);
}
// How many of the `len` bytes from `off` on lie before memory that is known to have failed; 0: they
// begin in it.
static inline u64 ptfs_before_bad(const struct ptfs_fs *fs, u64 off, u64 len)
{
	phys_t pa = ptfs_pa(fs, off), first;

	if (likely(!ptfs_bad_count()) || !ptfs_bad_find(pa, len, &first))
		return len;
	return first.pa > pa.pa ? first.pa - pa.pa : 0;
}
// What the refusal of the word at `off` is called: -EIO if its memory has failed, else -EUCLEAN.
int ptfs_damage(const struct ptfs_fs *fs, u64 off) __must_check;
static inline bool ptfs_is_damage(int err)
{
	return err == -EUCLEAN || err == -EIO;
}

// ---- medium.c ----

// ptfs_zero for a file's bytes, but for those whose memory is known to have failed: nobody reads
// them, and what has failed is not touched.
void ptfs_zero_data(struct ptfs_fs *fs, u64 off, u64 len);

// ---- mend.c: another block for one that has failed ----

// Are the bytes of [from, end) in the block around `from` all that the file has there? Inode lock
// held.
bool ptfs_mend_covers(const struct ptfs_inode *ip, u64 from, u64 end);
// A new block, which holds `len` bytes of `from` at `skip` (0: `from` may be NULL) and else zeros,
// in the place of the one at `block`, which has failed. Mapping lock held exclusively, and what the
// caller has covers the block. -ENOSPC, -ENOMEM, -EFAULT (not all of the bytes are there), -EIO or
// -EUCLEAN (of a table): nothing has changed, for `from` neither.
int ptfs_mend(struct ptfs_inode *ip, u64 block, struct ptfs_iter *from, u64 skip, u64 len)
	__must_check;
// The same, with zeros, for each block of [from, end) that has failed. -EIO: of one the range has a
// part only. An error leaves those behind it as they are. Locks as for ptfs_mend.
int ptfs_mend_zero(struct ptfs_inode *ip, u64 from, u64 end) __must_check;

// ---- badlist.c ----

// What the medium says of failed blocks becomes known. How many there are.
unsigned ptfs_bad_load(struct ptfs_fs *fs);
