// SPDX-License-Identifier: MIT
//
// Power failures. At every fence of every operation, and when it returns, states of the medium are
// built (none of the pending words, all of them, random subsets), mounted by scan, checked, and
// compared: an atomic call has happened wholly or not at all, and once it has returned it has
// happened; a write leaves the old or the new size, and changes nothing outside its range.
#include "tests/host/ptfs_test.h"
#include "user/ptfs/crash_log.h"

#define LINES 48u

// Free space holds this where a test can see it: no file may ever show it.
#define STALE 0xa5a5a5a5a5a5a5a5ull

// What can be seen of a file system: a line per name, sorted.
struct view {
	unsigned n;
	char line[LINES][96];
};

struct explorer {
	struct rig r;
	struct crash_log log;
	u64 seed;
	const char *op;
	const char *loose; // file that a write changes: its bytes of [from, to) may be mixed
	u64 from, to;
	struct view before, *seen;
	unsigned nr_seen, states;
	unsigned random; // random subsets per fence
};

// ---- Views ----

struct viewer {
	const struct explorer *x;
	struct ptfs_fs *fs;
	struct view *v;
	char path[64];
};

// Of the bytes that may be mixed nothing is taken but that they are not stale.
static u32 contents_crc(struct viewer *w, struct ptfs_inode *ip)
{
	bool loose = w->x && w->x->loose && !strcmp(w->path, w->x->loose);
	static u8 bytes[KIB(64)];
	u64 stale = STALE;
	u32 crc = 0;

	for (u64 pos = 0; pos < min(ip->size, MIB(16)); pos += sizeof(bytes)) {
		ssize n = read_at(ip, bytes, sizeof(bytes), pos);

		assert_true(n > 0);
		for (ssize i = 0; i + 8 <= n; i += 8)
			assert_memory_not_equal(bytes + i, &stale, 8);
		for (ssize i = 0; loose && i < n; i++)
			if (pos + (u64)i >= w->x->from && pos + (u64)i < w->x->to)
				bytes[i] = 0;
		crc = crc32c(crc, bytes, (size_t)n);
	}
	return crc;
}

static void view_dir(struct viewer *w, struct ptfs_inode *dir);

static bool view_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct viewer *w = ctx;
	size_t at = strlen(w->path);
	struct ptfs_inode *ip;
	u32 crc = 0;
	bool dir;

	(void)type;
	(void)next;
	if (name[0] == '.')
		return true;
	assert_int_equal(ptfs_iget(w->fs, ino, &ip), 0);
	assert_true(w->v->n < LINES);
	dir = (ip->mode & PTFS_S_IFMT) == PTFS_S_IFDIR; // their size may run ahead of their names
	snprintf(w->path + at, sizeof(w->path) - at, "/%.*s", (int)len, name);
	if ((ip->mode & PTFS_S_IFMT) == PTFS_S_IFREG)
		crc = contents_crc(w, ip);
	snprintf(w->v->line[w->v->n++], sizeof(w->v->line[0]), "%s %o %u %u %llu %08x", w->path,
		 ip->mode, ip->nlink, ip->uid, dir ? 0 : (unsigned long long)ip->size, crc);
	if (dir)
		view_dir(w, ip);
	w->path[at] = 0;
	ptfs_iput(ip);
	return true;
}

static void view_dir(struct viewer *w, struct ptfs_inode *dir)
{
	u64 pos = 0;

	assert_int_equal(ptfs_readdir(dir, &pos, view_name, w), 0);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void view_fs(const struct explorer *x, struct ptfs_fs *fs, struct view *v)
{
	struct viewer w = { .x = x, .fs = fs, .v = v };
	struct ptfs_inode *root;

	memset(v, 0, sizeof(*v));
	assert_int_equal(ptfs_iget(fs, PTFS_INO_ROOT, &root), 0);
	view_dir(&w, root);
	ptfs_iput(root);
	qsort(v->line, v->n, sizeof(v->line[0]), by_text);
}

static bool same(const struct view *a, const struct view *b)
{
	return !memcmp(a, b, sizeof(*a));
}

// ---- States ----

static bool take_all(void *ctx, u64 index, const struct crash_word *w)
{
	(void)ctx;
	(void)index;
	(void)w;
	return true;
}

static bool take_some(void *ctx, u64 index, const struct crash_word *w)
{
	struct explorer *x = ctx;

	(void)index;
	(void)w;
	return rnd(&x->seed) & 1;
}

static void remember(struct explorer *x, const struct view *v)
{
	for (unsigned i = 0; i < x->nr_seen; i++)
		if (same(&x->seen[i], v))
			return;
	x->seen = realloc(x->seen, (x->nr_seen + 1) * sizeof(*x->seen));
	x->seen[x->nr_seen++] = *v;
}

// Mount, look, use, unmount; check.
static void try_state(struct explorer *x,
		      bool (*take)(void *ctx, u64 index, const struct crash_word *w))
{
	struct ptfs_region *region = crash_log_state(&x->log, take, x);
	struct ptfs_check_result result;
	struct ptfs_inode *root;
	struct ptfs_fs *fs;
	struct view v;

	x->states++;
	if (getenv("V"))
		print_message("%s fence %llu words %llu %s\n", x->op,
			      (unsigned long long)x->log.fences, (unsigned long long)x->log.words,
			      take == take_all ? "all"
			      : take           ? "some"
					       : "none");
	if (ptfs_mount(region, "state", 0, &fs)) {
		print_message("%s, fence %llu: does not mount\n", x->op,
			      (unsigned long long)x->log.fences);
		fail();
	}
	view_fs(x, fs, &v);
	remember(x, &v);
	assert_int_equal(ptfs_iget(fs, PTFS_INO_ROOT, &root), 0);
	ptfs_iput(make_file(root, "afterwards"));
	assert_int_equal(rm(root, "afterwards"), 0);
	ptfs_iput(root);
	assert_int_equal(ptfs_unmount(fs), 0);
	assert_int_equal(ptfs_check(region, rig_report, NULL, &result), 0);
	if (result.errors || result.leaked) {
		print_message("%s, fence %llu: %llu errors, %llu leaked\n", x->op,
			      (unsigned long long)x->log.fences, (unsigned long long)result.errors,
			      (unsigned long long)result.leaked);
		fail();
	}
	crash_log_back(&x->log);
}

static void at_fence(void *ctx, struct crash_log *log)
{
	struct explorer *x = ctx;

	if (!log->words)
		return;
	try_state(x, NULL);
	try_state(x, take_all);
	for (unsigned i = 0; i < x->random; i++)
		try_state(x, take_some);
}

// ---- Judging ----

static void print_view(const char *title, const struct view *v)
{
	print_message("%s:\n", title);
	for (unsigned i = 0; i < v->n; i++)
		print_message("  %s\n", v->line[i]);
}

static void begin(struct explorer *x, const char *op, const char *loose, u64 from, u64 to)
{
	x->op = op;
	x->loose = loose;
	x->from = from;
	x->to = to;
	x->nr_seen = 0;
	crash_log_pause(&x->log);
	view_fs(x, x->r.fs, &x->before);
	crash_log_resume(&x->log);
}

static void end(struct explorer *x)
{
	struct view after;

	crash_log_pause(&x->log);
	view_fs(x, x->r.fs, &after);
	crash_log_resume(&x->log);
	for (unsigned i = 0; i < x->nr_seen; i++) {
		const struct view *v = &x->seen[i];

		if (same(v, &x->before) || same(v, &after))
			continue;
		print_message("%s: a state that is neither before nor after\n", x->op);
		print_view("before", &x->before);
		print_view("after", &after);
		print_view("state", v);
		fail();
	}
	// Returned: nothing that is still pending may matter.
	x->nr_seen = 0;
	try_state(x, NULL);
	try_state(x, take_all);
	for (unsigned i = 0; i < x->nr_seen; i++) {
		if (same(&x->seen[i], &after))
			continue;
		print_message("%s: returned, but a crash undoes it\n", x->op);
		print_view("after", &after);
		print_view("state", &x->seen[i]);
		fail();
	}
}

static void start(struct explorer *x, unsigned random)
{
	*x = (struct explorer){ .seed = 4711, .random = random };
	rig_new(&x->r, MIB(24));
	for (u64 off = MIB(2); off < MIB(24); off += PTFS_BLOCK)
		if (!ptfs_bit(ptfs_chunk_at(x->r.fs, off)->used_map, ptfs_block_index(off)))
			memset(x->r.image.map + off, (u8)STALE, PTFS_BLOCK);
}

static void explore(struct explorer *x)
{
	crash_log_start(&x->log, &x->r.image, at_fence, x);
}

static void finish(struct explorer *x)
{
	crash_log_stop(&x->log);
	free(x->seen);
	rig_free(&x->r);
}

#define OP_RANGE(x, loose, from, to, call)                                                         \
	do {                                                                                       \
		begin(x, #call, loose, from, to);                                                  \
		assert_int_equal(call, 0);                                                         \
		end(x);                                                                            \
	} while (0)
#define OP(x, call) OP_RANGE(x, NULL, 0, 0, call)
#define WRITE(x, name, ip, bytes, position)                                                        \
	OP_RANGE(x, name, position, (position) + (bytes), put(ip, bytes, position))

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
	assert_true(s.states > 6);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
