// SPDX-License-Identifier: MIT
//
// The epoch (kernel/sched/epoch.h): what it waits for and what it does not; that a pointer followed
// with preemption off stays good; and that the same test notices who frees without waiting.
#include "kernel/lib/errno.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/heap.h"
#include "mm/test_util.h"

#define TICK_NS   (1000000000ull / TICK_HZ)
#define LONG_NS   (50 * TICK_NS) // far more than the two ticks that it may take
#define GOOD      0x600d600d600d600dull
#define POISON    0xbadbadbadbadbad0ull
#define ROUNDS    200
#define READERS   3
#define LOOKS     50 // in one section
#define HOLDER_ON 1  // CPU of the thread that stays in a section

struct thing {
	u64 word;
	struct epoch_node node;
};

static struct {
	struct aspace *as;
	struct thing *thing; // what readers look at [atomic]
	u32 holding, release, stop, running;
	u32 freed, bad;
} t;

static void reset(struct aspace *as)
{
	t.as = as;
	t.thing = NULL;
	t.holding = t.release = t.stop = t.running = t.freed = t.bad = 0;
}

static bool wait_for(const u32 *flag)
{
	u64 end = time_now_ns() + LONG_NS;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE) && time_now_ns() < end)
		thread_yield();
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static bool passes(u64 stamp, const struct aspace *as)
{
	u64 end = time_now_ns() + LONG_NS;

	epoch_want(stamp);
	while (!epoch_passed(stamp, as) && time_now_ns() < end)
		thread_yield();
	return epoch_passed(stamp, as);
}

// ---- Who is waited for --------------------------------------------------------------------------

// The test's own CPU is on user tables and ticks; all others idle.
KTEST(epoch_passes_by_ticks)
{
	struct aspace *as = test_enter();
	u64 kicks = epoch_stats().kicks;

	if (!as)
		return;
	for (int i = 0; i < 5; i++) {
		u64 stamp = epoch_stamp();

		EXPECT(passes(stamp, as));
		EXPECT(passes(stamp, NULL));
	}
	EXPECT_EQ(epoch_stats().kicks, kicks); // and nobody was interrupted
	test_leave(as);
}

// Story: on the way out of an address space no flush is missed, so nobody waits for who left.
KTEST(epoch_does_not_wait_for_kernel_tables)
{
	struct aspace *as = test_enter(), *other = aspace_create();
	u64 stamp = epoch_stamp();

	if (as && other) {
		preempt_disable(); // no tick publishes for this CPU
		EXPECT(!epoch_passed(stamp, as));
		EXPECT(epoch_passed(stamp, other)); // loaded nowhere
		EXPECT(!epoch_passed(stamp, NULL));
		preempt_enable();
		test_use(NULL);
		EXPECT(passes(stamp, as));
		test_use(as);
	}
	aspace_put(other);
	if (as)
		test_leave(as);
}

// seen == stamp is not enough: the flush may lie before the clear.
KTEST(epoch_seen_must_be_later_than_the_stamp)
{
	struct aspace *as = test_enter();
	u64 stamp;

	if (!as)
		return;
	preempt_disable();
	stamp = epoch_stamp();
	epoch_publish(stamp);
	EXPECT_EQ(epoch_seen(this_cpu()->index), stamp);
	EXPECT(!epoch_passed(stamp, as));
	preempt_enable();
	test_leave(as);
}

// A switch to other tables is a quiescent point, too.
KTEST(epoch_is_seen_by_a_switch)
{
	struct aspace *as = test_enter(), *other = aspace_create();
	u64 stamp;

	if (as && other) {
		preempt_disable();
		stamp = epoch_stamp();
		epoch_want(stamp);
		test_use(other);
		EXPECT(epoch_passed(stamp, as));
		EXPECT(epoch_passed(stamp, NULL));
		test_use(as);
		EXPECT(epoch_passed(stamp, as));
		preempt_enable();
	}
	aspace_put(other);
	if (as)
		test_leave(as);
}

// ---- Sections -----------------------------------------------------------------------------------

// Stays in a section with preemption off, with a pointer, until it is released.
static void holder(void *arg)
{
	struct thing *p;

	(void)arg;
	thread_current()->affinity = BIT(HOLDER_ON);
	thread_migrate();
	test_use(t.as);
	preempt_disable();
	p = __atomic_load_n(&t.thing, __ATOMIC_ACQUIRE);
	__atomic_store_n(&t.holding, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&t.release, __ATOMIC_ACQUIRE))
		asm_pause();
	if (READ_ONCE(p->word) != GOOD)
		t.bad = 1;
	preempt_enable();
	test_use(NULL);
	__atomic_store_n(&t.running, 0, __ATOMIC_RELEASE);
}

static void free_thing(struct epoch_node *n)
{
	struct thing *p = container_of(n, struct thing, node);

	p->word = POISON;
	__atomic_store_n(&t.freed, 1, __ATOMIC_RELEASE);
}

static bool start_holder(struct aspace *as, struct thing *p)
{
	reset(as);
	p->word = GOOD;
	t.thing = p;
	t.running = 1;
	return EXPECT(thread_create("holder", holder, NULL)) && EXPECT(wait_for(&t.holding));
}

static void release_holder(void)
{
	__atomic_store_n(&t.release, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&t.running, __ATOMIC_ACQUIRE))
		thread_yield();
}

static void sleep_through_ticks(void)
{
	for (int i = 0; i < 5; i++)
		thread_sleep_ns(TICK_NS);
}

KTEST(epoch_waits_for_a_section)
{
	struct aspace *as = test_enter();
	struct thing thing = { 0 };
	u64 stamp;

	if (!as)
		return;
	if (cpu_count() > HOLDER_ON && start_holder(as, &thing)) {
		__atomic_store_n(&t.thing, NULL, __ATOMIC_RELEASE);
		epoch_defer(&thing.node, free_thing);
		stamp = epoch_stamp();
		epoch_want(stamp);
		sleep_through_ticks();
		EXPECT(!epoch_passed(stamp, as));
		EXPECT(epoch_kick(stamp, as) >= 1);
		sleep_through_ticks();
		EXPECT(!epoch_passed(stamp, NULL)); // an interrupt is no proof
		EXPECT_EQ(t.freed, 0);
		release_holder();
		EXPECT(passes(stamp, as));
		epoch_synchronize();
		EXPECT_EQ(t.freed, 1);
		EXPECT_EQ(t.bad, 0);
	}
	test_leave(as);
}

// The same, by somebody who does not wait: the holder must notice, or the test above proves
// nothing.
KTEST(epoch_test_notices_who_does_not_wait)
{
	struct aspace *as = test_enter();
	struct thing thing = { 0 };

	if (!as)
		return;
	if (cpu_count() > HOLDER_ON && start_holder(as, &thing)) {
		__atomic_store_n(&t.thing, NULL, __ATOMIC_RELEASE);
		free_thing(&thing.node);
		release_holder();
		EXPECT_EQ(t.bad, 1);
	}
	test_leave(as);
}

// ---- Many readers, many things ------------------------------------------------------------------

static void reader(void *arg)
{
	(void)arg;
	test_use(t.as);
	while (!READ_ONCE(t.stop)) {
		preempt_disable();
		const struct thing *p = __atomic_load_n(&t.thing, __ATOMIC_ACQUIRE);

		for (int i = 0; p && i < LOOKS; i++)
			if (READ_ONCE(p->word) != GOOD)
				__atomic_fetch_add(&t.bad, 1, __ATOMIC_RELAXED);
		preempt_enable();
		thread_yield();
	}
	test_use(NULL);
	__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELEASE);
}

static void poison_and_free(struct epoch_node *n)
{
	struct thing *p = container_of(n, struct thing, node);

	p->word = POISON;
	kfree(p);
}

static void replace(void)
{
	struct thing *p = kmalloc(sizeof(*p)), *old;

	if (!p)
		return;
	p->word = GOOD;
	old = __atomic_exchange_n(&t.thing, p, __ATOMIC_SEQ_CST);
	if (old)
		epoch_defer(&old->node, poison_and_free);
}

KTEST(epoch_defers_what_readers_hold)
{
	struct aspace *as = test_enter();
	u32 started = 0;

	if (!as)
		return;
	reset(as);
	for (; started < READERS; started++) {
		__atomic_fetch_add(&t.running, 1, __ATOMIC_RELAXED);
		if (!EXPECT(thread_create("reader", reader, NULL))) {
			__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELAXED);
			break;
		}
	}
	for (int i = 0; i < ROUNDS; i++) {
		replace();
		if (i % 8 == 0)
			thread_yield();
	}
	WRITE_ONCE(t.stop, 1);
	while (__atomic_load_n(&t.running, __ATOMIC_ACQUIRE))
		thread_yield();
	EXPECT_EQ(t.bad, 0);
	kfree(t.thing);
	epoch_synchronize();
	EXPECT_EQ(epoch_stats().waiting, 0);
	test_leave(as);
}

// ---- Who synchronizes waits for what is being called --------------------------------------------

static void free_slowly(struct epoch_node *n)
{
	u64 until = time_now_ns() + 5 * TICK_NS;

	(void)n;
	__atomic_store_n(&t.holding, 1, __ATOMIC_RELEASE);
	while (time_now_ns() < until)
		asm_pause();
	__atomic_store_n(&t.freed, 1, __ATOMIC_RELEASE);
}

static void defer_there(void *arg)
{
	thread_current()->affinity = BIT(HOLDER_ON);
	thread_migrate();
	epoch_defer(arg, free_slowly);
	while (!__atomic_load_n(&t.holding, __ATOMIC_ACQUIRE))
		thread_yield();
	__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELEASE);
}

// Story: a CPU had taken an object off its list, and was stopped by the host before it called. Who
// synchronized found the list empty and went on; unmounting does so, too, and gives back what such
// a call may still use.
KTEST(epoch_synchronize_waits_for_calls_under_way)
{
	struct epoch_node node;

	if (cpu_count() < 2)
		return;
	reset(NULL);
	t.running = 1;
	thread_current()->affinity = BIT(0);
	thread_migrate();
	if (EXPECT(thread_create("deferrer", defer_there, &node))) {
		while (!__atomic_load_n(&t.holding, __ATOMIC_ACQUIRE))
			thread_sleep_ns(TICK_NS / 8);
		epoch_synchronize();
		EXPECT(__atomic_load_n(&t.freed, __ATOMIC_ACQUIRE));
		while (__atomic_load_n(&t.running, __ATOMIC_ACQUIRE) || !READ_ONCE(t.freed))
			thread_yield();
	}
	thread_current()->affinity = ~0ull;
}
