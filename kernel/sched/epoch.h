// SPDX-License-Identifier: MIT
//
// The epoch: when may it be used again? (docs/epochs.md, tests/model/epoch.pml)
//
// An address, a block, a table page or a kernel object gets a new use only when no CPU can still
// hold a translation or a pointer to its old one. Nobody is asked: now and then each CPU says, at a
// quiescent point, "I have forgotten everything up to epoch e".
//
//	retirer                                 every CPU, at a quiescent point
//	clear every entry that leads there      e = E
//	stamp = epoch_stamp()   (fence, E)      flush all user translations (MOV CR3)
//	epoch_want(stamp)       (E > stamp)     seen = e
//	... epoch_passed(stamp, as): re-use
//
// A quiescent point is a tick or IPI that interrupts user code or preemptible kernel code, else the
// preempt_enable() that follows, and every switch of address spaces. So code with preemption off
// may follow a pointer without a count, if its thread has an address space: a CPU on the kernel's
// own tables is not waited for.
#pragma once

#include "kernel/lib/types.h"

struct aspace;

// What the calling CPU read and cleared before is in memory; then E. Any context. Every entry
// (pointer) that leads to what is retired must have been cleared before: one that is still there
// may be cached again after the CPU has said that it forgot.
u64 epoch_stamp(void);

// Somebody waits for an epoch after `stamp`: begin one, unless that was done. No IPI: CPUs see it
// at their next tick. Any context.
void epoch_want(u64 stamp);

// Has every CPU that matters seen an epoch after `stamp`? `as`: translations of that space, CPUs
// that have it loaded or may be switching matter. NULL: blocks, table pages, kernel objects: every
// CPU that is not on the kernel's own tables. Any context; preemption off, if the answer is to
// include this CPU's own part.
bool epoch_passed(u64 stamp, const struct aspace *as);

// Interrupt those CPUs that still keep `stamp` from passing. They publish at once, or, where the
// interrupt met a section with preemption off, at its end. Returns how many. Thread context,
// interrupts on.
unsigned epoch_kick(u64 stamp, const struct aspace *as);

// Returns when `stamp` has passed for every CPU (as == NULL above): CPUs are interrupted, which is
// mostly enough, else it sleeps. Thread context, preemptible; sleeping locks may be held.
void epoch_wait(u64 stamp);

// Something that is to be freed once no CPU holds a pointer to it. Part of the object.
struct epoch_node {
	struct epoch_node *next;
	void (*fn)(struct epoch_node *node);
	u64 stamp;
};
// Calls fn(node) in the first epoch in which nobody can hold a pointer: after at most two ticks if
// all sections end. The last pointer to it was cleared before. fn runs with interrupts off, on any
// CPU, and must not sleep. Any context.
void epoch_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node));

// Sleeps until every CPU has passed a quiescent point since now, and everything that was deferred
// before has been called. For tests, unmounting, and when memory is short. Thread context, no lock
// held.
void epoch_synchronize(void);

// One more thing to do on each CPU at the quiescent point that follows a tick; interrupts off, no
// lock held. epoch_busy(true) asks for it on this CPU until epoch_busy(false). One caller: the
// pools of addresses (mm/).
void epoch_set_work(void (*fn)(void));
void epoch_busy(bool busy);
void epoch_busy_on(unsigned cpu); // the same on another one

// A quiescent point of this CPU as far as translations go: reads E, flushes, publishes. The caller
// holds no pointer that the epoch protects. Any context, interrupts on or off.
void epoch_flush_here(void);

// ---- For the scheduler and the switch of address spaces -----------------------------------------

// From the tick, and as an IPI's handler: a quiescent point now, or as soon as preemption is on.
void epoch_tick(void);
// At a preemption point, count zero: what the tick could not do.
void epoch_preemption_point(void);
// Before the CPU halts: nobody shall wait for the tick that wakes it.
void epoch_idle(void);
// The switch reads E before MOV CR3 and publishes after it.
u64 epoch_now(void);
void epoch_publish(u64 e);

struct epoch_stats {
	u64 epoch;     // E
	u64 published; // quiescent points that flushed, all CPUs
	u64 kicks;     // CPUs interrupted by epoch_kick
	u64 waiting;   // objects deferred and not yet freed
};
struct epoch_stats epoch_stats(void);
// What the CPU has published. For tests.
u64 epoch_seen(unsigned cpu);
