// SPDX-License-Identifier: MIT
//
// The terminal: line discipline (canonical mode, echo, erase, kill, ^C ^\ ^Z ^D, ICRNL, ONLCR) over a
// serial port. /dev/console, /dev/tty, /dev/ttyS0.
#pragma once

#include "kernel/lib/types.h"

void tty_init(void);

// Signals from the keyboard: set by kernel/proc. `pgrp` is the terminal's foreground process group.
void tty_set_signal(void (*fn)(u32 pgrp, int sig));
