// SPDX-License-Identifier: MIT
//
// Formatting. Conversions: %d %i %u %x %X %o %c %s %p %% with the flags - 0 + space #, width and
// precision (also *), and the length modifiers hh h l ll z t j. No floating point (the kernel has
// none), no %n (it would write through an argument).
#pragma once

#include <stdarg.h>

#include "kernel/lib/types.h"

// As snprintf(3): writes at most `size` bytes including the NUL, returns the length that the whole
// text has. Any context.
size_t ksnprintf(char *buf, size_t size, const char *fmt, ...) __printf(3, 4);
size_t kvsnprintf(char *buf, size_t size, const char *fmt, va_list ap) __printf(3, 0);
