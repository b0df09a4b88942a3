// SPDX-License-Identifier: MIT
//
// What the operation tests share: a call that not every file system has is skipped there, and small
// helpers that make and look at files.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "tests/abi/tap.h"

#ifndef FALLOC_FL_COLLAPSE_RANGE
#define FALLOC_FL_COLLAPSE_RANGE 0x8
#endif
#ifndef FALLOC_FL_ZERO_RANGE
#define FALLOC_FL_ZERO_RANGE 0x10
#endif
#define RENAME_NOREPLACE_ 1u
#define RENAME_EXCHANGE_  2u
#define PTFS_MAGIC_STATFS 0x50544653

static inline void skip(const char *name, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, name, why);
	fflush(stdout);
}

static inline bool on_ptfs(void)
{
	struct statfs s;

	return statfs(".", &s) == 0 && s.f_type == PTFS_MAGIC_STATFS;
}

static inline int rename2(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static inline void make(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		printf("# cannot make %s: %s\n", name, strerror(errno));
	close(fd);
}

// Is that, and nothing else, what the file says?
static inline bool says(const char *name, const char *text)
{
	char buf[256];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static inline bool exists(const char *name)
{
	struct stat st;

	return lstat(name, &st) == 0;
}

static inline long links(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)st.st_nlink;
}

static inline long mode_of(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)(st.st_mode & 07777);
}

static inline ino_t inode_of(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? 0 : st.st_ino;
}
