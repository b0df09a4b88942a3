// SPDX-License-Identifier: MIT
//
// Bugs that a review found, each where no other test stood.
//
// A number that dies. An inode without links is free on the medium (mode_links 0) before its blocks
// are free and its number is given back. The search for free numbers looks at the medium. In a
// block that it had not come to yet, which after a mount is most of them, it found such a number,
// and a new file got it whose blocks were then freed as those of the old one; and the number came
// to the stack a second time, so that two files shared an inode.
//
// Bytes between the end and a range. fallocate beyond EOF moves the size, and made zero what it
// allocated; blocks before its range it left as they were. A truncate that a crash cuts off leaves
// old bytes there, in a file with PREALLOC, of which recovery does not look behind the end.
//
// A list of names from a block of somebody else. Of a directory whose direct entries are refused
// nothing is claimed; readdir followed them all the same.
//
// Names that lead to a directory from two places, to the directory itself, or to an inode that has
// lost its last link. Whoever walks names takes locks on the way, and a directory that is below
// itself is locked twice; an unlink of a name more than there are links made 2^32 - 1 of them.
#include "tests/host/ptfs_test.h"

// ---- A number that dies ----

#define FILES 40u

static struct {
	struct ptfs_fs *fs;
	u64 word;              // mode_links of the inode that dies
	struct ptfs_inode *ip; // made when that is 0
} dying;

// At the fence that makes mode_links durable: somebody else makes a file.
static void make_meanwhile(void *ctx, const struct host_pm_event *e)
{
	const struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0644 };

	(void)ctx;
	if (e->kind != HOST_PM_FENCE || dying.ip || ptfs_word(dying.fs, dying.word))
		return;
	host_pm_record(NULL, NULL);
	assert_int_equal(ptfs_inode_new(dying.fs, &a, PTFS_INO_ROOT, &dying.ip), 0);
}

static struct ptfs_inode *make_nth(struct rig *r, unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "f%u", i);
	return make_file(r->root, name);
}

static void number_that_dies(void **state)
{
	struct ptfs_inode *ip, *later[FILES];
	struct rig r;
	u64 old;

	(void)state;
	rig_new(&r, MIB(16));
	for (unsigned i = 0; i < FILES; i++)
		ptfs_iput(make_nth(&r, i));
	rig_remount(&r, true); // from here on the search begins behind most of them
	ip = look(r.root, "f35");
	old = ip->ino;
	assert_true(old / PTFS_INODES_PER_BLOCK >= r.fs->inode_cursor);
	dying.fs = r.fs;
	dying.word = PTFS_FIELD(ip, mode_links);
	dying.ip = NULL;
	assert_int_equal(rm(r.root, "f35"), 0);
	host_pm_record(make_meanwhile, NULL);
	ptfs_iput(ip);
	host_pm_record(NULL, NULL);
	assert_non_null(dying.ip);
	assert_int_not_equal(dying.ip->ino, old);
	for (unsigned i = 0; i < FILES; i++) {
		later[i] = make_nth(&r, 100 + i);
		assert_int_not_equal(later[i]->ino, dying.ip->ino);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(later[i]->ino, later[k]->ino);
	}
	assert_int_equal(later[0]->ino, old); // it is free again, once
	rig_remount(&r, false);
	rig_free(&r);
}

// ---- Bytes between the end and a range ----

static struct {
	struct host_image *image;
	u64 size_word;
	u8 *state; // of the image, when the size had become small
} cut;

static void keep_state(void *ctx, const struct host_pm_event *e)
{
	u64 size;

	(void)ctx;
	memcpy(&size, cut.image->map + cut.size_word, 8);
	if (e->kind == HOST_PM_FENCE && size == KIB(4) && !cut.state) {
		cut.state = malloc(cut.image->bytes);
		assert_non_null(cut.state);
		memcpy(cut.state, cut.image->map, cut.image->bytes);
	}
}

static void between_end_and_range(void **state)
{
	static u8 data[KIB(64)], back[KIB(64)];
	struct ptfs_inode *ip;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(16));
	fill_pattern(data, sizeof(data), 1);
	ip = make_file(r.root, "f");
	assert_int_equal(write_at(ip, data, sizeof(data), 0), sizeof(data));
	assert_int_equal(ptfs_fallocate(ip, KIB(64), KIB(4), true), 0);
	cut.image = &r.image;
	cut.size_word = PTFS_FIELD(ip, size);
	host_pm_record(keep_state, NULL);
	assert_int_equal(ptfs_truncate(ip, KIB(4)), 0);
	host_pm_record(NULL, NULL);
	assert_non_null(cut.state);
	ptfs_iput(ip);
	rig_crash(&r);
	memcpy(r.image.map, cut.state, r.image.bytes);
	free(cut.state);
	rig_mount(&r);
	ip = look(r.root, "f");
	assert_int_equal(ip->size, KIB(4));
	assert_true(file_blocks(ip) > 1); // or this shows nothing
	assert_int_equal(ptfs_fallocate(ip, KIB(32) + 10, KIB(4), false), 0);
	assert_int_equal(read_at(ip, back, sizeof(back), 0), KIB(36) + 10);
	assert_memory_equal(back, data, KIB(4));
	for (u64 i = KIB(4); i < KIB(36) + 10; i++)
		assert_int_equal(back[i], 0);
	ptfs_iput(ip);
	rig_unmount(&r);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

// ---- Names ----

static bool emit_none(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	(void)len;
	(void)ino;
	(void)type;
	(void)next;
	if (name[0] != '.')
		++*(unsigned *)ctx;
	return true;
}

static void names_of_a_refused_directory(void **state)
{
	struct ptfs_inode *mine, *theirs;
	struct heard heard;
	unsigned names = 0;
	u64 entry, slot, pos = 0;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(16));
	mine = make_dir(r.root, "mine");
	theirs = make_dir(r.root, "theirs");
	ptfs_iput(make_file(mine, "a"));
	ptfs_iput(make_file(theirs, "secret"));
	slot = PTFS_FIELD(mine, direct);
	entry = ptfs_word(r.fs, PTFS_FIELD(theirs, direct));
	ptfs_iput(mine);
	ptfs_iput(theirs);
	rig_unmount(&r);
	memcpy(r.image.map + slot, &entry, 8);
	rig_mount(&r);
	hear(&heard);
	theirs = look(r.root, "theirs"); // has its block first
	mine = look(r.root, "mine");
	assert_int_equal(heard.errors, 1);
	assert_int_equal(ptfs_readdir(mine, &pos, emit_none, &names), -EUCLEAN);
	assert_int_equal(names, 0);
	assert_int_equal(look_err(mine, "secret"), -EUCLEAN);
	assert_int_equal(ptfs_readdir(theirs, &pos, emit_none, &names), 0);
	assert_int_equal(names, 1);
	ptfs_iput(mine);
	ptfs_iput(theirs);
	rig_unmount(&r);
	host_log_to(NULL, NULL);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

// The word of the record of `name` that says which inode it names.
static u64 ino_word(struct ptfs_inode *dir, const char *name)
{
	struct ptfs_dir_slot slot;
	u64 ino;

	assert_int_equal(ptfs_dir_find(dir, name, strlen(name), &slot, &ino), 0);
	return slot.off + offsetof(struct ptfs_dirent, ino);
}

static void refused_name(struct ptfs_inode *dir, const char *name, struct ptfs_inode *root)
{
	size_t len = strlen(name);

	assert_int_equal(look_err(dir, name), -EUCLEAN);
	assert_int_equal(ptfs_rmdir(dir, name, len), -EUCLEAN);
	assert_int_equal(ptfs_unlink(dir, name, len), -EUCLEAN);
	assert_int_equal(ptfs_rename(dir, name, len, root, "new", 3, 0), -EUCLEAN);
	assert_int_equal(look_err(root, "new"), -ENOENT);
}

// a/b leads to the root, to a itself, and to c, which is a neighbour of a.
static void directory_from_two_places(void **state)
{
	static const char *const leads_to[] = { NULL, "a", "c" };
	struct ptfs_inode *a;
	struct heard heard;
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(leads_to); i++) {
		u64 word, ino = PTFS_INO_ROOT;

		rig_new(&r, MIB(16));
		a = make_dir(r.root, "a");
		ptfs_iput(make_dir(a, "b"));
		ptfs_iput(make_dir(r.root, "c"));
		word = ino_word(a, "b");
		ptfs_iput(a);
		if (leads_to[i]) {
			struct ptfs_inode *ip = look(r.root, leads_to[i]);

			ino = ip->ino;
			ptfs_iput(ip);
		}
		rig_unmount(&r);
		memcpy(r.image.map + word, &ino, 8);
		rig_mount(&r);
		hear(&heard);
		a = look(r.root, "a");
		refused_name(a, "b", r.root);
		assert_non_null(strstr(heard.last, "directory of another place"));
		ptfs_iput(a);
		assert_int_equal(ptfs_rmdir(r.root, "c", 1), 0);
		host_log_to(NULL, NULL);
		rig_unmount(&r);
		host_image_close(&r.image);
	}
	assert_int_equal(host_allocs_live(), 0);
}

// The root names itself.
static void root_below_itself(void **state)
{
	u64 word, ino = PTFS_INO_ROOT;
	struct heard heard;
	struct rig r;

	(void)state;
	rig_new(&r, MIB(16));
	ptfs_iput(make_dir(r.root, "a"));
	word = ino_word(r.root, "a");
	rig_unmount(&r);
	memcpy(r.image.map + word, &ino, 8);
	rig_mount(&r);
	hear(&heard);
	refused_name(r.root, "a", r.root);
	host_log_to(NULL, NULL);
	rig_unmount(&r);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

static void more_names_than_links(void **state)
{
	struct ptfs_inode *f, *g;
	struct heard heard;
	struct rig r;
	u64 word;

	(void)state;
	rig_new(&r, MIB(16));
	f = make_file(r.root, "f");
	ptfs_iput(f);
	g = make_file(r.root, "g");
	ptfs_iput(g);
	word = ino_word(r.root, "g");
	rig_unmount(&r);
	memcpy(r.image.map + word, &(u64){ PTFS_INO_ROOT + 1 }, 8);
	rig_mount(&r);
	hear(&heard);
	f = look(r.root, "f");
	assert_int_equal(f->ino, PTFS_INO_ROOT + 1);
	g = look(r.root, "g");
	assert_ptr_equal(f, g);
	assert_int_equal(rm(r.root, "f"), 0);
	assert_int_equal(f->nlink, 0);
	refused_name(r.root, "g", r.root);
	assert_int_equal(f->nlink, 0);
	ptfs_iput(f);
	ptfs_iput(g);
	refused_name(r.root, "g", r.root); // now it leads to a free one
	host_log_to(NULL, NULL);
	rig_unmount(&r);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

// A number of links that no s32 can be the opposite of.
static void links_without_opposite(void **state)
{
	struct ptfs_inode *d;
	struct rig r;
	u64 word;

	(void)state;
	rig_new(&r, MIB(16));
	d = make_dir(r.root, "d");
	word = PTFS_FIELD(d, mode_links) + 4;
	ptfs_iput(d);
	rig_unmount(&r);
	memcpy(r.image.map + word, &(u32){ 0x80000000 }, 4);
	rig_mount(&r);
	assert_int_equal(ptfs_rmdir(r.root, "d", 1), 0);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number_that_dies),
		cmocka_unit_test(between_end_and_range),
		cmocka_unit_test(names_of_a_refused_directory),
		cmocka_unit_test(directory_from_two_places),
		cmocka_unit_test(root_below_itself),
		cmocka_unit_test(more_names_than_links),
		cmocka_unit_test(links_without_opposite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
