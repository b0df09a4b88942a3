// SPDX-License-Identifier: MIT
//
// ACPI parsing from bytes: a MADT as QEMU makes it, every way to tear it, and the \_S5 package in
// the encodings that firmware uses. The buffers are malloc'ed to size, so that the address
// sanitizer sees a read beyond them.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/acpi/acpi_parse.h"

static const u8 madt_entries[] = {
	0,  8,  0, 0,  1,    0,    0,    0,                               // CPU 0, enabled
	0,  8,  1, 7,  1,    0,    0,    0,                               // CPU 1, APIC id 7
	0,  8,  2, 8,  0,    0,    0,    0,                               // disabled
	9,  16, 0, 0,  0x00, 0x01, 0,    0,    1,    0, 0, 0, 3, 0, 0, 0, // x2APIC id 256
	1,  12, 0, 0,  0,    0,    0xc0, 0xfe, 0,    0, 0, 0,             // I/O APIC at fec00000
	2,  10, 0, 0,  2,    0,    0,    0,    0,    0,                   // IRQ 0 arrives at 2
	2,  10, 0, 9,  9,    0,    0,    0,    0x0d, 0,                   // IRQ 9: high, level
	2,  10, 0, 5,  5,    0,    0,    0,    0x0f, 0,                   // IRQ 5: low, level
	2,  10, 0, 99, 5,    0,    0,    0,    0x0f, 0, // no ISA interrupt: ignored
	77, 3,  0,                                      // unknown: skipped
};

#define MADT_BYTES (44 + sizeof(madt_entries))

// The first `len` bytes of the table, in memory of exactly that size.
static u8 *make_madt(size_t len)
{
	u8 full[MADT_BYTES] = { 'A', 'P', 'I', 'C' }, *t = malloc(len ? len : 1);

	full[38] = 0xe0; // LAPIC at fee00000
	full[39] = 0xfe;
	memcpy(full + 44, madt_entries, sizeof(madt_entries));
	memcpy(t, full, len);
	return t;
}

static void test_madt(void **state)
{
	struct madt_info m;
	u8 *t = make_madt(MADT_BYTES);

	(void)state;
	assert_true(acpi_parse_madt(t, MADT_BYTES, &m));
	assert_int_equal(m.lapic_pa, 0xfee00000);
	assert_int_equal(m.nr_cpus, 3);
	assert_int_equal(m.cpu_apic_id[1], 7);
	assert_int_equal(m.cpu_apic_id[2], 256);
	assert_int_equal(m.nr_ioapics, 1);
	assert_int_equal(m.ioapic[0].pa, 0xfec00000);
	assert_int_equal(m.isa[0].gsi, 2);
	assert_int_equal(m.isa[1].gsi, 1);
	assert_true(m.isa[9].level && !m.isa[9].low_active);
	assert_true(m.isa[5].level && m.isa[5].low_active);
	free(t);
}

// Cut at every length: never a read outside, and true only at the end of an entry.
static void test_madt_cut(void **state)
{
	unsigned whole = 0;

	(void)state;
	for (size_t len = 0; len <= MADT_BYTES; len++) {
		u8 *t = make_madt(len);
		struct madt_info m;

		whole += acpi_parse_madt(t, len, &m);
		assert_true(m.nr_cpus <= 3 && m.nr_ioapics <= 1 && m.isa[15].gsi == 15);
		free(t);
	}
	assert_int_equal(whole, 11); // no entry, and behind each of the ten
}

static void test_madt_bad_entry(void **state)
{
	struct madt_info m;
	u8 *t = make_madt(MADT_BYTES);

	(void)state;
	t[44 + 8 + 1] = 0; // would never advance
	assert_false(acpi_parse_madt(t, MADT_BYTES, &m));
	assert_int_equal(m.nr_cpus, 1);
	t[44 + 8 + 1] = 255;
	assert_false(acpi_parse_madt(t, MADT_BYTES, &m));
	free(t);
}

static void test_madt_many_cpus(void **state)
{
	size_t len = 44 + 100 * 8;
	u8 *t = calloc(1, len);
	struct madt_info m;

	(void)state;
	for (size_t i = 0; i < 100; i++)
		memcpy(t + 44 + i * 8, (u8[]){ 0, 8, 0, (u8)i, 1, 0, 0, 0 }, 8);
	assert_true(acpi_parse_madt(t, len, &m));
	assert_int_equal(m.nr_cpus, MADT_CPUS_MAX);
	assert_int_equal(m.cpus_left_out, 100 - MADT_CPUS_MAX);
	free(t);
}

static bool s5(const u8 *aml, size_t len, u8 *a, u8 *b)
{
	bool whole;

	for (size_t cut = 0; cut <= len; cut++) { // only for the sanitizer
		u8 *copy = malloc(cut ? cut : 1);

		memcpy(copy, aml, cut);
		whole = acpi_parse_s5(copy, cut, a, b);
		free(copy);
	}
	return whole;
}

static void test_s5(void **state)
{
	// Name (_S5, Package (4) { 0, 0, 0, 0 }), as QEMU; { 5, 6 } by byte constants, as Bochs.
	static const u8 zeros[] = { 8, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0 };
	static const u8 bytes[] = { 1, 2, '_', 'S', '5', '_', 0x12, 8, 2, 0x0a, 5, 0x0a, 6 };
	static const u8 long_length[] = { '_', 'S', '5', '_', 0x12, 0x47, 0, 4, 1, 0x0a, 7, 0, 0 };
	static const u8 not_package[] = { '_', 'S', '5', '_', 0x11, 6, 4, 0, 0, 0, 0 };
	static const u8 too_large[] = { '_', 'S', '5', '_', 0x12, 8, 2, 0x0a, 9, 0x0a, 6 };
	u8 a, b;

	(void)state;
	assert_true(s5(zeros, sizeof(zeros), &a, &b));
	assert_true(a == 0 && b == 0);
	assert_true(s5(bytes, sizeof(bytes), &a, &b));
	assert_true(a == 5 && b == 6);
	assert_true(s5(long_length, sizeof(long_length), &a, &b));
	assert_true(a == 1 && b == 7);
	assert_false(s5(not_package, sizeof(not_package), &a, &b));
	assert_false(s5(too_large, sizeof(too_large), &a, &b));
}

static void test_checksum(void **state)
{
	(void)state;
	assert_true(acpi_checksum_ok("", 0));
	assert_true(acpi_checksum_ok("\x01\xff", 2));
	assert_false(acpi_checksum_ok("\x01\xfe", 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_madt_cut),
		cmocka_unit_test(test_madt_bad_entry),
		cmocka_unit_test(test_madt_many_cpus),
		cmocka_unit_test(test_s5),
		cmocka_unit_test(test_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
