// SPDX-License-Identifier: MIT
//
// Inline assembly: all of it, and nowhere else. One instruction or idiom a function.
#pragma once

#include "kernel/lib/types.h"

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

// ---- SSE state: 512 bytes, 16-byte aligned (SDM 1, 10.5) ----------------------------------------

static inline void asm_fxsave(u8 *area)
{
	__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void asm_fxrstor(const u8 *area)
{
	__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
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

// The x87 and SSE state that a program starts with: what Linux gives (System V ABI 3.4.1).
static inline void asm_fpu_init(void)
{
	static const u32 mxcsr = 0x1f80;

	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

// ---- Accesses that may fault --------------------------------------------------------------------
//
// An entry of the exception table names an instruction that may fault and where to go on if it does
// (trap_fixup in kernel/x86/trap.h).
#define ASM_EXTABLE(from, to)                                                                      \
	".pushsection extable, \"a\"\n\t"                                                          \
	".quad " from ", " to "\n\t"                                                               \
	".popsection\n\t"

// The same for a machine check at the instruction: the memory that it reads has failed. It must not
// be tried again, which would be another machine check; so the way on is often another one.
#define ASM_MCTABLE(from, to)                                                                      \
	".pushsection mctable, \"a\"\n\t"                                                          \
	".quad " from ", " to "\n\t"                                                               \
	".popsection\n\t"

// What stands for a word of memory that has failed. To the MMU and whoever reads page tables it is
// an entry that is not present; to ptfs no word that it ever writes, and to a checksum a wrong one.
#define FAILED_WORD (-2)

// Read a word that may not be there. False: it is not.
static inline bool asm_read_word(u64 va, u64 *out)
{
	bool ok = false;
	u64 v = 0;

	__asm__ volatile("1: mov (%2), %1\n\t"
			 "movb $1, %0\n"
			 "2:\n\t" ASM_EXTABLE("1b", "2b")
			 : "+q"(ok), "+r"(v)
			 : "r"(va)
			 : "memory");
	*out = v;
	return ok;
}

// ---- User memory: used by mm/uaccess.c and the pmem functions alone -----------------------------

// Allow and forbid the kernel's accesses to user pages. Only where CPUID has SMAP.
// A word of memory that may fail; FAILED_WORD if it has. The way on is out of line: a load that
// succeeds costs nothing more.
static inline u64 asm_load_may_fail(const u64 *p)
{
	u64 v;

	__asm__ volatile("1: mov %1, %0\n"
			 "2:\n\t"
			 ".pushsection .text.failed, \"ax\"\n"
			 "3: mov %2, %0\n\t"
			 "jmp 2b\n\t"
			 ".popsection\n\t" ASM_MCTABLE("1b", "3b")
			 : "=r"(v)
			 : "m"(*p), "i"(FAILED_WORD));
	return v;
}

// All bits that are set in any of eight words; not 0 if their memory has failed.
static inline u64 asm_any8_may_fail(const u64 *p)
{
	u64 v;

	__asm__ volatile("11: mov %1, %0\n"
			 "12: or %2, %0\n"
			 "13: or %3, %0\n"
			 "14: or %4, %0\n"
			 "15: or %5, %0\n"
			 "16: or %6, %0\n"
			 "17: or %7, %0\n"
			 "18: or %8, %0\n"
			 "19:\n\t"
			 ".pushsection .text.failed, \"ax\"\n"
			 "20: mov %9, %0\n\t"
			 "jmp 19b\n\t"
			 ".popsection\n\t" ASM_MCTABLE("11b", "20b") ASM_MCTABLE("12b", "20b")
				 ASM_MCTABLE("13b", "20b") ASM_MCTABLE("14b", "20b")
					 ASM_MCTABLE("15b", "20b") ASM_MCTABLE("16b", "20b")
						 ASM_MCTABLE("17b", "20b") ASM_MCTABLE("18b", "20b")
			 : "=&r"(v)
			 : "m"(p[0]), "m"(p[1]), "m"(p[2]), "m"(p[3]), "m"(p[4]), "m"(p[5]),
			   "m"(p[6]), "m"(p[7]), "i"(FAILED_WORD)
			 : "cc");
	return v;
}

// Stores `new` if *p is `old`. Returns what was found: FAILED_WORD, and nothing is stored, if the
// memory has failed.
static inline u64 asm_cmpxchg_may_fail(u64 *p, u64 old, u64 new)
{
	__asm__ volatile("1: lock cmpxchg %2, %1\n"
			 "2:\n\t"
			 ".pushsection .text.failed, \"ax\"\n"
			 "3: mov %3, %0\n\t"
			 "jmp 2b\n\t"
			 ".popsection\n\t" ASM_MCTABLE("1b", "3b")
			 : "+a"(old), "+m"(*p)
			 : "r"(new), "i"(FAILED_WORD)
			 : "memory", "cc");
	return old;
}

static inline void asm_stac(void)
{
	__asm__ volatile("stac" : : : "memory", "cc");
}

static inline void asm_clac(void)
{
	__asm__ volatile("clac" : : : "memory", "cc");
}

// Copy where one side is user memory that may not be there, or the source is memory that may fail.
// Returns the bytes not copied: words first; a word that cannot be copied is tried again byte by
// byte, so the count is exact. Not after a machine check: then a word counts as a whole.
static inline size_t asm_copy_user(void *dst, const void *src, size_t bytes)
{
	size_t left = bytes >> 3, tail = bytes & 7;

	__asm__ volatile("1: rep movsq\n\t"
			 "mov %[tail], %[left]\n"
			 "2: rep movsb\n\t"
			 "jmp 4f\n"
			 "3: lea (%[tail], %[left], 8), %[left]\n\t"
			 "jmp 2b\n"
			 "5: lea (%[tail], %[left], 8), %[left]\n"
			 "4:\n\t" ASM_EXTABLE("1b", "3b") ASM_EXTABLE("2b", "4b")
				 ASM_MCTABLE("1b", "5b") ASM_MCTABLE("2b", "4b")
			 : "+D"(dst), "+S"(src), [left] "+c"(left)
			 : [tail] "r"(tail)
			 : "memory");
	return left;
}

// The same, storing zeros.
static inline size_t asm_clear_user(void *dst, size_t bytes)
{
	size_t left = bytes >> 3, tail = bytes & 7;

	__asm__ volatile("1: rep stosq\n\t"
			 "mov %[tail], %[left]\n"
			 "2: rep stosb\n\t"
			 "jmp 4f\n"
			 "3: lea (%[tail], %[left], 8), %[left]\n\t"
			 "jmp 2b\n"
			 "4:\n\t" ASM_EXTABLE("1b", "3b") ASM_EXTABLE("2b", "4b")
			 : "+D"(dst), [left] "+c"(left)
			 : [tail] "r"(tail), "a"(0)
			 : "memory");
	return left;
}

// One word of user memory, by one access. False: it is not there.
static inline bool asm_user_load32(u32 *out, const u32 *src)
{
	bool ok = false;
	u32 v = 0;

	__asm__ volatile("1: movl (%2), %1\n\t"
			 "movb $1, %0\n"
			 "2:\n\t" ASM_EXTABLE("1b", "2b") ASM_MCTABLE("1b", "2b")
			 : "+q"(ok), "+r"(v)
			 : "r"(src)
			 : "memory");
	*out = v;
	return ok;
}

// Stores `new` if *old is there; *old becomes what was there. False: the word is not there.
static inline bool asm_user_cmpxchg32(u32 *dst, u32 *old, u32 new)
{
	bool ok = false;

	__asm__ volatile("1: lock cmpxchgl %[new], (%[dst])\n\t"
			 "movb $1, %[ok]\n"
			 "2:\n\t" ASM_EXTABLE("1b", "2b") ASM_MCTABLE("1b", "2b")
			 : [ok] "+q"(ok), "+a"(*old)
			 : [new] "r"(new), [dst] "r"(dst)
			 : "memory", "cc");
	return ok;
}

// Copies words from user memory past the caches; dst is 8-byte aligned kernel memory. Returns the
// words not copied. A block of eight in which a load faults is done again word by word, so the
// count is exact. One register counts, for both addresses: bytes before the end of both, in the
// loop of blocks 64 more.
static inline size_t asm_copy_user_nt(void *dst, const void *src, size_t words)
{
	u64 a, b, c, d;
	s64 at = 64 - (s64)(words * 8);

	src = (const u8 *)src + words * 8;
	dst = (u8 *)dst + words * 8;
	__asm__ volatile(
		"test %[at], %[at]\n\t"
		"jg 10f\n"
		"1: mov -64(%[src], %[at]), %[a]\n"
		"2: mov -56(%[src], %[at]), %[b]\n"
		"3: mov -48(%[src], %[at]), %[c]\n"
		"4: mov -40(%[src], %[at]), %[d]\n\t"
		"movnti %[a], -64(%[dst], %[at])\n\t"
		"movnti %[b], -56(%[dst], %[at])\n\t"
		"movnti %[c], -48(%[dst], %[at])\n\t"
		"movnti %[d], -40(%[dst], %[at])\n"
		"5: mov -32(%[src], %[at]), %[a]\n"
		"6: mov -24(%[src], %[at]), %[b]\n"
		"7: mov -16(%[src], %[at]), %[c]\n"
		"8: mov -8(%[src], %[at]), %[d]\n\t"
		"movnti %[a], -32(%[dst], %[at])\n\t"
		"movnti %[b], -24(%[dst], %[at])\n\t"
		"movnti %[c], -16(%[dst], %[at])\n\t"
		"movnti %[d], -8(%[dst], %[at])\n\t"
		"add $64, %[at]\n\t"
		"jle 1b\n"
		"10: sub $64, %[at]\n\t"
		"jz 12f\n"
		"11: mov (%[src], %[at]), %[a]\n\t"
		"movnti %[a], (%[dst], %[at])\n\t"
		"add $8, %[at]\n\t"
		"jnz 11b\n\t"
		"jmp 12f\n"
		"13: sub $64, %[at]\n" // the block that failed counts as not copied
		"12:\n\t" ASM_EXTABLE("1b", "10b") ASM_EXTABLE("2b", "10b") ASM_EXTABLE("3b", "10b")
			ASM_EXTABLE("4b", "10b") ASM_EXTABLE("5b", "10b") ASM_EXTABLE("6b", "10b")
				ASM_EXTABLE("7b", "10b") ASM_EXTABLE("8b", "10b") ASM_EXTABLE(
					"11b", "12b") ASM_MCTABLE("1b", "13b")
					ASM_MCTABLE("2b", "13b") ASM_MCTABLE("3b", "13b")
						ASM_MCTABLE("4b", "13b") ASM_MCTABLE("5b", "13b")
							ASM_MCTABLE("6b", "13b") ASM_MCTABLE("7b",
											     "13b")
								ASM_MCTABLE("8b", "13b")
									ASM_MCTABLE("11b", "12b")
		: [at] "+r"(at), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)
		: [src] "r"(src), [dst] "r"(dst)
		: "memory", "cc");
	return (size_t)-at / 8;
}

static inline void asm_int3(void)
{
	__asm__ volatile("int3" : : : "memory");
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
