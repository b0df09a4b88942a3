// SPDX-License-Identifier: MIT
//
// Processes of several threads: who gets a signal, stopping and going on, fork and execve in a
// thread, and all the ways to end.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

#include "futex.h"
#include "tap.h"

static volatile uint32_t ready, go, handler_tid, handled;

static void *waits(void *arg)
{
	add(&ready, 1);
	while (!load(&go))
		futex(&go, FUTEX_WAIT | FUTEX_PRIVATE, 0, NULL, NULL, 0);
	return arg;
}

static void release(void)
{
	store(&go, 1);
	futex(&go, FUTEX_WAKE | FUTEX_PRIVATE, 100, NULL, NULL, 0);
}

static void handler(int sig)
{
	(void)sig;
	store(&handler_tid, (uint32_t)my_tid());
	add(&handled, 1);
}

static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction act = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &act, NULL);
}

static sigset_t set_of(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

static void mask(int how, int sig)
{
	sigset_t set = set_of(sig);

	pthread_sigmask(how, &set, NULL);
}

// ---- Signals ------------------------------------------------------------------------------------

static volatile uint32_t listener_tid, deaf_go;

static void *listens(void *arg)
{
	mask(SIG_UNBLOCK, SIGUSR1);
	store(&listener_tid, (uint32_t)my_tid());
	return waits(arg);
}

static void test_who_gets_it(void)
{
	pthread_t t, deaf;
	sigset_t set, pending;

	ready = go = handled = listener_tid = 0;
	handle(SIGUSR1, handler, SA_RESTART);
	mask(SIG_BLOCK, SIGUSR1);
	pthread_create(&deaf, NULL, waits, NULL); // inherits the mask
	pthread_create(&t, NULL, listens, NULL);
	reaches(&ready, 2);
	sleep_ms(20);
	kill(getpid(), SIGUSR1);
	ok(reaches(&handled, 1), "a process's signal goes to the thread that does not block it");
	is(handler_tid, listener_tid, "... and to no other one");

	pthread_kill(deaf, SIGUSR1);
	pthread_kill(pthread_self(), SIGUSR1);
	sleep_ms(30);
	is(handled, 1, "a thread's signal waits for that thread");
	sigpending(&pending);
	ok(sigismember(&pending, SIGUSR1), "... where it is pending");
	mask(SIG_UNBLOCK, SIGUSR1);
	is(handled, 2, "... until it is unblocked");
	is(handler_tid, getpid(), "... and handled there");
	fails(syscall(SYS_tgkill, getpid() + 1, listener_tid, 0), ESRCH,
	      "tgkill checks the process");
	is(kill((pid_t)listener_tid, 0), 0, "any thread's number stands for the process");
	is(getpgid((pid_t)listener_tid), getpgid(0), "... for its group");
	fails(setpgid((pid_t)listener_tid, 0), EINVAL, "... but it leads none");
	fails(kill(-(pid_t)listener_tid, 0), ESRCH, "... nor is one named so");
	fails(waitpid((pid_t)listener_tid, NULL, 0), ECHILD, "... nor is it a child");
	fails(syscall(SYS_tkill, 0, SIGUSR1), EINVAL, "tkill without a thread");

	// Nobody takes it, so it stays with the process.
	set = set_of(SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	release();
	pthread_join(t, NULL);
	pthread_join(deaf, NULL);
	kill(getpid(), SIGUSR2);
	is(sigwaitinfo(&set, NULL), SIGUSR2, "sigwaitinfo takes a process's signal");
}

static void *sigwaits(void *arg)
{
	sigset_t set = set_of(SIGUSR2);
	struct timespec limit = { 10, 0 };

	add(&ready, 1);
	store(&handled, (uint32_t)sigtimedwait(&set, NULL, &limit));
	return arg;
}

// The signal is first told to a thread that then blocks it, or ends.
static void *goes_deaf(void *arg)
{
	add(&ready, 1);
	while (!load(&deaf_go))
		;
	if (arg)
		mask(SIG_BLOCK, SIGUSR1);
	return NULL;
}

static void test_passing_on(void)
{
	pthread_t t, loud;
	int wrong = 0;

	mask(SIG_BLOCK, SIGUSR2);
	ready = handled = 0;
	pthread_create(&t, NULL, sigwaits, NULL);
	reaches(&ready, 1);
	sleep_ms(20);
	kill(getpid(), SIGUSR2);
	pthread_join(t, NULL);
	is(handled, SIGUSR2, "sigtimedwait in a thread");

	mask(SIG_BLOCK, SIGUSR1);
	for (int i = 0; i < 16; i++) {
		ready = go = deaf_go = handled = listener_tid = 0;
		mask(SIG_UNBLOCK, SIGUSR1);
		pthread_create(&loud, NULL, goes_deaf, i % 2 ? &wrong : NULL);
		mask(SIG_BLOCK, SIGUSR1);
		reaches(&ready, 1);
		pthread_create(&t, NULL, listens, NULL);
		reaches(&ready, 2);
		if (i & 2)
			store(&deaf_go, 1);
		kill(getpid(), SIGUSR1); // the older thread is told, and before its next tick:
		store(&deaf_go, 1);
		pthread_join(loud, NULL);
		wrong += !reaches(&handled, 1); // by it, or else by the listener
		release();
		pthread_join(t, NULL);
		wrong += handled != 1;
		mask(SIG_UNBLOCK, SIGUSR1);
	}
	is(wrong, 0, "a signal is handled once, whoever blocks it or ends meanwhile");
}

static _Thread_local char alt_stack[16384];
static _Thread_local volatile char *fault_at;
static volatile uint32_t on_own_stack;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	char here;

	(void)sig;
	(void)context;
	if (&here > alt_stack && &here < alt_stack + sizeof(alt_stack) && info->si_addr == fault_at)
		add(&on_own_stack, 1);
	mprotect(info->si_addr, 4096, PROT_READ | PROT_WRITE);
}

static void *faults(void *arg)
{
	stack_t alt = { .ss_sp = alt_stack, .ss_size = sizeof(alt_stack) }, old;

	if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE))
		return arg; // it must not be its maker's
	sigaltstack(&alt, NULL);
	fault_at = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*fault_at = 1;
	return arg;
}

static void test_faults(void)
{
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	pthread_t t[4];

	sigaction(SIGSEGV, &act, NULL);
	faults(NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, faults, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	is(on_own_stack, 5, "each thread takes its faults on a stack of its own");
	handle(SIGSEGV, SIG_DFL, 0);
}

// ---- Ends ---------------------------------------------------------------------------------------

static void start(int n, void *(*fn)(void *))
{
	pthread_t t;

	ready = go = 0;
	for (int i = 0; i < n; i++)
		pthread_create(&t, NULL, fn, NULL);
	while (load(&ready) != (uint32_t)n)
		sched_yield();
}

static void *exits_later(void *arg)
{
	(void)arg;
	add(&ready, 1);
	sleep_ms(60);
	syscall(SYS_exit, 7);
	return NULL;
}

static int leader_first(void)
{
	start(1, exits_later);
	syscall(SYS_exit, 3);
	return 1;
}

static int leader_last(void)
{
	start(1, exits_later);
	sleep_ms(150);
	syscall(SYS_exit, 3);
	return 1;
}

static void *exits_group(void *arg)
{
	add(&ready, 1);
	_exit(9);
	return arg;
}

static int thread_ends_all(void)
{
	start(2, waits);
	start(1, exits_group);
	pause();
	return 1;
}

static void *crashes(void *arg)
{
	add(&ready, 1);
	*fault_at = 1; // which is NULL in this thread
	return arg;
}

static int thread_crashes(void)
{
	start(2, waits);
	start(1, crashes);
	pause();
	return 1;
}

static int terminated(void)
{
	start(3, waits);
	mask(SIG_BLOCK, SIGTERM); // a thread that does not block it takes it, and all end
	kill(getpid(), SIGTERM);
	pause();
	return 1;
}

static int thread_is_killed(void)
{
	start(3, waits);
	syscall(SYS_tkill, getpid(), SIGKILL);
	return 1;
}

static int returns(void)
{
	start(3, waits);
	return 5;
}

static void test_ends(void)
{
	struct timespec begin, end;
	siginfo_t info = { 0 };
	pid_t pid;

	is(in_child(leader_first), 7 << 8, "the leader ends first: the last thread's code counts");
	is(in_child(leader_last), 3 << 8, "the leader ends last");
	is(in_child(thread_ends_all), 9 << 8, "exit_group in a thread");
	is(in_child(returns), 5 << 8, "exit with threads that sleep");
	is(in_child(thread_crashes) & 0x7f, SIGSEGV, "a fault in a thread ends all");
	is(in_child(terminated), SIGTERM, "SIGTERM ends all");
	is(in_child(thread_is_killed), SIGKILL, "SIGKILL to a thread ends all");

	// A leader that has ended is not the end of the process.
	clock_gettime(CLOCK_MONOTONIC, &begin);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(leader_first());
	sleep_ms(20);
	is(kill(pid, 0), 0, "the process is there while a thread runs");
	is(waitid(P_PID, (id_t)pid, &info, WEXITED), 0, "waitid waits for the last thread");
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok(info.si_code == CLD_EXITED && info.si_status == 7, "... and tells its code");
	ok((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 >= 55,
	   "... no sooner");
}

// ---- fork and execve ----------------------------------------------------------------------------

static int threads_of(pid_t pid)
{
	char path[64], line[256];
	int value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "Threads:", 8) == 0)
			value = atoi(line + 8);
	if (f)
		fclose(f);
	return value;
}

static void *forks(void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(my_tid() != getpid() || threads_of(getpid()) != 1);
	waitpid(pid, &status, 0);
	*(int *)arg = status;
	return NULL;
}

static const char *self;

static void *executes(void *arg)
{
	char pid[16];
	char *argv[] = { (char *)(uintptr_t)self, (char *)(uintptr_t) "exec", pid, NULL };

	(void)arg;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	execv("/nonexistent", argv); // nobody is harmed
	execv(self, argv);
	_exit(99);
}

static int executed(const char *pid)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	if (getpid() != atoi(pid) || my_tid() != getpid())
		return 1;
	return threads_of(getpid()) != 1 ? 2 : sigismember(&set, SIGUSR2) ? 42 : 3;
}

static int thread_executes(void)
{
	mask(SIG_BLOCK, SIGUSR2); // masks survive
	start(3, waits);
	start(1, executes);
	pause();
	return 98;
}

static int leader_executes(void)
{
	mask(SIG_BLOCK, SIGUSR2);
	start(3, waits);
	executes(NULL);
	return 98;
}

static int executes_after_leader(void)
{
	pthread_t t;

	mask(SIG_BLOCK, SIGUSR2);
	pthread_create(&t, NULL, executes, NULL);
	syscall(SYS_exit, 1);
	return 98;
}

static int several_execute(void)
{
	pthread_t t;

	mask(SIG_BLOCK, SIGUSR2);
	for (int i = 0; i < 4; i++)
		pthread_create(&t, NULL, executes, NULL);
	executes(NULL);
	return 98;
}

static volatile pid_t sibling;

static void *waits_for_sibling(void *arg)
{
	waitpid(sibling, arg, 0);
	return NULL;
}

static void test_fork_and_exec(void)
{
	int status = -1;
	pthread_t t;

	ready = go = 0;
	pthread_create(&t, NULL, forks, &status);
	pthread_join(t, NULL);
	is(status, 0, "fork in a thread: the child has one thread, which leads");
	is(in_child(thread_executes), 42 << 8, "execve in a thread: it is the leader then");
	is(in_child(leader_executes), 42 << 8, "execve in the leader");
	is(in_child(executes_after_leader), 42 << 8, "execve when the leader has ended");
	for (int i = 0; i < 4; i++)
		status |= in_child(several_execute) ^ 42 << 8;
	is(status, 0, "several threads execute: one does");
	sibling = fork();
	if (sibling == 0)
		_exit(6);
	pthread_create(&t, NULL, waits_for_sibling, &status);
	pthread_join(t, NULL);
	is(status, 6 << 8, "a thread waits for another one's child");
}

// A signal to a group reaches the children that its members fork at that moment, also when another
// thread takes it: once, only the thread that had it pending began its fork again.
static int pipe_end;

static void breeds(void)
{
	for (int i = 0; i < 30; i++) {
		if (fork() == 0) {
			mask(SIG_UNBLOCK, SIGTERM);
			pause();
			_exit(0);
		}
	}
	pause();
}

static void *takes_term(void *arg)
{
	mask(SIG_UNBLOCK, SIGTERM);
	return waits(arg);
}

static int family(void)
{
	setpgid(0, 0);
	mask(SIG_BLOCK, SIGTERM);
	start(1, takes_term);
	if (write(pipe_end, "x", 1) == 1)
		breeds();
	return 1;
}

static void test_group(void)
{
	struct pollfd end = { .events = POLLIN };
	int fd[2], survivors = 0;
	pid_t pid;
	char c;

	for (int i = 0; i < 12; i++) {
		if (pipe(fd) != 0)
			return;
		pipe_end = fd[1];
		end.fd = fd[0];
		pid = fork();
		if (pid == 0)
			_exit(family());
		close(fd[1]);
		(void)!read(fd[0], &c, 1);
		sleep_ms(i % 6);
		kill(-pid, SIGTERM);
		waitpid(pid, NULL, 0);
		// All are gone when nobody has the pipe open.
		if (poll(&end, 1, 3000) != 1 || read(fd[0], &c, 1) != 0) {
			survivors++;
			kill(-pid, SIGKILL);
		}
		close(fd[0]);
	}
	is(survivors, 0, "a group's signal leaves no child out");
}

// ---- Stop and go --------------------------------------------------------------------------------

static volatile uint32_t *ticks; // of three threads of a child

static void *ticks_on(void *arg)
{
	volatile uint32_t *mine = &ticks[add(&ready, 1)];

	for (;;)
		add(mine, 1);
	return arg;
}

static uint32_t all_ticks(void)
{
	return load(&ticks[1]) + load(&ticks[2]);
}

static int job(void)
{
	start(2, ticks_on);
	store(ticks, 1);
	pause();
	return 1;
}

static void test_stop(void)
{
	uint32_t before;
	int status = -1;
	pid_t pid;

	ticks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(job());
	reaches(ticks, 1);
	for (int i = 0; i < 3; i++) {
		kill(pid, SIGSTOP);
		waitpid(pid, &status, WUNTRACED);
		ok(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "a process stops");
		before = all_ticks();
		sleep_ms(30);
		is(all_ticks(), before, "... all of its threads");
		is(waitpid(pid, &status, WUNTRACED | WNOHANG), 0, "... which is told once");
		kill(pid, SIGCONT);
		waitpid(pid, &status, WCONTINUED);
		ok(WIFCONTINUED(status), "it goes on");
		is(waitpid(pid, &status, WCONTINUED | WNOHANG), 0, "... which is told once");
		for (int k = 0; k < 1000 && all_ticks() == before; k++)
			sleep_ms(5);
		ok(all_ticks() != before, "... and its threads do");
	}
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	is(status, SIGKILL, "a stopped process can be killed");
}

int main(int argc, char **argv)
{
	static char path[300];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (argc > 2)
		return executed(argv[2]);
	path[len > 0 ? len : 0] = '\0';
	self = path;
	alarm(200); // a thread that is never woken is a hang
	test_who_gets_it();
	test_passing_on();
	test_faults();
	test_ends();
	test_fork_and_exec();
	test_group();
	test_stop();
	return tap_done();
}
