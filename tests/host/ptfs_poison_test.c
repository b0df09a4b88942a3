// SPDX-License-Identifier: MIT
//
// Memory of the file system itself that fails, line after line, before the mount or after it: calls
// give -EIO and nothing worse, files that do not need the line go on, and nothing that was not to
// be had is acted on: when the line is well again the image is sound.
#include <unistd.h>

#include "tests/host/ptfs_test.h"

#define BYTES MIB(16)
#define LINE  64u

enum { OTHER, TABLES, ITABLE, INODES, NAMES };

static u8 pattern[MIB(2) + KIB(64)];

// Files of every shape: where their bytes are.
static const struct shape {
	const char *name;
	u64 pos, bytes;
} shape[] = {
	{ "direct", 0, KIB(20) },
	{ "table", KIB(8), KIB(100) },
	{ "two-levels", MIB(2) - KIB(6), KIB(12) },
	{ "leaf", 0, MIB(2) },
	{ "a name that does not end in the line of its head, but somewhere behind it", 0, 10 },
};

static void make_files(struct rig *r)
{
	struct ptfs_create_args link = { .mode = PTFS_S_IFLNK | 0777 };
	char target[200];
	struct ptfs_inode *ip, *dir;

	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		ip = make_file(r->root, shape[i].name);
		assert_int_equal(write_at(ip, pattern, shape[i].bytes, shape[i].pos),
				 shape[i].bytes);
		ptfs_iput(ip);
	}
	memset(target, 'x', sizeof(target) - 1);
	target[sizeof(target) - 1] = 0;
	link.target = target;
	assert_int_equal(ptfs_create(r->root, "link", 4, &link, &ip), 0);
	ptfs_iput(ip);
	dir = make_dir(r->root, "dir");
	ptfs_iput(make_file(dir, "inner"));
	ptfs_iput(dir);
}

// One failing line, and what the calls made of it.
struct trial {
	struct host_image image;
	struct ptfs_fs *fs;
	struct ptfs_inode *root;
	u64 off;
	unsigned failed; // calls
	unsigned files;  // that some call failed for
};

// True: the call did its work.
static bool done(struct trial *t, s64 result)
{
	if (result >= 0)
		return true;
	if (result != -EIO)
		fail_msg("line at %#llx: error %lld", (unsigned long long)t->off,
			 (long long)result);
	t->failed++;
	return false;
}

static u8 byte_of(const struct shape *s, u64 pos)
{
	return pos >= s->pos && pos < s->pos + s->bytes ? pattern[pos - s->pos] : 0;
}

// As the kernel's home does it: what was met becomes known, and the call is made again.
static s64 read_again(struct ptfs_inode *ip, u8 *data, u64 bytes, u64 pos)
{
	s64 n = read_at(ip, data, bytes, pos);

	if (n != -EFAULT)
		return n;
	ptfs_bad_update();
	ptfs_bad_met(ip);
	return read_at(ip, data, bytes, pos);
}

static void read_file(struct trial *t, const struct shape *s, struct ptfs_inode *ip)
{
	static u8 data[KIB(16)];

	for (u64 pos = 0; pos < s->pos + s->bytes; pos += sizeof(data)) {
		s64 n = read_again(ip, data, sizeof(data), pos);

		done(t, n);
		for (s64 i = 0; i < n; i++)
			if (data[i] != byte_of(s, pos + (u64)i))
				fail_msg("line at %#llx: byte %llu of %s",
					 (unsigned long long)t->off,
					 (unsigned long long)(pos + (u64)i), s->name);
	}
}

static void change_file(struct trial *t, struct ptfs_inode *ip)
{
	struct ptfs_attr a = { .uid = 7 };
	u8 data[100] = "changed";
	struct ptfs_page page;
	struct ptfs_map map;

	done(t, ptfs_setattr(ip, PTFS_ATTR_UID, &a));
	done(t, write_at(ip, data, sizeof(data), 5000));
	if (done(t, write_at(ip, data, sizeof(data), KIB(300)))) {
		done(t, ptfs_map_page(ip, KIB(4), true, &page));
		done(t, ptfs_collapse(ip, KIB(16), KIB(4)));
	}
	done(t, ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u));
	done(t, ptfs_map_table(ip, &map));
	(void)ptfs_has_bad(ip);
	done(t, ptfs_punch(ip, KIB(8), KIB(8)));
	done(t, ptfs_fallocate(ip, KIB(400), KIB(8), false));
	ptfs_getattr(ip, &a);
	done(t, ptfs_truncate(ip, MIB(1)));
	done(t, ptfs_truncate(ip, KIB(10)));
	done(t, ptfs_truncate(ip, 0));
}

static bool any_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	(void)ctx;
	(void)name;
	(void)len;
	(void)ino;
	(void)type;
	(void)next;
	return true;
}

static void use_names(struct trial *t)
{
	struct ptfs_inode *ip;
	char target[256];
	u64 pos = 0;
	int err;

	done(t, ptfs_readdir(t->root, &pos, any_name, NULL));
	if (done(t, ptfs_lookup(t->root, "link", 4, &ip))) {
		done(t, ptfs_readlink(ip, target, sizeof(target)));
		ptfs_iput(ip);
	}
	if (done(t, ptfs_lookup(t->root, "dir", 3, &ip))) {
		done(t, look_err(ip, "inner"));
		err = rm(ip, "inner");
		done(t, err);
		ptfs_iput(ip);
		if (!err)
			done(t, ptfs_rmdir(t->root, "dir", 3));
	}
	if (done(t, make_in(t->root, "new", PTFS_S_IFREG | 0600, &ip))) {
		done(t, write_at(ip, pattern, 100, 0));
		done(t, ptfs_rename(t->root, "new", 3, t->root, "newer", 5, 0));
		ptfs_iput(ip);
	}
}

static void use(struct trial *t)
{
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		unsigned failed = t->failed;
		struct ptfs_inode *ip;

		if (done(t, ptfs_lookup(t->root, shape[i].name, strlen(shape[i].name), &ip))) {
			read_file(t, &shape[i], ip);
			change_file(t, ip);
			ptfs_iput(ip);
			done(t, rm(t->root, shape[i].name));
		}
		t->files += t->failed > failed;
	}
	use_names(t);
}

// False: the mount was refused.
static bool try_line(struct trial *t, const struct host_image *from, u64 off, bool late)
{
	struct ptfs_check_result result;
	int err = 0;

	*t = (struct trial){ .off = off };
	alarm(20);
	host_image_copy(&t->image, from->map, from->bytes, TEST_BASE);
	host_bad_forget();
	if (!late)
		host_fail_line(&t->image, off);
	err = ptfs_mount(&t->image.region, "failing", 0, &t->fs);
	if (done(t, err) && done(t, ptfs_iget(t->fs, PTFS_INO_ROOT, &t->root))) {
		if (late)
			host_fail_line(&t->image, off);
		use(t);
		ptfs_iput(t->root);
		assert_int_equal(ptfs_unmount(t->fs), 0);
	}
	host_fail_none();
	host_bad_forget();
	memset(t->image.map + PTFS_BAD_OFF, 0, 8 * PTFS_BAD_MAX); // the line is well again
	assert_int_equal(ptfs_check(&t->image.region, rig_report, NULL, &result), 0);
	if (result.errors)
		fail_msg("line at %#llx, %s: the image is damaged", (unsigned long long)off,
			 late ? "late" : "early");
	host_image_close(&t->image);
	return !err;
}

static void no_log(void *ctx, enum ptfs_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static unsigned kind_of(struct ptfs_fs *fs, u64 off)
{
	static const unsigned kind[PTFS_CHUNK_TYPES] = {
		[PTFS_CHUNK_TABLE] = TABLES, [PTFS_CHUNK_INODE] = INODES, [PTFS_CHUNK_META] = NAMES
	};
	struct ptfs_chunk *c = ptfs_chunk_at(fs, off);

	if (off < fs->system_bytes || !ptfs_bit(c->claim_map, ptfs_block_index(off)))
		return OTHER;
	if (c->type == PTFS_CHUNK_TABLE && ptfs_tpage(fs, off)->owner == PTFS_INO_ITABLE)
		return ITABLE;
	return kind[c->type];
}

static void lines_of(unsigned kind, unsigned files_max)
{
	unsigned tried = 0, failed = 0;
	struct trial t;
	struct rig r;
	u8 *is = calloc(BYTES / PTFS_BLOCK, 1);

	rig_new(&r, BYTES);
	make_files(&r);
	for (u64 off = 0; off < BYTES; off += PTFS_BLOCK)
		is[off / PTFS_BLOCK] = kind_of(r.fs, off) == kind;
	rig_unmount(&r);
	host_log_to(no_log, NULL);
	for (u64 off = 0; off < BYTES; off += LINE) {
		if (!is[off / PTFS_BLOCK])
			continue;
		for (int late = 0; late < 2; late++) {
			try_line(&t, &r.image, off, late);
			assert_true(t.files <= files_max);
			tried++;
			failed += t.failed != 0;
		}
	}
	host_log_to(NULL, NULL);
	print_message("%u lines, calls failed with %u\n", tried / 2, failed);
	assert_true(failed > 0);
	rig_mount(&r);
	rig_free(&r);
	free(is);
}

static void tables(void **state)
{
	(void)state;
	lines_of(TABLES, 1);
	lines_of(ITABLE, ARRAY_SIZE(shape));
}

static void inodes(void **state)
{
	(void)state;
	lines_of(INODES, ARRAY_SIZE(shape)); // all, if it is that of the root directory
}

static void names(void **state)
{
	(void)state;
	lines_of(NAMES, ARRAY_SIZE(shape));
}

// The system area: a mount may be refused, but then for the reason that it is.
static void system_area(void **state)
{
	u64 end, snapshot;
	unsigned refused = 0;
	struct trial t;
	struct rig r;

	(void)state;
	rig_new(&r, BYTES);
	make_files(&r);
	end = r.fs->system_bytes;
	snapshot = r.fs->snapshot_off;
	rig_unmount(&r);
	host_log_to(no_log, NULL);
	for (u64 off = 0; off < end; off += LINE)
		for (int late = 0; late < 2; late++)
			if (off < PTFS_BLOCK || off % 1024 < 128 || off >= snapshot)
				refused += !try_line(&t, &r.image, off, late);
	host_log_to(NULL, NULL);
	print_message("%u mounts refused\n", refused);
	rig_mount(&r);
	rig_free(&r);
}

// ---- The list on the medium ----

static u64 block_of(struct ptfs_inode *ip, u64 block)
{
	struct ptfs_extent x;

	assert_int_equal(ptfs_map_extent(ip, block, 1, &x), 0);
	assert_false(x.hole);
	return x.off;
}

// All space goes to one file; `bad` is not in it.
static void use_all_but(struct rig *r, u64 bad)
{
	struct ptfs_inode *ip = make_file(r->root, "all");
	struct ptfs_extent x;
	u64 pos = 0;
	s64 n;

	do {
		n = write_at(ip, pattern, KIB(64), pos);
		pos += n > 0 ? (u64)n : 0;
	} while (n > 0);
	assert_int_equal(n, -ENOSPC);
	for (u64 block = 0; block < pos >> PTFS_BLOCK_SHIFT; block += x.blocks) {
		assert_int_equal(ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x), 0);
		assert_true(x.hole || bad < x.off || bad >= x.off + x.blocks * PTFS_BLOCK);
	}
	ptfs_iput(ip);
	assert_int_equal(rm(r->root, "all"), 0);
}

// As after the machine was switched off; then the list alone tells.
static void again(struct rig *r, bool clean, u64 base, u64 bad)
{
	if (clean)
		rig_unmount(r);
	else
		rig_crash(r);
	host_bad_forget();
	image_check(&r->image, 0); // a block that nobody may have is no leak
	host_bad_forget();
	r->image.region.base = PHYS(base);
	rig_mount(r);
	assert_true(ptfs_is_bad(r->fs, bad, 1));
	assert_false(ptfs_is_bad(r->fs, bad + PTFS_BLOCK, 1));
}

static void list_is_kept(void **state)
{
	struct ptfs_inode *ip;
	struct rig r;
	u8 data[10];
	u64 bad;

	(void)state;
	host_bad_forget();
	rig_new(&r, BYTES);
	ip = make_file(r.root, "file");
	assert_int_equal(write_at(ip, pattern, KIB(100), 0), KIB(100));
	bad = block_of(ip, 3);
	host_bad_add(TEST_BASE + bad);
	ptfs_bad_met(ip);
	assert_int_equal(read_at(ip, data, 10, 3 * PTFS_BLOCK), -EIO);
	ptfs_iput(ip);
	ptfs_bad_store(r.fs);
	again(&r, false, TEST_BASE, bad);
	ip = look(r.root, "file");
	assert_int_equal(read_at(ip, data, 10, 3 * PTFS_BLOCK), -EIO);
	assert_int_equal(read_at(ip, data, 10, 4 * PTFS_BLOCK), 10);
	ptfs_iput(ip);
	assert_int_equal(rm(r.root, "file"), 0);
	use_all_but(&r, bad);
	again(&r, true, TEST_BASE + MIB(64), bad); // it holds offsets, not addresses
	use_all_but(&r, bad);
	again(&r, false, TEST_BASE, bad);
	use_all_but(&r, bad);
	rig_free(&r);
	host_bad_forget();
}

// Words that do not check themselves are none; a full list is one log line, and no trouble.
static void list_is_checked(void **state)
{
	struct heard h;
	struct rig r;

	(void)state;
	host_bad_forget();
	rig_new(&r, BYTES);
	host_bad_add(TEST_BASE + MIB(8));
	rig_unmount(&r);
	host_bad_forget();
	r.image.map[PTFS_BAD_OFF + 2] ^= 1; // another block, with the check of this one
	memset(r.image.map + PTFS_BAD_OFF + 8, 0xff, 16);
	rig_mount(&r);
	assert_int_equal(host_bad_count, 0);
	hear(&h);
	for (u64 i = 0; i < PTFS_BAD_MAX + 2; i++)
		host_bad_add(TEST_BASE + MIB(8) + i * PTFS_BLOCK);
	ptfs_bad_store(r.fs);
	ptfs_bad_store(r.fs);
	assert_int_equal(h.errors, 1);
	host_log_to(NULL, NULL);
	host_bad_forget();
	rig_unmount(&r);
	rig_mount(&r);
	assert_int_equal(host_bad_count, PTFS_BAD_MAX);
	rig_free(&r);
	host_bad_forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_is_kept), cmocka_unit_test(list_is_checked),
		cmocka_unit_test(tables),       cmocka_unit_test(inodes),
		cmocka_unit_test(names),        cmocka_unit_test(system_area),
	};

	fill_pattern(pattern, sizeof(pattern), 3);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
