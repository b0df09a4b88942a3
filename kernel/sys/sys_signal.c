// SPDX-License-Identifier: MIT
//
// What: system calls about signals: decoding of arguments; kernel/proc/signal.c does the work.
#include "kernel/sys/sys_calls.h"

#include "kernel/proc/process.h"
#include "kernel/proc/sigframe.h"
#include "kernel/sys/abi_proc.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"
#include "mm/uaccess.h"

static bool bad_set_size(u64 bytes)
{
	return bytes != sizeof(sigset_t);
}

// rt_sigaction(sig, new, old, set_bytes)
s64 sys_rt_sigaction(const struct syscall_args *a)
{
	struct sigaction new, old;
	s64 ret;

	if (bad_set_size(a->a[3]))
		return -EINVAL;
	if (a->a[1] && copy_from_user(&new, UVA(a->a[1]), sizeof(new)))
		return -EFAULT;
	ret = signal_action((int)a->a[0], a->a[1] ? &new : NULL, &old);
	if (!ret && a->a[2] && copy_to_user(UVA(a->a[2]), &old, sizeof(old)))
		return -EFAULT;
	return ret;
}

enum { SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK };

// rt_sigprocmask(how, new, old, set_bytes)
s64 sys_rt_sigprocmask(const struct syscall_args *a)
{
	sigset_t old = thread_current()->user->blocked, set;

	if (bad_set_size(a->a[3]))
		return -EINVAL;
	if (a->a[1]) {
		if (copy_from_user(&set, UVA(a->a[1]), sizeof(set)))
			return -EFAULT;
		switch ((int)a->a[0]) {
		case SIG_BLOCK: set = old | set; break;
		case SIG_UNBLOCK: set = old & ~set; break;
		case SIG_SETMASK: break;
		default: return -EINVAL;
		}
		signal_set_mask(set);
	}
	if (a->a[2] && copy_to_user(UVA(a->a[2]), &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

s64 sys_rt_sigreturn(const struct syscall_args *a)
{
	return signal_return(syscall_frame(a));
}

s64 sys_rt_sigpending(const struct syscall_args *a)
{
	sigset_t set = signal_blocked_pending();

	if (a->a[1] > sizeof(set))
		return -EINVAL;
	return copy_to_user(UVA(a->a[0]), &set, a->a[1]);
}

// Sleep until an unblocked signal comes: the caller's mask says which.
static s64 sleep_for_signal(void)
{
	while (!signal_pending())
		(void)!thread_sleep_interruptible_ns(~0ull);
	return -EINTR;
}

s64 sys_pause(const struct syscall_args *a)
{
	(void)a;
	return sleep_for_signal();
}

s64 sys_rt_sigsuspend(const struct syscall_args *a)
{
	sigset_t set;

	if (bad_set_size(a->a[1]))
		return -EINVAL;
	if (copy_from_user(&set, UVA(a->a[0]), sizeof(set)))
		return -EFAULT;
	signal_set_temporary_mask(set);
	return sleep_for_signal();
}

static s64 read_timeout(u64 uva, u64 *deadline_ns)
{
	struct abi_timespec ts;

	*deadline_ns = 0;
	if (!uva)
		return 0;
	if (copy_from_user(&ts, UVA(uva), sizeof(ts)))
		return -EFAULT;
	if (ts.sec < 0 || ts.nsec < 0 || (u64)ts.nsec >= NS_PER_SEC)
		return -EINVAL;
	*deadline_ns = (u64)ts.sec > INT32_MAX
			       ? ~0ull
			       : time_now_ns() + (u64)ts.sec * NS_PER_SEC + (u64)ts.nsec;
	return 0;
}

// rt_sigtimedwait(set, info, timeout, set_bytes): the set is blocked, so it is unblocked while we
// sleep; whatever of it came meanwhile is taken before the mask comes back.
s64 sys_rt_sigtimedwait(const struct syscall_args *a)
{
	struct siginfo info;
	u64 deadline_ns, now_ns;
	sigset_t set, old;
	int sig;
	s64 ret;

	if (bad_set_size(a->a[3]))
		return -EINVAL;
	if (copy_from_user(&set, UVA(a->a[0]), sizeof(set)))
		return -EFAULT;
	ret = read_timeout(a->a[2], &deadline_ns);
	if (ret)
		return ret;
	for (;;) {
		sig = signal_take(set, &info);
		now_ns = time_now_ns();
		if (sig || (deadline_ns && deadline_ns <= now_ns))
			break;
		thread_current()->user->awaited = set; // before others see that they are unblocked
		old = signal_set_mask(thread_current()->user->blocked & ~set);
		ret = thread_sleep_interruptible_ns(deadline_ns ? deadline_ns - now_ns : ~0ull);
		sig = signal_take(set, &info);
		signal_set_mask(old);
		thread_current()->user->awaited = 0;
		if (sig)
			break;
		// Another signal, one with a handler, ended the sleep; or another thread was
		// faster.
		if (ret && signal_pending())
			return -EINTR;
	}
	if (!sig)
		return -EAGAIN;
	if (a->a[1] && copy_to_user(UVA(a->a[1]), &info, sizeof(info)))
		return -EFAULT;
	return sig;
}

// rt_sigqueueinfo(pid, sig, info)
s64 sys_rt_sigqueueinfo(const struct syscall_args *a)
{
	struct siginfo info;

	if (copy_from_user(&info, UVA(a->a[2]), sizeof(info)))
		return -EFAULT;
	// To others nobody may pretend to be the kernel, or kill(2).
	if ((info.code >= 0 || info.code == SI_TKILL) &&
	    (s32)a->a[0] != (s32)process_current()->pid)
		return -EPERM;
	if ((s32)a->a[0] <= 0)
		return -ESRCH;
	info.signo = (s32)a->a[1];
	return signal_kill((s32)a->a[0], &info);
}

s64 sys_sigaltstack(const struct syscall_args *a)
{
	struct uthread *u = thread_current()->user;
	bool on_it =
		!(u->alt_flags & SS_DISABLE) && syscall_frame(a)->rsp - u->alt_sp < u->alt_bytes;
	struct sigstack old = { .sp = u->alt_sp, .bytes = u->alt_bytes }, new;

	old.flags = u->alt_flags & SS_DISABLE ? SS_DISABLE : on_it ? SS_ONSTACK : 0;
	old.flags |= u->alt_flags & SS_AUTODISARM;
	if (a->a[0]) {
		if (copy_from_user(&new, UVA(a->a[0]), sizeof(new)))
			return -EFAULT;
		if (on_it)
			return -EPERM;
		if ((new.flags & ~SS_AUTODISARM) & ~(SS_DISABLE | SS_ONSTACK))
			return -EINVAL;
		if (new.flags & SS_DISABLE) {
			new.sp = new.bytes = 0;
		} else if (new.bytes < MINSIGSTKSZ) {
			return -ENOMEM;
		}
		u->alt_sp = new.sp;
		u->alt_bytes = new.bytes;
		u->alt_flags = new.flags &(SS_DISABLE | SS_AUTODISARM);
	}
	if (a->a[1] && copy_to_user(UVA(a->a[1]), &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

s64 sys_kill(const struct syscall_args *a)
{
	struct siginfo info = signal_info_user((int)a->a[1], SI_USER);

	return signal_kill((s32)a->a[0], &info);
}

s64 sys_tkill(const struct syscall_args *a)
{
	struct siginfo info = signal_info_user((int)a->a[1], SI_TKILL);

	return signal_kill_thread(-1, (s32)a->a[0], &info);
}

s64 sys_tgkill(const struct syscall_args *a)
{
	struct siginfo info = signal_info_user((int)a->a[2], SI_TKILL);

	if ((s32)a->a[0] <= 0)
		return -EINVAL;
	return signal_kill_thread((s32)a->a[0], (s32)a->a[1], &info);
}

// ---- Interval timers ----------------------------------------------------------------------------

enum { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };

s64 sys_alarm(const struct syscall_args *a)
{
	struct itimer_ns new = { .value_ns = (u32)a->a[0] * NS_PER_SEC }, old;

	process_itimer(&new, &old);
	return (s64)((old.value_ns + NS_PER_SEC / 2) / NS_PER_SEC +
		     (old.value_ns && old.value_ns < NS_PER_SEC / 2));
}

static struct abi_itimerval itimerval_of(const struct itimer_ns *t)
{
	struct abi_itimerval v = { .interval = abi_timeval_of(t->interval_ns),
				   .value = abi_timeval_of(t->value_ns) };

	// Less than a microsecond is left, but it is on.
	if (t->value_ns && !v.value.sec && !v.value.usec)
		v.value.usec = 1;
	return v;
}

s64 sys_getitimer(const struct syscall_args *a)
{
	struct itimer_ns old;
	struct abi_itimerval v;

	if ((u32)a->a[0] != ITIMER_REAL)
		return -EINVAL;
	process_itimer(NULL, &old);
	v = itimerval_of(&old);
	return copy_to_user(UVA(a->a[1]), &v, sizeof(v));
}

static bool to_ns(const struct abi_timeval *tv, u64 *ns)
{
	if (tv->sec < 0 || tv->usec < 0 || tv->usec >= 1000000)
		return false;
	*ns = min((u64)tv->sec, (u64)INT32_MAX) * NS_PER_SEC + (u64)tv->usec * NS_PER_USEC;
	return true;
}

// setitimer(which, new, old)
s64 sys_setitimer(const struct syscall_args *a)
{
	struct abi_itimerval v = { 0 };
	struct itimer_ns new, old;

	if ((u32)a->a[0] != ITIMER_REAL)
		return -EINVAL;
	if (a->a[1] && copy_from_user(&v, UVA(a->a[1]), sizeof(v)))
		return -EFAULT;
	if (!to_ns(&v.value, &new.value_ns) || !to_ns(&v.interval, &new.interval_ns))
		return -EINVAL;
	process_itimer(&new, &old);
	v = itimerval_of(&old);
	if (a->a[2] && copy_to_user(UVA(a->a[2]), &v, sizeof(v)))
		return -EFAULT;
	return 0;
}
