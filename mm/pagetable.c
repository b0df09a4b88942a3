// SPDX-License-Identifier: MIT
//
// What: the private page tables of user address spaces (pagetable.h).
// Not here: when to map what (mm/fault.c, mm/attach.c), the way back from a split (mm/unsplit.c),
// shootdown (mm/ptbatch.c).
#include "mm/pagetable.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/layout.h"

phys_t pt_zero_page;
u64 pt_rights[8] __read_mostly;

static const pte_t *private_table(const struct pt_space *s, pte_t e, int level)
{
	(void)s;
	(void)level;
	return e.bits & PTE_ATTACHED ? NULL : phys_to_virt(pte_addr(e));
}
const struct pt_space pt_private = { .table = private_table };

static const pte_t *mmu_table(const struct pt_space *s, pte_t e, int level)
{
	(void)s;
	(void)level;
	return pte_present(e) ? phys_to_virt(pte_addr(e)) : NULL;
}
const struct pt_space pt_mmu = { .table = mmu_table };

pte_t pt_user_leaf(phys_t pa, int level, unsigned prot, bool writable, u64 extra)
{
	pte_t e = pte_leaf(pa, level, pt_user_rights(prot, writable) | extra);

	if (prot == PROT_NONE)
		e.bits &= ~PTE_P;
	return e;
}

// ---- Tables -------------------------------------------------------------------------------------

static const pte_t *table_of(const pte_t *slot)
{
	return (const pte_t *)ALIGN_DOWN((u64)slot, PAGE_SIZE);
}

static u64 table_count(const pte_t *table)
{
	return frame_owner(virt_to_phys(table));
}

static void table_count_add(const pte_t *slot, s64 n)
{
	if (n)
		frame_owner_add(virt_to_phys(table_of(slot)), n);
}

int pt_once_init(void)
{
	for (unsigned prot = 0; prot < ARRAY_SIZE(pt_rights); prot++)
		pt_rights[prot] = kmap_rights(PTE_U | (prot & PROT_WRITE ? PTE_W : 0) |
					      (prot & PROT_EXEC ? 0 : PTE_NX));
	pt_zero_page = frame_alloc(0, FRAME_ZERO);
	return pt_zero_page.pa == PHYS_NONE.pa ? -ENOMEM : 0;
}

int pt_init(struct aspace *as)
{
	as->root = frame_alloc(0, FRAME_ZERO);
	if (as->root.pa == PHYS_NONE.pa)
		return -ENOMEM;
	as->root_table = phys_to_virt(as->root);
	kmap_copy_top(as->root_table);
	return 0;
}

static void free_tables(pte_t *table, int level, unsigned entries)
{
	for (unsigned i = 0; i < entries && level > PT_PTE; i++) {
		if (pte_is_none(table[i]))
			continue;
		ASSERT(!(table[i].bits & PTE_ATTACHED) && !pte_is_leaf(table[i], level));
		free_tables(phys_to_virt(pte_addr(table[i])), level - 1, PT_ENTRIES);
	}
	frame_put(virt_to_phys(table));
}

void pt_destroy(struct aspace *as)
{
	free_tables(as->root_table, PT_PML4, PT_ENTRIES / 2);
	as->root_table = NULL;
	if (as->spare_table)
		frame_put(PHYS(as->spare_table));
}

static void start(struct pt_cursor *c, const struct aspace *as, u64 va)
{
	c->space = &pt_private;
	c->va = ALIGN_DOWN(va, pt_span(PT_PML4));
	c->level = c->top = PT_PML4;
	c->in_table = true;
	c->path[PT_PML4] = as->root_table + pt_index(va, PT_PML4);
}

// pt_cursor_descend() over private tables: every fault and every change begins with it.
static void descend(struct pt_cursor *c, u64 va, int level)
{
	const pte_t *slot = pt_cursor_slot(c);
	int at = c->level;

	while (at > level) {
		pte_t e = pte_read(slot);

		if (!pt_is_private(e, at))
			break;
		at--;
		slot = (const pte_t *)phys_to_virt(pte_addr(e)) + pt_index(va, at);
		c->path[at] = slot;
	}
	c->level = at;
	c->va = ALIGN_DOWN(va, pt_span(at));
}

void pt_look(struct aspace *as, struct pt_cursor *c, u64 va)
{
	start(c, as, va);
	descend(c, va, PT_PTE);
}

// An empty table, the one in store if there is such.
static phys_t new_table(struct aspace *as)
{
	phys_t kept = PHYS(as ? __atomic_exchange_n(&as->spare_table, 0, __ATOMIC_ACQUIRE) : 0);

	return kept.pa ? kept : frame_alloc(0, FRAME_ZERO);
}

static int build(struct aspace *as, struct pt_cursor *c, u64 va, int level)
{
	for (;;) {
		phys_t table;

		descend(c, va, level);
		if (c->level == level || !pte_is_none(pt_cursor_get(c)))
			return 0;
		table = new_table(as);
		if (table.pa == PHYS_NONE.pa)
			return -ENOMEM;
		pte_write(pt_slot(c), pte_table(table, PTE_W | PTE_U));
		table_count_add(pt_slot(c), 1);
	}
}

int pt_build(struct pt_cursor *c, u64 va, int level)
{
	return build(NULL, c, va, level);
}

int pt_reach(struct aspace *as, struct pt_cursor *c, u64 va, int level)
{
	start(c, as, va);
	return build(as, c, va, level);
}

pte_t pt_set(struct ptbatch *b, struct pt_cursor *c, pte_t e)
{
	pte_t old =
		b ? ptbatch_set(b, pt_slot(c), c->level, c->va, e) : pte_exchange(pt_slot(c), e);

	table_count_add(pt_slot(c), (s64)!pte_is_none(e) - (s64)!pte_is_none(old));
	return old;
}

u64 pt_usable_until(struct aspace *as, u64 va, u64 end, bool write)
{
	const u64 need = PTE_P | (write ? PTE_W : 0);
	struct pt_cursor c;

	pt_look(as, &c, va);
	do {
		pte_t e = pt_cursor_get(&c);

		if ((e.bits & need) != need || (write && !pte_is_leaf(e, c.level)))
			break;
		va = pt_cursor_end(&c);
	} while (va < end && c.level == PT_PTE && pt_cursor_next(&c) && c.level == PT_PTE);
	return min(va, end);
}

// ---- Clearing -----------------------------------------------------------------------------------

static bool zap_wants(pte_t e, int level, enum pt_zap what)
{
	if (what == PT_ZAP_ZERO)
		return pt_is_zero_page(e, level);
	return what == PT_ZAP_ALL || !(e.bits & PTE_ANON);
}

// Clear the leaf or attachment at the cursor; an owned frame is dropped with the batch.
static void clear_entry(struct ptbatch *b, struct pt_cursor *c)
{
	pte_t old = pt_set(b, c, (pte_t){ 0 });

	if (old.bits & PTE_OWNED)
		ptbatch_drop(b, pte_addr(old));
}

// The cursor stands in a PTE page that has become empty: take the page out (I2). The cursor then
// stands on the entry that named it.
static void drop_pte_page(struct ptbatch *b, struct pt_cursor *c)
{
	pt_cursor_up(c);
	ptbatch_drop_table(b, pte_addr(pt_set(b, c, (pte_t){ 0 })));
}

// Down to the lowest entry for the cursor's place, but into no empty table, if much of it lies in
// [va, end): less is looked through in less time than it takes to know.
static void down_to_entries(struct pt_cursor *c, u64 va, u64 end)
{
	for (;;) {
		pte_t e = pt_cursor_get(c);

		if (!pt_is_private(e, c->level))
			return;
		if (min(end, pt_cursor_end(c)) - max(va, c->va) > 32 * pt_span(c->level - 1) &&
		    table_count(phys_to_virt(pte_addr(e))) == 0)
			return;
		descend(c, max(va, c->va), c->level - 1);
	}
}

bool pt_empty_below(const struct pt_cursor *at)
{
	struct pt_cursor c = *at;
	u64 end = pt_cursor_end(at);

	do {
		pte_t e;

		down_to_entries(&c, at->va, end);
		e = pt_cursor_get(&c);
		if (!pte_is_none(e) && !pt_is_private(e, c.level))
			return false;
	} while (pt_cursor_next(&c) && c.va < end);
	return true;
}

// Entries of the cursor's table from its own on that lie below `end`.
static unsigned entries_before(const struct pt_cursor *c, u64 end)
{
	u64 left = PT_ENTRIES - (u64)pt_index(c->va, c->level);

	return (unsigned)min(left, (end - c->va + pt_span(c->level) - 1) >> pt_shift(c->level));
}

static void move_by(struct pt_cursor *c, unsigned n)
{
	c->path[c->level] += n;
	c->va += n * pt_span(c->level);
}

// To the last one of a row of entries that are none.
static void skip_none(struct pt_cursor *c, u64 end)
{
	unsigned n = entries_before(c, end), i = 1;

	while (i < n && pte_is_none(pte_read(&c->path[c->level][i])))
		i++;
	move_by(c, i - 1);
}

// What is wanted of a PTE page goes in one pass, from the cursor's entry on. False: the batch is
// full, and the cursor stands where to go on. Else it stands on the last entry that was looked at.
//
// Plain stores will do: A and D are set from the beginning, so the MMU never writes to an entry.
static bool zap_ptes(struct ptbatch *b, struct pt_cursor *c, u64 end, enum pt_zap what)
{
	unsigned n = entries_before(c, end), first = PT_ENTRIES, last = 0, i;
	pte_t *slot = pt_slot(c);
	u64 count = table_count(table_of(slot)), left = count;

	for (i = 0; i < n; i++) {
		pte_t e = pte_read(&slot[i]);

		if (pte_is_none(e) || !zap_wants(e, PT_PTE, what))
			continue;
		if (ptbatch_full(b))
			break;
		pte_write(&slot[i], (pte_t){ 0 });
		left--;
		if (e.bits & PTE_OWNED)
			ptbatch_drop(b, pte_addr(e));
		if (pte_present(e)) {
			first = min(first, i);
			last = i;
		}
	}
	if (first <= last)
		ptbatch_cleared(b, c->va + first * PAGE_SIZE, c->va + (last + 1) * PAGE_SIZE);
	if (left < count)
		table_count_add(slot, (s64)(left - count));
	if (!left) {
		drop_pte_page(b, c);
		return true;
	}
	move_by(c, i < n ? i : n - 1);
	return i == n;
}

u64 pt_zap(struct ptbatch *b, u64 va, u64 end, enum pt_zap what)
{
	struct pt_cursor c;
	pte_t e;

	start(&c, b->as, va);
	do {
		down_to_entries(&c, va, end);
		if (c.va >= end)
			break;
		if (ptbatch_full(b))
			return max(va, c.va);
		e = pt_cursor_get(&c);
		if (c.level == PT_PTE) {
			if (!zap_ptes(b, &c, end, what))
				return c.va;
		} else if (pte_is_none(e)) {
			skip_none(&c, end);
		} else if (!pt_is_private(e, c.level) && zap_wants(e, c.level, what)) {
			clear_entry(b, &c);
		}
	} while (pt_cursor_next(&c) && c.va < end);
	return end;
}

void pt_zap_range(struct ptbatch *b, u64 va, u64 end, enum pt_zap what)
{
	while (va < end) {
		spin_lock(&b->as->pt_lock);
		va = pt_zap(b, va, end, what);
		spin_unlock(&b->as->pt_lock);
		if (va < end)
			ptbatch_flush(b);
	}
}

bool pt_prune(struct ptbatch *b, struct pt_cursor *c)
{
	u64 end = pt_cursor_end(c);
	int top = c->level;

	// Entries first, then the tables, lowest first: what is left after a full batch is sound.
	if (pt_zap(b, c->va, end, PT_ZAP_ALL) < end)
		return false;
	for (;;) {
		pte_t e = pt_cursor_get(c);

		if (ptbatch_full(b))
			return false;
		if (pt_is_private(e, c->level)) {
			if (table_count(phys_to_virt(pte_addr(e))) > 0) {
				pt_cursor_down(c, c->va);
				continue;
			}
			ptbatch_drop(b, pte_addr(pt_set(b, c, (pte_t){ 0 })));
		}
		if (c->level == top)
			return true;
		// Up again once the table is empty, else on to the next entry in it.
		if (table_count(table_of(pt_slot(c))) == 0)
			pt_cursor_up(c);
		else
			pt_cursor_next(c);
	}
}

// ---- Splitting and rights -----------------------------------------------------------------------

#define COPY_GROUP 16 // and the unrolling below

// A file's table with other rights; returns how many entries there are. This is most of what the
// first store to a GiB costs: sixteen at a time, unrolled, and rows of all or none first.
static u64 copy_entries(pte_t *to, const pte_t *from, u64 rights)
{
	const u64 place = PTE_ADDR | PTE_PS;
	u64 count = PT_ENTRIES;

	for (const pte_t *end = from + PT_ENTRIES; from < end;
	     from += COPY_GROUP, to += COPY_GROUP) {
		u64 all = PTE_P, any = 0;

#pragma GCC unroll 16
		for (unsigned i = 0; i < COPY_GROUP; i++)
			all &= from[i].bits;
		if (likely(all)) {
#pragma GCC unroll 16
			for (unsigned i = 0; i < COPY_GROUP; i++)
				to[i].bits = (from[i].bits & place) | rights;
			continue;
		}
#pragma GCC unroll 16
		for (unsigned i = 0; i < COPY_GROUP; i++) {
			any |= from[i].bits;
			to[i].bits = 0;
		}
		count -= COPY_GROUP;
		for (unsigned i = 0; i < COPY_GROUP && any; i++) {
			u64 e = pte_read(&from[i]).bits;

			to[i].bits = e & PTE_P ? (e & place) | rights : 0;
			count += e & PTE_P;
		}
	}
	return count;
}

int pt_split(struct ptbatch *b, struct pt_cursor *c)
{
	const u64 keep = PTE_P | PTE_W | PTE_U | PTE_NX | PTE_A | PTE_D;
	pte_t e = pt_cursor_get(c);
	const pte_t *from = phys_to_virt(pte_addr(e));
	phys_t frame = frame_alloc(0, 0);

	if (frame.pa == PHYS_NONE.pa)
		return -ENOMEM;
	frame_set_owner(frame,
			copy_entries(phys_to_virt(frame), from, (e.bits & keep) | PTE_ATTACHED));
	// Same translations before and after: no need to clear and flush in between. The change of
	// the upper entry makes the batch flush everything, paging-structure caches included.
	pt_set(b, c, pte_table(frame, PTE_W | PTE_U));
	return 0;
}

static pte_t with_prot(pte_t e, int level, unsigned prot, bool shared)
{
	bool may_write = (e.bits & PTE_W) || (shared && !pt_is_zero_page(e, level));

	e.bits &= ~(PTE_P | PTE_W | PTE_NX);
	e.bits |= pt_user_rights(prot, may_write);
	if (prot != PROT_NONE)
		e.bits |= PTE_P;
	return e;
}

void pt_protect(struct ptbatch *b, u64 va, u64 end, unsigned prot, bool shared)
{
	struct pt_cursor c;

	start(&c, b->as, va);
	do {
		pte_t e;

		while (pt_cursor_down(&c, max(va, c.va)))
			;
		e = pt_cursor_get(&c);
		if (c.va < end && !pte_is_none(e))
			pt_set(b, &c, with_prot(e, c.level, prot, shared));
	} while (pt_cursor_next(&c) && c.va < end);
}

void pt_take_write(struct ptbatch *b, u64 va, u64 end)
{
	struct pt_cursor c;

	pt_cursor_init_table(&c, &pt_private, b->as->root_table, PT_PML4, va);
	do {
		pte_t e;

		down_to_entries(&c, va, end);
		e = pt_cursor_get(&c);
		if (c.va < end && (e.bits & PTE_W) && !(e.bits & PTE_ANON) &&
		    !pt_is_private(e, c.level))
			pt_set(b, &c, (pte_t){ e.bits & ~PTE_W });
	} while (pt_cursor_next(&c) && c.va < end);
}
