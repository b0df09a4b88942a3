// SPDX-License-Identifier: MIT
//
// The tree of mappings and its search for gaps, against a plain array, and the balanced tree below
// it.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mm/vma.h"

#define FLOOR 0x10000ull
#define TOP   (FLOOR + 4096ull * PAGES)
#define PAGES 512u
#define VMAS  256u

static struct vma pool[VMAS];

static void bounds(struct vma *v, u64 lo, u64 hi)
{
	v->lo = v->start = lo;
	v->end = v->hi = hi;
}

static u64 at(unsigned page)
{
	return FLOOR + page * 4096ull;
}

static void find_by_address(void **state)
{
	struct vma_tree t;
	struct vma *a = &pool[0], *b = &pool[1];

	(void)state;
	vma_tree_init(&t, FLOOR);
	assert_null(vma_first(&t));
	assert_null(vma_find_from(&t, 0));
	bounds(b, at(10), at(20));
	vma_tree_insert(&t, b);
	bounds(a, at(2), at(4));
	a->start = at(3);
	vma_tree_insert(&t, a);
	assert_true(vma_tree_verify(&t));
	assert_ptr_equal(vma_find(&t, at(2)), a); // reserved is occupied, too
	assert_null(vma_find(&t, at(4)));
	assert_ptr_equal(vma_find_from(&t, at(4)), b);
	assert_ptr_equal(vma_find(&t, at(20) - 1), b);
	assert_null(vma_find_from(&t, at(20)));
	assert_ptr_equal(vma_next(a), b);
	assert_ptr_equal(vma_prev(b), a);
	assert_true(vma_range_free(&t, at(4), at(10)));
	assert_false(vma_range_free(&t, at(4), at(10) + 1));
	assert_false(vma_range_free(&t, at(3), at(5)));
	vma_tree_remove(&t, a);
	assert_true(vma_tree_verify(&t));
	assert_int_equal(t.count, 1);
}

static void gaps_are_highest(void **state)
{
	struct vma_tree t;

	(void)state;
	vma_tree_init(&t, FLOOR);
	assert_int_equal(vma_find_gap(&t, 4096, 4096, 0, TOP), TOP - 4096);
	bounds(&pool[0], TOP - 4096, TOP);
	vma_tree_insert(&t, &pool[0]);
	assert_int_equal(vma_find_gap(&t, 4096, 4096, 0, TOP), TOP - 8192);
	assert_int_equal(vma_find_gap(&t, 4096, MIB(1), 0, TOP), MIB(2));
	assert_int_equal(vma_find_gap(&t, 4096, MIB(1), 8192, TOP), MIB(2) + 8192);
	assert_int_equal(vma_find_gap(&t, TOP - 4096 - FLOOR, 4096, 0, TOP), FLOOR);
	assert_int_equal(vma_find_gap(&t, TOP - FLOOR, 4096, 0, TOP), 0);
	// Below a lower top, and not above it.
	assert_int_equal(vma_find_gap(&t, 4096, 4096, 0, at(7)), at(6));
	assert_int_equal(vma_find_gap(&t, 4096, 4096, 0, FLOOR), 0);
	assert_int_equal(vma_find_gap(&t, ~0ull - 4095, 4096, 0, TOP), 0);
}

// What a search from the top down through every place would find.
static u64 gap_by_hand(const bool *taken, unsigned pages, unsigned align, unsigned skew,
		       unsigned top)
{
	if (pages > top)
		return 0;
	for (unsigned p = top - pages + 1; p-- > 0;) {
		bool fits = (p + FLOOR / 4096) % align == skew;

		for (unsigned i = p; fits && i < p + pages; i++)
			fits = !taken[i];
		if (fits)
			return at(p);
	}
	return 0;
}

static bool range_taken(const bool *taken, unsigned from, unsigned pages)
{
	for (unsigned i = from; i < from + pages; i++)
		if (taken[i])
			return true;
	return false;
}

static void mark(bool *taken, const struct vma *v, bool value)
{
	for (u64 a = v->lo; a < v->hi; a += 4096)
		taken[(a - FLOOR) / 4096] = value;
}

// The vacant record's memory is in use as long as it is in the tree.
static void bury_dead(struct vma_tree *t, bool *used)
{
	while (t->dead) {
		used[t->dead - pool] = false;
		t->dead = t->dead->next;
	}
}

static void random_against_array(void **state)
{
	bool taken[PAGES] = { false }, used[VMAS] = { false };
	struct vma_tree t;

	(void)state;
	srand(11);
	vma_tree_init(&t, FLOOR);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)rand() % VMAS, page = (unsigned)rand() % PAGES;
		unsigned pages = (unsigned)rand() % 12 + 1, align = 1u << rand() % 5;
		unsigned skew = (unsigned)rand() % align, top = (unsigned)rand() % PAGES + 1;
		struct vma *v = &pool[i];

		if (t.vacant && rand() % 2 == 0 &&
		    !range_taken(taken, (t.vacant->lo - FLOOR) / 4096,
				 (t.vacant->hi - t.vacant->lo) / 4096)) {
			mark(taken, vma_tree_occupy(&t), true);
		} else if (v == t.vacant) {
			assert_ptr_not_equal(vma_find(&t, v->lo), v);
			assert_true(vma_range_free(&t, v->lo, v->hi));
		} else if (used[i] && rand() % 4 == 0 && v->hi - v->lo > 4096) {
			mark(taken, v, false); // give up the last page in place
			bounds(v, v->lo, v->hi - 4096);
			mark(taken, v, true);
			vma_tree_resized(&t, v);
		} else if (used[i] && rand() % 2 == 0) {
			vma_tree_vacate(&t, v);
			mark(taken, v, false);
		} else if (used[i]) {
			vma_tree_remove(&t, v);
			mark(taken, v, false);
			used[i] = false;
		} else if (page + pages <= PAGES && !range_taken(taken, page, pages)) {
			bounds(v, at(page), at(page + pages));
			vma_tree_insert(&t, v);
			mark(taken, v, true);
			used[i] = true;
		}
		if (step % 4 == 1)
			assert_true(vma_tree_verify(&t));
		if (step % 3 == 0) // it takes the vacant one out
			assert_int_equal(vma_find_gap(&t, pages * 4096ull, align * 4096ull,
						      skew * 4096ull, at(top)),
					 gap_by_hand(taken, pages, align, skew, top));
		bury_dead(&t, used);
		if (step % 4 == 0)
			assert_true(vma_tree_verify(&t));
	}
}

static void tree_stays_balanced(void **state)
{
	static struct vma many[VMAS * 16];
	struct vma_tree t;

	(void)state;
	vma_tree_init(&t, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(many);
	     i++) { // in rising order: the worst for a plain tree
		bounds(&many[i], i * 8192ull, i * 8192ull + 4096);
		vma_tree_insert(&t, &many[i]);
	}
	assert_true(vma_tree_verify(&t));
	assert_true(t.avl.root->height <= 14);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i += 2)
		vma_tree_remove(&t, &many[i]);
	assert_true(vma_tree_verify(&t));
	assert_true(t.avl.root->height <= 13);
}

// Story: a mapping that came and went at one place turned the tree each time, once there and once
// back, which cost more than finding its place. Since heights may differ by two it settles: the
// node stays a leaf, where it was linked.
static void coming_and_going_turns_nothing(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 40; n++) {
		struct vma *v = &pool[n];
		struct vma_tree t;

		vma_tree_init(&t, FLOOR);
		for (unsigned i = 0; i < n; i++) {
			bounds(&pool[i], at(4 * i + 4), at(4 * i + 6));
			vma_tree_insert(&t, &pool[i]);
		}
		bounds(v, at(4 * (n / 2) + 2), at(4 * (n / 2) + 3));
		for (unsigned round = 0; round < 4; round++) {
			vma_tree_insert(&t, v);
			assert_true(vma_tree_verify(&t));
			assert_ptr_equal(vma_find(&t, v->lo), v);
			assert_true(round < 2 || v->node.height == 1);
			vma_tree_remove(&t, v);
			assert_true(vma_tree_verify(&t));
		}
	}
}

// A place that was left is free for all who ask, and none of its record's fields leads to it; yet
// the next mapping of its size finds it linked.
static void vacant_is_no_mapping(void **state)
{
	struct vma *a = &pool[0], *b = &pool[1], *c = &pool[2], *d = &pool[3];
	struct vma_tree t;

	(void)state;
	vma_tree_init(&t, FLOOR);
	bounds(a, at(2), at(4));
	bounds(b, at(4), at(6));
	bounds(c, at(6), at(8));
	vma_tree_insert(&t, a);
	vma_tree_insert(&t, b);
	vma_tree_insert(&t, c);
	vma_tree_vacate(&t, b);
	assert_true(vma_tree_verify(&t));
	assert_int_equal(t.count, 2);
	assert_null(vma_find(&t, at(4)));
	assert_ptr_equal(vma_find_from(&t, at(4)), c);
	assert_ptr_equal(vma_next(a), c);
	assert_ptr_equal(vma_prev(c), a);
	assert_true(vma_range_free(&t, at(4), at(6)));
	assert_ptr_equal(vma_tree_occupy(&t), b);
	assert_ptr_equal(vma_find(&t, at(5)), b);
	assert_int_equal(t.count, 3);
	// Others may come to where it was, and it gives way.
	vma_tree_vacate(&t, b);
	bounds(d, at(5), at(6));
	vma_tree_insert(&t, d);
	assert_true(vma_tree_verify(&t));
	assert_ptr_equal(t.dead, b);
	assert_ptr_equal(vma_prev(d), a);
	// Or grow over it.
	vma_tree_vacate(&t, d);
	bounds(a, at(2), at(6));
	vma_tree_resized(&t, a);
	assert_true(vma_tree_verify(&t));
	assert_ptr_equal(vma_next(a), c);
	// The first one.
	vma_tree_vacate(&t, a);
	assert_ptr_equal(vma_first(&t), c);
	assert_int_equal(vma_find_gap(&t, 4 * 4096, 4096, 0, at(6)), at(2));
	assert_true(vma_tree_verify(&t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(find_by_address),
		cmocka_unit_test(gaps_are_highest),
		cmocka_unit_test(random_against_array),
		cmocka_unit_test(tree_stays_balanced),
		cmocka_unit_test(coming_and_going_turns_nothing),
		cmocka_unit_test(vacant_is_no_mapping),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
