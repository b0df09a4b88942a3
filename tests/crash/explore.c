// SPDX-License-Identifier: MIT
//
// The crash explorer (docs/crash-testing.md).
//
//      explore [--quick|--full|--long|--mutate|--places] [--jobs N] [--base ADDRESS] [--only 'CALL;
//      CALL']
//              [--stride N]            (every N-th pair only)
//              [--without N]           (place N does nothing)
//              [--site N] [--last N]   (mutation: these places)
//              [--random N] [--seed S] (so many random sequences, those from number S on)
//
// Speaks TAP; the figures stand in comment lines.
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/crash.h"

#define SEQUENCE_MAX 10u
#define RANDOM_MIN   5u // calls of a random sequence; at most SEQUENCE_MAX

struct explorer ex;

static struct view views[2]; // of the model
static struct view seen;     // of ptfs
static struct trace trace, looking;

static const struct effort single_effort = { 10, 24, 100, 32, 48, 64, 4, 4, 4 };
static const struct effort pair_effort = { 6, 6, 8, 6, 6, 256, 1, 3, 16 };
static const struct effort quick_effort = { 5, 3, 3, 3, 3, 128, 0, 2, 32 };
static const struct effort long_effort = { 10, 12, 40, 16, 24, 64, 2, 4, 8 };
static const struct effort long_pair_effort = { 10, 20, 100, 32, 48, 64, 2, 4, 8 };
static const struct effort random_effort = { 5, 4, 6, 4, 6, 256, 4, 2, 16 };
static const struct effort mutate_effort = { 6, 6, 6, 6, 6, 64, 6, 5, 16 };

static void sequence_name(char *out, size_t bytes, const struct op *const *list, unsigned n)
{
	size_t at = 0;

	out[0] = 0;
	for (unsigned i = 0; i < n && at < bytes; i++)
		at += (size_t)snprintf(out + at, bytes - at, "%s%s", i ? "; " : "", list[i]->name);
}

static void failed(const char *why, long long a, long long b)
{
	if (!ex.quiet)
		printf("# FAILED: %s: live: %s: %lld, %lld\n", ex.doing, why, a, b);
	__atomic_fetch_add(&ex.totals->failures, 1, __ATOMIC_RELAXED);
}

// ptfs as it shows itself against the model.
static void live_compare(const struct view *model, const char *wrong)
{
	const char *why = wrong;

	if (!why && !view_same(&seen, model))
		why = "not as the model";
	if (!why && !view_same_blocks(&seen, model))
		why = "other blocks than the model";
	if (!why && !view_same_times(&seen, model))
		why = "other times than the model";
	if (!why)
		return;
	failed(why, 0, 0);
	if (ex.quiet || ex.totals->failures > 3)
		return;
	view_print(&seen, "ptfs");
	view_print(model, "model");
}

static void clock_set(unsigned i)
{
	host_clock_set(1000000 + i * 1000);
	expect_clock(1000000 + i * 1000);
}

static void step(const struct op *op, unsigned i, bool look)
{
	struct view *before = &views[i % 2], *after = &views[(i + 1) % 2];
	struct oracle o = {
		.before = before, .after = after, .promise = op->promise, .path = op->path
	};
	const char *wrong;
	int err, want;

	trace.n = trace.used = looking.n = looking.used = 0;
	clock_set(i);
	medium_use(&live, &trace);
	err = call_run(op);
	medium_use(&live, &looking); // looking may finish what was published
	wrong = view_take(&seen, workload_fs(), true);
	medium_use(&live, NULL);
	want = expect_run(op);
	if (err != want)
		failed("errno, and the model's", err, want);
	if (!wrong)
		wrong = expect_view(after, &seen);
	live_compare(after, wrong);
	o.cleans = op->call == CALL_REMOUNT && !err;
	o.hash = before->hash * 3 + after->hash * 5 + op->promise;
	__atomic_fetch_add(&ex.totals->calls, 1, __ATOMIC_RELAXED);
	if (look && op->promise != PROMISE_ANY)
		state_follow(&trace, &o);
	else
		state_skip(&trace);
	state_skip(&looking);
}

// Calls before `from` only prepare.
static void sequence_run(const struct op *const *list, unsigned n, unsigned from)
{
	u64 base = live.image.region.base.pa;
	char name[512];

	sequence_name(name, sizeof(name), list, n);
	ex.doing = name;
	host_bad_forget();
	state_reset();
	workload_mount();
	workload_expect();
	(void)!view_take(&seen, workload_fs(), true);
	live_compare(&views[0], expect_view(&views[0], &seen));
	for (unsigned i = 0; i < n; i++)
		step(list[i], i, i >= from);
	workload_abandon();
	live.image.region.base = PHYS(base);
	medium_rollback(&live, 0);
	medium_rollback(&scratch, 0);
	__atomic_fetch_add(&ex.totals->sequences, 1, __ATOMIC_RELAXED);
}

// ---- The runs ----

static u64 *next_task; // shared by the workers

static struct {
	const char *only;
	unsigned jobs, stride, site, last;
	u64 random, seed;
} how = { .jobs = 2, .last = SITES_MAX - 1 };

static bool wanted(const struct op *const *list, unsigned n)
{
	char name[512];

	sequence_name(name, sizeof(name), list, n);
	return !how.only || !strcmp(how.only, name);
}

static bool single_run(u64 task)
{
	const struct op *list[1];

	if (task >= op_count())
		return false;
	list[0] = &ops[task];
	if (wanted(list, 1))
		sequence_run(list, 1, 0);
	return true;
}

static bool sequence_nr_run(u64 task)
{
	const struct op *list[SEQUENCE_MAX];
	unsigned n = workload_sequence((unsigned)task, list, SEQUENCE_MAX);

	if (n && wanted(list, n))
		sequence_run(list, n, 0);
	return n != 0;
}

// Alone, the first call has been looked at already.
static bool pair_run(u64 task)
{
	const struct op *list[2];
	u64 n = op_count();

	task *= how.stride;
	if (task >= n * n)
		return false;
	list[0] = &ops[task / n];
	list[1] = &ops[task % n];
	if (wanted(list, 2))
		sequence_run(list, 2, 1);
	return true;
}

// xorshift64*, without the low bits, which are the weak ones.
static u32 pick(u64 *state, u32 below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (u32)(*state * 2685821657736338717ull >> 32) % below;
}

// What nobody has thought of: each number is a sequence, on every machine the same.
static bool random_run(u64 task)
{
	const struct op *list[SEQUENCE_MAX];
	u64 state = (how.seed + task + 1) * 0x9e3779b97f4a7c15ull;
	unsigned n;

	if (task >= how.random)
		return false;
	pick(&state, 2);
	n = RANDOM_MIN + pick(&state, SEQUENCE_MAX - RANDOM_MIN + 1);
	for (unsigned i = 0; i < n; i++)
		do // what promises nothing may leave stores in the cache, which later calls show
			list[i] = &ops[pick(&state, op_count())];
		while (list[i]->promise == PROMISE_ANY);
	if (wanted(list, n))
		sequence_run(list, n, 0);
	return true;
}

static void workers_run(bool (*run)(u64 task), const struct effort *effort)
{
	*next_task = 0;
	ex.effort = *effort;
	fflush(stdout);
	for (unsigned j = 0; j < how.jobs; j++) {
		if (fork())
			continue;
		while (run(__atomic_fetch_add(next_task, 1, __ATOMIC_RELAXED)))
			;
		fflush(stdout);
		_exit(0);
	}
	for (unsigned j = 0; j < how.jobs; j++) {
		int status;

		wait(&status);
		if (status) {
			printf("# FAILED: a worker ended with status %#x\n", status);
			__atomic_fetch_add(&ex.totals->failures, 1, __ATOMIC_RELAXED);
		}
	}
}

static unsigned phases;

static void phase(const char *name, bool (*run)(u64 task), const struct effort *effort)
{
	struct totals was = *ex.totals;
	struct timespec t0, t1;
	struct totals *t = ex.totals;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	workers_run(run, effort);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("# %s: %llu sequences, %llu crash points, %llu images tried, %llu distinct; in "
	       "recovery %llu points, %llu distinct; %llu failures; %.1f s\n",
	       name, (unsigned long long)(t->sequences - was.sequences),
	       (unsigned long long)(t->points - was.points),
	       (unsigned long long)(t->states - was.states),
	       (unsigned long long)(t->images - was.images),
	       (unsigned long long)(t->second_points - was.second_points),
	       (unsigned long long)(t->second_images - was.second_images),
	       (unsigned long long)(t->failures - was.failures),
	       (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
	printf("%sok %u - %s\n", t->failures == was.failures ? "" : "not ", ++phases, name);
	fflush(stdout);
}

static void no_log(void *ctx, enum ptfs_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static void start(u64 base)
{
	struct ptfs_fs *fs;

	sites_init();
	host_log_to(no_log, NULL);
	media_init(workload_populate, base);
	medium_use(&scratch, NULL);
	if (ptfs_mount(&scratch.image.region, "moved", 0, &fs)) {
		scratch.image.region.base = PHYS(HOST_DEFAULT_BASE);
		printf("# images are mounted at the base they were written at\n");
	} else {
		ptfs_abandon(fs);
		printf("# images are mounted at %#llx, written at %#llx\n",
		       (unsigned long long)base, (unsigned long long)HOST_DEFAULT_BASE);
	}
	medium_rollback(&scratch, 0);
	medium_use(&live, NULL);
	ex.totals = mmap(NULL, sizeof(*ex.totals) + 8, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ptfs_assert(ex.totals != MAP_FAILED);
	next_task = (u64 *)(ex.totals + 1);
	state_init();
	view_init(&seen);
	view_init(&views[0]);
	view_init(&views[1]);
}

static const char *task_name(bool (*run)(u64 task), u64 number)
{
	static char name[512];
	const struct op *list[SEQUENCE_MAX] = { &ops[number] };
	unsigned n = 1;

	if (run == sequence_nr_run)
		n = workload_sequence((unsigned)number, list, SEQUENCE_MAX);
	sequence_name(name, sizeof(name), list, n);
	return name;
}

// All sequences and single calls.
static int mutation(void)
{
	const struct op *list[SEQUENCE_MAX];

	for (u64 i = 0; workload_sequence((unsigned)i, list, SEQUENCE_MAX); i++)
		mutation_task(sequence_nr_run, i);
	for (u64 i = 0; i < op_count(); i++)
		mutation_task(single_run, i);
	printf("1..2\n# %u places\n", site_count());
	phase("without mutation nothing fails", mutation_baseline, &mutate_effort);
	if (ex.totals->failures) // a task that fails anyhow proves nothing
		return 1;
	ex.quiet = true;
	mutate_all(how.site, how.last, how.jobs, task_name);
	return 0;
}

static unsigned without = SITES_MAX; // this place does nothing
static u64 base = OTHER_BASE;

// The mode; options go where they belong.
static const char *arguments(int argc, char **argv)
{
	const char *mode = "--full";

	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (!strcmp(argv[i], "--jobs") && more)
			how.jobs = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--base") && more)
			base = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--site") && more)
			how.site = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--last") && more)
			how.last = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--without") && more)
			without = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--stride") && more)
			how.stride = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--random") && more)
			how.random = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed") && more)
			how.seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--only") && more)
			how.only = argv[++i];
		else
			mode = argv[i];
	}
	return mode;
}

int main(int argc, char **argv)
{
	const char *mode = arguments(argc, argv);

	if (!strcmp(mode, "--places")) {
		sites_init();
		for (u32 i = 0; i < site_count(); i++)
			printf("%3u  %s  %-15s %s\n", i, site_get(i)->fence ? "fence" : "flush",
			       site_get(i)->where, site_get(i)->function);
		return 0;
	}
	if (strcmp(mode, "--full") && strcmp(mode, "--quick") && strcmp(mode, "--long") &&
	    strcmp(mode, "--mutate")) {
		fprintf(stderr,
			"usage: explore [--quick|--full|--long|--mutate|--places] [--jobs N] "
			"[--base ADDRESS] [--only 'CALL; CALL'] [--stride N] [--without N] "
			"[--site N] [--last N]\n");
		return 2;
	}
	start(base);
	site_switch_off(without);
	if (how.random) {
		printf("1..1\n");
		phase("random sequences", random_run, &random_effort);
		return ex.totals->failures ? 1 : 0;
	}
	if (!strcmp(mode, "--mutate"))
		return mutation();
	if (!how.stride)
		how.stride = !strcmp(mode, "--quick") ? 7 : 1;
	how.random = !strcmp(mode, "--quick") ? 60 : !strcmp(mode, "--long") ? 4000 : 1000;
	printf("1..4\n");
	phase("single calls", single_run, strcmp(mode, "--quick") ? &single_effort : &pair_effort);
	phase("sequences", sequence_nr_run, strcmp(mode, "--quick") ? &long_effort : &pair_effort);
	phase("pairs of calls", pair_run,
	      !strcmp(mode, "--quick")  ? &quick_effort
	      : !strcmp(mode, "--long") ? &long_pair_effort
					: &pair_effort);
	phase("random sequences", random_run, &random_effort);
	return ex.totals->failures ? 1 : 0;
}
