// SPDX-License-Identifier: MIT
//
// 16550 UARTs: COM1 (ttyS0) and COM2 (ttyS1), 115200 8N1. Sending is polled, so that it works in
// any context from the first instruction on; receiving is by interrupt.
#pragma once

#include "kernel/lib/types.h"

enum { SERIAL_COM1, SERIAL_COM2, SERIAL_PORTS };

// Find and set up the ports. Before that, and for a port that is not there, sending does nothing.
void serial_init(void);
bool serial_present(unsigned port);

// Send bytes as they are (no CR is added). Any context, no locks: callers that care about whole
// lines serialise themselves. serial_try_write sends what the port takes without a long wait and
// returns how much that was; an absent port takes everything. serial_write waits; but if the port
// takes nothing for about a second the rest is dropped, and what comes after as well, until it
// takes bytes again: the kernel does not stop because nobody reads its log.
size_t serial_try_write(unsigned port, const char *bytes, size_t len) __must_check;
void serial_write(unsigned port, const char *bytes, size_t len);

// Have `fn` called with each byte that `port` receives, first with those that came before (a FIFO's
// worth): interrupts off. To be called once. 0 or what irq_register() says; -ENODEV if there is no
// such port.
int serial_set_receiver(unsigned port, void (*fn)(u8 byte)) __must_check;
