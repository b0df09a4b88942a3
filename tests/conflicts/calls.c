// SPDX-License-Identifier: MIT
//
// What: system calls by several CPUs at a time, in sections that the plugin knows (mark.h): each
// thread or process is bound to one CPU and does one operation over and over. What they share is
// meant to be the kernel's business alone: "own" files lie in a folder of the CPU, and are opened
// by it.
//
//      calls threads|processes FOLDER CPUS A[+B]...
//
// A section for each A+B: even CPUs do A, odd CPUs do B. A line on stdout for each: number, A, B.
// Runs on Linux, too. Not here: what comes of it (record.c, conflicts).
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/conflicts/mark.h"
#include "user/daxvm.h"

#define WORKERS_MAX 64
#define OPERATIONS  100 // in a section
#define WARM_UP     400 // before it: what is made once is made; then a rest, and a few more
#define AGAIN       8
#define REST_NS     50000000 // several ticks
#define FILE_BYTES  65536
#define COLD        4 // mappings at the same time
#define EPHEMERAL   (MAP_SHARED_VALIDATE | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)

// Page-aligned parts: what is written by one worker shares no line with another's.
struct worker {
	_Alignas(4096) unsigned cpu;
	int own, shared; // descriptors
	char own_name[PATH_MAX], new_name[PATH_MAX];
	char buffer[4096];
};

// Shared by all workers, processes too.
struct meeting {
	_Alignas(4096) unsigned arrived;
	_Alignas(64) unsigned round;
	_Alignas(64) unsigned failed;
};

static struct meeting *meeting;
static unsigned workers;
static char **sections;
static unsigned nr_sections;
static const char *folder;
static struct worker worker[WORKERS_MAX];
static int shared_fd; // one descriptor for all

// ---- Operations ---------------------------------------------------------------------------------

static bool do_getpid(struct worker *w)
{
	(void)w;
	return syscall(SYS_getpid) > 0;
}

static bool read_own(struct worker *w)
{
	return pread(w->own, w->buffer, sizeof(w->buffer), 0) == sizeof(w->buffer);
}

static bool read_same(struct worker *w)
{
	return pread(w->shared, w->buffer, sizeof(w->buffer), 0) == sizeof(w->buffer);
}

static bool write_own(struct worker *w)
{
	return pwrite(w->own, w->buffer, sizeof(w->buffer), 0) == sizeof(w->buffer);
}

static bool stat_own(struct worker *w)
{
	struct stat st;

	return stat(w->own_name, &st) == 0;
}

static bool open_own(struct worker *w)
{
	int fd = open(w->own_name, O_RDONLY);

	return fd >= 0 && close(fd) == 0;
}

static bool create_own(struct worker *w)
{
	int fd = open(w->new_name, O_RDWR | O_CREAT | O_EXCL, 0644);

	return fd >= 0 && close(fd) == 0 && unlink(w->new_name) == 0;
}

static bool map(int fd, int flags)
{
	void *p = mmap(NULL, FILE_BYTES, PROT_READ, flags, fd, 0);

	return p != MAP_FAILED && munmap(p, FILE_BYTES) == 0;
}

static bool map_own(struct worker *w)
{
	return map(w->own, MAP_SHARED);
}

static bool attach_own(struct worker *w)
{
	return map(w->own, MAP_SHARED_VALIDATE | MAP_DAXVM);
}

static bool ephemeral_own(struct worker *w)
{
	return map(w->own, EPHEMERAL);
}

static bool ephemeral_same(struct worker *w)
{
	return map(w->shared, EPHEMERAL);
}

// Of several mappings of one range only one finds what the last of them has left behind.
static bool cold(int fd)
{
	void *at[COLD];

	for (int i = 0; i < COLD; i++)
		at[i] = mmap(NULL, FILE_BYTES, PROT_READ, EPHEMERAL, fd, 0);
	for (int i = 0; i < COLD; i++)
		if (at[i] == MAP_FAILED || munmap(at[i], FILE_BYTES))
			return false;
	return true;
}

static bool ephemeral_cold_own(struct worker *w)
{
	return cold(w->own);
}

static bool ephemeral_cold_same(struct worker *w)
{
	return cold(w->shared);
}

static const struct operation {
	const char *name;
	bool (*fn)(struct worker *);
} operations[] = {
	{ "getpid", do_getpid },
	{ "pread", read_own },
	{ "pread-same", read_same },
	{ "pwrite", write_own },
	{ "stat", stat_own },
	{ "open", open_own },
	{ "create", create_own },
	{ "mmap", map_own },
	{ "attach", attach_own },
	{ "ephemeral", ephemeral_own },
	{ "ephemeral-same", ephemeral_same },
	{ "cold", ephemeral_cold_own },
	{ "cold-same", ephemeral_cold_same },
};

static const struct operation *operation(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (strlen(operations[i].name) == length &&
		    !memcmp(operations[i].name, name, length))
			return &operations[i];
	fprintf(stderr, "calls: no operation %.*s\n", (int)length, name);
	exit(2);
}

// What the CPU does in the section.
static const struct operation *work_of(const char *section, unsigned cpu)
{
	const char *plus = strchr(section, '+');

	if (!plus)
		return operation(section, strlen(section));
	if (cpu % 2)
		return operation(plus + 1, strlen(plus + 1));
	return operation(section, (size_t)(plus - section));
}

// ---- Workers ------------------------------------------------------------------------------------

// All workers are here. They wait in user mode: the kernel is not seen doing it.
static void meet(void)
{
	unsigned round = __atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&meeting->arrived, 1, __ATOMIC_ACQ_REL) == workers) {
		meeting->arrived = 0;
		__atomic_store_n(&meeting->round, round + 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE) == round)
		__asm__ volatile("pause");
}

static bool repeat(struct worker *w, const struct operation *o, int times)
{
	for (int i = 0; i < times; i++)
		if (!o->fn(w))
			return false;
	return true;
}

static bool prepare(struct worker *w)
{
	cpu_set_t set;
	int fd;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	w->shared = shared_fd;
	fd = open(w->own_name, O_RDWR | O_CREAT, 0644);
	for (int done = 0; fd >= 0 && done < FILE_BYTES; done += (int)sizeof(w->buffer))
		if (write(fd, w->buffer, sizeof(w->buffer)) != sizeof(w->buffer))
			return false;
	w->own = fd;
	return fd >= 0 && sched_setaffinity(0, sizeof(set), &set) == 0;
}

// A failure ends nobody's turns: the others wait for this one.
static void *work(void *arg)
{
	static const struct timespec rest = { .tv_nsec = REST_NS };
	struct worker *w = arg;
	bool good = prepare(w);

	for (unsigned i = 0; i < nr_sections; i++) {
		const struct operation *o = work_of(sections[i], w->cpu);

		meet();
		good = good && repeat(w, o, WARM_UP);
		nanosleep(&rest, NULL); // what waits for an epoch is free again
		meet();
		good = good && repeat(w, o, AGAIN);
		mark(i + 1);
		good = good && repeat(w, o, OPERATIONS);
		mark(0);
		meet();
		if (!good) {
			fprintf(stderr, "calls: %s fails on CPU %u\n", o->name, w->cpu);
			__atomic_store_n(&meeting->failed, 1, __ATOMIC_RELEASE);
		}
	}
	return NULL;
}

static bool run_threads(void)
{
	pthread_t thread[WORKERS_MAX];

	for (unsigned i = 0; i < workers; i++)
		if (pthread_create(&thread[i], NULL, work, &worker[i]))
			return false;
	for (unsigned i = 0; i < workers; i++)
		pthread_join(thread[i], NULL);
	return true;
}

static bool run_processes(void)
{
	int status;
	bool good = true;

	for (unsigned i = 0; i < workers; i++) {
		pid_t child = fork();

		if (child < 0)
			return false;
		if (!child) {
			work(&worker[i]);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < workers; i++)
		good = wait(&status) > 0 && status == 0 && good;
	return good;
}

// The folders of the CPUs, and the file of all.
static bool make_files(void)
{
	char name[PATH_MAX], page[4096] = { 0 };

	for (unsigned i = 0; i < workers; i++) {
		snprintf(name, sizeof(name), "%s/cpu%u", folder, i);
		if (mkdir(name, 0755))
			return false;
		worker[i].cpu = i;
		snprintf(worker[i].own_name, PATH_MAX, "%s/cpu%u/own", folder, i);
		snprintf(worker[i].new_name, PATH_MAX, "%s/cpu%u/new", folder, i);
	}
	snprintf(name, sizeof(name), "%s/same", folder);
	shared_fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
	for (int done = 0; shared_fd >= 0 && done < FILE_BYTES; done += (int)sizeof(page))
		if (write(shared_fd, page, sizeof(page)) != sizeof(page))
			return false;
	return shared_fd >= 0;
}

int main(int argc, char **argv)
{
	bool good, threads = argc > 1 && !strcmp(argv[1], "threads");

	workers = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	if (argc < 5 || !workers || workers > WORKERS_MAX) {
		fprintf(stderr, "usage: calls threads|processes FOLDER CPUS A[+B]...\n");
		return 2;
	}
	folder = argv[2];
	sections = argv + 4;
	nr_sections = (unsigned)argc - 4;
	meeting = mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (meeting == MAP_FAILED || !make_files()) {
		perror(folder);
		return 1;
	}
	for (unsigned i = 0; i < nr_sections; i++)
		printf("%u %s %s\n", i + 1, work_of(sections[i], 0)->name,
		       work_of(sections[i], 1)->name);
	fflush(stdout);
	good = threads ? run_threads() : run_processes();
	return good && !meeting->failed ? 0 : 1;
}
