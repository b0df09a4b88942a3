// SPDX-License-Identifier: MIT
//
// Stores words through mappings of every kind, syncs in every way, and says in the words themselves
// what is promised. tests/system/sync.t traces the machine and holds it against that.
//
//      syncstore DIR STEPS
//
// A word:   0xd5 (8 bits), promise (4), step (32), noise (20)
//      promise 1   durable when the sync of its step has returned
//              2   not before a later step with a sync of the whole file
//              3   never: a mapping with MAP_DAXVM_NOSYNC, and the program does not flush it
//              4   durable at the end of its step: the program has flushed it
// A mark, written to another file when the step is over (write(2) is durable when it returns):
//           0xe7 (8 bits), kind (4), step (32), zeros
//      kind 1: the whole file was synced; 2: a range
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/daxvm.h"

#define PAGE     4096l
#define LINE     64l
#define CHUNK    (2l << 20)
#define BYTES    (4 * CHUNK) // most of it holes; the last chunk is the nosync mapping's alone
#define TRACKED  (3 * CHUNK)
#define PAGES    6l // of each chunk that are stored to
#define SHARED   MAP_SHARED
#define ATTACHED (MAP_SHARED | MAP_DAXVM)
#define FLEETING (ATTACHED | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)

static int data, marks;
static char *plain, *attached, *nosync;
static unsigned step;
static uint64_t state = 4711;

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "syncstore: step %u: %s: %s\n", step, what, strerror(errno));
	exit(1);
}

static long below(long n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (long)(state >> 33) % n;
}

static void store(char *at, unsigned promise)
{
	*(volatile uint64_t *)(void *)at = 0xd5ull << 56 | (uint64_t)promise << 52 |
					   (uint64_t)step << 20 | (uint64_t)below(1 << 20);
}

// Any word of the pages that are in use in the first chunks.
static long anywhere(void)
{
	return below(TRACKED / CHUNK) * CHUNK + below(PAGES) * 17 * PAGE + below(PAGE / 8) * 8;
}

static void mark(unsigned kind)
{
	uint64_t word = 0xe7ull << 56 | (uint64_t)kind << 52 | (uint64_t)step << 20;

	check(pwrite(marks, &word, sizeof(word), 8 * (step % 512)) == sizeof(word), "mark");
}

static void *map(int flags, long off, long len)
{
	void *p = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, flags, data, off);

	check(p != MAP_FAILED, "mmap");
	return p;
}

// Stores that wait for a sync of the whole file, some by mappings that are gone when it comes.
static void store_many(unsigned promise)
{
	for (int i = 0; i < 6; i++) {
		long at = anywhere(), base = at / CHUNK * CHUNK;
		char *p;
		pid_t pid;

		switch (below(5)) {
		case 0: store(plain + at, promise); break;
		case 1: store(attached + at, promise); break;
		case 2:
			p = map(FLEETING, base, CHUNK);
			store(p + at - base, promise);
			check(munmap(p, CHUNK) == 0, "munmap");
			break;
		case 3:
			p = map(SHARED, base, CHUNK);
			store(p + at - base, promise);
			check(munmap(p, CHUNK) == 0, "munmap");
			break;
		default:
			pid = fork();
			if (pid == 0) {
				store(attached + at, promise);
				_exit(0);
			}
			check(pid > 0 && waitpid(pid, NULL, 0) == pid, "a child");
		}
	}
}

static void whole_file(void)
{
	store_many(1);
	switch (below(4)) {
	case 0: check(fsync(data) == 0, "fsync"); break;
	case 1: check(fdatasync(data) == 0, "fdatasync"); break;
	case 2: check(msync(attached, BYTES, MS_SYNC) == 0, "msync"); break;
	default: check(msync(plain, BYTES, MS_SYNC) == 0, "msync");
	}
	mark(1);
}

// Two lines of a page, of which one is asked for.
static void one_line(void)
{
	long at = anywhere() / PAGE * PAGE, base = at / CHUNK * CHUNK;
	long first = below(PAGE / LINE / 2) * LINE, second = first + LINE;
	bool fleeting = below(2);
	char *p = fleeting ? (char *)map(FLEETING, base, CHUNK) - base : attached;

	store(p + at + second + 8 * below(8), 2);
	store(p + at + first + 8, 1);
	check(msync(p + at, (size_t)first + 16, MS_SYNC) == 0, "msync of a line");
	mark(2);
	if (fleeting)
		check(munmap(p + base, CHUNK) == 0, "munmap");
}

// A plain mapping's range is whole pages.
static void one_page(void)
{
	long at = anywhere() / PAGE * PAGE;

	store(plain + at + PAGE - 8, 1);
	store(plain + (at + 5 * CHUNK / 4) % TRACKED / PAGE * PAGE, 2);
	check(msync(plain + at, 1, MS_SYNC) == 0, "msync of a page");
	mark(2);
}

static void by_itself(void)
{
	char *p = nosync + below(PAGES) * PAGE, *flushed = p + below(PAGE / LINE / 2) * 2 * LINE;

	store(flushed + LINE, 3);
	store(flushed, 4);
	__asm__ volatile("clflush %0\n\tsfence" : "+m"(*(volatile char *)flushed) : : "memory");
	check(msync(nosync, CHUNK, MS_SYNC) == 0, "msync of a nosync mapping");
	mark(2);
}

int main(int argc, char **argv)
{
	unsigned steps = argc == 3 ? (unsigned)atoi(argv[2]) : 0;

	check(steps && chdir(argv[1]) == 0, "usage: syncstore DIR STEPS");
	data = open("data", O_RDWR | O_CREAT | O_TRUNC, 0644);
	marks = open("marks", O_RDWR | O_CREAT | O_TRUNC, 0644);
	check(data >= 0 && marks >= 0 && ftruncate(data, BYTES) == 0, "files");
	plain = map(SHARED, 0, BYTES);
	attached = map(ATTACHED, 0, BYTES);
	nosync = map(ATTACHED | MAP_DAXVM_NOSYNC, TRACKED, CHUNK);
	for (step = 1; step <= steps; step++) {
		switch (below(4)) {
		case 0: whole_file(); break;
		case 1: one_line(); break;
		case 2: one_page(); break;
		default: by_itself();
		}
	}
	printf("%u steps\n", steps);
	return 0;
}
