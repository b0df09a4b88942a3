// SPDX-License-Identifier: MIT
//
// What: a directory of very many names: instructions per operation, and how much memory the kernel
// spends on it. CSV on stdout: what, of how many, value. Under `make bench` a tick is exactly one
// instruction. Runs on Linux too.
//
//     bench_names fill FOLDER N      makes the folder and the names 0 .. N-1 in it
//     bench_names measure FOLDER N   with N names in it: costs of a sample of operations
//     bench_names empty FOLDER N     looks up each, lists all, removes each, and the folder
//
// `fill` and `empty` also check: every name is there, once, and leads to its own file.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/daxvm.h"

#define SAMPLE 2000
#define STRIDE 7919 // prime to every N that is used: neighbours in the sample are far apart

static const char *folder;
static long names;

static const char *name(long i)
{
	static char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/name%07ld", folder, i);
	return path;
}

// Bytes of memory that nobody uses.
static double memory_free(void)
{
	char line[128];
	double kib = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemFree: %lf", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

static void row(const char *what, double value)
{
	printf("%s,%ld,%.1f\n", what, names, value);
	fflush(stdout);
}

static bool failed(const char *what)
{
	perror(what);
	return false;
}

static bool create(long i)
{
	int fd = open(name(i), O_RDWR | O_CREAT | O_EXCL, 0644);

	return fd >= 0 && close(fd) == 0 ? true : failed(name(i));
}

static bool look_up(long i)
{
	struct stat st;

	return stat(name(i), &st) == 0 ? true : failed(name(i));
}

static bool look_up_nothing(long i)
{
	struct stat st;

	return stat(name(i + names), &st) != 0;
}

static bool make_again(long i)
{
	return create(i + names);
}

static bool unlink_again(long i)
{
	return unlink(name(i + names)) == 0 ? true : failed(name(i));
}

static bool remove_name(long i)
{
	return unlink(name(i)) == 0 ? true : failed(name(i));
}

// `fn` on `count` names; a row of the ticks that one took, without those that making the path does.
static bool each(const char *what, bool (*fn)(long), long count, long stride)
{
	uint64_t start = ticks(), paths;

	for (long i = 0; i < count; i++)
		name(i * stride % names);
	paths = ticks() - start;
	start = ticks();
	for (long i = 0; i < count; i++)
		if (!fn(i * stride % names))
			return false;
	row(what, (double)(ticks() - start - paths) / (double)count);
	return true;
}

// Each name must come once. `seen` has a byte for each.
static bool list_into(unsigned char *seen)
{
	long there = 0;
	struct dirent *e;
	DIR *d = opendir(folder);

	if (!d)
		return failed(folder);
	while ((e = readdir(d))) {
		long i;

		if (sscanf(e->d_name, "name%ld", &i) != 1)
			continue;
		if (i < 0 || i >= names || seen[i]++ || e->d_type != DT_REG)
			fprintf(stderr, "%s: %s is twice there, or wrong\n", folder, e->d_name);
		else
			there++;
	}
	closedir(d);
	if (there != names)
		fprintf(stderr, "%s: %ld names of %ld\n", folder, there, names);
	return there == names;
}

static bool list(void)
{
	unsigned char *seen = calloc((size_t)names, 1);
	uint64_t start = ticks();
	bool ok = seen && list_into(seen);

	row("list per name", (double)(ticks() - start) / (double)names);
	free(seen);
	return ok;
}

static bool fill(void)
{
	double before = memory_free();

	if (mkdir(folder, 0755) != 0)
		return failed(folder);
	if (!each("create each", create, names, 1))
		return false;
	row("bytes of memory taken per name", (before - memory_free()) / (double)names);
	return true;
}

// The index is built by the first look-up.
static bool measure(void)
{
	double before = memory_free();

	if (!each("first look-up", look_up, 1, 1))
		return false;
	row("bytes of the index per name", (before - memory_free()) / (double)names);
	return each("look up", look_up, SAMPLE, STRIDE) && each("look up again", look_up, 1, 1) &&
	       each("look up what is not there", look_up_nothing, SAMPLE, STRIDE) &&
	       each("create", make_again, SAMPLE, STRIDE) &&
	       each("unlink", unlink_again, SAMPLE, STRIDE);
}

static bool empty(void)
{
	double before;

	if (!look_up(0))
		return false;
	before = memory_free();
	if (!each("look up each", look_up, names, 1) || !list())
		return false;
	row("bytes of caches: all looked up", before - memory_free());
	if (!each("unlink each", remove_name, names, STRIDE))
		return false;
	row("bytes of caches and free numbers: all removed", before - memory_free());
	return rmdir(folder) == 0 ? true : failed(folder);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		bool (*fn)(void);
	} modes[] = { { "fill", fill }, { "measure", measure }, { "empty", empty } };

	for (size_t i = 0; argc == 4 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0) {
			folder = argv[2];
			names = strtol(argv[3], NULL, 10);
			return names > 0 && modes[i].fn() ? 0 : 1;
		}
	fprintf(stderr, "usage: bench_names fill|measure|empty FOLDER N\n");
	return 2;
}
