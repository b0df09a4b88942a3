// SPDX-License-Identifier: MIT
//
// What: kill(2), tkill(2), tgkill(2): who is addressed, and who may send what to whom.
// Not here: what a signal then does (kernel/proc/signal.c).
// Locking: proc_lock, so that nobody who was found leaves meanwhile.
#include "kernel/proc/process.h"

#include "kernel/lib/errno.h"

struct siginfo signal_info_user(int sig, int code)
{
	struct process *me = process_current();
	struct siginfo info = { .signo = sig, .code = code };

	info.rt.pid = (s32)me->pid;
	info.rt.uid = me->uid;
	return info;
}

static bool may_signal(const struct process *me, const struct process *p, int sig)
{
	return me->euid == 0 || me->euid == p->uid || me->euid == p->suid || me->uid == p->uid ||
	       me->uid == p->suid || (sig == SIGCONT && me->sid == p->sid);
}

// Several processes: pid <= 0.
static bool is_addressed(const struct process *me, const struct process *p, s32 pid)
{
	if (p->state == PROCESS_NEW || p->state == PROCESS_REAPED)
		return false;
	if (pid == 0)
		return p->pgid == me->pgid;
	if (pid == -1)
		return p != me && p->pid != 1;
	return p->pgid == (u32)-pid;
}

static int kill_several(s32 pid, const struct siginfo *info)
{
	struct process *me = process_current(), *p;
	bool found = false, sent = false;

	process_for_each(p) {
		if (!is_addressed(me, p, pid))
			continue;
		found = true;
		if (!may_signal(me, p, info->signo))
			continue;
		sent = true;
		p->group_signals++;
		if (info->signo)
			(void)signal_send(p, info); // only kill(2) sends to several
	}
	return sent ? 0 : found ? -EPERM : -ESRCH;
}

// The number of any thread stands for its process.
static int kill_one(u32 pid, const struct siginfo *info)
{
	struct process *p = process_of_number_locked(pid);

	if (!p)
		return -ESRCH;
	if (!may_signal(process_current(), p, info->signo))
		return -EPERM;
	return info->signo ? signal_send(p, info) : 0;
}

// Zombies count as receivers, as Linux has it.
int signal_kill(s32 pid, const struct siginfo *info)
{
	u64 flags;
	int err;

	if (info->signo < 0 || info->signo > SIG_COUNT)
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	flags = spin_lock_irqsave(&proc_lock);
	err = pid > 0 ? kill_one((u32)pid, info) : kill_several(pid, info);
	spin_unlock_irqrestore(&proc_lock, flags);
	return err;
}

int signal_kill_thread(s32 tgid, s32 tid, const struct siginfo *info)
{
	struct process *p;
	struct thread *t;
	int ret = -ESRCH;
	u64 flags;

	if (info->signo < 0 || info->signo > SIG_COUNT || tid <= 0 || (tgid <= 0 && tgid != -1))
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	t = thread_find_locked((u32)tid);
	// A leader that has left can still be addressed, by its process's number.
	p = t ? t->proc : process_find_locked((u32)tid);
	if (p && (tgid == -1 || p->pid == (u32)tgid)) {
		ret = may_signal(process_current(), p, info->signo) ? 0 : -EPERM;
		if (!ret && t && info->signo)
			ret = signal_send_thread(t, info);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}
