// SPDX-License-Identifier: MIT
//
// What: the list of physical address ranges behind /proc/iomem.
//
// Invariants
//   I1  The list is sorted by base; of two ranges with one base the longer comes first. So a range
//       comes right behind the ranges that contain it.
#include "drivers/platform/iomem.h"

#include "fs/procfs.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/x86/image.h"

#define IOMEM_MAX 128
#define DEPTH_MAX 4

static struct {
	u64 base, end; // end: last byte
	const char *name;
} ranges[IOMEM_MAX];
static unsigned nr_ranges;

static bool comes_before(unsigned i, u64 base, u64 end)
{
	return ranges[i].base < base || (ranges[i].base == base && ranges[i].end >= end);
}

void iomem_add(phys_t base, u64 len, const char *name)
{
	u64 end = base.pa + len - 1;
	unsigned i;

	if (!len || nr_ranges == IOMEM_MAX) {
		log_warn("iomem: '%s' is left out of the list", name);
		return;
	}
	for (i = nr_ranges++; i > 0 && !comes_before(i - 1, base.pa, end); i--)
		ranges[i] = ranges[i - 1];
	ranges[i].base = base.pa;
	ranges[i].end = end;
	ranges[i].name = name;
}

static void iomem_show(struct seq *s, void *arg)
{
	u64 inside[DEPTH_MAX]; // ends of the ranges that the present one may lie in
	unsigned depth = 0;

	(void)arg;
	for (unsigned i = 0; i < nr_ranges; i++) {
		while (depth && ranges[i].base > inside[depth - 1])
			depth--;
		seq_printf(s, "%*s%08llx-%08llx : %s\n", (int)(2 * depth), "",
			   (unsigned long long)ranges[i].base, (unsigned long long)ranges[i].end,
			   ranges[i].name);
		if (depth < DEPTH_MAX)
			inside[depth++] = ranges[i].end;
	}
}

void iomem_init(void)
{
	for (unsigned i = 0; i < bootinfo.nr_ranges; i++) {
		const struct boot_range *r = &bootinfo.range[i];

		iomem_add(r->base, r->len, r->type == BOOT_MEM_RAM ? "System RAM" : "Reserved");
	}
	for (unsigned i = 0; i < bootinfo.nr_modules; i++)
		iomem_add(bootinfo.module[i].base, bootinfo.module[i].len, "Boot module");
	iomem_add(image_pa(text_start), (u64)(text_end - text_start), "Kernel code");
	iomem_add(image_pa(rodata_start), (u64)(rodata_end - rodata_start), "Kernel constants");
	iomem_add(image_pa(data_start), (u64)(data_end - data_start), "Kernel data");
	if (proc_register("iomem", iomem_show, NULL))
		log_warn("iomem: no memory for /proc/iomem");
}
