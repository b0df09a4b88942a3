// SPDX-License-Identifier: MIT
//
// Advisory locks: byte ranges of a process (fcntl) and whole files of an open file (flock).
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <time.h>

#include "tests/abi/tap.h"

static int fd;

static int range(int cmd, int type, off_t start, off_t len)
{
	struct flock l = {
		.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len
	};

	return fcntl(fd, cmd, &l);
}

// What another process finds in the way of a write lock on [start, start + len): its type, or -1.
static int found_start, found_len, found_pid;

static int probe(off_t start, off_t len)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = start, .l_len = len };
	int report[4], p[2];
	pid_t pid;

	pipe(p);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		report[0] = fcntl(fd, F_GETLK, &l) ? -1 : l.l_type;
		report[1] = (int)l.l_start;
		report[2] = (int)l.l_len;
		report[3] = l.l_pid;
		_exit(write(p[1], report, sizeof(report)) != sizeof(report));
	}
	waitpid(pid, NULL, 0);
	if (read(p[0], report, sizeof(report)) != sizeof(report))
		return -1;
	close(p[0]);
	close(p[1]);
	found_start = report[1];
	found_len = report[2];
	found_pid = report[3];
	return report[0];
}

static int try_to_read_lock(void)
{
	return range(F_SETLK, F_RDLCK, 0, 10) == 0 ? 0 : errno;
}

static void test_ranges(void)
{
	is(range(F_SETLK, F_WRLCK, 10, 20), 0, "lock 10..29");
	is(probe(0, 10), F_UNLCK, "nothing before it");
	is(probe(0, 11), F_WRLCK, "it is in the way at 10");
	is(found_start, 10, "from 10");
	is(found_len, 20, "20 bytes");
	is(found_pid, getpid(), "ours");
	is(probe(30, 0), F_UNLCK, "nothing behind it");
	is(range(F_SETLK, F_UNLCK, 15, 5), 0, "unlock 15..19");
	is(probe(15, 5), F_UNLCK, "the middle is free");
	is(probe(14, 1), F_WRLCK, "the front is not");
	is(found_len, 5, "5 bytes of it");
	is(probe(20, 1), F_WRLCK, "nor the back");
	is(range(F_SETLK, F_RDLCK, 0, 0), 0, "a read lock over all replaces ours");
	is(probe(1000, 1), F_RDLCK, "it reaches to the end of the file");
	is(found_len, 0, "and beyond");
	is(in_child(try_to_read_lock), 0, "others may read too");
	is(range(F_SETLK, F_UNLCK, 0, 0), 0, "unlock all");
	is(probe(0, 0), F_UNLCK, "all is free");
	fails(range(F_SETLK, 7, 0, 0), EINVAL, "an unknown type");
	fails(range(F_SETLK, F_WRLCK, -5, 3), EINVAL, "before the beginning");
	is(range(F_SETLK, F_WRLCK, 20, -10), 0, "a negative length");
	is(probe(10, 1), F_WRLCK, "reaches back");
	is(probe(20, 1), F_UNLCK, "and ends before");
}

static int try_write_lock(void)
{
	return range(F_SETLK, F_WRLCK, 0, 10) == 0 ? 0 : errno;
}

static void test_conflict_and_close(void)
{
	int other;

	range(F_SETLK, F_UNLCK, 0, 0);
	is(range(F_SETLK, F_WRLCK, 0, 10), 0, "a write lock");
	is(WEXITSTATUS(in_child(try_write_lock)), EAGAIN, "a child does not inherit it");
	other = open("f", O_RDONLY);
	close(other);
	is(in_child(try_write_lock), 0, "closing any descriptor of the file drops it");
}

static int hold_a_while(void)
{
	struct timespec t = { 0, 100000000 };

	if (range(F_SETLK, F_WRLCK, 0, 1))
		return 1;
	nanosleep(&t, NULL);
	return 0; // the lock goes with the process
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void test_waiting(void)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct timespec t = { 0, 30000000 };
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(hold_a_while());
	nanosleep(&t, NULL);
	is(range(F_SETLKW, F_WRLCK, 0, 1), 0, "F_SETLKW waits");
	waitpid(pid, &status, 0);
	is(status, 0, "until the other has gone");
	range(F_SETLK, F_UNLCK, 0, 0);
	pid = fork();
	if (pid == 0) {
		range(F_SETLK, F_WRLCK, 0, 1);
		pause();
		_exit(0);
	}
	nanosleep(&t, NULL);
	sigaction(SIGALRM, &act, NULL);
	alarm(1);
	fails(range(F_SETLKW, F_WRLCK, 0, 1), EINTR, "a signal ends the wait");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	is(range(F_SETLK, F_WRLCK, 0, 1), 0, "the dead hold no locks");
}

static void test_flock(void)
{
	int a = open("f", O_RDWR), b = open("f", O_RDONLY), c = dup(a);

	is(flock(a, LOCK_EX), 0, "flock");
	fails(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK, "another open file is kept out");
	is(flock(c, LOCK_EX | LOCK_NB), 0, "a dup has the same lock");
	is(flock(a, LOCK_SH), 0, "downgrade");
	is(flock(b, LOCK_SH | LOCK_NB), 0, "now both");
	fails(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK, "no upgrade meanwhile");
	close(b);
	is(flock(a, LOCK_EX | LOCK_NB), 0, "when the other is closed");
	b = open("f", O_RDONLY);
	close(a);
	fails(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK, "the dup still holds it");
	close(c);
	is(flock(b, LOCK_SH | LOCK_NB), 0, "the last close lets it go");
	is(flock(b, LOCK_UN), 0, "unlock");
	fails(flock(b, 77), EINVAL, "an unknown operation");
	fails(flock(999, LOCK_SH), EBADF, "no descriptor");
	close(b);
}

// The lock of a process went with any close of the file, but not if it was had only after that: a
// thread waits for it, another one closes the descriptor, and it stayed until the machine went
// down, in the name of a process that had ended.
static int lock_when_free(void)
{
	return range(F_SETLKW, F_WRLCK, 0, 10) == 0 ? 0 : errno;
}

static void *lock_in_thread(void *arg)
{
	(void)arg;
	return (void *)(long)lock_when_free();
}

static int close_while_waiting(void)
{
	pthread_t thread;
	void *err;

	if (pthread_create(&thread, NULL, lock_in_thread, NULL))
		return 1;
	usleep(200000); // it waits
	close(fd);
	kill(getppid(), SIGUSR1);
	pthread_join(thread, &err);
	return (long)err != EBADF;
}

static void go_on(int sig)
{
	(void)sig;
}

static void test_close_while_waiting(void)
{
	sigset_t set, old;
	int status;
	pid_t pid;

	signal(SIGUSR1, go_on);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	is(range(F_SETLK, F_WRLCK, 0, 10), 0, "lock 0..9");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(close_while_waiting());
	sigsuspend(&old);
	sigprocmask(SIG_SETMASK, &old, NULL);
	is(range(F_SETLK, F_UNLCK, 0, 10), 0, "unlock, after the waiter's file was closed");
	waitpid(pid, &status, 0);
	is(status, 0, "the waiter found its descriptor gone");
	is(range(F_SETLK, F_WRLCK, 0, 10), 0, "it has left no lock behind");
	range(F_SETLK, F_UNLCK, 0, 0);
}

int main(void)
{
	enter_scratch_folder();
	fd = open("f", O_CREAT | O_RDWR, 0600);
	test_ranges();
	test_conflict_and_close();
	test_waiting();
	test_flock();
	test_close_while_waiting();
	close(fd);
	unlink("f");
	leave_scratch_folder();
	return tap_done();
}
