// SPDX-License-Identifier: MIT
//
// What: kernel stacks. Each owns a slot of 32 KiB of addresses: 16 KiB that stay unmapped, then the
// stack. It grows down, so an overflow runs into its own guard, never into a neighbour:
//
//      KSTACK_BASE  | guard | stack 0 | guard | stack 1 | ...
//
// Invariants
//   I1  a slot's translations never change once made: freed stacks keep their frames and wait for
//       the next thread. So nothing is ever flushed, and the memory in use is that of the most
//       threads that lived at once.
//
// Locking: kstack_lock (RANK_KMAP, interrupts off; never together with kmap_lock) guards the list
// of free stacks and the count.
#include "kernel/panic.h"
#include "kernel/sched/lock.h"
#include "kernel/sched/thread.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/kmap_internal.h"
#include "mm/layout.h"

#define SLOT_BYTES  (2 * KSTACK_SIZE)
#define STACK_ORDER 2
_Static_assert(PAGE_SIZE << STACK_ORDER == KSTACK_SIZE, "one block per stack");

// Lies in the stack itself while that is free.
struct free_stack {
	struct free_stack *next;
};

static struct spinlock kstack_lock = SPINLOCK_INIT(RANK_KMAP);
static struct free_stack *free_stacks; // [kstack_lock]
static u64 nr_slots;                   // [kstack_lock] slots ever made

static void *pop(void)
{
	u64 irq = spin_lock_irqsave(&kstack_lock);
	struct free_stack *s = free_stacks;

	if (s)
		free_stacks = s->next;
	spin_unlock_irqrestore(&kstack_lock, irq);
	return s;
}

void *kmap_stack_alloc(void)
{
	void *stack = pop();
	phys_t frames;
	u64 irq, slot;

	if (stack) {
		frame_note_kept(-(1 << STACK_ORDER));
		return stack;
	}
	frames = frame_alloc(STACK_ORDER, 0);
	if (frames.pa == PHYS_NONE.pa)
		return NULL;
	irq = spin_lock_irqsave(&kstack_lock);
	slot = KSTACK_BASE + nr_slots++ * SLOT_BYTES;
	spin_unlock_irqrestore(&kstack_lock, irq);
	// The slot of a failure is not used again: addresses are plenty.
	if (kmap_stack_map(slot + KSTACK_SIZE, frames, KSTACK_SIZE)) {
		frame_free(frames, STACK_ORDER);
		return NULL;
	}
	return (void *)(slot + KSTACK_SIZE);
}

void kmap_stack_free(void *stack)
{
	struct free_stack *s = stack;
	u64 irq;

	ASSERT(IS_ALIGNED((u64)stack, KSTACK_SIZE) && !kmap_is_guard((u64)stack));
	frame_note_kept(1 << STACK_ORDER);
	irq = spin_lock_irqsave(&kstack_lock);
	s->next = free_stacks;
	free_stacks = s;
	spin_unlock_irqrestore(&kstack_lock, irq);
}

bool kmap_is_guard(u64 va)
{
	return va >= KSTACK_BASE && va < KSTACK_BASE + READ_ONCE(nr_slots) * SLOT_BYTES &&
	       (va - KSTACK_BASE) % SLOT_BYTES < KSTACK_SIZE;
}
