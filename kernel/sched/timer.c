// SPDX-License-Identifier: MIT
//
// What: one sorted list of armed timers per CPU, looked at in each tick of that CPU.
// Not here: sleeping (kernel/sched/thread.c, wait.c), the tick itself (kernel/x86/time.c).
//
// Invariants:
//   I1  A list is sorted by deadline, earliest first.
//   I2  `running` names the timer whose function runs at this moment; the function is called with
//       no lock held, so that it may take any lock that suits an interrupt handler.
// Locking: timer lock of a CPU, RANK_TIMER, interrupts off.
#include "kernel/sched/timer.h"

#include "kernel/sched/sched_internal.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"

static struct timer_cpu {
	struct spinlock lock;
	struct list armed;     // [lock]
	struct timer *running; // [lock] for writing
} __cacheline timer_cpu[CPU_MAX];

void timer_init_cpu(void)
{
	struct timer_cpu *tc = &timer_cpu[this_cpu()->index];

	spin_init(&tc->lock, RANK_TIMER);
	list_init(&tc->armed);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){ .fn = fn };
	list_init(&t->node);
}

void timer_start(struct timer *t, u64 deadline_ns)
{
	struct timer_cpu *tc;
	struct timer *at;
	u64 flags = asm_irq_save();

	tc = &timer_cpu[this_cpu()->index];
	spin_lock(&tc->lock);
	t->cpu = (u16)this_cpu()->index;
	t->deadline_ns = deadline_ns;
	list_for_each(at, &tc->armed, node)
		if (at->deadline_ns > deadline_ns)
			break;
	list_add_tail(&at->node, &t->node);
	spin_unlock(&tc->lock);
	asm_irq_restore(flags);
}

bool timer_cancel(struct timer *t)
{
	struct timer_cpu *tc = &timer_cpu[t->cpu];
	bool armed = false;

	for (;;) {
		u64 flags = spin_lock_irqsave(&tc->lock);
		bool running = tc->running == t;

		armed |= !list_empty(&t->node);
		list_del(&t->node);
		spin_unlock_irqrestore(&tc->lock, flags);
		// A function that is running may arm its timer again: look once more when it is
		// done.
		if (!running)
			return armed;
		asm_pause();
	}
}

bool timer_armed(const struct timer *t)
{
	return !list_empty(&t->node);
}

void timer_run(void)
{
	struct timer_cpu *tc = &timer_cpu[this_cpu()->index];
	u64 now_ns = time_now_ns();

	spin_lock(&tc->lock);
	while (!list_empty(&tc->armed)) {
		struct timer *t = list_entry(tc->armed.next, struct timer, node);

		if (t->deadline_ns > now_ns)
			break;
		list_del(&t->node);
		tc->running = t;
		spin_unlock(&tc->lock);
		t->fn(t);
		spin_lock(&tc->lock);
		tc->running = NULL;
	}
	spin_unlock(&tc->lock);
}
