// SPDX-License-Identifier: MIT
//
// What: storms of processes, pipes and signals; each ends in a state that is known.
//
//      procstress [-s SEED] [-t SECONDS] [-j WORKERS]
//      procstress -x CODE WORDS...     exits with CODE if WORDS are as many and as long as they
//   should be
//
// Fork, exec, vfork, pipelines, zombies, orphans, signals to processes that sleep, run or stop,
// timers during calls. Afterwards no process and no memory may be left over.

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>

#include "tests/stress/stress.h"

#define CHILDREN_MAX 24
#define WORD_LENGTH  61
#define LEAK_KB      512
#define LEAK_OBJECTS 60

static const char *self;
static volatile sig_atomic_t got_signals;

#define CHECK(cond) check(cond, #cond, __LINE__)

static void check(bool good, const char *what, int line)
{
	if (good)
		return;
	complain("procstress: line %d: %s (errno %d)\n", line, what, errno);
	_exit(1);
}

static void count_signal(int sig)
{
	(void)sig;
	got_signals++;
}

static void handle(int sig, int flags)
{
	struct sigaction act = { .sa_handler = count_signal, .sa_flags = flags };

	CHECK(sigaction(sig, &act, NULL) == 0);
}

static pid_t spawn(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0)
		rng_seed(rng_next() ^ (uint64_t)getpid());
	return pid;
}

static int status_of(pid_t pid)
{
	int status = -1;
	pid_t got;

	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	CHECK(got == pid);
	return status;
}

// ---- Storms -------------------------------------------------------------------------------------

// Children that are zombies for a while, collected in any order.
static void storm_of_forks(void)
{
	unsigned n = 1 + rng_below(CHILDREN_MAX), sum = 0, found = 0;
	int status;

	for (unsigned i = 0; i < n; i++) {
		if (spawn() == 0) {
			if (rng_below(3) == 0)
				sched_yield();
			_exit((int)i);
		}
		sum += i;
	}
	while (wait(&status) > 0) {
		CHECK(WIFEXITED(status));
		found += (unsigned)WEXITSTATUS(status);
	}
	CHECK(errno == ECHILD);
	CHECK(found == sum);
}

static void exec_self(unsigned code, unsigned words)
{
	static char word[WORD_LENGTH + 1], number[16];
	char *argv[132] = { (char *)(uintptr_t)self, (char *)(uintptr_t) "-x", number };
	char *envp[] = { NULL };

	snprintf(number, sizeof(number), "%u", code);
	memset(word, 'w', WORD_LENGTH);
	for (unsigned i = 0; i < words; i++)
		argv[3 + i] = word;
	execve(self, argv, envp);
	_exit(126);
}

static void storm_of_execs(void)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned code = rng_below(100);
		pid_t pid = rng_below(2) ? fork() : vfork();

		if (pid == 0)
			exec_self(code, code);
		CHECK(pid > 0);
		CHECK(status_of(pid) == (int)code << 8);
	}
}

static void copy_through(int in, int out)
{
	static char buf[8192];
	ssize_t n;

	while ((n = read(in, buf, 1 + rng_below(sizeof(buf)))) > 0)
		for (ssize_t at = 0, put; at < n; at += put) {
			put = write(out, buf + at, (size_t)(n - at));
			CHECK(put > 0);
		}
	CHECK(n == 0);
	_exit(0);
}

static int filter(int in)
{
	int fds[2];

	CHECK(pipe(fds) == 0);
	if (spawn() == 0) {
		close(fds[0]);
		copy_through(in, fds[1]);
	}
	close(in);
	close(fds[1]);
	return fds[0];
}

static void storm_of_pipes(void)
{
	unsigned depth = 1 + rng_below(12), bytes = 1 + rng_below(150000), seen = 0;
	int fds[2], in, status;
	unsigned char buf[4096];
	ssize_t n;

	CHECK(pipe(fds) == 0);
	if (spawn() == 0) {
		close(fds[0]);
		for (unsigned at = 0; at < bytes;) {
			unsigned i = 0;

			for (; i < sizeof(buf) && at < bytes; i++, at++)
				buf[i] = (unsigned char)(at * 7 + at / 256);
			CHECK(write(fds[1], buf, i) == (ssize_t)i);
		}
		_exit(0);
	}
	close(fds[1]);
	for (in = fds[0]; depth; depth--)
		in = filter(in);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++, seen++)
			CHECK(buf[i] == (unsigned char)(seen * 7 + seen / 256));
	CHECK(n == 0);
	CHECK(seen == bytes);
	close(in);
	while (wait(&status) > 0)
		CHECK(status == 0);
}

static void wait_somehow(void)
{
	int fds[2];
	char c;

	CHECK(pipe(fds) == 0);
	for (;;) {
		switch (rng_below(5)) {
		case 0: pause(); break;
		case 1: usleep(100000); break;
		case 2: (void)!read(fds[0], &c, 1); break;
		case 3: sigsuspend(&(sigset_t){ 0 }); break;
		default:
			for (volatile unsigned n = 0; n < 200000; n++)
				;
		}
	}
}

static void storm_of_kills(void)
{
	static const int signals[] = { SIGTERM, SIGKILL, SIGINT, SIGSEGV, SIGALRM, SIGPIPE };
	unsigned n = 1 + rng_below(8);
	pid_t pids[8];

	for (unsigned i = 0; i < n; i++) {
		pids[i] = spawn();
		if (pids[i] == 0) {
			handle(SIGUSR1, rng_below(2) ? SA_RESTART : 0);
			wait_somehow();
		}
	}
	if (rng_below(2))
		usleep(rng_below(3000));
	for (unsigned i = 0; i < n; i++) {
		int sig = signals[rng_below(6)];

		CHECK(kill(pids[i], sig) == 0);
		if (rng_below(2))
			kill(pids[i], SIGKILL);
	}
	for (unsigned i = 0; i < n; i++)
		CHECK(WIFSIGNALED(status_of(pids[i])));
}

static void storm_of_stops(void)
{
	pid_t pid = spawn();
	int status;

	if (pid == 0)
		wait_somehow();
	for (unsigned i = 0; i < 3; i++) {
		CHECK(kill(pid, SIGSTOP) == 0);
		CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
		CHECK(kill(pid, SIGCONT) == 0);
		CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
	}
	CHECK(kill(pid, SIGSTOP) == 0);
	CHECK(kill(pid, SIGKILL) == 0);
	do {
		CHECK(waitpid(pid, &status, 0) == pid);
	} while (WIFSTOPPED(status));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// A group is killed as a whole, its members' children included.
static void storm_of_groups(void)
{
	int fds[2];
	char c;
	pid_t pid;

	CHECK(pipe(fds) == 0);
	pid = spawn();
	if (pid == 0) {
		setpgid(0, 0);
		for (unsigned i = 0; i < 4; i++)
			if (fork() == 0)
				break;
		CHECK(write(fds[1], "x", 1) == 1);
		wait_somehow();
	}
	close(fds[1]);
	CHECK(read(fds[0], &c, 1) == 1);
	CHECK(kill(-pid, SIGKILL) == 0);
	CHECK(WIFSIGNALED(status_of(pid)));
	while (read(fds[0], &c, 1) > 0) // until the last of them is gone
		;
	close(fds[0]);
}

static void storm_of_orphans(void)
{
	int fds[2];
	pid_t pid, parent = 0;

	CHECK(pipe(fds) == 0);
	pid = spawn();
	if (pid == 0) {
		pid_t old = getpid();

		if (fork() == 0) {
			for (unsigned n = 0; n < 2000 && getppid() == old; n++)
				usleep(1000);
			parent = getppid();
			CHECK(write(fds[1], &parent, sizeof(parent)) == sizeof(parent));
			_exit(0);
		}
		_exit(0);
	}
	close(fds[1]);
	CHECK(status_of(pid) == 0);
	CHECK(read(fds[0], &parent, sizeof(parent)) == sizeof(parent) && parent != pid);
	close(fds[0]);
}

// Calls that sleep, under a timer.
static void storm_of_alarms(void)
{
	struct itimerval often = { .it_interval = { .tv_usec = 1000 },
				   .it_value = { .tv_usec = 1000 } },
			 off = { 0 };
	bool restart = rng_below(2);
	int fds[2], status;
	ssize_t n = 0;
	pid_t pid;
	char c;

	handle(SIGALRM, restart ? SA_RESTART : 0);
	CHECK(pipe(fds) == 0);
	pid = spawn();
	if (pid == 0) {
		usleep(30000);
		CHECK(write(fds[1], "x", 1) == 1);
		_exit(7);
	}
	setitimer(ITIMER_REAL, &often, NULL);
	while ((n = read(fds[0], &c, 1)) < 0) {
		CHECK(errno == EINTR && !restart);
		usleep(500);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR && !restart);
	CHECK(n == 1 && c == 'x' && status == 7 << 8);
	setitimer(ITIMER_REAL, &off, NULL);
	signal(SIGALRM, SIG_DFL);
	close(fds[0]);
	close(fds[1]);
}

// ---- Workers ------------------------------------------------------------------------------------

static void run_worker(uint64_t seed, uint64_t end)
{
	static void (*const storms[])(void) = { storm_of_forks,   storm_of_execs, storm_of_pipes,
						storm_of_kills,   storm_of_stops, storm_of_groups,
						storm_of_orphans, storm_of_alarms };
	unsigned long rounds = 0;

	rng_seed(seed);
	for (; now_ms() < end; rounds++)
		storms[rng_below(sizeof(storms) / sizeof(storms[0]))]();
	complain("# %lu storms\n", rounds);
	_exit(0);
}

static unsigned run(unsigned workers, uint64_t seed, uint64_t end)
{
	unsigned failed = 0;
	int status;

	for (unsigned i = 0; i < workers; i++)
		if (fork() == 0)
			run_worker(seed * 100 + i, end);
	while (wait(&status) > 0)
		failed += status != 0;
	usleep(300000); // orphans end
	return failed;
}

static int check_words(int argc, char **argv)
{
	int code = atoi(argv[2]);

	for (int i = 3; i < argc; i++)
		if (strlen(argv[i]) != WORD_LENGTH)
			return 125;
	return argc == 3 + code ? code : 124;
}

int main(int argc, char **argv)
{
	uint64_t seed = option(argc, argv, 's', 1), ms = option(argc, argv, 't', 5) * 1000;
	unsigned workers = (unsigned)option(argc, argv, 'j', 4), failed;
	long free_kb, objects;

	if (argc > 2 && strcmp(argv[1], "-x") == 0)
		return check_words(argc, argv);
	self = argv[0];
	signal(SIGINT, SIG_DFL); // shells ignore it in the background
	failed = run(workers, seed, now_ms() + ms / 4);
	free_kb = meminfo("MemFree");
	objects = meminfo("KernelObjects");
	failed += run(workers, seed + 1, now_ms() + ms - ms / 4);
	free_kb -= meminfo("MemFree");
	objects = meminfo("KernelObjects") - objects;
	printf("procstress: %s seed %lu, %u workers failed, %ld kB and %ld objects more in use\n",
	       failed || objects > LEAK_OBJECTS ? "failed" : "ok", (unsigned long)seed, failed,
	       free_kb, objects);
	return failed || objects > LEAK_OBJECTS;
}
