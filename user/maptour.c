// SPDX-License-Identifier: MIT
//
// What: a tour of the ways to reach a file's bytes. Sums each file by read(), by plain mmap and by
// MAP_DAXVM, checks that the three agree, tells what each cost, and then shows the page-table path
// of one address of the MAP_DAXVM mapping: the levels, and in which memory each table lies.
//
// Runs on Linux too, where MAP_DAXVM and the path are not available.
//
// Cost is counted in ticks of the time-stamp counter; `make exec ICOUNT=1` makes a tick exactly one
// instruction. A fault is one entry of the kernel for a page that was touched.
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/daxvm.h"

#define PAGE_TABLE_FILE "/proc/pagetable"
#define READ_BYTES      65536

struct cost {
	uint64_t sum;
	uint64_t map_ticks, touch_ticks, unmap_ticks;
	long faults;
};

// Sum of the 8-byte words, the last one filled up with zeros. Each call but the last must be given
// a multiple of 8 bytes.
static uint64_t sum_words(const void *start, size_t bytes)
{
	const uint64_t *word = start;
	uint64_t sum = 0, last = 0;

	for (size_t i = 0; i < bytes / 8; i++)
		sum += word[i];
	memcpy(&last, (const char *)start + bytes / 8 * 8, bytes % 8);
	return sum + last;
}

// ---- The three ways -----------------------------------------------------------------------------

static bool sum_by_read(int fd, size_t size, struct cost *cost)
{
	static uint64_t buffer[READ_BYTES / 8];
	long faults_before;
	uint64_t start;
	size_t done = 0;

	memset(buffer, 1, sizeof(buffer)); // take the buffer's own faults first
	faults_before = faults();
	start = ticks();
	while (done < size) {
		ssize_t got = pread(fd, buffer, sizeof(buffer), (off_t)done);

		if (got <= 0)
			return false;
		cost->sum += sum_words(buffer, (size_t)got);
		done += (size_t)got;
	}
	cost->touch_ticks = ticks() - start;
	cost->faults = faults() - faults_before;
	return true;
}

static bool sum_by_map(int fd, size_t size, int flags, struct cost *cost)
{
	long faults_before = faults();
	uint64_t start = ticks(), mapped, touched;
	void *p = mmap(NULL, size, PROT_READ, flags, fd, 0);

	if (p == MAP_FAILED)
		return false;
	mapped = ticks();
	cost->sum = sum_words(p, size);
	touched = ticks();
	munmap(p, size);
	cost->unmap_ticks = ticks() - touched;
	cost->touch_ticks = touched - mapped;
	cost->map_ticks = mapped - start;
	cost->faults = faults() - faults_before;
	return true;
}

static void print_cost(const char *how, size_t size, const struct cost *c)
{
	printf("  %-10s %12zu %8ld %12llu %12llu %12llu   %016llx\n", how, size, c->faults,
	       (unsigned long long)c->map_ticks, (unsigned long long)c->touch_ticks,
	       (unsigned long long)c->unmap_ticks, (unsigned long long)c->sum);
}

// ---- The path of one address --------------------------------------------------------------------

// The kernel tells the path of an address that was written to the file: the address, then a line
// for each level.
static void print_path(const void *address)
{
	char text[2048];
	ssize_t bytes;
	int fd = open(PAGE_TABLE_FILE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("  page-table path: not available (no %s)\n", PAGE_TABLE_FILE);
		return;
	}
	printf("  page-table path of ");
	bytes = snprintf(text, sizeof(text), "%lx\n", (unsigned long)(uintptr_t)address);
	if (write(fd, text, (size_t)bytes) == bytes && lseek(fd, 0, SEEK_SET) == 0) {
		while ((bytes = read(fd, text, sizeof(text))) > 0)
			fwrite(text, 1, (size_t)bytes, stdout);
	}
	close(fd);
}

static void show_path(int fd, size_t size)
{
	volatile char *p = mmap(NULL, size, PROT_READ, MAP_SHARED_VALIDATE | MAP_DAXVM, fd, 0);

	if (p == MAP_FAILED)
		p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return;
	(void)p[size / 2];
	print_path((const char *)(uintptr_t)p + size / 2);
	munmap((void *)(uintptr_t)p, size);
}

// ---- A file -------------------------------------------------------------------------------------

// True if all ways that there are agree.
static bool tour(const char *path)
{
	struct cost by_read = { 0 }, by_map = { 0 }, by_attach = { 0 };
	bool attached, good;
	struct stat st;
	size_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
		fprintf(stderr, "maptour: %s: %s\n", path,
			fd < 0 ? strerror(errno) : "not a file with something in it");
		if (fd >= 0)
			close(fd);
		return false;
	}
	size = (size_t)st.st_size;
	good = sum_by_read(fd, size, &by_read) && sum_by_map(fd, size, MAP_SHARED, &by_map) &&
	       by_read.sum == by_map.sum;
	attached = sum_by_map(fd, size, MAP_SHARED_VALIDATE | MAP_DAXVM, &by_attach);
	good = good && (!attached || by_attach.sum == by_read.sum);

	printf("%s\n  %-10s %12s %8s %12s %12s %12s   %s\n", path, "way", "bytes", "faults", "map",
	       "touch", "unmap", "sum");
	print_cost("read", size, &by_read);
	print_cost("mmap", size, &by_map);
	if (attached)
		print_cost("MAP_DAXVM", size, &by_attach);
	else
		printf("  MAP_DAXVM  not available (%s)\n", strerror(errno));
	printf("  the sums %s\n", good ? "agree" : "DIFFER");
	show_path(fd, size);
	close(fd);
	return good;
}

int main(int argc, char **argv)
{
	bool good = true;

	if (argc < 2) {
		fprintf(stderr,
			"usage: maptour FILE...\n"
			"Sums each file by read, mmap and MAP_DAXVM and tells what each cost.\n");
		return 2;
	}
	for (int i = 1; i < argc; i++)
		good &= tour(argv[i]);
	return good ? 0 : 1;
}
