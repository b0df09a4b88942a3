// SPDX-License-Identifier: MIT
//
// What: clocks and sleeping. All clocks count nanoseconds; sleeps end at a tick, up to 4 ms late.
// Not here: setting the clock (-EPERM), timers that send signals (sys_signal.c).
#include "kernel/sys/sys_calls.h"

#include "kernel/proc/process.h"
#include "kernel/sys/abi_proc.h"
#include "kernel/x86/time.h"
#include "mm/uaccess.h"

enum {
	CLOCK_REALTIME = 0,
	CLOCK_MONOTONIC = 1,
	CLOCK_PROCESS_CPUTIME = 2,
	CLOCK_THREAD_CPUTIME = 3,
	CLOCK_MONOTONIC_RAW = 4,
	CLOCK_REALTIME_COARSE = 5,
	CLOCK_MONOTONIC_COARSE = 6,
	CLOCK_BOOTTIME = 7,
};
#define TIMER_ABSTIME 1u

static u64 cpu_time_ns(const struct usage *u)
{
	return u->utime_ns + u->stime_ns;
}

static s64 clock_read(u64 clock, u64 *ns)
{
	struct usage u;

	switch ((u32)clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE: *ns = time_wall_ns(); return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME: *ns = time_now_ns(); return 0;
	case CLOCK_PROCESS_CPUTIME:
		u = process_usage(process_current());
		*ns = cpu_time_ns(&u);
		return 0;
	case CLOCK_THREAD_CPUTIME: *ns = thread_run_ns(thread_current()); return 0;
	default: return -EINVAL;
	}
}

s64 sys_clock_gettime(const struct syscall_args *a)
{
	struct abi_timespec ts;
	u64 ns;
	s64 ret = clock_read(a->a[0], &ns);

	if (ret)
		return ret;
	ts = abi_timespec_of(ns);
	return copy_to_user(UVA(a->a[1]), &ts, sizeof(ts));
}

s64 sys_clock_getres(const struct syscall_args *a)
{
	struct abi_timespec ts = { 0, 1 };
	u64 ns;
	s64 ret = clock_read(a->a[0], &ns);

	if ((u32)a->a[0] == CLOCK_REALTIME_COARSE || (u32)a->a[0] == CLOCK_MONOTONIC_COARSE)
		ts.nsec = (s64)(NS_PER_SEC / TICK_HZ);
	if (!ret && a->a[1] && copy_to_user(UVA(a->a[1]), &ts, sizeof(ts)))
		return -EFAULT;
	return ret;
}

s64 sys_gettimeofday(const struct syscall_args *a)
{
	struct abi_timeval tv = abi_timeval_of(time_wall_ns());
	static const s32 timezone[2]; // minutes west, kind of daylight saving: both obsolete

	if (a->a[0] && copy_to_user(UVA(a->a[0]), &tv, sizeof(tv)))
		return -EFAULT;
	if (a->a[1] && copy_to_user(UVA(a->a[1]), timezone, sizeof(timezone)))
		return -EFAULT;
	return 0;
}

s64 sys_time(const struct syscall_args *a)
{
	s64 sec = (s64)(time_wall_ns() / NS_PER_SEC);

	if (a->a[0] && copy_to_user(UVA(a->a[0]), &sec, sizeof(sec)))
		return -EFAULT;
	return sec;
}

// ---- Sleeping -----------------------------------------------------------------------------------

static s64 get_timespec(u64 uva, u64 *ns)
{
	struct abi_timespec ts;

	if (copy_from_user(&ts, UVA(uva), sizeof(ts)))
		return -EFAULT;
	if (ts.sec < 0 || ts.nsec < 0 || (u64)ts.nsec >= NS_PER_SEC)
		return -EINVAL;
	// Three centuries fit; more is for ever.
	*ns = (u64)ts.sec >= ~0ull / NS_PER_SEC / 2 ? ~0ull / 2
						    : (u64)ts.sec * NS_PER_SEC + (u64)ts.nsec;
	return 0;
}

// Sleeps for `ns`; when a signal ends it, tells at `left_uva` how much is left. If the call only
// begins again, the deadline of the first time counts.
static s64 sleep_relative(u64 ns, u64 left_uva)
{
	struct uthread *u = thread_current()->user;
	u64 now_ns = time_now_ns();
	u64 deadline_ns = u->restart_deadline_ns ? u->restart_deadline_ns : now_ns + ns;
	struct abi_timespec left;
	int err = 0;

	if (deadline_ns > now_ns)
		err = thread_sleep_interruptible_ns(deadline_ns - now_ns);
	u->restart_deadline_ns = err ? deadline_ns : 0;
	if (err && left_uva) {
		now_ns = time_now_ns();
		left = abi_timespec_of(deadline_ns > now_ns ? deadline_ns - now_ns : 0);
		if (copy_to_user(UVA(left_uva), &left, sizeof(left))) {
			u->restart_deadline_ns = 0; // it does not begin again
			return -EFAULT;
		}
	}
	return err;
}

s64 sys_nanosleep(const struct syscall_args *a)
{
	u64 ns;
	s64 ret = get_timespec(a->a[0], &ns);

	return ret ? ret : sleep_relative(ns, a->a[1]);
}

// clock_nanosleep(clock, flags, request, left)
s64 sys_clock_nanosleep(const struct syscall_args *a)
{
	u32 clock = (u32)a->a[0];
	u64 ns, now_ns;
	s64 ret;

	if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME)
		return clock <= CLOCK_BOOTTIME ? -EOPNOTSUPP : -EINVAL;
	ret = get_timespec(a->a[2], &ns);
	if (ret)
		return ret;
	if (!((u32)a->a[1] & TIMER_ABSTIME))
		return sleep_relative(ns, a->a[3]);
	ret = clock_read(clock, &now_ns);
	if (ret || ns <= now_ns)
		return ret;
	return thread_sleep_interruptible_ns(ns - now_ns);
}

// ---- Time used ----------------------------------------------------------------------------------

static s64 ticks(u64 ns)
{
	return (s64)(ns / (NS_PER_SEC / USER_HZ));
}

static struct usage children_usage(void)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct usage u = process_current()->dead_children;

	spin_unlock_irqrestore(&proc_lock, flags);
	return u;
}

s64 sys_times(const struct syscall_args *a)
{
	struct usage self = process_usage(process_current()), children = children_usage();
	s64 t[4] = { ticks(self.utime_ns), ticks(self.stime_ns), ticks(children.utime_ns),
		     ticks(children.stime_ns) };

	if (a->a[0] && copy_to_user(UVA(a->a[0]), t, sizeof(t)))
		return -EFAULT;
	return ticks(time_now_ns());
}

enum { RUSAGE_CHILDREN = -1, RUSAGE_SELF = 0, RUSAGE_THREAD = 1 };

s64 sys_getrusage(const struct syscall_args *a)
{
	struct abi_rusage r;
	struct usage u;

	switch ((s32)a->a[0]) {
	case RUSAGE_SELF: u = process_usage(process_current()); break;
	case RUSAGE_CHILDREN: u = children_usage(); break;
	case RUSAGE_THREAD: u = thread_usage(thread_current()); break;
	default: return -EINVAL;
	}
	r = abi_rusage_of(&u);
	return copy_to_user(UVA(a->a[1]), &r, sizeof(r));
}
