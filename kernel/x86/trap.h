// SPDX-License-Identifier: MIT
//
// Traps, interrupts and system call entry: the register frame and the tables of handlers. Upper
// layers register themselves here; x86 calls nobody by name.
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/msr.h"

// What every entry stub leaves on the kernel stack (lowest address first). The hardware pushes the
// last five words (SDM 3A, 6.14.2); a system call builds the same frame.
struct trapframe {
	u64 r15, r14, r13, r12, rbp, rbx;
	u64 r11, rax, rcx;
	union {
		struct {
			u64 rdi, rsi, rdx, r10, r8, r9;
		};
		u64 args[6]; // of a system call, in its order
	};
	u64 vector; // 0-255; 256 for a system call
	u64 error;  // error code; for a system call the original rax
	u64 rip, cs, rflags, rsp, ss;
};

// Vectors of exceptions that have a name (SDM 3A, table 6-1).
#define TRAP_DEBUG         1
#define TRAP_NMI           2
#define TRAP_BREAKPOINT    3
#define TRAP_DOUBLE_FAULT  8
#define TRAP_PROTECTION    13
#define TRAP_PAGE_FAULT    14
#define TRAP_MACHINE_CHECK 18
#define TRAP_SYSCALL       256 // not the CPU's

// Page fault error code (SDM 3A, 4.7).
#define PF_PRESENT  BIT(0)
#define PF_WRITE    BIT(1)
#define PF_USER     BIT(2)
#define PF_RESERVED BIT(3)
#define PF_EXEC     BIT(4)

static inline bool trap_from_user(const struct trapframe *tf)
{
	return (tf->cs & 3) == 3;
}

typedef void (*trap_handler)(struct trapframe *tf);

// Exceptions 0-31 and software-chosen vectors. Handlers of exceptions run with interrupts as they
// were, those of interrupts with interrupts off. The page-fault handler begins with interrupts off,
// because another fault would overwrite CR2: it reads asm_read_cr2() and then switches them on
// itself if tf->rflags has RFLAGS_IF (asm_irq_restore(tf->rflags)).
void trap_set_handler(u8 vector, trap_handler fn);

// An exception in user mode that nobody handled; set by kernel/proc (sends the signal).
void trap_set_user_fault(trap_handler fn);
// System calls; set by kernel/sys. Interrupts are off when it begins and when it ends, which it
// does by `return trap_syscall_end(...)`.
void trap_set_syscall(bool (*fn)(struct trapframe *tf));
// A light function of a call, tried first where cpu.light_below says so: interrupts are off, so it
// does not sleep, takes only locks that interrupts may take, and ends soon. No frame is built,
// nothing is looked at on the way out: the function sees to that before it does anything, or says
// TRAP_NOT_LIGHT, and the call goes the usual way. Those that did not are counted in
// cpu.light_calls. The arguments are those of the call: rdi, rsi, rdx, r10, r8, r9.
#define TRAP_NOT_LIGHT (-65536ll)
typedef s64 (*trap_light)(u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);
void trap_set_light(unsigned nr, trap_light fn); // nr < TRAP_LIGHT_MAX
// Last thing before every return to user mode, interrupts on: pending signals. Set by kernel/proc.
void trap_set_user_return(trap_handler fn);
// Preemption: called with interrupts off at the end of an interrupt, if need_resched is set and the
// interrupted code is preemptible, and before a return to user mode. Must clear need_resched; comes
// back with interrupts off. Set by sched.
void trap_set_preempt(void (*fn)(void));

// What a CPU does with an NMI: no lock may be taken there. Set by kernel/panic.c, which stops the
// other CPUs by it.
void trap_set_nmi(trap_handler fn);
// A debug exception in the kernel: a test's data breakpoint (mm/test_util.h). As with an NMI. NULL:
// none is expected.
void trap_set_kernel_debug(trap_handler fn);

// Leave for user mode with the registers in `tf`, which is at the very top of the current kernel
// stack; the user-return handler above runs first. A new user thread begins by this. Interrupts on.
void trap_return_user(struct trapframe *tf) __noreturn;

// What user code may choose of RFLAGS.
#define RFLAGS_USER                                                                                \
	(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_DF |       \
	 RFLAGS_OF | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)

// Is the frame safe for SYSRET? That takes rip from RCX and rflags from R11, brings its own
// selectors, cannot set RF or TF soundly, and faults in kernel mode (on Intel) if rip is not
// canonical. USER_END leaves the last page unmapped, so that a SYSCALL at its end cannot make such
// a rip either. One test of one word, for every call comes here.
_Static_assert((~(RFLAGS_USER & ~(RFLAGS_RF | RFLAGS_TF)) & ~(RFLAGS_IF | RFLAGS_ONE) &
		0xffffffff) == 0xffdbf128,
	       "entry.asm: RFLAGS_OTHERS");
static inline bool trap_sysret_possible(const struct trapframe *tf)
{
	const u64 fixed = ~(u64)(RFLAGS_USER & ~(RFLAGS_RF | RFLAGS_TF));
	u64 wrong = (tf->rcx ^ tf->rip) | (tf->r11 ^ tf->rflags) | tf->rip >> 47;

	return !(wrong | ((tf->rflags ^ (RFLAGS_IF | RFLAGS_ONE)) & fixed));
}

// The end of a system call, interrupts off since the last look at what its thread has to do.
// `look`: the user-return handler has something to do. True: by SYSRET.
bool trap_finish_syscall(struct trapframe *tf);
static inline bool trap_syscall_end(struct trapframe *tf, bool look)
{
	if (likely(!look && !asm_gs_need_resched() && trap_sysret_possible(tf)))
		return true;
	return trap_finish_syscall(tf);
}

// For messages: "page fault", "system call", ...
const char *trap_name(u64 vector);

// Device interrupts: route the ISA interrupt `irq` (0-15, with the MADT's overrides) to the boot
// CPU and call fn with interrupts off. 0, or -EBUSY if taken, -ENODEV if the IOAPIC has no such
// input.
int irq_register(unsigned irq, void (*fn)(void *arg), void *arg) __must_check;

// Exception-table fixup: code that may fault on a user address names where to continue. True if
// tf->rip was in the table and has been redirected.
bool trap_fixup(struct trapframe *tf);
// The same for a machine check at an instruction that copies from memory which may fail. In its
// context.
bool trap_fixup_memory(struct trapframe *tf);
