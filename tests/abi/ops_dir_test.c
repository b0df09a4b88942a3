// SPDX-License-Identifier: MIT
//
// Directories as they are read while names come and go, places in them, types of entries; and names
// that the kernel remembers as absent.
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>

#include "tests/abi/ops.h"

#define MANY 600

struct entry {
	uint64_t ino;
	int64_t next;
	unsigned short bytes;
	unsigned char type;
	char name[];
};

static unsigned type_of(const char *name)
{
	DIR *d = opendir(".");
	struct dirent *e;
	unsigned type = 99;

	while ((e = readdir(d)))
		if (strcmp(e->d_name, name) == 0)
			type = e->d_type;
	closedir(d);
	return type;
}

static void test_types(void)
{
	make("file", "");
	mkdir("dir", 0755);
	symlink("file", "link");
	mkfifo("fifo", 0644);
	link("file", "name2");
	is(type_of("file"), DT_REG, "d_type of a file");
	is(type_of("dir"), DT_DIR, "of a directory");
	is(type_of("link"), DT_LNK, "of a link");
	is(type_of("fifo"), DT_FIFO, "of a FIFO");
	is(type_of("name2"), DT_REG, "of a second name");
	is(rename("fifo", "name2"), 0, "a FIFO over a file");
	is(type_of("name2"), DT_FIFO, "its type comes along");
	if (rename2("file", "dir", RENAME_EXCHANGE_) == 0) {
		is(type_of("file"), DT_DIR, "exchanged: a directory");
		is(type_of("dir"), DT_REG, "and a file");
		rename2("file", "dir", RENAME_EXCHANGE_);
	}
	unlink("file");
	unlink("link");
	unlink("name2");
	rmdir("dir");
}

// telldir at each entry; from there the same entry follows, in any order of going back.
static void test_places(void)
{
	long place[64], wrong = 0, left = 0;
	char *name[64] = { 0 }, path[16];
	struct dirent *e;
	int n = 0;
	DIR *d;

	mkdir("d", 0755);
	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "d/f%d", i);
		make(path, "");
	}
	d = opendir("d");
	for (; n < 63; n++) {
		place[n] = telldir(d);
		e = readdir(d);
		if (!e)
			break;
		name[n] = strdup(e->d_name);
	}
	is(n, 42, "entries with . and ..");
	for (int i = n - 1; i >= 0; i--) {
		seekdir(d, place[i]);
		e = readdir(d);
		wrong += !e || strcmp(e->d_name, name[i]) != 0;
	}
	is(wrong, 0, "seekdir leads to the same entry");
	seekdir(d, place[n]);
	ok(!readdir(d), "or to the end");
	for (int i = 0; i < 20; i++)
		unlinkat(dirfd(d), name[i], 0);
	if (on_ptfs()) { // not promised by POSIX, and not so on every file system of Linux
		seekdir(d, place[30]);
		e = readdir(d);
		ok(e && strcmp(e->d_name, name[30]) == 0, "also after names before it have gone");
	}
	rewinddir(d);
	while ((e = readdir(d)))
		left += e->d_name[0] == 'f';
	for (int i = 0; i < n; i++) {
		left -= unlinkat(dirfd(d), name[i], 0) == 0;
		free(name[i]);
	}
	is(left, 0, "rewinddir: what is left");
	closedir(d);
	is(rmdir("d"), 0, "all of it");
}

static void many_path(char *path, const char *kind, int i)
{
	snprintf(path, 32, "d/%s%d", kind, i);
}

// Reads on with a small buffer, while others of its names are removed and new ones made.
static int read_on(int fd, int round, unsigned char *seen)
{
	char buf[512], path[32];
	long n = syscall(SYS_getdents64, fd, buf, sizeof(buf));
	int i;

	for (long at = 0; at < n; at += ((struct entry *)(void *)(buf + at))->bytes)
		if (sscanf(((struct entry *)(void *)(buf + at))->name, "stay%d", &i) == 1)
			seen[i]++;
	for (i = round * 10; i < round * 10 + 10 && i < MANY; i++) {
		many_path(path, "go", MANY - 1 - i);
		unlink(path);
		many_path(path, "new", i);
		make(path, "");
	}
	return n > 0;
}

static void test_changes_while_read(void)
{
	unsigned char seen[MANY] = { 0 };
	int fd, wrong = 0, rounds = 0;
	char path[32];

	mkdir("d", 0755);
	for (int i = 0; i < MANY; i++) {
		many_path(path, "stay", i);
		make(path, "");
		many_path(path, "go", i);
		make(path, "");
	}
	fd = open("d", O_RDONLY | O_DIRECTORY);
	while (rounds < 2000 && read_on(fd, rounds, seen))
		rounds++;
	close(fd);
	ok(rounds > 10 && rounds < 2000, "a listing of a directory that changes ends");
	for (int i = 0; i < MANY; i++)
		wrong += seen[i] != 1;
	is(wrong, 0, "and shows each name that stayed exactly once");
	for (int i = 0; i < MANY; i++) {
		many_path(path, "stay", i);
		unlink(path);
		many_path(path, "go", i);
		unlink(path);
		many_path(path, "new", i);
		unlink(path);
	}
	is(rmdir("d"), 0, "nothing else is left");
}

// A name that was removed, and that the kernel may remember so, can be used in every way.
static void test_absent(void)
{
	struct stat st;
	ino_t old;

	for (int i = 0; i < 3; i++) {
		make("x", "X");
		old = inode_of("x");
		is(unlink("x"), 0, "unlink");
		fails(stat("x", &st), ENOENT, "it is gone");
		fails(unlink("x"), ENOENT, "twice");
	}
	ok(old != 0, "it had a number");
	is(mkdir("x", 0755), 0, "a directory of that name");
	is(rmdir("x"), 0, "which goes");
	make("y", "Y");
	is(link("y", "x"), 0, "a link of that name");
	is(unlink("x"), 0, "goes");
	ok(says("y", "Y") && links("y") == 1, "and the file stays");
	is(rename("y", "x"), 0, "a file renamed to it");
	ok(says("x", "Y") && !exists("y"), "is there");
	is(symlink("x", "y"), 0, "a link with the old name");
	is(unlink("x"), 0, "its target goes");
	fails(stat("y", &st), ENOENT, "it dangles");
	is(open("y", O_WRONLY | O_CREAT | O_EXCL, 0644), -1, "O_EXCL does not follow it");
	make("y", "through");
	ok(says("x", "through"), "O_CREAT does");
	unlink("x");
	unlink("y");
}

// Inodes in use.
static long inodes(void)
{
	struct statfs s;

	return statfs(".", &s) ? -1 : (long)(s.f_files - s.f_ffree);
}

// A removed directory takes its inode and blocks along, although names were looked up in it that
// were not there, or not any more. The name cache once held it by those names until it was full.
static void test_removed_directory_ends(void)
{
	struct stat st;
	char path[16];
	long before = inodes();

	if (!on_ptfs()) {
		skip("a removed directory ends", "counts inodes of ptfs");
		return;
	}
	mkdir("d", 0755);
	for (int i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "d/f%d", i);
		make(path, "");
		unlink(path);
		snprintf(path, sizeof(path), "d/none%d", i);
		stat(path, &st);
	}
	is(inodes(), before + 1, "removed files end");
	is(rmdir("d"), 0, "rmdir");
	is(inodes(), before, "a removed directory ends");
	mkdir("d", 0755);
	mkdir("e", 0755);
	stat("e/none", &st);
	is(rename("d", "e"), 0, "a directory over one that was looked into");
	is(inodes(), before + 1, "which ends, too");
	rmdir("e");
}

int main(void)
{
	enter_scratch_folder();
	umask(022);
	test_types();
	test_places();
	test_changes_while_read();
	test_absent();
	test_removed_directory_ends();
	leave_scratch_folder();
	return tap_done();
}
