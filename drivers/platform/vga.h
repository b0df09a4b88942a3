// SPDX-License-Identifier: MIT
//
// VGA text screen, 80x25: a second place to see the kernel log where there is no serial line.
#pragma once

#include "kernel/lib/types.h"

#define VGA_PA    0xb8000ull // text memory
#define VGA_BYTES KIB(32)

// Write through this window on the text memory from now on; the first time, clear the screen. NULL:
// write nothing until there is a window again.
void vga_init(volatile void *window);

// Text; \n begins a new line. The caller serialises.
void vga_write(const char *text, size_t len);
