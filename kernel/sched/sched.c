// SPDX-License-Identifier: MIT
//
// What: the scheduler. Each CPU has a first-come-first-served run queue and an idle thread; a
// thread runs until it sleeps or until its slice is over and another one waits. A thread that wakes
// goes to its last CPU if that is idle, else to an idle one, else to the shortest queue; an idle
// CPU takes work from others.
// Not here: making and ending threads (kernel/sched/thread.c), wait queues (wait.c), timers
// (timer.c).
//
// States of a thread, all changes under the run queue lock of t->cpu:
//
//      RUNNABLE --picked--> RUNNING --prepare_sleep--> SLEEPING --block--> (off the CPU)
//          ^                   |  ^                       |                     |
//          +----preempted------+  +---wake, cancel--------+                     |
//          +---------------------------wake-------------------------------------+
//
// Invariants:
//   I1  Between prepare_sleep and block a thread is SLEEPING and still on its CPU. A wake in that
//       time makes it RUNNING again, and block returns at once: no wake is lost.
//   I2  A thread that is preempted in that time goes to the run queue although it is SLEEPING
//       (on_runq tells), for it has not looked at its condition yet. Only block takes it off.
//   I3  The run queue lock is held over the exchange of stacks, by `prev` before and by `next`
//       after. So nobody can move a thread to another CPU before its registers are saved.
//   I4  t->cpu changes only while t does not run, under the run queue lock of the old CPU. Between
//       two queues a thread is RUNNABLE and not on_runq: a wake then has nothing to do.
//   I5  A CPU holds at most one run queue lock.
// Locking: run queue lock, RANK_RUNQ, interrupts off.
#include "kernel/sched/sched_internal.h"

#include "kernel/panic.h"
#include "kernel/sched/epoch.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/fpu.h"
#include "kernel/x86/mce.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/smp.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"
#include "mm/aspace.h"

#define SLICE_NS 10000000ull

static struct runq {
	struct spinlock lock;
	struct list ready;      // [lock]
	u32 nr_ready;           // [lock] for writing
	bool started;           // this CPU takes part
	struct thread *current; // [lock] for writing
	struct thread *dead;    // ended; its stack is free once we are off it [lock]
	struct thread
		*leaving; // may no longer run here; goes to another queue once we are off it [lock]
	u64 switches;     // [lock]
	struct thread idle;
} __cacheline runqs[CPU_MAX];

void sched_switch_stacks(u64 *save_rsp, u64 load_rsp);

static struct runq *this_runq(void)
{
	return &runqs[this_cpu()->index];
}

// ---- Queues -------------------------------------------------------------------------------------

static void enqueue(struct runq *rq, struct thread *t)
{
	ASSERT(!t->on_runq);
	t->on_runq = true;
	list_add_tail(&rq->ready, &t->runq_node);
	WRITE_ONCE(rq->nr_ready, rq->nr_ready + 1);
}

static void dequeue(struct runq *rq, struct thread *t)
{
	t->on_runq = false;
	list_del(&t->runq_node);
	WRITE_ONCE(rq->nr_ready, rq->nr_ready - 1);
}

// The queue comes back locked. NO_TSA, here and below: clang's analysis follows neither a lock that
// a function returns nor one that goes over to another thread at the switch.
NO_TSA static struct runq *lock_runq_of(const struct thread *t, u64 *flags)
{
	for (;;) {
		unsigned cpu = READ_ONCE(t->cpu);

		*flags = spin_lock_irqsave(&runqs[cpu].lock);
		if (READ_ONCE(t->cpu) == cpu)
			return &runqs[cpu];
		spin_unlock_irqrestore(&runqs[cpu].lock, *flags);
	}
}

static bool is_idle(const struct runq *rq)
{
	return READ_ONCE(rq->current) == &rq->idle && READ_ONCE(rq->nr_ready) == 0;
}

static unsigned load(const struct runq *rq)
{
	return READ_ONCE(rq->nr_ready) + (READ_ONCE(rq->current) != &rq->idle);
}

// Where `t` should run next. Only a guess: the queues are looked at without their locks.
static unsigned place(const struct thread *t)
{
	unsigned i, best = t->cpu;
	bool last_is_allowed = t->affinity & BIT(best) && READ_ONCE(runqs[best].started);

	if (last_is_allowed && is_idle(&runqs[best]))
		return best;
	for (i = 0; i < cpu_count(); i++) {
		if (!(t->affinity & BIT(i)) || !READ_ONCE(runqs[i].started))
			continue;
		if (is_idle(&runqs[i]))
			return i;
		if (!last_is_allowed || load(&runqs[i]) < load(&runqs[best])) {
			best = i;
			last_is_allowed = true;
		}
	}
	return best;
}

// Put a thread that is on no queue and not running on the queue of `cpu`, and see that it is
// noticed.
static void enqueue_on(unsigned cpu, struct thread *t)
{
	struct runq *rq = &runqs[cpu];
	u64 flags = spin_lock_irqsave(&rq->lock);
	bool kick = rq->started && rq->current == &rq->idle;

	enqueue(rq, t);
	if (kick)
		WRITE_ONCE(cpus[cpu].need_resched, 1);
	spin_unlock_irqrestore(&rq->lock, flags);
	if (kick && cpu != this_cpu()->index)
		smp_reschedule(cpu);
}

void sched_enqueue_new(struct thread *t)
{
	preempt_disable();
	t->state = THREAD_RUNNABLE;
	t->cpu = (u16)this_cpu()->index;
	t->cpu = (u16)place(t);
	enqueue_on(t->cpu, t);
	preempt_enable();
}

NO_TSA void sched_wake(struct thread *t)
{
	u64 flags;
	struct runq *rq;
	unsigned cpu;

	preempt_disable();
	rq = lock_runq_of(t, &flags);
	if (t->state != THREAD_SLEEPING) {
		spin_unlock_irqrestore(&rq->lock, flags);
	} else if (rq->current == t) { // I1
		t->state = THREAD_RUNNING;
		spin_unlock_irqrestore(&rq->lock, flags);
	} else {
		t->state = THREAD_RUNNABLE;
		if (t->on_runq) { // I2
			spin_unlock_irqrestore(&rq->lock, flags);
		} else {
			cpu = place(t);
			t->cpu = (u16)cpu; // I4
			spin_unlock_irqrestore(&rq->lock, flags);
			enqueue_on(cpu, t);
		}
	}
	preempt_enable();
}

NO_TSA void thread_interrupt(struct thread *t)
{
	u64 flags;
	struct runq *rq = lock_runq_of(t, &flags);
	bool sleeps = t->state == THREAD_SLEEPING && t->interruptible;

	spin_unlock_irqrestore(&rq->lock, flags);
	// A sleep that began since has seen signal_pending. One that ended is woken for nothing,
	// which every sleep must be able to take.
	if (sleeps)
		sched_wake(t);
}

// Take a thread from the longest queue. Idle thread only.
static bool steal(unsigned self)
{
	unsigned i, victim = self, most = 0;
	struct thread *t, *found = NULL;
	struct runq *rq;
	u64 flags;

	for (i = 0; i < cpu_count(); i++) {
		if (i != self && READ_ONCE(runqs[i].nr_ready) > most) {
			most = READ_ONCE(runqs[i].nr_ready);
			victim = i;
		}
	}
	if (victim == self)
		return false;
	rq = &runqs[victim];
	// Not preempted before the thread is on its new queue: the idle thread would come back to
	// it only when this CPU has nothing else to do, which may be never.
	preempt_disable();
	flags = spin_lock_irqsave(&rq->lock);
	list_for_each(t, &rq->ready, runq_node) {
		// Asleep on a run queue (I2): it must stay where a wake looks for it.
		if (t->state == THREAD_RUNNABLE && (t->affinity & BIT(self))) {
			found = t;
			dequeue(rq, t);
			t->cpu = (u16)self; // I4
			break;
		}
	}
	spin_unlock_irqrestore(&rq->lock, flags);
	if (found)
		enqueue_on(self, found);
	preempt_enable();
	return found != NULL;
}

// ---- The switch ---------------------------------------------------------------------------------

void thread_set_tls(u64 fs_base, u64 gs_base)
{
	struct thread *t = thread_current();

	preempt_disable();
	t->fs_base = fs_base;
	t->gs_base = gs_base;
	asm_wrmsr(MSR_FS_BASE, fs_base);
	// The kernel's own base is in GS now; SWAPGS brings the user's back.
	asm_wrmsr(MSR_KERNEL_GS_BASE, gs_base);
	preempt_enable();
}

static bool is_on_stack(const struct thread *t, u64 rsp)
{
	return !t->kstack || rsp - (u64)t->kstack < KSTACK_SIZE;
}

static void switch_to(struct runq *rq, struct thread *prev, struct thread *next)
{
	struct cpu *c = this_cpu();
	u64 now_tsc = asm_rdtsc();

	ASSERT(is_on_stack(prev, (u64)__builtin_frame_address(0)));
	ASSERT(is_on_stack(next, next->saved_rsp));
	prev->off_since_tsc = now_tsc;
	if (next->off_since_tsc)
		next->off_cpu_tsc += now_tsc - next->off_since_tsc;
	rq->current = next;
	rq->switches++;
	c->current = next;
	if (next->user_frame) {
		cpu_set_kernel_stack((u64)(next->user_frame + 1));
		asm_wrmsr(MSR_FS_BASE, next->fs_base);
		asm_wrmsr(MSR_KERNEL_GS_BASE, next->gs_base);
	}
	if (next->as != c->loaded_as)
		aspace_switch(next->as);
	if (prev->fpu)
		fpu_save(prev->fpu);
	if (next->fpu)
		fpu_load(next->fpu);
	sched_switch_stacks(&prev->saved_rsp, next->saved_rsp);
}

NO_TSA void sched_finish_switch(void)
{
	struct runq *rq = this_runq();
	struct thread *dead = rq->dead, *leaving = rq->leaving;

	rq->dead = rq->leaving = NULL;
	if (leaving)
		leaving->cpu = (u16)place(leaving); // I4
	spin_unlock(&rq->lock);
	if (leaving)
		enqueue_on(leaving->cpu, leaving);
	if (dead)
		thread_free(dead);
}

// Pick the next thread and run it. `preempted`: the caller did not ask for it.
NO_TSA static void reschedule(bool preempted)
{
	u64 flags = asm_irq_save();
	struct runq *rq = this_runq();
	struct thread *prev = rq->current, *next = &rq->idle;
	u64 now_ns = time_now_ns();

	spin_lock(&rq->lock);
	if (unlikely(this_cpu()->preempt_count != 1))
		panic("thread %u (%s) gives up its CPU inside a critical section: count %u, ranks "
		      "%#llx",
		      prev->tid, prev->name, this_cpu()->preempt_count - 1,
		      (unsigned long long)this_cpu()->lock_ranks);
	this_cpu()->need_resched = 0;
	prev->run_ns += now_ns - prev->slice_start_ns;
	prev->slice_start_ns = now_ns;
	if (!preempted && prev->state == THREAD_SLEEPING && prev->interruptible &&
	    READ_ONCE(prev->signal_pending))
		prev->state = THREAD_RUNNING;
	if (prev != &rq->idle && (preempted || prev->state == THREAD_RUNNING)) {
		if (prev->state == THREAD_RUNNING)
			prev->state = THREAD_RUNNABLE;
		if (prev->state == THREAD_RUNNABLE && !(prev->affinity & BIT(prev->cpu)))
			rq->leaving = prev;
		else
			enqueue(rq, prev);
	}
	if (prev->state == THREAD_DEAD)
		rq->dead = prev;
	if (!list_empty(&rq->ready)) {
		next = list_entry(rq->ready.next, struct thread, runq_node);
		dequeue(rq, next);
	}
	if (next->state == THREAD_RUNNABLE)
		next->state = THREAD_RUNNING;
	next->slice_start_ns = now_ns;
	if (next != prev) {
		if (preempted)
			prev->switches_preempted++;
		else
			prev->switches_voluntary++;
		switch_to(rq, prev, next);
	}
	sched_finish_switch(); // maybe on another CPU than before (I3)
	asm_irq_restore(flags);
}

void sched_preempt(void)
{
	if (!this_cpu()->need_resched || !this_runq()->started)
		return;
	epoch_preemption_point();
	reschedule(true);
}

void sched_prepare_sleep(bool interruptible)
{
	u64 flags = asm_irq_save();
	struct runq *rq = this_runq();
	struct thread *t = thread_current();

	spin_lock(&rq->lock);
	t->state = THREAD_SLEEPING;
	t->interruptible = interruptible;
	spin_unlock(&rq->lock);
	asm_irq_restore(flags);
}

void sched_cancel_sleep(void)
{
	u64 flags = asm_irq_save();
	struct runq *rq = this_runq();

	spin_lock(&rq->lock);
	thread_current()->state = THREAD_RUNNING;
	spin_unlock(&rq->lock);
	asm_irq_restore(flags);
}

void sched_block(void)
{
	struct thread *t = thread_current();

	if (unlikely(!t->kstack))
		panic("%s has to wait, but there is nobody else to run yet", t->name);
	if (unlikely(!(asm_rflags() & RFLAGS_IF)))
		panic("thread %u (%s) sleeps with interrupts off", t->tid, t->name);
	reschedule(false);
}

void thread_yield(void)
{
	// Who yields in a loop waits for somebody, perhaps on a CPU that shares this one's core or,
	// in an emulator that runs its CPUs in turns, all of its time.
	asm_pause();
	if (thread_current()->kstack)
		reschedule(false);
}

void thread_migrate(void)
{
	if (!(thread_current()->affinity & BIT(READ_ONCE(thread_current()->cpu))))
		thread_yield();
}

void sched_exit_current(void)
{
	asm_cli();
	thread_current()->state = THREAD_DEAD;
	reschedule(false);
	panic("a dead thread runs");
}

// ---- Tick, idling, start ------------------------------------------------------------------------

static void tick(void)
{
	struct runq *rq = this_runq();
	struct thread *t = rq->current;

	timer_run();
	epoch_tick();
	mce_tick();
	if (READ_ONCE(rq->nr_ready) == 0)
		return;
	if (t == &rq->idle || time_now_ns() - t->slice_start_ns >= SLICE_NS)
		this_cpu()->need_resched = 1;
}

static void idle(void)
{
	unsigned self = this_cpu()->index;

	for (;;) {
		if (READ_ONCE(runqs[self].nr_ready) || steal(self))
			reschedule(false);
		epoch_idle();
		asm_cli();
		if (READ_ONCE(runqs[self].nr_ready) == 0)
			asm_sti_hlt();
		else
			asm_sti();
	}
}

void sched_init_cpu(void)
{
	unsigned self = this_cpu()->index;
	struct runq *rq = &runqs[self];
	struct thread *t = &rq->idle;

	spin_init(&rq->lock, RANK_RUNQ);
	list_init(&rq->ready);
	timer_init_cpu();
	*t = (struct thread){ .name = "idle",
			      .state = THREAD_RUNNING,
			      .cpu = (u16)self,
			      .affinity = BIT(self),
			      .slice_start_ns = time_now_ns() };
	list_init(&t->runq_node);
	list_init(&t->all_node);
	list_init(&t->proc_node);
	rq->current = t;
	this_cpu()->current = t;
	if (self == 0) {
		time_set_tick(tick);
		trap_set_preempt(sched_preempt);
	}
}

void sched_start(void)
{
	__atomic_store_n(&this_runq()->started, true, __ATOMIC_RELEASE);
	// The first thread may count on all CPUs: the others are on their way to this place, too.
	for (unsigned i = 0; this_cpu()->index == 0 && i < cpu_count(); i++)
		while (!__atomic_load_n(&runqs[i].started, __ATOMIC_ACQUIRE))
			asm_pause();
	asm_sti();
	idle();
	__builtin_unreachable();
}

// ---- Figures ------------------------------------------------------------------------------------

// A thread that has its CPU for itself is not switched for a long time: the present slice counts,
// whoever asks.
NO_TSA u64 thread_run_ns(const struct thread *t)
{
	u64 flags, now_ns, ns;
	struct runq *rq = lock_runq_of(t, &flags);

	now_ns = time_now_ns();
	ns = t->run_ns;
	if (rq->current == t && now_ns > t->slice_start_ns)
		ns += now_ns - t->slice_start_ns;
	spin_unlock_irqrestore(&rq->lock, flags);
	return ns;
}

u64 sched_idle_ns(unsigned index)
{
	const struct runq *rq = &runqs[index];
	u64 ns = READ_ONCE(rq->idle.run_ns);

	if (READ_ONCE(rq->current) == &rq->idle && rq->started)
		ns += time_now_ns() - READ_ONCE(rq->idle.slice_start_ns);
	return ns;
}

struct sched_stats sched_stats(void)
{
	struct sched_stats s = { .threads = thread_count() };
	unsigned i;

	for (i = 0; i < cpu_count(); i++) {
		s.switches += READ_ONCE(runqs[i].switches);
		s.idle_ns += sched_idle_ns(i);
		s.runnable += load(&runqs[i]);
	}
	return s;
}
