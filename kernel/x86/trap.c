// SPDX-License-Identifier: MIT
//
// What: the interrupt table, and what happens between entry.asm and the registered handlers: who
// handles a trap, when interrupts are on, preemption, and the last steps before user mode.
//
// Not here: the way in and out (entry.asm), device interrupts (irq.c), page faults (mm/fault.c).
//
// Invariants:
//   I1 all gates switch interrupts off; exceptions switch them on again here if they were on,
//      except page faults, whose handler must read CR2 first, and machine checks, whose handler
//      must read this CPU's banks first.
//   I2 a frame goes to user mode only through finish_user(), which forces what user code must not
//      choose: selectors, privileged flags, a canonical rip.
//
// Locking: none. The tables are filled at init, one writer each.
#include "kernel/x86/trap.h"

#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/gdt.h"
#include "kernel/x86/irq.h"
#include "kernel/x86/mce.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/trap_internal.h"

// A gate of the IDT (SDM 3A, 6.14.1).
struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 3A, figure 6-8");

#define GATE_INTERRUPT 0x8e // present, DPL 0, 64-bit, interrupts off
#define GATE_USER      0x60 // DPL 3: reachable by INT3 and INTO from user mode

static struct gate idt[256] __cacheline;
static bool no_calls(struct trapframe *tf)
{
	tf->rax = (u64)-ENOSYS;
	return trap_finish_syscall(tf);
}

bool (*trap_syscall_fn)(struct trapframe *tf) __read_mostly = no_calls;

// Read by entry.asm for each call.
trap_light trap_light_fn[TRAP_LIGHT_MAX] __read_mostly;

static trap_handler handlers[256] __read_mostly;
static trap_handler user_fault __read_mostly, user_return __read_mostly, nmi __read_mostly;
static trap_handler kernel_debug;
static void (*preempt)(void) __read_mostly;
u8 trap_smap __read_mostly;

static const char *const names[VECTOR_EXCEPTIONS] = {
	"divide error",
	"debug",
	"NMI",
	"breakpoint",
	"overflow",
	"bound range",
	"invalid opcode",
	"device not available",
	"double fault",
	"coprocessor overrun",
	"invalid TSS",
	"segment not present",
	"stack fault",
	"general protection",
	"page fault",
	"reserved",
	"x87 error",
	"alignment check",
	"machine check",
	"SIMD error",
	"virtualisation",
	"control protection",
};

const char *trap_name(u64 vector)
{
	if (vector == TRAP_SYSCALL)
		return "system call";
	if (vector >= VECTOR_EXCEPTIONS)
		return "interrupt";
	return names[vector] ? names[vector] : "reserved";
}

void trap_set_handler(u8 vector, trap_handler fn)
{
	handlers[vector] = fn;
}

void trap_set_user_fault(trap_handler fn)
{
	user_fault = fn;
}

void trap_set_syscall(bool (*fn)(struct trapframe *tf))
{
	trap_syscall_fn = fn;
}

void trap_set_light(unsigned nr, trap_light fn)
{
	ASSERT(nr < TRAP_LIGHT_MAX);
	trap_light_fn[nr] = fn;
}

void trap_set_user_return(trap_handler fn)
{
	user_return = fn;
}

void trap_set_preempt(void (*fn)(void))
{
	preempt = fn;
}

void trap_set_nmi(trap_handler fn)
{
	nmi = fn;
}

void trap_set_kernel_debug(trap_handler fn)
{
	kernel_debug = fn;
}

static bool go_on_elsewhere(struct trapframe *tf, const struct extable_entry *e,
			    const struct extable_entry *end)
{
	for (; e < end; e++) {
		if (e->from == tf->rip) {
			tf->rip = e->to;
			return true;
		}
	}
	return false;
}

bool trap_fixup(struct trapframe *tf)
{
	return go_on_elsewhere(tf, extable_start, extable_end);
}

bool trap_fixup_memory(struct trapframe *tf)
{
	return go_on_elsewhere(tf, mctable_start, mctable_end);
}

static bool user_address(u64 va)
{
	return va < BIT(47);
}

// The kernel looked at a kernel address that is not there, and expected that it might not be. No
// handler is asked: it would have to take locks, and this happens in panics.
static bool probe_failed(struct trapframe *tf)
{
	return tf->vector == TRAP_PAGE_FAULT && !trap_from_user(tf) &&
	       !user_address(asm_read_cr2()) && trap_fixup(tf);
}

// A user instruction faulted on an access that the CPU makes with its own rights, to a descriptor
// table say. Those are mapped, so that should not happen; but QEMU's TCG reads the stack in this
// way for a user's RETF and IRET, which SMAP forbids. Mapping the page would not help, the
// instruction would fault for ever: it counts as a protection fault.
static bool own_access_of_cpu(const struct trapframe *tf)
{
	return tf->vector == TRAP_PAGE_FAULT && trap_from_user(tf) && !(tf->error & PF_USER);
}

static void exception(struct trapframe *tf)
{
	trap_handler fn;

	if (own_access_of_cpu(tf)) {
		tf->vector = TRAP_PROTECTION;
		tf->error = 0;
	}
	fn = handlers[tf->vector];
	if (tf->vector != TRAP_PAGE_FAULT && tf->vector != TRAP_MACHINE_CHECK &&
	    (tf->rflags & RFLAGS_IF))
		asm_sti();
	if (probe_failed(tf))
		return;
	if (fn)
		fn(tf);
	else if (trap_from_user(tf) && user_fault)
		user_fault(tf);
	else if (!trap_fixup(tf))
		panic_trap(tf, "%s", trap_name(tf->vector));
	asm_cli();
}

static void interrupt(struct trapframe *tf)
{
	struct cpu *c = this_cpu();

	c->irq_depth++;
	if (handlers[tf->vector])
		handlers[tf->vector](tf);
	irq_end((u8)tf->vector);
	c->irq_depth--;
	if (c->need_resched && c->preempt_count == 0 && c->irq_depth == 0 &&
	    (tf->rflags & RFLAGS_IF) && preempt)
		preempt();
}

// Make the frame safe (I2). IRET to a rip that is not canonical would fault in the kernel with the
// user's GS loaded: such a frame becomes a protection fault of the user's instead.
static bool frame_safe(struct trapframe *tf)
{
	tf->cs = SEG_USER_CODE;
	tf->ss = SEG_USER_DATA;
	tf->rflags = (tf->rflags & RFLAGS_USER) | RFLAGS_IF | RFLAGS_ONE;
	return user_address(tf->rip);
}

// Interrupts on in between, off on return: from the last look at need_resched to IRET nobody can
// change the answer but an interrupt, which will come in user mode and look again.
static void finish_user(struct trapframe *tf)
{
	for (;;) {
		asm_sti();
		if (user_return)
			user_return(tf);
		asm_cli();
		if (this_cpu()->need_resched && preempt) {
			preempt();
		} else if (frame_safe(tf)) {
			return;
		} else {
			// Only now: a fault at the bad rip itself has its own signal, delivered
			// above.
			tf->vector = TRAP_PROTECTION;
			tf->error = 0;
			if (!user_fault)
				panic_trap(tf, "user frame with bad rip");
			asm_sti();
			user_fault(tf);
		}
	}
}

void trap_finish_user(struct trapframe *tf)
{
	finish_user(tf);
}

void trap_dispatch(struct trapframe *tf)
{
	if (tf->vector < VECTOR_EXCEPTIONS)
		exception(tf);
	else
		interrupt(tf);
	if (trap_from_user(tf))
		finish_user(tf);
}

void trap_dispatch_paranoid(struct trapframe *tf)
{
	if (tf->vector == TRAP_NMI && nmi)
		nmi(tf);
	else if (tf->vector == TRAP_MACHINE_CHECK)
		mce_in_kernel(tf);
	else if (tf->vector == TRAP_DEBUG && tf->rip == (u64)syscall_entry)
		tf->rflags &= ~RFLAGS_TF; // entry.asm, I2
	else if (tf->vector == TRAP_DEBUG && kernel_debug)
		kernel_debug(tf);
	else
		panic_trap(tf, "%s", trap_name(tf->vector));
}

bool trap_finish_syscall(struct trapframe *tf)
{
	finish_user(tf);
	return trap_sysret_possible(tf);
}

static void set_gate(unsigned vector, u8 ist, u8 type)
{
	u64 stub = (u64)trap_stubs[vector];

	idt[vector] = (struct gate){
		.offset_low = (u16)stub,
		.selector = SEG_KERNEL_CODE,
		.ist = ist,
		.type = type,
		.offset_middle = (u16)(stub >> 16),
		.offset_high = (u32)(stub >> 32),
	};
}

void trap_load_idt(void)
{
	asm_load_idt(idt, sizeof(idt));
}

void trap_init_syscall(void)
{
	// SYSCALL loads CS and SS from bits 47:32 (and + 8), SYSRET from bits 63:48 (+ 16 and + 8).
	asm_wrmsr(MSR_STAR, (u64)SEG_KERNEL_CODE << 32 | (u64)(SEG_USER_DATA - 8) << 48);
	asm_wrmsr(MSR_LSTAR, (u64)syscall_entry);
	asm_wrmsr(MSR_FMASK,
		  RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC);
}

void trap_init(void)
{
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, IST_NONE, GATE_INTERRUPT);
	set_gate(TRAP_DEBUG, IST_DEBUG, GATE_INTERRUPT);
	set_gate(TRAP_NMI, IST_NMI, GATE_INTERRUPT);
	set_gate(TRAP_DOUBLE_FAULT, IST_DOUBLE_FAULT, GATE_INTERRUPT);
	set_gate(TRAP_MACHINE_CHECK, IST_MACHINE_CHECK, GATE_INTERRUPT);
	set_gate(TRAP_BREAKPOINT, IST_NONE, GATE_INTERRUPT | GATE_USER);
	trap_set_handler(TRAP_MACHINE_CHECK, mce_from_user);
	trap_smap = cpu_features.smap;
	trap_load_idt();
}
