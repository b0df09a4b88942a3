// SPDX-License-Identifier: MIT
//
// What: x87, SSE and AVX registers. The kernel never touches them (it is built without), so they
// are the running user thread's, and change hands at a switch of threads: saved and loaded as a
// whole, always. (Leaving them in place until the next one needs them was a security hole,
// CVE-2018-3665.)
//
// One layout for memory: that of XSAVE, in its standard form, with the AVX component (SDM 1, 13.4).
// A CPU without XSAVE uses its first 512 bytes, which are FXSAVE's. It is Linux's layout in signal
// frames, too.
//
// Not here: when a thread is switched (kernel/sched), the frame of a signal (kernel/proc).
//
// Context: fpu_save and fpu_load of an area that a switch also uses want preemption off, or the
// thread's CPU might save into what is being loaded. No locks, no failure.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/cpu.h"

// State components, as bits (SDM 1, 13.1). AVX-512 is left off: programs see that in XCR0.
#define XSTATE_X87 BIT(0)
#define XSTATE_SSE BIT(1)
#define XSTATE_AVX BIT(2)
#define XSTATE_ALL (XSTATE_X87 | XSTATE_SSE | XSTATE_AVX)

// SDM 1, table 10-2. The last 48 bytes are software's: no instruction touches them.
struct fxsave {
	u16 fcw, fsw;
	u8 ftw, reserved0;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 registers[384]; // st0-7, xmm0-15
	u8 reserved1[48];
	u8 software[48];
};

struct fpu_state {
	struct fxsave legacy;
	u64 in_use;      // XSTATE_BV: components that are not in their initial state
	u64 compaction;  // XCOMP_BV: 0, the standard form
	u64 reserved[6]; // must be zero
	u8 ymm_high[256];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct fxsave) == 512, "SDM");
_Static_assert(offsetof(struct fxsave, mxcsr) == 24, "SDM");
_Static_assert(offsetof(struct fxsave, software) == 464, "SDM");
_Static_assert(offsetof(struct fpu_state, ymm_high) == 576, "SDM");
_Static_assert(sizeof(struct fpu_state) == 832, "SDM");

// Whether CPUID announces XSAVE with the AVX component where struct fpu_state has it.
bool fpu_has_xsave(void);
// The registers of this CPU as a program finds them at its start. CR4 is set already.
void fpu_init_cpu(void);
// That state in memory: what Linux gives (System V ABI 3.4.1).
void fpu_init_state(struct fpu_state *s);
// `s` was written by a user: -EINVAL if the CPU would fault on loading it.
int fpu_check(const struct fpu_state *s) __must_check;

static inline void fpu_save(struct fpu_state *s)
{
	if (likely(cpu_features.xsave))
		asm_xsave(s, XSTATE_ALL);
	else
		asm_fxsave(s);
}

static inline void fpu_load(const struct fpu_state *s)
{
	if (likely(cpu_features.xsave))
		asm_xrstor(s, XSTATE_ALL);
	else
		asm_fxrstor(s);
}
