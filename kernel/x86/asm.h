// SPDX-License-Identifier: MIT
//
// Inline assembly: all of it, here and in asm_access.h, and nowhere else. One instruction or idiom
// a function.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/asm_access.h"

struct arena;
struct cpu;
struct thread;

// ---- The per-CPU block's fields that must change in one instruction -----------------------------
//
// Between reading a pointer to the block and using it, the thread might move to another CPU.
// Offsets as in kernel/x86/cpu.h.

static inline struct thread *asm_gs_current(void)
{
	struct thread *t;

	__asm__ volatile("mov %%gs:24, %0" : "=r"(t));
	return t;
}

static inline struct arena *asm_gs_arena(void)
{
	struct arena *a;

	__asm__ volatile("mov %%gs:56, %0" : "=r"(a));
	return a;
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

static inline bool asm_gs_need_resched(void)
{
	bool yes;

	__asm__ volatile("cmpl $0, %%gs:36" : "=@ccnz"(yes));
	return yes;
}

// Preemption off, or the answer is old before it is used.
static inline u32 asm_gs_index(void)
{
	u32 v;

	__asm__ volatile("movl %%gs:40, %0" : "=r"(v));
	return v;
}

// ---- x87, SSE and AVX state (SDM 1, 10.5 and 13; kernel/x86/fpu.h) ------------------------------

// 512 bytes, 16-byte aligned.
static inline void asm_fxsave(void *area)
{
	__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void asm_fxrstor(const void *area)
{
	__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

// `components`: bits as in XCR0. The area is 64-byte aligned. Only with CR4_OSXSAVE.
static inline void asm_xsave(void *area, u64 components)
{
	__asm__ volatile("xsave64 (%0)"
			 :
			 : "r"(area), "a"((u32)components), "d"((u32)(components >> 32))
			 : "memory");
}

static inline void asm_xrstor(const void *area, u64 components)
{
	__asm__ volatile("xrstor64 (%0)"
			 :
			 : "r"(area), "a"((u32)components), "d"((u32)(components >> 32))
			 : "memory");
}

static inline void asm_xsetbv(u32 reg, u64 value)
{
	__asm__ volatile("xsetbv"
			 :
			 : "c"(reg), "a"((u32)value), "d"((u32)(value >> 32))
			 : "memory");
}

// False: no random number at this moment. Only where CPUID.1:ECX bit 30 is set.
static inline bool asm_rdrand(u64 *out)
{
	bool ok;

	__asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}

static inline struct cpu *asm_gs_self(void)
{
	struct cpu *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

// ---- Compiler and CPU order ---------------------------------------------------------------------

// The compiler neither keeps values in registers nor moves accesses across.
static inline void asm_barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

// In every spin loop: saves power, and under -icount hands the turn to the other CPU.
static inline void asm_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

// A release store of the word plus one. Only where nobody else writes it at the same time.
static inline void asm_inc_release(u32 *word)
{
	__asm__ volatile("incl %0" : "+m"(*word) : : "memory", "cc");
}

static inline void asm_mfence(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

// ---- Write-back to persistent memory (SDM 1, 11.4.4; SDM 2A, CLWB) ------------------------------
//
// The jump begins a new translation block, so that an emulator's trace plugin sees the address that
// the write-back uses; it costs nothing beside a write-back. Only where CPUID has the instruction.

#define ASM_WRITE_BACK(insn)                                                                       \
	static inline void asm_##insn(const void *line)                                            \
	{                                                                                          \
		__asm__ volatile("jmp 1f\n1: " #insn " (%0)" : : "r"(line) : "memory");            \
	}
ASM_WRITE_BACK(clwb)       // writes the line back and may keep it in the cache
ASM_WRITE_BACK(clflushopt) // writes the line back and drops it
ASM_WRITE_BACK(clflush)    // the same, and waits its turn behind every other one

// Earlier write-backs and non-temporal stores are durable (or on their way in a domain that is)
// before any later store is visible.
static inline void asm_sfence(void)
{
	__asm__ volatile("sfence" : : : "memory");
}

// A store that who watches from outside knows by its encoding (kernel/lib/tlbmark.h).
static inline void asm_store_marked(u64 *dst, u64 v)
{
	__asm__ volatile(".byte 0x3e, 0x3e, 0x3e, 0x48, 0x89, 0x07"
			 :
			 : "D"(dst), "a"(v)
			 : "memory");
}

// A store that goes past the caches. dst is 8-byte aligned.
static inline void asm_movnti(void *dst, u64 v)
{
	__asm__ volatile("movnti %1, %0" : "=m"(*(u64 *)dst) : "r"(v) : "memory");
}

// As many bytes as a cache line has, from any kernel address. dst is 8-byte aligned; stores in
// rising order fill one line after the other wherever they begin.
static inline void asm_movnti_line(void *dst, const void *src)
{
	u64 a, b;

	__asm__ volatile("mov   (%3), %0; mov  8(%3), %1; movnti %0,   (%2); movnti %1,  8(%2)\n"
			 "mov 16(%3), %0; mov 24(%3), %1; movnti %0, 16(%2); movnti %1, 24(%2)\n"
			 "mov 32(%3), %0; mov 40(%3), %1; movnti %0, 32(%2); movnti %1, 40(%2)\n"
			 "mov 48(%3), %0; mov 56(%3), %1; movnti %0, 48(%2); movnti %1, 56(%2)"
			 : "=&r"(a), "=&r"(b)
			 : "r"(dst), "r"(src)
			 : "memory");
}

// The same of one word.
static inline void asm_movnti_fill(void *dst, u64 v)
{
	__asm__ volatile("movnti %1,   (%0); movnti %1,  8(%0)\n"
			 "movnti %1, 16(%0); movnti %1, 24(%0)\n"
			 "movnti %1, 32(%0); movnti %1, 40(%0)\n"
			 "movnti %1, 48(%0); movnti %1, 56(%0)"
			 :
			 : "r"(dst), "r"(v)
			 : "memory");
}

// ---- Block memory -------------------------------------------------------------------------------
//
// REP string instructions: fast microcode on CPUs since 2013, and (being opaque) they keep the
// compiler from turning memcpy's body into a call of memcpy.

static inline void asm_rep_movsb(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

static inline void asm_rep_movsq(void *dst, const void *src, size_t words)
{
	__asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(words) : : "memory");
}

static inline void asm_rep_stosb(void *dst, u8 byte, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(byte) : "memory");
}

static inline void asm_rep_stosq(void *dst, u64 word, size_t words)
{
	__asm__ volatile("rep stosq" : "+D"(dst), "+c"(words) : "a"(word) : "memory");
}

// ---- CRC-32C (SDM 2A, CRC32): the remainder, not inverted. Only where CPUID has SSE4.2 ----------

static inline u32 asm_crc32_u8(u32 crc, u8 v)
{
	__asm__("crc32b %1, %0" : "+r"(crc) : "rm"(v));
	return crc;
}

// Of the 8 bytes at `p`, however aligned. The upper half of the result is 0.
static inline u64 asm_crc32_u64(u64 crc, const void *p)
{
	__asm__("crc32q %1, %0" : "+r"(crc) : "m"(*(const u64 *)p));
	return crc;
}

// ---- Ports --------------------------------------------------------------------------------------

static inline void asm_outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void asm_outw(u16 port, u16 v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void asm_outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u8 asm_inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u16 asm_inw(u16 port)
{
	u16 v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u32 asm_inl(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

// ---- Interrupt flag -----------------------------------------------------------------------------

#define RFLAGS_IF BIT(9)

static inline void asm_cli(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void asm_sti(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void asm_hlt(void)
{
	__asm__ volatile("hlt" : : : "memory");
}

// STI takes effect after the next instruction: an interrupt that comes in between wakes the HLT.
static inline void asm_sti_hlt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

static inline u64 asm_rflags(void)
{
	u64 f;

	__asm__ volatile("pushfq; pop %0" : "=r"(f) : : "memory");
	return f;
}

// Returns the flags to give back to asm_irq_restore().
static inline u64 asm_irq_save(void)
{
	u64 f = asm_rflags();

	asm_cli();
	return f;
}

static inline void asm_irq_restore(u64 flags)
{
	if (flags & RFLAGS_IF)
		asm_sti();
}

// ---- Control and model-specific registers -------------------------------------------------------

#define ASM_CONTROL_REGISTER(cr)                                                                   \
	static inline u64 asm_read_##cr(void)                                                      \
	{                                                                                          \
		u64 v;                                                                             \
		__asm__ volatile("mov %%" #cr ", %0" : "=r"(v) : : "memory");                      \
		return v;                                                                          \
	}                                                                                          \
	static inline void asm_write_##cr(u64 v)                                                   \
	{                                                                                          \
		__asm__ volatile("mov %0, %%" #cr : : "r"(v) : "memory");                          \
	}
ASM_CONTROL_REGISTER(cr0)
ASM_CONTROL_REGISTER(cr2)
ASM_CONTROL_REGISTER(cr3)
ASM_CONTROL_REGISTER(dr0) // a data breakpoint: its address
ASM_CONTROL_REGISTER(dr6) // and whether it was met
ASM_CONTROL_REGISTER(dr7) // what it is of, and whether it is on (SDM 3B, 17.2)
ASM_CONTROL_REGISTER(cr4)

static inline u64 asm_rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (u64)hi << 32 | lo;
}

static inline void asm_wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline void asm_invlpg(u64 va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

struct cpuid {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid asm_cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

static inline u64 asm_rdtsc(void)
{
	u64 low, high; // RDTSC clears the upper halves of both

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return high << 32 | low;
}

// Not executed before all earlier instructions (SDM 2B, RDTSC): for measuring.
static inline u64 asm_rdtsc_ordered(void)
{
	__asm__ volatile("lfence" : : : "memory");
	return asm_rdtsc();
}

// ---- Tables of the CPU --------------------------------------------------------------------------

struct __attribute__((packed)) table_pointer {
	u16 limit;
	u64 base;
};

// Load the GDT and reload what the CPU keeps of it: CS (by a far return), the data segments (null:
// 64-bit mode does not look at them) and the task register.
static inline void asm_load_gdt(const void *gdt, size_t bytes, u16 code, u16 tss)
{
	struct table_pointer p = { (u16)(bytes - 1), (u64)gdt };

	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "push %%rax\n\t"
			 "lretq\n"
			 "1: xor %%eax, %%eax\n\t"
			 "mov %%eax, %%ds\n\t"
			 "mov %%eax, %%es\n\t"
			 "mov %%eax, %%ss\n\t"
			 "mov %%eax, %%fs\n\t"
			 "mov %%eax, %%gs\n\t"
			 "ltr %w2"
			 :
			 : "m"(p), "r"((u64)code), "r"((u32)tss)
			 : "rax", "memory");
}

static inline void asm_load_idt(const void *idt, size_t bytes)
{
	struct table_pointer p = { (u16)(bytes - 1), (u64)idt };

	__asm__ volatile("lidt %0" : : "m"(p) : "memory");
}

// ---- The end ------------------------------------------------------------------------------------

// With a table of no entries the next exception becomes a triple fault: the CPU resets.
static inline void asm_load_empty_idt(void)
{
	static const struct table_pointer empty;

	__asm__ volatile("lidt %0" : : "m"(empty));
}

static inline void asm_ud2(void)
{
	__asm__ volatile("ud2");
}
