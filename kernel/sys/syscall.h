// SPDX-License-Identifier: MIT
//
// System calls: Linux x86-64 numbers and semantics. Each family decodes its arguments in a file of
// its own; table.c lists every call that there is.
#pragma once

#include "kernel/lib/errno.h"
#include "kernel/lib/types.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/trap.h"
#include "mm/trace.h"

// The caller's rdi, rsi, rdx, r10, r8, r9, where entry.asm has saved them: nothing is copied. Who
// changes the registers (execve, sigreturn) has read its arguments before.
struct syscall_args {
	u64 a[6];
};

// All of the caller's registers (fork, execve, sigreturn).
static inline struct trapframe *syscall_frame(const struct syscall_args *args)
{
	return (struct trapframe *)((uintptr_t)args - offsetof(struct trapframe, args));
}

// 0 or positive result, or -errno.
typedef s64 (*syscall_fn)(const struct syscall_args *args);

enum syscall_status { SYSCALL_ABSENT, SYSCALL_PARTIAL, SYSCALL_FULL };

#define SYSCALL_MAX 512

struct syscall {
	const char *name;
	syscall_fn fn;
	enum syscall_status status;
};
extern const struct syscall syscall_table[SYSCALL_MAX];

// The first thing that a light function does (kernel/x86/trap.h), or it returns TRAP_NOT_LIGHT.
// False: somebody wants to know, or there is something to be done before the return to the program.
// A signal that another CPU sends after that waits as one that comes to user code does. The time of
// a light call is the program's.
static inline bool syscall_light_begin(void)
{
	return likely(!READ_ONCE(trace_on) && !asm_gs_need_resched() &&
		      !READ_ONCE(thread_current()->signal_pending));
}

// Hooks the table into x86's entry and makes /proc/syscalls.
void syscall_init(void);
