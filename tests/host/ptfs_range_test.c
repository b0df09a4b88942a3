// SPDX-License-Identifier: MIT
//
// Ranges of files: punch, zero, collapse, at the edges of blocks, tables and 2 MiB leaves; what is
// left of the tree; failures of space and memory. Names: exchange, and files without one.
#include "tests/host/ptfs_test.h"

static u8 data[MIB(6)], back[MIB(6)], want[MIB(6)];

static struct ptfs_inode *filled(struct rig *r, const char *name, u64 bytes)
{
	struct ptfs_inode *ip = make_file(r->root, name);

	fill_pattern(data, bytes, bytes);
	memcpy(want, data, bytes);
	assert_int_equal(write_at(ip, data, bytes, 0), bytes);
	return ip;
}

static void same_as_wanted(struct ptfs_inode *ip, u64 size)
{
	assert_int_equal(ip->size, size);
	assert_int_equal(read_at(ip, back, sizeof(back), 0), size);
	for (u64 i = 0; i < size; i += KIB(4))
		if (memcmp(back + i, want + i, min(size - i, KIB(4)))) {
			print_message("block %llu differs\n", (unsigned long long)(i / KIB(4)));
			fail();
		}
}

static void punch(struct ptfs_inode *ip, u64 off, u64 len)
{
	assert_int_equal(ptfs_punch(ip, off, len), 0);
	memset(want + off, 0, min(len, sizeof(want) - off));
	same_as_wanted(ip, ip->size);
}

// In direct entries, in a page, across pages; whole blocks go, parts are zeroed.
static void punching(void **state)
{
	static const u64 sizes[] = { KIB(32), KIB(100), MIB(2) + KIB(64), MIB(5) };
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct ptfs_inode *ip = filled(&r, "f", sizes[i]);
		u64 blocks = file_blocks(ip);

		punch(ip, 100, 50);
		punch(ip, KIB(4) - 1, 2);
		assert_int_equal(file_blocks(ip), blocks);
		punch(ip, KIB(4), KIB(8));
		assert_int_equal(file_blocks(ip), blocks - 2);
		punch(ip, KIB(4), KIB(8)); // again
		punch(ip, KIB(16) + 1, KIB(8));
		assert_int_equal(file_blocks(ip), blocks - 3);
		punch(ip, sizes[i] - KIB(5), KIB(3));
		punch(ip, sizes[i] - KIB(4), KIB(100));
		ptfs_iput(ip);
		rig_remount(&r, i % 2);
		ip = look(r.root, "f");
		same_as_wanted(ip, sizes[i]);
		punch(ip, 0, sizes[i]);
		assert_int_equal(file_blocks(ip), 0);
		assert_int_equal(root_level(ip), 0);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
		assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), 1); // the inode table's
	}
	rig_free(&r);
}

// Tables that have become empty go, and so do levels that nobody needs.
static void punching_prunes(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	u64 tables;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	tables = used(r.fs, PTFS_CHUNK_TABLE);
	assert_int_equal(write_at(ip, "a", 1, 0), 1);
	assert_int_equal(write_at(ip, "b", 1, MIB(10)), 1);
	assert_int_equal(write_at(ip, "c", 1, GIB(3)), 1);
	assert_int_equal(write_at(ip, "d", 1, GIB(3) + MIB(2)), 1);
	assert_int_equal(root_level(ip), PT_PML4);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables + 7);
	assert_int_equal(ptfs_punch(ip, GIB(3), KIB(4)), 0);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables + 6);
	assert_int_equal(ptfs_punch(ip, GIB(2), GIB(2)), 0);
	assert_int_equal(root_level(ip), PT_PUD);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables + 3);
	assert_int_equal(ptfs_punch(ip, MIB(10), 1), 0); // zeroes, no more
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables + 3);
	assert_int_equal(ptfs_punch(ip, MIB(10), KIB(4)), 0);
	assert_int_equal(root_level(ip), 0);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
	assert_int_equal(ip->size, GIB(3) + MIB(2) + 1);
	assert_int_equal(read_at(ip, back, 10, 0), 10);
	assert_int_equal(back[0], 'a');
	// The root word covers more than there is, and 512 GiB are the end.
	assert_int_equal(ptfs_punch(ip, GIB(500), GIB(12)), 0);
	assert_int_equal(ptfs_punch(ip, GIB(500), GIB(13)), -EFBIG);
	assert_int_equal(ptfs_punch(ip, 0, 0), -EINVAL);
	ptfs_iput(ip);
	rig_free(&r);
}

// A 2 MiB leaf loses a part: it is split, and the rest stays what and where it was.
static void splitting(void **state)
{
	struct ptfs_inode *ip;
	struct ptfs_map map;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	for (unsigned root_is_leaf = 0; root_is_leaf < 2; root_is_leaf++) {
		u64 size = root_is_leaf ? MIB(2) : MIB(6);

		ip = make_file(r.root, "f");
		assert_int_equal(ptfs_fallocate(ip, 0, size, false), 0);
		fill_pattern(data, size, 3);
		memcpy(want, data, size);
		assert_int_equal(write_at(ip, data, size, 0), size);
		assert_int_equal(file_blocks(ip), size / KIB(4));
		punch(ip, MIB(2) - KIB(8), KIB(4));
		assert_int_equal(file_blocks(ip), size / KIB(4) - 1);
		assert_int_equal(root_level(ip), root_is_leaf ? PT_PMD : PT_PUD);
		assert_int_equal(ptfs_map_table(ip, &map), 0);
		assert_int_equal(map.kind, PTFS_MAP_ROOT);
		if (!root_is_leaf) {
			punch(ip, MIB(3), MIB(2)); // the end of one, the beginning of another
			assert_int_equal(file_blocks(ip), MIB(4) / KIB(4) - 1);
		}
		ptfs_iput(ip);
		rig_remount(&r, root_is_leaf);
		ip = look(r.root, "f");
		same_as_wanted(ip, size);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
	}
	rig_free(&r);
}

// No table page to be had: the part of the leaf is zeroed where it is.
static void splitting_without_space(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(4), false), 0);
	fill_pattern(data, MIB(4), 3);
	memcpy(want, data, MIB(4));
	assert_int_equal(write_at(ip, data, MIB(4), 0), MIB(4));
	host_fail_space_at(1);
	punch(ip, MIB(1), MIB(2));
	assert_true(host_space_failed());
	host_fail_space_at(0);
	assert_int_equal(file_blocks(ip), 512 + 256); // the second one found its page
	host_fail_memory_at(0);
	punch(ip, MIB(1), MIB(1));
	assert_int_equal(file_blocks(ip), 512);
	ptfs_iput(ip);
	rig_free(&r);
}

static void zeroing(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = filled(&r, "f", KIB(100));
	punch(ip, KIB(8), KIB(8));
	assert_int_equal(ptfs_zero_range(ip, KIB(4) + 1, KIB(20), true), 0);
	memset(want + KIB(4) + 1, 0, KIB(20));
	same_as_wanted(ip, KIB(100));
	assert_int_equal(file_blocks(ip), 25); // the holes are filled
	assert_int_equal(ptfs_zero_range(ip, KIB(98), KIB(20), true), 0);
	memset(want + KIB(98), 0, KIB(20));
	same_as_wanted(ip, KIB(100));
	assert_int_equal(file_blocks(ip), 30);
	assert_int_equal(ptfs_zero_range(ip, KIB(98), KIB(20), false), 0);
	same_as_wanted(ip, KIB(118));
	ptfs_iput(ip);
	rig_remount(&r, false);
	ip = look(r.root, "f");
	same_as_wanted(ip, KIB(118));
	assert_int_equal(file_blocks(ip), 30);
	ptfs_iput(ip);
	rig_free(&r);
}

static void collapse(struct ptfs_inode *ip, u64 off, u64 len)
{
	u64 size = ip->size - len;

	assert_int_equal(ptfs_collapse(ip, off, len), 0);
	memmove(want + off, want + off + len, size - off);
	same_as_wanted(ip, size);
}

static void collapsing(void **state)
{
	static const u64 sizes[] = { KIB(32), KIB(32) + 5, KIB(100), MIB(2) + KIB(64),
				     MIB(5) + 77 };
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(64));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		ip = filled(&r, "f", sizes[i]);
		collapse(ip, KIB(4), KIB(4));
		collapse(ip, 0, KIB(8));
		punch(ip, KIB(8), KIB(8));
		collapse(ip, KIB(12), KIB(4));
		if (sizes[i] > MIB(3)) {
			collapse(ip, KIB(16), MIB(2));
			collapse(ip, MIB(2), KIB(64));
		}
		assert_int_equal(ptfs_collapse(ip, 0, ALIGN_UP(ip->size, KIB(4))), -EINVAL);
		assert_int_equal(ptfs_collapse(ip, 1, KIB(4)), -EINVAL);
		assert_int_equal(ptfs_collapse(ip, 0, KIB(4) + 1), -EINVAL);
		assert_int_equal(ptfs_collapse(ip, 0, 0), -EINVAL);
		ptfs_iput(ip);
		rig_remount(&r, i % 2);
		ip = look(r.root, "f");
		same_as_wanted(ip, ip->size);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
		assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), 0);
	}
	rig_free(&r);
}

// Leaves of 2 MiB: moved by chunks they stay so, moved by less they become small ones; a root word
// that is a leaf; pages before the range serve the new tree.
static void collapsing_leaves(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(64));
	for (unsigned i = 0; i < 4; i++) {
		u64 size = i == 3 ? MIB(2) : MIB(6);

		ip = make_file(r.root, "f");
		assert_int_equal(ptfs_fallocate(ip, 0, size, false), 0);
		fill_pattern(data, size, i);
		memcpy(want, data, size);
		assert_int_equal(write_at(ip, data, size, 0), size);
		if (i == 0) {
			collapse(ip, MIB(2), MIB(2));
			assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), 2);
		} else if (i == 1) {
			collapse(ip, MIB(1), KIB(8));
		} else if (i == 2) {
			collapse(ip, MIB(2), KIB(4));
			collapse(ip, MIB(1), MIB(4));
		} else {
			collapse(ip, KIB(40), KIB(4));
			collapse(ip, 0, MIB(2) - KIB(12));
			assert_int_equal(root_level(ip), 0);
		}
		ptfs_iput(ip);
		rig_remount(&r, i % 2);
		ip = look(r.root, "f");
		same_as_wanted(ip, ip->size);
		assert_int_equal(file_blocks(ip), DIV_ROUND_UP(ip->size, KIB(4)));
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
		assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), 0);
	}
	rig_free(&r);
}

// All blocks were in the range: the direct words, which were stale, mean something again.
static void collapsing_to_nothing(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = filled(&r, "f", KIB(64)); // the direct words of its first blocks are stale now
	assert_int_equal(ptfs_truncate(ip, GIB(2)), 0);
	memset(want, 0, sizeof(want));
	assert_int_equal(ptfs_collapse(ip, 0, KIB(64)), 0);
	assert_int_equal(file_blocks(ip), 0);
	assert_int_equal(root_level(ip), 0);
	assert_int_equal(ip->size, GIB(2) - KIB(64));
	assert_int_equal(read_at(ip, back, KIB(64), 0), KIB(64));
	assert_memory_equal(back, want, KIB(64));
	// A far range of nothing.
	assert_int_equal(write_at(ip, "x", 1, 5), 1);
	assert_int_equal(ptfs_collapse(ip, GIB(1), MIB(1)), 0);
	assert_int_equal(read_at(ip, back, 10, 0), 10);
	assert_int_equal(back[5], 'x');
	ptfs_iput(ip);
	rig_free(&r);
}

// The n-th allocation fails, for each n: the file is as it was, and nothing is lost.
static void collapsing_fails(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	u64 tables;

	(void)state;
	rig_new(&r, MIB(64));
	ip = filled(&r, "f", MIB(5));
	for (unsigned space = 0; space < 2; space++) {
		tables = used(r.fs, PTFS_CHUNK_TABLE);
		for (u64 n = 1;; n++) {
			int err;

			(space ? host_fail_space_at : host_fail_memory_at)(n);
			err = ptfs_collapse(ip, MIB(1), KIB(4));
			(space ? host_fail_space_at : host_fail_memory_at)(0);
			if (!err) {
				assert_true(n > 1);
				memmove(want + MIB(1), want + MIB(1) + KIB(4), ip->size - MIB(1));
				break;
			}
			assert_int_equal(err, space ? -ENOSPC : -ENOMEM);
			assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
			same_as_wanted(ip, ip->size);
		}
		same_as_wanted(ip, MIB(5) - (space + 1) * KIB(4));
	}
	ptfs_iput(ip);
	rig_free(&r);
}

static int swap(struct ptfs_inode *a, const char *name, struct ptfs_inode *b, const char *other)
{
	return ptfs_rename(a, name, strlen(name), b, other, strlen(other), PTFS_RENAME_EXCHANGE);
}

// Found by the fuzzer. A 2 MiB leaf may reach beyond EOF, small blocks may not; a truncate into the
// middle of a leaf keeps it whole when no table page is to be had. A punch or a collapse that then
// took the leaf apart left all its blocks mapped, up to 2 MiB beyond the new end, on an image that
// called itself clean.
static void leaf_beyond_eof(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(64));
	for (unsigned i = 0; i < 4; i++) {
		u64 start = i & 2 ? MIB(2) : 0;

		ip = make_file(r.root, "f");
		assert_int_equal(ptfs_fallocate(ip, 0, start + MIB(2), false), 0);
		host_fail_space_at(1);
		assert_int_equal(ptfs_truncate(ip, start + 3 * KIB(4) + 5), 0);
		assert_true(host_space_failed());
		assert_int_equal(file_blocks(ip), (start + MIB(2)) / KIB(4));
		if (i & 1)
			assert_int_equal(ptfs_collapse(ip, start, KIB(4)), 0);
		else
			assert_int_equal(ptfs_punch(ip, start, KIB(4)), 0);
		assert_int_equal(file_blocks(ip), start / KIB(4) + 3);
		ptfs_iput(ip);
		rig_remount(&r, true);
		assert_int_equal(rm(r.root, "f"), 0);
		assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), 0);
	}
	rig_free(&r);
}

static void exchanging(void **state)
{
	struct ptfs_inode *d, *e, *f, *ip;
	struct rig r;
	u64 ino;

	(void)state;
	rig_new(&r, MIB(32));
	d = make_dir(r.root, "d");
	e = make_dir(d, "e");
	f = make_file(r.root, "f");
	ino = f->ino;
	ptfs_iput(f);
	ptfs_iput(make_file(r.root, "g"));
	assert_int_equal(swap(r.root, "f", r.root, "g"), 0);
	ip = look(r.root, "g");
	assert_int_equal(ip->ino, ino);
	ptfs_iput(ip);
	assert_int_equal(swap(r.root, "f", r.root, "none"), -ENOENT);
	assert_int_equal(swap(r.root, "none", r.root, "f"), -ENOENT);
	assert_int_equal(swap(r.root, "f", r.root, "f"), 0);
	// A file and a directory, over directories: links and parents follow.
	assert_int_equal(r.root->nlink, 3);
	assert_int_equal(d->nlink, 3);
	assert_int_equal(swap(r.root, "g", d, "e"), 0);
	assert_int_equal(r.root->nlink, 4);
	assert_int_equal(d->nlink, 2);
	assert_int_equal(e->parent, r.root->ino);
	ip = look(d, "e");
	assert_int_equal(ip->ino, ino);
	ptfs_iput(ip);
	// In one directory.
	assert_int_equal(swap(r.root, "g", r.root, "f"), 0);
	assert_int_equal(r.root->nlink, 4);
	// Not with what lies inside.
	assert_int_equal(swap(r.root, "d", d, "e"), -EINVAL);
	assert_int_equal(swap(d, "e", r.root, "d"), -EINVAL);
	ptfs_iput(make_dir(e, "x"));
	assert_int_equal(swap(r.root, "d", e, "x"), 0); // two full directories
	ptfs_iput(d);
	ptfs_iput(e);
	rig_remount(&r, false);
	e = look(r.root, "f");
	d = look(e, "x");
	ip = look(d, "e");
	assert_int_equal(ip->ino, ino);
	ptfs_iput(ip);
	ptfs_iput(d);
	ptfs_iput(e);
	rig_free(&r);
}

static void without_a_name(void **state)
{
	const struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0600 };
	struct ptfs_inode *ip, *other;
	struct ptfs_statfs s, before;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ptfs_statfs(r.fs, &before);
	assert_int_equal(ptfs_tmpfile(r.root, &a, true, &ip), 0);
	assert_int_equal(ip->nlink, 0);
	assert_int_equal(write_at(ip, "hello", 5, 0), 5);
	assert_int_equal(ptfs_link(r.root, "named", 5, ip), 0);
	assert_int_equal(ip->nlink, 1);
	assert_int_equal(rm(r.root, "named"), 0);
	assert_int_equal(ptfs_link(r.root, "named", 5, ip), -ENOENT); // only once
	ptfs_iput(ip);
	assert_int_equal(ptfs_tmpfile(r.root, &a, false, &ip), 0);
	assert_int_equal(ptfs_link(r.root, "named", 5, ip), -ENOENT);
	ptfs_iput(ip);
	ptfs_statfs(r.fs, &s);
	assert_int_equal(s.inodes, before.inodes);
	// A crash forgets those without a name, and keeps the other.
	assert_int_equal(ptfs_tmpfile(r.root, &a, true, &ip), 0);
	assert_int_equal(ptfs_tmpfile(r.root, &a, true, &other), 0);
	assert_int_equal(write_at(ip, "hello", 5, 0), 5);
	assert_int_equal(write_at(other, "gone", 4, 0), 4);
	assert_int_equal(ptfs_link(r.root, "kept", 4, ip), 0);
	rig_remount(&r, false);
	ptfs_statfs(r.fs, &s);
	assert_int_equal(s.inodes, before.inodes + 1);
	ip = look(r.root, "kept");
	assert_int_equal(read_at(ip, back, 10, 0), 5);
	assert_memory_equal(back, "hello", 5);
	ptfs_iput(ip);
	assert_int_equal(make_in(r.root, "d", PTFS_S_IFDIR | 0700, &ip), 0);
	assert_int_equal(ptfs_tmpfile(ip, &(struct ptfs_create_args){ .mode = PTFS_S_IFDIR }, true,
				      &other),
			 -EINVAL);
	assert_int_equal(ptfs_rmdir(r.root, "d", 1), 0);
	assert_int_equal(ptfs_tmpfile(ip, &a, true, &other), -ENOENT);
	ptfs_iput(ip);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(punching),          cmocka_unit_test(punching_prunes),
		cmocka_unit_test(splitting),         cmocka_unit_test(splitting_without_space),
		cmocka_unit_test(zeroing),           cmocka_unit_test(collapsing),
		cmocka_unit_test(collapsing_leaves), cmocka_unit_test(collapsing_to_nothing),
		cmocka_unit_test(collapsing_fails),  cmocka_unit_test(exchanging),
		cmocka_unit_test(without_a_name),    cmocka_unit_test(leaf_beyond_eof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
