// SPDX-License-Identifier: MIT
//
// Between entry.asm, trap.c, irq.c and smp.c.
#pragma once

#include "kernel/x86/trap.h"

// Vectors. The first 32 are exceptions; the higher four bits are the interrupt's priority.
enum {
	VECTOR_EXCEPTIONS = 32,
	VECTOR_ISA = 0x20, // 16 of them
	VECTOR_TICK = 0xe0,
	VECTOR_CALL = 0xf0, // smp_call
	VECTOR_RESCHEDULE = 0xf1,
	VECTOR_SPURIOUS = 0xff, // low four bits set, as old LAPICs want it
};

// Fill the IDT and load it on the boot CPU; the others load the same one.
void trap_init(void);
void trap_load_idt(void);
// MSRs of SYSCALL on the running CPU.
void trap_init_syscall(void);

// entry.asm
extern const u8 trap_stubs[256][16];
void syscall_entry(void);

// linker.ld: pairs of (faulting instruction, where to go on).
struct extable_entry {
	u64 from, to;
};
extern const struct extable_entry extable_start[], extable_end[];
extern const struct extable_entry mctable_start[], mctable_end[]; // where memory may fail

// Called by entry.asm. `paranoid`: on a stack of its own, perhaps in the midst of an entry; no
// locks.
void trap_dispatch(struct trapframe *tf);
void trap_dispatch_paranoid(struct trapframe *tf);
extern bool (*trap_syscall_fn)(struct trapframe *tf);
extern trap_light trap_light_fn[TRAP_LIGHT_MAX]; // by entry.asm
void trap_finish_user(struct trapframe *tf);
// 1 if CPUID has SMAP: entry.asm may execute CLAC.
extern u8 trap_smap;
