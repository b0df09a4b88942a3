// SPDX-License-Identifier: MIT
//
// Segments and the task-state segment of each CPU.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/cpu.h"

// Selectors, the same numbers as Linux has them: some programs look. The order is what SYSCALL and
// SYSRET compute from MSR_STAR (SDM 2B): kernel code, data; user code32, data, code64.
#define SEG_KERNEL_CODE 0x10
#define SEG_KERNEL_DATA 0x18
#define SEG_USER_DATA   0x2b
#define SEG_USER_CODE   0x33
#define SEG_TSS         0x40

// Stacks of their own for traps that may come at any instruction, also before the kernel's stack is
// loaded: interrupt stack table (SDM 3A, 6.14.5).
enum { IST_NONE, IST_DEBUG, IST_DOUBLE_FAULT, IST_NMI, IST_MACHINE_CHECK, IST_COUNT };

#define IST_AREA_BYTES KIB(16) // for all of a CPU's IST stacks

// Build and load GDT and TSS of the running CPU. `ist_area`: IST_AREA_BYTES of its own, lowest
// address. Leaves GS pointing at `c`.
void gdt_init_cpu(struct cpu *c, void *ist_area);
