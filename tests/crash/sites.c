// SPDX-License-Identifier: MIT
//
// What: the places in the source of ptfs that flush or fence. The program is linked at fixed
// addresses and compiled without inlining, so a place is known by the address that a call of a
// flush or fence function returns to; where the compiler has made several calls of one, they are
// one place. objdump lists them all, those too that nobody passes. The wrappers of medium.c are
// looked through.
// Not here: switching them off in turn (mutate.c).
#include <unistd.h>

#include "tests/crash/crash.h"

struct symbol {
	u64 address;
	char name[48];
	bool wrapper;
};

#define SYMBOLS_MAX 4000u
#define RETURNS_MAX 512u

static struct {
	struct symbol symbol[SYMBOLS_MAX];
	u32 symbols;
	struct {
		u64 address;
		bool fence;
		u32 site;
	} back[RETURNS_MAX]; // by address
	u32 returns;
	struct site site[SITES_MAX];
	u32 sites, off;
} st = { .off = ~0u };

// Functions between a place and the recorder.
static bool is_wrapper(const char *name)
{
	static const char *const list[] = {
		"note",       "pm_note",    "pmem_flush",        "pmem_fence",
		"ptfs_flush", "ptfs_fence", "ptfs_store8_flush", "site_here",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		if (!strcmp(name, list[i]))
			return true;
	return false;
}

static void return_add(u64 address, bool fence)
{
	ptfs_assert(st.returns < RETURNS_MAX);
	st.back[st.returns].address = address;
	st.back[st.returns++].fence = fence;
}

// A line of objdump: the head of a function, or an instruction.
static void line_take(const char *line, bool *after, bool *fence)
{
	static const char *const flushes[] = { "<pmem_flush>", "<ptfs_flush>",
					       "<ptfs_store8_flush>" };
	unsigned long long address;
	struct symbol *s = &st.symbol[st.symbols];
	char rest[200];

	if (sscanf(line, "%llx <%47[^>]>", &address, s->name) == 2) {
		ptfs_assert(st.symbols + 1 < SYMBOLS_MAX);
		s->address = address;
		s->wrapper = is_wrapper(s->name);
		st.symbols++;
		return;
	}
	if (!st.symbols || sscanf(line, " %llx: %199[^\n]", &address, rest) != 2)
		return;
	if (*after && !st.symbol[st.symbols - 1].wrapper)
		return_add(address, *fence);
	*after = false;
	if (strncmp(rest, "call", 4))
		return;
	*fence = strstr(rest, "<pmem_fence>") || strstr(rest, "<ptfs_fence>");
	*after = *fence;
	for (unsigned i = 0; i < ARRAY_SIZE(flushes); i++)
		*after |= strstr(rest, flushes[i]) != NULL;
}

static u32 site_of(const char *function, const char *where, bool fence)
{
	struct site *s = &st.site[st.sites];

	for (u32 i = 0; i < st.sites; i++)
		if (st.site[i].fence == fence && !strcmp(st.site[i].function, function) &&
		    !strcmp(st.site[i].where, where))
			return i;
	ptfs_assert(st.sites < SITES_MAX);
	s->fence = fence;
	snprintf(s->function, sizeof(s->function), "%s", function);
	snprintf(s->where, sizeof(s->where), "%s", where);
	return st.sites++;
}

// addr2line answers two lines for each address: function, file and line.
static void places_name(void)
{
	static char command[RETURNS_MAX * 20 + 100];
	int at = snprintf(command, sizeof(command), "addr2line -sfe /proc/%d/exe", (int)getpid());
	FILE *f;

	for (u32 i = 0; i < st.returns; i++)
		at += snprintf(command + at, sizeof(command) - (size_t)at, " %#llx",
			       (unsigned long long)st.back[i].address - 1);
	f = popen(command, "r");
	ptfs_assert(f && st.returns);
	for (u32 i = 0; i < st.returns; i++) {
		char function[48], where[48];

		ptfs_assert(fscanf(f, "%47s %47s%*[^\n]", function, where) == 2 ||
			    !"addr2line is needed");
		st.back[i].site = site_of(function, where, st.back[i].fence);
	}
	pclose(f);
}

void sites_init(void)
{
	char command[96], line[512];
	bool after = false, fence = false;
	FILE *f;

	snprintf(command, sizeof(command), "objdump -d --no-show-raw-insn /proc/%d/exe",
		 (int)getpid());
	f = popen(command, "r");
	ptfs_assert(f);
	while (fgets(line, sizeof(line), f))
		line_take(line, &after, &fence);
	pclose(f);
	places_name();
}

static bool in_wrapper(u64 address)
{
	u64 low = 0, high = st.symbols;

	while (high - low > 1) {
		u64 mid = (low + high) / 2;

		if (st.symbol[mid].address <= address)
			low = mid;
		else
			high = mid;
	}
	return st.symbol[low].wrapper;
}

u32 site_here(void)
{
	u64 *frame = __builtin_frame_address(0);
	u64 address = frame[1];
	u32 low = 0, high = st.returns;

	while (in_wrapper(address)) {
		frame = (u64 *)frame[0];
		address = frame[1];
	}
	while (high - low > 1) {
		u32 mid = (low + high) / 2;

		if (st.back[mid].address <= address)
			low = mid;
		else
			high = mid;
	}
	ptfs_assert(st.back[low].address == address);
	return st.back[low].site;
}

u32 site_count(void)
{
	return st.sites;
}

const struct site *site_get(u32 nr)
{
	return &st.site[nr];
}

bool site_is_off(u32 nr)
{
	return nr == st.off;
}

void site_switch_off(u32 nr)
{
	st.off = nr;
}
