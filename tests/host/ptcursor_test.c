// SPDX-License-Identifier: MIT
//
// The page-table cursor: every movement, over a tree built here, from whole tables and from single
// entries.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernel/lib/ptcursor.h"

#define TABLES  16
#define CLOSED  PTE_SW0 // an entry that may not be followed
#define LEAF_PA 0x5000000000ull

static pte_t tables[TABLES][PT_ENTRIES] __attribute__((aligned(4096)));
static unsigned used;

static const pte_t *follow(const struct pt_space *s, pte_t e, int level)
{
	(void)s;
	assert_true(level >= PT_PMD);
	return e.bits & CLOSED ? NULL : (const pte_t *)pte_addr(e).pa;
}
static const struct pt_space space = { .table = follow };

static pte_t *table_new(void)
{
	assert_true(used < TABLES);
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		tables[used][i].bits = 0;
	return tables[used++];
}

static pte_t entry_of(const pte_t *table)
{
	return pte_table(PHYS((u64)table), PTE_W | PTE_U);
}

// Put a leaf of `level` at `va`, making tables below `top`, a table of `top_level`.
static void put_leaf(pte_t *top, int top_level, u64 va, int level)
{
	pte_t *t = top;

	for (int l = top_level; l > level; l--) {
		pte_t *slot = &t[pt_index(va, l)];

		if (pte_is_none(*slot))
			*slot = entry_of(table_new());
		t = (pte_t *)pte_addr(*slot).pa;
	}
	t[pt_index(va, level)] = pte_leaf(PHYS(LEAF_PA + va), level, PTE_W);
}

static int reset(void **state)
{
	(void)state;
	used = 0;
	return 0;
}

static void levels_and_spans(void **state)
{
	(void)state;
	assert_int_equal(pt_span(PT_PTE), 4096);
	assert_int_equal(pt_span(PT_PMD), MIB(2));
	assert_int_equal(pt_span(PT_PUD), GIB(1));
	assert_int_equal(pt_span(PT_PML4), GIB(512));
	assert_int_equal(pt_index(0xffffffff80200000ull, PT_PML4), 511);
	assert_int_equal(pt_index(0xffffffff80200000ull, PT_PUD), 510);
	assert_int_equal(pt_index(0xffffffff80200000ull, PT_PMD), 1);
}

static void down_and_up(void **state)
{
	pte_t *top = table_new();
	u64 va = GIB(513) + MIB(6) + 0x7000;
	struct pt_cursor c;

	(void)state;
	put_leaf(top, PT_PML4, va, PT_PTE);
	pt_cursor_init_table(&c, &space, top, PT_PML4, va + 123);
	assert_int_equal(c.level, PT_PML4);
	assert_int_equal(c.va, GIB(512));
	assert_true(pt_cursor_down(&c, va));
	assert_int_equal(c.va, GIB(513));
	assert_int_equal(pt_cursor_descend(&c, va + 4095, PT_PTE), PT_PTE);
	assert_int_equal(c.va, va);
	assert_int_equal(pte_addr(pt_cursor_get(&c)).pa, LEAF_PA + va);
	assert_int_equal(pt_cursor_end(&c), va + 4096);
	assert_false(pt_cursor_down(&c, va)); // a leaf
	assert_true(pt_cursor_up(&c));
	assert_int_equal(c.level, PT_PMD);
	assert_int_equal(c.va, GIB(513) + MIB(6));
	assert_true(pt_cursor_up(&c));
	assert_true(pt_cursor_up(&c));
	assert_int_equal(c.va, GIB(512));
	assert_false(pt_cursor_up(&c));
}

static void descend_stops(void **state)
{
	pte_t *top = table_new();
	struct pt_cursor c;

	(void)state;
	put_leaf(top, PT_PML4, MIB(4), PT_PMD);
	put_leaf(top, PT_PML4, GIB(1), PT_PTE);
	pt_cursor_init_table(&c, &space, top, PT_PML4, 0);
	assert_int_equal(pt_cursor_descend(&c, MIB(4), PT_PTE), PT_PMD); // at a large leaf
	pt_cursor_init_table(&c, &space, top, PT_PML4, 0);
	assert_int_equal(pt_cursor_descend(&c, MIB(8), PT_PTE), PT_PMD); // at nothing
	assert_true(pte_is_none(pt_cursor_get(&c)));
	pt_cursor_init_table(&c, &space, top, PT_PML4, GIB(1));
	assert_int_equal(pt_cursor_descend(&c, GIB(1), PT_PUD), PT_PUD); // where it is told to
	// At an entry that may not be followed.
	((pte_t *)(uintptr_t)pt_cursor_slot(&c))->bits |= CLOSED;
	assert_int_equal(pt_cursor_descend(&c, GIB(1), PT_PTE), PT_PUD);
}

static void next_crosses_tables(void **state)
{
	pte_t *top = table_new();
	struct pt_cursor c;

	(void)state;
	put_leaf(top, PT_PUD, MIB(2) - 4096, PT_PTE);
	put_leaf(top, PT_PUD, MIB(2), PT_PTE);
	pt_cursor_init_table(&c, &space, top, PT_PUD, 0);
	assert_int_equal(pt_cursor_descend(&c, MIB(2) - 4096, PT_PTE), PT_PTE);
	assert_true(pt_cursor_next(&c)); // past the end of the first PTE page: its neighbour above
	assert_int_equal(c.level, PT_PMD);
	assert_int_equal(c.va, MIB(2));
	assert_true(pt_cursor_down(&c, MIB(2)));
	assert_true(pt_cursor_next(&c));
	assert_int_equal(c.level, PT_PTE);
	assert_int_equal(c.va, MIB(2) + 4096);
}

static void next_ends_with_the_start(void **state)
{
	pte_t *top = table_new();
	struct pt_cursor c;

	(void)state;
	pt_cursor_init_table(&c, &space, top, PT_PMD, GIB(1) - 1); // last entry of the table
	assert_int_equal(c.va, GIB(1) - MIB(2));
	assert_false(pt_cursor_next(&c));
	pt_cursor_init_table(&c, &space, top, PT_PMD, 0);
	for (unsigned i = 1; i < PT_ENTRIES; i++)
		assert_true(pt_cursor_next(&c));
	assert_false(pt_cursor_next(&c));
}

// From a single entry (a file's root word) the cursor never leaves what lies below it.
static void single_entry(void **state)
{
	pte_t *pmd = table_new(), root;
	struct pt_cursor c;

	(void)state;
	put_leaf(pmd, PT_PMD, GIB(1) - 4096, PT_PTE);
	root = entry_of(pmd);
	pt_cursor_init_entry(&c, &space, &root, PT_PUD);
	assert_int_equal(c.va, 0);
	assert_false(pt_cursor_next(&c));
	assert_int_equal(pt_cursor_descend(&c, GIB(1) - 4096, PT_PTE), PT_PTE);
	assert_false(pt_cursor_next(&c));
	root = pte_leaf(PHYS(LEAF_PA), PT_PMD, PTE_W); // a root that is a leaf
	pt_cursor_init_entry(&c, &space, &root, PT_PMD);
	assert_false(pt_cursor_down(&c, 0));
	assert_true(pt_cursor_find_leaf(&c, 0, MIB(2)));
	pt_cursor_init_entry(&c, &space, &root, PT_PMD);
	assert_false(pt_cursor_find_leaf(&c, MIB(2), MIB(4)));
}

static void find_leaf_visits_all_in_order(void **state)
{
	static const struct {
		u64 va;
		int level;
	} leaf[] = { { 0x3000, PT_PTE }, { MIB(2) - 4096, PT_PTE }, { MIB(4), PT_PMD },
		     { GIB(2), PT_PUD }, { GIB(512), PT_PTE },      { GIB(513) - MIB(2), PT_PMD } };
	pte_t *top = table_new();
	struct pt_cursor c;
	u64 from = 0;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(leaf); i++)
		put_leaf(top, PT_PML4, leaf[i].va, leaf[i].level);
	pt_cursor_init_table(&c, &space, top, PT_PML4, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(leaf); i++) {
		assert_true(pt_cursor_find_leaf(&c, from, GIB(1024)));
		assert_int_equal(c.va, leaf[i].va);
		assert_int_equal(c.level, leaf[i].level);
		from = pt_cursor_end(&c);
	}
	assert_false(pt_cursor_find_leaf(&c, from, GIB(1024)));
	// A range within a large leaf finds it; one that ends where a leaf begins does not.
	pt_cursor_init_table(&c, &space, top, PT_PML4, GIB(2) + MIB(5));
	assert_true(pt_cursor_find_leaf(&c, GIB(2) + MIB(5), GIB(2) + MIB(6)));
	assert_int_equal(c.va, GIB(2));
	pt_cursor_init_table(&c, &space, top, PT_PML4, 0x4000);
	assert_false(pt_cursor_find_leaf(&c, 0x4000, MIB(2) - 4096));
}

// Random trees against a list kept beside.
static void find_leaf_random(void **state)
{
	(void)state;
	srand(7);
	for (unsigned round = 0; round < 200; round++) {
		bool there[1024] = { false };
		pte_t *top, root;
		struct pt_cursor c;
		u64 from = 0;

		used = 0;
		top = table_new();
		for (unsigned i = 0; i < 40; i++) {
			unsigned page = (unsigned)rand() % 1024;

			there[page] = true;
			put_leaf(top, PT_PMD, page * 4096ull, PT_PTE);
		}
		root = entry_of(top);
		pt_cursor_init_entry(&c, &space, &root, PT_PUD);
		for (unsigned page = 0; page < 1024; page++) {
			if (!there[page])
				continue;
			assert_true(pt_cursor_find_leaf(&c, from, GIB(1)));
			assert_int_equal(c.va, page * 4096ull);
			from = pt_cursor_end(&c);
		}
		assert_false(pt_cursor_find_leaf(&c, from, GIB(1)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(levels_and_spans, reset),
		cmocka_unit_test_setup(down_and_up, reset),
		cmocka_unit_test_setup(descend_stops, reset),
		cmocka_unit_test_setup(next_crosses_tables, reset),
		cmocka_unit_test_setup(next_ends_with_the_start, reset),
		cmocka_unit_test_setup(single_entry, reset),
		cmocka_unit_test_setup(find_leaf_visits_all_in_order, reset),
		cmocka_unit_test_setup(find_leaf_random, reset),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
