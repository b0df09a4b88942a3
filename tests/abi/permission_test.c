// SPDX-License-Identifier: MIT
//
// What a user who is not root may do. Runs as root, and becomes user 1000 in children.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/time.h>
#include <utime.h>

#include "tests/abi/tap.h"
#include "tests/abi/user.h"

static int as_other(void)
{
	int bad = become_user();

	bad += may(open("private", O_RDONLY), EACCES, "read a private file");
	bad += may(open("public", O_RDONLY), 0, "read a public file");
	bad += may(open("public", O_RDWR), EACCES, "write a public file");
	bad += may(open("public", O_RDONLY | O_TRUNC), EACCES, "O_TRUNC takes write permission");
	bad += may(open("public", O_RDONLY | O_NOATIME), EPERM, "O_NOATIME is the owner's");
	bad += may(open("new", O_CREAT | O_WRONLY, 0644), EACCES, "create in a closed folder");
	bad += may(open("public", O_CREAT | O_RDONLY, 0644), 0, "O_CREAT of what is there");
	bad += may(mkdir("new", 0755), EACCES, "mkdir in a closed folder");
	bad += may(mkdir("public", 0755), EEXIST, "mkdir of what is there");
	bad += may(unlink("public"), EACCES, "unlink in a closed folder");
	bad += may(unlink("none"), ENOENT, "unlink of nothing in a closed folder");
	bad += may(rename("public", "x"), EACCES, "rename in a closed folder");
	bad += may(access("locked/f", F_OK), EACCES, "search a locked folder");
	bad += may(open("locked", O_RDONLY), EACCES, "list a locked folder");
	bad += may(access("listed/f", F_OK), EACCES, "search a folder that may only be listed");
	bad += may(open("listed", O_RDONLY), 0, "list it");
	bad += may(chdir("listed"), EACCES, "chdir there");
	bad += may(access("searched/f", F_OK), 0, "search a folder that may only be searched");
	bad += may(open("searched", O_RDONLY), EACCES, "list it");
	bad += may(chmod("public", 0777), EPERM, "chmod");
	bad += may(chown("public", 1000, -1), EPERM, "chown");
	bad += may(truncate("public", 0), EACCES, "truncate");
	bad += may(utimes("public", NULL), EACCES, "touch");
	bad += may(utime("public", &(struct utimbuf){ 1, 2 }), EPERM, "set times");
	bad += may(access("public", R_OK), 0, "access, R_OK");
	bad += may(access("public", W_OK), EACCES, "access, W_OK");
	bad += may(access("public", X_OK), EACCES, "access, X_OK");
	bad += may(mknod("shared/dev", S_IFCHR | 0666, 0x103), EPERM, "make a device");
	bad += may(chroot("."), EPERM, "chroot");
	return bad;
}

static int as_sticky(void)
{
	int bad = become_user();

	bad += may(unlink("shared/theirs"), EPERM, "unlink another's file in a sticky folder");
	bad += may(rename("shared/theirs", "shared/x"), EPERM, "rename it");
	bad += may(open("shared/mine", O_CREAT | O_WRONLY, 0644), 0, "make one's own");
	bad += may(rename("shared/mine", "shared/theirs"), EPERM, "replace another's");
	bad += may(rename("shared/mine", "shared/still-mine"), 0, "rename one's own");
	bad += may(unlink("shared/still-mine"), 0, "unlink one's own");
	bad += may(mkdir("shared/d", 0700), 0, "make a folder");
	bad += may(rmdir("shared/d"), 0, "remove it");
	return bad;
}

static int as_owner(void)
{
	int bad = become_user(), fd;
	struct stat st;

	bad += may(open("owned", O_RDONLY), EACCES, "the owner's bits count for the owner");
	bad += may(chmod("owned", 02755), 0, "chmod of one's own");
	stat("owned", &st);
	bad += may((st.st_mode & 07777) == 0755 ? 0 : -1, 0,
		   "set-gid of a foreign group is dropped");
	bad += may(chown("owned", 1000, 1000), 0, "chown to one's own group");
	bad += may(chmod("owned", 06755), 0, "chmod set-uid and set-gid");
	bad += may(chown("owned", 0, -1), EPERM, "give away");
	bad += may(chown("owned", -1, 0), EPERM, "to a foreign group");
	fd = open("owned", O_WRONLY);
	bad += may(fd, 0, "write one's own");
	bad += may((int)write(fd, "x", 1), 0, "write a set-uid file");
	fstat(fd, &st);
	bad += may((st.st_mode & 06000) == 0 ? 0 : -1, 0, "writing drops set-uid and set-gid");
	bad += may(utime("owned", &(struct utimbuf){ 1, 2 }), 0, "set times of one's own");
	return bad;
}

static void test_set_gid_folder(void)
{
	struct stat st;

	mkdir("group", 0755);
	is(chown("group", 0, 555), 0, "a folder of group 555");
	is(chmod("group", 02755), 0, "set-gid");
	close(open("group/f", O_CREAT | O_WRONLY, 0644));
	mkdir("group/d", 0755);
	stat("group/f", &st);
	is(st.st_gid, 555, "a file in it is of that group");
	stat("group/d", &st);
	is(st.st_gid, 555, "a folder too");
	is(st.st_mode & 07777, 02755, "and hands it on");
	unlink("group/f");
	rmdir("group/d");
	rmdir("group");
}

static void test_root(void)
{
	close(open("script", O_CREAT | O_WRONLY, 0644));
	is(access("private", R_OK | W_OK), 0, "root reads and writes all");
	fails(access("script", X_OK), EACCES, "but runs only what somebody may run");
	chmod("script", 0001);
	is(access("script", X_OK), 0, "anybody");
	unlink("script");
}

int main(void)
{
	enter_scratch_folder();
	umask(0);
	if (getuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	chmod(".", 0755);
	close(open("private", O_CREAT | O_WRONLY, 0600));
	close(open("public", O_CREAT | O_WRONLY, 0644));
	close(open("owned", O_CREAT | O_WRONLY, 0077));
	is(chown("owned", 1000, 777), 0, "give a file away");
	mkdir("locked", 0700);
	close(open("locked/f", O_CREAT | O_WRONLY, 0666));
	mkdir("listed", 0744);
	close(open("listed/f", O_CREAT | O_WRONLY, 0666));
	mkdir("searched", 0711);
	close(open("searched/f", O_CREAT | O_WRONLY, 0666));
	mkdir("shared", 01777);
	close(open("shared/theirs", O_CREAT | O_WRONLY, 0666));
	is(in_child(as_other), 0, "as somebody else");
	is(in_child(as_sticky), 0, "in a sticky folder");
	is(in_child(as_owner), 0, "as the owner");
	test_set_gid_folder();
	test_root();
	unlink("locked/f");
	unlink("listed/f");
	unlink("searched/f");
	unlink("shared/theirs");
	rmdir("locked");
	rmdir("listed");
	rmdir("searched");
	rmdir("shared");
	unlink("private");
	unlink("public");
	unlink("owned");
	leave_scratch_folder();
	return tap_done();
}
