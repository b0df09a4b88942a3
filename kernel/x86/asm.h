// SPDX-License-Identifier: MIT
//
// Inline assembly: all of it, and nowhere else. One instruction or idiom a function.
#pragma once

#include "kernel/lib/types.h"

struct cpu;
struct thread;

static inline struct cpu *asm_gs_self(void)
{
	struct cpu *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

// ---- per-CPU block fields that must change in one instruction: between reading a pointer to the
// block and using it, the thread might move to another CPU. Offsets as in kernel/x86/cpu.h.

static inline struct thread *asm_gs_current(void)
{
	struct thread *t;

	__asm__ volatile("mov %%gs:24, %0" : "=r"(t));
	return t;
}

static inline void asm_gs_preempt_inc(void)
{
	__asm__ volatile("incl %%gs:32" : : : "memory", "cc");
}

// True if the count is zero now.
static inline bool asm_gs_preempt_dec(void)
{
	bool zero;

	__asm__ volatile("decl %%gs:32" : "=@ccz"(zero) : : "memory");
	return zero;
}

static inline u32 asm_gs_need_resched(void)
{
	u32 v;

	__asm__ volatile("movl %%gs:36, %0" : "=r"(v));
	return v;
}

// ---- interrupts, spinning, idling

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#define RFLAGS_IF BIT(9)

// Interrupts off; returns RFLAGS as they were.
static inline u64 irq_save(void)
{
	u64 flags;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void irq_restore(u64 flags)
{
	if (flags & RFLAGS_IF)
		__asm__ volatile("sti" : : : "memory");
}

static inline bool irq_enabled(void)
{
	u64 flags;

	__asm__ volatile("pushfq; popq %0" : "=r"(flags));
	return flags & RFLAGS_IF;
}

static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

// STI holds interrupts back for one instruction (SDM 2B, STI), so none is lost before the HLT.
static inline void irq_enable_halt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

// ---- SSE state, 512 bytes, 16-byte aligned (SDM 1, 10.5)

static inline void asm_fxsave(u8 *area)
{
	__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void asm_fxrstor(const u8 *area)
{
	__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static inline u64 asm_rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (u64)hi << 32;
}

// False: no random number available at this moment. Only where CPUID.1:ECX.RDRAND says so.
static inline bool asm_rdrand(u64 *out)
{
	bool ok;

	__asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}
