// SPDX-License-Identifier: MIT
//
// Ephemeral mappings that are taken back: the same call finds what it unmapped a moment ago. And
// only the same call: nothing is checked for it again.
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/arena_internal.h"
#include "mm/test_util.h"

#define RW      (PROT_READ | PROT_WRITE)
#define BATCH   (MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)
#define TICK_NS (1000000000ull / TICK_HZ)

// Warm mappings made on this CPU and not reported yet.
static u32 nr_warm(struct aspace *as)
{
	return as->arenas->cpu[this_cpu()->index]->nr_warm;
}

KTEST(arena_warm_slots)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, KIB(64))) {
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		preempt_disable(); // no tick
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		// Other rights, another length, another offset: another slot.
		EXPECT(test_map_fast(as, &f->object, 0, KIB(64), PROT_READ, BATCH) != at);
		EXPECT(test_map_fast(as, &f->object, 0, KIB(60), RW, BATCH) != at);
		EXPECT(test_map_fast(as, &f->object, KIB(4), KIB(60), RW, BATCH) != at);
		EXPECT_EQ(nr_warm(as), 0);
		preempt_enable();
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		preempt_disable();
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		EXPECT_EQ(test_map_fast(as, &f->object, 0, KIB(64), RW, BATCH), at);
		EXPECT_EQ(nr_warm(as), 1);
		preempt_enable();
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), -EINVAL);
	}
	test_end(as, f);
}

// Calls that differ in what mmap was given, and the same one once it would be refused.
KTEST(arena_warm_is_the_same_call)
{
	struct aspace *as;
	struct test_file *f;
	u64 at, grant;

	if (test_begin(&as, &f, KIB(64))) {
		grant = vm_grant(&f->object, PROT_ALL);
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		preempt_disable(); // no tick
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		EXPECT_EQ(arena_map_fast(as, 0, KIB(64), RW, BATCH, 0), 0);
		EXPECT_EQ(arena_map_fast(as, vm_grant(&f->object, PROT_READ), KIB(64), RW, BATCH,
					 0),
			  0);
		EXPECT_EQ(arena_map_fast(as, grant, 0, RW, BATCH, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, ~0ull, RW, BATCH, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, GIB(1) + 1, RW, BATCH, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64), RW | 8, BATCH, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64), RW | GIB(64), BATCH, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64), RW, BATCH | 4, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64), RW, BATCH | MAP_POPULATE, 0), 0);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64), RW, BATCH, 1), 0);
		as->limit_bytes = GIB(1);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64), RW, BATCH, 0), 0);
		as->limit_bytes = ~0ull;
		EXPECT_EQ(nr_warm(as), 0);
		EXPECT_EQ(arena_map_fast(as, grant, KIB(64) - 1, RW, BATCH, 0), at);
		EXPECT_EQ(nr_warm(as), 1);
		EXPECT_EQ(arena_bytes(as), KIB(64));
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		preempt_enable();
	}
	test_end(as, f);
}

// What a slot showed once is not there any more when it has shown something else since.
KTEST(arena_warm_slot_of_another_use)
{
	struct aspace *as;
	struct test_file *f, *g = test_file_create(KIB(64));
	u64 at, other, again, stays;

	thread_current()->affinity = BIT(0); // one arena
	thread_migrate();
	if (test_begin(&as, &f, KIB(64)) && g && EXPECT(test_file_fill(g, KIB(4), KIB(60)))) {
		stays = test_map_file(as, &f->object, 0, KIB(32), RW, BATCH); // the file is held
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		thread_sleep_ns(4 * TICK_NS); // FREE
		other = test_map_file(as, &g->object, KIB(4), KIB(60), RW, BATCH);
		EXPECT_EQ(other, at + KIB(4));
		preempt_disable();
		EXPECT_EQ(aspace_unmap(as, UVA(other), KIB(60)), 0);
		again = test_map_fast(as, &f->object, 0, KIB(64), RW, BATCH);
		EXPECT(again != at);
		EXPECT_EQ(nr_warm(as), 0);
		preempt_enable();
		if (EXPECT(again && stays))
			EXPECT_EQ(test_peek(again), test_file_word(0));
	}
	thread_current()->affinity = ~0ull;
	test_end(as, f);
	test_end(NULL, g);
}
