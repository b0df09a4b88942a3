// SPDX-License-Identifier: MIT
//
// What: starts the other CPUs and lets CPUs call functions on each other.
//
// Not here: the first instructions of a CPU (boot/trampoline.asm), scheduling, TLB shootdown (mm).
//
// Calls. Each CPU has one call slot, for the calls that it makes. It fills the slot in, sets its
// own bit in the inbox of every target, and sends the IPI. A target takes its inbox, runs each
// caller's function, and counts down the caller's `pending`. The caller waits for zero, and runs
// what is in its own inbox meanwhile, so that two CPUs that call each other with interrupts off get
// along.
//
// Invariants:
//   I1 a slot is reused only after `pending` is zero: no target looks at it any more.
//   I2 a bit in an inbox is set after the slot is complete and cleared before the function runs.
//
//   I3 the trampoline's arguments are a place for one CPU, which takes it by an exchange. A CPU
//      that does not come in time is given up; if it comes after all, it finds no place, or that of
//      the next one, which then finds none.
//
// Locking: none; inbox and pending are atomics.
#include "kernel/x86/smp.h"

#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/lock.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/gdt.h"
#include "kernel/x86/image.h"
#include "kernel/x86/irq.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/smp_internal.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap_internal.h"

#define SMP_TRAMPOLINE_PA 0x8000ull     // boot/trampoline.asm
#define START_TIMEOUT_NS  1000000000ull // an emulator whose host is busy
#define CALL_SPINS        (1u << 30)    // then somebody is stuck with interrupts off

static struct smp_slot {
	void (*fn)(void *arg);
	void *arg;
	u32 pending; // targets that have not finished [atomic]
} __cacheline slots[CPU_MAX];

static struct {
	u64 callers; // bit per CPU whose slot is to be run here [atomic]
} __cacheline inbox[CPU_MAX];

static unsigned nr_cpus __read_mostly = 1;
static void (*ap_entry)(void);

unsigned cpu_count(void)
{
	return nr_cpus;
}

// Interrupts off.
static void run_inbox(void)
{
	u64 callers = __atomic_exchange_n(&inbox[this_cpu()->index].callers, 0, __ATOMIC_ACQUIRE);

	while (callers) {
		struct smp_slot *s = &slots[__builtin_ctzll(callers)];

		callers &= callers - 1;
		s->fn(s->arg);
		__atomic_sub_fetch(&s->pending, 1, __ATOMIC_RELEASE);
	}
}

static void call_interrupt(struct trapframe *tf __unused)
{
	run_inbox();
}

static void reschedule_interrupt(struct trapframe *tf __unused)
{
	this_cpu()->need_resched = 1;
}

void smp_reschedule(unsigned index)
{
	if (index == this_cpu()->index)
		this_cpu()->need_resched = 1;
	else
		lapic_send(cpus[index].apic_id, VECTOR_RESCHEDULE);
}

static void wait_for_targets(const struct smp_slot *s)
{
	for (u32 spins = 0; __atomic_load_n(&s->pending, __ATOMIC_ACQUIRE); spins++) {
		u64 flags = asm_irq_save();

		run_inbox();
		asm_irq_restore(flags);
		asm_pause();
		if (spins == CALL_SPINS)
			panic("smp_call: %u CPUs do not answer", s->pending);
	}
}

void smp_call(cpumask_t mask, void (*fn)(void *arg), void *arg)
{
	struct smp_slot *s;
	u64 me, targets;

	preempt_disable();
	me = BIT(this_cpu()->index);
	s = &slots[this_cpu()->index];
	targets = mask.bits & ~me & cpumask_all().bits;
	s->fn = fn;
	s->arg = arg;
	for (u64 t = targets; t; t &= t - 1)
		s->pending++; // zero before (I1), and nobody looks at it yet
	for (u64 t = targets; t; t &= t - 1) {
		unsigned i = (unsigned)__builtin_ctzll(t);

		__atomic_fetch_or(&inbox[i].callers, me, __ATOMIC_RELEASE);
		lapic_send(cpus[i].apic_id, VECTOR_CALL);
	}
	wait_for_targets(s);
	preempt_enable();
}

void smp_ap_main(struct cpu *c, void *ist_area)
{
	cpu_init_ap(c, ist_area);
	lapic_init_cpu();
	WRITE_ONCE(c->online, 1);
	ap_entry();
	panic("cpu %u: its entry function returned", c->index);
}

// INIT, 10 ms, SIPI twice (SDM 3A, 8.4.4.1; the second is ignored by a CPU that runs). The wait
// after INIT is for CPUs of the 1990s; emulators and everything since start at once, so it is
// short.
static bool start(struct cpu *c, const struct smp_stacks *stacks)
{
	struct trampoline_args *args =
		phys_to_virt(PHYS(SMP_TRAMPOLINE_PA + (u64)(trampoline_args - trampoline_start)));
	char *stack = stacks->alloc(), *ist = stacks->alloc();
	// For tests: every CPU comes too late.
	u64 timeout_ns = bootparam_present("smpnowait") ? 0 : START_TIMEOUT_NS;
	u64 deadline;

	if (!stack || !ist)
		return false;
	*args = (struct trampoline_args){
		.boot_pml4 = (u64)boot_pml4,
		.efer = EFER_LME | (cpu_features.nx ? EFER_NXE : 0),
		.cr3 = asm_read_cr3(),
		.stack = (u64)stack + stacks->bytes,
		.ist = (u64)ist,
		.cpu = (u64)c,
	};
	asm_mfence();
	lapic_send_init(c->apic_id);
	udelay(100);
	deadline = time_now_ns() + timeout_ns;
	for (unsigned tries = 0; tries < 2; tries++) {
		lapic_send_startup(c->apic_id, SMP_TRAMPOLINE_PA >> PAGE_SHIFT);
		while (time_now_ns() < deadline - (tries ? 0 : timeout_ns / 2)) {
			if (READ_ONCE(c->online))
				return true;
			asm_pause();
		}
	}
	// I3. Whoever takes the place from here on finds none. If it was taken, its CPU is on its
	// way, however slow: nobody else may have it.
	if (__atomic_exchange_n(&args->cpu, 0, __ATOMIC_SEQ_CST))
		return false;
	while (!READ_ONCE(c->online))
		asm_pause();
	return true;
}

void smp_start(const struct apic_config *config, const struct smp_stacks *stacks,
	       void (*entry)(void))
{
	ASSERT(stacks->bytes >= IST_AREA_BYTES);
	ap_entry = entry;
	cpus[0].online = 1;
	trap_set_handler(VECTOR_CALL, call_interrupt);
	trap_set_handler(VECTOR_RESCHEDULE, reschedule_interrupt);
	memcpy(phys_to_virt(PHYS(SMP_TRAMPOLINE_PA)), trampoline_start,
	       (size_t)(trampoline_end - trampoline_start));
	for (unsigned i = 0; i < config->nr_cpus && nr_cpus < CPU_MAX; i++) {
		struct cpu *c = &cpus[nr_cpus];

		if (config->cpu_apic_id[i] == cpus[0].apic_id)
			continue;
		c->index = nr_cpus;
		c->apic_id = config->cpu_apic_id[i];
		if (start(c, stacks))
			nr_cpus++;
		else
			log_err("smp: CPU with APIC id %u did not start", c->apic_id);
	}
	log_info("smp: %u CPUs", nr_cpus);
}
