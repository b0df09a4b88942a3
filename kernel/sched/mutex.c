// SPDX-License-Identifier: MIT
//
// What: locks whose waiters sleep: mutex and reader-writer lock, both first come first served, and
// the run-time check of the order of sleeping locks.
// Not here: spinlocks (kernel/sched/lock.c); contracts (kernel/sched/lock.h).
//
// Invariants:
//   I1  Release hands the lock over: the waiter is the owner before it runs. Nobody can overtake
//       it.
//   I2  A waiter returns only after it held the inner lock once more: the thread that woke it is
//       done with it by then, and it may end.
//   I3  rwlock: new readers queue up behind whoever waits. So a writer waits for those readers only
//       that came before it.
//   I4  mutex: its word is the owner, with MUTEX_WAITED set exactly while somebody is in the list;
//       both change together under the inner lock. Without waiters the word alone is the mutex:
//       one compare-and-swap takes it, one gives it back.
//   I5  rwlock: its word counts the readers and says whether there is a writer; RW_WAITED is set
//       exactly while somebody is in the list, and then the word changes under the inner lock only.
//       Without waiters it changes by compare-and-swap, with or without the inner lock.
// Locking: the inner spinlock of each lock (RANK_WAITQ), then run queue locks.
#include "kernel/sched/lock.h"

#include "kernel/debug.h"
#include "kernel/panic.h"
#include "kernel/sched/sched_internal.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/cpu.h"

// ---- Order --------------------------------------------------------------------------------------

void lock_rank_check_sleeping(unsigned rank, const void *lock)
{
	const struct thread *t = DEBUG_BUILD ? thread_current() : NULL;

	if (!t)
		return;
	if (unlikely(rank == RANK_NONE || rank >= RANK_SLEEPING_LAST))
		panic("sleeping lock %p has rank %u", lock, rank);
	if (unlikely(this_cpu()->lock_ranks))
		panic("sleeping lock %p of rank %u taken with a spinlock held: ranks %#llx", lock,
		      rank, (unsigned long long)this_cpu()->lock_ranks);
	// Directories lock each other in an order of their own (RANK_DIR).
	if (unlikely(t->sleep_ranks >> (rank + (rank == RANK_DIR))))
		panic("sleeping lock %p of rank %u taken out of order: ranks held %#x", lock, rank,
		      t->sleep_ranks);
}

void lock_rank_take_sleeping(unsigned rank)
{
	struct thread *t = DEBUG_BUILD ? thread_current() : NULL;

	if (!t)
		return;
	t->locks_held++;
	t->sleep_held[rank]++;
	t->sleep_ranks |= 1u << rank;
}

void lock_rank_drop_sleeping(unsigned rank)
{
	struct thread *t = DEBUG_BUILD ? thread_current() : NULL;

	if (!t)
		return;
	t->locks_held--;
	if (--t->sleep_held[rank] == 0)
		t->sleep_ranks &= ~(1u << rank);
}

#define MUTEX_WAITED 1ull

// Before the scheduler is set up there is one flow of control and no thread: a mutex's word is 0
// then, locked or not, and nobody is there whom it would have to keep out.
static struct thread *self(void)
{
	return thread_current();
}

// Sleep until somebody has taken `e` off its list. Inner lock held before and after.
static NO_TSA void wait_for_handover(struct spinlock *inner, struct wait_entry *e)
{
	while (!list_empty(&e->node)) {
		sched_prepare_sleep(false);
		spin_unlock(inner);
		sched_block();
		spin_lock(inner); // I2
	}
}

// ---- Mutex --------------------------------------------------------------------------------------

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	*m = (struct mutex){ .lock = SPINLOCK_INIT(RANK_WAITQ), .rank = rank };
	list_init(&m->waiters);
}

static u64 word_of(const struct thread *t)
{
	return (u64)t;
}

static const char *name_of(const struct thread *t)
{
	return t ? t->name : "nobody";
}

static const char *owner_name(const struct mutex *m)
{
	return name_of((const void *)(READ_ONCE(m->owner) & ~MUTEX_WAITED));
}

// The owner's word is not 0, or was not a moment ago.
static NO_TSA void wait_in_line(struct mutex *m)
{
	struct wait_entry e = { .thread = self() };
	u64 old;

	if (unlikely(mutex_is_held(m)))
		panic("mutex %p of rank %u taken twice by %s", (void *)m, m->rank,
		      name_of(e.thread));
	spin_lock(&m->lock);
	for (;;) {
		old = 0;
		if (__atomic_compare_exchange_n(&m->owner, &old, word_of(e.thread), false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			break;
		if (__atomic_compare_exchange_n(&m->owner, &old, old | MUTEX_WAITED, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
			list_add_tail(&m->waiters, &e.node); // I4
			wait_for_handover(&m->lock, &e);
			break;
		}
	}
	spin_unlock(&m->lock);
}

NO_TSA void mutex_lock_slowly(struct mutex *m)
{
	u64 old = 0;

	lock_rank_check_sleeping(m->rank, m);
	if (unlikely(!__atomic_compare_exchange_n(&m->owner, &old, word_of(self()), false,
						  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		wait_in_line(m);
	lock_rank_take_sleeping(m->rank);
}

NO_TSA bool mutex_trylock(struct mutex *m)
{
	u64 old = 0;

	if (!__atomic_compare_exchange_n(&m->owner, &old, word_of(self()), false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	lock_rank_take_sleeping(m->rank);
	return true;
}

// Somebody waits: hands the mutex over.
static NO_TSA void hand_over(struct mutex *m)
{
	struct wait_entry *e;

	if (unlikely(!mutex_is_held(m)))
		panic("mutex %p of rank %u released by %s, owner is %s", (void *)m, m->rank,
		      name_of(self()), owner_name(m));
	spin_lock(&m->lock);
	e = list_entry(m->waiters.next, struct wait_entry, node);
	list_del(&e->node);
	__atomic_store_n(&m->owner,
			 word_of(e->thread) | (list_empty(&m->waiters) ? 0 : MUTEX_WAITED),
			 __ATOMIC_RELEASE); // I1
	sched_wake(e->thread);
	spin_unlock(&m->lock);
}

NO_TSA void mutex_unlock_slowly(struct mutex *m)
{
	u64 old = word_of(self());

	lock_rank_drop_sleeping(m->rank);
	if (unlikely(!__atomic_compare_exchange_n(&m->owner, &old, 0, false, __ATOMIC_RELEASE,
						  __ATOMIC_RELAXED)))
		hand_over(m);
}

bool mutex_is_held(const struct mutex *m)
{
	return (READ_ONCE(m->owner) & ~MUTEX_WAITED) == word_of(self());
}

// ---- Reader-writer lock -------------------------------------------------------------------------

void rwlock_init(struct rwlock *l, enum lock_rank rank)
{
	*l = (struct rwlock){ .lock = SPINLOCK_INIT(RANK_WAITQ), .rank = rank };
	list_init(&l->waiters);
}

static bool word_change(struct rwlock *l, u64 old, u64 new)
{
	return __atomic_compare_exchange_n(&l->word, &old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static u64 word_read(const struct rwlock *l)
{
	return __atomic_load_n(&l->word, __ATOMIC_RELAXED);
}

// Let in who may enter now: the first writer alone, or all readers up to the next writer. Inner
// lock held; `word`: the lock's new one, with RW_WAITED, before anybody enters.
static void rwlock_hand_over(struct rwlock *l, u64 word)
{
	while (!list_empty(&l->waiters) && !(word & RW_WRITER)) {
		struct wait_entry *e = list_entry(l->waiters.next, struct wait_entry, node);

		if (e->exclusive && word >= RW_READER)
			break;
		word += e->exclusive ? RW_WRITER : RW_READER;
		list_del(&e->node);
		sched_wake(e->thread); // and it waits for the inner lock (I2)
	}
	if (list_empty(&l->waiters))
		word &= ~RW_WAITED;
	__atomic_store_n(&l->word, word, __ATOMIC_RELEASE); // I5: nobody else changes it now
}

// Takes the lock, which adds `mine` to its word, as soon as no bit of `against` is set.
static NO_TSA void rwlock_lock_slowly(struct rwlock *l, u64 mine, u64 against)
{
	struct wait_entry e = { .thread = self(), .exclusive = mine == RW_WRITER };

	spin_lock(&l->lock);
	for (;;) {
		u64 old = word_read(l);

		if (!(old & against)) {
			if (word_change(l, old, old + mine))
				break;
		} else if (word_change(l, old, old | RW_WAITED)) {
			list_add_tail(&l->waiters, &e.node); // I5
			wait_for_handover(&l->lock, &e);
			break;
		}
	}
	spin_unlock(&l->lock);
}

// Somebody waits, and will until the caller is out: its share of the lock keeps the first in the
// list there. So whoever enters next takes the inner lock after this (I2), and only then may the
// object that the lock is part of go away.
static NO_TSA void rwlock_unlock_slowly(struct rwlock *l, u64 mine)
{
	u64 old;

	spin_lock(&l->lock);
	old = word_read(l);
	ASSERT(old & RW_WAITED);
	rwlock_hand_over(l, old - mine);
	spin_unlock(&l->lock);
}

NO_TSA void rwlock_read_lock_slowly(struct rwlock *l)
{
	const u64 against = RW_WRITER | RW_WAITED; // I3
	u64 old = word_read(l);

	lock_rank_check_sleeping(l->rank, l);
	if (unlikely(old & against || !word_change(l, old, old + RW_READER)))
		rwlock_lock_slowly(l, RW_READER, against);
	lock_rank_take_sleeping(l->rank);
}

void rwlock_taken(struct rwlock *l)
{
	lock_rank_take_sleeping(l->rank);
}

NO_TSA void rwlock_read_unlock_slowly(struct rwlock *l)
{
	u64 old = word_read(l);

	ASSERT(old >= RW_READER && !(old & RW_WRITER));
	lock_rank_drop_sleeping(l->rank);
	for (; !(old & RW_WAITED); old = word_read(l))
		if (likely(word_change(l, old, old - RW_READER)))
			return; // and the lock may be gone now
	rwlock_unlock_slowly(l, RW_READER);
}

NO_TSA void rwlock_write_lock_slowly(struct rwlock *l)
{
	lock_rank_check_sleeping(l->rank, l);
	if (unlikely(!word_change(l, 0, RW_WRITER)))
		rwlock_lock_slowly(l, RW_WRITER, ~0ull);
	lock_rank_take_sleeping(l->rank);
}

NO_TSA void rwlock_write_unlock_slowly(struct rwlock *l)
{
	lock_rank_drop_sleeping(l->rank);
	if (unlikely(!word_change(l, RW_WRITER, 0)))
		rwlock_unlock_slowly(l, RW_WRITER);
}

void rwlock_panic_not_writer(const struct rwlock *l)
{
	panic("rwlock %p of rank %u released by %s, its writer is %s", (const void *)l, l->rank,
	      name_of(self()), name_of(l->writer));
}
