// SPDX-License-Identifier: MIT
//
// Dirty tracking on all CPUs: threads store, sync, map, unmap and protect at once, and what each
// sync promised is compared with a medium that has of each watched word what was written back last
// (mm/test_util.h). That is I2 of mm/dirty.c: nothing that was stored before a sync began is
// missing when it has returned.
#include "kernel/console.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/arena.h"
#include "mm/dirty.h"
#include "mm/pagetable.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define RW        (PROT_READ | PROT_WRITE)
#define ATTACH    (MAP_SHARED | MAP_DAXVM)
#define EPHEMERAL (ATTACH | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)
#define ROUNDS    150
#define CHUNKS    4u
#define MS_SYNC   4u

static struct {
	struct aspace *as;
	struct test_file *f;
	u64 at; // the whole file
	u32 running, bad, stop;
	u32 step;           // of the test that goes step by step [atomic]
	u64 stored[CHUNKS]; // by the threads that do not sync themselves [atomic]
} t;

static bool begin(u64 bytes)
{
	__builtin_memset(&t, 0, sizeof(t));
	t.as = test_enter();
	t.f = test_file_create(bytes);
	if (t.as && t.f && test_file_fill(t.f, 0, bytes))
		t.at = test_map_file(t.as, &t.f->object, 0, bytes, RW, ATTACH);
	return EXPECT(t.at);
}

static bool start(void (*fn)(void *arg), u64 n)
{
	return test_start(&t.running, fn, n);
}

static void finish(void)
{
	test_join(&t.running);
}

static void end(void)
{
	__atomic_store_n(&t.stop, 1, __ATOMIC_RELEASE);
	finish();
	EXPECT_EQ(t.bad, 0);
	if (t.as)
		test_leave(t.as);
	if (t.f)
		test_file_destroy(t.f);
	thread_current()->affinity = ~0ull;
}

static void complain(bool good)
{
	if (!good)
		__atomic_fetch_add(&t.bad, 1, __ATOMIC_RELAXED);
}

static void thread_end(void)
{
	test_use(NULL);
	__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELEASE);
}

// ---- One CPU remembers W ------------------------------------------------------------------------

static void wait_for(u32 step)
{
	while (__atomic_load_n(&t.step, __ATOMIC_ACQUIRE) < step)
		asm_pause();
}

// On CPU 1: stores to two chunks, so that its TLB has W, and again when told.
static void rememberer(void *arg)
{
	(void)arg;
	thread_current()->affinity = BIT(1);
	thread_migrate();
	test_use(t.as);
	for (u32 step = 1; step < 4; step += 2) {
		complain(test_poke(t.at + 8, step));
		complain(test_poke(t.at + MIB(2) + 8, step));
		__atomic_store_n(&t.step, step, __ATOMIC_RELEASE);
		wait_for(step + 1);
	}
	thread_end();
}

static bool begin_remembering(void)
{
	thread_current()->affinity = BIT(0);
	thread_migrate();
	if (!begin(MIB(32)) || cpu_count() < 2 || !start(rememberer, 1))
		return false;
	wait_for(1);
	return true;
}

static void go_on(u32 step)
{
	__atomic_store_n(&t.step, step, __ATOMIC_RELEASE);
}

// Sixteen chunks, one interrupt to the one other CPU that has the space; and then it has no W.
KTEST(dirty_sync_interrupts_once)
{
	if (begin_remembering()) {
		u64 ipis, shootdowns;

		for (u64 off = 0; off < MIB(32); off += MIB(2))
			EXPECT(test_poke(t.at + off, off));
		ipis = mm_stat_read(MM_STAT_shootdown_ipis);
		shootdowns = mm_stat_read(MM_STAT_shootdowns);
		EXPECT_EQ(vm_sync(&t.f->object), 0);
		EXPECT_EQ(mm_stat_read(MM_STAT_shootdowns), shootdowns + 1);
		EXPECT_EQ(mm_stat_read(MM_STAT_shootdown_ipis), ipis + 1);
		EXPECT_EQ(t.f->sync_bytes, MIB(32));
		go_on(2);
		wait_for(3);
		EXPECT(vm_dirty_any(&t.f->object, 0, 1));
		EXPECT(vm_dirty_any(&t.f->object, MIB(2), 1));
		EXPECT(!vm_dirty_any(&t.f->object, MIB(4), MIB(28)));
		go_on(4);
	}
	end();
}

static void let_it_store(void *ctx)
{
	(void)ctx;
	t.f->after_sync = NULL;
	go_on(2);
	wait_for(3);
}

// A store when the lines have been written back and the sync has not returned: it is not in this
// round, so it must be noticed. By then nobody remembers W, or it would not be.
KTEST(dirty_store_after_write_back)
{
	if (begin_remembering()) {
		t.f->after_sync = let_it_store;
		EXPECT_EQ(vm_sync(&t.f->object), 0);
		EXPECT(vm_dirty_any(&t.f->object, 0, 1));
		t.f->watched[0] = 8;
		t.f->nr_watched = 1;
		EXPECT_EQ(vm_sync(&t.f->object), 0);
		EXPECT_EQ(t.f->medium[0], 3);
		go_on(4);
	}
	end();
}

// W taken, and the CPU not told: its store passes unnoticed. If it did not, the test above would
// prove nothing. A TLB need not remember: QEMU's does, which tests/system/ktest.t looks for; that
// of Bochs, of which this was once demanded, mostly.
KTEST(dirty_test_notices_a_missing_shootdown)
{
	if (begin(MIB(4)) && EXPECT(test_poke(t.at + 8, 1))) {
		struct ptbatch b;
		bool remembered;

		preempt_disable(); // no other space is loaded in between, no fault is taken
		EXPECT(test_poke(t.at + 8, 2));
		spin_lock(&t.as->pt_lock);
		ptbatch_begin(&b, t.as);
		pt_take_write(&b, t.at, t.at + MIB(2));
		spin_unlock(&t.as->pt_lock);
		remembered = test_poke(t.at + 8, 3);
		preempt_enable();
		klog_plain("# W was %s", remembered ? "remembered" : "forgotten");
		ptbatch_finish(&b);
		preempt_disable();
		EXPECT(!test_poke(t.at + 8, 4));
		preempt_enable();
	}
	end();
}

// Story (I3): another CPU takes rights away and has not flushed yet when the sync comes; a third
// stores by what it remembers after the sync has written back. So spaces are flushed where no W was
// found, too: here mprotect took it.
KTEST(dirty_sync_flushes_where_no_w_is_left)
{
	if (begin(MIB(4))) {
		u64 shootdowns;

		EXPECT(test_poke(t.at + 8, 1));
		EXPECT_EQ(aspace_protect(t.as, UVA(t.at), MIB(4), PROT_READ), 0);
		shootdowns = mm_stat_read(MM_STAT_shootdowns);
		EXPECT_EQ(vm_sync(&t.f->object), 0);
		EXPECT_EQ(mm_stat_read(MM_STAT_shootdowns), shootdowns + 1);
		EXPECT_EQ(t.f->sync_calls, 1);
	}
	end();
}

// ---- All at once --------------------------------------------------------------------------------

static u64 medium(u64 i)
{
	return __atomic_load_n(&t.f->medium[i], __ATOMIC_ACQUIRE);
}

// Stores to a word of its own and syncs by itself: then the word is on the medium, whoever wrote it
// there.
static void syncer(void *arg)
{
	u64 i = (u64)arg, off = t.f->watched[i];

	test_use(t.as);
	for (u64 n = 1; n <= ROUNDS; n++) {
		complain(test_poke(t.at + off, n));
		complain((n % 3 ? vm_sync(&t.f->object)
				: aspace_sync(t.as, UVA(ALIGN_DOWN(t.at + off, PAGE_SIZE)),
					      PAGE_SIZE, MS_SYNC)) == 0);
		complain(medium(i) == n);
		if (n % 8 == 0)
			thread_yield();
	}
	thread_end();
}

// Stores all the time by a mapping of its own and never syncs.
static void storer(void *arg)
{
	u64 i = (u64)arg, off = t.f->watched[CHUNKS + i], n = 0;
	u64 at = test_map_file(t.as, &t.f->object, 0, MIB(2) * CHUNKS, RW,
			       i % 2 ? MAP_SHARED : ATTACH);

	test_use(t.as);
	while (at && !READ_ONCE(t.stop)) {
		complain(test_poke(at + off, ++n));
		__atomic_store_n(&t.stored[i], n, __ATOMIC_RELEASE);
		if (n % 64 == 0)
			thread_yield();
	}
	thread_end();
}

// Maps for a moment, stores, unmaps: warm ranges come back with the W that they have.
static void passer(void *arg)
{
	u64 n = 0, off = t.f->watched[CHUNKS + 3];

	(void)arg;
	test_use(t.as);
	while (!READ_ONCE(t.stop)) {
		u64 at = test_map_file(t.as, &t.f->object, ALIGN_DOWN(off, PMD_SIZE), PMD_SIZE, RW,
				       EPHEMERAL);

		if (!at)
			break; // memory is short
		complain(test_poke(at + off % PMD_SIZE, ++n));
		__atomic_store_n(&t.stored[3], n, __ATOMIC_RELEASE);
		complain(aspace_unmap(t.as, UVA(at), PMD_SIZE) == 0);
		if (n % 16 == 0)
			thread_yield();
	}
	thread_end();
}

KTEST(dirty_stress)
{
	if (begin(MIB(2) * CHUNKS)) {
		t.f->nr_watched = 2 * CHUNKS;
		for (u64 i = 0; i < CHUNKS; i++) {
			t.f->watched[i] = i * MIB(2) + KIB(64) * i + 8;
			t.f->watched[CHUNKS + i] = i * MIB(2) + MIB(1) + 16;
		}
		if (start(syncer, CHUNKS) && start(storer, 3) && start(passer, 1)) {
			while (__atomic_load_n(&t.running, __ATOMIC_ACQUIRE) > 4) {
				u64 before[CHUNKS];

				for (u64 i = 0; i < CHUNKS; i++)
					before[i] = __atomic_load_n(&t.stored[i], __ATOMIC_ACQUIRE);
				complain(vm_sync(&t.f->object) == 0);
				for (u64 i = 0; i < CHUNKS; i++)
					complain(medium(CHUNKS + i) >= before[i]);
				thread_yield();
			}
		}
		__atomic_store_n(&t.stop, 1, __ATOMIC_RELEASE);
		finish();
		EXPECT_EQ(vm_sync(&t.f->object), 0);
		for (u64 i = 0; i < CHUNKS; i++)
			EXPECT_EQ(medium(CHUNKS + i), t.stored[i]);
		EXPECT(dirty_verify(t.as, vma_find(&t.as->vmas, t.at)));
	}
	end();
}
