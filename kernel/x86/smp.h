// SPDX-License-Identifier: MIT
//
// Starting the other CPUs and calling functions on them.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/cpu.h"

typedef struct {
	u64 bits; // one per CPU index; CPU_MAX is 64
} cpumask_t;

struct apic_config; // kernel/x86/irq.h

// Where CPUs get their stacks from: lowest address of `bytes` bytes, or NULL.
struct smp_stacks {
	void *(*alloc)(void);
	size_t bytes;
};

// Start every CPU of `config` (INIT-SIPI-SIPI, SDM 3A 8.4). Each enters `entry` on its own stack
// with GS, GDT, IDT and its LAPIC set up, interrupts off; entry does not return. Returns when all
// are online or have timed out (one log line for each that did). Boot CPU, once.
void smp_start(const struct apic_config *config, const struct smp_stacks *stacks,
	       void (*entry)(void));

// Run fn(arg) on every CPU of `mask` except this one, interrupts off there, and wait until all have
// returned. Interrupts must be on here, or the caller must be sure that nobody waits for it; while
// waiting it serves calls of others. Thread context, preemption off or on.
void smp_call(cpumask_t mask, void (*fn)(void *arg), void *arg);

// Ask CPU `index` to look at its run queue.
void smp_reschedule(unsigned index);

static inline cpumask_t cpumask_all(void)
{
	return (cpumask_t){ cpu_count() == 64 ? ~0ull : BIT(cpu_count()) - 1 };
}
