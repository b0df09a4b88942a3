// SPDX-License-Identifier: MIT
//
// What: futex(2) and its relatives: decoding of arguments; kernel/proc/futex.c does the work.
// Not here: priority inheritance (-ENOSYS; C libraries then say that they have none).
#include "kernel/sys/sys_calls.h"

#include "kernel/proc/futex.h"
#include "kernel/proc/process.h"
#include "kernel/proc/robust.h"
#include "kernel/sys/abi_proc.h"
#include "kernel/x86/time.h"
#include "mm/uaccess.h"

enum {
	FUTEX_WAIT,
	FUTEX_WAKE,
	FUTEX_FD,
	FUTEX_REQUEUE,
	FUTEX_CMP_REQUEUE,
	FUTEX_WAKE_OP,
	FUTEX_WAIT_BITSET = 9,
	FUTEX_WAKE_BITSET = 10,
};
#define FUTEX_PRIVATE        128u
#define FUTEX_CLOCK_REALTIME 256u

// When the wait ends, on the scale of time_now_ns(); 0: never. The clock cannot be set, so the two
// clocks stay as far apart as they are now.
static s64 read_deadline(u64 uva, bool relative, bool wall, u64 *deadline_ns)
{
	u64 now_ns = time_now_ns(), begin_ns = relative ? now_ns : 0, ns;
	struct abi_timespec ts;

	*deadline_ns = 0;
	if (!uva)
		return 0;
	if (copy_from_user(&ts, UVA(uva), sizeof(ts)))
		return -EFAULT;
	if (ts.sec < 0 || ts.nsec < 0 || (u64)ts.nsec >= NS_PER_SEC)
		return -EINVAL;
	if ((u64)ts.sec >= ~0ull / NS_PER_SEC / 4)
		return 0; // more than a century
	ns = begin_ns + (u64)ts.sec * NS_PER_SEC + (u64)ts.nsec;
	if (wall) {
		u64 ahead_ns = time_wall_ns() - now_ns;

		ns = ns > ahead_ns ? ns - ahead_ns : 0;
	}
	*deadline_ns = max(ns, 1ull);
	return 0;
}

// FUTEX_WAIT has its timeout from now on; the time of the first attempt counts if the call begins
// again after a stop. A handler ends a wait with a timeout in any case (signal(7)).
static s64 wait(const struct syscall_args *a, bool relative, bool wall, u32 bitset)
{
	struct uthread *u = thread_current()->user;
	bool shared = !((u32)a->a[1] & FUTEX_PRIVATE);
	u64 deadline_ns;
	s64 ret = read_deadline(a->a[3], relative, wall, &deadline_ns);

	if (ret)
		return ret;
	if (!bitset)
		return -EINVAL;
	if (relative && u->restart_deadline_ns)
		deadline_ns = u->restart_deadline_ns;
	u->restart_deadline_ns = 0;
	ret = futex_wait(UVA(a->a[0]), (u32)a->a[2], bitset, shared, deadline_ns);
	if (ret != -EINTR)
		return ret;
	if (!deadline_ns)
		return -ERESTARTSYS;
	if (relative)
		u->restart_deadline_ns = deadline_ns;
	return -ERESTARTNOHAND;
}

// futex(at, op, val, timeout or val2, at2, val3)
s64 sys_futex(const struct syscall_args *a)
{
	u32 op = (u32)a->a[1], command = op & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
	bool shared = !(op & FUTEX_PRIVATE), wall = op & FUTEX_CLOCK_REALTIME;
	uva_t at = UVA(a->a[0]), to = UVA(a->a[4]);
	s32 count = (s32)a->a[2], more = (s32)a->a[3];
	u32 third = (u32)a->a[5];

	if (wall && command != FUTEX_WAIT_BITSET)
		return -ENOSYS;
	switch (command) {
	case FUTEX_WAIT: return wait(a, true, false, FUTEX_ANY);
	case FUTEX_WAIT_BITSET: return wait(a, false, wall, third);
	case FUTEX_WAKE: return futex_wake(at, FUTEX_ANY, shared, count);
	case FUTEX_WAKE_BITSET: return third ? futex_wake(at, third, shared, count) : -EINVAL;
	case FUTEX_REQUEUE: return futex_requeue(at, to, shared, count, more, NULL);
	case FUTEX_CMP_REQUEUE: return futex_requeue(at, to, shared, count, more, &third);
	case FUTEX_WAKE_OP: return futex_wake_op(at, to, shared, count, more, third);
	default: return -ENOSYS;
	}
}

// set_robust_list(head, bytes)
s64 sys_set_robust_list(const struct syscall_args *a)
{
	if (a->a[1] != sizeof(struct robust_head))
		return -EINVAL;
	thread_current()->user->robust_list = UVA(a->a[0]);
	return 0;
}

// get_robust_list(tid, head, bytes)
s64 sys_get_robust_list(const struct syscall_args *a)
{
	const u64 bytes = sizeof(struct robust_head);
	struct thread *t;
	u64 head = 0, flags = spin_lock_irqsave(&proc_lock);
	s64 ret = -ESRCH;

	t = (s32)a->a[0] ? thread_find_locked((u32)a->a[0]) : thread_current();
	if (t) {
		ret = process_may_look(process_current()->uid, t->proc) ? 0 : -EPERM;
		head = READ_ONCE(t->user->robust_list.va);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	if (ret)
		return ret;
	if (copy_to_user(UVA(a->a[2]), &bytes, sizeof(bytes)) ||
	    copy_to_user(UVA(a->a[1]), &head, sizeof(head)))
		return -EFAULT;
	return 0;
}
