// SPDX-License-Identifier: MIT
//
// 2 MiB leaves of files that grow in small steps: where whole chunks are free, a large file gets
// them, also on a file system that has aged; what a split took apart grows together again; and what
// the tables of a file cost.
#include "tests/host/ptfs_test.h"

static u8 data[MIB(3)];

static void check_space(struct rig *r)
{
	const char *wrong = ptfs_alloc_verify(r->fs);

	if (wrong)
		print_message("%s\n", wrong);
	assert_null(wrong);
}

static u64 leaves(struct ptfs_inode *ip)
{
	struct ptfs_extent x;
	u64 n = 0;

	for (u64 block = 0; block < ip->size >> PTFS_BLOCK_SHIFT; block += x.blocks) {
		assert_int_equal(ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x), 0);
		n += !x.hole && x.level == PT_PMD;
	}
	return n;
}

static void grow(struct ptfs_inode *ip, u64 bytes, u64 step)
{
	for (u64 pos = 0; pos < bytes; pos += step) {
		u64 n = min(step, bytes - pos);

		fill_pattern(data, n, pos);
		assert_int_equal(write_at(ip, data, n, pos), n);
	}
}

static void expect_grown(struct ptfs_inode *ip, u64 bytes, u64 step)
{
	static u8 back[sizeof(data)];

	for (u64 pos = 0; pos < bytes; pos += step) {
		u64 n = min(step, bytes - pos);

		fill_pattern(data, n, pos);
		assert_int_equal(read_at(ip, back, n, pos), n);
		assert_memory_equal(back, data, n);
	}
}

// All steps, odd ones too. The first 2 MiB may stay small: nobody knew then that the file would be
// large.
static void sequential(void **state)
{
	static const u64 steps[] = { KIB(4), KIB(64), MIB(1), 1000 * 37, KIB(12) };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		struct ptfs_inode *ip;
		struct rig r;

		rig_new(&r, MIB(64));
		ptfs_iput(make_file(r.root, "small"));
		ip = look(r.root, "small");
		assert_int_equal(write_at(ip, "x", 1, 0),
				 1); // the large file begins inside a chunk
		ptfs_iput(ip);
		ip = make_file(r.root, "large");
		grow(ip, MIB(16), steps[i]);
		assert_int_equal(leaves(ip), 7);
		assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE),
				 1 + 2); // the inode table's; PMD, PTE
		expect_grown(ip, MIB(16), steps[i]);
		check_space(&r);
		ptfs_iput(ip);
		rig_remount(&r, i & 1);
		ip = look(r.root, "large");
		assert_int_equal(leaves(ip), 7);
		expect_grown(ip, MIB(16), steps[i]);
		ptfs_iput(ip);
		rig_free(&r);
	}
}

// Two files that grow in turns do not get in each other's way.
static void two_at_once(void **state)
{
	struct ptfs_inode *a, *b;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(64));
	a = make_file(r.root, "a");
	b = make_file(r.root, "b");
	for (u64 pos = 0; pos < MIB(12); pos += KIB(16)) {
		assert_int_equal(write_at(a, data, KIB(16), pos), KIB(16));
		assert_int_equal(write_at(b, data, KIB(16), pos), KIB(16));
	}
	assert_int_equal(leaves(a), 5);
	assert_int_equal(leaves(b), 5);
	ptfs_iput(a);
	ptfs_iput(b);
	rig_free(&r);
}

// Half of the room is small files, and every second of them goes: no chunk that they were in is
// whole any more, and none of the others is broken.
static void aged(void **state)
{
	struct ptfs_inode *ip;
	struct ptfs_statfs s;
	char name[16];
	struct rig r;

	(void)state;
	rig_new(&r, MIB(128));
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		ip = make_file(r.root, name);
		assert_int_equal(write_at(ip, data, KIB(12), 0), KIB(12));
		ptfs_iput(ip);
	}
	for (unsigned i = 0; i < 4000; i += 2) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(rm(r.root, name), 0);
	}
	ptfs_statfs(r.fs, &s);
	assert_true(s.chunks[PTFS_CHUNK_FREE] >= 30);
	// What comes now and is small goes into the holes.
	for (unsigned i = 0; i < 4000; i += 4) {
		snprintf(name, sizeof(name), "t%u", i);
		ip = make_file(r.root, name);
		assert_int_equal(write_at(ip, data, KIB(12), 0), KIB(12));
		ptfs_iput(ip);
	}
	assert_int_equal(s.chunks[PTFS_CHUNK_DATA], ({
				 struct ptfs_statfs t;

				 ptfs_statfs(r.fs, &t);
				 t.chunks[PTFS_CHUNK_DATA];
			 }));
	ip = make_file(r.root, "fallocated");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(20), false), 0);
	assert_int_equal(leaves(ip), 10);
	ptfs_iput(ip);
	ip = make_file(r.root, "written");
	grow(ip, MIB(20), KIB(4));
	assert_int_equal(leaves(ip), 9);
	ptfs_iput(ip);
	check_space(&r);
	rig_free(&r);
}

// A hole in a leaf takes it apart; filled again, by whatever call, it is a leaf as before. The one
// block that is free in that chunk is wanted although the CPU has a chunk with room: once it was
// not to be had, for taking it changes a list.
static void split_and_back(void **state)
{
	static const u64 at[] = { MIB(2), MIB(2) + KIB(40), MIB(4) - KIB(4) };
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "other");
	assert_int_equal(write_at(ip, "x", 1, 0), 1);
	ptfs_iput(ip);
	ip = make_file(r.root, "f");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(6), false), 0);
	grow(ip, MIB(6), KIB(32));
	assert_int_equal(leaves(ip), 3);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(at); i++) {
		u64 pos = at[i / 2], tables = used(r.fs, PTFS_CHUNK_TABLE);

		assert_int_equal(ptfs_punch(ip, pos, KIB(4)), 0);
		assert_int_equal(leaves(ip), 2);
		fill_pattern(data, KIB(4), i);
		if (i & 1)
			assert_int_equal(ptfs_fallocate(ip, pos, KIB(4), false), 0);
		assert_int_equal(write_at(ip, data, KIB(4), pos), KIB(4));
		assert_int_equal(leaves(ip), 3);
		assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
		check_space(&r);
	}
	ptfs_iput(ip);
	rig_remount(&r, false);
	ip = look(r.root, "f");
	assert_int_equal(leaves(ip), 3);
	ptfs_iput(ip);
	rig_free(&r);
}

// The root word itself is the entry that changes.
static void root_leaf(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	grow(ip, MIB(2), KIB(4)); // its blocks are the first of the first DATA chunk
	assert_int_equal(leaves(ip), 1);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), 1);
	expect_grown(ip, MIB(2), KIB(4));
	assert_int_equal(ptfs_truncate(ip, KIB(20) + 5), 0);
	assert_int_equal(file_blocks(ip), 6);
	assert_int_equal(root_level(ip), 0);
	check_space(&r);
	ptfs_iput(ip);
	rig_free(&r);
}

// A file that shrinks gives back what is behind its end, leaf or not.
static void truncate_inside(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(4), false), 0);
	assert_int_equal(write_at(ip, "end", 3, MIB(3)), 3);
	assert_int_equal(ptfs_truncate(ip, MIB(3) + 1), 0);
	assert_int_equal(file_blocks(ip), MIB(3) / KIB(4) + 1);
	assert_int_equal(leaves(ip), 1);
	// No table page to be had: the leaf stays, and shows zeros when the file grows again.
	assert_int_equal(write_at(ip, "tail", 4, MIB(1)), 4);
	host_fail_space_at(1);
	assert_int_equal(ptfs_truncate(ip, MIB(1) + 1), 0);
	assert_true(host_space_failed());
	assert_int_equal(file_blocks(ip), 512);
	assert_int_equal(ptfs_truncate(ip, MIB(2)), 0);
	assert_int_equal(read_at(ip, data, 8, MIB(1)), 8);
	assert_memory_equal(data, "t\0\0\0\0\0\0\0", 8);
	ptfs_iput(ip);
	rig_free(&r);
}

// What 1 GiB costs besides its blocks. Nothing of it is written: fallocate finds zeros.
static void overhead(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	u64 before;

	(void)state;
	rig_new(&r, GIB(1) + MIB(64));
	ip = make_file(r.root, "huge");
	before = used(r.fs, PTFS_CHUNK_TABLE);
	assert_int_equal(ptfs_fallocate(ip, 0, GIB(1), false), 0);
	assert_int_equal(leaves(ip), 512);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE) - before, 1); // 4 KiB: 0.0004 %
	ptfs_iput(ip);
	assert_int_equal(rm(r.root, "huge"), 0);

	ip = make_file(r.root, "small blocks");
	// Second halves first: nothing that could be merged.
	for (u64 pos = 0; pos < GIB(1); pos += MIB(2)) {
		assert_int_equal(ptfs_fallocate(ip, pos + MIB(1), MIB(1), false), 0);
		assert_int_equal(ptfs_fallocate(ip, pos, MIB(1), false), 0);
	}
	assert_int_equal(leaves(ip), 0);
	assert_int_equal(file_blocks(ip), GIB(1) / KIB(4));
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE) - before, 512 + 1); // 2,052 KiB: 0.2 %
	ptfs_iput(ip);
	assert_int_equal(rm(r.root, "small blocks"), 0);
	rig_free(&r);
}

// 16 inodes are a block of the inode table, 64 short names one of the directory, whose own index is
// the one table page.
static void small_file(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	char name[16];
	u64 before[PTFS_CHUNK_TYPES];

	(void)state;
	rig_new(&r, MIB(32));
	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		before[t] = used(r.fs, t);
	for (unsigned i = 0; i < 1600; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ip = make_file(r.root, name);
		assert_int_equal(write_at(ip, data, KIB(4), 0), KIB(4));
		ptfs_iput(ip);
	}
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA) - before[PTFS_CHUNK_DATA], 1600);
	assert_int_equal(used(r.fs, PTFS_CHUNK_INODE) - before[PTFS_CHUNK_INODE], 100);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE) - before[PTFS_CHUNK_TABLE], 1);
	assert_true(used(r.fs, PTFS_CHUNK_META) - before[PTFS_CHUNK_META] <= 26);
	rig_free(&r);
}

// In the region, which begins at a multiple of 1 GiB.
static u64 place_of(struct ptfs_inode *ip, u64 pos)
{
	struct ptfs_extent x;

	assert_int_equal(ptfs_map_extent(ip, pos >> PTFS_BLOCK_SHIFT, 1, &x), 0);
	assert_false(x.hole);
	return x.off;
}

// A GiB of a large file lies in a GiB of physical memory, chunk after chunk, so that a mapping can
// have it as one leaf, also when others take chunks meanwhile. A small file takes no such place,
// and where there is none any chunk will do.
static void aligned_gib(void **state)
{
	struct ptfs_inode *large, *small;
	struct rig r;

	(void)state;
	rig_new(&r, GIB(3));
	assert_true(IS_ALIGNED(r.image.region.base.pa, GIB(1)));
	large = make_file(r.root, "large");
	small = make_file(r.root, "small");
	assert_int_equal(ptfs_truncate(large, GIB(3)), 0);
	for (u64 gib = 0; gib < 3; gib++) {
		u64 at = gib * GIB(1), first;

		assert_int_equal(ptfs_fallocate(large, at, MIB(2), true), 0);
		assert_int_equal(ptfs_fallocate(small, gib * MIB(4), MIB(2), true), 0);
		assert_int_equal(ptfs_fallocate(large, at + MIB(2), MIB(4), true), 0);
		first = place_of(large, at);
		if (gib < 2) {
			assert_int_equal(first, (gib + 1) * GIB(1));
			assert_int_equal(place_of(large, at + MIB(2)), first + MIB(2));
			assert_int_equal(place_of(large, at + MIB(4)), first + MIB(4));
		} else { // there is no third one, for the system area is in the first
			assert_true(first < GIB(1));
		}
		assert_true(place_of(small, gib * MIB(4)) < GIB(1));
	}
	check_space(&r);
	ptfs_iput(large);
	ptfs_iput(small);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequential),  cmocka_unit_test(two_at_once),
		cmocka_unit_test(aged),        cmocka_unit_test(split_and_back),
		cmocka_unit_test(root_leaf),   cmocka_unit_test(truncate_inside),
		cmocka_unit_test(overhead),    cmocka_unit_test(small_file),
		cmocka_unit_test(aligned_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
