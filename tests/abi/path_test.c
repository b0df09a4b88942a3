// SPDX-License-Identifier: MIT
//
// Names and the errors about them, in Linux's order: last components that are no names, trailing
// slashes, the *at calls, RENAME_*, O_PATH, O_NOFOLLOW.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <utime.h>

#include "tests/abi/tap.h"

static int touch(const char *path)
{
	return close(open(path, O_CREAT | O_WRONLY | O_EXCL, 0644));
}

static int renameat2_call(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void test_no_names(void)
{
	is(mkdir("d", 0755), 0, "mkdir");
	fails(mkdir("d", 0755), EEXIST, "mkdir of what is there");
	fails(mkdir(".", 0755), EEXIST, "mkdir .");
	fails(mkdir("d/..", 0755), EEXIST, "mkdir d/..");
	fails(mkdir("/", 0755), EEXIST, "mkdir /");
	fails(mkdir("", 0755), ENOENT, "mkdir of nothing");
	fails(mkdir("none/x", 0755), ENOENT, "mkdir below nothing");
	fails(rmdir("d/."), EINVAL, "rmdir d/.");
	fails(rmdir("d/.."), ENOTEMPTY, "rmdir d/..");
	fails(rmdir("/"), EBUSY, "rmdir /");
	fails(unlink("d"), EISDIR, "unlink of a folder");
	fails(unlink("d/."), EISDIR, "unlink d/.");
	fails(unlink("/"), EISDIR, "unlink /");
	fails(unlink("none"), ENOENT, "unlink of nothing");
	fails(rename("d/.", "x"), EBUSY, "rename d/.");
	fails(rename("d", "d/.."), EBUSY, "rename to d/..");
	fails(symlink("x", "d/."), EEXIST, "symlink at d/.");
	fails(link("d/../.", "y"), EPERM, "link of .");
	fails(unlinkat(AT_FDCWD, "d", 0), EISDIR, "unlinkat of a folder");
	fails(unlinkat(AT_FDCWD, "d", 0x40), EINVAL, "unlinkat with an unknown flag");
	is(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR), 0, "unlinkat, AT_REMOVEDIR");
}

static void test_trailing_slashes(void)
{
	struct stat st;

	is(touch("f"), 0, "a file");
	is(mkdir("d/", 0755), 0, "mkdir d/");
	is(symlink("d", "ld"), 0, "a link to the folder");
	is(symlink("f", "lf"), 0, "a link to the file");
	fails(open("f/", O_RDONLY), ENOTDIR, "open f/");
	fails(open("f/.", O_RDONLY), ENOTDIR, "open f/.");
	fails(open("new/", O_CREAT | O_WRONLY, 0644), EISDIR, "create new/");
	fails(open("d/", O_CREAT | O_WRONLY, 0644), EISDIR, "create d/");
	fails(stat("f/", &st), ENOTDIR, "stat f/");
	fails(unlink("f/"), ENOTDIR, "unlink f/");
	fails(unlink("ld/"), ENOTDIR, "unlink of a link/");
	fails(rmdir("f/"), ENOTDIR, "rmdir f/");
	fails(rmdir("ld"), ENOTDIR, "rmdir of a link");
	fails(rmdir("ld/"), ENOTDIR, "rmdir of a link/");
	fails(mknod("new/", S_IFREG | 0644, 0), ENOENT, "mknod new/");
	fails(mknod("f/", S_IFREG | 0644, 0), EEXIST, "mknod f/");
	fails(symlink("x", "new/"), ENOENT, "symlink new/");
	fails(link("f", "new/"), ENOENT, "link new/");
	fails(rename("f", "new/"), ENOTDIR, "rename f new/");
	fails(rename("f/", "new"), ENOTDIR, "rename f/ new");
	fails(rename("f", "d/"), ENOTDIR, "rename f d/");
	is(rename("d/", "e/"), 0, "rename d/ e/");
	is(rename("e", "d"), 0, "and back");
	is(lstat("ld", &st), 0, "lstat of a link");
	ok(S_ISLNK(st.st_mode), "tells the link");
	is(lstat("ld/", &st), 0, "lstat of a link/");
	ok(S_ISDIR(st.st_mode), "tells the folder");
	fails(lstat("lf/", &st), ENOTDIR, "lstat of a link to a file/");
	fails(readlink("ld/", (char *)&st, 10), EINVAL, "readlink of a link/");
	unlink("ld");
	unlink("lf");
	unlink("f");
	rmdir("d");
}

static void test_open_links(void)
{
	int fd;

	symlink("loop", "loop");
	symlink("target", "dangling");
	fails(open("loop", O_RDONLY), ELOOP, "open a loop");
	fails(open("loop", O_RDONLY | O_NOFOLLOW), ELOOP, "O_NOFOLLOW of a link");
	fails(open("dangling", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR,
	      "O_NOFOLLOW | O_DIRECTORY of a link");
	fails(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST,
	      "O_EXCL does not follow a dangling link");
	fails(open("dangling", O_CREAT | O_NOFOLLOW | O_WRONLY, 0644), ELOOP,
	      "O_CREAT | O_NOFOLLOW of a link");
	fd = open("dangling", O_PATH | O_NOFOLLOW);
	ok(fd >= 0, "O_PATH | O_NOFOLLOW opens the link");
	{
		char text[10];
		struct stat st;

		is(readlinkat(fd, "", text, sizeof(text)), 6, "readlinkat of the empty path");
		is(fstat(fd, &st), 0, "fstat of an O_PATH descriptor");
		ok(S_ISLNK(st.st_mode), "it is the link");
		fails(read(fd, text, 1), EBADF, "read of an O_PATH descriptor");
		fails(syscall(SYS_fchmod, fd, 0600), EBADF, "fchmod of an O_PATH descriptor");
		fails(lseek(fd, 0, SEEK_SET), EBADF, "lseek of an O_PATH descriptor");
	}
	close(fd);
	unlink("loop");
	unlink("dangling");
}

static void test_rename_flags(void)
{
	struct stat a, b;

	touch("a");
	touch("b");
	mkdir("d", 0755);
	stat("a", &a);
	fails(renameat2_call("a", "b", 1), EEXIST, "RENAME_NOREPLACE over a file");
	is(renameat2_call("a", "c", 1), 0, "RENAME_NOREPLACE to a free name");
	fails(renameat2_call("c", "none", 2), ENOENT, "RENAME_EXCHANGE with nothing");
	fails(renameat2_call("c", "b", 3), EINVAL, "both flags");
	fails(renameat2_call("c", "b", 8), EINVAL, "an unknown flag");
	if (renameat2_call("c", "d", 2) == 0) {
		stat("d", &b);
		ok(S_ISREG(b.st_mode) && a.st_ino == b.st_ino,
		   "RENAME_EXCHANGE of file and folder");
		is(rename("d", "b"), 0, "rename over the other file");
	} else { // a file system may do without
		is(errno, EINVAL, "no RENAME_EXCHANGE here");
		rename("d", "e");
		is(rename("c", "b"), 0, "rename over the other file");
		rename("e", "c");
	}
	stat("b", &b);
	ok(a.st_ino == b.st_ino, "it is there");
	is(link("b", "b2"), 0, "a second name");
	is(rename("b", "b2"), 0, "rename to another name of the same file");
	is(access("b", F_OK) | access("b2", F_OK), 0, "does nothing");
	unlink("b");
	unlink("b2");
	rmdir("c");
}

static void test_at_calls(void)
{
	char deep[PATH_MAX + 10], here[PATH_MAX];
	struct stat st;
	int dir, fd;

	mkdir("d", 0755);
	dir = open("d", O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "f", O_CREAT | O_RDWR, 0640);
	ok(fd >= 0, "openat creates");
	is(fstatat(dir, "f", &st, 0), 0, "fstatat");
	is(fstatat(fd, "", &st, AT_EMPTY_PATH), 0, "fstatat of the empty path");
	ok(S_ISREG(st.st_mode), "is the descriptor's file");
	fails(fstatat(fd, "", &st, 0), ENOENT, "only with AT_EMPTY_PATH");
	is(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH), 0, "the empty path here");
	ok(S_ISDIR(st.st_mode), "is the working folder");
	fails(fstatat(fd, "f", &st, 0), ENOTDIR, "fstatat below a file");
	fails(fstatat(999, "f", &st, 0), EBADF, "fstatat below no descriptor");
	is(fstatat(999, "/", &st, 0), 0, "an absolute path needs none");
	fails(fstatat(dir, "f", &st, 0x8000), EINVAL, "an unknown flag");
	is(linkat(dir, "f", dir, "g", 0), 0, "linkat");
	is(symlinkat("f", dir, "s"), 0, "symlinkat");
	is(linkat(dir, "s", dir, "s2", 0), 0, "linkat does not follow");
	is(fstatat(dir, "s2", &st, AT_SYMLINK_NOFOLLOW), 0, "fstatat of the link");
	ok(S_ISLNK(st.st_mode) && st.st_nlink == 2, "a link with two names");
	is(linkat(dir, "s", dir, "h", AT_SYMLINK_FOLLOW), 0, "linkat, AT_SYMLINK_FOLLOW");
	fstatat(dir, "h", &st, AT_SYMLINK_NOFOLLOW);
	ok(S_ISREG(st.st_mode), "follows");
	is(faccessat(dir, "f", R_OK, 0), 0, "faccessat");
	is(renameat(dir, "h", AT_FDCWD, "h"), 0, "renameat");
	is(mkdirat(dir, "sub", 0755), 0, "mkdirat");
	is(fchdir(dir), 0, "fchdir");
	is(access("sub", F_OK), 0, "we are there");
	fails(fchdir(fd), ENOTDIR, "fchdir to a file");
	rmdir("sub");
	unlink("f");
	unlink("g");
	unlink("s");
	unlink("s2");
	is(chdir(".."), 0, "and back");
	is(rmdir("d"), 0, "rmdir of an open folder");
	fails(openat(dir, "x", O_CREAT | O_WRONLY, 0644), ENOENT, "nothing is made in it");
	fails(mkdirat(dir, "x", 0755), ENOENT, "no folder either");
	is(fchdir(dir), 0, "fchdir to a removed folder");
	fails(syscall(SYS_getcwd, here, sizeof(here)), ENOENT, "getcwd there");
	is(chdir(".."), 0, "its parent is still known");
	close(dir);
	close(fd);
	unlink("h");
	memset(deep, 'x', sizeof(deep));
	for (size_t k = 0; k < PATH_MAX; k += 2)
		memcpy(deep + k, "./", 2);
	deep[PATH_MAX - 1] = 0;
	is(stat(deep, &st), 0, "a path of 4095 bytes");
	deep[PATH_MAX - 1] = '/';
	deep[PATH_MAX] = 0;
	fails(stat(deep, &st), ENAMETOOLONG, "a path of 4096 bytes");
}

static void test_sizes_and_times(void)
{
	struct utimbuf old = { 1000, 2000 };
	struct timeval tv[2] = { { 5, 500000 }, { 6, 0 } };
	struct timespec ts[2] = { { 7, UTIME_OMIT }, { 8, 9 } };
	struct statfs fs;
	struct stat st;
	int fd;

	fd = open("f", O_CREAT | O_RDWR, 0644);
	is(utime("f", &old), 0, "utime");
	stat("f", &st);
	ok(st.st_atime == 1000 && st.st_mtime == 2000, "its times");
	is(utimes("f", tv), 0, "utimes");
	stat("f", &st);
	ok(st.st_atim.tv_sec == 5 && st.st_atim.tv_nsec == 500000000 && st.st_mtime == 6,
	   "its times");
	is(futimens(fd, ts), 0, "futimens, UTIME_OMIT");
	stat("f", &st);
	ok(st.st_atim.tv_sec == 5 && st.st_mtim.tv_sec == 8 && st.st_mtim.tv_nsec == 9,
	   "its times");
	ts[1].tv_nsec = 1000000000;
	fails(futimens(fd, ts), EINVAL, "nanoseconds beyond a second");
	tv[0].tv_usec = 1000000;
	fails(syscall(SYS_utimes, "f", tv), EINVAL, "microseconds beyond a second");
	fails(truncate("f", -1), EINVAL, "truncate to -1");
	fails(truncate(".", 0), EISDIR, "truncate of a folder");
	fails(ftruncate(fd, -1), EINVAL, "ftruncate to -1");
	fails(fallocate(fd, 0, 0, 0), EINVAL, "fallocate of nothing");
	fails(fallocate(fd, 0, -1, 10), EINVAL, "fallocate before the beginning");
	is(fallocate(fd, 0, 1000, 5000), 0, "fallocate");
	fstat(fd, &st);
	is(st.st_size, 6000, "the size");
	is(fallocate(fd, FALLOC_FL_KEEP_SIZE, 100000, 5000), 0, "fallocate, KEEP_SIZE");
	fstat(fd, &st);
	is(st.st_size, 6000, "the same size");
	is(statfs("f", &fs), 0, "statfs");
	ok(fs.f_bsize == 4096 && fs.f_namelen == 255 && fs.f_blocks > 0, "tells sizes");
	is(chmod("f", 04711), 0, "chmod");
	stat("f", &st);
	is(st.st_mode & 07777, 04711, "set-uid");
	is(chown("f", (uid_t)-1, (gid_t)-1), 0, "chown to nobody");
	close(fd);
	unlink("f");
	is(mknod("fifo", S_IFIFO | 0600, 0), 0, "mknod of a fifo");
	stat("fifo", &st);
	ok(S_ISFIFO(st.st_mode), "is a fifo");
	fails(truncate("fifo", 0), EINVAL, "truncate of a fifo");
	unlink("fifo");
	fails(mknod("x", S_IFDIR | 0755, 0), EPERM, "mknod of a folder");
	fails(mknod("x", 0110000 | 0644, 0), EINVAL, "mknod of an unknown kind");
	is(syscall(SYS_getxattr, "/", "user.none", NULL, 0), -1, "getxattr of what is not there");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	test_no_names();
	test_trailing_slashes();
	test_open_links();
	test_rename_flags();
	test_at_calls();
	test_sizes_and_times();
	leave_scratch_folder();
	return tap_done();
}
