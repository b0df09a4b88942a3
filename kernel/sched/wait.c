// SPDX-License-Identifier: MIT
//
// What: wait queues (contract and use in kernel/sched/wait.h).
//
// Invariants:
//   I1  A waker takes an entry off the queue before it wakes the thread, all under the queue's
//       lock. A waiter whose entry is gone was woken, whatever else happened to it at the same
//       time: it reports 0 and looks at its condition, so that a wake_one is never swallowed by a
//       signal.
//   I2  A waiter leaves its wait only after it has held the queue's lock: nobody touches its entry
//       or wakes it for this queue any more.
// Locking: the queue's lock (RANK_WAITQ, interrupts off), then run queue and timer locks.
#include "kernel/sched/wait.h"

#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/sched/sched_internal.h"
#include "kernel/sched/timer.h"
#include "kernel/x86/time.h"

struct wait_timer {
	struct timer timer;
	struct thread *thread;
};

void wait_queue_init(struct wait_queue *q)
{
	spin_init(&q->lock, RANK_WAITQ);
	list_init(&q->waiters);
}

static void wake(struct wait_queue *q, bool all)
{
	u64 flags = spin_lock_irqsave(&q->lock);

	while (!list_empty(&q->waiters)) {
		struct wait_entry *e = list_entry(q->waiters.next, struct wait_entry, node);

		list_del(&e->node); // I1
		sched_wake(e->thread);
		if (!all)
			break;
	}
	spin_unlock_irqrestore(&q->lock, flags);
}

void wait_wake_one(struct wait_queue *q)
{
	wake(q, false);
}

void wait_wake_all(struct wait_queue *q)
{
	wake(q, true);
}

void wait_prepare(struct wait_queue *q, struct wait_entry *e, bool interruptible)
{
	u64 flags;

	*e = (struct wait_entry){ .thread = thread_current() };
	list_init(&e->node);
	flags = spin_lock_irqsave(&q->lock);
	list_add_tail(&q->waiters, &e->node);
	sched_prepare_sleep(interruptible);
	spin_unlock_irqrestore(&q->lock, flags);
}

static void deadline_passed(struct timer *timer)
{
	sched_wake(container_of(timer, struct wait_timer, timer)->thread);
}

int wait_block(struct wait_queue *q, struct wait_entry *e, u64 deadline_ns)
{
	struct thread *t = e->thread;
	struct wait_timer wt = { .thread = t };
	bool interruptible = t->interruptible;
	bool woken;
	u64 flags;

	if (deadline_ns) {
		timer_init(&wt.timer, deadline_passed);
		timer_start(&wt.timer, deadline_ns);
	}
	sched_block();
	if (deadline_ns)
		timer_cancel(&wt.timer);

	flags = spin_lock_irqsave(&q->lock); // I2
	woken = list_empty(&e->node);
	list_del(&e->node);
	spin_unlock_irqrestore(&q->lock, flags);
	if (woken)
		return 0;
	if (interruptible && READ_ONCE(t->signal_pending))
		return -EINTR;
	if (deadline_ns && time_now_ns() >= deadline_ns)
		return -ETIMEDOUT;
	return 0;
}

void wait_finish(struct wait_queue *q, struct wait_entry *e)
{
	u64 flags = spin_lock_irqsave(&q->lock);

	list_del(&e->node);
	sched_cancel_sleep();
	spin_unlock_irqrestore(&q->lock, flags);
}
