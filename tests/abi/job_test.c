// SPDX-License-Identifier: MIT
//
// Job control: processes that are stopped and continued, what their parent hears of it, and calls
// that a stop interrupts.
#define _GNU_SOURCE
#include <time.h>

#include "tests/abi/tap.h"

static volatile sig_atomic_t chld_count, chld_code, chld_status;

static void on_chld(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	chld_count++;
	chld_code = info->si_code;
	chld_status = info->si_status;
}

static void watch_children(int flags)
{
	struct sigaction act = { .sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | flags };

	chld_count = chld_code = chld_status = 0;
	sigaction(SIGCHLD, &act, NULL);
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void test_stop_and_continue(int sig, const char *name)
{
	int status = 0;
	pid_t pid;

	watch_children(SA_RESTART);
	pid = start_sleeper();
	kill(pid, sig);
	is(waitpid(pid, &status, WUNTRACED), pid, name);
	ok(WIFSTOPPED(status) && WSTOPSIG(status) == sig, "  the status says so");
	is(chld_code, CLD_STOPPED, "  and so does SIGCHLD");
	is(chld_status, sig, "  with the signal");
	is(waitpid(pid, &status, WUNTRACED | WNOHANG), 0, "  a stop is told once");
	kill(pid, SIGTERM);
	is(waitpid(pid, &status, WNOHANG), 0, "  SIGTERM waits while it is stopped");
	kill(pid, SIGCONT);
	is(waitpid(pid, &status, 0), pid, "  and comes through after SIGCONT");
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "  it ends by it");
}

static void test_continued(void)
{
	int status = 0;
	pid_t pid;

	watch_children(SA_RESTART);
	pid = start_sleeper();
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	kill(pid, SIGCONT);
	is(waitpid(pid, &status, WCONTINUED), pid, "wait for a child to be continued");
	ok(WIFCONTINUED(status), "  the status says so");
	// On Linux the child itself sends it, when it runs again: maybe after the status was there.
	for (int i = 0; i < 200 && chld_code != CLD_CONTINUED; i++)
		usleep(10000);
	is(chld_code, CLD_CONTINUED, "  and so does SIGCHLD");
	kill(pid, SIGSTOP);
	kill(pid, SIGKILL);
	is(waitpid(pid, &status, 0), pid, "SIGKILL ends a stopped process");
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "  by that signal");
}

static void test_nocldstop(void)
{
	int status;
	pid_t pid;

	watch_children(SA_RESTART | SA_NOCLDSTOP);
	pid = start_sleeper();
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	is(chld_count, 0, "SA_NOCLDSTOP: no signal for a stop");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	is(chld_count, 1, "  but one for the end");
}

static void test_waitid(void)
{
	siginfo_t info = { 0 };
	pid_t pid = start_sleeper();

	kill(pid, SIGSTOP);
	is(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0, "waitid for a stop");
	is(info.si_pid, pid, "  of that child");
	is(info.si_code, CLD_STOPPED, "  its code");
	is(info.si_status, SIGSTOP, "  its signal");
	kill(pid, SIGKILL);
	is(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0, "waitid WNOWAIT for the end");
	is(info.si_code, CLD_KILLED, "  its code");
	is(waitpid(pid, NULL, WNOHANG), pid, "  which leaves it to be waited for");
}

// A stop interrupts a sleep, but no handler runs: the sleep goes on to its first deadline.
static void test_sleep_survives_a_stop(void)
{
	struct timespec begin, end, length = { 0, 300000000 };
	int status = -1;
	pid_t pid = fork();
	long ms;

	if (pid == 0)
		_exit(nanosleep(&length, NULL) == 0 ? 7 : 8);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	usleep(50000);
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	kill(pid, SIGCONT);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "nanosleep goes on after a stop");
	ok(ms >= 250, "  for as long as it had left");
}

// Nobody could continue an orphaned group: SIGTSTP does not stop it, SIGSTOP does.
static void test_orphaned_group(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		kill(getpid(), SIGTSTP);
		_exit(9);
	}
	waitpid(pid, &status, WUNTRACED);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 9, "SIGTSTP in an orphaned group");
}

// The leader of a stopped group ends: the orphans get SIGHUP and go on.
static void test_group_becomes_orphaned(void)
{
	int fd[2];
	char c = 0;
	pid_t pid;

	is(pipe(fd), 0, "a pipe");
	pid = fork();
	if (pid == 0) {
		pid_t child;

		setsid();
		child = fork();
		if (child == 0) {
			setpgid(0, 0);
			signal(SIGHUP, SIG_DFL);
			raise(SIGSTOP);
			_exit(write(fd[1], "x", 1) == 1 ? 0 : 1); // not reached: SIGHUP ends it
		}
		waitpid(child, NULL, WUNTRACED);
		_exit(0);
	}
	close(fd[1]);
	waitpid(pid, NULL, 0);
	is(read(fd[0], &c, 1), 0, "orphans that are stopped get SIGHUP");
	close(fd[0]);
}

// Once every exit in such a group sent SIGHUP, so that a stopped job took its shell along.
static void test_orphaned_group_stays_stopped(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		pid_t stopped, other;

		setsid(); // this group is orphaned from the beginning
		stopped = start_sleeper();
		kill(stopped, SIGSTOP);
		waitpid(stopped, &status, WUNTRACED);
		other = fork();
		if (other == 0)
			_exit(0);
		waitpid(other, NULL, 0);
		other = waitpid(stopped, &status, WNOHANG | WCONTINUED);
		kill(stopped, SIGKILL);
		_exit(other == 0 ? 5 : 6);
	}
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 5,
	   "a group that was an orphan stays stopped");
}

static void test_groups(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setsid() != getpid() || getpgrp() != getpid() || getsid(0) != getpid())
			_exit(1);
		if (setsid() != -1 || errno != EPERM || setpgid(0, 0) != -1 || errno != EPERM)
			_exit(2);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	is(status, 0, "setsid makes a session and a group of its own, once");
	fails(setpgid(0, 1), EPERM, "setpgid to a group of another session");
	fails(setpgid(999999, 0), ESRCH, "setpgid of a process that is not there");
	fails(setpgid(-1, 0), EINVAL, "setpgid with a negative number");
	fails(getpgid(999999), ESRCH, "getpgid of a process that is not there");
	fails(waitpid(999999, NULL, 0), ECHILD, "waiting for a process that is no child");
}

int main(void)
{
	test_stop_and_continue(SIGSTOP, "SIGSTOP");
	test_continued();
	test_nocldstop();
	signal(SIGCHLD, SIG_DFL);
	test_waitid();
	test_sleep_survives_a_stop();
	test_orphaned_group();
	test_group_becomes_orphaned();
	test_orphaned_group_stays_stopped();
	test_groups();
	return tap_done();
}
