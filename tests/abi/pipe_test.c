// SPDX-License-Identifier: MIT
//
// Pipes, fifos, and waiting on them: poll, ppoll, select, pselect; sendfile; descriptor flags.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "tests/abi/tap.h"

static char page[4096];

static int poll_one(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static void test_pipe(void)
{
	int p[2], n, fd;
	char c;

	is(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0, "pipe2");
	is(fcntl(p[0], F_GETFD), FD_CLOEXEC, "close on exec");
	is(fcntl(p[0], F_GETFL), O_NONBLOCK | O_RDONLY, "flags of the reading end");
	is(fcntl(p[1], F_GETFL), O_NONBLOCK | O_WRONLY, "flags of the writing end");
	fails(pipe2(p + 0, 0x40000000), EINVAL, "an unknown flag");
	fails(read(p[0], &c, 1), EAGAIN, "read of an empty pipe");
	is(read(p[0], &c, 0), 0, "read of nothing");
	is(poll_one(p[0], POLLIN), 0, "poll of an empty pipe");
	is(poll_one(p[1], POLLOUT), POLLOUT, "there is room");
	is(write(p[1], "abcdef", 6), 6, "write");
	is(ioctl(p[0], FIONREAD, &n), 0, "FIONREAD");
	is(n, 6, "six bytes wait");
	is(poll_one(p[0], POLLIN), POLLIN, "poll sees them");
	is(read(p[0], page, 4), 4, "read some");
	is(read(p[0], page, 4), 2, "and the rest");
	fails(write(p[0], "x", 1), EBADF, "write to the reading end");
	fails(read(p[1], &c, 1), EBADF, "read from the writing end");
	fails(lseek(p[0], 0, SEEK_CUR), ESPIPE, "lseek");
	fails(pread(p[0], &c, 1, 0), ESPIPE, "pread");
	fails(pwrite(p[1], &c, 1, 0), ESPIPE, "pwrite");
	fails(fsync(p[0]), EINVAL, "fsync");
	fails(ftruncate(p[1], 0), EINVAL, "ftruncate");
	is(fcntl(p[0], F_GETPIPE_SZ), 65536, "F_GETPIPE_SZ");
	for (n = 0; write(p[1], page, sizeof(page)) == sizeof(page); n++)
		;
	is(n, 16, "64 KiB fit");
	is(errno, EAGAIN, "then EAGAIN");
	is(poll_one(p[1], POLLOUT), 0, "no room");
	is(read(p[0], page, 1), 1, "read a byte");
	fails(write(p[1], page, 2), EAGAIN, "a small write is all or nothing");
	fd = open("/proc/self/fd/0", O_RDONLY);
	ok(fd >= 0 || errno == ENXIO || errno == EACCES, "open by /proc/self/fd");
	close(fd);
	close(p[1]);
	is(poll_one(p[0], POLLIN), POLLIN | POLLHUP, "hung up, with bytes");
	while (read(p[0], page, sizeof(page)) > 0)
		;
	is(read(p[0], page, 1), 0, "end of file");
	is(poll_one(p[0], POLLIN), POLLHUP, "hung up");
	close(p[0]);
	is(poll_one(p[0], POLLIN), POLLNVAL, "a closed descriptor");
}

static volatile sig_atomic_t broken;

static void on_broken(int sig)
{
	broken = sig;
}

static void test_broken_pipe(void)
{
	int p[2];

	signal(SIGPIPE, on_broken);
	is(pipe(p), 0, "pipe");
	close(p[0]);
	fails(write(p[1], "x", 1), EPIPE, "write without a reader");
	is(broken, SIGPIPE, "and SIGPIPE");
	is(poll_one(p[1], POLLOUT), POLLOUT | POLLERR, "poll says so");
	close(p[1]);
	signal(SIGPIPE, SIG_DFL);
}

static int slow_writer(int fd)
{
	struct timespec t = { 0, 50000000 };

	nanosleep(&t, NULL);
	return write(fd, "late", 4) != 4;
}

static void test_wait_for_writer(void)
{
	struct timespec ts = { 5, 0 };
	struct timeval tv = { 0, 20000 };
	struct pollfd fds[3];
	fd_set set;
	char buf[8];
	int p[2];
	pid_t pid;

	pipe(p);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(slow_writer(p[1]));
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	is(syscall(SYS_select, p[0] + 1, &set, NULL, NULL, &tv), 0, "select times out");
	ok(!FD_ISSET(p[0], &set), "the set is empty then");
	ok(tv.tv_sec == 0 && tv.tv_usec == 0, "and no time is left");
	fds[0] = (struct pollfd){ .fd = p[0], .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = -1, .events = POLLIN, .revents = 77 };
	fds[2] = (struct pollfd){ .fd = 999, .events = POLLIN };
	is(ppoll(fds, 2, &ts, NULL), 1, "ppoll waits for the writer");
	is(fds[0].revents, POLLIN, "bytes are there");
	is(fds[1].revents, 0, "negative descriptors are left out");
	is(poll(fds, 3, 1000), 2, "a bad descriptor counts");
	is(fds[2].revents, POLLNVAL, "as POLLNVAL");
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	is(pselect(p[0] + 1, &set, NULL, NULL, &ts, NULL), 1, "pselect");
	ok(FD_ISSET(p[0], &set), "the reader is ready");
	FD_SET(50, &set);
	fails(select(60, &set, NULL, NULL, NULL), EBADF, "select of a closed descriptor");
	is(read(p[0], buf, sizeof(buf)), 4, "read it");
	waitpid(pid, NULL, 0);
	close(p[0]);
	close(p[1]);
	fails(poll(fds, 1000000, 0), EINVAL, "more descriptors than the limit");
	tv.tv_sec = -1;
	fails(syscall(SYS_select, 0, NULL, NULL, NULL, &tv), EINVAL, "a negative timeout");
	ts.tv_nsec = 1000000000;
	fails(ppoll(fds, 0, &ts, NULL), EINVAL, "nanoseconds beyond a second");
	is(poll(NULL, 0, 10), 0, "poll of nothing sleeps");
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void test_interrupted(void)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct pollfd fd;
	char c;
	int p[2];

	pipe(p);
	fd = (struct pollfd){ .fd = p[0], .events = POLLIN };
	sigaction(SIGALRM, &act, NULL);
	alarm(1);
	fails(poll(&fd, 1, 10000), EINTR, "poll ends with a signal");
	alarm(1);
	fails(read(p[0], &c, 1), EINTR, "read too");
	close(p[0]);
	close(p[1]);
}

static int through_fifo(void)
{
	int fd = open("fifo", O_WRONLY);

	return fd < 0 || write(fd, "hello", 5) != 5;
}

static void test_fifo(void)
{
	char buf[8];
	int r, w, status;
	pid_t pid;

	is(mkfifo("fifo", 0600), 0, "mkfifo");
	fails(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO, "a writer without a reader");
	r = open("fifo", O_RDONLY | O_NONBLOCK);
	ok(r >= 0, "a reader that does not wait");
	is(read(r, buf, 1), 0, "end of file without a writer");
	is(poll_one(r, POLLIN), 0, "but not hung up yet");
	w = open("fifo", O_WRONLY | O_NONBLOCK);
	ok(w >= 0, "now a writer");
	fails(read(r, buf, 1), EAGAIN, "nothing written yet");
	is(write(w, "xy", 2), 2, "write");
	close(w);
	is(poll_one(r, POLLIN), POLLIN | POLLHUP, "bytes, and hung up");
	is(read(r, buf, 8), 2, "read");
	close(r);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(through_fifo());
	r = open("fifo", O_RDONLY); // meets the child's open
	is(read(r, buf, 8), 5, "read what the child wrote");
	is(read(r, buf, 8), 0, "then it hung up");
	waitpid(pid, &status, 0);
	is(status, 0, "the child is content");
	close(r);
	r = open("fifo", O_RDWR);
	ok(r >= 0, "O_RDWR waits for nobody");
	is(write(r, "self", 4), 4, "write to it");
	is(read(r, buf, 8), 4, "and read it back");
	close(r);
	unlink("fifo");
}

static void test_big_transfer(void)
{
	enum { TOTAL = 300000 };
	static char data[TOTAL];
	long got = 0, n;
	int p[2], wrong = 0;
	pid_t pid;

	for (int k = 0; k < TOTAL; k++)
		data[k] = (char)(k * 31 >> 3);
	pipe(p);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		_exit(write(p[1], data, TOTAL) != TOTAL);
	}
	close(p[1]);
	while ((n = read(p[0], page, (size_t)(got % 4000 + 1))) > 0)
		for (long k = 0; k < n; k++)
			wrong += page[k] != data[got++];
	is(got, TOTAL, "300000 bytes in one write");
	is(wrong, 0, "arrive as they were");
	waitpid(pid, NULL, 0);
	close(p[0]);
}

static void test_sendfile(void)
{
	int in = open("in", O_CREAT | O_RDWR, 0600), out = open("out", O_CREAT | O_RDWR, 0600);
	off_t off = 2;
	char buf[16];

	write(in, "0123456789", 10);
	is(sendfile(out, in, &off, 5), 5, "sendfile from an offset");
	is(off, 7, "which moves on");
	is(lseek(in, 0, SEEK_CUR), 10, "the position does not");
	lseek(in, 8, SEEK_SET);
	is(sendfile(out, in, NULL, 100), 2, "sendfile from the position");
	is(pread(out, buf, sizeof(buf), 0), 7, "it is there");
	ok(memcmp(buf, "2345689", 7) == 0, "in order");
	is(sendfile(out, in, NULL, 100), 0, "nothing left");
	fails(sendfile(999, in, NULL, 1), EBADF, "to no descriptor");
	close(in);
	close(out);
	unlink("in");
	unlink("out");
}

static void test_descriptor_flags(void)
{
	int fd = open("f", O_CREAT | O_RDWR | O_APPEND, 0600), dup_fd;
	struct iovec iov[2] = { { page, 3 }, { page, (size_t)-1 } };

	is(fcntl(fd, F_GETFL) & ~0100000, O_RDWR | O_APPEND, "F_GETFL");
	is(fcntl(fd, F_SETFL, O_NONBLOCK), 0, "F_SETFL");
	is(fcntl(fd, F_GETFL) & ~0100000, O_RDWR | O_NONBLOCK, "access mode stays");
	is(fcntl(fd, F_SETFD, FD_CLOEXEC), 0, "F_SETFD");
	dup_fd = dup(fd);
	is(fcntl(dup_fd, F_GETFD), 0, "dup clears close-on-exec");
	close(dup_fd);
	dup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	is(dup_fd, 100, "F_DUPFD_CLOEXEC from 100 on");
	is(fcntl(dup_fd, F_GETFD), FD_CLOEXEC, "with the flag");
	close(dup_fd);
	fails(fcntl(fd, F_DUPFD, 1 << 30), EINVAL, "F_DUPFD beyond the limit");
	fails(fcntl(fd, 999), EINVAL, "an unknown command");
	fails(dup2(fd, -1), EBADF, "dup2 to -1");
	fails(dup3(fd, fd, 0), EINVAL, "dup3 to itself");
	fails(syscall(SYS_dup3, fd, 50, 0x40000000), EINVAL, "dup3 with an unknown flag");
	fails(writev(fd, iov, 2), EINVAL, "writev of a negative length");
	fails(writev(fd, iov, 2000), EINVAL, "writev of 2000 pieces");
	is(writev(fd, iov, 0), 0, "writev of none");
	close(fd);
	fails(close(fd), EBADF, "close twice");
	fd = open("f", O_WRONLY);
	fails(read(fd, page, 1), EBADF, "read of a write-only file");
	close(fd);
	fd = open("f", O_RDONLY);
	fails(write(fd, page, 1), EBADF, "write to a read-only file");
	fails(ftruncate(fd, 0), EINVAL, "ftruncate of a read-only file");
	close(fd);
	unlink("f");
	fd = open(".", O_RDONLY);
	fails(read(fd, page, 1), EISDIR, "read of a folder");
	is(fsync(fd), 0, "fsync of a folder");
	close(fd);
}

int main(void)
{
	enter_scratch_folder();
	test_pipe();
	test_broken_pipe();
	test_wait_for_writer();
	test_interrupted();
	test_fifo();
	test_big_transfer();
	test_sendfile();
	test_descriptor_flags();
	leave_scratch_folder();
	return tap_done();
}
