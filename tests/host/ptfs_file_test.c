// SPDX-License-Identifier: MIT
//
// Contents of files: growth and shrinking across 32 KiB, 2 MiB and 1 GiB, holes, truncate both
// ways, fallocate, and what a remount finds.
#include "tests/host/ptfs_test.h"

static u8 buf[MIB(6)], back[MIB(6)];

static void expect(struct ptfs_inode *ip, u64 pos, const u8 *data, u64 bytes)
{
	memset(back, 0xee, bytes);
	assert_int_equal(read_at(ip, back, bytes, pos), bytes);
	assert_memory_equal(back, data, bytes);
}

static void expect_zero(struct ptfs_inode *ip, u64 pos, u64 bytes)
{
	assert_int_equal(read_at(ip, back, bytes, pos), bytes);
	for (u64 i = 0; i < bytes; i++)
		assert_int_equal(back[i], 0);
}

// 32 KiB stay in the direct entries; the ninth block makes a table page; and back.
static void direct_and_table(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	u64 tables;

	(void)state;
	rig_new(&r, MIB(32));
	tables = used(r.fs, PTFS_CHUNK_TABLE);
	ip = make_file(r.root, "f");
	fill_pattern(buf, KIB(40), 1);
	assert_int_equal(write_at(ip, buf, KIB(32), 0), KIB(32));
	assert_int_equal(root_level(ip), 0);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
	assert_int_equal(write_at(ip, buf + KIB(32), 1, KIB(32)), 1);
	assert_int_equal(root_level(ip), PT_PMD);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables + 1);
	expect(ip, 0, buf, KIB(32) + 1);
	assert_int_equal(ptfs_truncate(ip, KIB(32)), 0);
	assert_int_equal(root_level(ip), 0);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
	expect(ip, 0, buf, KIB(32));
	ptfs_iput(ip);
	rig_remount(&r, true);
	ip = look(r.root, "f");
	expect(ip, 0, buf, KIB(32));
	ptfs_iput(ip);
	rig_free(&r);
}

// A hole before the ninth block: the direct entries are copied all the same.
static void sparse_ninth_block(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	fill_pattern(buf, 100, 2);
	assert_int_equal(write_at(ip, buf, 100, KIB(4)), 100);
	assert_int_equal(write_at(ip, buf, 100, KIB(400)), 100);
	expect_zero(ip, 0, KIB(4));
	expect(ip, KIB(4), buf, 100);
	expect_zero(ip, KIB(4) + 100, KIB(396) - 100);
	expect(ip, KIB(400), buf, 100);
	assert_int_equal(file_blocks(ip), 2);
	ptfs_iput(ip);
	rig_free(&r);
}

static const struct {
	u64 pos;
	int level;
} places[] = { { 0, 0 },
	       { KIB(28), 0 },
	       { KIB(32), PT_PMD },
	       { MIB(2) - KIB(4), PT_PMD },
	       { MIB(2), PT_PUD },
	       { GIB(1) - KIB(4), PT_PUD },
	       { GIB(1), PT_PML4 },
	       { PTFS_FILE_MAX - KIB(4), PT_PML4 } };

// A block at each side of every boundary, in rising order, then cut away in falling order. The root
// has the level that the highest block asks for, at each step, and everything comes back.
static void every_boundary(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	u64 data, tables;

	(void)state;
	rig_new(&r, MIB(32));
	data = used(r.fs, PTFS_CHUNK_DATA);
	tables = used(r.fs, PTFS_CHUNK_TABLE);
	ip = make_file(r.root, "f");
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		fill_pattern(buf, KIB(4), i);
		assert_int_equal(write_at(ip, buf, KIB(4), places[i].pos), KIB(4));
		assert_int_equal(root_level(ip), places[i].level);
		assert_int_equal(ip->size, places[i].pos + KIB(4));
		for (unsigned j = 0; j <= i; j++) {
			fill_pattern(buf, KIB(4), j);
			expect(ip, places[j].pos, buf, KIB(4));
		}
		ptfs_iput(ip);
		rig_remount(&r, i % 2);
		ip = look(r.root, "f");
	}
	for (unsigned i = ARRAY_SIZE(places) - 1; i > 0; i--) {
		assert_int_equal(ptfs_truncate(ip, places[i].pos), 0);
		assert_int_equal(root_level(ip), places[i - 1].level);
		for (unsigned j = 0; j < i; j++) {
			fill_pattern(buf, KIB(4), j);
			expect(ip, places[j].pos, buf, KIB(4));
		}
		ptfs_iput(ip);
		rig_remount(&r, i % 2);
		ip = look(r.root, "f");
	}
	assert_int_equal(ptfs_truncate(ip, 0), 0);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), data);
	assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
	ptfs_iput(ip);
	rig_free(&r);
}

// Shrinking a sparse file past a root level whose slot 0 is a hole.
static void shrink_to_nothing_below(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	u64 tables;

	(void)state;
	rig_new(&r, MIB(32));
	tables = used(r.fs, PTFS_CHUNK_TABLE);
	for (unsigned i = 2; i < ARRAY_SIZE(places); i++) {
		ip = make_file(r.root, "f");
		assert_int_equal(write_at(ip, "x", 1, places[i].pos), 1);
		assert_int_equal(root_level(ip), places[i].level);
		assert_int_equal(ptfs_truncate(ip, KIB(4)), 0);
		assert_int_equal(root_level(ip), 0);
		assert_int_equal(used(r.fs, PTFS_CHUNK_TABLE), tables);
		expect_zero(ip, 0, KIB(4));
		assert_int_equal(write_at(ip, "y", 1, 0), 1);
		expect(ip, 0, (const u8 *)"y", 1);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
	}
	rig_free(&r);
}

// Beyond what the root covers there is a hole, not the start of the file again.
static void beyond_root(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	fill_pattern(buf, KIB(64), 3);
	assert_int_equal(write_at(ip, buf, KIB(64), 0), KIB(64));
	assert_int_equal(ptfs_truncate(ip, GIB(3)), 0);
	assert_int_equal(root_level(ip), PT_PMD);
	expect_zero(ip, MIB(2), KIB(64));
	expect_zero(ip, GIB(1), KIB(64));
	expect_zero(ip, GIB(2), KIB(64));
	ptfs_iput(ip);
	rig_free(&r);
}

// Cutting inside a block and growing again shows zeros, also behind a remount.
static void truncate_shows_zeros(void **state)
{
	static const u64 sizes[] = { 1, 100, 4095, 4096, 5000, KIB(32) - 1, KIB(33), MIB(2) + 5 };
	struct rig r;
	struct ptfs_inode *ip;

	(void)state;
	rig_new(&r, MIB(32));
	fill_pattern(buf, MIB(3), 4);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		ip = make_file(r.root, "f");
		assert_int_equal(write_at(ip, buf, MIB(3), 0), MIB(3));
		assert_int_equal(ptfs_truncate(ip, sizes[i]), 0);
		assert_int_equal(ptfs_truncate(ip, MIB(3)), 0);
		expect(ip, 0, buf, sizes[i]);
		expect_zero(ip, sizes[i], MIB(3) - sizes[i]);
		ptfs_iput(ip);
		rig_remount(&r, i % 2);
		ip = look(r.root, "f");
		expect_zero(ip, sizes[i], MIB(3) - sizes[i]);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
	}
	rig_free(&r);
}

// Bytes that a mapping stored behind EOF in the last block vanish when the file grows.
static void bytes_behind_eof(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	struct ptfs_page page;
	u8 *p;

	(void)state;
	rig_new(&r, MIB(32));
	for (unsigned how = 0; how < 3; how++) {
		ip = make_file(r.root, "f");
		assert_int_equal(write_at(ip, "abc", 3, 0), 3);
		assert_int_equal(ptfs_map_page(ip, 0, true, &page), 0);
		p = r.image.map + (page.pa.pa - TEST_BASE);
		memset(p + 3, 0xff, KIB(4) - 3);
		if (how == 0)
			assert_int_equal(ptfs_truncate(ip, KIB(8)), 0);
		else if (how == 1)
			assert_int_equal(write_at(ip, "z", 1, KIB(8) - 1), 1);
		else
			assert_int_equal(ptfs_fallocate(ip, 0, KIB(8), false), 0);
		expect(ip, 0, (const u8 *)"abc", 3);
		expect_zero(ip, 3, KIB(8) - 4);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
	}
	rig_free(&r);
}

// Large requests take whole chunks, as 2 MiB leaves; the root may be such a leaf.
static void huge_leaves(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	struct ptfs_map map;

	(void)state;
	rig_new(&r, MIB(64));
	ip = make_file(r.root, "f");
	fill_pattern(buf, MIB(5), 5);
	assert_int_equal(write_at(ip, buf, MIB(2), 0), MIB(2));
	assert_int_equal(root_level(ip), PT_PMD);
	assert_int_equal(ptfs_map_table(ip, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_ROOT);
	assert_true(map.entry.bits & PTE_PS);
	assert_int_equal(write_at(ip, buf + MIB(2), MIB(3), MIB(2)), MIB(3));
	assert_int_equal(root_level(ip), PT_PUD);
	expect(ip, 0, buf, MIB(5));
	assert_int_equal(file_blocks(ip), MIB(5) / KIB(4));
	ptfs_iput(ip);
	rig_remount(&r, false);
	ip = look(r.root, "f");
	expect(ip, 0, buf, MIB(5));
	assert_int_equal(ptfs_truncate(ip, MIB(1)), 0);
	assert_int_equal(root_level(ip), PT_PMD);
	expect(ip, 0, buf, MIB(1));
	assert_int_equal(ptfs_truncate(ip, MIB(2)), 0);
	expect_zero(ip, MIB(1), MIB(1));
	assert_int_equal(ptfs_truncate(ip, 0), 0);
	assert_int_equal(file_blocks(ip), 0);
	ptfs_iput(ip);
	rig_free(&r);
}

static void fallocate_plain(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;

	(void)state;
	rig_new(&r, MIB(64));
	ip = make_file(r.root, "f");
	fill_pattern(buf, KIB(10), 6);
	assert_int_equal(write_at(ip, buf, KIB(10), MIB(3)), KIB(10));
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(8), false), 0);
	assert_int_equal(ip->size, MIB(8));
	assert_int_equal(file_blocks(ip), MIB(8) / KIB(4));
	expect_zero(ip, 0, MIB(3));
	expect(ip, MIB(3), buf, KIB(10));
	expect_zero(ip, MIB(3) + KIB(10), MIB(4));
	ptfs_iput(ip);
	rig_remount(&r, false);
	ip = look(r.root, "f");
	assert_int_equal(file_blocks(ip), MIB(8) / KIB(4));
	ptfs_iput(ip);
	rig_free(&r);
}

// KEEP_SIZE keeps blocks beyond EOF over a clean remount and over a scan; truncate takes them.
static void fallocate_keep_size(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;

	(void)state;
	rig_new(&r, MIB(64));
	ip = make_file(r.root, "f");
	assert_int_equal(write_at(ip, "x", 1, 0), 1);
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(4), true), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ip->size, 1);
		assert_int_equal(file_blocks(ip), 1 + 511 + 512);
		ptfs_iput(ip);
		rig_remount(&r, i);
		ip = look(r.root, "f");
	}
	assert_true(ip->flags & PTFS_INODE_PREALLOC);
	assert_int_equal(write_at(ip, "y", 1, MIB(1)), 1);
	expect_zero(ip, 1, MIB(1) - 1);
	assert_int_equal(ptfs_truncate(ip, MIB(1) + 1), 0);
	assert_false(ip->flags & PTFS_INODE_PREALLOC);
	assert_int_equal(file_blocks(ip), MIB(1) / KIB(4) + 1);
	ptfs_iput(ip);
	rig_free(&r);
}

static void unaligned_edges(void **state)
{
	static const u64 at[] = { 0, 1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 8191, KIB(32) - 3 };
	static u8 model[KIB(48)];
	struct rig r;
	struct ptfs_inode *ip;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	assert_int_equal(ptfs_truncate(ip, sizeof(model)), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(at); j++) {
			u64 len = at[j] % KIB(12) + 1;

			fill_pattern(model + at[i], len, i * 16 + j);
			assert_int_equal(write_at(ip, model + at[i], len, at[i]), len);
			expect(ip, 0, model, sizeof(model));
		}
	ptfs_iput(ip);
	rig_free(&r);
}

static void limits(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	u64 pos;
	struct ptfs_iter it = host_iter(buf, 10);

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	assert_int_equal(write_at(ip, buf, 10, PTFS_FILE_MAX), -EFBIG);
	assert_int_equal(write_at(ip, buf, 10, PTFS_FILE_MAX - 4), 4);
	assert_int_equal(ip->size, PTFS_FILE_MAX);
	assert_int_equal(ptfs_truncate(ip, PTFS_FILE_MAX + 1), -EFBIG);
	assert_int_equal(ptfs_fallocate(ip, PTFS_FILE_MAX, 1, false), -EFBIG);
	assert_int_equal(ptfs_fallocate(ip, 0, 0, false), -EINVAL);
	assert_int_equal(ptfs_seek(ip, 0, false), PTFS_FILE_MAX - KIB(4));
	assert_int_equal(ptfs_seek(ip, 0, true), 0);
	assert_int_equal(ptfs_truncate(ip, 5), 0);
	assert_int_equal(read_at(ip, buf, 10, 5), 0);
	assert_int_equal(read_at(ip, buf, 10, 4), 1);
	pos = 0;
	fill_pattern(buf, 10, 7);
	assert_int_equal(ptfs_write(ip, &it, &pos, 10, true), 10);
	assert_int_equal(pos, 15);
	// the caller's memory ends early: a short count, then EFAULT
	it = host_iter(buf, 4);
	assert_int_equal(ptfs_write(ip, &it, &pos, 10, false), 4);
	assert_int_equal(ptfs_write(ip, &it, &pos, 10, false), -EFAULT);
	assert_int_equal(ip->size, 19);
	assert_int_equal(read_at(r.root, buf, 10, 0), -EISDIR);
	ptfs_iput(ip);
	rig_free(&r);
}

// The VM layer's view: holes, faults that fill them, subtrees, readiness after a clean mount.
static void mapping(void **state)
{
	struct rig r;
	struct ptfs_inode *ip;
	struct ptfs_page page;
	struct ptfs_map map;

	(void)state;
	rig_new(&r, MIB(64));
	ip = make_file(r.root, "f");
	assert_int_equal(ptfs_truncate(ip, MIB(6) + 1), 0);
	assert_int_equal(ptfs_map_page(ip, MIB(4), false, &page), 0);
	assert_true(page.hole);
	assert_int_equal(ptfs_map_page(ip, MIB(4), true, &page), 0);
	assert_false(page.hole);
	assert_int_equal(ptfs_map_page(ip, MIB(6), false, &page), 0);
	assert_int_equal(ptfs_map_page(ip, MIB(6) + KIB(4), false, &page), -ENXIO);
	assert_int_equal(ptfs_map_table(ip, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_ROOT);
	assert_int_equal(map.level, PT_PUD);
	assert_int_equal(map.entry.bits & ~PTE_ADDR, PTE_P | PTE_W | PTE_U | PTE_A);
	ptfs_iput(ip);
	rig_remount(&r, true);
	ip = look(r.root, "f");
	assert_int_equal(ptfs_map_table(ip, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_NONE);
	assert_int_equal(ptfs_map_subtree(ip, MIB(4), PT_PMD, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_NONE);
	assert_int_equal(ptfs_map_ready(ip, MIB(4), 1, 1), 1);
	assert_int_equal(ptfs_map_ready(ip, MIB(4), 1, 2), 0);
	assert_int_equal(ptfs_map_subtree(ip, MIB(4), PT_PMD, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_ROOT);
	assert_int_equal(map.level, PT_PMD);
	assert_int_equal(ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 100), 0);
	assert_int_equal(ptfs_map_table(ip, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_ROOT);
	assert_int_equal(ptfs_map_subtree(ip, MIB(2), PT_PMD, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_NONE);
	assert_int_equal(ptfs_sync_range(ip, 0, ~0ull), 0);
	ptfs_iput(ip);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(direct_and_table), cmocka_unit_test(sparse_ninth_block),
		cmocka_unit_test(every_boundary),   cmocka_unit_test(shrink_to_nothing_below),
		cmocka_unit_test(beyond_root),      cmocka_unit_test(truncate_shows_zeros),
		cmocka_unit_test(bytes_behind_eof), cmocka_unit_test(huge_leaves),
		cmocka_unit_test(fallocate_plain),  cmocka_unit_test(fallocate_keep_size),
		cmocka_unit_test(unaligned_edges),  cmocka_unit_test(limits),
		cmocka_unit_test(mapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
