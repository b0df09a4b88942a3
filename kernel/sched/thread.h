// SPDX-License-Identifier: MIT
//
// Threads and the per-CPU preemptive scheduler.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/types.h"
#include "kernel/sched/lock.h"
#include "kernel/x86/asm.h"

struct aspace;     // mm/aspace.h
struct fs_context; // fs/fs_context.h: root, cwd, umask, credentials, descriptors
struct fpu_state;  // kernel/x86/fpu.h
struct process;    // kernel/proc/process.h
struct trapframe;  // kernel/x86/trap.h

enum thread_state { THREAD_RUNNABLE, THREAD_RUNNING, THREAD_SLEEPING, THREAD_DEAD };

#define KSTACK_SIZE KIB(16) // each stack lies between two unmapped guard pages

struct thread {
	u32 tid; // kernel/sched/number.h; 0: a user thread that has none yet [kernel/proc]
	char name[16];
	u8 state;           // enum thread_state [run queue lock of `cpu`]
	bool on_runq;       // linked by runq_node [run queue lock of `cpu`]
	bool interruptible; // the present sleep may be ended by a signal [run queue lock of `cpu`]
	u16 cpu;      // whose run queue it is on, or ran on last [run queue lock of the old one]
	u64 affinity; // bit per CPU that it may run on
	u32 signal_pending; // an unblocked signal waits: interruptible sleeps end at once [atomic]
	bool killed;        // it never returns to user mode: what may take long gives up [atomic]
	u32 locks_held;     // sleeping locks, for assertions; these three: debug build
	u32 sleep_ranks;    // bit per rank of sleeping lock held
	u8 sleep_held[RANK_SLEEPING_LAST]; // how many of each
	u64 saved_rsp;                     // kernel stack pointer while not running
	void *kstack; // lowest address of the stack; NULL: idle thread, on the CPU's boot stack
	struct trapframe
		*user_frame;   // user registers, at the top of the stack; NULL: kernel thread
	struct fpu_state *fpu; // registers while off the CPU; NULL: kernel thread
	u64 fs_base, gs_base;  // user TLS bases
	u32 faults_disabled;   // > 0: user copies do not handle faults, they return short
	u64 memory_failed;     // where a machine check cut a load short (drivers/nvdimm/poison.h)
	u32 failed_times;      // machine checks of user code in `failed_block`, of no file
	u64 failed_block;
	struct list runq_node; // [run queue lock of `cpu`]
	struct list all_node;  // all threads [thread list lock]
	struct list proc_node; // threads of a process [kernel/proc]
	void (*fn)(
		void *arg); // what it runs in the kernel; a user thread: before user mode, or NULL
	void *arg;
	// Who it works for; all NULL in a kernel thread.
	struct aspace *as;
	struct fs_context *fs;
	struct process *proc;
	struct uthread *user; // signals and the like (kernel/proc/process.h)
	u64 run_ns;           // CPU time up to slice_start_ns
	u64 stime_tsc;        // TSC cycles of it that were spent in system calls
	u64 off_cpu_tsc;      // TSC cycles that it was not running
	u64 off_since_tsc;    // when it stopped running
	u64 slice_start_ns;
	u64 minor_faults; // page faults taken on behalf of this thread
	u64 switches_voluntary, switches_preempted;
};

// The running thread; NULL before sched_init_cpu(). Any context.
static inline struct thread *thread_current(void)
{
	return asm_gs_current();
}

// A kernel thread, runnable at once; NULL when memory is short. `fn` returning ends the thread.
struct thread *thread_create(const char *name, void (*fn)(void *arg), void *arg);

// A thread that begins in user mode with the registers in `tf` (copied). Not yet runnable:
// thread_start() makes it so. NULL when memory is short.
struct thread *thread_create_user(const char *name, const struct trapframe *tf);
void thread_start(struct thread *t);

// Gives back a thread that was never started. Its number, if it has one, goes with it.
void thread_destroy(struct thread *t);

// End the calling thread: no lock held, no address space (t->as is NULL and not loaded). Its stack
// is freed by the CPU that switches away from it.
void thread_exit(void) __noreturn;

// Threads in memory, those that end included until they are freed.
unsigned thread_count(void);

void thread_yield(void);
// Leave this CPU if the caller's affinity does not have it.
void thread_migrate(void);
void thread_sleep_ns(u64 ns);
// As above but ends early with -EINTR when thread_interrupt() hits; 0 when time is up.
int thread_sleep_interruptible_ns(u64 ns);
// Wake `t` out of an interruptible sleep (a signal came). Any context.
void thread_interrupt(struct thread *t);

// Nesting. A thread is not preempted between the two; it must not sleep there.
void preempt_disable(void);
void preempt_enable(void);
bool preemptible(void);

// User TLS bases of the calling thread.
void thread_set_tls(u64 fs_base, u64 gs_base);

// CPU time of a thread so far.
u64 thread_run_ns(const struct thread *t);

// Set up this CPU's run queue and idle thread, which the caller becomes (each CPU once; the boot
// CPU after time_init()). Threads may be created from then on. Nobody is switched to, and the
// caller must not sleep, before it enters the scheduler by sched_start().
void sched_init_cpu(void);
void sched_start(void) __noreturn;

struct sched_stats {
	u64 switches;
	u64 idle_ns;       // of all CPUs
	unsigned runnable; // threads that run or could run
	unsigned threads;
};
struct sched_stats sched_stats(void);
// Nanoseconds that CPU `index` was idle.
u64 sched_idle_ns(unsigned index);
