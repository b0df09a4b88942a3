// SPDX-License-Identifier: MIT
//
// What gets damaged: one small file system with everything in it, and where its parts are on the
// medium. The ways to break it are in ptfs_damage_ways.h.
#pragma once

#include "tests/host/ptfs_test.h"
#include "user/ptfs/tool.h"

#define SCENE_BYTES MIB(32)
#define FILES       40 // in /dir: two blocks of names

static u64 scene_base = TEST_BASE; // address that the image is written for

// ---- The scene ----

static inline void scene_file(struct ptfs_inode *dir, const char *name, u64 bytes)
{
	static u8 data[KIB(64)];
	struct ptfs_inode *ip = make_file(dir, name);

	fill_pattern(data, sizeof(data), ptfs_name_hash(name, strlen(name)));
	assert_int_equal(write_at(ip, data, bytes, 0), bytes);
	ptfs_iput(ip);
}

static inline void scene_symlink(struct ptfs_inode *dir, const char *name, const char *target)
{
	const struct ptfs_create_args a = { .mode = PTFS_S_IFLNK | 0777, .target = target };
	struct ptfs_inode *ip;

	assert_int_equal(ptfs_create(dir, name, strlen(name), &a, &ip), 0);
	ptfs_iput(ip);
}

static inline void scene_dirs(struct ptfs_inode *root)
{
	struct ptfs_inode *dir = make_dir(root, "dir"), *sub, *deep;
	char name[128];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%02u-with-a-name-that-takes-two-units-%040u", i,
			 i);
		scene_file(dir, name, 100 + i);
	}
	sub = make_dir(dir, "sub");
	deep = make_dir(sub, "deep");
	scene_file(deep, "bottom", 5000);
	ptfs_iput(deep);
	ptfs_iput(sub);
	ptfs_iput(dir);
	dir = make_dir(root, "other");
	scene_file(dir, "one", 10);
	scene_file(dir, "two", 20);
	ptfs_iput(dir);
}

// Leaves it unmounted and clean.
static inline void scene_make(struct rig *r)
{
	static const struct ptfs_format_options o = { .label = "scene" };
	char target[201];
	struct ptfs_inode *ip;

	host_clock_set(1700000000000000000ull);
	host_image_memory(&r->image, SCENE_BYTES, scene_base);
	assert_int_equal(ptfs_format(&r->image.region, &o), 0);
	rig_mount(r);
	scene_file(r->root, "direct", KIB(16));
	scene_file(r->root, "paged", KIB(64));
	scene_file(r->root, "tall", KIB(60));
	scene_file(r->root, "tail", 5001);
	ip = make_file(r->root, "huge");
	assert_int_equal(ptfs_fallocate(ip, 0, MIB(4), false), 0);
	assert_int_equal(write_at(ip, "huge", 4, MIB(3)), 4);
	ptfs_iput(ip);
	ip = make_file(r->root, "sparse");
	assert_int_equal(write_at(ip, "far", 3, MIB(20)), 3);
	ptfs_iput(ip);
	scene_dirs(r->root);
	scene_symlink(r->root, "link", "dir/sub/deep");
	memset(target, 'x', 200);
	target[200] = 0;
	scene_symlink(r->root, "longlink", target);
	ip = look(r->root, "direct");
	assert_int_equal(ptfs_link(r->root, "hard", 4, ip), 0);
	ptfs_iput(ip);
	assert_int_equal(make_in(r->root, "fifo", PTFS_S_IFIFO | 0600, &ip), 0);
	ptfs_iput(ip);
	rig_unmount(r);
}

// ---- Where things are ----

static inline struct ptfs_inode *at_path(struct rig *r, const char *path)
{
	return tool_get(r->fs, path);
}

static inline u64 inode_at(struct rig *r, const char *path)
{
	struct ptfs_inode *ip = at_path(r, path);
	u64 off = ip->media_off;

	ptfs_iput(ip);
	return off;
}

static inline u64 ino_of(struct rig *r, const char *path)
{
	struct ptfs_inode *ip = at_path(r, path);
	u64 ino = ip->ino;

	ptfs_iput(ip);
	return ino;
}

// The entry of `level` for a block; the highest is the root word.
static inline u64 slot_at(struct rig *r, const char *path, u64 block, int level)
{
	struct ptfs_inode *ip = path ? at_path(r, path) : &r->fs->itable;
	struct ptfs_walk w;
	u64 slot;

	if (ptfs_walk_init(&w, ip)) {
		assert_int_equal(pt_cursor_descend(&w.c, block << PTFS_BLOCK_SHIFT, level), level);
		slot = ptfs_walk_slot(&w);
	} else {
		slot = PTFS_FIELD(ip, direct) + 8 * block;
	}
	if (path)
		ptfs_iput(ip);
	return slot;
}

static inline u64 record_at(struct rig *r, const char *dir, const char *name)
{
	struct ptfs_inode *ip = at_path(r, dir);
	struct ptfs_dir_slot slot;
	u64 ino;

	assert_int_equal(ptfs_dir_find(ip, name, strlen(name), &slot, &ino), 0);
	ptfs_iput(ip);
	return slot.off;
}

static inline u64 get8(struct rig *r, u64 off)
{
	return ptfs_word(r->fs, off);
}

static inline void put8(struct rig *r, u64 off, u64 value)
{
	memcpy(r->image.map + off, &value, 8);
}

static inline void change8(struct rig *r, u64 off, u64 clear, u64 set)
{
	put8(r, off, (get8(r, off) & ~clear) | set);
}

static inline void fill(struct rig *r, u64 off, u8 byte, u64 len)
{
	memset(r->image.map + off, byte, len);
}

static inline u64 chunk_of(struct rig *r, u64 entry_at)
{
	return ((get8(r, entry_at) & PTE_ADDR) - scene_base) >> PTFS_CHUNK_SHIFT;
}

static inline void put_type(struct rig *r, u64 chunk, u8 type)
{
	fill(r, r->fs->chunk_map_off + chunk, type, 1);
}

// After a change of the snapshot: its checksums are right again.
static inline void snapshot_seal(struct rig *r)
{
	struct ptfs_snapshot s;
	u64 at = r->fs->snapshot_off;
	u32 crc = 0;

	for (u64 nr = 0; nr < r->fs->chunks; nr++)
		if (ptfs_chunk_at(r->fs, nr << PTFS_CHUNK_SHIFT)->type != PTFS_CHUNK_FREE)
			crc = crc32c(crc, r->image.map + at + PTFS_BLOCK + nr * PTFS_BITMAP_BYTES,
				     PTFS_BITMAP_BYTES);
	memcpy(&s, r->image.map + at, sizeof(s));
	s.data_crc = LE32(crc);
	s.crc = LE32(crc32c(0, &s, PTFS_SNAPSHOT_CRC_BYTES));
	memcpy(r->image.map + at, &s, sizeof(s));
}
