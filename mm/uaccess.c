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

static bool in_user_space(uva_t a, size_t bytes)
{
	return bytes <= USER_END && a.va <= USER_END - bytes;
}

// How many of `bytes` at `a` lie in user space. A partial copy takes those: its caller faults in
// the page where it stopped, and would do so for ever if a copy with a bad end did not even begin.
static size_t user_part(uva_t a, size_t bytes)
{
	return a.va < USER_END ? min(bytes, USER_END - a.va) : 0;
}

static void open_user(void)
{
	if (cpu_features.smap)
		asm_stac();
}

static void close_user(void)
{
	if (cpu_features.smap)
		asm_clac();
}

size_t copy_from_user_partial(void *dst, uva_t src, size_t bytes)
{
	size_t there = user_part(src, bytes), left;

	if (!there)
		return bytes;
	open_user();
	left = asm_copy_user(dst, (const void *)src.va, there);
	close_user();
	return bytes - there + left;
}

size_t copy_to_user_partial(uva_t dst, const void *src, size_t bytes)
{
	size_t there = user_part(dst, bytes), left;

	if (!there)
		return bytes;
	open_user();
	left = asm_copy_user((void *)dst.va, src, there);
	close_user();
	return bytes - there + left;
}

size_t copy_from_user_nt(void *dst, uva_t src, size_t bytes)
{
	size_t there = ALIGN_DOWN(user_part(src, bytes), 8), left;

	if (!there)
		return bytes;
	open_user();
	left = asm_copy_user_nt(dst, (const void *)src.va, there / 8);
	close_user();
	return bytes - there + left * 8;
}

int copy_from_user(void *dst, uva_t src, size_t bytes)
{
	if (!in_user_space(src, bytes))
		return -EFAULT;
	return copy_from_user_partial(dst, src, bytes) ? -EFAULT : 0;
}

int copy_to_user(uva_t dst, const void *src, size_t bytes)
{
	if (!in_user_space(dst, bytes))
		return -EFAULT;
	return copy_to_user_partial(dst, src, bytes) ? -EFAULT : 0;
}

int clear_user(uva_t dst, size_t bytes)
{
	size_t left;

	if (!in_user_space(dst, bytes))
		return -EFAULT;
	open_user();
	left = asm_clear_user((void *)dst.va, bytes);
	close_user();
	return left ? -EFAULT : 0;
}

int user_load_u32(u32 *out, uva_t src)
{
	bool ok;

	if (!in_user_space(src, sizeof(*out)))
		return -EFAULT;
	open_user();
	ok = asm_user_load32(out, (const u32 *)src.va);
	close_user();
	return ok ? 0 : -EFAULT;
}

int user_cmpxchg_u32(uva_t dst, u32 *old, u32 new)
{
	bool ok;

	if (!in_user_space(dst, sizeof(*old)))
		return -EFAULT;
	open_user();
	ok = asm_user_cmpxchg32((u32 *)dst.va, old, new);
	close_user();
	return ok ? 0 : -EFAULT;
}

// In small aligned pieces: most strings are short, and one may end right before an address that is
// not mapped.
ssize strncpy_from_user(char *dst, uva_t src, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		size_t piece = STRING_PIECE - ((src.va + done) & (STRING_PIECE - 1));
		size_t left;

		piece = min(piece, bytes - done);
		left = copy_from_user_partial(dst + done, UVA(src.va + done), piece);
		for (size_t i = 0; i < piece - left; i++)
			if (!dst[done + i])
				return (ssize)(done + i);
		if (left)
			return -EFAULT;
		done += piece;
	}
	return -ENAMETOOLONG;
}

void uaccess_faults_off(void)
{
	thread_current()->faults_disabled++;
	asm_barrier();
}

void uaccess_faults_on(void)
{
	asm_barrier();
	thread_current()->faults_disabled--;
}
