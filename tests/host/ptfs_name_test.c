// SPDX-License-Identifier: MIT
//
// Names: lookup, readdir, links, rename in all its cases, large directories, attributes, symlinks,
// and files that are unlinked while they are open.
#include "tests/host/ptfs_test.h"

struct seen {
	unsigned n, stop_after;
	char names[64][32];
	u64 ino[64];
};

static bool see(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct seen *s = ctx;

	(void)type;
	(void)next;
	if (s->n == s->stop_after)
		return false;
	if (s->n < 64) {
		snprintf(s->names[s->n], 32, "%.*s", (int)len, name);
		s->ino[s->n] = ino;
	}
	s->n++;
	return true;
}

static unsigned count(struct ptfs_inode *dir)
{
	struct seen s = { .stop_after = ~0u };
	u64 pos = 0;

	assert_int_equal(ptfs_readdir(dir, &pos, see, &s), 0);
	return s.n - 2;
}

static void basics(void **state)
{
	struct rig r;
	struct ptfs_inode *d, *f, *g;
	struct ptfs_attr a;
	char longest[257];

	(void)state;
	rig_new(&r, MIB(16));
	d = make_dir(r.root, "d");
	f = make_file(d, "f");
	assert_int_equal(make_in(d, "f", PTFS_S_IFREG, &g), -EEXIST);
	assert_int_equal(make_in(f, "f", PTFS_S_IFREG, &g), -ENOTDIR);
	assert_int_equal(make_in(d, "", PTFS_S_IFREG, &g), -EINVAL);
	assert_int_equal(make_in(d, "a/b", PTFS_S_IFREG, &g), -EINVAL);
	assert_int_equal(make_in(d, "..", PTFS_S_IFDIR, &g), -EEXIST);
	assert_int_equal(make_in(d, "x", 0644, &g), -EINVAL);
	memset(longest, 'n', sizeof(longest));
	longest[256] = 0;
	assert_int_equal(make_in(d, longest, PTFS_S_IFREG, &g), -ENAMETOOLONG);
	longest[255] = 0;
	ptfs_iput(make_file(d, longest));
	assert_int_equal(look_err(d, longest), 0);
	assert_int_equal(look_err(d, "g"), -ENOENT);
	assert_int_equal(look_err(f, "g"), -ENOTDIR);
	g = look(d, "..");
	assert_ptr_equal(g, r.root);
	ptfs_iput(g);
	ptfs_getattr(r.root, &a);
	assert_int_equal(a.nlink, 3);
	assert_int_equal(rm(r.root, "d"), -EISDIR);
	assert_int_equal(ptfs_rmdir(r.root, "d", 1), -ENOTEMPTY);
	assert_int_equal(ptfs_rmdir(d, "f", 1), -ENOTDIR);
	assert_int_equal(rm(d, "f"), 0);
	assert_int_equal(rm(d, longest), 0);
	assert_int_equal(rm(d, "f"), -ENOENT);
	ptfs_iput(f);
	assert_int_equal(ptfs_rmdir(r.root, "d", 1), 0);
	assert_int_equal(make_in(d, "late", PTFS_S_IFREG, &g), -ENOENT);
	ptfs_iput(d);
	ptfs_getattr(r.root, &a);
	assert_int_equal(a.nlink, 2);
	rig_free(&r);
}

static void listing(void **state)
{
	struct rig r;
	struct seen s = { .stop_after = 3 };
	u64 pos = 0;

	(void)state;
	rig_new(&r, MIB(16));
	ptfs_iput(make_file(r.root, "one"));
	ptfs_iput(make_file(r.root, "two"));
	ptfs_iput(make_file(r.root, "three"));
	assert_int_equal(ptfs_readdir(r.root, &pos, see, &s), 0);
	assert_string_equal(s.names[0], ".");
	assert_string_equal(s.names[1], "..");
	assert_string_equal(s.names[2], "one");
	// one that was listed goes, one that was not goes too; the rest comes once
	assert_int_equal(rm(r.root, "one"), 0);
	assert_int_equal(rm(r.root, "two"), 0);
	s.stop_after = ~0u;
	assert_int_equal(ptfs_readdir(r.root, &pos, see, &s), 0);
	assert_int_equal(s.n, 4);
	assert_string_equal(s.names[3], "three");
	assert_int_equal(ptfs_readdir(r.root, &pos, see, &s), 0);
	assert_int_equal(s.n, 4);
	rig_free(&r);
}

// Many names of all lengths, in and out in another order; space is used again.
static void many_names(void **state)
{
	enum { N = 3000 };
	struct rig r;
	struct ptfs_inode *d;
	char name[300];
	u64 size;

	(void)state;
	rig_new(&r, MIB(64));
	d = make_dir(r.root, "d");
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "%u-%0*u", i, (int)(i % 200) + 1, i);
			ptfs_iput(make_file(d, name));
		}
		assert_int_equal(count(d), N);
		size = round ? size : d->size;
		assert_true(d->size <= size + KIB(4));
		ptfs_iput(d);
		rig_remount(&r, round);
		d = look(r.root, "d");
		for (unsigned i = 0; i < N; i++) {
			unsigned j = i * 1021 % N;

			snprintf(name, sizeof(name), "%u-%0*u", j, (int)(j % 200) + 1, j);
			assert_int_equal(look_err(d, name), 0);
			assert_int_equal(rm(d, name), 0);
			assert_int_equal(look_err(d, name), -ENOENT);
		}
		assert_int_equal(count(d), 0);
	}
	ptfs_iput(d);
	assert_int_equal(ptfs_rmdir(r.root, "d", 1), 0);
	rig_free(&r);
}

static void hard_links(void **state)
{
	struct rig r;
	struct ptfs_inode *d, *f, *g;

	(void)state;
	rig_new(&r, MIB(16));
	d = make_dir(r.root, "d");
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, 0), 4);
	assert_int_equal(ptfs_link(d, "g", 1, f), 0);
	assert_int_equal(ptfs_link(d, "g", 1, f), -EEXIST);
	assert_int_equal(ptfs_link(r.root, "dd", 2, d), -EPERM);
	assert_int_equal(f->nlink, 2);
	assert_int_equal(rm(r.root, "f"), 0);
	ptfs_iput(f);
	g = look(d, "g");
	assert_int_equal(g->nlink, 1);
	assert_int_equal(g->size, 4);
	assert_int_equal(rm(d, "g"), 0);
	assert_int_equal(ptfs_link(d, "h", 1, g), -ENOENT);
	ptfs_iput(g);
	ptfs_iput(d);
	rig_free(&r);
}

// An open file lives on without a name; a crash frees it.
static void unlinked_but_open(void **state)
{
	struct rig r;
	struct ptfs_inode *f;
	u8 back[4];
	u64 data;

	(void)state;
	rig_new(&r, MIB(16));
	data = used(r.fs, PTFS_CHUNK_DATA);
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, KIB(64)), 4);
	assert_int_equal(rm(r.root, "f"), 0);
	assert_int_equal(read_at(f, back, 4, KIB(64)), 4);
	assert_int_equal(write_at(f, "more", 4, 0), 4);
	assert_int_equal(ptfs_unmount(r.fs), -EBUSY);
	rig_remount(&r, false);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), data);
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, KIB(64)), 4);
	assert_int_equal(rm(r.root, "f"), 0);
	ptfs_iput(f);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), data);
	rig_free(&r);
}

static int mv(struct ptfs_inode *a, const char *x, struct ptfs_inode *b, const char *y)
{
	return ptfs_rename(a, x, strlen(x), b, y, strlen(y), 0);
}

static void rename_files(void **state)
{
	struct rig r;
	struct ptfs_inode *d, *f, *g;

	(void)state;
	rig_new(&r, MIB(16));
	d = make_dir(r.root, "d");
	f = make_file(r.root, "f");
	g = make_file(d, "g");
	assert_int_equal(mv(r.root, "f", r.root, "f2"), 0);
	assert_int_equal(look_err(r.root, "f"), -ENOENT);
	assert_int_equal(mv(r.root, "f2", d, "f"), 0);
	assert_int_equal(ptfs_rename(d, "f", 1, d, "g", 1, PTFS_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(mv(d, "f", d, "g"), 0); // over g
	assert_int_equal(g->nlink, 0);
	assert_int_equal(count(d), 1);
	assert_int_equal(mv(d, "g", d, "g"), 0);
	assert_int_equal(mv(d, "g", r.root, "d"), -EISDIR);
	assert_int_equal(mv(r.root, "d", d, "x"), -EINVAL);
	assert_int_equal(mv(d, "nope", d, "x"), -ENOENT);
	assert_int_equal(mv(d, "g", d, ".."), -EEXIST);
	assert_int_equal(ptfs_link(r.root, "f3", 2, f), 0);
	assert_int_equal(mv(d, "g", r.root, "f3"), 0); // the same file: nothing happens
	assert_int_equal(look_err(d, "g"), 0);
	ptfs_iput(f);
	ptfs_iput(g);
	ptfs_iput(d);
	rig_remount(&r, false);
	rig_free(&r);
}

static void rename_dirs(void **state)
{
	struct rig r;
	struct ptfs_inode *a, *b, *c, *p;

	(void)state;
	rig_new(&r, MIB(16));
	a = make_dir(r.root, "a");
	b = make_dir(r.root, "b");
	c = make_dir(a, "c");
	assert_int_equal(mv(r.root, "a", c, "a"), -EINVAL);
	assert_int_equal(mv(r.root, "a", a, "a"), -EINVAL);
	assert_int_equal(mv(a, "c", b, "c"), 0);
	assert_int_equal(a->nlink, 2);
	assert_int_equal(b->nlink, 3);
	p = look(c, "..");
	assert_ptr_equal(p, b);
	ptfs_iput(p);
	assert_int_equal(mv(r.root, "a", r.root, "b"), -ENOTEMPTY);
	assert_int_equal(mv(r.root, "a", b, "c"), 0); // over the empty c
	assert_int_equal(c->orphan, true);
	assert_int_equal(r.root->nlink, 3);
	assert_int_equal(b->nlink, 3);
	ptfs_iput(make_dir(r.root, "e"));
	assert_int_equal(mv(r.root, "e", r.root, "e2"), 0);
	ptfs_iput(make_file(r.root, "f"));
	assert_int_equal(mv(r.root, "e2", r.root, "f"), -ENOTDIR);
	ptfs_iput(make_dir(r.root, "e3"));
	assert_int_equal(mv(r.root, "e2", r.root, "e3"), 0);
	assert_int_equal(r.root->nlink, 4);
	ptfs_iput(a);
	ptfs_iput(b);
	ptfs_iput(c);
	rig_remount(&r, false);
	rig_free(&r);
}

// A file that a rename replaces loses a link, and its other names show when. The crash explorer's
// model knew; ptfs left ctime as it was.
static void rename_victim_ctime(void **state)
{
	struct ptfs_inode *f, *g;
	struct ptfs_attr a;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(16));
	host_clock_set(1000);
	f = make_file(r.root, "f");
	g = make_file(r.root, "g");
	assert_int_equal(ptfs_link(r.root, "other", 5, f), 0);
	host_clock_set(2000);
	assert_int_equal(mv(r.root, "g", r.root, "f"), 0);
	ptfs_getattr(f, &a);
	assert_int_equal(a.nlink, 1);
	assert_int_equal(a.ctime_ns, 2000);
	assert_int_equal(a.mtime_ns, 1000);
	host_clock_set(0);
	ptfs_iput(f);
	ptfs_iput(g);
	rig_free(&r);
}

static void symlinks(void **state)
{
	static const size_t lengths[] = { 1, 63, 64, 65, 255, 4095 };
	struct rig r;
	struct ptfs_inode *l;
	char target[4097], back[4097], name[8];

	(void)state;
	rig_new(&r, MIB(16));
	memset(target, 't', sizeof(target));
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct ptfs_create_args a = { .mode = PTFS_S_IFLNK | 0777, .target = target };

		target[lengths[i]] = 0;
		snprintf(name, sizeof(name), "l%u", i);
		assert_int_equal(ptfs_create(r.root, name, strlen(name), &a, &l), 0);
		target[lengths[i]] = 't';
		ptfs_iput(l);
	}
	for (unsigned round = 0; round < 2; round++) {
		rig_remount(&r, round);
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			snprintf(name, sizeof(name), "l%u", i);
			l = look(r.root, name);
			assert_int_equal(ptfs_readlink(l, back, sizeof(back)), lengths[i]);
			assert_memory_equal(back, target, lengths[i]);
			assert_int_equal(ptfs_readlink(l, back, 1), 1);
			ptfs_iput(l);
		}
	}
	assert_int_equal(ptfs_readlink(r.root, back, 1), -EINVAL);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		snprintf(name, sizeof(name), "l%u", i);
		assert_int_equal(rm(r.root, name), 0);
	}
	rig_free(&r);
}

static void attributes(void **state)
{
	struct ptfs_attr a = { .mode = 04711, .uid = 7, .gid = 9, .atime_ns = 11, .mtime_ns = 13 };
	struct rig r;
	struct ptfs_inode *f;
	struct ptfs_create_args dev = { .mode = PTFS_S_IFCHR | 0600, .rdev = 0x103, .uid = 3 };

	(void)state;
	rig_new(&r, MIB(16));
	host_clock_set(1000);
	f = make_file(r.root, "f");
	host_clock_set(2000);
	assert_int_equal(ptfs_setattr(f,
				      PTFS_ATTR_MODE | PTFS_ATTR_UID | PTFS_ATTR_GID |
					      PTFS_ATTR_ATIME | PTFS_ATTR_MTIME,
				      &a),
			 0);
	ptfs_iput(f);
	assert_int_equal(ptfs_create(r.root, "dev", 3, &dev, &f), 0);
	ptfs_iput(f);
	for (unsigned round = 0; round < 2; round++) {
		rig_remount(&r, round);
		f = look(r.root, "f");
		ptfs_getattr(f, &a);
		assert_int_equal(a.mode, PTFS_S_IFREG | 04711);
		assert_int_equal(a.uid, 7);
		assert_int_equal(a.gid, 9);
		assert_int_equal(a.atime_ns, 11);
		assert_int_equal(a.mtime_ns, 13);
		assert_int_equal(a.ctime_ns, 2000);
		assert_int_equal(a.created_ns, 1000);
		ptfs_iput(f);
		f = look(r.root, "dev");
		assert_int_equal(f->rdev, 0x103);
		assert_int_equal(f->uid, 3);
		assert_int_equal(f->mode, PTFS_S_IFCHR | 0600);
		ptfs_iput(f);
	}
	host_clock_set(3000);
	f = look(r.root, "f");
	assert_int_equal(write_at(f, "x", 1, 0), 1);
	assert_int_equal(f->mtime_ns, 3000);
	host_clock_set(4000);
	assert_int_equal(ptfs_touch(f), 0);
	ptfs_iput(f);
	host_clock_set(0);
	rig_remount(&r, false);
	f = look(r.root, "f");
	assert_int_equal(f->mtime_ns, 4000);
	ptfs_iput(f);
	rig_free(&r);
}

// More inodes than stay in core; numbers are used again.
static void many_inodes(void **state)
{
	enum { N = 1000 };
	struct rig r;
	char name[16];
	u64 inode_blocks;

	(void)state;
	rig_new(&r, MIB(32));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "%u", i);
			ptfs_iput(make_file(r.root, name));
		}
		inode_blocks = round ? inode_blocks : used(r.fs, PTFS_CHUNK_INODE);
		assert_int_equal(used(r.fs, PTFS_CHUNK_INODE), inode_blocks);
		rig_remount(&r, round != 1);
		for (unsigned i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "%u", i);
			assert_int_equal(rm(r.root, name), 0);
		}
	}
	rig_free(&r);
}

// ---- A directory of very many names, read while others come and go ----

enum { CROWD = 60000, LISTED = 500 };

struct crowd {
	u8 seen[CROWD];
	unsigned left; // entries until the listing pauses
	unsigned twice;
};

static void crowd_name(char *name, const char *kind, unsigned i)
{
	snprintf(name, 24, "%s%u", kind, i);
}

static bool crowd_see(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct crowd *c = ctx;
	char copy[24] = { 0 };
	unsigned i;

	(void)ino;
	(void)type;
	(void)next;
	if (!c->left)
		return false;
	c->left--;
	memcpy(copy, name, min(len, sizeof(copy) - 1));
	if (sscanf(copy, "stay%u", &i) == 1)
		c->twice += c->seen[i]++ != 0;
	return true;
}

static void crowd_change(struct ptfs_inode *dir, unsigned round)
{
	char name[24];

	for (unsigned i = round * 100; i < round * 100 + 100 && i < CROWD / 2; i++) {
		crowd_name(name, "go", CROWD / 2 - 1 - i);
		assert_int_equal(rm(dir, name), 0);
		crowd_name(name, "longer-than-those-", i);
		ptfs_iput(make_file(dir, name));
	}
}

// Names that stay are listed exactly once, whatever happens to others between two pieces of the
// listing, and each of them is found; afterwards the directory is empty again, and so is the index.
static void crowd(void **state)
{
	static struct crowd c;
	struct ptfs_inode *dir;
	unsigned rounds = 0;
	char name[24];
	struct rig r;
	u64 pos = 0;

	(void)state;
	rig_new(&r, MIB(96));
	dir = make_dir(r.root, "crowd");
	for (unsigned i = 0; i < CROWD; i++) {
		crowd_name(name, "stay", i);
		ptfs_iput(make_file(dir, name));
		crowd_name(name, "go", i / 2);
		if (i % 2)
			ptfs_iput(make_file(dir, name));
	}
	do {
		c.left = LISTED;
		assert_int_equal(ptfs_readdir(dir, &pos, crowd_see, &c), 0);
		crowd_change(dir, rounds++);
	} while (!c.left);
	assert_int_equal(c.twice, 0);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(c.seen[i], 1);
		crowd_name(name, "stay", i);
		ptfs_iput(look(dir, name));
		assert_int_equal(rm(dir, name), 0);
	}
	for (unsigned i = 0; i < CROWD / 2; i++) {
		bool changed = i < rounds * 100;

		crowd_name(name, "longer-than-those-", i);
		assert_int_equal(rm(dir, name), changed ? 0 : -ENOENT);
		crowd_name(name, "go", CROWD / 2 - 1 - i);
		assert_int_equal(rm(dir, name), changed ? -ENOENT : 0);
	}
	assert_true(ptfs_dir_is_empty(dir));
	ptfs_iput(dir);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(basics),
		cmocka_unit_test(listing),
		cmocka_unit_test(many_names),
		cmocka_unit_test(hard_links),
		cmocka_unit_test(unlinked_but_open),
		cmocka_unit_test(rename_files),
		cmocka_unit_test(rename_dirs),
		cmocka_unit_test(rename_victim_ctime),
		cmocka_unit_test(symlinks),
		cmocka_unit_test(attributes),
		cmocka_unit_test(many_inodes),
		cmocka_unit_test(crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
