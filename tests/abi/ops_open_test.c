// SPDX-License-Identifier: MIT
//
// Opening: O_CREAT, O_EXCL, O_APPEND, O_TRUNC, O_TMPFILE and how it gets a name; unlinked files
// that are open; umask; names of every length; directories that change while they are read.
#define _GNU_SOURCE
#include <dirent.h>
#include <grp.h>

#include "tests/abi/ops.h"

static char buffer[8192];

static void test_create(void)
{
	int fd;

	fd = open("f", O_RDONLY | O_CREAT, 0444);
	ok(fd >= 0, "create for reading");
	fails(write(fd, "x", 1), EBADF, "it cannot be written");
	close(fd);
	unlink("f");
	fd = open("f", O_RDWR | O_CREAT | O_EXCL, 0);
	ok(fd >= 0, "create with no rights at all");
	is(write(fd, "x", 1), 1, "this descriptor may write");
	is(mode_of("f"), 0, "the mode");
	close(fd);
	fails(open("f", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST, "O_EXCL");
	fails(open(".", O_RDWR | O_CREAT, 0600), EISDIR, "O_CREAT of a directory");
	fails(open("new/", O_RDWR | O_CREAT, 0600), EISDIR, "O_CREAT with a slash");
	fails(open("f/", O_RDONLY), ENOTDIR, "a file with a slash");
	is(close(creat("f", 0600)), 0, "creat of what is there");
	ok(says("f", ""), "empties it");
	is(mode_of("f"), 0, "and leaves the mode");
	unlink("f");
	umask(027);
	close(open("f", O_RDONLY | O_CREAT, 0666));
	is(mode_of("f"), 0640, "umask of open");
	mkdir("d", 0777);
	is(mode_of("d"), 0750, "of mkdir");
	mknod("p", S_IFIFO | 0666, 0);
	is(mode_of("p"), 0640, "of mknod");
	is((long)umask(022), 027, "umask returns the old one");
	unlink("f");
	unlink("p");
	rmdir("d");
	close(open("f", O_RDONLY | O_CREAT, 07777));
	is(mode_of("f"), 07755, "set-id bits and the sticky bit");
	unlink("f");
}

static void test_append(void)
{
	int fd, other;
	struct stat st;

	make("f", "abc");
	fd = open("f", O_RDWR | O_APPEND);
	other = open("f", O_WRONLY);
	is(write(fd, "d", 1), 1, "append");
	is(pwrite(other, "efg", 3, 4), 3, "somebody else writes behind it");
	is(write(fd, "h", 1), 1, "append again");
	ok(says("f", "abcdefgh"), "goes behind that");
	is(lseek(fd, 0, SEEK_CUR), 8, "the position follows");
	is(pwrite(fd, "x", 1, 0), 1, "pwrite with O_APPEND");
	fstat(fd, &st);
	is(st.st_size, 9, "appends, as Linux has it");
	is(ftruncate(fd, 2), 0, "shorten");
	is(write(fd, "z", 1), 1, "append");
	ok(says("f", "abz"), "goes to the new end");
	is(read(fd, buffer, 10), 0, "read is at the end");
	is(fcntl(fd, F_SETFL, 0), 0, "O_APPEND off");
	lseek(fd, 0, SEEK_SET);
	is(write(fd, "A", 1), 1, "write");
	ok(says("f", "Abz"), "overwrites");
	close(fd);
	close(other);
	unlink("f");
}

static void test_truncate(void)
{
	struct stat before, after;
	int fd, other;

	memset(buffer, 'x', sizeof(buffer));
	fd = open("f", O_RDWR | O_CREAT, 0600);
	write(fd, buffer, sizeof(buffer));
	other = open("f", O_WRONLY | O_TRUNC);
	fstat(fd, &after);
	is(after.st_size, 0, "O_TRUNC");
	is(read(fd, buffer, 10), 0, "others see it");
	is(pwrite(fd, "y", 1, 5000), 1, "a write behind the end");
	is(pread(fd, buffer, 1, 4999), 1, "before it");
	is(buffer[0], 0, "zeros");
	fstat(fd, &before);
	usleep(20000);
	is(ftruncate(fd, 100), 0, "ftruncate");
	fstat(fd, &after);
	ok(after.st_mtim.tv_sec > before.st_mtim.tv_sec ||
		   after.st_mtim.tv_nsec > before.st_mtim.tv_nsec,
	   "changes mtime");
	is(truncate("f", 200), 0, "truncate");
	is(truncate("f", 200), 0, "to the same size");
	fails(truncate("f", -1), EINVAL, "to less than nothing");
	fails(truncate("none", 1), ENOENT, "of nothing");
	fails(truncate("f/x", 1), ENOTDIR, "below a file");
	fails(truncate(".", 1), EISDIR, "of a directory");
	fails(ftruncate(77, 1), EBADF, "of no descriptor");
	close(fd);
	close(other);
	fd = open("f", O_RDONLY | O_TRUNC);
	fstat(fd, &after);
	is(after.st_size, 0, "O_TRUNC works with O_RDONLY, too");
	close(fd);
	unlink("f");
}

static void test_unlinked(void)
{
	struct stat st;
	int fd = open("f", O_RDWR | O_CREAT, 0600), other = open("f", O_RDONLY);

	write(fd, "first", 5);
	is(unlink("f"), 0, "unlink an open file");
	make("f", "second");
	is(pread(other, buffer, 10, 0), 5, "it stays readable");
	is(pwrite(fd, buffer, 8000, 100000), 8000, "and writable");
	fstat(fd, &st);
	is((long)st.st_nlink, 0, "has no links");
	is(st.st_size, 108000, "grows");
	is(fchmod(fd, 0400), 0, "fchmod");
	is(ftruncate(fd, 10), 0, "ftruncate");
	ok(says("f", "second"), "the new file is another one");
	snprintf(buffer, sizeof(buffer), "/proc/self/fd/%d", fd);
	is(stat(buffer, &st), 0, "it is found by its descriptor");
	is(st.st_size, 10, "as it is now");
	close(fd);
	close(other);
	unlink("f");
}

static void test_tmpfile(void)
{
	char path[64];
	struct stat st;
	int fd = open(".", O_RDWR | O_TMPFILE, 0640);

	if (fd < 0 && errno == EOPNOTSUPP) {
		skip("O_TMPFILE", "not supported here");
		return;
	}
	ok(fd >= 0, "O_TMPFILE");
	fstat(fd, &st);
	is((long)st.st_nlink, 0, "no links");
	is(st.st_mode & 0777, 0640, "its mode");
	is(write(fd, "text", 4), 4, "write");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ok(readlink(path, buffer, sizeof(buffer)) > 0 && strstr(buffer, "(deleted)"),
	   "/proc says it is deleted");
	is(linkat(AT_FDCWD, path, AT_FDCWD, "t", AT_SYMLINK_FOLLOW), 0, "it gets a name by /proc");
	ok(says("t", "text"), "under which it is found");
	is(links("t"), 1, "one link");
	is(linkat(fd, "", AT_FDCWD, "t2", AT_EMPTY_PATH), 0, "and another one");
	is(links("t"), 2, "two");
	unlink("t");
	unlink("t2");
	fails(linkat(fd, "", AT_FDCWD, "t", AT_EMPTY_PATH), ENOENT, "not once all are gone");
	close(fd);
	fd = open(".", O_WRONLY | O_TMPFILE, 0600);
	is(linkat(fd, "", AT_FDCWD, "t", AT_EMPTY_PATH), 0, "AT_EMPTY_PATH gives the first name");
	fails(linkat(fd, "", AT_FDCWD, "t", AT_EMPTY_PATH), EEXIST, "not to what is there");
	close(fd);
	unlink("t");
	fd = open(".", O_RDWR | O_TMPFILE | O_EXCL, 0600);
	ok(fd >= 0, "with O_EXCL");
	fails(linkat(fd, "", AT_FDCWD, "t", AT_EMPTY_PATH), ENOENT, "it gets no name");
	close(fd);
	fails(open(".", O_RDONLY | O_TMPFILE, 0600), EINVAL, "for reading only");
	fails(open(".", O_RDWR | O_CREAT | O_TMPFILE, 0600), EINVAL, "with O_CREAT");
	fails(open("none", O_RDWR | O_TMPFILE, 0600), ENOENT, "in nothing");
	make("f", "");
	fails(open("f", O_RDWR | O_TMPFILE, 0600), ENOTDIR, "in a file");
	unlink("f");
	mkdir("d", 0755);
	fd = open("d", O_RDWR | O_TMPFILE, 0600);
	is(rmdir("d"), 0, "its directory counts as empty");
	is(write(fd, "x", 1), 1, "and the file lives on");
	close(fd);
}

static int tmpfile_as_user(void)
{
	int bad = setgroups(0, NULL) || setgid(1000) || setuid(1000);

	bad |= !(open("closed", O_RDWR | O_TMPFILE, 0600) == -1 && errno == EACCES) << 1;
	bad |= !(open("closed/x", O_RDWR | O_CREAT, 0600) == -1 && errno == EACCES) << 2;
	bad |= !(open("closed/f", O_RDWR) == -1 && errno == EACCES) << 3;
	bad |= !(open("closed/f", O_RDONLY | O_TRUNC) == -1 && errno == EACCES) << 4;
	bad |= (open("closed/f", O_RDONLY) < 0) << 5;
	bad |= !(unlink("closed/f") == -1 && errno == EACCES) << 6;
	return bad;
}

static void test_rights(void)
{
	int status;

	if (getuid() != 0) {
		skip("opens of a user", "needs root");
		return;
	}
	mkdir("closed", 0755);
	make("closed/f", "f");
	status = in_child(tmpfile_as_user);
	is(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "in a closed directory");
	unlink("closed/f");
	rmdir("closed");
}

static void test_name_lengths(void)
{
	char name[300];
	bool made = true, gone = true;
	int seen = 0;
	struct dirent *e;
	DIR *dir;

	mkdir("d", 0755);
	for (int i = 1; i <= 255; i++) {
		snprintf(name, sizeof(name), "d/%0*d", i, i % 10);
		made &= close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600)) == 0;
	}
	ok(made, "names of 1 to 255 bytes");
	dir = opendir("d");
	while ((e = readdir(dir)))
		seen += e->d_name[0] != '.';
	is(seen, 255, "readdir shows all");
	rewinddir(dir);
	// Each that was read is removed while the reading goes on.
	seen = 0;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "d/%s", e->d_name);
		gone &= unlink(name) == 0;
		seen++;
	}
	ok(gone, "unlink while reading");
	is(seen, 255, "finds each once");
	closedir(dir);
	is(rmdir("d"), 0, "and nothing stays");
}

static void test_many_names(void)
{
	bool good = true;
	char name[64];

	mkdir("d", 0755);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "d/file-%d", i);
		good &= close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600)) == 0;
	}
	ok(good, "two thousand names");
	for (int i = 0; i < 2000; i += 7) {
		snprintf(name, sizeof(name), "d/file-%d", i);
		good &= exists(name);
		good &= unlink(name) == 0 && !exists(name);
	}
	ok(good, "some go");
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "d/file-%d", i);
		good &= exists(name) == (i % 7 != 0);
		if (i % 7)
			unlink(name);
	}
	ok(good, "the others stay");
	is(rmdir("d"), 0, "all gone");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	chmod(".", 0755);
	test_create();
	test_append();
	test_truncate();
	test_unlinked();
	test_tmpfile();
	test_rights();
	test_name_lengths();
	test_many_names();
	leave_scratch_folder();
	return tap_done();
}
