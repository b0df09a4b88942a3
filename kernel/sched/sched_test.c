// SPDX-License-Identifier: MIT
//
// Tests of locks, threads and the scheduler. They mean most with several CPUs (-smp 4), and hold on
// one.
#include "kernel/ktest.h"
#include "kernel/lib/errno.h"
#include "kernel/sched/lock.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/timer.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"

#define WORKERS 6
#define ROUNDS  400

// What the workers of a test share. Static: a worker may look at it for the last time after the
// test has seen it finish.
static struct {
	struct spinlock spin;
	struct mutex mutex;
	struct rwlock rw;
	struct wait_queue queue, done_queue;
	u32 done;       // workers that are through [atomic]
	u64 counter;    // guarded by the lock under test
	u64 other;      // kept equal to counter
	u32 flag, torn; // [atomic]
	u32 inside;     // [atomic]
} s;

static void setup(void)
{
	spin_init(&s.spin, RANK_FS_SPIN);
	mutex_init(&s.mutex, RANK_FS_INNER);
	rwlock_init(&s.rw, RANK_FS_INNER);
	wait_queue_init(&s.queue);
	wait_queue_init(&s.done_queue);
	s.done = s.flag = s.torn = s.inside = 0;
	s.counter = s.other = 0;
}

static void worker_done(void)
{
	__atomic_add_fetch(&s.done, 1, __ATOMIC_RELEASE);
	wait_wake_all(&s.done_queue);
}

static bool start(unsigned n, void (*fn)(void *arg))
{
	for (u64 i = 0; i < n; i++)
		if (!EXPECT(thread_create("test", fn, (void *)i)))
			return false;
	return true;
}

static void join(unsigned n)
{
	wait_event(&s.done_queue, __atomic_load_n(&s.done, __ATOMIC_ACQUIRE) == n);
}

// Two words that only the lock keeps equal.
static void touch_shared(void)
{
	u64 c = READ_ONCE(s.counter);

	if (READ_ONCE(s.other) != c)
		__atomic_add_fetch(&s.torn, 1, __ATOMIC_RELAXED);
	WRITE_ONCE(s.counter, c + 1);
	if ((c & 15) == 0)
		asm_pause();
	WRITE_ONCE(s.other, c + 1);
}

static void spin_worker(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		spin_lock(&s.spin);
		touch_shared();
		spin_unlock(&s.spin);
	}
	worker_done();
}

KTEST(sched_spinlock_excludes)
{
	setup();
	start(WORKERS, spin_worker);
	join(WORKERS);
	EXPECT_EQ(s.counter, (u64)WORKERS * ROUNDS);
	EXPECT_EQ(s.torn, 0);
}

static void mutex_worker(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		mutex_lock(&s.mutex);
		touch_shared();
		if (i % 64 == 0)
			thread_yield(); // a holder that loses its CPU keeps the lock
		mutex_unlock(&s.mutex);
	}
	worker_done();
}

KTEST(sched_mutex_excludes)
{
	bool got;

	setup();
	start(WORKERS, mutex_worker);
	join(WORKERS);
	EXPECT_EQ(s.counter, (u64)WORKERS * (ROUNDS / 4));
	EXPECT_EQ(s.torn, 0);
	got = mutex_trylock(&s.mutex);
	EXPECT(got);
	if (!got)
		return;
	EXPECT(mutex_is_held(&s.mutex));
	EXPECT(!mutex_trylock(&s.mutex));
	mutex_unlock(&s.mutex);
}

static void rw_worker(void *arg)
{
	bool writer = (u64)arg % 3 == 0;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		if (writer) {
			rwlock_write_lock(&s.rw);
			touch_shared();
			rwlock_write_unlock(&s.rw);
		} else {
			rwlock_read_lock(&s.rw);
			if (READ_ONCE(s.counter) != READ_ONCE(s.other))
				__atomic_add_fetch(&s.torn, 1, __ATOMIC_RELAXED);
			rwlock_read_unlock(&s.rw);
		}
	}
	worker_done();
}

KTEST(sched_rwlock_excludes)
{
	setup();
	start(WORKERS, rw_worker);
	join(WORKERS);
	EXPECT_EQ(s.counter, (u64)(WORKERS / 3) * (ROUNDS / 4));
	EXPECT_EQ(s.torn, 0);
}

static void rw_reader_crowd(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&s.flag, __ATOMIC_ACQUIRE)) {
		rwlock_read_lock(&s.rw);
		__atomic_add_fetch(&s.inside, 1, __ATOMIC_RELAXED);
		thread_yield();
		rwlock_read_unlock(&s.rw);
	}
	worker_done();
}

// Readers that overlap without a gap do not keep a writer out.
KTEST(sched_rwlock_writer_is_not_starved)
{
	setup();
	start(4, rw_reader_crowd);
	while (__atomic_load_n(&s.inside, __ATOMIC_RELAXED) < 20)
		thread_yield();
	for (int i = 0; i < 10; i++) {
		rwlock_write_lock(&s.rw);
		rwlock_write_unlock(&s.rw);
	}
	__atomic_store_n(&s.flag, 1, __ATOMIC_RELEASE);
	join(4);
}

// A token goes round: each wake must arrive, or the test hangs.
static void token_worker(void *arg)
{
	u64 me = (u64)arg;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		wait_event(&s.queue, READ_ONCE(s.counter) % WORKERS == me);
		WRITE_ONCE(s.counter, s.counter + 1);
		wait_wake_all(&s.queue);
	}
	worker_done();
}

KTEST(sched_wakeups_are_not_lost)
{
	setup();
	start(WORKERS, token_worker);
	join(WORKERS);
	EXPECT_EQ(s.counter, (u64)WORKERS * (ROUNDS / 4));
}

static bool take_one(void)
{
	u64 c = READ_ONCE(s.counter);

	while (c)
		if (__atomic_compare_exchange_n(&s.counter, &c, c - 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

static void one_consumer(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS / 4; i++)
		wait_event(&s.queue, take_one());
	worker_done();
}

// One wake for one item: as many as are needed, no more.
KTEST(sched_wake_one_suffices)
{
	setup();
	start(WORKERS, one_consumer);
	for (unsigned i = 0; i < WORKERS * (ROUNDS / 4); i++) {
		__atomic_add_fetch(&s.counter, 1, __ATOMIC_ACQ_REL);
		wait_wake_one(&s.queue);
	}
	join(WORKERS);
	EXPECT_EQ(s.counter, 0);
}

KTEST(sched_sleep_is_long_enough)
{
	static const u64 lengths_ns[] = { 0, 1, 100000, 3000000, 20000000 };

	for (unsigned i = 0; i < ARRAY_SIZE(lengths_ns); i++) {
		u64 begin_ns = time_now_ns();

		thread_sleep_ns(lengths_ns[i]);
		EXPECT(time_now_ns() - begin_ns >= lengths_ns[i]);
	}
}

KTEST(sched_wait_times_out)
{
	u64 deadline_ns = time_now_ns() + 10000000;

	setup();
	EXPECT_EQ(wait_event_timeout(&s.queue, READ_ONCE(s.flag), deadline_ns), -ETIMEDOUT);
	EXPECT(time_now_ns() >= deadline_ns);
	s.flag = 1;
	EXPECT_EQ(wait_event_timeout(&s.queue, READ_ONCE(s.flag), deadline_ns), 0);
}

static void spinner(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&s.flag, __ATOMIC_ACQUIRE))
		asm_pause();
	worker_done();
}

// More spinning threads than CPUs: we run again only because the tick takes a CPU from one of them.
KTEST(sched_preempts_a_spinning_thread)
{
	unsigned n = cpu_count() + 1;

	setup();
	start(n, spinner);
	for (int i = 0; i < 5; i++)
		thread_yield();
	__atomic_store_n(&s.flag, 1, __ATOMIC_RELEASE);
	join(n);
}

static void interruptible_sleeper(void *arg)
{
	(void)arg;
	__atomic_store_n(&s.flag, 1, __ATOMIC_RELEASE);
	s.other = (u64)-thread_sleep_interruptible_ns(60 * 1000000000ull);
	worker_done();
}

KTEST(sched_interrupt_ends_a_sleep)
{
	struct thread *t;

	setup();
	t = thread_create("sleeper", interruptible_sleeper, NULL);
	if (!EXPECT(t))
		return;
	while (!__atomic_load_n(&s.flag, __ATOMIC_ACQUIRE))
		thread_yield();
	// Both orders occur: before the sleep begins, and while it lasts.
	__atomic_store_n(&t->signal_pending, 1, __ATOMIC_RELEASE);
	thread_interrupt(t);
	join(1);
	EXPECT_EQ(s.other, EINTR);
}

static void count_timer(struct timer *t)
{
	(void)t;
	__atomic_add_fetch(&s.inside, 1, __ATOMIC_RELEASE);
	wait_wake_all(&s.queue);
}

KTEST(sched_timers_fire_in_order_and_cancel)
{
	struct timer a, b;
	u64 now_ns = time_now_ns();

	setup();
	timer_init(&a, count_timer);
	timer_init(&b, count_timer);
	timer_start(&b, now_ns + 3600000000000ull);
	timer_start(&a, now_ns + 1000000);
	wait_event(&s.queue, __atomic_load_n(&s.inside, __ATOMIC_ACQUIRE) == 1);
	EXPECT(!timer_armed(&a));
	EXPECT(timer_armed(&b));
	EXPECT(timer_cancel(&b));
	EXPECT(!timer_cancel(&b));
	EXPECT_EQ(s.inside, 1);
}

static void mover(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3 * cpu_count(); i++) {
		unsigned cpu = i % cpu_count();

		WRITE_ONCE(thread_current()->affinity, BIT(cpu));
		thread_migrate();
		preempt_disable();
		if (this_cpu()->index != cpu)
			__atomic_add_fetch(&s.torn, 1, __ATOMIC_RELAXED);
		preempt_enable();
	}
	worker_done();
}

KTEST(sched_affinity_moves_a_thread)
{
	setup();
	start(WORKERS, mover);
	join(WORKERS);
	EXPECT_EQ(s.torn, 0);
}
