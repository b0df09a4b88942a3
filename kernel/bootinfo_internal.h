// SPDX-License-Identifier: MIT
//
// Between bootinfo.c and the readers of the two protocols.
#pragma once

#include "kernel/bootinfo.h"

#define MULTIBOOT2_MAGIC 0x36d76289u // in EAX (multiboot2 specification, 3.3)

void bootinfo_read_multiboot2(phys_t info);
void bootinfo_read_pvh(phys_t info);

// Append; empty ranges and those that wrap are ignored, what does not fit is dropped and noted.
void bootinfo_add_range(u64 base, u64 len, u32 type);
void bootinfo_add_module(u64 base, u64 len);

// Copies the NUL-terminated text, at most `max` bytes of it.
void bootinfo_set_cmdline(const char *text, size_t max);

// Sort the ranges and remove overlaps (I1, I2 of bootinfo.c).
void bootinfo_normalise(void);

// Loader memory as a pointer, if [pa, pa + len) is inside the 4 GiB that the boot tables map;
// else NULL.
const void *bootinfo_early_ptr(u64 pa, u64 len);
