// SPDX-License-Identifier: MIT
//
// mmap, munmap, mprotect, brk: results, errno values, and which accesses are let through.
#include <fcntl.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/abi/tap.h"

#define PAGE 4096ul

static sigjmp_buf escape;
static volatile int fault_signal, fault_code;
static void *volatile fault_address;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	fault_signal = sig;
	fault_code = info->si_code;
	fault_address = info->si_addr;
	siglongjmp(escape, 1);
}

static void catch_faults(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

// The signal that an access raised, 0 if none.
static int try_read(volatile char *p)
{
	fault_signal = 0;
	if (sigsetjmp(escape, 1) == 0)
		(void)*p;
	return fault_signal;
}

static int try_write(volatile char *p)
{
	fault_signal = 0;
	if (sigsetjmp(escape, 1) == 0)
		*p = 1;
	return fault_signal;
}

static char *map_anonymous(size_t bytes, int prot)
{
	return mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void test_anonymous(void)
{
	char *p = map_anonymous(16 * PAGE, PROT_READ | PROT_WRITE);
	bool zero = true;

	ok(p != MAP_FAILED, "anonymous memory");
	for (size_t i = 0; i < 16 * PAGE; i++)
		zero &= p[i] == 0;
	ok(zero, "it reads as zeros");
	memset(p, 0x5a, 16 * PAGE);
	is(p[7 * PAGE + 5], 0x5a, "and keeps what is written");

	is(munmap(p + 4 * PAGE, 2 * PAGE), 0, "unmap the middle");
	is(try_read(p + 4 * PAGE), SIGSEGV, "the middle is gone");
	is(fault_code, SEGV_MAPERR, "si_code is SEGV_MAPERR");
	ok(fault_address == p + 4 * PAGE, "si_addr is the address");
	is(p[3 * PAGE], 0x5a, "the part below is still there");
	is(p[6 * PAGE], 0x5a, "the part above is still there");
	is(munmap(p, 16 * PAGE), 0, "unmap over a gap");
	is(munmap(p, 16 * PAGE), 0, "unmap what is not mapped");
}

static void test_protection(void)
{
	char *p = map_anonymous(3 * PAGE, PROT_READ | PROT_WRITE);

	p[PAGE] = 42;
	is(mprotect(p + PAGE, PAGE, PROT_READ), 0, "make the middle page read-only");
	is(try_write(p + PAGE), SIGSEGV, "a write to it");
	is(fault_code, SEGV_ACCERR, "si_code is SEGV_ACCERR");
	is(p[PAGE], 42, "a read of it");
	is(try_write(p), 0, "a write below it");
	is(try_write(p + 2 * PAGE), 0, "a write above it");
	is(mprotect(p + PAGE, PAGE, PROT_NONE), 0, "no access at all");
	is(try_read(p + PAGE), SIGSEGV, "a read of it");
	is(mprotect(p, 3 * PAGE, PROT_READ | PROT_WRITE), 0, "all access again");
	is(p[PAGE], 42, "the content was kept");
	fails(syscall(SYS_mprotect, p + 1, PAGE, PROT_READ), EINVAL,
	      "mprotect of an unaligned address");
	munmap(p + PAGE, PAGE);
	fails(mprotect(p, 3 * PAGE, PROT_READ), ENOMEM, "mprotect over a gap");
	munmap(p, 3 * PAGE);
}

static void test_placement(void)
{
	char *p = map_anonymous(4 * PAGE, PROT_READ | PROT_WRITE), *q;

	p[0] = 1;
	q = mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ok(q == p, "MAP_FIXED maps where it is told");
	is(p[0], 0, "and replaces what was there");
	q = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	fails((long)q, EEXIST, "MAP_FIXED_NOREPLACE does not replace");
	munmap(p, 4 * PAGE);
	q = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok(q == p, "a free hint is taken");
	munmap(q, PAGE);
	fails((long)mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
	      EINVAL, "MAP_FIXED of an unaligned address");
	fails((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL,
	      "length 0");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL,
	      "neither private nor shared");
	fails((long)mmap(NULL, 1ul << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM,
	      "more than the address space");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF, "no descriptor");
	fails(munmap(p + 1, PAGE), EINVAL, "munmap of an unaligned address");
	fails(munmap(p, 0), EINVAL, "munmap of nothing");
}

static char *private_page, *shared_page;

static int child_of_private(void)
{
	bool saw = private_page[0] == 1 && shared_page[0] == 1;

	private_page[0] = 2;
	shared_page[0] = 2;
	return saw ? 0 : 1;
}

static void test_fork(void)
{
	private_page = map_anonymous(PAGE, PROT_READ | PROT_WRITE);
	shared_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	private_page[0] = shared_page[0] = 1;
	is(in_child(child_of_private), 0, "a child sees what its parent wrote");
	is(private_page[0], 1, "its writes to private memory stay its own");
	is(shared_page[0], 2, "its writes to shared memory are seen");
	munmap(private_page, PAGE);
	munmap(shared_page, PAGE);
}

static void test_files(void)
{
	int fd = open("map", O_RDWR | O_CREAT | O_TRUNC, 0644), reader;
	char *p, *q, byte;

	is(ftruncate(fd, PAGE + 100), 0, "a file of one page and a bit");
	p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(p != MAP_FAILED, "shared, longer than the file");
	p[5] = 'x';
	is(pread(fd, &byte, 1, 5), 1, "read what was stored through the mapping");
	is(byte, 'x', "it is the same byte");
	is(pwrite(fd, "y", 1, 6), 1, "write to the file");
	is(p[6], 'y', "the mapping sees it");
	is(p[PAGE + 100], 0, "beyond the end, in the last page: zero");
	is(try_read(p + 2 * PAGE), SIGBUS, "a page wholly beyond the end");
	is(fault_code, BUS_ADRERR, "si_code is BUS_ADRERR");

	q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	q[5] = 'z';
	is(p[5], 'x', "a private write is not seen by others");
	is(munmap(q, PAGE), 0, "unmap the private one");
	is(ftruncate(fd, 0), 0, "truncate the mapped file");
	is(try_read(p), SIGBUS, "the mapping lost its pages");
	is(ftruncate(fd, PAGE), 0, "and back");
	is(try_read(p), 0, "a page is there again");
	is(p[5], 0, "it is zero");
	is(msync(p, PAGE, MS_SYNC), 0, "msync");
	munmap(p, 3 * PAGE);

	reader = open("map", O_RDONLY);
	fails((long)mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, reader, 0), EACCES,
	      "shared and writable of a descriptor that is read-only");
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
	ok(p != MAP_FAILED, "private and writable of it");
	munmap(p, PAGE);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, 0);
	fails(mprotect(p, PAGE, PROT_READ | PROT_WRITE), EACCES, "mprotect cannot widen it");
	munmap(p, PAGE);
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, 100), EINVAL,
	      "an unaligned offset");
	close(reader);
	close(fd);
	unlink("map");
}

static void test_break(void)
{
	uintptr_t start = (uintptr_t)syscall(SYS_brk, 0), now;
	volatile char *p = (volatile char *)start;

	ok(start != 0, "brk(0) tells the break");
	now = (uintptr_t)syscall(SYS_brk, start + 0xd00);
	is((long)(now - start), 0xd00, "an unaligned break is kept to the byte");
	now = (uintptr_t)syscall(SYS_brk, start + 5 * PAGE);
	is((long)(now - start), 5 * PAGE, "a larger one");
	p[4 * PAGE] = 7;
	is(p[4 * PAGE], 7, "the memory is there");
	is((long)((uintptr_t)syscall(SYS_brk, 1ul << 62) - start), 5 * PAGE,
	   "too much changes nothing");
	now = (uintptr_t)syscall(SYS_brk, start);
	is((long)(now - start), 0, "back to the start");
	is(try_read(p + 4 * PAGE), SIGSEGV, "the memory is gone");
}

int main(void)
{
	enter_scratch_folder();
	catch_faults();
	test_anonymous();
	test_protection();
	test_placement();
	test_fork();
	test_files();
	test_break();
	leave_scratch_folder();
	return tap_done();
}
