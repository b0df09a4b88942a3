// SPDX-License-Identifier: MIT
//
// What: the last words: message, registers, backtrace, and the same from every other CPU, which is
// stopped by an NMI first.
//
// Invariants:
//   I1 the first CPU to panic (`panicking`) does the talking; any later one waits to be asked.
//   I2 nothing here takes a lock, allocates, or believes a pointer: what is read while unwinding is
//      read by asm_read_word(), which survives a fault.
#include "kernel/panic.h"

#include <stdarg.h>

#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/sched/thread.h"
#include "kernel/symbols.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/irq.h"
#include "kernel/x86/machine.h"
#include "kernel/x86/trap.h"
#include "mm/kmap.h"
#include "mm/layout.h"

#define FRAMES_MAX   24
#define FRAME_SPAN   KIB(64)   // a caller's frame is not farther away than a stack is long
#define ANSWER_SPINS 20000000u // what another CPU gets to answer the NMI

static u32 panicking; // CPU index + 1 of the first to panic
static u32 nested;    // panics of that CPU while it panicked

// CPU index + 1 of the CPU that has been asked for its state, prints it, has printed it.
static u32 asked, answering, answered;

// Prints the callers, newest first. `rbp` is the frame pointer of the newest: [rbp] is its
// caller's, [rbp + 8] the address that it returns to. Entry code ends the chain by a zero.
static void backtrace(u64 rip, u64 rbp)
{
	char text[80];

	log_err("  at %s", symbol_format(text, sizeof(text), rip));
	for (unsigned n = 0; n < FRAMES_MAX; n++) {
		u64 next, ret;

		if (rbp < PHYSMAP_BASE || rbp % 8 || !asm_read_word(rbp, &next) ||
		    !asm_read_word(rbp + 8, &ret) || !ret)
			return;
		log_err("  by %s", symbol_format(text, sizeof(text), ret));
		if (next <= rbp || next - rbp > FRAME_SPAN)
			return;
		rbp = next;
	}
	log_err("  ...");
}

static void registers(const struct trapframe *tf)
{
	log_err("  rip %016lx cs %02lx  rflags %08lx  rsp %016lx ss %02lx", tf->rip, tf->cs,
		tf->rflags, tf->rsp, tf->ss);
	log_err("  rax %016lx rbx %016lx rcx %016lx rdx %016lx", tf->rax, tf->rbx, tf->rcx,
		tf->rdx);
	log_err("  rsi %016lx rdi %016lx rbp %016lx r8  %016lx", tf->rsi, tf->rdi, tf->rbp, tf->r8);
	log_err("  r9  %016lx r10 %016lx r11 %016lx r12 %016lx", tf->r9, tf->r10, tf->r11, tf->r12);
	log_err("  r13 %016lx r14 %016lx r15 %016lx", tf->r13, tf->r14, tf->r15);
	log_err("  cr0 %08lx cr2 %016lx cr3 %09lx cr4 %06lx  trap %lu (%s) error %lx",
		asm_read_cr0(), asm_read_cr2(), asm_read_cr3(), asm_read_cr4(), tf->vector,
		trap_name(tf->vector), tf->error);
}

static void cpu_line(void)
{
	const struct cpu *c = this_cpu();
	const struct thread *t = c->current;

	log_err("cpu %u, thread %d (%.16s), preempt %u, irq depth %u, lock ranks %lx", c->index,
		t ? (int)t->tid : -1, t ? t->name : "none", c->preempt_count, c->irq_depth,
		c->lock_ranks);
}

// Say where this CPU is, then stand still.
static void answer(const struct trapframe *tf)
{
	WRITE_ONCE(answering, this_cpu()->index + 1);
	cpu_line();
	if (!tf)
		log_err("  in a panic of its own");
	else if (trap_from_user(tf))
		log_err("  in user mode at %lx", tf->rip);
	else
		backtrace(tf->rip, tf->rbp);
	WRITE_ONCE(answered, this_cpu()->index + 1);
	machine_halt();
}

// Another CPU panicked first. It will ask, by `asked` and an NMI: if we are in an NMI already, the
// second one does not come.
static void wait_to_be_asked(const struct trapframe *tf) __noreturn;
static void wait_to_be_asked(const struct trapframe *tf)
{
	while (READ_ONCE(asked) != this_cpu()->index + 1)
		asm_pause();
	answer(tf);
	machine_halt();
}

// Either another CPU panics and asks, or the NMI comes from outside (a button, QEMU's monitor),
// from somebody who wants to know what a machine that hangs is doing: a panic shows it.
static void on_nmi(struct trapframe *tf)
{
	if (!READ_ONCE(panicking))
		panic_trap(tf, "NMI from outside");
	if (READ_ONCE(answering) != this_cpu()->index + 1)
		wait_to_be_asked(tf);
}

static void stop_others(void)
{
	if (!lapic_ready())
		return;
	for (unsigned i = 0; i < cpu_count(); i++) {
		u32 spins = 0;

		if (i == this_cpu()->index || !READ_ONCE(cpus[i].online))
			continue;
		WRITE_ONCE(asked, i + 1);
		lapic_send_nmi(cpus[i].apic_id);
		while (READ_ONCE(answered) != i + 1 && ++spins < ANSWER_SPINS)
			asm_pause();
		if (spins == ANSWER_SPINS)
			log_err("cpu %u does not answer", i);
	}
}

// Become the one who talks. Another CPU that panics as well waits; a fault while we talk ends it at
// once.
static void begin(const struct trapframe *tf)
{
	u32 me = this_cpu()->index + 1, first = __sync_val_compare_and_swap(&panicking, 0, me);

	asm_cli();
	console_panic();
	if (first == 0)
		return;
	if (first != me)
		wait_to_be_asked(tf);
	if (++nested > 1)
		machine_exit(EXIT_PANIC);
}

static void finish(void) __noreturn;
static void finish(void)
{
	if (nested == 0)
		stop_others();
	machine_exit(EXIT_PANIC);
}

void panic(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	begin(NULL);
	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_err("panic: %s", text);
	cpu_line();
	backtrace((u64)__builtin_return_address(0), *(u64 *)__builtin_frame_address(0));
	finish();
}

void panic_trap(const struct trapframe *tf, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	begin(tf);
	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_err("panic: %s", text);
	if (kmap_is_guard(asm_read_cr2()) &&
	    (tf->vector == TRAP_DOUBLE_FAULT || tf->vector == TRAP_PAGE_FAULT))
		log_err("the kernel stack is full: %lx is in a guard page", asm_read_cr2());
	cpu_line();
	registers(tf);
	backtrace(tf->rip, tf->rbp);
	finish();
}

void panic_init(void)
{
	trap_set_nmi(on_nmi);
}
