// SPDX-License-Identifier: MIT
//
// Random operations against a model in ordinary memory, compared after every few of them and after
// remounts, clean and not. A file's model is a handful of windows around the places where trees
// change their shape; the rest of it is zeros. Seeds are fixed: a failure repeats.
#include "tests/host/ptfs_test.h"

#define FILES 12u
#define DIRS  3u
#define HALF  KIB(48)

static const u64 centres[] = { HALF, MIB(2), MIB(4), GIB(1) };
#define WINDOWS ARRAY_SIZE(centres)

struct model_file {
	bool exists;
	unsigned dir; // 0: the root, else 1 + which directory
	u64 size;
	bool wide;           // there is data outside the windows
	u8 *window[WINDOWS]; // 2 * HALF bytes each
};

struct world {
	struct rig r;
	u64 seed;
	struct model_file file[FILES];
	bool dir[DIRS];
	unsigned step;
	const char *what; // the last operation, for messages
};

static u64 pick(struct world *w, u64 n)
{
	return rnd(&w->seed) % n;
}

static void name_of(unsigned f, char *out)
{
	sprintf(out, "file-%0*u", (int)(f * 11 % 60) + 1, f);
}

static void dir_name(unsigned d, char *out)
{
	sprintf(out, "dir%u", d);
}

static struct ptfs_inode *open_dir(struct world *w, unsigned dir)
{
	char name[16];

	if (!dir) {
		ptfs_ihold(w->r.root);
		return w->r.root;
	}
	dir_name(dir - 1, name);
	return look(w->r.root, name);
}

static struct ptfs_inode *open_file(struct world *w, unsigned f)
{
	struct ptfs_inode *dir = open_dir(w, w->file[f].dir);
	struct ptfs_inode *ip;
	char name[128];

	name_of(f, name);
	ip = look(dir, name);
	ptfs_iput(dir);
	return ip;
}

// ---- The model of a file's bytes ----

static void model_set(struct model_file *m, u64 pos, u64 len, const u8 *data)
{
	for (unsigned i = 0; i < WINDOWS; i++) {
		u64 from = max(pos, centres[i] - HALF);
		u64 to = min(pos + len, centres[i] + HALF);

		if (from >= to)
			continue;
		if (data)
			memcpy(m->window[i] + (from - (centres[i] - HALF)), data + (from - pos),
			       to - from);
		else
			memset(m->window[i] + (from - (centres[i] - HALF)), 0, to - from);
	}
}

static void compare(struct world *w, unsigned f)
{
	static u8 back[2 * HALF];
	struct model_file *m = &w->file[f];
	struct ptfs_inode *ip = open_file(w, f);

	assert_int_equal(ip->size, m->size);
	for (unsigned i = 0; i < WINDOWS; i++) {
		u64 pos = centres[i] - HALF;
		u64 want = m->size > pos ? min(m->size - pos, 2 * HALF) : 0;

		assert_int_equal(read_at(ip, back, sizeof(back), pos), want);
		if (memcmp(back, m->window[i], want)) {
			print_message("step %u (%s): file %u, window %u differs\n", w->step,
				      w->what, f, i);
			fail();
		}
	}
	ptfs_iput(ip);
}

static void compare_all(struct world *w)
{
	for (unsigned f = 0; f < FILES; f++)
		if (w->file[f].exists)
			compare(w, f);
}

// ---- Operations ----

static u64 place(struct world *w)
{
	return centres[pick(w, WINDOWS)] - HALF + pick(w, 2 * HALF);
}

static void op_create(struct world *w, unsigned f)
{
	unsigned dir = (unsigned)pick(w, DIRS + 1);
	struct ptfs_inode *d;
	char name[128];

	w->what = "create";
	if (dir && !w->dir[dir - 1])
		dir = 0;
	d = open_dir(w, dir);
	name_of(f, name);
	ptfs_iput(make_file(d, name));
	ptfs_iput(d);
	w->file[f].exists = true;
	w->file[f].dir = dir;
	w->file[f].size = 0;
	w->file[f].wide = false;
	model_set(&w->file[f], 0, 2 * GIB(1), NULL);
}

static void op_unlink(struct world *w, unsigned f)
{
	struct ptfs_inode *d = open_dir(w, w->file[f].dir);
	char name[128];

	w->what = "unlink";
	name_of(f, name);
	assert_int_equal(rm(d, name), 0);
	ptfs_iput(d);
	w->file[f].exists = false;
}

static bool in_windows(u64 pos, u64 len)
{
	for (unsigned i = 0; i < WINDOWS; i++)
		if (pos >= centres[i] - HALF && pos + len <= centres[i] + HALF)
			return true;
	return false;
}

static void op_write(struct world *w, unsigned f)
{
	static u8 data[MIB(3)];
	u64 pos = place(w);
	u64 len = pick(w, 20) ? pick(w, KIB(20)) + 1 : pick(w, sizeof(data)) + 1;
	struct ptfs_inode *ip = open_file(w, f);

	w->what = "write";
	if (len > MIB(1))
		pos = ALIGN_DOWN(pos, PTFS_CHUNK);
	w->file[f].wide |= !in_windows(pos, len);
	fill_pattern(data, len, w->step);
	assert_int_equal(write_at(ip, data, len, pos), len);
	model_set(&w->file[f], pos, len, data);
	w->file[f].size = max(w->file[f].size, pos + len);
	ptfs_iput(ip);
}

static void op_truncate(struct world *w, unsigned f)
{
	struct ptfs_inode *ip = open_file(w, f);
	u64 size = pick(w, 8) ? place(w) : 0;

	w->what = "truncate";
	if (!pick(w, 4))
		size = ALIGN_DOWN(size, KIB(4));
	assert_int_equal(ptfs_truncate(ip, size), 0);
	if (size < w->file[f].size)
		model_set(&w->file[f], size, 4 * GIB(1), NULL);
	w->file[f].size = size;
	ptfs_iput(ip);
}

static void op_fallocate(struct world *w, unsigned f)
{
	struct ptfs_inode *ip = open_file(w, f);
	u64 pos = place(w), len = pick(w, 4) ? pick(w, KIB(50)) + 1 : MIB(4);
	bool keep = pick(w, 2);

	w->what = "fallocate";
	assert_int_equal(ptfs_fallocate(ip, pos, len, keep), 0);
	if (!keep)
		w->file[f].size = max(w->file[f].size, pos + len);
	ptfs_iput(ip);
}

static void op_punch(struct world *w, unsigned f)
{
	struct ptfs_inode *ip = open_file(w, f);
	u64 pos = place(w), len = pick(w, 8) ? pick(w, KIB(50)) + 1 : MIB(3);

	w->what = "punch";
	assert_int_equal(ptfs_punch(ip, pos, len), 0);
	model_set(&w->file[f], pos, len, NULL);
	ptfs_iput(ip);
}

static void op_zero(struct world *w, unsigned f)
{
	struct ptfs_inode *ip = open_file(w, f);
	u64 pos = place(w), len = pick(w, 8) ? pick(w, KIB(50)) + 1 : MIB(3);
	bool keep = pick(w, 2);

	w->what = "zero";
	assert_int_equal(ptfs_zero_range(ip, pos, len, keep), 0);
	model_set(&w->file[f], pos, len, NULL);
	if (!keep)
		w->file[f].size = max(w->file[f].size, pos + len);
	ptfs_iput(ip);
}

static bool is_zero(const u8 *p, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

// Inside one window. What lies elsewhere behind it would leave the model, so there must be nothing.
static void op_collapse(struct world *w, unsigned f)
{
	struct model_file *m = &w->file[f];
	unsigned k = (unsigned)pick(w, WINDOWS);
	u64 at = pick(w, 24), blocks = pick(w, 24 - at) + 1;
	u64 pos = centres[k] - HALF + KIB(4) * at, len = KIB(4) * blocks;
	u8 *p = m->window[k] + KIB(4) * at;
	struct ptfs_inode *ip;
	int want = pos + len < m->size ? 0 : -EINVAL;

	w->what = "collapse";
	if (m->wide)
		return;
	for (unsigned i = k + 1; i < WINDOWS; i++)
		if (!is_zero(m->window[i], 2 * HALF))
			return;
	ip = open_file(w, f);
	assert_int_equal(ptfs_collapse(ip, pos, len), want);
	ptfs_iput(ip);
	if (want)
		return;
	m->size -= len;
	memmove(p, p + len, 2 * HALF - KIB(4) * at - len);
	memset(m->window[k] + 2 * HALF - len, 0, len);
}

// Names change places; the files keep their content.
static void op_exchange(struct world *w, unsigned f)
{
	unsigned to = (unsigned)pick(w, FILES);
	struct model_file other = w->file[to];
	char name[128], new_name[128];
	struct ptfs_inode *a, *b;
	unsigned dir = other.dir;

	w->what = "exchange";
	if (!other.exists)
		return;
	a = open_dir(w, w->file[f].dir);
	b = open_dir(w, dir);
	name_of(f, name);
	name_of(to, new_name);
	assert_int_equal(ptfs_rename(a, name, strlen(name), b, new_name, strlen(new_name),
				     PTFS_RENAME_EXCHANGE),
			 0);
	w->file[to] = w->file[f];
	w->file[f] = other;
	other.dir = w->file[to].dir; // names keep their places
	w->file[f].dir = other.dir;
	w->file[to].dir = dir;
	ptfs_iput(a);
	ptfs_iput(b);
}

static void op_rename(struct world *w, unsigned f)
{
	unsigned to = (unsigned)pick(w, FILES);
	unsigned dir = (unsigned)pick(w, DIRS + 1);
	struct ptfs_inode *a, *b;
	struct model_file old = w->file[to];
	char name[128], new_name[128];

	w->what = "rename";
	if (dir && !w->dir[dir - 1])
		dir = 0;
	if (to == f)
		return;
	if (old.exists)
		dir = old.dir; // over it
	a = open_dir(w, w->file[f].dir);
	b = open_dir(w, dir);
	name_of(f, name);
	name_of(to, new_name);
	assert_int_equal(ptfs_rename(a, name, strlen(name), b, new_name, strlen(new_name), 0), 0);
	w->file[to] = w->file[f];
	w->file[to].dir = dir;
	w->file[f] = old;
	w->file[f].exists = false;
	ptfs_iput(a);
	ptfs_iput(b);
}

static void op_dir(struct world *w)
{
	unsigned d = (unsigned)pick(w, DIRS);
	char name[16];
	int want = 0;

	w->what = "mkdir or rmdir";
	dir_name(d, name);
	if (!w->dir[d]) {
		ptfs_iput(make_dir(w->r.root, name));
		w->dir[d] = true;
		return;
	}
	for (unsigned f = 0; f < FILES; f++)
		if (w->file[f].exists && w->file[f].dir == d + 1)
			want = -ENOTEMPTY;
	assert_int_equal(ptfs_rmdir(w->r.root, name, strlen(name)), want);
	w->dir[d] = want != 0;
}

static void op_fault(struct world *w, unsigned f)
{
	struct ptfs_inode *ip = open_file(w, f);
	struct ptfs_page page;
	u64 pos = ALIGN_DOWN(place(w), KIB(4));
	int err = ptfs_map_page(ip, pos, true, &page);

	w->what = "fault";
	assert_int_equal(err, pos < ALIGN_UP(w->file[f].size, KIB(4)) ? 0 : -ENXIO);
	if (!err) {
		u64 n = min(w->file[f].size - pos, KIB(4));
		u8 *p = w->r.image.map + (page.pa.pa - TEST_BASE);

		fill_pattern(p, KIB(4), w->step); // behind EOF, too
		model_set(&w->file[f], pos, n, p);
	}
	ptfs_iput(ip);
}

static void step(struct world *w)
{
	unsigned f = (unsigned)pick(w, FILES);

	w->step++;
	if (!w->file[f].exists) {
		op_create(w, f);
		return;
	}
	switch (pick(w, 22)) {
	case 0: op_unlink(w, f); break;
	case 1:
	case 2:
	case 3: op_truncate(w, f); break;
	case 4: op_fallocate(w, f); break;
	case 5: op_rename(w, f); break;
	case 6: op_dir(w); break;
	case 16:
	case 17: op_punch(w, f); break;
	case 18: op_zero(w, f); break;
	case 19:
	case 20: op_collapse(w, f); break;
	case 21: op_exchange(w, f); break;
	case 7:
	case 8: op_fault(w, f); break;
	default: op_write(w, f); break;
	}
	if (w->file[f].exists)
		compare(w, f);
}

static void run(u64 seed, unsigned steps)
{
	struct world w = { .seed = seed, .what = "start" };

	rig_new(&w.r, MIB(128));
	for (unsigned f = 0; f < FILES; f++)
		for (unsigned i = 0; i < WINDOWS; i++)
			w.file[f].window[i] = calloc(1, 2 * HALF);
	for (unsigned i = 0; i < steps; i++) {
		step(&w);
		if (i % 100 == 99) {
			compare_all(&w);
			rig_remount(&w.r, pick(&w, 2));
			compare_all(&w);
		}
	}
	for (unsigned f = 0; f < FILES; f++) {
		if (w.file[f].exists)
			op_unlink(&w, f);
		for (unsigned i = 0; i < WINDOWS; i++)
			free(w.file[f].window[i]);
	}
	assert_int_equal(used(w.r.fs, PTFS_CHUNK_DATA), 0);
	rig_free(&w.r);
}

static void seeds(void **state)
{
	const char *only = getenv("PTFS_SEED"); // repeat one

	(void)state;
	for (u64 seed = 1; seed <= 6; seed++)
		if (!only || seed == strtoull(only, NULL, 0))
			run(seed * 7919, 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(seeds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
