// SPDX-License-Identifier: MIT
//
// What a mount forbids: execution (noexec), devices (nodev). A file that lies there is not run, nor
// mapped to be executed, nor made executable later. (The flags were taken and forgotten.)
// For who may mount; others skip it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "tests/abi/tap.h"

#define PAGE 4096

static void copy_self(const char *to)
{
	static char buf[1 << 16];
	int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_CREAT | O_WRONLY, 0755);
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			break;
	close(in);
	close(out);
}

static int runs(const char *path)
{
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execl(path, "mount_test", "run", NULL);
		_exit(errno);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_mappings(const char *path)
{
	int fd = open(path, O_RDWR);
	char *p;

	fails((long)mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0), EPERM,
	      "a shared executable mapping is refused");
	fails((long)mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0), EPERM,
	      "... and a private one");
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(p != MAP_FAILED, "others are not");
	fails(mprotect(p, PAGE, PROT_READ | PROT_EXEC), EACCES,
	      "... but cannot be made executable");
	munmap(p, PAGE);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	fails(mprotect(p, PAGE, PROT_READ | PROT_EXEC), EACCES, "... a private one neither");
	munmap(p, PAGE);
	close(fd);
}

static void test_noexec(void)
{
	struct statvfs st;

	is(mount("none", "m", "tmpfs", MS_NOEXEC | MS_NODEV | MS_NOSUID, NULL), 0,
	   "a file system without execution, devices, set-uid");
	copy_self("m/prog");
	is(runs("m/prog"), EACCES, "a program there is not run");
	is(access("m/prog", R_OK | W_OK), 0, "it can be read and written");
	fails(access("m/prog", X_OK), EACCES, "... not executed");
	is(access("m", X_OK), 0, "a directory can be searched");
	test_mappings("m/prog");
	is(mknod("m/null", S_IFCHR | 0666, makedev(1, 3)), 0, "a device's name can be made");
	fails(open("m/null", O_RDONLY), EACCES, "... and opens nothing");
	is(close(open("m/null", O_PATH)), 0, "... but by O_PATH");
	is(statvfs("m", &st), 0, "statvfs");
	is(st.f_flag & (ST_NOEXEC | ST_NODEV | ST_NOSUID), ST_NOEXEC | ST_NODEV | ST_NOSUID,
	   "... shows the three");
	is(umount("m"), 0, "unmount");
}

static void test_plain(void)
{
	struct statvfs st;

	is(mount("none", "m", "tmpfs", 0, NULL), 0, "a file system without any");
	copy_self("m/prog");
	is(runs("m/prog"), 7, "a program there is run");
	is(statvfs("m", &st), 0, "statvfs");
	is(st.f_flag & (ST_NOEXEC | ST_NODEV | ST_NOSUID), 0, "... shows none");
	is(umount("m"), 0, "unmount");
}

static bool may_mount(void)
{
	(void)!unshare(CLONE_NEWNS); // where there are such: the rest of the machine sees nothing
	if (mount("none", "m", "tmpfs", 0, NULL) != 0)
		return false;
	umount("m");
	return true;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "run") == 0)
		return 7;
	enter_scratch_folder();
	mkdir("m", 0755);
	if (may_mount()) {
		test_noexec();
		test_plain();
	} else {
		ok(errno == EPERM || errno == EACCES, "may not mount # SKIP");
	}
	rmdir("m");
	leave_scratch_folder();
	return tap_done();
}
