// SPDX-License-Identifier: MIT
//
// What: the end of a process: resources first, then the change to a zombie and the news to the
// parent.
// Not here: collecting zombies (kernel/proc/wait.c).
//
// Invariants:
//   I1  Whatever may sleep happens before the change to ZOMBIE. From then on the parent may reap
//       the process at any moment, so the ending thread has already let go of it.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/proc/session.h"
#include "mm/aspace.h"
#include "mm/uaccess.h"

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
		signal_send(parent, &info);
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
		signal_send(parent, &info);
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

			signal_send(init, &info);
		}
	}
	wait_wake_all(&init->child_wait);
}

static void release_memory(struct thread *t)
{
	static const u32 zero;
	// Whoever waits for it looks at the word; a bad address is the program's own affair.
	if (t->user->clear_child_tid.va &&
	    copy_to_user(t->user->clear_child_tid, &zero, sizeof(zero)))
		log_debug("process %u: no memory at clear_child_tid", t->tid);
	aspace_put(process_swap_aspace(NULL));
}

static void become_zombie(struct thread *t, int wait_status)
{
	struct process *p = t->proc;
	struct usage own = thread_usage(t);
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool gone;

	p->state = PROCESS_ZOMBIE;
	give_children_to_init(p);
	spin_lock(&p->sig_lock);
	list_del(&t->proc_node);
	p->nr_threads--;
	t->proc = NULL;
	WRITE_ONCE(t->signal_pending, 0);
	spin_unlock(&p->sig_lock);
	usage_add(&p->final, &own);
	p->wait_status = wait_status;
	session_link_lost(p, p->parent);
	gone = notify_parent(p);
	spin_unlock_irqrestore(&proc_lock, flags); // I1: `p` may be freed from here on
	if (gone)
		process_reaped(p);
}

void process_exit(int wait_status)
{
	struct thread *t = thread_current();
	struct process *p = t->proc;
	struct uthread *user = t->user;

	if (p->pid == 1) {
		log_warn("init ended with status %#x: shutting down", wait_status);
		system_shutdown(SHUTDOWN_POWEROFF);
	}
	process_itimer(&(struct itimer_ns){ 0 }, NULL);
	release_memory(t);
	process_vfork_release(p);
	session_leader_exits(p);
	process_set_exe(NULL);
	fs_context_free(process_swap_fs(NULL));
	become_zombie(t, wait_status);
	t->user = NULL;
	uthread_free(user);
	thread_exit();
}
