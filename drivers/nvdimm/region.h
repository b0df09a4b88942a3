// SPDX-License-Identifier: MIT
//
// Persistent-memory regions: what the NFIT (ACPI 6.4, 5.2.25) or `pmem=SIZE@ADDR` named. Regions
// are pmem0, pmem1, ... in order of their base address; those that cannot be used keep their number
// and say why. The list is made at boot and never changes, except for claims.
#pragma once

#include "kernel/lib/types.h"

#define PMEM_REGIONS_MAX 16

enum pmem_origin { PMEM_NFIT, PMEM_CARVED };

struct pmem_region {
	char name[8]; // "pmem0"
	phys_t base;
	u64 len;                // bytes
	bool usable;            // false: `state` says why nobody may claim it
	bool read_only;         // the DIMM is not armed, or the platform cannot flush
	bool caches_persistent; // platform capability: no write-back needed
	enum pmem_origin origin;
	u32 handle;        // NFIT device handle, 0 if carved
	const char *state; // "ready", "read-only: not armed", "unused: base not 2 MiB aligned", ...
	bool in_use;       // claimed by a file system [atomic]
	const void *virt;  // read-only view (direct map); NULL if not usable
};

// Find all regions (NFIT and command line), map them, choose the write-back instruction, make
// /proc/pmem. After heap, frames and ACPI; once. What is wrong with a region is logged and stays
// its own trouble.
void pmem_init(void);

unsigned pmem_region_count(void);
struct pmem_region *pmem_region_get(unsigned index);    // index < pmem_region_count()
struct pmem_region *pmem_region_find(const char *name); // NULL: no such region
// Exclusive use by a file system: 0, -EBUSY (somebody has it), -EINVAL (not usable). Any context.
int pmem_region_claim(struct pmem_region *r) __must_check;
void pmem_region_release(struct pmem_region *r);
