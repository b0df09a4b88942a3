// SPDX-License-Identifier: MIT
//
// Attaching files of more than 1 GiB (sparse ones): PMD pages one by one, and PUD pages at a PML4
// slot.
#include "kernel/lib/errno.h"
#include "mm/attach.h"
#include "mm/fault.h"
#include "mm/layout.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define RW     (PROT_READ | PROT_WRITE)
#define ATTACH (MAP_SHARED | MAP_DAXVM)

static bool shows(u64 at, u64 off)
{
	return test_peek(at + off) == test_file_word(off / PAGE_SIZE);
}

static void sparse_file(u64 bytes, u64 second, int level, u64 reserved)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(bytes);
	u64 at = 0, first = MIB(3), last = bytes - PAGE_SIZE;

	if (as && f && test_file_fill(f, first, PAGE_SIZE) &&
	    test_file_fill(f, second, PAGE_SIZE) && test_file_fill(f, last, PAGE_SIZE))
		at = test_map_file(as, &f->object, 0, bytes, RW, ATTACH);
	if (EXPECT(at)) {
		const struct vma *v = vma_find(&as->vmas, at);

		EXPECT_EQ(v->attach_level, level);
		EXPECT_EQ(v->hi - v->lo, reserved);
		EXPECT(shows(at, first) && shows(at, second) && shows(at, last));
		EXPECT_EQ(f->page_calls, 0);
		EXPECT(test_poke(at + second + PAGE_SIZE, 1)); // a hole, filled in the file's table
		EXPECT(!v->split);
		EXPECT_EQ(test_peek(at + second + 2 * PAGE_SIZE),
			  0); // a hole, read: split to the page
		EXPECT(v->split);
		EXPECT(shows(at, first) && shows(at, second) && shows(at, last));
		EXPECT(test_file_resize(f, second));
		EXPECT(shows(at, first));
		EXPECT_EQ(fault_resolve(as, at + second, FAULT_READ), -ENXIO);
		EXPECT_EQ(fault_resolve(as, at + last, FAULT_READ), -ENXIO);
	}
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}

KTEST_NOMEM(attach_gigabytes_one_by_one)
{
	sparse_file(GIB(3), GIB(1) + MIB(512), PT_PUD, GIB(3));
}

KTEST_NOMEM(attach_whole_top_slot)
{
	sparse_file(GIB(70), GIB(66), PT_PML4, GIB(512));
}

// Large units lie where small mappings do not leave tables: mapping again is one entry again.
KTEST(attach_large_again)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(600));
	u64 folds = mm_stat_read(MM_STAT_attach_folds), at, entries;

	if (as && f && EXPECT(test_file_fill(f, 0, PAGE_SIZE))) {
		for (unsigned i = 0; i < 4; i++) {
			u64 small = test_map_anon(as, KIB(64), RW);

			EXPECT(test_poke(small, 1));
			entries = mm_stat_read(MM_STAT_attach_pmd_page);
			at = test_map_file(as, &f->object, 0, MIB(600), RW, ATTACH);
			EXPECT_EQ(mm_stat_read(MM_STAT_attach_pmd_page) - entries, 1);
			EXPECT(shows(at, 0));
			EXPECT_EQ(aspace_unmap(as, UVA(at), MIB(600)), 0);
		}
		EXPECT_EQ(mm_stat_read(MM_STAT_attach_folds), folds);
	}
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}
