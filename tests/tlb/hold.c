// SPDX-License-Identifier: MIT
//
// What: what CPUs could hold: each CPU is taken to hold, until it flushes, every translation and
// every upper-level entry that it could have cached since its last flush, be it by speculation: all
// that could be reached from its root at any moment.
// Not here: where that is learned from (adversary.c), whether a CPU holds something (check.c), what
// is missed (docs/adversarial-tlb.md).
//
// Tables are found by CR3 and followed down. Each time that an entry leads somewhere is a `way`,
// with a beginning and an end. A CPU holds a page if a chain of ways leads there from its root,
// which a walk could have gone down step by step, the first step after the CPU's last flush.
//
// Invariants
//   I1  nothing is taken to be present longer than it was: an entry is compared with memory by
//       whoever stored to it, after the store and before its next instruction. So what another
//       CPU does because of the clear comes later on this clock, too.
//   I2  a CPU's flush is noted after it happened, before its next instruction.
//   I3  a way that ended is kept until every CPU on user tables has flushed since.
// Together: no alarm is false.
//
// Locking: `lock` for all, but for the look whether a page is a table: `tables` is read without it.
#include "tests/tlb/hold.h"

#include <stdlib.h>

#include "tests/tlb/hold_internal.h"

#define SWEEP 65536u // ways, before those that are over are looked for

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
struct cpu cpus[HOLD_CPUS];
uint64_t now = 1;
struct way *ways[BUCKETS];
struct counts count;
static struct table *by_page[BUCKETS];
static struct table **tables[1u << 17]; // by host address: of a GiB, its pages [read without lock]
static uint64_t nr_ways, sweep_at = SWEEP;
static const uint64_t *(*page_of)(uint64_t pa);

static void *make(size_t bytes)
{
	void *p = calloc(1, bytes);

	if (!p)
		abort();
	return p;
}

// ---- Tables and ways ----------------------------------------------------------------------------

struct table *table_find(uint64_t pa, int level)
{
	struct table *t = by_page[bucket(pa)];

	while (t && (t->pa != pa || t->level != level))
		t = t->next;
	return t;
}

static struct table *table_of_host(uint64_t host)
{
	struct table **gib = __atomic_load_n(&tables[host >> 30 & 0x1ffff], __ATOMIC_ACQUIRE);

	return gib ? __atomic_load_n(&gib[host >> 12 & 0x3ffff], __ATOMIC_ACQUIRE) : NULL;
}

static void watch(struct table *t)
{
	uint64_t host = (uint64_t)t->host;
	struct table ***gib = &tables[host >> 30 & 0x1ffff];

	if (!*gib)
		__atomic_store_n(gib, make(sizeof(**gib) << 18), __ATOMIC_RELEASE);
	t->same_host = (*gib)[host >> 12 & 0x3ffff];
	__atomic_store_n(&(*gib)[host >> 12 & 0x3ffff], t, __ATOMIC_SEQ_CST);
}

static void way_begin(struct table *t, unsigned index, uint64_t bits)
{
	struct way *w = make(sizeof(*w)), **first;

	*w = (struct way){ .bits = bits,
			   .begin = ++now,
			   .end = NOW,
			   .table = t->pa,
			   .older = t->way[index],
			   .index = (uint16_t)index,
			   .level = (uint8_t)t->level };
	t->way[index] = w;
	first = &ways[bucket(target(w))];
	w->next = *first;
	w->link = first;
	if (w->next)
		w->next->link = &w->next;
	*first = w;
	t->present++;
	nr_ways++;
	count.ways++;
}

static void way_end(struct table *t, struct way *w, uint64_t pc)
{
	w->end = ++now;
	w->cleared_by = pc;
	t->present--;
}

static void way_free(struct way *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	free(w);
	nr_ways--;
}

// May a CPU that cached `old` go on using it when the entry is `new`? A and D do not matter.
static bool still_true(uint64_t old, uint64_t new, int level)
{
	return new &P &&new &U && !(old & ~new &W) && !(new & ~old &NX) &&
	       !((old ^ new) & (level == 1 ? ADDR : ADDR | PS));
}

static void table_follow(uint64_t pa, int level);

// Compare an entry with memory (I1).
static void entry_look(struct table *t, unsigned index, uint64_t pc)
{
	uint64_t bits = __atomic_load_n(&t->host[index], __ATOMIC_SEQ_CST);
	struct way *w = t->way[index];

	if (w && w->end == NOW) {
		if (still_true(w->bits, bits, t->level)) {
			w->bits = bits;
			return;
		}
		way_end(t, w, pc);
	}
	// Without U it is the kernel's own, or nothing that a program can use.
	if (!(bits & P) || !(bits & U))
		return;
	way_begin(t, index, bits);
	if (!is_leaf(bits, t->level))
		table_follow(bits & ADDR, t->level - 1);
}

// The page is a table from now on, with all that it leads to.
static void table_follow(uint64_t pa, int level)
{
	const uint64_t *host;
	struct table *t;

	if (table_find(pa, level))
		return;
	host = page_of(pa);
	if (!host)
		return;
	t = make(sizeof(*t));
	t->pa = pa;
	t->host = host;
	t->level = level;
	t->next = by_page[bucket(pa)];
	by_page[bucket(pa)] = t;
	count.tables++;
	// Watched first: who stores to it meanwhile is either seen below, or sees that it is a
	// table.
	watch(t);
	for (unsigned i = 0; i < (level == ROOT ? ENTRIES / 2 : ENTRIES); i++)
		entry_look(t, i, 0);
}

void table_forget(uint64_t pa, uint64_t pc)
{
	for (int level = 1; level <= ROOT; level++) {
		struct table *t = table_find(pa, level), **link;
		uint64_t host;

		if (!t)
			continue;
		host = (uint64_t)t->host;
		for (unsigned i = 0; i < ENTRIES; i++)
			if (t->way[i] && t->way[i]->end == NOW)
				way_end(t, t->way[i], pc);
		link = &tables[host >> 30 & 0x1ffff][host >> 12 & 0x3ffff];
		for (; *link != t; link = &(*link)->same_host)
			;
		__atomic_store_n(link, t->same_host, __ATOMIC_RELEASE);
		for (link = &by_page[bucket(pa)]; *link != t; link = &(*link)->next)
			;
		*link = t->next;
		free(t); // hold_is_table() looks without the lock, but follows nothing without it
	}
}

// ---- What nobody can hold any more --------------------------------------------------------------

bool is_on_user_tables(const struct cpu *c)
{
	const struct table *t = c->root ? table_find(c->root, ROOT) : NULL;

	return t && t->present;
}

uint64_t oldest_flush(void)
{
	uint64_t at = now;

	for (unsigned i = 0; i < HOLD_CPUS; i++)
		if (is_on_user_tables(&cpus[i]) && cpus[i].flushed < at)
			at = cpus[i].flushed;
	return at;
}

static void sweep(void)
{
	uint64_t until = oldest_flush();

	for (unsigned b = 0; b < BUCKETS; b++) {
		for (struct table *t = by_page[b]; t; t = t->next) {
			for (unsigned i = 0; i < ENTRIES; i++) {
				struct way **w = &t->way[i];

				while (*w && (*w)->end > until)
					w = &(*w)->older;
				*w = NULL; // the older ones ended earlier
			}
		}
	}
	for (unsigned b = 0; b < BUCKETS; b++) {
		struct way *w, *next;

		for (w = ways[b]; w; w = next) {
			next = w->next;
			if (w->end <= until)
				way_free(w);
		}
	}
	sweep_at = nr_ways * 2 + SWEEP;
}

// ---- What the guest does ------------------------------------------------------------------------

bool hold_is_table(uint64_t host)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST); // pairs with watch()
	return table_of_host(host) != NULL;
}

void hold_stored(uint64_t host, unsigned bytes, uint64_t pc)
{
	unsigned first = (unsigned)(host % PAGE / sizeof(uint64_t));
	unsigned last = (unsigned)((host % PAGE + bytes - 1) / sizeof(uint64_t));

	pthread_mutex_lock(&lock);
	for (struct table *t = table_of_host(host), *next; t; t = next) {
		next = t->same_host;
		for (unsigned i = first; i <= last && i < ENTRIES; i++)
			if (t->level < ROOT || i < ENTRIES / 2)
				entry_look(t, i, pc);
	}
	if (nr_ways > sweep_at)
		sweep();
	pthread_mutex_unlock(&lock);
}

static void flush(struct cpu *c)
{
	c->flushed = c->uppers = ++now;
	c->nr_invlpgs = 0;
	count.flushes++;
}

void hold_flushed(unsigned cpu)
{
	pthread_mutex_lock(&lock);
	flush(&cpus[cpu % HOLD_CPUS]);
	pthread_mutex_unlock(&lock);
}

void hold_root(unsigned cpu, uint64_t root)
{
	struct cpu *c = &cpus[cpu % HOLD_CPUS];

	pthread_mutex_lock(&lock);
	c->root = root & ADDR;
	flush(c);
	table_follow(c->root, ROOT);
	pthread_mutex_unlock(&lock);
}

void hold_invalidated(unsigned cpu, uint64_t va)
{
	struct cpu *c = &cpus[cpu % HOLD_CPUS];

	pthread_mutex_lock(&lock);
	c->uppers = ++now;
	count.pages++;
	if (c->nr_invlpgs < INVLPGS) {
		c->invlpgs[c->nr_invlpgs++] = (struct invlpg){ va, now };
	} else { // more than can be noted: taken for a flush
		c->flushed = now;
		c->nr_invlpgs = 0;
		count.lenient++;
	}
	pthread_mutex_unlock(&lock);
}

void hold_init(const uint64_t *(*page)(uint64_t pa), FILE *to, bool first)
{
	page_of = page;
	check_init(to, first);
}

void hold_end(void)
{
	pthread_mutex_lock(&lock);
	check_end();
	pthread_mutex_unlock(&lock);
}
