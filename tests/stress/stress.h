// SPDX-License-Identifier: MIT
//
// What: what the stress programs share: a random sequence that follows from the seed, a clock, and
// how a failure is told. Each program ends with one line, "NAME: ok ..." and status 0, or tells
// what went wrong and ends with another status.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Thread_local uint64_t rng_state = 1; // threads seed their own

// splitmix64
static inline uint64_t rng_next(void)
{
	uint64_t x = rng_state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

// Seeds that follow each other must not give the same sequence with an offset.
static inline void rng_seed(uint64_t seed)
{
	rng_state = seed;
	rng_state = rng_next() ^ (seed << 32);
}

static inline unsigned rng_below(unsigned n)
{
	return (unsigned)(rng_next() % n);
}

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

// To the standard error, by one write, so that lines of several processes stay whole.
__attribute__((format(printf, 1, 2))) static inline void complain(const char *fmt, ...)
{
	char line[400];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (len > 0 && write(STDERR_FILENO, line,
			     (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1) < 0)
		_exit(99);
}

// The number behind -X among the arguments, or `otherwise`.
static inline uint64_t option(int argc, char **argv, char letter, uint64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++) {
		if (argv[i][0] == '-' && argv[i][1] == letter && !argv[i][2])
			return strtoull(argv[i + 1], NULL, 0);
	}
	return otherwise;
}

// kB from a line of /proc/meminfo, or 0.
static inline long meminfo(const char *name)
{
	char line[128];
	long value = 0;
	FILE *file = fopen("/proc/meminfo", "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			value = strtol(line + strlen(name) + 1, NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}
