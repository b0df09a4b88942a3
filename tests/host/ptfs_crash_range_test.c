// SPDX-License-Identifier: MIT
//
// Power failures in calls on ranges and on two names: a punched range is a mixture of old bytes and
// zeros until the call has returned, and nothing outside it changes; collapse and exchange happen
// wholly or not at all; what was freed serves another file at once and never shows up in this one.
#include "tests/host/ptfs_crash.h"

static u8 data[MIB(3)];

static int put(struct ptfs_inode *ip, u64 bytes, u64 pos)
{
	return write_at(ip, data, bytes, pos) == (ssize)bytes ? 0 : -1;
}

#define PUNCH(x, ip, off, len)                                                                     \
	OP_RANGE(x, "/f", (u64)(off), (u64)(off) + (len), ptfs_punch(ip, off, len))

static void punching(void **state)
{
	struct ptfs_inode *f, *g;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 1);
	start(&x, 4);
	f = make_file(x.r.root, "f");
	g = make_file(x.r.root, "g");
	assert_int_equal(put(f, KIB(30), 0), 0);
	explore(&x);
	PUNCH(&x, f, KIB(4), KIB(8)); // direct entries
	WRITE(&x, "/g", g, KIB(8), 0);
	PUNCH(&x, f, 100, KIB(17));
	WRITE(&x, "/f", f, KIB(60), KIB(20)); // a page
	PUNCH(&x, f, KIB(40), KIB(8));
	WRITE(&x, "/g", g, KIB(8), KIB(8));
	PUNCH(&x, f, KIB(30) + 1, KIB(30)); // parts at both ends
	OP(&x, ptfs_touch(f));              // whoever undoes a punch is seen now
	PUNCH(&x, f, KIB(28), KIB(60));     // back to direct entries, across the end
	OP(&x, ptfs_touch(f));
	WRITE(&x, "/f", f, KIB(5), MIB(2) - KIB(2));
	PUNCH(&x, f, MIB(2), KIB(4)); // a page becomes empty
	WRITE(&x, "/g", g, KIB(4), KIB(16));
	PUNCH(&x, f, 0ull, MIB(3)); // all
	OP(&x, ptfs_touch(f));
	WRITE(&x, "/g", g, KIB(16), KIB(20));
	ptfs_iput(f);
	ptfs_iput(g);
	finish(&x);
}

// A leaf of 2 MiB that falls apart: in the tree, and as the root word itself.
static void splitting(void **state)
{
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 2);
	for (unsigned root_is_leaf = 0; root_is_leaf < 2; root_is_leaf++) {
		start(&x, 8);
		f = make_file(x.r.root, "f");
		assert_int_equal(ptfs_fallocate(f, 0, root_is_leaf ? MIB(2) : MIB(4), false), 0);
		assert_int_equal(put(f, MIB(2), 0), 0);
		explore(&x);
		PUNCH(&x, f, MIB(1), KIB(4));
		OP(&x, ptfs_touch(f));
		if (!root_is_leaf)
			PUNCH(&x, f, MIB(3), MIB(1));
		OP(&x, ptfs_touch(f));
		ptfs_iput(f);
		OP(&x, ptfs_unlink(x.r.root, "f", 1));
		finish(&x);
	}
}

static void zeroing(void **state)
{
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 3);
	start(&x, 2);
	f = make_file(x.r.root, "f");
	assert_int_equal(put(f, KIB(50), 0), 0);
	assert_int_equal(ptfs_punch(f, KIB(16), KIB(8)), 0);
	explore(&x);
	OP_RANGE(&x, "/f", 100, 100 + KIB(30), ptfs_zero_range(f, 100, KIB(30), true));
	OP(&x, ptfs_touch(f));
	OP_RANGE(&x, "/f", KIB(49), KIB(60), ptfs_zero_range(f, KIB(49), KIB(11), true));
	OP(&x, ptfs_touch(f));
	ptfs_iput(f);
	finish(&x);
}

static void collapsing(void **state)
{
	struct ptfs_inode *f, *g;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 4);
	start(&x, 3);
	f = make_file(x.r.root, "f");
	g = make_file(x.r.root, "g");
	assert_int_equal(put(f, KIB(30) + 5, 0), 0);
	explore(&x);
	OP(&x, ptfs_collapse(f, KIB(4), KIB(8))); // direct entries
	WRITE(&x, "/g", g, KIB(8), 0);
	WRITE(&x, "/f", f, KIB(50), KIB(10));
	OP(&x, ptfs_collapse(f, KIB(12), KIB(16))); // one page
	WRITE(&x, "/g", g, KIB(8), KIB(8));
	WRITE(&x, "/f", f, KIB(12), MIB(2) - KIB(4)); // two, and one above
	OP(&x, ptfs_collapse(f, KIB(20), KIB(8)));
	WRITE(&x, "/g", g, KIB(8), KIB(16));
	OP(&x, ptfs_collapse(f, KIB(8), MIB(2) - KIB(16))); // back to direct entries
	WRITE(&x, "/g", g, KIB(8), KIB(24));
	OP(&x, ptfs_truncate(f, MIB(9)));
	OP(&x, ptfs_collapse(f, 0, MIB(3))); // all blocks
	ptfs_iput(f);
	ptfs_iput(g);
	finish(&x);
}

// The tree shrinks after the commit: the direct words that come to mean something are older than
// it.
static void collapsing_a_tree(void **state)
{
	struct ptfs_inode *f, *g;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 6);
	start(&x, 3);
	f = make_file(x.r.root, "f");
	g = make_file(x.r.root, "g");
	assert_int_equal(put(f, KIB(64), 0), 0);
	assert_int_equal(ptfs_truncate(f, MIB(1)), 0);
	explore(&x);
	OP(&x, ptfs_collapse(f, 0, KIB(64))); // nothing is left
	WRITE(&x, "/g", g, KIB(64), 0);
	assert_int_equal(root_level(f), 0);
	ptfs_iput(f);
	ptfs_iput(g);
	finish(&x);
}

static int swap(struct ptfs_inode *a, const char *name, struct ptfs_inode *b, const char *other)
{
	return ptfs_rename(a, name, strlen(name), b, other, strlen(other), PTFS_RENAME_EXCHANGE);
}

static void exchanging(void **state)
{
	struct ptfs_inode *d, *e, *f;
	struct explorer x;

	(void)state;
	start(&x, 4);
	d = make_dir(x.r.root, "d");
	e = make_dir(d, "e");
	f = make_file(x.r.root, "f");
	assert_int_equal(write_at(f, "F", 1, 0), 1);
	ptfs_iput(f);
	ptfs_iput(make_file(x.r.root, "g"));
	ptfs_iput(make_file(e, "inside"));
	explore(&x);
	OP(&x, swap(x.r.root, "f", x.r.root, "g"));
	OP(&x, swap(x.r.root, "f", d, "e")); // a file and a directory: links, parent, types
	OP(&x, swap(x.r.root, "f", x.r.root, "g"));
	OP(&x, swap(x.r.root, "g", x.r.root, "d")); // two directories
	OP(&x, swap(x.r.root, "d", d, "e"));
	ptfs_iput(d);
	ptfs_iput(e);
	finish(&x);
}

static int tmpfile_in(struct ptfs_inode *dir, struct ptfs_inode **out)
{
	const struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0600 };

	return ptfs_tmpfile(dir, &a, true, out);
}

// A file without a name is gone after a crash, with its blocks; the name comes with all of it.
static void without_a_name(void **state)
{
	struct ptfs_inode *f;
	struct explorer x;

	(void)state;
	fill_pattern(data, sizeof(data), 5);
	start(&x, 4);
	explore(&x);
	OP(&x, tmpfile_in(x.r.root, &f));
	OP(&x, put(f, KIB(50), 0));
	OP(&x, ptfs_link(x.r.root, "f", 1, f));
	OP(&x, ptfs_unlink(x.r.root, "f", 1));
	ptfs_iput(f);
	finish(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(punching),       cmocka_unit_test(splitting),
		cmocka_unit_test(zeroing),        cmocka_unit_test(collapsing),
		cmocka_unit_test(exchanging),     cmocka_unit_test(collapsing_a_tree),
		cmocka_unit_test(without_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
