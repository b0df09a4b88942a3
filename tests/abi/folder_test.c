// SPDX-License-Identifier: MIT
//
// Names: folders, links, rename, stat and its relatives, modes and times.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/abi/tap.h"

static int make_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	size_t bytes = strlen(text);

	if (fd < 0 || write(fd, text, bytes) != (ssize_t)bytes)
		return -1;
	return close(fd);
}

// The first line of a file, in a static buffer.
static const char *content(const char *name)
{
	static char text[100];
	int fd = open(name, O_RDONLY);
	ssize_t bytes = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[bytes > 0 ? bytes : 0] = 0;
	return text;
}

static int links(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 ? (int)st.st_nlink : -1;
}

static void test_folders(void)
{
	is(mkdir("d", 0755), 0, "mkdir");
	fails(mkdir("d", 0755), EEXIST, "mkdir again");
	fails(mkdir("missing/d", 0755), ENOENT, "mkdir in a missing folder");
	is(links("d"), 2, "an empty folder has two links");
	is(mkdir("d/e", 0755), 0, "mkdir inside");
	is(links("d"), 3, "a child folder is a link");
	fails(rmdir("d"), ENOTEMPTY, "rmdir of a folder that is not empty");
	fails(unlink("d"), EISDIR, "unlink of a folder");
	is(make_file("d/f", "x"), 0, "a file in it");
	fails(rmdir("d/f"), ENOTDIR, "rmdir of a file");
	fails(rmdir("d/e/."), EINVAL, "rmdir of .");
	is(unlink("d/f"), 0, "unlink");
	fails(unlink("d/f"), ENOENT, "unlink again");
	is(rmdir("d/e"), 0, "rmdir");
	is(links("d"), 2, "two links again");
	is(rmdir("d"), 0, "rmdir of the outer one");
	fails(chdir("d"), ENOENT, "chdir to what is gone");
}

static void test_listing(void)
{
	enum { FILES = 300 };
	static bool seen[FILES];
	int found = 0, twice = 0, dots = 0, wrong = 0;
	char name[40];
	struct dirent *entry;
	DIR *dir;

	mkdir("d", 0755);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d/file-%d", i);
		make_file(name, "");
	}
	dir = opendir("d");
	while ((entry = readdir(dir))) {
		int i;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
			dots++;
			wrong += entry->d_type != DT_DIR;
			continue;
		}
		if (sscanf(entry->d_name, "file-%d", &i) != 1 || i < 0 || i >= FILES)
			continue;
		twice += seen[i];
		seen[i] = true;
		found++;
		wrong += entry->d_type != DT_REG;
	}
	is(found, FILES, "a listing has each of 300 files");
	is(twice, 0, "none twice");
	is(dots, 2, "and . and ..");
	is(wrong, 0, "d_type is right");
	rewinddir(dir);
	fails(syscall(SYS_getdents64, dirfd(dir), name, 1), EINVAL, "getdents64 into one byte");
	ok(readdir(dir) != NULL, "rewinddir starts again");
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d/file-%d", i);
		unlink(name);
	}
	closedir(dir);
	is(rmdir("d"), 0, "the folder is empty afterwards");
}

static void test_hard_links(void)
{
	struct stat a, b;

	make_file("a", "one");
	is(link("a", "b"), 0, "link");
	is(links("a"), 2, "two links");
	stat("a", &a);
	stat("b", &b);
	ok(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "the same file");
	fails(link("a", "b"), EEXIST, "link to a name that exists");
	fails(link("missing", "c"), ENOENT, "link of what is not there");
	mkdir("d", 0755);
	fails(link("d", "c"), EPERM, "link of a folder");
	rmdir("d");
	is(unlink("a"), 0, "unlink one name");
	ok(strcmp(content("b"), "one") == 0, "the other still works");
	is(links("b"), 1, "one link");
	unlink("b");
}

static void test_symbolic_links(void)
{
	char target[100];
	struct stat st;

	make_file("file", "text");
	is(symlink("file", "link"), 0, "symlink");
	is(readlink("link", target, sizeof(target)), 4, "readlink gives the length");
	ok(memcmp(target, "file", 4) == 0, "and the target");
	is(readlink("link", target, 2), 2, "cut at the buffer's size");
	fails(readlink("file", target, sizeof(target)), EINVAL, "readlink of a file");
	ok(strcmp(content("link"), "text") == 0, "open follows it");
	is(lstat("link", &st), 0, "lstat");
	ok(S_ISLNK(st.st_mode) && st.st_size == 4, "tells a link of 4 bytes");
	is(stat("link", &st), 0, "stat");
	ok(S_ISREG(st.st_mode), "tells the file");
	is(unlink("link"), 0, "unlink removes the link");
	is(access("file", F_OK), 0, "not the file");
	symlink("loop", "loop");
	fails(open("loop", O_RDONLY), ELOOP, "a loop");
	unlink("loop");
	symlink("nowhere", "dangling");
	fails(open("dangling", O_RDONLY), ENOENT, "a dangling link");
	is(close(open("dangling", O_WRONLY | O_CREAT, 0600)), 0, "O_CREAT makes its target");
	is(access("nowhere", F_OK), 0, "the target is there");
	unlink("nowhere");
	unlink("dangling");
	mkdir("d", 0755);
	symlink("d", "to-d");
	make_file("to-d/f", "deep");
	ok(strcmp(content("d/../to-d/f"), "deep") == 0, "a link in the middle of a path");
	unlink("d/f");
	unlink("to-d");
	rmdir("d");
	unlink("file");
}

static void test_rename(void)
{
	make_file("a", "aaa");
	make_file("b", "bbb");
	is(rename("a", "c"), 0, "rename");
	fails(access("a", F_OK), ENOENT, "the old name is gone");
	is(rename("c", "b"), 0, "rename over a file");
	ok(strcmp(content("b"), "aaa") == 0, "it was replaced");
	fails(rename("missing", "x"), ENOENT, "rename of what is not there");
	is(rename("b", "b"), 0, "rename to itself");

	mkdir("d", 0755);
	mkdir("e", 0755);
	is(rename("b", "d/b"), 0, "rename into a folder");
	fails(rename("d", "d/sub"), EINVAL, "a folder into itself");
	fails(rename("e", "d/b"), ENOTDIR, "a folder over a file");
	fails(rename("d/b", "e"), EISDIR, "a file over a folder");
	fails(rename("e", "d"), ENOTEMPTY, "over a folder that is not empty");
	is(rename("d", "e"), 0, "over an empty folder");
	ok(strcmp(content("e/b"), "aaa") == 0, "its content moved along");
	mkdir("f", 0755);
	is(rename("e", "f/e"), 0, "a folder to another parent");
	is(links("f"), 3, "the new parent has a link more");
	ok(strcmp(content("f/e/../e/b"), "aaa") == 0, ".. leads to the new parent");
	unlink("f/e/b");
	rmdir("f/e");
	is(rmdir("f"), 0, "all is empty again");
}

static void test_attributes(void)
{
	struct timespec times[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	struct stat st, other;
	mode_t old = umask(027);

	close(open("file", O_WRONLY | O_CREAT, 0777));
	umask(old);
	stat("file", &st);
	is(st.st_mode, S_IFREG | 0750, "umask takes bits away");
	is(chmod("file", 04711), 0, "chmod");
	stat("file", &st);
	is(st.st_mode & 07777, 04711, "the mode");
	is(st.st_blksize, 4096, "st_blksize");
	is(utimensat(AT_FDCWD, "file", times, 0), 0, "utimensat");
	stat("file", &st);
	ok(st.st_atim.tv_sec == 1000000000 && st.st_mtim.tv_sec == 1100000000, "seconds");
	is(st.st_mtim.tv_nsec, 987654321, "nanoseconds");
	is(fstatat(AT_FDCWD, "file", &other, 0), 0, "fstatat");
	ok(memcmp(&st, &other, sizeof(st)) == 0, "tells the same as stat");
	is(truncate("file", 12345), 0, "truncate");
	stat("file", &st);
	is(st.st_size, 12345, "the size");
	ok(st.st_mtim.tv_sec != 1100000000, "mtime was renewed");
	fails(fstatat(77, "file", &st, 0), EBADF, "fstatat of no descriptor");
	fails(stat("file/x", &st), ENOTDIR, "a file as a folder");
	unlink("file");
}

static void test_working_folder(void)
{
	char before[256], inside[256];
	int here = open(".", O_RDONLY | O_DIRECTORY), fd;

	ok(getcwd(before, sizeof(before)) != NULL, "getcwd");
	fails(getcwd(inside, 1) ? 0 : -1, ERANGE, "into one byte");
	mkdir("d", 0755);
	is(chdir("d"), 0, "chdir");
	ok(getcwd(inside, sizeof(inside)) && strncmp(inside, before, strlen(before)) == 0 &&
		   strcmp(inside + strlen(before), "/d") == 0,
	   "getcwd tells the new one");
	fd = openat(here, "d", O_RDONLY | O_DIRECTORY);
	ok(fd >= 0, "openat relative to a descriptor");
	is(mkdirat(fd, "e", 0755), 0, "mkdirat");
	is(unlinkat(here, "d/e", AT_REMOVEDIR), 0, "unlinkat of a folder");
	is(fchdir(here), 0, "fchdir");
	fails(fchdir(77), EBADF, "fchdir of no descriptor");
	close(fd);
	close(here);
	is(rmdir("d"), 0, "rmdir");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	test_folders();
	test_listing();
	test_hard_links();
	test_symbolic_links();
	test_rename();
	test_attributes();
	test_working_folder();
	leave_scratch_folder();
	return tap_done();
}
