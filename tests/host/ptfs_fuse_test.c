// SPDX-License-Identifier: MIT
//
// The operations of ptfs-fuse, called as libfuse calls them, without a mount.
#define _GNU_SOURCE
#include "tests/host/ptfs_test.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "tools/ptfs-fuse/ops.h"

static const struct fuse_operations *op;
static struct rig rig;

static void me(u32 *uid, u32 *gid)
{
	*uid = 1000;
	*gid = 100;
}

static int setup(void **state)
{
	(void)state;
	op = ptfs_fuse_operations();
	rig_new(&rig, MIB(32));
	ptfs_fuse_start(rig.fs, me);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_free(&rig);
	return 0;
}

static struct stat stat_at(const char *path)
{
	struct stat st;

	assert_int_equal(op->getattr(path, &st, NULL), 0);
	return st;
}

static void put(const char *path, const char *text)
{
	struct fuse_file_info fi = { .flags = O_WRONLY };

	assert_int_equal(op->create(path, 0644, &fi), 0);
	assert_int_equal(op->write(NULL, text, strlen(text), 0, &fi), strlen(text));
	assert_int_equal(op->release(NULL, &fi), 0);
}

static void expect(const char *path, const char *text)
{
	struct fuse_file_info fi = { .flags = O_RDONLY };
	char buf[100];

	assert_int_equal(op->open(path, &fi), 0);
	assert_int_equal(op->read(NULL, buf, sizeof(buf), 0, &fi), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
	assert_int_equal(op->release(NULL, &fi), 0);
}

static void files(void **state)
{
	struct fuse_file_info fi = { 0 };
	char buf[10];

	(void)state;
	put("/a", "hello");
	expect("/a", "hello");
	assert_int_equal(stat_at("/a").st_uid, 1000);
	assert_int_equal(stat_at("/a").st_size, 5);
	assert_int_equal(op->truncate("/a", 2, NULL), 0);
	expect("/a", "he");
	// an open file outlives its name
	assert_int_equal(op->open("/a", &fi), 0);
	assert_int_equal(op->unlink("/a"), 0);
	assert_int_equal(op->getattr("/a", &(struct stat){ 0 }, NULL), -ENOENT);
	assert_int_equal(op->read(NULL, buf, 10, 0, &fi), 2);
	assert_int_equal(op->fsync(NULL, 0, &fi), 0);
	assert_int_equal(op->release(NULL, &fi), 0);
}

static void names(void **state)
{
	char target[20];

	(void)state;
	assert_int_equal(op->mkdir("/d", 0750), 0);
	assert_int_equal(stat_at("/d").st_mode, S_IFDIR | 0750);
	assert_int_equal(op->mkdir("/d", 0750), -EEXIST);
	put("/d/one", "1");
	put("/d/two", "2");
	assert_int_equal(op->rename("/d/one", "/d/two", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(op->rename("/d/one", "/d/two", RENAME_EXCHANGE), 0);
	expect("/d/one", "2");
	assert_int_equal(op->rename("/d/one", "/three", 0), 0);
	assert_int_equal(op->link("/three", "/d/four"), 0);
	assert_int_equal(stat_at("/three").st_nlink, 2);
	assert_int_equal(op->symlink("d/two", "/s"), 0);
	assert_int_equal(op->readlink("/s", target, sizeof(target)), 0);
	assert_string_equal(target, "d/two");
	assert_int_equal(op->readlink("/s", target, 4), 0);
	assert_string_equal(target, "d/t");
	assert_int_equal(op->mknod("/fifo", S_IFIFO | 0600, 0), 0);
	assert_true(S_ISFIFO(stat_at("/fifo").st_mode));
	assert_int_equal(op->rmdir("/d"), -ENOTEMPTY);
	assert_int_equal(op->unlink("/d"), -EISDIR);
	assert_int_equal(op->unlink("/d/two"), 0);
	assert_int_equal(op->unlink("/d/four"), 0);
	assert_int_equal(op->rmdir("/d"), 0);
	assert_int_equal(op->rmdir("/"), -EBUSY);
}

static void attributes(void **state)
{
	const struct timespec times[2] = { { 5, 6 }, { 0, UTIME_OMIT } };
	struct statvfs before, after;

	(void)state;
	put("/file", "x");
	assert_int_equal(op->chmod("/file", 04711, NULL), 0);
	assert_int_equal(op->chown("/file", 7, (gid_t)-1, NULL), 0);
	assert_int_equal(op->utimens("/file", times, NULL), 0);
	assert_int_equal(stat_at("/file").st_mode, S_IFREG | 04711);
	assert_int_equal(stat_at("/file").st_uid, 7);
	assert_int_equal(stat_at("/file").st_gid, 100);
	assert_int_equal(stat_at("/file").st_atim.tv_nsec, 6);
	assert_true(stat_at("/file").st_mtim.tv_sec > 1000);
	assert_int_equal(op->statfs("/", &before), 0);
	assert_int_equal(op->fallocate("/file", 0, 0, 1 << 20, &(struct fuse_file_info){ 0 }), 0);
	assert_int_equal(op->statfs("/", &after), 0);
	assert_int_equal(before.f_bfree - after.f_bfree, 255);
	assert_int_equal(op->fallocate("/file", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192,
				       1 << 19, &(struct fuse_file_info){ 0 }),
			 0);
	assert_int_equal(op->lseek("/file", 0, SEEK_HOLE, &(struct fuse_file_info){ 0 }), 8192);
	assert_int_equal(op->lseek("/file", 8192, SEEK_DATA, &(struct fuse_file_info){ 0 }),
			 8192 + (1 << 19));
	assert_int_equal(op->unlink("/file"), 0);
}

struct names {
	unsigned n, room;
	off_t last;
};

static int take_name(void *buf, const char *name, const struct stat *st, off_t next,
		     enum fuse_fill_dir_flags flags)
{
	struct names *l = buf;

	(void)flags;
	assert_true(st->st_ino && name[0]);
	if (!l->room)
		return 1;
	l->room--;
	l->n++;
	l->last = next;
	return 0;
}

// In pieces of seven, going on where the last one ended.
static void listing(void **state)
{
	struct fuse_file_info fi = { 0 };
	struct names l = { 0 };
	char path[40];

	(void)state;
	assert_int_equal(op->mkdir("/list", 0755), 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/list/%u", i);
		put(path, "");
	}
	assert_int_equal(op->opendir("/list", &fi), 0);
	do {
		l.room = 7;
		assert_int_equal(op->readdir(NULL, &l, take_name, l.last, &fi, 0), 0);
	} while (!l.room);
	assert_int_equal(l.n, 102);
	assert_int_equal(op->releasedir(NULL, &fi), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files),
		cmocka_unit_test(names),
		cmocka_unit_test(attributes),
		cmocka_unit_test(listing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
