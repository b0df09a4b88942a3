// SPDX-License-Identifier: MIT
//
// Ranges leave a file while others read and store through mappings of it, and another file takes
// the blocks at once. Whoever still held a translation would read the other file's bytes, or write
// into it. Processes end in an orderly way only; the number of rounds is fixed.
#define _GNU_SOURCE
#include <signal.h>

#include "tests/abi/ops.h"

#define MAP_DAXVM 0x400000
#define MIB       ((size_t)1 << 20)
#define SIZE      (4 * MIB)
#define USED      MIB // that part is looked at: the file never gets shorter
#define ROUNDS    150

static volatile int *stop; // shared by all

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

static unsigned char *map_file(const char *name, int flags)
{
	int fd = open(name, O_RDWR);
	unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);

	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

// Every byte of f is 'F' or 0, whatever happens.
static int read_on(int flags)
{
	const volatile unsigned char *p = map_file("f", flags);
	unsigned seed = 1;

	if (!p)
		return 2;
	while (!*stop) {
		unsigned char c = p[next_random(&seed) % USED];

		if (c != 'F' && c != 0)
			return 1;
	}
	return 0;
}

static int read_attached(void)
{
	return read_on(MAP_DAXVM);
}

static int read_plain(void)
{
	return read_on(0);
}

static int store_on(int flags)
{
	volatile unsigned char *p = map_file("f", flags);
	unsigned seed = 2;

	if (!p)
		return 2;
	while (!*stop)
		p[next_random(&seed) % USED] = 'F';
	return 0;
}

static int store_attached(void)
{
	return store_on(MAP_DAXVM);
}

static int store_plain(void)
{
	return store_on(0);
}

static pid_t start(int (*fn)(void))
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(fn());
	return pid;
}

static bool all_are(int fd, char c)
{
	static char buffer[65536];
	ssize_t n;

	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (buffer[i] != c && buffer[i] != 0)
				return false;
	return n == 0;
}

// Takes something away from f and gives as much to g.
static bool round_of(int f, int g, unsigned *seed, bool large)
{
	static char others[65536], own[65536];
	off_t at = next_random(seed) % (USED / 4096) * 4096;
	off_t len = (next_random(seed) % 16 + 1) * 4096;
	bool good = true;

	memset(others, 'G', sizeof(others));
	memset(own, 'F', sizeof(own));
	switch (next_random(seed) % 4) {
	case 0:
		if (fallocate(f, FALLOC_FL_COLLAPSE_RANGE, at, len) && errno != EOPNOTSUPP)
			good = false;
		good &= ftruncate(f, SIZE) == 0;
		break;
	case 1:
		if (fallocate(f, FALLOC_FL_ZERO_RANGE, at + 100, len) && errno != EOPNOTSUPP)
			good = false;
		break;
	default: good &= fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len) == 0;
	}
	good &= pwrite(g, others, (size_t)len, next_random(seed) % 64 * 65536) == len;
	good &= pwrite(f, own, (size_t)len, at) == len;
	if (next_random(seed) % 16 == 0)
		good &= ftruncate(g, 0) == 0;
	if (large && next_random(seed) % 16 == 0) // whole leaves, to be split again
		good &= fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE) == 0 &&
			fallocate(f, 0, 0, SIZE) == 0;
	return good;
}

static void race(const char *name, int (*reader)(void), int (*writer)(void), bool large)
{
	int f = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int g = open("g", O_RDWR | O_CREAT | O_TRUNC, 0600);
	pid_t pid[2];
	bool good = true;
	unsigned seed = 7;
	int status[2];

	ftruncate(f, SIZE);
	if (large)
		fallocate(f, 0, 0, SIZE);
	*stop = 0;
	pid[0] = start(reader);
	pid[1] = start(writer);
	for (int i = 0; i < ROUNDS && good; i++)
		good = round_of(f, g, &seed, large);
	*stop = 1;
	for (int i = 0; i < 2; i++)
		waitpid(pid[i], &status[i], 0);
	ok(good, "%s: all calls worked", name);
	is(status[0], 0, "a reader saw nothing but its file");
	is(status[1], 0, "a writer came to its end");
	ok(all_are(f, 'F'), "%s: the file is its own", name);
	ok(all_are(g, 'G'), "%s: nobody wrote into the other", name);
	close(f);
	close(g);
	unlink("f");
	unlink("g");
}

int main(void)
{
	enter_scratch_folder();
	stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	race("attached", read_attached, store_attached, false);
	race("plain", read_plain, store_plain, false);
	race("both", read_attached, store_plain, true);
	race("both, the other way", read_plain, store_attached, true);
	leave_scratch_folder();
	return tap_done();
}
