// SPDX-License-Identifier: MIT
//
// Plain faults that map their neighbours along (mm/fill.c): what goes in, what must not, and that
// whoever takes pages away finds what nobody ever touched. Freed blocks of the test file are filled
// with 0xee, so a translation that outlives a revoke shows. Concurrency: mm/stress_test.c.
#include "kernel/lib/errno.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define RW    (PROT_READ | PROT_WRITE)
#define PAGES 32u // of the file: two groups

static u64 page_at(u64 at, unsigned n)
{
	return at + n * PAGE_SIZE;
}

// The private entry for `va`; none if something larger or nothing stands there.
static pte_t entry(struct aspace *as, u64 va)
{
	struct pt_cursor c;
	pte_t e = { 0 };

	spin_lock(&as->pt_lock);
	pt_look(as, &c, va);
	if (c.level == PT_PTE)
		e = pt_cursor_get(&c);
	spin_unlock(&as->pt_lock);
	return e;
}

// Which of the first 32 pages are mapped: bit n for page n.
static u32 mapped(struct aspace *as, u64 at)
{
	u32 set = 0;

	for (unsigned n = 0; n < PAGES; n++)
		set |= pte_present(entry(as, page_at(at, n))) ? 1u << n : 0;
	return set;
}

struct scene {
	struct aspace *as;
	struct test_file *f;
	u64 at;
};

// A file of 32 pages with all blocks but those of `holes`, mapped whole. False: no memory.
static bool begin(struct scene *s, u32 holes, unsigned prot, unsigned flags)
{
	s->as = test_enter();
	s->f = test_file_create(PAGES * PAGE_SIZE);
	s->at = 0;
	if (!s->as || !s->f)
		return false;
	for (unsigned n = 0; n < PAGES; n++)
		if (!(holes >> n & 1) && !test_file_fill(s->f, n * PAGE_SIZE, PAGE_SIZE))
			return false;
	s->at = test_map_file(s->as, &s->f->object, 0, PAGES * PAGE_SIZE, prot, flags);
	return EXPECT(s->at);
}

static void end(struct scene *s)
{
	if (s->as)
		test_leave(s->as);
	if (!s->f)
		return;
	EXPECT_EQ(s->f->refs, 0);
	EXPECT(list_empty(&s->f->object.vmas));
	test_file_destroy(s->f);
}

static bool shows(const struct scene *s, unsigned n)
{
	return test_peek(page_at(s->at, n)) == test_file_word(n);
}

// Story: a file was mapped while it had direct entries, and then grew. These stay what the object
// remembers of it, but there are eight; a group has sixteen pages. The rest came from whatever
// stands behind them in memory, and a program saw physical page 0 (found by tests/stress/canary.c).
KTEST(fill_ends_with_the_direct_entries)
{
	struct scene s = { .as = test_enter(), .f = test_file_create(8 * PAGE_SIZE) };

	if (!EXPECT(s.as && s.f && test_file_fill(s.f, 0, 8 * PAGE_SIZE)))
		return end(&s);
	s.at = test_map_file(s.as, &s.f->object, 0, PAGES * PAGE_SIZE, PROT_READ, MAP_SHARED);
	EXPECT(s.at && shows(&s, 0));
	if (EXPECT(test_file_resize(s.f, PAGES * PAGE_SIZE)) &&
	    EXPECT(test_file_fill(s.f, 0, PAGES * PAGE_SIZE))) {
		s.at = test_map_file(s.as, &s.f->object, 0, PAGES * PAGE_SIZE, PROT_READ,
				     MAP_SHARED);
		EXPECT(s.at && shows(&s, 5));
		for (unsigned n = 0; n < PAGES; n++)
			if (mapped(s.as, s.at) >> n & 1)
				EXPECT(shows(&s, n));
		EXPECT_EQ(mapped(s.as, s.at), 0xff);
	}
	end(&s);
}

KTEST_NOMEM(fill_takes_the_group_but_its_holes)
{
	u64 one = mm_stat_read(MM_STAT_fault_file_4k), more = mm_stat_read(MM_STAT_fault_around);
	struct scene s;

	if (begin(&s, 1u << 3, PROT_READ, MAP_SHARED) && EXPECT(shows(&s, 5))) {
		EXPECT_EQ(mapped(s.as, s.at), 0xfff7);
		EXPECT_EQ(s.f->page_calls, 0); // the file's own table told it all
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_file_4k) - one, 1);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_around) - more, 14);
		for (unsigned n = 0; n < 16; n++)
			EXPECT(n == 3 || shows(&s, n));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_file_4k) - one, 1);
		EXPECT_EQ(test_peek(page_at(s.at, 3)), 0); // the hole has a fault of its own
		EXPECT(!(entry(s.as, page_at(s.at, 4)).bits & PTE_W));
		EXPECT(!test_poke(page_at(s.at, 4), 1));
	}
	end(&s);
}

// The group is one of the file, not of addresses; of a part that is mapped nothing else is shown.
KTEST_NOMEM(fill_stays_within_the_mapping)
{
	struct scene s;
	u64 at;

	if (begin(&s, 0, PROT_READ, MAP_SHARED)) {
		at = test_map_file(s.as, &s.f->object, 7 * PAGE_SIZE, 12 * PAGE_SIZE, PROT_READ,
				   MAP_SHARED);
		EXPECT_EQ(test_peek(page_at(at, 2)), test_file_word(9));
		EXPECT_EQ(mapped(s.as, at), 0x1ff); // pages 7 to 15 of the file
		EXPECT_EQ(test_peek(page_at(at, 11)), test_file_word(18));
		EXPECT_EQ(mapped(s.as, at), 0xfff);
	}
	end(&s);
}

// Nobody ever touched most of what is mapped; the revoke must find it all the same.
KTEST_NOMEM(fill_is_found_by_truncate_and_punch)
{
	struct scene s;

	if (begin(&s, 0, RW, MAP_SHARED) && EXPECT(shows(&s, 20)) && EXPECT(shows(&s, 5))) {
		EXPECT_EQ(mapped(s.as, s.at), 0xffffffff);
		test_file_punch(s.f, 2 * PAGE_SIZE, 2 * PAGE_SIZE);
		EXPECT_EQ(mapped(s.as, s.at), 0xfffffff3);
		EXPECT_EQ(test_peek(page_at(s.at, 2)), 0);
		if (EXPECT(test_file_resize(s.f, 18 * PAGE_SIZE))) {
			EXPECT_EQ(mapped(s.as, s.at) & ~4u, 0x3fff3);
			EXPECT_EQ(fault_resolve(s.as, page_at(s.at, 18), FAULT_READ), -ENXIO);
			EXPECT_EQ(test_peek(page_at(s.at, 18)), ~0ull);
		}
		EXPECT(shows(&s, 17) && shows(&s, 4));
	}
	end(&s);
}

// Blocks beyond the end of the file (fallocate with KEEP_SIZE) are there in its table: SIGBUS is
// due all the same.
KTEST_NOMEM(fill_stops_at_the_end_of_the_file)
{
	struct scene s;

	if (begin(&s, 0, PROT_READ, MAP_SHARED)) {
		s.f->bytes = 4 * PAGE_SIZE + 1;
		EXPECT(shows(&s, 1));
		EXPECT_EQ(mapped(s.as, s.at), 0x1f);
		EXPECT_EQ(fault_resolve(s.as, page_at(s.at, 5), FAULT_READ), -ENXIO);
		s.f->bytes = PAGES * PAGE_SIZE;
	}
	end(&s);
}

KTEST_NOMEM(fill_gives_private_mappings_no_way_to_write)
{
	struct scene s;

	if (begin(&s, 0, RW, MAP_PRIVATE) && EXPECT(shows(&s, 8))) {
		EXPECT_EQ(mapped(s.as, s.at), 0xffff);
		for (unsigned n = 0; n < 16; n++)
			EXPECT(!(entry(s.as, page_at(s.at, n)).bits & PTE_W));
		if (test_poke(page_at(s.at, 9), 4711)) { // else: no memory for the copy
			EXPECT(entry(s.as, page_at(s.at, 9)).bits & PTE_ANON);
			EXPECT_EQ(test_peek(page_at(s.at, 9)), 4711);
		}
		// A store first: a copy, and nothing around it.
		if (test_poke(page_at(s.at, 20), 4712))
			EXPECT_EQ(mapped(s.as, s.at), 0x10ffff);
		// The copies stay when the neighbours go and come back.
		test_file_punch(s.f, 10 * PAGE_SIZE, PAGE_SIZE);
		EXPECT(shows(&s, 21));
		EXPECT_EQ(mapped(s.as, s.at) & ~0x100200u, 0xffeffbff & ~0x200u);
	}
	end(&s);
}

KTEST_NOMEM(fill_of_a_shared_mapping_is_writable)
{
	u64 faults;
	struct scene s;

	if (begin(&s, 0, RW, MAP_SHARED) && EXPECT(test_poke(page_at(s.at, 1) + 8, 1))) {
		EXPECT_EQ(mapped(s.as, s.at), 0xffff);
		faults = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT(test_poke(page_at(s.at, 15) + 8, 2));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults);
	}
	end(&s);
}

// What lies between the neighbours and is not theirs: PROT_NONE, nothing, other memory.
KTEST_NOMEM(fill_leaves_other_mappings_alone)
{
	struct map_request other = { .len = PAGE_SIZE,
				     .prot = RW,
				     .flags = MAP_PRIVATE | MAP_FIXED };
	struct scene s;
	bool cut;
	uva_t out;

	if (begin(&s, 0, PROT_READ, MAP_SHARED)) {
		other.addr = UVA(page_at(s.at, 4));
		cut = !aspace_protect(s.as, UVA(page_at(s.at, 10)), PAGE_SIZE, PROT_NONE) &&
		      !aspace_unmap(s.as, UVA(page_at(s.at, 13)), PAGE_SIZE) &&
		      !aspace_map(s.as, &other, &out);
		if (cut) {
			EXPECT(shows(&s, 7));
			EXPECT_EQ(mapped(s.as, s.at), 0x3e0);
			EXPECT(shows(&s, 0));
			EXPECT(shows(&s, 11));
			EXPECT(shows(&s, 15));
			EXPECT_EQ(mapped(s.as, s.at), 0xdbef);
			EXPECT_EQ(entry(s.as, page_at(s.at, 10)).bits, 0);
			EXPECT_EQ(fault_resolve(s.as, page_at(s.at, 10), FAULT_READ), -EACCES);
			EXPECT_EQ(fault_resolve(s.as, page_at(s.at, 13), FAULT_READ), -EFAULT);
			EXPECT_EQ(test_peek(page_at(s.at, 4)), 0);
		}
	}
	end(&s);
}

// Small files have no table but eight direct entries. The file grows out of them: what was mapped
// stays, and what is new is found.
KTEST_NOMEM(fill_follows_growth)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(5 * PAGE_SIZE);
	u64 at = 0;

	if (as && f && test_file_fill(f, 0, 5 * PAGE_SIZE))
		at = test_map_file(as, &f->object, 0, PAGES * PAGE_SIZE, PROT_READ, MAP_SHARED);
	if (EXPECT(at)) {
		EXPECT_EQ(test_peek(at), test_file_word(0));
		EXPECT_EQ(mapped(as, at), 0x1f);
		if (test_file_resize(f, PAGES * PAGE_SIZE) &&
		    test_file_fill(f, 5 * PAGE_SIZE, 20 * PAGE_SIZE)) {
			EXPECT_EQ(test_peek(page_at(at, 6)), test_file_word(6));
			EXPECT_EQ(test_peek(page_at(at, 20)), test_file_word(20));
			EXPECT_EQ(mapped(as, at), 0x1ffffff);
			EXPECT_EQ(f->page_calls, 0);
		}
	}
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}

// A file whose table is not ready yet is asked page by page.
KTEST_NOMEM(fill_waits_for_readiness)
{
	struct scene s;

	if (begin(&s, 0, PROT_READ, MAP_SHARED)) {
		s.f->ready = false;
		EXPECT(shows(&s, 5));
		EXPECT(s.f->page_calls > 0);
		s.f->ready = true;
		s.f->page_calls = 0;
		EXPECT(shows(&s, 30));
		EXPECT_EQ(s.f->page_calls, 0);
	}
	end(&s);
}

// What the last mapping left is used again: neither a frame nor a record is taken for the next one.
KTEST(fill_again_takes_no_memory)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(PAGES * PAGE_SIZE);
	u64 at = 0;

	if (as && f && EXPECT(test_file_fill(f, 0, PAGES * PAGE_SIZE))) {
		for (unsigned round = 0; round < 3; round++) {
			if (round) // the first frame or object that is asked for is not there
				frame_fail_nth(1);
			at = test_map_file(as, &f->object, 0, PAGES * PAGE_SIZE, PROT_READ,
					   MAP_SHARED);
			if (EXPECT(at)) {
				EXPECT_EQ(test_peek(page_at(at, 5)), test_file_word(5));
				// All zeros but for what this fault has filled.
				EXPECT_EQ(mapped(as, at), 0xffff);
				EXPECT_EQ(aspace_unmap(as, UVA(at), PAGES * PAGE_SIZE), 0);
			}
			EXPECT_EQ(frame_fail_armed(), round > 0);
			frame_fail_nth(0);
		}
	}
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}
