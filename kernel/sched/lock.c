// SPDX-License-Identifier: MIT
//
// What: ticket spinlocks, the preemption count, and the run-time check of the lock order.
// Not here: locks that sleep (kernel/sched/mutex.c); ranks and contracts (kernel/sched/lock.h).
//
// Invariants:
//   I1  While a CPU holds a spinlock its preemption count is above zero: the holder keeps its CPU.
//   I2  A CPU takes spinlocks in rising rank. Interrupt handlers are outside of this bookkeeping:
//       they interrupt anywhere, and give back what they took before they return.
//   I3  A lock that an interrupt handler ever took is never taken with interrupts on: the handler
//       would wait for the code that it interrupted.
//   Only the debug build checks I2 and I3. That the holder releases is checked always.
// Locking: `held` belongs to its CPU, interrupts off or on, as handlers leave it alone (I2).
#include "kernel/sched/lock.h"

#include "kernel/debug.h"
#include "kernel/panic.h"
#include "kernel/sched/sched_internal.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"

// Spins after which a lock is called stuck. A PAUSE costs some 50-100 ns under emulation: a quarter
// of a minute or more, longer than any host keeps a virtual CPU from running.
#define SPIN_LIMIT (1u << 28)

// Locks of each rank that this CPU holds. lock_ranks in struct cpu is its summary.
static struct {
	u8 held[RANK_COUNT];
} __cacheline lock_cpu[CPU_MAX];

_Static_assert(RANK_COUNT <= 64, "lock_ranks has one bit a rank");
_Static_assert(offsetof(struct cpu, current) == 24 && offsetof(struct cpu, preempt_count) == 32 &&
		       offsetof(struct cpu, need_resched) == 36 &&
		       offsetof(struct cpu, index) == 40 && offsetof(struct cpu, arena) == 56 &&
		       offsetof(struct cpu, light_below) == 64 &&
		       offsetof(struct cpu, light_calls) == 72,
	       "as kernel/x86/asm.h and entry.asm have them");

static bool irqs_on(void)
{
	return asm_rflags() & RFLAGS_IF;
}

void preempt_disable(void)
{
	asm_gs_preempt_inc();
}

void preempt_due(void)
{
	if (irqs_on())
		sched_preempt();
}

void preempt_enable(void)
{
	if (asm_gs_preempt_dec() && unlikely(asm_gs_need_resched()))
		preempt_due();
}

bool preemptible(void)
{
	u64 flags = asm_irq_save();
	bool yes = this_cpu()->preempt_count == 0 && this_cpu()->irq_depth == 0;

	asm_irq_restore(flags);
	return yes && (flags & RFLAGS_IF);
}

static void check_order(struct spinlock *l, struct cpu *c, bool nested)
{
	if (c->irq_depth) {
		l->in_irq = 1;
		return;
	}
	// Nested: one of the same rank is held already, and the caller knows the order of the two.
	if (unlikely(c->lock_ranks >> (l->rank + nested)))
		panic("spinlock %p of rank %u taken out of order: ranks held %#llx", (void *)l,
		      l->rank, (unsigned long long)c->lock_ranks);
	if (unlikely(l->in_irq && irqs_on()))
		panic("spinlock %p of rank %u: an interrupt handler takes it, and interrupts are "
		      "on",
		      (void *)l, l->rank);
}

static void note_taken(struct spinlock *l, struct cpu *c)
{
	WRITE_ONCE(l->holder, c->index + 1);
	if (!DEBUG_BUILD || c->irq_depth)
		return;
	lock_cpu[c->index].held[l->rank]++;
	c->lock_ranks |= BIT(l->rank);
}

void spin_panic_not_held(const struct spinlock *l)
{
	panic("spinlock %p of rank %u released by CPU %u, holder is %d", (const void *)l, l->rank,
	      this_cpu()->index, (int)READ_ONCE(l->holder) - 1);
}

static void note_released(struct spinlock *l, struct cpu *c)
{
	if (unlikely(l->holder != c->index + 1))
		spin_panic_not_held(l);
	WRITE_ONCE(l->holder, 0);
	if (!DEBUG_BUILD || c->irq_depth)
		return;
	if (--lock_cpu[c->index].held[l->rank] == 0)
		c->lock_ranks &= ~BIT(l->rank);
}

void spin_lock_wait(struct spinlock *l, u32 ticket)
{
	u32 spins = 0;

	if (unlikely(READ_ONCE(l->holder) == this_cpu()->index + 1))
		panic("spinlock %p of rank %u taken twice", (const void *)l, l->rank);
	while (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != ticket) {
		asm_pause();
		if (unlikely(++spins == SPIN_LIMIT))
			panic("spinlock %p of rank %u stuck, holder CPU %d", (const void *)l,
			      l->rank, (int)READ_ONCE(l->holder) - 1);
	}
	note_taken(l, this_cpu());
}

// Preemption is off: the CPU stays the same throughout.
static inline __attribute__((always_inline)) void acquire(struct spinlock *l, bool nested)
{
	u32 ticket;

	if (DEBUG_BUILD)
		check_order(l, this_cpu(), nested);
	ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
	if (likely(__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) == ticket))
		note_taken(l, this_cpu());
	else
		spin_lock_wait(l, ticket);
}

void spin_init(struct spinlock *l, enum lock_rank rank)
{
	*l = (struct spinlock)SPINLOCK_INIT(rank);
}

NO_TSA void spin_lock_checked(struct spinlock *l)
{
	preempt_disable();
	acquire(l, false);
}

NO_TSA void spin_lock_nested(struct spinlock *l)
{
	preempt_disable();
	acquire(l, true);
}

NO_TSA bool spin_trylock(struct spinlock *l)
{
	u32 ticket;

	preempt_disable();
	ticket = __atomic_load_n(&l->owner, __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(&l->next, &ticket, ticket + 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		preempt_enable();
		return false;
	}
	// No order check: who does not wait cannot deadlock.
	note_taken(l, this_cpu());
	return true;
}

static inline __attribute__((always_inline)) void release(struct spinlock *l)
{
	note_released(l, this_cpu());
	asm_inc_release(&l->owner);
}

NO_TSA void spin_unlock_checked(struct spinlock *l)
{
	release(l);
	preempt_enable();
}

NO_TSA u64 spin_lock_irqsave(struct spinlock *l)
{
	u64 flags = asm_irq_save();

	preempt_disable();
	acquire(l, false);
	return flags;
}

NO_TSA void spin_unlock_irqrestore(struct spinlock *l, u64 flags)
{
	release(l);
	// Interrupts first, so that a due switch happens here and not only at the next tick.
	asm_irq_restore(flags);
	preempt_enable();
}

bool spin_is_held(const struct spinlock *l)
{
	return READ_ONCE(l->holder) == this_cpu()->index + 1;
}
