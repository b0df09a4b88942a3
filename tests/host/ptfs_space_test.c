// SPDX-License-Identifier: MIT
//
// Space: what is counted is what is there, after any history and on any number of CPUs; a full file
// system gives each block that it said was free, and takes each back.
#include <pthread.h>

#include "tests/host/ptfs_test.h"

#define FILES 8u

// Counters against bits, bits against lists; then against what a scan finds in the tables alone.
static void check_counts(struct rig *r)
{
	struct ptfs_statfs now, scanned;
	struct host_image copy;
	struct ptfs_fs *fs;
	const char *wrong = ptfs_alloc_verify(r->fs);

	if (wrong)
		print_message("%s\n", wrong);
	assert_null(wrong);
	ptfs_statfs(r->fs, &now);
	host_image_copy(&copy, r->image.map, r->image.bytes, TEST_BASE);
	assert_int_equal(ptfs_mount(&copy.region, "copy", PTFS_MOUNT_SCAN, &fs), 0);
	ptfs_statfs(fs, &scanned);
	ptfs_abandon(fs);
	host_image_close(&copy);
	host_image_activate(&r->image);
	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		assert_int_equal(now.used[t], scanned.used[t]);
	assert_int_equal(now.inodes, scanned.inodes);
	assert_int_equal(now.blocks_free, scanned.blocks_free);
}

static struct ptfs_inode *numbered(struct rig *r, unsigned n)
{
	char name[16];

	snprintf(name, sizeof(name), "f%u", n);
	return make_file(r->root, name);
}

static void remove_numbered(struct rig *r, unsigned n)
{
	char name[16];

	snprintf(name, sizeof(name), "f%u", n);
	assert_int_equal(rm(r->root, name), 0);
}

// Any of these may run out of space, and then has changed no count.
static void random_step(struct ptfs_inode *ip, u64 *seed)
{
	static u8 data[MIB(3)];
	u64 pos = rnd(seed) % MIB(6), len = rnd(seed) % (rnd(seed) % 3 ? KIB(80) : MIB(3)) + 1;
	struct ptfs_page page;
	s64 err = 0;

	switch (rnd(seed) % 8) {
	case 0: err = ptfs_truncate(ip, pos); break;
	case 1: err = ptfs_punch(ip, pos, len); break;
	case 2: err = ptfs_fallocate(ip, pos, len, rnd(seed) & 1); break;
	case 3: err = ptfs_truncate(ip, 0); break;
	case 4:
		err = ptfs_collapse(ip, ALIGN_DOWN(pos, PTFS_BLOCK), ALIGN_UP(len, PTFS_BLOCK));
		break;
	case 5: err = ptfs_map_page(ip, ALIGN_DOWN(pos, PTFS_BLOCK), true, &page); break;
	default: err = write_at(ip, data, len, pos); break;
	}
	assert_true(err >= 0 || err == -ENOSPC || err == -EINVAL || err == -ENXIO);
}

static void history(u64 seed)
{
	struct ptfs_inode *file[FILES];
	struct rig r;

	rig_new(&r, MIB(24)); // some of the steps meet a full file system
	for (unsigned i = 0; i < FILES; i++)
		file[i] = numbered(&r, i);
	for (unsigned i = 0; i < 240; i++) {
		random_step(file[rnd(&seed) % FILES], &seed);
		if (i % 8 == 0)
			check_counts(&r);
	}
	for (unsigned i = 0; i < FILES; i++) {
		ptfs_iput(file[i]);
		remove_numbered(&r, i);
	}
	check_counts(&r);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), 0);
	rig_free(&r);
}

static void counts_are_exact(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 5; seed++)
		history(seed * 104729);
}

// ---- Full ----

static u64 free_blocks(struct rig *r)
{
	struct ptfs_statfs s;

	ptfs_statfs(r->fs, &s);
	return s.blocks_free;
}

// Every block that statfs calls free can be had, by small writes as by large ones, and one more
// cannot.
static void every_free_block(void **state)
{
	static u8 data[MIB(4)];

	(void)state;
	for (u64 step = PTFS_BLOCK; step <= sizeof(data); step *= 32) {
		struct ptfs_inode *ip;
		struct rig r;
		u64 pos = 0, left;
		ssize n;

		rig_new(&r, MIB(32));
		ip = make_file(r.root, "full");
		left = free_blocks(&r);
		do {
			n = write_at(ip, data, step, pos);
			if (n > 0)
				pos += (u64)n;
		} while (n > 0);
		assert_int_equal(n, -ENOSPC);
		assert_int_equal(pos, left * PTFS_BLOCK);
		assert_int_equal(free_blocks(&r), 0);
		check_counts(&r);
		assert_int_equal(ptfs_truncate(ip, 0), 0);
		assert_int_equal(free_blocks(&r), left);
		ptfs_iput(ip);
		rig_free(&r);
	}
}

// ---- Several CPUs ----

#define THREADS 6u

struct worker {
	struct ptfs_inode *ip;
	u64 seed, taken;
	pthread_t thread;
};

static void *take_all(void *arg)
{
	struct worker *w = arg;
	u8 data[PTFS_BLOCK];
	ssize n;

	memset(data, 'x', sizeof(data));
	do {
		n = write_at(w->ip, data, sizeof(data), w->taken * PTFS_BLOCK);
		w->taken += n > 0;
	} while (n > 0);
	return n == -ENOSPC ? NULL : arg;
}

static void *churn(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 150; i++)
		random_step(w->ip, &w->seed);
	return NULL;
}

static void run_all(struct worker *w, void *(*fn)(void *))
{
	void *failed;

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, fn, &w[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, &failed);
		assert_null(failed);
	}
}

// Each CPU has a chunk of its own; before one of them is told that nothing is left, it has got what
// the others had.
static void cpus_share_the_last_block(void **state)
{
	struct worker w[THREADS] = { 0 };
	struct rig r;
	u64 left, taken = 0;

	(void)state;
	rig_new(&r, MIB(64));
	for (unsigned i = 0; i < THREADS; i++)
		w[i].ip = numbered(&r, i);
	left = free_blocks(&r);
	run_all(w, take_all);
	for (unsigned i = 0; i < THREADS; i++)
		taken += w[i].taken;
	assert_int_equal(taken, left);
	check_counts(&r);
	for (unsigned i = 0; i < THREADS; i++) {
		ptfs_iput(w[i].ip);
		remove_numbered(&r, i);
	}
	assert_int_equal(free_blocks(&r), left);
	rig_free(&r);
}

static void counts_on_many_cpus(void **state)
{
	struct worker w[THREADS] = { 0 };
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].ip = numbered(&r, i);
		w[i].seed = 31 + i;
	}
	for (unsigned round = 0; round < 6; round++) {
		run_all(w, churn);
		check_counts(&r);
	}
	for (unsigned i = 0; i < THREADS; i++)
		ptfs_iput(w[i].ip);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_exact),
		cmocka_unit_test(every_free_block),
		cmocka_unit_test(cpus_share_the_last_block),
		cmocka_unit_test(counts_on_many_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
