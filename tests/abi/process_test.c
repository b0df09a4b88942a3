// SPDX-License-Identifier: MIT
//
// Processes: fork, vfork, exec, exit and wait, pipes, what is inherited and what is not.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "tests/abi/tap.h"

static const char *self; // path of this program, which also plays the children

// ---- What the program does when it was executed by itself ---------------------------------------

static int play(int argc, char **argv)
{
	if (strcmp(argv[1], "status") == 0)
		return atoi(argv[2]);
	if (strcmp(argv[1], "arguments") == 0)
		return argc == 4 && strcmp(argv[2], "") == 0 && strcmp(argv[3], "two words") == 0 &&
				       getenv("MARK") && strcmp(getenv("MARK"), "42") == 0
			       ? 0
			       : 1;
	if (strcmp(argv[1], "closed") == 0) // is this descriptor closed?
		return fcntl(atoi(argv[2]), F_GETFD) == -1 && errno == EBADF ? 0 : 1;
	return 99;
}

static int run(char *const argv[])
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execve(self, argv, (char *const[]){ (char[]){ "MARK=42" }, NULL });
		_exit(98);
	}
	waitpid(pid, &status, 0);
	return status;
}

#define RUN(...) run((char *const[]){ (char[]){ "test" }, __VA_ARGS__, NULL })
#define ARG(s)   ((char[]){ s })

// ---- Tests --------------------------------------------------------------------------------------

static int exit_42(void)
{
	return 42;
}

static int killed(void)
{
	kill(getpid(), SIGTERM);
	return 0;
}

static int parent_is_known(void)
{
	return getppid() > 0 && getppid() != getpid() ? 0 : 1;
}

static void test_exit_and_wait(void)
{
	int status = in_child(exit_42);
	pid_t pid;

	ok(WIFEXITED(status) && WEXITSTATUS(status) == 42, "the exit status");
	status = in_child(killed);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "the signal that killed it");
	is(in_child(parent_is_known), 0, "getppid");
	fails(wait(&status), ECHILD, "no child is left");

	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	is(waitpid(pid, &status, WNOHANG), 0, "WNOHANG: it still runs");
	is(kill(pid, SIGKILL), 0, "SIGKILL");
	is(waitpid(pid, &status, 0), pid, "waitpid tells which");
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed");
	fails(kill(pid, 0), ESRCH, "it is no more");
	fails(waitpid(pid, &status, 0), ECHILD, "nor to be waited for");
}

static void test_many_children(void)
{
	enum { CHILDREN = 20 };
	int sum = 0, status;

	for (int i = 1; i <= CHILDREN; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(i);
	}
	for (int i = 0; i < CHILDREN; i++) {
		wait(&status);
		sum += WEXITSTATUS(status);
	}
	is(sum, CHILDREN * (CHILDREN + 1) / 2, "each of twenty children is reported once");
}

static void test_exec(void)
{
	int status = RUN(ARG("status"), ARG("7"));
	int fd = open("/dev/null", O_RDWR), cloexec = open("/dev/null", O_RDWR | O_CLOEXEC);
	char number[12];

	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "execve");
	is(RUN(ARG("arguments"), ARG(""), ARG("two words")), 0, "arguments and environment");
	snprintf(number, sizeof(number), "%d", cloexec);
	is(RUN(ARG("closed"), number), 0, "a close-on-exec descriptor is closed");
	snprintf(number, sizeof(number), "%d", fd);
	is(WEXITSTATUS(RUN(ARG("closed"), number)), 1, "another one is not");
	close(fd);
	close(cloexec);

	fails(execl("/missing", "x", (char *)NULL), ENOENT, "a program that is not there");
	fails(execl("/", "x", (char *)NULL), EACCES, "a folder");
	fd = open("script", O_WRONLY | O_CREAT | O_TRUNC, 0755);
	is(write(fd, "not a program", 13), 13, "a file that is no program");
	close(fd);
	fails(execl("./script", "x", (char *)NULL), ENOEXEC, "to execute it");
	chmod("script", 0644);
	fails(execl("./script", "x", (char *)NULL), EACCES, "nor without x permission");
	unlink("script");
}

static void test_vfork(void)
{
	volatile int shared = 0;
	int status = -1;
	pid_t pid = vfork();

	if (pid == 0) {
		shared = 1;
		_exit(5);
	}
	is(shared, 1, "a vfork child shares memory, and its parent waited");
	waitpid(pid, &status, 0);
	is(WEXITSTATUS(status), 5, "its status");
	is(posix_spawn(&pid, self, NULL, NULL,
		       (char *const[]){ ARG("test"), ARG("status"), ARG("9"), NULL }, environ),
	   0, "posix_spawn");
	waitpid(pid, &status, 0);
	is(WEXITSTATUS(status), 9, "its status");
	is(posix_spawn(&pid, "/missing", NULL, NULL, (char *const[]){ ARG("x"), NULL }, environ),
	   ENOENT, "its error comes back");
}

static void test_pipe(void)
{
	static char big[100000];
	struct pollfd polled;
	long total = 0, got;
	int ends[2];
	char byte;
	pid_t pid;

	is(pipe(ends), 0, "pipe");
	is(write(ends[1], "hello", 5), 5, "write");
	is(read(ends[0], big, 100), 5, "read takes what is there");
	fails(lseek(ends[0], 0, SEEK_CUR), ESPIPE, "it has no position");
	fails(write(ends[0], "x", 1), EBADF, "the reading end cannot be written");

	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		_exit(write(ends[1], big, sizeof(big)) == sizeof(big) ? 0 : 1);
	}
	close(ends[1]);
	while ((got = read(ends[0], big, 3000)) > 0)
		total += got;
	is(total, sizeof(big), "more than a pipe holds goes through it");
	is(got, 0, "the end of the last writer is the end of the data");
	waitpid(pid, NULL, 0);
	close(ends[0]);

	is(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0, "pipe2");
	fails(read(ends[0], &byte, 1), EAGAIN, "an empty pipe with O_NONBLOCK");
	polled = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	is(poll(&polled, 1, 0), 0, "poll: nothing to read");
	while (write(ends[1], big, 4096) > 0)
		;
	is(errno, EAGAIN, "a full pipe with O_NONBLOCK");
	is(poll(&polled, 1, -1), 1, "poll: something to read");
	is(polled.revents, POLLIN, "POLLIN");
	is(fcntl(ends[0], F_GETFD), FD_CLOEXEC, "O_CLOEXEC");
	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	fails(write(ends[1], "x", 1), EPIPE, "no reader");
	close(ends[1]);
	signal(SIGPIPE, SIG_DFL);
}

static void test_auxiliary_vector(void)
{
	unsigned char *random = (unsigned char *)getauxval(AT_RANDOM);
	int sum = 0;

	is((long)getauxval(AT_PAGESZ), 4096, "AT_PAGESZ");
	ok(getauxval(AT_PHDR) != 0 && getauxval(AT_PHNUM) > 0, "AT_PHDR, AT_PHNUM");
	is((long)getauxval(AT_PHENT), 56, "AT_PHENT");
	is((long)getauxval(AT_UID), getuid(), "AT_UID");
	is((long)getauxval(AT_SECURE), 0, "AT_SECURE");
	ok(getauxval(AT_ENTRY) != 0, "AT_ENTRY");
	for (int i = 0; random && i < 16; i++)
		sum += random[i];
	ok(sum > 0, "AT_RANDOM points at sixteen bytes that are not all zero");
	ok(getauxval(AT_EXECFN) && strlen((char *)getauxval(AT_EXECFN)) > 0, "AT_EXECFN");
}

static void test_unknown_call(void)
{
	fails(syscall(511), ENOSYS, "a call that is not there");
	fails(syscall(100000), ENOSYS, "a number beyond the table");
}

// Found with Debian's ld.so, which takes the rest of its last page for zeroed heap: the kernel had
// cleared memory up to the end of .bss only, and what the file has behind .data showed up there.
static void test_end_of_bss(void)
{
	extern char end[];
	const char *page_end = (char *)(((uintptr_t)end + 4095) & ~4095ul);
	size_t dirty = 0;

	for (const char *at = end; at < page_end; at++)
		dirty += *at != 0;
	is(dirty, 0, "the page in which .bss ends is zero to its end");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return play(argc, argv);
	self = "/proc/self/exe";
	test_end_of_bss(); // before malloc takes it
	enter_scratch_folder();
	test_exit_and_wait();
	test_many_children();
	test_exec();
	test_vfork();
	test_pipe();
	test_auxiliary_vector();
	test_unknown_call();
	leave_scratch_folder();
	return tap_done();
}
