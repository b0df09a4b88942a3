// SPDX-License-Identifier: MIT
//
// What: RAM while the machine comes up (bootmem.h): a short sorted list of free extents.
// Not here: the allocator for the time after (mm/frame.c).
//
// Invariants
//   I1  extents are page aligned, not empty, sorted, disjoint, and hold no address below 1 MiB: the
//       trampoline of other CPUs and firmware data live there.
// Failure: with more extents than the list holds, the highest are dropped (that RAM stays unused).
#include "mm/bootmem.h"

#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/x86/image.h"

#define EXTENTS_MAX (2 * BOOT_RANGES_MAX)
#define LOW_MEMORY  MIB(1)

struct extent {
	u64 base, end;
};

static struct extent extents[EXTENTS_MAX];
static unsigned nr_extents;
static bool handed_over;

static void insert_at(unsigned i, u64 base, u64 end)
{
	if (nr_extents == EXTENTS_MAX) {
		log_warn("bootmem: too many extents, memory above %#lx stays unused",
			 extents[nr_extents - 1].base);
		nr_extents--;
	}
	for (unsigned k = nr_extents; k > i; k--)
		extents[k] = extents[k - 1];
	extents[i] = (struct extent){ base, end };
	nr_extents++;
}

static void remove_at(unsigned i)
{
	nr_extents--;
	for (; i < nr_extents; i++)
		extents[i] = extents[i + 1];
}

// Take [base, end), rounded out to pages, out of whatever holds it.
static void carve(u64 base, u64 end)
{
	base = ALIGN_DOWN(base, PAGE_SIZE);
	end = ALIGN_UP(end, PAGE_SIZE);
	for (unsigned i = 0; i < nr_extents;) {
		struct extent e = extents[i];

		if (base >= e.end || end <= e.base) {
			i++;
			continue;
		}
		remove_at(i);
		if (base > e.base)
			insert_at(i++, e.base, base);
		if (end < e.end)
			insert_at(i++, end, e.end);
	}
}

void bootmem_init(void)
{
	for (unsigned i = 0; i < bootinfo.nr_ranges; i++) {
		const struct boot_range *r = &bootinfo.range[i];
		u64 base = ALIGN_UP(r->base.pa, PAGE_SIZE);
		u64 end = ALIGN_DOWN(r->base.pa + r->len, PAGE_SIZE);

		if (r->type == BOOT_MEM_RAM && base < end)
			insert_at(nr_extents, base, end);
	}
	carve(0, LOW_MEMORY);
	carve(image_pa(image_start).pa, image_pa(image_end).pa);
	for (unsigned i = 0; i < bootinfo.nr_modules; i++)
		carve(bootinfo.module[i].base.pa,
		      bootinfo.module[i].base.pa + bootinfo.module[i].len);
}

phys_t bootmem_alloc(u64 bytes, u64 align, u64 limit)
{
	bytes = ALIGN_UP(bytes, PAGE_SIZE);
	ASSERT(!handed_over);
	for (unsigned i = 0; i < nr_extents; i++) {
		u64 base = ALIGN_UP(extents[i].base, align);
		u64 end = min(extents[i].end, limit);

		if (base < end && bytes <= end - base) {
			carve(base, base + bytes);
			return PHYS(base);
		}
	}
	panic("bootmem: no %lu KiB of memory below %#lx", bytes >> 10, limit);
}

void bootmem_for_each(void (*fn)(phys_t base, u64 len))
{
	for (unsigned i = 0; i < nr_extents; i++)
		fn(PHYS(extents[i].base), extents[i].end - extents[i].base);
}

void bootmem_hand_over(void (*fn)(phys_t base, u64 len))
{
	handed_over = true;
	bootmem_for_each(fn);
}
