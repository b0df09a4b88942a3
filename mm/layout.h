// SPDX-License-Identifier: MIT
//
// The kernel's half of the 48-bit address space. Nothing else in the tree names these numbers,
// except linker.ld and boot/ for KERNEL_BASE and PHYSMAP_BASE.
//
//   0000_0000_0000_0000  user (ends below USER_END; page 0 is never mapped)
//   ffff_8000_0000_0000  PHYSMAP: all RAM read-write, all PMem read-only, NX, global
//   ffff_c000_0000_0000  KSTACK: kernel stacks, each between unmapped guard pages
//   ffff_d000_0000_0000  PMEM_ALIAS: PMem, writable, used by the pmem functions alone
//   ffff_e000_0000_0000  IOMAP: device registers, uncached, at this base plus physical address
//   ffff_f000_0000_0000  FIRMWARE: tables of the firmware, read-only, likewise
//   ffff_ffff_8000_0000  the kernel image: text RX, rodata R, data RW
#pragma once

#include "kernel/lib/types.h"

#define USER_BASE       0x0000000000010000ull
#define USER_END        0x00007ffffffff000ull // a page below the hole (SYSRET, entry.asm)
#define PHYSMAP_BASE    0xffff800000000000ull
#define PHYSMAP_SIZE    0x0000400000000000ull
#define KSTACK_BASE     0xffffc00000000000ull
#define PMEM_ALIAS_BASE 0xffffd00000000000ull
#define IOMAP_BASE      0xffffe00000000000ull
#define FIRMWARE_BASE   0xfffff00000000000ull
#define KERNEL_BASE     0xffffffff80000000ull

// Windows that lie at a base plus the physical address reach this far; nothing above is used.
#define PHYS_LIMIT 0x00000f8000000000ull

// The direct map. Only for RAM and for registered PMem (read-only there).
static inline void *phys_to_virt(phys_t p)
{
	return (void *)(PHYSMAP_BASE + p.pa);
}

static inline phys_t virt_to_phys(const void *v)
{
	return PHYS((u64)v - PHYSMAP_BASE);
}
