// SPDX-License-Identifier: MIT
//
// What lies on the user's stack while a signal handler runs (Linux x86-64 ABI).
#pragma once

#include "kernel/lib/types.h"
#include "kernel/proc/signal.h"

// SSE and x87 state as FXSAVE has it (SDM 1, table 10-2).
struct fxsave {
	u16 fcw, fsw;
	u8 ftw, reserved0;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 registers[480]; // st0-7, xmm0-15, and room for software, which stays zero
};

struct sigcontext {
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	u64 fpstate; // uva of struct fxsave
	u64 reserved[8];
};

struct sigstack { // stack_t
	u64 sp;
	u32 flags, pad;
	u64 bytes;
};

struct ucontext {
	u64 flags;
	u64 link;
	struct sigstack stack;
	struct sigcontext context;
	sigset_t mask;
};

struct sigframe {
	u64 restorer; // where the handler's RET goes: calls rt_sigreturn
	struct ucontext uc;
	struct siginfo info;
};

_Static_assert(sizeof(struct fxsave) == 512, "SDM");
_Static_assert(offsetof(struct fxsave, mxcsr) == 24, "SDM");
_Static_assert(sizeof(struct sigcontext) == 256, "ABI");
_Static_assert(offsetof(struct sigcontext, cs) == 144, "ABI");
_Static_assert(offsetof(struct sigcontext, fpstate) == 184, "ABI");
_Static_assert(offsetof(struct ucontext, context) == 40, "ABI");
_Static_assert(offsetof(struct ucontext, mask) == 296, "ABI");
_Static_assert(offsetof(struct sigframe, info) == 312, "ABI");

// Where the frame goes below `sp`; *fpu_va is the place of the SSE state.
u64 sigframe_place(u64 sp, u64 *fpu_va);
// Clears the bits of MXCSR that FXRSTOR would fault on.
void sigframe_clean_fpu(struct fxsave *fpu);
// Registers with traps and page faults.
void sigdeliver_init(void);
