// SPDX-License-Identifier: MIT
//
// A user who is not root tries what is not his right, and users try what the kernel did not expect.
// Each of these worked once:
//
//   chown      chown(file, -1, -1) by anybody took the set-user-id bit from another user's file.
//   chmod      a write that drops the set-user-id bit stored the mode that it had read before the
//              owner's chmod: what he had just closed was open again.
//   look       who had the real number of a process could look at its files and set its limits,
//              whatever its effective number was. And what was opened by O_PATH while a process was
//              one's own could be read when it had become root (or another one had its number).
//   name       a process that called itself "x\nUid:\t0" had such a line in /proc/PID/status.
//   setuid     gave the effective number, which is nothing that one may go back to.
//   waitid     took group 1 for "any child".
//   O_PATH     such descriptors were good for flock, posix_fadvise, futimens and syncfs.
//   /proc      two writes by one descriptor at once freed the text that it showed twice: a panic.
//
// Limits and signals are the subject of bound_test.c.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

#include "tests/abi/clock.h"
#include "tests/abi/tap.h"
#include "tests/abi/user.h"

// ---- chown and chmod ----------------------------------------------------------------------------

static int chown_nothing(void)
{
	return become_user() + may(chown("program", -1, -1), EPERM, "chown of nothing") +
	       may(chown("plain", -1, -1), 0, "the same without set-user-id");
}

static int mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : (int)(st.st_mode & 07777);
}

static void test_chown(void)
{
	close(open("program", O_CREAT | O_WRONLY, 0755));
	close(open("plain", O_CREAT | O_WRONLY, 0755));
	chmod("program", 06755);
	is(in_child(chown_nothing), 0, "who is not the owner does not chown to nobody");
	is(mode_of("program"), 06755, "and the bits stay");
	is(chown("program", -1, -1), 0, "root does");
	is(mode_of("program"), 0755, "and they go");
	unlink("program");
	unlink("plain");
}

static int write_on(void)
{
	int fd = open("shared", O_WRONLY);

	if (fd < 0 || become_user())
		return 1;
	for (;;)
		(void)!pwrite(fd, "x", 1, 0);
}

static void test_chmod(void)
{
	unsigned opened = 0;
	struct stat st;
	pid_t pid;
	int fd = open("shared", O_CREAT | O_RDWR, 0666);

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(write_on());
	for (long end = now_ms() + 500; now_ms() < end;) {
		fchmod(fd, 04777);
		fchmod(fd, 0600);
		for (unsigned n = 0; n < 20; n++)
			opened += fstat(fd, &st) != 0 || (st.st_mode & 07777) != 0600;
	}
	is(opened, 0, "a chmod holds against a write that drops the set-user-id bit");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	unlink("shared");
}

// ---- Looking at others --------------------------------------------------------------------------

static pid_t victim;

static int look_at_victim(void)
{
	struct rlimit r = { 10, 10 };
	size_t bytes;
	void *head;
	char path[64], to[256];
	int bad = become_user();

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)victim);
	bad += may((int)readlink(path, to, sizeof(to)), EACCES, "where it is");
	snprintf(path, sizeof(path), "/proc/%d/fd/0", (int)victim);
	bad += may(open(path, O_RDONLY), EACCES, "its files");
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)victim);
	bad += may(open(path, O_RDONLY), EACCES, "its memory");
	bad += may(prlimit(victim, RLIMIT_NOFILE, &r, NULL), EPERM, "set its limits");
	bad += may(prlimit(victim, RLIMIT_NOFILE, NULL, &r), EPERM, "ask for them");
	bad += may((int)syscall(SYS_get_robust_list, victim, &head, &bytes), EPERM, "its locks");
	bad += may(kill(victim, 0), 0, "though signals are allowed");
	return bad;
}

static void test_look(void)
{
	fflush(stdout);
	victim = fork();
	if (victim == 0) {
		if (setresuid(USER, 0, USER))
			_exit(1);
		for (;;)
			pause();
	}
	sleep_ms(100);
	is(in_child(look_at_victim), 0, "a process is its effective user's");
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
}

// The victim is the user's own when its file is opened, and root's when it is read.
static int look_later(void)
{
	char path[64], again[64], byte;
	int go[2], hold[2], bad = 0, fd;

	if (pipe(go) || pipe(hold))
		return 1;
	victim = fork();
	if (victim == 0) {
		close(hold[1]);
		if (setresgid(USER, USER, 0) || setresuid(USER, USER, 0))
			_exit(1);
		(void)!write(go[1], "", 1);
		sleep_ms(300);
		if (setresuid(0, 0, 0))
			_exit(1);
		(void)!write(go[1], "", 1);
		(void)!read(hold[0], &byte, 1); // until the other one ends
		_exit(0);
	}
	close(hold[0]);
	bad += become_user() || read(go[0], &byte, 1) != 1;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)victim);
	fd = open(path, O_PATH);
	bad += may(fd, 0, "open by O_PATH") + (read(go[0], &byte, 1) != 1);
	snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	bad += may(open(again, O_RDONLY), EACCES, "open it again");
	return bad;
}

static void test_look_later(void)
{
	victim = 0;
	is(in_child(look_later), 0, "memory that has become another's is not shown");
}

static void test_name(void)
{
	char line[64] = "";
	FILE *f;

	prctl(PR_SET_NAME, "x\nUid:\t0\\");
	f = fopen("/proc/self/status", "r");
	if (f && fgets(line, sizeof(line), f) && fgets(line, sizeof(line), f))
		ok(strncmp(line, "Uid:", 4) != 0, "a name makes no lines in /proc/PID/status");
	rewind(f);
	ok(fgets(line, sizeof(line), f) && strcmp(line, "Name:\tx\\nUid:\t0\\\\\n") == 0,
	   "it is told in letters");
	fclose(f);
	prctl(PR_SET_NAME, "attack_test");
}

// ---- Other calls --------------------------------------------------------------------------------

static int ids(void)
{
	int bad = may(setresuid(USER, USER + 1, USER + 2), 0, "three numbers");

	bad += may(setuid(USER + 1), EPERM, "setuid to the effective one");
	bad += may(setuid(USER + 2), 0, "setuid to the saved one");
	return bad;
}

static void test_calls(void)
{
	struct timespec t[2] = { { 1, 0 }, { 1, 0 } };
	struct flock lock = { .l_type = F_WRLCK };
	siginfo_t info;
	pid_t pid;
	int fd, path, end;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(0);
	sleep_ms(50);
	fails(waitid(P_PGID, 1, &info, WEXITED | WNOHANG), ECHILD, "waitid: none in group 1");
	waitpid(pid, NULL, 0);
	is(in_child(ids), 0, "setuid of others than root");
	fd = open("f", O_RDWR | O_CREAT, 0644);
	path = open("f", O_PATH);
	end = open("f", O_WRONLY | O_APPEND);
	fails(flock(path, LOCK_SH), EBADF, "flock by O_PATH");
	is(posix_fadvise(path, 0, 0, 0), EBADF, "posix_fadvise by O_PATH");
	fails(syscall(SYS_utimensat, path, NULL, t, 0), EBADF, "futimens by O_PATH");
	fails(syscall(SYS_utimensat, AT_FDCWD, NULL, t, 0), EFAULT, "utimensat of no path");
	fails(syscall(SYS_utimensat, fd, NULL, t, AT_SYMLINK_NOFOLLOW), EINVAL, "and with a flag");
	fails(syscall(SYS_syncfs, path), EBADF, "syncfs by O_PATH");
	fails(syscall(SYS_readlink, "", &info, 1), ENOENT, "readlink of no path");
	fails(syscall(SYS_getrandom, &info, 1, 6), EINVAL, "getrandom, both kinds at once");
	fails(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, t, NULL), EOPNOTSUPP,
	      "a clock that nobody sleeps by");
	fails(getpriority(9, 0), EINVAL, "getpriority of what");
	fails(getpriority(PRIO_PROCESS, 99999), ESRCH, "getpriority of nobody");
	is(fcntl(fd, F_OFD_SETLK, &lock), 0, "a lock of an open file");
	is(fcntl(end, F_GETLK, &lock) ? 0 : lock.l_pid, -1, "is no process's");
	fails(sendfile(end, fd, NULL, 1), EINVAL, "sendfile to the end of a file");
	close(fd);
	close(path);
	close(end);
	unlink("f");
}

// ---- What is copied out -------------------------------------------------------------------------

static unsigned char info_bytes[128];

static bool all_zero(const unsigned char *p, size_t n)
{
	while (n && !*p) {
		p++;
		n--;
	}
	return n == 0;
}

static void *volatile nowhere;

static void check_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	memcpy(info_bytes, info, sizeof(info_bytes));
	_exit(!all_zero(info_bytes + 26, sizeof(info_bytes) - 26));
}

static int fault(void)
{
	struct sigaction act = { .sa_sigaction = check_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &act, NULL);
	*(volatile char *)nowhere = 0;
	return 1;
}

// Words on the kernel's stack that are not the caller's.
static void fill_kernel_stack(void)
{
	char path[200];

	memset(path, 'A', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	(void)access(path, F_OK);
}

static void test_copies(void)
{
	union {
		struct sysinfo s;
		unsigned char bytes[112];
	} u;

	fill_kernel_stack();
	memset(&u, 0x55, sizeof(u));
	sysinfo(&u.s);
	ok(all_zero(u.bytes + 108, 4), "sysinfo tells nothing behind its last field");
	fill_kernel_stack();
	is(in_child(fault), 0, "nor a signal's details");
}

// ---- /proc --------------------------------------------------------------------------------------

#define SHADOW "/proc/sys/daxvm/shadow"

static char mode[32];

static void *write_mode(void *fd)
{
	for (unsigned n = 0; n < 3000; n++)
		if (pwrite(*(int *)fd, mode, strlen(mode), 0) < 0)
			return (void *)1;
	return NULL;
}

static void test_proc(void)
{
	int fd = open(SHADOW, O_RDWR);
	pthread_t t[4];
	void *bad = NULL, *one;

	if (fd < 0) { // Linux has no such file
		ok(on_linux(), "no " SHADOW);
		return;
	}
	(void)!read(fd, mode, sizeof(mode) - 1);
	for (unsigned k = 0; k < 4; k++)
		pthread_create(&t[k], NULL, write_mode, &fd);
	for (unsigned k = 0; k < 4; k++) {
		pthread_join(t[k], &one);
		bad = one ? one : bad;
	}
	ok(!bad, "many threads write by one descriptor");
	close(fd);
}

int main(void)
{
	enter_scratch_folder();
	umask(0);
	if (getuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	chmod(".", 0777);
	test_chown();
	test_chmod();
	test_look();
	test_look_later();
	test_name();
	test_calls();
	test_copies();
	test_proc();
	leave_scratch_folder();
	return tap_done();
}
