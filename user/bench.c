// SPDX-License-Identifier: MIT
//
// What: the cost of the ways to a file's bytes and of the calls around them, in ticks of the
// time-stamp counter, as CSV on stdout: operation, file, ticks, page faults. Under `make bench` a
// tick is exactly one instruction. Runs on Linux too.
//
//     bench FILE...            all operations, on these files and in the folder of the first
//     bench -o OPERATION FILE     one of them
//     bench -n N OPERATION FILE   one operation N times, nothing measured: for a profiler
//
// Each operation is done once to warm up (page tables of the program, caches of the kernel) and
// then measured; the smallest of a few repetitions counts.
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "user/daxvm.h"

#define PAGE      4096
#define REPEAT    3
#define APPENDS   512    // so that the growth of tables is in the average
#define NAMES     100000 // in the folder that names come to and go from
#define SUM_BYTES 32768
#define MAPS      128         // at the same time, where an operation maps anew each time
#define CHUNK     (2l << 20)  // what becomes dirty at once
#define STORES    (1l << 30)  // bytes that are mapped to be stored to
#define FULL      (8 * CHUNK) // at their beginning: all blocks are there; behind, one in each chunk
#define EPHEMERAL (MAP_SHARED_VALIDATE | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)

struct result {
	uint64_t ticks;
	long faults;
};

struct target {
	const char *name;
	int fd;
	size_t size;
};

// A file for writing and a folder full of names, beside the first file.
static char scratch_file[PATH_MAX], full_folder[PATH_MAX], new_name[PATH_MAX];
static int scratch = -1;
static char page[PAGE];
static volatile char *stored; // of STORES bytes
static volatile char *mapped; // of what the operation works on, by its preparation

// ---- Operations: false if not available ---------------------------------------------------------

static bool call(const struct target *t)
{
	(void)t;
	return syscall(SYS_getppid) >= 0;
}

static bool open_close(const struct target *t)
{
	int fd = open(t->name, O_RDONLY);

	return fd >= 0 && close(fd) == 0;
}

static bool read_byte(const struct target *t)
{
	return pread(t->fd, page, 1, 0) == 1;
}

static bool read_page(const struct target *t)
{
	return pread(t->fd, page, PAGE, 0) == PAGE;
}

static bool overwrite(const struct target *t)
{
	(void)t;
	return pwrite(scratch, page, PAGE, 0) == PAGE;
}

static bool append(const struct target *t)
{
	(void)t;
	return write(scratch, page, PAGE) == PAGE;
}

static bool create_unlink(const struct target *t)
{
	int fd = open(new_name, O_RDWR | O_CREAT | O_EXCL, 0644);

	(void)t;
	return fd >= 0 && close(fd) == 0 && unlink(new_name) == 0;
}

static bool map_unmap(const struct target *t, int flags, bool touch)
{
	volatile char *p = mmap(NULL, t->size, PROT_READ, flags, t->fd, 0);

	if (p == MAP_FAILED)
		return false;
	for (size_t at = 0; touch && at < t->size; at += PAGE)
		(void)p[at];
	return munmap((void *)(uintptr_t)p, t->size) == 0;
}

static bool attach(const struct target *t)
{
	return map_unmap(t, MAP_SHARED_VALIDATE | MAP_DAXVM, false);
}

static bool attach_touch(const struct target *t)
{
	return map_unmap(t, MAP_SHARED_VALIDATE | MAP_DAXVM, true);
}

static volatile uint64_t sum; // so that summing is not optimised away

static void add_words(const char *p, size_t bytes)
{
	const uint64_t *w = (const uint64_t *)(const void *)p;
	uint64_t s = 0;

	for (size_t i = 0; i < bytes / 8; i += 8)
		s += w[i] + w[i + 1] + w[i + 2] + w[i + 3] + w[i + 4] + w[i + 5] + w[i + 6] +
		     w[i + 7];
	sum = s;
}

enum look { UNTOUCHED, TOUCHED, SUMMED };

// So many mappings that none finds the range of the one before still there.
static bool map_many(const struct target *t, size_t size, int flags, enum look look)
{
	static char *at[MAPS];

	for (int i = 0; i < MAPS; i++) {
		at[i] = mmap(NULL, size, PROT_READ, flags, t->fd, 0);
		if (at[i] == MAP_FAILED)
			return false;
		for (size_t byte = 0; look == TOUCHED && byte < size; byte += PAGE)
			(void)*(volatile char *)(at[i] + byte);
		if (look == SUMMED)
			add_words(at[i], size);
	}
	for (int i = 0; i < MAPS; i++)
		if (munmap(at[i], size))
			return false;
	return true;
}

static bool ephemeral(const struct target *t)
{
	return map_many(t, t->size, EPHEMERAL, UNTOUCHED);
}

static bool ephemeral_touch(const struct target *t)
{
	return map_many(t, t->size < 65536 ? t->size : 65536, EPHEMERAL, TOUCHED);
}

static bool ephemeral_touch_chunk(const struct target *t)
{
	return map_many(t, t->size < CHUNK ? t->size : CHUNK, EPHEMERAL, TOUCHED);
}

static bool ephemeral_touch_page(const struct target *t)
{
	return map_many(t, PAGE, EPHEMERAL, TOUCHED);
}

static bool ephemeral_sum_page(const struct target *t)
{
	return map_many(t, PAGE, EPHEMERAL, SUMMED);
}

static bool ephemeral_sum(const struct target *t)
{
	return map_many(t, SUM_BYTES, EPHEMERAL, SUMMED);
}

static bool read_sum(const struct target *t)
{
	static char buffer[SUM_BYTES];

	if (pread(t->fd, buffer, sizeof(buffer), 0) != sizeof(buffer))
		return false;
	add_words(buffer, sizeof(buffer));
	return true;
}

static bool read_sum_page(const struct target *t)
{
	if (!read_page(t))
		return false;
	add_words(page, PAGE);
	return true;
}

static bool ephemeral_sync(const struct target *t)
{
	return map_many(t, t->size, EPHEMERAL & ~MAP_DAXVM_BATCHING, UNTOUCHED);
}

static bool ephemeral_again(const struct target *t)
{
	return map_unmap(t, EPHEMERAL, false);
}

static bool map(const struct target *t)
{
	return map_unmap(t, MAP_SHARED, false);
}

static bool map_touch(const struct target *t)
{
	return map_unmap(t, MAP_SHARED, true);
}

static bool fault(const struct target *t)
{
	(void)t;
	(void)mapped[0];
	return true;
}

// The first store to each chunk of 2 MiB since it was clean, by the preparation.
static bool store(const struct target *t)
{
	(void)t;
	for (long at = CHUNK; at < STORES; at += CHUNK)
		stored[at] = 1;
	return true;
}

static bool store_once(const struct target *t)
{
	(void)t;
	stored[CHUNK] = 1;
	return true;
}

// A word anywhere, and then its line is durable. msync begins at a page, so the lines before it in
// its page are written back, too.
static bool store_sync(const struct target *t)
{
	static uint64_t random = 4711;
	size_t at;

	(void)t;
	random = random * 6364136223846793005ull + 1442695040888963407ull;
	at = (random >> 33) % (FULL / 8) * 8;
	*(volatile uint64_t *)(stored + at) = random;
	return msync((void *)(uintptr_t)(stored + at / PAGE * PAGE), at % PAGE + 8, MS_SYNC) == 0;
}

static bool store_fsync(const struct target *t)
{
	(void)t;
	stored[CHUNK] = 1;
	return fsync(scratch) == 0;
}

static bool read_all(const struct target *t)
{
	static char buffer[65536];
	size_t done = 0;

	while (done < t->size) {
		ssize_t got = pread(t->fd, buffer, sizeof(buffer), (off_t)done);

		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

// ---- Preparations: before each repetition, not measured -----------------------------------------

static bool map_touched(const struct target *t)
{
	if (mapped)
		munmap((void *)(uintptr_t)mapped, t->size);
	mapped = mmap(NULL, t->size, PROT_READ, MAP_SHARED, t->fd, 0);
	if (mapped == MAP_FAILED)
		return false;
	for (size_t at = 0; at < t->size; at += PAGE)
		(void)mapped[at];
	return true;
}

// The fault finds the tables there, and all neighbours of its page mapped, or none but the last.
static bool map_for_fault(const struct target *t)
{
	return map_touched(t) && madvise((void *)(uintptr_t)mapped, PAGE, MADV_DONTNEED) == 0;
}

static bool map_for_faults(const struct target *t)
{
	return map_touched(t) &&
	       madvise((void *)(uintptr_t)mapped, t->size - PAGE, MADV_DONTNEED) == 0;
}

static bool open_scratch(const struct target *t)
{
	(void)t;
	if (scratch < 0)
		scratch = open(scratch_file, O_RDWR | O_CREAT | O_TRUNC, 0644);
	return scratch >= 0 && lseek(scratch, 0, SEEK_SET) == 0 && ftruncate(scratch, 0) == 0;
}

static bool fill_scratch(const struct target *t)
{
	return open_scratch(t) && pwrite(scratch, page, PAGE, 0) == PAGE;
}

// A file of some chunks, all of it mapped, nothing stored since two syncs: not even tables for
// stores are left.
static bool map_stores(const struct target *t)
{
	if (stored)
		return fsync(scratch) == 0 && fsync(scratch) == 0;
	if (!open_scratch(t) || posix_fallocate(scratch, 0, FULL) != 0)
		return false;
	for (long at = FULL; at < STORES; at += CHUNK)
		if (pwrite(scratch, page, 1, at) != 1)
			return false;
	stored = mmap(NULL, STORES, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_DAXVM,
		      scratch, 0);
	return stored != MAP_FAILED;
}

// Clean, and the tables that stores need are there.
static bool map_clean_chunks(const struct target *t)
{
	if (!map_stores(t))
		return false;
	stored[0] = 1;
	return fsync(scratch) == 0;
}

static bool map_dirty_chunks(const struct target *t)
{
	if (!map_stores(t))
		return false;
	for (long at = 0; at < FULL; at += PAGE)
		stored[at] = 1;
	return true;
}

static bool fill_folder(const struct target *t)
{
	static bool done;

	(void)t;
	if (done)
		return true;
	mkdir(full_folder, 0755);
	for (int i = 0; i < NAMES; i++) {
		char name[PATH_MAX + 16];
		int fd;

		snprintf(name, sizeof(name), "%s/%d", full_folder, i);
		fd = open(name, O_RDWR | O_CREAT, 0644);
		if (fd < 0)
			return false;
		close(fd);
	}
	done = true;
	return true;
}

struct operation {
	const char *name;
	bool (*fn)(const struct target *);
	bool (*prepare)(const struct target *); // may be NULL
	int times;                              // between two looks at the counter; 0: 1
	int parts;                              // what one call of fn does so many times; 0: 1
};

// Once, on the first file. Then those of each file.
static const struct operation calls[] = {
	{ "getppid", call, NULL, 0, 0 },
	{ "open+close", open_close, NULL, 0, 0 },
	{ "pread 1 B", read_byte, NULL, 0, 0 },
	{ "pread 4 KiB", read_page, NULL, 0, 0 },
	{ "pwrite 4 KiB", overwrite, fill_scratch, 0, 0 },
	{ "append 4 KiB", append, open_scratch, APPENDS, 0 },
	{ "create+unlink", create_unlink, fill_folder, 0, 0 },
	{ "plain fault", fault, map_for_fault, 0, 0 },
	{ "plain fault 64K", fault, map_for_faults, 0, 0 },
	{ "first store to 2 MiB", store, map_clean_chunks, 0, STORES / CHUNK - 1 },
	{ "first store to a GiB", store_once, map_stores, 0, 0 },
	{ "store+msync line", store_sync, map_dirty_chunks, 256, 0 },
	{ "store+fsync", store_fsync, map_clean_chunks, 0, 0 },
};
static const struct operation ways[] = {
	{ "ephemeral", ephemeral, NULL, 0, MAPS },
	{ "ephemeral again", ephemeral_again, NULL, MAPS, 0 },
	{ "ephemeral 4K touch", ephemeral_touch_page, NULL, 0, MAPS },
	{ "ephemeral 64K touch", ephemeral_touch, NULL, 0, MAPS },
	{ "ephemeral 2M touch", ephemeral_touch_chunk, NULL, 0, MAPS },
	{ "ephemeral 4K sum", ephemeral_sum_page, NULL, 0, MAPS },
	{ "ephemeral 32K sum", ephemeral_sum, NULL, 0, MAPS },
	{ "read 4K sum", read_sum_page, NULL, 0, 0 },
	{ "read 32K sum", read_sum, NULL, 0, 0 },
	{ "ephemeral sync", ephemeral_sync, NULL, 0, MAPS },
	{ "attach+unmap", attach, NULL, 0, 0 },
	{ "attach+touch+unmap", attach_touch, NULL, 0, 0 },
	{ "mmap+unmap", map, NULL, 0, 0 },
	{ "mmap+touch+unmap", map_touch, NULL, 0, 0 },
	{ "read", read_all, NULL, 0, 0 },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

// ---- Measuring ----------------------------------------------------------------------------------

static bool once(const struct operation *o, const struct target *t, struct result *r)
{
	int times = o->times ? o->times : 1, all = times * (o->parts ? o->parts : 1);
	long faults_before;
	uint64_t start;

	if (o->prepare && !o->prepare(t))
		return false;
	faults_before = faults();
	start = ticks();
	for (int i = 0; i < times; i++)
		if (!o->fn(t))
			return false;
	r->ticks = (ticks() - start) / (unsigned)all;
	r->faults = (faults() - faults_before) / all;
	return true;
}

static void report(const struct operation *o, const struct target *t)
{
	struct result best = { UINT64_MAX, 0 }, r;
	bool available = once(o, t, &r);

	for (int i = 0; available && i < REPEAT; i++) {
		available = once(o, t, &r);
		if (r.ticks < best.ticks)
			best = r;
	}
	if (available)
		printf("%s,%s,%llu,%ld\n", o->name, t->name, (unsigned long long)best.ticks,
		       best.faults);
	else
		printf("%s,%s,not available,\n", o->name, t->name);
	fflush(stdout);
}

static bool open_target(struct target *t, const char *name)
{
	struct stat st;

	*t = (struct target){ name, open(name, O_RDONLY), 0 };
	if (t->fd < 0 || fstat(t->fd, &st) != 0) {
		perror(name);
		return false;
	}
	t->size = (size_t)st.st_size;
	return true;
}

static void choose_scratch(const char *beside)
{
	const char *slash = strrchr(beside, '/');
	int length = slash ? (int)(slash - beside) + 1 : 0;

	snprintf(scratch_file, sizeof(scratch_file), "%.*sbench.file", length, beside);
	snprintf(full_folder, sizeof(full_folder), "%.*sbench.names", length, beside);
	snprintf(new_name, sizeof(new_name), "%.*sbench.names/new", length, beside);
}

static const struct operation *find(const char *name)
{
	for (size_t i = 0; i < COUNT(calls); i++)
		if (strcmp(calls[i].name, name) == 0)
			return &calls[i];
	for (size_t i = 0; i < COUNT(ways); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	return NULL;
}

static int measure(const char *name, const char *file)
{
	const struct operation *o = find(name);
	struct target t;

	if (!o || !open_target(&t, file))
		return 2;
	choose_scratch(file);
	report(o, &t);
	return 0;
}

static int repeat(long n, const char *name, const char *file)
{
	const struct operation *o = find(name);
	struct target t;

	if (!o || !open_target(&t, file))
		return 2;
	choose_scratch(file);
	if (o->prepare && n && !o->prepare(&t))
		return 1;
	for (long i = 0; i < n; i++) {
		// A page faults once; its preparation is in the profile.
		if (o->fn == fault && !o->prepare(&t))
			return 1;
		if (!o->fn(&t))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct target t;

	if (argc == 5 && strcmp(argv[1], "-n") == 0)
		return repeat(strtol(argv[2], NULL, 10), argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "-o") == 0)
		return measure(argv[2], argv[3]);
	if (argc < 2) {
		fprintf(stderr, "usage: bench FILE... | bench -o OPERATION FILE | "
				"bench -n N OPERATION FILE\n");
		return 2;
	}
	printf("operation,file,ticks,faults\n");
	choose_scratch(argv[1]);
	for (int i = 1; i < argc; i++) {
		if (!open_target(&t, argv[i]))
			return 1;
		for (size_t o = 0; i == 1 && o < COUNT(calls); o++)
			report(&calls[o], &t);
		for (size_t o = 0; o < COUNT(ways); o++)
			report(&ways[o], &t);
		close(t.fd);
	}
	return 0;
}
