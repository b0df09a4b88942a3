// SPDX-License-Identifier: MIT
//
// One execution of the ptfs fuzzer: a program of changes to a small image, then everything that can
// be done with an image.
//
// The input is not the image but what is done to it, in records of 12 bytes: which of the blocks
// that are in use, which word of it, how it changes. Checksums are made right again unless the
// first byte says no, so that changes get past them. The first byte also says whether the image
// is unclean and whether the repair has its turn.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/host_home.h"
#include "user/ptfs/repair.h"

#define FUZZ_BYTES  MIB(16)
#define FUZZ_RECORD 12u
#define FUZZ_BLOCKS (FUZZ_BYTES / PTFS_BLOCK)

struct fuzz {
	struct host_image image;
	u8 *base;               // the sound image
	u64 block[FUZZ_BLOCKS]; // offsets of blocks in use
	unsigned blocks;
	u8 dirty[FUZZ_BLOCKS];
	u64 unsound; // repairs that left something
};

static struct fuzz fuzz;

#define FUZZ_MUST(call)                                                                            \
	do {                                                                                       \
		if (call)                                                                          \
			abort();                                                                   \
	} while (0)

static void fuzz_note(void *ctx, const struct host_pm_event *e)
{
	(void)ctx;
	if (e->kind == HOST_PM_STORE || e->kind == HOST_PM_NT)
		for (u64 b = e->off / PTFS_BLOCK; b <= (e->off + e->len - 1) / PTFS_BLOCK; b++)
			fuzz.dirty[b] = 1;
}

static void fuzz_quiet(void *ctx, enum ptfs_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static void fuzz_report(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	if (getenv("V"))
		printf("inode %llu: %s: %llu, %llu\n", (unsigned long long)ino, what,
		       (unsigned long long)a, (unsigned long long)b);
}

static struct ptfs_inode *fuzz_make(struct ptfs_inode *dir, const char *name, u32 mode)
{
	const struct ptfs_create_args a = { .mode = mode, .target = "to/nowhere" };
	struct ptfs_inode *ip;

	return ptfs_create(dir, name, strlen(name), &a, &ip) ? NULL : ip;
}

static void fuzz_write(struct ptfs_inode *ip, u64 bytes, u64 pos)
{
	static u8 data[KIB(64)];
	struct ptfs_iter it = host_iter(data, bytes);

	memset(data, 0x42, sizeof(data));
	(void)!ptfs_write(ip, &it, &pos, bytes, false);
}

static inline void fuzz_setup(void)
{
	static const struct ptfs_format_options o = { .label = "fuzz" };
	static const struct {
		const char *name;
		u32 mode;
		u64 bytes, pos;
	} files[] = {
		{ "small", PTFS_S_IFREG | 0644, 5000, 0 },
		{ "paged", PTFS_S_IFREG | 0644, 40000, 0 },
		{ "sparse", PTFS_S_IFREG | 0644, 10, MIB(3) },
		{ "link", PTFS_S_IFLNK | 0777, 0, 0 },
		{ "dir", PTFS_S_IFDIR | 0755, 0, 0 },
	};
	struct ptfs_inode *root, *ip;
	struct ptfs_fs *fs;

	host_log_to(fuzz_quiet, NULL);
	host_clock_set(1700000000000000000ull);
	host_image_memory(&fuzz.image, FUZZ_BYTES, HOST_DEFAULT_BASE);
	FUZZ_MUST(ptfs_format(&fuzz.image.region, &o));
	FUZZ_MUST(ptfs_mount(&fuzz.image.region, "fuzz", 0, &fs));
	FUZZ_MUST(ptfs_iget(fs, PTFS_INO_ROOT, &root));
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		ip = fuzz_make(root, files[i].name, files[i].mode);
		FUZZ_MUST(!ip);
		if (files[i].bytes)
			fuzz_write(ip, files[i].bytes, files[i].pos);
		if (ptfs_is(ip, PTFS_S_IFDIR))
			ptfs_iput(fuzz_make(ip, "below", PTFS_S_IFREG | 0600));
		ptfs_iput(ip);
	}
	ip = fuzz_make(root, "huge", PTFS_S_IFREG | 0644);
	FUZZ_MUST(ptfs_fallocate(ip, 0, MIB(2), false));
	ptfs_iput(ip);
	ptfs_iput(root);
	FUZZ_MUST(ptfs_unmount(fs));
	fuzz.base = malloc(FUZZ_BYTES);
	memcpy(fuzz.base, fuzz.image.map, FUZZ_BYTES);
	for (u64 off = 0; off < FUZZ_BYTES; off += PTFS_BLOCK)
		for (unsigned i = 0; i < PTFS_BLOCK; i++)
			if (fuzz.base[off + i] && fuzz.base[off + i] != 0x42) {
				fuzz.block[fuzz.blocks++] = off;
				break;
			}
	host_pm_record(fuzz_note, NULL);
}

// ---- Changing the image ----

static u64 fuzz_get(u64 off)
{
	le64_t word;

	memcpy(&word, fuzz.image.map + off, sizeof(word));
	return le64(word);
}

static void fuzz_put(u64 off, u64 value)
{
	le64_t word = LE64(value);

	memcpy(fuzz.image.map + off, &word, sizeof(word));
	fuzz.dirty[off / PTFS_BLOCK] = 1;
}

static void fuzz_change(const u8 *r)
{
	u64 block = fuzz.block[r[0] % fuzz.blocks], other = fuzz.block[r[3] % fuzz.blocks];
	u64 off = block + (r[2] & 1 ? (r[1] % 64) * 8 : (r[1] + 256u * (r[2] >> 1 & 1)) * 8);
	u64 value = 0;

	memcpy(&value, r + 4, sizeof(value));
	switch (r[2] >> 2 & 7) {
	case 0: fuzz_put(off, value); break;
	case 1: fuzz_put(off, fuzz_get(off) ^ 1ull << (value & 63)); break;
	case 2: fuzz_put(off, fuzz_get(other + (value & 511) * 8)); break;
	case 3: fuzz_put(off, value & 0xff); break;
	case 4: // an address inside
		fuzz_put(off, (fuzz_get(off) & ~PTE_ADDR) |
				      (HOST_DEFAULT_BASE + (value % FUZZ_BLOCKS) * PTFS_BLOCK));
		break;
	case 5: fuzz_put(off, fuzz_get(off) + value % 1024 - 512); break;
	case 6: fuzz_put(off, 0); break;
	case 7: // a whole entry
		fuzz_put(off, (HOST_DEFAULT_BASE + (value % FUZZ_BLOCKS) * PTFS_BLOCK) |
				      (value >> 32 & 1 ? PTFS_E_TABLE : PTFS_E_LEAF) | PTFS_E_P |
				      1ull << PTFS_E_TAG_SHIFT | (value >> 33 & 7) << 9);
		break;
	}
}

static void fuzz_crc(u64 at, u64 from, u64 len)
{
	le32_t crc = LE32(crc32c(0, fuzz.image.map + from, len));

	memcpy(fuzz.image.map + at, &crc, sizeof(crc));
	fuzz.dirty[at / PTFS_BLOCK] = 1;
}

static void fuzz_seal(void)
{
	fuzz_crc(offsetof(struct ptfs_super, crc), 0, PTFS_SUPER_CRC_BYTES);
	for (unsigned i = 0; i < fuzz.blocks; i++) {
		for (u64 at = fuzz.block[i]; at < fuzz.block[i] + PTFS_BLOCK; at += 256) {
			if ((u32)fuzz_get(at) != PTFS_INODE_MAGIC)
				continue;
			fuzz_crc(at + offsetof(struct ptfs_dinode, crc), at + PTFS_INODE_CRC_FROM,
				 PTFS_INODE_CRC_TO - PTFS_INODE_CRC_FROM);
		}
		if (fuzz_get(fuzz.block[i]) == PTFS_SNAPSHOT_MAGIC)
			fuzz_crc(fuzz.block[i] + offsetof(struct ptfs_snapshot, crc), fuzz.block[i],
				 PTFS_SNAPSHOT_CRC_BYTES);
	}
}

// ---- Using it ----

struct fuzz_walk {
	struct ptfs_fs *fs;
	unsigned depth, names;
};

static bool fuzz_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next);

static void fuzz_look(struct fuzz_walk *w, struct ptfs_inode *ip)
{
	static u8 buf[KIB(16)];
	struct ptfs_iter it = host_iter(buf, sizeof(buf));
	struct ptfs_attr a;
	struct ptfs_map map;
	u64 pos = 0;

	ptfs_getattr(ip, &a);
	(void)!ptfs_readlink(ip, (char *)buf, sizeof(buf));
	(void)!ptfs_read(ip, &it, 0, sizeof(buf));
	(void)!ptfs_seek(ip, 0, true);
	if (ip->leaf_type && !ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 1000))
		(void)!ptfs_map_table(ip, &map);
	if (ptfs_is(ip, PTFS_S_IFDIR) && w->depth < 6) {
		w->depth++;
		(void)!ptfs_readdir(ip, &pos, fuzz_name, w);
		w->depth--;
	}
}

static bool fuzz_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct fuzz_walk *w = ctx;
	struct ptfs_inode *ip;

	(void)type;
	(void)next;
	if (name[0] == '.' && len <= 2)
		return true;
	if (w->names++ < 200 && !ptfs_iget(w->fs, ino, &ip)) {
		fuzz_look(w, ip);
		ptfs_iput(ip);
	}
	return w->names < 200;
}

static void fuzz_operate(struct ptfs_inode *root)
{
	static const char *const names[] = { "small", "paged", "sparse", "huge", "dir", "link" };
	struct ptfs_inode *ip = fuzz_make(root, "new", PTFS_S_IFREG | 0644);

	if (ip) {
		fuzz_write(ip, 50000, 3000);
		ptfs_iput(ip);
		(void)!ptfs_rename(root, "new", 3, root, "newer", 5, 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		size_t len = strlen(names[i]);

		if (!ptfs_lookup(root, names[i], len, &ip)) {
			fuzz_write(ip, 5000, 30000);
			(void)!ptfs_truncate(ip, i * 7000);
			(void)!ptfs_fallocate(ip, 0, KIB(100), i & 1);
			ptfs_iput(ip);
		}
		if (i & 1 && ptfs_unlink(root, names[i], len))
			(void)!ptfs_rmdir(root, names[i], len);
	}
}

static void fuzz_use(unsigned flags)
{
	struct fuzz_walk w = { 0 };
	struct ptfs_inode *root;

	if (ptfs_mount(&fuzz.image.region, "fuzz", flags, &w.fs))
		return;
	if (!ptfs_iget(w.fs, PTFS_INO_ROOT, &root)) {
		fuzz_look(&w, root);
		fuzz_operate(root);
		w.names = 0;
		fuzz_look(&w, root);
		ptfs_iput(root);
	}
	FUZZ_MUST(ptfs_unmount(w.fs));
}

static void fuzz_repair(void)
{
	const struct repair_options o = { .report = fuzz_report };
	struct ptfs_check_result check;
	struct repair_result result;

	if (ptfs_repair(&fuzz.image.region, &o, &result))
		return;
	if (ptfs_check(&fuzz.image.region, fuzz_report, NULL, &check) || check.errors)
		fuzz.unsound++;
}

static inline void fuzz_one(const u8 *data, size_t size)
{
	struct ptfs_check_result result;

	if (!size)
		return;
	fuzz.image.region.base = PHYS(HOST_DEFAULT_BASE);
	for (size_t i = 1; i + FUZZ_RECORD <= size && i < 40 * FUZZ_RECORD; i += FUZZ_RECORD)
		fuzz_change(data + i);
	if (!(data[0] & 1))
		fuzz_seal();
	if (data[0] & 2)
		fuzz_repair();
	else
		fuzz_use(data[0] & 4 ? PTFS_MOUNT_SCAN : 0);
	if (data[0] & 8)
		(void)!ptfs_check(&fuzz.image.region, fuzz_report, NULL, &result);
	FUZZ_MUST(host_allocs_live());
	for (u64 b = 0; b < FUZZ_BLOCKS; b++) {
		if (fuzz.dirty[b])
			memcpy(fuzz.image.map + b * PTFS_BLOCK, fuzz.base + b * PTFS_BLOCK,
			       PTFS_BLOCK);
		fuzz.dirty[b] = 0;
	}
}
