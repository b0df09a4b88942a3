// SPDX-License-Identifier: MIT
//
//      scan FOLDER THREADS ROUNDS
//
// Each thread reads every file of FOLDER, ROUNDS times, through a mapping that it keeps for that
// moment only. Prints the sum of all words of one round.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxvm_header.h"

#define FILES_MAX   256
#define THREADS_MAX 16

static struct {
	int fd;
	size_t bytes;
} files[FILES_MAX];
static unsigned nr_files, rounds;

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void open_all(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *d;
	struct stat st;

	need(dir != NULL, folder);
	while ((d = readdir(dir)) && nr_files < FILES_MAX) {
		int fd = openat(dirfd(dir), d->d_name, O_RDONLY);

		need(fd >= 0 && !fstat(fd, &st), d->d_name);
		if (!S_ISREG(st.st_mode) || st.st_size == 0) {
			close(fd);
			continue;
		}
		files[nr_files].fd = fd;
		files[nr_files++].bytes = (size_t)st.st_size;
	}
	closedir(dir);
}

static uint64_t sum_file(int fd, size_t bytes)
{
	uint64_t *p =
		mmap(NULL, bytes, PROT_READ,
		     MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING, fd, 0);
	uint64_t sum = 0;

	need(p != MAP_FAILED, "mmap");
	for (size_t i = 0; i < bytes / 8; i++)
		sum += p[i];
	need(!munmap(p, bytes), "munmap");
	return sum;
}

static void *scan(void *arg)
{
	uint64_t *sum = arg;

	for (unsigned r = 0; r < rounds; r++) {
		*sum = 0;
		for (unsigned i = 0; i < nr_files; i++)
			*sum += sum_file(files[i].fd, files[i].bytes);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	uint64_t sum[THREADS_MAX];
	pthread_t thread[THREADS_MAX];

	if (argc != 4 || !threads || threads > THREADS_MAX) {
		fprintf(stderr, "usage: scan FOLDER THREADS ROUNDS\n");
		return 1;
	}
	rounds = (unsigned)atoi(argv[3]);
	open_all(argv[1]);
	for (unsigned i = 0; i < threads; i++)
		need(!pthread_create(&thread[i], NULL, scan, &sum[i]), "pthread_create");
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		if (sum[i] != sum[0]) {
			fprintf(stderr, "scan: thread %u has another sum\n", i);
			return 1;
		}
	}
	printf("%u files, sum %#llx\n", nr_files, (unsigned long long)sum[0]);
	return 0;
}
