// SPDX-License-Identifier: MIT
//
// An image that moves: more addresses than there are tags, with changes between, clean and unclean;
// the pass that frees tags; read-only mounts; what must not be rebased, and what is in the way.
// (Crashes on the way: ptfs_reloc_crash_test.)
#include <pthread.h>

#include "tests/host/ptfs_reloc.h"

#define WIDE_TABLES 80u // more table pages than the passes take in one hold

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

// ---- Read-only ----

static void no_tables(struct ptfs_inode *ip, u64 off)
{
	struct ptfs_page page;
	struct ptfs_map map;
	u64 base = ip->fs->region.base.pa;

	// Story: pages that can never become ready used up the budget of each call, and the
	// kernel's thread called again for ever.
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

// Where the mount has no tag no entry is as the MMU wants it. The quick way of a short read
// compared words with 0 then, and 0 is the word of a hole: it showed bytes of the superblock.
static void hole_is_zero(struct ptfs_inode *ip)
{
	u8 byte = 1;

	assert_int_equal(read_at(ip, &byte, 1, 0), 1); // remembers the table page
	assert_int_equal(read_at(ip, &byte, 1, PTFS_BLOCK + 1), 1);
	assert_int_equal(byte, 0);
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
		hole_is_zero(ip);
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

// While the pass rewrites the entries of a file nobody may take blocks or tables from it: at each
// store to one of its table pages its mapping lock is not to be had.
static struct {
	struct ptfs_inode *ip;
	u64 table;
	unsigned stores, unlocked;
} rewritten;

static void try_lock(void *ctx, const struct host_pm_event *e)
{
	pthread_rwlock_t *lock = &rewritten.ip->home.map_lock;

	(void)ctx;
	if (e->kind != HOST_PM_STORE || ALIGN_DOWN(e->off, PTFS_BLOCK) != rewritten.table)
		return;
	rewritten.stores++;
	if (pthread_rwlock_trywrlock(lock))
		return;
	rewritten.unlocked++;
	pthread_rwlock_unlock(lock);
}

static void locked_meanwhile(void **state)
{
	struct rig r;

	(void)state;
	rig_new(&r, MIB(24));
	fill(r.root);
	rig_unmount(&r);
	move(&r, places[0]);
	rewritten.ip = look(r.root, "table");
	rewritten.table = (ptfs_word(r.fs, rewritten.ip->root_off) & PTE_ADDR) - places[0];
	rewritten.stores = rewritten.unlocked = 0;
	host_pm_record(try_lock, NULL);
	assert_int_equal(pass(r.fs), 0);
	host_pm_record(NULL, NULL);
	assert_true(rewritten.stores >= KIB(100) / PTFS_BLOCK);
	assert_int_equal(rewritten.unlocked, 0);
	ptfs_iput(rewritten.ip);
	rig_free(&r);
}

// An entry that is refused keeps all tags: what hangs below it may still be read by them. Once they
// run out, fsck has to come first.
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
		cmocka_unit_test(read_only),
		cmocka_unit_test(cleared_meanwhile),
		cmocka_unit_test(locked_meanwhile),
		cmocka_unit_test(refused_keeps_tags),
		cmocka_unit_test(orphan),
		cmocka_unit_test(races),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
