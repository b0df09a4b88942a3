// SPDX-License-Identifier: MIT
//
// What: runs the in-kernel tests, prints TAP version 13, and compares the watched quantities around
// each test.
//
// Locking: tests run one after the other in one thread. EXPECT may be used by threads that a test
// has started; `failures` is atomic.
#include "kernel/ktest.h"

#include "kernel/console.h"
#include "kernel/ktest_internal.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"

#define WATCHES_MAX     16
#define ALLOCATIONS_MAX 10000 // of one test; more is a loop that never gives up
#define ENDING_NS       2000000000ull

static struct {
	const char *name;
	u64 (*read)(void);
	u64 before;
} watches[WATCHES_MAX];
static unsigned nr_watches;
static void (*settle)(void);
static unsigned threads_before;
static unsigned failures; // of the running test [atomic]
static bool injecting;    // allocations fail: expectations do not count

bool ktest_expect(bool ok, const char *what, const char *file, int line)
{
	if (!ok && !injecting) {
		klog_plain("# %s:%d: expected %s", file, line, what);
		__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
	}
	return ok;
}

bool ktest_expect_eq(u64 a, u64 b, const char *what, const char *file, int line)
{
	if (a != b && !injecting) {
		klog_plain("# %s:%d: expected %s: %#lx (%ld), %#lx (%ld)", file, line, what, a,
			   (s64)a, b, (s64)b);
		__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
	}
	return a == b;
}

void ktest_watch(const char *name, u64 (*read)(void))
{
	ASSERT(nr_watches < WATCHES_MAX);
	watches[nr_watches].name = name;
	watches[nr_watches].read = read;
	nr_watches++;
}

void ktest_set_settle(void (*fn)(void))
{
	settle = fn;
}

static void read_watches(void)
{
	if (settle)
		settle();
	for (unsigned i = 0; i < nr_watches; i++)
		watches[i].before = watches[i].read();
	threads_before = thread_count();
}

// A thread gives its memory back a moment after its last words to the test: tests need not wait for
// that. Story: they slept, each as long as it seemed enough, or forgot to, and now and then a stack
// counted as a leak. A thread that does not end at all is found by the watch on their number.
static void wait_for_threads(void)
{
	u64 until = time_now_ns() + ENDING_NS;

	while (thread_count() > threads_before && time_now_ns() < until)
		thread_sleep_ns(100000);
}

static void compare_watches(void)
{
	wait_for_threads();
	if (settle)
		settle();
	for (unsigned i = 0; i < nr_watches; i++) {
		u64 now = watches[i].read();

		if (now == watches[i].before)
			continue;
		klog_plain("# %s: %lu before, %lu after", watches[i].name, watches[i].before, now);
		__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
	}
}

// Once more with the n-th allocation failing, for n = 1, 2, ... until the test makes fewer.
static void run_short_of_memory(const struct ktest *t)
{
	bool failed = true;

	for (u64 n = 1; failed && n < ALLOCATIONS_MAX && !failures; n++) {
		read_watches();
		injecting = true;
		frame_fail_nth(n);
		t->fn();
		failed = !frame_fail_armed();
		frame_fail_nth(0);
		injecting = false;
		compare_watches();
		if (failures)
			klog_plain("# with allocation %lu failing", n);
	}
}

static bool run_one(const struct ktest *t, unsigned nr)
{
	u64 start = time_now_ns();

	failures = 0;
	read_watches();
	t->fn();
	compare_watches();
	if (t->short_of_memory && !failures)
		run_short_of_memory(t);
	klog_plain("%s %u - %s # %lu ms", failures ? "not ok" : "ok", nr, t->name,
		   (time_now_ns() - start) / 1000000);
	return failures == 0;
}

static u64 read_preempt_count(void)
{
	return this_cpu()->preempt_count;
}

static u64 read_lock_ranks(void)
{
	return this_cpu()->lock_ranks;
}

static u64 read_threads(void)
{
	return thread_count();
}

unsigned ktest_run(const char *glob)
{
	unsigned nr = 0, failed = 0;

	ktest_watch("preemption count", read_preempt_count);
	ktest_watch("ranks of spinlocks held", read_lock_ranks);
	ktest_watch("threads", read_threads);
	klog_plain("TAP version 13");
	for (const struct ktest *t = ktests_start; t < ktests_end; t++)
		if (glob_match(glob, t->name) && !run_one(t, ++nr))
			failed++;
	klog_plain("1..%u", nr);
	klog_plain("# ktest: %u passed, %u failed", nr - failed, failed);
	return failed;
}
