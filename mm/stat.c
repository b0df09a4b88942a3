// SPDX-License-Identifier: MIT
//
// What: the counters of mm/stat.h. Each CPU counts in lines of its own; a reader adds them up. What
// is counted is traced too (mm/trace.h).
#include "mm/stat.h"

#include "kernel/x86/cpu.h"
#include "mm/trace.h"

struct mm_stat_cpu {
	u64 count[MM_STAT_COUNT];
} __cacheline;

static struct mm_stat_cpu stat_cpu[CPU_MAX];

#define STAT_NAME(name, text) #name,
#define STAT_TEXT(name, text) text,
static const char *const names[] = { MM_STATS(STAT_NAME) };
static const char *const texts[] = { MM_STATS(STAT_TEXT) };

// Atomic although the line is this CPU's own: the thread may move between reading the CPU's number
// and counting.
void mm_count_many(enum mm_stat which, u64 n)
{
	__atomic_fetch_add(&stat_cpu[this_cpu()->index].count[which], n, __ATOMIC_RELAXED);
	trace_count(which, n);
}

u64 mm_stat_read(enum mm_stat which)
{
	u64 sum = 0;

	for (unsigned i = 0; i < CPU_MAX; i++)
		sum += READ_ONCE(stat_cpu[i].count[which]);
	return sum;
}

const char *mm_stat_name(enum mm_stat which)
{
	return names[which];
}

const char *mm_stat_text(enum mm_stat which)
{
	return texts[which];
}
