// SPDX-License-Identifier: MIT
//
// Mounting: what is refused and what the log says, read-only mounts, clean and unclean images,
// snapshots that do not fit, base tags.
#include "tests/host/ptfs_test.h"

#define SUPER(field) offsetof(struct ptfs_super, field)

static void refused(struct ptfs_region *region, unsigned flags, int err, const char *why)
{
	struct ptfs_fs *fs;
	struct heard heard;

	hear(&heard);
	assert_int_equal(ptfs_mount(region, "pmem0", flags, &fs), err);
	host_log_to(NULL, NULL);
	assert_int_equal(heard.errors, 1);
	assert_non_null(strstr(heard.last, "pmem0"));
	if (!strstr(heard.last, why))
		print_message("%s\n", heard.last);
	assert_non_null(strstr(heard.last, why));
	assert_int_equal(host_allocs_live(), 0);
}

static void mount_ok(struct ptfs_region *region, unsigned flags, struct rig *r)
{
	assert_int_equal(ptfs_mount(region, "pmem0", flags, &r->fs), 0);
	assert_int_equal(ptfs_iget(r->fs, PTFS_INO_ROOT, &r->root), 0);
}

static void bases(void **state)
{
	struct rig r;
	struct ptfs_region region;

	(void)state;
	rig_new(&r, MIB(16));
	rig_unmount(&r);
	region = r.image.region;
	region.base = PHYS((1ull << 52) - MIB(2)); // page tables end there
	refused(&region, 0, -EINVAL, "page tables");
	region.base = PHYS(0x103fe0000);
	refused(&region, 0, -EINVAL, "not a multiple of 2 MiB");
	region = r.image.region;
	region.bytes = MIB(14);
	refused(&region, 0, -EUCLEAN, "smaller than 16 MiB");
	rig_mount(&r);
	rig_free(&r);
}

// One byte of the superblock at a time: refused, or (where nothing depends on it) mounted.
static void superblock(void **state)
{
	struct rig r;
	struct heard heard;

	(void)state;
	rig_new(&r, MIB(16));
	rig_unmount(&r);
	hear(&heard);
	for (unsigned i = 0; i < 256; i++) {
		r.image.map[i] ^= 0x10;
		assert_int_equal(ptfs_mount(&r.image.region, "pmem0", 0, &r.fs), -EUCLEAN);
		r.image.map[i] ^= 0x10;
	}
	host_log_to(NULL, NULL);
	assert_int_equal(heard.errors, 256);
	r.image.map[SUPER(base) + 9] ^= 1; // the current base: its crc does not fit
	refused(&r.image.region, 0, -EUCLEAN, "broken base table");
	r.image.map[SUPER(base) + 9] ^= 1;
	r.image.map[SUPER(base_current)] = 3;
	refused(&r.image.region, 0, -EUCLEAN, "no current base");
	r.image.map[SUPER(base_current)] = 1;
	rig_mount(&r);
	rig_free(&r);
}

static void not_an_image(void **state)
{
	struct host_image im;
	struct ptfs_probe probe;
	struct heard heard;

	(void)state;
	host_image_memory(&im, MIB(16), TEST_BASE);
	refused(&im.region, 0, -EUCLEAN, "no ptfs superblock");
	hear(&heard);
	assert_int_equal(ptfs_probe(&im.region, &probe), -EUCLEAN);
	host_log_to(NULL, NULL);
	assert_int_equal(heard.errors, 1);
	host_image_close(&im);
}

static void probing(void **state)
{
	struct rig r;
	struct ptfs_probe probe;

	(void)state;
	rig_new(&r, MIB(17));
	assert_int_equal(ptfs_probe(&r.image.region, &probe), 0);
	assert_true(probe.clean);
	assert_int_equal(probe.base, TEST_BASE);
	assert_int_equal(probe.bytes, MIB(16)); // whole chunks
	assert_string_equal(probe.label, "test");
	ptfs_iput(make_file(r.root, "f"));
	assert_int_equal(ptfs_probe(&r.image.region, &probe), 0);
	assert_false(probe.clean);
	rig_unmount(&r);
	assert_int_equal(ptfs_probe(&r.image.region, &probe), 0);
	assert_true(probe.clean);
	rig_mount(&r);
	rig_free(&r);
}

static void read_only(void **state)
{
	struct rig r;
	struct ptfs_inode *f, *g;
	struct ptfs_region region;
	struct ptfs_page page;
	u8 *before = malloc(MIB(16));
	u8 byte;

	(void)state;
	rig_new(&r, MIB(16));
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, 0), 4);
	ptfs_iput(f);
	rig_unmount(&r);
	memcpy(before, r.image.map, MIB(16));
	region = r.image.region;
	for (unsigned how = 0; how < 2; how++) {
		region.read_only = how;
		mount_ok(&region, how ? 0 : PTFS_MOUNT_RDONLY, &r);
		assert_true(ptfs_read_only(r.fs));
		f = look(r.root, "f");
		assert_int_equal(read_at(f, &byte, 1, 0), 1);
		assert_int_equal(write_at(f, "x", 1, 0), -EROFS);
		assert_int_equal(ptfs_truncate(f, 0), -EROFS);
		assert_int_equal(ptfs_fallocate(f, 0, 1, false), -EROFS);
		assert_int_equal(ptfs_setattr(f, 0, &(struct ptfs_attr){ 0 }), -EROFS);
		assert_int_equal(ptfs_map_page(f, 0, true, &page), -EROFS);
		assert_int_equal(ptfs_map_page(f, 0, false, &page), 0);
		assert_int_equal(ptfs_link(r.root, "g", 1, f), -EROFS);
		assert_int_equal(make_in(r.root, "g", PTFS_S_IFREG, &g), -EROFS);
		assert_int_equal(rm(r.root, "f"), -EROFS);
		assert_int_equal(ptfs_rename(r.root, "f", 1, r.root, "g", 1, 0), -EROFS);
		ptfs_iput(f);
		rig_unmount(&r);
		assert_memory_equal(before, r.image.map, MIB(16));
	}
	rig_mount(&r);
	f = look(r.root, "f");
	assert_int_equal(write_at(f, "x", 1, 0), 1);
	ptfs_iput(f);
	rig_crash(&r);
	refused(&r.image.region, PTFS_MOUNT_RDONLY, -EROFS, "needs recovery");
	rig_mount(&r);
	rig_free(&r);
	free(before);
}

// A mount that changes nothing leaves every byte as it was, and the image clean.
static void untouched(void **state)
{
	struct rig r;
	u8 *before = malloc(MIB(16));
	struct ptfs_inode *f;
	u8 byte;

	(void)state;
	rig_new(&r, MIB(16));
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, 0), 4);
	ptfs_iput(f);
	rig_unmount(&r);
	memcpy(before, r.image.map, MIB(16));
	rig_mount(&r);
	f = look(r.root, "f");
	assert_int_equal(read_at(f, &byte, 1, 0), 1);
	ptfs_iput(f);
	rig_crash(&r);
	assert_memory_equal(before, r.image.map, MIB(16));
	rig_mount(&r);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), 1);
	rig_free(&r);
	free(before);
}

// A snapshot that does not fit the superblock is ignored: the mount scans.
static void stale_snapshot(void **state)
{
	u64 snapshot = KIB(4) * 18;
	struct rig r;
	struct ptfs_inode *f;
	struct ptfs_statfs before, after;

	(void)state;
	rig_new(&r, MIB(16));
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, 0), 4);
	ptfs_iput(f);
	ptfs_statfs(r.fs, &before);
	for (unsigned i = 0; i < 4; i++) {
		rig_unmount(&r);
		if (i == 0)
			r.image.map[snapshot + 64] ^= 1; // clean
		else if (i == 1)
			r.image.map[snapshot + 24] ^= 1; // the header
		else if (i == 2)
			r.image.map[snapshot + KIB(4) + 10] ^= 1; // a bitmap
		else
			r.image.map[SUPER(generation)] ^= 1;
		rig_mount(&r);
		assert_true(r.fs->dirty); // it has been scanned, and will be made clean
		ptfs_statfs(r.fs, &after);
		assert_memory_equal(&before, &after, sizeof(before));
	}
	rig_free(&r);
}

// Entries of an older base, and entries that were published but never shown to the MMU:
// verification brings them up to date, in place.
static void soft_entries(void **state)
{
	struct rig r;
	struct ptfs_inode *f;
	struct ptfs_map map;
	u64 root_off, table, word, old_base = 0x240000000;
	u8 byte;

	(void)state;
	rig_new(&r, MIB(16));
	f = make_file(r.root, "f");
	for (u64 i = 0; i < 12; i++)
		assert_int_equal(write_at(f, "x", 1, i * KIB(4)), 1);
	root_off = f->root_off;
	table = (ptfs_word(r.fs, root_off) & PTE_ADDR) - TEST_BASE;
	ptfs_iput(f);
	rig_unmount(&r);
	word = ptfs_base_encode(old_base, 5);
	memcpy(r.image.map + SUPER(base) + 5 * 8, &word, 8);
	for (unsigned i = 0; i < 12; i++) {
		memcpy(&word, r.image.map + table + 8 * i, 8);
		if (i % 2)
			word = (word & ~PTFS_E_TAG & ~PTE_ADDR) | 5ull << 52 |
			       ((word & PTE_ADDR) - TEST_BASE + old_base);
		if (i % 3)
			word &= ~PTE_P;
		memcpy(r.image.map + table + 8 * i, &word, 8);
	}
	memcpy(&word, r.image.map + root_off, 8);
	word = (word & ~PTE_P & ~PTFS_E_TAG & ~PTE_ADDR) | 5ull << 52 |
	       ((word & PTE_ADDR) - TEST_BASE + old_base);
	memcpy(r.image.map + root_off, &word, 8);
	// Read-only: read by software, never attached, never changed.
	mount_ok(&r.image.region, PTFS_MOUNT_RDONLY, &r);
	f = look(r.root, "f");
	for (u64 i = 0; i < 12; i++)
		assert_int_equal(read_at(f, &byte, 1, i * KIB(4)), 1);
	assert_int_equal(ptfs_map_ready(f, 0, PTFS_FILE_MAX, 100), 0);
	assert_int_equal(ptfs_map_table(f, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_NONE);
	ptfs_iput(f);
	rig_unmount(&r);
	rig_mount(&r);
	f = look(r.root, "f");
	assert_int_equal(read_at(f, &byte, 1, KIB(4)), 1);
	assert_int_equal(ptfs_map_table(f, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_ROOT);
	for (unsigned i = 0; i < 12; i++) {
		memcpy(&word, r.image.map + table + 8 * i, 8);
		assert_int_equal(word & (PTE_P | PTFS_E_TAG), PTE_P | 1ull << 52);
	}
	ptfs_iput(f);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bases),          cmocka_unit_test(superblock),
		cmocka_unit_test(not_an_image),   cmocka_unit_test(probing),
		cmocka_unit_test(read_only),      cmocka_unit_test(untouched),
		cmocka_unit_test(stale_snapshot), cmocka_unit_test(soft_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
