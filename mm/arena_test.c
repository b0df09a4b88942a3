// SPDX-License-Identifier: MIT
//
// Ephemeral mappings (mm/arena.h): what each call may do with them, holes, revoke, re-use, limits,
// the ends of address spaces. Taken back at once: mm/arena_warm_test.c; on several CPUs:
// mm/arena_smp_test.c. A freed block or table of the test file is filled with 0xee, so a
// translation that outlives a revoke shows.
#include "kernel/lib/errno.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/arena_internal.h"
#include "mm/aspace_internal.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/stat.h"
#include "mm/test_util.h"
#include "mm/uaccess.h"

#define RW      (PROT_READ | PROT_WRITE)
#define EPH     (MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL)
#define BATCH   (EPH | MAP_DAXVM_BATCHING)
#define TICK_NS (1000000000ull / TICK_HZ)

static bool in_arena(struct aspace *as, u64 at)
{
	return at && arena_overlaps(as, at, at + 1);
}

static struct slot *slot_at(struct aspace *as, u64 at)
{
	struct vma v;
	struct slot *s = arena_pin(as, at, &v);

	if (s)
		arena_unpin(s);
	return s;
}

// The same when memory is short, without the long list of blocks of a large file.
KTEST_NOMEM(arena_of_a_large_sparse_file)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(6));
	u64 at[4];

	if (as && f && test_file_fill(f, MIB(2), KIB(8))) {
		for (int i = 0; i < 4; i++)
			at[i] = test_map_file(as, &f->object, i & 1 ? MIB(2) : 0,
					      i & 1 ? KIB(16) : MIB(6), RW, i & 2 ? EPH : BATCH);
		if (EXPECT(in_arena(as, at[3]))) {
			EXPECT_EQ(test_peek(at[0] + MIB(2)), test_file_word(512));
			EXPECT_EQ(test_peek(at[1]), test_file_word(512));
			EXPECT(test_poke(at[2] + MIB(5), 1));
			EXPECT_EQ(test_peek(at[0] + MIB(5)), 1);
			EXPECT_EQ(aspace_unmap(as, UVA(at[0]), MIB(6)), 0);
		}
	}
	test_end(as, f);
}

static void without_faults(u64 bytes, enum slot_class c)
{
	struct aspace *as;
	struct test_file *f;
	u64 at, kernel, again;

	if (test_begin(&as, &f, bytes)) {
		at = test_map_file(as, &f->object, 0, bytes, PROT_READ, EPH);
		kernel = mm_stat_read(MM_STAT_fault_kernel);
		if (EXPECT(in_arena(as, at))) {
			EXPECT_EQ(slot_class(slot_at(as, at)), c);
			EXPECT(test_shows_blocks(at, 0, bytes));
			EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), kernel);
			EXPECT_EQ(f->page_calls, 0);
			EXPECT(!test_poke(at, 1));
			again = test_map_fast(as, &f->object, 0, bytes, RW, EPH);
			EXPECT(again && again != at);
			EXPECT(test_poke(again + 8, 7));
			EXPECT_EQ(test_peek(at + 8), 7);
			EXPECT_EQ(arena_bytes(as), 2 * ALIGN_UP(bytes, PAGE_SIZE));
			EXPECT_EQ(aspace_unmap(as, UVA(at), bytes), 0);
			EXPECT_EQ(test_peek(at), ~0ull);
			EXPECT_EQ(fault_resolve(as, at, FAULT_READ), -EFAULT);
			EXPECT(test_shows_blocks(again, 0, bytes));
		}
	}
	test_end(as, f);
}

KTEST_NOMEM(arena_direct_entries)
{
	without_faults(KIB(20), SLOT_32K);
}

KTEST_NOMEM(arena_pte_page)
{
	without_faults(KIB(64), SLOT_2M);
}

KTEST(arena_pmd_page)
{
	without_faults(MIB(6), SLOT_1G);
}

// The smallest subtree that covers the range; the address is congruent with the offset.
KTEST(arena_part_of_a_file)
{
	struct aspace *as;
	struct test_file *f;
	u64 at, off = MIB(2) + KIB(64);

	if (test_begin(&as, &f, MIB(6))) {
		for (int fast = 0; fast < 2; fast++) {
			at = fast ? test_map_fast(as, &f->object, off, KIB(128), PROT_READ, BATCH)
				  : test_map_file(as, &f->object, off, KIB(128), PROT_READ, BATCH);
			if (!EXPECT(in_arena(as, at)))
				break;
			EXPECT_EQ(slot_class(slot_at(as, at)), SLOT_2M);
			EXPECT_EQ(at & (PMD_SIZE - 1), off & (PMD_SIZE - 1));
			EXPECT(test_shows_blocks(at, off, KIB(128)));
		}
		EXPECT_EQ(f->page_calls, 0);
	}
	test_end(as, f);
}

// ---- The rules ----------------------------------------------------------------------------------

KTEST_NOMEM(arena_calls_that_are_refused)
{
	struct aspace *as;
	struct test_file *f;
	struct map_request req = {
		.len = PAGE_SIZE, .prot = RW, .may_prot = RW, .flags = MAP_PRIVATE | MAP_FIXED
	};
	u64 at, anon;
	uva_t out;

	if (test_begin(&as, &f, KIB(64))) {
		at = test_map_file(as, &f->object, 0, KIB(64), RW, EPH);
		if (EXPECT(in_arena(as, at))) {
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(32)), -EINVAL);
			EXPECT_EQ(aspace_unmap(as, UVA(at + PAGE_SIZE), KIB(60)), -EINVAL);
			EXPECT_EQ(aspace_unmap(as, UVA(at + PAGE_SIZE), PAGE_SIZE), -EINVAL);
			EXPECT_EQ(aspace_protect(as, UVA(at), KIB(64), PROT_READ), -EINVAL);
			EXPECT_EQ(aspace_protect(as, UVA(at + KIB(8)), KIB(4), PROT_READ), -EINVAL);
			EXPECT_EQ(aspace_remap(as, UVA(at), KIB(64), KIB(128), 1, UVA(0), &out),
				  -EINVAL);
			EXPECT_EQ(aspace_remap(as, UVA(at), KIB(64), KIB(4), 0, UVA(0), &out),
				  -EINVAL);
			EXPECT(test_shows_blocks(at, 0, KIB(64))); // nothing changed
			EXPECT(test_poke(at, test_file_word(0)));
			// Nobody else comes into an arena: MAP_FIXED, mremap, a hint.
			req.addr = UVA(at);
			EXPECT_EQ(aspace_map(as, &req, &out), -EINVAL);
			req.addr = UVA(as->arenas->base + GIB(300));
			EXPECT_EQ(aspace_map(as, &req, &out), -EINVAL);
			req.flags |= MAP_FIXED_NOREPLACE;
			EXPECT_EQ(aspace_map(as, &req, &out), -EINVAL);
			anon = test_map_anon(as, PAGE_SIZE, RW);
			EXPECT_EQ(aspace_remap(as, UVA(anon), PAGE_SIZE, PAGE_SIZE, 3, req.addr,
					       &out),
				  -EINVAL);
			req.flags = MAP_PRIVATE;
			if (EXPECT_EQ(aspace_map(as, &req, &out), 0))
				EXPECT(!in_arena(as, out.va));
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), -EINVAL); // twice
		}
	}
	test_end(as, f);
}

// A range that covers ephemeral mappings in full unmaps them, and what lies around the arenas.
KTEST_NOMEM(arena_unmap_of_everything)
{
	struct aspace *as;
	struct test_file *f;
	u64 at[3], anon;

	if (test_begin(&as, &f, KIB(64))) {
		anon = test_map_anon(as, PAGE_SIZE, RW);
		for (int i = 0; i < 3; i++)
			at[i] = test_map_file(as, &f->object, 0, KIB(64), RW, EPH);
		if (EXPECT(anon) && EXPECT(in_arena(as, at[2]))) {
			EXPECT(test_poke(anon, 1));
			EXPECT_EQ(aspace_unmap(as, UVA(USER_BASE), at[0] + KIB(4) - USER_BASE),
				  -EINVAL);
			EXPECT_EQ(test_peek(at[0]), test_file_word(0));
			EXPECT_EQ(aspace_unmap(as, UVA(USER_BASE), USER_END - USER_BASE), 0);
			EXPECT_EQ(test_peek(anon), ~0ull);
			for (int i = 0; i < 3; i++)
				EXPECT_EQ(test_peek(at[i]), ~0ull);
			EXPECT_EQ(aspace_bytes(as), 0);
		}
	}
	test_end(as, f);
}

KTEST_NOMEM(arena_rights)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, KIB(64))) {
		at = test_map_file(as, &f->object, 0, KIB(64), PROT_NONE, EPH);
		if (EXPECT(in_arena(as, at))) {
			EXPECT_EQ(test_peek(at), ~0ull);
			EXPECT_EQ(fault_resolve(as, at, FAULT_READ), -EACCES);
		}
		at = test_map_file(as, &f->object, 0, KIB(64), PROT_READ, EPH);
		if (EXPECT(in_arena(as, at))) {
			EXPECT_EQ(fault_resolve(as, at, FAULT_WRITE), -EACCES);
			EXPECT_EQ(fault_resolve(as, at, FAULT_EXEC), -EACCES);
		}
	}
	test_end(as, f);
}

static bool count_mapping(void *ctx, const struct vma *v)
{
	unsigned *n = ctx;

	*n += (v->flags & MAP_DAXVM_EPHEMERAL) && v->end - v->start == KIB(64) &&
			      v->attach_level == PT_PMD
		      ? 1
		      : 0;
	return true;
}

// They show in /proc, answer madvise, msync and mincore, and a child has none.
KTEST(arena_seen_by_others)
{
	struct aspace *as, *child;
	struct test_file *f;
	unsigned n = 0;
	u8 vec[16];
	u64 at;

	if (test_begin(&as, &f, KIB(64))) {
		at = test_map_file(as, &f->object, 0, KIB(64), RW, EPH);
		aspace_for_each_vma(as, count_mapping, &n);
		EXPECT_EQ(n, 1);
		EXPECT_EQ(aspace_sync(as, UVA(at), KIB(64), 4), 0);
		EXPECT_EQ(aspace_sync(as, UVA(at), KIB(128), 4), -ENOMEM);
		EXPECT_EQ(aspace_incore(as, UVA(at), KIB(64), vec), 0);
		EXPECT_EQ(vec[15], 1);
		EXPECT_EQ(aspace_advise(as, UVA(at), KIB(64), 4), 0);        // DONTNEED
		EXPECT_EQ(aspace_advise(as, UVA(at), KIB(64), 22), 0);       // POPULATE_READ
		EXPECT_EQ(aspace_advise(as, UVA(at), KIB(64), 11), -EINVAL); // DOFORK
		EXPECT_EQ(aspace_advise(as, UVA(at + MIB(2)), KIB(64), 4), -ENOMEM);
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
		child = aspace_fork(as);
		if (EXPECT(child)) {
			EXPECT_EQ(fault_resolve(child, at, FAULT_READ), -EFAULT);
			aspace_put(child);
		}
		EXPECT(test_shows_blocks(at, 0, KIB(64)));
	}
	test_end(as, f);
}

KTEST_NOMEM(arena_limits)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, KIB(64))) {
		as->limit_bytes = KIB(128);
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		EXPECT_EQ(test_map_fast(as, &f->object, 0, KIB(64), RW, BATCH), 0);
		EXPECT(test_map_file(as, &f->object, 0, KIB(64), PROT_READ, BATCH));
		EXPECT_EQ(test_map_file(as, &f->object, 0, KIB(4), RW, BATCH), 0);
		EXPECT_EQ(test_map_anon(as, KIB(4), RW), 0);
		if (EXPECT(at)) {
			// What is unmapped is not counted, reachable or not.
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
			EXPECT(test_map_anon(as, KIB(64), RW));
		}
		// More than 1 GiB: MAP_DAXVM without EPHEMERAL.
		as->limit_bytes = ~0ull;
		at = test_map_file(as, &f->object, 0, GIB(1) + PAGE_SIZE, PROT_READ, EPH);
		EXPECT(at && !in_arena(as, at));
		EXPECT_EQ(test_peek(at), test_file_word(0));
	}
	test_end(as, f);
}

// ---- Unmapped, and still reachable --------------------------------------------------------------

// At most two ticks; the slot rests meanwhile, and no CPU is interrupted.
KTEST(arena_zombies_end_in_two_ticks)
{
	struct aspace *as;
	struct test_file *f;
	u64 at, start, ipis = mm_stat_read(MM_STAT_shootdown_ipis);

	if (test_begin(&as, &f, KIB(64))) {
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		start = time_now_ns();
		EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		EXPECT_EQ(fault_resolve(as, at, FAULT_READ), -EFAULT);
		// Awake, so that ticks meet this space on the CPU.
		while (test_peek(at) != ~0ull && time_now_ns() - start < 50 * TICK_NS)
			thread_yield();
		EXPECT_EQ(test_peek(at), ~0ull);
		EXPECT_EQ(mm_stat_read(MM_STAT_shootdown_ipis), ipis);
		thread_sleep_ns(8 * TICK_NS);
		EXPECT_EQ(f->refs, 0); // the file was let go, too
	}
	test_end(as, f);
}

KTEST_NOMEM(arena_zombies_end_by_revoke_and_unlink)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, KIB(64))) {
		for (int unlink = 0; unlink < 2; unlink++) {
			at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
			if (!EXPECT(in_arena(as, at)))
				break;
			EXPECT_EQ(test_peek(at), test_file_word(0));
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
			if (unlink)
				vm_unlinked(&f->object);
			else
				test_file_punch(f, KIB(60), KIB(4));
			EXPECT_EQ(test_peek(at), ~0ull);
		}
	}
	test_end(as, f);
}

// Far more mappings than slots: they come back by themselves, every one shows its file.
KTEST(arena_slots_come_back)
{
	struct aspace *as;
	struct test_file *f, *g = test_file_create(KIB(16));
	u64 kicks = epoch_stats().kicks, at, frames = 0;

	if (test_begin(&as, &f, KIB(64)) && g && EXPECT(test_file_fill(g, 0, KIB(16)))) {
		for (u64 i = 0; i < 5000; i++) {
			struct test_file *h = i & 1 ? g : f;
			u64 off = i % 3 * PAGE_SIZE;

			at = test_map_file(as, &h->object, off, KIB(4), RW, BATCH);
			if (!EXPECT(in_arena(as, at)) ||
			    !EXPECT(test_shows_blocks(at, off, KIB(4))))
				break;
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(4)), 0);
			if (i == 1000)
				frames = frame_stats().free;
		}
		EXPECT(frame_stats().free + 64 > frames); // no more tables
		EXPECT_EQ(epoch_stats().kicks, kicks);
	}
	test_end(as, f);
	test_end(NULL, g);
}

// The space goes with live, unmapped and resting slots: no reference and no frame stays.
KTEST(arena_left_at_exit)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, MIB(6))) {
		for (int i = 0; i < 100; i++) {
			at = test_map_file(as, &f->object, 0, i & 1 ? MIB(6) : KIB(64), RW, BATCH);
			if (at && i % 3)
				EXPECT_EQ(aspace_unmap(as, UVA(at), i & 1 ? MIB(6) : KIB(64)), 0);
		}
	}
	test_end(as, f);
}

// ---- Holes, files that are not ready, revoke ----------------------------------------------------

static void holes(u64 bytes)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(bytes);
	u64 at = 0, other = 0;

	if (as && f && test_file_fill(f, KIB(8), KIB(4))) {
		at = test_map_file(as, &f->object, 0, bytes, RW, BATCH);
		other = test_map_file(as, &f->object, 0, bytes, RW, EPH);
	}
	if (EXPECT(in_arena(as, at)) && EXPECT(other)) {
		EXPECT_EQ(test_peek(at), 0);
		EXPECT_EQ(test_peek(at + KIB(4)), 0);
		EXPECT_EQ(test_peek(at + KIB(8)), test_file_word(2));
		EXPECT(test_poke(other + KIB(4) + 8, 99)); // by the other mapping
		EXPECT_EQ(test_peek(at + KIB(4) + 8), 99); // no stale zero page here
		EXPECT(test_poke(at + 8, 98));
		EXPECT_EQ(test_peek(other + 8), 98);
		EXPECT_EQ(fault_resolve(as, at + bytes, FAULT_READ), -ENXIO);
		EXPECT_EQ(aspace_unmap(as, UVA(at), bytes), 0);
		EXPECT_EQ(aspace_unmap(as, UVA(other), bytes), 0);
	}
	test_end(as, f);
}

KTEST_NOMEM(arena_holes_of_small_files)
{
	holes(KIB(16));
}

KTEST_NOMEM(arena_holes)
{
	holes(KIB(64));
}

KTEST_NOMEM(arena_holes_of_large_files)
{
	holes(MIB(6));
}

// A table that is not verified yet is not attached; what faults made of it gives way later.
KTEST(arena_of_a_file_that_is_not_ready)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, MIB(6))) {
		f->ready = false;
		at = test_map_file(as, &f->object, 0, MIB(6), RW, EPH);
		EXPECT_EQ(f->object.root_word, 0);
		if (EXPECT(in_arena(as, at)) && EXPECT(test_shows_blocks(at, 0, MIB(2)))) {
			f->ready = true;
			EXPECT(test_shows_blocks(at, 0, MIB(6)));
		}
	}
	test_end(as, f);
}

static void shrink(u64 from, u64 to)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, from)) {
		at = test_map_file(as, &f->object, 0, from, RW, EPH);
		EXPECT(test_shows_blocks(at, 0, from));
		EXPECT(test_file_resize(f, to));
		EXPECT_EQ(f->object.root_word, 0);
		EXPECT(test_shows_blocks(at, 0, to));
		EXPECT_EQ(fault_resolve(as, at + to, FAULT_READ), -ENXIO);
		EXPECT_EQ(test_peek(at + from - PAGE_SIZE), ~0ull);
		EXPECT(test_file_resize(f, from) && test_file_fill(f, from - PAGE_SIZE, 1));
		EXPECT_EQ(test_peek(at + from - PAGE_SIZE), test_file_word(from / PAGE_SIZE - 1));
	}
	test_end(as, f);
}

KTEST(arena_revoke)
{
	shrink(KIB(28), KIB(4));
	shrink(KIB(64), KIB(8));
	shrink(KIB(64), 0);
	shrink(MIB(6), MIB(2));
	shrink(MIB(6), KIB(4));
}

// Growth past each root level: what is mapped stays and is added to by faults, what is mapped anew
// stands at the new level.
KTEST_NOMEM(arena_follows_growth)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	if (test_begin(&as, &f, KIB(16))) {
		at = test_map_file(as, &f->object, 0, MIB(8), RW, EPH);
		EXPECT(test_shows_blocks(at, 0, KIB(16)));
		if (test_file_resize(f, KIB(128)) && test_file_fill(f, 0, KIB(128)))
			EXPECT(test_shows_blocks(at, 0, KIB(128)));
		if (test_file_resize(f, MIB(8)) && test_file_fill(f, MIB(6), KIB(64)))
			EXPECT(test_shows_blocks(at + MIB(6), MIB(6), KIB(64)));
		f->page_calls = 0;
		at = test_map_file(as, &f->object, 0, MIB(8), RW, EPH);
		EXPECT(in_arena(as, at) && test_shows_blocks(at + MIB(6), MIB(6), KIB(64)));
		EXPECT_EQ(f->page_calls, 0);
	}
	test_end(as, f);
}
