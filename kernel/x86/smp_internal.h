// SPDX-License-Identifier: MIT
//
// Between smp.c and boot/*.asm.
#pragma once

#include "kernel/x86/cpu.h"

// At the end of the trampoline's page; filled in before each start.
struct trampoline_args {
	u64 boot_pml4, efer, cr3, stack, ist, cpu;
};

extern const u8 trampoline_start[], trampoline_args[], trampoline_end[];
extern u8 boot_pml4[]; // linked at its physical address

// Where boot/trampoline.asm goes: the CPU's own stack, kernel tables, nothing else set up.
void smp_ap_main(struct cpu *c, void *ist_area) __noreturn;
