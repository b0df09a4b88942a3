// SPDX-License-Identifier: MIT
//
// Host tests of the NFIT decoder, first half: the table as a whole, and every way in which it can
// be torn. What its ranges mean: nfit_ranges_test.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/host/nfit_build.h"

#define BASE0 0x100000000ull
#define LEN0  MIB(64)

static void expect_torn(struct build *t, const char *why)
{
	struct nfit n;

	assert_int_not_equal(build_decode(t, &n), 0);
	assert_int_equal(n.nr_regions, 0);
	assert_string_equal(n.error, why);
}

static void test_truncated_buffer(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_two_dimms(&t, BASE0, LEN0);
	build_seal(&t);
	for (size_t len = 0; len < t.len; len++)
		assert_int_not_equal(nfit_decode_exact(t.b, len, &n), 0);
}

// The header agrees with the shorter length: sound only where a structure ends.
static void test_truncated_table(void **state)
{
	struct build t, cut;
	size_t bounds[] = { 40, 96, 144, 224, 280, 328, 408, 424 };
	unsigned sound = 0;
	struct nfit n;

	(void)state;
	build_two_dimms(&t, BASE0, LEN0);
	for (size_t len = 0; len <= t.len; len++) {
		bool at_bound = false;

		cut = t;
		cut.len = len;
		for (unsigned i = 0; i < ARRAY_SIZE(bounds); i++)
			at_bound |= bounds[i] == len;
		build_seal(&cut);
		assert_int_equal(nfit_decode_exact(cut.b, len, &n) == 0, at_bound);
		sound += at_bound;
	}
	assert_int_equal(sound, ARRAY_SIZE(bounds));
}

static void test_checksum(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_two_dimms(&t, BASE0, LEN0);
	build_seal(&t);
	for (size_t i = 0; i < t.len; i++) {
		t.b[i] ^= 0x40;
		assert_int_not_equal(nfit_decode_exact(t.b, t.len, &n), 0);
		t.b[i] ^= 0x40;
	}
}

static void test_header(void **state)
{
	struct build t;
	struct nfit n;
	u8 *huge;

	(void)state;
	build_two_dimms(&t, BASE0, LEN0);
	t.b[0] = 'n';
	expect_torn(&t, "signature is not NFIT");
	build_two_dimms(&t, BASE0, LEN0);
	build_seal(&t);
	put(t.b + 4, t.len + 1, 4);
	assert_int_not_equal(nfit_decode_exact(t.b, t.len, &n), 0);
	put(t.b + 4, 0xffffffff, 4);
	assert_int_not_equal(nfit_decode_exact(t.b, t.len, &n), 0);
	put(t.b + 4, 39, 4);
	assert_int_not_equal(nfit_decode_exact(t.b, t.len, &n), 0);
	huge = calloc(1, NFIT_BYTES_MAX + 8);
	assert_non_null(huge);
	memcpy(huge, "NFIT", 4);
	put(huge + 4, NFIT_BYTES_MAX + 8, 4);
	assert_int_not_equal(nfit_decode(huge, NFIT_BYTES_MAX + 8, TEST_PHYS_BITS, &n), 0);
	assert_string_equal(n.error, "table is larger than any machine needs");
	free(huge);
}

static void test_structure_lengths(void **state)
{
	static const u8 least[] = { 56, 48, 16, 8, 32, 40, 16, 16 };
	static const u16 bad[] = { 0, 1, 3, 0xffff, 0x8000 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct build t;
		struct nfit n;

		build_two_dimms(&t, BASE0, LEN0);
		put(t.b + 40 + 2, bad[i], 2);
		assert_int_not_equal(build_decode(&t, &n), 0);
	}
	for (u16 type = 0; type < ARRAY_SIZE(least); type++) {
		struct build t;
		struct nfit n;

		build_start(&t);
		build_add(&t, type, least[type]);
		assert_int_equal(build_decode(&t, &n), 0);
		assert_int_equal(n.count[type], 1);
		for (u16 len = 4; len < least[type]; len++) {
			build_start(&t);
			build_add(&t, type, len);
			expect_torn(&t, "structure is shorter than its type");
		}
	}
}

static void test_counted_arrays(void **state)
{
	struct build t;
	struct nfit n;
	u8 *s;

	(void)state;
	build_start(&t);
	s = build_add(&t, 2, 16 + 4 * 4);
	put(s + 8, 4, 4);
	assert_int_equal(build_decode(&t, &n), 0);
	put(s + 8, 5, 4);
	expect_torn(&t, "interleave structure is shorter than its lines");
	put(s + 8, 0x40000004, 4); // times 4 is 16 in 32 bits
	expect_torn(&t, "interleave structure is shorter than its lines");

	build_start(&t);
	s = build_add(&t, 6, 16 + 8 * 2);
	put(s + 8, 2, 2);
	assert_int_equal(build_decode(&t, &n), 0);
	put(s + 8, 3, 2);
	expect_torn(&t, "flush hint structure is shorter than its hints");

	build_start(&t);
	s = build_add(&t, 4, 32);
	assert_int_equal(build_decode(&t, &n), 0);
	put(s + 30, 1, 2);
	expect_torn(&t, "control region lacks its block windows");

	build_start(&t);
	s = build_spa(&t, 2, GUID_PM, BASE0, LEN0);
	put(s + 6, 4, 2);
	expect_torn(&t, "range structure lacks its location cookie");
}

// The last structure of a table may be shorter than the one that is looked for: its type is to be
// known before a field is read. (Found by the sanitizer: a 16-byte capabilities structure at the
// end of the table was read as a 48-byte mapping before its type was looked at.)
static void test_short_structure_last(void **state)
{
	static const u8 least[] = { 56, 48, 16, 8, 32, 40, 16, 16 };

	(void)state;
	for (u16 type = 2; type < ARRAY_SIZE(least); type++) {
		struct build t;
		struct nfit n;

		build_start(&t);
		build_dimm(&t, 0, BASE0, LEN0, 0);
		build_add(&t, type, least[type]);
		assert_int_equal(build_decode(&t, &n), 0);
		build_add(&t, 77, 4);
		assert_int_equal(build_decode(&t, &n), 0);
	}
}

static void test_unknown_types_skipped(void **state)
{
	struct build t;
	struct nfit n;

	(void)state;
	build_start(&t);
	build_add(&t, 8, 4);
	build_dimm(&t, 0, BASE0, LEN0, 0);
	build_add(&t, 0xffff, 4 + 16);
	assert_int_equal(build_decode(&t, &n), 0);
	assert_int_equal(n.unknown, 2);
	assert_int_equal(n.nr_notes, 2);
	assert_int_equal(n.region[0].use, NFIT_READY);
}

// 40,000 tables with a few bytes changed and the checksum right again.
static void test_mutations(void **state)
{
	u64 x = 0x9e3779b97f4a7c15ull;
	struct build start, t;
	struct nfit n;
	u8 *s;

	(void)state;
	build_two_dimms(&start, BASE0, LEN0);
	build_spa(&start, 20, GUID_PM, BASE0 + GIB(1), LEN0);
	for (u32 i = 0; i < 2; i++)
		put(build_map(&start, 5 + i, 20, LEN0 / 2, 2, 0) + 40, 5, 2);
	s = build_add(&start, 2, 24);
	put(s + 4, 5, 2);
	put(s + 8, 2, 4);
	put(s + 12, 256, 4);
	put(build_add(&start, 6, 32) + 8, 2, 2);
	for (unsigned round = 0; round < 40000; round++) {
		t = start;
		for (unsigned k = 0; k <= round % 4; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			t.b[40 + x % (t.len - 40)] = (u8)(x >> 32) & (x & BIT(60) ? 0xff : 0x0f);
		}
		(void)!build_decode(&t, &n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated_buffer),
		cmocka_unit_test(test_truncated_table),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_structure_lengths),
		cmocka_unit_test(test_counted_arrays),
		cmocka_unit_test(test_short_structure_last),
		cmocka_unit_test(test_unknown_types_skipped),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
