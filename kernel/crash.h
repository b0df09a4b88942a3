// SPDX-License-Identifier: MIT
#pragma once

// `crash=KIND` on the command line: do on purpose what must end in a panic, so that tests can look
// at what the panic says. Kinds: panic, null (a NULL pointer), stack (endless recursion), irq (a
// panic in an interrupt handler), exec (jump into data), hang (until an NMI). Returns if there is
// no such parameter.
void crash_if_asked(void);
