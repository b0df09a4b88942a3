// SPDX-License-Identifier: MIT
//
// A block of a file's data has failed: what takes it out of the file again, and what does not.
//
// Once such a block stayed in its file for ever: a write of all of it was refused as a read is. Or
// worse, had the file been read before its block failed: then the write went to the failed block,
// by the way that was remembered, said that all was well, and the next read was EIO.
#include "tests/host/ptfs_test.h"

#define BYTES MIB(16)
#define BLOCK PTFS_BLOCK

static u8 pattern[MIB(2) + KIB(64)], fresh[MIB(2)], data[MIB(4)];
static const u8 zeros[MIB(2)];

// Files of every shape, and the block in each that fails.
static const struct shape {
	const char *name;
	u64 bytes, bad;
} shape[] = {
	{ "direct", KIB(20), 3 },  { "direct, its last one", KIB(16) + 77, 4 },
	{ "table", KIB(100), 20 }, { "table, its last one", KIB(100) + 1, 25 },
	{ "leaf", MIB(2), 100 },   { "leaf below a table", MIB(2) + KIB(8), 511 },
};

static u64 block_of(struct ptfs_inode *ip, u64 block)
{
	struct ptfs_extent x;

	assert_int_equal(ptfs_map_extent(ip, block, 1, &x), 0);
	assert_false(x.hole);
	return x.off;
}

// All lines of it, so that a load is noticed; the file was read before. Its offset on the medium.
static u64 fail_block(struct rig *r, struct ptfs_inode *ip, u64 block)
{
	u64 off;

	assert_true(read_at(ip, data, 10, (block ? block - 1 : 1) * BLOCK) >= 0);
	off = block_of(ip, block);
	for (unsigned i = 0; i < BLOCK / 64; i++)
		if (i % 8 == 0)
			host_fail_line(&r->image, off + 64ull * i);
	host_bad_add(TEST_BASE + off);
	return off;
}

static struct ptfs_inode *make_bad(struct rig *r, const struct shape *s, u64 *off)
{
	struct ptfs_inode *ip = make_file(r->root, s->name);

	assert_int_equal(write_at(ip, pattern, s->bytes, 0), s->bytes);
	*off = fail_block(r, ip, s->bad);
	return ip;
}

static void start(struct rig *r)
{
	host_bad_forget();
	host_fail_none();
	rig_new(r, BYTES);
}

static void end(struct rig *r)
{
	rig_free(r);
	host_fail_none();
	host_bad_forget();
}

// The bytes of the file, in which [pos, pos + bytes) are `there`, and all others the pattern.
static void expect(struct ptfs_inode *ip, u64 size, u64 pos, u64 bytes, const u8 *there)
{
	assert_int_equal(ptfs_size(ip), size);
	assert_int_equal(read_at(ip, data, size, 0), size);
	assert_memory_equal(data, pattern, min(pos, size));
	assert_memory_equal(data + pos, there, bytes);
	if (size > pos + bytes)
		assert_memory_equal(data + pos + bytes, pattern + pos + bytes, size - pos - bytes);
}

static void expect_bad(struct ptfs_inode *ip, u64 block, u64 off)
{
	struct ptfs_page page;

	s64 n = read_at(ip, data, 1, block * BLOCK);

	if (n == -EFAULT) { // as the kernel's home does it
		ptfs_bad_met(ip);
		n = read_at(ip, data, 1, block * BLOCK);
	}
	assert_int_equal(n, -EIO);
	assert_int_equal(block_of(ip, block), off);
	assert_int_equal(ptfs_map_page(ip, block * BLOCK, true, &page), -EHWPOISON);
	assert_true(ptfs_has_bad(ip));
}

// All space goes to one file, and `bad` is not in it.
static void use_all_but(struct rig *r, u64 bad)
{
	struct ptfs_inode *ip = make_file(r->root, "all");
	struct ptfs_extent x;
	u64 pos = 0;
	s64 n;

	while ((n = write_at(ip, pattern, KIB(64), pos)) > 0)
		pos += (u64)n;
	assert_int_equal(n, -ENOSPC);
	for (u64 block = 0; block < pos >> PTFS_BLOCK_SHIFT; block += x.blocks) {
		assert_int_equal(ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x), 0);
		assert_true(x.hole || bad < x.off || bad >= x.off + x.blocks * BLOCK);
	}
	ptfs_iput(ip);
	assert_int_equal(rm(r->root, "all"), 0);
}

// The block is out of the file, which can be mapped as a whole again, and it is nobody's: not now,
// not after a mount (clean or not), not for the checker.
static void expect_mended(struct rig *r, const struct shape *s, struct ptfs_inode *ip, u64 off)
{
	struct ptfs_page page;

	if (ptfs_size(ip) > s->bad * BLOCK) {
		assert_int_equal(ptfs_map_page(ip, s->bad * BLOCK, true, &page), 0);
		assert_int_not_equal(page.pa.pa, TEST_BASE + off);
	}
	assert_false(ptfs_has_bad(ip));
	assert_null(ptfs_alloc_verify(r->fs));
	ptfs_iput(ip);
	use_all_but(r, off);
	for (int clean = 0; clean < 2; clean++) {
		ptfs_bad_store(r->fs);
		rig_remount(r, clean);
		use_all_but(r, off);
	}
}

static void written(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		const struct shape *s = &shape[i];
		u64 pos = s->bad * BLOCK, len = min(BLOCK, s->bytes - pos), off, count;
		struct ptfs_inode *ip;
		struct rig r;

		start(&r);
		ip = make_bad(&r, s, &off);
		expect_bad(ip, s->bad, off);
		count = file_blocks(ip);
		assert_int_equal(write_at(ip, fresh, len, pos), len);
		expect(ip, s->bytes, pos, len, fresh);
		assert_int_equal(file_blocks(ip), count);
		assert_int_not_equal(block_of(ip, s->bad), off);
		expect_mended(&r, s, ip, off);
		ip = look(r.root, s->name);
		expect(ip, s->bytes, pos, len, fresh);
		ptfs_iput(ip);
		end(&r);
	}
}

// A write that has more than the block, before and behind it, and comes to another bad one: one
// call, all of its bytes.
static void written_across(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	u64 off, off2;

	(void)state;
	for (unsigned i = 2; i < ARRAY_SIZE(shape); i += 2) {
		start(&r);
		ip = make_bad(&r, &shape[i], &off);
		off2 = fail_block(&r, ip, 7);
		assert_int_equal(write_at(ip, fresh, KIB(90), 100), KIB(90));
		if (shape[i].bad * BLOCK + BLOCK > 100 + KIB(90)) { // only a part, or nothing of it
			expect_bad(ip, shape[i].bad, off);
			assert_int_equal(write_at(ip, fresh, BLOCK, shape[i].bad * BLOCK), BLOCK);
		}
		assert_int_not_equal(block_of(ip, 7), off2);
		assert_int_equal(read_at(ip, data, KIB(90), 100), KIB(90));
		assert_memory_equal(data, fresh, KIB(90));
		expect_mended(&r, &shape[i], ip, off);
		end(&r);
	}
}

// A part of the block is refused, by whatever call, and nothing has changed; what lies before it is
// written.
static void partly(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		const struct shape *s = &shape[i];
		u64 pos = s->bad * BLOCK, rest = s->bytes - pos, off;
		struct ptfs_inode *ip;
		struct rig r;

		start(&r);
		ip = make_bad(&r, s, &off);
		if (rest > 1) {
			assert_int_equal(write_at(ip, fresh, min(rest, BLOCK) - 1, pos), -EIO);
			assert_int_equal(ptfs_punch(ip, pos, min(rest, BLOCK) - 1), -EIO);
			assert_int_equal(ptfs_punch(ip, KIB(4), pos + 1 - KIB(4)), -EIO);
			assert_int_equal(ptfs_zero_range(ip, pos + 1, rest, false), -EIO);
			assert_int_equal(write_at(ip, fresh, BLOCK, pos + 1), -EIO);
		}
		if (s->bytes % BLOCK)
			assert_int_equal(write_at(ip, fresh, 10, s->bytes), -EIO); // append
		assert_int_equal(write_at(ip, pattern + 100, pos - 100 + (rest > 1), 100),
				 pos - 100);
		expect_bad(ip, s->bad, off);
		assert_int_equal(read_at(ip, data, s->bytes, 0), pos);
		assert_memory_equal(data, pattern, pos);
		ptfs_iput(ip);
		end(&r);
	}
}

static void punched(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		const struct shape *s = &shape[i];
		u64 pos = s->bad * BLOCK, len = min(BLOCK, s->bytes - pos), off;

		for (unsigned zero = 0; zero < 2; zero++) {
			struct ptfs_inode *ip;
			struct rig r;

			start(&r);
			ip = make_bad(&r, s, &off);
			assert_int_equal((zero ? ptfs_zero_range(ip, pos, len, false)
					       : ptfs_punch(ip, pos, len)),
					 0);
			expect(ip, s->bytes, pos, len, zeros);
			expect_mended(&r, s, ip, off);
			end(&r);
		}
	}
}

static void collapsed(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	u64 off;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		const struct shape *s = &shape[i];
		u64 pos = s->bad * BLOCK;

		if (pos + BLOCK >= s->bytes)
			continue;
		// One before it: it moves, and stays in the file.
		start(&r);
		ip = make_bad(&r, s, &off);
		assert_int_equal(ptfs_collapse(ip, pos - BLOCK, BLOCK), 0);
		expect_bad(ip, s->bad - 1, off);
		assert_int_equal(ptfs_collapse(ip, pos - BLOCK, BLOCK), 0);
		assert_int_equal(read_at(ip, data, s->bytes, 0), s->bytes - 2 * BLOCK);
		assert_memory_equal(data, pattern, pos - BLOCK);
		assert_memory_equal(data + pos - BLOCK, pattern + pos + BLOCK,
				    s->bytes - pos - BLOCK);
		expect_mended(&r, s, ip, off);
		end(&r);
	}
}

// Also into the block: that works, and what is left of it is lost as it was. The next truncate
// takes it out.
static void truncated(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		const struct shape *s = &shape[i];
		u64 pos = s->bad * BLOCK, off;
		struct ptfs_inode *ip;
		struct rig r;

		start(&r);
		ip = make_bad(&r, s, &off);
		assert_int_equal(ptfs_truncate(ip, pos + 1), 0);
		expect_bad(ip, s->bad, off);
		assert_int_equal(ptfs_truncate(ip, pos + 3 * BLOCK), 0);
		expect_bad(ip, s->bad, off);
		assert_int_equal(read_at(ip, data, BLOCK, pos + BLOCK), BLOCK);
		assert_memory_equal(data, zeros, BLOCK);
		assert_int_equal(ptfs_truncate(ip, pos + 1), 0);
		// All that the file has of it is one byte.
		assert_int_equal(write_at(ip, fresh, 1, pos), 1);
		expect(ip, pos + 1, pos, 1, fresh);
		assert_int_equal(ptfs_truncate(ip, pos + BLOCK), 0);
		assert_int_equal(read_at(ip, data, BLOCK, pos + 1), BLOCK - 1);
		assert_memory_equal(data, zeros, BLOCK - 1);
		expect_mended(&r, s, ip, off);
		end(&r);

		start(&r);
		ip = make_bad(&r, s, &off);
		assert_int_equal(ptfs_truncate(ip, pos), 0);
		expect(ip, pos, pos, 0, zeros);
		expect_mended(&r, s, ip, off);
		end(&r);
	}
}

// Blocks behind the end may fail, too.
static void preallocated(void **state)
{
	struct shape s = { .bad = 5 };
	struct ptfs_inode *ip;
	struct rig r;
	u64 off;

	(void)state;
	start(&r);
	ip = make_file(r.root, "file");
	assert_int_equal(write_at(ip, pattern, 100, 0), 100);
	assert_int_equal(ptfs_fallocate(ip, 0, KIB(64), true), 0);
	off = fail_block(&r, ip, s.bad);
	assert_int_equal(write_at(ip, fresh, 10, s.bad * BLOCK + 50), 10);
	assert_int_equal(read_at(ip, data, KIB(64), s.bad * BLOCK), 60);
	assert_memory_equal(data, zeros, 50);
	assert_memory_equal(data + 50, fresh, 10);
	expect_mended(&r, &s, ip, off);
	end(&r);
}

// Story: a file that had been looked through was said to be free of failed blocks, for the one that
// it had was behind its end. Then the file grew over it, and was mapped as a whole: each touch was
// a machine check, after which it was mapped as a whole again. (Nor is it to be reached behind the
// end, which a table shows as well.)
static void grown_over(void **state)
{
	struct shape s = { .bad = 5 };
	struct ptfs_inode *ip;
	struct rig r;
	u64 off;

	(void)state;
	start(&r);
	ip = make_file(r.root, "file");
	assert_int_equal(write_at(ip, pattern, 100, 0), 100);
	assert_int_equal(ptfs_fallocate(ip, KIB(16), KIB(48), true), 0);
	off = fail_block(&r, ip, s.bad);
	assert_true(ptfs_has_bad(ip));
	assert_int_equal(ptfs_truncate(ip, KIB(64)), 0);
	expect_bad(ip, s.bad, off);
	assert_int_equal(write_at(ip, fresh, BLOCK, s.bad * BLOCK), BLOCK);
	assert_int_equal(read_at(ip, data, BLOCK, s.bad * BLOCK), BLOCK);
	assert_memory_equal(data, fresh, BLOCK);
	expect_mended(&r, &s, ip, off);
	end(&r);
}

// Story: an append that came to a failed block went on behind it, in one call, at where the end was
// then. Others may have appended between the two, and what was written last, and where the next
// write goes, was not what the caller was told.
static void appended(void **state)
{
	struct shape s = { .bad = 1 };
	struct ptfs_iter it = { .at = fresh, .left = 3 * BLOCK };
	struct ptfs_inode *ip;
	u64 off, pos = 0;
	struct rig r;

	(void)state;
	start(&r);
	ip = make_file(r.root, "file");
	assert_int_equal(write_at(ip, pattern, 100, 0), 100);
	assert_int_equal(ptfs_fallocate(ip, 0, KIB(64), true), 0);
	off = fail_block(&r, ip, s.bad);
	assert_int_equal(ptfs_write(ip, &it, &pos, it.left, true), BLOCK - 100);
	assert_int_equal(pos, BLOCK);
	assert_int_equal(write_at(ip, pattern, 10, BLOCK), 10); // somebody else
	assert_int_equal(ptfs_write(ip, &it, &pos, it.left, true), 2 * BLOCK + 100);
	assert_int_equal(pos, 3 * BLOCK + 110);
	assert_int_equal(read_at(ip, data, KIB(64), 0), pos);
	assert_memory_equal(data, pattern, 100);
	assert_memory_equal(data + 100, fresh, BLOCK - 100);
	assert_memory_equal(data + BLOCK, pattern, 10);
	assert_memory_equal(data + BLOCK + 10, fresh + BLOCK - 100, 2 * BLOCK + 100);
	expect_mended(&r, &s, ip, off);
	end(&r);
}

// No space for the block, or for the table page that a leaf is split into: the file is as it was,
// and can be mended once there is space.
static void without_space(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		const struct shape *s = &shape[i];
		u64 pos = s->bad * BLOCK, len = min(BLOCK, s->bytes - pos), off, used_before;
		struct ptfs_inode *ip;
		struct rig r;

		start(&r);
		ip = make_bad(&r, s, &off);
		used_before = used(r.fs, PTFS_CHUNK_DATA);
		for (u64 n = 1;; n++) {
			ssize got;

			host_fail_space_at(n);
			got = write_at(ip, fresh, len, pos);
			if (!host_space_failed())
				break;
			assert_int_equal(got, -ENOSPC);
			expect_bad(ip, s->bad, off);
			assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), used_before);
			host_fail_space_at(1); // the leaf may have been split by now
			assert_int_equal(ptfs_zero_range(ip, pos, len, false), -ENOSPC);
			expect_bad(ip, s->bad, off);
			assert_true(n < 3);
		}
		host_fail_space_at(0);
		expect(ip, s->bytes, pos, len, fresh);
		expect_mended(&r, s, ip, off);
		end(&r);
	}
}

// A hole in a leaf needs a table page. Without one its part becomes zeros in place, but not if that
// leaves the bad block where it was.
static void punched_without_space(void **state)
{
	const struct shape *s = &shape[4];
	struct ptfs_inode *ip;
	struct rig r;
	u64 off;

	(void)state;
	start(&r);
	ip = make_bad(&r, s, &off);
	host_fail_space_at(1);
	assert_int_equal(ptfs_punch(ip, (s->bad - 1) * BLOCK, 2 * BLOCK), -ENOSPC);
	host_fail_space_at(0);
	expect_bad(ip, s->bad, off);
	assert_int_equal(read_at(ip, data, BLOCK, (s->bad - 1) * BLOCK), BLOCK);
	assert_memory_equal(data, pattern + (s->bad - 1) * BLOCK, BLOCK);
	host_fail_space_at(1);
	assert_int_equal(ptfs_punch(ip, (s->bad + 1) * BLOCK, 2 * BLOCK), 0);
	host_fail_space_at(0);
	assert_int_equal(read_at(ip, data, 3 * BLOCK, (s->bad + 1) * BLOCK), 3 * BLOCK);
	assert_memory_equal(data, zeros, 2 * BLOCK);
	assert_memory_equal(data + 2 * BLOCK, pattern + (s->bad + 3) * BLOCK, BLOCK);
	ptfs_iput(ip);
	end(&r);
}

// Not all pages of the caller's are there: nothing is taken, and nothing published, or what was to
// come would be zeros after a crash.
static void caller_comes_again(void **state)
{
	const struct shape *s = &shape[2];
	struct ptfs_iter it = { .at = fresh, .left = BLOCK - 1 };
	u64 pos = s->bad * BLOCK, off, used_before;
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	start(&r);
	ip = make_bad(&r, s, &off);
	used_before = used(r.fs, PTFS_CHUNK_DATA);
	assert_int_equal(ptfs_write(ip, &it, &pos, BLOCK, false), -EFAULT);
	assert_int_equal(it.left, BLOCK - 1);
	assert_ptr_equal(it.at, fresh);
	assert_int_equal(pos, s->bad * BLOCK);
	assert_int_equal(used(r.fs, PTFS_CHUNK_DATA), used_before);
	expect_bad(ip, s->bad, off);
	ptfs_iput(ip);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written),
		cmocka_unit_test(written_across),
		cmocka_unit_test(partly),
		cmocka_unit_test(punched),
		cmocka_unit_test(collapsed),
		cmocka_unit_test(truncated),
		cmocka_unit_test(preallocated),
		cmocka_unit_test(grown_over),
		cmocka_unit_test(appended),
		cmocka_unit_test(without_space),
		cmocka_unit_test(punched_without_space),
		cmocka_unit_test(caller_comes_again),
	};

	fill_pattern(pattern, sizeof(pattern), 3);
	fill_pattern(fresh, sizeof(fresh), 5);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
