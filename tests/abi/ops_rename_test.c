// SPDX-License-Identifier: MIT
//
// rename(2) and renameat2(2): files and directories, over others, NOREPLACE, EXCHANGE, and who may.
#define _GNU_SOURCE
#include <grp.h>

#include "tests/abi/ops.h"

static void test_files(void)
{
	char long_name[257];
	ino_t ino;

	memset(long_name, 'n', 256);
	long_name[256] = 0;
	make("a", "A");
	ino = inode_of("a");
	is(rename("a", "b"), 0, "to a new name");
	ok(!exists("a") && inode_of("b") == ino, "it is the same file");
	make("a", "new");
	is(rename("a", "b"), 0, "over a file");
	ok(says("b", "new") && !exists("a"), "which is gone");
	is(rename("b", "b"), 0, "to itself");
	link("b", "c");
	is(rename("b", "c"), 0, "over another name of itself");
	ok(exists("b") && exists("c"), "does nothing");
	is(links("b"), 2, "at all");
	unlink("c");
	fails(rename("none", "c"), ENOENT, "of nothing");
	fails(rename("b", "none/c"), ENOENT, "into nothing");
	fails(rename("b", ""), ENOENT, "to an empty name");
	fails(rename("b/x", "c"), ENOTDIR, "from below a file");
	fails(rename("b", "b/c"), ENOTDIR, "to below a file");
	fails(rename("b", "c/"), ENOTDIR, "a file to a name with a slash");
	fails(rename("b/", "c"), ENOTDIR, "a file with a slash");
	fails(rename("b", long_name), ENAMETOOLONG, "to a name of 256 bytes");
	fails(rename("b", "."), EBUSY, "to .");
	fails(rename(".", "c"), EBUSY, "of .");
	fails(rename("b", "/proc/b"), EXDEV, "into another file system");
	long_name[255] = 0;
	is(rename("b", long_name), 0, "to a name of 255 bytes");
	is(rename(long_name, "b"), 0, "and back");
	unlink("b");
}

static void test_links(void)
{
	symlink("none", "s");
	make("f", "F");
	is(rename("s", "t"), 0, "a dangling link");
	is(rename("f", "t"), 0, "a file over a link");
	ok(says("t", "F"), "the link is gone");
	symlink("t", "s");
	is(rename("s", "t"), 0, "a link over its file");
	fails(open("t", O_RDONLY), ELOOP, "now names itself");
	unlink("t");
}

static void test_open_victim(void)
{
	char buf[8];
	struct stat st;
	int fd;

	make("a", "A");
	make("b", "B");
	fd = open("b", O_RDWR);
	is(rename("a", "b"), 0, "over an open file");
	is(pread(fd, buf, 8, 0), 1, "which can be read");
	is(buf[0], 'B', "as it was");
	fstat(fd, &st);
	is((long)st.st_nlink, 0, "and has no links");
	is(pwrite(fd, "x", 1, 5000), 1, "and written");
	close(fd);
	ok(says("b", "A"), "the other one has its name");
	unlink("b");
}

static void test_directories(void)
{
	struct stat st;

	mkdir("d", 0755);
	mkdir("e", 0755);
	make("d/f", "F");
	is(rename("d", "e"), 0, "over an empty directory");
	ok(says("e/f", "F") && !exists("d"), "its files came along");
	mkdir("d", 0755);
	fails(rename("d", "e"), ENOTEMPTY, "over one that is not empty");
	make("f", "");
	fails(rename("d", "f"), ENOTDIR, "over a file");
	fails(rename("f", "d"), EISDIR, "a file over a directory");
	fails(rename("d", "d/x"), EINVAL, "into itself");
	mkdir("d/x", 0755);
	fails(rename("d", "d/x/y"), EINVAL, "below itself");
	fails(rename("d/x", "d"), ENOTEMPTY, "over its parent");
	is(links("d"), 3, "links of a parent");
	is(rename("d/x", "e/x"), 0, "to another directory");
	is(links("d"), 2, "one less");
	is(links("e"), 3, "one more");
	stat("e/x/..", &st);
	is((long)st.st_ino, (long)inode_of("e"), ".. follows");
	is(rename("e/x/", "d/x/"), 0, "with slashes");
	is(rename("d/x", "y"), 0, "up");
	fails(rename("none/x", "z"), ENOENT, "from nothing");
	mkdir("d/1", 0755);
	mkdir("e/1", 0755);
	is(rename("d/1", "e/1"), 0, "over an empty one in another directory");
	is(links("d"), 2, "links");
	is(links("e"), 3, "of both");
	rmdir("e/1");
	unlink("e/f");
	unlink("f");
	rmdir("d");
	rmdir("e");
	rmdir("y");
}

static void test_noreplace(void)
{
	make("a", "A");
	make("b", "B");
	mkdir("d", 0755);
	fails(rename2("a", "b", RENAME_NOREPLACE_), EEXIST, "NOREPLACE over a file");
	fails(rename2("a", "d", RENAME_NOREPLACE_), EEXIST, "over a directory");
	fails(rename2("a", "a", RENAME_NOREPLACE_), EEXIST, "over itself");
	ok(says("a", "A") && says("b", "B"), "nothing has changed");
	is(rename2("a", "c", RENAME_NOREPLACE_), 0, "to a new name");
	is(rename2("c", "d/c", RENAME_NOREPLACE_), 0, "in another directory");
	fails(rename2("none", "x", RENAME_NOREPLACE_), ENOENT, "of nothing");
	symlink("none", "s");
	fails(rename2("b", "s", RENAME_NOREPLACE_), EEXIST, "over a dangling link");
	fails(rename2("b", "x", 0x80), EINVAL, "an unknown flag");
	fails(rename2("b", "x", RENAME_NOREPLACE_ | RENAME_EXCHANGE_), EINVAL, "two that exclude");
	unlink("s");
	unlink("b");
	unlink("d/c");
	rmdir("d");
}

static void test_exchange(void)
{
	struct stat st;
	ino_t a, b;

	make("a", "A");
	make("b", "B");
	a = inode_of("a");
	b = inode_of("b");
	is(rename2("a", "b", RENAME_EXCHANGE_), 0, "EXCHANGE of two files");
	ok(says("a", "B") && says("b", "A"), "contents change places");
	ok(inode_of("a") == b && inode_of("b") == a, "inodes, too");
	fails(rename2("a", "none", RENAME_EXCHANGE_), ENOENT, "with nothing");
	fails(rename2("none", "a", RENAME_EXCHANGE_), ENOENT, "of nothing");
	is(rename2("a", "a", RENAME_EXCHANGE_), 0, "with itself");
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	make("d/e/f", "F");
	is(rename2("a", "d/e", RENAME_EXCHANGE_), 0, "of a file and a full directory");
	ok(says("d/e", "B") && says("a/f", "F"), "both are there");
	is(links("d"), 2, "the parent has one subdirectory less");
	stat("a/..", &st);
	is((long)st.st_ino, (long)inode_of("."), ".. follows");
	fails(rename2("d", "d/e", RENAME_EXCHANGE_), EINVAL, "with what is inside");
	fails(rename2("d/e", "d", RENAME_EXCHANGE_), EINVAL, "and the other way round");
	is(rename2("a", "d", RENAME_EXCHANGE_), 0, "of two full directories");
	ok(says("a/e", "B") && says("d/f", "F"), "both are full");
	symlink("x", "s");
	is(rename2("s", "b", RENAME_EXCHANGE_), 0, "of a link and a file");
	ok(says("s", "A"), "the file");
	lstat("b", &st);
	ok(S_ISLNK(st.st_mode), "the link");
	is(rename2("a", "b", RENAME_EXCHANGE_), 0, "of a directory and a link");
	ok(says("b/e", "B"), "the directory");
	unlink("a");
	unlink("s");
	unlink("b/e");
	unlink("d/f");
	rmdir("b");
	rmdir("d");
}

// Names of all lengths in one directory keep their place while files change theirs.
static void test_many(void)
{
	char name[256], other[256];
	bool good = true;

	mkdir("m", 0755);
	for (int i = 1; i <= 60; i++) {
		snprintf(name, sizeof(name), "m/%0*d", i * 4, i);
		make(name, "x");
	}
	for (int i = 1; i <= 60; i++) {
		snprintf(name, sizeof(name), "m/%0*d", i * 4, i);
		snprintf(other, sizeof(other), "m/n%0*d", 245 - i * 4, i);
		good &= rename(name, other) == 0;
	}
	ok(good, "sixty files get other names");
	for (int i = 1; i <= 60; i++) {
		snprintf(other, sizeof(other), "m/n%0*d", 245 - i * 4, i);
		good &= unlink(other) == 0;
	}
	ok(good, "and all are found");
	is(rmdir("m"), 0, "the directory is empty");
}

static int as_user(void)
{
	int bad = setgroups(0, NULL) || setgid(1000) || setuid(1000);

	bad |= !(rename("shared/theirs", "shared/x") == -1 && errno == EPERM) << 1;
	bad |= !(rename("shared/mine", "shared/theirs") == -1 && errno == EPERM) << 2;
	bad |= !(rename2("shared/mine", "shared/theirs", RENAME_EXCHANGE_) == -1 && errno == EPERM)
	       << 3;
	bad |= (rename("shared/mine", "shared/mine2") != 0) << 4;
	bad |= !(rename("shared/mine2", "closed/x") == -1 && errno == EACCES) << 5;
	bad |= !(rename("closed/f", "shared/f") == -1 && errno == EACCES) << 6;
	return bad;
}

static void test_permissions(void)
{
	int status;

	if (getuid() != 0) {
		skip("renames of a user", "needs root");
		return;
	}
	mkdir("shared", 0777);
	chmod("shared", 01777);
	mkdir("closed", 0755);
	make("closed/f", "");
	make("shared/theirs", "");
	make("shared/mine", "");
	is(chown("shared/mine", 1000, 1000), 0, "give a file away");
	status = in_child(as_user);
	is(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "sticky and closed directories");
	unlink("shared/theirs");
	unlink("shared/mine2");
	unlink("closed/f");
	rmdir("shared");
	rmdir("closed");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	chmod(".", 0755);
	test_files();
	test_links();
	test_open_victim();
	test_directories();
	test_noreplace();
	test_exchange();
	test_many();
	test_permissions();
	leave_scratch_folder();
	return tap_done();
}
