// SPDX-License-Identifier: MIT
//
// The Test Anything Protocol for the ABI tests: each is one program that runs on Linux, which is
// the oracle, and on dax64, and must pass on both.
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int tap_count, tap_failed;

__attribute__((format(printf, 2, 3))) static inline bool ok(bool good, const char *name, ...)
{
	va_list args;

	printf("%s %d - ", good ? "ok" : "not ok", ++tap_count);
	va_start(args, name);
	vprintf(name, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	tap_failed += !good;
	return good;
}

static inline bool is(long got, long expected, const char *name)
{
	bool good = ok(got == expected, "%s", name);

	if (!good)
		fprintf(stderr, "# got %ld (0x%lx), expected %ld (0x%lx), errno %d\n", got,
			(unsigned long)got, expected, (unsigned long)expected, errno);
	return good;
}

// The call must fail with this errno. A successful result must not look like a failure: it is
// passed on as it is.
static inline bool fails(long result, int expected_errno, const char *name)
{
	int found = errno;
	bool good = ok(result == -1 && found == expected_errno, "%s", name);

	if (!good)
		fprintf(stderr, "# result %ld, errno %d, expected errno %d\n", result, found,
			expected_errno);
	return good;
}

// The wait status of a child that runs `fn` (and exits with its result).
static inline int in_child(int (*fn)(void))
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(fn());
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

// A fresh empty folder for the test's files, which becomes the working directory. Where it lies can
// be chosen by $TMPDIR, so that the same tests run on every file system.
static inline void enter_scratch_folder(void)
{
	static char path[256];
	const char *base = getenv("TMPDIR");

	snprintf(path, sizeof(path), "%s/abi-%d", base ? base : "/tmp", (int)getpid());
	if (mkdir(path, 0755) != 0 || chdir(path) != 0) {
		printf("Bail out! %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static inline void leave_scratch_folder(void)
{
	char path[256];

	if (!getcwd(path, sizeof(path)) || chdir("/") != 0 || rmdir(path) != 0)
		printf("# the scratch folder is not empty\n");
}

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed != 0;
}
