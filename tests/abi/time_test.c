// SPDX-License-Identifier: MIT
//
// Clocks and sleeping; and the calls that tell about system and process. No test asks for
// precision: the machine may be slow, but time may not go backwards and no sleep may be too short.
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>

#include "tests/abi/tap.h"

static long long now_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) != 0)
		return -1;
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void test_clocks(void)
{
	long long last = now_ns(CLOCK_MONOTONIC), real = now_ns(CLOCK_REALTIME);
	bool forward = true;
	struct timespec t;
	struct timeval tv;

	for (int i = 0; i < 10000; i++) {
		long long now = now_ns(CLOCK_MONOTONIC);

		forward &= now >= last;
		last = now;
	}
	ok(forward, "CLOCK_MONOTONIC never goes back");
	ok(now_ns(CLOCK_REALTIME) >= real, "CLOCK_REALTIME goes on");
	ok(real > 1600000000ll * 1000000000, "it is after September 2020");
	is(gettimeofday(&tv, NULL), 0, "gettimeofday");
	ok(tv.tv_sec - real / 1000000000 <= 5 && tv.tv_usec < 1000000, "tells the same time");
	ok(labs((long)(time(NULL) - tv.tv_sec)) <= 5, "and so does time");
	is(clock_getres(CLOCK_MONOTONIC, &t), 0, "clock_getres");
	fails(clock_gettime(99, &t), EINVAL, "an unknown clock");
	ok(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= 0, "CLOCK_PROCESS_CPUTIME_ID");
}

static void test_sleep(void)
{
	struct timespec t = { 0, 30000000 }, bad = { 0, 1000000000 };
	long long start = now_ns(CLOCK_MONOTONIC);

	is(nanosleep(&t, NULL), 0, "nanosleep of 30 ms");
	ok(now_ns(CLOCK_MONOTONIC) - start >= 30000000, "is not too short");
	fails(nanosleep(&bad, NULL), EINVAL, "a billion nanoseconds");
	start = now_ns(CLOCK_MONOTONIC);
	t.tv_sec = (start + 20000000) / 1000000000;
	t.tv_nsec = (start + 20000000) % 1000000000;
	is(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0, "sleep until a time");
	ok(now_ns(CLOCK_MONOTONIC) >= start + 20000000, "is not too short");
	is(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0, "until one that is past");
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void test_interrupted_sleep(void)
{
	struct timespec t = { 10, 0 }, left = { 0, 0 };

	signal(SIGALRM, on_alarm);
	ualarm(50000, 0);
	fails(nanosleep(&t, &left), EINTR, "a signal ends a sleep");
	ok(left.tv_sec >= 1 && left.tv_sec < 10, "the time left is told");
	signal(SIGALRM, SIG_DFL);
}

static void test_system(void)
{
	struct rlimit limit;
	struct utsname name;
	struct rusage usage;
	struct sysinfo info;

	is(uname(&name), 0, "uname");
	ok(strcmp(name.machine, "x86_64") == 0, "the machine is x86_64");
	is(sysinfo(&info), 0, "sysinfo");
	ok(info.totalram > 0 && info.freeram <= info.totalram, "memory");
	is(getrusage(RUSAGE_SELF, &usage), 0, "getrusage");
	ok(usage.ru_minflt > 0, "page faults are counted");
	is(getrlimit(RLIMIT_STACK, &limit), 0, "getrlimit");
	ok(limit.rlim_cur >= 65536, "there is a stack");
	fails(getrlimit(99, &limit), EINVAL, "an unknown limit");
	ok(sysconf(_SC_NPROCESSORS_ONLN) >= 1, "there is a CPU");
}

static void test_identity(void)
{
	unsigned char random[16];
	int sum = 0;

	ok(getpid() > 0, "getpid");
	is(syscall(SYS_gettid), getpid(), "gettid of the first thread");
	is(geteuid(), getuid(), "effective and real user");
	is(getegid(), getgid(), "effective and real group");
	ok(getpgrp() >= 0, "getpgrp");
	is(syscall(SYS_getrandom, random, sizeof(random), 0), sizeof(random), "getrandom");
	for (int i = 0; i < 16; i++)
		sum += random[i];
	ok(sum > 0, "gives bytes that are not all zero");
}

int main(void)
{
	test_clocks();
	test_sleep();
	test_interrupted_sleep();
	test_system();
	test_identity();
	return tap_done();
}
