// SPDX-License-Identifier: MIT
//
// Locks: ranks (the documented order), ticket spinlocks, sleeping mutexes and reader-writer locks.
//
// Order: a thread takes locks in rising rank only. Two locks of one rank may be held together only
// where the rank's comment says in which order. Checked at run time by the debug build
// (kernel/debug.h).
//
// They work from the first instruction of main() on: GS must point at cpus[0] by then.
//
// Spinlocks disable preemption while held; those that an interrupt handler takes too are taken with
// the _irqsave variants everywhere. Nobody sleeps with a spinlock held. Mutexes and rwlocks sleep.
#pragma once

#include "kernel/debug.h"
#include "kernel/lib/list.h"
#include "kernel/lib/types.h"
#include "kernel/x86/asm.h"

// clang's thread-safety analysis; nothing to gcc. The attributes live behind macros.
#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define CAPABILITY(x)           TSA(capability(x))
#define GUARDED_BY(x)           TSA(guarded_by(x))
#define REQUIRES(...)           TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...)    TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...)            TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...)     TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...)            TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...)     TSA(release_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...)        TSA(try_acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE_SHARED(...) TSA(try_acquire_shared_capability(__VA_ARGS__))
#define NO_TSA                  TSA(no_thread_safety_analysis)

// The lock order, outermost first. Sleeping locks come before all spinlocks.
enum lock_rank {
	RANK_NONE = 0,
	RANK_MOUNT,    // fs: mount table
	RANK_FILE_POS, // fs: an open file's position
	RANK_RENAME,   // fs: directory renames (one global lock)
	RANK_ATTR,     // fs: modes and owners that are made out of the present ones
	RANK_DIR,      // fs: a directory's contents; parent before child, else by address
	RANK_ASPACE,   // mm: an address space (its VMAs)
	RANK_SYNC,     // mm: writing back what mappings stored to an object
	RANK_MAPPING,  // mm: an inode's mapping lock (vm_object.map_lock)
	RANK_INODE,    // fs: an inode's contents and size
	RANK_FS_ALLOC, // fs: allocator, journal slots (sleeping part)
	RANK_FS_REST,  // fs: what rests for its epoch on one CPU
	RANK_FS_INNER, // fs: caches, hash tables, lists of chunks
	RANK_FS_CHUNK, // fs: the blocks of one chunk
	RANK_SHADOW,   // mm: the copy of a file's tables in DRAM
	RANK_PIPE,     // fs: a pipe or tty buffer (mutex)
	RANK_ITIMER,   // proc: setting a process's interval timer (mutex)
	RANK_SLEEPING_LAST,
	RANK_PROC,      // proc: process tree, process table (spin)
	RANK_FILES,     // fs: descriptor table (spin)
	RANK_DCACHE,    // fs: name cache (spin)
	RANK_FS_SPIN,   // fs: leaf spinlocks of file systems
	RANK_SHADOWS,   // mm: list of such copies (spin)
	RANK_OBJECT,    // mm: list of mappings of an object (spin)
	RANK_ARENA,     // mm: the arenas of a CPU (spin, irq)
	RANK_PT,        // mm: a page-table tree's structure (spin)
	RANK_SHOOTDOWN, // mm: TLB shootdown mailbox
	RANK_SIGNAL,    // proc: pending signals (spin)
	RANK_FUTEX,     // proc: a bucket of futexes (spin); two: the lower address first
	RANK_TTY,       // tty input ring (spin, irq)
	RANK_POLL,      // fs: pollers of one object (spin, irq)
	RANK_HELD,      // mm: files that arenas are to let go (spin, irq)
	RANK_EPOCH,     // sched: what waits for the epoch on one CPU (spin, irq)
	RANK_WAITQ,     // sched: wait queues (spin, irq)
	RANK_TIMER,     // sched: timer heap (spin, irq)
	RANK_RUNQ,      // sched: run queues (spin, irq); two: by CPU number
	RANK_NUMBER,    // sched: numbers of threads and processes (spin)
	RANK_KMAP,      // mm: kernel map, list of stacks (spin, irq)
	RANK_HEAP,      // mm: slab caches (spin, irq)
	RANK_FRAME,     // mm: buddy (spin, irq)
	RANK_IRQ,       // x86: interrupt routing
	RANK_RANDOM,    // random numbers (spin, irq)
	RANK_CONSOLE,   // log ring and serial port (spin, irq)
	RANK_COUNT
};

struct CAPABILITY("spinlock") spinlock {
	u32 next;   // ticket to hand out
	u32 owner;  // ticket being served
	u32 holder; // CPU number + 1 while held, 0 when free: for assertions and panic reports
	u16 rank;
	u16 in_irq; // an interrupt handler took it once: never take it with interrupts on
};
#define SPINLOCK_INIT(r)                                                                           \
	{                                                                                          \
		.rank = (r)                                                                        \
	}

void spin_init(struct spinlock *l, enum lock_rank rank);
static inline void spin_lock(struct spinlock *l) ACQUIRE(l);
// A second lock of a rank that is held already; the rank's comment says in which order.
void spin_lock_nested(struct spinlock *l) ACQUIRE(l);
bool spin_trylock(struct spinlock *l) TRY_ACQUIRE(true, l);
static inline void spin_unlock(struct spinlock *l) RELEASE(l);
// Returns the interrupt flag to give back to spin_unlock_irqrestore.
u64 spin_lock_irqsave(struct spinlock *l) ACQUIRE(l);
void spin_unlock_irqrestore(struct spinlock *l, u64 flags) RELEASE(l);
bool spin_is_held(const struct spinlock *l); // by this CPU

// The usual case stands here: nobody else wants the lock. What is left of it is in lock.c.
void spin_lock_checked(struct spinlock *l); // the debug build's
void spin_unlock_checked(struct spinlock *l);
void spin_lock_wait(struct spinlock *l, u32 ticket);           // takes the lock when it is its turn
void spin_panic_not_held(const struct spinlock *l) __noreturn; // by this CPU
void preempt_due(void); // somebody wants the CPU, and the count of preempt_disable() is zero

static inline NO_TSA void spin_lock(struct spinlock *l)
{
	u32 ticket;

	if (DEBUG_BUILD) {
		spin_lock_checked(l);
		return;
	}
	asm_gs_preempt_inc(); // first: this stays the same CPU
	ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
	if (likely(__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) == ticket))
		WRITE_ONCE(l->holder, asm_gs_index() + 1);
	else
		spin_lock_wait(l, ticket);
}

static inline NO_TSA void spin_unlock(struct spinlock *l)
{
	if (DEBUG_BUILD) {
		spin_unlock_checked(l);
		return;
	}
	if (unlikely(READ_ONCE(l->holder) != asm_gs_index() + 1))
		spin_panic_not_held(l);
	WRITE_ONCE(l->holder, 0);
	asm_inc_release(&l->owner);
	if (asm_gs_preempt_dec() && unlikely(asm_gs_need_resched()))
		preempt_due();
}

struct thread;

// Sleeping lock. Not recursive. Thread context only, no spinlock held.
struct CAPABILITY("mutex") mutex {
	struct spinlock lock; // guards the list
	u64 owner; // the thread, and a bit: somebody waits; 0: free (or no threads yet) [atomic]
	struct list waiters; // of struct wait_entry, first come first served [lock]
	u16 rank;
};
void mutex_init(struct mutex *m, enum lock_rank rank);
bool mutex_trylock(struct mutex *m) TRY_ACQUIRE(true, m);
bool mutex_is_held(const struct mutex *m); // by the current thread

void mutex_lock_slowly(struct mutex *m);
void mutex_unlock_slowly(struct mutex *m);

// The usual case: one compare-and-swap takes the mutex, one gives it back.
static inline NO_TSA void mutex_lock(struct mutex *m) ACQUIRE(m)
{
	u64 old = 0;

	if (DEBUG_BUILD ||
	    unlikely(!__atomic_compare_exchange_n(&m->owner, &old, (u64)asm_gs_current(), false,
						  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		mutex_lock_slowly(m);
}

static inline NO_TSA void mutex_unlock(struct mutex *m) RELEASE(m)
{
	u64 old = (u64)asm_gs_current();

	if (DEBUG_BUILD ||
	    unlikely(!__atomic_compare_exchange_n(&m->owner, &old, 0, false, __ATOMIC_RELEASE,
						  __ATOMIC_RELAXED)))
		mutex_unlock_slowly(m); // else the mutex may be gone now
}

// Sleeping reader-writer lock, fair: a waiting writer holds back new readers. Not recursive.
struct CAPABILITY("rwlock") rwlock {
	struct spinlock lock;  // guards the list
	u64 word;              // readers, and bits: a writer, somebody waits (mutex.c, I5) [atomic]
	struct thread *writer; // NULL: none; for assertions [its own]
	struct list waiters;   // of struct wait_entry [lock]
	u16 rank;
};
void rwlock_init(struct rwlock *l, enum lock_rank rank);

// The word of an rwlock.
#define RW_WRITER 1ull
#define RW_WAITED 2ull
#define RW_READER 4ull // one of them

// The usual case stands here: nobody writes or waits. It is part of each read and write of a file.
void rwlock_read_lock_slowly(struct rwlock *l);
void rwlock_read_unlock_slowly(struct rwlock *l);
void rwlock_taken(struct rwlock *l); // bookkeeping of the debug build

// False: somebody writes or waits, or was faster just now.
static inline NO_TSA bool rwlock_read_trylock(struct rwlock *l) TRY_ACQUIRE_SHARED(true, l)
{
	u64 old = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	if (unlikely(old & (RW_WRITER | RW_WAITED)) ||
	    unlikely(!__atomic_compare_exchange_n(&l->word, &old, old + RW_READER, false,
						  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		return false;
	if (DEBUG_BUILD)
		rwlock_taken(l);
	return true;
}

static inline NO_TSA void rwlock_read_lock(struct rwlock *l) ACQUIRE_SHARED(l)
{
	if (DEBUG_BUILD || unlikely(!rwlock_read_trylock(l)))
		rwlock_read_lock_slowly(l);
}

static inline NO_TSA void rwlock_read_unlock(struct rwlock *l) RELEASE_SHARED(l)
{
	u64 old = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	if (DEBUG_BUILD || unlikely(old < RW_READER) || unlikely(old & (RW_WRITER | RW_WAITED)) ||
	    unlikely(!__atomic_compare_exchange_n(&l->word, &old, old - RW_READER, false,
						  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		rwlock_read_unlock_slowly(l); // else the lock may be gone now
}

void rwlock_write_lock_slowly(struct rwlock *l);
void rwlock_write_unlock_slowly(struct rwlock *l);
void rwlock_panic_not_writer(const struct rwlock *l) __noreturn; // the current thread

// Likewise for the writer: nobody has the lock, nobody waits.
static inline NO_TSA void rwlock_write_lock(struct rwlock *l) ACQUIRE(l)
{
	u64 old = 0;

	if (DEBUG_BUILD ||
	    unlikely(!__atomic_compare_exchange_n(&l->word, &old, RW_WRITER, false,
						  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		rwlock_write_lock_slowly(l);
	l->writer = asm_gs_current();
}

// False: somebody has it or waits.
static inline NO_TSA bool rwlock_write_trylock(struct rwlock *l) TRY_ACQUIRE(true, l)
{
	u64 old = 0;

	if (unlikely(!__atomic_compare_exchange_n(&l->word, &old, RW_WRITER, false,
						  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		return false;
	if (DEBUG_BUILD)
		rwlock_taken(l);
	l->writer = asm_gs_current();
	return true;
}

// For writing, by the current thread.
static inline bool rwlock_is_mine(const struct rwlock *l)
{
	return l->writer == asm_gs_current();
}

static inline NO_TSA void rwlock_write_unlock(struct rwlock *l) RELEASE(l)
{
	u64 old = RW_WRITER;

	if (unlikely(l->writer != asm_gs_current()))
		rwlock_panic_not_writer(l);
	l->writer = NULL;
	if (DEBUG_BUILD ||
	    unlikely(!__atomic_compare_exchange_n(&l->word, &old, 0, false, __ATOMIC_ACQ_REL,
						  __ATOMIC_RELAXED)))
		rwlock_write_unlock_slowly(l); // else the lock may be gone now
}
