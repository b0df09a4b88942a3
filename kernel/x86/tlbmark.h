// SPDX-License-Identifier: MIT
//
// Here the debug kernel says "nobody can reach this any more, it may get another use", and the
// adversarial TLB (docs/adversarial-tlb.md) looks whether a CPU could still hold a way to it. It is
// said when it is true, and before anybody else can take the thing. The release kernel says
// nothing.
#pragma once

#include "kernel/debug.h"
#include "kernel/lib/tlbmark.h"
#include "kernel/x86/asm.h"

static inline void tlb_mark_range(enum tlb_mark_kind kind, u64 what, u64 n, u64 end)
{
	struct tlb_mark m = { .what = what, .n = n, .end = end };

	if (DEBUG_BUILD)
		asm_store_marked(&m.kind, kind);
}

static inline void tlb_mark(enum tlb_mark_kind kind, u64 what, u64 n)
{
	tlb_mark_range(kind, what, n, 0);
}
