// SPDX-License-Identifier: MIT
//
// What: sending signals, what is pending, masks and actions.
// Not here: kill(2) (signal_kill.c), stopped processes (stop.c), handlers and default actions
// (sigdeliver.c), numbers (signal.h).
//
// Invariants:
//   I1  thread->signal_pending makes a thread look at its signals before it returns to user mode,
//       and ends its interruptible sleeps. It is set while a signal is pending for the thread that
//       it does not block; while the process is stopped; and, for a signal that is pending for the
//       process, in one thread at least that does not block it, if there is such a thread. Not in
//       all: those that do not get the signal would be disturbed for nothing. When that one begins
//       to block the signal, or ends, the signal is passed on (pass_on). The flag may be set for
//       nothing, when another thread was faster. It changes under sig_lock.
//   I2  Setting signal_pending comes before thread_interrupt(): a sleep that begins in between sees
//       it.
//   I3  A standard signal is pending once at most; real-time signals (32..64) queue up.
//   I4  A queued detail's signal is in the set. The set may have signals without detail (no
//       memory).
//   I5  What the queues of real-time signals take is limited: each by its process's
//       RLIMIT_SIGPENDING, all together by QUEUED_MAX. Standard signals limit themselves (I3).
// Locking: proc_lock (to find whom), then sig_lock.
// Failure: out of memory, or of what I5 allows, kill(2) and the kernel lose a signal's details,
// never the signal; real-time signals then merge. Others that send those are told (-EAGAIN).
#include "kernel/proc/process.h"
#include "kernel/proc/sigframe.h"

#include "fs/file.h"
#include "fs/pipe.h"
#include "fs/tty.h"
#include "kernel/lib/errno.h"
#include "mm/heap.h"

#define DEFAULT_IGNORED (SIGMASK(SIGCHLD) | SIGMASK(SIGURG) | SIGMASK(SIGWINCH) | SIGMASK(SIGCONT))
#define DEFAULT_STOPS   (SIGMASK(SIGSTOP) | SIGMASK(SIGTSTP) | SIGMASK(SIGTTIN) | SIGMASK(SIGTTOU))
#define UNBLOCKABLE     (SIGMASK(SIGKILL) | SIGMASK(SIGSTOP))
// Taken before all others: they are about the instruction that the thread is at.
#define SYNCHRONOUS                                                                                \
	(SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGILL) | SIGMASK(SIGTRAP) |                 \
	 SIGMASK(SIGFPE) | SIGMASK(SIGSYS))

#define QUEUED_MAX 65536u // some 10 MiB

struct sigqueued {
	struct list node;
	struct siginfo info;
};

static u32 queued_in_all; // real-time signals, in all queues [atomic]

bool signal_default_is_ignore(int sig)
{
	return DEFAULT_IGNORED & SIGMASK(sig);
}

bool signal_default_is_stop(int sig)
{
	return DEFAULT_STOPS & SIGMASK(sig);
}

// ---- Pending sets -------------------------------------------------------------------------------

void sigpending_init(struct sigpending *p)
{
	p->set = 0;
	p->queued = 0;
	list_init(&p->queue);
}

static void free_queued(struct sigpending *p, struct sigqueued *q)
{
	if (q->info.signo >= SIGRTMIN) {
		p->queued--;
		__atomic_fetch_sub(&queued_in_all, 1, __ATOMIC_RELAXED);
	}
	kfree(q);
}

void sigpending_flush(struct sigpending *p)
{
	struct list *n;

	while ((n = list_pop(&p->queue)))
		free_queued(p, list_entry(n, struct sigqueued, node));
	p->set = 0;
}

// I5. NULL: not now.
static struct sigqueued *alloc_queued(struct sigpending *p, int sig, u64 limit)
{
	struct sigqueued *q;
	bool counts = sig >= SIGRTMIN;

	if (counts && (p->queued >= limit || READ_ONCE(queued_in_all) >= QUEUED_MAX))
		return NULL;
	q = kmalloc(sizeof(*q));
	if (q && counts) {
		p->queued++;
		__atomic_fetch_add(&queued_in_all, 1, __ATOMIC_RELAXED);
	}
	return q;
}

// -EAGAIN: it is a real-time signal whose details count, and has not been added (signal(7)).
static int pending_add(struct sigpending *p, const struct siginfo *info, u64 limit)
{
	struct sigqueued *q;

	if (info->signo < SIGRTMIN && (p->set & SIGMASK(info->signo))) // I3
		return 0;
	q = alloc_queued(p, info->signo, limit);
	if (q) {
		q->info = *info;
		list_add_tail(&p->queue, &q->node);
	} else if (info->signo >= SIGRTMIN && info->code <= 0 && info->code != SI_USER) {
		return -EAGAIN;
	}
	p->set |= SIGMASK(info->signo);
	return 0;
}

static void pending_drop(struct sigpending *p, sigset_t which)
{
	struct sigqueued *q, *tmp;

	list_for_each_safe(q, tmp, &p->queue, node) {
		if (!(which & SIGMASK(q->info.signo)))
			continue;
		list_del(&q->node);
		free_queued(p, q);
	}
	p->set &= ~which;
}

// Take one signal of `which`; 0: none.
static int pending_take(struct sigpending *p, sigset_t which, struct siginfo *info)
{
	sigset_t ready = p->set & which;
	struct sigqueued *q, *tmp, *found = NULL;
	bool more = false;
	int sig;

	if (!ready)
		return 0;
	if (ready & SIGMASK(SIGKILL)) // no handler runs any more
		ready = SIGMASK(SIGKILL);
	else if (ready & SYNCHRONOUS)
		ready &= SYNCHRONOUS;
	sig = __builtin_ctzll(ready) + 1;
	list_for_each_safe(q, tmp, &p->queue, node) {
		if (q->info.signo != sig)
			continue;
		if (found) {
			more = true;
			break;
		}
		found = q;
	}
	*info = (struct siginfo){ .signo = sig, .code = SI_USER };
	if (found) {
		*info = found->info;
		list_del(&found->node);
		free_queued(p, found);
	}
	if (!more)
		p->set &= ~SIGMASK(sig);
	return sig;
}

// ---- Whose attention ----------------------------------------------------------------------------

// I1. sig_lock held, in this section everywhere. Only for the current thread: others are not told
// less than they have been.
static void recompute(struct process *p, struct thread *t)
{
	sigset_t ready = (p->pending.set | t->user->pending.set) & ~t->user->blocked;

	WRITE_ONCE(t->signal_pending, ready != 0 || p->stopped);
}

static void look(struct thread *t)
{
	WRITE_ONCE(t->signal_pending, 1);
	thread_interrupt(t); // I2
}

// Would `t`, which does not block `sig`, end the process by it? Not if it waits for the signal to
// take it (sigtimedwait), nor before a stopped process goes on.
static bool is_fatal(const struct process *p, const struct thread *t, int sig)
{
	return p->actions[sig - 1].handler == SIG_DFL && !signal_default_is_ignore(sig) &&
	       !signal_default_is_stop(sig) && !(t->user->awaited & SIGMASK(sig)) && !p->stopped;
}

// Some thread takes `sig`, which is pending for the process. One that is about to look anyway will
// find it. What ends the process ends it now: until that thread looks, others could go on for long,
// and fork children that a signal to their group has missed.
static void tell_one(struct process *p, int sig)
{
	struct thread *t;

	list_for_each(t, &p->threads, proc_node) {
		if (t->user->ending || (t->user->blocked & SIGMASK(sig)))
			continue;
		if (is_fatal(p, t, sig)) {
			process_exit_locked(p, WAIT_KILLED(sig));
			return;
		}
		if (READ_ONCE(t->signal_pending))
			continue;
		look(t);
		return;
	}
}

// `from` will not take what is pending for the process in `set`: others may have to.
static void pass_on(struct process *p, const struct thread *from, sigset_t set)
{
	struct thread *t;

	set &= p->pending.set;
	list_for_each(t, &p->threads, proc_node) {
		if (!set)
			return;
		if (t == from || t->user->ending || !(set & ~t->user->blocked))
			continue;
		look(t);
		set &= t->user->blocked;
	}
}

void signal_kill_threads_locked(struct process *p, const struct thread *except)
{
	struct thread *t;

	list_for_each(t, &p->threads, proc_node) {
		if (t == except)
			continue;
		t->user->pending.set |= SIGMASK(SIGKILL);
		WRITE_ONCE(t->killed, true);
		look(t);
	}
}

void signal_thread_ends_locked(struct thread *t)
{
	t->user->ending = true;
	pass_on(t->proc, t, ~t->user->blocked);
}

// ---- Sending ------------------------------------------------------------------------------------

// Would the signal do nothing at all? A blocked one is kept: the action may have changed by the
// time it is unblocked. Process 1 gets only what it has a handler for.
static bool is_dropped(struct process *p, struct thread *t, int sig)
{
	u64 handler = p->actions[sig - 1].handler;

	if (t && (t->user->blocked & SIGMASK(sig)))
		return false;
	if (handler == SIG_DFL)
		return p->pid == NUMBER_INIT || signal_default_is_ignore(sig);
	return handler == SIG_IGN;
}

static struct thread *oldest_thread(struct process *p)
{
	return list_empty(&p->threads) ? NULL
				       : list_entry(p->threads.next, struct thread, proc_node);
}

// What happens at once, even if the signal is blocked or ignored: SIGCONT continues, SIGCONT and
// the stop signals cancel each other (signal(7)).
static void send_effects(struct process *p, int sig)
{
	struct thread *t;
	sigset_t drop = 0;

	if (sig == SIGCONT)
		drop = DEFAULT_STOPS;
	else if (DEFAULT_STOPS & SIGMASK(sig))
		drop = SIGMASK(SIGCONT);
	if (drop) {
		pending_drop(&p->pending, drop);
		list_for_each(t, &p->threads, proc_node)
			pending_drop(&t->user->pending, drop);
	}
	if (sig == SIGCONT && p->stopped) {
		p->cont_news = !p->stop_sig; // the parent knows of the stop
		p->stopped = false;
		p->stop_sig = 0;
		wait_wake_all(&p->cont_wait);
	}
}

static u64 queue_limit(const struct process *p)
{
	return READ_ONCE(p->rlimits[RLIMIT_SIGPENDING].cur);
}

int signal_send(struct process *p, const struct siginfo *info)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct thread *t = oldest_thread(p);
	int err = 0;

	if (t)
		send_effects(p, info->signo);
	if (t && !is_dropped(p, t, info->signo)) {
		if (info->signo == SIGKILL) {
			process_exit_locked(p, WAIT_KILLED(SIGKILL));
		} else {
			err = pending_add(&p->pending, info, queue_limit(p));
			if (!err)
				tell_one(p, info->signo);
		}
	}
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return err;
}

static void tell(struct process *p, struct thread *t, int sig)
{
	if (is_fatal(p, t, sig))
		process_exit_locked(p, WAIT_KILLED(sig));
	else
		look(t);
}

int signal_send_thread(struct thread *t, const struct siginfo *info)
{
	struct process *p = t->proc;
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	int err = 0;

	send_effects(p, info->signo);
	if (!is_dropped(p, t, info->signo)) {
		if (info->signo == SIGKILL) {
			process_exit_locked(p, WAIT_KILLED(SIGKILL));
		} else {
			err = pending_add(&t->user->pending, info, queue_limit(p));
			if (!err && !(t->user->blocked & SIGMASK(info->signo)))
				tell(p, t, info->signo);
		}
	}
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return err;
}

void signal_send_group_locked(u32 sid, u32 pgid, const struct siginfo *info)
{
	struct process *p;

	process_for_each(p) {
		if (p->pgid != pgid || p->sid != sid || p->state != PROCESS_ALIVE)
			continue;
		p->group_signals++;
		(void)signal_send(p, info);
	}
}

void signal_send_group(u32 sid, u32 pgid, const struct siginfo *info)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	signal_send_group_locked(sid, pgid, info);
	spin_unlock_irqrestore(&proc_lock, flags);
}

void signal_raise(int sig)
{
	struct siginfo info = { .signo = sig, .code = SI_KERNEL };

	(void)signal_send_thread(thread_current(), &info);
}

void signal_force(int sig, int code, u64 addr)
{
	struct thread *t = thread_current();
	struct process *p = t->proc;
	struct siginfo info = { .signo = sig, .code = code, .addr = addr };
	struct sigaction *act = &p->actions[sig - 1];
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	if (sig == SIGBUS && code == BUS_MCEERR_AR)
		info.addr_lsb = PAGE_SHIFT;
	// Blocked or ignored, the instruction would fault again at once, for ever.
	if ((t->user->blocked & SIGMASK(sig)) || act->handler == SIG_IGN) {
		act->handler = SIG_DFL;
		t->user->blocked &= ~SIGMASK(sig);
	}
	pending_drop(&t->user->pending, SIGMASK(sig));
	(void)pending_add(&t->user->pending, &info, 0); // not a real-time signal
	recompute(p, t);
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

// ---- Masks and actions of the caller ------------------------------------------------------------

bool signal_pending(void)
{
	return READ_ONCE(thread_current()->signal_pending);
}

bool signal_is_killed(void)
{
	const struct thread *t = thread_current();

	return READ_ONCE(t->user->pending.set) & SIGMASK(SIGKILL);
}

sigset_t signal_set_mask_locked(struct thread *t, sigset_t set)
{
	sigset_t old = t->user->blocked;

	t->user->blocked = set & ~UNBLOCKABLE;
	pass_on(t->proc, t, t->user->blocked & ~old);
	recompute(t->proc, t);
	return old;
}

sigset_t signal_set_mask(sigset_t set)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	sigset_t old = signal_set_mask_locked(t, set);

	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return old;
}

void signal_set_temporary_mask(sigset_t set)
{
	struct uthread *u = thread_current()->user;
	sigset_t old = signal_set_mask(set);

	if (!u->restore_mask)
		u->saved_mask = old;
	u->restore_mask = true;
}

int signal_action(int sig, const struct sigaction *new, struct sigaction *old)
{
	struct process *p = process_current();
	struct thread *t;
	u64 flags;

	if (sig < 1 || sig > SIG_COUNT || (new && (UNBLOCKABLE & SIGMASK(sig))))
		return -EINVAL;
	flags = spin_lock_irqsave(&p->sig_lock);
	if (old)
		*old = p->actions[sig - 1];
	if (new) {
		p->actions[sig - 1] = *new;
		p->actions[sig - 1].mask &= ~UNBLOCKABLE;
		// POSIX: what is pending and now ignored is dropped, blocked or not.
		if (new->handler == SIG_IGN ||
		    (new->handler == SIG_DFL &&signal_default_is_ignore(sig))) {
			pending_drop(&p->pending, SIGMASK(sig));
			list_for_each(t, &p->threads, proc_node)
				pending_drop(&t->user->pending, SIGMASK(sig));
		}
	}
	recompute(p, thread_current());
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return 0;
}

sigset_t signal_blocked_pending(void)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	sigset_t set = (t->proc->pending.set | t->user->pending.set) & t->user->blocked;

	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return set;
}

static int take_locked(struct thread *t, sigset_t set, struct siginfo *out)
{
	int sig = pending_take(&t->user->pending, set, out);

	if (!sig)
		sig = pending_take(&t->proc->pending, set, out);
	recompute(t->proc, t);
	return sig;
}

int signal_take(sigset_t set, struct siginfo *out)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	int sig = take_locked(t, set & ~UNBLOCKABLE, out);

	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return sig;
}

// stop.c, I1 and I2.
static void stop_threads(struct process *p, int sig)
{
	struct thread *t;

	if (p->exiting || p->survivor)
		return;
	p->stopped = true;
	p->cont_news = false;
	p->stop_sig = sig;
	list_for_each(t, &p->threads, proc_node)
		look(t);
}

int signal_dequeue(struct siginfo *info, struct sigaction *act)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	int sig = take_locked(t, ~t->user->blocked, info);

	if (sig) {
		struct sigaction *a = &t->proc->actions[sig - 1];

		*act = *a;
		if (a->handler > SIG_IGN && (a->flags & SA_RESETHAND))
			a->handler = SIG_DFL;
		if (act->handler == SIG_DFL && signal_default_is_stop(sig))
			stop_threads(t->proc, sig);
	}
	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return sig;
}

void signal_exec(void)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);

	for (int i = 0; i < SIG_COUNT; i++) {
		struct sigaction *a = &t->proc->actions[i];

		*a = (struct sigaction){ .handler = a->handler == SIG_IGN ? SIG_IGN : SIG_DFL };
	}
	t->user->alt_sp = t->user->alt_bytes = 0;
	t->user->alt_flags = SS_DISABLE;
	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
}

void signal_fork(struct process *child)
{
	struct process *p = process_current();
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	for (int i = 0; i < SIG_COUNT; i++)
		child->actions[i] = p->actions[i];
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

void signal_clone(struct uthread *user, bool alt_stack)
{
	const struct uthread *me = thread_current()->user;

	user->blocked = me->blocked; // which nobody but us changes
	if (!alt_stack)
		return;
	user->alt_sp = me->alt_sp;
	user->alt_bytes = me->alt_bytes;
	user->alt_flags = me->alt_flags;
}

static void keyboard_signal(u32 session, u32 pgrp, int sig)
{
	struct siginfo info = { .signo = sig, .code = SI_KERNEL };

	signal_send_group(session, pgrp, &info);
}

static void broken_pipe(void)
{
	if (thread_current()->proc)
		signal_raise(SIGPIPE);
}

static void file_size_signal(void)
{
	if (thread_current()->proc)
		signal_raise(SIGXFSZ);
}

void signal_init(void)
{
	tty_set_signal(keyboard_signal);
	pipe_set_signal(broken_pipe);
	file_set_signal(file_size_signal);
	sigdeliver_init();
}
