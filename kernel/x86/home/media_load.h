// SPDX-License-Identifier: MIT
//
// Loads from memory that may fail: kernel/lib/pte.h says what they are for. The kernel's.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/asm.h"

static inline u64 media_load64(const u64 *p)
{
	u64 v = asm_load_may_fail(p);

	asm_barrier(); // acquire: on x86 that concerns the compiler only
	return v;
}

static inline u64 media_any8(const u64 *p)
{
	return asm_any8_may_fail(p);
}
