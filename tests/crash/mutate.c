// SPDX-License-Identifier: MIT
//
// What: the mutation test. Each place in the source of ptfs that flushes or fences is switched off
// in turn, and the explorer must fail. A place runs the tasks that pass it, those first that pass
// it most often for their price, until one of them fails.
// Not here: finding the places (sites.c).
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/crash.h"

// A task that does not end is a failure of this test, not of the place.
#define PLACE_SECONDS 1800u

// Places that may be switched off without consequence, each with the argument why it stays.
static const struct {
	const char *function;
	bool fence;
	const char *why;
} argued[] = {
	{ "flags_set", false,
	  "the times are in the same line, and every call that sets a flag writes them back before "
	  "it returns; a flag that outlives its clearing is harmless" },
	{ "make_clean", true,
	  "a snapshot that the clean mark overtakes has a wrong checksum, but for one in 2^32" },
	{ "ptfs_bad_store", true,
	  "nothing is ordered behind it: what is known of failed memory is durable at once, and "
	  "not with the next fence only" },
	{ NULL, false, NULL },
};

struct task {
	bool (*run)(u64 task);
	u64 number;
	u64 price; // images that it tried
};

// Shared by all processes.
struct shared {
	u32 passed[SITES_MAX][MUTATION_TASKS]; // how often a task passes a place
	struct task task[MUTATION_TASKS];
	u64 caught_by[SITES_MAX]; // 1 + the task
	u64 next;
};

static struct shared *sh;
static const char *(*task_name)(bool (*run)(u64 task), u64 number);
static u32 tasks;
static u32 now = MUTATION_TASKS; // the task that runs

void mutation_pass(u32 site)
{
	if (sh && now < MUTATION_TASKS)
		__atomic_fetch_add(&sh->passed[site][now], 1, __ATOMIC_RELAXED);
}

static const char *argument(const struct site *s)
{
	for (unsigned i = 0; argued[i].function; i++)
		if (argued[i].fence == s->fence && !strcmp(argued[i].function, s->function))
			return argued[i].why;
	return NULL;
}

// ---- Without mutation: who passes which place, and is there a failure? ----

void mutation_task(bool (*run)(u64 task), u64 number)
{
	if (!sh)
		sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			  0);
	ptfs_assert(sh != MAP_FAILED && tasks < MUTATION_TASKS);
	sh->task[tasks++] = (struct task){ .run = run, .number = number };
}

bool mutation_baseline(u64 task)
{
	u64 images = ex.totals->states;

	if (task >= tasks)
		return false;
	now = (u32)task;
	sh->task[task].run(sh->task[task].number);
	sh->task[task].price = 1 + ex.totals->states - images; // a guess: others count, too
	now = MUTATION_TASKS;
	return true;
}

// ---- Each place in turn ----

static u64 worth(u32 site, u32 task)
{
	return sh->passed[site][task] * 1000000ull / sh->task[task].price;
}

// The best task for the site that has not run yet; MUTATION_TASKS: none.
static u32 task_next(u32 site, const bool *done)
{
	u32 best = MUTATION_TASKS;

	for (u32 t = 0; t < tasks; t++)
		if (!done[t] && sh->passed[site][t] &&
		    (best == MUTATION_TASKS || worth(site, t) > worth(site, best)))
			best = t;
	return best;
}

static void place_run(u32 site)
{
	bool done[MUTATION_TASKS] = { false };
	u32 t;

	site_switch_off(site);
	while (!ex.totals->failures && (t = task_next(site, done)) < MUTATION_TASKS) {
		done[t] = true;
		sh->caught_by[site] = t + 1;
		sh->task[t].run(sh->task[t].number);
	}
}

static pid_t child_start(u32 nr)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	alarm(PLACE_SECONDS);
	ex.totals = calloc(1, sizeof(*ex.totals));
	ptfs_assert(ex.totals);
	state_init();
	if (!freopen("/dev/null", "w", stderr))
		_exit(3);
	place_run(nr);
	_exit(ex.totals->failures ? 1 : 0);
}

// The model and the explorer end a program by abort(); that, too, is a failure that was seen.
static const char *verdict(u32 nr, int status, const char *why)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return "ENDLESS";
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return "caught";
	if (why)
		return "argued";
	return task_next(nr, (const bool[MUTATION_TASKS]){ false }) < MUTATION_TASKS ? "MISSED"
										     : "NOBODY";
}

static unsigned result_print(u32 nr, int status, double seconds)
{
	const struct site *s = site_get(nr);
	const char *why = argument(s);
	const char *v = verdict(nr, status, why);
	const struct task *t = &sh->task[sh->caught_by[nr] - 1];
	bool caught = !strcmp(v, "caught");

	printf("# %3u  %-7s %-5s  %-15s %s", nr, v, s->fence ? "fence" : "flush", s->where,
	       s->function);
	if (caught)
		printf("  (%.0f s: %s)", seconds, task_name(t->run, t->number));
	printf("%s%s\n", why && !caught ? ": " : "", why && !caught ? why : "");
	fflush(stdout);
	return !caught && strcmp(v, "argued") != 0;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void mutate_all(u32 first, u32 last, unsigned jobs,
		const char *(*name)(bool (*run)(u64 task), u64 number))
{
	static pid_t pid[SITES_MAX];
	static double since[SITES_MAX];
	u32 n = min(site_count(), last + 1), running = 0, missed = 0;

	task_name = name;
	for (u32 next = first; next < n || running;) {
		pid_t done;
		int how;

		if (next < n && running < jobs) {
			since[next] = seconds_now();
			pid[next] = child_start(next);
			running++;
			next++;
			continue;
		}
		done = wait(&how);
		for (u32 i = first; i < next; i++)
			if (pid[i] == done)
				missed += result_print(i, how, seconds_now() - since[i]);
		running--;
	}
	printf("# mutation: %u flushes and fences switched off in turn, %u missed\n", n - first,
	       missed);
	printf("%sok 2 - every flush and fence is missed by somebody\n", missed ? "not " : "");
}
