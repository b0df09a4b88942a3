// SPDX-License-Identifier: MIT
//
// What: what mapping a file costs when it is the first to be mapped since its file system was
// mounted, and then again: nothing of the file's table is verified before. CSV on stdout: which
// one, ticks to map, page faults and ticks to touch a byte in each 2 MiB, ticks to unmap. Under
// exact instruction counting a tick is one instruction. Not here: the images (tools/bench-mount).
//
//     firstmap REGION PLACE FILE BYTES      FILE: in PLACE. Its size is not asked for: stat(2)
//                                           counts blocks, and so looks at all of the table
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/daxvm.h"

#define CHUNK    (2ul << 20)
#define LATER_US 500000 // the background thread is through with the file

static int map(const char *which, int fd, size_t bytes)
{
	uint64_t start = ticks(), mapped, touched;
	volatile char *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_DAXVM, fd, 0);
	long taken = faults();

	if (at == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	mapped = ticks();
	for (size_t i = 0; i < bytes; i += CHUNK)
		(void)at[i];
	touched = ticks();
	taken = faults() - taken;
	if (munmap((void *)(uintptr_t)at, bytes)) {
		perror("munmap");
		return 1;
	}
	printf("%s,%llu,%ld,%llu,%llu\n", which, (unsigned long long)(mapped - start), taken,
	       (unsigned long long)(touched - mapped), (unsigned long long)(ticks() - touched));
	return 0;
}

int main(int argc, char **argv)
{
	size_t bytes = argc == 5 ? strtoull(argv[4], NULL, 0) : 0;
	int fd, failed;

	if (!bytes) {
		fprintf(stderr, "usage: firstmap REGION PLACE FILE BYTES\n");
		return 2;
	}
	mkdir(argv[2], 0755);
	if (mount(argv[1], argv[2], "ptfs", 0, "") || (fd = open(argv[3], O_RDONLY)) < 0) {
		perror(argv[1]);
		return 1;
	}
	failed = map("first", fd, bytes) || map("second", fd, bytes);
	usleep(LATER_US);
	failed = failed || map("later", fd, bytes);
	close(fd);
	if (umount(argv[2])) {
		perror(argv[2]);
		return 1;
	}
	return failed;
}
