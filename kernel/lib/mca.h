// SPDX-License-Identifier: MIT
//
// What the words of a machine check mean (SDM 3B, chapters 16 and 17): pure functions of the
// registers' values. Reading the registers is kernel/x86/mce.c.
#pragma once

#include "kernel/lib/types.h"

// IA32_MCG_CAP
#define MCG_CAP_BANKS 0xffu
#define MCG_CAP_CTL   BIT(8)  // IA32_MCG_CTL is there
#define MCG_CAP_SER   BIT(24) // software error recovery: S and AR mean something

// IA32_MCG_STATUS
#define MCG_STATUS_RIPV BIT(0) // the program can go on at the saved rip
#define MCG_STATUS_EIPV BIT(1) // the instruction at the saved rip met the error
#define MCG_STATUS_MCIP BIT(2) // in progress: another machine check would shut the CPU down

// IA32_MCi_STATUS
#define MCI_VAL   BIT(63)
#define MCI_OVER  BIT(62) // an earlier error was lost
#define MCI_UC    BIT(61) // not corrected
#define MCI_EN    BIT(60) // a machine check was wanted for it
#define MCI_MISCV BIT(59)
#define MCI_ADDRV BIT(58)
#define MCI_PCC   BIT(57) // the CPU's own state is damaged
#define MCI_S     BIT(56) // signalled by a machine check
#define MCI_AR    BIT(55) // the program needs the data: something must be done before it goes on

#define MCI_CODE(status) ((u32)(status)&0xefffu) // bit 12 says how corrected errors are counted
#define MCA_DATA_LOAD    0x134u
#define MCA_FETCH        0x150u

struct mca_error {
	u64 status, addr, misc;
};

// How bad, in rising order.
enum mca_grade {
	MCA_NONE,      // the bank holds nothing
	MCA_CORRECTED, // only to be noted
	MCA_OPTIONAL,  // memory is damaged, and nobody has used it yet: scrubbing, write-back
	MCA_OTHER,     // action required of another CPU, which sees the same bank
	MCA_ACTION,    // action required here: the interrupted program must not go on as it is
	MCA_FATAL,     // the machine cannot go on
};

// What the CPU says of itself.
struct mca_context {
	u64 mcg;   // IA32_MCG_STATUS as the machine check found it; of banks that are only polled:
		   // MCG_STATUS_RIPV
	bool ser;  // MCG_CAP_SER
	bool user; // user mode was interrupted. Only there code runs from memory that may fail
};
// *why says in words what a fatal error is.
enum mca_grade mca_grade(const struct mca_error *e, const struct mca_context *c, const char **why);

// Where in memory: false unless the bank has a physical address that is exact to a page or better
// (SDM 3B, 16.3.2.4). What the error's grain leaves open is zero in *pa.
bool mca_address(const struct mca_error *e, unsigned phys_bits, u64 *pa);

// The kind of error, for people.
const char *mca_text(u64 status);
