// SPDX-License-Identifier: MIT
//
// What: the cost of the ways to a file's bytes, in ticks of the time-stamp counter, as CSV on
// stdout: operation, file, ticks, page faults. Under `make bench` a tick is exactly one
// instruction. Runs on Linux too.
//
// Each operation is done once to warm up (page tables of the program, caches of the kernel) and
// then measured; the smallest of a few repetitions counts.
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "user/daxvm.h"

#define PAGE   4096
#define REPEAT 3

struct result {
	uint64_t ticks;
	long faults;
};

struct target {
	const char *name;
	int fd;
	size_t size;
};

// ---- Operations: false if not available ---------------------------------------------------------

static bool call(const struct target *t)
{
	(void)t;
	return syscall(SYS_getppid) >= 0;
}

static bool map_unmap(const struct target *t, int flags, bool touch)
{
	volatile char *p = mmap(NULL, t->size, PROT_READ, flags, t->fd, 0);

	if (p == MAP_FAILED)
		return false;
	for (size_t at = 0; touch && at < t->size; at += PAGE)
		(void)p[at];
	return munmap((void *)(uintptr_t)p, t->size) == 0;
}

static bool attach(const struct target *t)
{
	return map_unmap(t, MAP_SHARED_VALIDATE | MAP_DAXVM, false);
}

static bool attach_touch(const struct target *t)
{
	return map_unmap(t, MAP_SHARED_VALIDATE | MAP_DAXVM, true);
}

static bool map(const struct target *t)
{
	return map_unmap(t, MAP_SHARED, false);
}

static bool map_touch(const struct target *t)
{
	return map_unmap(t, MAP_SHARED, true);
}

static bool read_all(const struct target *t)
{
	static char buffer[65536];
	size_t done = 0;

	while (done < t->size) {
		ssize_t got = pread(t->fd, buffer, sizeof(buffer), (off_t)done);

		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

static const struct {
	const char *name;
	bool (*fn)(const struct target *);
} operations[] = {
	{ "attach+unmap", attach }, { "attach+touch+unmap", attach_touch },
	{ "mmap+unmap", map },      { "mmap+touch+unmap", map_touch },
	{ "read", read_all },
};

// ---- Measuring ----------------------------------------------------------------------------------

static bool measure(bool (*fn)(const struct target *), const struct target *t, struct result *best)
{
	if (!fn(t))
		return false;
	best->ticks = UINT64_MAX;
	for (int i = 0; i < REPEAT; i++) {
		long faults_before = faults();
		uint64_t start = ticks(), used;

		fn(t);
		used = ticks() - start;
		if (used >= best->ticks)
			continue;
		best->ticks = used;
		best->faults = faults() - faults_before;
	}
	return true;
}

static void report(const char *operation, const struct target *t, bool (*fn)(const struct target *))
{
	struct result best = { 0 };

	if (measure(fn, t, &best))
		printf("%s,%s,%llu,%ld\n", operation, t->name, (unsigned long long)best.ticks,
		       best.faults);
	else
		printf("%s,%s,not available,\n", operation, t->name);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct target none = { "-", -1, 0 };

	printf("operation,file,ticks,faults\n");
	report("getppid", &none, call);
	for (int i = 1; i < argc; i++) {
		struct target t = { argv[i], open(argv[i], O_RDONLY), 0 };
		struct stat st;

		if (t.fd < 0 || fstat(t.fd, &st) != 0) {
			perror(argv[i]);
			return 1;
		}
		t.size = (size_t)st.st_size;
		for (size_t o = 0; o < sizeof(operations) / sizeof(operations[0]); o++)
			report(operations[o].name, &t, operations[o].fn);
		close(t.fd);
	}
	return 0;
}
