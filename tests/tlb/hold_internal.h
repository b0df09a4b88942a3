// SPDX-License-Identifier: MIT
//
// Within hold.c and check.c: ways, tables, CPUs. `lock` guards all of it.
#pragma once

#include <pthread.h>

#include "tests/tlb/hold.h"

#define PAGE    4096ull
#define ENTRIES 512u
#define ROOT    4 // level of a PML4
#define NOW     UINT64_MAX
#define BUCKETS (1u << 17)
#define INVLPGS 4096u // that a CPU does between two flushes

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

extern pthread_mutex_t lock;
extern struct cpu cpus[HOLD_CPUS];
extern uint64_t now;              // the clock: it ticks with each change
extern struct way *ways[BUCKETS]; // by page, or by what a large page begins with
extern struct counts {
	uint64_t marks, ways, tables, flushes, pages, checks, lenient, alarms;
} count;

static inline unsigned bucket(uint64_t pa)
{
	return (unsigned)((pa >> 12) * 0x9e3779b97f4a7c15ull >> 47);
}

// log2 of what an entry of `level` maps.
static inline unsigned shift_of(int level)
{
	return 12 + 9 * ((unsigned)level - 1);
}

static inline bool is_leaf(uint64_t bits, int level)
{
	return level == 1 || bits & PS;
}

static inline uint64_t target(const struct way *w)
{
	uint64_t size = is_leaf(w->bits, w->level) ? 1ull << shift_of(w->level) : PAGE;

	return w->bits & ADDR & ~(size - 1);
}

// The table at `pa`; NULL: it is none, of that level.
struct table *table_find(uint64_t pa, int level);
// The page gets another use. Its ways end; who holds them is asked as before, by page and time.
void table_forget(uint64_t pa, uint64_t pc);
bool is_on_user_tables(const struct cpu *c);
// I3 of hold.c: ways that ended up to then are over for all.
uint64_t oldest_flush(void);

// check.c: where alarms go.
void check_init(FILE *to, bool first);
void check_end(void);
