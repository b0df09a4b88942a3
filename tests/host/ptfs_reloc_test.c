// SPDX-License-Identifier: MIT
//
// An image that moves: more addresses than there are tags, with changes between, clean and unclean;
// the pass that frees tags; crash states at every fence of a move, mounted at yet another address, and
// crashes inside that; read-only mounts; what must not be rebased.
#include <pthread.h>

#include "tests/host/ptfs_crash.h"

#define SUPER(field) offsetof(struct ptfs_super, field)
#define WIDE_TABLES  80u // more table pages than the passes take in one hold

static const u64 places[] = { 0x140000000, 0x143e00000,  0x200000000,  0x7e00000,
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
static void fill(struct ptfs_inode *root)
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

static unsigned tags_used(const struct host_image *im)
{
	unsigned n = 0;
	u64 word;

	for (unsigned t = 0; t < PTFS_TAGS; t++) {
		memcpy(&word, im->map + SUPER(base) + 8 * t, 8);
		n += word != 0;
	}
	return n;
}

static int pass(struct ptfs_fs *fs)
{
	int err;

	do
		err = ptfs_rebase(fs, 1);
	while (err == 1);
	return err;
}

static void move(struct rig *r, u64 base)
{
	r->image.region.base = PHYS(base);
	rig_mount(r);
}

// What the MMU would walk to from an entry lies in the region where it is now, to the last level.
static void mmu_walk(struct ptfs_fs *fs, pte_t e, int level)
{
	u64 pa = e.bits & PTE_ADDR, base = fs->region.base.pa;
	u64 table[PT_ENTRIES];

	if (!(e.bits & PTE_P))
		return;
	assert_in_range(pa, base, base + fs->region.bytes - 1);
	if (level == PT_PTE || (e.bits & PTE_PS))
		return;
	memcpy(table, ptfs_at(fs, pa - base, PTFS_BLOCK), sizeof(table));
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		mmu_walk(fs, (pte_t){ table[i] }, level - 1);
}

static void attach(struct ptfs_inode *root, const char *name)
{
	struct ptfs_inode *ip = look(root, name);
	struct ptfs_map map;

	assert_int_equal(ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u), 0);
	assert_int_equal(ptfs_map_table(ip, &map), 0);
	assert_int_not_equal(map.kind, PTFS_MAP_NONE);
	if (map.kind == PTFS_MAP_ROOT)
		mmu_walk(ip->fs, map.entry, map.level);
	for (unsigned i = 0; map.kind == PTFS_MAP_DIRECT && i < PTFS_DIRECT; i++)
		mmu_walk(ip->fs, map.direct[i], PT_PTE);
	ptfs_iput(ip);
}

static void attach_all(struct ptfs_inode *root)
{
	attach(root, "small");
	attach(root, "direct");
	attach(root, "table");
	attach(root, "huge");
	attach(root, "sparse");
}

static void change(struct ptfs_inode *root, u64 seed)
{
	char name[16];
	struct ptfs_inode *ip;

	put_name(root, "direct", 5000, seed * 1000 % KIB(28), seed);
	put_name(root, "table", 9000, seed * 7777 % MIB(1), seed);
	put_name(root, "sparse", 100, (seed % 7) << 21, seed);
	snprintf(name, sizeof(name), "new%llu", (unsigned long long)seed);
	put_name(root, name, KIB(4) * (seed % 12) + 1, 0, seed);
	ip = look(root, "table");
	assert_int_equal(ptfs_truncate(ip, KIB(60) + seed % 5000), 0);
	ptfs_iput(ip);
}

// Contents stay through any number of moves, whether the pass has run in between or not.
static void many_places(void **state)
{
	struct view want, got;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	for (u64 i = 0; i < 3 * ARRAY_SIZE(places); i++) {
		view_fs(NULL, r.fs, &want);
		if (i % 4 == 1)
			rig_crash(&r);
		else
			rig_unmount(&r);
		image_check(&r.image, 0);
		move(&r, places[i % ARRAY_SIZE(places)]);
		if (i % 3)
			attach_all(r.root);
		view_fs(NULL, r.fs, &got);
		assert_true(same(&want, &got));
		attach_all(r.root);
		if (i % 5 == 4) {
			assert_int_equal(pass(r.fs), 0);
			assert_int_equal(tags_used(&r.image), 1);
		}
		if (i % 3 != 2)
			change(r.root, i);
	}
	assert_int_equal(tags_used(&r.image) <= PTFS_TAGS - 1, 1);
	rig_free(&r);
}

// Seven addresses fill the table. The eighth makes room before it is entered; an address that is in
// the table needs none.
static void tags_run_out(void **state)
{
	struct view want, got;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	view_fs(NULL, r.fs, &want);
	for (unsigned i = 0; i < PTFS_TAGS - 2; i++) {
		rig_unmount(&r);
		move(&r, places[i]);
	}
	assert_int_equal(tags_used(&r.image), PTFS_TAGS - 1);
	rig_unmount(&r);
	move(&r, places[2]);
	assert_int_equal(tags_used(&r.image), PTFS_TAGS - 1);
	rig_unmount(&r);
	move(&r, places[PTFS_TAGS]);
	assert_int_equal(tags_used(&r.image), 2);
	view_fs(NULL, r.fs, &got);
	assert_true(same(&want, &got));
	assert_int_equal(pass(r.fs), 0);
	assert_int_equal(tags_used(&r.image), 1);
	assert_false(ptfs_rebase_pending(r.fs));
	rig_free(&r);
}

// The copy of the superblock knows the same bases: whoever repairs from it can read all entries.
static void copy_knows(void **state)
{
	struct rig r;

	(void)state;
	rig_new(&r, MIB(16));
	rig_unmount(&r);
	move(&r, places[3]);
	assert_memory_equal(r.image.map + SUPER(base),
			    r.image.map + r.fs->super_copy_off + SUPER(base), 8 * PTFS_TAGS);
	assert_int_equal(r.image.map[r.fs->super_copy_off + SUPER(base_current)], r.fs->tag);
	rig_free(&r);
}

// ---- Crashes ----

struct moving {
	struct crash_log log;
	struct view want;
	u64 seed;
	unsigned states, inner;
};

static bool take_half(void *ctx, u64 index, const struct crash_word *w)
{
	struct moving *m = ctx;

	(void)index;
	(void)w;
	return rnd(&m->seed) & 1;
}

static bool take_every(void *ctx, u64 index, const struct crash_word *w)
{
	(void)ctx;
	(void)index;
	(void)w;
	return true;
}

// Mounts at a place of its own, looks, lets the pass run.
static void look_at(struct moving *m, struct ptfs_region *region)
{
	struct ptfs_check_result result;
	struct ptfs_fs *fs;
	struct view v;

	region->base = PHYS(places[m->states++ % ARRAY_SIZE(places)]);
	assert_int_equal(ptfs_mount(region, "state", 0, &fs), 0);
	if (m->states & 1) { // else the pass is the first to look
		view_fs(NULL, fs, &v);
		assert_true(same(&v, &m->want));
	}
	assert_int_equal(pass(fs), 0);
	view_fs(NULL, fs, &v);
	assert_true(same(&v, &m->want));
	assert_int_equal(ptfs_unmount(fs), 0);
	assert_int_equal(ptfs_check(region, rig_report, NULL, &result), 0);
	assert_int_equal(result.errors, 0);
}

static void inner_fence(void *ctx, struct crash_log *log)
{
	struct moving *m = ctx;

	if (!log->words)
		return;
	look_at(m, crash_log_state(log, m->states & 1 ? take_half : NULL, m));
	crash_log_back(log);
}

// A second crash: while the state of the first is mounted at another place, and while the pass runs.
static void crash_again(struct moving *m, const struct ptfs_region *region)
{
	struct host_image image;
	struct crash_log log;
	struct ptfs_fs *fs;

	host_image_copy(&image, region->view, region->bytes, places[(m->states + 5) % 10]);
	crash_log_start(&log, &image, inner_fence, m);
	assert_int_equal(ptfs_mount(&image.region, "again", 0, &fs), 0);
	assert_int_equal(pass(fs), 0);
	ptfs_abandon(fs);
	crash_log_stop(&log);
	host_image_close(&image);
}

static void outer_fence(void *ctx, struct crash_log *log)
{
	static bool (*const take[])(void *, u64, const struct crash_word *) = { NULL, take_every,
										take_half };
	struct moving *m = ctx;

	for (unsigned i = 0; log->words && i < ARRAY_SIZE(take); i++) {
		struct ptfs_region *region = crash_log_state(log, take[i], m);

		if (m->inner && i == 2 && log->fences % m->inner == 0) {
			crash_log_pause(log);
			crash_again(m, region);
			crash_log_resume(log);
			host_image_activate(&log->scratch);
		}
		look_at(m, region);
		crash_log_back(log);
	}
}

// A move, the pass and another move under the recorder. `full`: the base table is full before.
static void crash_while_moving(bool full, bool clean, unsigned inner)
{
	struct moving m = { .seed = 99, .inner = inner };
	struct rig r;

	rig_new(&r, MIB(24));
	fill(r.root);
	for (unsigned i = 0; full && i < PTFS_TAGS - 2; i++) {
		rig_unmount(&r);
		move(&r, places[i]);
		put_name(r.root, "table", 1, KIB(4) * i, i);
	}
	view_fs(NULL, r.fs, &m.want);
	if (clean)
		rig_unmount(&r);
	else
		rig_crash(&r);
	r.image.region.base = PHYS(places[8]);
	crash_log_start(&m.log, &r.image, outer_fence, &m);
	rig_mount(&r);
	assert_int_equal(pass(r.fs), 0);
	rig_unmount(&r);
	crash_log_stop(&m.log);
	assert_true(m.states > 20);
	rig_mount(&r);
	rig_free(&r);
}

static void crash_moving(void **state)
{
	(void)state;
	crash_while_moving(false, true, 0);
	crash_while_moving(false, false, 0);
}

static void crash_making_room(void **state)
{
	(void)state;
	crash_while_moving(true, true, 0);
	crash_while_moving(true, false, 0);
}

static void crash_twice(void **state)
{
	(void)state;
	crash_while_moving(false, false, 3);
	crash_while_moving(true, true, 5);
}

// An undo record holds an entry of the old base. It goes back before bases are touched, and means the
// same afterwards.
static void rollback_first(void **state)
{
	struct ptfs_undo u = { .txid = LE64(500) };
	u64 head = 500 << PTFS_TX_COUNT_BITS | 1, off, old, zero = 0;
	struct view want, got;
	struct heard heard;
	struct ptfs_inode *f;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	view_fs(NULL, r.fs, &want);
	f = look(r.root, "table");
	off = f->root_off;
	old = ptfs_word(r.fs, off);
	u.off = LE64(off);
	u.old = LE64(old);
	u.crc = LE32(crc32c(0, &u, 24));
	ptfs_iput(f);
	rig_unmount(&r);
	memcpy(r.image.map + KIB(4) + 64, &u, sizeof(u));
	memcpy(r.image.map + KIB(4), &head, 8);
	memcpy(r.image.map + off, &zero, 8);
	r.image.region.base = PHYS(places[0]);
	hear(&heard);
	assert_int_equal(ptfs_mount(&r.image.region, "pmem0", PTFS_MOUNT_RDONLY, &r.fs), -EROFS);
	host_log_to(NULL, NULL);
	assert_non_null(strstr(heard.last, "a transaction is open"));
	move(&r, places[0]);
	view_fs(NULL, r.fs, &got);
	assert_true(same(&want, &got));
	rig_free(&r);
}

// ---- Read-only ----

static void no_tables(struct ptfs_inode *ip, u64 off)
{
	struct ptfs_page page;
	struct ptfs_map map;
	u64 base = ip->fs->region.base.pa;

	// Story: pages that can never become ready used up the budget of each call, and the kernel's
	// thread called again for ever.
	for (unsigned i = 0; ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 64); i++)
		assert_true(i < 8);
	assert_int_equal(ptfs_map_table(ip, &map), 0);
	assert_int_equal(map.kind, PTFS_MAP_NONE);
	for (int level = PT_PMD; level <= PT_PUD; level++) {
		assert_int_equal(ptfs_map_subtree(ip, off, level, &map), 0);
		assert_int_equal(map.kind, PTFS_MAP_NONE);
	}
	assert_int_equal(ptfs_map_page(ip, off, false, &page), 0);
	assert_false(page.hole);
	assert_in_range(page.pa.pa, base, base + ip->fs->region.bytes - 1);
}

static void read_only(void **state)
{
	u8 *before = malloc(MIB(24));
	struct view want, got;
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	for (u64 i = 0; i < WIDE_TABLES; i++)
		put_name(r.root, "wide", 1, i << PTFS_CHUNK_SHIFT, i);
	view_fs(NULL, r.fs, &want);
	rig_unmount(&r);
	memcpy(before, r.image.map, MIB(24));
	for (unsigned i = 0; i < 3; i++) {
		r.image.region.base = PHYS(places[i]);
		r.image.region.read_only = i & 1;
		assert_int_equal(ptfs_mount(&r.image.region, "ro", PTFS_MOUNT_RDONLY, &r.fs), 0);
		assert_int_equal(ptfs_iget(r.fs, PTFS_INO_ROOT, &r.root), 0);
		view_fs(NULL, r.fs, &got);
		assert_true(same(&want, &got));
		ip = look(r.root, "wide");
		no_tables(ip, MIB(2));
		ptfs_iput(ip);
		ip = look(r.root, "direct");
		no_tables(ip, 0);
		ptfs_iput(ip);
		ip = look(r.root, "huge");
		no_tables(ip, MIB(1));
		ptfs_iput(ip);
		assert_false(ptfs_rebase_pending(r.fs));
		rig_unmount(&r);
		assert_memory_equal(before, r.image.map, MIB(24));
	}
	r.image.region.read_only = false;
	rig_mount(&r);
	rig_free(&r);
	free(before);
}

// ---- What must not be rebased, and what is in the way ----

static u64 cleared_off;

static void clear_word(void *ctx, const struct host_pm_event *e)
{
	u64 zero = 0;

	(void)ctx;
	if (e->kind == HOST_PM_STORE && e->off == cleared_off)
		memcpy(e->image->map + cleared_off, &zero, 8);
}

// Somebody clears an entry after the rebase has read it and before it writes: it stays cleared.
static void cleared_meanwhile(void **state)
{
	struct ptfs_inode *f;
	struct rig r;
	u64 table;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	f = look(r.root, "table");
	table = (ptfs_word(r.fs, f->root_off) & PTE_ADDR) - TEST_BASE;
	ptfs_iput(f);
	rig_unmount(&r);
	move(&r, places[0]);
	cleared_off = table + 8 * 5;
	host_pm_record(clear_word, NULL);
	attach(r.root, "table");
	host_pm_record(NULL, NULL);
	assert_int_equal(ptfs_word(r.fs, cleared_off), 0);
	assert_int_not_equal(ptfs_word(r.fs, cleared_off + 8), 0);
	rig_crash(&r); // what it named is lost to this mount
	image_check(&r.image, 1);
	rig_mount(&r);
	rig_crash(&r);
	host_image_close(&r.image);
}

// An entry that is refused keeps all tags: what hangs below it may still be read by them. Once they run
// out, fsck has to come first.
static void refused_keeps_tags(void **state)
{
	struct ptfs_inode *f;
	struct heard heard;
	struct rig r;
	u64 root, bad;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	f = look(r.root, "table");
	root = f->root_off;
	ptfs_iput(f);
	rig_unmount(&r);
	memcpy(&bad, r.image.map + root, 8);
	bad |= PTE_G;
	memcpy(r.image.map + root, &bad, 8);
	hear(&heard);
	for (unsigned i = 0; i < PTFS_TAGS - 2; i++) {
		move(&r, places[i]);
		assert_int_equal(pass(r.fs), -EUCLEAN);
		assert_int_equal(tags_used(&r.image), i + 2);
		attach(r.root, "huge");
		rig_unmount(&r);
	}
	r.image.region.base = PHYS(places[8]);
	assert_int_equal(ptfs_mount(&r.image.region, "pmem0", 0, &r.fs), -EUCLEAN);
	assert_non_null(strstr(heard.last, "no base tag is free"));
	bad &= ~PTE_G;
	memcpy(r.image.map + root, &bad, 8);
	rig_mount(&r);
	host_log_to(NULL, NULL);
	attach_all(r.root);
	rig_free(&r);
}

// The pass finds a file that lost its name but is open.
static void orphan(void **state)
{
	struct ptfs_inode *f;
	struct rig r;
	u8 byte;

	(void)state;
	rig_new(&r, MIB(24));
	for (u64 i = 0; i < WIDE_TABLES; i++)
		put_name(r.root, "wide", 1, i << PTFS_CHUNK_SHIFT, i);
	rig_unmount(&r);
	move(&r, places[0]);
	f = look(r.root, "wide");
	assert_int_equal(rm(r.root, "wide"), 0);
	assert_int_equal(pass(r.fs), 0);
	assert_int_equal(tags_used(&r.image), 1);
	for (u64 i = 0; i < WIDE_TABLES; i++)
		assert_int_equal(read_at(f, &byte, 1, i << PTFS_CHUNK_SHIFT), 1);
	ptfs_iput(f);
	rig_free(&r);
}

// ---- The pass beside everything else ----

static void *pass_thread(void *arg)
{
	static int result;

	result = pass(arg);
	return result ? &result : NULL;
}

static void one_race(struct rig *r, u64 seed)
{
	struct ptfs_inode *ip;
	pthread_t thread;
	void *wrong;
	char name[16];

	assert_int_equal(pthread_create(&thread, NULL, pass_thread, r->fs), 0);
	for (u64 i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "w%llu", (unsigned long long)(rnd(&seed) % 6));
		switch (look_err(r->root, name) ? 0 : rnd(&seed) % 5) {
		case 0:
		case 1: put_name(r->root, name, 9000, rnd(&seed) % MIB(6), i); break;
		case 2: assert_int_equal(rm(r->root, name), 0); break;
		default:
			ip = look(r->root, name);
			assert_int_equal(ptfs_truncate(ip, rnd(&seed) % MIB(5)), 0);
			ptfs_iput(ip);
		}
	}
	pthread_join(thread, &wrong);
	assert_null(wrong);
	assert_int_equal(tags_used(&r->image), 1);
}

static void races(void **state)
{
	struct view want, got;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(24));
	for (unsigned i = 0; i < 60; i++) {
		one_race(&r, 1000 + i);
		view_fs(NULL, r.fs, &want);
		rig_unmount(&r);
		image_check(&r.image, 0);
		move(&r, places[i % 8]);
		view_fs(NULL, r.fs, &got);
		assert_true(same(&want, &got));
		rig_unmount(&r);
		move(&r, places[(i + 1) % 8]);
	}
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_places),
		cmocka_unit_test(tags_run_out),
		cmocka_unit_test(copy_knows),
		cmocka_unit_test(crash_moving),
		cmocka_unit_test(crash_making_room),
		cmocka_unit_test(crash_twice),
		cmocka_unit_test(rollback_first),
		cmocka_unit_test(read_only),
		cmocka_unit_test(cleared_meanwhile),
		cmocka_unit_test(refused_keeps_tags),
		cmocka_unit_test(orphan),
		cmocka_unit_test(races),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
