// SPDX-License-Identifier: MIT
//
// What: what CPUs could hold: each CPU is taken to hold, until it flushes, every translation and
// every upper-level entry that it could have cached since its last flush, be it by speculation: all
// that could be reached from its root at any moment.
// Not here: where that is learned from (adversary.c), what is missed (docs/adversarial-tlb.md).
//
// Tables are found by CR3 and followed down. Each time that an entry leads somewhere is a `way`,
// with a beginning and an end. A CPU holds a page if a chain of ways leads there from its root,
// which a walk could have gone down step by step, the first step after the CPU's last flush. What
// counts is the latest moment at which such a walk could have begun; it is found by going up, from
// the page to the root.
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

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE       4096ull
#define ENTRIES    512u
#define ROOT       4 // level of a PML4
#define NOW        UINT64_MAX
#define BUCKETS    (1u << 17)
#define INVLPGS    4096u // that a CPU does between two flushes
#define ALARMS_MAX 100u  // that are written
#define SWEEP      65536u

// Entries (SDM 3A, 4.5).
#define P    1ull
#define W    2ull
#define U    4ull
#define PS   0x80ull
#define NX   (1ull << 63)
#define ADDR 0x000ffffffffff000ull

// One entry that leads to one place, as long as it does.
struct way {
	uint64_t bits, begin, end; // end == NOW: it still leads there
	uint64_t table;            // page that the entry lies in
	uint64_t cleared_by;       // instruction that ended it
	struct way *older;         // of the same entry
	struct way *next, **link;  // in its bucket, by target
	uint16_t index;
	uint8_t level; // of the table
};

struct table {
	uint64_t pa;
	const uint64_t *host;
	int level;
	unsigned present;         // ways that have not ended
	struct way *way[ENTRIES]; // newest first
	struct table *next;       // in its bucket, by page
	struct table *same_host;  // the page at another level
};

struct cpu {
	uint64_t root, flushed; // root 0: none of its own yet
	uint64_t uppers;        // when all upper-level entries were dropped
	unsigned nr_invlpgs;
	struct invlpg {
		uint64_t va, at;
	} invlpgs[INVLPGS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cpu cpus[HOLD_CPUS];
static uint64_t now = 1;
static struct way *ways[BUCKETS]; // by page, or by what a large page begins with
static struct table *by_page[BUCKETS];
static struct table **tables[1u << 17]; // by host address: of a GiB, its pages [read without lock]
static uint64_t nr_ways, sweep_at = SWEEP;
static struct {
	uint64_t marks, ways, tables, flushes, pages, checks, lenient, alarms;
} count;
static const uint64_t *(*page_of)(uint64_t pa);
static FILE *out;
static bool only_first; // alarm; it ends QEMU

static void *make(size_t bytes)
{
	void *p = calloc(1, bytes);

	if (!p)
		abort();
	return p;
}

// ---- Tables and ways ----------------------------------------------------------------------------

static unsigned bucket(uint64_t pa)
{
	return (unsigned)((pa >> 12) * 0x9e3779b97f4a7c15ull >> 47);
}

static unsigned shift_of(int level)
{
	return 12 + 9 * ((unsigned)level - 1);
}

static bool is_leaf(uint64_t bits, int level)
{
	return level == 1 || bits & PS;
}

static uint64_t target(const struct way *w)
{
	uint64_t size = is_leaf(w->bits, w->level) ? 1ull << shift_of(w->level) : PAGE;

	return w->bits & ADDR & ~(size - 1);
}

static struct table *table_find(uint64_t pa, int level)
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

// The page gets another use. Its ways end; who holds them is asked as before, by page and time.
static void table_forget(uint64_t pa, uint64_t pc)
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

static bool is_on_user_tables(const struct cpu *c)
{
	const struct table *t = c->root ? table_find(c->root, ROOT) : NULL;

	return t && t->present;
}

// I3. Ways that ended before it are over for all.
static uint64_t oldest_flush(void)
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

// ---- Who holds it? ------------------------------------------------------------------------------

struct search {
	const struct way *path[ROOT + 1]; // by level
	int lowest;                       // level of the last entry
	bool leaf;
	unsigned cpu;
	uint64_t va;
};

static bool holds(const struct cpu *c, const struct search *s, uint64_t begun, uint64_t latest)
{
	uint64_t bytes = 1ull << shift_of(s->lowest);

	if (begun <= c->flushed)
		return false;
	// INVLPG drops all upper-level entries (SDM 3A, 4.10.4.1). So what was cached since then
	// comes from a walk that began since then.
	if (begun > c->uppers)
		return true;
	// A translation as a whole stays, if it can have been cached at one moment. (If not, an
	// INVLPG may have come between; we do not look when.)
	if (!s->leaf || latest > begun)
		return false;
	for (unsigned i = 0; i < c->nr_invlpgs; i++)
		if (c->invlpgs[i].at >= begun && c->invlpgs[i].va - s->va < bytes)
			return false;
	return true;
}

// `begun`: when a walk that comes down to `w`'s target began at the latest; `latest`: when the last
// one of its entries was set.
static bool climb(struct search *s, const struct way *w, uint64_t begun, uint64_t latest)
{
	if (w->end < begun)
		begun = w->end;
	if (w->begin > begun)
		return false; // set after the lower entry was cleared
	if (w->begin > latest)
		latest = w->begin;
	s->path[w->level] = w;
	s->va += (uint64_t)w->index << shift_of(w->level);
	if (w->level == ROOT) {
		for (unsigned i = 0; i < HOLD_CPUS; i++) {
			if (cpus[i].root != w->table || !holds(&cpus[i], s, begun, latest))
				continue;
			s->cpu = i;
			return true;
		}
	} else {
		for (const struct way *up = ways[bucket(w->table)]; up; up = up->next)
			if (up->level == w->level + 1 && target(up) == w->table &&
			    !is_leaf(up->bits, up->level) && climb(s, up, begun, latest))
				return true;
	}
	s->va -= (uint64_t)w->index << shift_of(w->level);
	return false;
}

static bool is_held(struct search *s, const struct way *w)
{
	*s = (struct search){ .lowest = w->level, .leaf = is_leaf(w->bits, w->level) };
	count.checks++;
	return climb(s, w, NOW, 0);
}

static void alarm_end(void)
{
	fputc('\n', out);
	fflush(out);
	if (only_first)
		_exit(0);
}

static void alarm_write(const char *kind, uint64_t pa, uint64_t bytes, uint64_t pc,
			const struct search *s)
{
	const struct way *last = s->path[s->lowest];

	for (int level = s->lowest; level <= ROOT; level++)
		if (s->path[level]->end < last->end)
			last = s->path[level];
	if (count.alarms++ >= ALARMS_MAX)
		return;
	fprintf(out, "held %s %u %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, kind,
		s->cpu, pa, bytes, s->va, pc, last->end == NOW ? 0 : last->cleared_by);
	for (int level = ROOT; level >= s->lowest; level--)
		fprintf(out, " %d:%" PRIx64 ":%s", level, s->path[level]->bits,
			s->path[level]->end == NOW ? "present" : "cleared");
	fprintf(out, "; flushed %" PRIu64 " %" PRIu64 ", now %" PRIu64, cpus[s->cpu].flushed,
		cpus[s->cpu].uppers, now);
	alarm_end();
}

// What begins in [pa, pa + bytes), or is a large page that the range lies in.
static bool check_target(uint64_t at, int leaf_level, uint64_t pc, uint64_t pa, uint64_t bytes)
{
	struct search s;

	for (const struct way *w = ways[bucket(at)]; w; w = w->next) {
		if (target(w) != at)
			continue;
		if (leaf_level > 1 && (!is_leaf(w->bits, w->level) || w->level != leaf_level))
			continue;
		if (!is_held(&s, w))
			continue;
		alarm_write(s.leaf ? "page" : "table", pa, bytes, pc, &s);
		return true;
	}
	return false;
}

// Memory is free for another use.
void hold_check_memory(uint64_t pa, uint64_t bytes, uint64_t pc)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	count.marks++;
	for (uint64_t at = pa; at < pa + bytes && !found; at += PAGE)
		found = check_target(at, 1, pc, pa, bytes);
	for (int level = 2; level <= 3 && !found; level++) {
		uint64_t at = pa & ~((1ull << shift_of(level)) - 1);

		found = at < pa && check_target(at, level, pc, pa, bytes);
	}
	for (unsigned i = 0; i < HOLD_CPUS && !found; i++) {
		if (cpus[i].root - pa >= bytes || !is_on_user_tables(&cpus[i]))
			continue;
		found = true;
		if (count.alarms++ >= ALARMS_MAX)
			break;
		fprintf(out, "held root %u %" PRIx64 " 1000 0 %" PRIx64 " 0", i, cpus[i].root, pc);
		alarm_end();
	}
	for (uint64_t at = pa; at < pa + bytes; at += PAGE)
		table_forget(at, pc);
	pthread_mutex_unlock(&lock);
}

static bool check_entry(const struct table *t, unsigned index, struct search *s)
{
	for (const struct way *w = t->way[index]; w; w = w->older)
		if (is_held(s, w))
			return true;
	return false;
}

void hold_check_entries(uint64_t pa, uint64_t nr, uint64_t pc)
{
	unsigned first = (unsigned)(pa % PAGE / sizeof(uint64_t));
	bool found = false;
	struct search s;

	pthread_mutex_lock(&lock);
	count.marks++;
	for (int level = 1; level <= ROOT; level++) {
		const struct table *t = table_find(pa & ~(PAGE - 1), level);

		for (unsigned i = first; t && i < first + nr && i < ENTRIES && !found; i++)
			found = check_entry(t, i, &s);
	}
	if (found)
		alarm_write("slot", pa, nr * sizeof(uint64_t), pc, &s);
	pthread_mutex_unlock(&lock);
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
	out = to;
	only_first = first;
}

void hold_end(void)
{
	pthread_mutex_lock(&lock);
	fprintf(out, "end %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, count.marks,
		count.ways, count.tables, count.flushes, count.pages);
	fprintf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", count.checks, count.lenient,
		count.alarms);
	fflush(out);
	pthread_mutex_unlock(&lock);
}
