// SPDX-License-Identifier: MIT
#pragma once

#include "kernel/lib/types.h"

#define TICK_HZ 250

// Calibrate the TSC against the PIT and read the CMOS clock (boot CPU, once).
void time_init(void);
// Start the periodic tick of the running CPU; needs its LAPIC. The first time, the LAPIC's timer is
// calibrated against the TSC.
void time_init_cpu(void);

// Nanoseconds since boot, monotonic, the same on all CPUs. Any context.
u64 time_now_ns(void);
// Nanoseconds since 1970 (CMOS clock at boot plus time_now_ns). Any context.
u64 time_wall_ns(void);
// Cycles of the TSC per second.
u64 time_tsc_hz(void);
// Called on each tick on each CPU, interrupts off. Set by sched.
void time_set_tick(void (*fn)(void));
void udelay(u64 us);
