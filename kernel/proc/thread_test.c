// SPDX-License-Identifier: MIT
//
// Tests of processes with several threads, none of which ever runs: numbers, and who is told of a
// signal. What needs programs is in tests/abi.
#include "kernel/proc/process.h"

#include "kernel/ktest.h"
#include "kernel/lib/errno.h"
#include "kernel/x86/trap.h"

#define THREADS 3

static struct process *init, *p; // the first process is never killed by default: test another one
static struct thread *t[THREADS], *init_thread;

static struct thread *make_thread(void)
{
	static const struct trapframe empty;
	struct thread *made = thread_create_user("dummy", &empty);

	if (!EXPECT(made))
		return NULL;
	made->user = uthread_create(made);
	return EXPECT(made->user) ? made : NULL;
}

// Links it as a thread that the process makes itself.
static int join(struct thread *made)
{
	struct thread *me = thread_current();
	struct process *before = me->proc;
	int err;

	made->tid = number_alloc();
	me->proc = p;
	err = process_link_thread(made);
	me->proc = before;
	return err;
}

static bool begin(void)
{
	init = process_alloc();
	p = process_alloc();
	init_thread = make_thread();
	for (unsigned i = 0; i < THREADS; i++)
		t[i] = make_thread();
	if (!EXPECT(init && p && init_thread && t[0] && t[1] && t[2]))
		return false;
	process_link(init, NULL, init_thread);
	process_link(p, init, t[0]);
	return EXPECT_EQ(join(t[1]), 0) && EXPECT_EQ(join(t[2]), 0);
}

static void drop(struct process *of, struct thread *dead)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	spin_lock(&of->sig_lock);
	process_unlink_thread_locked(of, dead);
	spin_unlock(&of->sig_lock);
	spin_unlock_irqrestore(&proc_lock, flags);
	uthread_free(dead->user);
	thread_destroy(dead);
}

static void drop_process(struct process *of)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	process_unlink_locked(of);
	spin_unlock_irqrestore(&proc_lock, flags);
	process_reaped(of);
}

static void end(void)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (t[i])
			drop(p, t[i]);
	drop(init, init_thread);
	drop_process(p);
	drop_process(init);
}

static void send(int sig)
{
	struct siginfo info = { .signo = sig, .code = SI_KERNEL };

	(void)signal_send(p, &info);
}

static unsigned told(void)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < THREADS; i++)
		mask |= t[i]->signal_pending ? 1u << i : 0;
	return mask;
}

// The thread begins to block `sig`, as signal_set_mask() does it for the current one.
static void block(struct thread *who, int sig)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	signal_set_mask_locked(who, who->user->blocked | SIGMASK(sig));
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

KTEST(number_is_free_when_its_last_user_lets_go)
{
	u32 a = number_alloc(), b = number_alloc();

	EXPECT(a && b && a != b);
	EXPECT(!number_take(a));
	number_get(a);
	number_put(a);
	EXPECT(!number_take(a));
	number_put(a);
	EXPECT(number_take(a));
	number_put(a);
	number_put(b);
	// Once round and a little further.
	for (u32 i = 0; i < NUMBER_MAX + 10; i++) {
		u32 nr = number_alloc();

		if (!EXPECT(nr > NUMBER_INIT && nr < NUMBER_MAX))
			return;
		number_put(nr);
	}
}

KTEST(threads_are_found_by_number_and_so_is_their_process)
{
	u64 flags;

	if (!begin())
		return;
	flags = spin_lock_irqsave(&proc_lock);
	EXPECT_EQ(p->nr_threads, THREADS);
	EXPECT_EQ(t[0]->tid, p->pid);
	EXPECT(thread_find_locked(t[2]->tid) == t[2]);
	EXPECT(process_of_number_locked(t[2]->tid) == p);
	EXPECT(!process_find_locked(t[2]->tid));
	spin_unlock_irqrestore(&proc_lock, flags);

	// The leader leaves: its number stays the process's, and the last thread can take it.
	drop(p, t[0]);
	drop(p, t[1]);
	t[0] = t[1] = NULL;
	EXPECT(!number_take(p->pid));
	flags = spin_lock_irqsave(&proc_lock);
	spin_lock(&p->sig_lock);
	process_take_leader_number_locked(t[2]);
	spin_unlock(&p->sig_lock);
	EXPECT(thread_find_locked(p->pid) == t[2]);
	spin_unlock_irqrestore(&proc_lock, flags);
	end();
}

KTEST(signal_is_told_to_one_thread_and_passed_on)
{
	if (!begin())
		return;
	p->actions[SIGTERM - 1].handler = p->actions[SIGUSR1 - 1].handler =
		p->actions[SIGUSR2 - 1].handler = 0x1000;
	t[0]->user->blocked = SIGMASK(SIGTERM);
	send(SIGTERM);
	EXPECT_EQ(told(), 2); // the oldest that does not block it
	block(t[1], SIGTERM);
	EXPECT_EQ(told(), 4);
	block(t[2], SIGTERM);
	EXPECT_EQ(told(), 0); // nobody is left
	EXPECT_EQ(p->pending.set, SIGMASK(SIGTERM));
	send(SIGUSR1);
	EXPECT_EQ(told(), 1);
	send(SIGUSR2); // the first is about to look anyway
	EXPECT_EQ(told(), 3);
	end();
}

KTEST(signal_that_ends_the_process_ends_all_threads_at_once)
{
	if (!begin())
		return;
	for (unsigned i = 0; i < THREADS; i++)
		t[i]->user->blocked = SIGMASK(SIGTERM);
	send(SIGTERM);
	EXPECT(!p->exiting && told() == 0);
	t[1]->user->blocked = 0;
	t[1]->user->awaited = SIGMASK(SIGUSR1);
	t[0]->user->blocked |= SIGMASK(SIGUSR1);
	send(SIGUSR1);
	EXPECT(!p->exiting && told() == 2);
	send(SIGUSR2);
	EXPECT(p->exiting && told() == 7);
	EXPECT_EQ(p->exit_status, WAIT_KILLED(SIGUSR2));
	end();
}

KTEST(signal_kill_tells_every_thread_and_nobody_joins_later)
{
	struct thread *late;

	if (!begin())
		return;
	p->stopped = true;
	send(SIGKILL);
	EXPECT_EQ(told(), 7);
	EXPECT(p->exiting && !p->stopped);
	EXPECT_EQ(p->exit_status, WAIT_KILLED(SIGKILL));
	for (unsigned i = 0; i < THREADS; i++)
		EXPECT(t[i]->user->pending.set & SIGMASK(SIGKILL));
	late = make_thread();
	if (late) {
		EXPECT_EQ(join(late), -ERESTARTNOINTR);
		uthread_free(late->user);
		thread_destroy(late);
	}
	end();
}
