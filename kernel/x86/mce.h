// SPDX-License-Identifier: MIT
//
// Machine checks (SDM 3B, chapter 16): the CPU's reports of broken hardware. Here they are read,
// graded (kernel/lib/mca.h) and kept; what is to be done about failed memory is registered by whom
// it belongs to.
#pragma once

#include "kernel/lib/mca.h"
#include "kernel/lib/types.h"

struct trapframe;

// One report, as it was found.
struct mce_record {
	struct mca_error error;
	u32 cpu, bank;
	enum mca_grade grade;
	bool located; // pa is right
	u64 pa;
};

// What the owner of memory does. The first two are called in the machine check itself, where the
// kernel was interrupted anywhere: no lock may be taken, nothing be logged.
struct mce_owner {
	// Is `pa` memory whose failure can be survived?
	bool (*owns)(u64 pa);
	// The kernel met the error. True: it may go on where it was. `copying`: a copy was cut
	// short, and goes on with what the exception table says; the answer does not matter.
	bool (*in_kernel)(u64 pa, bool copying);
	// A user instruction met it: thread context, interrupts on. `restartable`: the thread may
	// try again.
	void (*in_user)(struct trapframe *tf, u64 pa, bool restartable);
	// There are records to be drained. Interrupt context.
	void (*wake)(void);
};
void mce_set_owner(const struct mce_owner *owner);

// Switches the banks of the running CPU on. What they held from before is kept as records.
void mce_init_cpu(void);

// From trap.c.
void mce_in_kernel(struct trapframe *tf);
void mce_from_user(struct trapframe *tf);

// At each tick: corrected errors raise nothing, so the banks are looked at now and then.
void mce_tick(void);
// Look at the running CPU's banks now. Any context.
void mce_poll(void);

// Takes out one record, in no order. False: there is none. Any context but a machine check.
bool mce_take(struct mce_record *out);
// Records that found no room so far.
u32 mce_lost(void);
