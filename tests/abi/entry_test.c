// SPDX-License-Identifier: MIT
//
// The way into the kernel and back: what of a program's registers survives a system call, a trap
// and a signal, and what a program may put into the frame that sigreturn loads. Kernels have been
// broken into at each of these places: SYSRET to an address that is not canonical, flags that only
// the kernel may set, a single step into the entry code.
#define _GNU_SOURCE
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include "tests/abi/tap.h"

#define FLAG_CARRY     0x1
#define FLAG_TRAP      0x100
#define FLAG_INTERRUPT 0x200
#define FLAG_DIRECTION 0x400
#define FLAG_IOPL      0x3000
#define FLAG_ALIGNMENT 0x40000
#define LAST_PAGE      ((char *)0x7fffffffe000) // user space ends behind it

static sigjmp_buf escape;
static volatile int seen_signal, seen_code, steps;
static volatile unsigned long seen_rip;

static void on(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(sig, &sa, NULL);
}

static void leave(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	seen_signal = sig;
	seen_code = info->si_code;
	seen_rip = (unsigned long)uc->uc_mcontext.gregs[REG_RIP];
	siglongjmp(escape, 1);
}

// ---- System calls -------------------------------------------------------------------------------

struct registers {
	unsigned long rbx, rbp, rdi, rsi, rdx, r8, r9, r10, r12, r13, r14, r15, rcx, r11, flags;
};

// All registers are given values, getppid is called, and what they are then is stored.
static void call_with(struct registers *r)
{
	register struct registers *regs __asm__("rax") = r;

	__asm__ volatile("push %%rbx; push %%rbp; push %%rax\n\t"
			 "mov $0x1111, %%ebx; mov $0x2222, %%ebp; mov $0x3333, %%edi\n\t"
			 "mov $0x4444, %%esi; mov $0x5555, %%edx; mov $0x6666, %%r8d\n\t"
			 "mov $0x7777, %%r9d; mov $0x8888, %%r10d; mov $0x9999, %%r12d\n\t"
			 "mov $0xaaaa, %%r13d; mov $0xbbbb, %%r14d; mov $0xcccc, %%r15d\n\t"
			 "mov $110, %%eax; std; stc\n\t"
			 "syscall\n"
			 "after_call_with: pushfq; cld\n\t"
			 "mov 8(%%rsp), %%rax\n\t"
			 "mov %%rbx, (%%rax); mov %%rbp, 8(%%rax); mov %%rdi, 16(%%rax)\n\t"
			 "mov %%rsi, 24(%%rax); mov %%rdx, 32(%%rax); mov %%r8, 40(%%rax)\n\t"
			 "mov %%r9, 48(%%rax); mov %%r10, 56(%%rax); mov %%r12, 64(%%rax)\n\t"
			 "mov %%r13, 72(%%rax); mov %%r14, 80(%%rax); mov %%r15, 88(%%rax)\n\t"
			 "mov %%rcx, 96(%%rax); mov %%r11, 104(%%rax)\n\t"
			 "pop %%rcx; mov %%rcx, 112(%%rax)\n\t"
			 "pop %%rax; pop %%rbp; pop %%rbx"
			 : "+r"(regs)
			 :
			 : "rdi", "rsi", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			   "r15", "rcx", "memory", "cc");
}

extern char after_call_with[];

static void test_registers_survive(void)
{
	static struct registers r;
	const struct registers want = { 0x1111, 0x2222, 0x3333, 0x4444, 0x5555,
					0x6666, 0x7777, 0x8888, 0x9999, 0xaaaa,
					0xbbbb, 0xcccc, 0,      0,      0 };

	call_with(&r);
	ok(memcmp(&r, &want, offsetof(struct registers, rcx)) == 0,
	   "a system call keeps all registers but rax, rcx and r11");
	is((long)r.rcx, (long)after_call_with, "rcx is the address behind the call");
	is((long)(r.flags & (FLAG_DIRECTION | FLAG_CARRY)), FLAG_DIRECTION | FLAG_CARRY,
	   "flags survive, the direction flag too");
	is((long)(r.r11 & ~0x10000ul), (long)(r.flags & ~0x10000ul), "r11 is the flags");
}

// The instruction after the call would be the first address beyond user space.
static void test_call_at_the_end(void)
{
	char *page = mmap(LAST_PAGE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	static const unsigned char call[] = { 0xb8, 110, 0, 0, 0, 0x0f, 0x05 }; // mov eax; syscall

	if (page != LAST_PAGE) {
		ok(true, "a system call by the last bytes of user space # SKIP page is taken");
		return;
	}
	memcpy(page + 4096 - sizeof(call), call, sizeof(call));
	on(SIGSEGV, leave);
	seen_signal = 0;
	if (sigsetjmp(escape, 1) == 0)
		((void (*)(void))(uintptr_t)(page + 4096 - sizeof(call)))();
	is(seen_signal, SIGSEGV,
	   "a system call by the last bytes of user space: SIGSEGV behind it");
	is((long)seen_rip, (long)page + 4096, "which says where");
	munmap(page, 4096);
}

// ---- Single steps -------------------------------------------------------------------------------

static void count_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	if (++steps >= 40)
		uc->uc_mcontext.gregs[REG_EFL] &= ~FLAG_TRAP;
}

// A step trap must come behind the system call, in user mode. CPUs differ: some (Bochs' Tiger Lake)
// raise it at the first instruction of the kernel's entry, where the stack is still the program's;
// there it was a double fault once, because #DB had no stack of its own.
static void test_single_step(void)
{
	long pid = 0;

	on(SIGTRAP, count_step);
	steps = 0;
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq\n\t"
			 "mov $39, %%eax; syscall; mov %%rax, %0\n\t"
			 "nop; nop\n\t"
			 "pushfq; andq $~0x100, (%%rsp); popfq"
			 : "=r"(pid)
			 :
			 : "rax", "rcx", "r11", "memory", "cc");
	is(pid, getpid(), "a system call works under single step");
	ok(steps >= 6 && steps < 40, "each instruction trapped (%d)", steps);
}

static volatile unsigned long breakpoint_rip;

static void note_breakpoint(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	breakpoint_rip = (unsigned long)uc->uc_mcontext.gregs[REG_RIP];
}

static void test_breakpoint(void)
{
	unsigned long next;

	on(SIGTRAP, note_breakpoint);
	__asm__ volatile("lea 1f(%%rip), %0; int3; 1:" : "=r"(next) : : "memory");
	is((long)breakpoint_rip, (long)next, "INT3: SIGTRAP, rip behind it");
}

// ---- Frames that a handler has changed ----------------------------------------------------------

static volatile unsigned long wanted_rip, wanted_flags;
static volatile int wanted_cs;

static void change_frame(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	if (wanted_rip)
		uc->uc_mcontext.gregs[REG_RIP] = (long long)wanted_rip;
	if (wanted_flags)
		uc->uc_mcontext.gregs[REG_EFL] = (long long)wanted_flags;
	if (wanted_cs) {
		unsigned short segments[4];

		memcpy(segments, &uc->uc_mcontext.gregs[REG_CSGSFS], sizeof(segments));
		segments[0] = (unsigned short)wanted_cs;
		memcpy(&uc->uc_mcontext.gregs[REG_CSGSFS], segments, sizeof(segments));
	}
}

static void raise_changed(unsigned long rip, unsigned long flags, int cs)
{
	wanted_rip = rip;
	wanted_flags = flags;
	wanted_cs = cs;
	on(SIGUSR1, change_frame);
	raise(SIGUSR1);
}

static int bad_rip(void)
{
	raise_changed(0x8000000000000000ul, 0, 0);
	return 0;
}

static int kernel_rip(void)
{
	raise_changed(0xffffffff80200000ul, 0, 0);
	return 0;
}

static int kernel_selector(void)
{
	raise_changed(0, 0, 0x10);
	return 0;
}

static bool dies_or_goes_on(int status)
{
	return status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void test_bad_frames(void)
{
	unsigned long flags;
	int status;

	signal(SIGSEGV, SIG_DFL);
	status = in_child(bad_rip);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
	   "sigreturn to an address that is not canonical: SIGSEGV");
	status = in_child(kernel_rip);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
	   "sigreturn into the kernel: SIGSEGV");
	ok(dies_or_goes_on(in_child(kernel_selector)),
	   "sigreturn with the kernel's selector does no harm");

	raise_changed(0, FLAG_IOPL | FLAG_CARRY | 0x4000 | 2, 0); // no IF; IOPL 3, nested task
	__asm__ volatile("pushfq; pop %0" : "=r"(flags) : : "memory");
	ok(!(flags & FLAG_IOPL), "sigreturn gives no right to ports");
	ok(flags & FLAG_INTERRUPT, "sigreturn does not switch interrupts off");
}

// ---- State that traps must keep -----------------------------------------------------------------

static volatile int alarms;

static void count_alarm(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
	alarms++;
	__asm__ volatile("pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" : : : "xmm7", "xmm15");
}

// SSE registers and the direction flag over interrupts, preemption and signal handlers.
static void test_state_over_signals(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, off = { { 0, 0 }, { 0, 0 } };
	unsigned long lost = 0, pattern = 0x123456789abcdef0ul, a, b;

	on(SIGALRM, count_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	while (alarms < 20) {
		__asm__ volatile("movq %2, %%xmm7; movq %2, %%xmm15; mov $10000, %%ecx\n"
				 "1: dec %%ecx; jnz 1b\n\t"
				 "movq %%xmm7, %0; movq %%xmm15, %1"
				 : "=&r"(a), "=&r"(b)
				 : "r"(pattern)
				 : "ecx", "xmm7", "xmm15", "cc");
		lost += a != pattern || b != pattern;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	is((long)lost, 0, "SSE registers survive interrupts and signal handlers");
}

static void red_zone(int sig, siginfo_t *info, void *context)
{
	char big[2000];

	(void)sig;
	(void)info;
	(void)context;
	memset(big, 0xee, sizeof(big));
	__asm__ volatile("" : : "r"(big) : "memory");
	alarms++;
}

// The 128 bytes below the stack pointer belong to the program (psABI 3.2.2).
static void test_red_zone(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, off = { { 0, 0 }, { 0, 0 } };
	unsigned long lost = 0, value;

	alarms = 0;
	on(SIGALRM, red_zone);
	setitimer(ITIMER_REAL, &often, NULL);
	while (alarms < 20) {
		__asm__ volatile("movq $77, -128(%%rsp); mov $10000, %%ecx\n"
				 "1: dec %%ecx; jnz 1b\n\t"
				 "mov -128(%%rsp), %0"
				 : "=r"(value)
				 :
				 : "ecx", "memory", "cc");
		lost += value != 77;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	is((long)lost, 0, "signal frames spare the red zone");
}

// ---- Instructions of the kernel -----------------------------------------------------------------

#define PRIVILEGED(name, text)                                                                     \
	static void do_##name(void)                                                                \
	{                                                                                          \
		__asm__ volatile(text : : : "rax", "rcx", "rdx", "memory");                        \
	}
PRIVILEGED(cli, "cli")
PRIVILEGED(out, "mov $0xf4, %%edx; out %%eax, %%dx")
PRIVILEGED(rdmsr, "mov $0xc0000080, %%ecx; rdmsr")
PRIVILEGED(cr3, "mov %%cr3, %%rax")
PRIVILEGED(lidt, "push $0; push $0; lidt (%%rsp); pop %%rax; pop %%rax")
PRIVILEGED(swapgs, "swapgs")
PRIVILEGED(far, "push $0x10; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:")
PRIVILEGED(selector, "mov $0x18, %%eax; mov %%eax, %%ss")
PRIVILEGED(gate, "int $0x40")

static void test_privileged(void)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} list[] = {
		{ "CLI", do_cli },
		{ "OUT", do_out },
		{ "RDMSR", do_rdmsr },
		{ "MOV from CR3", do_cr3 },
		{ "LIDT", do_lidt },
		{ "SWAPGS", do_swapgs },
		{ "RETF to ring 0", do_far },
		{ "SS = the kernel's", do_selector },
		{ "INT 40h", do_gate },
	};

	on(SIGSEGV, leave);
	on(SIGILL, leave);
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		seen_signal = 0;
		if (sigsetjmp(escape, 1) == 0)
			list[i].fn();
		ok(seen_signal == SIGSEGV, "%s: SIGSEGV (%d)", list[i].name, seen_signal);
	}
}

static void test_alignment_flag(void)
{
	unsigned long flags;

	__asm__ volatile("pushfq; orq $0x40000, (%%rsp); popfq\n\t"
			 "mov $39, %%eax; syscall\n\t"
			 "pushfq; pop %0\n\t"
			 "pushfq; andq $~0x40000, (%%rsp); popfq"
			 : "=r"(flags)
			 :
			 : "rax", "rcx", "r11", "memory", "cc");
	ok(flags & FLAG_ALIGNMENT, "AC survives a system call; the kernel runs without it");
}

int main(void)
{
	test_registers_survive();
	test_call_at_the_end();
	test_single_step();
	test_breakpoint();
	test_bad_frames();
	test_state_over_signals();
	test_red_zone();
	test_privileged();
	test_alignment_flag();
	return tap_done();
}
