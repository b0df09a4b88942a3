// SPDX-License-Identifier: MIT
//
// What: system calls about processes: decoding of arguments; kernel/proc does the work.
#include "kernel/sys/sys_calls.h"

#include "fs/fcntl.h"
#include "kernel/lib/string.h"
#include "kernel/proc/process.h"
#include "kernel/sys/abi_proc.h"
#include "kernel/x86/cpu.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/uaccess.h"

// ---- Making and ending --------------------------------------------------------------------------

s64 sys_fork(const struct syscall_args *a)
{
	return process_clone(&(struct clone_args){ .exit_signal = SIGCHLD }, syscall_frame(a));
}

s64 sys_vfork(const struct syscall_args *a)
{
	struct clone_args args = { .flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD };

	return process_clone(&args, syscall_frame(a));
}

// clone(flags, stack, parent_tid, child_tid, tls)
s64 sys_clone(const struct syscall_args *a)
{
	struct clone_args args = {
		.flags = (u32)a->a[0] & ~CSIGNAL,
		.exit_signal = (int)(a->a[0] & CSIGNAL),
		.stack = a->a[1],
		.parent_tid = UVA(a->a[2]),
		.child_tid = UVA(a->a[3]),
		.tls = a->a[4],
	};

	if ((args.flags & CLONE_SETTLS) && args.tls >= USER_END)
		return -EPERM;
	return process_clone(&args, syscall_frame(a));
}

s64 sys_execve(const struct syscall_args *a)
{
	struct exec_strings strings = { .user = true, .argv = a->a[1], .envp = a->a[2] };
	char *path = kmalloc(PATH_MAX);
	s64 ret;

	if (!path)
		return -ENOMEM;
	ret = strncpy_from_user(path, UVA(a->a[0]), PATH_MAX);
	if (ret == 0)
		ret = -ENOENT;
	else if (ret > 0)
		ret = process_exec(path, &strings, syscall_frame(a));
	kfree(path);
	return ret;
}

s64 sys_exit(const struct syscall_args *a)
{
	process_exit_thread(WAIT_EXITED((int)a->a[0]));
}

s64 sys_exit_group(const struct syscall_args *a)
{
	process_exit(WAIT_EXITED((int)a->a[0]));
}

// wait4(pid, status, options, rusage)
s64 sys_wait4(const struct syscall_args *a)
{
	unsigned options = (unsigned)a->a[2];
	struct wait_result r;
	struct abi_rusage usage;
	int ret;

	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | W_NOTHREAD))
		return -EINVAL;
	if ((s32)a->a[0] == INT32_MIN)
		return -ESRCH;
	ret = process_wait((s32)a->a[0] == -1 ? WAIT_ANY : (s32)a->a[0], options | WEXITED, &r);
	if (ret <= 0)
		return ret;
	if (a->a[1] && copy_to_user(UVA(a->a[1]), &r.status, sizeof(r.status)))
		return -EFAULT;
	usage = abi_rusage_of(&r.usage);
	if (a->a[3] && copy_to_user(UVA(a->a[3]), &usage, sizeof(usage)))
		return -EFAULT;
	return r.pid;
}

enum { P_ALL, P_PID, P_PGID };

static s64 waitid_which(u64 type, u64 id, s64 *which)
{
	switch (type) {
	case P_ALL: *which = WAIT_ANY; return 0;
	case P_PID: *which = (s32)id; return (s32)id > 0 ? 0 : -EINVAL;
	case P_PGID: *which = -(s64)(s32)id; return (s32)id >= 0 ? 0 : -EINVAL;
	default: return -EINVAL;
	}
}

// The status of wait4 in the words of siginfo.
static void tell_status(struct siginfo *info, int status)
{
	info->chld.status = status >> 8;
	if (status == WAIT_CONTINUED) {
		info->code = CLD_CONTINUED;
		info->chld.status = SIGCONT;
	} else if ((status & 0xff) == 0x7f) {
		info->code = CLD_STOPPED;
	} else if (status & 0x7f) {
		info->code = CLD_KILLED;
		info->chld.status = status & 0x7f;
	} else {
		info->code = CLD_EXITED;
	}
}

// waitid(type, id, info, options, rusage)
s64 sys_waitid(const struct syscall_args *a)
{
	unsigned options = (unsigned)a->a[3];
	struct siginfo info = { 0 };
	struct wait_result r;
	struct abi_rusage usage;
	s64 which;
	s64 ret = waitid_which(a->a[0], a->a[1], &which);

	if (ret)
		return ret;
	if ((options & ~(WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | W_NOTHREAD)) ||
	    !(options & (WEXITED | WUNTRACED | WCONTINUED)))
		return -EINVAL;
	ret = process_wait(which, options, &r);
	if (ret < 0)
		return ret;
	if (ret > 0) {
		info.signo = SIGCHLD;
		info.chld.pid = (s32)r.pid;
		info.chld.uid = r.uid;
		tell_status(&info, r.status);
		usage = abi_rusage_of(&r.usage);
		if (a->a[4] && copy_to_user(UVA(a->a[4]), &usage, sizeof(usage)))
			return -EFAULT;
	}
	if (a->a[2] && copy_to_user(UVA(a->a[2]), &info, sizeof(info)))
		return -EFAULT;
	return 0;
}

// ---- Numbers, groups, sessions ------------------------------------------------------------------

s64 sys_getpid(const struct syscall_args *a)
{
	(void)a;
	return process_current()->pid;
}

s64 sys_gettid(const struct syscall_args *a)
{
	(void)a;
	return thread_current()->tid;
}

s64 sys_getppid(const struct syscall_args *a)
{
	(void)a;
	return READ_ONCE(process_current()->ppid);
}

s64 sys_set_tid_address(const struct syscall_args *a)
{
	thread_current()->user->clear_child_tid = UVA(a->a[0]);
	return thread_current()->tid;
}

static s64 group_or_session(s32 pid, bool session)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	const struct process *p = pid ? process_of_number_locked((u32)pid) : process_current();
	s64 ret = -ESRCH;

	if (p)
		ret = session ? p->sid : p->pgid;
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

s64 sys_getpgid(const struct syscall_args *a)
{
	return group_or_session((s32)a->a[0], false);
}

s64 sys_getpgrp(const struct syscall_args *a)
{
	(void)a;
	return group_or_session(0, false);
}

s64 sys_getsid(const struct syscall_args *a)
{
	return group_or_session((s32)a->a[0], true);
}

static bool group_exists(u32 pgid, u32 sid)
{
	const struct process *p;

	process_for_each(p)
		if (p->pgid == pgid && p->sid == sid && p->state != PROCESS_NEW)
			return true;
	return false;
}

static s64 setpgid_locked(s32 pid, s32 pgid)
{
	struct process *me = process_current();
	struct process *p = pid ? process_of_number_locked((u32)pid) : me;

	if (p && pid && p->pid != (u32)pid)
		return -EINVAL; // a thread that does not lead
	if (!p || (p != me && p->parent != me))
		return -ESRCH;
	if (p != me && p->has_execed)
		return -EACCES;
	if (p->sid == p->pid || p->sid != me->sid)
		return -EPERM;
	if (pgid == 0)
		pgid = (s32)p->pid;
	if ((u32)pgid != p->pid && !group_exists((u32)pgid, me->sid))
		return -EPERM;
	process_set_group_locked(p, (u32)pgid, p->sid);
	return 0;
}

s64 sys_setpgid(const struct syscall_args *a)
{
	u64 flags;
	s64 ret;

	if ((s32)a->a[0] < 0 || (s32)a->a[1] < 0)
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	ret = setpgid_locked((s32)a->a[0], (s32)a->a[1]);
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

s64 sys_setsid(const struct syscall_args *a)
{
	struct process *me = process_current(), *p;
	u64 flags = spin_lock_irqsave(&proc_lock);
	s64 ret = me->pid;

	(void)a;
	process_for_each(p)
		if (p->pgid == me->pid && p->state != PROCESS_NEW)
			ret = -EPERM; // a group of that number exists
	if (ret > 0)
		process_set_group_locked(me, me->pid, me->pid);
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

// ---- The thread ---------------------------------------------------------------------------------

enum { ARCH_SET_GS = 0x1001, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS };

s64 sys_arch_prctl(const struct syscall_args *a)
{
	struct thread *t = thread_current();
	u64 v = a->a[1];

	switch ((u32)a->a[0]) {
	case ARCH_SET_FS:
		if (v >= USER_END)
			return -EPERM;
		thread_set_tls(v, t->gs_base);
		return 0;
	case ARCH_SET_GS:
		if (v >= USER_END)
			return -EPERM;
		thread_set_tls(t->fs_base, v);
		return 0;
	case ARCH_GET_FS: return copy_to_user(UVA(v), &t->fs_base, sizeof(u64));
	case ARCH_GET_GS: return copy_to_user(UVA(v), &t->gs_base, sizeof(u64));
	default: return -EINVAL;
	}
}

enum { PR_SET_PDEATHSIG = 1, PR_GET_DUMPABLE = 3, PR_SET_NAME = 15, PR_GET_NAME = 16 };

s64 sys_prctl(const struct syscall_args *a)
{
	struct thread *t = thread_current();
	char name[sizeof(t->name)];
	ssize len;
	u64 flags;

	switch ((u32)a->a[0]) {
	case PR_SET_NAME:
		memset(name, 0, sizeof(name));
		len = strncpy_from_user(name, UVA(a->a[1]), sizeof(name));
		if (len == -EFAULT)
			return len;
		name[sizeof(name) - 1] = '\0'; // longer names are cut
		flags = spin_lock_irqsave(&proc_lock);
		memcpy(t->name, name, sizeof(name));
		if (t->tid == t->proc->pid)
			memcpy(t->proc->name, name, sizeof(name));
		spin_unlock_irqrestore(&proc_lock, flags);
		return 0;
	case PR_GET_NAME: return copy_to_user(UVA(a->a[1]), t->name, sizeof(t->name));
	case PR_GET_DUMPABLE: return 0; // there are no core dumps
	default: return -EINVAL;
	}
}

s64 sys_sched_yield(const struct syscall_args *a)
{
	(void)a;
	thread_yield();
	return 0;
}

// The thread `tid` with proc_lock held; 0 is the caller.
static struct thread *thread_of(s32 tid)
{
	return tid ? thread_find_locked((u32)tid) : thread_current();
}

s64 sys_sched_getaffinity(const struct syscall_args *a)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct thread *t = thread_of((s32)a->a[0]);
	u64 mask = t ? t->affinity & (~0ull >> (64 - cpu_count())) : 0;

	spin_unlock_irqrestore(&proc_lock, flags);
	if (!t)
		return -ESRCH;
	if (a->a[1] < sizeof(mask) || a->a[1] % sizeof(u64))
		return -EINVAL;
	return copy_to_user(UVA(a->a[2]), &mask, sizeof(mask)) ? -EFAULT : (s64)sizeof(mask);
}

static bool may_place(const struct process *p)
{
	const struct process *me = process_current();

	return p == me || me->euid == 0 || me->euid == p->uid || me->euid == p->euid;
}

s64 sys_sched_setaffinity(const struct syscall_args *a)
{
	struct thread *t;
	u64 mask = 0, flags;
	s64 ret = 0;

	if (copy_from_user(&mask, UVA(a->a[2]), min(a->a[1], (u64)sizeof(mask))))
		return -EFAULT;
	mask &= ~0ull >> (64 - cpu_count());
	if (!mask)
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	t = thread_of((s32)a->a[0]);
	if (t && may_place(t->proc))
		WRITE_ONCE(t->affinity, mask);
	else
		ret = t ? -EPERM : -ESRCH;
	spin_unlock_irqrestore(&proc_lock, flags);
	if (ret)
		return ret;
	// A running thread moves at its next switch; the caller's own is now.
	if (t == thread_current())
		thread_migrate();
	return 0;
}

enum { PRIO_PROCESS, PRIO_PGRP, PRIO_USER };

// 0 if `who` is somebody: a thread, a group, or a user with processes; 0 is the caller's.
static s64 find_prio(u32 which, u32 who)
{
	const struct process *me = process_current(), *p;
	u64 flags;
	bool found = who == 0;

	if (which > PRIO_USER)
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	found |= which == PRIO_USER && who == me->uid;
	found |= which == PRIO_PROCESS && thread_find_locked(who);
	process_for_each(p)
		found |= p->state == PROCESS_ALIVE && which != PRIO_PROCESS &&
			 (which == PRIO_PGRP ? p->pgid : p->uid) == who;
	spin_unlock_irqrestore(&proc_lock, flags);
	return found ? 0 : -ESRCH;
}

// Every thread has the same priority; setting the one that it has is allowed.
s64 sys_getpriority(const struct syscall_args *a)
{
	s64 err = find_prio((u32)a->a[0], (u32)a->a[1]);

	return err ? err : 20; // the system call says 20 - nice
}

s64 sys_setpriority(const struct syscall_args *a)
{
	return find_prio((u32)a->a[0], (u32)a->a[1]);
}
