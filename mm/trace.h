// SPDX-License-Identifier: MIT
//
// Tracepoints: what happened when, on which CPU, in which thread. They stand where mm/stat.h
// counts, and around system calls. Each CPU writes into a ring of its own that holds its newest
// TRACE_RING events; /proc/daxvm/trace reads them out (kernel/sys/trace_proc.c).
#pragma once

#include "kernel/lib/types.h"
#include "mm/stat.h"

#define TRACE_RING 4096u // events per CPU; a power of two

enum trace_kind {
	TRACE_COUNT, // id: enum mm_stat, value: what was added
	TRACE_CALL,  // id: number of a system call, value: nanoseconds that it took
};

struct trace_event {
	u64 seq;   // number of the event on this CPU + 1; 0: being written
	u64 at_ns; // time_now_ns(); of a call: when it began
	u64 value;
	u32 tid;
	u16 kind; // enum trace_kind
	u16 id;
};
_Static_assert(sizeof(struct trace_event) == 32, "two to a cache line");

// Off (trace_on, mm/stat.h), a tracepoint costs one load and one branch.

// Any context.
void trace_write(enum trace_kind kind, u16 id, u64 at_ns, u64 value);

// Forget what was recorded and record from now on. The rings stay for ever once they are there.
// -ENOMEM. Thread context.
int trace_start(void) __must_check;
void trace_stop(void);

// Calls fn for the events that are there, CPU by CPU, of each CPU the newest `most`, oldest first.
// Events that are overwritten meanwhile are left out. Thread context.
void trace_for_each(u64 most, void (*fn)(void *ctx, unsigned cpu, const struct trace_event *e),
		    void *ctx);
