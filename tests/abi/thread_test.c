// SPDX-License-Identifier: MIT
//
// Threads as C libraries make them (pthreads(7)): what each has for itself, what all share, and the
// ways to wait for each other. The same source is built with musl and with glibc.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "futex.h"
#include "tap.h"

#define THREADS 8
#define ROUNDS  200

static pthread_t threads[THREADS];
static volatile uint32_t good, ready, go, finished;

static void run_all(void *(*fn)(void *))
{
	good = 0;
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, fn, (void *)i) != 0)
			ok(false, "pthread_create");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

// ---- Each its own -------------------------------------------------------------------------------

static _Thread_local int local = 5;
static _Thread_local char zeroes[100];
static volatile uint32_t tids[THREADS];

static void *own_things(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	bool fine = local == 5 && zeroes[50] == 0;

	local = (int)me;
	zeroes[50] = (char)me;
	tids[me] = (uint32_t)my_tid();
	errno = (int)me + 1000;
	for (int i = 0; i < ROUNDS; i++) {
		sched_yield();
		fine = fine && local == (int)me && zeroes[50] == (char)me;
	}
	add(&good, fine && errno == (int)me + 1000);
	return NULL;
}

// SSE registers and MXCSR belong to the thread: sums in different rounding modes, side by side.
static double third_sum(unsigned mxcsr)
{
	double sum = 0;

	__builtin_ia32_ldmxcsr(mxcsr);
	for (int i = 1; i < 200; i++) {
		volatile double x = 1.0 / (3 * i);

		sum += x;
		if (i % 20 == 0)
			sched_yield();
	}
	return sum;
}

static void *rounds_its_way(void *arg)
{
	unsigned mode = 0x1f80u | (unsigned)(uintptr_t)arg % 4 << 13;
	double first = third_sum(mode);
	bool fine = true;

	for (int i = 0; i < 5; i++)
		fine = fine && third_sum(mode) == first &&
		       __builtin_ia32_stmxcsr() >> 13 == mode >> 13;
	add(&good, fine);
	return NULL;
}

static void test_own_things(void)
{
	bool apart = true;

	is(my_tid(), getpid(), "the first thread has the process's number");
	run_all(own_things);
	is(good, THREADS, "thread-local memory and errno");
	for (int i = 0; i < THREADS; i++)
		for (int k = 0; k < i; k++)
			apart = apart && tids[i] != tids[k] && tids[i] != (uint32_t)getpid();
	ok(apart, "each thread has a number of its own");
	is(local, 5, "the first thread's memory is its own, too");
	run_all(rounds_its_way);
	is(good, THREADS, "floating point state");
}

// ---- Coming and going ---------------------------------------------------------------------------

static void *returns(void *arg)
{
	return (void *)((uintptr_t)arg * 3);
}

static void *exits(void *arg)
{
	pthread_exit(arg);
}

static void *finishes(void *arg)
{
	add(&finished, 1);
	return arg;
}

static void *waits(void *arg)
{
	add(&ready, 1);
	while (!load(&go))
		sched_yield();
	return arg;
}

static int status_line(const char *name)
{
	char line[256];
	int value = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			value = atoi(line + strlen(name));
	if (f)
		fclose(f);
	return value;
}

// What /proc tells of a thread, and its name there.
static void *shows_itself(void *arg)
{
	char path[64], line[256] = "", name[32] = "";
	FILE *f;
	int fd, found = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", my_tid());
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		found = atoi(line) == my_tid();
	if (f)
		fclose(f);
	ok(found, "/proc/PID/task/TID/stat");
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", my_tid());
	fd = open(path, O_RDWR);
	is(write(fd, "weaver", 6), 6, "... and comm, which sets the name");
	close(fd);
	prctl(PR_GET_NAME, name);
	ok(strcmp(name, "weaver") == 0, "... of the thread");
	snprintf(path, sizeof(path), "/proc/self/task/%d", getppid());
	ok(access(path, F_OK) != 0, "no other process's thread is there");
	return arg;
}

static int entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void test_proc(void)
{
	char name[32] = "";
	pthread_t t;

	pthread_create(&t, NULL, shows_itself, NULL);
	pthread_join(t, NULL);
	prctl(PR_GET_NAME, name);
	ok(strcmp(name, "weaver") != 0, "the leader has another name");
	ready = go = 0;
	pthread_create(&t, NULL, waits, NULL);
	reaches(&ready, 1);
	for (int i = 0; i < 5000 && entries("/proc/self/task") != 2 + 2; i++)
		sleep_ms(2); // the first thread may still be leaving
	is(entries("/proc/self/task"), 2 + 2, "two threads in /proc/self/task");
	is(status_line("Threads:"), 2, "... and in status");
	store(&go, 1);
	pthread_join(t, NULL);
}

static void test_coming_and_going(void)
{
	void *result = NULL;
	pthread_attr_t attr;
	pthread_t t;
	long sum = 0;

	for (uintptr_t i = 0; i < 60; i++) {
		pthread_create(&t, NULL, i % 2 ? returns : exits, (void *)i);
		pthread_join(t, &result);
		sum += (long)(uintptr_t)result;
	}
	is(sum, 870 + 3 * 900, "60 threads one after the other, and their results");

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 65536);
	finished = 0;
	for (int i = 0; i < 60; i++)
		while (pthread_create(&t, &attr, finishes, NULL) == EAGAIN)
			sched_yield();
	ok(reaches(&finished, 60), "60 detached threads");
	for (int i = 0; i < 5000 && status_line("Threads:") != 1; i++)
		sleep_ms(2);
	is(status_line("Threads:"), 1, "... all of them are gone");
	pthread_attr_destroy(&attr);
}

// ---- Waiting for each other ---------------------------------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t barrier;
static sem_t semaphore;
static unsigned counter, onces, arrived[20];

static void run_once(void)
{
	sleep_ms(10);
	onces++;
}

static void *counts(void *arg)
{
	pthread_once(&once, run_once);
	add(&good, onces == 1);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

// Each in its turn, all woken each time.
static void *takes_turns(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < 15; i++) {
		pthread_mutex_lock(&mutex);
		while (counter % THREADS != me)
			pthread_cond_wait(&condition, &mutex);
		counter++;
		pthread_cond_broadcast(&condition);
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

static void *crosses_barriers(void *arg)
{
	bool fine = true;

	for (int i = 0; i < 20; i++) {
		__atomic_add_fetch(&arrived[i], 1, __ATOMIC_SEQ_CST);
		pthread_barrier_wait(&barrier);
		fine = fine && __atomic_load_n(&arrived[i], __ATOMIC_SEQ_CST) == THREADS;
	}
	add(&good, fine);
	return arg;
}

static void *reads_and_writes(void *arg)
{
	static volatile unsigned a, b;
	bool fine = true;

	for (int i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0) {
			pthread_rwlock_wrlock(&rwlock);
			a++;
			sched_yield();
			b++;
		} else {
			pthread_rwlock_rdlock(&rwlock);
			fine = fine && a == b;
		}
		pthread_rwlock_unlock(&rwlock);
	}
	add(&good, fine);
	return arg;
}

static void *passes_semaphore(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		sem_wait(&semaphore);
		counter++;
		sem_post(&semaphore);
	}
	return arg;
}

static void test_waiting(void)
{
	struct timespec t;

	run_all(counts);
	is(counter, THREADS * ROUNDS, "a mutex");
	is(good, THREADS, "pthread_once");
	counter = 0;
	run_all(takes_turns);
	is(counter, 15 * THREADS, "a condition variable");
	pthread_barrier_init(&barrier, NULL, THREADS);
	run_all(crosses_barriers);
	is(good, THREADS, "barriers");
	run_all(reads_and_writes);
	is(good, THREADS, "a reader-writer lock");
	counter = 0;
	sem_init(&semaphore, 0, 1);
	run_all(passes_semaphore);
	is(counter, THREADS * ROUNDS, "a semaphore");
	clock_gettime(CLOCK_REALTIME, &t);
	pthread_mutex_lock(&mutex);
	is(pthread_cond_timedwait(&condition, &mutex, &t), ETIMEDOUT, "a wait with a timeout");
	is(pthread_mutex_timedlock(&mutex, &t), ETIMEDOUT, "... for a mutex");
	pthread_mutex_unlock(&mutex);
}

// Locks in memory that processes share.
static struct common {
	pthread_mutex_t mutex, robust;
	pthread_barrier_t barrier;
	sem_t semaphore;
	unsigned counter;
} * common;

static int uses_common(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&common->mutex);
		common->counter++;
		pthread_mutex_unlock(&common->mutex);
	}
	pthread_barrier_wait(&common->barrier);
	sem_post(&common->semaphore);
	pthread_mutex_lock(&common->robust);
	return 0; // and keeps it
}

static void test_shared_memory(void)
{
	pthread_mutexattr_t ma;
	pthread_barrierattr_t ba;
	pid_t pid;
	int status = -1;

	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&common->mutex, &ma);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&common->robust, &ma);
	pthread_barrierattr_init(&ba);
	pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&common->barrier, &ba, 2);
	sem_init(&common->semaphore, 1, 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(uses_common());
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&common->mutex);
		common->counter++;
		pthread_mutex_unlock(&common->mutex);
	}
	pthread_barrier_wait(&common->barrier);
	sem_wait(&common->semaphore);
	is(common->counter, 2 * ROUNDS, "mutex, barrier, semaphore of two processes");
	waitpid(pid, &status, 0);
	is(pthread_mutex_lock(&common->robust), EOWNERDEAD,
	   "a robust mutex tells of its owner's end");
	is(pthread_mutex_consistent(&common->robust), 0, "... and can be mended");
	is(pthread_mutex_unlock(&common->robust), 0, "... and released");
	is(pthread_mutex_lock(&common->robust), 0, "... and taken again");
}

// ---- Memory -------------------------------------------------------------------------------------

// Mappings come and go, and brk moves, while others do the same and all touch their memory.
static void *maps(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg + 1;
	bool fine = true;

	for (uint32_t i = 0; i < 40; i++) {
		size_t bytes = 4096u << i % 5;
		volatile uint32_t *m =
			mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		void *heap;

		if (m == MAP_FAILED ||
		    mprotect((void *)(uintptr_t)m, bytes, PROT_READ | PROT_WRITE))
			break;
		for (size_t k = 0; k < bytes / 4; k += 512)
			m[k] = me * 1000 + i;
		heap = malloc(100 + i * 64);
		memset(heap, (int)me, 100 + i * 64);
		sched_yield();
		for (size_t k = 0; k < bytes / 4; k += 512)
			fine = fine && m[k] == me * 1000 + i;
		fine = fine && ((char *)heap)[99 + i * 64] == (char)me;
		free(heap);
		fine = fine && munmap((void *)(uintptr_t)m, bytes) == 0;
	}
	add(&good, fine);
	return NULL;
}

static volatile uint32_t *window;

static void *looks(void *arg)
{
	while (!load(&go))
		good += *window == 77; // a wrong translation would show something else
	return arg;
}

static void test_memory(void)
{
	pthread_t t;

	run_all(maps);
	is(good, THREADS, "mmap, mprotect, munmap and malloc side by side");
	window = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*window = 77;
	go = 0;
	pthread_create(&t, NULL, looks, NULL);
	for (int i = 0; i < 60; i++) {
		mprotect((void *)(uintptr_t)window, 4096, PROT_READ);
		mprotect((void *)(uintptr_t)window, 4096, PROT_READ | PROT_WRITE);
		*window = 77;
	}
	store(&go, 1);
	pthread_join(t, NULL);
	is(*window, 77, "rights change under a reader");
}

// ---- Cancelling ---------------------------------------------------------------------------------

static volatile uint32_t cleaned;

static void clean(void *arg)
{
	(void)arg;
	add(&cleaned, 1);
}

static void *blocks(void *arg)
{
	int pipe_end = (int)(uintptr_t)arg;
	char c;

	pthread_cleanup_push(clean, NULL);
	add(&ready, 1);
	if (pipe_end)
		(void)!read(pipe_end, &c, 1);
	else
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

static void test_cancel(void)
{
	void *result = NULL;
	pthread_t t[2];
	int fd[2];

	ready = cleaned = 0;
	if (pipe(fd) != 0)
		return;
	pthread_create(&t[0], NULL, blocks, (void *)(uintptr_t)fd[0]);
	pthread_create(&t[1], NULL, blocks, NULL);
	reaches(&ready, 2);
	sleep_ms(20);
	for (int i = 0; i < 2; i++) {
		is(pthread_cancel(t[i]), 0, i ? "cancel a thread in pause" : "... in read");
		pthread_join(t[i], &result);
		ok(result == PTHREAD_CANCELED, "... its result says so");
	}
	is(cleaned, 2, "... its clean-up has run");
	close(fd[0]);
	close(fd[1]);
}

// ---- Time ---------------------------------------------------------------------------------------

static long cpu_ms(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void *burns(void *arg)
{
	long *ms = arg;

	while (cpu_ms(RUSAGE_THREAD) < 100)
		;
	*ms = cpu_ms(RUSAGE_THREAD);
	return NULL;
}

static void test_time(void)
{
	long self = cpu_ms(RUSAGE_SELF), mine = cpu_ms(RUSAGE_THREAD), ms = 0;
	pthread_t t;

	pthread_create(&t, NULL, burns, &ms);
	pthread_join(t, NULL);
	ok(ms >= 100, "a thread's time");
	ok(cpu_ms(RUSAGE_SELF) - self >= 95, "... counts for the process, also when it has ended");
	ok(cpu_ms(RUSAGE_THREAD) - mine < 95, "... not for another thread");
}

int main(void)
{
	alarm(200); // a thread that is never woken is a hang
	test_own_things();
	test_coming_and_going();
	test_proc();
	test_waiting();
	test_shared_memory();
	test_memory();
	test_cancel();
	test_time();
	return tap_done();
}
