// SPDX-License-Identifier: MIT
//
// For tests that touch memory which may not be there.
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <string.h>

static sigjmp_buf on_fault_jump;

static void on_fault(int sig)
{
	siglongjmp(on_fault_jump, sig);
}

// From here on the functions below, and whoever jumps by on_fault_jump, survive faults.
static inline void catch_faults(void)
{
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
}

// The byte, or minus the signal that reading it ends with.
static inline int look(const volatile char *p)
{
	int sig = sigsetjmp(on_fault_jump, 1);

	return sig ? -sig : *p;
}

// 0, or the signal that storing the byte ends with.
static inline int store(volatile char *p, char byte)
{
	int sig = sigsetjmp(on_fault_jump, 1);

	if (!sig)
		*p = byte;
	return sig;
}
