// SPDX-License-Identifier: MIT
//
// Mappings of files, by faults and by MAP_DAXVM, shared and private, for files of every index
// depth: whatever mmap's family does to them, they behave as POSIX says. Linux ignores the flag, so
// that it is the oracle for both kinds.
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/abi/fault.h"
#include "tests/abi/tap.h"
#include "user/daxvm.h"

#define PAGE 4096l

// 0, or the signal that reading or writing the byte ends with.
static int try_access(volatile char *p, bool write)
{
	int sig = sigsetjmp(on_fault_jump, 1);

	if (sig == 0) {
		char byte = *p;

		if (write)
			*p = byte;
	}
	return sig;
}

// ---- One file, one kind of mapping --------------------------------------------------------------

static struct {
	const char *kind;
	int flags;
	long pages;
	bool whole; // allocated at once, so that it gets large blocks where there are such
	bool shared;
	int fd;
	char *p; // the whole file
} now;

// The first byte of each page of the pattern, at its start and at its end.
static char mark(long page)
{
	return (char)('A' + page % 23);
}

static bool has_pattern(const char *p, long first, long pages)
{
	for (long i = first; i < first + pages; i++)
		if (p[i * PAGE] != mark(i) || p[i * PAGE + PAGE - 1] != mark(i))
			return false;
	return true;
}

static void write_pattern(int fd, long pages)
{
	char page[PAGE];

	for (long i = 0; i < pages; i++) {
		memset(page, mark(i), PAGE);
		if (pwrite(fd, page, PAGE, i * PAGE) != PAGE)
			printf("Bail out! no space for the pattern\n");
	}
}

static void begin(const char *name)
{
	now.fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (now.whole)
		is(posix_fallocate(now.fd, 0, now.pages * PAGE), 0, "posix_fallocate");
	write_pattern(now.fd, now.pages);
	now.p = mmap(NULL, now.pages * PAGE, PROT_READ | PROT_WRITE, now.flags, now.fd, 0);
	ok(now.p != MAP_FAILED && has_pattern(now.p, 0, now.pages), "%s of %ld pages: %s", now.kind,
	   now.pages, name);
}

static void end(long pages)
{
	is(munmap(now.p, pages * PAGE), 0, "unmapped");
	is(try_access(now.p, false), SIGSEGV, "it is gone");
	close(now.fd);
	unlink("mapped");
}

static void stores(void)
{
	long page = now.pages / 2;
	char byte = 0;

	begin("stores");
	now.p[page * PAGE + 100] = '1';
	is(pread(now.fd, &byte, 1, page * PAGE + 100), 1, "read through the descriptor");
	is(byte, now.shared ? '1' : mark(page), "what a store did to the file");
	is(pwrite(now.fd, "2", 1, page * PAGE + 200), 1, "write through the descriptor");
	is(now.p[page * PAGE + 200], now.shared ? '2' : mark(page), "what it did to the mapping");
	is(now.p[page * PAGE + 100], '1', "the store is seen here");
	is(msync(now.p, now.pages * PAGE, MS_SYNC), 0, "msync of all");
	is(msync(now.p + page * PAGE, 1, MS_SYNC), 0, "msync of a part");
	is(madvise(now.p, now.pages * PAGE, MADV_DONTNEED), 0, "MADV_DONTNEED");
	is(now.p[page * PAGE + 100], now.shared ? '1' : mark(page), "the file shows again");
	is(now.p[page * PAGE + 200], '2', "all of it");
	end(now.pages);
}

static void rights(void)
{
	char *page = NULL;

	begin("rights of a part");
	page = now.p + (now.pages / 2) * PAGE;
	page[1] = '3';
	is(mprotect(page, PAGE, PROT_NONE), 0, "no access to one page");
	is(try_access(page, false), SIGSEGV, "reading it");
	is(try_access(now.p, true), 0, "writing the first page");
	is(try_access(now.p + now.pages * PAGE - 1, true), 0, "writing the last");
	is(mprotect(page, PAGE, PROT_READ), 0, "read-only");
	is(page[1], '3', "the store was kept");
	is(try_access(page, true), SIGSEGV, "writing it");
	is(mprotect(now.p, now.pages * PAGE, PROT_READ | PROT_WRITE), 0, "all again");
	page[2] = '4';
	is(page[1] == '3' && page[2] == '4', 1, "it can be written");
	end(now.pages);
}

static void pieces(void)
{
	long page = now.pages / 2;
	char *p;

	begin("unmapped in pieces");
	is(munmap(now.p + page * PAGE, PAGE), 0, "unmap a page in the middle");
	is(try_access(now.p + page * PAGE, false), SIGSEGV, "it is gone");
	is(has_pattern(now.p, 0, page), 1, "what lies below is there");
	is(has_pattern(now.p, page + 1, now.pages - page - 1), 1, "what lies above is there");
	p = mmap(now.p, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0);
	is(p == now.p && p[0] == 0, 1, "anonymous memory over the first page");
	is(has_pattern(now.p, 1, page - 1), 1, "the second is still the file's");
	p = mmap(now.p, PAGE, PROT_READ, MAP_FIXED | MAP_SHARED, now.fd, (now.pages - 1) * PAGE);
	is(p == now.p && p[0] == mark(now.pages - 1), 1, "the file's last page over it");
	end(now.pages);
}

// SIGBUS; but a large block that is attached may reach beyond the end, and is zero there
// (docs/mapping.md). Linux never attaches.
static bool beyond_end(volatile char *p)
{
	return try_access(p, false) == SIGBUS || ((now.flags & MAP_DAXVM) && now.whole && *p == 0);
}

static void shrinking(void)
{
	long left = now.pages / 3, last = now.pages - 1;

	begin("shrunk under the mapping");
	now.p[last * PAGE] = '5'; // privately: a copy, which goes with its page of the file
	is(ftruncate(now.fd, left * PAGE - 10), 0, "ftruncate");
	is(beyond_end(now.p + last * PAGE), true, "beyond the end");
	is(beyond_end(now.p + left * PAGE), true, "right behind the end");
	is(has_pattern(now.p, 0, left - 1), 1, "what is left is there");
	is(now.p[left * PAGE - 1], 0, "the tail of the last page is zero");
	is(ftruncate(now.fd, now.pages * PAGE), 0, "and back");
	is(now.p[last * PAGE], 0, "zero, where the end was once");
	is(now.p[left * PAGE], 0, "and in between");
	is(has_pattern(now.p, 0, left - 1), 1, "the beginning was kept");
	end(now.pages);
}

static void growing(void)
{
	long more = now.pages * 2 + 600; // the index gets a level more
	char *p;

	begin("grown with mremap");
	is(ftruncate(now.fd, more * PAGE), 0, "ftruncate to more");
	is(pwrite(now.fd, "6", 1, (more - 1) * PAGE), 1, "a byte at the new end");
	p = mremap(now.p, now.pages * PAGE, more * PAGE, MREMAP_MAYMOVE);
	ok(p != MAP_FAILED, "mremap");
	now.p = p;
	is(has_pattern(now.p, 0, now.pages), 1, "the beginning is there");
	is(now.p[now.pages * PAGE], 0, "a hole behind it");
	is(now.p[(more - 1) * PAGE], '6', "the new end is there");
	now.p[(more - 2) * PAGE] = '7';
	is(now.p[(more - 2) * PAGE], '7', "a hole can be written");
	end(more);
}

static int child(void)
{
	long last = now.pages - 1;

	if (!has_pattern(now.p, 0, last) || now.p[last * PAGE] != '8')
		return 1;
	now.p[last * PAGE] = '9';
	now.p[0] = '9';
	return munmap(now.p, PAGE) == 0 && try_access(now.p, false) == SIGSEGV ? 0 : 2;
}

static void inherited(void)
{
	long last = now.pages - 1;

	begin("across fork");
	now.p[last * PAGE] = '8';
	is(in_child(child), 0, "the child has it, too");
	is(now.p[last * PAGE], now.shared ? '9' : '8', "the child's store");
	is(now.p[0], now.shared ? '9' : mark(0), "and the other one");
	end(now.pages);
}

// A mapping as source and target of read and write, of the same file even.
static void as_buffers(void)
{
	long last = (now.pages - 1) * PAGE;
	char byte = 0;

	begin("as buffers of calls");
	is(pwrite(now.fd, now.p, PAGE, last), PAGE,
	   "write a page from the mapping to its own file");
	is(pread(now.fd, &byte, 1, last + 7), 1, "read it back");
	is(byte, mark(0), "it is the page");
	is(pread(now.fd, now.p + PAGE, PAGE, last), PAGE, "read a page into the mapping");
	is(now.p[2 * PAGE - 1], mark(0), "it is there");
	is(ftruncate(now.fd, last), 0, "the last page goes");
	if (!now.whole)
		fails(pread(now.fd, now.p + last, PAGE, 0), EFAULT, "read into what is beyond it");
	end(now.pages);
}

static void holes(void)
{
	char *p;
	int fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0644);
	long last = now.pages - 1;

	is(ftruncate(fd, now.pages * PAGE), 0, "a file that is one hole");
	p = mmap(NULL, now.pages * PAGE, PROT_READ | PROT_WRITE, now.flags, fd, 0);
	is(p[0] == 0 && p[last * PAGE + 77] == 0, 1, "it reads as zeros");
	p[last * PAGE] = 'a';
	is(pwrite(fd, "b", 1, 10), 1, "write into the hole");
	is(p[10], 'b', "the mapping shows it, though it showed zeros before");
	is(p[last * PAGE], 'a', "a store into the hole");
	is(p[last * PAGE - 1], 0, "its neighbour");
	is(munmap(p, now.pages * PAGE), 0, "unmapped");
	close(fd);
	unlink("sparse");
}

static void every_kind(void)
{
	static const struct {
		const char *name;
		int flags;
	} kind[] = { { "shared", MAP_SHARED },
		     { "shared, attached", MAP_SHARED | MAP_DAXVM },
		     { "private", MAP_PRIVATE },
		     { "private, attached", MAP_PRIVATE | MAP_DAXVM } };
	static const struct {
		long pages;
		bool whole;
	} size[] = { { 5, false },  { 8, true },     { 16, false },
		     { 512, true }, { 1300, false }, { 1536, true } };

	for (unsigned k = 0; k < sizeof(kind) / sizeof(kind[0]); k++) {
		for (unsigned s = 0; s < sizeof(size) / sizeof(size[0]); s++) {
			now.kind = kind[k].name;
			now.flags = kind[k].flags;
			now.shared = now.flags & MAP_SHARED;
			now.pages = size[s].pages;
			now.whole = size[s].whole;
			stores();
			rights();
			pieces();
			shrinking();
			growing();
			inherited();
			as_buffers();
			holes();
		}
	}
}

// ---- Calls and their errors ---------------------------------------------------------------------

static void executing(void)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; // mov eax, 42; ret
	int fd = open("code", O_RDWR | O_CREAT | O_TRUNC, 0644), got = 0, sig;
	void *p;

	is(pwrite(fd, code, sizeof(code), 0), sizeof(code), "a file of code");
	for (int daxvm = 0; daxvm < 2; daxvm++) {
		p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | (daxvm ? MAP_DAXVM : 0),
			 fd, 0);
		is(((int (*)(void))(uintptr_t)p)(), 42, "it can be called");
		is(mprotect(p, PAGE, PROT_READ), 0, "no longer executable");
		sig = sigsetjmp(on_fault_jump, 1);
		if (sig == 0)
			got = ((int (*)(void))(uintptr_t)p)();
		is(sig, SIGSEGV, "calling it");
		is(got, 0, "nothing came of it");
		munmap(p, PAGE);
	}
	close(fd);
	unlink("code");
}

static void resizing_errors(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p[0] = 'r';
	fails((long)mremap(p + 1, PAGE, PAGE, 0), EINVAL, "mremap of an unaligned address");
	fails((long)mremap(p, PAGE, 0, 0), EINVAL, "mremap to nothing");
	fails((long)mremap(p, PAGE, PAGE, 0x100), EINVAL, "mremap with an unknown flag");
	fails((long)mremap(p, PAGE, PAGE, MREMAP_FIXED, p), EINVAL, "FIXED without MAYMOVE");
	fails((long)mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_FIXED | MREMAP_MAYMOVE, p + PAGE), EINVAL,
	      "onto itself");
	fails((long)mremap(p, PAGE, 8 * PAGE, 0), ENOMEM, "no room and not to be moved");
	is((long)mremap(p, 4 * PAGE, 2 * PAGE, 0), (long)p, "shrunk in place");
	is(try_access(p + 3 * PAGE, false), SIGSEGV, "the end is gone");
	fails((long)mremap(p + 8 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT,
	      "mremap of what is not mapped");
	munmap(p, 2 * PAGE);
}

static void advice_and_sync(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char vec[4] = { 0 };

	p[0] = p[PAGE] = 's';
	is(madvise(p, PAGE, MADV_DONTNEED), 0, "forget a page");
	is(p[0], 0, "it is zero");
	is(p[PAGE], 's', "its neighbour is not");
	is(madvise(p, 4 * PAGE, MADV_SEQUENTIAL), 0, "a hint");
	is(madvise(p, 4 * PAGE, MADV_FREE), 0, "MADV_FREE");
	fails(madvise(p, PAGE, 9999), EINVAL, "unknown advice");
	fails(madvise(p + 1, PAGE, MADV_NORMAL), EINVAL, "advice for an unaligned address");
	is(mincore(p, 4 * PAGE, vec), 0, "mincore");
	is(vec[1] & 1, 1, "a page that was written is there");
	is(vec[3] & 1, 0, "one that was not is not");
	fails(mincore(p + 1, PAGE, vec), EINVAL, "mincore of an unaligned address");
	fails(mincore(p, PAGE, (void *)8), EFAULT, "mincore into nowhere");
	is(mlock(p, 4 * PAGE), 0, "mlock");
	is(munlock(p, 4 * PAGE), 0, "munlock");
	munmap(p + 2 * PAGE, PAGE);
	fails(msync(p, 4 * PAGE, MS_SYNC), ENOMEM, "msync over a gap");
	fails(msync(p, PAGE, MS_SYNC | MS_ASYNC), EINVAL, "both kinds of msync");
	fails(msync(p + 1, PAGE, MS_SYNC), EINVAL, "msync of an unaligned address");
	fails(madvise(p, 4 * PAGE, MADV_NORMAL), ENOMEM, "advice over a gap");
	fails(mincore(p, 4 * PAGE, vec), ENOMEM, "mincore over a gap");
	fails(mlock(p, 4 * PAGE), ENOMEM, "mlock over a gap");
	munmap(p, 4 * PAGE);
}

static int child_with_limit(void)
{
	struct rlimit limit = { 256l << 20, 256l << 20 };
	void *p;

	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return 1;
	p = mmap(NULL, 512l << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED || errno != ENOMEM)
		return 2;
	p = mmap(NULL, 8l << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? 3 : 0;
}

static void descriptors(void)
{
	int fd = open("kind", O_RDWR | O_CREAT | O_TRUNC, 0644), writer = open("kind", O_WRONLY);
	int folder = open(".", O_RDONLY | O_DIRECTORY), path = open("kind", O_PATH), ends[2];

	is(pwrite(fd, "k", 1, 0), 1, "a small file");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, writer, 0), EACCES, "write-only");
	fails((long)mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE, writer, 0), EACCES,
	      "write-only, privately");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, folder, 0), ENODEV, "a folder");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, path, 0), EBADF, "O_PATH");
	is(pipe(ends), 0, "a pipe");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ends[0], 0), ENODEV,
	      "cannot be mapped");
	fails((long)mmap(NULL, PAGE, PROT_READ, 0, fd, 0), EINVAL, "no type");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x200, fd, 0), EOPNOTSUPP,
	      "a flag that nobody knows");
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0), EINVAL,
	      "MAP_SHARED_VALIDATE without a file");
	fails((long)syscall(SYS_mmap, NULL, PAGE * 2, PROT_READ, MAP_SHARED, fd, ~0xfffl),
	      EOVERFLOW, "an offset that overflows");
	is(in_child(child_with_limit), 0, "RLIMIT_AS");
	close(ends[0]);
	close(ends[1]);
	close(path);
	close(folder);
	close(writer);
	close(fd);
	unlink("kind");
}

int main(void)
{
	enter_scratch_folder();
	catch_faults();
	every_kind();
	executing();
	resizing_errors();
	advice_and_sync();
	descriptors();
	leave_scratch_folder();
	return tap_done();
}
