// SPDX-License-Identifier: MIT
//
// Threads and the per-CPU preemptive scheduler.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/types.h"
#include "kernel/sched/lock.h"

struct aspace;     // mm/aspace.h
struct fs_context; // fs/fs_context.h: root, cwd, umask, credentials, descriptors
struct process;    // kernel/proc/process.h
struct trapframe;  // kernel/x86/trap.h

enum thread_state { THREAD_RUNNABLE, THREAD_RUNNING, THREAD_SLEEPING, THREAD_DEAD };

#define KSTACK_SIZE KIB(16) // each stack lies between two unmapped guard pages

struct thread {
	u32 tid;
	char name[16];
	u16 state;         // enum thread_state [runqueue lock of `cpu`]
	u16 cpu;           // whose run queue it is on, or ran on last
	u32 locks_held;    // spin- and sleeping locks, for assertions
	u64 saved_rsp;     // kernel stack pointer while not running
	void *kstack;      // lowest address of the stack
	struct trapframe *user_frame; // user registers, at the top of the stack; NULL: kernel thread
	u8 *fpu;           // 512-byte FXSAVE area, 16-byte aligned; NULL: kernel thread
	u64 fs_base, gs_base; // user TLS bases
	u32 faults_disabled; // > 0: user copies do not handle faults, they return short
	struct list runq_node; // [runqueue lock]
	struct list all_node;  // all threads [thread list lock]
	u64 wake_ns;       // deadline of a timed sleep
	int wake_result;   // why it woke: 0, -ETIMEDOUT, -EINTR
	bool interruptible; // the present sleep may be ended by a signal
	// Who it works for; all NULL in a kernel thread.
	struct aspace *as;
	struct fs_context *fs;
	struct process *proc;
	u64 utime_ns, stime_ns, slice_start_ns;
	u64 minor_faults;  // page faults taken on behalf of this thread
};

// The running thread. Any context.
struct thread *thread_current(void);

// A kernel thread, runnable at once; NULL when memory is short. `fn` returning ends the thread.
struct thread *thread_create(const char *name, void (*fn)(void *arg), void *arg);

// A thread that begins in user mode with the registers in `tf` (copied). Not yet runnable:
// thread_start() makes it so. NULL when memory is short.
struct thread *thread_create_user(const char *name, const struct trapframe *tf);
void thread_start(struct thread *t);

// End the calling thread. Its stack is freed by the CPU that switches away from it.
void thread_exit(void) __noreturn;

void thread_yield(void);
void thread_sleep_ns(u64 ns);
// As above but ends early with -EINTR when thread_interrupt() hits; 0 when time is up.
int thread_sleep_interruptible_ns(u64 ns);
// Wake `t` out of an interruptible sleep (a signal came). Any context.
void thread_interrupt(struct thread *t);

// Nesting. A thread is not preempted between the two; it must not sleep there.
void preempt_disable(void);
void preempt_enable(void);
bool preemptible(void);

// Set up this CPU's run queue and idle thread (each CPU once), then enter the scheduler.
void sched_init_cpu(void);
void sched_start(void) __noreturn;
