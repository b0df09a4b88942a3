// SPDX-License-Identifier: MIT
//
// The fuzzer's executions (tests/fuzz/ptfs_fuzz.h) from a fixed seed: no coverage guides them, but
// they are the same every time. First come the inputs that are kept in tests/fuzz/corpus/ptfs, each
// of which was a finding or reaches something rare; then some new ones, and changed old ones.
//
//      PTFS_FUZZ=N      that many executions       PTFS_FUZZ_FROM=I    from that number on
//      PTFS_FUZZ_JOBS=J worker processes           V=1                 log and findings
//      ptfs_fuzz_test FILE...                      executes these inputs and no others
//
// A signal to end (SIGINT, SIGTERM) makes it say how far it came, which is a failure too.
//
// What fails is an input that kills its worker (a signal, a sanitizer, a broken invariant) or keeps
// it busy for HANG_CPU_NS. It is printed as a command that writes it to a file; the others go on.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/ptfs_fuzz.h"

#define CORPUS       "tests/fuzz/corpus/ptfs"
#define CORPUS_MAX   512
#define JOBS_MAX     64
#define FINDINGS_MAX 10
#define HANG_CPU_NS  10000000000ull // what it needs is a thousandth of a second
#define HANG_POLLS   1200           // of a tenth of a second, for one that sleeps

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZERS "under ASan and UBSan"
// Freed memory is kept back for a while, but not for so long that it all has to come from the
// kernel again; and the place of an allocation is told by five frames.
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_size=5:"
	       "max_malloc_fill_size=0";
}
#else
#define SANITIZERS "without sanitizers"
#endif

struct input {
	u32 size;
	u8 data[FUZZ_SIZE_MAX];
};

// Written by a worker, read by its parent when it has died.
struct slot {
	u64 nr; // of the execution
	u64 done;
	bool all; // it has come to its end
	struct input in;
};

struct worker {
	pid_t pid;
	u64 nr, cpu_ns; // when it was seen to go on
	unsigned polls;
};

static struct {
	struct input corpus[CORPUS_MAX];
	unsigned corpus_nr, jobs;
	u64 from, runs;
	struct slot *slot;
	struct worker worker[JOBS_MAX];
	unsigned findings;
} test;

static volatile sig_atomic_t cut_short;

static void cut(int signal_nr)
{
	(void)signal_nr;
	cut_short = 1;
}

static bool input_read(const char *path, struct input *in)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, in->data, sizeof(in->data));

	if (fd >= 0)
		close(fd);
	in->size = n < 0 ? 0 : (u32)n;
	return n >= 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

// In the order of the names, so that every machine has the same executions.
static void corpus_read(void)
{
	static char name[CORPUS_MAX][sizeof(CORPUS) + 256];
	DIR *d = opendir(CORPUS);
	struct dirent *e;
	unsigned n = 0;

	FUZZ_MUST(d);
	while (n < CORPUS_MAX && (e = readdir(d)))
		if (e->d_name[0] != '.')
			snprintf(name[n++], sizeof(name[0]), CORPUS "/%s", e->d_name);
	closedir(d);
	qsort(name, n, sizeof(name[0]), by_name);
	for (unsigned i = 0; i < n; i++)
		FUZZ_MUST(input_read(name[i], &test.corpus[test.corpus_nr++]));
}

// The input of execution `nr` depends on its number alone.
static void input_make(u64 nr, struct input *in)
{
	u64 state = (nr + 1) * 0x9e3779b97f4a7c15ull;
	unsigned steps;

	if (nr < test.corpus_nr) {
		*in = test.corpus[nr];
		return;
	}
	fuzz_random(&state);
	if (!test.corpus_nr || fuzz_random(&state) >> 32 & 3) {
		in->size = (u32)fuzz_invent(&state, in->data);
		return;
	}
	*in = test.corpus[(fuzz_random(&state) >> 32) % test.corpus_nr];
	steps = 1 + (fuzz_random(&state) >> 32 & 7);
	while (steps--)
		in->size = (u32)fuzz_mutate(&state, in->data, in->size, sizeof(in->data));
}

static void work(unsigned w, u64 first)
{
	struct slot *s = &test.slot[w];

	for (u64 nr = first; nr < test.runs; nr += test.jobs) {
		input_make(nr, &s->in);
		__atomic_store_n(&s->nr, nr, __ATOMIC_RELEASE);
		fuzz_one(s->in.data, s->in.size);
		s->done++;
	}
	s->all = true;
	exit(0);
}

static void start(unsigned w, u64 first)
{
	struct worker *k = &test.worker[w];

	fflush(stdout);
	*k = (struct worker){ .nr = ~0ull };
	k->pid = fork();
	FUZZ_MUST(k->pid >= 0);
	if (!k->pid) {
		signal(SIGINT, SIG_IGN); // of a terminal: the parent ends it
		signal(SIGTERM, SIG_DFL);
		work(w, first);
	}
}

static void tell(unsigned w, const char *how, int code)
{
	const struct slot *s = &test.slot[w];

	printf("# execution %llu: %s %d. Its input:\n# printf '", (unsigned long long)s->nr, how,
	       code);
	for (u32 i = 0; i < s->in.size; i++)
		printf("\\%03o", s->in.data[i]);
	printf("' >finding\n");
	test.findings++;
}

// A worker that has come to its end is done; another goes on behind the input that killed it.
static bool reap(unsigned w)
{
	struct slot *s = &test.slot[w];
	int status;

	if (waitpid(test.worker[w].pid, &status, WNOHANG) != test.worker[w].pid)
		return false;
	test.worker[w].pid = 0;
	if (s->all && !status)
		return true;
	if (WIFSIGNALED(status))
		tell(w, "signal", WTERMSIG(status));
	else
		tell(w, "ended with status", WEXITSTATUS(status));
	if (!s->all && test.findings < FINDINGS_MAX && s->nr + test.jobs < test.runs) {
		start(w, s->nr + test.jobs);
		return false;
	}
	return true;
}

static u64 cpu_ns(pid_t pid)
{
	struct timespec t = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

// By the time that the worker itself has used: the machine may be busy with others.
static void watch(unsigned w)
{
	struct worker *k = &test.worker[w];
	u64 nr = __atomic_load_n(&test.slot[w].nr, __ATOMIC_ACQUIRE), now = cpu_ns(k->pid);

	if (nr != k->nr) {
		k->nr = nr;
		k->cpu_ns = now;
		k->polls = 0;
	} else if (now - k->cpu_ns > HANG_CPU_NS || ++k->polls > HANG_POLLS) {
		printf("# hangs\n");
		kill(k->pid, SIGKILL);
		k->nr = ~0ull;
	}
}

static void all_end(void)
{
	for (unsigned w = 0; w < test.jobs; w++)
		if (test.worker[w].pid) {
			kill(test.worker[w].pid, SIGKILL);
			waitpid(test.worker[w].pid, NULL, 0);
		}
}

static void run_all(void)
{
	unsigned left = test.jobs;

	test.slot = mmap(NULL, sizeof(struct slot) * test.jobs, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FUZZ_MUST(test.slot != MAP_FAILED);
	signal(SIGINT, cut);
	signal(SIGTERM, cut);
	for (unsigned w = 0; w < test.jobs; w++)
		start(w, test.from + w);
	while (left) {
		usleep(100000);
		if (cut_short) {
			all_end();
			return;
		}
		for (unsigned w = 0; w < test.jobs; w++)
			if (test.worker[w].pid && !reap(w))
				watch(w);
		left = 0;
		for (unsigned w = 0; w < test.jobs; w++)
			left += test.worker[w].pid != 0;
	}
}

static u64 setting(const char *name, u64 otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	struct timespec t0, t1;
	struct input in;
	u64 done = 0;

	fuzz_setup();
	for (int i = 1; i < argc; i++) {
		FUZZ_MUST(input_read(argv[i], &in));
		fuzz_one(in.data, in.size);
		printf("%s: %u bytes\n", argv[i], in.size);
	}
	if (argc > 1)
		return 0;
	corpus_read();
	test.runs = setting("PTFS_FUZZ", 200000);
	test.from = setting("PTFS_FUZZ_FROM", 0);
	test.jobs = (unsigned)setting("PTFS_FUZZ_JOBS", 2);
	test.jobs = min(max(test.jobs, 1u), (unsigned)JOBS_MAX);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	run_all();
	clock_gettime(CLOCK_MONOTONIC, &t1);
	for (unsigned w = 0; w < test.jobs; w++)
		done += test.slot[w].done;
	printf("1..1\n%s 1 - %llu executions %s, %u of them kept inputs, %u processes, %lld s, "
	       "%u findings%s\n",
	       test.findings || cut_short ? "not ok" : "ok", (unsigned long long)done, SANITIZERS,
	       test.corpus_nr, test.jobs, (long long)(t1.tv_sec - t0.tv_sec), test.findings,
	       cut_short ? ", cut short" : "");
	return test.findings || cut_short;
}
