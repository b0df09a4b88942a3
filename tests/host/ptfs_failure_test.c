// SPDX-License-Identifier: MIT
//
// When something runs out. Every operation is repeated with its first, second, ... allocation of
// space or of memory failing, until it gets through: each failure is an error to the caller, leaves
// the file system as it was, and leaks nothing. And a file system that is really full goes on
// working and can be emptied.
#include "tests/host/ptfs_test.h"

static u8 data[MIB(3)];

struct step {
	const char *name;
	int (*run)(struct rig *r);
};

static int put(struct rig *r, const char *name, u64 bytes, u64 pos)
{
	struct ptfs_inode *ip;
	ssize n;
	int err = ptfs_lookup(r->root, name, strlen(name), &ip);

	if (err)
		return err;
	n = write_at(ip, data, bytes, pos);
	ptfs_iput(ip);
	return n < 0 ? (int)n : n == (ssize)bytes ? 0 : -ENOSPC;
}

static int create(struct rig *r, const char *name, u32 mode, const char *target)
{
	struct ptfs_create_args a = { .mode = mode, .target = target };
	struct ptfs_inode *ip;
	int err = ptfs_create(r->root, name, strlen(name), &a, &ip);

	if (!err)
		ptfs_iput(ip);
	return err;
}

static int with_file(struct rig *r, const char *name, int (*fn)(struct ptfs_inode *ip))
{
	struct ptfs_inode *ip;
	int err = ptfs_lookup(r->root, name, strlen(name), &ip);

	if (err)
		return err;
	err = fn(ip);
	ptfs_iput(ip);
	return err;
}

static int do_create(struct rig *r)
{
	return create(r, "new", PTFS_S_IFREG | 0644, NULL);
}

static int do_mkdir(struct rig *r)
{
	return create(r, "newdir", PTFS_S_IFDIR | 0755, NULL);
}

static int do_symlink(struct rig *r)
{
	static char target[1000];

	memset(target, 't', sizeof(target) - 1);
	return create(r, "link", PTFS_S_IFLNK | 0777, target);
}

static int do_long_name(struct rig *r)
{
	char name[256];

	memset(name, 'n', 255);
	name[255] = 0;
	return create(r, name, PTFS_S_IFREG | 0644, NULL);
}

static int do_first_block(struct rig *r)
{
	return put(r, "small", 100, 0);
}

static int do_ninth_block(struct rig *r)
{
	return put(r, "small", 100, KIB(32));
}

static int do_second_level(struct rig *r)
{
	return put(r, "small", 100, MIB(2));
}

static int do_third_level(struct rig *r)
{
	return put(r, "small", 100, GIB(1));
}

static int do_hole(struct rig *r)
{
	return put(r, "small", 100, MIB(512));
}

static int do_long_write(struct rig *r)
{
	return put(r, "large", MIB(3), 0);
}

static int fault(struct ptfs_inode *ip)
{
	struct ptfs_page page;

	return ptfs_map_page(ip, MIB(8), true, &page);
}

static int do_fault(struct rig *r)
{
	return with_file(r, "sparse", fault);
}

static int preallocate(struct ptfs_inode *ip)
{
	return ptfs_fallocate(ip, KIB(100), MIB(5), false);
}

static int do_fallocate(struct rig *r)
{
	return with_file(r, "empty", preallocate);
}

static int preallocate_beyond(struct ptfs_inode *ip)
{
	return ptfs_fallocate(ip, 0, MIB(3), true);
}

static int do_keep_size(struct rig *r)
{
	return with_file(r, "empty", preallocate_beyond);
}

static int cut(struct ptfs_inode *ip)
{
	return ptfs_truncate(ip, KIB(20));
}

static int do_truncate(struct rig *r)
{
	return with_file(r, "tall", cut);
}

static int do_rename(struct rig *r)
{
	return ptfs_rename(r->root, "tall", 4, r->root, "renamed", 7, 0);
}

static int do_link(struct rig *r)
{
	struct ptfs_inode *ip;
	int err = ptfs_lookup(r->root, "small", 5, &ip);

	if (err)
		return err;
	err = ptfs_link(r->root, "small2", 6, ip);
	ptfs_iput(ip);
	return err;
}

static int do_unlink(struct rig *r)
{
	return rm(r->root, "large");
}

static int do_rmdir(struct rig *r)
{
	return ptfs_rmdir(r->root, "newdir", 6);
}

static const struct step steps[] = {
	{ "create", do_create },
	{ "mkdir", do_mkdir },
	{ "symlink", do_symlink },
	{ "long name", do_long_name },
	{ "first block", do_first_block },
	{ "ninth block", do_ninth_block },
	{ "second level", do_second_level },
	{ "third level", do_third_level },
	{ "hole", do_hole },
	{ "long write", do_long_write },
	{ "fault", do_fault },
	{ "fallocate", do_fallocate },
	{ "keep size", do_keep_size },
	{ "truncate", do_truncate },
	{ "rename", do_rename },
	{ "link", do_link },
	{ "unlink", do_unlink },
	{ "rmdir", do_rmdir },
};

static void populate(struct rig *r)
{
	struct ptfs_inode *ip;

	fill_pattern(data, sizeof(data), 1);
	rig_new(r, MIB(48));
	ptfs_iput(make_file(r->root, "small"));
	ptfs_iput(make_file(r->root, "large"));
	ptfs_iput(make_file(r->root, "empty"));
	ip = make_file(r->root, "sparse");
	assert_int_equal(ptfs_truncate(ip, MIB(16)), 0);
	ptfs_iput(ip);
	ip = make_file(r->root, "tall");
	assert_int_equal(write_at(ip, data, KIB(64), 0), KIB(64));
	ptfs_iput(ip);
}

// The n-th allocation fails, for n = 1, 2, ... `cold`: after a remount, when nothing is in core
// yet.
static void fail_each(void (*fail_at)(u64), int expected, bool cold)
{
	struct rig r;

	populate(&r);
	for (unsigned s = 0; s < ARRAY_SIZE(steps); s++) {
		for (u64 n = 1;; n++) {
			int err;

			if (cold) {
				rig_unmount(&r);
				rig_mount(&r);
			}
			fail_at(n);
			err = steps[s].run(&r);
			fail_at(0);
			if (!err)
				break;
			if (err != expected)
				print_message("%s, failure %llu\n", steps[s].name,
					      (unsigned long long)n);
			assert_int_equal(err, expected);
			assert_true(n < 3000);
		}
		rig_remount(&r, true);
	}
	rig_free(&r);
}

static void no_space(void **state)
{
	(void)state;
	fail_each(host_fail_space_at, -ENOSPC, false);
}

static void no_memory(void **state)
{
	(void)state;
	fail_each(host_fail_memory_at, -ENOMEM, false);
	fail_each(host_fail_memory_at, -ENOMEM, true);
}

static void no_memory_to_mount(void **state)
{
	struct rig r;
	int err;

	(void)state;
	for (unsigned scan = 0; scan < 2; scan++) {
		populate(&r);
		rig_unmount(&r);
		for (u64 n = 1;; n++) {
			host_fail_memory_at(n);
			err = ptfs_mount(&r.image.region, "test", scan ? PTFS_MOUNT_SCAN : 0,
					 &r.fs);
			host_fail_memory_at(0);
			if (!err)
				break;
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(host_allocs_live(), 0);
		}
		assert_int_equal(ptfs_iget(r.fs, PTFS_INO_ROOT, &r.root), 0);
		rig_free(&r);
	}
}

// Fill it to the last block, in three ways; everything else still works; empty it; all is back.
static void really_full(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	struct ptfs_statfs empty, now;
	char name[16];
	u64 pos;

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		ssize n = 0;

		rig_new(&r, MIB(24));
		ptfs_iput(make_file(r.root, "other"));
		ptfs_statfs(r.fs, &empty);
		ip = make_file(r.root, "f");
		for (pos = 0;; pos += (u64)n) {
			n = how == 0   ? write_at(ip, data, KIB(4), pos)
			    : how == 1 ? write_at(ip, data, MIB(3), pos)
				       : ptfs_fallocate(ip, 0, MIB(20), true);
			if (n < 0 || how == 2)
				break;
		}
		assert_int_equal(n, -ENOSPC);
		assert_int_equal(ip->size, pos);
		ptfs_statfs(r.fs, &now);
		if (how < 2)
			assert_true(pos + MIB(2) > empty.blocks_free * KIB(4));
		else
			assert_int_equal(file_blocks(ip), 0);
		// names are META and INODE blocks, which have chunks of their own
		ptfs_iput(make_file(r.root, "more"));
		assert_int_equal(rm(r.root, "more"), 0);
		ptfs_iput(ip);
		rig_remount(&r, how & 1);
		assert_int_equal(rm(r.root, "f"), 0);
		ptfs_statfs(r.fs, &now);
		assert_int_equal(now.blocks_free, empty.blocks_free);
		rig_free(&r);
	}
	rig_new(&r, MIB(16));
	for (unsigned i = 0;; i++) {
		int err;

		snprintf(name, sizeof(name), "%u", i);
		err = make_in(r.root, name, PTFS_S_IFREG, &ip);
		if (err) {
			assert_int_equal(err, -ENOSPC);
			break;
		}
		assert_int_equal(write_at(ip, "x", 1, 0) >= 0 || i > 100, 1);
		ptfs_iput(ip);
	}
	for (unsigned i = 0; !look_err(r.root, (snprintf(name, sizeof(name), "%u", i), name)); i++)
		assert_int_equal(rm(r.root, name), 0);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_space),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(no_memory_to_mount),
		cmocka_unit_test(really_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
