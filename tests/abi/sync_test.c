// SPDX-License-Identifier: MIT
//
// Making stores through mappings durable: msync, fsync, fdatasync, sync_file_range; what they
// refuse, and that nothing which they do to a mapping changes what it shows. Linux ignores
// MAP_DAXVM, so that it is the oracle for every kind of mapping.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>

#include "tests/abi/tap.h"
#include "user/daxvm.h"

#define PAGE  4096l
#define CHUNK (2l << 20)
#define BYTES (3 * CHUNK)

static long invalid_flags(char *p)
{
	long bad = 0;

	for (int flags = 8; flags < 1 << 16; flags <<= 1)
		bad += msync(p, PAGE, flags) != -1 || errno != EINVAL;
	return bad;
}

static void arguments(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	is(invalid_flags(p), 0, "msync with an unknown flag");
	fails(msync(p, PAGE, MS_SYNC | MS_ASYNC), EINVAL, "both kinds");
	fails(msync(p + 8, PAGE, MS_SYNC), EINVAL, "an address inside a page");
	is(msync(p, 4 * PAGE, 0), 0, "no kind at all");
	is(msync(p, 4 * PAGE, MS_ASYNC), 0, "MS_ASYNC");
	is(msync(p, 4 * PAGE, MS_SYNC | MS_INVALIDATE), 0, "MS_INVALIDATE");
	is(msync(p, 1, MS_SYNC), 0, "one byte");
	is(msync((void *)(16 * PAGE), 0, MS_SYNC), 0, "nothing, where nothing is");
	fails(msync((void *)(16 * PAGE), 1, MS_SYNC), ENOMEM, "a byte there");
	fails(msync(p, (size_t)-PAGE, MS_SYNC), ENOMEM, "a range that wraps");
	munmap(p + PAGE, PAGE);
	fails(msync(p, 4 * PAGE, MS_SYNC), ENOMEM, "a hole in the range");
	fails(msync(p, 4 * PAGE, MS_ASYNC), ENOMEM, "the same, MS_ASYNC");
	fails(msync(p + PAGE, PAGE, MS_SYNC), ENOMEM, "nothing but a hole");
	fails(msync(p, 2 * PAGE, MS_SYNC), ENOMEM, "a hole at its end");
	munmap(p, 4 * PAGE);
}

static char *locked_page;

static int child_of_locked(void)
{
	return msync(locked_page, PAGE, MS_INVALIDATE) ? 1 : 0;
}

static void locked(void)
{
	char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *q;

	locked_page = p + 3 * PAGE;
	is(mlock(locked_page, PAGE), 0, "mlock of a page");
	fails(msync(p, 8 * PAGE, MS_INVALIDATE), EBUSY, "MS_INVALIDATE over it");
	fails(msync(locked_page, PAGE, MS_SYNC | MS_INVALIDATE), EBUSY, "of it");
	is(msync(p, 8 * PAGE, MS_SYNC), 0, "without MS_INVALIDATE");
	is(msync(p, 3 * PAGE, MS_INVALIDATE), 0, "MS_INVALIDATE below it");
	is(msync(p + 4 * PAGE, 4 * PAGE, MS_INVALIDATE), 0, "above it");
	is(in_child(child_of_locked), 0, "a child does not inherit it");
	munmap(p + PAGE, PAGE);
	fails(msync(p, 8 * PAGE, MS_INVALIDATE), EBUSY, "a hole below it is not what is reported");
	q = mremap(locked_page, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	fails(msync(q, PAGE, MS_INVALIDATE), EBUSY, "moved, it is locked still");
	is(munlock(q, 2 * PAGE), 0, "munlock");
	is(msync(q, PAGE, MS_INVALIDATE), 0, "MS_INVALIDATE then");
	munmap(q, 2 * PAGE);
	munmap(p, 8 * PAGE);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	fails(msync(p, PAGE, MS_INVALIDATE), EBUSY, "MAP_LOCKED");
	munmap(p, PAGE);
}

static void descriptors(void)
{
	int fd = open("synced", O_RDWR | O_CREAT | O_TRUNC, 0644), ends[2], path;

	is(pwrite(fd, "x", 1, PAGE), 1, "a file");
	is(fsync(fd), 0, "fsync");
	is(fdatasync(fd), 0, "fdatasync");
	is(sync_file_range(fd, 0, 0, 0), 0, "sync_file_range of nothing");
	is(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE), 0, "to the end");
	is(sync_file_range(fd, PAGE, PAGE, 7), 0, "of a part");
	is(sync_file_range(fd, 1000 * PAGE, 1, 7), 0, "beyond the end");
	fails(sync_file_range(fd, 0, 1, 8), EINVAL, "an unknown flag");
	fails(sync_file_range(fd, -1, 1, 2), EINVAL, "a negative offset");
	fails(sync_file_range(fd, 1, -1, 2), EINVAL, "a negative length");
	fails(sync_file_range(fd, INT64_MAX, 1, 2), EINVAL, "an end beyond all files");
	fails(sync_file_range(-1, 0, 1, 2), EBADF, "no descriptor");
	fails(fsync(-1), EBADF, "fsync of no descriptor");
	is(pipe(ends), 0, "a pipe");
	fails(sync_file_range(ends[1], 0, 1, 2), ESPIPE, "sync_file_range of it");
	fails(fsync(ends[1]), EINVAL, "fsync of it");
	path = open("synced", O_PATH);
	fails(fsync(path), EBADF, "fsync of a path");
	fails(sync_file_range(path, 0, 1, 2), EBADF, "sync_file_range of it");
	close(path);
	path = open("synced", O_RDONLY);
	is(fsync(path), 0, "fsync by a descriptor for reading");
	close(path);
	close(ends[0]);
	close(ends[1]);
	close(fd);
	unlink("synced");
}

// ---- Stores and syncs at random -----------------------------------------------------------------

static uint64_t random_state = 815;

static long random_below(long n)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (long)(random_state >> 33) % n;
}

// Any of them, of any part.
static bool sync_some(char *p, long bytes, int fd)
{
	long from = random_below(bytes / PAGE) * PAGE, len = 1 + random_below(bytes - from);

	switch (random_below(6)) {
	case 0: return fsync(fd) == 0;
	case 1: return fdatasync(fd) == 0;
	case 2: return msync(p, (size_t)bytes, MS_SYNC) == 0;
	case 3: return msync(p + from, (size_t)len, MS_SYNC) == 0;
	case 4: return msync(p + from, (size_t)len, MS_ASYNC) == 0;
	default: return sync_file_range(fd, from, len, 7) == 0;
	}
}

static bool holds(int fd, const char *copy, long bytes)
{
	char page[PAGE];

	for (long at = 0; at < bytes; at += PAGE)
		if (pread(fd, page, PAGE, at) != PAGE || memcmp(page, copy + at, PAGE) != 0)
			return false;
	return true;
}

static struct {
	volatile char *p;
	long bytes;
} inherited;

static int child_stores(void)
{
	inherited.p[inherited.bytes - 1] = 'c';
	return inherited.p[inherited.bytes - 1] == 'c' ? 0 : 1;
}

// `may_protect`: the kind of mapping has mprotect.
static void stores(const char *kind, int flags, long bytes, bool may_protect)
{
	int fd = open("synced", O_RDWR | O_CREAT | O_TRUNC, 0644);
	char *copy = calloc(1, (size_t)bytes), *p, *q;
	bool good = true;

	ok(copy && fd >= 0 && posix_fallocate(fd, 0, bytes / 2) == 0 && ftruncate(fd, bytes) == 0,
	   "%s of %ld KiB: half blocks, half holes", kind, bytes / 1024);
	p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	q = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	is(p != MAP_FAILED && q != MAP_FAILED, 1, "mapped twice");
	for (int i = 0; i < 400 && good; i++) {
		long at = random_below(bytes);

		(random_below(4) ? p : q)[at] = copy[at] = (char)('a' + i % 26);
		if (i % 3 == 0)
			good = sync_some(p, bytes, fd);
		if (i % 50 == 25 && may_protect)
			good = mprotect(p, (size_t)bytes / 2, PROT_READ) == 0 &&
			       mprotect(p, (size_t)bytes / 2, PROT_READ | PROT_WRITE) == 0;
	}
	is(good, 1, "stored and synced");
	is(holds(fd, copy, bytes), 1, "the file has it all");
	is(memcmp(p, copy, (size_t)bytes) == 0 && memcmp(q, copy, (size_t)bytes) == 0, 1,
	   "so have both mappings");
	inherited.p = q;
	inherited.bytes = bytes;
	is(fsync(fd), 0, "clean");
	is(in_child(child_stores), 0, "a child stores");
	is(p[bytes - 1], 'c', "its parent sees it");
	is(fsync(fd), 0, "synced again");
	is(ftruncate(fd, bytes / 4), 0, "shrunk");
	is(fsync(fd), 0, "synced");
	p[0] = 'd';
	is(q[0], 'd', "what is left can be written");
	is(munmap(p, (size_t)bytes) | munmap(q, (size_t)bytes), 0, "unmapped");
	is(fsync(fd), 0, "synced after that");
	close(fd);
	free(copy);
	unlink("synced");
}

int main(void)
{
	static const long sizes[] = { 5 * PAGE, 64 * PAGE, BYTES };

	enter_scratch_folder();
	arguments();
	locked();
	descriptors();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		stores("plain", MAP_SHARED, sizes[i], true);
		stores("attached", MAP_SHARED | MAP_DAXVM, sizes[i], true);
		stores("nosync", MAP_SHARED | MAP_DAXVM | MAP_DAXVM_NOSYNC, sizes[i], true);
		stores("ephemeral", MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL, sizes[i], false);
		stores("ephemeral, batching",
		       MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING, sizes[i],
		       false);
	}
	leave_scratch_folder();
	return tap_done();
}
