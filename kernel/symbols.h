// SPDX-License-Identifier: MIT
//
// Names of the kernel's functions, for backtraces.
#pragma once

#include "kernel/lib/types.h"

// The function that `va` lies in, and how far; NULL if it is not in the kernel's code. Any context.
const char *symbol_find(u64 va, u64 *offset);
// "name+0x12" or the bare address, into buf. Returns buf.
const char *symbol_format(char *buf, size_t size, u64 va);
