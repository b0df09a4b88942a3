// SPDX-License-Identifier: MIT
//
// What: places in the source of ptfs that flush or fence, found by the return addresses of the pmem
// functions, and the mutation test: each of them is switched off in turn, and the explorer must
// fail. The program is linked at fixed addresses and compiled without inlining, so a place is one
// address; the wrappers of medium.c are looked through.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/crash/crash.h"

struct symbol {
	u64 address;
	char name[48];
	bool wrapper;
};

static struct {
	struct symbol *symbol;
	u64 symbols;
	struct site site[SITES_MAX];
	u32 sites, off;
} mu = { .off = ~0u };

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

void sites_init(void)
{
	char command[64], line[256];
	FILE *f;

	snprintf(command, sizeof(command), "nm -n /proc/%d/exe", (int)getpid());
	f = popen(command, "r");
	mu.symbol = calloc(20000, sizeof(*mu.symbol));
	ptfs_assert(f && mu.symbol);
	while (fgets(line, sizeof(line), f) && mu.symbols < 20000) {
		struct symbol *s = &mu.symbol[mu.symbols];
		unsigned long long address;
		char type;

		if (sscanf(line, "%llx %c %47s", &address, &type, s->name) != 3 ||
		    (type != 't' && type != 'T'))
			continue;
		s->address = address;
		s->wrapper = is_wrapper(s->name);
		mu.symbols++;
	}
	pclose(f);
	ptfs_assert(mu.symbols);
}

static bool in_wrapper(u64 address)
{
	u64 low = 0, high = mu.symbols;

	while (high - low > 1) {
		u64 mid = (low + high) / 2;

		if (mu.symbol[mid].address <= address)
			low = mid;
		else
			high = mid;
	}
	return mu.symbol[low].wrapper;
}

u32 site_here(bool fence)
{
	u64 *frame = __builtin_frame_address(0);
	u64 address = frame[1];

	while (in_wrapper(address)) {
		frame = (u64 *)frame[0];
		address = frame[1];
	}
	for (u32 i = 0; i < mu.sites; i++)
		if (mu.site[i].address == address && mu.site[i].fence == fence)
			return i;
	ptfs_assert(mu.sites < SITES_MAX);
	mu.site[mu.sites] = (struct site){ .address = address, .fence = fence };
	return mu.sites++;
}

u32 site_count(void)
{
	return mu.sites;
}

struct site site_get(u32 nr)
{
	return mu.site[nr];
}

bool site_is_off(u32 nr)
{
	return nr == mu.off;
}

void site_switch_off(u32 nr)
{
	mu.off = nr;
}

void site_name(u32 nr, char *out, size_t bytes)
{
	char command[96], function[80] = "?", where[200] = "?";
	FILE *f;

	snprintf(command, sizeof(command), "addr2line -sfe /proc/%d/exe %#llx", (int)getpid(),
		 (unsigned long long)mu.site[nr].address - 1);
	f = popen(command, "r");
	if (f) {
		if (fscanf(f, "%79s %199s", function, where) != 2)
			function[0] = 0;
		pclose(f);
	}
	snprintf(out, bytes, "%-5s  %-24s %s", mu.site[nr].fence ? "fence" : "flush", where,
		 function);
}

// ---- Each in turn ----

// Places that may be switched off without consequence, each with the argument why it stays.
static const struct {
	const char *function;
	bool fence;
	const char *why;
} argued[] = {
	{ NULL, false, NULL },
};

static const char *argument(u32 nr, const char *name)
{
	const char *function = strrchr(name, ' ') + 1;

	for (unsigned i = 0; argued[i].function; i++)
		if (argued[i].fence == mu.site[nr].fence && !strcmp(argued[i].function, function))
			return argued[i].why;
	return NULL;
}

static pid_t child_start(u32 nr, void (*run)(void))
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	site_switch_off(nr);
	ex.totals = calloc(1, sizeof(*ex.totals));
	ptfs_assert(ex.totals);
	state_init();
	if (!freopen("/dev/null", "w", stderr))
		_exit(3);
	run();
	_exit(ex.totals->failures ? 1 : 0);
}

static unsigned result_print(u32 nr, int status)
{
	bool caught = !WIFEXITED(status) || WEXITSTATUS(status);
	char name[320];
	const char *why;

	site_name(nr, name, sizeof(name));
	why = caught ? NULL : argument(nr, name);
	printf("# %3u  %-7s %s%s%s\n", nr,
	       caught ? "caught"
	       : why  ? "argued"
		      : "MISSED",
	       name, why ? ": " : "", why ? why : "");
	return !caught && !why;
}

void mutate_all(u32 first, void (*run)(void))
{
	pid_t pid[SITES_MAX];
	u32 n = mu.sites, running = 0, missed = 0;

	printf("# %u places\n", n);

	for (u32 next = first; next < n || running;) {
		pid_t done;
		int how;

		if (next < n && running < 2) {
			pid[next] = child_start(next, run);
			running++;
			next++;
			continue;
		}
		done = wait(&how);
		for (u32 i = first; i < next; i++)
			if (pid[i] == done)
				missed += result_print(i, how);
		running--;
	}
	printf("# mutation: %u flushes and fences switched off in turn, %u missed\n", n - first,
	       missed);
	printf("%sok 1 - every flush and fence is missed by somebody\n", missed ? "not " : "");
}
