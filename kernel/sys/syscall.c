// SPDX-License-Identifier: MIT
//
// What: from the register frame to the function of a call and back; counts; /proc/syscalls.
// Not here: the calls (kernel/sys/sys_*.c), their list (table.c), entry and exit (kernel/x86).
//
// Invariants:
//   I1  Each CPU counts in memory of its own: calls of different CPUs share no cache line for it.
//   I2  Interrupts are off before the call's function and after it: nothing switches threads
//       between a look at the clock and one at the time off the CPU, nor while a CPU counts.
#include "kernel/sys/syscall.h"

#include "fs/procfs.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/proc/process.h"
#include "kernel/sys/sys_mm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"
#include "mm/heap.h"
#include "mm/trace.h"

static u64 *syscall_counts[CPU_MAX] __read_mostly; // SYSCALL_MAX each; without light ones

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

// Does the call begin again, perhaps? Then the result says so to kernel/proc/sigdeliver.c.
static __attribute__((noinline)) s64 failed(u64 nr, s64 ret)
{
	if (ret == -EINTR && restarts(nr))
		return -ERESTARTSYS;
	if (ret == -EINTR && restarts_after_stop(nr))
		return -ERESTARTNOHAND;
	return ret;
}

static __attribute__((noinline)) s64 traced(u64 nr, syscall_fn fn, const struct syscall_args *args)
{
	u64 begin = time_now_ns();
	s64 ret = fn(args);

	trace_write(TRACE_CALL, (u16)nr, begin, time_now_ns() - begin);
	return ret;
}

// One of the three numbers that say so (kernel/lib/errno.h).
static bool wants_restart(s64 ret)
{
	return ret <= -ERESTARTSYS && ret >= -ERESTARTNOHAND;
}

static s64 call(u64 nr, struct trapframe *tf)
{
	syscall_fn fn;
	s64 ret;

	if (unlikely(nr >= SYSCALL_MAX))
		return -ENOSYS;
	syscall_counts[asm_gs_index()][nr]++;
	fn = syscall_table[nr].fn;
	if (unlikely(!fn))
		return -ENOSYS;
	asm_sti();
	if (unlikely(READ_ONCE(trace_on)))
		ret = traced(nr, fn, (const struct syscall_args *)tf->args);
	else
		ret = fn((const struct syscall_args *)tf->args);
	asm_cli();
	return ret;
}

// Every call passes here. True: back by SYSRET. There may be a signal to deliver, or a call to
// begin again; a signal that comes after the look at signal_pending waits as one that comes to user
// code does: until this CPU enters the kernel again, by its tick at the latest.
static bool dispatch(struct trapframe *tf)
{
	struct thread *t = thread_current();
	u64 begin = asm_rdtsc() - t->off_cpu_tsc; // time off the CPU is not ours
	s64 ret = call(tf->error, tf);

	if (unlikely(ret < 0))
		ret = failed(tf->error, ret);
	tf->rax = (u64)ret;
	t->stime_tsc += asm_rdtsc() - t->off_cpu_tsc - begin;
	if (unlikely(ret < 0) && wants_restart(ret))
		return trap_finish_syscall(tf);
	return trap_syscall_end(tf, unlikely(READ_ONCE(t->signal_pending)) ||
					    unlikely(t->user->restore_mask));
}

static void show_syscalls(struct seq *s, void *arg)
{
	static const char *const status[] = { "absent", "partial", "full" };

	(void)arg;
	for (unsigned nr = 0; nr < SYSCALL_MAX; nr++) {
		const struct syscall *c = &syscall_table[nr];
		u64 n = 0;

		for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
			n += READ_ONCE(syscall_counts[cpu][nr]);
			n += nr < TRAP_LIGHT_MAX ? READ_ONCE(cpus[cpu].light_calls[nr]) : 0;
		}
		if (n)
			seq_printf(s, "%3u %-24s %-8s %lu\n", nr, c->name ? c->name : "?",
				   status[c->status], n);
	}
}

void syscall_init(void)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		syscall_counts[i] = kzalloc(SYSCALL_MAX * sizeof(u64));
		if (!syscall_counts[i])
			panic("no memory to count system calls");
	}
	trap_set_syscall(dispatch);
	trap_set_light(9, light_mmap);
	trap_set_light(11, light_munmap);
	if (proc_register("syscalls", show_syscalls, NULL))
		log_warn("no /proc/syscalls");
}
