// SPDX-License-Identifier: MIT
//
// Signals: handlers and masks, and what a program gets that does what it must not do. Each misdeed
// is tried twice: with a handler, which sees why, and without, where it must kill the program and
// nothing else.
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "tests/abi/tap.h"

#define KERNEL_ADDRESS ((char *)0xffffffff80000000)
#define NON_CANONICAL  ((char *)0x8000000000000000)

static sigjmp_buf escape;
static volatile int seen_signal, seen_code, seen_count;
static void *volatile seen_address;

static void remember(int sig, siginfo_t *info, void *context)
{
	(void)context;
	seen_signal = sig;
	seen_code = info->si_code;
	seen_address = info->si_addr;
	seen_count++;
}

static void remember_and_escape(int sig, siginfo_t *info, void *context)
{
	remember(sig, info, context);
	siglongjmp(escape, 1);
}

static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	sigaction(sig, &sa, NULL);
}

// ---- Misdeeds -----------------------------------------------------------------------------------

static const unsigned char just_return[] = { 0xc3 };

static void jump_to_zero(void)
{
	void (*volatile nowhere)(void) = NULL;

	nowhere();
}

static void execute_stack(void)
{
	volatile unsigned char code[16] = { 0xc3 };
	void (*run)(void) = (void (*)(void))(uintptr_t)code;

	run();
}

static void execute_data(void)
{
	static unsigned char code[16];

	memcpy(code, just_return, 1);
	((void (*)(void))(uintptr_t)code)();
}

static void write_text(void)
{
	*(volatile char *)(uintptr_t)jump_to_zero = 0;
}

static void read_kernel(void)
{
	(void)*(volatile char *)KERNEL_ADDRESS;
}

static void write_kernel(void)
{
	*(volatile char *)KERNEL_ADDRESS = 0;
}

static void jump_to_kernel(void)
{
	((void (*)(void))(uintptr_t)KERNEL_ADDRESS)();
}

static void touch_non_canonical(void)
{
	(void)*(volatile char *)NON_CANONICAL;
}

static void halt(void)
{
	__asm__ volatile("hlt");
}

static void disable_interrupts(void)
{
	__asm__ volatile("cli");
}

static void load_cr3(void)
{
	__asm__ volatile("mov %0, %%cr3" ::"r"(0ul));
}

static void port_io(void)
{
	__asm__ volatile("outb %%al, $0xf4" ::"a"(0));
}

static void undefined_instruction(void)
{
	__asm__ volatile("ud2");
}

static void divide_by_zero(void)
{
	volatile int seven = 7, zero = 0;

	seven = seven / zero;
}

static void breakpoint(void)
{
	__asm__ volatile("int3");
}

static void kernel_interrupt(void)
{
	__asm__ volatile("int $14"); // the kernel's page-fault vector
}

static volatile int forever = 1;

static int use_stack(int depth)
{
	volatile char page[65536];

	page[0] = (char)depth;
	return forever ? use_stack(depth + 1) + page[0] : 0;
}

static void overflow_stack(void)
{
	seen_count += use_stack(0);
}

#define ANY_ADDRESS ((void *)1)

static const struct {
	const char *name;
	void (*fn)(void);
	int sig, code;
	void *address;
} misdeeds[] = {
	{ "jump to address 0", jump_to_zero, SIGSEGV, SEGV_MAPERR, NULL },
	{ "execute the stack", execute_stack, SIGSEGV, SEGV_ACCERR, ANY_ADDRESS },
	{ "execute data", execute_data, SIGSEGV, SEGV_ACCERR, ANY_ADDRESS },
	{ "write to program text", write_text, SIGSEGV, SEGV_ACCERR, ANY_ADDRESS },
	{ "read kernel memory", read_kernel, SIGSEGV, SEGV_MAPERR, ANY_ADDRESS },
	{ "write kernel memory", write_kernel, SIGSEGV, SEGV_MAPERR, ANY_ADDRESS },
	{ "jump into the kernel", jump_to_kernel, SIGSEGV, SEGV_MAPERR, ANY_ADDRESS },
	{ "touch a non-canonical address", touch_non_canonical, SIGSEGV, SI_KERNEL, NULL },
	{ "HLT", halt, SIGSEGV, SI_KERNEL, NULL },
	{ "CLI", disable_interrupts, SIGSEGV, SI_KERNEL, NULL },
	{ "load CR3", load_cr3, SIGSEGV, SI_KERNEL, NULL },
	{ "port I/O", port_io, SIGSEGV, SI_KERNEL, NULL },
	{ "INT 14", kernel_interrupt, SIGSEGV, SI_KERNEL, NULL },
	{ "an undefined instruction", undefined_instruction, SIGILL, ILL_ILLOPN, ANY_ADDRESS },
	{ "divide by zero", divide_by_zero, SIGFPE, FPE_INTDIV, ANY_ADDRESS },
	{ "a breakpoint", breakpoint, SIGTRAP, SI_KERNEL, ANY_ADDRESS },
};

static unsigned chosen;

static int run_chosen(void)
{
	misdeeds[chosen].fn();
	return 0;
}

static void test_misdeeds(void)
{
	int status;

	for (chosen = 0; chosen < sizeof(misdeeds) / sizeof(misdeeds[0]); chosen++) {
		seen_signal = 0;
		handle(misdeeds[chosen].sig, remember_and_escape, 0);
		if (sigsetjmp(escape, 1) == 0)
			misdeeds[chosen].fn();
		is(seen_signal, misdeeds[chosen].sig, misdeeds[chosen].name);
		is(seen_code, misdeeds[chosen].code, "  its si_code");
		if (misdeeds[chosen].address != ANY_ADDRESS)
			ok(seen_address == misdeeds[chosen].address, "  its si_addr");
		signal(misdeeds[chosen].sig, SIG_DFL);
		status = in_child(run_chosen);
		ok(WIFSIGNALED(status) && WTERMSIG(status) == misdeeds[chosen].sig,
		   "  without a handler it kills");
	}
}

static int run_overflow(void)
{
	overflow_stack();
	return 0;
}

// There is no stack to run a handler on; with an alternate one there is.
static void test_stack_overflow(void)
{
	static char other[65536];
	stack_t stack = { .ss_sp = other, .ss_size = sizeof(other) };
	int status;

	handle(SIGSEGV, remember_and_escape, 0);
	status = in_child(run_overflow);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a stack overflow kills");
	is(sigaltstack(&stack, NULL), 0, "sigaltstack");
	handle(SIGSEGV, remember_and_escape, SA_ONSTACK);
	seen_signal = 0;
	if (sigsetjmp(escape, 1) == 0)
		overflow_stack();
	is(seen_signal, SIGSEGV, "on the alternate stack it can be handled");
	signal(SIGSEGV, SIG_DFL);
}

static int fault_while_blocked(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	write_kernel();
	return 0;
}

// ---- Handlers and masks -------------------------------------------------------------------------

static void test_delivery(void)
{
	sigset_t mask, old, pending;
	struct sigaction sa;
	int status;

	handle(SIGUSR1, remember, 0);
	seen_count = 0;
	is(kill(getpid(), SIGUSR1), 0, "kill itself");
	is(seen_count, 1, "the handler ran before kill returned");
	is(seen_signal, SIGUSR1, "with its number");

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, &old);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	is(seen_count, 1, "a blocked signal waits");
	sigpending(&pending);
	is(sigismember(&pending, SIGUSR1), 1, "it is pending");
	sigprocmask(SIG_SETMASK, &old, NULL);
	is(seen_count, 2, "and comes once when unblocked");

	signal(SIGUSR1, SIG_IGN);
	is(raise(SIGUSR1), 0, "an ignored signal");
	is(seen_count, 2, "does nothing");
	handle(SIGUSR1, remember, SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &sa);
	ok(sa.sa_handler == SIG_DFL, "SA_RESETHAND");
	fails(kill(getpid(), 65), EINVAL, "signal 65");
	sa.sa_handler = SIG_IGN;
	fails(sigaction(SIGKILL, &sa, NULL), EINVAL, "SIGKILL cannot be ignored");
	status = in_child(fault_while_blocked);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
	   "a blocked fault kills all the same");
}

static volatile double float_in_handler;

static void use_floats(int sig)
{
	float_in_handler = sig * 1.5;
}

static void test_registers(void)
{
	double before = 3.25 * getpid(), sum = before;

	signal(SIGUSR2, use_floats);
	for (int i = 0; i < 10; i++) {
		sum += i;
		raise(SIGUSR2);
	}
	ok(sum == before + 45, "floating point survives a handler");
	ok(float_in_handler == SIGUSR2 * 1.5, "and works in it");
}

static void on_alarm(int sig)
{
	(void)sig;
	seen_count++;
}

static void test_interruption(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	sigset_t none;
	int ends[2];
	char byte;

	seen_count = 0;
	sigaction(SIGALRM, &sa, NULL);
	pipe(ends);
	ualarm(50000, 0);
	fails(read(ends[0], &byte, 1), EINTR, "a signal interrupts read");
	is(seen_count, 1, "its handler ran");

	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	if (fork() == 0) {
		usleep(150000);
		_exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
	}
	ualarm(50000, 0);
	is(read(ends[0], &byte, 1), 1, "with SA_RESTART read goes on");
	is(seen_count, 2, "the handler ran");
	wait(NULL);
	close(ends[0]);
	close(ends[1]);

	sigemptyset(&none);
	ualarm(50000, 0);
	fails(sigsuspend(&none), EINTR, "sigsuspend");
	is(seen_count, 3, "the handler ran");
	signal(SIGALRM, SIG_DFL);
}

static volatile sig_atomic_t child_signals;

static void on_child(int sig)
{
	(void)sig;
	child_signals++;
}

static int exit_at_once(void)
{
	return 0;
}

static void test_child_signal(void)
{
	signal(SIGCHLD, on_child);
	in_child(exit_at_once);
	is(child_signals, 1, "SIGCHLD when a child ends");
	signal(SIGCHLD, SIG_IGN);
	if (fork() == 0)
		_exit(0);
	fails(wait(NULL), ECHILD, "ignored: children leave no zombies");
	signal(SIGCHLD, SIG_DFL);
}

int main(void)
{
	test_misdeeds();
	test_stack_overflow();
	test_delivery();
	test_registers();
	test_interruption();
	test_child_signal();
	return tap_done();
}
