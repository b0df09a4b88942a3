// SPDX-License-Identifier: MIT
//
// What: the freed-block canary. A thread touches addresses on and on, also when they have been
// unmapped, and when another process has taken the blocks away from the file and given them to
// another one. It sees its own file's words, or zeros, or a signal: never a byte of the other file,
// and never an entry of a table page.
//
//      canary [-s SEED] [-r ROUNDS] [-t SECONDS] FOLDER
//
//      owner process      mapper    maps the file, in one of several ways, looks, unmaps
//                         toucher   touches, on another CPU, what the mapper has mapped last
//      other process      worker    writes the file; then, while it is unmapped or still mapped,
//                                   takes its blocks away and fills another file, and makes tables
//
// Each round goes: worker has written -> mapper has mapped and toucher has seen every page -> both
// at once: unmap, take away. The worker writes with one process on one CPU, so that the blocks that
// come free are those that the other file gets next.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/stress/stress.h"

#define PAGE      4096ul
#define PAGES_MAX 40u
#define TURN      64u                  // looks
#define MINE      0x11cafe11cafe11caul // in each word of the file that is mapped
#define FOREIGN   0x22dead22dead22deul // in each word of the other one

// Ignored by other kernels.
#define MAP_DAXVM 0x400000
#define EPHEMERAL 0x4000000
#define BATCHING  0x200000

static const int ways[] = { 0, MAP_POPULATE, MAP_DAXVM, MAP_DAXVM | EPHEMERAL,
			    MAP_DAXVM | EPHEMERAL | BATCHING };

// What the two processes share.
static struct shared {
	unsigned written, mapped, unmapped, taken; // the round that has got so far [atomic]
	unsigned pages;                            // of this round's file
	unsigned keep;                             // it stays mapped while its blocks go
	unsigned way, cut;     // for the message: how it was mapped, how blocks were taken away
	unsigned failed, done; // [atomic]
} * shared;

static const char *folder;
static volatile const char *target; // [atomic]
static unsigned target_pages;       // [atomic]
static bool stop;                   // the toucher is to end [atomic]
static unsigned seen;               // the toucher has read all pages of this many targets [atomic]
static unsigned long looks, faults, ways_used;
static _Thread_local sigjmp_buf on_fault;
static _Thread_local bool expecting;

static const char *name_of(const char *which)
{
	static _Thread_local char name[300];

	snprintf(name, sizeof(name), "%.250s/%s", folder, which);
	return name;
}

__attribute__((noreturn)) static void fail(const char *what, unsigned long a, unsigned long b)
{
	complain("canary: round %u, %u pages, way %u, cut %u%s: %s: %#lx, %#lx\n", shared->written,
		 shared->pages, shared->way, shared->cut, shared->keep ? ", kept" : "", what, a, b);
	__atomic_store_n(&shared->failed, 1, __ATOMIC_SEQ_CST);
	_exit(1);
}

static void fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!expecting)
		fail("signal", (unsigned long)sig, (unsigned long)info->si_addr);
	siglongjmp(on_fault, sig);
}

// Waits until *what has reached the round. Somebody else has failed: ends.
static void await(const unsigned *what, unsigned round)
{
	while (__atomic_load_n(what, __ATOMIC_ACQUIRE) < round) {
		if (__atomic_load_n(&shared->failed, __ATOMIC_ACQUIRE))
			_exit(1);
		sched_yield();
	}
}

static void reached(unsigned *what, unsigned round)
{
	__atomic_store_n(what, round, __ATOMIC_RELEASE);
}

// ---- The toucher ----

// False: it is not mapped.
static bool touch(const volatile char *at)
{
	uint64_t word;

	expecting = true;
	if (sigsetjmp(on_fault, 0)) {
		expecting = false;
		faults++;
		return false;
	}
	word = *(const volatile uint64_t *)(const volatile void *)at;
	expecting = false;
	looks++;
	if (word && word != MINE)
		fail(word == FOREIGN ? "a word of another file" : "a word of nobody's",
		     (unsigned long)(uintptr_t)at, word);
	return true;
}

static void *toucher(void *arg)
{
	const volatile char *at = NULL, *now;
	unsigned pages = 0, i = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		now = __atomic_load_n(&target, __ATOMIC_ACQUIRE);
		if (now != at) {
			at = now;
			pages = __atomic_load_n(&target_pages, __ATOMIC_RELAXED);
			for (i = 0; at && i < pages; i++)
				(void)touch(at + i * PAGE);
			__atomic_fetch_add(&seen, 1, __ATOMIC_RELEASE);
		}
		// Unless that CPU has forgotten, it goes on. Now and then the mapper gets its turn,
		// in case that both are on one CPU: it would wait for the end of a time slice, and
		// a round took seven of them.
		if (!at || !touch(at + i % pages * PAGE + 8 * (i % 512)) || i % TURN == 0)
			sched_yield();
		i++;
	}
	return arg;
}

// ---- The mapper ----

static void show(const volatile char *at, unsigned pages)
{
	unsigned before = __atomic_load_n(&seen, __ATOMIC_ACQUIRE);

	__atomic_store_n(&target_pages, pages, __ATOMIC_RELAXED);
	__atomic_store_n(&target, at, __ATOMIC_RELEASE);
	await(&seen, before + 1);
}

static void map_round(unsigned round)
{
	unsigned way = rng_below(sizeof(ways) / sizeof(ways[0]));
	unsigned pages;
	char *at;
	int fd;

	await(&shared->written, round);
	if (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE))
		return;
	pages = shared->pages;
	shared->way = way;
	fd = open(name_of("mine"), O_RDWR);
	if (fd < 0)
		fail("open", (unsigned long)errno, 0);
	at = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED | ways[way], fd, 0);
	if (at == MAP_FAILED)
		fail("mmap", (unsigned long)errno, way);
	ways_used |= 1ul << way;
	close(fd);
	show(at, pages);
	reached(&shared->mapped, round);
	if (shared->keep)
		await(&shared->taken, round);
	if (munmap(at, pages * PAGE))
		fail("munmap", (unsigned long)errno, way);
	reached(&shared->unmapped, round);
	await(&shared->taken, round);
	// The next mapping may come to the same place: the toucher must see it anew.
	show(NULL, 0);
}

static void owner(uint64_t seed, unsigned rounds)
{
	struct sigaction act = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	pthread_t id;

	rng_seed(seed);
	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	if (pthread_create(&id, NULL, toucher, NULL))
		fail("pthread_create", 0, 0);
	for (unsigned round = 1; round <= rounds; round++) {
		map_round(round);
		if (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE))
			break;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(id, NULL);
	complain("# %lu looks, %lu faults, ways %#lx\n", looks, faults, ways_used);
	_exit(0);
}

// ---- The worker ----

static void fill(int fd, unsigned first, unsigned pages, uint64_t word)
{
	static uint64_t page[PAGE / 8];

	for (unsigned i = 0; i < PAGE / 8; i++)
		page[i] = word;
	for (unsigned i = first; i < first + pages; i++)
		if (pwrite(fd, page, PAGE, (off_t)(i * PAGE)) != (ssize_t)PAGE)
			fail("pwrite", (unsigned long)errno, i);
}

static void take_away(int fd, unsigned pages)
{
	shared->cut = rng_below(4);
	switch (shared->cut) {
	case 0: (void)!ftruncate(fd, 0); break;
	case 1: (void)!ftruncate(fd, (off_t)PAGE); break;
	case 2:
		(void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				 (off_t)(pages * PAGE));
		break;
	default: (void)!ftruncate(fd, 0); unlink(name_of("mine"));
	}
}

static void work_round(unsigned round)
{
	unsigned pages = rng_below(2) ? 1 + rng_below(8) : 9 + rng_below(PAGES_MAX - 8);
	int mine = open(name_of("mine"), O_RDWR | O_CREAT, 0600);
	int other = open(name_of("other"), O_RDWR | O_CREAT, 0600);

	if (mine < 0 || other < 0)
		fail("open", (unsigned long)errno, 0);
	fill(mine, 0, pages, MINE);
	(void)!ftruncate(mine, (off_t)(pages * PAGE));
	shared->pages = pages;
	shared->keep = rng_below(3) == 0;
	reached(&shared->written, round);
	await(&shared->mapped, round);
	take_away(mine, pages);
	// Data where data was; and a hole in front needs a table page, where a table page was.
	fill(other, rng_below(2) ? 0 : 600, pages, FOREIGN);
	reached(&shared->taken, round);
	await(&shared->unmapped, round);
	(void)!ftruncate(other, 0);
	close(other);
	close(mine);
}

int main(int argc, char **argv)
{
	unsigned rounds = (unsigned)option(argc, argv, 'r', 1000000000), round;
	uint64_t seed = option(argc, argv, 's', 1), end_ms;
	bool failed;
	int status = 0;

	folder = argv[argc - 1];
	end_ms = now_ms() + option(argc, argv, 't', 1000000) * 1000;
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc < 2 || folder[0] == '-' || shared == MAP_FAILED)
		return 2;
	if (fork() == 0)
		owner(seed, rounds);
	rng_seed(seed + 1);
	for (round = 1; round <= rounds; round++) {
		work_round(round);
		if (now_ms() >= end_ms)
			break;
	}
	reached(&shared->done, 1);
	// The owner may be waiting for a round that does not come.
	reached(&shared->written, round + 1);
	reached(&shared->taken, round + 1);
	failed = wait(&status) < 0 || status;
	unlink(name_of("mine"));
	unlink(name_of("other"));
	printf("canary: %s %u rounds, seed %lu\n", failed ? "failed" : "ok",
	       round - (round > rounds), (unsigned long)seed);
	return failed;
}
