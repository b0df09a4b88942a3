// SPDX-License-Identifier: MIT
//
// Timers: call a function once, not before a given time. They fire at ticks, so up to 4 ms late.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/types.h"

struct timer {
	struct list node;            // [timer lock of `cpu`]
	u64 deadline_ns;             // time_now_ns() scale
	void (*fn)(struct timer *t); // in the tick's interrupt; may start the timer again
	u16 cpu;                     // whose list it is on
};

void timer_init(struct timer *t, void (*fn)(struct timer *t));

// Arm a timer that is not armed. Any context.
void timer_start(struct timer *t, u64 deadline_ns);

// Disarm; afterwards fn is not running and will not. True if it was armed. Not from fn itself, and
// no lock held that fn takes. Starting and cancelling are serialised by the owner.
bool timer_cancel(struct timer *t);

bool timer_armed(const struct timer *t);
