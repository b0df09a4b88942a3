// SPDX-License-Identifier: MIT
//
// What the loader told us, in one form, whichever protocol it spoke (multiboot2 or PVH).
#pragma once

#include "kernel/lib/types.h"

#define BOOT_RANGES_MAX  64
#define BOOT_MODULES_MAX 8
#define BOOT_CMDLINE_MAX 1024

// Memory types as in ACPI 6.4, table 15-374. Whatever is not RAM is unusable, types that we have
// never heard of included.
enum { BOOT_MEM_RAM = 1 };

struct boot_range {
	phys_t base;
	u64 len; // bytes
	u32 type;
};

struct boot_module {
	phys_t base;
	u64 len; // bytes
};

struct bootinfo {
	const char *loader;                       // "multiboot2" or "pvh"
	char cmdline[BOOT_CMDLINE_MAX];           // NUL-terminated copy
	struct boot_range range[BOOT_RANGES_MAX]; // sorted by base, not overlapping
	unsigned nr_ranges;
	struct boot_module module[BOOT_MODULES_MAX]; // initrd is module 0
	unsigned nr_modules;
	phys_t rsdp; // PHYS_NONE: not given, search for it
};

extern struct bootinfo bootinfo;

// Fill `bootinfo` from the loader's structure. `magic` is what the entry code found in EAX
// (multiboot2) or 0 (PVH), `info` the physical address of the structure. Called once, first of
// all, on the boot page table (first 4 GiB identity- and direct-mapped). Prints nothing.
void bootinfo_init(u32 magic, phys_t info);
// Log lines about loader and memory map, once there is a console.
void bootinfo_report(void);

// Boot parameters: words `name=value` or `name` on the command line. The table in bootparam.c
// documents them. All usable from bootinfo_init() on; where a name comes twice, the last one
// counts.

bool bootparam_present(const char *name);
// Copies the value ("" if there is none) into buf, cut at len - 1 bytes; false if absent.
bool bootparam_get(const char *name, char *buf, size_t len);
// The value of the n-th occurrence (0: the first), for parameters that may come several times.
bool bootparam_nth(const char *name, unsigned n, char *buf, size_t len);
// A number, with suffix K, M, G or T; false if absent or malformed.
bool bootparam_u64(const char *name, u64 *out);
// One log line for each parameter that the table does not know.
void bootparam_check(void);
