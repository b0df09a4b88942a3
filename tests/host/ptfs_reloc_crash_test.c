// SPDX-License-Identifier: MIT
//
// Power failures while an image moves and while its entries are rewritten: states at every fence,
// each mounted at yet another address; crashes inside that; what an open transaction brings back.
#include "tests/host/ptfs_reloc.h"

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

// A second crash: while the state of the first is mounted elsewhere, and while the pass runs.
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
	static bool (*const take[])(void *, u64, const struct crash_word *) = {
		NULL, take_every, take_half, take_half, take_half, take_half
	};
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

// An undo record holds an entry of the old base. It goes back before bases are touched, and means
// the same afterwards.
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crash_moving),
		cmocka_unit_test(crash_making_room),
		cmocka_unit_test(crash_twice),
		cmocka_unit_test(rollback_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
