// SPDX-License-Identifier: MIT
//
// poll(2), select(2): sleeping on many files at once.
//
//      file_ops.poll(f, pt):  poll_wait(&object->pollers, pt);  return ready events
//      the object changes:    poll_wake(&object->pollers)
//
// A poller hangs an entry into every object before it looks at the object's state, so a change
// between look and sleep is not lost. poll_wake() costs one load when nobody polls.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/sched/lock.h"
#include "kernel/sched/wait.h"

struct poll_head {
	struct spinlock lock; // RANK_POLL, irq
	struct list entries;  // of struct poll_entry [lock]
};

struct poll_entry;

struct poll_table {
	struct wait_queue wq;
	u32 triggered;              // an object changed since the last look [atomic]
	struct poll_entry *entries; // all of this poller
	int error;                  // -ENOMEM: some object is not watched
};

void poll_head_init(struct poll_head *h);
// Watch `h`. `pt` NULL: the caller only looks, does not sleep.
void poll_wait(struct poll_head *h, struct poll_table *pt);
void poll_wake(struct poll_head *h); // any context

void poll_table_init(struct poll_table *pt);
// Until an object changed: 0; -ETIMEDOUT at `deadline_ns` (0: none); -EINTR.
int poll_sleep(struct poll_table *pt, u64 deadline_ns) __must_check;
void poll_table_finish(struct poll_table *pt); // unhooks everything
