// SPDX-License-Identifier: MIT
//
// Arenas and slots, within mm/arena*.c.
//
// An arena is one PML4 slot (512 GiB) of an address space and belongs to one CPU:
//
//	PUD entry 0          32 KiB slots   8 PTEs each: copied direct entries of a small file
//	PUD entries 64..127  2 MiB slots    a PMD entry each: a PTE page or a 2 MiB leaf
//	PUD entries 128..511 1 GiB slots    a PUD entry each: a PMD page
//
// The tables down to these entries are made on first use and stay. 64 slots are a chunk: a page of
// descriptors. A group of eight slots shares a cache line of entries at most, and all of an arena's
// entries are written by its CPU, except when another CPU unmaps, faults or revokes.
//
// Life of a slot (tests/model/revoke.pml, epoch.pml; who may do what stands at the functions):
//
//	FREE --map--> SETTING --> LIVE --unmap--> ZOMBIE --clear--> CLEARED --epoch--> FREE
//	  ^              |         ^                |      fence,
//	  +--flag raised-+         +---warm map-----+      stamp
//
// The state word
//	bits 0-2   state
//	LOCK       somebody changes the entry, preemption off there: wait
//	LISTED     on a list (zombies, from elsewhere): a slot is on one list at most
//	PINS       who use the mapping across a sleep (faults, msync): unmapping waits. No
//	           re-use comes between a pin and its end: what the model's lock bit does
//	           for a fault
//	from 16    generation: one more per use, so that no compare-and-swap meets another use
//
// Invariants
//	A1  a slot's entry is not zero, or some CPU may remember it, only in SETTING (after
//	    it was written), LIVE, ZOMBIE and CLEARED.
//	A2  CLEARED is stored after the entry was cleared and fenced, and the stamp read.
//	A3  from before SETTING until the slot's CPU has seen CLEARED, the arena holds a
//	    reference of the object (struct held).
//	A4  lists, `held` and the table of warm slots belong to the arena's CPU: they are
//	    touched there, with preemption off or at its quiescent point, which cannot
//	    interrupt such a section. Other CPUs push on `remote` and change state words.
#pragma once

#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "mm/arena.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/vmobject.h"

enum slot_class { SLOT_32K, SLOT_2M, SLOT_1G, SLOT_CLASSES };

enum slot_state { SLOT_FREE, SLOT_SETTING, SLOT_LIVE, SLOT_ZOMBIE, SLOT_CLEARED };

#define SLOT_STATE      7ull
#define SLOT_LOCK       BIT(3)
#define SLOT_LISTED     BIT(4)
#define SLOT_PIN        BIT(8) // the lowest of eight bits
#define SLOT_PINS       (0xffull * SLOT_PIN)
#define SLOT_GENERATION BIT(16)

// slot.how, beside PROT_*
#define SLOT_BATCHING BIT(3)
#define SLOT_DAXVM    BIT(4)
#define SLOT_NOSYNC   BIT(5)

#define SLOTS_PER_CHUNK 64u
#define ZOMBIES_MAX     64u    // on one arena, then they are cleared
#define RESTING_MAX     16384u // CLEARED slots of a class in one arena; more: CPUs are interrupted
#define HELD_BUCKETS    64u
#define WARM_SLOTS      64u

// Private tables below a slot, to be freed together in their epoch.
struct slot_tree {
	struct epoch_node node;
	pte_t entry; // that led to them
	int level;
};

struct slot {
	u64 state;                // [atomic]
	struct vm_object *object; // what it shows; written before SETTING, constant until FREE
	u64 offset;               // likewise: of the first byte asked for
	u32 key;                  // likewise: slot_key()
	u32 place;                // constant: the slot's class and number
	pte_t *entry;             // constant: the first of its entries
	struct held *held;        // [arena's CPU]
	struct slot *next;        // on the one list that it is on
	union {
		u64 stamp; // CLEARED: since when
		struct slot_tree
			*tree; // SETTING to ZOMBIE: for private tables; NULL: there are none
	};
};
_Static_assert(sizeof(struct slot) == 64, "a cache line each");

struct chunk {
	struct slot *slots; // SLOTS_PER_CHUNK of them; not made yet: no_slots [atomic]
};

// What there is where nothing is: slots that nobody has, all FREE.
extern const struct slot no_slots[SLOTS_PER_CHUNK];

// An object of which an arena has a reference. A line each: CPUs count at the same time.
struct held {
	struct held *next;
	struct vm_object *object;
	u32 slots; // in use by slots of the arena
	u32 ticks; // that it was not used
} __cacheline;

// A mapping that was made here: the call, as it was given but for the length, which is rounded up,
// and what came of it. The same call may take it back once it is unmapped: what was checked then
// holds now, if the state word is still what unmapping left there, for it has the generation.
struct warm {
	u64 grant; // 0: none
	u64 offset, len, prot;
	struct slot *slot;
	u64 zombie; // the state word after it was unmapped
	u64 start;  // what mmap returned
	u32 flags;
} __cacheline;

struct arena {
	// What other CPUs read to unmap.
	struct aspace *as;
	u64 first[SLOT_CLASSES];            // address of the first slot
	struct chunk *chunks[SLOT_CLASSES]; // chunks_max(class) places; no_chunks: none yet
	unsigned cpu;
	// [A4], to the end but for what is marked
	u64 bytes __cacheline; // asked for by maps on this CPU, less what was unmapped on it; wraps
	u32 nr_maps, nr_warm;  // not reported yet to mm/stat.h
	u32 nr_zombies, nr_unused;
	u32 nr_resting[SLOT_CLASSES];
	u32 nr_chunks[SLOT_CLASSES]; // read by all
	bool busy;                   // on busy_node's list
	struct slot *free[SLOT_CLASSES];
	struct slot *zombies;
	struct slot *resting, **resting_end; // CLEARED, in the order of their stamps
	struct held *recent;                 // the record used last; NULL: none
	struct held *held[HELD_BUCKETS];
	struct list node, busy_node; // [pool lock]
	struct warm warm[WARM_SLOTS];
	// Unmapped on another CPU.
	struct slot *remote __cacheline; // [atomic]
};

struct arenas {
	u64 base; // of the arena of CPU 0; the others follow
	unsigned count;
	u64 stray_bytes; // less what was unmapped on CPUs without an arena; wraps [atomic]
	struct vma *vma; // keeps others out; what was asked for is empty
	struct arena *cpu[CPU_MAX];
};

// The arenas of a CPU, of all address spaces.
struct pool {
	struct spinlock lock; // RANK_ARENA, interrupts off
	struct list arenas;   // [lock]
	struct list busy;     // those with something to do at the next tick [lock]
} __cacheline;
extern struct pool pools[CPU_MAX];

static const int slot_level[SLOT_CLASSES] = { PT_PTE, PT_PMD, PT_PUD };

// What the fast path is made of is put together by the compiler, so that it stays in registers.
#define FAST static inline __attribute__((always_inline))

// Of slot addresses: where the class begins in the arena, and log2 of the slot's size.
static inline u64 class_base(enum slot_class c)
{
	static const u64 base[SLOT_CLASSES] = { 0, GIB(64), GIB(128) };

	return base[c];
}

static inline unsigned class_shift(enum slot_class c)
{
	static const u8 shift[SLOT_CLASSES] = { 15, PMD_SHIFT, PUD_SHIFT };

	return shift[c];
}

// The bits of an address or offset inside a slot.
static inline u64 class_mask(enum slot_class c)
{
	static const u64 mask[SLOT_CLASSES] = { KIB(32) - 1, PMD_SIZE - 1, PUD_SIZE - 1 };

	return mask[c];
}

static inline u32 chunks_max(enum slot_class c)
{
	return c == SLOT_32K ? 512 : c == SLOT_2M ? 512 : 6;
}

static inline enum slot_state slot_state(u64 word)
{
	return (enum slot_state)(word & SLOT_STATE);
}

static inline u64 slot_load(const struct slot *s)
{
	return __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
}

static inline bool slot_cas(struct slot *s, u64 *old, u64 new)
{
	return __atomic_compare_exchange_n(&s->state, old, new, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

// NULL: none yet. Preemption off.
FAST struct arena *arena_of_this_cpu(const struct aspace *as)
{
	const struct arenas *all = __atomic_load_n(&as->arenas, __ATOMIC_ACQUIRE);

	return all ? all->cpu[asm_gs_index()] : NULL;
}

static inline struct slot *slot_get(const struct arena *a, enum slot_class c, u32 number)
{
	const struct chunk *k = __atomic_load_n(&a->chunks[c], __ATOMIC_ACQUIRE);

	return __atomic_load_n(&k[number / SLOTS_PER_CHUNK].slots, __ATOMIC_ACQUIRE) +
	       number % SLOTS_PER_CHUNK;
}

// The slot of this class whose addresses include `va`; NULL: `va` is not among them.
FAST struct slot *slot_of_class(const struct arena *a, enum slot_class c, u64 va)
{
	u64 in = va - a->first[c], chunk = (in >> class_shift(c)) / SLOTS_PER_CHUNK;

	if (chunk >= chunks_max(c))
		return NULL;
	return slot_get(a, c, (u32)(in >> class_shift(c)));
}

// The slot whose addresses include `va`, whether or not anything is mapped there; NULL: none can.
FAST struct slot *slot_of(const struct arena *a, u64 va)
{
	struct slot *s = slot_of_class(a, SLOT_2M, va);

	if (!s)
		s = slot_of_class(a, SLOT_32K, va);
	return s ? s : slot_of_class(a, SLOT_1G, va);
}

// Length, a number of pages, and how in one.
#define SLOT_HOW          (PAGE_SIZE - 1)
#define SLOT_PLACE_NUMBER (BIT(30) - 1)
#define SLOT_PLACE_CLASS  30

static inline enum slot_class slot_class(const struct slot *s)
{
	return (enum slot_class)(s->place >> SLOT_PLACE_CLASS);
}

static inline u64 slot_va(const struct arena *a, const struct slot *s)
{
	enum slot_class c = slot_class(s);

	return a->first[c] + ((s->place & SLOT_PLACE_NUMBER) << class_shift(c));
}

// The address that mmap returned: congruent with the offset modulo the slot's size.
static inline u64 slot_start(const struct arena *a, const struct slot *s)
{
	return slot_va(a, s) + (s->offset & class_mask(slot_class(s)));
}

static inline u32 slot_key(u64 len, u64 how)
{
	return (u32)(len | how);
}

static inline u64 slot_len(const struct slot *s)
{
	return s->key & ~SLOT_HOW;
}

// Sections of the fast path, without calls.
FAST void section_begin(void)
{
	asm_gs_preempt_inc();
}

FAST void section_end(void)
{
	if (asm_gs_preempt_dec() && unlikely(asm_gs_need_resched())) {
		asm_gs_preempt_inc();
		preempt_enable();
	}
}

// ---- arena.c, all on the arena's CPU with preemption off (A4) -----------------------------------

// The arena of this CPU, made if need be; NULL: no memory.
struct arena *arena_here(struct arenas *all, struct aspace *as);
// Another free slot at least. False: none is to be had before *stamp has passed (epoch_passed), or,
// where that is 0, at all.
bool arena_refill(struct arena *a, enum slot_class c, u64 *stamp);
// The record of an object, or NULL.
struct held *arena_find_held(struct arena *a, const struct vm_object *o);
// The record of an object that the caller holds, with a reference; NULL: no memory.
struct held *arena_hold(struct arena *a, struct vm_object *o);
// Hand over a slot that was just marked LISTED, of an arena of another CPU.
void arena_list_remote(struct arena *a, struct slot *s);
// ZOMBIE -> CLEARED for all that are listed, and give CPUs a reason to forget.
void arena_clear_zombies(struct arena *a);
// CLEARED -> FREE as far as the epoch allows.
void arena_reap(struct arena *a);
// There is something to do at the next tick.
void arena_make_busy(struct arena *a);

// Clear what leads to the slot's file; the caller has the lock bit, in ZOMBIE or SETTING. What it
// led to in private tables is freed in its epoch. No fence. Any CPU.
void slot_clear_entry(struct slot *s);

// arena_map.c: once.
void arena_map_init(void);

static inline unsigned held_hash(const struct vm_object *o)
{
	return (unsigned)((u64)o >> 6 ^ (u64)o >> 12) % HELD_BUCKETS;
}
