// SPDX-License-Identifier: MIT
//
// Attributes: chmod, chown, utimensat, stat, statfs, access; what changes them by the way; who may.
#define _GNU_SOURCE
#include <grp.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>

#include "tests/abi/ops.h"

static struct stat st;

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static bool equal(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void test_chmod(void)
{
	static const mode_t modes[] = { 0, 0777, 0640, 01755, 02755, 04711, 07777, 0644 };
	struct stat before;
	int fd = open("f", O_RDWR | O_CREAT, 0644), path;

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		chmod("f", modes[i]);
		is(mode_of("f"), (long)modes[i], "chmod");
	}
	is(fchmod(fd, 0600), 0, "fchmod");
	is(mode_of("f"), 0600, "its mode");
	stat("f", &before);
	usleep(20000);
	is(fchmodat(AT_FDCWD, "f", 0666, 0), 0, "fchmodat");
	stat("f", &st);
	ok(later(st.st_ctim, before.st_ctim), "changes ctime");
	ok(equal(st.st_mtim, before.st_mtim), "and not mtime");
	is(st.st_mode & S_IFMT, S_IFREG, "nor the type");
	is(chmod("f", 0170000 | 0600), 0, "type bits in the mode");
	is(mode_of("f"), 0600, "are ignored");
	fails(chmod("none", 0600), ENOENT, "of nothing");
	fails(chmod("f/x", 0600), ENOTDIR, "below a file");
	fails(chmod("", 0600), ENOENT, "of an empty name");
	fails(fchmod(77, 0600), EBADF, "of no descriptor");
	path = open("f", O_PATH);
	fails(syscall(SYS_fchmod, path, 0600), EBADF, "of an O_PATH descriptor");
	close(path);
	mkdir("d", 0755);
	is(chmod("d", 01777), 0, "chmod of a directory");
	is(mode_of("d"), 01777, "its mode");
	symlink("f", "s");
	is(chmod("s", 0604), 0, "chmod follows a link");
	is(mode_of("f"), 0604, "to the file");
	unlink("s");
	rmdir("d");
	close(fd);
	unlink("f");
}

static void test_chown(void)
{
	struct stat before;
	int fd;

	if (getuid() != 0) {
		skip("chown", "needs root");
		return;
	}
	fd = open("f", O_RDWR | O_CREAT, 0644);
	is(chown("f", 12345, 54321), 0, "chown");
	stat("f", &st);
	is(st.st_uid, 12345, "uid");
	is(st.st_gid, 54321, "gid");
	is(chown("f", (uid_t)-1, 7), 0, "the group alone");
	stat("f", &st);
	is(st.st_uid, 12345, "uid stays");
	is(st.st_gid, 7, "gid is new");
	is(fchown(fd, 8, (gid_t)-1), 0, "fchown, the user alone");
	stat("f", &st);
	is(st.st_uid, 8, "uid is new");
	is(st.st_gid, 7, "gid stays");
	is(fchown(fd, 0xfffffffe, 0xfffffffe), 0, "large numbers");
	stat("f", &st);
	is((long)st.st_uid, 0xfffffffel, "come back");
	chmod("f", 06755);
	is(chown("f", 1, 1), 0, "chown of a set-id program");
	is(mode_of("f"), 0755, "takes the bits, even for root");
	chmod("f", 02644);
	is(chown("f", 2, 2), 0, "set-gid without execute");
	is(mode_of("f") & 0777, 0644, "keeps the mode's other bits");
	mkdir("d", 0755);
	chmod("d", 02755);
	is(chown("d", 1, 1), 0, "chown of a set-gid directory");
	is(mode_of("d"), 02755, "keeps the bit");
	stat("f", &before);
	usleep(20000);
	chown("f", 3, 3);
	stat("f", &st);
	ok(later(st.st_ctim, before.st_ctim), "changes ctime");
	symlink("f", "s");
	is(lchown("s", 9, 9), 0, "lchown");
	lstat("s", &st);
	is(st.st_uid, 9, "changes the link");
	stat("f", &st);
	is(st.st_uid, 3, "and not the file");
	is(chown("s", 4, 4), 0, "chown");
	stat("f", &st);
	is(st.st_uid, 4, "follows");
	is(fchownat(AT_FDCWD, "s", 5, 5, AT_SYMLINK_NOFOLLOW), 0, "fchownat, NOFOLLOW");
	lstat("s", &st);
	is(st.st_uid, 5, "the link again");
	is(fchownat(fd, "", 6, 6, AT_EMPTY_PATH), 0, "AT_EMPTY_PATH");
	fstat(fd, &st);
	is(st.st_uid, 6, "the open file");
	fails(fchownat(AT_FDCWD, "f", 1, 1, 0x40), EINVAL, "an unknown flag");
	fails(chown("none", 1, 1), ENOENT, "of nothing");
	fails(fchown(77, 1, 1), EBADF, "of no descriptor");
	unlink("s");
	rmdir("d");
	close(fd);
	unlink("f");
}

static void test_times(void)
{
	struct timespec t[2] = { { 1000000000, 123456789 }, { 1500000000, 987654321 } };
	struct stat before;
	int fd = open("f", O_RDWR | O_CREAT, 0644);

	is(utimensat(AT_FDCWD, "f", t, 0), 0, "utimensat");
	stat("f", &st);
	ok(equal(st.st_atim, t[0]), "atime to the nanosecond");
	ok(equal(st.st_mtim, t[1]), "mtime to the nanosecond");
	before = st;
	t[0].tv_nsec = UTIME_OMIT;
	t[1] = (struct timespec){ 5, 6 };
	is(utimensat(AT_FDCWD, "f", t, 0), 0, "UTIME_OMIT");
	stat("f", &st);
	ok(equal(st.st_atim, before.st_atim), "leaves atime");
	ok(equal(st.st_mtim, t[1]), "sets mtime");
	t[0].tv_nsec = UTIME_NOW;
	t[1].tv_nsec = UTIME_OMIT;
	is(futimens(fd, t), 0, "UTIME_NOW");
	stat("f", &st);
	ok(later(st.st_atim, before.st_atim), "atime is now");
	is(st.st_mtim.tv_sec, 5, "mtime stays");
	is(futimens(fd, NULL), 0, "NULL");
	stat("f", &st);
	ok(st.st_mtim.tv_sec > 1000000000, "is now, for both");
	t[0].tv_nsec = 1000000000;
	fails(utimensat(AT_FDCWD, "f", t, 0), EINVAL, "a second of nanoseconds");
	t[0] = t[1] = (struct timespec){ 0, UTIME_OMIT };
	is(utimensat(AT_FDCWD, "f", t, 0), 0, "nothing at all");
	t[0] = t[1] = (struct timespec){ 1, 2 };
	fails(utimensat(AT_FDCWD, "none", t, 0), ENOENT, "of nothing");
	fails(utimensat(AT_FDCWD, "f", t, 0x40), EINVAL, "an unknown flag");
	fails(utimensat(77, "f", t, 0), EBADF, "from no descriptor");
	fails(futimens(77, t), EBADF, "of none");
	symlink("f", "s");
	is(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW), 0, "of a link");
	lstat("s", &st);
	is(st.st_mtim.tv_nsec, 2, "changes the link");
	stat("f", &st);
	ok(st.st_mtim.tv_sec > 1, "and not the file");
	unlink("s");
	close(fd);
	unlink("f");
}

// Which call changes which time.
static void test_times_by_the_way(void)
{
	struct stat file, dir, now;
	char byte;
	int fd;

	mkdir("d", 0755);
	fd = open("d/f", O_RDWR | O_CREAT, 0644);
#define MARK() (usleep(20000), fstat(fd, &file), stat("d", &dir))
#define LOOK() (fstat(fd, &st), stat("d", &now))
	MARK();
	write(fd, "x", 1);
	LOOK();
	ok(later(st.st_mtim, file.st_mtim) && later(st.st_ctim, file.st_ctim),
	   "write: mtime, ctime");
	ok(equal(now.st_mtim, dir.st_mtim), "and not the directory's");
	MARK();
	pread(fd, &byte, 1, 0);
	LOOK();
	ok(equal(st.st_mtim, file.st_mtim) && equal(st.st_ctim, file.st_ctim), "read: neither");
	ok(!later(file.st_atim, st.st_atim), "atime does not go back");
	MARK();
	link("d/f", "d/g");
	LOOK();
	ok(later(st.st_ctim, file.st_ctim) && equal(st.st_mtim, file.st_mtim), "link: ctime");
	ok(later(now.st_mtim, dir.st_mtim) && later(now.st_ctim, dir.st_ctim),
	   "the directory: both");
	MARK();
	rename("d/g", "d/h");
	LOOK();
	ok(later(st.st_ctim, file.st_ctim), "rename: ctime");
	ok(later(now.st_mtim, dir.st_mtim), "the directory's mtime");
	MARK();
	unlink("d/h");
	LOOK();
	ok(later(st.st_ctim, file.st_ctim), "unlink: ctime");
	ok(later(now.st_mtim, dir.st_mtim), "the directory's mtime");
	MARK();
	mkdir("d/e", 0755);
	LOOK();
	ok(later(now.st_mtim, dir.st_mtim), "mkdir: the directory's mtime");
	is(links("d"), 3, "and its links");
	MARK();
	rmdir("d/e");
	LOOK();
	ok(later(now.st_mtim, dir.st_mtim), "rmdir: the directory's mtime");
	is(links("d"), 2, "and its links");
	MARK();
	ftruncate(fd, 100);
	LOOK();
	ok(later(st.st_mtim, file.st_mtim), "ftruncate: mtime");
	close(fd);
	unlink("d/f");
	rmdir("d");
}

// ptfs did nothing where the size stays. So `: >stamp`, with which a make notes that something is
// done, noted it the first time only.
static void test_times_where_the_size_stays(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	struct stat before;

	ftruncate(fd, 100);
	fstat(fd, &before);
	usleep(20000);
	ftruncate(fd, 100);
	fstat(fd, &st);
	ok(later(st.st_mtim, before.st_mtim) && later(st.st_ctim, before.st_ctim),
	   "ftruncate to the size that it has: mtime, ctime");
	ftruncate(fd, 0);
	fstat(fd, &before);
	usleep(20000);
	close(open("f", O_WRONLY | O_TRUNC));
	fstat(fd, &st);
	ok(later(st.st_mtim, before.st_mtim) && later(st.st_ctim, before.st_ctim),
	   "O_TRUNC of an empty file: mtime, ctime");
	close(fd);
	unlink("f");
}

// A file whose other name is replaced, and one that loses its last name.
static void test_times_of_losers(void)
{
	struct stat file, dir, now;
	int fd;

	mkdir("d", 0755);
	fd = open("d/f", O_RDWR | O_CREAT, 0644);
	link("d/f", "d/h");
	make("d/i", "");
	MARK();
	rename("d/i", "d/h");
	LOOK();
	ok(later(st.st_ctim, file.st_ctim), "rename over another name of it: ctime");
	is((long)st.st_nlink, 1, "which is gone");
	unlink("d/h");
	MARK();
	unlink("d/f");
	LOOK();
	ok(later(st.st_ctim, file.st_ctim), "the last unlink: ctime");
	ok(later(now.st_mtim, dir.st_mtim), "and the directory's mtime");
	close(fd);
	rmdir("d");
}

static void test_statfs(void)
{
	struct statfs before, after, by_fd;
	struct statvfs v;
	int fd = open("f", O_RDWR | O_CREAT, 0644);

	is(statfs("f", &before), 0, "statfs");
	is(fstatfs(fd, &by_fd), 0, "fstatfs");
	ok(before.f_type == by_fd.f_type && before.f_blocks == by_fd.f_blocks, "say the same");
	is((long)before.f_bsize, 4096, "the size of a block");
	is((long)before.f_namelen, 255, "the longest name");
	ok(before.f_bfree <= before.f_blocks && before.f_bavail <= before.f_bfree, "free blocks");
	is(posix_fallocate(fd, 0, 4 << 20), 0, "4 MiB");
	sync();
	statfs(".", &after);
	if (on_ptfs()) {
		is((long)(before.f_bfree - after.f_bfree), 1024, "are 1024 blocks less");
		ftruncate(fd, 0);
		statfs(".", &after);
		is((long)(before.f_bfree - after.f_bfree), 0, "and come back");
	} else {
		ok(after.f_bfree < before.f_bfree || before.f_blocks == 0, "are less free ones");
	}
	is(statvfs(".", &v), 0, "statvfs");
	is((long)v.f_namemax, 255, "the longest name again");
	fails(statfs("none", &after), ENOENT, "of nothing");
	fails(fstatfs(77, &after), EBADF, "of no descriptor");
	close(fd);
	unlink("f");
}

static void test_stat(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);

	pwrite(fd, "x", 1, 10000);
	is(stat("f", &st), 0, "stat");
	is(st.st_size, 10001, "size");
	is((long)st.st_nlink, 1, "links");
	ok(st.st_blocks >= 8 && st.st_blocks <= 24, "blocks");
	is(st.st_blksize, 4096, "block size");
	fails(stat("none", &st), ENOENT, "of nothing");
	fails(stat("f/", &st), ENOTDIR, "of a file with a slash");
	fails(stat("f/.", &st), ENOTDIR, "and a dot");
	fails(fstat(77, &st), EBADF, "of no descriptor");
	is(fstatat(fd, "", &st, AT_EMPTY_PATH), 0, "AT_EMPTY_PATH");
	is(st.st_size, 10001, "the open file");
	fails(fstatat(AT_FDCWD, "", &st, 0), ENOENT, "an empty name");
	fails(fstatat(fd, "x", &st, 0), ENOTDIR, "from a file");
	mkdir("d", 0755);
	stat("d", &st);
	ok(S_ISDIR(st.st_mode), "a directory");
	is((long)st.st_nlink, 2, "its links");
	is(mknod("p", S_IFIFO | 0600, 0), 0, "a fifo");
	stat("p", &st);
	ok(S_ISFIFO(st.st_mode), "its type");
	if (getuid() == 0) {
		is(mknod("n", S_IFCHR | 0600, makedev(1, 3)), 0, "a device");
		stat("n", &st);
		ok(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3), "its number");
		unlink("n");
	}
	unlink("p");
	rmdir("d");
	close(fd);
	unlink("f");
}

static void test_access(void)
{
	make("f", "");
	is(access("f", F_OK), 0, "F_OK");
	fails(access("none", F_OK), ENOENT, "of nothing");
	fails(access("f/x", F_OK), ENOTDIR, "below a file");
	fails(access("f", 8), EINVAL, "an unknown right");
	is(access("f", R_OK | W_OK), 0, "R_OK and W_OK");
	fails(access("f", X_OK), EACCES, "X_OK of what nobody may run");
	is(access(".", X_OK), 0, "X_OK of a directory");
	fails(faccessat(77, "f", F_OK, 0), EBADF, "from no descriptor");
	unlink("f");
}

static int bits;

static void expect(int n, bool good)
{
	if (good)
		return;
	printf("# as a user: check %d, errno %d\n", n, errno);
	bits = 1;
}

static int as_user(void)
{
	int fd;

	expect(0, !setgroups(0, NULL) && !setgid(1000) && !setuid(1000));
	// The owner.
	expect(1, chmod("mine", 06755) == 0 && mode_of("mine") == 06755);
	fd = open("mine", O_RDWR);
	expect(2, write(fd, "x", 1) == 1 && mode_of("mine") == 0755);
	chmod("mine", 06755);
	expect(3, ftruncate(fd, 0) == 0 && mode_of("mine") == 0755);
	chmod("mine", 06755);
	expect(4, truncate("mine", 10) == 0 && mode_of("mine") == 0755);
	chmod("mine", 06755);
	close(open("mine", O_WRONLY | O_TRUNC));
	expect(5, mode_of("mine") == 0755);
	chmod("mine", 06755);
	expect(6, pwrite(fd, "y", 1, 3) == 1 && mode_of("mine") == 0755);
	chmod("mine", 04755);
	expect(7, chown("mine", (uid_t)-1, 1000) == 0 && mode_of("mine") == 0755);
	expect(8, chown("mine", 0, (gid_t)-1) == -1 && errno == EPERM);
	expect(9, chown("mine", (uid_t)-1, 0) == -1 && errno == EPERM);
	expect(10, chown("mine", 1000, 1000) == 0);
	expect(11, utimensat(AT_FDCWD, "mine", (struct timespec[2]){ { 1, 0 }, { 2, 0 } }, 0) == 0);
	close(fd);
	// Somebody else.
	expect(12, chmod("theirs", 0777) == -1 && errno == EPERM);
	expect(13, chown("theirs", 1000, 1000) == -1 && errno == EPERM);
	expect(14, utimensat(AT_FDCWD, "theirs", NULL, 0) == 0); // may be written by all
	expect(15,
	       utimensat(AT_FDCWD, "theirs", (struct timespec[2]){ { 1, 0 }, { 2, 0 } }, 0) == -1 &&
		       errno == EPERM);
	expect(16, utimensat(AT_FDCWD, "closed", NULL, 0) == -1 && errno == EACCES);
	expect(17, access("closed", R_OK) == -1 && errno == EACCES);
	expect(18, truncate("closed", 0) == -1 && errno == EACCES);
	// A set-gid directory of another group.
	fd = open("group/f", O_CREAT | O_WRONLY, 02775);
	expect(19, fd >= 0 && fstat(fd, &st) == 0 && st.st_gid == 555);
	expect(20, (st.st_mode & 07777) == 0775);
	close(fd);
	expect(21, mkdir("group/d", 0755) == 0 && mode_of("group/d") == 02755);
	expect(22, chmod("group/f", 02775) == 0 && mode_of("group/f") == 0775);
	unlink("group/f");
	rmdir("group/d");
	return bits;
}

static void test_user(void)
{
	int status;

	if (getuid() != 0) {
		skip("as a user", "needs root");
		return;
	}
	umask(0);
	make("mine", "m");
	chown("mine", 1000, 1000);
	make("theirs", "t");
	chmod("theirs", 0666);
	make("closed", "c");
	chmod("closed", 0600);
	mkdir("group", 0777);
	chown("group", 0, 555);
	chmod("group", 02777);
	status = in_child(as_user);
	is(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "what a user may");
	umask(022);
	unlink("mine");
	unlink("theirs");
	unlink("closed");
	rmdir("group");
	// Root's writes leave the bits.
	make("f", "");
	chmod("f", 06755);
	make("f", "text");
	is(mode_of("f"), 06755, "root's writes leave set-id bits");
	unlink("f");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	chmod(".", 0755);
	test_chmod();
	test_chown();
	test_times();
	test_times_by_the_way();
	test_times_where_the_size_stays();
	test_times_of_losers();
	test_statfs();
	test_stat();
	test_access();
	test_user();
	leave_scratch_folder();
	return tap_done();
}
