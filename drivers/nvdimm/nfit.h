// SPDX-License-Identifier: MIT
//
// The NVDIMM Firmware Interface Table (ACPI 6.4, 5.2.25) as a pure function: bytes in, persistent
// memory ranges and reasons out. Freestanding; the host tests and the fuzzer link the same object.
//
//      table header | structure | structure | ...         each {type u16, length u16, ...}
//
//      type 0 SPA range      "physical addresses [base, base+len) are persistent memory"
//      type 1 mapping        "... and this DIMM contributes so many bytes; it is (not) armed"
//      type 2 interleave     how the bytes of several DIMMs alternate
//      type 4 control region who made the DIMM
//      type 6 flush hints    addresses whose writing empties a controller's queue
//      type 7 capabilities   what reaches the DIMM by itself when power fails
//      type 3, 5             SMBIOS data, block windows: checked and skipped
#pragma once

#include "kernel/lib/types.h"

#define NFIT_REGIONS_MAX 16
#define NFIT_NOTES_MAX   16
#define NFIT_BYTES_MAX   KIB(256) // a larger table is refused: no machine needs it
#define NFIT_TYPES       8        // structure types 0 .. 7 are known

// Mapping state flags (table 5-130). The first four mean that what is written may not last.
#define NFIT_MAP_SAVE_FAILED    BIT(0)
#define NFIT_MAP_RESTORE_FAILED BIT(1)
#define NFIT_MAP_FLUSH_FAILED   BIT(2)
#define NFIT_MAP_NOT_ARMED      BIT(3)
#define NFIT_MAP_HEALTH_EVENT   BIT(4)
#define NFIT_MAP_NOT_MAPPED     BIT(6)

// Platform capabilities (table 5-137).
#define NFIT_CAP_CACHE_FLUSH BIT(0) // CPU caches reach the DIMM at power loss
#define NFIT_CAP_MC_FLUSH    BIT(1) // the memory controller's queues do

enum nfit_use {
	NFIT_READY,     // may be written
	NFIT_READ_ONLY, // `reason` says why
	NFIT_REFUSED,   // not to be touched; `reason` says why
};

struct nfit_region {
	phys_t base;
	u64 len; // bytes
	u16 spa_index;
	u16 ways;   // DIMMs interleaved; 1: none; 0: the table names no DIMM for it
	u16 flags;  // NFIT_MAP_*, of all its DIMMs
	u32 handle; // NFIT device handle of the first DIMM
	enum nfit_use use;
	const char *reason; // NULL when NFIT_READY
};

// Something worth a log line that is not an error of the table: `what` at byte `off` of it.
struct nfit_note {
	u32 off;
	u32 value;
	const char *what;
};

struct nfit {
	const char *error; // the table is torn and names nothing; NULL: sound
	u32 error_off;     // where
	struct nfit_region region[NFIT_REGIONS_MAX]; // by base
	unsigned nr_regions;
	bool has_capabilities;
	u32 capabilities;           // NFIT_CAP_*; only bits that the table says are valid
	unsigned count[NFIT_TYPES]; // structures by type
	unsigned unknown;           // structures of other types
	struct nfit_note note[NFIT_NOTES_MAX];
	unsigned nr_notes, notes_lost;
};

// Decodes the table in buf[0, bytes), which must not change meanwhile; nothing outside is read, no
// alignment is needed. `phys_bits` is the width of physical addresses. Always fills *out. 0, or
// -EINVAL with out->error when header, checksum or a structure's length is wrong: then there is no
// region. A range that contradicts itself or another is in the list as NFIT_REFUSED.
int nfit_decode(const void *buf, size_t bytes, unsigned phys_bits, struct nfit *out) __must_check;
