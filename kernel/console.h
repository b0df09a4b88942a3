// SPDX-License-Identifier: MIT
//
// The kernel log: a ring in memory, written through to the consoles (serial port, VGA text) up to
// the level of `loglevel=`. Any context, any lock held, interrupts on or off; usable from the first
// instruction of main() on. Lines begin with the time and are written whole.
#pragma once

#include "kernel/lib/types.h"

enum log_level { LOG_ERR = 3, LOG_WARN = 4, LOG_INFO = 6, LOG_DEBUG = 7 };

void klog(enum log_level level, const char *fmt, ...) __printf(2, 3);

// A line without the time, shown whatever the loglevel: what other programs parse (test results).
void klog_plain(const char *fmt, ...) __printf(1, 2);

#define log_err(...)   klog(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  klog(LOG_WARN, __VA_ARGS__)
#define log_info(...)  klog(LOG_INFO, __VA_ARGS__)
#define log_debug(...) klog(LOG_DEBUG, __VA_ARGS__)

// Serial ports and VGA text; parses loglevel= and console= (which COM port carries the log). Lines
// logged earlier come out now.
void console_init(void);

// Bytes of a terminal, as they are, to a serial port (drivers/serial/serial.h); to the VGA screen
// as well if it is the port that carries the log. Log lines do not cut into them. Any context.
// Returns how many were sent: fewer than `len` if the port is slow; try again later.
size_t console_write(unsigned port, const char *bytes, size_t len) __must_check;
// The serial port that carries the log.
unsigned console_port(void);

// Copies log text from ring position *pos on, whole lines while they fit, and advances *pos. What
// was overwritten meanwhile is skipped. Returns the number of bytes, 0 at the end. Start with 0.
size_t klog_read(u64 *pos, char *buf, size_t len);
// Number of bytes ever logged: a *pos from which on only new lines are read.
u64 klog_end(void);

// From now on print without the lock: the machine has stopped, and whoever held it will not come
// back.
void console_panic(void);
