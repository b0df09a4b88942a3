// SPDX-License-Identifier: MIT
//
// Stress of threads: processes of several threads that make and join others, cancel them, take
// locks, pass tokens by futex, send signals, map memory, fork and execute, all at the same time.
// Their parent stops, continues and kills some of them at random moments.
//
//      threadstress [-s SEED] [-t SECONDS] [-j PROCESSES] [-n THREADS]
//
// What must hold: results of joins; counters under locks; a canary in thread-local memory; the
// number of a process over execve; every process is waited for once, with the status that fits.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/stress/stress.h"

#define THREADS_MAX  16u
#define CHILDREN     6u
#define LEAK_OBJECTS 100
#define FUTEX_WAIT   0
#define FUTEX_WAKE   1
#define ENDED_WELL   0

static const char *self;
static uint64_t end_ms;
static unsigned nr_threads;

#define CHECK(cond) check(cond, #cond, __LINE__)

static void check(bool good, const char *what, int line)
{
	if (good)
		return;
	complain("threadstress: process %d, line %d: %s (errno %d)\n", getpid(), line, what, errno);
	_exit(1);
}

// ---- What the threads of a process share --------------------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static unsigned locked_counter, locked_twin;
static volatile unsigned own_mutex, signals, cleaned;
static volatile int tids[THREADS_MAX]; // 0: none
static _Thread_local uint64_t canary;

static long futex(volatile unsigned *at, int op, unsigned value, const struct timespec *timeout)
{
	return syscall(SYS_futex, at, op, value, timeout, NULL, 0);
}

static void on_signal(int sig)
{
	(void)sig;
	__atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
}

static void handle(void (*fn)(int))
{
	struct sigaction act = { .sa_handler = fn, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGUSR2, &act, NULL);
}

static void nap(unsigned us)
{
	struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

// ---- What a thread does -------------------------------------------------------------------------

static void *answers(void *arg)
{
	uint64_t mine = (uint64_t)(uintptr_t)arg;

	CHECK(canary == 0);
	canary = mine;
	for (int i = 0; i < 3; i++) {
		sched_yield();
		CHECK(canary == mine);
	}
	return (void *)(uintptr_t)(mine * 5 + 1);
}

static void creates_and_joins(void)
{
	pthread_t child[CHILDREN];
	unsigned n = 1 + rng_below(CHILDREN), made = 0;
	void *result;

	for (; made < n; made++)
		if (pthread_create(&child[made], NULL, answers, (void *)(uintptr_t)(made + 1)) != 0)
			break;
	for (unsigned i = 0; i < made; i++) {
		CHECK(pthread_join(child[i], &result) == 0);
		CHECK((uintptr_t)result == (i + 1) * 5 + 1);
	}
}

static void detaches(void)
{
	pthread_t t;

	for (unsigned i = rng_below(4); i > 0; i--)
		if (pthread_create(&t, NULL, answers, (void *)7) == 0)
			CHECK(pthread_detach(t) == 0);
}

static void clean(void *arg)
{
	__atomic_add_fetch((volatile unsigned *)arg, 1, __ATOMIC_RELAXED);
}

static void *sleeps_long(void *arg)
{
	pthread_cleanup_push(clean, arg);
	for (;;)
		nap(100000);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancels(void)
{
	volatile unsigned cleanups = 0;
	void *result = NULL;
	pthread_t t;

	if (pthread_create(&t, NULL, sleeps_long, (void *)(uintptr_t)&cleanups) != 0)
		return;
	if (rng_below(2))
		nap(rng_below(2000));
	CHECK(pthread_cancel(t) == 0);
	CHECK(pthread_join(t, &result) == 0);
	CHECK(result == PTHREAD_CANCELED && cleanups <= 1);
}

static void locks(void)
{
	struct timespec limit;

	for (unsigned i = 0; i < 20; i++) {
		pthread_mutex_lock(&mutex);
		CHECK(locked_counter == locked_twin);
		locked_counter++;
		if (rng_below(8) == 0)
			sched_yield();
		locked_twin++;
		pthread_cond_broadcast(&condition);
		pthread_mutex_unlock(&mutex);
	}
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_nsec += 3000000;
	if (limit.tv_nsec >= 1000000000) {
		limit.tv_nsec -= 1000000000;
		limit.tv_sec++;
	}
	pthread_mutex_lock(&mutex);
	pthread_cond_timedwait(&condition, &mutex, &limit);
	CHECK(locked_counter == locked_twin);
	pthread_mutex_unlock(&mutex);
}

// A mutex by hand: a wake-up that is lost leaves everybody asleep, which the watchdog sees.
static void passes_futex(void)
{
	unsigned c;

	for (unsigned i = 0; i < 10; i++) {
		c = 0;
		if (!__atomic_compare_exchange_n(&own_mutex, &c, 1, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_SEQ_CST)) {
			if (c != 2)
				c = __atomic_exchange_n(&own_mutex, 2, __ATOMIC_SEQ_CST);
			while (c) {
				futex(&own_mutex, FUTEX_WAIT, 2, NULL);
				c = __atomic_exchange_n(&own_mutex, 2, __ATOMIC_SEQ_CST);
			}
		}
		if (rng_below(4) == 0)
			sched_yield();
		if (__atomic_exchange_n(&own_mutex, 0, __ATOMIC_SEQ_CST) == 2)
			futex(&own_mutex, FUTEX_WAKE, 1, NULL);
	}
}

static void signals_others(void)
{
	for (unsigned i = 0; i < 5; i++) {
		int tid = tids[rng_below(nr_threads)];

		if (tid)
			syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	}
	kill(getpid(), SIGUSR2);
}

static void maps_memory(void)
{
	for (unsigned i = 0; i < 8; i++) {
		size_t bytes = 4096u << rng_below(7);
		volatile uint64_t *m;
		uint64_t stamp = rng_next();

		m = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED)
			return;
		CHECK(mprotect((void *)(uintptr_t)m, bytes, PROT_READ | PROT_WRITE) == 0);
		for (size_t k = 0; k < bytes / 8; k += 256) {
			CHECK(m[k] == 0);
			m[k] = stamp + k;
		}
		for (size_t k = 0; k < bytes / 8; k += 256)
			CHECK(m[k] == stamp + k);
		CHECK(mprotect((void *)(uintptr_t)m, bytes, PROT_READ) == 0);
		CHECK(munmap((void *)(uintptr_t)m, bytes) == 0);
	}
}

static int status_of(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) != pid)
		CHECK(errno == EINTR);
	return status;
}

static void forks(void)
{
	unsigned code = rng_below(100);
	char number[16];
	char *argv[] = { (char *)(uintptr_t)self, (char *)(uintptr_t) "-x", number, NULL };
	pid_t pid;

	snprintf(number, sizeof(number), "%u", code);
	pid = rng_below(2) ? fork() : vfork();
	if (pid == 0) {
		if (code % 2)
			execv(self, argv);
		_exit(code % 2 ? 126 : (int)code);
	}
	if (pid > 0)
		CHECK(status_of(pid) == (int)code << 8);
	else
		CHECK(errno == EAGAIN || errno == ENOMEM);
}

// The process begins again, with the time that is left; all other threads end.
static void executes(void)
{
	char pid[16], left[24], seed[24], threads[16];
	char *argv[] = {
		(char *)(uintptr_t)self, (char *)(uintptr_t) "-w", pid, left, seed, threads, NULL
	};

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(left, sizeof(left), "%lu", (unsigned long)end_ms);
	snprintf(seed, sizeof(seed), "%lu", (unsigned long)rng_next());
	snprintf(threads, sizeof(threads), "%u", nr_threads);
	handle(SIG_IGN); // what is under way must not find the new program without a handler
	execv(self, argv);
	CHECK(errno == EAGAIN || errno == ENOMEM);
	handle(on_signal);
}

static void *worker(void *arg)
{
	static void (*const acts[])(
		void) = { creates_and_joins, detaches,       cancels,     locks, locks,
			  passes_futex,      signals_others, maps_memory, forks };
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t mark;

	rng_seed((uint64_t)getpid() << 20 ^ (uint64_t)me << 8 ^ now_ms());
	mark = canary = rng_next();
	tids[me] = (int)syscall(SYS_gettid);
	while (now_ms() < end_ms) {
		CHECK(tids[me] == (int)syscall(SYS_gettid));
		acts[rng_below(sizeof(acts) / sizeof(acts[0]))]();
		CHECK(canary == mark);
		if (rng_below(400) == 0)
			executes();
	}
	tids[me] = 0;
	return arg;
}

// ---- Processes ----------------------------------------------------------------------------------

// `executed`: not only forked. In a child of fork, musl 1.2.3 forgets to tell the kernel where its
// list lock is, so a leader that ends there leaves the lock taken for ever.
static void run_process(unsigned threads, uint64_t until_ms, bool executed)
{
	pthread_t t[THREADS_MAX];
	bool made[THREADS_MAX] = { false };

	handle(on_signal);
	nr_threads = threads;
	end_ms = until_ms;
	for (uintptr_t i = 1; i < threads; i++)
		made[i] = pthread_create(&t[i], NULL, worker, (void *)i) == 0;
	if (executed && rng_below(2))
		pthread_exit(NULL); // the leader need not stay
	worker(NULL);
	for (unsigned i = 1; i < threads; i++)
		if (made[i])
			CHECK(pthread_join(t[i], NULL) == 0);
	exit(ENDED_WELL);
}

static pid_t start(unsigned threads, uint64_t seed, uint64_t until_ms)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		rng_seed(seed);
		run_process(threads, until_ms, false);
	}
	return pid;
}

// Some are killed; the others must end well. How many did not.
static unsigned run(unsigned processes, unsigned threads, uint64_t seed, uint64_t until_ms)
{
	pid_t pids[64];
	unsigned failed = 0, kills = 0;

	for (unsigned i = 0; i < processes; i++)
		pids[i] = start(threads, seed + i, until_ms);
	while (now_ms() + 500 < until_ms) {
		unsigned victim = rng_below(processes);

		usleep(1000 * (20 + rng_below(100)));
		CHECK(kill(pids[victim], SIGSTOP) == 0);
		usleep(1000 * rng_below(20));
		if (rng_below(3)) {
			CHECK(kill(pids[victim], SIGCONT) == 0);
			continue;
		}
		CHECK(kill(pids[victim], SIGKILL) == 0);
		failed += status_of(pids[victim]) != SIGKILL;
		pids[victim] = start(threads, seed + ++kills * 1000, until_ms);
	}
	for (unsigned i = 0; i < processes; i++)
		failed += status_of(pids[i]) != ENDED_WELL << 8;
	complain("# %u kills\n", kills);
	while (waitpid(-1, NULL, WNOHANG) > 0) // children of those that were killed
		;
	usleep(500000); // which may still be ending
	return failed;
}

int main(int argc, char **argv)
{
	uint64_t seed = option(argc, argv, 's', 1), ms = option(argc, argv, 't', 5) * 1000;
	unsigned processes = (unsigned)option(argc, argv, 'j', 3), failed;
	unsigned threads = (unsigned)option(argc, argv, 'n', 5);
	long objects;

	self = argv[0];
	if (argc > 2 && strcmp(argv[1], "-x") == 0)
		return atoi(argv[2]);
	if (argc > 5 && strcmp(argv[1], "-w") == 0) {
		CHECK(atoi(argv[2]) == getpid() && syscall(SYS_gettid) == getpid());
		rng_seed(strtoull(argv[4], NULL, 10));
		run_process((unsigned)atoi(argv[5]), strtoull(argv[3], NULL, 10), true);
	}
	CHECK(processes > 0 && processes <= 64 && threads > 0 && threads <= THREADS_MAX);
	rng_seed(seed);
	failed = run(processes, threads, seed * 100, now_ms() + ms / 4 + 500);
	objects = meminfo("KernelObjects");
	failed += run(processes, threads, seed * 100 + 50, now_ms() + ms - ms / 4);
	objects = meminfo("KernelObjects") - objects;
	printf("threadstress: %s seed %lu, %u failed, %ld objects more in use\n",
	       failed || objects > LEAK_OBJECTS ? "failed" : "ok", (unsigned long)seed, failed,
	       objects);
	return failed || objects > LEAK_OBJECTS;
}
