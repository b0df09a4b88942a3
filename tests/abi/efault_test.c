// SPDX-License-Identifier: MIT
//
// Every system call that takes a pointer, with pointers that lead nowhere: EFAULT, and nothing else
// happens. A call that the kernel does not have is skipped; one that it has and that is neither in
// the table nor in the list of calls without pointers fails the test (where /proc/syscalls tells).
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "tests/abi/tap.h"

#define BAD  0xbad0bad0bad0bad0ul // replaced by each bad pointer in turn
#define PATH ((unsigned long)"file")
#define HERE ((unsigned long)AT_FDCWD & 0xfffffffful)

// From Linux's own headers, which musl does not have.
#define ARCH_GET_FS 0x1003
#define FUTEX_WAIT  0
#define STATX_ALL   0xfff

#define FILE_FD 40
#define PIPE_FD 41
#define DIR_FD  42

static unsigned char valid[4096] __attribute__((aligned(4096)));
#define VALID ((unsigned long)valid)

static const struct timespec short_time = { 0, 1 };
#define TIMESPEC ((unsigned long)&short_time)

// An I/O vector whose only piece is bad.
static struct iovec bad_piece;
#define BAD_PIECE ((unsigned long)&bad_piece)

static const struct {
	long nr;
	const char *name;
	unsigned long args[6];
} calls[] = {
	{ SYS_read, "read", { FILE_FD, BAD, 10 } },
	{ SYS_write, "write", { FILE_FD, BAD, 10 } },
	{ SYS_open, "open", { BAD, O_RDONLY } },
	{ SYS_creat, "creat", { BAD, 0600 } },
	{ SYS_stat, "stat: path", { BAD, VALID } },
	{ SYS_stat, "stat: result", { PATH, BAD } },
	{ SYS_fstat, "fstat", { FILE_FD, BAD } },
	{ SYS_lstat, "lstat: path", { BAD, VALID } },
	{ SYS_lstat, "lstat: result", { PATH, BAD } },
	{ SYS_poll, "poll", { BAD, 1, 0 } },
	{ SYS_rt_sigaction, "rt_sigaction: new", { SIGUSR1, BAD, 0, 8 } },
	{ SYS_rt_sigaction, "rt_sigaction: old", { SIGUSR1, 0, BAD, 8 } },
	{ SYS_rt_sigprocmask, "rt_sigprocmask: new", { SIG_BLOCK, BAD, 0, 8 } },
	{ SYS_rt_sigprocmask, "rt_sigprocmask: old", { SIG_BLOCK, 0, BAD, 8 } },
	{ SYS_ioctl, "ioctl FIONREAD", { PIPE_FD, FIONREAD, BAD } },
	{ SYS_pread64, "pread64", { FILE_FD, BAD, 10, 0 } },
	{ SYS_pwrite64, "pwrite64", { FILE_FD, BAD, 10, 0 } },
	{ SYS_readv, "readv: vector", { FILE_FD, BAD, 1 } },
	{ SYS_readv, "readv: piece", { FILE_FD, BAD_PIECE, 1 } },
	{ SYS_writev, "writev: vector", { FILE_FD, BAD, 1 } },
	{ SYS_writev, "writev: piece", { FILE_FD, BAD_PIECE, 1 } },
	{ SYS_preadv, "preadv: vector", { FILE_FD, BAD, 1 } },
	{ SYS_pwritev, "pwritev: vector", { FILE_FD, BAD, 1 } },
	{ SYS_access, "access", { BAD, F_OK } },
	{ SYS_pipe, "pipe", { BAD } },
	{ SYS_pipe2, "pipe2", { BAD, 0 } },
	{ SYS_select, "select: set", { 1, BAD, 0, 0, 0 } },
	{ SYS_select, "select: time", { 0, 0, 0, 0, BAD } },
	{ SYS_pselect6, "pselect6: set", { 1, BAD, 0, 0, TIMESPEC, 0 } },
	{ SYS_pselect6, "pselect6: time", { 0, 0, 0, 0, BAD, 0 } },
	{ SYS_ppoll, "ppoll: set", { BAD, 1, TIMESPEC, 0, 8 } },
	{ SYS_ppoll, "ppoll: time", { 0, 0, BAD, 0, 8 } },
	{ SYS_ppoll, "ppoll: mask", { 0, 0, TIMESPEC, BAD, 8 } },
	{ SYS_mincore, "mincore", { VALID, 4096, BAD } },
	{ SYS_nanosleep, "nanosleep", { BAD, 0 } },
	{ SYS_clock_nanosleep, "clock_nanosleep", { CLOCK_MONOTONIC, 0, BAD, 0 } },
	{ SYS_getitimer, "getitimer", { 0, BAD } },
	{ SYS_setitimer, "setitimer: new", { 0, BAD, 0 } },
	{ SYS_sendfile, "sendfile", { PIPE_FD, FILE_FD, BAD, 10 } },
	{ SYS_uname, "uname", { BAD } },
	{ SYS_fcntl, "fcntl F_GETLK", { FILE_FD, F_GETLK, BAD } },
	{ SYS_fcntl, "fcntl F_SETLK", { FILE_FD, F_SETLK, BAD } },
	{ SYS_truncate, "truncate", { BAD, 0 } },
	{ SYS_getdents64, "getdents64", { DIR_FD, BAD, 1000 } },
	{ SYS_getcwd, "getcwd", { BAD, 1000 } },
	{ SYS_chdir, "chdir", { BAD } },
	{ SYS_rename, "rename: from", { BAD, PATH } },
	{ SYS_rename, "rename: to", { PATH, BAD } },
	{ SYS_mkdir, "mkdir", { BAD, 0700 } },
	{ SYS_rmdir, "rmdir", { BAD } },
	{ SYS_link, "link: from", { BAD, PATH } },
	{ SYS_link, "link: to", { PATH, BAD } },
	{ SYS_unlink, "unlink", { BAD } },
	{ SYS_symlink, "symlink: target", { BAD, PATH } },
	{ SYS_symlink, "symlink: name", { PATH, BAD } },
	{ SYS_readlink, "readlink: path", { BAD, VALID, 100 } },
	{ SYS_readlink, "readlink: result", { (unsigned long)"link", BAD, 100 } },
	{ SYS_chmod, "chmod", { BAD, 0600 } },
	{ SYS_chown, "chown", { BAD, 0, 0 } },
	{ SYS_lchown, "lchown", { BAD, 0, 0 } },
	{ SYS_gettimeofday, "gettimeofday", { BAD, 0 } },
	{ SYS_getrlimit, "getrlimit", { RLIMIT_STACK, BAD } },
	{ SYS_setrlimit, "setrlimit", { RLIMIT_STACK, BAD } },
	{ SYS_prlimit64, "prlimit64: new", { 0, RLIMIT_STACK, BAD, 0 } },
	{ SYS_prlimit64, "prlimit64: old", { 0, RLIMIT_STACK, 0, BAD } },
	{ SYS_getrusage, "getrusage", { RUSAGE_SELF, BAD } },
	{ SYS_sysinfo, "sysinfo", { BAD } },
	{ SYS_times, "times", { BAD } },
	{ SYS_rt_sigpending, "rt_sigpending", { BAD, 8 } },
	{ SYS_rt_sigtimedwait, "rt_sigtimedwait", { BAD, 0, TIMESPEC, 8 } },
	{ SYS_rt_sigsuspend, "rt_sigsuspend", { BAD, 8 } },
	{ SYS_sigaltstack, "sigaltstack: new", { BAD, 0 } },
	{ SYS_sigaltstack, "sigaltstack: old", { 0, BAD } },
	{ SYS_utime, "utime: path", { BAD, 0 } },
	{ SYS_utime, "utime: times", { PATH, BAD } },
	{ SYS_utimes, "utimes: times", { PATH, BAD } },
	{ SYS_mknod, "mknod", { BAD, S_IFREG | 0600, 0 } },
	{ SYS_statfs, "statfs: path", { BAD, VALID } },
	{ SYS_statfs, "statfs: result", { PATH, BAD } },
	{ SYS_fstatfs, "fstatfs", { FILE_FD, BAD } },
	{ SYS_prctl, "prctl PR_SET_NAME", { 15, BAD } },
	{ SYS_prctl, "prctl PR_GET_NAME", { 16, BAD } },
	{ SYS_arch_prctl, "arch_prctl ARCH_GET_FS", { ARCH_GET_FS, BAD } },
	{ SYS_mount, "mount", { PATH, BAD, PATH, 0, 0 } },
	{ SYS_umount2, "umount2", { BAD, 0 } },
	{ SYS_futex, "futex", { BAD, FUTEX_WAIT, 0, TIMESPEC } },
	{ SYS_sched_getaffinity, "sched_getaffinity", { 0, 128, BAD } },
	{ SYS_sched_setaffinity, "sched_setaffinity", { 0, 128, BAD } },
	{ SYS_clock_gettime, "clock_gettime", { CLOCK_MONOTONIC, BAD } },
	{ SYS_clock_getres, "clock_getres", { CLOCK_MONOTONIC, BAD } },
	{ SYS_time, "time", { BAD } },
	{ SYS_openat, "openat", { HERE, BAD, O_RDONLY } },
	{ SYS_mkdirat, "mkdirat", { HERE, BAD, 0700 } },
	{ SYS_mknodat, "mknodat", { HERE, BAD, S_IFREG | 0600, 0 } },
	{ SYS_fchownat, "fchownat", { HERE, BAD, 0, 0, 0 } },
	{ SYS_futimesat, "futimesat", { HERE, BAD, 0 } },
	{ SYS_newfstatat, "newfstatat: path", { HERE, BAD, VALID, 0 } },
	{ SYS_newfstatat, "newfstatat: result", { HERE, PATH, BAD, 0 } },
	{ SYS_unlinkat, "unlinkat", { HERE, BAD, 0 } },
	{ SYS_renameat, "renameat: from", { HERE, BAD, HERE, PATH } },
	{ SYS_renameat, "renameat: to", { HERE, PATH, HERE, BAD } },
	{ SYS_renameat2, "renameat2: to", { HERE, PATH, HERE, BAD, 0 } },
	{ SYS_linkat, "linkat: from", { HERE, BAD, HERE, PATH, 0 } },
	{ SYS_linkat, "linkat: to", { HERE, PATH, HERE, BAD, 0 } },
	{ SYS_symlinkat, "symlinkat", { BAD, HERE, PATH } },
	{ SYS_readlinkat, "readlinkat: path", { HERE, BAD, VALID, 100 } },
	{ SYS_readlinkat, "readlinkat: result", { HERE, (unsigned long)"link", BAD, 100 } },
	{ SYS_fchmodat, "fchmodat", { HERE, BAD, 0600 } },
	{ SYS_faccessat, "faccessat", { HERE, BAD, F_OK } },
	{ SYS_faccessat2, "faccessat2", { HERE, BAD, F_OK, 0 } },
	{ SYS_utimensat, "utimensat: path", { HERE, BAD, 0, 0 } },
	{ SYS_utimensat, "utimensat: times", { HERE, PATH, BAD, 0 } },
	{ SYS_getrandom, "getrandom", { BAD, 16, 0 } },
	{ SYS_statx, "statx: path", { HERE, BAD, 0, STATX_ALL, VALID } },
	{ SYS_statx, "statx: result", { HERE, PATH, 0, STATX_ALL, BAD } },
	{ SYS_getresuid, "getresuid", { BAD, VALID, VALID } },
	{ SYS_getresgid, "getresgid", { BAD, VALID, VALID } },
	{ SYS_getcpu, "getcpu", { BAD, 0, 0 } },
	{ SYS_timer_create, "timer_create", { CLOCK_MONOTONIC, 0, BAD } },
};
#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

// Calls that take no pointer, that never look at it here, or that are tested by themselves below.
static const char *const others[] = {
	"close",
	"lseek",
	"mmap",
	"mprotect",
	"munmap",
	"brk",
	"rt_sigreturn",
	"sched_yield",
	"mremap",
	"msync",
	"madvise",
	"dup",
	"dup2",
	"dup3",
	"pause",
	"alarm",
	"getpid",
	"clone",
	"fork",
	"vfork",
	"execve",
	"exit",
	"wait4",
	"waitid",
	"kill",
	"fsync",
	"fdatasync",
	"ftruncate",
	"fchdir",
	"fchmod",
	"fchown",
	"umask",
	"getuid",
	"getgid",
	"setuid",
	"setgid",
	"geteuid",
	"getegid",
	"setpgid",
	"getppid",
	"getpgrp",
	"setsid",
	"setreuid",
	"setregid",
	"getgroups",
	"setgroups",
	"setresuid",
	"setresgid",
	"getpgid",
	"getsid",
	"getpriority",
	"setpriority",
	"mlock",
	"munlock",
	"sync",
	"gettid",
	"tkill",
	"tgkill",
	"set_tid_address",
	"restart_syscall",
	"exit_group",
	"fallocate",
	"syncfs",
	"flock",
	"reboot",
	"fadvise64",
	"syslog",
	"set_robust_list",
	"get_robust_list",
	"rseq",
	"membarrier",
	"close_range",
	"mlockall",
	"munlockall",
	"personality",
	"rt_sigqueueinfo",
	"timer_settime",
	"timer_delete",
	"clock_settime",
	"sethostname",
	"setfsuid",
	"setfsgid",
	"capget",
	"capset",
	"clone3",
	"iopl",
	"ioperm",
	"readahead",
	"socket",
};

// ---- The table, with each bad pointer -----------------------------------------------------------

static struct {
	const char *name;
	unsigned long address;
} bad[] = {
	{ "unmapped", 0 }, // filled in by main
	{ "no access", 0 },
	{ "kernel", 0xffffffff80000000 },
	{ "not canonical", 0x8000000000000000 },
};
#define NR_BAD (sizeof(bad) / sizeof(bad[0]))

// 0, or the errno of the first pointer that gave something else than EFAULT.
static void try_call(size_t c)
{
	for (size_t b = 0; b < NR_BAD; b++) {
		unsigned long a[6];
		long result;

		for (int i = 0; i < 6; i++)
			a[i] = calls[c].args[i] == BAD ? bad[b].address : calls[c].args[i];
		bad_piece = (struct iovec){ (void *)bad[b].address, 10 };
		lseek(FILE_FD, 0, SEEK_SET);
		errno = 0;
		result = syscall(calls[c].nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (result == -1 && errno == ENOSYS) {
			printf("ok %d - %s # SKIP no such call\n", ++tap_count, calls[c].name);
			return;
		}
		if (result != -1 || errno != EFAULT) {
			ok(false, "%s", calls[c].name);
			fprintf(stderr, "# %s pointer: result %ld, errno %d\n", bad[b].name, result,
				errno);
			return;
		}
	}
	ok(true, "%s", calls[c].name);
}

// ---- Calls that need more than a row ------------------------------------------------------------

static int exec_result;

static int try_exec(void)
{
	unsigned long path = (unsigned long)"/proc/self/exe", none[] = { 0 };
	unsigned long pointer = bad[exec_result % NR_BAD].address, args[] = { pointer, 0 };
	long result;

	switch (exec_result / (int)NR_BAD) {
	case 0: result = syscall(SYS_execve, pointer, none, none); break;
	case 1: result = syscall(SYS_execve, path, pointer, none); break;
	case 2: result = syscall(SYS_execve, path, args, none); break;
	default: result = syscall(SYS_execve, path, none, pointer);
	}
	return result == -1 && errno == EFAULT ? 42 : 1;
}

static void test_exec(void)
{
	static const char *const what[] = { "path", "arguments", "an argument", "environment" };

	for (int w = 0; w < 4; w++) {
		bool good = true;

		for (int b = 0; b < (int)NR_BAD; b++) {
			exec_result = w * (int)NR_BAD + b;
			good &= WEXITSTATUS(in_child(try_exec)) == 42;
		}
		ok(good, "execve: %s", what[w]);
	}
}

static void test_wait(void)
{
	for (size_t b = 0; b < NR_BAD; b++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		ok(syscall(SYS_wait4, pid, bad[b].address, 0, 0) == -1 && errno == EFAULT,
		   "wait4: status, %s", bad[b].name);
		waitpid(pid, NULL, 0); // it may be there still
	}
}

// A buffer of which only the first part is there: the call does that part.
static void test_cut_buffer(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(page + 4096, 4096);
	is(pread(FILE_FD, page + 4000, 200, 0), 96, "read into a buffer that ends early");
	is(pwrite(FILE_FD, page + 4000, 200, 0), 96, "write from one");
	fails(syscall(SYS_stat, "file", page + 4000), EFAULT, "a result that does not fit");
	memset(page + 4000, 'x', 96);
	fails(open(page + 4000, O_RDONLY), EFAULT, "a path that runs into nothing");
	munmap(page, 4096);
}

// ---- Is every call covered? ---------------------------------------------------------------------

static bool is_covered(const char *name)
{
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(others[i], name) == 0)
			return true;
	for (size_t i = 0; i < NR_CALLS; i++) {
		size_t len = strcspn(calls[i].name, ": ");

		if (strlen(name) == len && strncmp(calls[i].name, name, len) == 0)
			return true;
	}
	return false;
}

static void test_coverage(void)
{
	FILE *list = fopen("/proc/syscalls", "r");
	char line[200], name[64], status[32];
	int nr, missing = 0, listed = 0;

	if (!list) {
		printf("ok %d - coverage # SKIP no /proc/syscalls\n", ++tap_count);
		return;
	}
	while (fgets(line, sizeof(line), list)) {
		if (sscanf(line, "%d %63s %31s", &nr, name, status) != 3 ||
		    strcmp(status, "absent") == 0)
			continue;
		listed++;
		if (!is_covered(name)) {
			fprintf(stderr, "# %s is not covered\n", name);
			missing++;
		}
	}
	fclose(list);
	ok(listed > 0 && missing == 0, "each of the kernel's %d calls is covered", listed);
}

static void prepare(void)
{
	char *hole = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ends[2], fd = open("file", O_RDWR | O_CREAT, 0600);

	munmap(hole, 4096);
	bad[0].address = (unsigned long)hole;
	bad[1].address = (unsigned long)hole + 4096;
	memset(valid, 'v', sizeof(valid));
	if (write(fd, valid, sizeof(valid)) != sizeof(valid) || pipe(ends) != 0 ||
	    symlink("file", "link") != 0)
		printf("Bail out! cannot prepare\n");
	dup2(fd, FILE_FD);
	dup2(ends[1], PIPE_FD);
	dup2(open(".", O_RDONLY | O_DIRECTORY), DIR_FD);
}

int main(void)
{
	enter_scratch_folder();
	prepare();
	for (size_t c = 0; c < NR_CALLS; c++)
		try_call(c);
	test_exec();
	test_wait();
	test_cut_buffer();
	test_coverage();
	unlink("file");
	unlink("link");
	leave_scratch_folder();
	return tap_done();
}
