// SPDX-License-Identifier: MIT
//
// Repair. Each way to damage an image (ptfs_damage_ways.h) is found, repaired, and gone in a second
// run; what was not damaged is as it was; and no moment at which the repair is cut off makes it
// worse.
//
//      ptfs_repair_test --write DIR    leaves the damaged images in DIR, for tests/system/damage.t
#include "tests/host/ptfs_damage_ways.h"
#include "user/ptfs/crash_log.h"
#include "user/ptfs/repair.h"

#define LINES 128
#define SPOIL 512
#define DIMMS 15 // of a machine in tests/system/damage.t

// What a file system shows: a line for each path.
struct view {
	unsigned n;
	char line[LINES][SPOIL];
};

struct viewer {
	struct ptfs_fs *fs;
	struct view *v;
	char path[300];
	bool strict;
};

static struct host_image scene; // sound
static struct view scene_view;

static u32 contents(struct ptfs_inode *ip)
{
	static u8 buf[KIB(64)];
	u32 crc = 0;
	ssize n = 0;

	if (ptfs_is(ip, PTFS_S_IFLNK)) {
		n = ptfs_readlink(ip, (char *)buf, sizeof(buf));
		return crc32c(0, buf, n < 0 ? 0 : (size_t)n);
	}
	for (u64 pos = 0; ptfs_is(ip, PTFS_S_IFREG) && pos < min(ip->size, MIB(24));
	     pos += (u64)n) {
		n = read_at(ip, buf, sizeof(buf), pos);
		if (n <= 0)
			break;
		crc = crc32c(crc, buf, (size_t)n);
	}
	return n < 0 ? 0 : crc;
}

static void view_dir(struct viewer *w, struct ptfs_inode *dir, unsigned depth);

static bool view_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct viewer *w = ctx;
	size_t at = strlen(w->path);
	struct ptfs_inode *ip;

	(void)type;
	(void)next;
	if (name[0] == '.' || at + len + 2 > sizeof(w->path) || w->v->n == LINES)
		return true;
	if (ptfs_iget(w->fs, ino, &ip)) {
		assert_false(w->strict);
		return true;
	}
	snprintf(w->path + at, sizeof(w->path) - at, "/%.*s", (int)len, name);
	snprintf(w->v->line[w->v->n++], SPOIL, "%s %o %u %llu %08x", w->path, ip->mode,
		 ptfs_is(ip, PTFS_S_IFDIR) ? 0 : ip->nlink,
		 ptfs_is(ip, PTFS_S_IFDIR) ? 0 : (unsigned long long)ip->size, contents(ip));
	if (ptfs_is(ip, PTFS_S_IFDIR) && at < 100)
		view_dir(w, ip, 0);
	w->path[at] = 0;
	ptfs_iput(ip);
	return true;
}

static void view_dir(struct viewer *w, struct ptfs_inode *dir, unsigned depth)
{
	u64 pos = 0;
	int err = ptfs_readdir(dir, &pos, view_name, w);

	(void)depth;
	assert_true(!w->strict || !err);
}

static void view_fs(struct ptfs_fs *fs, struct view *v, bool strict)
{
	struct viewer w = { .fs = fs, .v = v, .strict = strict };
	struct ptfs_inode *root;

	v->n = 0;
	assert_int_equal(ptfs_iget(fs, PTFS_INO_ROOT, &root), 0);
	view_dir(&w, root, 0);
	ptfs_iput(root);
}

static bool is_spoiled(const struct damage *d, const char *line)
{
	size_t path = strcspn(line, " ");

	for (const char *s = d->spoiled; *s; s += strcspn(s, " "), s += strspn(s, " ")) {
		size_t len = strcspn(s, " ");

		if (len == 1 ||
		    (path >= len && !memcmp(line, s, len) && (path == len || line[len] == '/')))
			return true;
	}
	return false;
}

static void same_but_spoiled(const struct damage *d, const struct view *now)
{
	for (unsigned i = 0; i < scene_view.n; i++) {
		const char *line = scene_view.line[i];
		bool there = is_spoiled(d, line);

		for (unsigned k = 0; k < now->n && !there; k++)
			there = !strcmp(line, now->line[k]);
		if (!there)
			print_message("%s: missing or different: %s\n", d->name, line);
		assert_true(there);
	}
}

static void quiet(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	if (getenv("V"))
		rig_report(ctx, what, ino, a, b);
}

static const struct repair_options options = { .report = quiet };

static void damaged(struct host_image *im, const struct damage *d)
{
	struct rig r;

	host_image_copy(&r.image, scene.map, scene.bytes, scene_base);
	rig_mount(&r);
	ptfs_iput(r.root);
	d->make(&r);
	ptfs_abandon(r.fs);
	host_image_copy(im, r.image.map, r.image.bytes, scene_base);
	host_image_close(&r.image);
}

static void expect_sound(const struct damage *d, struct host_image *im)
{
	static struct view now;
	struct ptfs_fs *fs;

	image_check(im, 0);
	assert_int_equal(ptfs_mount(&im->region, "repaired", 0, &fs), 0);
	view_fs(fs, &now, true);
	same_but_spoiled(d, &now);
	assert_int_equal(ptfs_unmount(fs), 0);
}

static void repair_one(const struct damage *d)
{
	struct repair_result result;
	struct host_image im;

	damaged(&im, d);
	if (getenv("V"))
		print_message("-- %s\n", d->name);
	assert_int_equal(ptfs_repair(&im.region, &options, &result), 0);
	assert_true(result.found > 0);
	expect_sound(d, &im);
	assert_int_equal(ptfs_repair(&im.region, &options, &result), 0);
	assert_int_equal(result.found, 0);
	assert_true(result.was_clean && !result.written);
	host_image_close(&im);
}

// The core itself, handed the damaged image: it may refuse, and goes on.
static void mount_one(const struct damage *d, bool scan)
{
	static struct view now;
	struct ptfs_inode *root, *ip;
	struct host_image im;
	struct ptfs_fs *fs;

	damaged(&im, d);
	if (!ptfs_mount(&im.region, "damaged", scan ? PTFS_MOUNT_SCAN : 0, &fs)) {
		view_fs(fs, &now, false);
		assert_int_equal(ptfs_iget(fs, PTFS_INO_ROOT, &root), 0);
		if (!make_in(root, "new", PTFS_S_IFREG | 0644, &ip)) {
			if (write_at(ip, "new", 3, 0) < 0)
				print_message("%s: no write\n", d->name);
			ptfs_iput(ip);
		}
		ptfs_iput(root);
		assert_int_equal(ptfs_unmount(fs), 0);
	}
	host_image_close(&im);
}

static void one(void **state)
{
	const struct damage *d = *state;
	struct heard heard;

	hear(&heard);
	repair_one(d);
	mount_one(d, false);
	mount_one(d, true);
	host_log_to(NULL, NULL);
	assert_int_equal(host_allocs_live(), 0);
}

// ---- Cut off ----

static bool take_all(void *ctx, u64 index, const struct crash_word *w)
{
	(void)ctx;
	(void)index;
	(void)w;
	return true;
}

static bool take_some(void *ctx, u64 index, const struct crash_word *w)
{
	(void)index;
	(void)w;
	return rnd(ctx) & 1;
}

typedef bool (*take_fn)(void *ctx, u64 index, const struct crash_word *w);

struct cut {
	const struct damage *d;
	u64 seed, states, moments, every;
};

static void cut_state(struct cut *c, struct crash_log *log, take_fn take)
{
	struct ptfs_region *region = crash_log_state(log, take, &c->seed);
	struct repair_result result;
	struct ptfs_check_result check;
	static struct view now;
	struct ptfs_fs *fs;

	c->states++;
	assert_int_equal(ptfs_repair(region, &options, &result), 0);
	assert_int_equal(ptfs_check(region, rig_report, NULL, &check), 0);
	assert_int_equal(check.errors, 0);
	assert_int_equal(ptfs_mount(region, "state", 0, &fs), 0);
	view_fs(fs, &now, true);
	same_but_spoiled(c->d, &now);
	assert_int_equal(ptfs_unmount(fs), 0);
	crash_log_back(log);
}

static void cut_here(void *ctx, struct crash_log *log)
{
	struct cut *c = ctx;

	static const take_fn take[] = { NULL, take_all, take_some };

	if (!log->words || ++c->moments % c->every)
		return;
	cut_state(c, log, take[rnd(&c->seed) % 3]);
}

static void cut_off(void **state)
{
	const char *every = getenv("PTFS_CUT_EVERY"); // 1: each fence of each repair
	u64 states = 0;
	struct heard heard;

	(void)state;
	hear(&heard);
	for (unsigned i = 0; i < ARRAY_SIZE(damages); i++) {
		struct cut c = { .d = &damages[i],
				 .seed = i + 1,
				 .every = every ? strtoull(every, NULL, 0) : 13 };
		struct repair_result result;
		struct crash_log log;
		struct host_image im;

		damaged(&im, c.d);
		crash_log_start(&log, &im, cut_here, &c);
		assert_int_equal(ptfs_repair(&im.region, &options, &result), 0);
		crash_log_stop(&log);
		host_image_close(&im);
		states += c.states;
	}
	host_log_to(NULL, NULL);
	print_message("%llu states of a repair that was cut off\n", (unsigned long long)states);
}

// ---- What is not ours to repair ----

// Found by the fuzzer: an image of a later version of ptfs, which this one may read and not write
// (unknown bits in ro_compat), with a transaction open. The repair wrote to the superblock, and
// then rolled the transaction back on a mount that was read-only, which an assertion ended.
static void later_version(void **state)
{
	struct repair_result result;
	struct host_image im, before;
	struct ptfs_super *s;
	struct heard heard;

	(void)state;
	host_image_copy(&im, scene.map, scene.bytes, scene_base);
	s = (void *)im.map;
	s->ro_compat = LE64(0xfd);
	s->crc = LE32(crc32c(0, s, PTFS_SUPER_CRC_BYTES));
	memcpy(im.map + le64(s->journal_off), &LE64(5 << PTFS_TX_COUNT_BITS | 1), 8);
	host_image_copy(&before, im.map, im.bytes, scene_base);
	hear(&heard);
	assert_int_equal(ptfs_repair(&im.region, &options, &result), -EROFS);
	host_log_to(NULL, NULL);
	assert_false(result.written);
	assert_memory_equal(im.map, before.map, im.bytes);
	host_image_close(&before);
	host_image_close(&im);
}

static void leave_inodes_behind(struct rig *r)
{
	u64 inode = inode_at(r, "/direct"), from = ALIGN_DOWN(inode, PTFS_BLOCK);
	u64 to = ALIGN_DOWN(from, PTFS_CHUNK) + PTFS_CHUNK - PTFS_BLOCK, nr = r->fs->chunks - 1;
	u64 slot = to + inode % PTFS_BLOCK + offsetof(struct ptfs_dinode, direct);

	assert_true(from != to && !get8(r, to));
	assert_int_equal(get8(r, inode + offsetof(struct ptfs_dinode, root)), 0);
	while (ptfs_chunk_at(r->fs, nr << PTFS_CHUNK_SHIFT)->type != PTFS_CHUNK_FREE)
		assert_true(nr--);
	memcpy(r->image.map + to, r->image.map + from, PTFS_BLOCK);
	change8(r, slot, PTE_ADDR, ptfs_pa(r->fs, nr << PTFS_CHUNK_SHIFT).pa);
}

// Found by the fuzzer: a free block in a chunk of inodes, with what it held when it was a block of
// the table. The files in it voted on the types of chunks, free ones became chunks of data, the
// mount that ends a repair freed them, and so each check found them anew, forever.
static void left_behind(void **state)
{
	static const struct damage none = { "left_behind", leave_inodes_behind, "" };
	struct repair_result result;
	struct host_image im;

	(void)state;
	damaged(&im, &none);
	assert_int_equal(ptfs_repair(&im.region, &options, &result), 0);
	assert_int_equal(result.found, 0);
	assert_true(result.was_clean && !result.written);
	expect_sound(&none, &im);
	host_image_close(&im);
}

// ---- Setup ----

static int scene_setup(void **state)
{
	struct rig r;

	(void)state;
	scene_make(&r);
	rig_mount(&r);
	view_fs(r.fs, &scene_view, true);
	rig_unmount(&r);
	host_image_copy(&scene, r.image.map, r.image.bytes, 0);
	host_image_close(&r.image);
	return 0;
}

static void image_write(const char *folder, const struct damage *d)
{
	struct host_image im, file;
	char path[512];

	damaged(&im, d);
	snprintf(path, sizeof(path), "%s/%s.img", folder, d->name);
	if (host_image_create(&file, path, im.bytes, GIB(64)))
		exit(1);
	for (u64 off = 0; off < im.bytes; off += PTFS_BLOCK)
		if (memcmp(file.map + off, im.map + off, PTFS_BLOCK) != 0)
			memcpy(file.map + off, im.map + off, PTFS_BLOCK);
	host_image_close(&file);
	host_image_close(&im);
	printf("%s %#llx\n", d->name, (unsigned long long)scene_base);
}

// A file for each kind, in groups that fit a machine with DIMMS of them.
static int write_images(const char *folder)
{
	for (unsigned i = 0; i < DIMMS; i++) {
		scene_base = TEST_BASE + i * SCENE_BYTES;
		scene_setup(NULL);
		for (unsigned k = i; k < ARRAY_SIZE(damages); k += DIMMS)
			image_write(folder, &damages[k]);
		host_image_close(&scene);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[ARRAY_SIZE(damages) + 3];

	if (argc == 3 && !strcmp(argv[1], "--write"))
		return write_images(argv[2]);
	for (unsigned i = 0; i < ARRAY_SIZE(damages); i++)
		tests[i] = (struct CMUnitTest){ .name = damages[i].name,
						.test_func = one,
						.initial_state = (void *)(uintptr_t)&damages[i] };
	tests[ARRAY_SIZE(damages)] = (struct CMUnitTest)cmocka_unit_test(cut_off);
	tests[ARRAY_SIZE(damages) + 1] = (struct CMUnitTest)cmocka_unit_test(later_version);
	tests[ARRAY_SIZE(damages) + 2] = (struct CMUnitTest)cmocka_unit_test(left_behind);
	return cmocka_run_group_tests(tests, scene_setup, NULL);
}
