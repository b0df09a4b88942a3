// SPDX-License-Identifier: MIT
//
// Several threads at once: writes, faults, reads and truncates of the same files, names in
// directories of their own and in a shared one, attributes, and readiness. Afterwards all
// invariants hold, and every byte is one that somebody wrote there, or zero. (Also worth running
// under -fsanitize=thread.)
#include <pthread.h>

#include "tests/host/ptfs_test.h"

#define THREADS 4u
#define SHARED  3u
#define ROUNDS  300u

struct shared {
	struct rig r;
	struct ptfs_inode *file[SHARED];
	struct ptfs_inode *dir;
	pthread_mutex_t dir_lock; // the directory's lock, which is the caller's
};

struct worker {
	struct shared *s;
	unsigned id;
	u64 seed;
	u8 data[KIB(40)], back[KIB(40)];
	pthread_t thread;
	const char *wrong; // cmocka's assertions belong to the main thread
};

static void expect(struct worker *w, bool ok, const char *what)
{
	if (!ok && !w->wrong)
		w->wrong = what;
}

static u64 place(struct worker *w)
{
	static const u64 base[] = { 0, KIB(20), MIB(2) - KIB(20), GIB(1) - KIB(20) };

	return base[rnd(&w->seed) % ARRAY_SIZE(base)] + rnd(&w->seed) % KIB(40);
}

// A byte of a shared file tells nothing but its place, so that all writers agree.
static void pattern(u8 *data, u64 pos, u64 len)
{
	for (u64 i = 0; i < len; i++)
		data[i] = (u8)((pos + i) * 7 / 5 | 1);
}

static void do_write(struct worker *w, struct ptfs_inode *ip)
{
	u64 pos = place(w), len = rnd(&w->seed) % sizeof(w->data) + 1;

	pattern(w->data, pos, len);
	expect(w, write_at(ip, w->data, len, pos) == (ssize)len, "write");
}

static void do_read(struct worker *w, struct ptfs_inode *ip)
{
	u64 pos = place(w);
	ssize n = read_at(ip, w->back, sizeof(w->back), pos);

	expect(w, n >= 0, "read");
	pattern(w->data, pos, sizeof(w->data));
	for (ssize i = 0; i < n; i++)
		expect(w, !w->back[i] || w->back[i] == w->data[i], "a byte that nobody wrote");
}

static void do_fault(struct worker *w, struct ptfs_inode *ip)
{
	u64 off = ALIGN_DOWN(place(w), KIB(4));
	struct ptfs_page page;
	struct ptfs_map map;
	int err;

	ptfs_map_lock_shared(&ip->home);
	err = ptfs_map_page(ip, off, true, &page);
	expect(w, err == 0 || err == -ENXIO, "fault");
	err = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 64);
	expect(w, err >= 0, "ready");
	err = ptfs_map_table(ip, &map);
	expect(w, err == 0 && map.kind != PTFS_MAP_NONE, "a file that is not ready");
	if (map.kind == PTFS_MAP_ROOT)
		expect(w, map.entry.bits & PTE_P, "P clear");
	ptfs_map_unlock_shared(&ip->home);
}

static void do_names(struct worker *w, unsigned round)
{
	struct shared *s = w->s;
	struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0644 };
	struct ptfs_inode *ip = NULL;
	char name[64], other[64];
	int n = sprintf(name, "%u-%u-%0*u", w->id, round, (int)(round % 40) + 1, round);
	int m = sprintf(other, "moved-%u", w->id);
	int err;

	pthread_mutex_lock(&s->dir_lock);
	err = ptfs_create(s->dir, name, (size_t)n, &a, &ip);
	pthread_mutex_unlock(&s->dir_lock);
	expect(w, !err, "create");
	if (err)
		return;
	expect(w, write_at(ip, name, (u64)n, KIB(60)) == n, "write to a new file");
	expect(w, !ptfs_setattr(ip, PTFS_ATTR_MODE, &(struct ptfs_attr){ .mode = 0600 }), "chmod");
	pthread_mutex_lock(&s->dir_lock);
	err = ptfs_rename(s->dir, name, (size_t)n, s->dir, other, (size_t)m, 0);
	pthread_mutex_unlock(&s->dir_lock);
	expect(w, !err, "rename");
	ptfs_iput(ip);
	if (round % 3)
		return;
	pthread_mutex_lock(&s->dir_lock);
	err = ptfs_unlink(s->dir, other, (size_t)m);
	pthread_mutex_unlock(&s->dir_lock);
	expect(w, !err, "unlink");
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct ptfs_inode *ip = w->s->file[rnd(&w->seed) % SHARED];
		struct ptfs_statfs st;

		switch (rnd(&w->seed) % 8) {
		case 0:
		case 1:
		case 2: do_write(w, ip); break;
		case 3: do_read(w, ip); break;
		case 4: do_fault(w, ip); break;
		case 5: expect(w, !ptfs_truncate(ip, place(w)), "truncate"); break;
		case 6:
			expect(w, !ptfs_fallocate(ip, place(w), KIB(30), i & 1), "fallocate");
			break;
		default: do_names(w, i); break;
		}
		ptfs_statfs(w->s->r.fs, &st);
	}
	return NULL;
}

static void mixed(void **state)
{
	static struct worker worker[THREADS];
	struct shared s = { 0 };
	char name[16];

	(void)state;
	rig_new(&s.r, MIB(64));
	pthread_mutex_init(&s.dir_lock, NULL);
	s.dir = make_dir(s.r.root, "dir");
	for (unsigned i = 0; i < SHARED; i++) {
		snprintf(name, sizeof(name), "shared%u", i);
		s.file[i] = make_file(s.r.root, name);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){ .s = &s, .id = i, .seed = 1000 + i };
		assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(worker[i].thread, NULL);
		if (worker[i].wrong)
			print_message("thread %u: %s\n", i, worker[i].wrong);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_null(worker[i].wrong);
	for (unsigned i = 0; i < SHARED; i++)
		ptfs_iput(s.file[i]);
	ptfs_iput(s.dir);
	pthread_mutex_destroy(&s.dir_lock);
	rig_remount(&s.r, false);
	rig_free(&s.r);
}

// A write of 2 MiB into a hole used to publish a leaf of zeros and to fill it afterwards, so that a
// power failure tore blocks that were new. Now it is filled first; and if a page fault has put a
// block there meanwhile, each of the leaf's blocks goes its own way.
static void *fault_inside(void *arg)
{
	struct ptfs_inode *ip = arg;
	struct ptfs_page page;

	for (unsigned i = 0; i < 3; i++) {
		ptfs_map_lock_shared(&ip->home);
		(void)!ptfs_map_page(ip, MIB(2) + i * KIB(700), true, &page);
		ptfs_map_unlock_shared(&ip->home);
	}
	return NULL;
}

static void leaf_against_fault(void **state)
{
	static u8 data[MIB(2)], back[MIB(2)];
	struct rig r;
	u64 blocks;

	(void)state;
	fill_pattern(data, sizeof(data), 3);
	rig_new(&r, MIB(64));
	for (unsigned round = 0; round < 60; round++) {
		struct ptfs_inode *ip = make_file(r.root, "f");
		pthread_t thread;

		assert_int_equal(ptfs_truncate(ip, MIB(6)), 0);
		assert_int_equal(pthread_create(&thread, NULL, fault_inside, ip), 0);
		assert_int_equal(write_at(ip, data, sizeof(data), MIB(2)), sizeof(data));
		pthread_join(thread, NULL);
		assert_int_equal(read_at(ip, back, sizeof(back), MIB(2)), sizeof(back));
		assert_memory_equal(back, data, sizeof(data));
		blocks = used(r.fs, PTFS_CHUNK_DATA);
		assert_int_equal(blocks, 512);
		ptfs_iput(ip);
		assert_int_equal(rm(r.root, "f"), 0);
		assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), 0);
	}
	rig_remount(&r, false);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(mixed),
					    cmocka_unit_test(leaf_against_fault) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
