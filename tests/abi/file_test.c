// SPDX-License-Identifier: MIT
//
// Open files: open's flags, read, write, lseek, pread and pwrite, readv and writev, truncate,
// sparse files, descriptors and their flags.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>

#include "tests/abi/tap.h"

static char buffer[4096];

static void test_open_flags(void)
{
	int fd;

	fails(open("file", O_RDONLY), ENOENT, "open what is not there");
	fd = open("file", O_WRONLY | O_CREAT | O_EXCL, 0640);
	ok(fd >= 0, "O_CREAT | O_EXCL of a new file");
	is(write(fd, "hello world", 11), 11, "write");
	fails(read(fd, buffer, 1), EBADF, "read of a write-only descriptor");
	close(fd);
	fails(open("file", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST, "O_EXCL of an existing file");
	fd = open("file", O_RDONLY);
	fails(write(fd, "x", 1), EBADF, "write to a read-only descriptor");
	is(read(fd, buffer, sizeof(buffer)), 11, "read stops at the end of the file");
	ok(memcmp(buffer, "hello world", 11) == 0, "the content");
	is(read(fd, buffer, sizeof(buffer)), 0, "at the end: 0");
	close(fd);
	fd = open("file", O_WRONLY | O_APPEND);
	is(lseek(fd, 0, SEEK_SET), 0, "seek in a file opened with O_APPEND");
	is(write(fd, "!", 1), 1, "write");
	is(lseek(fd, 0, SEEK_CUR), 12, "it went to the end");
	close(fd);
	fd = open("file", O_WRONLY | O_TRUNC);
	is(lseek(fd, 0, SEEK_END), 0, "O_TRUNC empties it");
	close(fd);
	fails(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR, "O_DIRECTORY of a file");
	fails(open("file/x", O_RDONLY), ENOTDIR, "a file used as a folder");
	fails(open(".", O_WRONLY), EISDIR, "a folder opened for writing");
	fails(open("", O_RDONLY), ENOENT, "an empty path");
	fails(open("missing/file", O_RDONLY | O_CREAT, 0600), ENOENT,
	      "O_CREAT in a missing folder");
	is(symlink("file", "link"), 0, "a symbolic link");
	fails(open("link", O_RDONLY | O_NOFOLLOW), ELOOP, "O_NOFOLLOW of it");
	unlink("link");
	unlink("file");
}

static void test_long_names(void)
{
	char name[300], path[5000];

	memset(name, 'n', sizeof(name));
	name[256] = 0;
	fails(open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG, "a name of 256 bytes");
	name[255] = 0;
	ok(close(open(name, O_RDWR | O_CREAT, 0600)) == 0, "a name of 255 bytes");
	is(unlink(name), 0, "remove it");
	for (size_t i = 0; i < sizeof(path); i += 2)
		memcpy(path + i, "./", 2);
	path[4096] = 0;
	fails(open(path, O_RDONLY), ENAMETOOLONG, "a path of 4096 bytes");
	path[4095] = 0;
	path[4094] = '.';
	ok(close(open(path, O_RDONLY)) == 0, "a path of 4095 bytes");
}

static void test_positions(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	is(write(fd, "0123456789", 10), 10, "ten bytes");
	is(lseek(fd, 3, SEEK_SET), 3, "SEEK_SET");
	is(lseek(fd, 2, SEEK_CUR), 5, "SEEK_CUR");
	is(lseek(fd, -1, SEEK_END), 9, "SEEK_END");
	fails(lseek(fd, -11, SEEK_END), EINVAL, "before the start");
	fails(lseek(fd, 0, 99), EINVAL, "an unknown origin");
	is(pread(fd, buffer, 4, 2), 4, "pread");
	ok(memcmp(buffer, "2345", 4) == 0, "the bytes at the offset");
	is(pwrite(fd, "ab", 2, 0), 2, "pwrite");
	is(lseek(fd, 0, SEEK_CUR), 9, "neither moves the position");
	is(pread(fd, buffer, 4, 100), 0, "pread beyond the end");
	fails(pread(fd, buffer, 4, -1), EINVAL, "pread at a negative offset");
	fails(lseek(77, 0, SEEK_SET), EBADF, "lseek of no descriptor");
	close(fd);
	unlink("file");
}

static void test_vectors(void)
{
	struct iovec out[3] = { { "abc", 3 }, { NULL, 0 }, { "defg", 4 } };
	char a[2], b[10];
	struct iovec in[2] = { { a, sizeof(a) }, { b, sizeof(b) } };
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	is(writev(fd, out, 3), 7, "writev");
	lseek(fd, 0, SEEK_SET);
	is(readv(fd, in, 2), 7, "readv");
	ok(memcmp(a, "ab", 2) == 0 && memcmp(b, "cdefg", 5) == 0, "the bytes are in order");
	fails(writev(fd, out, -1), EINVAL, "a negative count");
	fails(readv(fd, in, 1025), EINVAL, "more than IOV_MAX");
	close(fd);
	unlink("file");
}

static void test_sparse(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	const off_t far = 40 << 20;
	struct stat st;

	is(pwrite(fd, "end", 3, far), 3, "a write far beyond the end");
	is(fstat(fd, &st), 0, "fstat");
	is(st.st_size, far + 3, "the size covers the hole");
	ok(st.st_blocks * 512 < 1 << 20, "the hole has no blocks");
	memset(buffer, 1, sizeof(buffer));
	is(pread(fd, buffer, 100, far - 50), 53, "read across the end of the hole");
	ok(buffer[0] == 0 && buffer[49] == 0 && buffer[50] == 'e', "zeros, then the data");

	is(ftruncate(fd, 10), 0, "shorten");
	is(pread(fd, buffer, 100, 0), 10, "what is left");
	is(ftruncate(fd, 5000), 0, "lengthen");
	memset(buffer, 1, sizeof(buffer));
	is(pread(fd, buffer, 100, 4096), 100, "the new part");
	ok(buffer[0] == 0 && buffer[99] == 0, "is zero");
	close(fd);
	unlink("file");
}

// Bytes beyond the end must never come back: shortened within a block, then lengthened.
static void test_tail_is_zeroed(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	memset(buffer, 'x', sizeof(buffer));
	is(write(fd, buffer, 4096), 4096, "a block of x");
	is(ftruncate(fd, 100), 0, "shorten to 100 bytes");
	is(ftruncate(fd, 4096), 0, "back to a block");
	is(pread(fd, buffer, 4096, 0), 4096, "read it");
	ok(buffer[99] == 'x' && buffer[100] == 0 && buffer[4095] == 0, "the tail is zero");
	is(ftruncate(fd, 0), 0, "empty it");
	is(pwrite(fd, "y", 1, 200), 1, "write a byte inside the block");
	is(pread(fd, buffer, 4096, 0), 201, "read it");
	ok(buffer[0] == 0 && buffer[199] == 0, "zeros before it");
	fails(ftruncate(fd, -1), EINVAL, "a negative length");
	fails(truncate("missing", 0), ENOENT, "truncate what is not there");
	fails(truncate(".", 0), EISDIR, "truncate a folder");
	close(fd);
	fd = open("file", O_RDONLY);
	fails(ftruncate(fd, 0), EINVAL, "ftruncate of a read-only descriptor");
	close(fd);
	unlink("file");
}

static void test_descriptors(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600), copy, high;

	copy = dup(fd);
	is(write(fd, "abc", 3), 3, "write through one descriptor");
	is(lseek(copy, 0, SEEK_CUR), 3, "dup shares the position");
	is(dup2(fd, 50), 50, "dup2 to a free number");
	is(dup2(fd, fd), fd, "dup2 to itself");
	fails(dup2(99, 51), EBADF, "dup2 of no descriptor");
	fails(dup3(fd, fd, 0), EINVAL, "dup3 to itself");
	is(fcntl(50, F_GETFD), 0, "a copy is not close-on-exec");
	is(fcntl(50, F_SETFD, FD_CLOEXEC), 0, "set it");
	is(fcntl(50, F_GETFD), FD_CLOEXEC, "it is set");
	high = fcntl(fd, F_DUPFD_CLOEXEC, 20);
	is(high, 20, "F_DUPFD_CLOEXEC gives the lowest number from there");
	is(fcntl(high, F_GETFD), FD_CLOEXEC, "with the flag");
	is(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR, "F_GETFL");
	is(fcntl(fd, F_SETFL, O_APPEND), 0, "F_SETFL");
	is(fcntl(copy, F_GETFL) & O_APPEND, O_APPEND, "status flags are shared by copies");
	is(close(fd), 0, "close");
	fails(close(fd), EBADF, "close again");
	fails(fcntl(fd, F_GETFD), EBADF, "fcntl of it");
	is(write(copy, "d", 1), 1, "the copy works on");
	is(open("file", O_RDONLY), fd, "open takes the lowest free number");
	close(fd);
	close(copy);
	close(50);
	close(high);
	unlink("file");
}

static void test_unlinked(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	struct termios termios;
	struct stat st;

	is(unlink("file"), 0, "unlink an open file");
	is(write(fd, "still", 5), 5, "it can be written");
	is(pread(fd, buffer, 5, 0), 5, "and read");
	is(fstat(fd, &st), 0, "fstat");
	is((long)st.st_nlink, 0, "it has no links");
	fails(tcgetattr(fd, &termios), ENOTTY, "a file is not a terminal");
	close(fd);
}

static void test_devices(void)
{
	int fd = open("/dev/null", O_RDWR);

	is(write(fd, "gone", 4), 4, "/dev/null takes all");
	is(read(fd, buffer, 10), 0, "and gives nothing");
	close(fd);
	fd = open("/dev/zero", O_RDONLY);
	memset(buffer, 1, 100);
	is(read(fd, buffer, 100), 100, "/dev/zero");
	ok(buffer[0] == 0 && buffer[99] == 0, "gives zeros");
	close(fd);
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	test_open_flags();
	test_long_names();
	test_positions();
	test_vectors();
	test_sparse();
	test_tail_is_zeroed();
	test_descriptors();
	test_unlinked();
	test_devices();
	leave_scratch_folder();
	return tap_done();
}
