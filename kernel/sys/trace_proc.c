// SPDX-License-Identifier: MIT
//
// What: /proc/daxvm/trace, the events of mm/trace.h as Chrome trace events: JSON that Perfetto and
// chrome://tracing show as one track per thread. System calls are bars, everything else is a tick
// on the track of the thread that did it.
//
//     echo 1 >/proc/sys/daxvm/trace; PROGRAM; echo 0 >/proc/sys/daxvm/trace
//     cat /proc/daxvm/trace >trace.json
//
// The newest events of each CPU are shown, as many as fit into a file of /proc.
#include "kernel/sys/trace_proc.h"

#include "fs/procfs.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/sys/syscall.h"
#include "kernel/x86/cpu.h"
#include "mm/trace.h"

// So many lines of at most 130 bytes stay below what a file of /proc may hold (2 MiB).
#define EVENTS_MAX 15000u

struct printing {
	struct seq *s;
	unsigned events;
};

static const char *event_name(const struct trace_event *e)
{
	const char *name;

	if (e->kind == TRACE_COUNT)
		return e->id < MM_STAT_COUNT ? mm_stat_name(e->id) : "?";
	name = e->id < SYSCALL_MAX ? syscall_table[e->id].name : NULL;
	return name ? name : "?";
}

static void print_event(void *ctx, unsigned cpu, const struct trace_event *e)
{
	struct printing *p = ctx;

	seq_printf(p->s, "%s{\"name\":\"%s\",\"pid\":1,\"tid\":%u,\"ts\":%lu.%03lu,",
		   p->events++ ? ",\n" : "", event_name(e), e->tid, e->at_ns / 1000,
		   e->at_ns % 1000);
	if (e->kind == TRACE_CALL)
		seq_printf(p->s, "\"ph\":\"X\",\"dur\":%lu.%03lu,\"args\":{\"cpu\":%u}}",
			   e->value / 1000, e->value % 1000, cpu);
	else
		seq_printf(p->s, "\"ph\":\"i\",\"s\":\"t\",\"args\":{\"cpu\":%u,\"n\":%lu}}", cpu,
			   e->value);
}

static void show_trace(struct seq *s, void *arg)
{
	struct printing p = { .s = s };

	(void)arg;
	seq_printf(s, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
	trace_for_each(EVENTS_MAX / cpu_count(), print_event, &p);
	seq_printf(s, "\n]}\n");
}

static void show_switch(struct seq *s, void *arg)
{
	(void)arg;
	seq_printf(s, "%d\n", READ_ONCE(trace_on));
}

static int store_switch(const char *text, void *arg)
{
	bool on = text[0] == '1';

	(void)arg;
	if ((text[0] != '0' && !on) || (text[1] && text[1] != '\n'))
		return -EINVAL;
	if (on)
		return trace_start();
	trace_stop();
	return 0;
}

void trace_proc_init(void)
{
	int err = proc_register("daxvm/trace", show_trace, NULL);

	if (!err)
		err = proc_register_rw("sys/daxvm/trace", show_switch, store_switch, NULL);
	if (err)
		log_warn("trace: files in /proc are missing (%d)", err);
}
