// SPDX-License-Identifier: MIT
//
// Processes: a tree, a table by number, and what fork, execve, exit and wait do with them.
//
//      NEW --fork--> ALIVE --last thread leaves--> ZOMBIE --parent waits--> REAPED
//
// A struct process lives as long as somebody refers to it: the table (until it is reaped) and
// whoever looked it up. Its threads (clone with CLONE_THREAD) share memory, descriptors and the
// actions of signals; the first one, the leader, has the process's number for its own. The leader
// may end before the others: the process is a zombie only when the last one has left.
//
// Locking: proc_lock (RANK_PROC, interrupts off) guards the table, the tree and all fields tagged
// [proc]. [sig]: sig_lock, see kernel/proc/signal.h. [proc+sig]: changes under both, so either is
// enough to look. [own]: only the thread itself, or one that nobody else knows yet.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/types.h"
#include "kernel/proc/signal.h"
#include "kernel/sched/lock.h"
#include "kernel/sched/number.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/timer.h"
#include "kernel/sched/wait.h"

struct file;

enum process_state { PROCESS_NEW, PROCESS_ALIVE, PROCESS_ZOMBIE, PROCESS_REAPED };

// getrlimit(2); order and numbers are Linux's.
enum {
	RLIMIT_CPU,
	RLIMIT_FSIZE,
	RLIMIT_DATA,
	RLIMIT_STACK,
	RLIMIT_CORE,
	RLIMIT_RSS,
	RLIMIT_NPROC,
	RLIMIT_NOFILE,
	RLIMIT_MEMLOCK,
	RLIMIT_AS,
	RLIMIT_LOCKS,
	RLIMIT_SIGPENDING,
	RLIMIT_MSGQUEUE,
	RLIMIT_NICE,
	RLIMIT_RTPRIO,
	RLIMIT_RTTIME,
	RLIMIT_COUNT
};
#define RLIM_INFINITY (~0ull)

struct rlimit {
	u64 cur, max;
};

// What getrusage(2) and wait4(2) tell.
struct usage {
	u64 utime_ns, stime_ns, faults, switches_voluntary, switches_preempted;
};

struct process {
	u32 pid;                      // constant
	u32 pgid, sid;                // [proc]
	u32 refs;                     // atomic
	enum process_state state;     // [proc]
	int wait_status;              // as wait4(2) reports it [proc]
	u32 group_signals;            // sent to it as one of several [proc]
	int exit_signal;              // to the parent at the end; 0: none [proc]
	bool has_execed;              // its parent may no longer change its group [proc]
	struct process *parent;       // NULL: init, or reaped [proc]
	u32 ppid;                     // its number, 0: none [proc]
	struct list children;         // [proc]
	struct list sibling;          // [proc]
	struct list hash_node;        // [proc]
	struct list all_node;         // [proc]
	struct wait_queue child_wait; // a child changed its state
	u32 vfork_done;               // memory is its own, or given up [atomic]

	struct spinlock sig_lock;
	struct list threads;            // thread.proc_node, the oldest first [proc+sig]
	unsigned nr_threads;            // in `threads` [proc+sig]
	unsigned nr_live;               // those of them that have not begun to end [sig]
	bool exiting;                   // all of them end, with exit_status [sig]
	int exit_status;                // as wait4 reports it [sig]
	struct thread *survivor;        // ends all others (execve, shutdown); NULL: nobody [sig]
	struct wait_queue threads_wait; // the survivor waits for the others to leave

	struct sigaction actions[SIG_COUNT]; // of signal i + 1 [sig]
	struct sigpending pending;           // [sig]
	bool stopped;                        // by a signal, until SIGCONT [sig]
	struct wait_queue cont_wait;         // its threads sleep here meanwhile
	unsigned nr_stopped;                 // threads that do [sig]
	int stop_sig;     // what stops it, while not all threads have stopped; 0: told [sig]
	bool cont_news;   // the first thread to go on tells the parent [sig]
	int stop_report;  // signal that stopped it, not yet told by wait4; 0: none [proc]
	bool cont_report; // it was continued, not yet told [proc]

	struct mutex itimer_lock; // RANK_ITIMER: threads take turns with
	struct timer itimer;      // ITIMER_REAL [itimer_lock]
	u64 itimer_interval_ns;   // 0: once [itimer_lock; read by the timer's function]

	struct rlimit rlimits[RLIMIT_COUNT]; // [proc]
	struct usage dead_children;          // waited for [proc]
	struct usage final;                  // of its threads that have left [proc]
	u32 uid;                             // real user, for kill(2), /proc and zombies [proc]
	u32 euid, suid, gid;                 // [proc]
	u64 start_ns;                        // constant
	char name[16];                       // of the main thread [proc]
	char *cmdline;                       // arguments, NUL-separated [proc]
	size_t cmdline_bytes;                // [proc]
	struct file *exe;                    // what it runs [proc]
};

// The part of a user thread that processes and signals need (thread->user).
struct uthread {
	struct thread *thread;     // whose it is. Constant
	struct list tid_node;      // in the table of threads [proc]
	bool ending;               // takes no signals any more [sig]
	sigset_t awaited;          // by sigtimedwait: they do not act, they are taken [own]
	sigset_t blocked;          // [sig]
	sigset_t saved_mask;       // comes back after a temporary mask [own]
	bool restore_mask;         // [own]
	struct sigpending pending; // [sig]
	u64 alt_sp, alt_bytes;     // sigaltstack(2) [own]
	u32 alt_flags;             // [own]
	uva_t set_child_tid;     // the tid is written there before the first user instruction [own]
	uva_t clear_child_tid;   // and a zero there at the end [own]
	uva_t robust_list;       // set_robust_list(2) [own]
	u64 restart_deadline_ns; // of a sleep that was stopped and begins again; 0: none [own]
};

extern struct spinlock proc_lock;

static inline struct process *process_current(void)
{
	return thread_current()->proc;
}

// By number, with a reference; NULL: none such. Zombies are found.
struct process *process_find(u32 pid);
// The same, proc_lock held, no reference.
struct process *process_find_locked(u32 pid);
void process_get(struct process *p);
void process_put(struct process *p); // thread context: the last one frees
// The process with the smallest number >= pid, with a reference; NULL at the end.
struct process *process_next(u32 pid);
unsigned process_count(void);
// All processes, in order of their making. proc_lock held.
extern struct list process_list;
#define process_for_each(p) list_for_each(p, &process_list, all_node)

// A new process with a number of its own, one reference, in no list; NULL when memory is short or
// there are too many.
struct process *process_alloc(void);
// Put it in the table and, with its first thread, in the tree below `parent` (NULL: none).
void process_link(struct process *p, struct process *parent, struct thread *t);
// The same for a fork. -EAGAIN: RLIMIT_NPROC. -ERESTARTNOINTR: the caller is to end, or a signal to
// several processes, among them the current one, `parent`, has come since its group_signals was
// `seen`, and would miss the child.
int process_link_fork(struct process *p, struct process *parent, struct thread *t, u32 seen)
	__must_check;
// One more thread, with a number, for the current process. Errors as above.
int process_link_thread(struct thread *t) __must_check;
// The thread `t` of `p` leaves its process. proc_lock and p->sig_lock held.
void process_unlink_thread_locked(struct process *p, struct thread *t);
// The leader has left: the only other thread takes its number. Both locks held.
void process_take_leader_number_locked(struct thread *t);
// Out of table and tree; drops the table's reference, which the caller now holds. proc_lock held.
void process_unlink_locked(struct process *p);
// Another group and session. proc_lock held; both numbers are in use.
void process_set_group_locked(struct process *p, u32 pgid, u32 sid);
// Only for a process that was never linked.
void process_free_unlinked(struct process *p);

// A thread of any process by its number, without a reference; NULL: none such. proc_lock held.
struct thread *thread_find_locked(u32 tid);
// The process with this number, or with a thread of this number, without a reference. proc_lock
// held.
struct process *process_of_number_locked(u32 nr);
// The thread of `p` with the smallest number >= tid; NULL: none. proc_lock held.
struct thread *process_thread_next_locked(struct process *p, u32 tid);

// Memory and files of a process that may be ending or changing them: with a reference, or NULL.
struct aspace *process_aspace(struct process *p);
struct fs_context *process_fs(struct process *p);
// The current thread runs on `as` (NULL: on none) from here on; returns the old one, whose
// reference is now the caller's.
struct aspace *process_swap_aspace(struct aspace *as) __must_check;
struct fs_context *process_swap_fs(struct fs_context *fs) __must_check;
// RLIMIT_NOFILE for all its threads. proc_lock held.
void process_tell_limits_locked(struct process *p);
// Is `p` what the calling process is, or may be looked at by user `uid`: root, or whose it is in
// every respect (ptrace(2), "Ptrace access mode checking")? proc_lock held, or a reference.
bool process_may_look(u32 uid, const struct process *p);
// What the current process runs, NULL at its end: takes over a file whose inode has been denied
// writing (inode_deny_write) and lets go of the old one.
void process_set_exe(struct file *exe);

// thread->user for a thread that is being made; NULL when memory is short.
struct uthread *uthread_create(struct thread *t);
void uthread_free(struct uthread *u);

// ---- fork.c ----

#define CLONE_VM             0x00000100ull
#define CLONE_FS             0x00000200ull
#define CLONE_FILES          0x00000400ull
#define CLONE_SIGHAND        0x00000800ull
#define CLONE_PTRACE         0x00002000ull
#define CLONE_VFORK          0x00004000ull
#define CLONE_THREAD         0x00010000ull
#define CLONE_SYSVSEM        0x00040000ull
#define CLONE_SETTLS         0x00080000ull
#define CLONE_PARENT_SETTID  0x00100000ull
#define CLONE_CHILD_CLEARTID 0x00200000ull
#define CLONE_DETACHED       0x00400000ull
#define CLONE_UNTRACED       0x00800000ull
#define CLONE_CHILD_SETTID   0x01000000ull
#define CLONE_IO             0x80000000ull
#define CSIGNAL              0x000000ffull

struct clone_args {
	u64 flags; // CLONE_*, without CSIGNAL
	int exit_signal;
	u64 stack; // 0: the parent's
	uva_t parent_tid, child_tid;
	u64 tls;
};
// The new process's or thread's number, or -EAGAIN, -ENOMEM, -EINVAL (flags that do not go together
// or are not there).
s64 process_clone(const struct clone_args *args, const struct trapframe *tf);
// Nobody need wait for this process's memory any more (execve, exit).
void process_vfork_release(struct process *p);

// ---- exec.c ----

// Where exec takes its strings from: user pointers (NULL-terminated arrays of strings) or kernel's.
struct exec_strings {
	bool user;
	u64 argv, envp; // uva, or const char *const *
};
// Replaces the program of the current process; `path` is a kernel string. On success the registers
// in tf are those of the new program. -errno leaves everything as it was.
int process_exec(const char *path, const struct exec_strings *strings, struct trapframe *tf)
	__must_check;

// ---- exit.c, wait.c ----

// End the current process with all its threads; `wait_status` as wait4 reports it.
void process_exit(int wait_status) __noreturn;
// End the current thread; the last one's `wait_status` is the process's.
void process_exit_thread(int wait_status) __noreturn;
// All threads of `p` are to end. p->sig_lock held.
void process_exit_locked(struct process *p, int wait_status);
// End all other threads of the current process, and wait until they have left; the caller has the
// process's number then. -EAGAIN: the process itself is to end.
int process_end_other_threads(void) __must_check;
// Begins that and does not wait: how many others are still there.
unsigned process_kill_other_threads(void);
#define WAIT_EXITED(code) (((code)&0xff) << 8)
#define WAIT_KILLED(sig)  ((sig)&0x7f)
#define WAIT_STOPPED(sig) (((sig)&0xff) << 8 | 0x7f)
#define WAIT_CONTINUED    0xffff

// Tell the parent of `p` that its state changed: wake its wait4 and send SIGCHLD with `code`
// (CLD_*) and `status`. proc_lock held.
void process_tell_parent(struct process *p, int code, int status);

#define WNOHANG    1u
#define WUNTRACED  2u
#define WEXITED    4u
#define WCONTINUED 8u
#define WNOWAIT    0x01000000u
#define W_NOTHREAD 0xe0000000u // __WNOTHREAD, __WALL, __WCLONE: nothing to tell apart

struct wait_result {
	u32 pid, uid;
	int status;
	struct usage usage;
};
// `which`: > 0 a child, 0 my group, WAIT_ANY, < 0 a group. 1 with *out filled, 0 (WNOHANG: none
// yet), -ECHILD, -EINTR.
#define WAIT_ANY INT64_MIN
int process_wait(s64 which, unsigned options, struct wait_result *out) __must_check;
// After a zombie was taken out by process_unlink_locked().
void process_reaped(struct process *p);

// What a process has used so far.
struct usage process_usage(struct process *p);
struct usage thread_usage(const struct thread *t);
void usage_add(struct usage *sum, const struct usage *u);

// ---- itimer.c ----

struct itimer_ns {
	u64 value_ns, interval_ns; // left over (0: off), and from then on (0: once)
};
// setitimer(ITIMER_REAL) of the current process; new NULL: only look.
void process_itimer(const struct itimer_ns *new, struct itimer_ns *old);
void process_itimer_init(struct process *p);

// ---- stop.c: job control ----

// The current thread has taken the stop signal `sig` for its process (signal_dequeue): unless
// nobody could continue it, all its threads stop.
void stop_begin(int sig);
// If the process is stopped: sleep until it goes on, or the thread is to end.
void stop_here(void);
// A thread is ending (sig_lock held): 0, or the signal to tell the parent about with stop_tell():
// those that are left have stopped.
int stop_complete_locked(struct process *p) __must_check;
void stop_tell(struct process *p, int sig); // proc_lock held

// ---- shutdown.c ----

enum shutdown_how { SHUTDOWN_POWEROFF, SHUTDOWN_RESTART, SHUTDOWN_HALT };
// Ends all other processes, unmounts, leaves the machine.
void system_shutdown(enum shutdown_how how) __noreturn;
// No new processes from then on.
bool system_is_shutting_down(void);

// ---- init.c ----

// Makes process 1 and starts it. `prepare` runs first, in its context but still in the kernel: it
// mounts what there is to mount. Then the program of `init=` takes over.
void process_start_init(void (*prepare)(void));

// Registers with traps, signals and /proc. Once, before the first process.
void process_init(void);
