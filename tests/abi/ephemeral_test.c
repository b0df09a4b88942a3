// SPDX-License-Identifier: MIT
//
// MAP_DAXVM_EPHEMERAL and MAP_DAXVM_BATCHING as a program sees them: what is refused, what happens
// at fork, at limits, after munmap, when the file shrinks. Linux does not know the flags, nor does
// a file system without tables of its own: there is nothing to test there then.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "tests/abi/fault.h"
#include "tests/abi/tap.h"
#include "user/daxvm.h"

#define PAGE   4096l
#define PAGES  16l
#define LEN    (PAGES * PAGE)
#define EPH    (MAP_SHARED_VALIDATE | MAP_DAXVM | MAP_DAXVM_EPHEMERAL)
#define BATCH  (EPH | MAP_DAXVM_BATCHING)
#define RW     (PROT_READ | PROT_WRITE)
#define TIGHT  (64l << 20)
#define ROUNDS 2000

static int fd = -1;

static char mark(long page)
{
	return (char)('a' + page % 26);
}

static int open_pattern(const char *name, long pages)
{
	int f = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	for (long i = 0; i < pages; i++) {
		char page[PAGE];

		memset(page, mark(i), PAGE);
		if (pwrite(f, page, PAGE, i * PAGE) != PAGE)
			printf("Bail out! no space\n");
	}
	return f;
}

static char *map(long len, int prot, int flags, long off)
{
	return mmap(NULL, (size_t)len, prot, flags, fd, off);
}

static bool shows(const char *p, long first, long pages)
{
	for (long i = 0; i < pages; i++)
		if (look(p + i * PAGE) != mark(first + i))
			return false;
	return true;
}

// On a mount of ptfs, and not one with nodaxvm. Story: this once asked whether mprotect is refused,
// so that a kernel that did not refuse it had nothing to test.
static bool available(void)
{
	char line[400], place[300], here[300], type[32], options[100];
	FILE *f = fopen("/proc/mounts", "r");
	bool yes = false;

	while (f && getcwd(here, sizeof(here)) && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %299s %31s %99s", place, type, options) == 3 &&
		    strcmp(type, "ptfs") == 0 && strncmp(here, place, strlen(place)) == 0)
			yes = !strstr(options, "nodaxvm");
	}
	if (f)
		fclose(f);
	return yes;
}

static void test_refused(void)
{
	char *p = map(LEN, RW, EPH, 0), *q;

	ok(p != MAP_FAILED && shows(p, 0, PAGES), "an ephemeral mapping shows the file");
	fails(munmap(p, PAGE), EINVAL, "munmap of its begin is refused");
	fails(munmap(p + PAGE, PAGE), EINVAL, "munmap of its middle is refused");
	fails(munmap(p + PAGE, LEN - PAGE), EINVAL, "munmap of its end is refused");
	fails(mprotect(p, LEN, PROT_READ), EINVAL, "mprotect is refused");
	fails(mprotect(p + PAGE, PAGE, PROT_NONE), EINVAL, "mprotect of a page is refused");
	fails((long)mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE), EINVAL, "mremap is refused");
	fails((long)mremap(p, LEN, PAGE, 0), EINVAL, "mremap to less is refused");
	fails((long)mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL,
	      "MAP_FIXED over it is refused");
	q = (char *)((uintptr_t)p & ~((1ul << 39) - 1)) + (300ul << 30);
	fails((long)mmap(q, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL,
	      "MAP_FIXED elsewhere in its arena is refused");
	q = mmap(q, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok(q != MAP_FAILED && (uintptr_t)q >> 39 != (uintptr_t)p >> 39, "a hint there is ignored");
	munmap(q, PAGE);
	ok(shows(p, 0, PAGES) && store(p, mark(0)) == 0, "nothing of that changed it");
	is(munmap(p, LEN), 0, "munmap");
	is(look(p), -SIGSEGV, "a touch after munmap ends with SIGSEGV");
	fails(munmap(p, LEN), EINVAL, "munmap once more is refused");
}

static void test_rights(void)
{
	int rdwr = fd;
	char *p = map(LEN, PROT_READ, EPH, 0);

	is(store(p, 'x'), SIGSEGV, "no store without PROT_WRITE");
	munmap(p, LEN);
	p = map(LEN, PROT_NONE, EPH, 0);
	is(look(p), -SIGSEGV, "no look with PROT_NONE");
	munmap(p, LEN);
	fd = open("ephemeral", O_RDONLY);
	p = map(LEN, PROT_READ, EPH, 0);
	ok(shows(p, 0, PAGES), "a read-only descriptor can be mapped");
	for (int i = 0; i < 2; i++)
		fails((long)map(LEN, RW, EPH, 0), EACCES, "but not for writing");
	munmap(p, LEN);
	close(fd);
	fd = open("ephemeral", O_WRONLY);
	fails((long)map(LEN, PROT_READ, EPH, 0), EACCES, "a write-only descriptor cannot");
	close(fd);
	fd = rdwr;
	p = map(LEN, RW, MAP_SHARED_VALIDATE | MAP_SYNC, 0);
	ok(p != MAP_FAILED && munmap(p, LEN) == 0, "MAP_SYNC holds");
	p = map(LEN, RW, EPH | MAP_SYNC, 0);
	ok(p != MAP_FAILED && munmap(p, LEN) == 0, "and here, too");
}

// A root covers so many bytes. What lies beyond is not the start of the file again.
static void test_beyond(void)
{
	static const long far[] = { 2l << 20, 1l << 30, 512l << 30 };
	bool beyond = true;
	int keep = fd;
	char *p;

	for (int i = 0; i < 6; i++) { // the second time without a look at the file system
		p = map(LEN, PROT_READ, BATCH, far[i / 2]);
		beyond &= look(p) == -SIGBUS;
		munmap(p, LEN);
	}
	ok(beyond, "far beyond the end there is nothing");
	fd = open_pattern("ephemeral.far", 0);
	is(ftruncate(fd, 3l << 30), 0, "a sparse file of 3 GiB");
	ok(pwrite(fd, "b", 1, (1l << 30) - PAGE) == 1 && pwrite(fd, "a", 1, 1l << 30) == 1,
	   "with two blocks, before and after 1 GiB");
	for (int i = 0; i < 2; i++) {
		p = map(2 * PAGE, PROT_READ, EPH, (1l << 30) - PAGE);
		ok(p != MAP_FAILED && look(p) == 'b' && look(p + PAGE) == 'a',
		   "a mapping across shows both");
		munmap(p, 2 * PAGE);
	}
	close(fd);
	unlink("ephemeral.far");
	fd = keep;
}

static void test_sizes(void)
{
	char *p = map(3 * PAGE, PROT_READ, BATCH, 5 * PAGE);

	ok(p != MAP_FAILED && shows(p, 5, 3), "a part of the file, from an offset");
	is(munmap(p, 3 * PAGE), 0, "munmap of it");
	p = map((1l << 30) + PAGE, PROT_READ, EPH, 0);
	ok(p != MAP_FAILED && shows(p, 0, PAGES), "more than 1 GiB");
	is(mprotect(p, LEN, PROT_NONE), 0, "which is an ordinary mapping: mprotect works");
	is(munmap(p, PAGE), 0, "and munmap of a part");
	is(munmap(p + PAGE, 1l << 30), 0, "and of the rest");
	p = map(LEN - 100, PROT_READ, BATCH, 0);
	is(munmap(p, LEN), 0, "the length is rounded to pages");
}

static struct {
	int place; // a descriptor that is another file every moment
	int letter[2];
	volatile bool stop;
} swapped;

static void *swaps(void *arg)
{
	(void)arg;
	for (long i = 0; !swapped.stop; i++) {
		dup2(swapped.letter[i & 1], swapped.place);
		if (i % 16 == 0)
			close(swapped.place);
	}
	return NULL;
}

// mmap looks at the descriptor without taking a reference, while another thread makes it another
// file, opened for reading only. No mapping that may be written shows that one.
static void test_swapped_descriptor(void)
{
	int keep = fd, seen[3] = { 0 };
	pthread_t thread;
	bool good = true;

	swapped.letter[0] = open_pattern("ephemeral.a", 1);
	close(open_pattern("ephemeral.b", 1));
	swapped.letter[1] = open("ephemeral.b", O_RDWR);
	good &= pwrite(swapped.letter[1], "B", 1, 0) == 1;
	close(swapped.letter[1]);
	swapped.letter[1] = open("ephemeral.b", O_RDONLY);
	swapped.place = fd = dup(swapped.letter[0]);
	swapped.stop = false;
	if (pthread_create(&thread, NULL, swaps, NULL)) {
		printf("Bail out! no thread\n");
		return;
	}
	for (int i = 0; i < 10 * ROUNDS; i++) {
		int prot = i & 1 ? RW : PROT_READ;
		char *p = map(PAGE, prot, BATCH, 0);

		if (p == MAP_FAILED) {
			good &= errno == EBADF || (errno == EACCES && prot == RW);
			seen[0]++;
			continue;
		}
		good &= *p == mark(0) || (*p == 'B' && prot == PROT_READ);
		seen[*p == 'B' ? 1 : 2]++;
		munmap(p, PAGE);
	}
	swapped.stop = true;
	pthread_join(thread, NULL);
	ok(good && seen[2], "a descriptor that changes: one file or the other, or an error");
	close(fd);
	close(swapped.letter[0]);
	close(swapped.letter[1]);
	unlink("ephemeral.a");
	unlink("ephemeral.b");
	fd = keep;
}

static char *inherited;

static int child_looks(void)
{
	return look(inherited) == -SIGSEGV ? 0 : 1;
}

static void test_fork(void)
{
	inherited = map(LEN, RW, EPH, 0);
	is(in_child(child_looks), 0, "a child does not inherit it");
	ok(shows(inherited, 0, PAGES), "and the parent keeps it");
	munmap(inherited, LEN);
}

static long blocks_free(void)
{
	struct statvfs st;

	return statvfs(".", &st) ? -1 : (long)st.f_bfree;
}

// The program that the child becomes: it says so, and waits.
static int after_exec(void)
{
	char byte;

	return write(STDOUT_FILENO, "x", 1) == 1 && read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

static void become_another(int in, int out)
{
	static char *const args[] = { "ephemeral_test", "after-exec", NULL };
	char *p;

	for (int i = 0; i < 4; i++) { // live, and with a table of its own; unmapped just now
		p = map(LEN, RW, i & 1 ? BATCH : EPH, 0);
		if (store(p + (LEN - PAGE), 'x') || (i >= 2 && munmap(p, LEN)))
			_exit(2);
	}
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execv("/proc/self/exe", args);
	_exit(3);
}

// exec drains what is mapped and what was unmapped a moment ago: the new program holds nothing of
// the file, whose blocks come back when its name goes.
static void test_exec(void)
{
	long before = blocks_free();
	int in[2], out[2], keep = fd, status = -1;
	pid_t child;
	char byte;

	fd = open_pattern("ephemeral.exec", PAGES - 4); // and a hole
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || ftruncate(fd, LEN) || pipe2(in, O_CLOEXEC) ||
	    pipe2(out, O_CLOEXEC))
		printf("Bail out! no pipes\n");
	child = fork();
	if (child == 0)
		become_another(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	close(fd);
	is(read(out[0], &byte, 1), 1, "a child with ephemeral mappings becomes another program");
	unlink("ephemeral.exec");
	for (int i = 0; i < 100 && blocks_free() < before; i++)
		usleep(10000); // blocks rest for an epoch
	ok(blocks_free() >= before, "and no block of the file is held");
	close(in[1]);
	close(out[0]);
	waitpid(child, &status, 0);
	is(status, 0, "it ends");
	fd = keep;
}

// What may be done with a file is asked when it is mapped.
static void test_chmod(void)
{
	char *p = map(LEN, RW, BATCH, 0);

	is(fchmod(fd, 0), 0, "chmod");
	ok(shows(p, 0, PAGES) && store(p, mark(0)) == 0, "ends no mapping");
	munmap(p, LEN);
	is(fchmod(fd, 0644), 0, "and back");
}

static bool mentioned(const char *file, const void *p)
{
	char line[400], start[32];
	FILE *f = fopen(file, "r");
	bool found = false;

	snprintf(start, sizeof(start), "%08lx-", (unsigned long)p);
	while (f && fgets(line, sizeof(line), f))
		found = found || strncmp(line, start, strlen(start)) == 0;
	if (f)
		fclose(f);
	return found;
}

static void test_system_calls(void)
{
	char *p = map(LEN, RW, BATCH, 0), *q = map(LEN, RW, EPH, 0);
	unsigned char there[PAGES];
	int other = open_pattern("ephemeral.other", 0);

	ok(mentioned("/proc/self/maps", p), "it is in /proc/self/maps");
	ok(mentioned("/proc/self/smaps", q), "and in smaps");
	is(write(other, p, LEN), LEN, "write() from it");
	is(pread(other, q + PAGE, PAGE, 3 * PAGE), PAGE, "read() into it");
	is(look(p + PAGE), mark(3), "which the other mapping sees");
	is(pwrite(fd, p, PAGE, PAGE), PAGE, "write() from a mapping of the same file");
	is(look(q + PAGE), mark(0), "which both see");
	memset(q + PAGE, mark(1), PAGE);
	is(msync(q, LEN, MS_SYNC), 0, "msync");
	fails(msync(q, LEN + 100 * PAGE, MS_SYNC), ENOMEM, "msync of more than it");
	is(madvise(p, LEN, MADV_DONTNEED), 0, "madvise");
	is(mincore(p, LEN, there), 0, "mincore");
	is(mlock(p, LEN), 0, "mlock");
	munmap(p, LEN);
	munmap(q, LEN);
	close(other);
	unlink("ephemeral.other");
}

// A closed file's memory is used for the next one that is opened. It once kept what mmap had found
// in the first one, so that a mapping of the second showed the first.
static void test_next_file(void)
{
	int keep = fd;
	char *p;

	for (int i = 0; i < 2; i++) {
		fd = open_pattern("ephemeral.next", 0);
		is(pwrite(fd, i ? "B" : "A", 1, 0), 1, "a file");
		p = map(PAGE, PROT_READ, BATCH, 0);
		is(look(p), i ? 'B' : 'A', "a mapping shows the file that was opened");
		munmap(p, PAGE);
		unlink("ephemeral.next");
		close(fd);
	}
	fd = keep;
}

static void holes(long pages, const char *name)
{
	char *p, *q;
	int keep = fd;

	fd = open_pattern("ephemeral.hole", 0);
	if (ftruncate(fd, pages * PAGE))
		return;
	p = map(pages * PAGE, RW, BATCH, 0);
	q = map(pages * PAGE, RW, EPH, 0);
	ok(look(p) == 0 && look(p + (pages - 1) * PAGE) == 0, "%s: holes read as zeros", name);
	is(store(q + PAGE, 7), 0, "a store fills one");
	is(look(p + PAGE), 7, "and the other mapping sees it");
	is(pwrite(fd, "x", 1, 0), 1, "write() fills one");
	is(look(p), 'x', "and a zero page seen before gives way");
	is(look(p + pages * PAGE), -SIGBUS, "SIGBUS beyond the end of the file");
	munmap(p, (size_t)(pages * PAGE));
	munmap(q, (size_t)(pages * PAGE));
	close(fd);
	unlink("ephemeral.hole");
	fd = keep;
}

// Story: with batching the range may stay reachable for two ticks after munmap; when the file loses
// the blocks meanwhile, it may not.
static void test_losing_blocks(void)
{
	char *p = map(LEN, RW, BATCH, 0), *q = map(LEN, RW, BATCH, 0);
	int bad = 0;

	munmap(q, LEN);
	is(ftruncate(fd, 2 * PAGE), 0, "truncate");
	is(look(q + 2 * PAGE), -SIGSEGV, "an unmapped range ends with it");
	is(look(p + 2 * PAGE), -SIGBUS, "a mapped one gives SIGBUS");
	ok(shows(p, 0, 2), "and keeps what is left");
	munmap(p, LEN);
	// Whatever is done to the file, nobody sees another file's bytes.
	for (int i = 0; i < ROUNDS && !bad; i++) {
		int f = open_pattern("ephemeral.canary", 2), keep = fd, byte;

		fd = f;
		p = map(2 * PAGE, RW, BATCH, 0);
		bad |= !shows(p, 0, 2);
		munmap(p, 2 * PAGE);
		if (i & 1)
			unlink("ephemeral.canary");
		else
			(void)!ftruncate(f, 0);
		byte = look(p);
		bad |= byte != -SIGSEGV;
		close(f);
		fd = keep;
	}
	ok(!bad, "%d times unmapped and truncated or unlinked: never seen again", ROUNDS);
	unlink("ephemeral.canary");
}

static int child_maps_until_refused(void)
{
	struct rlimit limit = { TIGHT, TIGHT };
	long n = 0;

	if (setrlimit(RLIMIT_AS, &limit))
		return 2;
	while (map(LEN, PROT_READ, BATCH, 0) != MAP_FAILED)
		if (++n > TIGHT / LEN)
			return 1;
	return errno == ENOMEM && n > TIGHT / LEN / 2 ? 0 : 3;
}

static void test_many(void)
{
	static char *at[1000];
	int bad = 0, reused = 0;

	for (int i = 0; i < 1000; i++) {
		at[i] = map(PAGE, PROT_READ, BATCH, i % PAGES * PAGE);
		bad |= at[i] == MAP_FAILED || look(at[i]) != mark(i % PAGES);
	}
	for (int i = 0; i < 1000; i++)
		bad |= look(at[i]) != mark(i % PAGES) || munmap(at[i], PAGE) != 0;
	ok(!bad, "a thousand at a time");
	for (int i = 0; i < 100 * ROUNDS && !bad; i++) {
		char *p = map(PAGE, PROT_READ, BATCH, i % PAGES * PAGE);

		bad = p == MAP_FAILED || look(p) != mark(i % PAGES) || munmap(p, PAGE);
		reused += p == at[0];
	}
	ok(!bad, "%d one after the other", 100 * ROUNDS);
	is(in_child(child_maps_until_refused), 0, "RLIMIT_AS counts them: ENOMEM");
}

// A call that is refused, while the mapping that a like one made is just unmapped.
static void test_refused_while_warm(void)
{
	int rdwr = fd, rdonly = open("ephemeral", O_RDONLY);
	bool good = true;

	for (int i = 0; i < ROUNDS; i++) {
		good &= munmap(map(LEN, RW, BATCH, 0), LEN) == 0;
		good &= map(0, RW, BATCH, 0) == MAP_FAILED && errno == EINVAL;
		good &= map(LEN, RW, BATCH, 1) == MAP_FAILED && errno == EINVAL;
		good &= map(LEN, RW, BATCH | 4, 0) == MAP_FAILED && errno == EINVAL;
		good &= map(-1, RW, BATCH, 0) == MAP_FAILED && errno == ENOMEM;
		// Its size of huge pages has a bit in common with MAP_DAXVM_EPHEMERAL.
		good &= map(LEN, RW, BATCH | MAP_HUGETLB, 0) == MAP_FAILED && errno == EINVAL;
		good &= mmap(NULL, LEN, RW, BATCH, -1, 0) == MAP_FAILED && errno == EBADF;
		fd = rdonly;
		good &= map(LEN, RW, BATCH, 0) == MAP_FAILED && errno == EACCES;
		fd = rdwr;
	}
	ok(good, "a call that is wrong is refused whatever was there a moment ago");
	close(rdonly);
	fails((long)mmap(NULL, LEN, PROT_READ, BATCH, rdonly, 0), EBADF, "a closed descriptor");
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "after-exec") == 0)
		return after_exec();
	enter_scratch_folder();
	fd = open_pattern("ephemeral", PAGES);
	if (!available()) {
		printf("1..0 # SKIP no ephemeral mappings here\n");
		unlink("ephemeral");
		leave_scratch_folder();
		return 0;
	}
	catch_faults();
	test_refused();
	test_rights();
	test_refused_while_warm();
	test_sizes();
	test_beyond();
	test_fork();
	test_exec();
	test_chmod();
	test_system_calls();
	test_next_file();
	test_swapped_descriptor();
	holes(4, "small file");
	holes(20, "file of 80 KiB");
	holes(1500, "file of 6 MiB");
	test_many();
	test_losing_blocks();
	unlink("ephemeral");
	leave_scratch_folder();
	return tap_done();
}
