// SPDX-License-Identifier: MIT
//
// cat, but by mmap: writes files to standard output straight from a mapping. With -d the mapping is
// made by MAP_DAXVM (plain mmap on other kernels). A damaged file ends it with SIGBUS.
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/daxvm.h"

// write(2) answers EFAULT for a page that cannot be had; a load gives the signal.
static void touch(const char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 4096)
		(void)*(const volatile char *)(at + i);
}

static bool write_all(const char *at, size_t bytes)
{
	while (bytes) {
		ssize_t n = write(STDOUT_FILENO, at, bytes);

		if (n <= 0)
			return false;
		at += n;
		bytes -= (size_t)n;
	}
	return true;
}

static bool cat(const char *path, bool daxvm)
{
	int fd = open(path, O_RDONLY);
	void *at = MAP_FAILED;
	struct stat st;
	bool ok;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		return false;
	}
	if (!st.st_size)
		return !close(fd);
	if (daxvm)
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED_VALIDATE | MAP_DAXVM, fd,
			  0);
	if (at == MAP_FAILED)
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED) {
		perror(path);
		return false;
	}
	touch(at, (size_t)st.st_size);
	ok = write_all(at, (size_t)st.st_size);
	if (!ok)
		perror("standard output");
	munmap(at, (size_t)st.st_size);
	return ok;
}

int main(int argc, char **argv)
{
	bool daxvm = argc > 1 && strcmp(argv[1], "-d") == 0;
	bool ok = true;

	for (int i = 1 + daxvm; i < argc; i++)
		ok &= cat(argv[i], daxvm);
	return ok ? 0 : 1;
}
