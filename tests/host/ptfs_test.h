// SPDX-License-Identifier: MIT
//
// What the host tests of ptfs share: a file system in memory, short forms of its calls, and a check
// of all its invariants.
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the four above first
#include <cmocka.h>

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/host_home.h"

#define TEST_BASE HOST_DEFAULT_BASE

struct rig {
	struct host_image image;
	struct ptfs_fs *fs;
	struct ptfs_inode *root;
};

static inline void rig_mount(struct rig *r)
{
	assert_int_equal(ptfs_mount(&r->image.region, "test", 0, &r->fs), 0);
	assert_int_equal(ptfs_iget(r->fs, PTFS_INO_ROOT, &r->root), 0);
}

static inline void rig_new(struct rig *r, u64 bytes)
{
	static const struct ptfs_format_options o = { .label = "test" };

	host_image_memory(&r->image, bytes, TEST_BASE);
	assert_int_equal(ptfs_format(&r->image.region, &o), 0);
	rig_mount(r);
}

static inline void rig_unmount(struct rig *r)
{
	ptfs_iput(r->root);
	assert_int_equal(ptfs_unmount(r->fs), 0);
}

// As after a power failure: whatever was in DRAM is gone.
static inline void rig_crash(struct rig *r)
{
	ptfs_abandon(r->fs);
}

__unused static void rig_report(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	print_message("check: inode %llu: %s: %llu, %llu\n", (unsigned long long)ino, what,
		      (unsigned long long)a, (unsigned long long)b);
}

// All invariants of an image that is not mounted. The image itself is not changed.
static inline void image_check(const struct host_image *im, u64 leaked_max)
{
	struct ptfs_check_result result;
	struct host_image copy;

	host_image_copy(&copy, im->map, im->bytes, TEST_BASE);
	assert_int_equal(ptfs_check(&copy.region, rig_report, NULL, &result), 0);
	host_image_close(&copy);
	assert_int_equal(result.errors, 0);
	assert_true(result.leaked <= leaked_max);
}

// Unmount or crash, check, mount again.
static inline void rig_remount(struct rig *r, bool clean)
{
	if (clean)
		rig_unmount(r);
	else
		rig_crash(r);
	image_check(&r->image, 0);
	rig_mount(r);
}

static inline void rig_free(struct rig *r)
{
	rig_unmount(r);
	image_check(&r->image, 0);
	host_image_close(&r->image);
	assert_int_equal(host_allocs_live(), 0);
}

static inline int make_in(struct ptfs_inode *dir, const char *name, u32 mode,
			  struct ptfs_inode **out)
{
	const struct ptfs_create_args a = { .mode = mode };

	return ptfs_create(dir, name, strlen(name), &a, out);
}

static inline struct ptfs_inode *make_file(struct ptfs_inode *dir, const char *name)
{
	struct ptfs_inode *ip;

	assert_int_equal(make_in(dir, name, PTFS_S_IFREG | 0644, &ip), 0);
	return ip;
}

static inline struct ptfs_inode *make_dir(struct ptfs_inode *dir, const char *name)
{
	struct ptfs_inode *ip;

	assert_int_equal(make_in(dir, name, PTFS_S_IFDIR | 0755, &ip), 0);
	return ip;
}

static inline struct ptfs_inode *look(struct ptfs_inode *dir, const char *name)
{
	struct ptfs_inode *ip;

	assert_int_equal(ptfs_lookup(dir, name, strlen(name), &ip), 0);
	return ip;
}

static inline int look_err(struct ptfs_inode *dir, const char *name)
{
	struct ptfs_inode *ip;
	int err = ptfs_lookup(dir, name, strlen(name), &ip);

	if (!err)
		ptfs_iput(ip);
	return err;
}

static inline int rm(struct ptfs_inode *dir, const char *name)
{
	return ptfs_unlink(dir, name, strlen(name));
}

static inline ssize write_at(struct ptfs_inode *ip, const void *data, u64 bytes, u64 pos)
{
	struct ptfs_iter it = { .at = (u8 *)(uintptr_t)data, .left = bytes };

	return ptfs_write(ip, &it, &pos, bytes, false);
}

static inline ssize read_at(struct ptfs_inode *ip, void *data, u64 bytes, u64 pos)
{
	struct ptfs_iter it = host_iter(data, bytes);

	return ptfs_read(ip, &it, pos, bytes);
}

// Bytes that tell where they were written, and by whom.
static inline void fill_pattern(u8 *data, u64 bytes, u64 seed)
{
	for (u64 i = 0; i < bytes; i++)
		data[i] = (u8)((seed * 31 + i) * 2654435761u >> 13 | 1);
}

static inline u64 file_blocks(struct ptfs_inode *ip)
{
	struct ptfs_attr a;

	ptfs_getattr(ip, &a);
	return a.blocks;
}

static inline u64 used(struct ptfs_fs *fs, unsigned type)
{
	struct ptfs_statfs s;

	ptfs_statfs(fs, &s);
	return s.used[type];
}

static inline int root_level(struct ptfs_inode *ip)
{
	return ptfs_root_level(ptfs_word(ip->fs, ip->root_off));
}

// What the log said, for tests that expect it to speak.
struct heard {
	unsigned errors;
	char last[512];
};

__unused static void hear_line(void *ctx, enum ptfs_log_level level, const char *line)
{
	struct heard *h = ctx;

	if (level != PTFS_LOG_ERROR)
		return;
	h->errors++;
	snprintf(h->last, sizeof(h->last), "%s", line);
}

static inline void hear(struct heard *h)
{
	*h = (struct heard){ 0 };
	host_log_to(h ? hear_line : NULL, h);
}

// xorshift64*: repeatable everywhere.
static inline u64 rnd(u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ull;
}
