// SPDX-License-Identifier: MIT
//
// Tests of the process table, of signals that wait, and of the frame of a handler. The processes
// here have a thread that never runs; what needs programs is in tests/abi.
#include "kernel/proc/process.h"
#include "kernel/proc/sigframe.h"

#include "kernel/ktest.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/proc/exec_internal.h"
#include "kernel/x86/trap.h"

struct dummy {
	struct process *p;
	struct thread *t;
};

static bool dummy_make(struct dummy *d, struct process *parent)
{
	static const struct trapframe empty;

	d->p = process_alloc();
	d->t = thread_create_user("dummy", &empty);
	if (!EXPECT(d->p && d->t))
		return false;
	d->t->user = uthread_create(d->t);
	process_link(d->p, parent, d->t);
	return EXPECT(d->t->user);
}

static void dummy_detach(struct dummy *d)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	spin_lock(&d->p->sig_lock);
	process_unlink_thread_locked(d->p, d->t);
	spin_unlock(&d->p->sig_lock);
	spin_unlock_irqrestore(&proc_lock, flags);
	uthread_free(d->t->user);
	thread_destroy(d->t);
}

static void dummy_free(struct dummy *d)
{
	u64 flags;

	dummy_detach(d);
	flags = spin_lock_irqsave(&proc_lock);
	process_unlink_locked(d->p);
	spin_unlock_irqrestore(&proc_lock, flags);
	process_reaped(d->p);
}

KTEST(proc_table_finds_by_number)
{
	struct dummy a, b;
	struct process *p;
	unsigned before = process_count();

	if (!dummy_make(&a, NULL) || !dummy_make(&b, a.p))
		return;
	EXPECT(a.p->pid != b.p->pid);
	EXPECT_EQ(b.p->pgid, a.p->pgid); // inherited
	EXPECT_EQ(b.t->tid, b.p->pid);
	EXPECT_EQ(process_count(), before + 2);
	p = process_find(b.p->pid);
	EXPECT(p == b.p);
	process_put(p);
	p = process_next(a.p->pid + 1);
	EXPECT(p == b.p);
	process_put(p);
	EXPECT(!process_find(b.p->pid + 1));
	EXPECT(!process_find(0));
	dummy_free(&b);
	EXPECT(!process_find(a.p->pid + 1));
	dummy_free(&a);
	EXPECT_EQ(process_count(), before);
}

KTEST(proc_number_of_a_living_group_is_not_reused)
{
	struct dummy leader, member, other;
	u32 group;

	if (!dummy_make(&leader, NULL) || !dummy_make(&member, leader.p))
		return;
	group = leader.p->pid;
	dummy_free(&leader);
	member.p->parent = NULL;
	// Once round all numbers: the group's must be left out.
	for (unsigned i = 0; i < 40000; i++) {
		struct process *p = process_alloc();

		if (!EXPECT(p) || !EXPECT(p->pid != group))
			return;
		process_free_unlinked(p);
	}
	dummy_free(&member);
	if (dummy_make(&other, NULL))
		dummy_free(&other);
}

static void set_action(struct dummy *d, int sig, u64 handler)
{
	d->p->actions[sig - 1].handler = handler;
}

static void send(struct dummy *d, int sig, u64 value)
{
	struct siginfo info = { .signo = sig, .code = SI_QUEUE, .rt.value = value };

	(void)signal_send(d->p, &info);
}

KTEST(signal_pending_follows_mask_and_action)
{
	struct dummy init, d; // the first process is never killed by default: test another one

	if (!dummy_make(&init, NULL) || !dummy_make(&d, init.p))
		return;
	send(&d, SIGCHLD, 0); // ignored by default
	EXPECT_EQ(d.p->pending.set, 0);
	EXPECT_EQ(d.t->signal_pending, 0);
	send(&d, SIGTERM, 0);
	EXPECT_EQ(d.p->pending.set, SIGMASK(SIGTERM));
	EXPECT_EQ(d.t->signal_pending, 1);
	sigpending_flush(&d.p->pending);

	d.t->user->blocked = SIGMASK(SIGUSR1);
	d.t->signal_pending = 0;
	set_action(&d, SIGUSR1, SIG_IGN);
	send(&d, SIGUSR1, 0); // blocked: kept, the action may change
	EXPECT_EQ(d.p->pending.set, SIGMASK(SIGUSR1));
	EXPECT_EQ(d.t->signal_pending, 0);
	sigpending_flush(&d.p->pending);
	dummy_free(&d);
	dummy_free(&init);
}

KTEST(signal_stop_and_continue_cancel_each_other)
{
	struct dummy init, d;

	if (!dummy_make(&init, NULL) || !dummy_make(&d, init.p))
		return;
	set_action(&d, SIGCONT, 0x1000);
	send(&d, SIGTSTP, 0);
	EXPECT_EQ(d.p->pending.set, SIGMASK(SIGTSTP));
	send(&d, SIGCONT, 0);
	EXPECT_EQ(d.p->pending.set, SIGMASK(SIGCONT));
	d.p->stopped = true;
	send(&d, SIGSTOP, 0);
	EXPECT_EQ(d.p->pending.set, SIGMASK(SIGSTOP));
	EXPECT(d.p->stopped);
	send(&d, SIGCONT, 0);
	EXPECT(!d.p->stopped);
	d.p->stopped = true;
	send(&d, SIGKILL, 0);
	EXPECT(!d.p->stopped);
	dummy_free(&d); // with signals pending: their details must not leak
	dummy_free(&init);
}

KTEST(signal_realtime_queues_standard_merges)
{
	struct dummy init, d;
	unsigned n = 0;
	struct sigpending *q;

	if (!dummy_make(&init, NULL) || !dummy_make(&d, init.p))
		return;
	q = &d.p->pending;
	for (u64 i = 0; i < 3; i++) {
		send(&d, SIGRTMIN + 1, i);
		send(&d, SIGUSR2, i);
	}
	for (const struct list *l = q->queue.next; l != &q->queue; l = l->next)
		n++;
	EXPECT_EQ(n, 4); // three and one
	EXPECT_EQ(q->set, SIGMASK(SIGRTMIN + 1) | SIGMASK(SIGUSR2));
	dummy_free(&d);
	dummy_free(&init);
}

KTEST(sigframe_is_aligned_as_the_abi_wants)
{
	for (u64 sp = 0x7ffffffff000; sp > 0x7ffffffff000 - 200; sp--) {
		u64 fpu, frame = sigframe_place(sp, &fpu);

		EXPECT_EQ(fpu % 64, 0);
		EXPECT_EQ((frame + 8) % 16, 0);
		EXPECT(frame + sizeof(struct sigframe) <= fpu);
		EXPECT(fpu + (cpu_features.xsave ? SIGFPU_BYTES : sizeof(struct fxsave)) <= sp);
	}
}

// FXRSTOR and XRSTOR fault on reserved bits of MXCSR and of XSAVE's header: a frame that has them
// must not get there.
KTEST(fpu_state_of_a_user_is_checked)
{
	struct fpu_state own, s;

	memset(&own, 0, sizeof(own));
	fpu_save(&own);
	EXPECT_EQ(fpu_check(&own), 0);
	s = own;
	s.legacy.mxcsr = 0xffffffff;
	EXPECT_EQ(fpu_check(&s), -EINVAL);
	s = own;
	s.in_use = BIT(63);
	EXPECT_EQ(fpu_check(&s), -EINVAL);
	s = own;
	s.compaction = BIT(63);
	EXPECT_EQ(fpu_check(&s), -EINVAL);
	s = own;
	s.reserved[5] = 1;
	EXPECT_EQ(fpu_check(&s), -EINVAL);
}

static char long_string[EXEC_STRING_MAX + 2];

KTEST(exec_args_collect_and_prepend)
{
	const char *argv[] = { "prog", "", "two words", NULL }, *envp[] = { "A=1", NULL };
	const char *more[] = { "/bin/sh", "-e", "/tmp/script" };
	struct exec_strings s = { .argv = (u64)argv, .envp = (u64)envp };
	struct exec_args a;

	if (EXPECT_EQ(exec_args_collect(&a, &s), 0)) {
		EXPECT_EQ(a.argc, 3);
		EXPECT_EQ(a.envc, 1);
		EXPECT(!memcmp(a.buf, "prog\0\0two words\0A=1", a.used));
		EXPECT_EQ(exec_args_prepend(&a, more, 3), 0);
		EXPECT_EQ(a.argc, 5);
		EXPECT(!memcmp(a.buf, "/bin/sh\0-e\0/tmp/script\0\0two words\0A=1", a.used));
		EXPECT(!strcmp(a.buf + a.env_off, "A=1"));
	}
	exec_args_free(&a);

	// No argv at all: argv[0] is "" all the same.
	EXPECT_EQ(exec_args_collect(&a, &(struct exec_strings){ 0 }), 0);
	EXPECT_EQ(a.argc, 1);
	EXPECT_EQ(a.env_off, 1);
	exec_args_free(&a);

	memset(long_string, 'x', sizeof(long_string) - 1);
	argv[1] = long_string;
	EXPECT_EQ(exec_args_collect(&a, &s), -E2BIG);
	exec_args_free(&a);
}
