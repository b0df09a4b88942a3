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
// What the refusal of the word at `off` is called: -EIO if its memory has failed, else -EUCLEAN.
int ptfs_damage(const struct ptfs_fs *fs, u64 off) __must_check;
static inline bool ptfs_is_damage(int err)
{
	return err == -EUCLEAN || err == -EIO;
}

// ---- badlist.c ----

// What the medium says of failed blocks becomes known. How many there are.
unsigned ptfs_bad_load(struct ptfs_fs *fs);
