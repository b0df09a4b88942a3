// SPDX-License-Identifier: MIT
//
// What: the counters of mm/stat.h. Each CPU counts in lines of its own; a reader adds them up.
#include "mm/stat.h"

#include "mm/trace.h"

struct mm_stat_cpu mm_stat_cpu[CPU_MAX];

#define STAT_NAME(name, text) #name,
#define STAT_TEXT(name, text) text,
static const char *const names[] = { MM_STATS(STAT_NAME) };
static const char *const texts[] = { MM_STATS(STAT_TEXT) };

void mm_count_traced(enum mm_stat which, u64 n)
{
	trace_write(TRACE_COUNT, (u16)which, 0, n); // 0: now
}

u64 mm_stat_read(enum mm_stat which)
{
	u64 sum = 0;

	for (unsigned i = 0; i < CPU_MAX; i++)
		sum += READ_ONCE(mm_stat_cpu[i].count[which]);
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
