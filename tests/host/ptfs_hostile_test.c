// SPDX-License-Identifier: MIT
//
// Images that lie. An entry that points at kernel RAM, outside the region, at a table block, at the
// wrong kind of chunk, with reserved bits or an unknown base tag; a table page named at two levels
// or by two files; a block claimed twice and unlinked once; broken inodes, directories,
// superblocks, journals.
// Expected each time: -EUCLEAN for what is broken, one log line that names inode and entry, and
// everything else goes on.
#include "tests/host/ptfs_test.h"

struct bad {
	struct rig r;
	struct heard heard;
};

static void put_word(struct bad *b, u64 off, u64 value)
{
	memcpy(b->r.image.map + off, &value, 8);
}

// "victim" has direct entries, "tall" a PTE page, "huge" 2 MiB leaves below a PMD page, "good" is
// like "tall", and "fine" is left alone. The image is unmounted afterwards.
static void setup(struct bad *b)
{
	static u8 data[KIB(64)];
	struct ptfs_inode *ip;

	rig_new(&b->r, MIB(64));
	fill_pattern(data, sizeof(data), 1);
	ip = make_file(b->r.root, "victim");
	assert_int_equal(write_at(ip, data, KIB(16), 0), KIB(16));
	ptfs_iput(ip);
	ip = make_file(b->r.root, "fine");
	assert_int_equal(write_at(ip, data, KIB(64), 0), KIB(64));
	ptfs_iput(ip);
	ip = make_file(b->r.root, "good");
	assert_int_equal(write_at(ip, data, KIB(64), 0), KIB(64));
	ptfs_iput(ip);
	ip = make_file(b->r.root, "tall");
	assert_int_equal(write_at(ip, data, KIB(64), 0), KIB(64));
	ptfs_iput(ip);
	ip = make_file(b->r.root, "huge");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(6), false), 0);
	ptfs_iput(ip);
	ip = make_dir(b->r.root, "dir");
	ptfs_iput(make_file(ip, "in-dir"));
	ptfs_iput(ip);
}

// Where the entry of `level` for `block` stands.
static u64 slot_of(struct ptfs_inode *ip, u64 block, int level)
{
	struct ptfs_walk w;

	if (!ptfs_walk_init(&w, ip))
		return PTFS_FIELD(ip, direct) + 8 * block;
	assert_int_equal(pt_cursor_descend(&w.c, block << PTFS_BLOCK_SHIFT, level), level);
	return ptfs_walk_slot(&w);
}

static u64 slot_in(struct bad *b, const char *name, u64 block, int level)
{
	struct ptfs_inode *ip = look(b->r.root, name);
	u64 slot = slot_of(ip, block, level);

	ptfs_iput(ip);
	return slot;
}

// The rest works: reads, new files, removal.
static void others_go_on(struct bad *b)
{
	static u8 data[KIB(64)], back[KIB(64)];
	struct ptfs_inode *ip = look(b->r.root, "fine");

	fill_pattern(data, sizeof(data), 1);
	assert_int_equal(read_at(ip, back, KIB(64), 0), KIB(64));
	assert_memory_equal(back, data, KIB(64));
	ptfs_iput(ip);
	ip = make_file(b->r.root, "new");
	assert_int_equal(write_at(ip, data, KIB(64), KIB(4)), KIB(64));
	ptfs_iput(ip);
	assert_int_equal(rm(b->r.root, "new"), 0);
}

static void teardown(struct bad *b)
{
	host_log_to(NULL, NULL);
	host_image_close(&b->r.image);
	assert_int_equal(host_allocs_live(), 0);
}

// Every data call of `name` says EUCLEAN, once in the log; it can be looked at and removed.
static void expect_refused(struct bad *b, const char *name, u64 block, const char *why)
{
	struct ptfs_inode *ip;
	struct ptfs_attr a;
	struct ptfs_page page;
	struct ptfs_map map;
	u8 byte;

	ip = look(b->r.root, name);
	assert_int_equal(read_at(ip, &byte, 1, block * KIB(4)), -EUCLEAN);
	assert_int_equal(read_at(ip, &byte, 1, block * KIB(4)), -EUCLEAN);
	assert_int_equal(write_at(ip, "x", 1, block * KIB(4)), -EUCLEAN);
	assert_int_equal(ptfs_map_page(ip, block * KIB(4), false, &page), -EUCLEAN);
	assert_int_equal(ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 1000), -EUCLEAN);
	if (!ptfs_map_table(ip, &map))
		assert_int_equal(map.kind, PTFS_MAP_NONE);
	ptfs_getattr(ip, &a);
	assert_int_equal(b->heard.errors, 1);
	assert_non_null(strstr(b->heard.last, why));
	assert_non_null(strstr(b->heard.last, "inode"));
	assert_non_null(strstr(b->heard.last, "entry at offset"));
	ptfs_iput(ip);
	others_go_on(b);
	assert_int_equal(rm(b->r.root, name), 0);
	assert_int_equal(look_err(b->r.root, name), -ENOENT);
	others_go_on(b);
}

// Change one word of the unmounted image, mount it, and see it refused.
static void one_word(const char *name, u64 block, int level, u64 and_mask, u64 or_bits,
		     const char *why)
{
	struct bad b;
	u64 slot, word;

	for (unsigned scan = 0; scan < 2; scan++) {
		setup(&b);
		slot = slot_in(&b, name, block, level);
		word = ptfs_word(b.r.fs, slot);
		if (scan)
			rig_crash(&b.r);
		else
			rig_unmount(&b.r);
		put_word(&b, slot, (word & and_mask) | or_bits);
		hear(&b.heard);
		rig_mount(&b.r);
		expect_refused(&b, name, block, why);
		rig_unmount(&b.r);
		teardown(&b);
	}
}

static void kernel_ram(void **state)
{
	(void)state;
	one_word("victim", 1, PT_PTE, ~PTE_ADDR, 0x200000, "outside the region");
	one_word("tall", 9, PT_PTE, ~PTE_ADDR, 0x200000, "outside the region");
	one_word("huge", 512, PT_PMD, ~PTE_ADDR, 0x200000, "outside the region");
	one_word("huge", 0, PT_PUD, ~PTE_ADDR, 0x200000, "outside the region");
}

static void outside(void **state)
{
	(void)state;
	one_word("victim", 0, PT_PTE, ~PTE_ADDR, TEST_BASE + MIB(64), "outside the region");
	one_word("tall", 9, PT_PTE, ~PTE_ADDR, PTE_ADDR, "outside the region");
	one_word("huge", 512, PT_PMD, ~PTE_ADDR, TEST_BASE + GIB(1), "outside the region");
	one_word("tall", 9, PT_PTE, ~PTE_ADDR, TEST_BASE - KIB(4), "outside the region");
}

static void reserved_bits(void **state)
{
	static const unsigned leaf[] = { 3, 4, 7, 8, 9, 10, 11, 55, 58, 59, 62, 63 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(leaf); i++)
		one_word("tall", 9, PT_PTE, ~0ull, BIT(leaf[i]), "reserved or wrong bits");
	one_word("victim", 1, PT_PTE, ~PTE_W, 0, "reserved or wrong bits");
	one_word("tall", 9, PT_PTE, ~PTE_D, 0, "reserved or wrong bits");
	one_word("huge", 512, PT_PMD, ~PTE_PS, 0, "reserved or wrong bits");
	one_word("huge", 512, PT_PMD, ~0ull, KIB(4), "address not aligned");
	one_word("huge", 0, PT_PUD, ~0ull, PTE_PS, "reserved or wrong bits");
	one_word("tall", 0, PT_PMD, ~0ull, 7 << 9, "impossible root level");
	one_word("tall", 0, PT_PMD, ~PTFS_E_LEVEL, 1 << 9, "impossible root level");
}

static void unknown_tag(void **state)
{
	(void)state;
	one_word("tall", 9, PT_PTE, ~PTFS_E_TAG, 5ull << 52, "unknown base tag");
	one_word("victim", 1, PT_PTE, ~PTFS_E_TAG, 0, "unknown base tag");
	one_word("huge", 0, PT_PUD, ~PTFS_E_TAG, 7ull << 52, "unknown base tag");
}

// Offsets of things that a leaf of a file must not name.
static void wrong_chunk(void **state)
{
	(void)state;
	one_word("victim", 1, PT_PTE, ~PTE_ADDR, TEST_BASE, "wrong type");         // superblock
	one_word("tall", 9, PT_PTE, ~PTE_ADDR, TEST_BASE + MIB(2), "wrong type");  // inode table
	one_word("tall", 9, PT_PTE, ~PTE_ADDR, TEST_BASE + MIB(4), "wrong type");  // a table page
	one_word("tall", 9, PT_PTE, ~PTE_ADDR, TEST_BASE + MIB(62), "wrong type"); // free
	one_word("huge", 512, PT_PMD, ~PTE_ADDR, TEST_BASE + MIB(4), "wrong type");
	one_word("huge", 0, PT_PUD, ~PTE_ADDR, TEST_BASE + MIB(2), "wrong type");
}

static void wrong_level_for_size(void **state)
{
	(void)state;
	// A root of level 4 over what is a PMD page: the page's leaves are no tables.
	one_word("huge", 0, PT_PUD, ~PTFS_E_LEVEL, 4 << 9, "reserved or wrong bits");
	// A root of level 2 over what is a PMD page: its 2 MiB leaves are no PTEs.
	one_word("huge", 0, PT_PUD, ~PTFS_E_LEVEL, 2 << 9, "reserved or wrong bits");
}

// Two entries name one thing: whoever comes second is refused, and the first stays whole.
static void named_twice(const char *first, u64 first_block, const char *second, u64 second_block,
			int level)
{
	struct bad b;
	u64 from, to, level_bits;

	for (unsigned scan = 0; scan < 2; scan++) {
		struct ptfs_inode *ip;
		u8 byte;

		setup(&b);
		from = slot_in(&b, first, first_block, level);
		to = slot_in(&b, second, second_block, level);
		level_bits = ptfs_word(b.r.fs, to) & PTFS_E_LEVEL;
		put_word(&b, to, (ptfs_word(b.r.fs, from) & ~PTFS_E_LEVEL) | level_bits);
		if (scan)
			rig_crash(&b.r);
		else
			rig_unmount(&b.r);
		hear(&b.heard);
		rig_mount(&b.r);
		ip = look(b.r.root, first);
		assert_int_equal(read_at(ip, &byte, 1, first_block * KIB(4)), 1);
		ptfs_iput(ip);
		expect_refused(&b, second, second_block, "claimed already");
		// the one that came first has lost nothing when the other one is unlinked
		ip = look(b.r.root, first);
		assert_int_equal(read_at(ip, &byte, 1, first_block * KIB(4)), 1);
		ptfs_iput(ip);
		assert_int_equal(rm(b.r.root, first), 0);
		rig_unmount(&b.r);
		rig_mount(&b.r);
		others_go_on(&b);
		rig_unmount(&b.r);
		teardown(&b);
	}
}

static void two_owners(void **state)
{
	(void)state;
	named_twice("victim", 1, "tall", 9, PT_PTE);
	named_twice("good", 1, "tall", 3, PT_PTE);
}

static void table_of_two_files(void **state)
{
	(void)state;
	named_twice("good", 0, "tall", 0, PT_PMD);
}

// A page that is its own child, and one that is named at two levels.
static void table_at_two_levels(void **state)
{
	struct bad b;
	struct ptfs_inode *ip;
	u64 root, slot;

	(void)state;
	for (unsigned self = 0; self < 2; self++) {
		setup(&b);
		ip = look(b.r.root, "huge");
		root = ptfs_word(b.r.fs, ip->root_off);
		slot = slot_of(ip, 512, PT_PMD);
		ptfs_iput(ip);
		if (!self) {
			ip = look(b.r.root, "tall"); // its PTE page as a PTE page of "huge", too
			root = ptfs_word(b.r.fs, ip->root_off);
			assert_int_equal(read_at(ip, &(u8){ 0 }, 1, 0), 1);
			ptfs_iput(ip);
		}
		rig_unmount(&b.r);
		put_word(&b, slot, root & ~PTFS_E_LEVEL);
		hear(&b.heard);
		rig_mount(&b.r);
		if (!self) {
			ip = look(b.r.root, "tall");
			assert_int_equal(read_at(ip, &(u8){ 0 }, 1, 0), 1);
			ptfs_iput(ip);
		}
		expect_refused(&b, "huge", 512, "claimed already");
		rig_unmount(&b.r);
		teardown(&b);
	}
}

// A 2 MiB leaf over a chunk in which other files have blocks, and one that is only partly
// allocated.
static void huge_over_small(void **state)
{
	struct bad b;
	struct ptfs_inode *ip;
	struct ptfs_extent x;
	u64 slot, word;

	(void)state;
	setup(&b);
	slot = slot_in(&b, "huge", 512, PT_PMD);
	word = ptfs_word(b.r.fs, slot);
	ip = look(b.r.root, "good");
	assert_int_equal(ptfs_map_extent(ip, 0, PTFS_WHOLE_RUN, &x), 0);
	ptfs_iput(ip);
	rig_unmount(&b.r);
	put_word(&b, slot, (word & ~PTE_ADDR) | (TEST_BASE + ALIGN_DOWN(x.off, PTFS_CHUNK)));
	hear(&b.heard);
	rig_mount(&b.r);
	expect_refused(&b, "huge", 512, "not allocated");
	rig_unmount(&b.r);
	teardown(&b);
}

static void broken_inode(void **state)
{
	static const struct {
		u64 field, value;
	} damage[] = {
		{ offsetof(struct ptfs_dinode, magic), 0 },
		{ offsetof(struct ptfs_dinode, ino), 77 },
		{ offsetof(struct ptfs_dinode, generation), 99 },
		{ offsetof(struct ptfs_dinode, size), PTFS_FILE_MAX + 1 },
		{ offsetof(struct ptfs_dinode, flags), 1ull << 40 },
		{ offsetof(struct ptfs_dinode, mode_links), 1ull << 32 | 0150000 },
	};
	struct bad b;
	struct ptfs_inode *ip;
	u64 off;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(damage); i++) {
		setup(&b);
		ip = look(b.r.root, "victim");
		off = ip->media_off;
		ptfs_iput(ip);
		if (i % 2)
			rig_crash(&b.r);
		else
			rig_unmount(&b.r);
		put_word(&b, off + damage[i].field, damage[i].value);
		hear(&b.heard);
		rig_mount(&b.r);
		assert_int_equal(look_err(b.r.root, "victim"), -EUCLEAN);
		assert_int_equal(look_err(b.r.root, "victim"), -EUCLEAN);
		assert_int_equal(b.heard.errors, 1);
		others_go_on(&b);
		rig_unmount(&b.r);
		teardown(&b);
	}
}

static void broken_directory(void **state)
{
	struct bad b;
	struct ptfs_inode *ip;
	struct ptfs_extent x;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		setup(&b);
		ip = look(b.r.root, "dir");
		assert_int_equal(ptfs_map_extent(ip, 0, PTFS_WHOLE_RUN, &x), 0);
		ptfs_iput(ip);
		rig_unmount(&b.r);
		if (i == 0)
			b.r.image.map[x.off + PTFS_DIRENT_NAME] ^= 1; // the name
		else if (i == 1)
			b.r.image.map[x.off + 8 + 4] = 65; // units
		else if (i == 2)
			b.r.image.map[x.off + 8 + 5] = 200; // name bytes
		else
			put_word(&b, x.off, 3999); // a free inode
		hear(&b.heard);
		rig_mount(&b.r);
		ip = look(b.r.root, "dir");
		assert_int_equal(look_err(ip, "in-dir"), -EUCLEAN);
		assert_int_equal(b.heard.errors, 1);
		ptfs_iput(ip);
		others_go_on(&b);
		rig_unmount(&b.r);
		teardown(&b);
	}
}

// A snapshot that lies about free blocks: what was handed out twice is refused, nothing is
// overwritten through a table.
static void lying_snapshot(void **state)
{
	struct bad b;
	struct ptfs_inode *ip;
	struct ptfs_snapshot snap;
	u32 crc = 0;
	u8 byte;

	(void)state;
	setup(&b);
	rig_unmount(&b.r);
	memcpy(&snap, b.r.image.map + KIB(4) * 18, sizeof(snap));
	assert_true(le64(snap.magic) == PTFS_SNAPSHOT_MAGIC);
	for (unsigned c = 0; c < 32; c++) {
		u8 *map = b.r.image.map + KIB(4) * 19 + c * 64;
		u8 type = b.r.image.map[KIB(4) * 17 + c];

		if (type == PTFS_CHUNK_DATA || type == PTFS_CHUNK_TABLE)
			memset(map, 0, 64);
		if (type != PTFS_CHUNK_FREE)
			crc = crc32c(crc, map, 64);
	}
	snap.data_crc = LE32(crc);
	snap.crc = LE32(crc32c(0, &snap, PTFS_SNAPSHOT_CRC_BYTES));
	memcpy(b.r.image.map + KIB(4) * 18, &snap, sizeof(snap));
	hear(&b.heard);
	// The first table page is that of the inode table itself.
	assert_int_equal(ptfs_mount(&b.r.image.region, "test", 0, &b.r.fs), -EUCLEAN);
	assert_int_equal(ptfs_mount(&b.r.image.region, "test", PTFS_MOUNT_SCAN, &b.r.fs), 0);
	assert_int_equal(ptfs_iget(b.r.fs, PTFS_INO_ROOT, &b.r.root), 0);
	ip = look(b.r.root, "tall");
	assert_int_equal(read_at(ip, &byte, 1, 0), 1);
	ptfs_iput(ip);
	rig_unmount(&b.r);
	teardown(&b);
}

// Records of an open transaction that are torn or that name what no transaction changes.
static void journal(void **state)
{
	struct bad b;
	struct ptfs_undo u = { .txid = LE64(77), .old = LE64(0xdead) };
	struct ptfs_inode *ip;
	u64 off;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		setup(&b);
		ip = look(b.r.root, "victim");
		off = PTFS_FIELD(ip, mtime_ns);
		ptfs_iput(ip);
		rig_crash(&b.r);
		u.off = LE64(i == 0   ? off
			     : i == 1 ? 0x100
			     : i == 2 ? TEST_BASE
			     : i == 3 ? off + 1
				      : off);
		u.crc = LE32(crc32c(0, &u, 24) ^ (i == 4));
		memcpy(b.r.image.map + KIB(4) + 64, &u, sizeof(u));
		put_word(&b, KIB(4), 77 << PTFS_TX_COUNT_BITS | 1);
		hear(&b.heard);
		rig_mount(&b.r);
		ip = look(b.r.root, "victim");
		assert_int_equal(ip->mtime_ns == 0xdead, i == 0);
		ptfs_iput(ip);
		others_go_on(&b);
		rig_unmount(&b.r);
		assert_int_equal(b.heard.errors, 0);
		image_check(&b.r.image, 0);
		teardown(&b);
	}
}

static bool ignore_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	(void)ctx;
	(void)name;
	(void)len;
	(void)ino;
	(void)type;
	(void)next;
	return true;
}

// What an unsuspecting user does with the files that can be found.
static void use_everything(struct ptfs_inode *root)
{
	static const char *const names[] = { "victim", "good", "tall", "huge", "fine", "dir" };
	static u8 page[KIB(16)];

	for (unsigned n = 0; n < ARRAY_SIZE(names); n++) {
		struct ptfs_inode *ip, *in;
		struct ptfs_map map;
		struct ptfs_attr a;
		u64 pos = 0;

		if (ptfs_lookup(root, names[n], strlen(names[n]), &ip))
			continue;
		ptfs_getattr(ip, &a);
		(void)!ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 100);
		(void)!ptfs_map_table(ip, &map);
		(void)!read_at(ip, page, sizeof(page), MIB(2) - KIB(8));
		(void)!write_at(ip, page, sizeof(page), KIB(24));
		(void)!ptfs_truncate(ip, KIB(5));
		(void)!ptfs_fallocate(ip, 0, KIB(300), true);
		(void)!ptfs_readdir(ip, &pos, ignore_name, NULL);
		if (!make_in(ip, "made", PTFS_S_IFDIR, &in))
			ptfs_iput(in);
		(void)!ptfs_rename(root, names[n], strlen(names[n]), ip, "inside", 6, 0);
		(void)!ptfs_rename(ip, "in-dir", 6, root, "out", 3, 0);
		ptfs_iput(ip);
		(void)!rm(root, names[n]);
		(void)!ptfs_rmdir(root, names[n], strlen(names[n]));
	}
}

static void ignore_finding(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	(void)what;
	(void)ino;
	(void)a;
	(void)b;
}

// Any bits of what ptfs reads may be anything: mounting ends with an error or works, and so does
// whatever follows. Nothing outside the image is touched, which the sanitizers and the pmem
// functions of the host see to. PTFS_ROUNDS and PTFS_SEED try more of it.
static void random_damage(void **state)
{
	// system area, chunk map, snapshot, directory blocks, inode table, table pages
	static const u64 where[] = { 0, KIB(68), KIB(72), KIB(84), MIB(2), MIB(2), MIB(4), MIB(4) };
	const char *rounds = getenv("PTFS_ROUNDS"), *from = getenv("PTFS_SEED");
	u64 seed = from ? strtoull(from, NULL, 0) : 42;
	u64 n = rounds ? strtoull(rounds, NULL, 0) : 200;
	u8 *saved = malloc(MIB(64));
	struct ptfs_check_result result;
	struct ptfs_inode *root;
	struct bad b;

	(void)state;
	setup(&b);
	rig_unmount(&b.r);
	memcpy(saved, b.r.image.map, MIB(64));
	hear(&b.heard);
	for (u64 i = 0; i < n; i++) {
		u64 area = where[rnd(&seed) % ARRAY_SIZE(where)];
		u64 bytes = rnd(&seed) % 4 ? KIB(1) : KIB(24);

		for (u64 m = rnd(&seed) % 8 + 1; m; m--)
			b.r.image.map[area + rnd(&seed) % bytes] ^= (u8)(1 << rnd(&seed) % 8);
		if (rnd(&seed) % 8 == 0)
			(void)!ptfs_check(&b.r.image.region, ignore_finding, NULL, &result);
		if (!ptfs_mount(&b.r.image.region, "test", rnd(&seed) % 2 ? PTFS_MOUNT_SCAN : 0,
				&b.r.fs)) {
			if (!ptfs_iget(b.r.fs, PTFS_INO_ROOT, &root)) {
				use_everything(root);
				ptfs_iput(root);
			}
			ptfs_abandon(b.r.fs);
		}
		memcpy(b.r.image.map, saved, MIB(12));
	}
	free(saved);
	teardown(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_ram),          cmocka_unit_test(outside),
		cmocka_unit_test(reserved_bits),       cmocka_unit_test(unknown_tag),
		cmocka_unit_test(wrong_chunk),         cmocka_unit_test(wrong_level_for_size),
		cmocka_unit_test(two_owners),          cmocka_unit_test(table_of_two_files),
		cmocka_unit_test(table_at_two_levels), cmocka_unit_test(huge_over_small),
		cmocka_unit_test(broken_inode),        cmocka_unit_test(broken_directory),
		cmocka_unit_test(lying_snapshot),      cmocka_unit_test(journal),
		cmocka_unit_test(random_damage),
	};

	host_log_level(PTFS_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
