// SPDX-License-Identifier: MIT
//
// What bounds a process, and what ends it. Each of these was missing once:
//
//   vfork      SIGSTOP to the parent made its wait for the child deaf to SIGKILL. RLIMIT_AS of the
//              child stayed with the parent, whose memory it had borrowed.
//   processes  one user could have all processes that there are: root could make none to end them.
//   file size  RLIMIT_FSIZE was kept and not looked at.
//   kill       a read of two GiB of random numbers was ended by no signal: minutes.
//   clone      the signal that it chose for the end of a child came from the program that the child
//              had begun by execve, too: with none, or another one, the parent waited for SIGCHLD.
//   nanosleep  with a bad pointer for the rest said EFAULT, and the next sleep took the old
//              deadline for its own.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "tests/abi/clock.h"
#include "tests/abi/tap.h"
#include "tests/abi/user.h"

// Has it ended within `ms`?
static bool ends_within(pid_t pid, long ms)
{
	long end = now_ms() + ms;

	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (now_ms() >= end)
			return false;
		sleep_ms(10);
	}
	return true;
}

// ---- vfork --------------------------------------------------------------------------------------

static struct {
	volatile pid_t pid;
} * borrower;

static void vfork_and_stop(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		borrower->pid = getpid();
		kill(getppid(), SIGSTOP);
		for (;;)
			pause();
	}
	_exit(1);
}

static void test_vfork(void)
{
	pid_t pid;

	borrower = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		vfork_and_stop();
	for (unsigned n = 0; n < 100 && !borrower->pid; n++)
		sleep_ms(10);
	sleep_ms(50);
	kill(pid, SIGKILL);
	if (ok(ends_within(pid, 3000), "a vfork's parent that was stopped ends by SIGKILL")) {
		kill(borrower->pid, SIGKILL);
	} else {
		kill(borrower->pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	munmap(borrower, 4096);
}

static int limit_of_borrower(void)
{
	void *p;
	pid_t pid = vfork();

	if (pid == 0) {
		struct rlimit r = { 1 << 20, 1 << 20 };

		setrlimit(RLIMIT_AS, &r);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	p = mmap(NULL, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED;
}

// ---- Processes ----------------------------------------------------------------------------------

#define FORKS_MAX 10000

// Makes as many processes as it gets; they end with the pipe.
static int fork_all(int hold)
{
	struct rlimit r = { 50, 50 };
	char byte;
	int n = 0;
	pid_t pid;

	if (on_linux())
		setrlimit(RLIMIT_NPROC, &r);
	if (become_user())
		return 0;
	while (n < FORKS_MAX && (pid = fork()) >= 0) {
		if (pid == 0)
			_exit((int)read(hold, &byte, 1));
		n++;
	}
	return n;
}

static void test_processes(void)
{
	int hold[2], told[2], n = 0, status = -1;
	pid_t bomb, pid;

	if (pipe(hold) || pipe(told))
		return;
	fflush(stdout);
	bomb = fork();
	if (bomb == 0) {
		char byte;

		close(hold[1]);
		n = fork_all(hold[0]);
		(void)!write(told[1], &n, sizeof(n));
		_exit((int)read(hold[0], &byte, 1));
	}
	(void)!read(told[0], &n, sizeof(n));
	ok(n > 0 && n < FORKS_MAX, "a user makes many processes, and not more (%d)", n);
	pid = fork();
	if (pid == 0)
		_exit(7);
	if (pid > 0)
		waitpid(pid, &status, 0);
	is(status, 7 << 8, "root still makes one");
	for (unsigned k = 0; k < 2; k++) {
		close(hold[k]);
		close(told[k]);
	}
	waitpid(bomb, NULL, 0);
}

// ---- RLIMIT_FSIZE -------------------------------------------------------------------------------

static volatile int too_large;

static void on_xfsz(int sig)
{
	(void)sig;
	too_large++;
}

static int told(int times)
{
	int bad = too_large != times;

	if (bad)
		printf("# SIGXFSZ came %d times, expected %d\n", too_large, times);
	too_large = 0;
	return bad;
}

static int write_to_limit(void)
{
	struct rlimit r = { 8192, RLIM_INFINITY };
	static char buf[20000];
	struct iovec v = { buf, sizeof(buf) };
	int bad = 0, fd = open("large", O_RDWR | O_CREAT | O_TRUNC, 0644);
	int end = open("large", O_WRONLY | O_APPEND), old = open("old", O_RDWR | O_CREAT, 0644);
	int in = open("old", O_RDONLY);

	signal(SIGXFSZ, on_xfsz);
	bad += write(old, buf, sizeof(buf)) != sizeof(buf);
	setrlimit(RLIMIT_FSIZE, &r);
	bad += may(write(fd, buf, 10000) == 8192 ? 0 : -1, 0, "a write up to the limit") + told(0);
	bad += may((int)write(fd, buf, 1), EFBIG, "one at it") + told(1);
	bad += may((int)write(fd, buf, 0), 0, "of nothing") + told(0);
	bad += may(pwrite(fd, buf, 2, 8191) == 1 ? 0 : -1, 0, "pwrite across it") + told(0);
	bad += may((int)pwrite(fd, buf, 2, 8192), EFBIG, "pwrite behind it") + told(1);
	bad += may(pwritev(fd, &v, 1, 8000) == 192 ? 0 : -1, 0, "pwritev across it") + told(0);
	bad += may((int)write(end, buf, 1), EFBIG, "an appending write") + told(1);
	bad += may((int)sendfile(fd, in, NULL, 1), EFBIG, "sendfile") + told(1);
	bad += may(ftruncate(fd, 8193), EFBIG, "ftruncate beyond it") + told(1);
	bad += may(truncate("large", 8193), EFBIG, "truncate beyond it") + told(1);
	bad += may(ftruncate(fd, 8192), 0, "ftruncate to it") + told(0);
	bad += may(ftruncate(old, 15000), 0, "a large file is made smaller") + told(0);
	bad += may((int)pwrite(old, buf, 1, 9000), EFBIG, "but not written to") + told(1);
	bad += may(fallocate(fd, 0, 0, 8193), EFBIG, "fallocate beyond it") + told(1);
	bad += may(fallocate(fd, 0, 0, 8192), 0, "fallocate to it") + told(0);
	close(fd);
	return bad;
}

static int write_by_default(void)
{
	struct rlimit r = { 0, 0 };
	int status = 0, fd = open("large", O_WRONLY);

	setrlimit(RLIMIT_FSIZE, &r);
	if (fork() == 0) // the limit is the child's too
		_exit(write(fd, "x", 1) < 0 ? 0 : 1);
	wait(&status);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ ? 0 : 1;
}

static volatile bool threads_go;

static void *write_in_thread(void *arg)
{
	while (!threads_go)
		sched_yield();
	return (void *)write(*(int *)arg, "x", 1);
}

static int limit_of_thread(void)
{
	struct rlimit r = { 0, 0 };
	int fd = open("large", O_WRONLY);
	pthread_t t;
	void *n;

	signal(SIGXFSZ, on_xfsz);
	pthread_create(&t, NULL, write_in_thread, &fd);
	setrlimit(RLIMIT_FSIZE, &r);
	threads_go = true;
	pthread_join(t, &n);
	return (long)n != -1 || told(1);
}

static void test_file_size(void)
{
	is(in_child(write_to_limit), 0, "files grow up to RLIMIT_FSIZE");
	is(in_child(write_by_default), 0, "who does not handle SIGXFSZ ends by it");
	is(in_child(limit_of_thread), 0, "the limit is that of all threads");
	is(in_child(limit_of_borrower), 0, "a vfork's child limits its own address space");
	unlink("large");
	unlink("old");
}

// ---- Signals and time ---------------------------------------------------------------------------

static int read_random(void)
{
	size_t len = 2 << 20;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec v[1000];
	int fd = open("/dev/urandom", O_RDONLY);

	for (unsigned k = 0; k < 1000; k++)
		v[k] = (struct iovec){ p, len };
	for (;;)
		if (readv(fd, v, 1000) <= 0)
			return 1;
}

static void test_kill(void)
{
	pid_t pid;
	bool good;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(read_random());
	sleep_ms(100);
	kill(pid, SIGKILL);
	good = ends_within(pid, 1000);
	ok(good, "a long read of random numbers ends by SIGKILL");
	if (!good)
		waitpid(pid, NULL, 0);
}

static void nothing(int sig)
{
	(void)sig;
}

static void test_sleep(void)
{
	struct itimerval soon = { .it_value.tv_usec = 50000 };
	struct timespec more = { 4, 0 }, less = { 0, 10000000 };
	struct sigaction act = { .sa_handler = nothing };
	long begin;

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	fails(syscall(SYS_nanosleep, &more, (void *)8), EFAULT, "nowhere for the rest: EFAULT");
	begin = now_ms();
	is(syscall(SYS_nanosleep, &less, NULL), 0, "the next sleep");
	ok(now_ms() - begin < 2000, "is as long as it says (%ld ms)", now_ms() - begin);
}

static volatile sig_atomic_t ends, others;

static void on_end(int sig)
{
	if (sig == SIGCHLD)
		ends++;
	else
		others++;
}

static void test_end_signal(void)
{
	static char self[] = "/proc/self/exe", leave[] = "--leave";
	char *argv[] = { self, leave, NULL };
	long pid;

	signal(SIGCHLD, on_end);
	signal(SIGUSR1, on_end);
	pid = syscall(SYS_clone, SIGUSR1, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		execv(self, argv);
		_exit(1);
	}
	while (waitpid((pid_t)pid, NULL, __WALL) < 0 && errno == EINTR)
		continue;
	ok(ends == 1 && others == 0, "a program that was begun by execve ends with SIGCHLD");
	signal(SIGCHLD, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--leave") == 0)
		return 0;
	enter_scratch_folder();
	umask(0);
	if (getuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	chmod(".", 0777);
	test_vfork();
	test_file_size();
	test_kill();
	test_sleep();
	test_end_signal();
	test_processes();
	leave_scratch_folder();
	return tap_done();
}
