// SPDX-License-Identifier: MIT
//
// Signals: numbers, what is pending, sending. Values and layouts are Linux x86-64's (signal(7)).
//
// A signal is pending for a process (one thread that does not block it takes it) or for one thread.
// SIGKILL is never pending for a process: it tells every thread to end. A signal is delivered when
// a thread returns to user mode (kernel/proc/sigdeliver.c).
//
// Locking: `p->sig_lock` (RANK_SIGNAL, interrupts off) guards actions, pending sets and masks of a
// process and its threads, and the list of its threads. Senders hold the process by proc_lock or by
// a reference.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/types.h"

#define SIGHUP    1
#define SIGINT    2
#define SIGQUIT   3
#define SIGILL    4
#define SIGTRAP   5
#define SIGABRT   6
#define SIGBUS    7
#define SIGFPE    8
#define SIGKILL   9
#define SIGUSR1   10
#define SIGSEGV   11
#define SIGUSR2   12
#define SIGPIPE   13
#define SIGALRM   14
#define SIGTERM   15
#define SIGSTKFLT 16
#define SIGCHLD   17
#define SIGCONT   18
#define SIGSTOP   19
#define SIGTSTP   20
#define SIGTTIN   21
#define SIGTTOU   22
#define SIGURG    23
#define SIGXCPU   24
#define SIGXFSZ   25
#define SIGVTALRM 26
#define SIGPROF   27
#define SIGWINCH  28
#define SIGIO     29
#define SIGPWR    30
#define SIGSYS    31
#define SIGRTMIN  32
#define SIG_COUNT 64 // signals are 1..64

typedef u64 sigset_t; // bit n - 1 for signal n
#define SIGMASK(sig) BIT((sig)-1)

#define SIG_DFL 0ull
#define SIG_IGN 1ull

#define SA_NOCLDSTOP 0x00000001ull
#define SA_NOCLDWAIT 0x00000002ull
#define SA_SIGINFO   0x00000004ull
#define SA_RESTORER  0x04000000ull
#define SA_ONSTACK   0x08000000ull
#define SA_RESTART   0x10000000ull
#define SA_NODEFER   0x40000000ull
#define SA_RESETHAND 0x80000000ull

#define SS_ONSTACK    1u
#define SS_DISABLE    2u
#define SS_AUTODISARM 0x80000000u
#define MINSIGSTKSZ   2048u

// si_code
#define SI_USER       0
#define SI_KERNEL     0x80
#define SI_QUEUE      (-1)
#define SI_TIMER      (-2)
#define SI_TKILL      (-6)
#define ILL_ILLOPN    2
#define FPE_INTDIV    1
#define FPE_FLTINV    7
#define SEGV_MAPERR   1
#define SEGV_ACCERR   2
#define BUS_ADRALN    1
#define BUS_ADRERR    2
#define BUS_MCEERR_AR 4 // failed memory was touched
#define TRAP_BRKPT    1
#define TRAP_TRACE    2
#define CLD_EXITED    1
#define CLD_KILLED    2
#define CLD_STOPPED   5
#define CLD_CONTINUED 6

// siginfo_t
struct siginfo {
	s32 signo, err, code, pad;
	union {
		struct {
			s32 pid;
			u32 uid;
			u64 value; // sigqueue(3)
		} rt;
		struct {
			s32 pid;
			u32 uid;
			s32 status, pad;
			s64 utime, stime; // 1/100 s
		} chld;
		struct {
			u64 addr;     // of a fault
			u16 addr_lsb; // SIGBUS, BUS_MCEERR_AR: what is lost is 1 << addr_lsb bytes
		};
		u8 room[112];
	};
};
_Static_assert(sizeof(struct siginfo) == 128, "ABI");

// struct sigaction as rt_sigaction(2) has it.
struct sigaction {
	u64 handler, flags, restorer;
	sigset_t mask;
};

struct sigpending {
	sigset_t set;
	unsigned queued;   // real-time signals in `queue`
	struct list queue; // of struct sigqueued: details of those in `set`; may lack some
};

struct process;
struct thread;
struct trapframe;

void sigpending_init(struct sigpending *p);
void sigpending_flush(struct sigpending *p); // sig_lock held, or nobody else knows it

// Send to a process, to one thread of it, or to all members of a process group of a session. Any
// context; the first two need proc_lock held or a reference. What the receiver ignores is dropped
// at once. 0, or -EAGAIN: there is no room for a real-time signal, and it comes neither from the
// kernel nor by kill(2), which are content with less (RLIMIT_SIGPENDING).
int signal_send(struct process *p, const struct siginfo *info);
int signal_send_thread(struct thread *t, const struct siginfo *info);
void signal_send_group(u32 sid, u32 pgid, const struct siginfo *info);
void signal_send_group_locked(u32 sid, u32 pgid, const struct siginfo *info); // proc_lock held
// A signal from the kernel, e.g. SIGPIPE, to the current process.
void signal_raise(int sig);
// The current thread did what it must not: the signal cannot be blocked nor ignored.
void signal_force(int sig, int code, u64 addr);
// kill(2)'s and tgkill(2)'s rules of who may send what to whom; tgid -1: any. -EPERM, -ESRCH,
// -EINVAL, -EAGAIN (signal_send).
int signal_kill(s32 pid, const struct siginfo *info) __must_check;
int signal_kill_thread(s32 tgid, s32 tid, const struct siginfo *info) __must_check;
struct siginfo signal_info_user(int sig, int code); // "sent by the current process"

// An unblocked signal waits for the current thread.
bool signal_pending(void);
// The current thread has been told to end.
bool signal_is_killed(void);
// Blocks `set` instead of what is blocked now; returns the old set.
sigset_t signal_set_mask(sigset_t set);
sigset_t signal_set_mask_locked(struct thread *t, sigset_t set); // the same, sig_lock held
// As sigsuspend(2) and ppoll(2): block `set` until the next return to user mode, where what was
// blocked before comes back after the handlers are set up.
void signal_set_temporary_mask(sigset_t set);
// What the current process does on `sig`; new NULL or old NULL: not asked. -EINVAL.
int signal_action(int sig, const struct sigaction *new, struct sigaction *old) __must_check;
sigset_t signal_blocked_pending(void); // rt_sigpending(2)
// Take one of `set` out of what is pending (rt_sigtimedwait); 0: none.
int signal_take(sigset_t set, struct siginfo *out);
// execve: handlers back to default, alternate stack gone.
void signal_exec(void);
// fork: `child` gets the actions of the current process. Any clone: `user`, of the new thread, gets
// the mask of the current one, and its alternate stack if it is to have it.
struct uthread;
void signal_fork(struct process *child);
void signal_clone(struct uthread *user, bool alt_stack);
// All threads of `p` but one are to end. For exit.c; sig_lock held.
void signal_kill_threads_locked(struct process *p, const struct thread *except);
// The current thread takes no more signals: others get what it was to take. For exit.c; sig_lock
// held.
void signal_thread_ends_locked(struct thread *t);

// The next signal to act on, taken from the pending sets; its action is in *act, SA_RESETHAND
// already obeyed. 0: none. If it stops the process, p->stopped is set already, so that a SIGCONT
// from now on undoes it, and stop_begin() is to be called. For sigdeliver.c.
int signal_dequeue(struct siginfo *info, struct sigaction *act);
bool signal_default_is_ignore(int sig);
bool signal_default_is_stop(int sig);

// Registers with traps, faults and the terminal.
void signal_init(void);

// ---- sigdeliver.c: the way into handlers and back ----

void signal_user_return(struct trapframe *tf); // before every return to user mode
s64 signal_return(struct trapframe *tf);       // rt_sigreturn(2)
