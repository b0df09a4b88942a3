// SPDX-License-Identifier: MIT
//
// What: ITIMER_REAL and alarm(2): one timer per process that sends SIGALRM.
//
// Invariants:
//   I1  An ending process disarms its timer before it becomes a zombie, so the timer's function
//       finds the process alive.
// Locking: itimer_lock, a mutex: the timer is cancelled under it, and cancelling waits for the
// function, which takes sig_lock.
#include "kernel/proc/process.h"

#include "kernel/x86/time.h"

static void expired(struct timer *timer)
{
	struct process *p = container_of(timer, struct process, itimer);
	struct siginfo info = { .signo = SIGALRM, .code = SI_KERNEL };
	u64 interval_ns = READ_ONCE(p->itimer_interval_ns);

	// Again before the signal: the handler may ask how much is left. Periods that went by
	// unnoticed are one signal, as with any pending signal.
	if (interval_ns)
		timer_start(timer, max(timer->deadline_ns + interval_ns, time_now_ns() + 1));
	(void)signal_send(p, &info);
}

void process_itimer_init(struct process *p)
{
	mutex_init(&p->itimer_lock, RANK_ITIMER);
	timer_init(&p->itimer, expired);
}

void process_itimer(const struct itimer_ns *new, struct itimer_ns *old)
{
	struct process *p = process_current();
	u64 now_ns, deadline_ns;

	mutex_lock(&p->itimer_lock);
	now_ns = time_now_ns();
	deadline_ns = p->itimer.deadline_ns;
	if (old) {
		bool armed = timer_armed(&p->itimer);

		old->interval_ns = p->itimer_interval_ns;
		// One nanosecond at least: zero would say that it is off.
		old->value_ns = !armed ? 0 : deadline_ns > now_ns ? deadline_ns - now_ns : 1;
	}
	if (new) {
		timer_cancel(&p->itimer);
		p->itimer_interval_ns = new->interval_ns;
		if (new->value_ns)
			timer_start(&p->itimer, now_ns + new->value_ns);
	}
	mutex_unlock(&p->itimer_lock);
}
