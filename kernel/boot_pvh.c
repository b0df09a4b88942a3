// SPDX-License-Identifier: MIT
//
// What: reads the PVH start info (Xen public headers, arch-x86/hvm/start_info.h), which QEMU passes
// to a kernel given by -kernel. Version 1 has the memory map.
#include "kernel/bootinfo_internal.h"

#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist_pa, cmdline_pa, rsdp_pa;
	u64 memmap_pa; // from version 1 on
	u32 memmap_entries, reserved;
};

struct pvh_module {
	u64 pa, size, cmdline_pa, reserved;
};

struct pvh_memmap_entry {
	u64 base, len;
	u32 type, reserved;
};

void bootinfo_read_pvh(phys_t info)
{
	const struct pvh_start_info *si = bootinfo_early_ptr(info.pa, sizeof(*si));
	const struct pvh_module *mod;
	const struct pvh_memmap_entry *map;
	const char *cmdline;

	bootinfo.loader = "pvh";
	if (!si || si->magic != PVH_MAGIC)
		return;
	cmdline = bootinfo_early_ptr(si->cmdline_pa, BOOT_CMDLINE_MAX);
	if (cmdline)
		bootinfo_set_cmdline(cmdline, BOOT_CMDLINE_MAX);
	if (si->rsdp_pa)
		bootinfo.rsdp = PHYS(si->rsdp_pa);
	mod = bootinfo_early_ptr(si->modlist_pa, si->nr_modules * sizeof(*mod));
	for (u32 i = 0; mod && i < si->nr_modules; i++)
		bootinfo_add_module(mod[i].pa, mod[i].size);
	if (si->version < 1)
		return;
	map = bootinfo_early_ptr(si->memmap_pa, si->memmap_entries * sizeof(*map));
	for (u32 i = 0; map && i < si->memmap_entries; i++)
		bootinfo_add_range(map[i].base, map[i].len, map[i].type);
}
