// SPDX-License-Identifier: MIT
//
//      large FILE BYTES
//
// Makes a sparse file with one block in each 2 MiB, and tells what it costs to map it with
// MAP_DAXVM and to unmap it: "bytes,map,unmap,faults", in ticks of the time-stamp counter. The
// second mapping is measured: the first one makes the file's tables ready.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "user/daxvm.h"

#define STEP (2u << 20)

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void measure(int fd, size_t bytes)
{
	uint64_t start = 0, mapped = 0, unmapped = 0;
	long before = 0;

	for (int round = 0; round < 2; round++) {
		char *p;

		before = faults();
		start = ticks();
		p = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_DAXVM, fd, 0);
		mapped = ticks() - start;
		need(p != MAP_FAILED, "mmap");
		need(p[(bytes - 1) / STEP * STEP] == 'x', "the last block");
		start = ticks();
		need(!munmap(p, bytes), "munmap");
		unmapped = ticks() - start;
		before = faults() - before;
	}
	printf("%zu,%llu,%llu,%ld\n", bytes, (unsigned long long)mapped,
	       (unsigned long long)unmapped, before);
}

int main(int argc, char **argv)
{
	size_t bytes = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	int fd = bytes ? open(argv[1], O_CREAT | O_RDWR, 0666) : -1;

	if (fd < 0) {
		fprintf(stderr, "usage: large FILE BYTES\n");
		return 1;
	}
	for (size_t at = 0; at < bytes; at += STEP)
		need(pwrite(fd, "x", 1, (off_t)at) == 1, "pwrite");
	need(!ftruncate(fd, (off_t)bytes), "ftruncate");
	measure(fd, bytes);
	return 0;
}
