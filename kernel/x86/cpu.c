// SPDX-License-Identifier: MIT
//
// What: the per-CPU blocks, CPUID features, and the control registers of each CPU.
//
// Not here: segments and interrupt tables (gdt.c, trap.c), starting CPUs (smp.c).
#include "kernel/x86/cpu.h"

#include "kernel/x86/asm.h"

#define MSR_GS_BASE 0xc0000101

struct cpu cpus[CPU_MAX];
struct cpu_features cpu_features;

void cpu_init_gs(struct cpu *c)
{
	c->self = c;
	c->index = (u32)(c - cpus);
	asm_wrmsr(MSR_GS_BASE, (u64)c);
}
