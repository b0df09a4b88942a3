// SPDX-License-Identifier: MIT
//
// What: munmap beside truncate. One thread maps a file, unmaps it, and maps another one at the same
// address; a second one, on another CPU, looks at that address all the time; a process truncates
// the first file and fills it again.
//
//      unmapstress [-s SEED] [-t SECONDS] FOLDER
//
// When munmap has returned, no thread may see the first file at that address any more. So it was
// not: truncate clears the entries of the mapping, then interrupts CPUs to make them forget. A
// munmap in between found no entry, had nothing to flush, and returned before the interrupt came.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "tests/stress/stress.h"

#define PAGE   4096ul
#define PAGES  8u
#define BYTES  (PAGES * PAGE)
#define PLACE  ((void *)0x500000000000)
#define FIRST  0xa5a5000000000001ul
#define SECOND 0xa5a5000000000002ul

enum phase { NOTHING, LOOK_AT_FIRST, LOOK_AT_SECOND, END };

static uint64_t end_ms;
static const char *folder;
static unsigned phase, looked; // [atomic] `looked`: what the second thread is through with
static unsigned long wrong, seen, rounds;
static _Thread_local sigjmp_buf on_fault;

static void fault(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	siglongjmp(on_fault, sig);
}

static void fill(int fd, uint64_t tag)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (pwrite(fd, &tag, sizeof(tag), (off_t)(i * PAGE)) != sizeof(tag))
			_exit(4);
}

static int make_file(const char *name, uint64_t tag)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		_exit(5);
	unlink(path);
	fill(fd, tag);
	return fd;
}

// Words of all pages that are there. Truncated meanwhile: SIGBUS, or zeros.
static void look(bool second)
{
	if (sigsetjmp(on_fault, 1))
		return;
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t word = *(volatile uint64_t *)((char *)PLACE + i * PAGE);

		if (word == FIRST)
			__atomic_fetch_add(second ? &wrong : &seen, 1, __ATOMIC_RELAXED);
	}
}

static void *looker(void *arg)
{
	unsigned last = NOTHING;

	(void)arg;
	while (last != END) {
		unsigned now = __atomic_load_n(&phase, __ATOMIC_ACQUIRE);

		if (now == last)
			continue;
		if (now == LOOK_AT_FIRST || now == LOOK_AT_SECOND)
			look(now == LOOK_AT_SECOND);
		last = now;
		__atomic_store_n(&looked, now, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void let_look(enum phase p)
{
	__atomic_store_n(&phase, p, __ATOMIC_RELEASE);
	while (__atomic_load_n(&looked, __ATOMIC_ACQUIRE) != (unsigned)p)
		;
}

static void map(int fd)
{
	if (mmap(PLACE, BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		_exit(6);
}

static void run(int first, int second)
{
	while (now_ms() < end_ms) {
		map(first);
		let_look(LOOK_AT_FIRST);
		for (unsigned i = rng_below(200); i; i--)
			__asm__ volatile("pause");
		munmap(PLACE, BYTES);
		map(second);
		let_look(LOOK_AT_SECOND);
		munmap(PLACE, BYTES);
		rounds++;
	}
	let_look(END);
}

static void truncate_on_and_on(int fd)
{
	for (;;) {
		if (ftruncate(fd, 0) || ftruncate(fd, BYTES))
			_exit(7);
		fill(fd, FIRST);
	}
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	uint64_t seed = option(argc, argv, 's', 1);
	int first, second;
	pthread_t id;
	pid_t child;

	folder = argv[argc - 1];
	end_ms = now_ms() + option(argc, argv, 't', 5) * 1000;
	if (argc < 2 || folder[0] == '-')
		return 2;
	rng_seed(seed);
	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL);
	first = make_file("first", FIRST);
	second = make_file("second", SECOND);
	child = fork();
	if (child == 0)
		truncate_on_and_on(first);
	if (child < 0 || pthread_create(&id, NULL, looker, NULL))
		return 3;
	run(first, second);
	pthread_join(id, NULL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	printf("unmapstress: %s seed %lu, %lu rounds, the first file seen %lu times, %lu too "
	       "late\n",
	       wrong ? "failed" : "ok", (unsigned long)seed, rounds, seen, wrong);
	return wrong != 0;
}
