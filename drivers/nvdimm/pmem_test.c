// SPDX-License-Identifier: MIT
//
// In-kernel tests of the pmem functions, on the last 16 KiB of the first region that may be written
// and that nobody uses. What was there is put back. Without such a region there is nothing to
// test: boot with an NVDIMM or with pmem=SIZE@ADDR.
#include "drivers/nvdimm/pmem.h"

#include "drivers/nvdimm/region.h"
#include "kernel/console.h"
#include "kernel/ktest.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/test_util.h"
#include "mm/uaccess.h"

#define AREA   KIB(16)
#define MARGIN 64u // bytes on both sides of a copy that must stay as they are

struct area {
	struct pmem_region *region;
	phys_t base;
	const u8 *view;
	u8 *saved;
	u8 *model; // what the area should hold
};

static bool area_open(struct area *a)
{
	*a = (struct area){ 0 };
	for (unsigned i = 0; i < pmem_region_count() && !a->region; i++) {
		struct pmem_region *r = pmem_region_get(i);

		if (r->usable && !r->read_only && r->len >= AREA && !pmem_region_claim(r))
			a->region = r;
	}
	if (!a->region) {
		log_info("pmem test: no free region, nothing tested");
		return false;
	}
	a->base = PHYS(a->region->base.pa + ALIGN_DOWN(a->region->len, PAGE_SIZE) - AREA);
	a->view = phys_to_virt(a->base);
	a->saved = kmalloc(AREA);
	a->model = kmalloc(AREA);
	if (!EXPECT(a->saved && a->model)) {
		kfree(a->saved);
		kfree(a->model);
		pmem_region_release(a->region);
		return false;
	}
	memcpy(a->saved, a->view, AREA);
	for (size_t i = 0; i < AREA; i++)
		a->model[i] = (u8)(i * 7 + i / 256);
	pmem_memcpy_nt(a->base, a->model, AREA);
	return true;
}

static void area_close(struct area *a)
{
	pmem_memcpy_nt(a->base, a->saved, AREA);
	pmem_fence();
	kfree(a->saved);
	kfree(a->model);
	pmem_region_release(a->region);
}

static phys_t at(const struct area *a, u64 off)
{
	return PHYS(a->base.pa + off);
}

static bool area_matches(const struct area *a, u64 off, u64 len)
{
	return memcmp(a->view + off, a->model + off, len) == 0;
}

KTEST(pmem_words)
{
	struct area a;
	u64 word;

	if (!area_open(&a))
		return;
	EXPECT(area_matches(&a, 0, AREA));
	pmem_store8(at(&a, 8), 0x1122334455667788ull);
	memcpy(&word, a.view + 8, 8);
	EXPECT_EQ(word, 0x1122334455667788ull);
	EXPECT_EQ(pmem_cas8(at(&a, 8), 1, 2), 0x1122334455667788ull);
	memcpy(&word, a.view + 8, 8);
	EXPECT_EQ(word, 0x1122334455667788ull);
	EXPECT_EQ(pmem_cas8(at(&a, 8), 0x1122334455667788ull, 2), 0x1122334455667788ull);
	memcpy(&word, a.view + 8, 8);
	EXPECT_EQ(word, 2);
	area_close(&a);
}

// Every alignment of both sides, lengths around the word and line sizes.
KTEST(pmem_copy_alignments)
{
	static const u16 lens[] = { 0, 1, 3, 7, 8, 9, 15, 16, 63, 64, 65, 127, 128, 200, 1000 };
	struct area a;
	bool ok = true;

	if (!area_open(&a))
		return;
	for (u64 dst = 0; dst < 64 && ok; dst++)
		for (u64 src = 0; src < 8 && ok; src += 3)
			for (size_t k = 0; k < ARRAY_SIZE(lens) && ok; k++) {
				u64 off = MARGIN + dst;

				memmove(a.model + off, a.model + AREA / 2 + src * 5, lens[k]);
				pmem_memcpy_nt(at(&a, off), a.model + off, lens[k]);
				ok = area_matches(&a, 0, AREA / 2);
			}
	EXPECT(ok);
	area_close(&a);
}

KTEST(pmem_fill_alignments)
{
	struct area a;
	bool ok = true;

	if (!area_open(&a))
		return;
	for (u64 dst = 0; dst < 64 && ok; dst++)
		for (u64 len = 0; len < 200 && ok; len += 1 + len / 9) {
			u8 byte = (u8)(dst * 3 + len);

			memset(a.model + MARGIN + dst, byte, len);
			pmem_memset_nt(at(&a, MARGIN + dst), byte, len);
			ok = area_matches(&a, 0, 1024);
		}
	EXPECT(ok);
	area_close(&a);
}

// Write-back touches no byte outside the lines of its range: the very last line of the region is a
// place where one line too many would fault (Bochs and hardware; TCG forgives it).
KTEST(pmem_write_back_ends)
{
	struct area a;

	if (!area_open(&a))
		return;
	pmem_flush(at(&a, AREA - 1), 1);
	pmem_flush(at(&a, AREA - 64), 64);
	pmem_flush(at(&a, AREA - 65), 65);
	pmem_flush(at(&a, 5), 0);
	pmem_flush(a.base, AREA);
	pmem_fence();
	EXPECT(area_matches(&a, 0, AREA));
	area_close(&a);
}

// A user page that is not there cuts the copy short and changes nothing.
KTEST(pmem_copy_from_nowhere)
{
	struct area a;

	if (!area_open(&a))
		return;
	EXPECT_EQ(pmem_copy_from_user_nt(at(&a, 3), UVA(0x100003), 1000), 1000);
	EXPECT_EQ(pmem_copy_from_user_nt(at(&a, 3), UVA(~0ull - 4), 1000), 1000);
	EXPECT_EQ(pmem_copy_from_user_nt(at(&a, 3), UVA(KERNEL_BASE), 16), 16);
	EXPECT(area_matches(&a, 0, AREA));
	area_close(&a);
}

// One page of user memory and none behind it: whatever the alignments, exactly the bytes that are
// there arrive. (A copy that stops at the last whole word would make its caller fault in, again and
// again, the page that is there.)
KTEST(pmem_copy_up_to_missing_page)
{
	struct aspace *as;
	struct area a;
	bool ok = true;
	u64 va;

	if (!area_open(&a))
		return;
	as = test_enter();
	va = as ? test_map_anon(as, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE) : 0;
	if (EXPECT(va) && EXPECT_EQ(copy_to_user(UVA(va), a.saved, PAGE_SIZE), 0)) {
		u64 end = va + PAGE_SIZE;

		for (u64 dst = 0; dst < 16 && ok; dst++)
			for (u64 before = 0; before < 100 && ok; before++) {
				size_t left;

				memcpy(a.model + MARGIN + dst, a.saved + PAGE_SIZE - before,
				       before);
				left = pmem_copy_from_user_nt(at(&a, MARGIN + dst),
							      UVA(end - before), before + 200);
				ok = left == 200 && area_matches(&a, 0, 1024);
			}
		EXPECT(ok);
		EXPECT_EQ(pmem_copy_from_user_nt(at(&a, 1), UVA(va + 3), 3000), 0);
		memcpy(a.model + 1, a.saved + 3, 3000);
		EXPECT(area_matches(&a, 0, AREA));
	}
	if (as)
		test_leave(as);
	area_close(&a);
}
