// SPDX-License-Identifier: MIT
//
// What: whether a CPU could hold a way to something (hold.h): going up from a page or an entry to
// the roots, or down from a root through a range of addresses; alarms.
// Not here: what ways there are and were (hold.c).
//
// Of a chain of ways one figure matters: when a walk that went down it began at the latest. That is
// the earliest of their ends, if none of them began after the end of a lower one.
#include "tests/tlb/hold_internal.h"

#include <inttypes.h>
#include <unistd.h>

#define ALARMS_MAX 100u // that are written
#define BATCHES    256u // spaces of batches that are not flushed yet

static FILE *out;
static bool only_first; // alarm; it ends QEMU

// A batch of changes will have flushed what ended in a space up to then.
static struct batch {
	uint64_t id, root, since; // id 0: free
} batches[BATCHES];

// ---- Up: who holds it? --------------------------------------------------------------------------

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

// ---- Down: what is held of a range of addresses? ------------------------------------------------

struct range {
	struct search s;
	uint64_t root, start, end;
	uint64_t since; // what ended up to then must not be held
	uint64_t until; // what ended up to then is held by nobody
};

static bool leaf_is_held(struct range *r)
{
	uint64_t begun = NOW, latest = 0;

	for (int level = r->s.lowest; level <= ROOT; level++) {
		const struct way *w = r->s.path[level];

		if (w->end < begun)
			begun = w->end;
		if (w->begin > begun)
			return false;
		if (w->begin > latest)
			latest = w->begin;
	}
	if (begun > r->since)
		return false; // still there, or ended later
	count.checks++;
	for (unsigned i = 0; i < HOLD_CPUS; i++) {
		r->s.cpu = i;
		if (cpus[i].root == r->root && holds(&cpus[i], &r->s, begun, latest))
			return true;
	}
	return false;
}

// `t` is what the addresses from `base` on go through.
static bool descend(struct range *r, const struct table *t, uint64_t base)
{
	unsigned shift = shift_of(t->level);
	unsigned first = r->start > base ? (unsigned)((r->start - base) >> shift) : 0;

	for (unsigned i = first; i < ENTRIES; i++) {
		uint64_t va = base + ((uint64_t)i << shift);

		if (va >= r->end)
			return false;
		for (const struct way *w = t->way[i]; w && w->end > r->until; w = w->older) {
			const struct table *below;

			r->s.path[t->level] = w;
			if (is_leaf(w->bits, t->level)) {
				r->s.lowest = t->level;
				r->s.va = va;
				if (leaf_is_held(r))
					return true;
				continue;
			}
			below = table_find(target(w), t->level - 1);
			if (below && descend(r, below, va))
				return true;
		}
	}
	return false;
}

static void check_range(struct range *r, uint64_t pc)
{
	const struct table *t = table_find(r->root, ROOT);

	r->until = oldest_flush();
	r->s.leaf = true;
	if (t && descend(r, t, 0))
		alarm_write("stale", r->start, r->end - r->start, pc, &r->s);
}

void hold_check_unmapped(uint64_t root, uint64_t start, uint64_t end, uint64_t pc)
{
	struct range r = { .root = root, .start = start, .end = end };

	pthread_mutex_lock(&lock);
	count.marks++;
	r.since = now;
	check_range(&r, pc);
	pthread_mutex_unlock(&lock);
}

void hold_batch(uint64_t id, uint64_t root)
{
	struct batch *b = batches, *free = NULL;

	pthread_mutex_lock(&lock);
	for (; b < batches + BATCHES && (b->id != id || b->root != root); b++)
		if (!free && !b->id)
			free = b;
	if (b == batches + BATCHES)
		b = free;
	if (b)
		*b = (struct batch){ .id = id, .root = root, .since = now };
	else
		count.lenient++;
	pthread_mutex_unlock(&lock);
}

void hold_check_flushed(uint64_t id, uint64_t start, uint64_t end, uint64_t pc)
{
	pthread_mutex_lock(&lock);
	count.marks++;
	for (struct batch *b = batches; b < batches + BATCHES; b++) {
		struct range r = { .root = b->root, .start = start, .end = end, .since = b->since };

		if (b->id != id)
			continue;
		check_range(&r, pc);
		b->id = 0;
	}
	pthread_mutex_unlock(&lock);
}

// ---- Where alarms go ----------------------------------------------------------------------------

void check_init(FILE *to, bool first)
{
	out = to;
	only_first = first;
}

void check_end(void)
{
	fprintf(out, "end %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, count.marks,
		count.ways, count.tables, count.flushes, count.pages);
	fprintf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", count.checks, count.lenient,
		count.alarms);
	fflush(out);
}
