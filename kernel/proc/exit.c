// SPDX-License-Identifier: MIT
//
// What: the end of threads and processes. A thread gives back its resources and leaves its process;
// when the last one has left, the process becomes a zombie, and its parent is told.
//
//      exit, or told to     LIVE -> ending -> left -> freed by the CPU that switches away
//      exit_group, SIGKILL  all threads of the process are told to
//      execve, shutdown     one thread, the survivor, tells all others to, and waits for it
//
// Not here: collecting zombies (kernel/proc/wait.c), words in user memory (robust.c).
//
// Invariants:
//   I1  Whatever may sleep happens before a thread leaves. Once the last one has left, the parent
//       may reap the process at any moment: the ending thread does not look at it any more.
//   I2  Who is told to end has SIGKILL among its own pending signals, so every interruptible sleep
//       ends. It is told under sig_lock, as are the threads that come later (process_link_thread).
//   I3  What belongs to the process as a whole (timer, session, program) is given back by the last
//       thread to begin its end. It leaves after that, so the process is no zombie before.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/proc/robust.h"
#include "kernel/proc/session.h"
#include "mm/aspace.h"

static struct siginfo child_info(const struct process *p, int signo, int code, int status)
{
	struct siginfo info = { .signo = signo, .code = code };

	info.chld.pid = (s32)p->pid;
	info.chld.uid = p->uid;
	info.chld.status = status;
	info.chld.utime = (s64)(p->final.utime_ns / 10000000);
	info.chld.stime = (s64)(p->final.stime_ns / 10000000);
	return info;
}

// How it ended, in the words of SIGCHLD.
static struct siginfo end_info(const struct process *p)
{
	int sig = p->wait_status & 0x7f;

	return child_info(p, p->exit_signal, sig ? CLD_KILLED : CLD_EXITED,
			  sig ? sig : p->wait_status >> 8);
}

void process_tell_parent(struct process *p, int code, int status)
{
	struct process *parent = p->parent;
	struct siginfo info = child_info(p, SIGCHLD, code, status);
	bool wants;

	if (!parent)
		return;
	spin_lock(&parent->sig_lock);
	wants = !(parent->actions[SIGCHLD - 1].flags & SA_NOCLDSTOP);
	spin_unlock(&parent->sig_lock);
	if (wants)
		(void)signal_send(parent, &info);
	wait_wake_all(&parent->child_wait);
}

// True if the parent does not want to hear of it: nobody will wait.
static bool parent_ignores(struct process *parent)
{
	const struct sigaction *act = &parent->actions[SIGCHLD - 1];
	bool ignores;

	spin_lock(&parent->sig_lock);
	ignores = act->handler == SIG_IGN || (act->flags & SA_NOCLDWAIT);
	spin_unlock(&parent->sig_lock);
	return ignores;
}

// proc_lock held. True if `p` was taken out of the tables: the caller has its reference.
static bool notify_parent(struct process *p)
{
	struct process *parent = p->parent;
	struct siginfo info = end_info(p);
	bool gone = p->exit_signal == SIGCHLD && parent_ignores(parent);

	if (p->exit_signal)
		(void)signal_send(parent, &info);
	if (gone)
		process_unlink_locked(p);
	wait_wake_all(&parent->child_wait);
	return gone;
}

// proc_lock held.
static void give_children_to_init(struct process *p)
{
	struct process *init = process_find_locked(1), *c, *tmp;

	list_for_each_safe(c, tmp, &p->children, sibling) {
		list_del(&c->sibling);
		list_add_tail(&init->children, &c->sibling);
		session_link_lost(c, p);
		c->parent = init;
		c->ppid = init->pid;
		c->exit_signal = SIGCHLD;
		if (c->state == PROCESS_ZOMBIE) {
			struct siginfo info = end_info(c);

			(void)signal_send(init, &info);
		}
	}
	wait_wake_all(&init->child_wait);
}

// ---- Telling threads to end ---------------------------------------------------------------------

void process_exit_locked(struct process *p, int wait_status)
{
	if (p->exiting)
		return;
	p->exiting = true;
	p->exit_status = wait_status;
	p->stopped = false;
	signal_kill_threads_locked(p, NULL); // I2
	wait_wake_all(&p->cont_wait);
	wait_wake_all(&p->threads_wait);
}

unsigned process_kill_other_threads(void)
{
	struct thread *me = thread_current();
	struct process *p = me->proc;
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	unsigned others = p->nr_threads - 1;

	if (!p->exiting && !p->survivor && others) {
		p->survivor = me;
		p->stopped = false;
		signal_kill_threads_locked(p, me); // I2
		wait_wake_all(&p->cont_wait);
	}
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return others;
}

int process_end_other_threads(void)
{
	struct thread *me = thread_current();
	struct process *p = me->proc;
	u64 flags;
	int err = 0;

	if (READ_ONCE(p->nr_threads) == 1 && me->tid == p->pid)
		return 0; // nobody else could make another one
	process_kill_other_threads();
	if (READ_ONCE(p->survivor) != me && READ_ONCE(p->nr_threads) > 1)
		return -EAGAIN; // another thread was faster: this one is to end
	wait_event(&p->threads_wait, READ_ONCE(p->nr_threads) == 1 || READ_ONCE(p->exiting));
	flags = spin_lock_irqsave(&proc_lock);
	spin_lock(&p->sig_lock);
	p->survivor = NULL;
	if (p->exiting)
		err = -EAGAIN;
	else
		process_take_leader_number_locked(me);
	spin_unlock(&p->sig_lock);
	spin_unlock_irqrestore(&proc_lock, flags);
	return err;
}

// ---- Leaving ------------------------------------------------------------------------------------

// True if this was the last thread to do so.
static bool begin_end(struct thread *t, int wait_status)
{
	struct process *p = t->proc;
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool last;
	int stop;

	spin_lock(&p->sig_lock);
	signal_thread_ends_locked(t);
	last = --p->nr_live == 0;
	if (last && !p->exiting) {
		p->exiting = true;
		p->exit_status = wait_status;
	}
	stop = stop_complete_locked(p);
	spin_unlock(&p->sig_lock);
	if (stop)
		stop_tell(p, stop);
	spin_unlock_irqrestore(&proc_lock, flags);
	return last;
}

static void release_memory(void)
{
	thread_release_words();
	aspace_put(process_swap_aspace(NULL));
}

// proc_lock held. As notify_parent.
static bool become_zombie(struct process *p)
{
	p->state = PROCESS_ZOMBIE;
	give_children_to_init(p);
	p->wait_status = p->exit_status;
	session_link_lost(p, p->parent);
	return notify_parent(p);
}

static void leave(struct thread *t)
{
	struct process *p = t->proc;
	struct usage own = thread_usage(t);
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool gone = false;

	usage_add(&p->final, &own);
	spin_lock(&p->sig_lock);
	process_unlink_thread_locked(p, t);
	spin_unlock(&p->sig_lock);
	if (p->nr_threads == 0)
		gone = become_zombie(p);
	spin_unlock_irqrestore(&proc_lock, flags); // I1: `p` may be freed from here on
	if (gone)
		process_reaped(p);
}

void process_exit_thread(int wait_status)
{
	struct thread *t = thread_current();
	struct process *p = t->proc;
	struct uthread *user = t->user;
	bool last = begin_end(t, wait_status);

	if (last && p->pid == NUMBER_INIT) {
		log_warn("init ended with status %#x: shutting down", p->exit_status);
		system_shutdown(SHUTDOWN_POWEROFF);
	}
	release_memory();
	if (last) { // I3
		process_itimer(&(struct itimer_ns){ 0 }, NULL);
		process_vfork_release(p);
		session_leader_exits(p);
		process_set_exe(NULL);
	}
	fs_context_free(process_swap_fs(NULL));
	leave(t);
	t->user = NULL;
	uthread_free(user);
	thread_exit();
}

void process_exit(int wait_status)
{
	struct thread *me = thread_current();
	struct process *p = me->proc;
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	// Another thread's execve has ended this one alone.
	if (!p->survivor || p->survivor == me)
		process_exit_locked(p, wait_status);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	process_exit_thread(wait_status);
}
