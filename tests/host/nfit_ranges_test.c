// SPDX-License-Identifier: MIT
//
// Host tests of the NFIT decoder, second half: what sound tables say about their ranges - which are
// persistent memory, which may be written, which contradict themselves or each other.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/host/nfit_build.h"

#define BASE0 0x100000000ull
#define LEN0  MIB(64)

static void expect_one(struct build *t, enum nfit_use use, const char *reason)
{
	struct nfit n;

	assert_int_equal(build_decode(t, &n), 0);
	assert_int_equal(n.nr_regions, 1);
	assert_int_equal(n.region[0].use, use);
	if (reason)
		assert_string_equal(n.region[0].reason, reason);
}

static void test_qemu_one_dimm(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.nr_regions, 1);
	assert_int_equal(n.region[0].base.pa, BASE0);
	assert_int_equal(n.region[0].len, LEN0);
	assert_int_equal(n.region[0].handle, 1);
	assert_int_equal(n.region[0].ways, 1);
	assert_int_equal(n.region[0].use, NFIT_READY);
	assert_false(n.has_capabilities);
	assert_int_equal(n.nr_notes, 0);
}

// QEMU lists swapped slots in another order than their addresses.
static void test_sorted_by_base(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	build_dimm(&t, 1, BASE0 + LEN0, MIB(3), 0);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.nr_regions, 2);
	assert_int_equal(n.region[0].handle, 1);
	assert_int_equal(n.region[1].handle, 2);
	assert_int_equal(n.region[1].use, NFIT_READY);
}

static void test_state_flags(void **state)
{
	static const struct {
		u16 flags;
		enum nfit_use use;
		const char *reason;
	} rows[] = {
		{ 0x01, NFIT_READ_ONLY, "read-only: last save failed" },
		{ 0x02, NFIT_READ_ONLY, "read-only: last restore failed" },
		{ 0x04, NFIT_READ_ONLY, "read-only: last platform flush failed" },
		{ 0x08, NFIT_READ_ONLY, "read-only: not armed" },
		{ 0x10, NFIT_READY, NULL },
		{ 0x20, NFIT_READY, NULL },
		{ 0x40, NFIT_REFUSED, "unused: firmware did not map the DIMM" },
		{ 0x4f, NFIT_REFUSED, "unused: firmware did not map the DIMM" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct build t;

		build_start(&t);
		build_dimm(&t, 0, BASE0, LEN0, rows[i].flags);
		expect_one(&t, rows[i].use, rows[i].reason);
	}
}

static void test_capabilities(void **state)
{
	static const struct {
		u8 highest;
		u32 caps, valid;
		enum nfit_use use;
	} rows[] = {
		{ 1, 3, 3, NFIT_READY },     // nvdimm-persistence=cpu
		{ 1, 2, 2, NFIT_READY },     // nvdimm-persistence=mem-ctrl
		{ 0, 3, 1, NFIT_READY },     // bit 1 lies above the highest valid one
		{ 2, 4, 4, NFIT_READ_ONLY }, // mirrored, but nothing is flushed
		{ 0, 2, 0, NFIT_READ_ONLY }, { 255, 0xffffffff, 0xffffffff, NFIT_READY },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct build t;
		struct nfit n;

		build_start(&t);
		build_dimm(&t, 0, BASE0, LEN0, 0);
		build_caps(&t, rows[i].highest, rows[i].caps);
		assert_int_equal(build_decode(&t, &n), 0);
		assert_true(n.has_capabilities);
		assert_int_equal(n.capabilities, rows[i].valid);
		assert_int_equal(n.region[0].use, rows[i].use);
	}
}

// Whichever comes first in the table, the capabilities bind every range; of two, the weaker binds.
static void test_capabilities_first_and_twice(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	build_caps(&t, 1, 3);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	build_caps(&t, 1, 2);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.capabilities, 2);
	assert_int_equal(n.nr_notes, 1);
}

static void test_guid(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	build_spa(&t, 2, GUID_VOLATILE, BASE0, LEN0);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.nr_regions, 0);
	for (unsigned bit = 0; bit < 128; bit++) {
		u8 guid[16];

		memcpy(guid, GUID_PM, sizeof(guid));
		guid[bit / 8] ^= (u8)(1u << bit % 8);
		build_start(&t);
		build_spa(&t, 2, guid, BASE0, LEN0);
		assert_int_equal(build_decode(&t, &n), 0);
		assert_int_equal(n.nr_regions, 0);
	}
}

static void test_range_arithmetic(void **state)
{
	static const struct {
		u64 base, len;
		const char *reason;
	} rows[] = {
		{ BASE0, 0, "unused: length is zero" },
		{ ~0ull - 4095, 4096, "unused: beyond the CPU's physical addresses" },
		{ ~0ull - 4095, 8192, "unused: beyond the CPU's physical addresses" },
		{ BASE0, ~0ull - 4095, "unused: beyond the CPU's physical addresses" },
		{ BIT(40), 4096, "unused: beyond the CPU's physical addresses" },
		{ BIT(40) - 4096, 8192, "unused: beyond the CPU's physical addresses" },
		{ BASE0 + 8, LEN0, "unused: base or length is not a multiple of 4 KiB" },
		{ BASE0, LEN0 + 8, "unused: base or length is not a multiple of 4 KiB" },
	};
	struct build last;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct build t;

		build_start(&t);
		build_dimm(&t, 0, rows[i].base, rows[i].len, 0);
		expect_one(&t, NFIT_REFUSED, rows[i].reason);
	}
	// The last page of the address space is a fine place.
	build_start(&last);
	build_dimm(&last, 0, BIT(40) - 4096, 4096, 0);
	expect_one(&last, NFIT_READY, NULL);
}

static void test_index_and_attribute(void **state)
{
	struct build t;
	u8 *s;

	(void)state;
	build_start(&t);
	build_spa(&t, 0, GUID_PM, BASE0, LEN0);
	expect_one(&t, NFIT_REFUSED, "unused: range index is zero");
	build_start(&t);
	s = build_spa(&t, 2, GUID_PM, BASE0, LEN0);
	put(s + 48, 0x8001, 8);
	expect_one(&t, NFIT_REFUSED, "unused: memory is not write-back cacheable");
}

static void expect_both_refused(struct build *t, const char *reason)
{
	struct nfit n;

	assert_int_equal(build_decode(t, &n), 0);
	assert_int_equal(n.nr_regions, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(n.region[i].use, NFIT_REFUSED);
		assert_string_equal(n.region[i].reason, reason);
	}
}

static void test_duplicates_and_overlaps(void **state)
{
	struct build t;

	(void)state;
	build_start(&t);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	expect_both_refused(&t, "unused: two ranges have one index");

	build_start(&t);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	build_dimm(&t, 1, BASE0 + LEN0 - 4096, LEN0, 0);
	expect_both_refused(&t, "unused: overlaps another range of the table");

	build_start(&t);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	build_dimm(&t, 1, BASE0 + 4096, 4096, 0);
	expect_both_refused(&t, "unused: overlaps another range of the table");

	// Volatile memory inside persistent memory: one of the two is a lie.
	build_start(&t);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	build_spa(&t, 9, GUID_VOLATILE, BASE0 + 4096, 4096);
	expect_one(&t, NFIT_REFUSED, "unused: overlaps another range of the table");

	build_start(&t);
	build_spa(&t, 2, GUID_PM, BASE0, LEN0);
	build_map(&t, 7, 2, LEN0 / 2, 2, 0);
	build_map(&t, 7, 2, LEN0 / 2, 2, 0);
	expect_one(&t, NFIT_REFUSED, "unused: interleave description is missing or empty");
}

// A two-way interleave set; `mutate` 0 is the sound one.
static void build_interleaved(struct build *t, unsigned mutate)
{
	u8 *s;

	build_start(t);
	build_spa(t, 2, GUID_PM, BASE0, LEN0);
	s = build_map(t, 1, 2, LEN0 / 2 - (mutate == 1 ? 4096 : 0) + (mutate == 2 ? 4096 : 0), 2,
		      0);
	put(s + 40, mutate == 3 ? 6 : 5, 2);
	s = build_map(t, mutate == 4 ? 1 : 2, 2, LEN0 / 2, mutate == 5 ? 4 : 2,
		      mutate == 6 ? 8 : 0);
	put(s + 40, 5, 2);
	if (mutate == 7)
		put(s + 24, LEN0, 8);
	if (mutate == 8) {
		s = build_map(t, 3, 2, 0, 2, 0);
		put(s + 40, 5, 2);
	}
	s = build_add(t, 2, 16 + 4 * 2);
	put(s + 4, 5, 2);
	put(s + 8, mutate == 9 ? 0 : 2, 4);
	put(s + 12, mutate == 10 ? 0 : 4096, 4);
	if (mutate == 11)
		t->len = 40 + 56 + 48; // only the first DIMM is left, and no interleave
}

static void test_interleave(void **state)
{
	static const char *const reason[] = {
		NULL,
		"unused: DIMM regions are smaller than the range",
		"unused: DIMM regions are larger than the range",
		"unused: interleave description is missing or empty",
		"unused: one DIMM is mapped twice",
		"unused: DIMMs disagree about interleave ways",
		"read-only: not armed",
		"unused: region offset is outside the range",
		"unused: DIMM regions are larger than the range",
		"unused: interleave description is missing or empty",
		"unused: interleave description is missing or empty",
		"unused: interleave description is missing or empty",
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(reason); i++) {
		struct build t;
		struct nfit n;

		build_interleaved(&t, i);
		assert_int_equal(build_decode(&t, &n), 0);
		assert_int_equal(n.nr_regions, 1);
		if (reason[i])
			assert_string_equal(n.region[0].reason, reason[i]);
		else
			assert_int_equal(n.region[0].use, NFIT_READY);
	}
}

// One DIMM's share of a range whose other DIMM's mapping is missing is not a range.
static void test_mapping_smaller_than_range(void **state)
{
	struct build t;

	(void)state;
	build_start(&t);
	build_spa(&t, 2, GUID_PM, BASE0, LEN0);
	build_map(&t, 1, 2, LEN0 / 2, 1, 0);
	expect_one(&t, NFIT_REFUSED, "unused: DIMM regions are smaller than the range");
}

static void test_mapping_missing_or_orphan(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	build_spa(&t, 2, GUID_PM, BASE0, LEN0);
	build_map(&t, 1, 99, LEN0, 1, 8);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.region[0].use, NFIT_READY);
	assert_int_equal(n.region[0].ways, 0);
	assert_int_equal(n.nr_notes, 2);
}

static void test_more_ranges_than_supported(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	for (u16 i = 0; i < NFIT_REGIONS_MAX + 20; i++)
		build_dimm(&t, i, BASE0 + i * MIB(2), MIB(2), 0);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.nr_regions, NFIT_REGIONS_MAX);
	assert_int_equal(n.nr_notes, NFIT_NOTES_MAX);
	assert_int_equal(n.notes_lost, 20 - NFIT_NOTES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_one_dimm),
		cmocka_unit_test(test_sorted_by_base),
		cmocka_unit_test(test_state_flags),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_capabilities_first_and_twice),
		cmocka_unit_test(test_guid),
		cmocka_unit_test(test_range_arithmetic),
		cmocka_unit_test(test_index_and_attribute),
		cmocka_unit_test(test_duplicates_and_overlaps),
		cmocka_unit_test(test_interleave),
		cmocka_unit_test(test_mapping_smaller_than_range),
		cmocka_unit_test(test_mapping_missing_or_orphan),
		cmocka_unit_test(test_more_ranges_than_supported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
