// SPDX-License-Identifier: MIT
//
// The only functions that write persistent memory. Everything goes through them, so that a test can
// record every store, write-back and fence. The region is read-only in the direct map; these write
// through an alias of their own (PMEM_ALIAS_BASE).
//
// Durable = stored, written back (pmem_flush), fenced (pmem_fence). pmem_memcpy_nt needs the fence
// only. Where the platform keeps CPU caches persistent, pmem_flush does nothing.
// Context: any. `dst` lies in a registered, writable region; anything else is a bug (panic).
#pragma once

#include "kernel/lib/types.h"
#include "kernel/panic.h"
#include "kernel/x86/asm.h"
#include "mm/layout.h"

static inline void pmem_store8(phys_t dst, u64 value); // dst 8-byte aligned; one atomic store
// Atomic compare-and-swap; returns the value found (== old: it was replaced; ~1: the memory has
// failed, and nothing was stored).
static inline u64 pmem_cas8(phys_t dst, u64 old, u64 value);
static inline void pmem_flush(phys_t start, u64 len);
static inline void pmem_fence(void);
// Non-temporal copy; any alignment and length. Parts of 8-byte words at the edges are merged
// into what is there by compare-and-swap and written back. src is kernel memory.
void pmem_memcpy_nt(phys_t dst, const void *src, size_t len);
void pmem_memset_nt(phys_t dst, u8 byte, size_t len);
// From user memory: bytes NOT copied (0: all). Faults are not taken: a missing page cuts it short.
size_t pmem_copy_from_user_nt(phys_t dst, uva_t src, size_t len) __must_check;

// Choose the write-back instruction from CPUID and the platform's capabilities; logs it. Once.
void pmem_ops_init(bool caches_persistent);

// ---- In line: a file system stores and writes back words, one at a time ----

#define PMEM_LINE 64ull

// How a line is written back; pmem_ops_init() chooses.
extern enum pmem_write_back {
	PMEM_WRITE_BACK_NONE, // CPU caches are in the persistence domain
	PMEM_WRITE_BACK_CLWB,
	PMEM_WRITE_BACK_CLFLUSHOPT,
	PMEM_WRITE_BACK_CLFLUSH,
} pmem_write_back;
void pmem_flush_lines(phys_t start, u64 len);

// Where a store to `p` goes (pmem.c, I1).
static inline u8 *pmem_alias(phys_t p)
{
	return (u8 *)(PMEM_ALIAS_BASE + p.pa);
}

static inline void pmem_store8(phys_t dst, u64 value)
{
	ASSERT(IS_ALIGNED(dst.pa, 8));
	__atomic_store_n((u64 *)(void *)pmem_alias(dst), value, __ATOMIC_RELEASE);
}

static inline u64 pmem_cas8(phys_t dst, u64 old, u64 value)
{
	ASSERT(IS_ALIGNED(dst.pa, 8));
	return asm_cmpxchg_may_fail((u64 *)(void *)pmem_alias(dst), old, value);
}

// Write-back needs no right to write: the read-only view will do.
static inline void pmem_flush(phys_t start, u64 len)
{
	if (likely(pmem_write_back == PMEM_WRITE_BACK_CLWB &&
		   start.pa % PMEM_LINE + len <= PMEM_LINE))
		asm_clwb(phys_to_virt(start));
	else
		pmem_flush_lines(start, len);
}

static inline void pmem_fence(void)
{
	asm_sfence();
}
