// SPDX-License-Identifier: MIT
//
// What the tests of relocation share: places, a file system with files of every shape, moves.
#pragma once

#include "tests/host/ptfs_crash.h"

#define SUPER(field) offsetof(struct ptfs_super, field)

__unused static const u64 places[] = { 0x140000000, 0x143e00000,  0x200000000,  0x7e00000,
				       0x180000000, 0x1fffe00000, 0x1000000000, 0xffff00000000,
				       0x280000000, 0x2c0000000,  0x100000000,  0x140000000 };

static void put(struct ptfs_inode *ip, u64 bytes, u64 pos, u64 seed)
{
	u8 *data = malloc(bytes);

	fill_pattern(data, bytes, seed);
	assert_int_equal(write_at(ip, data, bytes, pos), bytes);
	free(data);
}

static void put_name(struct ptfs_inode *dir, const char *name, u64 bytes, u64 pos, u64 seed)
{
	struct ptfs_inode *ip = look_err(dir, name) ? make_file(dir, name) : look(dir, name);

	put(ip, bytes, pos, seed);
	ptfs_iput(ip);
}

// A file of every shape, and a short symlink whose bytes look like entries.
__unused static void fill(struct ptfs_inode *root)
{
	struct ptfs_create_args link = { .mode = PTFS_S_IFLNK | 0777 };
	struct ptfs_inode *ip, *dir = make_dir(root, "dir");
	char target[200];

	put_name(root, "small", 100, 0, 1);
	put_name(root, "direct", KIB(32), 0, 2);
	put_name(root, "table", KIB(100), KIB(8), 3);
	ip = make_file(root, "huge");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(2), false), 0);
	put(ip, KIB(70), MIB(1) - KIB(30), 4);
	ptfs_iput(ip);
	put_name(root, "sparse", 5000, MIB(2) - 2500, 5);
	put_name(dir, "inner", KIB(40), 0, 6);
	ptfs_iput(dir);
	memset(target, 0x66, sizeof(target) - 1);
	target[sizeof(target) - 1] = 0;
	link.target = target;
	assert_int_equal(ptfs_create(root, "long", 4, &link, &ip), 0);
	ptfs_iput(ip);
	link.target = target + sizeof(target) - 1 - 64;
	assert_int_equal(ptfs_create(root, "short", 5, &link, &ip), 0);
	ptfs_iput(ip);
}

__unused static unsigned tags_used(const struct host_image *im)
{
	unsigned n = 0;
	u64 word;

	for (unsigned t = 0; t < PTFS_TAGS; t++) {
		memcpy(&word, im->map + SUPER(base) + 8 * t, 8);
		n += word != 0;
	}
	return n;
}

__unused static int pass(struct ptfs_fs *fs)
{
	int err;

	do
		err = ptfs_rebase(fs, 1);
	while (err == 1);
	return err;
}

__unused static void move(struct rig *r, u64 base)
{
	r->image.region.base = PHYS(base);
	rig_mount(r);
}
