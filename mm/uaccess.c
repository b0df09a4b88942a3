// SPDX-License-Identifier: MIT
//
// What: copies between kernel and user memory (uaccess.h).
// Not here: what happens when a page is not there (mm/fault.c; the copy instructions in
// kernel/x86/asm.h name in the exception table where to go on if it cannot be had).
//
// Invariants
//   I1  no user address is touched but between STAC and CLAC, after the range was checked to lie in
//       user space.
#include "mm/uaccess.h"

#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "mm/layout.h"

#define STRING_PIECE 64u

// With nothing to copy the partial copies go through the motions, and touch nothing.
size_t copy_from_user_partial(void *dst, uva_t src, size_t bytes)
{
	size_t there = uaccess_part(src, bytes), left;

	uaccess_open();
	left = asm_copy_user(dst, (const void *)src.va, there);
	uaccess_close();
	return bytes - there + left;
}

size_t copy_from_user_nt(void *dst, uva_t src, size_t bytes)
{
	size_t there = ALIGN_DOWN(uaccess_part(src, bytes), 8), left;

	uaccess_open();
	left = asm_copy_user_nt(dst, (const void *)src.va, there / 8);
	uaccess_close();
	return bytes - there + left * 8;
}

int copy_from_user(void *dst, uva_t src, size_t bytes)
{
	if (!uaccess_in_range(src, bytes))
		return -EFAULT;
	return copy_from_user_partial(dst, src, bytes) ? -EFAULT : 0;
}

int copy_to_user(uva_t dst, const void *src, size_t bytes)
{
	if (!uaccess_in_range(dst, bytes))
		return -EFAULT;
	return copy_to_user_partial(dst, src, bytes) ? -EFAULT : 0;
}

int clear_user(uva_t dst, size_t bytes)
{
	size_t left;

	if (!uaccess_in_range(dst, bytes))
		return -EFAULT;
	uaccess_open();
	left = asm_clear_user((void *)dst.va, bytes);
	uaccess_close();
	return left ? -EFAULT : 0;
}

int user_load_u32(u32 *out, uva_t src)
{
	bool ok;

	if (!uaccess_in_range(src, sizeof(*out)))
		return -EFAULT;
	uaccess_open();
	ok = asm_user_load32(out, (const u32 *)src.va);
	uaccess_close();
	return ok ? 0 : -EFAULT;
}

int user_cmpxchg_u32(uva_t dst, u32 *old, u32 new)
{
	bool ok;

	if (!uaccess_in_range(dst, sizeof(*old)))
		return -EFAULT;
	uaccess_open();
	ok = asm_user_cmpxchg32((u32 *)dst.va, old, new);
	uaccess_close();
	return ok ? 0 : -EFAULT;
}

// Where the first NUL is, `n` if there is none. By words: the lowest bit that stays set is that of
// the first byte 0 (the bits above it may be wrong).
static size_t nul_in(const char *s, size_t n)
{
	const u64 ones = ~0ull / 255;
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		u64 word, zero;

		__builtin_memcpy(&word, s + i, sizeof(word));
		zero = (word - ones) & ~word & ones << 7;
		if (zero)
			return i + (size_t)__builtin_ctzll(zero) / 8;
	}
	while (i < n && s[i])
		i++;
	return i;
}

// In small aligned pieces: most strings are short, and one may end right before an address that is
// not mapped.
ssize strncpy_from_user(char *dst, uva_t src, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		size_t piece = STRING_PIECE - ((src.va + done) & (STRING_PIECE - 1));
		size_t left, nul;

		piece = min(piece, bytes - done);
		left = copy_from_user_partial(dst + done, UVA(src.va + done), piece);
		nul = nul_in(dst + done, piece - left);
		done += nul;
		if (nul < piece - left)
			return (ssize)done;
		if (left)
			return -EFAULT;
	}
	return -ENAMETOOLONG;
}
