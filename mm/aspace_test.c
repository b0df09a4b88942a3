// SPDX-License-Identifier: MIT
//
// Address spaces from inside the kernel: anonymous memory, rights, cutting and joining, fork,
// mremap. Each test leaves no frame and no heap object behind, with and without memory running out.
#include "kernel/lib/errno.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/stat.h"
#include "mm/test_util.h"
#include "mm/uaccess.h"

#define RW (PROT_READ | PROT_WRITE)

KTEST_NOMEM(anon_reads_zeros_and_keeps_writes)
{
	struct aspace *as = test_enter();
	u64 zero = mm_stat_read(MM_STAT_fault_anon_zero), at;

	if (!as)
		return;
	at = test_map_anon(as, 16 * PAGE_SIZE, RW);
	if (EXPECT(at)) {
		for (u64 i = 0; i < 16; i++)
			EXPECT_EQ(test_peek(at + i * PAGE_SIZE), 0);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_anon_zero) - zero, 16);
		for (u64 i = 0; i < 16; i += 3)
			EXPECT(test_poke(at + i * PAGE_SIZE + 8, i));
		for (u64 i = 0; i < 16; i++)
			EXPECT_EQ(test_peek(at + i * PAGE_SIZE + 8), i % 3 ? 0 : i);
		EXPECT_EQ(as->mapped_bytes, 16 * PAGE_SIZE);
	}
	test_leave(as);
}

KTEST(bad_addresses_are_refused)
{
	struct aspace *as = test_enter();
	u64 at, word = 1;

	if (!as)
		return;
	EXPECT_EQ(copy_to_user(UVA(0), &word, 8), -EFAULT);
	EXPECT_EQ(copy_to_user(UVA(USER_BASE), &word, 8), -EFAULT);
	EXPECT_EQ(copy_to_user(UVA(USER_END - 4), &word, 8), -EFAULT);
	EXPECT_EQ(copy_to_user(UVA(PHYSMAP_BASE), &word, 8), -EFAULT);
	EXPECT_EQ(copy_to_user(UVA(~0ull - 3), &word, 8), -EFAULT);
	EXPECT_EQ(copy_from_user(&word, UVA(1ull << 63), 8), -EFAULT);
	at = test_map_anon(as, PAGE_SIZE, PROT_READ);
	EXPECT_EQ(test_peek(at), 0);
	EXPECT(!test_poke(at, 1));
	// Exact to the byte at the end of what is mapped.
	at = test_map_anon(as, PAGE_SIZE, RW);
	EXPECT_EQ(aspace_unmap(as, UVA(at + PAGE_SIZE), PAGE_SIZE), 0);
	EXPECT_EQ(copy_to_user_partial(UVA(at + PAGE_SIZE - 13), "0123456789abcdefghij", 20), 7);
	EXPECT_EQ(copy_from_user_partial(&word, UVA(at + PAGE_SIZE - 5), 8), 3);
	test_leave(as);
}

KTEST_NOMEM(unmap_in_the_middle)
{
	struct aspace *as = test_enter();
	u64 at;

	if (!as)
		return;
	at = test_map_anon(as, 8 * PAGE_SIZE, RW);
	if (EXPECT(at)) {
		for (u64 i = 0; i < 8; i++)
			EXPECT(test_poke(at + i * PAGE_SIZE, i + 1));
		EXPECT_EQ(aspace_unmap(as, UVA(at + 3 * PAGE_SIZE), 2 * PAGE_SIZE), 0);
		for (u64 i = 0; i < 8; i++)
			EXPECT_EQ(test_peek(at + i * PAGE_SIZE), i == 3 || i == 4 ? ~0ull : i + 1);
		EXPECT_EQ(as->vmas.count, 2);
		EXPECT(vma_tree_verify(&as->vmas));
	}
	test_leave(as);
}

KTEST_NOMEM(protect_part_and_back)
{
	struct aspace *as = test_enter();
	u64 at;

	if (!as)
		return;
	at = test_map_anon(as, 4 * PAGE_SIZE, RW);
	if (EXPECT(at)) {
		uva_t second = UVA(at + PAGE_SIZE);

		EXPECT(test_poke(second.va, 77));
		EXPECT_EQ(aspace_protect(as, second, PAGE_SIZE, PROT_READ), 0);
		EXPECT(!test_poke(second.va, 78));
		EXPECT_EQ(test_peek(second.va), 77);
		EXPECT_EQ(aspace_protect(as, second, PAGE_SIZE, PROT_NONE), 0);
		EXPECT_EQ(test_peek(second.va), ~0ull);
		EXPECT_EQ(as->vmas.count, 3);
		EXPECT_EQ(aspace_protect(as, second, PAGE_SIZE, RW), 0);
		EXPECT_EQ(test_peek(second.va), 77);
		EXPECT(test_poke(second.va, 79));
		EXPECT_EQ(as->vmas.count, 1);
		EXPECT_EQ(aspace_protect(as, UVA(at + 3 * PAGE_SIZE), 2 * PAGE_SIZE, PROT_READ),
			  -ENOMEM);
	}
	test_leave(as);
}

KTEST_NOMEM(fork_copies_on_write)
{
	struct aspace *as = test_enter(), *child;
	u64 at;

	if (!as)
		return;
	at = test_map_anon(as, 600 * PAGE_SIZE, RW);
	for (u64 i = 0; at && i < 600; i += 50)
		EXPECT(test_poke(at + i * PAGE_SIZE, i));
	child = at ? aspace_fork(as) : NULL;
	if (EXPECT(child)) {
		EXPECT(test_poke(at, 1000)); // the parent's copy
		EXPECT_EQ(test_peek(at + 50 * PAGE_SIZE), 50);
		test_leave(as);
		as = child;
		test_use(as);
		EXPECT_EQ(test_peek(at), 0);
		EXPECT_EQ(test_peek(at + 550 * PAGE_SIZE), 550);
		EXPECT(test_poke(at + 50 * PAGE_SIZE, 51)); // its own alone by now
		EXPECT_EQ(test_peek(at + 50 * PAGE_SIZE), 51);
	}
	test_leave(as);
}

KTEST_NOMEM(fork_shares_shared_memory)
{
	struct aspace *as = test_enter(), *child;
	u64 at;

	if (!as)
		return;
	at = test_map_file(as, NULL, 0, 3 * PMD_SIZE, RW, MAP_SHARED | MAP_ANONYMOUS);
	child = at ? aspace_fork(as) : NULL;
	if (EXPECT(child)) {
		EXPECT(test_poke(at + PMD_SIZE, 5));
		test_use(child);
		EXPECT_EQ(test_peek(at + PMD_SIZE), 5);
		EXPECT(test_poke(at + 2 * PMD_SIZE, 6));
		test_use(as);
		aspace_put(child);
		EXPECT_EQ(test_peek(at + 2 * PMD_SIZE), 6);
	}
	test_leave(as);
}

KTEST_NOMEM(remap_moves_pages)
{
	struct aspace *as = test_enter();
	uva_t to;
	u64 at;

	if (!as)
		return;
	(void)test_map_anon(as, PAGE_SIZE, PROT_READ); // above: no room to grow in place
	at = test_map_anon(as, 4 * PAGE_SIZE, RW);
	if (EXPECT(at) && EXPECT(test_poke(at, 1)) && EXPECT(test_poke(at + 3 * PAGE_SIZE, 4))) {
		int err = aspace_remap(as, UVA(at), 4 * PAGE_SIZE, MIB(4), 1, UVA(0), &to);

		if (err) { // then nothing has changed
			EXPECT_EQ(err, 0);
			to = UVA(at);
		} else {
			EXPECT_EQ(test_peek(at), ~0ull);
			EXPECT(test_poke(to.va + MIB(3), 9));
		}
		EXPECT_EQ(test_peek(to.va), 1);
		EXPECT_EQ(test_peek(to.va + 3 * PAGE_SIZE), 4);
		EXPECT_EQ(aspace_remap(as, to, PAGE_SIZE * 4, PAGE_SIZE, 0, UVA(0), &to), 0);
		EXPECT_EQ(test_peek(to.va + 3 * PAGE_SIZE), ~0ull);
	}
	test_leave(as);
}

KTEST_NOMEM(brk_grows_and_shrinks)
{
	struct aspace *as = test_enter();

	if (!as)
		return;
	as->brk_start = as->brk_end = 0x500000;
	EXPECT_EQ(aspace_brk(as, UVA(0)).va, 0x500000);
	if (EXPECT_EQ(aspace_brk(as, UVA(0x503d01)).va, 0x503d01)) {
		EXPECT(test_poke(0x503ff0, 3));
		EXPECT_EQ(aspace_brk(as, UVA(0x510000)).va, 0x510000);
		EXPECT_EQ(as->vmas.count, 1);
		EXPECT_EQ(aspace_brk(as, UVA(0x501000)).va, 0x501000);
		EXPECT_EQ(test_peek(0x503ff0), ~0ull);
		as->limit_bytes = KIB(64);
		EXPECT_EQ(aspace_brk(as, UVA(0x600000)).va, 0x501000);
	}
	test_leave(as);
}

KTEST(fixed_and_hints)
{
	struct aspace *as = test_enter();
	struct map_request req = { .len = 4 * PAGE_SIZE,
				   .prot = RW,
				   .may_prot = RW,
				   .flags = MAP_PRIVATE | MAP_FIXED,
				   .addr = UVA(0x10000000) };
	uva_t at;

	if (!as)
		return;
	EXPECT_EQ(aspace_map(as, &req, &at), 0);
	EXPECT_EQ(at.va, 0x10000000);
	EXPECT(test_poke(at.va + PAGE_SIZE, 1));
	req.flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
	EXPECT_EQ(aspace_map(as, &req, &at), -EEXIST);
	req.flags = MAP_PRIVATE | MAP_FIXED;
	req.addr.va += PAGE_SIZE;
	req.len = PAGE_SIZE;
	EXPECT_EQ(aspace_map(as, &req, &at), 0);
	EXPECT_EQ(test_peek(at.va), 0); // replaced
	req.flags = MAP_PRIVATE;
	EXPECT_EQ(aspace_map(as, &req, &at), 0); // the hint is taken
	EXPECT(at.va != 0x10001000);
	req.flags = MAP_PRIVATE | MAP_FIXED;
	req.addr.va = 0;
	EXPECT_EQ(aspace_map(as, &req, &at), -EPERM);
	req.addr.va = USER_END;
	EXPECT_EQ(aspace_map(as, &req, &at), -ENOMEM);
	req.addr.va = 0x10000800;
	EXPECT_EQ(aspace_map(as, &req, &at), -EINVAL);
	test_leave(as);
}
