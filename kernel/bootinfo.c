// SPDX-License-Identifier: MIT
//
// What: turns what either loader says into `bootinfo`: command line, memory map, modules, RSDP.
//
// Not here: the command line's words (bootparam.c), what is done with the memory (mm/frame.c).
//
// Invariants, from the end of bootinfo_init() on:
//   I1 ranges are sorted by base, do not overlap and are not empty.
//   I2 an address that two entries of the loader's map claim is RAM only if both say so.
//   I3 the loader's structures are not needed any more: everything was copied.
//
// Failure: a map with more ranges than fit is cut, which can only hide memory; reported later.
// Reading is bounded by the sizes that the structures state, and by the 4 GiB that boot maps.
#include "kernel/bootinfo_internal.h"

#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "mm/layout.h"

struct bootinfo bootinfo;

static bool truncated; // the loader gave more than fits

void bootinfo_add_range(u64 base, u64 len, u32 type)
{
	if (len == 0 || base + len < base)
		return;
	if (bootinfo.nr_ranges == BOOT_RANGES_MAX) {
		truncated = true;
		return;
	}
	bootinfo.range[bootinfo.nr_ranges++] = (struct boot_range){ PHYS(base), len, type };
}

void bootinfo_add_module(u64 base, u64 len)
{
	if (bootinfo.nr_modules == BOOT_MODULES_MAX) {
		truncated = true;
		return;
	}
	bootinfo.module[bootinfo.nr_modules++] = (struct boot_module){ PHYS(base), len };
}

void bootinfo_set_cmdline(const char *text, size_t max)
{
	size_t n = strnlen(text, min(max, sizeof(bootinfo.cmdline) - 1));

	memcpy(bootinfo.cmdline, text, n);
	bootinfo.cmdline[n] = '\0';
}

const void *bootinfo_early_ptr(u64 pa, u64 len)
{
	if (pa == 0 || len > GIB(4) || pa > GIB(4) - len)
		return NULL;
	return phys_to_virt(PHYS(pa));
}

static void sort_ranges(void)
{
	struct boot_range *r = bootinfo.range;

	for (unsigned i = 1; i < bootinfo.nr_ranges; i++) {
		struct boot_range x = r[i];
		unsigned j = i;

		for (; j > 0 && r[j - 1].base.pa > x.base.pa; j--)
			r[j] = r[j - 1];
		r[j] = x;
	}
}

static void cut_range(unsigned i, u64 base, u64 end)
{
	bootinfo.range[i].base = PHYS(base);
	bootinfo.range[i].len = end > base ? end - base : 0;
}

// Establish I1 and I2: where two neighbours overlap, the one that is RAM gives way. If it reaches
// over both sides of the other, what lies behind becomes a range of its own.
static void resolve_overlap(unsigned i)
{
	struct boot_range a = bootinfo.range[i], b = bootinfo.range[i + 1];
	u64 a_end = a.base.pa + a.len, b_end = b.base.pa + b.len;

	if (a.type == BOOT_MEM_RAM) {
		cut_range(i, a.base.pa, b.base.pa);
		if (a_end > b_end)
			bootinfo_add_range(b_end, a_end - b_end, a.type);
	} else {
		cut_range(i + 1, a_end, b_end);
	}
}

static void drop_empty(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < bootinfo.nr_ranges; i++)
		if (bootinfo.range[i].len)
			bootinfo.range[n++] = bootinfo.range[i];
	bootinfo.nr_ranges = n;
}

void bootinfo_normalise(void)
{
	sort_ranges();
	for (unsigned i = 0; i + 1 < bootinfo.nr_ranges;) {
		const struct boot_range *r = &bootinfo.range[i];

		if (r[0].base.pa + r[0].len <= r[1].base.pa) {
			i++;
			continue;
		}
		resolve_overlap(i);
		drop_empty();
		sort_ranges();
		i = i ? i - 1 : 0;
	}
}

void bootinfo_init(u32 magic, phys_t info)
{
	memset(&bootinfo, 0, sizeof(bootinfo));
	bootinfo.rsdp = PHYS_NONE;
	if (magic == MULTIBOOT2_MAGIC)
		bootinfo_read_multiboot2(info);
	else
		bootinfo_read_pvh(info);
	bootinfo_normalise();
}

void bootinfo_report(void)
{
	u64 ram = 0;

	log_info("boot: by %s, command line \"%s\"", bootinfo.loader, bootinfo.cmdline);
	for (unsigned i = 0; i < bootinfo.nr_ranges; i++) {
		const struct boot_range *r = &bootinfo.range[i];

		log_debug("boot: memory %012lx-%012lx type %u", r->base.pa, r->base.pa + r->len - 1,
			  r->type);
		if (r->type == BOOT_MEM_RAM)
			ram += r->len;
	}
	for (unsigned i = 0; i < bootinfo.nr_modules; i++)
		log_debug("boot: module %u at %lx, %lu bytes", i, bootinfo.module[i].base.pa,
			  bootinfo.module[i].len);
	log_info("boot: %lu MiB of RAM, %u modules", ram >> 20, bootinfo.nr_modules);
	if (truncated)
		log_warn("boot: the loader gave more ranges or modules than the kernel keeps");
	bootparam_check();
}
