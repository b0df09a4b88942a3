// SPDX-License-Identifier: MIT
//
// Power failures. At every fence of every operation, and when it returns, states of the medium are
// built (none of the pending words, all of them, random subsets), mounted by scan, checked, and
// compared: an atomic call has happened wholly or not at all, and once it has returned it has
// happened; a write leaves the old or the new size, and changes nothing outside its range.
#include "tests/host/ptfs_crash.h"

static u8 data[MIB(3)];

static int put(struct ptfs_inode *ip, u64 bytes, u64 pos)
{
	return write_at(ip, data, bytes, pos) == (ssize)bytes ? 0 : -1;
}

static int create(struct ptfs_inode *dir, const char *name, u32 mode)
{
	struct ptfs_create_args a = { .mode = mode, .target = name };
	struct ptfs_inode *ip;
	int err = ptfs_create(dir, name, strlen(name), &a, &ip);

	if (!err)
		ptfs_iput(ip);
	return err;
}

static void names(void **state)
{
	char longname[256], target[200];
	struct ptfs_inode *d, *e, *f;
	struct explorer x;

	(void)state;
	memset(longname, 'l', 255);
	longname[255] = 0;
	memset(target, 't', 199);
	target[199] = 0;
	start(&x, 2);
	ptfs_iput(make_file(x.r.root, "other"));
	explore(&x);
	OP(&x, create(x.r.root, "a", PTFS_S_IFREG | 0644));
	OP(&x, create(x.r.root, "d", PTFS_S_IFDIR | 0755));
	OP(&x, create(x.r.root, "e", PTFS_S_IFDIR | 0755));
	d = look(x.r.root, "d");
	e = look(x.r.root, "e");
	OP(&x, create(d, "f", PTFS_S_IFREG | 0600));
	OP(&x, create(x.r.root, "sym", PTFS_S_IFLNK | 0777));
	OP(&x, create(d, target, PTFS_S_IFLNK | 0777)); // in a block of its own
	OP(&x, ptfs_unlink(d, target, strlen(target)));
	f = look(d, "f");
	OP(&x, ptfs_link(x.r.root, "hard", 4, f));
	OP(&x, ptfs_unlink(x.r.root, "hard", 4));
	OP(&x, ptfs_rename(d, "f", 1, d, "g", 1, 0));
	OP(&x, ptfs_rename(d, "g", 1, x.r.root, "a", 1, 0)); // over a, which is freed
	ptfs_iput(f);
	OP(&x, ptfs_rename(x.r.root, "a", 1, e, "b", 1, 0));
	OP(&x, ptfs_rename(x.r.root, "d", 1, e, "d", 1, 0)); // a directory moves
	OP(&x, create(x.r.root, "d2", PTFS_S_IFDIR | 0755));
	OP(&x, ptfs_rename(x.r.root, "d2", 2, e, "d", 1, 0)); // over an empty one
	ptfs_iput(d);
	OP(&x, ptfs_rmdir(e, "d", 1));
	OP(&x, ptfs_unlink(e, "b", 1));
	ptfs_iput(e);
	OP(&x, ptfs_rmdir(x.r.root, "e", 1));
	finish(&x);
}

// Records that are split, merged and used again.
static void records(void **state)
{
	struct explorer x;
	char name[200];

	(void)state;
	start(&x, 1);
	for (unsigned i = 0; i < 24; i++) {
		snprintf(name, sizeof(name), "%u-%0*u", i, (int)(i % 4) * 40 + 1, i);
		ptfs_iput(make_file(x.r.root, name));
	}
	for (unsigned i = 0; i < 24; i += 3) {
		snprintf(name, sizeof(name), "%u-%0*u", i, (int)(i % 4) * 40 + 1, i);
		assert_int_equal(rm(x.r.root, name), 0);
		snprintf(name, sizeof(name), "%u-%0*u", i + 1, (int)((i + 1) % 4) * 40 + 1, i + 1);
		assert_int_equal(rm(x.r.root, name), 0);
	}
	explore(&x);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "n%u-%0*u", i, (int)(i * 70 % 150) + 1, i);
		OP(&x, create(x.r.root, name, PTFS_S_IFREG | 0644));
	}
	OP(&x, ptfs_unlink(x.r.root, name, strlen(name)));
	finish(&x);
}

static void attributes(void **state)
{
	struct ptfs_attr a = { .mode = 0600, .uid = 5, .mtime_ns = 9 };
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	start(&x, 4);
	f = make_file(x.r.root, "f");
	explore(&x);
	OP(&x, ptfs_setattr(f, PTFS_ATTR_MODE | PTFS_ATTR_UID | PTFS_ATTR_MTIME, &a));
	OP(&x, ptfs_touch(f));
	ptfs_iput(f);
	finish(&x);
}

static void growing(void **state)
{
	struct ptfs_inode *f, *g;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 1);
	start(&x, 2);
	g = make_file(x.r.root, "other");
	assert_int_equal(put(g, KIB(50), 0), 0);
	ptfs_iput(g);
	f = make_file(x.r.root, "f");
	explore(&x);
	WRITE(&x, "/f", f, 100, 0);
	WRITE(&x, "/f", f, KIB(6), 50); // overwrite and append, unaligned
	WRITE(&x, "/f", f, 100, KIB(30));
	WRITE(&x, "/f", f, KIB(6), KIB(30));         // into a table page
	WRITE(&x, "/f", f, KIB(5), MIB(2) - KIB(2)); // level 3
	WRITE(&x, "/f", f, 10, GIB(1));              // level 4
	WRITE(&x, "/f", f, 10, KIB(4));              // a hole
	ptfs_iput(f);
	finish(&x);
}

static void cutting(void **state)
{
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 2);
	start(&x, 2);
	f = make_file(x.r.root, "f");
	assert_int_equal(put(f, KIB(70), 0), 0);
	assert_int_equal(put(f, KIB(5), MIB(2) - KIB(2)), 0);
	explore(&x);
	OP(&x, ptfs_truncate(f, MIB(2) + 5));
	OP(&x, ptfs_truncate(f, KIB(60) + 1));
	OP(&x, ptfs_truncate(f, KIB(61)));
	OP(&x, ptfs_truncate(f, KIB(20) + 7));
	OP(&x, ptfs_truncate(f, KIB(80)));
	OP(&x, ptfs_truncate(f, KIB(3)));
	OP(&x, ptfs_truncate(f, 0));
	assert_int_equal(put(f, KIB(70), 0), 0);
	OP(&x, ptfs_truncate(f, 0)); // a whole tree
	ptfs_iput(f);
	OP(&x, ptfs_unlink(x.r.root, "f", 1));
	finish(&x);
}

// Back into the direct entries: the words there are older than the table and must not come back
// with the root word. The table page that gets free is filled by somebody else at once.
static void back_to_direct(void **state)
{
	struct ptfs_inode *f, *g;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 5);
	start(&x, 8);
	f = make_file(x.r.root, "f");
	g = make_file(x.r.root, "g");
	assert_int_equal(put(f, KIB(4), 0), 0);
	assert_int_equal(put(f, KIB(4), KIB(64)), 0);
	assert_int_equal(put(f, KIB(8), KIB(4)), 0); // into holes that the direct words still have
	assert_int_equal(put(g, KIB(32), 0), 0);
	explore(&x);
	OP(&x, ptfs_truncate(f, KIB(12)));
	WRITE(&x, "/g", g, KIB(4), KIB(32));
	WRITE(&x, "/f", f, KIB(4), MIB(3));
	OP(&x, ptfs_truncate(f, KIB(14)));
	OP(&x, ptfs_truncate(f, 0));
	ptfs_iput(f);
	ptfs_iput(g);
	finish(&x);
}

// Bytes that a mapping left behind EOF never become part of the file.
static void growing_over_garbage(void **state)
{
	struct ptfs_inode *f;
	struct ptfs_page page;
	struct explorer x;
	u64 off;

	(void)state;
	start(&x, 8);
	f = make_file(x.r.root, "f");
	assert_int_equal(write_at(f, "abcdefgh", 8, 0), 8);
	explore(&x);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ptfs_map_page(f, 0, true, &page), 0);
		off = page.pa.pa - TEST_BASE;
		memset(x.r.image.map + off + f->size, (u8)STALE, PTFS_BLOCK - f->size);
		crash_log_outside(&x.log, off, PTFS_BLOCK);
		if (i == 0)
			OP(&x, ptfs_truncate(f, 100));
		else if (i == 1)
			WRITE(&x, "/f", f, 1ull, 2000ull);
		else
			OP(&x, ptfs_fallocate(f, 0, KIB(3), false));
	}
	ptfs_iput(f);
	finish(&x);
}

// Space that was freed serves others; types of chunks change.
static void reuse(void **state)
{
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 3);
	start(&x, 1);
	f = make_file(x.r.root, "f");
	assert_int_equal(put(f, KIB(100), 0), 0);
	explore(&x);
	OP(&x, ptfs_truncate(f, KIB(40)));
	ptfs_iput(f);
	OP(&x, create(x.r.root, "g", PTFS_S_IFREG | 0644));
	f = look(x.r.root, "g");
	WRITE(&x, "/g", f, KIB(20), 0);
	OP(&x, ptfs_unlink(x.r.root, "f", 1));
	WRITE(&x, "/g", f, KIB(20), KIB(20));
	ptfs_iput(f);
	OP(&x, ptfs_unlink(x.r.root, "g", 1)); // the chunk becomes FREE
	OP(&x, create(x.r.root, "d", PTFS_S_IFDIR | 0755));
	f = look(x.r.root, "d");
	OP(&x, create(f, "x", PTFS_S_IFREG | 0644));
	ptfs_iput(f);
	finish(&x);
}

static void preallocating(void **state)
{
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	start(&x, 0);
	f = make_file(x.r.root, "f");
	explore(&x);
	OP(&x, ptfs_fallocate(f, 0, KIB(50), true));
	OP(&x, ptfs_truncate(f, KIB(20)));
	OP(&x, ptfs_fallocate(f, KIB(10), KIB(30), false));
	OP(&x, ptfs_fallocate(f, MIB(2), MIB(2), false)); // a 2 MiB leaf
	OP(&x, ptfs_truncate(f, MIB(3)));
	ptfs_iput(f);
	finish(&x);
}

// The first change after a clean mount clears the clean mark; unmounting sets it again.
static void clean_mark(void **state)
{
	struct explorer x;

	(void)state;
	start(&x, 4);
	ptfs_iput(make_file(x.r.root, "other"));
	for (unsigned i = 0; i < 2; i++) {
		rig_unmount(&x.r);
		rig_mount(&x.r);
		explore(&x);
		OP(&x, create(x.r.root, i ? "b" : "a", PTFS_S_IFREG | 0644));
		ptfs_iput(x.r.root);
		x.op = "unmount";
		crash_log_resume(&x.log);
		assert_int_equal(ptfs_unmount(x.r.fs), 0);
		try_state(&x, NULL);
		crash_log_stop(&x.log);
		rig_mount(&x.r);
	}
	free(x.seen);
	rig_free(&x.r);
}

// Zeros that only the cache holds: a program zeroed its mapping and never wrote it back, and the
// block went to somebody else. What lies below on the medium must not come up.
static void zeros_in_the_cache(void **state)
{
	struct ptfs_inode *f;
	struct ptfs_page page;
	struct explorer x;
	u64 off;

	(void)state;
	start(&x, 8);
	f = make_file(x.r.root, "f");
	assert_int_equal(ptfs_truncate(f, KIB(4)), 0);
	assert_int_equal(ptfs_map_page(f, 0, true, &page), 0);
	off = page.pa.pa - TEST_BASE;
	memset(x.r.image.map + off, (u8)STALE, PTFS_BLOCK);
	explore(&x);
	memset(x.r.image.map + off, 0, PTFS_BLOCK);
	crash_log_cached(&x.log, off, PTFS_BLOCK);
	x.log.at_fence = NULL; // until f is gone, its bytes may show what they were
	ptfs_iput(f);
	assert_int_equal(rm(x.r.root, "f"), 0);
	f = make_file(x.r.root, "g");
	x.log.at_fence = at_fence;
	OP(&x, ptfs_truncate(f, KIB(4)));
	OP(&x, ptfs_map_page(f, 0, true, &page));
	assert_int_equal(page.pa.pa - TEST_BASE, off);
	ptfs_iput(f);
	finish(&x);
}

// ---- Random sequences ----

static const char *const random_names[] = { "a", "b", "d/a",
					    "d/long-long-long-long-long-long-long-"
					    "long-long-long-long-long" };

static int path_parent(struct rig *r, const char *path, struct ptfs_inode **dir, const char **name)
{
	if (strncmp(path, "d/", 2) != 0) {
		ptfs_ihold(r->root);
		*dir = r->root;
		*name = path;
		return 0;
	}
	*name = path + 2;
	return ptfs_lookup(r->root, "d", 1, dir);
}

static int random_name_op(struct explorer *x, unsigned what, const char *path, const char *path2)
{
	struct ptfs_inode *dir, *dir2, *ip;
	const char *name, *name2;
	int err = path_parent(&x->r, path, &dir, &name);

	if (err)
		return 0;
	if (path_parent(&x->r, path2, &dir2, &name2)) {
		ptfs_iput(dir);
		return 0;
	}
	switch (what) {
	case 0: err = create(dir, name, PTFS_S_IFREG | 0644); break;
	case 1: err = ptfs_unlink(dir, name, strlen(name)); break;
	case 2: err = ptfs_rename(dir, name, strlen(name), dir2, name2, strlen(name2), 0); break;
	case 3:
		err = ptfs_lookup(dir, name, strlen(name), &ip);
		if (!err) {
			err = ptfs_link(dir2, name2, strlen(name2), ip);
			ptfs_iput(ip);
		}
		break;
	default: err = create(dir, name, PTFS_S_IFLNK | 0777); break;
	}
	ptfs_iput(dir);
	ptfs_iput(dir2);
	return err == -EEXIST || err == -ENOENT || err == -EPERM ? 0 : err;
}

// The file, if there is one of that name.
static struct ptfs_inode *random_file(struct explorer *x, const char *path)
{
	struct ptfs_inode *dir, *ip = NULL;
	const char *name;

	if (path_parent(&x->r, path, &dir, &name))
		return NULL;
	if (ptfs_lookup(dir, name, strlen(name), &ip))
		ip = NULL;
	ptfs_iput(dir);
	if (ip && ((ip->mode & PTFS_S_IFMT) != PTFS_S_IFREG || ip->nlink > 1)) {
		ptfs_iput(ip);
		ip = NULL;
	}
	return ip;
}

static void random_file_op(struct explorer *x, const char *path)
{
	static const u64 base[] = { 0, KIB(30), MIB(2) - KIB(6), KIB(2), 0 };
	struct ptfs_inode *ip = random_file(x, path);
	u64 pos = base[rnd(&x->seed) % ARRAY_SIZE(base)] + rnd(&x->seed) % KIB(10);
	u64 len = rnd(&x->seed) % KIB(9) + 1;
	char slashed[80];

	if (!ip)
		return;
	snprintf(slashed, sizeof(slashed), "/%s", path);
	switch (rnd(&x->seed) % 6) {
	case 0: OP(x, ptfs_truncate(ip, pos)); break;
	case 1: OP(x, ptfs_truncate(ip, 0)); break;
	case 2: OP(x, ptfs_fallocate(ip, pos, len, rnd(&x->seed) & 1)); break;
	default:
		fill_pattern(data, len, rnd(&x->seed));
		WRITE(x, slashed, ip, len, pos);
		break;
	}
	ptfs_iput(ip);
}

static void random_ops(void **state)
{
	const char *rounds = getenv("PTFS_ROUNDS"), *from = getenv("PTFS_SEED");
	u64 n = rounds ? strtoull(rounds, NULL, 0) : 60;
	struct explorer x;

	(void)state;
	start(&x, 1);
	x.seed = from ? strtoull(from, NULL, 0) : 99;
	ptfs_iput(make_dir(x.r.root, "d"));
	explore(&x);
	for (u64 i = 0; i < n; i++) {
		const char *path = random_names[rnd(&x.seed) % ARRAY_SIZE(random_names)];
		const char *path2 = random_names[rnd(&x.seed) % ARRAY_SIZE(random_names)];
		unsigned what = (unsigned)(rnd(&x.seed) % 10);

		if (what < 5)
			OP(&x, random_name_op(&x, what, path, path2));
		else
			random_file_op(&x, path);
	}
	finish(&x);
}

// A crash while recovery itself is running, at each of its fences.
struct second {
	struct crash_log log;
	struct view want;
	unsigned states;
};

static void second_crash(void *ctx, struct crash_log *log)
{
	struct second *s = ctx;
	struct ptfs_fs *fs;
	struct view v;

	for (unsigned all = 0; all < 2; all++) {
		struct ptfs_region *region = crash_log_state(log, all ? take_all : NULL, NULL);

		assert_int_equal(ptfs_mount(region, "second", 0, &fs), 0);
		view_fs(NULL, fs, &v);
		assert_true(same(&v, &s->want));
		ptfs_abandon(fs);
		crash_log_back(log);
		s->states++;
	}
}

static void crash_in_recovery(void **state)
{
	struct second s = { 0 };
	struct ptfs_inode *f;
	struct rig r;

	(void)state;
	fill_pattern(data, sizeof(data), 4);
	rig_new(&r, MIB(24));
	f = make_file(r.root, "kept");
	assert_int_equal(put(f, KIB(70), 0), 0);
	ptfs_iput(f);
	f = make_file(r.root, "gone");
	assert_int_equal(put(f, KIB(70), 0), 0);
	assert_int_equal(rm(r.root, "gone"), 0);
	view_fs(NULL, r.fs, &s.want);
	rig_crash(&r);
	// An open transaction that had changed the link count of "kept".
	rig_mount(&r);
	f = look(r.root, "kept");
	{
		u64 slot = KIB(4), word = PTFS_FIELD(f, mode_links);
		struct ptfs_undo u = { .txid = LE64(500), .off = LE64(word) };
		u64 head = 500 << PTFS_TX_COUNT_BITS | 1, changed = ptfs_pack(f->mode, 9);

		u.old = LE64(ptfs_word(r.fs, word));
		u.crc = LE32(crc32c(0, &u, 24));
		rig_crash(&r);
		memcpy(r.image.map + slot + 64, &u, sizeof(u));
		memcpy(r.image.map + slot, &head, 8);
		memcpy(r.image.map + word, &changed, 8);
	}
	crash_log_start(&s.log, &r.image, second_crash, &s);
	rig_mount(&r);
	crash_log_stop(&s.log);
	assert_true(s.states > 3); // each fence of the recovery was a crash point
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(records),
		cmocka_unit_test(attributes),
		cmocka_unit_test(growing),
		cmocka_unit_test(cutting),
		cmocka_unit_test(reuse),
		cmocka_unit_test(preallocating),
		cmocka_unit_test(back_to_direct),
		cmocka_unit_test(growing_over_garbage),
		cmocka_unit_test(clean_mark),
		cmocka_unit_test(zeros_in_the_cache),
		cmocka_unit_test(crash_in_recovery),
		cmocka_unit_test(random_ops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
