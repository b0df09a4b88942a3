// SPDX-License-Identifier: MIT
//
// The end of the road: a bug of ours was found. What a user, a medium or a device does never ends
// here.
#pragma once

#include "kernel/lib/types.h"

struct trapframe;

// Prints message, registers, a symbolised backtrace and what the other CPUs were doing, stops them
// and ends QEMU with status 0x7f under test (isa-debug-exit), else halts. Any context.
void panic(const char *fmt, ...) __noreturn __printf(1, 2);
void panic_trap(const struct trapframe *tf, const char *fmt, ...) __noreturn __printf(2, 3);

// Be ready to stop the other CPUs. Once, after cpu_init().
void panic_init(void);

// Assertion that is always on. Keep it O(1).
#define ASSERT(cond)                                                                               \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond);           \
	} while (0)
