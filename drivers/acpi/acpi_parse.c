// SPDX-License-Identifier: MIT
//
// What: MADT and \_S5 from bytes (ACPI 6.4, 5.2.12 and 20.2). Fields are assembled byte by byte:
// the tables promise no alignment.
#include "drivers/acpi/acpi_parse.h"

#define MADT_LAPIC_ADDRESS 36 // offset in the table
#define MADT_FIRST_ENTRY   44

enum madt_type {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_ISA_OVERRIDE = 2,
	MADT_LAPIC_ADDRESS_64 = 5,
	MADT_X2APIC = 9,
};

#define MADT_CPU_ENABLED 1u

#define AML_ZERO        0x00
#define AML_ONE         0x01
#define AML_BYTE_PREFIX 0x0a
#define AML_PACKAGE     0x12

static u32 get32(const u8 *p)
{
	return p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
}

static u16 get16(const u8 *p)
{
	return (u16)(p[0] | p[1] << 8);
}

bool acpi_checksum_ok(const void *bytes, size_t len)
{
	const u8 *p = bytes;
	u8 sum = 0;

	while (len--)
		sum += *p++;
	return sum == 0;
}

static void add_cpu(struct madt_info *out, u32 apic_id, u32 flags)
{
	if (!(flags & MADT_CPU_ENABLED))
		return;
	if (out->nr_cpus < MADT_CPUS_MAX)
		out->cpu_apic_id[out->nr_cpus++] = apic_id;
	else
		out->cpus_left_out++;
}

static void add_ioapic(struct madt_info *out, u32 pa, u32 gsi_base)
{
	if (out->nr_ioapics == MADT_IOAPICS_MAX)
		return;
	out->ioapic[out->nr_ioapics].pa = pa;
	out->ioapic[out->nr_ioapics].gsi_base = gsi_base;
	out->nr_ioapics++;
}

// Polarity in bits 0-1, trigger in bits 2-3; 3 is low or level, all else what ISA has.
static void override_isa(struct madt_info *out, u8 irq, u32 gsi, u16 flags)
{
	if (irq >= MADT_ISA_IRQS)
		return;
	out->isa[irq].gsi = gsi;
	out->isa[irq].low_active = (flags & 3) == 3;
	out->isa[irq].level = (flags >> 2 & 3) == 3;
}

static void parse_entry(const u8 *e, u8 len, struct madt_info *out)
{
	if (e[0] == MADT_LAPIC && len >= 8)
		add_cpu(out, e[3], get32(e + 4));
	else if (e[0] == MADT_X2APIC && len >= 16)
		add_cpu(out, get32(e + 4), get32(e + 8));
	else if (e[0] == MADT_IOAPIC && len >= 12)
		add_ioapic(out, get32(e + 4), get32(e + 8));
	else if (e[0] == MADT_ISA_OVERRIDE && len >= 10)
		override_isa(out, e[3], get32(e + 4), get16(e + 8));
	else if (e[0] == MADT_LAPIC_ADDRESS_64 && len >= 12)
		out->lapic_pa = get32(e + 4) | (u64)get32(e + 8) << 32;
}

bool acpi_parse_madt(const u8 *table, size_t len, struct madt_info *out)
{
	size_t at = MADT_FIRST_ENTRY;

	*out = (struct madt_info){ .lapic_pa = 0xfee00000 };
	for (u8 irq = 0; irq < MADT_ISA_IRQS; irq++)
		out->isa[irq].gsi = irq;
	if (len < MADT_FIRST_ENTRY)
		return false;
	out->lapic_pa = get32(table + MADT_LAPIC_ADDRESS);
	while (at < len) {
		u8 entry_len = len - at >= 2 ? table[at + 1] : 0;

		if (entry_len < 2 || entry_len > len - at)
			return false;
		parse_entry(table + at, entry_len, out);
		at += entry_len;
	}
	return true;
}

// A small integer at *at, as ASL compilers write 0, 1 and 2..255.
static bool parse_small(const u8 *aml, size_t len, size_t *at, u8 *out)
{
	if (*at >= len)
		return false;
	if (aml[*at] == AML_ZERO || aml[*at] == AML_ONE) {
		*out = aml[(*at)++];
		return true;
	}
	if (aml[*at] != AML_BYTE_PREFIX || len - *at < 2)
		return false;
	*out = aml[*at + 1];
	*at += 2;
	return true;
}

// Behind the name: PackageOp, PkgLength (1 to 4 bytes, by the top bits of the first), the number of
// elements, the elements.
static bool parse_s5_package(const u8 *aml, size_t len, u8 *typ_a, u8 *typ_b)
{
	size_t at = 1;

	if (len < 4 || aml[0] != AML_PACKAGE)
		return false;
	at += 1 + (aml[at] >> 6);
	if (at >= len || aml[at] < 2)
		return false;
	at++;
	return parse_small(aml, len, &at, typ_a) && parse_small(aml, len, &at, typ_b);
}

bool acpi_parse_s5(const u8 *aml, size_t len, u8 *typ_a, u8 *typ_b)
{
	for (size_t i = 0; i + 4 <= len; i++)
		if (aml[i] == '_' && aml[i + 1] == 'S' && aml[i + 2] == '5' && aml[i + 3] == '_' &&
		    parse_s5_package(aml + i + 4, len - i - 4, typ_a, typ_b))
			return *typ_a < 8 && *typ_b < 8;
	return false;
}
