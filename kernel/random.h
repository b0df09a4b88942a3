// SPDX-License-Identifier: MIT
//
// Random numbers for programs (getrandom, AT_RANDOM, /dev/urandom) and for the kernel.
#pragma once

#include "kernel/lib/types.h"

// Fills `buf`. Any context. Unpredictable where the CPU has RDRAND; else only as good as the times
// of interrupts and the clock are.
void random_bytes(void *buf, size_t bytes);
u64 random_u64(void);
