// SPDX-License-Identifier: MIT
//
// System areas that lie (chunk types, snapshot, journal), in every way of mounting: it is refused
// with an errno and a line in the log, or it stands and everything on it can be looked at; a
// read-only mount never writes.
#include "tests/host/ptfs_test.h"

#define BYTES    MIB(16)
#define CHUNKS   (BYTES / PTFS_CHUNK)
#define MAP      (17 * KIB(4)) // where the areas of so small an image begin
#define SNAPSHOT (18 * KIB(4))
#define CPUS     3u

static const unsigned ways[] = {
	0,
	PTFS_MOUNT_SCAN,
	PTFS_MOUNT_VERIFY,
	PTFS_MOUNT_RDONLY,
	PTFS_MOUNT_RDONLY | PTFS_MOUNT_VERIFY,
	PTFS_MOUNT_RDONLY | PTFS_MOUNT_NORECOVERY,
	PTFS_MOUNT_RDONLY | PTFS_MOUNT_NORECOVERY | PTFS_MOUNT_SCAN,
};

static void sample(struct rig *r)
{
	struct ptfs_create_args a = { .mode = PTFS_S_IFLNK | 0777 };
	static char target[200];
	struct ptfs_inode *ip;

	rig_new(r, BYTES);
	memset(target, 't', sizeof(target) - 1);
	a.target = target;
	assert_int_equal(ptfs_create(r->root, "link", 4, &a, &ip), 0); // a block of its own
	ptfs_iput(ip);
	ip = make_file(r->root, "small");
	assert_int_equal(write_at(ip, "x", 1, KIB(5)), 1);
	ptfs_iput(ip);
	ip = make_file(r->root, "tall");
	assert_int_equal(write_at(ip, "x", 1, KIB(50)), 1);
	ptfs_iput(ip);
	ip = make_file(r->root, "huge");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(2), false), 0);
	ptfs_iput(ip);
}

static void look_at_all(struct ptfs_fs *fs)
{
	static u8 data[KIB(64)];

	for (u64 ino = 1; ino < 20; ino++) {
		struct ptfs_inode *ip;
		struct ptfs_attr a;
		struct ptfs_map map;
		ssize n;

		if (ptfs_iget(fs, ino, &ip))
			continue;
		ptfs_getattr(ip, &a);
		n = ptfs_is(ip, PTFS_S_IFLNK) ? ptfs_readlink(ip, (char *)data, sizeof(data))
					      : read_at(ip, data, sizeof(data), 0);
		(void)n;
		if (ptfs_is(ip, PTFS_S_IFREG) && !ptfs_map_table(ip, &map) &&
		    map.kind == PTFS_MAP_ROOT)
			assert_true(map.entry.bits & PTE_P);
		ptfs_iput(ip);
	}
}

static unsigned mounted, refused;

static void try(const u8 *bytes, unsigned flags, unsigned cpus)
{
	struct host_image im;
	struct heard heard;
	struct ptfs_fs *fs;
	int err;

	host_image_copy(&im, bytes, BYTES, TEST_BASE);
	host_image_activate(&im);
	hear(&heard);
	host_cpus_set(cpus);
	err = ptfs_mount(&im.region, "bad", flags, &fs);
	host_cpus_set(1);
	if (!err) {
		look_at_all(fs);
		assert_int_equal(ptfs_unmount(fs), 0);
		mounted++;
	} else {
		assert_true(err == -EUCLEAN || err == -EROFS);
		assert_true(heard.errors);
		refused++;
	}
	host_log_to(NULL, NULL);
	if (flags & PTFS_MOUNT_RDONLY)
		assert_memory_equal(im.map, bytes, BYTES);
	host_image_close(&im);
}

static void try_all_ways(const u8 *bytes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		try(bytes, ways[i], i % 2 ? CPUS : 1);
}

static void chunk_types(void **state)
{
	static const u8 types[] = { 0, 1, 2, 3, 4, 5, 255 };
	struct rig r;

	(void)state;
	mounted = refused = 0;
	sample(&r);
	for (unsigned clean = 0; clean < 2; clean++) {
		if (clean)
			rig_unmount(&r);
		for (u64 c = 0; c < CHUNKS - 3; c++) {
			u8 was = r.image.map[MAP + c];

			for (unsigned t = 0; t < ARRAY_SIZE(types); t++) {
				r.image.map[MAP + c] = types[t];
				try_all_ways(r.image.map);
			}
			r.image.map[MAP + c] = was;
		}
	}
	assert_true(mounted > 100 && refused > 100);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

// Numbers that nothing checks against the rest: they only hint.
static void snapshot_numbers(void **state)
{
	static const u64 lies[] = { 0, 1, 1ull << 40, ~0ull };
	struct ptfs_snapshot s;
	struct rig r;

	(void)state;
	mounted = refused = 0;
	sample(&r);
	rig_unmount(&r);
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		memcpy(&s, r.image.map + SNAPSHOT, sizeof(s));
		s.inode_hint = LE64(lies[i]);
		s.inodes = LE64(lies[ARRAY_SIZE(lies) - 1 - i]);
		s.crc = LE32(crc32c(0, &s, PTFS_SNAPSHOT_CRC_BYTES));
		memcpy(r.image.map + SNAPSHOT, &s, sizeof(s));
		try_all_ways(r.image.map);
	}
	assert_true(mounted >= ARRAY_SIZE(lies) * (ARRAY_SIZE(ways) - 1));
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

// Open transactions whose records are whole and name any word of inodes and directories.
static void rolled_back_nonsense(void **state)
{
	struct ptfs_undo u = { .txid = LE64(9) };
	u64 seed = 5;
	struct rig r;

	(void)state;
	mounted = refused = 0;
	sample(&r);
	for (unsigned round = 0; round < 20; round++) {
		u8 *bytes = malloc(BYTES);
		u64 head = 9 << PTFS_TX_COUNT_BITS | PTFS_TX_RECORDS;

		memcpy(bytes, r.image.map, BYTES);
		for (unsigned i = 0; i < PTFS_TX_RECORDS; i++) {
			u64 at = rnd(&seed) % 2 ? r.root->media_off : PTFS_CHUNK;

			u.off = LE64(ALIGN_DOWN(at, KIB(4)) + rnd(&seed) % 256 * 8);
			u.old = LE64(rnd(&seed) % 3 ? rnd(&seed) >> rnd(&seed) % 64 : 0);
			u.crc = LE32(crc32c(0, &u, offsetof(struct ptfs_undo, crc)));
			memcpy(bytes + KIB(4) + 64 + i * sizeof(u), &u, sizeof(u));
		}
		memcpy(bytes + KIB(4), &head, 8);
		try_all_ways(bytes);
		free(bytes);
	}
	assert_true(mounted > 20 && refused > 10);
	rig_crash(&r);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(chunk_types),
					    cmocka_unit_test(snapshot_numbers),
					    cmocka_unit_test(rolled_back_nonsense) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
