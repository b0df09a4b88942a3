// SPDX-License-Identifier: MIT
//
// What: acting on signals at the return to user mode: default actions, the frame of a handler, and
// rt_sigreturn. Layouts are Linux x86-64's (arch/x86 uapi: sigcontext, ucontext).
// Not here: what is pending and for whom (kernel/proc/signal.c).
//
// The user's stack when a handler begins:
//
//      struct sigfpu     64-byte aligned, pointed to by the frame
//      struct sigframe   RSP points at its first word, the return address: the restorer
//      (128 bytes)       red zone of the interrupted function, not touched
//
// Invariants:
//   I1  Nothing that the user's memory says reaches a register that user code must not choose:
//       flags and selectors are forced by the trap code, and what FXRSTOR or XRSTOR would fault on
//       is refused (fpu_check).
//   I2  A call that was interrupted shows -ERESTARTSYS only inside the kernel.
// Failure: a frame that cannot be written is SIGSEGV.
#include "kernel/proc/process.h"
#include "kernel/proc/sigframe.h"

#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/trap.h"
#include "mm/aspace.h"
#include "mm/layout.h"
#include "mm/uaccess.h"

#define RED_ZONE      128
#define SYSCALL_BYTES 2 // of the SYSCALL instruction

#define UC_FP_XSTATE         1u
#define UC_SIGCONTEXT_SS     2u
#define UC_STRICT_RESTORE_SS 4u

static const char *const fault_names[] = {
	[SIGILL] = "SIGILL", [SIGTRAP] = "SIGTRAP", [SIGBUS] = "SIGBUS",
	[SIGFPE] = "SIGFPE", [SIGSEGV] = "SIGSEGV",
};

// ---- The handler's frame ------------------------------------------------------------------------

static bool on_alt_stack(const struct uthread *u, u64 sp)
{
	return !(u->alt_flags & SS_DISABLE) && sp - u->alt_sp < u->alt_bytes;
}

static size_t fpu_frame_bytes(void)
{
	return cpu_features.xsave ? SIGFPU_BYTES : sizeof(struct fxsave);
}

u64 sigframe_place(u64 sp, u64 *fpu_va)
{
	*fpu_va = ALIGN_DOWN(sp - fpu_frame_bytes(), 64ull);
	// At the handler's first instruction RSP + 8 is 16-byte aligned, as after a CALL.
	return ALIGN_DOWN(*fpu_va - sizeof(struct sigframe), 16ull) - 8;
}

static void fill_context(struct sigcontext *sc, const struct trapframe *tf)
{
	*sc = (struct sigcontext){
		.r8 = tf->r8,
		.r9 = tf->r9,
		.r10 = tf->r10,
		.r11 = tf->r11,
		.r12 = tf->r12,
		.r13 = tf->r13,
		.r14 = tf->r14,
		.r15 = tf->r15,
		.rdi = tf->rdi,
		.rsi = tf->rsi,
		.rbp = tf->rbp,
		.rbx = tf->rbx,
		.rdx = tf->rdx,
		.rax = tf->rax,
		.rcx = tf->rcx,
		.rsp = tf->rsp,
		.rip = tf->rip,
		.rflags = tf->rflags,
		.cs = (u16)tf->cs,
		.ss = (u16)tf->ss,
		.err = tf->vector == TRAP_SYSCALL ? 0 : tf->error,
		.trapno = tf->vector == TRAP_SYSCALL ? 0 : tf->vector,
	};
}

static int write_fpu(u64 va)
{
	struct sigfpu fpu;

	memset(&fpu, 0, sizeof(fpu));
	fpu_save(&fpu.state); // of this thread, whatever CPU: a switch in between keeps them
	if (cpu_features.xsave) {
		struct sigfpu_mark mark = {
			.magic1 = SIGFPU_MAGIC1,
			.frame_bytes = SIGFPU_BYTES,
			.components = XSTATE_ALL,
			.state_bytes = sizeof(fpu.state),
		};

		memcpy(fpu.state.legacy.software, &mark, sizeof(mark));
		fpu.magic2 = SIGFPU_MAGIC2;
	}
	return copy_to_user(UVA(va), &fpu, fpu_frame_bytes()) ? -EFAULT : 0;
}

static int write_frame(u64 frame_va, u64 fpu_va, const struct sigaction *act,
		       const struct siginfo *info, const struct trapframe *tf)
{
	struct thread *t = thread_current();
	struct uthread *u = t->user;
	struct sigframe f = { .restorer = act->restorer, .info = *info };

	f.uc.flags =
		UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | (cpu_features.xsave ? UC_FP_XSTATE : 0);
	f.uc.stack.sp = u->alt_sp;
	f.uc.stack.bytes = u->alt_bytes;
	f.uc.stack.flags = u->alt_flags & SS_DISABLE  ? SS_DISABLE
			   : on_alt_stack(u, tf->rsp) ? SS_ONSTACK
						      : 0;
	fill_context(&f.uc.context, tf);
	f.uc.context.fpstate = fpu_va;
	if (info->signo == SIGSEGV || info->signo == SIGBUS)
		f.uc.context.cr2 = info->code > 0 && info->code != SI_KERNEL ? info->addr : 0;
	// After a temporary mask the handler's return goes back to the mask before it.
	f.uc.mask = u->restore_mask ? u->saved_mask : u->blocked;

	if (write_fpu(fpu_va) || copy_to_user(UVA(frame_va), &f, sizeof(f)))
		return -EFAULT;
	return 0;
}

static void load_clean_fpu(void)
{
	struct fpu_state s;

	fpu_init_state(&s);
	fpu_load(&s);
}

static int enter_handler(const struct sigaction *act, const struct siginfo *info,
			 struct trapframe *tf)
{
	struct uthread *u = thread_current()->user;
	u64 sp = tf->rsp - RED_ZONE, frame_va, fpu_va;
	sigset_t mask = u->blocked | act->mask;

	if ((act->flags & SA_ONSTACK) && !(u->alt_flags & SS_DISABLE) && !on_alt_stack(u, tf->rsp))
		sp = u->alt_sp + u->alt_bytes;
	frame_va = sigframe_place(sp, &fpu_va);
	if (!(act->flags & SA_RESTORER) || frame_va >= USER_END ||
	    write_frame(frame_va, fpu_va, act, info, tf))
		return -EFAULT;

	if (u->alt_flags & SS_AUTODISARM) {
		u->alt_sp = u->alt_bytes = 0;
		u->alt_flags = SS_DISABLE;
	}
	if (!(act->flags & SA_NODEFER))
		mask |= SIGMASK(info->signo);
	u->restore_mask = false;
	signal_set_mask(mask);
	load_clean_fpu();
	tf->rip = act->handler;
	tf->rsp = frame_va;
	tf->rdi = (u64)info->signo;
	tf->rsi = frame_va + offsetof(struct sigframe, info);
	tf->rdx = frame_va + offsetof(struct sigframe, uc);
	tf->rax = 0;
	tf->rflags &= ~(RFLAGS_TF | RFLAGS_DF | RFLAGS_RF);
	// No longer the return of the call that was interrupted.
	tf->vector = 0;
	return 0;
}

// ---- Back from the handler ----------------------------------------------------------------------

static void restore_registers(struct trapframe *tf, const struct sigcontext *sc)
{
	tf->r8 = sc->r8;
	tf->r9 = sc->r9;
	tf->r10 = sc->r10;
	tf->r11 = sc->r11;
	tf->r12 = sc->r12;
	tf->r13 = sc->r13;
	tf->r14 = sc->r14;
	tf->r15 = sc->r15;
	tf->rdi = sc->rdi;
	tf->rsi = sc->rsi;
	tf->rbp = sc->rbp;
	tf->rbx = sc->rbx;
	tf->rdx = sc->rdx;
	tf->rax = sc->rax;
	tf->rcx = sc->rcx;
	tf->rsp = sc->rsp;
	tf->rip = sc->rip;
	tf->rflags = sc->rflags;
	// Not a system call any more: rax is not a result that could ask for a restart.
	tf->vector = 0;
}

// The part behind FXSAVE's, if it is there; else AVX registers get their initial state. Returns the
// components that are to be loaded, or -EFAULT.
static s64 read_xstate(struct sigfpu *fpu, u64 va)
{
	const size_t legacy = sizeof(struct fxsave);
	struct fpu_state *s = &fpu->state;
	struct sigfpu_mark mark;
	bool there;

	memcpy(&mark, s->legacy.software, sizeof(mark));
	there = cpu_features.xsave && mark.magic1 == SIGFPU_MAGIC1 &&
		mark.state_bytes == sizeof(*s);
	if (there && copy_from_user((u8 *)fpu + legacy, UVA(va + legacy), SIGFPU_BYTES - legacy))
		return -EFAULT;
	if (there && fpu->magic2 == SIGFPU_MAGIC2)
		return (s64)(mark.components & XSTATE_ALL);
	memset((u8 *)s + legacy, 0, sizeof(*s) - legacy);
	s->in_use = XSTATE_X87 | XSTATE_SSE;
	return (s64)s->in_use;
}

static int restore_fpu(u64 va)
{
	struct sigfpu fpu;
	s64 components;

	if (!va) {
		load_clean_fpu();
		return 0;
	}
	if (copy_from_user(&fpu, UVA(va), sizeof(struct fxsave)))
		return -EFAULT;
	components = read_xstate(&fpu, va);
	if (components < 0 || fpu_check(&fpu.state)) // I1
		return -EFAULT;
	fpu.state.in_use &= (u64)components;
	fpu_load(&fpu.state);
	return 0;
}

s64 signal_return(struct trapframe *tf)
{
	struct uthread *u = thread_current()->user;
	struct ucontext uc;
	u64 frame_va = tf->rsp - 8; // the handler's RET took the restorer's address

	if (copy_from_user(&uc, UVA(frame_va + offsetof(struct sigframe, uc)), sizeof(uc)) ||
	    restore_fpu(uc.context.fpstate)) {
		signal_force(SIGSEGV, SI_KERNEL, 0);
		return 0;
	}
	signal_set_mask(uc.mask);
	// SS_AUTODISARM: the stack comes back with the frame that took it.
	if (uc.stack.flags == 0 && uc.stack.bytes >= MINSIGSTKSZ) {
		u->alt_sp = uc.stack.sp;
		u->alt_bytes = uc.stack.bytes;
		u->alt_flags = 0;
	}
	restore_registers(tf, &uc.context);
	return (s64)tf->rax;
}

// ---- Default action, and the loop ---------------------------------------------------------------

static void __noreturn die(const struct siginfo *info, const struct trapframe *tf)
{
	struct thread *t = thread_current();
	int sig = info->signo;

	if (info->code > 0 && sig < (int)ARRAY_SIZE(fault_names) && fault_names[sig])
		log_info("process %u (%s): %s, code %d, address %#llx, rip %#llx, rsp %#llx",
			 t->proc->pid, t->name, fault_names[sig], info->code,
			 (unsigned long long)(info->code == SI_KERNEL ? 0 : info->addr),
			 (unsigned long long)tf->rip, (unsigned long long)tf->rsp);
	process_exit(WAIT_KILLED(sig));
}

static bool wants_restart(const struct trapframe *tf)
{
	s64 ret = (s64)tf->rax;

	return tf->vector == TRAP_SYSCALL &&
	       (ret == -ERESTARTSYS || ret == -ERESTARTNOINTR || ret == -ERESTARTNOHAND);
}

// An interrupted call begins again, or reports -EINTR (I2).
static void settle_call(struct trapframe *tf, bool restart)
{
	struct uthread *u = thread_current()->user;

	if (!wants_restart(tf))
		return;
	if (restart) {
		tf->rax = tf->error; // the call's number
		tf->rip -= SYSCALL_BYTES;
	} else {
		tf->rax = (u64)-EINTR;
		u->restart_deadline_ns = 0;
	}
	tf->vector = 0;
}

static void deliver(const struct siginfo *info, const struct sigaction *act, struct trapframe *tf)
{
	if (act->handler == SIG_IGN ||
	    (act->handler == SIG_DFL && signal_default_is_ignore(info->signo)))
		return;
	if (act->handler == SIG_DFL && signal_default_is_stop(info->signo)) {
		stop_begin(info->signo); // and the loop comes to stop_here()
		return;
	}
	if (act->handler == SIG_DFL)
		die(info, tf);
	settle_call(tf, ((act->flags & SA_RESTART) && (s64)tf->rax != -ERESTARTNOHAND) ||
				(s64)tf->rax == -ERESTARTNOINTR);
	if (enter_handler(act, info, tf) == 0)
		return;
	// No room for the frame. A handler for SIGSEGV itself has had its chance.
	if (info->signo == SIGSEGV)
		(void)!signal_action(SIGSEGV, &(struct sigaction){ 0 }, NULL);
	signal_force(SIGSEGV, SI_KERNEL, 0);
}

static void write_child_tid(struct thread *t)
{
	uva_t at = t->user->set_child_tid;
	u32 tid = t->tid;

	t->user->set_child_tid = UVA(0);
	if (copy_to_user(at, &tid, sizeof(tid)))
		log_debug("thread %u: no memory at child_tid", tid);
}

static __attribute__((noinline)) void user_return(struct thread *t, struct trapframe *tf)
{
	struct uthread *u = t->user;
	struct siginfo info;
	struct sigaction act;

	if (unlikely(u->set_child_tid.va))
		write_child_tid(t);
	while (unlikely(READ_ONCE(t->signal_pending))) {
		stop_here();
		if (signal_dequeue(&info, &act))
			deliver(&info, &act, tf);
	}
	settle_call(tf, true);
	if (unlikely(u->restore_mask)) {
		u->restore_mask = false;
		signal_set_mask(u->saved_mask);
	}
}

// Nothing to do nearly always: every system call and interrupt pays for this look.
void signal_user_return(struct trapframe *tf)
{
	struct thread *t = thread_current();
	const struct uthread *u = t->user;

	if (unlikely(READ_ONCE(t->signal_pending) || u->restore_mask || u->set_child_tid.va ||
		     wants_restart(tf)))
		user_return(t, tf);
}

// ---- Faults -------------------------------------------------------------------------------------

// Exceptions other than page faults (SDM 3A, 6.15), as Linux reports them.
static void user_exception(struct trapframe *tf)
{
	switch (tf->vector) {
	case 0: // divide error
		signal_force(SIGFPE, FPE_INTDIV, tf->rip);
		break;
	case 1: // debug; a program that steps itself keeps its trap flag, in the frame that it sees
		signal_force(SIGTRAP, TRAP_TRACE, tf->rip);
		break;
	case 3: // breakpoint
		signal_force(SIGTRAP, SI_KERNEL, 0);
		break;
	case 6: // invalid opcode
		signal_force(SIGILL, ILL_ILLOPN, tf->rip);
		break;
	case 16: // x87
	case 19: // SIMD
		signal_force(SIGFPE, FPE_FLTINV, tf->rip);
		break;
	case 17: // alignment check
		signal_force(SIGBUS, BUS_ADRALN, 0);
		break;
	default: // protection and segment faults, bounds, overflow
		signal_force(SIGSEGV, SI_KERNEL, 0);
		break;
	}
}

static void page_fault_signal(struct trapframe *tf, int sig, int code, uva_t addr)
{
	(void)tf;
	signal_force(sig, code, addr.va);
}

void sigdeliver_init(void)
{
	trap_set_user_return(signal_user_return);
	trap_set_user_fault(user_exception);
	fault_set_signal(page_fault_signal);
}
