// SPDX-License-Identifier: MIT
//
// The numbers of threads, processes, process groups and sessions: one space for all, so that a
// number means one thing. Each is counted by its users and is free when the last one has let go.
#pragma once

#include "kernel/lib/types.h"

#define NUMBER_MAX  32768u // numbers are below, as in Linux by default
#define NUMBER_INIT 1u     // of the first process; never given out but by number_take()

// The next free number, with one user; 0: there is none. All of these: any context but interrupts.
u32 number_alloc(void);
// One certain number, with one user; false: it is in use.
bool number_take(u32 nr);
void number_get(u32 nr); // one more user of a number in use
void number_put(u32 nr);
u32 number_last(void); // given out most recently
