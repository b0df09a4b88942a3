// SPDX-License-Identifier: MIT
//
// Mounting on several CPUs: what a scan finds, what it stores, and what it refuses does not depend
// on how many there are. (Also worth running under -fsanitize=thread.)
#include "tests/host/ptfs_test.h"

#define CPUS   4u
#define FILES  400u
#define LARGE  3u // files of more than 1 GiB, which several CPUs share
#define ROUNDS 10u
#define BYTES  MIB(64)

static void write_one(struct ptfs_inode *ip, u64 pos)
{
	assert_int_equal(write_at(ip, "data", 4, pos), 4);
}

static struct ptfs_inode *make_nr(struct ptfs_inode *dir, const char *kind, unsigned nr)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%u", kind, nr);
	return make_file(dir, name);
}

// Files of all shapes, some with something to be recovered: no name, bytes and blocks behind EOF.
static void populate(struct rig *r)
{
	struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0600 };
	struct ptfs_inode *dir = make_dir(r->root, "dir");
	struct ptfs_inode *ip;

	ip = make_file(r->root, "stretched"); // beyond what its one table page maps
	for (unsigned k = 0; k < 12; k++)
		write_one(ip, k * KIB(4));
	assert_int_equal(ptfs_truncate(ip, MIB(5) + 1), 0);
	ptfs_iput(ip);
	for (unsigned i = 0; i < FILES; i++) { // the next table page is another one's
		ip = make_nr(i % 2 ? dir : r->root, "file", i);
		for (unsigned k = 0; k < i % 14; k++)
			write_one(ip, k * KIB(4) + i);
		if (i % 50 == 0)
			write_one(ip, MIB(2) * i + 77);
		ptfs_iput(ip);
		if (i % 60 == 0)
			assert_int_equal(ptfs_tmpfile(r->root, &a, false, &ip), 0);
	}
	for (unsigned i = 0; i < LARGE; i++) {
		ip = make_nr(r->root, "large", i);
		for (unsigned k = 0; k < 40; k++)
			write_one(ip, k * MIB(750) + i * MIB(3));
		ptfs_iput(ip);
	}
	ip = make_file(r->root, "huge");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(4) + KIB(40), false), 0);
	write_one(ip, MIB(3) + KIB(900)); // 2 MiB leaf with bytes behind what is EOF then
	assert_int_equal(ptfs_truncate(ip, MIB(3) + 5), 0);
	ptfs_iput(ip);
	ip = make_file(r->root, "kept");
	assert_int_equal(ptfs_fallocate(ip, KIB(64), KIB(64), true), 0);
	ptfs_iput(ip);
	ptfs_iput(dir);
}

// As an interrupted truncate leaves it: the size is down, nothing else.
static void cut_short(struct rig *r, const char *name, u64 size)
{
	struct ptfs_inode *ip = look(r->root, name);

	memcpy(r->image.map + PTFS_FIELD(ip, size), &size, 8);
	ptfs_iput(ip);
}

static void crashed_image(struct rig *r)
{
	rig_new(r, BYTES);
	populate(r);
	cut_short(r, "file12", KIB(8) + 100);
	cut_short(r, "file26", 1);
	cut_short(r, "file40", 0);
	cut_short(r, "file50", MIB(90));
	cut_short(r, "large1", GIB(5) + 1);
	rig_crash(r);
}

struct outcome {
	struct host_image image;
	struct ptfs_statfs st;
	u64 refused;
	u64 used[BYTES / PTFS_CHUNK][8], claimed[BYTES / PTFS_CHUNK][8];
};

static void mount_copy(struct outcome *o, const struct rig *r, u64 base, unsigned cpus)
{
	struct ptfs_fs *fs;

	host_image_copy(&o->image, r->image.map, BYTES, base);
	host_image_activate(&o->image);
	host_cpus_set(cpus);
	assert_int_equal(ptfs_mount(&o->image.region, "pmem0", 0, &fs), 0);
	host_cpus_set(1);
	ptfs_statfs(fs, &o->st);
	o->refused = fs->refused;
	for (u64 nr = 0; nr < BYTES / PTFS_CHUNK; nr++) {
		const struct ptfs_chunk *c = ptfs_chunk_at(fs, nr << PTFS_CHUNK_SHIFT);
		unsigned used = 0, claimed = 0;

		memcpy(o->used[nr], c->used_map, sizeof(o->used[nr]));
		memcpy(o->claimed[nr], c->claim_map, sizeof(o->claimed[nr]));
		for (unsigned w = 0; w < 8; w++) {
			assert_int_equal(c->claim_map[w] & ~c->used_map[w], 0);
			used += (unsigned)__builtin_popcountll(c->used_map[w]);
			claimed += (unsigned)__builtin_popcountll(c->claim_map[w]);
		}
		assert_int_equal(c->used, used);
		assert_int_equal(c->claimed, claimed);
	}
	assert_int_equal(ptfs_unmount(fs), 0);
}

static void compare(const struct rig *r, u64 base)
{
	static struct outcome one, many;

	mount_copy(&one, r, base, 1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		mount_copy(&many, r, base, CPUS);
		assert_memory_equal(&one.st, &many.st, sizeof(one.st));
		assert_memory_equal(one.used, many.used, sizeof(one.used));
		assert_memory_equal(one.claimed, many.claimed, sizeof(one.claimed));
		assert_int_equal(one.refused, many.refused);
		// Whatever recovery stored, also while unmounting.
		assert_memory_equal(one.image.map, many.image.map, BYTES);
		host_image_close(&many.image);
	}
	image_check(&one.image, 0);
	host_image_close(&one.image);
}

static void same_result(void **state)
{
	struct rig r;

	(void)state;
	host_clock_set(1000000007);
	crashed_image(&r);
	compare(&r, TEST_BASE);
	compare(&r, 0x143e00000);
	host_image_close(&r.image);
	host_clock_set(0);
	assert_int_equal(host_allocs_live(), 0);
}

// Two files name one block, and several CPUs come to it at the same time. At least one of the files
// is refused; nobody gets the block but a file that was not.
static void named_twice(void **state)
{
	static struct outcome o;
	struct rig r;
	u64 word;
	struct ptfs_inode *a, *b;

	(void)state;
	crashed_image(&r);
	rig_mount(&r);
	for (unsigned i = 0; i < 100; i++) {
		char first[16], second[16];

		snprintf(first, sizeof(first), "file%u", i * 2);
		snprintf(second, sizeof(second), "file%u", i * 2 + 200);
		a = look(r.root, first);
		b = look(r.root, second);
		memcpy(&word, r.image.map + PTFS_FIELD(a, direct), 8);
		if (root_level(b) == 0 && word && b->size > KIB(4))
			memcpy(r.image.map + PTFS_FIELD(b, direct), &word, 8);
		ptfs_iput(a);
		ptfs_iput(b);
	}
	rig_crash(&r);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct heard heard;

		hear(&heard);
		mount_copy(&o, &r, TEST_BASE, CPUS);
		host_log_to(NULL, NULL);
		assert_true(o.refused >= 20);
		assert_true(heard.errors >= 20);
		host_image_close(&o.image);
	}
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

static u64 direct_word(const struct rig *r, const char *name, unsigned i)
{
	struct ptfs_inode *ip = look(r->root, name);
	u64 word;

	memcpy(&word, r->image.map + PTFS_FIELD(ip, direct) + 8 * i, 8);
	ptfs_iput(ip);
	return word;
}

static void set_direct(struct rig *r, const char *name, unsigned i, u64 word)
{
	struct ptfs_inode *ip = look(r->root, name);

	memcpy(r->image.map + PTFS_FIELD(ip, direct) + 8 * i, &word, 8);
	ptfs_iput(ip);
}

// Entry `i` of the page of entries that the root of a file names.
static u64 *page_word(const struct rig *r, const char *name, unsigned i)
{
	struct ptfs_inode *ip = look(r->root, name);
	u64 *root = (void *)(r->image.map + ip->root_off);

	assert_int_equal(root_level(ip), PT_PMD);
	ptfs_iput(ip);
	return (void *)(r->image.map + (*root & PTE_ADDR) - TEST_BASE + 8 * i);
}

static u64 *root_word(const struct rig *r, const char *name)
{
	struct ptfs_inode *ip = look(r->root, name);
	u64 *root = (void *)(r->image.map + ip->root_off);

	ptfs_iput(ip);
	return root;
}

// As set_direct below does, for pages of entries.
static void spoil_pages(struct rig *r)
{
	*page_word(r, "file10", 9) = *page_word(r, "file10", 0);
	*page_word(r, "file24", 3) ^= BIT(62);
	*page_word(r, "file38", 5) = *page_word(r, "file66", 1);   // a later inode's turn
	*page_word(r, "file68", 300) = *page_word(r, "file68", 2); // behind EOF: thrown away
	*root_word(r, "file80") = *root_word(r, "file82");
	*root_word(r, "file94") ^= BIT(62);
	cut_short(r, "file96", KIB(16) + 5);
	cut_short(r, "file108", 0);
}

// At its own address most inodes of an image are claimed by the quick way, at another one none is:
// both refuse the same, name the same entry, and leave the same blocks in use. The quick way had
// claimed some entries before it came to the wrong one.
static void quick_as_slow(void **state)
{
	static struct outcome quick, slow;
	struct heard heard[2];
	struct rig r;
	u64 word;

	(void)state;
	crashed_image(&r);
	rig_mount(&r);
	set_direct(&r, "file6", 3, direct_word(&r, "file6", 0)); // twice in one inode
	set_direct(&r, "file8", 7, direct_word(&r, "file8", 1));
	set_direct(&r, "file22", 5, direct_word(&r, "file20", 5)); // a later inode's turn
	word = direct_word(&r, "file36", 2);
	set_direct(&r, "file36", 2, word ^ BIT(62));                              // a reserved bit
	set_direct(&r, "file36", 7, word);                                        // behind EOF
	set_direct(&r, "file64", 1, (word & ~(PTE_ADDR)) | (TEST_BASE + BYTES));  // outside
	set_direct(&r, "file76", 1, (word & ~(PTE_ADDR)) | (TEST_BASE + KIB(4))); // system area
	cut_short(&r, "file34", KIB(8) + 100);
	cut_short(&r, "file48", 0);
	spoil_pages(&r);
	rig_crash(&r);
	hear(&heard[0]);
	mount_copy(&quick, &r, TEST_BASE, 1);
	hear(&heard[1]);
	mount_copy(&slow, &r, 0x143e00000, 1);
	host_log_to(NULL, NULL);
	assert_int_equal(quick.refused, 11);
	assert_int_equal(quick.refused, slow.refused);
	assert_int_equal(heard[0].errors, heard[1].errors);
	assert_string_equal(heard[0].last, heard[1].last);
	assert_memory_equal(&quick.st, &slow.st, sizeof(quick.st));
	assert_memory_equal(quick.used, slow.used, sizeof(quick.used));
	assert_memory_equal(quick.claimed, slow.claimed, sizeof(quick.claimed));
	host_image_close(&quick.image);
	host_image_close(&slow.image);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

static void expect_verified(struct ptfs_fs *fs, bool all)
{
	for (u64 nr = 0; nr < BYTES / PTFS_CHUNK; nr++) {
		const struct ptfs_chunk *c = ptfs_chunk_at(fs, nr << PTFS_CHUNK_SHIFT);
		unsigned claimed = 0;

		for (unsigned w = 0; w < 8; w++)
			claimed += (unsigned)__builtin_popcountll(c->claim_map[w]);
		assert_int_equal(c->claimed, claimed);
		if (all)
			assert_memory_equal(c->claim_map, c->used_map, sizeof(c->claim_map));
	}
	assert_false(fs->dirty);
}

// verify=full: after mounting a clean image there is nothing that was not looked at, the image is
// untouched, and damage is known before anybody comes to it.
static void verify_clean(void **state)
{
	u8 *before = malloc(BYTES);
	struct ptfs_inode *ip;
	struct rig r;
	u64 direct, word = 0x200000 | PTFS_E_LEAF | PTFS_E_P | BIT(PTFS_E_TAG_SHIFT);

	(void)state;
	crashed_image(&r);
	rig_mount(&r);
	ip = look(r.root, "file4");
	direct = PTFS_FIELD(ip, direct);
	ptfs_iput(ip);
	rig_unmount(&r);
	memcpy(before, r.image.map, BYTES);
	for (unsigned i = 0; i < 4; i++) {
		unsigned flags = PTFS_MOUNT_VERIFY | (i & 1 ? PTFS_MOUNT_RDONLY : 0);

		host_cpus_set(i & 2 ? CPUS : 1);
		assert_int_equal(ptfs_mount(&r.image.region, "pmem0", flags, &r.fs), 0);
		expect_verified(r.fs, true);
		assert_int_equal(r.fs->refused, 0);
		assert_int_equal(ptfs_unmount(r.fs), 0);
		assert_memory_equal(before, r.image.map, BYTES);
	}
	memcpy(r.image.map + direct, &word, 8);
	for (unsigned i = 0; i < 2; i++) {
		struct heard heard;

		hear(&heard);
		host_cpus_set(i ? CPUS : 1);
		assert_int_equal(ptfs_mount(&r.image.region, "pmem0", PTFS_MOUNT_VERIFY, &r.fs), 0);
		host_log_to(NULL, NULL);
		expect_verified(r.fs, false);
		assert_int_equal(r.fs->refused, 1);
		assert_int_equal(heard.errors, 1);
		assert_non_null(strstr(heard.last, "outside the region"));
		assert_int_equal(ptfs_unmount(r.fs), 0);
	}
	host_cpus_set(1);
	host_image_close(&r.image);
	free(before);
	assert_int_equal(host_allocs_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(same_result),
					    cmocka_unit_test(named_twice),
					    cmocka_unit_test(quick_as_slow),
					    cmocka_unit_test(verify_clean) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
