// SPDX-License-Identifier: MIT
//
// What lies on the user's stack while a signal handler runs (Linux x86-64 ABI).
#pragma once

#include "kernel/lib/types.h"
#include "kernel/proc/signal.h"
#include "kernel/x86/fpu.h"

// The interrupted program's x87, SSE and AVX registers. Without AVX it is struct fxsave alone. With
// it the 48 bytes that FXSAVE leaves to software say so, and a second mark behind the state shows
// that somebody who copied the frame did not take the first 512 bytes only.
struct sigfpu {
	struct fpu_state state;
	u32 magic2;
};

struct sigfpu_mark { // struct _fpx_sw_bytes: fxsave.software
	u32 magic1;
	u32 frame_bytes; // with magic2
	u64 components;
	u32 state_bytes;
	u32 padding[7];
};

#define SIGFPU_BYTES  (offsetof(struct sigfpu, magic2) + sizeof(u32))
#define SIGFPU_MAGIC1 0x46505853u
#define SIGFPU_MAGIC2 0x46505845u

struct sigcontext {
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	u64 fpstate; // uva of struct sigfpu
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

_Static_assert(offsetof(struct sigfpu, magic2) == 832, "ABI");
_Static_assert(sizeof(struct sigfpu_mark) == sizeof(((struct fxsave *)0)->software), "ABI");
_Static_assert(sizeof(struct sigcontext) == 256, "ABI");
_Static_assert(offsetof(struct sigcontext, cs) == 144, "ABI");
_Static_assert(offsetof(struct sigcontext, fpstate) == 184, "ABI");
_Static_assert(offsetof(struct ucontext, context) == 40, "ABI");
_Static_assert(offsetof(struct ucontext, mask) == 296, "ABI");
_Static_assert(offsetof(struct sigframe, info) == 312, "ABI");

// Where the frame goes below `sp`; *fpu_va is the place of the registers' state.
u64 sigframe_place(u64 sp, u64 *fpu_va);
// Registers with traps and page faults.
void sigdeliver_init(void);
