// SPDX-License-Identifier: MIT
//
// Inline assembly, second part: accesses to memory that may not be there (page faults) or may have
// failed (machine checks), and where they go on then.
#pragma once

#include "kernel/lib/types.h"

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
