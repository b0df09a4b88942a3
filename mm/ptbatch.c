// SPDX-License-Identifier: MIT
//
// What: the change batch and the shootdown (ptbatch.h), and its other half, switching address
// spaces.
// Not here: which entries to clear (mm/pagetable.c).
//
// Invariants
//   I1  a frame or table is dropped only after every CPU that could have cached a way to it
//       flushed.
//   I2  cpu.loaded_as is SWITCHING from before CR3 changes until after it; user entries are never
//       global, so the load of CR3 itself drops those of the space before.
//   I3  no space but the kernel's own is loaded on an idle CPU or in a kernel thread (no lazy TLB).
//
// Locking: none of its own; loaded_as is written by its CPU alone.
#include "mm/ptbatch.h"

#include "kernel/bootinfo.h"
#include "kernel/debug.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/tlbmark.h"
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/layout.h"
#include "mm/stat.h"

#define CR4_PGE BIT(7)

#define EMPTY_TABLE 1ull // marks a frame to be dropped as an empty table

struct flush_order {
	struct aspace *as;
	u64 start, end;
	bool all;
};

// Debug kernel, pause=shootdown. Entries are cleared and some CPU may still use them: that moment
// is made long, so that who relies on its being short is found (tests/stress/canary.c).
#define PAUSE_NS 2000000
static bool pausing;

void ptbatch_init(void)
{
	char where[16];

	pausing = DEBUG_BUILD && bootparam_get("pause", where, sizeof(where)) &&
		  strcmp(where, "shootdown") == 0;
}

void ptbatch_begin(struct ptbatch *b, struct aspace *as)
{
	b->as = as;
	b->start = ~0ull;
	b->end = 0;
	b->all = false;
	b->finished = false;
	b->others.bits = 0;
	b->nr_frames = 0;
}

// May a CPU that cached `old` go on using it when the entry is `e`? Only if it would find the same
// place with at least the rights that it cached.
static bool still_true(pte_t old, pte_t e)
{
	const u64 grants = PTE_P | PTE_W | PTE_U;

	return !(old.bits & ~e.bits & grants) && !(e.bits & ~old.bits & PTE_NX) &&
	       pte_addr(old).pa == pte_addr(e).pa && !((old.bits ^ e.bits) & PTE_PS);
}

pte_t ptbatch_set(struct ptbatch *b, pte_t *slot, int level, u64 va, pte_t e)
{
	pte_t old = pte_exchange(slot, e);

	if (!pte_present(old) || still_true(old, e))
		return old;
	if (pte_is_leaf(old, level))
		ptbatch_cleared(b, va, va + pt_span(level));
	else
		b->all = true;
	return old;
}

void ptbatch_drop(struct ptbatch *b, phys_t frame)
{
	ASSERT(b->nr_frames < PTBATCH_FRAMES);
	b->frames[b->nr_frames++] = frame;
}

void ptbatch_drop_table(struct ptbatch *b, phys_t table)
{
	ptbatch_drop(b, PHYS(table.pa | EMPTY_TABLE));
}

void ptbatch_flush_all(struct ptbatch *b)
{
	b->all = true;
}

static bool is_dirty(const struct ptbatch *b)
{
	return b->all || b->start < b->end;
}

// The CPUs that may hold translations of `as`, this one too. Entries are cleared and fenced.
static cpumask_t holders(const struct aspace *as)
{
	unsigned n = cpu_count();
	cpumask_t mask = { 0 };

	for (unsigned i = 0; i < n; i++) {
		const struct aspace *loaded = READ_ONCE(cpus[i].loaded_as);

		if (loaded == as || loaded == AS_SWITCHING)
			mask.bits |= BIT(i);
	}
	return mask;
}

void ptbatch_switch(struct ptbatch *b, struct aspace *as)
{
	if (b->as && b->as != as && is_dirty(b)) {
		asm_mfence();
		tlb_mark(TLB_MARK_BATCH, (u64)b, b->as->root.pa);
		b->others.bits |= holders(b->as).bits;
		b->all = true; // one order for all CPUs
	}
	b->as = as;
}

// ---- Shootdown ----------------------------------------------------------------------------------

static void flush_user(void)
{
	mm_count(flush_full);
	asm_write_cr3(asm_read_cr3());
}

// On each CPU concerned, preemption off. A CPU found SWITCHING may still hold the old space's
// entries: it flushes whatever it has.
static void flush_here(void *arg)
{
	const struct flush_order *o = arg;

	if (o->all || this_cpu()->loaded_as != o->as ||
	    o->end - o->start > PTBATCH_INVLPG_MAX * PAGE_SIZE) {
		flush_user();
		return;
	}
	mm_count_many(MM_STAT_flush_pages, (o->end - o->start) / PAGE_SIZE);
	for (u64 va = o->start; va < o->end; va += PAGE_SIZE)
		asm_invlpg(va);
}

static unsigned count_cpus(cpumask_t mask)
{
	unsigned n = 0;

	for (; mask.bits; mask.bits &= mask.bits - 1)
		n++;
	return n;
}

// Step 3 on the CPUs in `mask`. Preemption off; what was cleared is fenced.
static void order_flush(cpumask_t mask, struct flush_order *o)
{
	u64 self = BIT(asm_gs_index());
	cpumask_t remote = { mask.bits & ~self };

	mm_count(shootdowns);
	if (unlikely(remote.bits)) {
		mm_count_many(MM_STAT_shootdown_ipis, count_cpus(remote));
		smp_call(remote, flush_here, o);
	}
	if (mask.bits & self)
		flush_here(o);
}

static void shoot_down(const struct ptbatch *b)
{
	struct flush_order order = { b->as, b->start, b->end, b->all };
	cpumask_t mask;

	preempt_disable();
	asm_mfence();
	mask = b->others;
	if (b->as) {
		tlb_mark(TLB_MARK_BATCH, (u64)b, b->as->root.pa);
		mask.bits |= holders(b->as).bits;
	}
	order_flush(mask, &order);
	tlb_mark_range(TLB_MARK_FLUSHED, (u64)b, b->all ? 0 : b->start, b->all ? USER_END : b->end);
	preempt_enable();
}

static void pause_before_flush(void)
{
	if (unlikely(pausing) && preemptible())
		thread_sleep_ns(PAUSE_NS);
}

void ptbatch_flush_space(struct aspace *as)
{
	struct flush_order order = { as, 0, 0, true };
	cpumask_t mask;

	pause_before_flush();
	preempt_disable();
	tlb_mark(TLB_MARK_BATCH, (u64)&order, as->root.pa);
	mask = holders(as);
	if (likely(mask.bits == BIT(asm_gs_index()))) {
		mm_count(shootdowns);
		flush_user();
	} else {
		order_flush(mask, &order);
	}
	tlb_mark_range(TLB_MARK_FLUSHED, (u64)&order, 0, USER_END);
	preempt_enable();
}

static void drop(struct aspace *as, phys_t frame)
{
	u64 none = 0;

	if (frame.pa & EMPTY_TABLE) {
		frame.pa &= ~EMPTY_TABLE;
		tlb_mark(TLB_MARK_MEMORY, frame.pa, PAGE_SIZE);
		// Without a space at hand (a revoke goes through many) it is nobody's.
		if (as && __atomic_compare_exchange_n(&as->spare_table, &none, frame.pa, false,
						      __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return;
	}
	frame_put(frame);
}

static void flush(struct ptbatch *b)
{
	if (is_dirty(b) || b->others.bits) {
		pause_before_flush();
		shoot_down(b);
	}
	for (unsigned i = 0; i < b->nr_frames; i++)
		drop(b->as, b->frames[i]);
}

void ptbatch_flush(struct ptbatch *b)
{
	flush(b);
	ptbatch_begin(b, b->as);
}

void ptbatch_finish(struct ptbatch *b)
{
	ASSERT(!b->finished);
	flush(b);
	b->finished = true;
}

bool ptbatch_flush_light(struct aspace *as)
{
	if (unlikely(pausing) || unlikely(holders(as).bits != BIT(asm_gs_index())))
		return false;
	tlb_mark(TLB_MARK_BATCH, (u64)as, as->root.pa);
	mm_count(shootdowns);
	flush_user();
	tlb_mark_range(TLB_MARK_FLUSHED, (u64)as, 0, USER_END);
	return true;
}

static void flush_kernel_here(void *arg)
{
	u64 cr4 = asm_read_cr4();

	(void)arg;
	if (!(cr4 & CR4_PGE)) {
		asm_write_cr3(asm_read_cr3());
		return;
	}
	asm_write_cr4(cr4 & ~CR4_PGE); // drops global entries too (SDM 3A, 4.10.4.1)
	asm_write_cr4(cr4);
}

void ptbatch_flush_kernel(void)
{
	preempt_disable();
	asm_mfence();
	smp_call(cpumask_all(), flush_kernel_here, NULL);
	flush_kernel_here(NULL);
	preempt_enable();
}

// ---- Switching ----------------------------------------------------------------------------------

void aspace_try_light(struct aspace *as)
{
	if (READ_ONCE(as->tries_light)) // others read the line
		return;
	WRITE_ONCE(as->tries_light, true);
	preempt_disable();
	if (this_cpu()->loaded_as == as)
		arena_switch(as);
	preempt_enable();
}

void aspace_switch(struct aspace *as)
{
	struct cpu *c = this_cpu();
	u64 e;

	if (c->loaded_as == as)
		return;
	// A quiescent point of the epoch: the load of CR3 is its flush, and no code on this CPU is
	// in a section with preemption off but its caller, who holds no pointer over it.
	e = epoch_now();
	// I2. MOV CR3 is serialising: the store before it is visible before the new tables are
	// walked.
	__atomic_store_n(&c->loaded_as, AS_SWITCHING, __ATOMIC_SEQ_CST);
	asm_write_cr3(as ? as->root.pa : kmap_root().pa);
	__atomic_store_n(&c->loaded_as, as, __ATOMIC_SEQ_CST);
	arena_switch(as);
	epoch_publish(e);
}
