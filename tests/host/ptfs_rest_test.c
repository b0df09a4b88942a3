// SPDX-License-Identifier: MIT
//
// What leaves a file rests until the epoch has passed: nothing of it is handed out before, on no
// path; df says it is free; who finds no space waits for it; and neither unmounting nor a crash
// loses it. The epoch stands still here until a test lets it go on (host_epoch_hold).
#include "tests/host/ptfs_test.h"

#define ALL_MAX 16384u

// The blocks of a file, table pages first.
struct blocks {
	u64 off[ALL_MAX];
	unsigned n;
};

static void note_tree(struct ptfs_fs *fs, struct blocks *b, u64 e, int level)
{
	struct ptfs_ref ref;

	if (!e || ptfs_entry_decode(fs, e, level, &ref))
		return;
	for (unsigned i = 0; ref.leaf && i < (level == PT_PMD ? PTFS_CHUNK_BLOCKS : 1); i++)
		b->off[b->n++] = ref.off + i * PTFS_BLOCK;
	if (ref.leaf)
		return;
	b->off[b->n++] = ref.off;
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		note_tree(fs, b, ptfs_word(fs, ref.off + 8 * i), level - 1);
}

static void note_file(struct ptfs_inode *ip, struct blocks *b)
{
	u64 root = ptfs_word(ip->fs, ip->root_off);

	b->n = 0;
	note_tree(ip->fs, b, root & ~PTFS_E_LEVEL, ptfs_root_level(root));
	for (unsigned i = 0; !root && i < PTFS_DIRECT; i++)
		note_tree(ip->fs, b, ptfs_word(ip->fs, PTFS_FIELD(ip, direct) + 8 * i), PT_PTE);
}

static int by_number(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static bool has(const struct blocks *b, u64 off)
{
	return bsearch(&off, b->off, b->n, sizeof(off), by_number);
}

// Blocks that were in `before` and are not in `after` any more.
static void note_lost(const struct blocks *before, struct blocks *after, struct blocks *lost)
{
	lost->n = 0;
	qsort(after->off, after->n, sizeof(u64), by_number);
	for (unsigned i = 0; i < before->n; i++)
		if (!has(after, before->off[i]))
			lost->off[lost->n++] = before->off[i];
	qsort(lost->off, lost->n, sizeof(u64), by_number);
}

static void verify(struct rig *r)
{
	const char *wrong = ptfs_alloc_verify(r->fs);

	if (wrong)
		print_message("%s\n", wrong);
	assert_null(wrong);
}

static u64 blocks_free(struct rig *r)
{
	struct ptfs_statfs s;

	ptfs_statfs(r->fs, &s);
	return s.blocks_free;
}

static u64 resting(struct rig *r)
{
	u64 sum = 0;

	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		sum += ptfs_rest_blocks(r->fs, t);
	return sum;
}

// A file of blocks that have holes between them, a 2 MiB leaf, and more blocks.
static struct ptfs_inode *mixed_file(struct rig *r, const char *name)
{
	static u8 data[MIB(2)];
	struct ptfs_inode *ip = make_file(r->root, name);

	fill_pattern(data, sizeof(data), 7);
	for (u64 i = 0; i < 300; i++)
		assert_int_equal(write_at(ip, data, PTFS_BLOCK, 2 * i * PTFS_BLOCK), PTFS_BLOCK);
	assert_int_equal(write_at(ip, data, MIB(2), MIB(4)), MIB(2));
	assert_int_equal(write_at(ip, data, KIB(400), MIB(6)), KIB(400));
	return ip;
}

// Takes all space that can be had without waiting, single blocks and whole chunks, data and tables.
static void take_everything(struct rig *r, struct blocks *taken)
{
	static const unsigned types[] = { PTFS_CHUNK_DATA, PTFS_CHUNK_TABLE, PTFS_CHUNK_META };
	u32 waits = host_epoch_waits();

	taken->n = 0;
	for (unsigned t = 0; t < ARRAY_SIZE(types); t++) {
		struct ptfs_new b;

		while (host_epoch_waits() == waits &&
		       !ptfs_block_take(r->fs, types[t], PTFS_NOTHING, t, &b))
			if (host_epoch_waits() == waits)
				taken->off[taken->n++] = b.off;
			else
				ptfs_block_free(r->fs, b.off);
		if (host_epoch_waits() != waits)
			break; // from here on what rested is free
	}
}

// ---- Every path --------------------------------------------------------------------------------

static void by_truncate(struct ptfs_inode *ip)
{
	assert_int_equal(ptfs_truncate(ip, MIB(5)), 0);
}

static void by_truncate_to_direct(struct ptfs_inode *ip)
{
	assert_int_equal(ptfs_truncate(ip, 5000), 0);
}

static void by_truncate_all(struct ptfs_inode *ip)
{
	assert_int_equal(ptfs_truncate(ip, 0), 0);
}

static void by_punch(struct ptfs_inode *ip)
{
	assert_int_equal(ptfs_punch(ip, KIB(64), MIB(5)), 0);
}

static void by_punch_all(struct ptfs_inode *ip)
{
	assert_int_equal(ptfs_punch(ip, 0, MIB(32)), 0);
}

static void by_collapse(struct ptfs_inode *ip)
{
	assert_int_equal(ptfs_collapse(ip, KIB(32), MIB(1)), 0);
}

static const struct {
	const char *name;
	void (*fn)(struct ptfs_inode *ip);
} paths[] = {
	{ "truncate", by_truncate },
	{ "truncate to direct entries", by_truncate_to_direct },
	{ "truncate to 0", by_truncate_all },
	{ "punch", by_punch },
	{ "punch everything", by_punch_all },
	{ "collapse", by_collapse },
};

static struct blocks before, after, lost, taken;

static void check_path(struct rig *r, struct ptfs_inode *ip, const char *name)
{
	static u8 old[ALL_MAX][16];
	u64 free = blocks_free(r);

	assert_true(lost.n > 0);
	assert_true(resting(r) >= lost.n);
	verify(r);
	for (unsigned i = 0; i < lost.n; i++)
		memcpy(old[i], ptfs_at(r->fs, lost.off[i], 16), 16);
	take_everything(r, &taken);
	for (unsigned i = 0; i < taken.n; i++)
		if (has(&lost, taken.off[i]))
			print_message("%s: block %#llx was taken while it rested\n", name,
				      (unsigned long long)taken.off[i]);
	for (unsigned i = 0; i < taken.n; i++)
		assert_false(has(&lost, taken.off[i]));
	// A CPU may still read them, so nobody writes to them.
	for (unsigned i = 0; i < lost.n; i++)
		assert_memory_equal(old[i], ptfs_at(r->fs, lost.off[i], 16), 16);
	for (unsigned i = 0; i < taken.n; i++)
		ptfs_block_free(r->fs, taken.off[i]);
	host_epoch_advance();
	ptfs_rest_poll(r->fs);
	assert_int_equal(resting(r), 0);
	assert_int_equal(blocks_free(r), free); // counted as free all the time
	verify(r);
	if (ip)
		ptfs_iput(ip);
}

static void nothing_is_taken_early(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		struct ptfs_inode *ip;
		struct rig r;

		rig_new(&r, MIB(32));
		ip = mixed_file(&r, "f");
		note_file(ip, &before);
		host_epoch_hold(true);
		paths[i].fn(ip);
		note_file(ip, &after);
		note_lost(&before, &after, &lost);
		check_path(&r, ip, paths[i].name);
		host_epoch_hold(false);
		rig_free(&r);
	}
}

static void unlinked_blocks_rest(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = mixed_file(&r, "f");
	note_file(ip, &before);
	host_epoch_hold(true);
	ptfs_iput(ip);
	assert_int_equal(rm(r.root, "f"), 0);
	after.n = 0;
	note_lost(&before, &after, &lost);
	check_path(&r, NULL, "unlink");
	host_epoch_hold(false);
	rig_free(&r);
}

// The table page that a 2 MiB leaf has replaced.
static void merged_table_rests(void **state)
{
	static u8 data[MIB(2)];
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	fill_pattern(data, sizeof(data), 3);
	host_epoch_hold(true);
	for (u64 i = 0; i < PTFS_CHUNK_BLOCKS; i++)
		assert_int_equal(write_at(ip, data, PTFS_BLOCK, i * PTFS_BLOCK), PTFS_BLOCK);
	assert_int_equal(ptfs_rest_blocks(r.fs, PTFS_CHUNK_TABLE), 1);
	verify(&r);
	host_epoch_hold(false);
	ptfs_iput(ip);
	rig_free(&r);
}

// ---- No space ----------------------------------------------------------------------------------

static u64 fill(struct ptfs_inode *ip, u64 step)
{
	static u8 data[MIB(2)];
	u64 pos = 0;
	ssize n;

	do {
		n = write_at(ip, data, step, pos);
		if (n > 0)
			pos += (u64)n;
	} while (n > 0);
	assert_int_equal(n, -ENOSPC);
	return pos;
}

// All space rests: it can be had all the same, to the last block, and no block more.
static void no_space_waits(void **state)
{
	(void)state;
	for (u64 step = PTFS_BLOCK; step <= MIB(2); step *= 512) {
		struct ptfs_inode *ip, *other;
		struct rig r;
		u64 bytes, left;
		u32 waits = 0;

		rig_new(&r, MIB(32));
		ip = make_file(r.root, "f");
		bytes = fill(ip, step);
		host_epoch_hold(true);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(ptfs_truncate(ip, 0), 0);
			left = blocks_free(&r);
			assert_int_equal(left * PTFS_BLOCK, bytes);
			other = make_file(r.root, "g");
			assert_int_equal(fill(other, step), bytes);
			assert_true(host_epoch_waits() > waits);
			waits = host_epoch_waits();
			assert_int_equal(blocks_free(&r), 0);
			ptfs_iput(ip);
			ip = other;
			assert_int_equal(rm(r.root, "f"), 0);
			assert_int_equal(ptfs_rename(r.root, "g", 1, r.root, "f", 1, 0), 0);
			verify(&r);
		}
		host_epoch_hold(false);
		ptfs_iput(ip);
		rig_free(&r);
	}
}

// Chunks that rest are waited for, so that a large file does not get a neighbour's crumbs.
static void whole_chunks_wait(void **state)
{
	static u8 data[MIB(2)];
	struct ptfs_inode *ip;
	struct ptfs_extent x;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(32));
	ip = make_file(r.root, "f");
	fill(ip, MIB(2));
	host_epoch_hold(true);
	assert_int_equal(ptfs_truncate(ip, 0), 0);
	assert_int_equal(write_at(ip, data, MIB(2), 0), MIB(2));
	assert_int_equal(ptfs_map_extent(ip, 0, 1, &x), 0);
	assert_int_equal(x.level, PT_PMD);
	host_epoch_hold(false);
	ptfs_iput(ip);
	rig_free(&r);
}

// ---- No memory ---------------------------------------------------------------------------------

static void no_memory_waits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		for (u64 nth = 1;; nth++) {
			struct ptfs_inode *ip;
			struct rig r;
			bool hit;
			u64 free;

			rig_new(&r, MIB(32));
			ip = mixed_file(&r, "f");
			assert_int_equal(ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u), 0);
			host_epoch_hold(true);
			host_fail_memory_at(nth);
			if (paths[i].fn == by_collapse) // it may fail; then nothing has changed
				(void)!ptfs_collapse(ip, KIB(32), MIB(1));
			else
				paths[i].fn(ip);
			hit = host_memory_failed();
			host_fail_memory_at(0);
			verify(&r);
			free = blocks_free(&r);
			host_epoch_advance();
			ptfs_rest_poll(r.fs);
			assert_int_equal(blocks_free(&r), free);
			assert_int_equal(resting(&r), 0);
			verify(&r);
			host_epoch_hold(false);
			ptfs_iput(ip);
			rig_free(&r);
			if (!hit)
				break;
		}
	}
}

// ---- More than fits ----------------------------------------------------------------------------

// So many runs that the call hands over in between, and more than may rest on one CPU: it asks for
// an epoch by itself.
static void many_runs(void **state)
{
	static u8 data[PTFS_BLOCK];
	const u64 nr = 24000;
	struct ptfs_inode *a, *b;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(256));
	a = make_file(r.root, "a");
	b = make_file(r.root, "b");
	for (u64 i = 0; i < nr; i++) { // by turns, so that each block is a run of its own
		assert_int_equal(write_at(a, data, PTFS_BLOCK, 4 * i * PTFS_BLOCK), PTFS_BLOCK);
		assert_int_equal(write_at(b, data, PTFS_BLOCK, 4 * i * PTFS_BLOCK), PTFS_BLOCK);
	}
	host_epoch_hold(true);
	assert_int_equal(ptfs_truncate(a, 0), 0);
	assert_int_equal(host_epoch_waits(), 1);
	verify(&r);
	assert_true(resting(&r) > 0);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), nr);
	host_epoch_hold(false);
	ptfs_iput(a);
	ptfs_iput(b);
	rig_free(&r);
}

// ---- The end of a mount ------------------------------------------------------------------------

// What rests when the power fails is free after recovery; unmounting waits, and stores a bitmap
// that does not know of it.
static void nothing_is_lost(void **state)
{
	(void)state;
	for (unsigned clean = 0; clean < 2; clean++) {
		struct ptfs_inode *ip;
		struct rig r;
		u64 free;

		rig_new(&r, MIB(32));
		free = blocks_free(&r);
		ip = mixed_file(&r, "f");
		host_epoch_hold(true);
		assert_int_equal(ptfs_truncate(ip, 0), 0);
		assert_true(resting(&r) > 0);
		ptfs_iput(ip);
		rig_remount(&r, clean);
		assert_int_equal(host_epoch_waits(), clean);
		assert_int_equal(resting(&r), 0);
		assert_int_equal(blocks_free(&r), free);
		host_epoch_hold(false);
		rig_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_taken_early),
		cmocka_unit_test(unlinked_blocks_rest),
		cmocka_unit_test(merged_table_rests),
		cmocka_unit_test(no_space_waits),
		cmocka_unit_test(whole_chunks_wait),
		cmocka_unit_test(no_memory_waits),
		cmocka_unit_test(many_runs),
		cmocka_unit_test(nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
