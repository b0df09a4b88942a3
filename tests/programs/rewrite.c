// SPDX-License-Identifier: MIT
//
//      rewrite FILE BYTES PIECE
//
// Makes FILE of BYTES bytes by fallocate, and writes it through a mapping, PIECE bytes at a time,
// with stores that go past the caches. The mapping is for writing only, as the programs published
// with DaxVM ask for it.
#define _GNU_SOURCE
#include <emmintrin.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daxvm_header.h"

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void stream(char *to, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i += 16)
		_mm_stream_si128((__m128i *)(void *)(to + i), _mm_set1_epi32((int)(seed + i)));
	_mm_sfence();
}

int main(int argc, char **argv)
{
	size_t bytes = argc == 4 ? strtoul(argv[2], NULL, 0) : 0;
	size_t piece = argc == 4 ? strtoul(argv[3], NULL, 0) : 0;
	char *p;
	int fd;

	if (!piece || piece % 16 || !bytes || bytes % piece) {
		fprintf(stderr, "usage: rewrite FILE BYTES PIECE\n");
		return 1;
	}
	fd = open(argv[1], O_CREAT | O_RDWR, 0666);
	need(fd >= 0, argv[1]);
	need(!fallocate(fd, 0, 0, (off_t)bytes), "fallocate");
	p = mmap(NULL, bytes, PROT_WRITE, MAP_SHARED | MAP_DAXVM | MAP_SYNC, fd, 0);
	need(p != MAP_FAILED, "mmap");
	for (size_t at = 0; at < bytes; at += piece)
		stream(p + at, piece, (unsigned)at);
	need(!munmap(p, bytes), "munmap");
	close(fd);
	printf("%zu bytes\n", bytes);
	return 0;
}
