// SPDX-License-Identifier: MIT
//
// User memory: reached by these functions and by no others. They run between STAC and CLAC and
// recover from faults by the exception table. A page that is not there yet is faulted in, unless
// the thread has faults disabled (uaccess_faults_off), in which case the copy is cut short.
//
// Context: thread, no spinlock held (faults may sleep) unless faults are off.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "mm/layout.h"

// 0 or -EFAULT. Ranges outside user space are -EFAULT before anything is touched.
int copy_from_user(void *dst, uva_t src, size_t bytes) __must_check;
int copy_to_user(uva_t dst, const void *src, size_t bytes) __must_check;
int clear_user(uva_t dst, size_t bytes) __must_check;

// Bytes NOT copied (0: all). For callers that go on after a short copy.
size_t copy_from_user_partial(void *dst, uva_t src, size_t bytes) __must_check;
static inline size_t copy_to_user_partial(uva_t dst, const void *src, size_t bytes) __must_check;

// The same past the caches, for persistent memory: dst 8-byte aligned, bytes a multiple of 8. What
// is copied needs a fence to be durable.
size_t copy_from_user_nt(void *dst, uva_t src, size_t bytes) __must_check;

// One aligned word, by one access: what another thread stores there at the same time is seen whole.
// cmpxchg stores `new` if *old is there, atomically, and *old becomes what was there. 0 or -EFAULT.
int user_load_u32(u32 *out, uva_t src) __must_check;
int user_cmpxchg_u32(uva_t dst, u32 *old, u32 new) __must_check;

// Copies a NUL-terminated string. Its length without the NUL, -EFAULT, or -ENAMETOOLONG if no NUL
// within `bytes`.
ssize strncpy_from_user(char *dst, uva_t src, size_t bytes) __must_check;

// Copies inside file-system locks run with faults disabled; nests.
static inline void uaccess_faults_off(void)
{
	thread_current()->faults_disabled++;
	asm_barrier();
}

static inline void uaccess_faults_on(void)
{
	asm_barrier();
	thread_current()->faults_disabled--;
}

// ---- What the copies consist of ----

static inline bool uaccess_in_range(uva_t a, size_t bytes)
{
	return bytes <= USER_END && a.va <= USER_END - bytes;
}

// How many of `bytes` at `a` lie in user space. A partial copy takes those: its caller faults in
// the page where it stopped, and would do so for ever if a copy with a bad end did not even begin.
static inline size_t uaccess_part(uva_t a, size_t bytes)
{
	if (likely(uaccess_in_range(a, bytes)))
		return bytes;
	return a.va < USER_END ? min(bytes, USER_END - a.va) : 0;
}

static inline void uaccess_open(void)
{
	if (cpu_features.smap)
		asm_stac();
}

static inline void uaccess_close(void)
{
	if (cpu_features.smap)
		asm_clac();
}

// Here because read() of a few bytes is little more than this.
static inline size_t copy_to_user_partial(uva_t dst, const void *src, size_t bytes)
{
	size_t there = uaccess_part(dst, bytes), left;

	uaccess_open();
	left = asm_copy_user((void *)dst.va, src, there);
	uaccess_close();
	return bytes - there + left;
}
