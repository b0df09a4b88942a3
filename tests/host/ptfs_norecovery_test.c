// SPDX-License-Identifier: MIT
//
// Read-only mounts without recovery: at every fence of every kind of operation the machine stops;
// what readers see of the image as it is then is what they see after it was recovered, and the
// image has not changed by a byte.
#include "tests/host/ptfs_test.h"

#define BYTES MIB(16)

struct text {
	char at[KIB(64)];
	size_t n;
};

struct listing {
	struct ptfs_fs *fs;
	struct text *out;
};

static void describe(struct ptfs_fs *fs, u64 ino, struct text *out);

static bool describe_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct listing *l = ctx;
	struct text *out = l->out;

	(void)next;
	out->n += (size_t)snprintf(out->at + out->n, sizeof(out->at) - out->n,
				   "%.*s %llu %u: ", (int)len, name, (unsigned long long)ino, type);
	if (!(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.'))
		describe(l->fs, ino, out);
	return true;
}

// All that calls can tell about a file and what is below it.
static void describe(struct ptfs_fs *fs, u64 ino, struct text *out)
{
	static u8 data[MIB(5)];
	struct listing l = { fs, out };
	struct ptfs_inode *ip;
	struct ptfs_attr a;
	u64 pos = 0;
	ssize n = 0;

	assert_int_equal(ptfs_iget(fs, ino, &ip), 0);
	ptfs_getattr(ip, &a);
	if (ptfs_is(ip, PTFS_S_IFREG))
		n = read_at(ip, data, sizeof(data), 0);
	else if (ptfs_is(ip, PTFS_S_IFLNK))
		n = ptfs_readlink(ip, (char *)data, sizeof(data));
	assert_true(n >= 0);
	out->n +=
		(size_t)snprintf(out->at + out->n, sizeof(out->at) - out->n,
				 "mode %o links %u owner %u:%u size %llu times %llu %llu crc %x\n",
				 a.mode, a.nlink, a.uid, a.gid, (unsigned long long)a.size,
				 (unsigned long long)a.mtime_ns, (unsigned long long)a.ctime_ns,
				 crc32c(0, data, (size_t)n));
	if (ptfs_is(ip, PTFS_S_IFDIR))
		assert_int_equal(ptfs_readdir(ip, &pos, describe_name, &l), 0);
	ptfs_iput(ip);
}

struct watch {
	struct host_image *image; // whose fences count
	unsigned stops, open;     // how often the machine stopped; with a transaction open
	bool busy;                // a stop is being looked at: its own fences do not count
};

static void mount_copy(const u8 *bytes, u64 base, unsigned flags, struct text *out, bool *open)
{
	struct host_image im;
	struct ptfs_fs *fs;

	out->n = 0;
	host_image_copy(&im, bytes, BYTES, base);
	host_image_activate(&im);
	assert_int_equal(ptfs_mount(&im.region, "copy", flags, &fs), 0);
	*open = fs->shadow;
	describe(fs, PTFS_INO_ROOT, out);
	if (flags & PTFS_MOUNT_RDONLY) {
		assert_true(ptfs_read_only(fs));
		assert_int_equal(ptfs_dirty(fs), -EROFS);
	}
	assert_int_equal(ptfs_unmount(fs), 0);
	if (flags & PTFS_MOUNT_RDONLY)
		assert_memory_equal(im.map, bytes, BYTES);
	host_image_close(&im);
}

static void stop(struct watch *w)
{
	static struct text seen, recovered;
	u8 *bytes = malloc(BYTES);
	bool open, none;

	memcpy(bytes, w->image->map, BYTES);
	mount_copy(bytes, TEST_BASE, 0, &recovered, &none);
	assert_false(none);
	mount_copy(bytes, TEST_BASE, PTFS_MOUNT_RDONLY | PTFS_MOUNT_NORECOVERY, &seen, &open);
	assert_string_equal(seen.at, recovered.at);
	w->stops++;
	w->open += open;
	mount_copy(bytes, 0x143e00000, PTFS_MOUNT_RDONLY | PTFS_MOUNT_NORECOVERY, &seen, &open);
	assert_string_equal(seen.at, recovered.at);
	host_image_activate(w->image);
	free(bytes);
}

static void event(void *ctx, const struct host_pm_event *e)
{
	struct watch *w = ctx;

	if (w->busy || e->kind != HOST_PM_FENCE)
		return;
	w->busy = true;
	stop(w);
	w->busy = false;
}

static void operations(struct rig *r, struct ptfs_inode *dir)
{
	static u8 data[KIB(48)];
	struct ptfs_create_args link = { .mode = PTFS_S_IFLNK | 0777, .target = "somewhere" };
	struct ptfs_create_args tmp = { .mode = PTFS_S_IFREG | 0600 };
	struct ptfs_inode *f = look(r->root, "f");
	struct ptfs_inode *g;

	fill_pattern(data, sizeof(data), 3);
	ptfs_iput(make_file(r->root, "new"));
	assert_int_equal(ptfs_create(r->root, "sym", 3, &link, &g), 0);
	ptfs_iput(g);
	assert_int_equal(ptfs_link(r->root, "hard", 4, f), 0);
	assert_int_equal(ptfs_rename(r->root, "new", 3, dir, "moved", 5, 0), 0);
	assert_int_equal(ptfs_rename(dir, "moved", 5, r->root, "hard", 4, 0), 0);
	assert_int_equal(ptfs_rename(r->root, "f", 1, r->root, "dir", 3, PTFS_RENAME_EXCHANGE), 0);
	assert_int_equal(ptfs_setattr(f, PTFS_ATTR_MODE, &(struct ptfs_attr){ .mode = 0600 }), 0);
	assert_int_equal(write_at(f, data, sizeof(data), KIB(30) + 7), sizeof(data));
	assert_int_equal(ptfs_collapse(f, KIB(8), KIB(16)), 0); // root word and size
	assert_int_equal(ptfs_truncate(f, KIB(20) + 3), 0);
	assert_int_equal(ptfs_truncate(f, MIB(3)), 0);
	assert_int_equal(ptfs_truncate(f, 5), 0);
	ptfs_iput(f);
	assert_int_equal(ptfs_tmpfile(r->root, &tmp, false, &g), 0);
	assert_int_equal(write_at(g, data, sizeof(data), 0), sizeof(data));
	ptfs_iput(g);
	assert_int_equal(rm(r->root, "hard"), 0);
	ptfs_iput(make_dir(r->root, "sub"));
	assert_int_equal(ptfs_rmdir(r->root, "sub", 3), 0);
	assert_int_equal(rm(r->root, "dir"), 0); // which is the file now
}

static void at_every_fence(void **state)
{
	struct rig r;
	struct ptfs_inode *f, *dir;
	struct watch w = { .image = &r.image };

	(void)state;
	rig_new(&r, BYTES);
	f = make_file(r.root, "f");
	assert_int_equal(write_at(f, "data", 4, KIB(4)), 4);
	ptfs_iput(f);
	dir = make_dir(r.root, "dir");
	host_pm_record(event, &w);
	operations(&r, dir);
	host_pm_record(NULL, NULL);
	ptfs_iput(dir);
	print_message("%u stops, %u of them with an open transaction\n", w.stops, w.open);
	assert_true(w.stops > 100 && w.open > 20);
	rig_free(&r);
}

// It is an option of read-only mounts, and of no use on a clean image.
static void when_it_is_allowed(void **state)
{
	struct rig r;
	struct heard heard;

	(void)state;
	rig_new(&r, BYTES);
	rig_unmount(&r);
	hear(&heard);
	assert_int_equal(ptfs_mount(&r.image.region, "pmem0", PTFS_MOUNT_NORECOVERY, &r.fs),
			 -EINVAL);
	host_log_to(NULL, NULL);
	assert_int_equal(heard.errors, 1);
	assert_int_equal(ptfs_mount(&r.image.region, "pmem0",
				    PTFS_MOUNT_NORECOVERY | PTFS_MOUNT_RDONLY, &r.fs),
			 0);
	assert_null(r.fs->shadow);
	assert_int_equal(ptfs_unmount(r.fs), 0);
	rig_mount(&r);
	rig_free(&r);
}

// A journal in which every slot is open, with 16 records each in blocks of their own, as only a
// hostile image has: the copies are as many as there can be, and memory that runs out at any of
// them ends the mount.
static void all_slots(void **state)
{
	struct ptfs_journal_slot *slot;
	struct rig r;
	u64 from, n = 0;

	(void)state;
	rig_new(&r, BYTES);
	from = ALIGN_DOWN(r.root->media_off, PTFS_CHUNK);
	rig_unmount(&r);
	slot = (void *)(r.image.map + PTFS_BLOCK);
	for (unsigned s = 0; s < PTFS_JOURNAL_SLOTS; s++) {
		slot[s].head = LE64(7ull << PTFS_TX_COUNT_BITS | PTFS_TX_RECORDS);
		for (unsigned i = 0; i < PTFS_TX_RECORDS; i++) {
			struct ptfs_undo *u = &slot[s].undo[i];
			u64 off = from + n++ % PTFS_CHUNK_BLOCKS * PTFS_BLOCK + 2048 + 8 * (s % 8);

			*u = (struct ptfs_undo){ .txid = LE64(7), .off = LE64(off) };
			u->crc = LE32(crc32c(0, u, offsetof(struct ptfs_undo, crc)));
		}
	}
	for (u64 nth = 1;; nth += 1 + nth / 8) {
		int err;

		host_fail_memory_at(nth);
		err = ptfs_mount(&r.image.region, "pmem0",
				 PTFS_MOUNT_NORECOVERY | PTFS_MOUNT_RDONLY, &r.fs);
		if (!host_memory_failed()) {
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(host_allocs_live(), 0);
	}
	host_fail_memory_at(0);
	assert_true(host_allocs_live() > PTFS_CHUNK_BLOCKS);
	assert_int_equal(ptfs_unmount(r.fs), 0);
	host_image_close(&r.image);
	assert_int_equal(host_allocs_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(at_every_fence),
					    cmocka_unit_test(when_it_is_allowed),
					    cmocka_unit_test(all_slots) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
