// SPDX-License-Identifier: MIT
//
// What: setting up x87, SSE and AVX, their initial state, and states that users wrote.
//
// Not here: saving and loading, which is an instruction each (fpu.h).
#include "kernel/x86/fpu.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/x86/asm.h"

#define FCW_DEFAULT   0x37f
#define MXCSR_DEFAULT 0x1f80

// What CPUs without a mask of their own accept (SDM 1, 11.6.6).
#define MXCSR_MASK_DEFAULT 0xffbfu

#define CPUID_XSTATE 0xd

bool fpu_has_xsave(void)
{
	const u32 wanted = BIT(26) | BIT(28); // XSAVE, AVX
	struct cpuid r;

	if ((asm_cpuid(1, 0).ecx & wanted) != wanted || asm_cpuid(0, 0).eax < CPUID_XSTATE ||
	    (asm_cpuid(CPUID_XSTATE, 0).eax & XSTATE_ALL) != XSTATE_ALL)
		return false;
	r = asm_cpuid(CPUID_XSTATE, 2); // AVX
	return r.ebx == offsetof(struct fpu_state, ymm_high) &&
	       r.eax == sizeof(((struct fpu_state *)0)->ymm_high);
}

void fpu_init_cpu(void)
{
	struct fpu_state s;

	if (cpu_features.xsave)
		asm_xsetbv(0, XSTATE_ALL);
	fpu_init_state(&s);
	fpu_load(&s);
}

// A component that is not in use is loaded with its initial state (SDM 1, 13.6); MXCSR belongs to
// none.
void fpu_init_state(struct fpu_state *s)
{
	memset(s, 0, sizeof(*s));
	s->legacy.fcw = FCW_DEFAULT;
	s->legacy.mxcsr = MXCSR_DEFAULT;
}

// The bits of MXCSR that this CPU has: it says so where it saves them.
static u32 mxcsr_mask(void)
{
	struct fxsave own __attribute__((aligned(16)));

	asm_fxsave(&own);
	return own.mxcsr_mask ? own.mxcsr_mask : MXCSR_MASK_DEFAULT;
}

int fpu_check(const struct fpu_state *s)
{
	if ((s->legacy.mxcsr & ~mxcsr_mask()) || (s->in_use & ~XSTATE_ALL) || s->compaction)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(s->reserved); i++)
		if (s->reserved[i])
			return -EINVAL;
	return 0;
}
