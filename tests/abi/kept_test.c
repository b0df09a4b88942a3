// SPDX-License-Identifier: MIT
//
// Mappings with MAP_DAXVM that come and go at one place, over and over, as a program sees them:
// each shows its own file, range and rights and nothing of the one before. From the second time on
// the kernel has everything at hand (mm/map.c), and must look as closely as the first time.
// Elsewhere the flag means nothing, and the same is true.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/abi/fault.h"
#include "tests/abi/tap.h"
#include "user/daxvm.h"

#define PAGE  4096l
#define PAGES 16l
#define LEN   (PAGES * PAGE)
#define KEPT  (MAP_SHARED | MAP_DAXVM)
#define RW    (PROT_READ | PROT_WRITE)
#define TIMES 3

static int a = -1, b = -1, readable = -1;

static int open_pattern(const char *name, char first)
{
	int f = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	for (long i = 0; i < PAGES; i++) {
		char page[PAGE];

		memset(page, (char)(first + i), PAGE);
		if (pwrite(f, page, PAGE, i * PAGE) != PAGE)
			printf("Bail out! no space\n");
	}
	return f;
}

static char *map(int fd, long len, int prot, int flags, long off)
{
	return mmap(NULL, (size_t)len, prot, flags, fd, off);
}

static bool shows(const char *p, char first, long pages)
{
	for (long i = 0; i < pages; i++)
		if (look(p + i * PAGE) != first + i)
			return false;
	return true;
}

// How much of the process's address space the file's name stands at in /proc/self/maps.
static long listed(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	long sum = 0;
	char line[400];

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, name) && sscanf(line, "%lx-%lx", &start, &end) == 2)
			sum += (long)(end - start);
	if (f)
		fclose(f);
	return sum;
}

static void test_each_its_own(void)
{
	bool own = true, gone = true, maps = true;
	char *p;

	for (int i = 0; i < TIMES; i++) {
		p = map(a, LEN, PROT_READ, KEPT, 0);
		own &= p != MAP_FAILED && shows(p, 'a', PAGES);
		maps &= listed("kept.a") == LEN;
		gone &= munmap(p, LEN) == 0 && look(p) == -SIGSEGV && listed("kept.a") == 0;
		p = map(b, LEN - PAGE - 1, PROT_READ, KEPT, PAGE);
		own &= p != MAP_FAILED && shows(p, 'A' + 1, PAGES - 1);
		maps &= listed("kept.b") == LEN - PAGE;
		gone &= munmap(p, LEN - PAGE - 1) == 0 && look(p) == -SIGSEGV;
		gone &= munmap(p, LEN - PAGE) == 0; // of nothing, which is no error
	}
	ok(own, "each shows its own file and range");
	ok(maps, "and is listed so");
	ok(gone, "and nothing when it is gone");
}

static void test_rights(void)
{
	char *p;

	for (int i = 0; i < TIMES; i++) {
		p = map(readable, LEN, PROT_READ, KEPT, 0);
		ok(p != MAP_FAILED && shows(p, 'a', PAGES) && store(p, 'x') == SIGSEGV,
		   "for reading");
		fails(mprotect(p, LEN, RW), EACCES, "and no more than the descriptor allows");
		munmap(p, LEN);
		fails((long)map(readable, LEN, RW, KEPT, 0), EACCES, "nor from the start");
		p = map(a, LEN, PROT_READ, KEPT, 0);
		is(mprotect(p, LEN, RW), 0, "but what it allows");
		is(store(p, 'a'), 0, "a store");
		munmap(p, LEN);
		p = map(a, LEN, PROT_NONE, KEPT, 0);
		is(look(p), -SIGSEGV, "without any right");
		is(mprotect(p, LEN, PROT_READ), 0, "until it has one");
		ok(shows(p, 'a', PAGES), "then it shows the file");
		munmap(p, LEN);
	}
}

// Story: a type of mapping that does not exist was taken for a shared one, but the first time.
static void test_refused(void)
{
	int flags[] = { KEPT, KEPT | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING };

	for (unsigned i = 0; i < 2 * TIMES; i++) {
		char *p = map(a, LEN, PROT_READ, flags[i % 2], 0);

		ok(p != MAP_FAILED && munmap(p, LEN) == 0, "a mapping");
		fails((long)map(a, LEN, PROT_READ, flags[i % 2] | 4, 0), EINVAL,
		      "of a type that does not exist");
		fails((long)map(a, LEN, PROT_READ, flags[i % 2], 100), EINVAL, "at an odd offset");
		fails((long)map(a, 0, PROT_READ, flags[i % 2], 0), EINVAL, "of no bytes");
		fails((long)map(99, LEN, PROT_READ, flags[i % 2], 0), EBADF, "of no file");
	}
}

static void test_stores(void)
{
	bool stored = true;
	char c;

	for (int i = 0; i < TIMES; i++) {
		char *p = map(a, LEN, RW, KEPT, 0), fill = (char)('0' + i);

		stored &= p != MAP_FAILED && store(p + 3 * PAGE, fill) == 0 &&
			  pread(a, &c, 1, 3 * PAGE) == 1 && c == fill;
		stored &= msync(p, LEN, MS_SYNC) == 0 && munmap(p, LEN) == 0;
	}
	ok(stored, "stores reach the file");
	ok(pwrite(a, "d", 1, 3 * PAGE) == 1, "the byte of before");
}

static void test_parts(void)
{
	for (int i = 0; i < TIMES; i++) {
		char *p = map(a, LEN, PROT_READ, KEPT, 0);

		is(munmap(p + 4 * PAGE, PAGE), 0, "a hole in the mapping");
		ok(shows(p, 'a', 4) && look(p + 4 * PAGE) == -SIGSEGV &&
			   shows(p + 5 * PAGE, 'a' + 5, PAGES - 5),
		   "the rest is as before");
		is(munmap(p, LEN), 0, "all of it");
		is(look(p + 5 * PAGE), -SIGSEGV, "is gone");
	}
}

static void test_fork(void)
{
	for (int i = 0; i < TIMES; i++) {
		char *p = map(a, LEN, PROT_READ, KEPT, 0);
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			bool sees = shows(p, 'a', PAGES) && munmap(p, LEN) == 0 &&
				    map(b, LEN, PROT_READ, KEPT, 0) != MAP_FAILED;

			_exit(sees ? 0 : 1);
		}
		waitpid(pid, &status, 0);
		is(status, 0, "a child inherits it, and unmaps its own");
		ok(shows(p, 'a', PAGES), "the parent's stays");
		munmap(p, LEN);
	}
}

static void test_last_reference(void)
{
	bool shown = true;

	for (int i = 0; i < TIMES; i++) {
		int f = open_pattern("kept.c", 'p');
		char *p = map(f, LEN, PROT_READ, KEPT, 0);

		munmap(p, LEN);
		p = map(f, LEN, PROT_READ, KEPT, 0);
		close(f);
		unlink("kept.c");
		shown &= p != MAP_FAILED && shows(p, 'p', PAGES) && munmap(p, LEN) == 0 &&
			 look(p) == -SIGSEGV;
	}
	ok(shown, "a mapping is all that is left of a file, and then nothing");
}

static void test_shrinking(void)
{
	for (int i = 0; i < TIMES; i++) {
		int f = open_pattern("kept.c", 'p');
		char *p = map(f, LEN, PROT_READ, KEPT, 0);

		munmap(p, LEN);
		p = map(f, LEN, PROT_READ, KEPT, 0);
		ok(shows(p, 'p', PAGES), "all that can be remembered of a file");
		is(ftruncate(f, 2 * PAGE), 0, "that shrinks");
		ok(shows(p, 'p', 2) && look(p + 2 * PAGE) == -SIGBUS, "and the mapping with it");
		munmap(p, LEN);
		p = map(f, LEN, PROT_READ, KEPT, 0);
		ok(shows(p, 'p', 2) && look(p + 2 * PAGE) == -SIGBUS, "the next one, too");
		munmap(p, LEN);
		close(f);
	}
	unlink("kept.c");
}

int main(void)
{
	enter_scratch_folder();
	a = open_pattern("kept.a", 'a');
	b = open_pattern("kept.b", 'A');
	readable = open("kept.a", O_RDONLY);
	catch_faults();
	test_each_its_own();
	test_rights();
	test_refused();
	test_stores();
	test_parts();
	test_fork();
	test_last_reference();
	test_shrinking();
	unlink("kept.a");
	unlink("kept.b");
	leave_scratch_folder();
	return tap_done();
}
