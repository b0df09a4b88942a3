// SPDX-License-Identifier: MIT
//
// What the files of kernel/sched share: the scheduler's own calls and the bookkeeping of lock
// ranks.
#pragma once

#include "kernel/sched/thread.h"

// Give up the CPU at a preemption point if need_resched is set. Interrupts on, count zero.
void sched_preempt(void);

// Mark the current thread as going to sleep. From here on sched_wake() finds it; it may still run
// on to look at its condition. Preemption does not put it to sleep: only sched_block() does.
void sched_prepare_sleep(bool interruptible);
// The condition holds after all: run on.
void sched_cancel_sleep(void);
// Give up the CPU until woken, unless that happened since sched_prepare_sleep(). Returns at once
// when the sleep is interruptible and a signal is pending. Thread context, no spinlock held.
void sched_block(void);
// Let `t` run again if it sleeps. Any context; `t` must not be freed meanwhile.
void sched_wake(struct thread *t);

// The new thread's half of a context switch: drops the run queue lock, frees a thread that ended.
void sched_finish_switch(void);
// First placement of a thread that was just made.
void sched_enqueue_new(struct thread *t);
// The calling thread is over.
void sched_exit_current(void) __noreturn;
// Frees a thread that no CPU runs any more (kernel/sched/thread.c).
void thread_free(struct thread *t);

void timer_init_cpu(void);
void timer_run(void); // from the tick

// Run-time check of the order of sleeping locks (lock.h). No-ops before the scheduler
// runs, and outside of the debug build.
void lock_rank_check_sleeping(unsigned rank, const void *lock);
void lock_rank_take_sleeping(unsigned rank);
void lock_rank_drop_sleeping(unsigned rank);
