// SPDX-License-Identifier: MIT
//
// What: finds the ACPI tables and keeps a list of the sound ones.
//
// Not here: what is in them (acpi_parse.c, madt.c, power.c, drivers/nvdimm/nfit.c).
//
// Invariant: every table in the list is mapped whole, is a header long at least, and sums up to 0.
// Failure: a table that is torn is left out with a log line; without any table the machine runs
// with one CPU and no device interrupts.
#include "drivers/acpi/acpi.h"

#include "drivers/acpi/acpi_parse.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "mm/kmap.h"

#define TABLES_MAX      64
#define TABLE_BYTES_MAX MIB(16) // a DSDT has some 100 KiB; more is a torn length

#define EBDA_POINTER_PA 0x40e // real-mode segment of the extended BIOS data area
#define BIOS_AREA_PA    0xe0000
#define BIOS_AREA_BYTES 0x20000

struct rsdp { // ACPI 6.4, 5.2.5.3
	char signature[8];
	u8 checksum; // of the first 20 bytes
	char oem_id[6];
	u8 revision;
	u32 rsdt_pa;
	u32 length; // from here on only if revision >= 2
	u64 xsdt_pa;
	u8 extended_checksum, reserved[3];
} __attribute__((packed));

#define RSDP_V1_BYTES 20

static const struct acpi_header *tables[TABLES_MAX];
static unsigned nr_tables;

static bool rsdp_sound(const struct rsdp *r)
{
	if (memcmp(r->signature, "RSD PTR ", 8) != 0 || !acpi_checksum_ok(r, RSDP_V1_BYTES))
		return false;
	return r->revision < 2 || (r->length >= sizeof(*r) && acpi_checksum_ok(r, sizeof(*r)));
}

static const struct rsdp *search(u64 base, u64 len)
{
	const u8 *area = kmap_firmware(PHYS(base), len);

	for (u64 at = 0; area && at + sizeof(struct rsdp) <= len; at += 16) {
		const struct rsdp *r = (const void *)(area + at);

		if (rsdp_sound(r))
			return r;
	}
	return NULL;
}

static const struct rsdp *find_rsdp(void)
{
	const struct rsdp *r = NULL;
	const u8 *ebda;
	u16 segment = 0;

	if (bootinfo.rsdp.pa != PHYS_NONE.pa)
		r = kmap_firmware(bootinfo.rsdp, sizeof(*r));
	if (r && rsdp_sound(r))
		return r;
	ebda = kmap_firmware(PHYS(EBDA_POINTER_PA), sizeof(segment));
	if (ebda)
		memcpy(&segment, ebda, sizeof(segment));
	r = segment ? search((u64)segment << 4, KIB(1)) : NULL;
	return r ? r : search(BIOS_AREA_PA, BIOS_AREA_BYTES);
}

// Map the table at `pa`; NULL, with a log line, if it is not sound.
static const struct acpi_header *map_table(u64 pa)
{
	const struct acpi_header *h = pa ? kmap_firmware(PHYS(pa), sizeof(*h)) : NULL;
	u32 len;

	if (!h) {
		log_warn("acpi: no table at %#lx", pa);
		return NULL;
	}
	len = h->length;
	if (len < sizeof(*h) || len > TABLE_BYTES_MAX) {
		log_warn("acpi: table at %#lx: bad length %u", pa, len);
		return NULL;
	}
	h = kmap_firmware(PHYS(pa), len);
	if (!h || !acpi_checksum_ok(h, len)) {
		log_warn("acpi: table at %#lx: bad checksum", pa);
		return NULL;
	}
	return h;
}

static void add_table(u64 pa)
{
	const struct acpi_header *h = map_table(pa);

	if (!h)
		return;
	if (nr_tables == TABLES_MAX) {
		log_warn("acpi: more than %u tables; %.4s is left out", TABLES_MAX, h->signature);
		return;
	}
	tables[nr_tables++] = h;
	log_debug("acpi: %.4s at %#lx, %u bytes", h->signature, pa, h->length);
}

// XSDT (8-byte addresses) or RSDT (4-byte): a header, then addresses to its end.
static void walk_root(const struct acpi_header *root, size_t address_bytes)
{
	const u8 *at = (const u8 *)(root + 1), *end = (const u8 *)root + root->length;

	for (; (size_t)(end - at) >= address_bytes; at += address_bytes) {
		u64 pa = 0;

		memcpy(&pa, at, address_bytes);
		add_table(pa);
	}
}

// The FADT names the DSDT, which is in no list.
static void add_dsdt(void)
{
	enum { FADT_DSDT = 40, FADT_X_DSDT = 140 };
	u32 len, pa32 = 0;
	u64 pa = 0;
	const u8 *fadt = acpi_find("FACP", 0, &len);

	if (!fadt)
		return;
	if (len >= FADT_X_DSDT + 8)
		memcpy(&pa, fadt + FADT_X_DSDT, 8);
	if (len >= FADT_DSDT + 4)
		memcpy(&pa32, fadt + FADT_DSDT, 4);
	add_table(pa ? pa : pa32);
}

void acpi_init(void)
{
	const struct rsdp *r = find_rsdp();
	const struct acpi_header *root = NULL;
	bool wide;

	if (!r) {
		log_warn("acpi: no tables found");
		return;
	}
	wide = r->revision >= 2 && r->xsdt_pa;
	if (wide)
		root = map_table(r->xsdt_pa);
	if (!root) {
		wide = false;
		root = map_table(r->rsdt_pa);
	}
	if (root)
		walk_root(root, wide ? 8 : 4);
	add_dsdt();
	log_info("acpi: %u tables by %s", nr_tables, wide ? "XSDT" : "RSDT");
}

const void *acpi_find(const char sig[4], unsigned nth, u32 *len)
{
	for (unsigned i = 0; i < nr_tables; i++) {
		if (memcmp(tables[i]->signature, sig, 4) != 0 || nth--)
			continue;
		*len = tables[i]->length;
		return tables[i];
	}
	return NULL;
}

unsigned acpi_table_count(void)
{
	return nr_tables;
}

const struct acpi_header *acpi_table(unsigned i)
{
	return tables[i];
}
