// SPDX-License-Identifier: MIT
//
// What: from the register frame to the function of a call and back; counts; /proc/syscalls.
// Not here: the calls (kernel/sys/sys_*.c), their list (table.c), entry and exit (kernel/x86).
//
// Invariants:
//   I1  Each CPU counts in memory of its own: calls of different CPUs share no cache line for it.
#include "kernel/sys/syscall.h"

#include "fs/procfs.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/proc/process.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"
#include "mm/heap.h"
#include "mm/trace.h"

static u32 *counts[CPU_MAX]; // SYSCALL_MAX each

// Calls that begin again after a signal whose handler has SA_RESTART, and after one without a
// handler (signal(7)). The others report EINTR.
static bool restarts(u64 nr)
{
	switch (nr) {
	case 0:   // read
	case 1:   // write
	case 2:   // open
	case 16:  // ioctl
	case 17:  // pread64
	case 18:  // pwrite64
	case 19:  // readv
	case 20:  // writev
	case 40:  // sendfile
	case 61:  // wait4
	case 72:  // fcntl: F_SETLKW
	case 73:  // flock
	case 247: // waitid
	case 257: // openat
		return true;
	default: return false;
	}
}

// Those that begin again only if no handler ran at all, after a stop for instance. Those with a
// timeout keep their deadline (uthread.restart_deadline_ns).
static bool restarts_after_stop(u64 nr)
{
	switch (nr) {
	case 34:  // pause
	case 35:  // nanosleep
	case 130: // rt_sigsuspend
	case 230: // clock_nanosleep
		return true;
	default: return false;
	}
}

static void count(u64 nr)
{
	u32 *mine;

	preempt_disable();
	mine = counts[this_cpu()->index];
	if (mine)
		mine[nr]++;
	preempt_enable();
}

static void dispatch(struct trapframe *tf)
{
	struct thread *t = thread_current();
	u64 nr = tf->error;
	// Time off the CPU is not ours. Looked up before the clock here and after it below, so that
	// a switch in between makes the sum too small, never absurdly large.
	u64 off = READ_ONCE(t->off_cpu_tsc), begin = asm_rdtsc() - off;
	s64 spent;
	struct syscall_args args = {
		.a = { tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8, tf->r9 },
		.tf = tf,
	};
	u64 traced_ns = READ_ONCE(trace_on) ? time_now_ns() : 0;
	s64 ret = -ENOSYS;

	if (nr < SYSCALL_MAX) {
		count(nr);
		if (syscall_table[nr].fn)
			ret = syscall_table[nr].fn(&args);
	}
	if (ret == -EINTR && restarts(nr))
		ret = -ERESTARTSYS;
	if (ret == -EINTR && restarts_after_stop(nr))
		ret = -ERESTARTNOHAND;
	tf->rax = (u64)ret;
	if (unlikely(traced_ns))
		trace_write(TRACE_CALL, (u16)nr, traced_ns, time_now_ns() - traced_ns);
	spent = (s64)(asm_rdtsc() - READ_ONCE(t->off_cpu_tsc) - begin);
	if (spent > 0)
		t->stime_tsc += (u64)spent;
}

static void show_syscalls(struct seq *s, void *arg)
{
	static const char *const status[] = { "absent", "partial", "full" };

	(void)arg;
	for (unsigned nr = 0; nr < SYSCALL_MAX; nr++) {
		const struct syscall *c = &syscall_table[nr];
		u64 n = 0;

		for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
			n += counts[cpu] ? READ_ONCE(counts[cpu][nr]) : 0;
		if (n)
			seq_printf(s, "%3u %-24s %-8s %lu\n", nr, c->name ? c->name : "?",
				   status[c->status], n);
	}
}

void syscall_init(void)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		counts[i] = kzalloc(SYSCALL_MAX * sizeof(u32));
		if (!counts[i])
			panic("no memory to count system calls");
	}
	trap_set_syscall(dispatch);
	if (proc_register("syscalls", show_syscalls, NULL))
		log_warn("no /proc/syscalls");
}
