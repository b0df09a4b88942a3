// SPDX-License-Identifier: MIT
//
// What: sleeping on many objects at once (fs/poll.h).
// Not here: poll(2) and select(2) themselves (kernel/sys/sys_file_poll.c).
//
// Invariants:
//   I1  An entry is in its object's list from poll_wait to poll_table_finish; both change the list
//       under head->lock, so poll_wake never meets an entry of a poller that has gone.
//   I2  `triggered` is set before the poller is woken, and cleared by the poller before it looks at
//       the objects: a change after the look ends the sleep.
// Locking: head->lock (RANK_POLL, irq), then the wait queue's.
#include "fs/poll.h"

#include "kernel/lib/errno.h"
#include "mm/heap.h"

struct poll_entry {
	struct list node; // [head->lock]
	struct poll_head *head;
	struct poll_table *table;
	struct poll_entry *next; // of the same poller
};

void poll_head_init(struct poll_head *h)
{
	spin_init(&h->lock, RANK_POLL);
	list_init(&h->entries);
}

void poll_table_init(struct poll_table *pt)
{
	*pt = (struct poll_table){ 0 };
	wait_queue_init(&pt->wq);
}

void poll_wait(struct poll_head *h, struct poll_table *pt)
{
	struct poll_entry *e;
	u64 flags;

	if (!pt)
		return;
	e = kmalloc(sizeof(*e));
	if (!e) {
		pt->error = -ENOMEM;
		return;
	}
	*e = (struct poll_entry){ .head = h, .table = pt, .next = pt->entries };
	pt->entries = e;
	flags = spin_lock_irqsave(&h->lock);
	list_add_tail(&h->entries, &e->node);
	spin_unlock_irqrestore(&h->lock, flags);
}

void poll_wake(struct poll_head *h)
{
	struct poll_entry *e;
	u64 flags;

	// Pairs with the poller, which enters the list before it looks at the object: either it is
	// seen here, or it sees the change that led here.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (list_empty(&h->entries))
		return;
	flags = spin_lock_irqsave(&h->lock);
	list_for_each(e, &h->entries, node) {
		__atomic_store_n(&e->table->triggered, 1, __ATOMIC_RELEASE);
		wait_wake_all(&e->table->wq);
	}
	spin_unlock_irqrestore(&h->lock, flags);
}

int poll_sleep(struct poll_table *pt, u64 deadline_ns)
{
	int err = wait_event_timeout(&pt->wq, __atomic_load_n(&pt->triggered, __ATOMIC_ACQUIRE),
				     deadline_ns);

	__atomic_store_n(&pt->triggered, 0, __ATOMIC_SEQ_CST);
	return err;
}

void poll_table_finish(struct poll_table *pt)
{
	struct poll_entry *e;
	u64 flags;

	while ((e = pt->entries)) {
		pt->entries = e->next;
		flags = spin_lock_irqsave(&e->head->lock);
		list_del(&e->node);
		spin_unlock_irqrestore(&e->head->lock, flags);
		kfree(e);
	}
}
