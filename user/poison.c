// SPDX-License-Identifier: MIT
//
// Uses a file until its memory fails, and tells how it learned of that (tests/system/poison.t).
//
//	poison touch [-d] FILE PAGE [ROUNDS]  loads from one page of a mapping (-d: MAP_DAXVM)
//	poison read FILE                      reads the file from the beginning, over and over
// 	poison mend [-d] FILE PAGE            as touch, and on SIGBUS writes the page anew, and goes
//  on
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/daxvm.h"

#define PAGE 4096ul

static char *mapped;
static int mending = -1; // the file
static unsigned long failed_page;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	long off = (char *)info->si_addr - mapped;

	(void)sig;
	(void)context;
	// Nothing else runs in this program: stdio is safe here.
	printf("SIGBUS code %d offset %#lx lsb %d\n", info->si_code, off, info->si_addr_lsb);
	fflush(stdout);
	if (mending < 0)
		_exit(3);
	// What is written comes from the file itself, out of two pages, neither of which is
	// present: the file was taken out of all mappings.
	if (pwrite(mending, mapped + (failed_page + 1) * PAGE + 0x100, PAGE,
		   (off_t)(failed_page * PAGE)) != (ssize_t)PAGE) {
		perror("pwrite");
		_exit(1);
	}
}

static int touch(const char *path, int flags, unsigned long page, unsigned long rounds, bool mend)
{
	struct sigaction act = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	int fd = open(path, mend ? O_RDWR : O_RDONLY);
	struct stat st;
	const volatile char *at;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		return 1;
	}
	mending = mend ? fd : -1;
	failed_page = page;
	mapped = mmap(NULL, (size_t)st.st_size, PROT_READ | (mend ? PROT_WRITE : 0), flags, fd, 0);
	if (mapped == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	sigaction(SIGBUS, &act, NULL);
	at = mapped + page * PAGE + 0x123;
	(void)*at;
	printf("touching %p\n", (void *)(mapped + page * PAGE + 0x123));
	fflush(stdout);
	for (unsigned long i = 0; !rounds || i < rounds; i++) {
		char c = *at;

		if (mend && c == at[PAGE + 0x100])
			break;
	}
	if (mend && memcmp(mapped + page * PAGE, mapped + (page + 1) * PAGE + 0x100, PAGE) != 0)
		printf("other bytes\n");
	printf("touched\n");
	return 0;
}

static int read_all(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	char *buf;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		return 1;
	}
	buf = malloc((size_t)st.st_size);
	if (!buf)
		return 1;
	memset(buf, 0, (size_t)st.st_size);
	printf("reading\n");
	fflush(stdout);
	do {
		n = pread(fd, buf, (size_t)st.st_size, 0);
	} while (n == st.st_size);
	printf("read %zd\n", n);
	for (int i = 0; i < 2; i++)
		if (pread(fd, buf, 100, n > 0 ? n : 0) < 0)
			printf("then: %s\n", strerror(errno));
	n = pread(fd, buf, PAGE, (n > 0 ? n : 0) + (off_t)PAGE);
	printf("behind: %zd\n", n);
	return 0;
}

int main(int argc, char **argv)
{
	bool mend = argc > 1 && !strcmp(argv[1], "mend");
	int dax = argc > 2 && !strcmp(argv[2], "-d");
	int flags = dax ? MAP_SHARED_VALIDATE | MAP_DAXVM : MAP_SHARED;

	if (argc == 3 && !strcmp(argv[1], "read"))
		return read_all(argv[2]);
	if (argc < 4 + dax || (!mend && strcmp(argv[1], "touch") != 0)) {
		fprintf(stderr, "usage: poison touch|mend [-d] FILE PAGE [ROUNDS] | read FILE\n");
		return 2;
	}
	argv += dax;
	return touch(argv[2], flags, strtoul(argv[3], NULL, 0),
		     argc > 4 + dax ? strtoul(argv[4], NULL, 0) : 0, mend);
}
