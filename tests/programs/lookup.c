// SPDX-License-Identifier: MIT
//
//      lookup FILE TIMES
//
// Maps FILE once and reads 4 KiB at TIMES places of it, in an order that is the same everywhere.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxvm_header.h"

#define PAGE 4096u

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
	uint64_t sum = 0, state = 88172645463325252ull;
	struct stat st;
	char *p;

	if (fd < 0 || fstat(fd, &st) || st.st_size < PAGE) {
		fprintf(stderr, "usage: lookup FILE TIMES\n");
		return 1;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_DAXVM, fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (long n = atol(argv[2]); n > 0; n--) {
		const uint64_t *page;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		page = (const uint64_t *)(void *)(p + state % ((uint64_t)st.st_size / PAGE) * PAGE);
		for (unsigned i = 0; i < PAGE / 8; i++)
			sum = sum * 31 + page[i];
	}
	munmap(p, (size_t)st.st_size);
	printf("sum %#llx\n", (unsigned long long)sum);
	return 0;
}
