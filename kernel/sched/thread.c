// SPDX-License-Identifier: MIT
//
// What: making threads, sleeping for a time, ending.
// Not here: which thread runs when (kernel/sched/sched.c); processes (kernel/proc).
//
// Invariants:
//   I1  user_frame is the last thing on the kernel stack: the entry code builds the frame of a
//       system call or a trap from user mode at the same place.
// Locking: thread list lock, RANK_PROC.
// Failure: out of memory makes thread_create() return NULL, with nothing left behind.
#include "kernel/sched/thread.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/number.h"
#include "kernel/sched/sched_internal.h"
#include "kernel/sched/timer.h"
#include "kernel/x86/fpu.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"
#include "mm/heap.h"
#include "mm/kmap.h"

static struct spinlock list_lock = SPINLOCK_INIT(RANK_PROC);
static struct list all_threads = LIST_INIT(all_threads); // [list_lock]
static unsigned nr_threads;                              // [atomic]

void thread_trampoline(void);
void thread_begin(void) __noreturn;

// First code of every thread, entered by thread_trampoline with the run queue lock held.
void thread_begin(void)
{
	struct thread *t = thread_current();

	sched_finish_switch();
	asm_sti();
	if (t->fn)
		t->fn(t->arg);
	if (t->user_frame)
		trap_return_user(t->user_frame);
	thread_exit();
}

// The stack as sched_switch_stacks() expects it: six saved registers and a return address.
static void prepare_stack(struct thread *t, u64 *top)
{
	*--top = (u64)thread_trampoline;
	for (int i = 0; i < 6; i++)
		*--top = 0;
	t->saved_rsp = (u64)top;
}

static struct thread *thread_alloc(const char *name)
{
	struct thread *t = kzalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->kstack = kmap_stack_alloc();
	if (!t->kstack) {
		kfree(t);
		return NULL;
	}
	strlcpy(t->name, name, sizeof(t->name));
	t->affinity = ~0ull;
	t->state = THREAD_SLEEPING;
	list_init(&t->runq_node);
	list_init(&t->all_node);
	list_init(&t->proc_node);
	spin_lock(&list_lock);
	list_add_tail(&all_threads, &t->all_node);
	__atomic_add_fetch(&nr_threads, 1, __ATOMIC_RELAXED);
	spin_unlock(&list_lock);
	return t;
}

void thread_free(struct thread *t)
{
	spin_lock(&list_lock);
	list_del(&t->all_node);
	spin_unlock(&list_lock);
	if (t->tid)
		number_put(t->tid);
	kmap_stack_free(t->kstack);
	kfree(t->fpu);
	kfree(t);
	// Last: who waits for the number to fall expects the memory back.
	__atomic_sub_fetch(&nr_threads, 1, __ATOMIC_RELEASE);
}

void thread_destroy(struct thread *t)
{
	thread_free(t);
}

unsigned thread_count(void)
{
	return __atomic_load_n(&nr_threads, __ATOMIC_ACQUIRE);
}

struct thread *thread_create(const char *name, void (*fn)(void *arg), void *arg)
{
	struct thread *t = thread_alloc(name);

	if (!t)
		return NULL;
	t->tid = number_alloc();
	if (!t->tid) {
		thread_destroy(t);
		return NULL;
	}
	t->fn = fn;
	t->arg = arg;
	// RSP is a multiple of 16 when the trampoline begins: its CALL aligns as the ABI wants.
	prepare_stack(t, (u64 *)((u8 *)t->kstack + KSTACK_SIZE));
	thread_start(t);
	return t;
}

struct thread *thread_create_user(const char *name, const struct trapframe *tf)
{
	struct thread *t = thread_alloc(name);

	if (!t)
		return NULL;
	t->fpu = kmalloc(sizeof(*t->fpu));
	if (!t->fpu) {
		thread_destroy(t);
		return NULL;
	}
	fpu_init_state(t->fpu);
	t->user_frame = (struct trapframe *)((u8 *)t->kstack + KSTACK_SIZE) - 1; // I1
	*t->user_frame = *tf;
	_Static_assert(sizeof(struct trapframe) % 16 == 0, "the stack below it must be aligned");
	prepare_stack(t, (u64 *)t->user_frame);
	return t;
}

void thread_start(struct thread *t)
{
	sched_enqueue_new(t);
}

void thread_exit(void)
{
	struct thread *t = thread_current();

	if (t->locks_held || t->faults_disabled)
		panic("thread %u (%s) ends with %u locks held, faults disabled %u", t->tid, t->name,
		      t->locks_held, t->faults_disabled);
	ASSERT(!t->as);
	sched_exit_current();
}

// ---- Sleeping for a time ------------------------------------------------------------------------

struct sleeper {
	struct timer timer;
	struct thread *thread;
};

static void sleep_over(struct timer *timer)
{
	sched_wake(container_of(timer, struct sleeper, timer)->thread);
}

static int sleep_until(u64 deadline_ns, bool interruptible)
{
	struct thread *t = thread_current();
	struct sleeper s = { .thread = t };
	bool blocked = false;
	int ret = 0;

	timer_init(&s.timer, sleep_over);
	timer_start(&s.timer, deadline_ns);
	for (;;) {
		sched_prepare_sleep(interruptible);
		if (time_now_ns() >= deadline_ns)
			break;
		if (interruptible && READ_ONCE(t->signal_pending)) {
			ret = -EINTR;
			break;
		}
		sched_block();
		blocked = true;
	}
	sched_cancel_sleep();
	timer_cancel(&s.timer);
	// Over before it began: a loop around short sleeps waits for somebody all the same. An
	// emulator that runs its CPUs in turns would give them all to this one (thread_yield).
	if (!blocked)
		thread_yield();
	return ret;
}

void thread_sleep_ns(u64 ns)
{
	sleep_until(time_now_ns() + ns, false);
}

int thread_sleep_interruptible_ns(u64 ns)
{
	u64 now_ns = time_now_ns();

	// Longer than five centuries is for ever.
	return sleep_until(ns > ~0ull - now_ns ? ~0ull : now_ns + ns, true);
}
