// SPDX-License-Identifier: MIT
//
// Frames, the heap and kernel stacks, on the running system. The buddy system itself is tested on
// the host (tests/host/buddy_test.c).
#include "kernel/ktest.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/kmap.h"
#include "mm/layout.h"

KTEST(frame_blocks_are_aligned_and_ram)
{
	for (unsigned order = 0; order <= FRAME_ORDER_MAX; order++) {
		phys_t p = frame_alloc(order, FRAME_ZERO);
		const u64 *word;

		if (!EXPECT(p.pa != PHYS_NONE.pa))
			continue;
		EXPECT(IS_ALIGNED(p.pa, PAGE_SIZE << order));
		EXPECT(frame_is_ram(p) && frame_is_ram(PHYS(p.pa + (PAGE_SIZE << order) - 1)));
		word = phys_to_virt(p);
		for (u64 i = 0; i < (PAGE_SIZE << order) / 8; i++)
			if (word[i])
				EXPECT_EQ(word[i], 0);
		frame_free(p, order);
	}
	EXPECT(!frame_is_ram(PHYS(0xfee00000))); // the LAPIC
	EXPECT(!frame_is_ram(PHYS(BIT(45))));
}

KTEST(frame_references)
{
	phys_t p = frame_alloc(0, 0);

	if (!EXPECT(p.pa != PHYS_NONE.pa))
		return;
	frame_get(p);
	EXPECT_EQ(frame_refs(p), 2);
	frame_set_owner(p, 42);
	EXPECT_EQ(frame_owner(p), 42);
	frame_put(p);
	EXPECT_EQ(frame_refs(p), 1);
	frame_put(p);
	p = frame_alloc(0, 0); // the one that just came back, most likely
	EXPECT_EQ(frame_owner(p), 0);
	frame_put(p);
}

// As much as there is, through the caches, and all of it back.
KTEST(frame_exhaustion)
{
	struct piece {
		struct piece *next;
	} *all = NULL;
	u64 total = 0;
	phys_t p;

	while ((p = frame_alloc(FRAME_ORDER_MAX, 0)).pa != PHYS_NONE.pa) {
		struct piece *l = phys_to_virt(p);

		l->next = all;
		all = l;
		total++;
	}
	EXPECT(total > 10);
	EXPECT(kmalloc(MIB(2)) == NULL);
	while (all) {
		struct piece *next = all->next;

		frame_free(virt_to_phys(all), FRAME_ORDER_MAX);
		all = next;
	}
}

KTEST(frame_reserve_takes_only_what_is_free)
{
	phys_t p = frame_alloc(FRAME_ORDER_MAX, 0);

	if (!EXPECT(p.pa != PHYS_NONE.pa))
		return;
	EXPECT_EQ(frame_reserve(p, PMD_SIZE), -EBUSY);
	EXPECT_EQ(frame_reserve(PHYS(p.pa + PAGE_SIZE), PMD_SIZE), -EINVAL);
	EXPECT_EQ(frame_reserve(PHYS(GIB(900)), PMD_SIZE), -EBUSY);
	EXPECT_EQ(frame_reserve(PHYS(~0ull - PMD_SIZE + 1), PMD_SIZE), -EBUSY);
	frame_free(p, FRAME_ORDER_MAX);
}

#define OBJECTS 200u

KTEST_NOMEM(heap_objects_do_not_overlap)
{
	static u8 *object[OBJECTS];
	unsigned n = 0;
	size_t bytes;

	for (; n < OBJECTS; n++) {
		bytes = (n * 37) % 5000 + 1;
		object[n] = kmalloc(bytes);
		if (!object[n])
			break;
		EXPECT(IS_ALIGNED((u64)object[n], bytes >= 64 ? 64u : 16u));
		memset(object[n], (int)n, bytes);
	}
	EXPECT_EQ(n, OBJECTS);
	for (unsigned i = 0; i < n; i++) {
		bytes = (i * 37) % 5000 + 1;
		EXPECT(object[i][0] == (u8)i && object[i][bytes - 1] == (u8)i);
		kfree(object[i]);
	}
	kfree(NULL);
}

KTEST(heap_zeroed_and_large)
{
	u64 *p = kzalloc(100);

	if (EXPECT(p))
		for (unsigned i = 0; i < 12; i++)
			EXPECT_EQ(p[i], 0);
	kfree(p);
	p = kmalloc(MIB(2));
	EXPECT(p);
	kfree(p);
	EXPECT(kmalloc(MIB(2) + 1) == NULL);
}

KTEST(kstack_has_guards)
{
	u8 *a = kmap_stack_alloc(), *b = kmap_stack_alloc();
	int level;

	if (!EXPECT(a && b))
		return;
	a[0] = a[KSTACK_SIZE - 1] = 1;
	EXPECT(kmap_is_guard((u64)a - 1) && kmap_is_guard((u64)b - PAGE_SIZE));
	EXPECT(!kmap_is_guard((u64)a) && !kmap_is_guard((u64)a + KSTACK_SIZE - 1));
	EXPECT(pte_is_none(kmap_lookup((u64)a - 1, &level)));
	EXPECT(pte_is_none(kmap_lookup((u64)a + KSTACK_SIZE, &level)));
	EXPECT(pte_present(kmap_lookup((u64)a, &level)));
	kmap_stack_free(a);
	kmap_stack_free(b);
}
