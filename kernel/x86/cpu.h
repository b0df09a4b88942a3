// SPDX-License-Identifier: MIT
//
// The CPU: features, and the per-CPU block that GS points at in kernel mode.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/asm.h"

#define CPU_MAX 64

// System calls below may have a light function (kernel/x86/trap.h).
#define TRAP_LIGHT_MAX 16

struct arena;
struct thread;
struct aspace;

// Offsets of the first fields are known to assembly (kernel/x86/entry.asm).
struct cpu {
	struct cpu *self;       // gs:0
	u64 syscall_user_rsp;   // gs:8  scratch of the entry code
	u64 kernel_rsp;         // gs:16 top of the current thread's kernel stack
	struct thread *current; // gs:24
	u32 preempt_count;      // gs:32 nesting of preempt_disable
	u32 need_resched;       // gs:36
	u32 index;              // 0 .. cpu_count() - 1; 0 is the boot CPU
	u32 irq_depth;          // > 0: in an interrupt handler
	u64 lock_ranks;         // bit set of spinlock ranks held (debug build)
	struct arena *arena;    // gs:56 of loaded_as, for this CPU (mm/arena.h); NULL: none yet
	// Light calls (kernel/x86/trap.h).
	u64 light_below; // gs:64 those below this number are tried: TRAP_LIGHT_MAX, or 0
	u64 light_calls[TRAP_LIGHT_MAX]; // gs:72 how often each was done
	// What other CPUs read, on a line that this one seldom writes.
	struct aspace *loaded_as __cacheline; // whose tables CR3 holds; NULL: the kernel's own
	u32 apic_id;
	u32 online; // set by the CPU itself when it can take interrupts
	u64 idle_since_ns;
	void *arch; // GDT, TSS and the like (kernel/x86/gdt.c)
} __cacheline;

// loaded_as between two address spaces: counts for every one.
#define AS_SWITCHING ((struct aspace *)1)

extern struct cpu cpus[CPU_MAX];

static inline struct cpu *this_cpu(void)
{
	return asm_gs_self();
}

// Make GS of the running CPU point at `c`. The first thing that each CPU does in C: locks and the
// log need this_cpu().
void cpu_init_gs(struct cpu *c);

// CPUs that run. Constant after smp_start().
unsigned cpu_count(void);

// The kernel stack that the next entry from user mode uses on this CPU: kernel_rsp above and
// TSS.RSP0. Preemption off. Called by the scheduler.
void cpu_set_kernel_stack(u64 top);

// From CPUID, once, on the boot CPU; a feature is used only if its bit is set here, never by
// trying.
struct cpu_features {
	bool nx, smep, smap, umip, pge, pcid, gib_pages, rdtscp, la57, fsgsbase;
	bool clflush, clflushopt, clwb, invariant_tsc, x2apic, tsc_deadline, hypervisor, mce, mca;
	bool sse42, xsave, avx2; // xsave: with AVX
	u8 phys_bits, virt_bits;
	char vendor[13], brand[49];
};
extern struct cpu_features cpu_features;

// For CPUs with sse42; kernel/lib/crc32c.h.
u32 crc32c_by_instruction(u32 crc, const void *data, size_t len);

// The boot CPU: CPUID, GDT, IDT, control registers, SYSCALL.
void cpu_init(void);
// Another CPU, on its way in: the same from what the boot CPU found. `ist_area`: IST_AREA_BYTES.
void cpu_init_ap(struct cpu *c, void *ist_area);
