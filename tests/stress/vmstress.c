// SPDX-License-Identifier: MIT
//
// What: processes map, store, unmap, truncate, fork over shared files, and look at every word.
//
//      vmstress [-s SEED] [-t SECONDS] [-n ROUNDS] [-j WORKERS] FOLDER...
//
// A word of a file is 0 or says which file it belongs to and where in it; a word of private memory
// also says whose it is. So a translation that leads to another file, another offset, another
// process or memory that was given back is seen by the first look at it. Which file, which kind and
// which rights are behind each page of a worker's window stands in `shadow`; SIGBUS and SIGSEGV
// where they may come are counted, elsewhere they are failures.
//
// Not seen here: a stale word of the right file at the right place (tests/host and the crash
// tests).

#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/stress/stress.h"

#define PAGE         4096ul
#define WINDOW_PAGES 4096u // 16 MiB
#define CHUNK_PAGES  512u
#define NR_FILES     8u // per folder
#define FOLDERS_MAX  3u
#define FLOATING     4u
#define MAP_DAXVM    0x400000 // ignored by other kernels
#define ANON         0xffu    // in place of a file
#define CHILD        0x40u    // added to a worker's number in its children

#define TAG_SHARED  0xa5ul // the word belongs to a file, or to shared memory
#define TAG_PRIVATE 0x5aul // the word is in the private copy of a worker

enum { FREE, PRIVATE, SHARED };

struct page {
	unsigned char kind, prot, file;
	bool rounded;    // FREE, but the end of an attached unit may reach here
	unsigned offset; // in the file, pages; ANON: in the window
};

static struct page shadow[WINDOW_PAGES];
// Far below what the kernel gives out by itself, and where no unit of 1 GiB can be attached.
static char *const window = (char *)0x10020000000;
static struct floating {
	char *at;
	unsigned pages, offset;
	struct page what;
} floating[FLOATING];
static char **folders;
static unsigned nr_folders, worker;
static unsigned long nr_ops, nr_bus, nr_segv, nr_looks;

static sigjmp_buf on_fault;
static volatile sig_atomic_t expecting;
static volatile int fault_signal;
static uint64_t buffer[(256u << 10) / 8];

static void fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!expecting) {
		complain("vmstress: worker %u: signal %d, address %p\n", worker, sig,
			 info->si_addr);
		_exit(3);
	}
	fault_signal = sig;
	siglongjmp(on_fault, 1);
}

static uint64_t tag(uint64_t kind, unsigned file, uint64_t offset)
{
	return kind << 56 | (uint64_t)file << 48 |
	       (kind == TAG_PRIVATE ? (uint64_t)worker << 40 : 0) | offset;
}

static bool right(uint64_t word, const struct page *p, uint64_t offset)
{
	if (word == 0 || word == tag(TAG_SHARED, p->file, offset))
		return true;
	if (p->kind != PRIVATE)
		return false;
	return word == tag(TAG_PRIVATE, p->file, offset) ||
	       word == (tag(TAG_PRIVATE, p->file, offset) & ~((uint64_t)CHILD << 40));
}

static void show_path(const void *at)
{
	char text[600];
	int fd = open("/proc/pagetable", O_RDWR);
	ssize_t n;

	if (fd < 0)
		return;
	n = snprintf(text, sizeof(text), "%lx", (unsigned long)at);
	if (write(fd, text, (size_t)n) == n && (n = pread(fd, text, sizeof(text) - 1, 0)) > 0)
		complain("%.*s\n", (int)n, text);
	close(fd);
}

__attribute__((noreturn)) static void wrong(const char *what, const void *at, const struct page *p,
					    uint64_t offset, uint64_t word)
{
	complain("vmstress: worker %#x op %lu: %s: address %p, kind %u prot %u file %#x, offset "
		 "%#lx: %#lx\n",
		 worker, nr_ops, what, at, p->kind, p->prot, p->file, (unsigned long)offset,
		 (unsigned long)word);
	show_path(at);
	_exit(1);
}

// ---- Looking and storing ------------------------------------------------------------------------

// What a fault at a page may be.
static void judge_fault(const struct page *p, const char *at, bool store)
{
	int need = store ? PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC;
	bool forbidden = p->kind == FREE || !(p->prot & need);

	if (fault_signal == SIGSEGV && !forbidden)
		wrong(store ? "SIGSEGV for a store" : "SIGSEGV for a look", at, p, p->offset * PAGE,
		      0);
	if (fault_signal == SIGBUS && (p->file == ANON || p->kind == FREE) && !p->rounded)
		wrong("SIGBUS", at, p, p->offset * PAGE, 0);
	nr_bus += fault_signal == SIGBUS;
	nr_segv += fault_signal == SIGSEGV;
}

static void look(const struct page *p, char *page, bool store)
{
	uint64_t in_page = rng_below(PAGE / 8) * 8, offset = p->offset * PAGE + in_page, word;
	volatile uint64_t *at = (volatile uint64_t *)(void *)(page + in_page);

	nr_looks++;
	expecting = 1;
	if (sigsetjmp(on_fault, 0)) {
		expecting = 0;
		judge_fault(p, page, store);
		return;
	}
	if (store)
		*at = tag(p->kind == PRIVATE ? TAG_PRIVATE : TAG_SHARED, p->file, offset);
	word = *at;
	expecting = 0;
	if (p->rounded)
		return;
	if (p->kind == FREE || p->prot == PROT_NONE || (store && !(p->prot & PROT_WRITE)))
		wrong(store ? "stored where it may not" : "seen where it may not", page, p, offset,
		      word);
	if (!right(word, p, offset))
		wrong("wrong word", page, p, offset, word);
}

static void look_around(unsigned looks)
{
	unsigned near = rng_below(WINDOW_PAGES);

	for (unsigned i = 0; i < looks; i++) {
		unsigned n = rng_below(3) ? (near + rng_below(64)) % WINDOW_PAGES
					  : rng_below(WINDOW_PAGES);

		if (shadow[n].prot != PROT_NONE || rng_below(8) == 0)
			look(&shadow[n], window + n * PAGE, !shadow[n].rounded && rng_below(2));
	}
	for (unsigned i = 0; i < FLOATING; i++) {
		struct floating *f = &floating[i];
		unsigned n = f->at ? rng_below(f->pages) : 0;
		struct page p = f->what;

		p.offset = f->offset + n;
		if (f->at)
			look(&p, f->at + n * PAGE, rng_below(2));
	}
}

// ---- Files --------------------------------------------------------------------------------------

static unsigned file_max_pages(unsigned file)
{
	static const unsigned pages[] = { 8, 6, 40, 512, 520, 1400, 2048, 100 };

	return pages[file % NR_FILES];
}

static const char *file_name(unsigned file)
{
	static char name[300];

	snprintf(name, sizeof(name), "%.250s/f%u", folders[file / NR_FILES % nr_folders], file);
	return name;
}

static unsigned pick_file(void)
{
	return rng_below(NR_FILES * nr_folders);
}

static int open_file(unsigned file)
{
	return open(file_name(file), O_RDWR | O_CREAT, 0600);
}

static void write_some(unsigned file, int fd)
{
	uint64_t from = rng_below(file_max_pages(file) * (PAGE / 8)) * 8;
	uint64_t bytes = (rng_below(rng_below(8) ? 1500 : sizeof(buffer) / 8 - 1) + 1) * 8;

	for (uint64_t i = 0; i < bytes / 8; i++)
		buffer[i] = tag(TAG_SHARED, file, from + i * 8);
	if (pwrite(fd, buffer, bytes, (off_t)from) < 0 && errno != ENOSPC)
		complain("vmstress: pwrite: %s\n", strerror(errno));
}

static void read_some(unsigned file, int fd)
{
	const struct page p = { .kind = SHARED, .file = (unsigned char)file };
	uint64_t from = rng_below(file_max_pages(file) * (PAGE / 8)) * 8;
	ssize_t n = pread(fd, buffer, (rng_below(sizeof(buffer) / 8 - 1) + 1) * 8, (off_t)from);

	for (ssize_t i = 0; i < n / 8; i++)
		if (!right(buffer[i], &p, from + (uint64_t)i * 8))
			wrong("read() gives", buffer, &p, from + (uint64_t)i * 8, buffer[i]);
}

// Between the file and a mapping, mostly one of the same file and place.
static void copy_mapped(unsigned file, int fd)
{
	unsigned n = rng_below(WINDOW_PAGES), pages = 1;

	for (unsigned tries = 0;
	     tries < 300 && (shadow[n].kind != SHARED || shadow[n].file != file); tries++)
		n = rng_below(WINDOW_PAGES);
	if (shadow[n].kind != SHARED || shadow[n].file != file)
		return;
	while (n + pages < WINDOW_PAGES && shadow[n + pages].kind == SHARED &&
	       shadow[n + pages].file == file &&
	       shadow[n + pages].offset == shadow[n].offset + pages && pages < 100)
		pages++;
	if (rng_below(2))
		(void)!pwrite(fd, window + n * PAGE, pages * PAGE,
			      (off_t)(shadow[n].offset * PAGE));
	else
		(void)!pread(fd, window + n * PAGE, pages * PAGE, (off_t)(shadow[n].offset * PAGE));
}

static void truncate_some(unsigned file, int fd)
{
	unsigned words = file_max_pages(file) * (PAGE / 8);

	if (rng_below(2))
		words = rng_below(words);
	(void)!ftruncate(fd, (off_t)words * 8);
}

static void allocate_some(unsigned file, int fd)
{
	unsigned pages = file_max_pages(file);

	if (rng_below(2))
		(void)!fallocate(fd, (int)rng_below(2), rng_below(pages) * (off_t)PAGE, 20 * PAGE);
	else
		(void)!fallocate(fd, (int)rng_below(2), 0, (off_t)(pages * PAGE));
}

static void file_op(void)
{
	unsigned file = pick_file();
	int fd = open_file(file);

	if (fd < 0)
		return; // no space
	switch (rng_below(10)) {
	case 0:
	case 1: write_some(file, fd); break;
	case 2:
	case 3: read_some(file, fd); break;
	case 4:
	case 5: copy_mapped(file, fd); break;
	case 6:
	case 7: truncate_some(file, fd); break;
	case 8: allocate_some(file, fd); break;
	default: rng_below(3) ? fsync(fd) : unlink(file_name(file)); break;
	}
	close(fd);
}

// ---- Mappings -----------------------------------------------------------------------------------

static unsigned pick_prot(void)
{
	static const unsigned char prot[] = {
		PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
		PROT_NONE, PROT_READ | PROT_EXEC
	};

	return prot[rng_below(sizeof(prot))];
}

static unsigned pick_pages(void)
{
	static const unsigned most[] = { 2, 8, 9, 64, 512, 600, 2048 };

	return 1 + rng_below(most[rng_below(7)]);
}

// A range of the window: half the time at the begin of a chunk.
static unsigned pick_range(unsigned *pages)
{
	unsigned first = rng_below(WINDOW_PAGES);

	if (rng_below(2))
		first -= first % CHUNK_PAGES;
	*pages = pick_pages();
	if (*pages > WINDOW_PAGES - first)
		*pages = WINDOW_PAGES - first;
	return first;
}

static void note(unsigned first, unsigned pages, struct page what)
{
	for (unsigned i = 0; i < pages; i++, what.offset++)
		shadow[first + i] = what;
}

// Units of attached tables stick out of what was asked for, at both ends.
static void note_rounding(unsigned first, unsigned end)
{
	first -= first % CHUNK_PAGES;
	end += (CHUNK_PAGES - end % CHUNK_PAGES) % CHUNK_PAGES;
	for (unsigned n = first; n < end; n++)
		shadow[n].rounded = shadow[n].rounded || shadow[n].kind == FREE;
}

static void map_file(void)
{
	unsigned pages, first = pick_range(&pages), file = pick_file();
	bool daxvm = rng_below(2), shared = rng_below(3);
	struct page what = { .kind = shared ? SHARED : PRIVATE,
			     .prot = (unsigned char)pick_prot(),
			     .file = (unsigned char)file };
	int fd = open_file(file);

	if (fd < 0)
		return;
	if (rng_below(2))
		what.offset = rng_below(file_max_pages(file));
	if (daxvm && rng_below(4))
		what.offset =
			what.offset / CHUNK_PAGES * CHUNK_PAGES + first % CHUNK_PAGES; // congruent
	if (mmap(window + first * PAGE, pages * PAGE, what.prot,
		 MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE) | (daxvm ? MAP_DAXVM : 0), fd,
		 (off_t)(what.offset * PAGE)) == MAP_FAILED) {
		complain("vmstress: mmap: %s\n", strerror(errno));
		_exit(1);
	}
	close(fd);
	note(first, pages, what);
	if (daxvm)
		note_rounding(first, first + pages);
}

static void map_anon(void)
{
	unsigned pages, first = pick_range(&pages);
	struct page what = {
		.kind = PRIVATE, .prot = (unsigned char)pick_prot(), .file = ANON, .offset = first
	};

	if (mmap(window + first * PAGE, pages * PAGE, what.prot,
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		_exit(1);
	note(first, pages, what);
}

static void unmap(void)
{
	unsigned pages, first = pick_range(&pages);

	if (munmap(window + first * PAGE, pages * PAGE) == 0)
		note(first, pages, (struct page){ .kind = FREE });
}

static void protect(void)
{
	unsigned pages, first = pick_range(&pages), prot = pick_prot();
	bool whole = true;

	for (unsigned i = 0; i < pages; i++)
		whole = whole && shadow[first + i].kind != FREE;
	if (!whole)
		return;
	if (mprotect(window + first * PAGE, pages * PAGE, (int)prot))
		wrong("mprotect", window + first * PAGE, &shadow[first], 0, (uint64_t)errno);
	for (unsigned i = 0; i < pages; i++)
		shadow[first + i].prot = (unsigned char)prot;
}

static void advise(void)
{
	static const int advice[] = { MADV_DONTNEED, MADV_WILLNEED, MADV_RANDOM, MADV_NORMAL };
	unsigned pages, first = pick_range(&pages);

	if (rng_below(4))
		madvise(window + first * PAGE, pages * PAGE, advice[rng_below(4)]);
	else
		msync(window + first * PAGE, pages * PAGE, MS_SYNC);
}

// A mapping where the kernel likes it, which may be moved.
static void float_or_sink(void)
{
	struct floating *f = &floating[rng_below(FLOATING)];
	unsigned file = pick_file();
	int fd;

	if (f->at && rng_below(3) == 0) {
		unsigned pages = 1 + rng_below(f->pages * 2);
		char *at = mremap(f->at, f->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);

		if (at != MAP_FAILED)
			*f = (struct floating){ at, pages, f->offset, f->what };
		return;
	}
	if (f->at) {
		if (munmap(f->at, f->pages * PAGE))
			wrong("munmap", f->at, &f->what, 0, (uint64_t)errno);
		f->at = NULL;
		return;
	}
	fd = open_file(file);
	if (fd < 0)
		return;
	*f = (struct floating){
		.pages = pick_pages(),
		.offset = rng_below(2) ? 0 : rng_below(3) * CHUNK_PAGES,
		.what = { .kind = rng_below(2) ? SHARED : PRIVATE,
			  .prot = (unsigned char)pick_prot(),
			  .file = (unsigned char)file },
	};
	f->at = mmap(NULL, f->pages * PAGE, f->what.prot,
		     (f->what.kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_DAXVM, fd,
		     (off_t)(f->offset * PAGE));
	if (f->at == MAP_FAILED)
		f->at = NULL;
	close(fd);
}

// ---- Processes ----------------------------------------------------------------------------------

static void work(unsigned long rounds, uint64_t end);

static void fork_one(void)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (pid == 0) {
		worker |= CHILD;
		rng_seed(rng_next());
		work(1 + rng_below(30), ~0ull);
		_exit(0);
	}
	look_around(50);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		complain("vmstress: worker %u: a child ended with %#x\n", worker, status);
		_exit(1);
	}
}

static void work(unsigned long rounds, uint64_t end)
{
	for (nr_ops = 0; nr_ops < rounds && now_ms() < end; nr_ops++) {
		unsigned what = rng_below(100);

		if (what < 22)
			map_file();
		else if (what < 26)
			map_anon();
		else if (what < 36)
			unmap();
		else if (what < 44)
			protect();
		else if (what < 48)
			advise();
		else if (what < 58)
			float_or_sink();
		else if (what < 90)
			file_op();
		else if (what < 92 && !(worker & CHILD))
			fork_one();
		look_around(12);
	}
}

static void run_worker(unsigned number, uint64_t seed, unsigned long rounds, uint64_t end)
{
	struct sigaction act = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	worker = number;
	rng_seed(seed * 1000 + number);
	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	work(rounds, end);
	complain("# worker %u: %lu operations, %lu looks, %lu SIGBUS, %lu SIGSEGV\n", number,
		 nr_ops, nr_looks, nr_bus, nr_segv);
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t seed = option(argc, argv, 's', 1),
		 end = now_ms() + option(argc, argv, 't', 5) * 1000;
	unsigned long rounds = option(argc, argv, 'n', ~0ul), failed = 0;
	unsigned workers = (unsigned)option(argc, argv, 'j', 4);
	pid_t pids[64];
	int first = 1, status;

	while (first < argc && argv[first][0] == '-')
		first += 2;
	folders = argv + first;
	nr_folders = (unsigned)(argc - first);
	if (first >= argc || nr_folders > FOLDERS_MAX || workers > 32)
		return 2;
	for (unsigned i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			run_worker(i + 1, seed, rounds, end);
	}
	for (unsigned n = 0; n < workers; n++) {
		if (wait(&status) < 0 || status == 0)
			continue;
		complain("vmstress: a worker ended with %#x\n", status);
		for (unsigned i = 0; i < workers && !failed; i++)
			kill(pids[i], SIGKILL);
		failed++;
	}
	for (unsigned file = 0; file < NR_FILES * nr_folders; file++)
		unlink(file_name(file));
	printf("vmstress: %s seed %lu\n", failed ? "failed" : "ok", (unsigned long)seed);
	return failed != 0;
}
