// SPDX-License-Identifier: MIT
//
// What: job control: a stop signal stops all threads of a process, SIGCONT lets them go on.
//
//      running --a thread takes a stop signal--> stopping --the last one sleeps--> stopped
//         ^                                          |                                |
//         +------------SIGCONT: no news--------------+                                |
//         +------------SIGCONT, SIGKILL: the first thread to go on tells the parent---+
//
// Not here: SIGCONT's and SIGKILL's part, done when they are sent (kernel/proc/signal.c).
//
// Invariants:
//   I1  p->stopped is set when the stop signal is taken from the pending set, so a SIGCONT from
//       then on undoes it.
//   I2  While p->stopped is set, every thread's signal_pending is: none runs in user mode for long,
//       and interruptible sleeps end.
//   I3  The parent hears of a stop when every thread that is not ending sleeps here, once
//       (p->stop_sig), and never of one that was undone before.
// Locking: proc_lock, then sig_lock; the parent is told under proc_lock alone.
#include "kernel/proc/process.h"

#include "kernel/proc/session.h"

void stop_begin(int sig)
{
	struct process *p = process_current();
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool orphaned = sig != SIGSTOP && session_group_is_orphaned(p->pgid);

	spin_lock(&p->sig_lock);
	if (orphaned) {
		p->stopped = false;
		p->stop_sig = 0;
		wait_wake_all(&p->cont_wait);
	}
	spin_unlock(&p->sig_lock);
	spin_unlock_irqrestore(&proc_lock, flags);
}

// The thread that takes the signal counts as running until it has been to stop_begin(): I3 holds
// although others may be asleep before.
int stop_complete_locked(struct process *p)
{
	int sig = p->stop_sig;

	if (!p->stopped || !sig || !p->nr_live || p->nr_stopped < p->nr_live)
		return 0;
	p->stop_sig = 0;
	return sig;
}

void stop_tell(struct process *p, int sig)
{
	p->stop_report = sig;
	process_tell_parent(p, CLD_STOPPED, sig);
}

// False: there is nothing to wait for.
static bool enter(struct process *p)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool stopped;
	int sig = 0;

	spin_lock(&p->sig_lock);
	stopped = p->stopped && !signal_is_killed();
	if (stopped) {
		p->nr_stopped++;
		sig = stop_complete_locked(p);
	}
	spin_unlock(&p->sig_lock);
	if (sig)
		stop_tell(p, sig);
	spin_unlock_irqrestore(&proc_lock, flags);
	return stopped;
}

static void leave(struct process *p)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool news;

	spin_lock(&p->sig_lock);
	p->nr_stopped--;
	news = p->cont_news && !signal_is_killed();
	p->cont_news = false;
	spin_unlock(&p->sig_lock);
	if (news) {
		p->stop_report = 0;
		p->cont_report = true;
		process_tell_parent(p, CLD_CONTINUED, SIGCONT);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
}

void stop_here(void)
{
	struct process *p = process_current();

	if (!READ_ONCE(p->stopped) || !enter(p))
		return;
	wait_event(&p->cont_wait, !READ_ONCE(p->stopped) || signal_is_killed());
	leave(p);
}
