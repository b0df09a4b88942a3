// SPDX-License-Identifier: MIT
//
// Memory before there is an allocator: RAM of the boot memory map, less what is in use already (low
// 1 MiB, kernel image, boot modules), given out from the bottom and never taken back. What is left
// is handed to the frame allocator. Boot CPU only, no locks.
#pragma once

#include "kernel/lib/types.h"

// Reads `bootinfo`.
void bootmem_init(void);

// `bytes` (rounded up to pages) aligned to `align`, ending at or below `limit`, contents undefined.
// Panics if there is none: a machine with too little memory to boot.
phys_t bootmem_alloc(u64 bytes, u64 align, u64 limit);

// Give every free piece to fn, lowest first; bootmem_alloc may be called no more.
void bootmem_hand_over(void (*fn)(phys_t base, u64 len));

// For sizing: calls fn for every free piece, changes nothing. fn must not allocate.
void bootmem_for_each(void (*fn)(phys_t base, u64 len));
