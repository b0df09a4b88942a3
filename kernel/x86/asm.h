// SPDX-License-Identifier: MIT
//
// Inline assembly: all of it, and nowhere else. One instruction or idiom a function.
#pragma once

#include "kernel/lib/types.h"

struct cpu;

static inline struct cpu *asm_gs_self(void)
{
	struct cpu *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}
