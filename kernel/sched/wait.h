// SPDX-License-Identifier: MIT
//
// Wait queues: sleep until a condition holds.
//
//      waiter                                   waker
//      wait_event(&q, cond)                     make cond true
//      loop: enqueue; if (cond) leave; sleep    wait_wake_all(&q)
//
// The waiter is on the queue before it looks at the condition, so a wake between look and sleep is
// not lost.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/sched/lock.h"

struct thread;

struct wait_queue {
	struct spinlock lock; // RANK_WAITQ, irq
	struct list waiters;  // [lock]
};

struct wait_entry {
	struct list node;
	struct thread *thread;
	bool exclusive; // woken one at a time by wait_wake_one, e.g. a writer
};

void wait_queue_init(struct wait_queue *q);
void wait_wake_one(struct wait_queue *q); // any context
void wait_wake_all(struct wait_queue *q); // any context

// The pieces of wait_event. prepare puts the thread on the queue and marks it sleeping; block gives
// up the CPU unless it was woken since; returns 0, -EINTR (interruptible and a signal is pending)
// or -ETIMEDOUT (deadline_ns, absolute; 0 = none).
void wait_prepare(struct wait_queue *q, struct wait_entry *e, bool interruptible);
int wait_block(struct wait_queue *q, struct wait_entry *e, u64 deadline_ns) __must_check;
void wait_finish(struct wait_queue *q, struct wait_entry *e);

#define wait_event_common(q, cond, intr, deadline)                                                 \
	({                                                                                         \
		struct wait_entry we_;                                                             \
		int we_ret_ = 0;                                                                   \
		for (;;) {                                                                         \
			wait_prepare((q), &we_, (intr));                                           \
			if (cond) {                                                                \
				we_ret_ = 0;                                                       \
				break;                                                             \
			}                                                                          \
			if (we_ret_)                                                               \
				break;                                                             \
			we_ret_ = wait_block((q), &we_, (deadline));                               \
		}                                                                                  \
		wait_finish((q), &we_);                                                            \
		we_ret_;                                                                           \
	})

// Sleep until cond; never interrupted.
#define wait_event(q, cond) ((void)wait_event_common(q, cond, false, 0))
// 0 when cond holds, -EINTR when a signal came first.
#define wait_event_interruptible(q, cond) wait_event_common(q, cond, true, 0)
// Also -ETIMEDOUT at the absolute time deadline_ns (time_now_ns() scale).
#define wait_event_timeout(q, cond, deadline_ns) wait_event_common(q, cond, true, deadline_ns)
