// SPDX-License-Identifier: MIT
//
// The rings of mm/trace.h: order, wrapping, and a reader beside a writer that wraps all the time
// (without seq it would find events that are half old, half new).
//
// The writer once went on until the reader said stop, and gave its turn away after each few events:
// that took minutes where the two CPUs are emulated in turns.
#include "kernel/ktest.h"
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "mm/trace.h"

#define CHECK_ID MM_STAT_fault_spurious // any

struct seen {
	u64 events, wrong;
	u64 last[CPU_MAX]; // value of the event before
	u64 newest;        // largest value
};

// Our own events: value and time are one number, which rises on each CPU.
static void check(void *ctx, unsigned cpu, const struct trace_event *e)
{
	struct seen *s = ctx;

	if (e->kind != TRACE_CALL || e->id != CHECK_ID)
		return;
	s->events++;
	if (e->value != e->at_ns || e->value <= s->last[cpu])
		s->wrong++;
	s->last[cpu] = e->value;
	s->newest = max(s->newest, e->value);
}

static void write_some(u64 first, u64 count)
{
	for (u64 i = first; i < first + count; i++)
		trace_write(TRACE_CALL, CHECK_ID, i, i);
}

KTEST(trace_keeps_the_newest)
{
	struct seen s = { 0 };

	if (!EXPECT_EQ(trace_start(), 0))
		return;
	trace_stop();
	preempt_disable(); // all into one ring
	write_some(1, TRACE_RING + 100);
	preempt_enable();
	trace_for_each(TRACE_RING, check, &s);
	EXPECT_EQ(s.events, TRACE_RING);
	EXPECT_EQ(s.wrong, 0);
	EXPECT_EQ(s.newest, TRACE_RING + 100);
	s = (struct seen){ 0 };
	trace_for_each(10, check, &s);
	EXPECT_EQ(s.events, 10);
	EXPECT_EQ(trace_start(), 0); // forgets
	trace_stop();
	s = (struct seen){ 0 };
	trace_for_each(TRACE_RING, check, &s);
	EXPECT_EQ(s.events, 0);
}

// So many that the ring goes round while it is read. The writer does without PAUSE, which ends its
// turn where an emulator runs CPUs in turns; the reader gives its turn away after each look (its
// short sleeps once did not, and the writer was never emulated again).
#define WRITTEN (40ull * TRACE_RING)

static bool written;

static void writer(void *arg)
{
	(void)arg;
	for (u64 i = 1; i <= WRITTEN; i += 64) {
		preempt_disable();
		write_some(i, 64);
		preempt_enable();
	}
	__atomic_store_n(&written, true, __ATOMIC_RELEASE);
}

KTEST(trace_events_are_whole)
{
	struct seen s = { 0 };

	if (!EXPECT_EQ(trace_start(), 0))
		return;
	trace_stop();
	written = false;
	if (!EXPECT(thread_create("trace-writer", writer, NULL)))
		return;
	while (!__atomic_load_n(&written, __ATOMIC_ACQUIRE)) {
		u64 events = s.events, wrong = s.wrong;

		s = (struct seen){ .events = events, .wrong = wrong };
		trace_for_each(TRACE_RING, check, &s);
		thread_sleep_ns(1);
	}
	s = (struct seen){ .wrong = s.wrong };
	trace_for_each(TRACE_RING, check, &s);
	EXPECT_EQ(s.newest, WRITTEN);
	EXPECT_EQ(s.wrong, 0);
}
