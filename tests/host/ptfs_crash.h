// SPDX-License-Identifier: MIT
//
// The explorer of crash states: runs an operation, builds states at each of its fences and at its
// return, mounts each by scan, checks it, and judges what can be seen in it.
#pragma once

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
	bool stay;       // mount states where they were written
};

// Each state is mounted at another address than it was written at, and each at another one.
static const u64 elsewhere[] = { 0x140000000, 0x143e00000, 0x200000000, 0x7fffe00000, 0x200000 };

// ---- Views ----

struct viewer {
	const struct explorer *x;
	struct ptfs_fs *fs;
	struct view *v;
	char path[64];
};

// A sum over whole words, which notices stale ones.
static u64 words_sum(const struct viewer *w, u64 sum, const u8 *bytes, size_t n, bool look)
{
	for (size_t i = 0; i < n; i += 8) {
		u64 word;

		memcpy(&word, bytes + i, 8);
		if (look && word == STALE)
			fail_msg("stale bytes in %s", w->path);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
		sum ^= sum >> 29;
	}
	return sum;
}

// Of the bytes that may be mixed nothing is taken but that they are not stale.
static u32 contents_sum(struct viewer *w, struct ptfs_inode *ip)
{
	bool loose = w->x && w->x->loose && !strcmp(w->path, w->x->loose);
	static u8 bytes[KIB(64) + 8];
	u64 sum = 1;

	for (u64 pos = 0; pos < min(ip->size, MIB(16)); pos += KIB(64)) {
		ssize n = read_at(ip, bytes, KIB(64), pos);

		assert_true(n > 0);
		memset(bytes + n, 0, 8);
		if (loose)
			words_sum(w, 0, bytes, (size_t)n, true);
		for (ssize i = 0; loose && i < n; i++)
			if (pos + (u64)i >= w->x->from && pos + (u64)i < w->x->to)
				bytes[i] = 0;
		sum = words_sum(w, sum, bytes, (size_t)n, !loose);
	}
	return (u32)(sum >> 32);
}

static void view_dir(struct viewer *w, struct ptfs_inode *dir);

static bool view_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct viewer *w = ctx;
	size_t at = strlen(w->path);
	struct ptfs_inode *ip;
	u32 sum = 0;
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
		sum = contents_sum(w, ip);
	snprintf(w->v->line[w->v->n++], sizeof(w->v->line[0]), "%s %o %u %u %llu %08x", w->path,
		 ip->mode, ip->nlink, ip->uid, dir ? 0 : (unsigned long long)ip->size, sum);
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

	if (!x->stay)
		region->base = PHYS(elsewhere[x->states % ARRAY_SIZE(elsewhere)]);
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

__unused static void begin(struct explorer *x, const char *op, const char *loose, u64 from, u64 to)
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

__unused static void end(struct explorer *x)
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

__unused static void start(struct explorer *x, unsigned random)
{
	*x = (struct explorer){ .seed = 4711, .random = random };
	rig_new(&x->r, MIB(24));
	for (u64 off = MIB(2); off < MIB(24); off += PTFS_BLOCK)
		if (!ptfs_bit(ptfs_chunk_at(x->r.fs, off)->used_map, ptfs_block_index(off)))
			memset(x->r.image.map + off, (u8)STALE, PTFS_BLOCK);
}

__unused static void explore(struct explorer *x)
{
	crash_log_start(&x->log, &x->r.image, at_fence, x);
}

__unused static void finish(struct explorer *x)
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
