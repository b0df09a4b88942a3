// SPDX-License-Identifier: MIT
//
// Counters of the memory system, per CPU, summed on read (/proc/daxvm/stat). One line adds one.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/cpu.h"

#define MM_STATS(X)                                                                                \
	X(attach_pte_page, "file tables attached: a PTE page at a PMD slot (2 MiB)")               \
	X(attach_pmd_page, "... a PMD page at a PUD slot (1 GiB)")                                 \
	X(attach_pud_page, "... a PUD page at a PML4 slot (512 GiB)")                              \
	X(attach_leaf_2m, "2 MiB leaves attached at a PMD slot")                                   \
	X(attach_leaf_1g, "1 GiB leaves made of a file's 2 MiB leaves that lie side by side")      \
	X(attach_direct, "files attached by copying their direct entries")                         \
	X(attach_folds, "private tables replaced by an attachment above them")                     \
	X(attach_splits, "attachments replaced by a private copy of the next level")               \
	X(attach_fallbacks, "attachments that were not to be had: plain faults instead")           \
	X(fault_anon_zero, "reads of untouched anonymous memory: zero page mapped")                \
	X(fault_anon_new, "first writes to anonymous memory")                                      \
	X(fault_cow_copy, "private pages copied on write")                                         \
	X(fault_cow_reuse, "private pages written by their only owner: made writable")             \
	X(fault_file_4k, "file pages mapped one by one")                                           \
	X(fault_around, "file pages mapped along with a neighbour's fault")                        \
	X(fault_file_2m, "file pages mapped by a 2 MiB leaf")                                      \
	X(fault_file_1g, "... by a 1 GiB leaf")                                                    \
	X(fault_hole_read, "reads of holes: zero page mapped")                                     \
	X(fault_hole_write, "writes to holes of attached files")                                   \
	X(fault_attach, "faults that attached a table")                                            \
	X(fault_dirty, "first stores to clean chunks: W granted")                                  \
	X(fault_spurious, "faults that found nothing to do")                                       \
	X(fault_signal, "faults answered by SIGSEGV or SIGBUS")                                    \
	X(fault_kernel, "faults of the kernel on user memory")                                     \
	X(zeroed_background, "free blocks made zero ahead of their use")                           \
	X(zeroed_found, "free blocks looked at for that, which were zero")                         \
	X(zeroed_alloc, "blocks made zero, wholly or in part, when they were taken")               \
	X(zeroed_ready, "blocks taken that were zero already")                                     \
	X(leaf_merges, "pages of 512 entries that became a 2 MiB leaf")                            \
	X(leaf_splits, "2 MiB leaves that became a page of 512 entries")                           \
	X(table_verified, "table pages of files looked at before the MMU may follow them")         \
	X(table_rebased, "entries of them that were written for another address")                  \
	X(arena_maps, "ephemeral mappings made")                                                   \
	X(arena_warm, "... that found their range still there: nothing written, nothing flushed")  \
	X(dirty_chunks, "chunks of 2 MiB that became dirty")                                       \
	X(dirty_cleaned, "chunks that syncs took")                                                 \
	X(dirty_syncs, "syncs that found any: one shootdown each")                                 \
	X(dirty_lines, "cache lines of the ranges that syncs wrote back")                          \
	X(dirty_folds, "private tables that gave way to the file's own again, at a sync")          \
	X(shadow_made, "table pages of files copied to DRAM")                                      \
	X(shadow_freed, "... given back")                                                          \
	X(revokes, "revokes of file blocks")                                                       \
	X(shootdowns, "TLB shootdowns finished")                                                   \
	X(shootdown_ipis, "CPUs interrupted by them")                                              \
	X(flush_full, "flushes of all user translations of a CPU")                                 \
	X(flush_pages, "translations flushed one by one")

#define MM_STAT_ENUM(name, text) MM_STAT_##name,
enum mm_stat { MM_STATS(MM_STAT_ENUM) MM_STAT_COUNT };
#undef MM_STAT_ENUM

struct mm_stat_cpu {
	u64 count[MM_STAT_COUNT];
} __cacheline;
extern struct mm_stat_cpu mm_stat_cpu[CPU_MAX];

// What is counted is traced, too (mm/trace.h).
extern bool trace_on;
void mm_count_traced(enum mm_stat which, u64 n);

// Any context. Atomic although the line is this CPU's own: the thread may move between reading the
// CPU's number and counting.
static inline void mm_count_many(enum mm_stat which, u64 n)
{
	__atomic_fetch_add(&mm_stat_cpu[asm_gs_index()].count[which], n, __ATOMIC_RELAXED);
	if (unlikely(READ_ONCE(trace_on)))
		mm_count_traced(which, n);
}
#define mm_count(name) mm_count_many(MM_STAT_##name, 1)

u64 mm_stat_read(enum mm_stat which); // over all CPUs
const char *mm_stat_name(enum mm_stat which);
const char *mm_stat_text(enum mm_stat which);
