// SPDX-License-Identifier: MIT
//
// Writes files until the power goes, and says what is done. What it has said must hold after the
// crash:
//
//      writeloop DIR [FILES]    makes, appends to, maps, renames and removes files in DIR, for ever
//                               or until so many have been made
//      writeloop -c DIR <LOG    compares DIR with the lines that an earlier run printed
//
// Lines, each printed after the call had returned:
//      wrote N BYTES    file fN exists, its first BYTES bytes are right, and it is not longer than
//                       its full length
//      gone N           file fN does not exist
//
// Contents follow from N, so that nothing else has to be kept. The last line of a log may be cut.

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/daxvm.h"

#define FILES_MAX 65536u
#define LARGEST   (3u << 20)

static uint64_t buffer[LARGEST / 8];
static uint64_t found[LARGEST / 8];

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

// Mostly small; one in eight beyond the direct entries, one in forty beyond one page table.
static size_t length_of(unsigned n)
{
	size_t r = mix(n + 1) >> 8;

	if (n % 40 == 39)
		return (2u << 20) + r % (1u << 20);
	if (n % 8 == 7)
		return 32768 + r % 200000;
	return r % 20000;
}

static void fill(unsigned n, size_t bytes)
{
	for (size_t i = 0; i * 8 < bytes; i++)
		buffer[i] = mix(n * 1000003ull + i) | 1;
}

static void fail(const char *what, unsigned n)
{
	fprintf(stderr, "writeloop: f%u: %s: %s\n", n, what, strerror(errno));
	exit(2);
}

static void put(int fd, unsigned n, size_t from, size_t to)
{
	if (write(fd, (char *)buffer + from, to - from) != (ssize_t)(to - from))
		fail("write", n);
}

// One line, one write(2): whole or not at all.
static void say(const char *what, unsigned n, size_t bytes)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "%s %u %zu\n", what, n, bytes);

	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		exit(2);
}

// The same bytes, stored through a mapping of the file.
static void put_mapped(int fd, unsigned n, size_t len)
{
	char *at;

	if (!len)
		return;
	if (ftruncate(fd, (off_t)len))
		fail("ftruncate", n);
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_DAXVM, fd, 0);
	if (at == MAP_FAILED)
		fail("mmap", n);
	memcpy(at, buffer, len);
	if (msync(at, len, MS_SYNC) || munmap(at, len))
		fail("msync", n);
}

static void make_file(unsigned n)
{
	size_t len = length_of(n), half = n % 3 == 1 ? len / 2 : len;
	char name[16], first[16];
	int fd;

	snprintf(name, sizeof(name), "f%u", n);
	snprintf(first, sizeof(first), n % 3 == 2 ? "t%u" : "f%u", n);
	fill(n, len);
	fd = open(first, O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0644);
	if (fd < 0)
		fail("open", n);
	if (n % 5 == 4) {
		put_mapped(fd, n, len);
	} else {
		put(fd, n, 0, half);
		if (half < len) {
			say("wrote", n, half);
			put(fd, n, half, len);
		}
	}
	if (n % 3 == 2 && rename(first, name))
		fail("rename", n);
	say("wrote", n, len);
	close(fd);
}

static void loop(unsigned files)
{
	for (unsigned n = 0; n < files; n++) {
		char old[16];

		make_file(n);
		// Keep about sixty files, so that blocks are used again.
		if (n < 64 || n % 64 == 5)
			continue;
		snprintf(old, sizeof(old), "f%u", n - 64);
		if ((n - 64) % 64 == 5)
			continue;
		if (unlink(old))
			fail("unlink", n - 64);
		say("gone", n - 64, 0);
	}
}

// 0: as it must be.
static int check_file(unsigned n, size_t least)
{
	size_t len = length_of(n);
	struct stat st;
	char name[16];
	ssize_t got;
	int fd;

	snprintf(name, sizeof(name), "f%u", n);
	fd = open(name, O_RDONLY);
	if (fd < 0 || fstat(fd, &st)) {
		printf("BAD f%u: %s\n", n, strerror(errno));
		return 1;
	}
	got = read(fd, found, sizeof(found));
	close(fd);
	fill(n, len);
	// An append is there wholly or not at all.
	if (got != st.st_size || ((size_t)got != least && (size_t)got != len) ||
	    memcmp(found, buffer, (size_t)got) != 0) {
		printf("BAD f%u: %zd bytes, should be %zu or %zu\n", n, got, least, len);
		return 1;
	}
	return 0;
}

static int check(void)
{
	static size_t least[FILES_MAX];
	static char state[FILES_MAX]; // 0: not named, 1: written, 2: gone
	unsigned n, last = 0, files = 0, bad = 0;
	char line[64];
	size_t bytes;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "wrote %u %zu\n", &n, &bytes) == 2 && n < FILES_MAX &&
		    strchr(line, '\n')) {
			state[n] = 1;
			least[n] = bytes;
			last = n;
		} else if (sscanf(line, "gone %u", &n) == 1 && n < FILES_MAX &&
			   strchr(line, '\n')) {
			state[n] = 2;
		}
	}
	for (n = 0; n <= last; n++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", n);
		if (state[n] == 2 && access(name, F_OK) == 0) {
			printf("BAD f%u: it was removed\n", n);
			bad++;
		}
		// The file whose removal was next may be gone without a line.
		if (state[n] == 1 && !(n + 64 == last && access(name, F_OK))) {
			files++;
			bad += (unsigned)check_file(n, least[n]);
		}
	}
	printf("checked %u files, %u bad\n", files, bad);
	return bad || !files;
}

int main(int argc, char **argv)
{
	int checking = argc == 3 && strcmp(argv[1], "-c") == 0;
	const char *dir = argv[checking ? 2 : 1];
	unsigned long files = argc == 3 && !checking ? strtoul(argv[2], NULL, 10) : FILES_MAX;

	if ((argc != 2 && argc != 3) || !files || files > FILES_MAX) {
		fprintf(stderr, "usage: writeloop DIR [FILES] | writeloop -c DIR <LOG\n");
		return 2;
	}
	mkdir(dir, 0755);
	if (chdir(dir)) {
		perror(dir);
		return 2;
	}
	if (checking)
		return check();
	loop((unsigned)files);
	return 0;
}
