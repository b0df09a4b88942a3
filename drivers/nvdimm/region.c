// SPDX-License-Identifier: MIT
//
// What: makes regions of the ranges that the NFIT names and of `pmem=SIZE@ADDR`, maps them, and
// shows them in /proc/pmem and /proc/iomem.
// Not here: reading the table (nfit.c), writing the memory (pmem.c), what is on it (fs/ptfs).
//
// Invariants
//   I1  Usable regions do not overlap each other nor RAM that the kernel hands out.
//   I2  Only a region that may be written is mapped at PMEM_ALIAS_BASE.
//   I3  A usable region begins on a multiple of 2 MiB. One that does not is listed and left alone:
//       using the aligned part of it would move the file system's superblock.
// Locking: the list is made before there is a second thread. `in_use` changes by atomic exchange.
#include "drivers/nvdimm/region.h"

#include "drivers/acpi/acpi.h"
#include "drivers/nvdimm/nfit.h"
#include "drivers/nvdimm/pmem.h"
#include "drivers/platform/iomem.h"
#include "fs/procfs.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/x86/cpu.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/layout.h"

static struct pmem_region regions[PMEM_REGIONS_MAX];
static unsigned nr_regions;
static struct nfit nfit; // too large for a stack

// Keeps the list sorted by base. The entry to fill, or NULL when the list is full.
static struct pmem_region *region_add(phys_t base, u64 len, enum pmem_origin origin)
{
	unsigned i;

	if (nr_regions == PMEM_REGIONS_MAX) {
		log_warn("pmem: more than %d regions; the one at 0x%llx is left out",
			 PMEM_REGIONS_MAX, (unsigned long long)base.pa);
		return NULL;
	}
	for (i = nr_regions++; i > 0 && regions[i - 1].base.pa > base.pa; i--)
		regions[i] = regions[i - 1];
	regions[i] = (struct pmem_region){ .base = base, .len = len, .origin = origin };
	return &regions[i];
}

static bool overlaps_ram(phys_t base, u64 len)
{
	for (unsigned i = 0; i < bootinfo.nr_ranges; i++) {
		const struct boot_range *r = &bootinfo.range[i];

		if (r->type == BOOT_MEM_RAM && base.pa < r->base.pa + r->len &&
		    r->base.pa < base.pa + len)
			return true;
	}
	return false;
}

static void add_nfit_region(const struct nfit_region *n)
{
	struct pmem_region *r = region_add(n->base, n->len, PMEM_NFIT);

	if (!r)
		return;
	r->handle = n->handle;
	r->usable = n->use != NFIT_REFUSED;
	r->read_only = n->use == NFIT_READ_ONLY;
	r->caches_persistent = nfit.capabilities & NFIT_CAP_CACHE_FLUSH;
	r->state = n->reason ? n->reason : "ready";
	if (r->usable && overlaps_ram(r->base, r->len)) {
		r->usable = false;
		r->state = "unused: the memory map says that it is RAM";
	}
}

static void find_nfit(void)
{
	u32 bytes;
	const void *table = acpi_find("NFIT", 0, &bytes);

	if (!table)
		return;
	if (nfit_decode(table, bytes, cpu_features.phys_bits, &nfit)) {
		log_err("nfit: +0x%x: %s; the table is ignored", nfit.error_off, nfit.error);
		return;
	}
	for (unsigned i = 0; i < nfit.nr_notes; i++)
		log_info("nfit: +0x%x: %s (0x%x)", nfit.note[i].off, nfit.note[i].what,
			 nfit.note[i].value);
	if (nfit.notes_lost)
		log_info("nfit: %u more remarks", nfit.notes_lost);
	if (nfit.has_capabilities)
		log_info("nfit: platform capabilities 0x%x", nfit.capabilities);
	for (unsigned i = 0; i < nfit.nr_regions; i++)
		add_nfit_region(&nfit.region[i]);
}

// One `pmem=SIZE@ADDR`.
static void carve(const char *text)
{
	const char *at, *end;
	struct pmem_region *r;
	u64 len, base;
	int err;

	if (!parse_u64(text, &at, true, &len) || *at != '@' ||
	    !parse_u64(at + 1, &end, true, &base) || *end != '\0') {
		log_err("pmem: '%s' is not SIZE@ADDR", text);
		return;
	}
	if (!len || !IS_ALIGNED(len, PMD_SIZE) || !IS_ALIGNED(base, PMD_SIZE) ||
	    base + len < base) {
		log_err("pmem: '%s': size and address must be multiples of 2 MiB", text);
		return;
	}
	err = frame_reserve(PHYS(base), len);
	if (err) {
		log_err("pmem: '%s': not free RAM from end to end (error %d)", text, err);
		return;
	}
	r = region_add(PHYS(base), len, PMEM_CARVED);
	if (!r)
		return;
	r->usable = true;
	r->state = "ready";
}

static void find_carved(void)
{
	char text[64];

	for (unsigned i = 0; bootparam_nth("pmem", i, text, sizeof(text)); i++)
		carve(text);
}

static void map_region(struct pmem_region *r)
{
	if (r->usable && !IS_ALIGNED(r->base.pa, PMD_SIZE)) {
		r->usable = false;
		r->state = "unused: base not 2 MiB aligned";
	}
	if (r->usable && kmap_pmem(r->base, r->len, r->read_only)) {
		r->usable = false;
		r->state = "unused: no memory for its page tables";
	}
	if (r->usable)
		r->virt = phys_to_virt(r->base);
	iomem_add(r->base, r->len, r->name);
	log_info("%s: 0x%llx, %llu KiB, %s, %s", r->name, (unsigned long long)r->base.pa,
		 (unsigned long long)(r->len >> 10), r->origin == PMEM_NFIT ? "NVDIMM" : "carved",
		 r->state);
}

static void proc_pmem_show(struct seq *s, void *arg)
{
	(void)arg;
	seq_printf(s, "name    base                size          in use  origin       state\n");
	for (unsigned i = 0; i < nr_regions; i++) {
		const struct pmem_region *r = &regions[i];
		char origin[16] = "carved";

		if (r->origin == PMEM_NFIT)
			ksnprintf(origin, sizeof(origin), "nfit:0x%x", r->handle);
		seq_printf(s, "%-7s 0x%016llx  %8llu KiB  %-6s  %-11s  %s\n", r->name,
			   (unsigned long long)r->base.pa, (unsigned long long)(r->len >> 10),
			   READ_ONCE(r->in_use) ? "yes" : "no", origin, r->state);
	}
}

void pmem_init(void)
{
	find_nfit();
	find_carved();
	for (unsigned i = 0; i < nr_regions; i++) {
		ksnprintf(regions[i].name, sizeof(regions[i].name), "pmem%u", i);
		map_region(&regions[i]);
	}
	if (nr_regions)
		pmem_ops_init(nfit.capabilities & NFIT_CAP_CACHE_FLUSH);
	if (proc_register("pmem", proc_pmem_show, NULL))
		log_warn("pmem: no memory for /proc/pmem");
}

unsigned pmem_region_count(void)
{
	return nr_regions;
}

struct pmem_region *pmem_region_get(unsigned index)
{
	ASSERT(index < nr_regions);
	return &regions[index];
}

struct pmem_region *pmem_region_find(const char *name)
{
	for (unsigned i = 0; i < nr_regions; i++)
		if (strcmp(regions[i].name, name) == 0)
			return &regions[i];
	return NULL;
}

int pmem_region_claim(struct pmem_region *r)
{
	if (!r->usable)
		return -EINVAL;
	return __atomic_exchange_n(&r->in_use, true, __ATOMIC_ACQUIRE) ? -EBUSY : 0;
}

void pmem_region_release(struct pmem_region *r)
{
	ASSERT(r->in_use);
	__atomic_store_n(&r->in_use, false, __ATOMIC_RELEASE);
}
