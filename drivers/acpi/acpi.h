// SPDX-License-Identifier: MIT
//
// ACPI tables, read-only. No AML is interpreted.
#pragma once

#include "kernel/lib/types.h"

struct acpi_header { // ACPI 6.4, 5.2.6
	char signature[4];
	u32 length; // bytes, this header included
	u8 revision, checksum;
	char oem_id[6], oem_table_id[8];
	u32 oem_revision;
	char creator_id[4];
	u32 creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.4, 5.2.6");

// Find the root pointer (from the loader, else in the BIOS areas), walk XSDT or RSDT, and note
// every table whose length and checksum are right. Each other one costs a log line and is left out.
// Boot CPU, once, after kmap_init().
void acpi_init(void);

// The n-th (from 0) table with this signature, and its length in bytes; NULL if there is none. The
// whole table [p, p + *len) is readable, its checksum was right; its contents are not checked.
const void *acpi_find(const char sig[4], unsigned nth, u32 *len);

// How many tables there are, and the i-th one, for /proc.
unsigned acpi_table_count(void);
const struct acpi_header *acpi_table(unsigned i);

struct apic_config; // kernel/x86/irq.h
// Interrupt controllers and CPUs from the MADT. Without a usable MADT: the boot CPU alone, its
// LAPIC where it always is, no device interrupts; and a log line.
void madt_read(struct apic_config *config);

// Tell kernel/x86/machine.h how to switch off: FADT and the \_S5 package of the DSDT.
void acpi_power_init(void);
