// SPDX-License-Identifier: MIT
//
// Arguments at the ends of what numbers can say, each of which got past the kernel's checks once:
//
//   offsets    mmap took offsets up to 2^64, and mremap grew a mapping past that end: its last
//              pages showed the file's first ones. A truncate looked for who shows those and did
//              not find it, since the range that it compared with had wrapped: the program went on
//              reading and writing blocks that the file had lost, and others had got.
//   brk        shrinking the heap took away all that lay in its range, the arenas of ephemeral
//              mappings among it: they lived on in address space that was free for others.
//   munmap     likewise, when the process's first ephemeral mapping came while munmap waited for
//              the address space's lock.
//   signals    a process could queue real-time signals to itself until the kernel had no memory.
//   locks      the end of a record lock could lie beyond the largest offset.
//   execve     left the saved user number as it was: a program that root started with
//              setresuid(1000, 1000, 0) could become root.
//   maps       /proc/PID/maps told everybody the names of files in folders that were closed to
//              them.
//   truncate   of a file in RAM took away what another one wrote after it had set the size: the
//              write was reported as done, and zeros were left.
//   kill       of a process that writes much from memory which is not there yet was heard when the
//              write had come to its end, or the device to its own: minutes.
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "tests/abi/fault.h"
#include "tests/abi/tap.h"

#define PAGE      4096l
#define EPHEMERAL (MAP_SHARED | 0x400000 | 0x4000000) // on Linux just shared

static int new_file(const char *byte)
{
	int fd = open("hostile", O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || pwrite(fd, byte, 1, 0) != 1 || ftruncate(fd, 65536) != 0)
		printf("Bail out! no file\n");
	return fd;
}

static void *raw_mmap(unsigned long len, int prot, int flags, int fd, unsigned long off)
{
	return (void *)syscall(SYS_mmap, NULL, len, prot, flags, fd, off);
}

// ---- Offsets ------------------------------------------------------------------------------------

static void test_offsets(void)
{
	const int prot = PROT_READ | PROT_WRITE;
	int fd = new_file("A");
	char *p = raw_mmap(PAGE, prot, MAP_SHARED, fd, -2ul * PAGE), *q;

	ok(p == MAP_FAILED && errno == EOVERFLOW, "mmap at 2^64 - 8192: EOVERFLOW");
	if (p != MAP_FAILED) {
		q = mremap(p, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
		ok(q == MAP_FAILED || look(q + 2 * PAGE) != 'A',
		   "it does not grow to show the beginning");
		ftruncate(fd, 0);
		ok(q == MAP_FAILED || look(q + 2 * PAGE) == -SIGBUS, "nor after a truncate");
	}
	p = raw_mmap(PAGE, prot, MAP_SHARED, fd, LONG_MAX - PAGE + 1);
	ok(p == MAP_FAILED && errno == EOVERFLOW, "mmap of the last page below 2^63: EOVERFLOW");
	p = raw_mmap(PAGE, prot, MAP_SHARED | 0x400000, fd, LONG_MAX - 2 * PAGE + 1);
	ok(p == MAP_FAILED || look(p) == -SIGBUS, "beyond the end of the file: SIGBUS");
	if (p != MAP_FAILED) {
		q = mremap(p, PAGE, 1l << 45, MREMAP_MAYMOVE);
		ok(q == MAP_FAILED || look(q + 64 * PAGE) == -SIGBUS, "nor if it grows");
		munmap(q == MAP_FAILED ? p : q, q == MAP_FAILED ? PAGE : 1l << 45);
	}
	close(fd);
}

// ---- The heap and arenas ------------------------------------------------------------------------

static int huge_heap(void)
{
	char *low = (char *)syscall(SYS_brk, 0), *high = low + (100ul << 40), *p, *q;
	int fd = new_file("B");

	if ((char *)syscall(SYS_brk, high) != high)
		return 2; // it does not get that
	munmap((char *)(((uintptr_t)low + PAGE - 1) & -PAGE), 100ul << 40);
	p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, EPHEMERAL, fd, 0);
	if (p == MAP_FAILED || *p != 'B')
		return 3;
	p[1] = 'C';
	syscall(SYS_brk, low);
	if (look(p) != 'B')
		return 0; // it went with the heap, as on Linux
	// Not an address that is free.
	q = mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (q == p)
		return 4;
	return look(p + 1) != 'C' || munmap(p, 65536) != 0;
}

static void test_heap(void)
{
	int status = in_child(huge_heap);

	ok(status == 0 || status == 2 << 8, "a heap that shrinks over ephemeral mappings (%#x)",
	   status);
}

// ---- Arenas that come during a munmap -----------------------------------------------------------

#define RACES 40

static volatile bool over, begun;

static void *unmap_nothing(void *arg)
{
	(void)arg;
	while (!over) {
		munmap((void *)(1ul << 39), 0x7e0000000000 - (1ul << 39));
		begun = true;
	}
	return NULL;
}

static int first_mapping(void)
{
	int fd = new_file("D");
	pthread_t thread;
	char *p, *q;

	if (pthread_create(&thread, NULL, unmap_nothing, NULL) != 0)
		return 2;
	while (!begun)
		sched_yield();
	mmap(NULL, PAGE, PROT_READ, EPHEMERAL, fd, 0);
	over = true;
	pthread_join(thread, NULL);
	p = mmap(NULL, PAGE, PROT_READ, EPHEMERAL, fd, 0);
	q = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED || q == p || look(p) != 'D';
}

static void test_first_mapping(void)
{
	int bad = 0;

	for (int i = 0; i < RACES; i++)
		bad += in_child(first_mapping) != 0;
	is(bad, 0, "a first ephemeral mapping during munmap");
}

// ---- Signals ------------------------------------------------------------------------------------

// As a user of its own: Linux counts by user, and what else root does on the machine counts, too
// (other tests at the same time: this one failed now and then).
static int queue_signals(void)
{
	struct rlimit limit;
	sigset_t set;
	siginfo_t info;
	long n;

	if (geteuid() == 0 && setuid(54321) != 0)
		return 5;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	getrlimit(RLIMIT_SIGPENDING, &limit);
	limit.rlim_cur = 100;
	setrlimit(RLIMIT_SIGPENDING, &limit);
	memset(&info, 0, sizeof(info));
	info.si_code = SI_QUEUE;
	for (n = 0; n < 100000; n++)
		if (syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info) != 0)
			break;
	if (n == 100000 || n > 100 || errno != EAGAIN)
		return 1;
	if (kill(getpid(), SIGRTMIN) != 0) // which is never refused
		return 2;
	for (; n > 0; n--)
		if (sigwaitinfo(&set, NULL) != SIGRTMIN)
			return 3;
	return syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info) != 0 ? 4 : 0;
}

static void test_signals(void)
{
	is(in_child(queue_signals), 0, "RLIMIT_SIGPENDING ends a queue");
}

// ---- Locks --------------------------------------------------------------------------------------

static void test_locks(void)
{
	struct flock l = { .l_type = F_RDLCK, .l_start = LONG_MAX, .l_len = LONG_MAX };
	int fd = new_file("L");

	fails(fcntl(fd, F_SETLK, &l), EOVERFLOW, "a lock that ends beyond 2^63");
	l.l_len = 1;
	is(fcntl(fd, F_SETLK, &l), 0, "a lock of the last byte");
	l = (struct flock){ .l_type = F_RDLCK, .l_start = LONG_MIN, .l_len = -1 };
	fails(fcntl(fd, F_SETLK, &l), EINVAL, "a lock that begins before 0");
	lseek(fd, PAGE, SEEK_SET);
	l = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_CUR, .l_start = LONG_MAX };
	fails(fcntl(fd, F_SETLK, &l), EOVERFLOW, "a lock whose beginning cannot be said");
	close(fd);
}

// ---- Rights -------------------------------------------------------------------------------------

// argv: the program, "ids".
static int show_ids(void)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (getresuid(&r, &e, &s) || getresgid(&rg, &eg, &sg))
		return 1;
	return s != 1000 || sg != 1000 || setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0;
}

static int exec_as_user(void)
{
	if (setgroups(0, NULL) || setresgid(1000, 1000, 0) || setresuid(1000, 1000, 0))
		return 2;
	execl("/proc/self/exe", "hostile_test", "ids", NULL);
	return 3;
}

static int read_maps_of_parent(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)getppid());
	if (setgroups(0, NULL) || setgid(1000) || setuid(1000))
		return 2;
	return open(path, O_RDONLY) >= 0 || errno != EACCES ||
	       open("/proc/self/maps", O_RDONLY) < 0;
}

static void test_rights(void)
{
	if (geteuid() != 0)
		return;
	is(in_child(exec_as_user), 0, "execve sets the saved numbers");
	is(in_child(read_maps_of_parent), 0, "/proc/PID/maps is its owner's");
}

// ---- Truncate and write -------------------------------------------------------------------------

static void *cut_off(void *arg)
{
	while (!over)
		if (ftruncate(*(int *)arg, 0) != 0)
			over = true;
	return NULL;
}

// Who reads a byte finds what was written, or the end of the file: there is one writer.
static int write_while_cut_off(void)
{
	int fd = new_file("T");
	char block[PAGE], c;
	pthread_t thread;
	int lost = 0;

	memset(block, 'T', sizeof(block));
	if (ftruncate(fd, 0) || pthread_create(&thread, NULL, cut_off, &fd) != 0)
		return 2;
	for (int i = 0; i < 20000; i++) {
		if (pwrite(fd, block, PAGE, 0) != PAGE)
			return 3;
		if (pread(fd, &c, 1, PAGE - 1) == 1 && c != 'T')
			lost++;
	}
	over = true;
	pthread_join(thread, NULL);
	return lost != 0;
}

static void test_truncate(void)
{
	is(in_child(write_while_cut_off), 0, "a write during truncates");
}

// ---- Killed in a write --------------------------------------------------------------------------

#define MUCH (128l << 20)

static int write_much(void)
{
	const struct itimerval soon = { .it_value = { .tv_usec = 5000 } };
	int fd = open("hostile", O_RDWR);
	void *zeros =
		mmap(NULL, MUCH, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	setitimer(ITIMER_REAL, &soon, NULL);
	(void)!write(fd, zeros, MUCH);
	return 1;
}

static void test_kill(void)
{
	int fd = new_file("K"), status = in_child(write_much);
	struct stat st;

	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM, "killed in a write (%#x)", status);
	fstat(fd, &st);
	ok(st.st_size < MUCH, "which did not go on to its end (%ld)", (long)st.st_size);
	ftruncate(fd, 0);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "ids"))
		return show_ids();
	enter_scratch_folder();
	catch_faults();
	test_offsets();
	test_heap();
	test_first_mapping();
	test_signals();
	test_locks();
	test_rights();
	test_truncate();
	test_kill();
	unlink("hostile");
	leave_scratch_folder();
	return tap_done();
}
