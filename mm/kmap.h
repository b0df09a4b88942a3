// SPDX-License-Identifier: MIT
//
// The kernel's own page tables: the direct map, the image with W^X, device windows, kernel stacks
// and the two views of PMem.
#pragma once

#include "kernel/lib/pte.h"

// Replace the boot tables: direct map of all RAM (1 GiB and 2 MiB leaves where CPUID and alignment
// allow), image text RX, rodata R, data RW with the direct-map alias of text and rodata read-only.
// Boot CPU, once, before frame_init; takes its tables from the end of a RAM range.
void kmap_init(void);

// CR3 of the kernel's own tables.
phys_t kmap_root(void);

// Fill the upper half of a new top-level table. From the first call on the kernel's top-level
// entries are fixed: windows below 1 TiB and everything already mapped are in them.
void kmap_copy_top(pte_t *pml4);

// The rights of `rights` that this CPU knows: PTE_NX and PTE_G only where CPUID says so.
u64 kmap_rights(u64 rights);

// The kernel's leaf entry that maps `va` and its level; none if there is none. For tests and
// reports.
pte_t kmap_lookup(u64 va, int *level);

// Uncached window on device registers; PA need not be aligned. NULL when memory is short or the
// address is beyond PHYS_LIMIT. Lives for ever. Never for RAM.
volatile void *kmap_device(phys_t base, u64 len);

// Read-only, cached window on firmware tables (ACPI) that may lie outside RAM. NULL: out of memory.
const void *kmap_firmware(phys_t base, u64 len);

// Make [base, base+len) of PMem visible: read-only in the direct map, and writable (unless
// `read_only`) at PMEM_ALIAS_BASE + pa. 4 KiB granularity, larger leaves where aligned. Removes the
// writable direct-map leaves if the range was carved from RAM. -ENOMEM.
int kmap_pmem(phys_t base, u64 len, bool read_only) __must_check;

// A kernel stack of KSTACK_SIZE between guard pages; lowest address, NULL when memory is short.
// Freed stacks are kept mapped and re-used, so no shootdown is needed.
void *kmap_stack_alloc(void);
void kmap_stack_free(void *stack);
// True if `va` lies in a guard page of a kernel stack (stack overflow report).
bool kmap_is_guard(u64 va);
