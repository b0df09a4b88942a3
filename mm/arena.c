// SPDX-License-Identifier: MIT
//
// What: the supply of addresses behind ephemeral mappings: arenas, their tables and slots; what
// happens to slots after they were unmapped; the references to files that arenas hold.
// Not here: mapping and unmapping (mm/arena_map.c, mm/arena_unmap.c), from an address or an object
// to its slots (mm/arena_find.c), the epoch (kernel/sched/epoch.c).
//
// Invariants: A1 to A4 in arena_internal.h, and
//   I1  an arena is in its pool's list from before its first slot is used until all its entries are
//       cleared. So a revoke, which looks at all lists, misses nothing.
//   I2  what this file does to lists happens at a point at which the CPU's sections with preemption
//       off are over: from such a section itself, or from the epoch's work at a quiescent point.
//   I3  a table that holds slots' entries is never given back before the address space is: its
//       count (mm/pagetable.h, I1) begins high above what the entries could make of it, since the
//       fast path does not count.
//
// Locking: pool lock (RANK_ARENA, interrupts off), then pt_lock. The fast path takes neither.
// Failure: no memory for an arena, a chunk or a record: the mapping is made in the ordinary way.
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/random.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "kernel/x86/tlbmark.h"
#include "mm/arena_internal.h"
#include "mm/aspace_internal.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/stat.h"

#define TABLE_BIAS BIT(62) // I3
#define HELD_TICKS 2u      // a file is let go after so many ticks without a slot

struct pool pools[CPU_MAX];

const struct slot no_slots[SLOTS_PER_CHUNK];
// As long as the longest.
static struct chunk no_chunks[512] = { [0 ... 511] = { (struct slot *)(uintptr_t)no_slots } };

// Objects to be let go by the thread: that may sleep.
static struct {
	struct spinlock lock; // RANK_HELD, interrupts off
	struct held *first;   // [lock]
	u32 pending;          // on the list or being let go [atomic]
	struct wait_queue wait;
} letting_go;

// ---- Letting go of files ------------------------------------------------------------------------

static void let_go(struct held *h)
{
	vm_object_put(h->object);
	kfree(h);
}

static struct held *take_held(void)
{
	u64 flags = spin_lock_irqsave(&letting_go.lock);
	struct held *h = letting_go.first;

	letting_go.first = NULL;
	spin_unlock_irqrestore(&letting_go.lock, flags);
	return h;
}

static void let_go_listed(void)
{
	struct held *h, *next;

	for (h = take_held(); h; h = next) {
		next = h->next;
		let_go(h);
		__atomic_fetch_sub(&letting_go.pending, 1, __ATOMIC_RELEASE);
	}
}

static void let_go_thread(void *arg)
{
	(void)arg;
	for (;;) {
		wait_event(&letting_go.wait, READ_ONCE(letting_go.first));
		let_go_listed();
	}
}

// What is listed, by whom so ever, has been let go on return. May sleep; no lock held.
static void let_go_now(void)
{
	let_go_listed();
	while (__atomic_load_n(&letting_go.pending, __ATOMIC_ACQUIRE))
		thread_yield(); // the thread is at it
}

static void let_go_later(struct held *h)
{
	u64 flags = spin_lock_irqsave(&letting_go.lock);

	h->next = letting_go.first;
	letting_go.first = h;
	__atomic_fetch_add(&letting_go.pending, 1, __ATOMIC_RELAXED);
	spin_unlock_irqrestore(&letting_go.lock, flags);
	wait_wake_all(&letting_go.wait);
}

struct held *arena_find_held(struct arena *a, const struct vm_object *o)
{
	struct held *h = a->held[held_hash(o)];

	while (h && h->object != o)
		h = h->next;
	if (h)
		a->recent = h;
	return h;
}

struct held *arena_hold(struct arena *a, struct vm_object *o)
{
	struct held **bucket = &a->held[held_hash(o)];
	struct held *h = arena_find_held(a, o);

	if (h)
		return h;
	h = kzalloc(sizeof(*h));
	if (!h)
		return NULL;
	h->object = o;
	h->next = *bucket;
	vm_object_get(o);
	*bucket = h;
	a->nr_unused++; // until a slot uses it
	arena_make_busy(a);
	return h;
}

// The slot is CLEARED, nothing leads to the object from it any more (A3).
static void unhold(struct arena *a, struct slot *s)
{
	if (--s->held->slots == 0) {
		s->held->ticks = 0;
		a->nr_unused++;
	}
	s->held = NULL;
}

// At a tick.
static void let_go_unused(struct arena *a)
{
	for (unsigned i = 0; i < HELD_BUCKETS && a->nr_unused; i++) {
		struct held **link = &a->held[i], *h;

		while ((h = *link)) {
			if (h->slots || ++h->ticks < HELD_TICKS) {
				link = &h->next;
				continue;
			}
			*link = h->next;
			if (a->recent == h)
				a->recent = NULL;
			a->nr_unused--;
			let_go_later(h);
		}
	}
}

// ---- After unmapping ----------------------------------------------------------------------------

static void free_tables_below(pte_t e, int level)
{
	pte_t *table = phys_to_virt(pte_addr(e));

	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		pte_t below = table[i];

		if (pte_is_none(below) || (below.bits & PTE_ATTACHED))
			continue;
		if (!pte_is_leaf(below, level - 1))
			free_tables_below(below, level - 1);
		else if (below.bits & PTE_OWNED)
			frame_put(pte_addr(below));
	}
	frame_put(pte_addr(e));
}

static void free_tree(struct epoch_node *n)
{
	struct slot_tree *t = container_of(n, struct slot_tree, node);

	free_tables_below(t->entry, t->level);
	kfree(t);
}

// Nearly all slots: one entry, which leads to the file.
FAST bool clear_attached(struct slot *s)
{
	pte_t old = pte_read(s->entry);

	if (slot_class(s) == SLOT_32K || !(old.bits & PTE_ATTACHED) || s->tree)
		return false;
	pte_write(s->entry, (pte_t){ 0 });
	return true;
}

void slot_clear_entry(struct slot *s)
{
	pte_t *entry = s->entry, old = pte_read(entry);
	struct slot_tree *t = s->tree;

	if (slot_class(s) == SLOT_32K) {
		for (unsigned i = 0; i < VM_DIRECT_BLOCKS; i++)
			pte_write(&entry[i], (pte_t){ 0 });
		return;
	}
	pte_write(entry, (pte_t){ 0 });
	s->tree = NULL;
	if (pte_is_none(old) || (old.bits & PTE_ATTACHED)) {
		if (t)
			kfree(t);
		return;
	}
	t->entry = old;
	t->level = slot_level[slot_class(s)];
	epoch_defer(&t->node, free_tree);
}

static void rest(struct arena *a, struct slot *s)
{
	unhold(a, s);
	s->next = NULL;
	*a->resting_end = s;
	a->resting_end = &s->next;
	a->nr_resting[slot_class(s)]++;
}

// The next step of one listed slot: it is put on *batch (ZOMBIE and locked, its entry cleared), on
// the list of resting ones (somebody else has cleared it), or is off all lists (mapped again).
static void unlist(struct arena *a, struct slot *s, struct slot **batch)
{
	u64 word = slot_load(s);

	for (;;) {
		if (word & SLOT_LOCK) { // a revoke or an unmapping CPU: its preemption is off
			asm_pause();
			word = slot_load(s);
		} else if (slot_state(word) == SLOT_ZOMBIE) {
			if (!slot_cas(s, &word, word | SLOT_LOCK))
				continue;
			if (!clear_attached(s))
				slot_clear_entry(s);
			s->next = *batch;
			*batch = s;
			return;
		} else if (slot_cas(s, &word, word & ~SLOT_LISTED)) {
			if (slot_state(word) == SLOT_CLEARED) {
				epoch_want(s->stamp);
				rest(a, s);
			}
			return;
		}
	}
}

static void clear_list(struct arena *a, struct slot *s)
{
	struct slot *batch = NULL, *next;
	u64 stamp;

	for (; s; s = next) {
		next = s->next;
		unlist(a, s, &batch);
	}
	if (!batch)
		return;
	stamp = epoch_stamp(); // one fence for all, after the last clear (A2)
	for (s = batch; s; s = next) {
		next = s->next;
		s->stamp = stamp;
		__atomic_store_n(&s->state,
				 (slot_load(s) & ~(SLOT_STATE | SLOT_LOCK | SLOT_LISTED)) |
					 SLOT_CLEARED,
				 __ATOMIC_RELEASE);
		rest(a, s);
	}
	epoch_want(stamp);
}

// The fast path counts in the arena; this passes it on.
static void report_counts(struct arena *a)
{
	if (a->nr_maps)
		mm_count_many(MM_STAT_arena_maps, a->nr_maps);
	if (a->nr_warm)
		mm_count_many(MM_STAT_arena_warm, a->nr_warm);
	a->nr_maps = a->nr_warm = 0;
}

void arena_clear_zombies(struct arena *a)
{
	struct slot *s = a->zombies;

	report_counts(a);

	a->zombies = NULL;
	a->nr_zombies = 0;
	clear_list(a, s);
	if (READ_ONCE(a->remote))
		clear_list(a, __atomic_exchange_n(&a->remote, NULL, __ATOMIC_ACQ_REL));
}

void arena_reap(struct arena *a)
{
	struct slot *s;
	u64 passed = 0; // a stamp that has passed for sure

	while ((s = a->resting) && (s->stamp == passed || epoch_passed(s->stamp, a->as))) {
		passed = s->stamp;
		a->resting = s->next;
		if (!a->resting)
			a->resting_end = &a->resting;
		a->nr_resting[slot_class(s)]--;
		tlb_mark(TLB_MARK_ENTRIES, virt_to_phys(s->entry).pa,
			 slot_class(s) == SLOT_32K ? VM_DIRECT_BLOCKS : 1);
		s->next = a->free[slot_class(s)];
		a->free[slot_class(s)] = s;
		__atomic_store_n(&s->state, (slot_load(s) & ~SLOT_STATE) | SLOT_FREE,
				 __ATOMIC_RELEASE);
	}
}

// ---- At each tick -------------------------------------------------------------------------------

// Zombies, resting slots, unused files: false when nothing is left.
static bool arena_tick(struct arena *a)
{
	arena_reap(a);
	arena_clear_zombies(a);
	arena_reap(a);
	if (a->nr_unused)
		let_go_unused(a);
	return a->resting || a->nr_unused || READ_ONCE(a->remote);
}

// The epoch's work on each CPU: at a quiescent point, interrupts off (I2).
static void pool_tick(void)
{
	struct pool *p = &pools[this_cpu()->index];
	struct arena *a, *next;

	spin_lock(&p->lock);
	list_for_each_safe(a, next, &p->busy, busy_node) {
		if (arena_tick(a))
			continue;
		list_del(&a->busy_node);
		WRITE_ONCE(a->busy, false);
	}
	epoch_busy(!list_empty(&p->busy));
	spin_unlock(&p->lock);
}

void arena_make_busy(struct arena *a)
{
	struct pool *p = &pools[a->cpu];
	u64 flags;

	if (READ_ONCE(a->busy))
		return;
	flags = spin_lock_irqsave(&p->lock);
	if (!a->busy) {
		list_add_tail(&p->busy, &a->busy_node);
		WRITE_ONCE(a->busy, true);
		epoch_busy_on(a->cpu);
	}
	spin_unlock_irqrestore(&p->lock, flags);
}

void arena_list_remote(struct arena *a, struct slot *s)
{
	struct slot *first = READ_ONCE(a->remote);

	do {
		s->next = first;
	} while (!__atomic_compare_exchange_n(&a->remote, &first, s, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	if (!first) // who puts the first one there sees to the rest
		arena_make_busy(a);
}

static bool any_arena(void)
{
	bool any = false;

	for (unsigned i = 0; i < cpu_count() && !any; i++) {
		u64 flags = spin_lock_irqsave(&pools[i].lock);

		any = !list_empty(&pools[i].arenas);
		spin_unlock_irqrestore(&pools[i].lock, flags);
	}
	return any;
}

void arena_settle(void)
{
	if (!any_arena())
		return;
	// Two ticks for zombies, one for the epoch, two for files that are not used any more.
	for (int i = 0; i < 6; i++)
		thread_sleep_ns(1000000000ull / TICK_HZ);
	let_go_now();
}

// ---- Making arenas and chunks -------------------------------------------------------------------

// The table that holds the entries of a class's slots from `va` on.
static pte_t *make_table(struct arena *a, enum slot_class c, u64 va)
{
	struct pt_cursor at;
	pte_t *slot = NULL;
	phys_t table;

	spin_lock(&a->as->pt_lock);
	if (pt_reach(a->as, &at, va, slot_level[c]) == 0) {
		slot = pt_slot(&at);
		table = virt_to_phys((const void *)ALIGN_DOWN((u64)slot, PAGE_SIZE));
		if (frame_owner(table) < TABLE_BIAS)
			frame_set_owner(table, frame_owner(table) + TABLE_BIAS);
	}
	spin_unlock(&a->as->pt_lock);
	return slot;
}

static bool make_chunk(struct arena *a, enum slot_class c)
{
	u32 nr = a->nr_chunks[c];
	struct slot *slots;
	struct chunk *k;
	pte_t *entries;

	if (nr == chunks_max(c))
		return false;
	k = a->chunks[c];
	if (k == no_chunks) {
		k = kmalloc(chunks_max(c) * sizeof(*k));
		if (!k)
			return false;
		memcpy(k, no_chunks, chunks_max(c) * sizeof(*k));
		__atomic_store_n(&a->chunks[c], k, __ATOMIC_RELEASE);
	}
	slots = kzalloc(SLOTS_PER_CHUNK * sizeof(*slots));
	if (!slots)
		return false;
	entries = make_table(a, c, a->first[c] + ((u64)nr * SLOTS_PER_CHUNK << class_shift(c)));
	if (!entries) {
		kfree(slots);
		return false;
	}
	for (u32 i = SLOTS_PER_CHUNK; i-- > 0;) {
		slots[i].entry = entries + i * (c == SLOT_32K ? VM_DIRECT_BLOCKS : 1u);
		slots[i].place = (u32)c << SLOT_PLACE_CLASS | (nr * SLOTS_PER_CHUNK + i);
		slots[i].next = a->free[c];
		a->free[c] = &slots[i];
	}
	__atomic_store_n(&k[nr].slots, slots, __ATOMIC_RELEASE);
	a->nr_chunks[c] = nr + 1;
	return true;
}

bool arena_refill(struct arena *a, enum slot_class c, u64 *stamp)
{
	*stamp = 0;
	arena_reap(a);
	if (a->free[c])
		return true;
	arena_clear_zombies(a);
	epoch_flush_here();
	arena_reap(a);
	if (a->free[c])
		return true;
	// Other CPUs have to forget first. More slots meanwhile, but not without end.
	if (a->nr_resting[c] <= RESTING_MAX && make_chunk(a, c))
		return true;
	if (a->nr_resting[c])
		*stamp = container_of(a->resting_end, struct slot, next)->stamp;
	return false;
}

struct arena *arena_here(struct arenas *all, struct aspace *as)
{
	unsigned cpu = this_cpu()->index;
	struct arena *a = all->cpu[cpu];
	u64 flags;

	if (a)
		return a;
	a = kzalloc(sizeof(*a));
	if (!a)
		return NULL;
	a->as = as;
	a->cpu = cpu;
	for (int c = 0; c < SLOT_CLASSES; c++) {
		a->first[c] = all->base + cpu * pt_span(PT_PML4) + class_base(c);
		a->chunks[c] = no_chunks;
	}
	a->resting_end = &a->resting;
	flags = spin_lock_irqsave(&pools[cpu].lock);
	list_add_tail(&pools[cpu].arenas, &a->node);
	spin_unlock_irqrestore(&pools[cpu].lock, flags);
	__atomic_store_n(&all->cpu[cpu], a, __ATOMIC_RELEASE);
	if (this_cpu()->loaded_as == as)
		arena_switch(as);
	return a;
}

void arena_switch(const struct aspace *as)
{
	struct cpu *c = this_cpu();

	c->arena = as ? arena_of_this_cpu(as) : NULL;
	c->light_below = c->arena || (as && READ_ONCE(as->tries_light)) ? TRAP_LIGHT_MAX : 0;
}

// ---- The end ------------------------------------------------------------------------------------

// No CPU has the space loaded, so that none remembers anything of it (no lazy TLB), and no thread
// is left to use it.
static void end_slot(struct slot *s)
{
	if (slot_state(slot_load(s)) == SLOT_FREE || slot_state(slot_load(s)) == SLOT_CLEARED)
		return;
	ASSERT(!(slot_load(s) & (SLOT_LOCK | SLOT_PINS)));
	slot_clear_entry(s);
}

static void end_arena(struct arena *a)
{
	struct pool *p = &pools[a->cpu];
	u64 flags = spin_lock_irqsave(&p->lock);
	struct held *h, *next;

	for (int c = 0; c < SLOT_CLASSES; c++)
		for (u32 i = 0; i < a->nr_chunks[c] * SLOTS_PER_CHUNK; i++)
			end_slot(slot_get(a, c, i));
	report_counts(a);
	list_del(&a->node); // I1
	if (a->busy)
		list_del(&a->busy_node);
	spin_unlock_irqrestore(&p->lock, flags);
	for (unsigned i = 0; i < HELD_BUCKETS; i++) {
		for (h = a->held[i]; h; h = next) {
			next = h->next;
			let_go(h);
		}
	}
	for (int c = 0; c < SLOT_CLASSES; c++) {
		for (u32 i = 0; i < a->nr_chunks[c]; i++)
			kfree(a->chunks[c][i].slots);
		if (a->chunks[c] != no_chunks)
			kfree(a->chunks[c]);
	}
	kfree(a);
}

void arena_destroy(struct aspace *as)
{
	struct arenas *all = as->arenas;

	if (!all)
		return;
	for (unsigned i = 0; i < all->count; i++)
		if (all->cpu[i])
			end_arena(all->cpu[i]);
	let_go_now(); // once a process has ended, it keeps no file
	as->arenas = NULL;
	vma_tree_remove(&as->vmas, all->vma);
	kfree(all->vma);
	kfree(all);
}

void arena_start(void)
{
	for (unsigned i = 0; i < CPU_MAX; i++) {
		spin_init(&pools[i].lock, RANK_ARENA);
		list_init(&pools[i].arenas);
		list_init(&pools[i].busy);
	}
	spin_init(&letting_go.lock, RANK_HELD);
	wait_queue_init(&letting_go.wait);
	arena_map_init();
	epoch_set_work(pool_tick);
	if (!thread_create("let-go", let_go_thread, NULL))
		panic("no memory for the thread that lets go of files");
}
