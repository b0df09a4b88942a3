// SPDX-License-Identifier: MIT
//
// The parts of ACPI that are pure functions of bytes. Freestanding: tests on the host use them too.
// None reads outside the range that it is given, whatever the bytes are.
#pragma once

#include "kernel/lib/types.h"

// Sum of the bytes is 0 modulo 256.
bool acpi_checksum_ok(const void *bytes, size_t len);

// SLP_TYP values of the \_S5 package in AML. False if it was not found in a form that we know.
bool acpi_parse_s5(const u8 *aml, size_t len, u8 *typ_a, u8 *typ_b);

#define MADT_CPUS_MAX    64
#define MADT_IOAPICS_MAX 8
#define MADT_ISA_IRQS    16

struct madt_info {
	u64 lapic_pa;
	unsigned nr_cpus;
	u32 cpu_apic_id[MADT_CPUS_MAX]; // enabled ones only
	unsigned cpus_left_out;         // more than fit
	unsigned nr_ioapics;
	struct {
		u32 pa, gsi_base;
	} ioapic[MADT_IOAPICS_MAX];
	struct {
		u32 gsi;
		bool low_active, level;
	} isa[MADT_ISA_IRQS];
};

// Walk a whole MADT (header included). False if an entry does not fit, with what came before it in
// `out`; out is always usable.
bool acpi_parse_madt(const u8 *table, size_t len, struct madt_info *out);
