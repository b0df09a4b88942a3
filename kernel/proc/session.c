// SPDX-License-Identifier: MIT
//
// What: answers the questions of terminals about sessions and process groups (setsid(2),
// setpgid(2)).
// Locking: proc_lock.
#include "kernel/proc/session.h"

#include "fs/tty.h"
#include "kernel/proc/process.h"

// Kernel threads belong to no process.
static u32 current_session(void)
{
	const struct process *p = process_current();

	return p ? READ_ONCE(p->sid) : 0;
}

static u32 current_group(void)
{
	const struct process *p = process_current();

	return p ? READ_ONCE(p->pgid) : 0;
}

static bool is_leader(void)
{
	const struct process *p = process_current();

	return p && READ_ONCE(p->sid) == p->pid;
}

static bool group_in_session(u32 pgrp, u32 session)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	const struct process *p;
	bool found = false;

	process_for_each(p)
		found |= p->state != PROCESS_NEW && p->pgid == pgrp && p->sid == session;
	spin_unlock_irqrestore(&proc_lock, flags);
	return found;
}

// Can `parent` continue the group of `child`, as a shell does?
static bool is_link(const struct process *child, const struct process *parent)
{
	return parent && parent->pgid != child->pgid && parent->sid == child->sid;
}

// When no member has a parent in another group of the same session (POSIX, 3.264).
bool session_group_is_orphaned(u32 pgrp)
{
	const struct process *p;

	process_for_each(p)
		if (p->pgid == pgrp && p->state == PROCESS_ALIVE && is_link(p, p->parent) &&
		    p->parent->state == PROCESS_ALIVE)
			return false;
	return true;
}

void session_link_lost(const struct process *child, const struct process *parent)
{
	const struct siginfo hup = { .signo = SIGHUP, .code = SI_KERNEL };
	const struct siginfo cont = { .signo = SIGCONT, .code = SI_KERNEL };
	const struct process *p;
	u32 pgrp = child->pgid;
	bool stopped = false;

	// A group that was orphaned before, like that of a session's leader, loses nothing.
	if (!is_link(child, parent))
		return;
	process_for_each(p)
		stopped |= p->pgid == pgrp && p->state == PROCESS_ALIVE && READ_ONCE(p->stopped);
	if (!stopped || !session_group_is_orphaned(pgrp))
		return;
	signal_send_group_locked(child->sid, pgrp, &hup);
	signal_send_group_locked(child->sid, pgrp, &cont);
}

static bool shuns(int sig)
{
	struct process *p = process_current();
	u64 flags;
	bool yes;

	if (!p)
		return true;
	flags = spin_lock_irqsave(&proc_lock);
	spin_lock(&p->sig_lock);
	yes = p->actions[sig - 1].handler == SIG_IGN ||
	      (thread_current()->user->blocked & SIGMASK(sig));
	spin_unlock(&p->sig_lock);
	spin_unlock_irqrestore(&proc_lock, flags);
	return yes;
}

static bool is_orphaned(void)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	const struct process *p = process_current();
	bool yes = !p || session_group_is_orphaned(p->pgid);

	spin_unlock_irqrestore(&proc_lock, flags);
	return yes;
}

void session_leader_exits(struct process *p)
{
	if (READ_ONCE(p->sid) == p->pid)
		tty_session_ended(p->pid);
}

static const struct tty_process_ops ops = {
	.session = current_session,
	.group = current_group,
	.is_leader = is_leader,
	.group_in_session = group_in_session,
	.shuns = shuns,
	.is_orphaned = is_orphaned,
};

void session_init(void)
{
	tty_set_process(&ops);
}
