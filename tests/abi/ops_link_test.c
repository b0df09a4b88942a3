// SPDX-License-Identifier: MIT
//
// Names: link, symlink, readlink, unlink, rmdir, mkdir, with link counts, times and errors.
#define _GNU_SOURCE
#include "tests/abi/ops.h"

static char long_name[257], buffer[5000];

static void test_link(void)
{
	struct stat before, after;
	char path[300];

	make("a", "text");
	stat("a", &before);
	is(link("a", "b"), 0, "link");
	is(links("a"), 2, "two links");
	is((long)inode_of("b"), (long)before.st_ino, "to one file");
	ok(says("b", "text"), "with one content");
	stat("a", &after);
	ok(after.st_ctim.tv_sec > before.st_ctim.tv_sec ||
		   after.st_ctim.tv_nsec >= before.st_ctim.tv_nsec,
	   "ctime does not go back");
	fails(link("a", "b"), EEXIST, "to a name that exists");
	fails(link("a", "a"), EEXIST, "to itself");
	fails(link("none", "c"), ENOENT, "from nothing");
	fails(link("a", "none/c"), ENOENT, "into nothing");
	fails(link("a", "b/c"), ENOTDIR, "into a file");
	fails(link("a/x", "c"), ENOTDIR, "from below a file");
	fails(link("", "c"), ENOENT, "from an empty name");
	fails(link("a", ""), ENOENT, "to an empty name");
	fails(link("a", "c/"), ENOENT, "to a name with a slash");
	fails(link("a/", "c"), ENOTDIR, "from a file with a slash");
	fails(link("a", "."), EEXIST, "to .");
	fails(link("a", ".."), EEXIST, "to ..");
	is(mkdir("d", 0755), 0, "mkdir");
	fails(link("d", "c"), EPERM, "of a directory");
	fails(link("a", long_name), ENAMETOOLONG, "to a name of 256 bytes");
	long_name[255] = 0;
	is(link("a", long_name), 0, "to a name of 255 bytes");
	is(links("a"), 3, "three links");
	is(unlink(long_name), 0, "unlink it");
	long_name[255] = 'n';
	is(link("a", "d/c"), 0, "into another directory");
	fails(link("a", "/dev/null/x"), ENOTDIR, "below a device");
	fails(link("a", "/dev/ops-link"), EXDEV, "into another file system");
	fails(linkat(AT_FDCWD, "a", AT_FDCWD, "x", 0x8000), EINVAL, "an unknown flag");
	is(unlink("a"), 0, "unlink the first name");
	ok(says("b", "text"), "the file stays");
	is(links("b"), 2, "with two links");
	snprintf(path, sizeof(path), "d/c");
	is(unlink(path), 0, "unlink in the directory");
	is(links("b"), 1, "with one");
	is(rmdir("d"), 0, "rmdir");
	is(unlink("b"), 0, "unlink the last");
	fails(unlink("b"), ENOENT, "again");
}

static void test_linkat(void)
{
	int dir, fd;
	char path[64];

	mkdir("d", 0755);
	make("f", "text");
	symlink("f", "s");
	dir = open("d", O_RDONLY | O_DIRECTORY);
	is(linkat(AT_FDCWD, "f", dir, "g", 0), 0, "linkat into a descriptor");
	is(links("f"), 2, "counts");
	is(linkat(dir, "g", AT_FDCWD, "h", 0), 0, "and from one");
	fails(linkat(77, "g", AT_FDCWD, "i", 0), EBADF, "from no descriptor");
	fails(linkat(AT_FDCWD, "f", 77, "i", 0), EBADF, "into no descriptor");
	is(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0), 0, "of a symbolic link");
	is(links("s"), 2, "links the link");
	is(linkat(AT_FDCWD, "s", AT_FDCWD, "f2", AT_SYMLINK_FOLLOW), 0, "with AT_SYMLINK_FOLLOW");
	is(links("f"), 4, "links the file");
	fd = open("f", O_RDONLY);
	is(linkat(fd, "", AT_FDCWD, "f3", AT_EMPTY_PATH), 0, "AT_EMPTY_PATH");
	is(links("f"), 5, "links what is open");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	is(linkat(AT_FDCWD, path, AT_FDCWD, "f4", AT_SYMLINK_FOLLOW), 0, "by /proc/self/fd");
	is(links("f"), 6, "too");
	unlink("f2");
	unlink("f3");
	unlink("f4");
	unlink("h");
	unlink("d/g");
	is(unlink("f"), 0, "the last name goes");
	fails(linkat(fd, "", AT_FDCWD, "f", AT_EMPTY_PATH), ENOENT,
	      "an unlinked file gets no name any more");
	close(fd);
	close(dir);
	unlink("s");
	unlink("s2");
	rmdir("d");
}

static void test_symlink(void)
{
	static const int lengths[] = { 1, 7, 8, 63, 64, 65, 255, 1000, 4094 };
	struct stat st;
	char *t = buffer + 4500;

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char target[4096];
		int n = lengths[i];

		memset(target, 'a' + (int)i, sizeof(target));
		target[n] = 0;
		is(symlink(target, "s"), 0, "symlink");
		is(readlink("s", buffer, sizeof(buffer)), n, "its length");
		ok(memcmp(buffer, target, (size_t)n) == 0, "its target, %d bytes", n);
		lstat("s", &st);
		is(st.st_size, n, "its size");
		unlink("s");
	}
	memset(buffer, 'x', 4096);
	buffer[4096] = 0;
	fails(symlink(buffer, "s"), ENAMETOOLONG, "a target of 4096 bytes");
	fails(symlink("", "s"), ENOENT, "an empty target");
	fails(symlink("t", ""), ENOENT, "an empty name");
	is(symlink("t", "s"), 0, "a dangling link");
	fails(symlink("t", "s"), EEXIST, "over a link");
	fails(symlink("t", "none/s"), ENOENT, "into nothing");
	fails(symlink("t", "new/"), ENOENT, "with a slash");
	fails(open("s", O_RDONLY), ENOENT, "open of a dangling link");
	is(close(open("s", O_WRONLY | O_CREAT, 0600)), 0, "O_CREAT makes what it names");
	ok(exists("t"), "it is there");
	lstat("s", &st);
	ok(S_ISLNK(st.st_mode) && (st.st_mode & 0777) == 0777, "type and mode of a link");
	is((long)st.st_nlink, 1, "its links");
	is(readlink("s", t, 10), 1, "readlink");
	is(readlink("s", t, 1), 1, "into a small buffer");
	fails(syscall(SYS_readlink, "s", t, 0), EINVAL, "into none");
	fails(readlink("t", t, 10), EINVAL, "of a file");
	fails(readlink(".", t, 10), EINVAL, "of a directory");
	fails(readlink("none", t, 10), ENOENT, "of nothing");
	fails(readlink("t/x", t, 10), ENOTDIR, "below a file");
	is(unlink("s"), 0, "unlink removes the link");
	ok(exists("t"), "and not the file");
	unlink("t");
	symlink("loop2", "loop1");
	symlink("loop1", "loop2");
	fails(open("loop1", O_RDONLY), ELOOP, "a loop");
	fails(open("loop1", O_RDONLY | O_CREAT, 0600), ELOOP, "a loop with O_CREAT");
	fails(open("loop1", O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST, "O_EXCL sees the link");
	unlink("loop1");
	unlink("loop2");
}

static void test_symlink_to_directory(void)
{
	struct stat st;

	mkdir("d", 0755);
	make("d/f", "x");
	symlink("d", "s");
	ok(says("s/f", "x"), "through a link to a directory");
	fails(rmdir("s"), ENOTDIR, "rmdir of the link");
	fails(unlink("s/"), ENOTDIR, "unlink with a slash");
	lstat("s/", &st);
	ok(S_ISDIR(st.st_mode), "lstat with a slash follows");
	lstat("s", &st);
	ok(S_ISLNK(st.st_mode), "without it does not");
	fails(mkdir("s", 0755), EEXIST, "mkdir over the link");
	unlink("d/f");
	rmdir("d");
	fails(mkdir("s", 0755), EEXIST, "over a dangling one, too");
	unlink("s");
}

static void test_directories(void)
{
	struct stat st;

	is(mkdir("d", 0751), 0, "mkdir");
	is(mode_of("d"), 0751, "its mode");
	fails(mkdir("d", 0755), EEXIST, "again");
	fails(mkdir("none/d", 0755), ENOENT, "in nothing");
	fails(mkdir("", 0755), ENOENT, "without a name");
	fails(mkdir(".", 0755), EEXIST, "of .");
	fails(mkdir(long_name, 0755), ENAMETOOLONG, "with a name of 256 bytes");
	is(mkdir("d/e/", 0755), 0, "with a slash");
	stat("d/e/..", &st);
	is((long)st.st_ino, (long)inode_of("d"), "its ..");
	fails(unlink("d"), EISDIR, "unlink of a directory");
	fails(rmdir("d"), ENOTEMPTY, "rmdir of one that is not empty");
	fails(rmdir("d/e/."), EINVAL, "rmdir of .");
	fails(rmdir("d/e/.."), ENOTEMPTY, "rmdir of ..");
	make("d/f", "");
	fails(rmdir("d/f"), ENOTDIR, "rmdir of a file");
	fails(rmdir("d/none"), ENOENT, "rmdir of nothing");
	fails(unlinkat(AT_FDCWD, "d/f", AT_REMOVEDIR), ENOTDIR, "unlinkat, AT_REMOVEDIR of a file");
	fails(unlinkat(AT_FDCWD, "d/f", 0x4000), EINVAL, "unlinkat, unknown flag");
	is(unlink("d/f"), 0, "unlink");
	is(unlinkat(AT_FDCWD, "d/e", AT_REMOVEDIR), 0, "unlinkat, AT_REMOVEDIR");
	is(chdir("d"), 0, "chdir");
	is(rmdir("../d"), 0, "rmdir of the working directory");
	fails(open("f", O_CREAT | O_WRONLY, 0600), ENOENT, "nothing is created there");
	fails(mkdir("x", 0755), ENOENT, "no directory");
	fails(symlink("x", "y"), ENOENT, "no link");
	is(chdir(".."), 0, "out of it");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	memset(long_name, 'n', 256);
	test_link();
	test_linkat();
	test_symlink();
	test_symlink_to_directory();
	test_directories();
	leave_scratch_folder();
	return tap_done();
}
