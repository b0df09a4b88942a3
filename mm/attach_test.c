// SPDX-License-Identifier: MIT
//
// MAP_DAXVM and plain mappings of a file that has a page table of its own (mm/test_util.h): attach
// at each level, faults counted, holes, growth, splits, revoke, fork. A freed block or table of the
// test file is filled with 0xee, so a translation that outlives a revoke shows.
#include "kernel/lib/errno.h"
#include "mm/attach.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/stat.h"
#include "mm/test_util.h"
#include "mm/uaccess.h"

#define RW     (PROT_READ | PROT_WRITE)
#define ATTACH (MAP_SHARED | MAP_DAXVM)

static struct vma *vma_at(struct aspace *as, u64 va)
{
	return vma_find(&as->vmas, va);
}

// A file with all blocks, mapped whole; then the mapping's place, or 0.
static u64 map_filled(struct aspace *as, struct test_file *f, unsigned prot, unsigned flags)
{
	if (!as || !f || !test_file_fill(f, 0, f->bytes))
		return 0;
	return test_map_file(as, &f->object, 0, f->bytes, prot, flags);
}

static void attach_without_faults(u64 bytes, int level)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(bytes);
	u64 at = map_filled(as, f, PROT_READ, ATTACH), kernel;

	if (EXPECT(at)) {
		EXPECT_EQ(vma_at(as, at)->attach_level, level);
		EXPECT_EQ(as->mapped_bytes, ALIGN_UP(bytes, PAGE_SIZE));
		kernel = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT(test_shows_blocks(at, 0, bytes));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), kernel);
		EXPECT_EQ(f->page_calls, 0);
		EXPECT(!test_poke(at, 1));
		EXPECT_EQ(aspace_unmap(as, UVA(at), bytes), 0);
		EXPECT_EQ(test_peek(at), ~0ull);
		EXPECT_EQ(as->vmas.count, 0);
	}
	test_end(as, f);
}

KTEST_NOMEM(attach_direct_entries)
{
	attach_without_faults(KIB(20), PT_PTE);
}

KTEST_NOMEM(attach_pte_page)
{
	attach_without_faults(KIB(64), PT_PMD);
}

KTEST(attach_pmd_page)
{
	attach_without_faults(MIB(6), PT_PUD);
}

KTEST_NOMEM(attach_writes_reach_the_file)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = map_filled(as, f, RW, ATTACH), plain;

	if (EXPECT(at)) {
		plain = test_map_file(as, &f->object, 0, KIB(64), RW, MAP_SHARED);
		EXPECT(test_poke(at + KIB(40) + 8, 4711));
		EXPECT_EQ(test_peek(plain + KIB(40) + 8), 4711);
		EXPECT(test_poke(plain + KIB(40) + 8, 4712));
		EXPECT_EQ(test_peek(at + KIB(40) + 8), 4712);
	}
	test_end(as, f);
}

// Story: the smallest covering subtree is attached, so a small mapping of a large file neither
// reserves nor shows more than its 2 MiB.
KTEST_NOMEM(attach_part_of_a_file)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(6));
	u64 at = 0;

	if (as && f && test_file_fill(f, MIB(2), MIB(2)))
		at = test_map_file(as, &f->object, MIB(2) + KIB(64), KIB(128), PROT_READ, ATTACH);
	if (EXPECT(at)) {
		const struct vma *v = vma_at(as, at);

		EXPECT_EQ(v->attach_level, PT_PMD);
		EXPECT_EQ(v->hi - v->lo, MIB(2));
		EXPECT(test_shows_blocks(at, MIB(2) + KIB(64), KIB(128)));
		EXPECT_EQ(f->page_calls, 0);
		// Beyond the length asked for, within the unit: the file (documented rounding).
		EXPECT_EQ(test_peek(at + KIB(256)),
			  test_file_word((MIB(2) + KIB(320)) / PAGE_SIZE));
		// Where it has no block there: as within the length.
		test_file_punch(f, MIB(2) + KIB(512), PAGE_SIZE);
		EXPECT_EQ(test_peek(at + KIB(448)), 0);
		EXPECT(test_shows_blocks(at + KIB(452), MIB(2) + KIB(516), KIB(64)));
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(128)), 0);
		EXPECT_EQ(test_peek(at + KIB(256)), ~0ull);
	}
	test_end(as, f);
}

KTEST_NOMEM(attach_beyond_the_end)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = map_filled(as, f, RW, ATTACH);

	if (EXPECT(at)) {
		EXPECT_EQ(fault_resolve(as, at + KIB(64), FAULT_READ), -ENXIO);
		EXPECT_EQ(fault_resolve(as, at + KIB(64), FAULT_WRITE), -ENXIO);
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
	}
	test_end(as, f);
}

// Reading a hole maps zeros privately and allocates nothing; writing fills it for all.
KTEST_NOMEM(attach_holes)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(6));
	u64 at = 0, other = 0, faults;

	if (as && f && test_file_fill(f, MIB(2), KIB(8))) {
		at = test_map_file(as, &f->object, 0, MIB(6), RW, ATTACH);
		other = test_map_file(as, &f->object, 0, MIB(6), RW, ATTACH);
	}
	if (EXPECT(at) && EXPECT(other)) {
		EXPECT_EQ(test_peek(at + KIB(4)), 0);
		EXPECT_EQ(test_peek(at + MIB(2) + KIB(8)), 0);
		EXPECT_EQ(test_peek(at + MIB(2) + KIB(4)), test_file_word(513));
		EXPECT(vma_at(as, at)->split);
		EXPECT(!vma_at(as, other)->split);
		EXPECT(test_poke(other + KIB(4) + 8, 99)); // by the other mapping
		EXPECT(!vma_at(as, other)->split);         // which shows the file's table as before
		EXPECT_EQ(test_peek(at + KIB(4) + 8), 99); // no stale zero page here
		EXPECT(test_poke(at + MIB(2) + KIB(8) + 8, 98));
		EXPECT_EQ(test_peek(other + MIB(2) + KIB(8) + 8), 98);
		EXPECT(test_poke(at + MIB(2) + KIB(12), 97));
		faults = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT_EQ(test_peek(other + MIB(2) + KIB(12)), 97); // one fault for both
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults);
		EXPECT(test_poke(at + MIB(5), 97));
		EXPECT_EQ(test_peek(other + MIB(5)), 97);
		// Whoever fills holes goes on to see those that others fill.
		EXPECT(test_poke(other + MIB(4), 96) && test_poke(at + MIB(4) + KIB(4), 95));
		faults = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT_EQ(test_peek(other + MIB(4) + KIB(4)), 95);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults);
	}
	test_end(as, f);
}

// As write(2) does it: the block is published, then the VM is told.
KTEST_NOMEM(zero_page_goes_when_the_hole_is_filled)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = 0;

	if (as && f)
		at = test_map_file(as, &f->object, 0, KIB(64), PROT_READ, MAP_SHARED);
	if (EXPECT(at)) {
		EXPECT_EQ(test_peek(at + KIB(8)), 0);
		if (EXPECT(test_file_fill(f, KIB(8), PAGE_SIZE))) {
			vm_hole_filled(&f->object, KIB(8), PAGE_SIZE);
			EXPECT_EQ(test_peek(at + KIB(8)), test_file_word(2));
		}
	}
	test_end(as, f);
}

// Growth past each root level: what is mapped stays, what is new is found by faults.
KTEST_NOMEM(attach_follows_growth)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(16));
	u64 at = 0;

	if (as && f && test_file_fill(f, 0, KIB(16)))
		at = test_map_file(as, &f->object, 0, MIB(8), RW, ATTACH);
	if (EXPECT(at)) {
		EXPECT(test_shows_blocks(at, 0, KIB(16)));
		if (test_file_resize(f, KIB(128)) && test_file_fill(f, 0, KIB(128)))
			EXPECT(test_shows_blocks(at, 0, KIB(128)));
		EXPECT_EQ(vma_at(as, at)->attach_level, PT_PMD);
		if (test_file_resize(f, MIB(8)) && test_file_fill(f, MIB(6), KIB(64)))
			EXPECT(test_shows_blocks(at + MIB(6), MIB(6), KIB(64)));
		EXPECT_EQ(vma_at(as, at)->attach_level, PT_PUD); // folded to one entry
		EXPECT(test_shows_blocks(at, 0, KIB(128)));
	}
	test_end(as, f);
}

static void shrink_and_look(u64 from, u64 to, unsigned flags)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(from);
	u64 at = map_filled(as, f, RW, flags);

	if (EXPECT(at)) {
		EXPECT(test_shows_blocks(at, 0, from));
		EXPECT(test_file_resize(f, to));
		EXPECT(to == 0 || test_shows_blocks(at, 0, to));
		EXPECT_EQ(fault_resolve(as, at + ALIGN_UP(to, PAGE_SIZE), FAULT_READ), -ENXIO);
		EXPECT_EQ(test_peek(at + from - PAGE_SIZE), ~0ull);
		// Blocks are new after growth, whatever stood there before.
		if (test_file_resize(f, from))
			EXPECT_EQ(test_peek(at + from - PAGE_SIZE), 0);
	}
	test_end(as, f);
}

KTEST(revoke_on_truncate)
{
	shrink_and_look(KIB(20), KIB(4), ATTACH);
	shrink_and_look(KIB(64), KIB(8), ATTACH);
	shrink_and_look(KIB(64), 0, ATTACH);
	shrink_and_look(MIB(6), MIB(3), ATTACH);
	shrink_and_look(MIB(6), KIB(4), ATTACH);
	shrink_and_look(MIB(6), KIB(4), MAP_SHARED);
	shrink_and_look(KIB(64), KIB(8), MAP_SHARED);
	shrink_and_look(KIB(64), KIB(8), MAP_PRIVATE);
}

KTEST(revoke_finds_split_copies)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(6));
	u64 at = map_filled(as, f, RW, MAP_PRIVATE | MAP_DAXVM);

	if (EXPECT(at)) {
		EXPECT(test_poke(at + MIB(2) + 8, 5)); // a private copy: split to the page
		EXPECT(vma_at(as, at)->split);
		test_file_punch(f, MIB(2), MIB(2));
		EXPECT_EQ(test_peek(at + MIB(2) + 8), 5); // the copy is not the file's
		EXPECT_EQ(test_peek(at + MIB(2) + PAGE_SIZE), 0);
		EXPECT(test_shows_blocks(at + MIB(4), MIB(4), MIB(2)));
		EXPECT(test_file_resize(f, MIB(1)));
		EXPECT_EQ(test_peek(at + MIB(2) + 8), ~0ull); // beyond the end: gone
	}
	test_end(as, f);
}

// PROT_NONE keeps what is attached, and mprotect lets it be seen.
KTEST_NOMEM(attach_without_any_right)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = map_filled(as, f, PROT_NONE, ATTACH);

	if (EXPECT(at)) {
		EXPECT_EQ(test_peek(at), ~0ull);
		EXPECT(!test_poke(at, 1));
		if (EXPECT_EQ(aspace_protect(as, UVA(at), KIB(64), PROT_READ), 0))
			EXPECT(test_shows_blocks(at, 0, KIB(64)));
		EXPECT(!test_poke(at, 1));
		EXPECT_EQ(aspace_protect(as, UVA(at), KIB(64), PROT_NONE), 0);
		EXPECT_EQ(test_peek(at), ~0ull);
	}
	test_end(as, f);
}

KTEST_NOMEM(private_attach_copies_on_write)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(4));
	u64 at = 0, others = 0;

	if (as && f && test_file_fill(f, 0, KIB(64)) && test_file_fill(f, MIB(2), KIB(64)))
		at = test_map_file(as, &f->object, 0, MIB(4), RW, MAP_PRIVATE | MAP_DAXVM);
	if (EXPECT(at)) {
		EXPECT_EQ(vma_at(as, at)->attach_level, PT_PUD);
		EXPECT(test_poke(at + KIB(8) + 8, 1));
		EXPECT(test_poke(at + KIB(32) + 8, 2)); // a hole's copy is zeros
		EXPECT_EQ(test_peek(at + KIB(8) + 8), 1);
		others = test_map_file(as, &f->object, 0, KIB(64), PROT_READ, ATTACH);
		if (EXPECT(others))
			EXPECT(test_peek(others + KIB(8) + 8) != 1);
		EXPECT_EQ(test_peek(at + KIB(8)), test_file_word(2));
		EXPECT(test_shows_blocks(at + MIB(2), MIB(2), KIB(64)));
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
	}
	test_end(as, f);
}

KTEST_NOMEM(unmap_part_of_an_attachment)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(6));
	u64 at = 0, pages;

	if (as && f && test_file_fill(f, 0, KIB(64)) && test_file_fill(f, MIB(4), KIB(64)))
		at = test_map_file(as, &f->object, 0, MIB(6), PROT_READ, ATTACH);
	if (EXPECT(at) && EXPECT_EQ(aspace_unmap(as, UVA(at + KIB(16)), KIB(16)), 0)) {
		pages = (u64)f->page_calls;
		EXPECT_EQ(test_peek(at + KIB(16)), ~0ull);
		EXPECT_EQ(test_peek(at + KIB(28)), ~0ull);
		EXPECT(test_shows_blocks(at, 0, KIB(16)));
		EXPECT(test_shows_blocks(at + KIB(32), KIB(32), KIB(32)));
		EXPECT(test_shows_blocks(at + MIB(4), MIB(4), KIB(64)));
		EXPECT_EQ(f->page_calls, pages); // the copies of the split serve
		EXPECT_EQ(as->vmas.count, 2);
		EXPECT(vma_tree_verify(&as->vmas));
		EXPECT_EQ(aspace_protect(as, UVA(at + MIB(4)), KIB(8), PROT_NONE), 0);
		EXPECT_EQ(test_peek(at + MIB(4) + KIB(4)), ~0ull);
		EXPECT(test_shows_blocks(at + MIB(4) + KIB(8), MIB(4) + KIB(8), KIB(32)));
		EXPECT_EQ(aspace_protect(as, UVA(at + MIB(4)), KIB(8), RW), 0);
		EXPECT(test_poke(at + MIB(4) + 8, 1));
		EXPECT(!test_poke(at + MIB(4) + KIB(8) + 8, 1));
	}
	test_end(as, f);
}

KTEST_NOMEM(attach_none_then_ready)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = 0;

	if (as && f && test_file_fill(f, 0, KIB(64))) {
		f->ready = false;
		at = test_map_file(as, &f->object, 0, KIB(64), PROT_READ, ATTACH);
	}
	if (EXPECT(at)) {
		EXPECT_EQ(vma_at(as, at)->attach_level, 0);
		EXPECT(test_shows_blocks(at, 0, KIB(8)));
		EXPECT(f->page_calls > 0);
		f->ready = true;
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
		EXPECT_EQ(vma_at(as, at)->attach_level, PT_PMD);
	}
	test_end(as, f);
}

KTEST_NOMEM(fork_shares_attachments)
{
	struct aspace *as = test_enter(), *child;
	struct test_file *f = test_file_create(KIB(64));
	u64 at = map_filled(as, f, RW, ATTACH);

	child = at ? aspace_fork(as) : NULL;
	if (EXPECT(child)) {
		u64 faults = mm_stat_read(MM_STAT_fault_kernel);
		int calls = f->page_calls;

		test_use(child);
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
		EXPECT_EQ(f->page_calls, calls);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults);
		EXPECT(test_poke(at + 8, 3));
		test_use(as);
		EXPECT_EQ(test_peek(at + 8), 3);
		EXPECT(test_file_resize(f, KIB(4)));
		test_use(child);
		EXPECT_EQ(test_peek(at + KIB(8)), ~0ull);
		test_use(as);
		aspace_put(child);
	}
	test_end(as, f);
}

KTEST(errors_of_the_file_become_errors_of_the_fault)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = 0;

	if (as && f)
		at = test_map_file(as, &f->object, 0, KIB(64), RW, MAP_SHARED);
	if (EXPECT(at)) {
		f->fail_page = -EUCLEAN;
		EXPECT_EQ(fault_resolve(as, at, FAULT_READ), -EUCLEAN);
		f->fail_page = -ENOSPC;
		EXPECT_EQ(fault_resolve(as, at, FAULT_WRITE), -ENOSPC);
		EXPECT_EQ(fault_resolve(as, at, FAULT_EXEC), -EACCES);
		EXPECT_EQ(fault_resolve(as, at - PAGE_SIZE, FAULT_READ), -EFAULT);
		f->fail_page = 0;
	}
	// A hole of a table that is attached.
	if (at && EXPECT(test_file_fill(f, 0, KIB(36))))
		at = test_map_file(as, &f->object, 0, KIB(64), RW, ATTACH);
	if (EXPECT(at) && EXPECT_EQ(test_peek(at), test_file_word(0))) {
		f->fail_page = -ENOSPC;
		EXPECT_EQ(fault_resolve(as, at + KIB(48), FAULT_WRITE), -ENOSPC);
	}
	test_end(as, f);
}

// The rule of docs/mapping.md: MAP_FIXED that is not congruent with the offset is plain; one that
// is attaches what fits.
KTEST_NOMEM(attach_at_fixed_addresses)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(4));
	struct map_request req = { .addr = UVA(0x40001000),
				   .len = MIB(4),
				   .prot = PROT_READ,
				   .may_prot = PROT_READ,
				   .flags = ATTACH | MAP_FIXED,
				   .object = f ? &f->object : NULL };
	uva_t at;

	if (as && f && test_file_fill(f, 0, KIB(64)) && aspace_map(as, &req, &at) == 0) {
		EXPECT_EQ(vma_at(as, at.va)->unit_level, 0);
		EXPECT(test_shows_blocks(at.va, 0, KIB(64)));
		req.addr = UVA(0x40200000);
		if (EXPECT_EQ(aspace_map(as, &req, &at), 0)) {
			EXPECT_EQ(vma_at(as, at.va)->attach_level, PT_PMD);
			EXPECT(test_shows_blocks(at.va, 0, KIB(64)));
			EXPECT_EQ(test_peek(0x40001000),
				  test_file_word(0)); // the rest of the first
		}
	}
	test_end(as, f);
}
