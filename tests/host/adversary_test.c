// SPDX-License-Identifier: MIT
//
// What the adversarial TLB takes a CPU to hold (tests/tlb/): what the architecture lets it cache,
// and nothing else. A false alarm would send somebody after a bug that is not there.
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tlb/hold_internal.h"

#define PAGES 24u
#define BASE  0x100000ull
#define FULL  (P | W | U)
#define VA    0x40201000ull // goes by entry 0, 1, 1, 1

// Each test builds its tree from these.
enum { PML4, PUD, PMD, PTE, DATA, OTHER, PML4_B, PUD_B, PMD_B, PTE_B };

static _Alignas(4096) uint64_t memory[PAGES][ENTRIES];

static uint64_t pa(unsigned page)
{
	return BASE + page * PAGE;
}

static const uint64_t *page_at(uint64_t at)
{
	return at - BASE < sizeof(memory) ? memory[(at - BASE) / PAGE] : NULL;
}

static void set(unsigned page, unsigned index, uint64_t bits)
{
	uint64_t host = (uint64_t)&memory[page][index];

	memory[page][index] = bits;
	if (hold_is_table(host))
		hold_stored(host, 8, 0);
}

// Alarms that giving the page another use makes.
static uint64_t freed(unsigned page)
{
	uint64_t before = count.alarms;

	hold_check_memory(pa(page), PAGE, 0);
	return count.alarms - before;
}

static void tree_make(void)
{
	set(PTE, 1, pa(DATA) | FULL);
	set(PMD, 1, pa(PTE) | FULL);
	set(PUD, 1, pa(PMD) | FULL);
	set(PML4, 0, pa(PUD) | FULL);
	hold_root(0, pa(PML4));
}

static int begin(void **state)
{
	(void)state;
	for (unsigned cpu = 0; cpu < 4; cpu++)
		hold_root(cpu, 0);
	for (unsigned page = 0; page < PAGES; page++)
		(void)freed(page);
	memset(memory, 0, sizeof(memory));
	tree_make();
	return 0;
}

static void held_until_the_flush(void **state)
{
	(void)state;
	assert_int_equal(freed(OTHER), 0);
	assert_int_equal(freed(DATA), 1); // it is still mapped
	set(PTE, 1, 0);
	assert_int_equal(freed(DATA), 1); // cleared, not flushed
	hold_flushed(0);
	assert_int_equal(freed(DATA), 0);
}

static void seen_without_being_touched(void **state)
{
	(void)state;
	set(PTE, 7, pa(OTHER) | FULL); // for a moment
	set(PTE, 7, 0);
	assert_int_equal(freed(OTHER), 1);
	set(PTE, 8, pa(OTHER) | W | U); // not present
	hold_flushed(0);
	assert_int_equal(freed(OTHER), 0);
}

// A walk that remembers the upper entry reads what the table holds now.
static void new_entries_by_an_old_way(void **state)
{
	(void)state;
	set(PMD, 1, 0);
	set(PTE, 2, pa(OTHER) | FULL);
	assert_int_equal(freed(OTHER), 1);
	assert_int_equal(freed(PTE), 1);
	hold_flushed(0);
	set(PTE, 3, pa(OTHER) | FULL);
	assert_int_equal(freed(OTHER), 0);
	assert_int_equal(freed(PTE), 0);
}

static void not_by_a_way_that_came_later(void **state)
{
	(void)state;
	set(PMD, 1, 0);
	hold_flushed(0);
	set(PTE, 2, pa(OTHER) | FULL);
	set(PTE, 2, 0);
	set(PMD, 1, pa(PTE) | FULL);
	assert_int_equal(freed(OTHER), 0);
	assert_int_equal(freed(DATA), 1);
}

static void invlpg_drops_one_page_and_all_upper_entries(void **state)
{
	(void)state;
	set(PTE, 2, pa(OTHER) | FULL);
	set(PMD, 1, 0);
	hold_invalidated(0, VA);
	assert_int_equal(freed(PTE), 0);
	assert_int_equal(freed(DATA), 0);
	assert_int_equal(freed(OTHER), 1); // the translation of the next page stays
	hold_invalidated(0, VA + PAGE);
	assert_int_equal(freed(OTHER), 0);
}

static void large_pages(void **state)
{
	(void)state;
	// 2 MiB from address 0 on: all of our memory.
	set(PMD, 2, FULL | PS);
	set(PMD, 2, 0);
	assert_int_equal(freed(OTHER), 1);
	hold_invalidated(0, VA + 0x200000 + 77 * PAGE);
	assert_int_equal(freed(OTHER), 0);
}

static void only_where_the_root_is_loaded(void **state)
{
	(void)state;
	set(PMD_B, 1, pa(PTE) | FULL); // a table that two spaces share
	set(PUD_B, 1, pa(PMD_B) | FULL);
	set(PML4_B, 0, pa(PUD_B) | FULL);
	hold_root(1, pa(PML4_B));
	set(PTE, 1, 0);
	hold_flushed(0);
	assert_int_equal(freed(DATA), 1); // CPU 1
	hold_root(1, 0);
	assert_int_equal(freed(DATA), 0);
	assert_int_equal(freed(PML4_B), 0);
	assert_int_equal(freed(PML4), 1);
}

// The way into the page's next life is none into the former one.
static void table_with_two_lives(void **state)
{
	(void)state;
	set(PMD, 1, 0);
	hold_flushed(0);
	assert_int_equal(freed(PTE), 0);
	memset(memory[PTE], 0, PAGE);
	set(PTE, 5, pa(OTHER) | FULL);
	set(PMD, 3, pa(PTE) | FULL);
	assert_int_equal(freed(DATA), 0);
	assert_int_equal(freed(OTHER), 1);
}

static void slots(void **state)
{
	uint64_t before = count.alarms;

	(void)state;
	set(PTE, 1, 0);
	hold_check_entries(pa(PTE) + 8 * 8, 8, 0);
	assert_int_equal(count.alarms - before, 0);
	hold_check_entries(pa(PTE), 8, 0);
	assert_int_equal(count.alarms - before, 1);
	hold_flushed(0);
	hold_check_entries(pa(PTE), 8, 0);
	assert_int_equal(count.alarms - before, 1);
}

static uint64_t flushed(uint64_t from, uint64_t to)
{
	uint64_t before = count.alarms;

	hold_check_flushed(1, from, to, 0);
	return count.alarms - before;
}

static void rights_end_by_a_flush(void **state)
{
	(void)state;
	set(PTE, 1, pa(DATA) | P | U); // W is gone
	hold_batch(1, pa(PML4));
	assert_int_equal(flushed(VA, VA + PAGE), 1);
	hold_batch(1, pa(PML4));
	assert_int_equal(flushed(VA + PAGE, VA + 2 * PAGE), 0); // of other pages nothing was said
	hold_batch(1, pa(PML4));
	hold_invalidated(0, VA);
	assert_int_equal(flushed(VA, VA + PAGE), 0);
	set(PTE, 1, pa(DATA) | FULL); // granted: the old translation may stay
	hold_batch(1, pa(PML4));
	assert_int_equal(flushed(0, 1ull << 47), 0);
	set(PTE, 1, 0); // later than the batch has looked
	assert_int_equal(flushed(0, 1ull << 47), 0);
}

static void what_was_unmapped(void **state)
{
	uint64_t before = count.alarms;

	(void)state;
	hold_check_unmapped(pa(PML4), VA + PAGE, VA + 9 * PAGE, 0);
	assert_int_equal(count.alarms - before, 0);
	set(PMD, 1, 0);
	hold_check_unmapped(pa(PML4), VA, VA + PAGE, 0);
	assert_int_equal(count.alarms - before, 1);
	hold_flushed(0);
	hold_check_unmapped(pa(PML4), VA, VA + PAGE, 0);
	assert_int_equal(count.alarms - before, 1);
}

// What is over for all is dropped, and nothing else.
static void long_runs(void **state)
{
	(void)state;
	set(PTE, 9, pa(OTHER) | FULL);
	set(PTE, 9, 0);
	for (unsigned i = 0; i < 200000; i++)
		set(PTE, 3, i % 2 ? 0 : pa(DATA) | FULL);
	assert_int_equal(freed(OTHER), 1);
	hold_flushed(0);
	for (unsigned i = 0; i < 1000000; i++)
		set(PTE, 3, i % 2 ? 0 : pa(DATA) | FULL);
	assert_int_equal(freed(OTHER), 0);
	set(PTE, 1, 0);
	assert_int_equal(freed(DATA), 1);
	hold_flushed(0);
	assert_int_equal(freed(DATA), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(held_until_the_flush, begin),
		cmocka_unit_test_setup(seen_without_being_touched, begin),
		cmocka_unit_test_setup(new_entries_by_an_old_way, begin),
		cmocka_unit_test_setup(not_by_a_way_that_came_later, begin),
		cmocka_unit_test_setup(invlpg_drops_one_page_and_all_upper_entries, begin),
		cmocka_unit_test_setup(large_pages, begin),
		cmocka_unit_test_setup(only_where_the_root_is_loaded, begin),
		cmocka_unit_test_setup(table_with_two_lives, begin),
		cmocka_unit_test_setup(slots, begin),
		cmocka_unit_test_setup(rights_end_by_a_flush, begin),
		cmocka_unit_test_setup(what_was_unmapped, begin),
		cmocka_unit_test_setup(long_runs, begin),
	};

	hold_init(page_at, tmpfile(), false);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
