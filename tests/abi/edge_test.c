// SPDX-License-Identifier: MIT
//
// Found by the stress programs (tests/stress/): calls at the edges of what a kernel expects.
//
// * A buffer that begins in the last page of user space and ends beyond it. The copy did not even
//   begin, because its end was bad; the caller took that for a missing page, made the first page
//   present, which went well, and tried again, for ever and beyond SIGKILL. Linux answers EFAULT at
//   once, or moves the bytes that are there.
//
// * open(O_RDONLY | O_TRUNC) of a program that runs. It does not open for writing, so nobody asked
//   whether the file was busy, and the shell's text was gone from under it.
//
// * MAP_POPULATE of gigabytes, and sendfile() of a file to its own end: SIGKILL had to wait for
//   them.
//
// * A signal to a process group, while a member forks: it went to those that were there, and the
//   child that came a moment later lived on.
//
// * SIGKILL to the parent of a vfork waited for the child.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <time.h>

#include "tests/abi/tap.h"

#define USER_END 0x7ffffffff000ul
#define TOO_MUCH 4000

// 1 byte, or EFAULT.
static void one_byte(ssize_t n, const char *name)
{
	ok(n == 1 || (n == -1 && errno == EFAULT), "%s", name);
}

static void buffer_leaves_user_space(void)
{
	char *last = (char *)(USER_END - 1);
	int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600), fds[2];

	mmap((void *)(USER_END - 4096), 4096, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0); // or the stack is there
	is(pipe(fds), 0, "pipe");
	one_byte(write(fd, last, TOO_MUCH), "write to a file from the last byte");
	is(ftruncate(fd, TOO_MUCH), 0, "ftruncate");
	one_byte(pread(fd, last, TOO_MUCH, 0), "read from a file to the last byte");
	one_byte(write(fds[1], last, TOO_MUCH), "write to a pipe from the last byte");
	is(write(fds[1], "0123456789", 10), 10, "fill a pipe");
	one_byte(read(fds[0], last, TOO_MUCH), "read from a pipe to the last byte");
	close(fds[0]);
	close(fds[1]);
	close(fd);
	unlink("f");
}

static void truncate_running_program(void)
{
	struct stat before, after;

	is(stat("/proc/self/exe", &before), 0, "stat of this program");
	fails(open("/proc/self/exe", O_RDONLY | O_TRUNC), ETXTBSY, "O_TRUNC for reading only");
	fails(open("/proc/self/exe", O_RDWR | O_TRUNC), ETXTBSY, "O_TRUNC for writing");
	fails(truncate("/proc/self/exe", 0), ETXTBSY, "truncate");
	is(stat("/proc/self/exe", &after), 0, "stat again");
	is(after.st_size, before.st_size, "this program has its size");
}

static int populate_much(void)
{
	mmap(NULL, 16ul << 30, PROT_READ,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_NORESERVE, -1, 0);
	pause();
	return 0;
}

static int send_to_itself(void)
{
	int in = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int out = open("f", O_WRONLY);
	off_t off = 0;

	if (write(in, "x", 1) != 1 || lseek(out, 1, SEEK_SET) != 1)
		return 1;
	while (sendfile(out, in, &off, 1ul << 30) > 0)
		;
	pause();
	return 0;
}

static void kill_soon(int (*fn)(void), const char *name)
{
	struct timespec begin, end;
	pid_t pid;
	int status = 0;

	pid = fork();
	if (pid == 0)
		_exit(fn());
	usleep(100000);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok(WIFSIGNALED(status) && end.tv_sec - begin.tv_sec < 3, "%s ends with SIGKILL at once",
	   name);
}

// Members that fork as the group is killed. The pipe ends when none is left.
static int kill_forking_group(void)
{
	for (int round = 0; round < 12; round++) {
		int fds[2];
		char c;
		pid_t pid;

		if (pipe(fds))
			return 1;
		pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			while (fork() >= 0 && write(fds[1], "x", 1) == 1)
				if (getpid() != getpgrp())
					pause();
			_exit(1);
		}
		close(fds[1]);
		if (read(fds[0], &c, 1) != 1)
			return 2;
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (read(fds[0], &c, 1) > 0)
			;
		close(fds[0]);
	}
	return 0;
}

static int vfork_and_wait(void)
{
	if (vfork() == 0) {
		sleep(6);
		_exit(0);
	}
	return 0;
}

int main(void)
{
	enter_scratch_folder();
	alarm(90); // what hangs has failed; a busy host is slow, which is no failure
	buffer_leaves_user_space();
	truncate_running_program();
	kill_soon(populate_much, "MAP_POPULATE of much");
	kill_soon(send_to_itself, "sendfile of a file to itself");
	kill_soon(vfork_and_wait, "the parent of a vfork");
	is(in_child(kill_forking_group), 0, "no member of a killed group is left");
	unlink("f");
	leave_scratch_folder();
	return tap_done();
}
