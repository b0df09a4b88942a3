// SPDX-License-Identifier: MIT
//
// What: the epoch: its counter, what each CPU has seen of it, and what waits for it (epoch.h).
// Not here: slots of address pools (mm/arena*.c), the synchronous shootdown (mm/ptbatch.c).
//
// Invariants
//   I1  seen[cpu] = e is stored by that CPU alone, after it read e from E and then flushed all its
//       user translations, at a moment when no code on it was inside a section with preemption off.
//       Reading E later, or flushing after the store, would claim too much (epoch.pml:
//       READ_E_AFTER_FLUSH, PUBLISH_BEFORE_FLUSH, SEEN_IN_SECTION).
//   I2  a stamp is read after a full fence that follows the clear. In the store buffer the clear
//       would not have happened yet for the CPU that flushes (STAMP_BEFORE_FENCE).
//   I3  "passed" means seen > stamp. At seen == stamp the flush may lie before the clear
//       (SEEN_EQUAL).
//   I4  E only grows. 2^64 epochs are more than there will be.
//
// Locking: lock of each CPU's list of deferred objects, RANK_EPOCH, interrupts off; it is taken by
// others only in epoch_synchronize. `seen` and `due` need none.
// Failure: none; nothing is allocated. A CPU that never leaves a section with preemption off is a
// bug that spinlocks report.
#include "kernel/sched/epoch.h"

#include "kernel/panic.h"
#include "kernel/sched/sched_internal.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/smp.h"

// As many deferred objects on one CPU are worth an interrupt to those that lag behind.
#define DEFERRED_MANY 4096u

static struct {
	u64 e; // E [atomic]
} __cacheline global = { .e = 1 };

static struct epoch_cpu {
	// Written by this CPU, read by who waits for an epoch.
	u64 seen;
	// This CPU's own, on a line that others do not read all the time.
	u32 due __cacheline; // a tick met a section with preemption off
	u32 busy;            // `work` is wanted [atomic]
	u64 published;
	u64 kicks; // CPUs that this one interrupted
	struct spinlock lock;
	struct epoch_node *first, **last; // deferred, in the order of their stamps [lock]
	u64 waiting;                      // [lock]
	u32 calling; // CPUs that have taken some off, and are not through with them [lock]
} epoch_cpus[CPU_MAX] = {
	[0 ... CPU_MAX - 1] = { .lock = SPINLOCK_INIT(RANK_EPOCH) },
};

static void (*work)(void);

static struct epoch_cpu *here(void)
{
	return &epoch_cpus[this_cpu()->index];
}

// ---- E and seen ---------------------------------------------------------------------------------

u64 epoch_now(void)
{
	return __atomic_load_n(&global.e, __ATOMIC_ACQUIRE);
}

void epoch_publish(u64 e)
{
	__atomic_store_n(&here()->seen, e, __ATOMIC_RELEASE);
}

u64 epoch_stamp(void)
{
	asm_mfence(); // I2
	return epoch_now();
}

void epoch_want(u64 stamp)
{
	u64 e = stamp;

	// The first who needs a new epoch begins it; for the others it is there already.
	if (epoch_now() == stamp)
		__atomic_compare_exchange_n(&global.e, &e, stamp + 1, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
}

// Each of the two reasons suffices by itself, whenever it is looked at after clear and fence.
static bool holds_back(unsigned cpu, u64 stamp, const struct aspace *as)
{
	const struct aspace *loaded = __atomic_load_n(&cpus[cpu].loaded_as, __ATOMIC_ACQUIRE);
	bool matters = as ? loaded == as || loaded == AS_SWITCHING : loaded != NULL;

	return matters && __atomic_load_n(&epoch_cpus[cpu].seen, __ATOMIC_ACQUIRE) <= stamp; // I3
}

bool epoch_passed(u64 stamp, const struct aspace *as)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		if (holds_back(i, stamp, as))
			return false;
	return true;
}

// ---- Deferred objects ---------------------------------------------------------------------------

// The list's lock is there at all times, so that interrupts are all that has to be kept out.
void epoch_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node))
{
	u64 flags = asm_irq_save();
	struct epoch_cpu *c = here();
	u64 waiting, stamp;

	node->fn = fn;
	node->next = NULL;
	spin_lock(&c->lock);
	node->stamp = stamp = epoch_stamp();
	if (!c->first)
		c->last = &c->first;
	*c->last = node;
	c->last = &node->next;
	waiting = ++c->waiting;
	spin_unlock(&c->lock);
	asm_irq_restore(flags);
	if (unlikely(waiting % DEFERRED_MANY == 0) && preemptible()) {
		epoch_want(stamp);
		epoch_kick(stamp, NULL);
	}
}

// Takes off the list of `c` what nobody can point at any more. Interrupts off.
static struct epoch_node *take_passed(struct epoch_cpu *c)
{
	struct epoch_node *first, **end = &c->first;

	spin_lock(&c->lock);
	first = c->first;
	while (*end && epoch_passed((*end)->stamp, NULL)) {
		end = &(*end)->next;
		c->waiting--;
	}
	if (end == &c->first) {
		first = NULL;
	} else {
		c->first = *end;
		*end = NULL;
		c->calling++;
	}
	spin_unlock(&c->lock);
	return first;
}

static void free_passed(struct epoch_cpu *c)
{
	struct epoch_node *taken, *n, *next;

	if (!READ_ONCE(c->first))
		return;
	taken = take_passed(c);
	for (n = taken; n; n = next) {
		next = n->next;
		n->fn(n);
	}
	spin_lock(&c->lock);
	if (taken)
		c->calling--;
	if (c->first)
		epoch_want(c->first->stamp);
	spin_unlock(&c->lock);
}

// ---- Quiescent points ---------------------------------------------------------------------------

// Interrupts off. On the kernel's own tables there are no user translations, and nobody waits for
// us.
static void flush_and_publish(struct epoch_cpu *c)
{
	u64 e = epoch_now();

	if (!this_cpu()->loaded_as || e == c->seen)
		return;
	asm_write_cr3(asm_read_cr3());
	epoch_publish(e);
	c->published++;
}

void epoch_flush_here(void)
{
	u64 flags = asm_irq_save();

	flush_and_publish(here());
	asm_irq_restore(flags);
}

// Interrupts off, nobody's section interrupted: I1.
static void quiesce(struct epoch_cpu *c)
{
	flush_and_publish(c);
	c->due = 0;
	if (c->busy)
		work();
	free_passed(c);
}

static bool something_to_do(const struct epoch_cpu *c)
{
	return (this_cpu()->loaded_as && epoch_now() != c->seen) || c->busy || READ_ONCE(c->first);
}

void epoch_tick(void)
{
	struct cpu *cpu = this_cpu();
	struct epoch_cpu *c = here();

	if (!something_to_do(c))
		return;
	// One level of interrupt is this one.
	if (cpu->preempt_count == 0 && cpu->irq_depth == 1) {
		quiesce(c);
	} else {
		c->due = 1;
		cpu->need_resched = 1; // so that preempt_enable() looks
	}
}

void epoch_preemption_point(void)
{
	u64 flags = asm_irq_save();
	struct epoch_cpu *c = here();

	if (c->due)
		quiesce(c);
	asm_irq_restore(flags);
}

static void kicked(void *arg)
{
	(void)arg;
	epoch_tick();
}

unsigned epoch_kick(u64 stamp, const struct aspace *as)
{
	cpumask_t mask = { 0 };
	unsigned n = 0;

	preempt_disable();
	for (unsigned i = 0; i < cpu_count(); i++) {
		if (i != this_cpu()->index && holds_back(i, stamp, as)) {
			mask.bits |= BIT(i);
			n++;
		}
	}
	if (n) {
		here()->kicks += n;
		smp_call(mask, kicked, NULL);
	}
	preempt_enable();
	return n;
}

void epoch_set_work(void (*fn)(void))
{
	work = fn;
}

void epoch_busy(bool busy)
{
	WRITE_ONCE(here()->busy, busy);
}

void epoch_busy_on(unsigned cpu)
{
	WRITE_ONCE(epoch_cpus[cpu].busy, true);
}

void epoch_idle(void)
{
	u64 flags = asm_irq_save();

	if (here()->busy)
		quiesce(here());
	asm_irq_restore(flags);
}

// ---- Waiting ------------------------------------------------------------------------------------

// This CPU's own quiescent point: the caller is in none of the sections.
static void quiesce_here(void)
{
	u64 flags = asm_irq_save();

	quiesce(here());
	asm_irq_restore(flags);
}

// Call what is deferred on the other CPUs, which may be asleep. What one of them has taken off its
// list is not over before it has been called: that was forgotten, and seen as memory that came back
// a moment after a test, when the host had stopped a CPU in between.
static bool free_everywhere(u64 stamp)
{
	bool all = true;

	for (unsigned i = 0; i < cpu_count(); i++) {
		struct epoch_cpu *c = &epoch_cpus[i];
		u64 flags = asm_irq_save();

		free_passed(c);
		spin_lock(&c->lock);
		if (c->calling || (c->first && c->first->stamp <= stamp))
			all = false;
		spin_unlock(&c->lock);
		asm_irq_restore(flags);
	}
	return all;
}

// Begin an epoch after `stamp`, and ask everybody who has not seen it.
static void ask(u64 stamp)
{
	ASSERT(preemptible());
	epoch_want(stamp);
	quiesce_here();
	epoch_kick(stamp, NULL);
}

void epoch_wait(u64 stamp)
{
	if (epoch_passed(stamp, NULL))
		return;
	ask(stamp);
	// Who was in a section with preemption off is so no more, a moment later.
	while (!epoch_passed(stamp, NULL)) {
		thread_sleep_ns(100000);
		quiesce_here();
	}
}

void epoch_synchronize(void)
{
	u64 stamp = epoch_stamp();

	ask(stamp);
	while (!epoch_passed(stamp, NULL) || !free_everywhere(stamp)) {
		thread_sleep_ns(1000000);
		quiesce_here();
	}
}

// ---- Figures ------------------------------------------------------------------------------------

struct epoch_stats epoch_stats(void)
{
	struct epoch_stats s = { .epoch = epoch_now() };

	for (unsigned i = 0; i < cpu_count(); i++) {
		s.published += READ_ONCE(epoch_cpus[i].published);
		s.kicks += READ_ONCE(epoch_cpus[i].kicks);
		s.waiting += READ_ONCE(epoch_cpus[i].waiting);
	}
	return s;
}

u64 epoch_seen(unsigned cpu)
{
	return __atomic_load_n(&epoch_cpus[cpu].seen, __ATOMIC_ACQUIRE);
}
