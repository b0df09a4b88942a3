// SPDX-License-Identifier: MIT
//
// Ending it all: power, reset, and the exit status of an emulator.
#pragma once

#include "kernel/lib/types.h"

enum { EXIT_TEST_PASS = 0x10, EXIT_TEST_FAIL = 0x11, EXIT_PANIC = 0x7f };

// What the ACPI tables say about power-off (drivers/acpi/power.c): SLP_TYP of \_S5 for the control
// registers' ports; a port of 0 is not there.
void machine_set_s5(u16 pm1a_port, u8 typ_a, u16 pm1b_port, u8 typ_b);

// Switch the machine off: by ACPI, else by the emulators' own ports. Halts if nothing works. Any
// context; unwritten data is the caller's affair.
void machine_poweroff(void) __noreturn;

// Reset by the keyboard controller, then the chipset's reset port, then a triple fault.
void machine_reboot(void) __noreturn;

// With `testexit` on the command line end QEMU with status code << 1 | 1 (isa-debug-exit at port
// f4h); otherwise, or without the device, power off.
void machine_exit(u8 code) __noreturn;

// Stop this CPU for good.
void machine_halt(void) __noreturn;
