// SPDX-License-Identifier: MIT
//
// The buddy system: records only, no memory behind them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/lib/errno.h"
#include "mm/buddy.h"

static struct buddy b;
static struct frame *records[BUDDY_SECTIONS];

static int setup(void **state)
{
	(void)state;
	memset(&b, 0, sizeof(b));
	buddy_init(&b);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < BUDDY_SECTIONS; i++) {
		free(records[i]);
		records[i] = NULL;
	}
	return 0;
}

// RAM, with records that hold garbage, as memory does after a reset.
static void add(u64 base, u64 len)
{
	size_t bytes = BUDDY_SECTION_FRAMES * sizeof(struct frame);

	for (u64 s = base >> BUDDY_SECTION_SHIFT; s <= (base + len - 1) >> BUDDY_SECTION_SHIFT;
	     s++) {
		if (records[s])
			continue;
		records[s] = malloc(bytes);
		memset(records[s], 0xa5, bytes);
		buddy_set_section(&b, (unsigned)s, records[s]);
	}
	buddy_add(&b, PHYS(base), len);
}

static void gives_everything_once(void **state)
{
	phys_t first;
	u64 n = 0;

	(void)state;
	add(MIB(1), MIB(7));
	assert_int_equal(b.free_frames, 7 * 256);
	assert_true(buddy_verify(&b));
	first = buddy_alloc(&b, 0);
	while (buddy_alloc(&b, 0).pa != PHYS_NONE.pa)
		n++;
	assert_int_equal(n, 7 * 256 - 1);
	assert_int_equal(b.free_frames, 0);
	buddy_free(&b, first, 0);
	assert_int_equal(buddy_alloc(&b, 0).pa, first.pa);
}

static void merges_to_the_top(void **state)
{
	phys_t p[512];

	(void)state;
	add(MIB(2), MIB(2));
	for (unsigned i = 0; i < 512; i++)
		p[i] = buddy_alloc(&b, 0);
	assert_int_equal(buddy_alloc(&b, 0).pa, PHYS_NONE.pa);
	for (unsigned i = 0; i < 512; i += 2)
		buddy_free(&b, p[i], 0);
	assert_int_equal(buddy_alloc(&b, 1).pa, PHYS_NONE.pa);
	assert_true(buddy_verify(&b));
	for (unsigned i = 1; i < 512; i += 2)
		buddy_free(&b, p[i], 0);
	assert_true(buddy_verify(&b));
	assert_int_equal(buddy_alloc(&b, FRAME_ORDER_MAX).pa, MIB(2));
}

static void edges_of_ranges(void **state)
{
	(void)state;
	add(MIB(2) + 0x3000, 0x5000); // both ends inside one block
	add(MIB(4) - 0x1000, 0x2000); // over a border
	assert_int_equal(b.total_frames, 7);
	assert_true(buddy_verify(&b));
	assert_false(buddy_is_ram(&b, PHYS(MIB(2))));
	assert_true(buddy_is_ram(&b, PHYS(MIB(2) + 0x3000)));
	assert_true(buddy_is_ram(&b, PHYS(MIB(2) + 0x7fff)));
	assert_false(buddy_is_ram(&b, PHYS(MIB(2) + 0x8000)));
	assert_true(buddy_is_ram(&b, PHYS(MIB(4))));
	assert_false(buddy_is_ram(&b, PHYS(MIB(4) + 0x1000)));
	assert_false(buddy_is_ram(&b, PHYS(GIB(100))));
	assert_false(buddy_is_ram(&b, PHYS(~0ull)));
	assert_int_equal(buddy_alloc(&b, 2).pa, MIB(2) + 0x4000);
}

// Blocks that nobody needed cost no record: their garbage stays.
static void fresh_blocks_stay_untouched(void **state)
{
	const u8 *record;

	(void)state;
	add(MIB(2), MIB(126));
	assert_int_equal(buddy_alloc(&b, 3).pa, MIB(2));
	record = (const u8 *)&records[0][MIB(64) / PAGE_SIZE];
	assert_int_equal(*record, 0xa5);
	assert_true(buddy_is_ram(&b, PHYS(MIB(64))));
	assert_null(buddy_frame(&b, PHYS(MIB(64))));
	assert_true(buddy_verify(&b));
}

static void reserve_rules(void **state)
{
	phys_t p;

	(void)state;
	add(MIB(2), MIB(30));
	p = buddy_alloc(&b, 0); // in the first block
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(2)), MIB(2)), -EBUSY);
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(30)), MIB(4)), -EBUSY); // beyond RAM
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(8) + 4096), MIB(2)), -EINVAL);
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(8)), 0), -EINVAL);
	assert_int_equal(buddy_reserve(&b, PHYS(GIB(2048)), MIB(2)), -EBUSY);
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(8)), MIB(4)), 0);
	assert_int_equal(b.total_frames, 26 * 256);
	assert_false(buddy_is_ram(&b, PHYS(MIB(8))));
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(8)), MIB(2)), -EBUSY);
	buddy_free(&b, p, 0);
	assert_int_equal(buddy_reserve(&b, PHYS(MIB(2)), MIB(2)), 0); // free again, on a list
	assert_true(buddy_verify(&b));
	while ((p = buddy_alloc(&b, FRAME_ORDER_MAX)).pa != PHYS_NONE.pa)
		assert_true(p.pa >= MIB(4) && !(p.pa >= MIB(8) && p.pa < MIB(12)));
}

static void far_apart(void **state)
{
	phys_t p;

	(void)state;
	add(MIB(16), MIB(2));
	add(GIB(5) + MIB(100), MIB(64)); // over a section's border
	p = buddy_alloc(&b, FRAME_ORDER_MAX);
	assert_int_equal(p.pa, MIB(16));
	p = buddy_alloc(&b, FRAME_ORDER_MAX);
	assert_int_equal(p.pa, GIB(5) + MIB(100));
	assert_int_equal(buddy_reserve(&b, PHYS(GIB(5) + MIB(120)), MIB(16)), 0);
	assert_true(buddy_verify(&b));
}

static void random_mix(void **state)
{
	static struct {
		phys_t p;
		unsigned order;
	} held[2000];
	unsigned n = 0;
	u64 out = 0;

	(void)state;
	srand(3);
	add(MIB(1), MIB(40));
	for (unsigned step = 0; step < 40000; step++) {
		if (n < ARRAY_SIZE(held) && rand() % 2) {
			unsigned order = (unsigned)rand() % (FRAME_ORDER_MAX + 1);
			phys_t p;

			if (rand() % 3)
				order = 0;
			p = buddy_alloc(&b, order);
			if (p.pa == PHYS_NONE.pa)
				continue;
			assert_true(IS_ALIGNED(p.pa, PAGE_SIZE << order));
			held[n].p = p;
			held[n++].order = order;
			out += 1u << order;
		} else if (n) {
			unsigned i = (unsigned)rand() % n;

			buddy_free(&b, held[i].p, held[i].order);
			out -= 1u << held[i].order;
			held[i] = held[--n];
		}
		assert_int_equal(b.free_frames + out, 40 * 256);
		if (step % 512 == 0)
			assert_true(buddy_verify(&b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gives_everything_once, setup, teardown),
		cmocka_unit_test_setup_teardown(merges_to_the_top, setup, teardown),
		cmocka_unit_test_setup_teardown(edges_of_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(fresh_blocks_stay_untouched, setup, teardown),
		cmocka_unit_test_setup_teardown(reserve_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(far_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(random_mix, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
