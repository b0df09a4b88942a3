// SPDX-License-Identifier: MIT
//
// The kernel log: a ring in memory, written through to the consoles (serial port, VGA text) up to
// the level of `loglevel=`. Any context, any lock held, interrupts on or off; usable from the first
// instruction of main() on. Lines begin with the time and are written whole.
#pragma once

#include "kernel/lib/types.h"

enum log_level { LOG_ERR = 3, LOG_WARN = 4, LOG_INFO = 6, LOG_DEBUG = 7 };

void klog(enum log_level level, const char *fmt, ...) __printf(2, 3);

#define log_err(...)   klog(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  klog(LOG_WARN, __VA_ARGS__)
#define log_info(...)  klog(LOG_INFO, __VA_ARGS__)
#define log_debug(...) klog(LOG_DEBUG, __VA_ARGS__)

// Serial ports and VGA text; parses loglevel= and console= (which COM port carries the log).
void console_init(void);
