// SPDX-License-Identifier: MIT
//
// What: the images that the ptfs fuzzer starts from, and the changes that it makes to one.
// Not here: what is done with the image then (ptfs_fuzz_use.h), how an input says all that
// (ptfs_fuzz.h).
//
// An image is 16 MiB, the smallest that there is, and an execution touches some dozens of its
// blocks. So nothing here costs time in proportion to the image: the recorder of the host's pmem
// functions notes which blocks were stored to, and those alone are put back.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/host_home.h"

#define FUZZ_BYTES  MIB(16)
#define FUZZ_BLOCKS (FUZZ_BYTES / PTFS_BLOCK)
#define FUZZ_RECORD 12u // bytes of a change
#define FUZZ_WORDS  8192u
#define FUZZ_FILL   0x42 // contents of files: not worth a change

enum fuzz_kind {
	FUZZ_CLEAN,
	FUZZ_TORN,  // a rename over a file was cut off: its transaction is open
	FUZZ_MOVED, // clean, with entries of three base addresses, and a tree of three levels
	FUZZ_FULL,  // clean, without room
	FUZZ_KINDS,
};

struct fuzz_image {
	struct host_image image;
	u8 *sound;
	u64 base;               // at its last mount
	u64 block[FUZZ_BLOCKS]; // offsets of blocks in use, contents of files left out
	u64 word[FUZZ_WORDS];   // offsets of words in them that are not zero
	unsigned blocks, words;
};

static struct {
	struct fuzz_image image[FUZZ_KINDS];
	struct fuzz_image *at; // the one in use
	u8 dirty[FUZZ_BLOCKS];
	u32 touched[FUZZ_BLOCKS], nr_touched;
	u64 stores;
	u64 findings; // of a check or a repair, since it was set to 0
	bool torn;    // the moment for FUZZ_TORN has come
} fuzz;

// What must hold after any input. The input is printed by whoever watches.
#define FUZZ_MUST(cond)                                                                            \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static const u64 fuzz_bases[] = { 0,           0x140000000, 0x143e00000, 0x200000000,
				  0x300000000, 0x440000000, 0x7fe00000,  0xf00000000 };

static void fuzz_touch(u64 off)
{
	u64 b = off / PTFS_BLOCK;

	if (!fuzz.dirty[b])
		fuzz.touched[fuzz.nr_touched++] = (u32)b;
	fuzz.dirty[b] = 1;
}

static void fuzz_note(void *ctx, const struct host_pm_event *e)
{
	(void)ctx;
	if (e->kind != HOST_PM_STORE && e->kind != HOST_PM_NT)
		return;
	fuzz.stores++;
	for (u64 b = e->off & ~(PTFS_BLOCK - 1); b < e->off + e->len; b += PTFS_BLOCK)
		fuzz_touch(b);
}

static inline void fuzz_select(enum fuzz_kind kind)
{
	fuzz.at = &fuzz.image[kind];
	host_image_activate(&fuzz.at->image);
	fuzz.at->image.region.base = PHYS(fuzz.at->base);
}

static inline void fuzz_restore(void)
{
	for (u32 i = 0; i < fuzz.nr_touched; i++) {
		u64 off = fuzz.touched[i] * PTFS_BLOCK;

		memcpy(fuzz.at->image.map + off, fuzz.at->sound + off, PTFS_BLOCK);
		fuzz.dirty[fuzz.touched[i]] = 0;
	}
	fuzz.nr_touched = 0;
}

// ---- Making the images ----

static void fuzz_quiet(void *ctx, enum ptfs_log_level level, const char *line)
{
	if (ctx || getenv("V"))
		fprintf(stderr, "%d %s\n", level, line);
}

static struct ptfs_inode *fuzz_create(struct ptfs_inode *dir, const char *name, u32 mode)
{
	const struct ptfs_create_args a = { .mode = mode, .target = "to/nowhere" };
	struct ptfs_inode *ip;

	return ptfs_create(dir, name, strlen(name), &a, &ip) ? NULL : ip;
}

static ssize fuzz_write(struct ptfs_inode *ip, u64 bytes, u64 pos, bool append)
{
	static u8 data[KIB(64)];
	struct ptfs_iter it = host_iter(data, min(bytes, sizeof(data)));

	if (!data[0])
		memset(data, FUZZ_FILL, sizeof(data));
	return ptfs_write(ip, &it, &pos, min(bytes, sizeof(data)), append);
}

static inline struct ptfs_fs *fuzz_open(struct fuzz_image *im, u64 base, struct ptfs_inode **root)
{
	struct ptfs_fs *fs;

	im->image.region.base = PHYS(base);
	im->base = base;
	host_image_activate(&im->image);
	FUZZ_MUST(!ptfs_mount(&im->image.region, "fuzz", 0, &fs));
	FUZZ_MUST(!ptfs_iget(fs, PTFS_INO_ROOT, root));
	return fs;
}

static inline void fuzz_close(struct ptfs_fs *fs, struct ptfs_inode *root)
{
	ptfs_iput(root);
	FUZZ_MUST(!ptfs_unmount(fs));
}

static inline void fuzz_populate(struct ptfs_inode *root)
{
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
	struct ptfs_inode *ip;

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		ip = fuzz_create(root, files[i].name, files[i].mode);
		FUZZ_MUST(ip);
		if (files[i].bytes)
			FUZZ_MUST(fuzz_write(ip, files[i].bytes, files[i].pos, false) > 0);
		if (ptfs_is(ip, PTFS_S_IFDIR)) {
			ptfs_iput(fuzz_create(ip, "below", PTFS_S_IFREG | 0600));
			ptfs_iput(fuzz_create(ip, "sub", PTFS_S_IFDIR | 0700));
		}
		ptfs_iput(ip);
	}
	ip = fuzz_create(root, "huge", PTFS_S_IFREG | 0644);
	FUZZ_MUST(!ptfs_fallocate(ip, 0, MIB(2), false));
	ptfs_iput(ip);
}

static inline void fuzz_make_clean(struct fuzz_image *im)
{
	static const struct ptfs_format_options o = { .label = "fuzz" };
	struct ptfs_inode *root;
	struct ptfs_fs *fs;

	host_image_memory(&im->image, FUZZ_BYTES, HOST_DEFAULT_BASE);
	FUZZ_MUST(!ptfs_format(&im->image.region, &o));
	fs = fuzz_open(im, HOST_DEFAULT_BASE, &root);
	fuzz_populate(root);
	fuzz_close(fs, root);
}

static inline void fuzz_make_moved(struct fuzz_image *im)
{
	static const char *const touched[] = { "small", "paged" };
	struct ptfs_inode *root, *ip;
	struct ptfs_fs *fs;

	fuzz_make_clean(im);
	fs = fuzz_open(im, HOST_DEFAULT_BASE, &root);
	ip = fuzz_create(root, "tall", PTFS_S_IFREG | 0644);
	FUZZ_MUST(fuzz_write(ip, 10, GIB(2), false) > 0);
	ptfs_iput(ip);
	fuzz_close(fs, root);
	for (unsigned i = 0; i < ARRAY_SIZE(touched); i++) {
		fs = fuzz_open(im, fuzz_bases[1 + i], &root);
		FUZZ_MUST(!ptfs_lookup(root, touched[i], strlen(touched[i]), &ip));
		FUZZ_MUST(fuzz_write(ip, 5000, 0, true) > 0);
		ptfs_iput(ip);
		fuzz_close(fs, root);
	}
}

// The commit point of a transaction is where its head becomes 0.
static inline void fuzz_note_commit(void *ctx, const struct host_pm_event *e)
{
	const struct ptfs_super *s = (const void *)e->image->map;
	struct fuzz_image *torn = ctx;

	if (fuzz.torn || e->kind != HOST_PM_STORE || e->off != le64(s->journal_off) ||
	    *(const u64 *)(const void *)e->data)
		return;
	fuzz.torn = true;
	memcpy(torn->image.map, e->image->map, FUZZ_BYTES);
}

static inline void fuzz_note_fenced(void *ctx, const struct host_pm_event *e)
{
	if (e->image)
		fuzz_note_commit(ctx, e);
}

static inline void fuzz_make_torn(struct fuzz_image *im)
{
	static struct fuzz_image from;
	struct ptfs_inode *root, *dir;
	struct ptfs_fs *fs;

	host_image_memory(&im->image, FUZZ_BYTES, HOST_DEFAULT_BASE);
	im->base = HOST_DEFAULT_BASE;
	fuzz_make_clean(&from);
	fs = fuzz_open(&from, HOST_DEFAULT_BASE, &root);
	FUZZ_MUST(!ptfs_lookup(root, "dir", 3, &dir));
	host_pm_record(fuzz_note_fenced, im);
	FUZZ_MUST(!ptfs_rename(root, "small", 5, dir, "below", 5, 0));
	host_pm_record(NULL, NULL);
	FUZZ_MUST(fuzz.torn);
	ptfs_iput(dir);
	fuzz_close(fs, root);
	host_image_close(&from.image);
}

static inline void fuzz_make_full(struct fuzz_image *im)
{
	struct ptfs_inode *root, *ip;
	struct ptfs_fs *fs;

	fuzz_make_clean(im);
	fs = fuzz_open(im, HOST_DEFAULT_BASE, &root);
	ip = fuzz_create(root, "new", PTFS_S_IFREG | 0644);
	for (u64 len = MIB(2); len >= PTFS_BLOCK; len /= 2)
		while (!ptfs_fallocate(ip, ip->size, len, false))
			;
	ptfs_iput(ip);
	fuzz_close(fs, root);
}

// What a change may go to.
static inline void fuzz_survey(struct fuzz_image *im)
{
	im->sound = calloc(1, FUZZ_BYTES);
	FUZZ_MUST(im->sound);
	for (u64 off = 0; off < FUZZ_BYTES; off += PTFS_BLOCK) {
		const u8 *p = im->image.map + off;
		unsigned used = 0;

		for (unsigned i = 0; i < PTFS_BLOCK; i += 8) {
			u64 word;

			memcpy(&word, p + i, sizeof(word));
			used += word != 0;
			if (word && p[i] != FUZZ_FILL && im->words < FUZZ_WORDS)
				im->word[im->words++] = off + i;
		}
		if (!used)
			continue;
		memcpy(im->sound + off, p, PTFS_BLOCK);
		if (p[0] != FUZZ_FILL)
			im->block[im->blocks++] = off;
	}
}

static inline void fuzz_setup(void)
{
	host_log_to(fuzz_quiet, NULL);
	host_clock_set(1700000000000000000ull);
	fuzz_make_clean(&fuzz.image[FUZZ_CLEAN]);
	fuzz_make_torn(&fuzz.image[FUZZ_TORN]);
	fuzz_make_moved(&fuzz.image[FUZZ_MOVED]);
	fuzz_make_full(&fuzz.image[FUZZ_FULL]);
	for (unsigned k = 0; k < FUZZ_KINDS; k++)
		fuzz_survey(&fuzz.image[k]);
	host_pm_record(fuzz_note, NULL);
}

// ---- Changing one ----

static u64 fuzz_get(u64 off)
{
	le64_t word;

	memcpy(&word, fuzz.at->image.map + off, sizeof(word));
	return le64(word);
}

static void fuzz_put(u64 off, u64 value)
{
	le64_t word = LE64(value);

	memcpy(fuzz.at->image.map + off, &word, sizeof(word));
	fuzz_touch(off);
}

static const struct ptfs_super *fuzz_super(void)
{
	return (const void *)fuzz.at->sound;
}

// Transaction 7 has changed one more word, which held `old` before.
static void fuzz_undo(u64 off, u64 old)
{
	u64 slot = le64(fuzz_super()->journal_off) + PTFS_JOURNAL_SLOT_BYTES;
	u64 n = fuzz_get(slot) & (PTFS_TX_RECORDS - 1);
	u64 at = slot + offsetof(struct ptfs_journal_slot, undo) + n * sizeof(struct ptfs_undo);

	fuzz_put(slot, 7 << PTFS_TX_COUNT_BITS | (n + 1));
	fuzz_put(at, 7);
	fuzz_put(at + 8, off);
	fuzz_put(at + 16, old);
	fuzz_put(at + 24, crc32c(0, fuzz.at->image.map + at, 24));
}

static void fuzz_copy(u64 to, u64 from, u64 bytes)
{
	to &= ~(bytes - 1);
	from &= ~(bytes - 1);
	memmove(fuzz.at->image.map + to, fuzz.at->image.map + from, bytes);
	fuzz_touch(to);
}

// An address inside the region, in the low half mostly, for that is where things are.
static u64 fuzz_address(u64 value)
{
	u64 block = value & BIT(20) ? value % FUZZ_BLOCKS : value % (FUZZ_BLOCKS / 4);

	return fuzz.at->base + block * PTFS_BLOCK;
}

static u64 fuzz_entry(u64 value)
{
	u64 kind = value >> 34 & 3;

	return fuzz_address(value) |
	       (kind == 0   ? PTFS_E_TABLE
		: kind == 1 ? PTFS_E_HUGE
			    : PTFS_E_LEAF) |
	       PTFS_E_P | (value >> 37 & 7) << PTFS_E_TAG_SHIFT |
	       (value >> 40 & 7) << PTFS_E_LEVEL_SHIFT;
}

// Record: where (2 bytes), how, which other block, a value (8 bytes).
static void fuzz_change(const u8 *r)
{
	const struct fuzz_image *im = fuzz.at;
	unsigned where = r[0] | r[1] << 8;
	u64 off = im->word[where % im->words], other = im->block[r[3] % im->blocks], value, now;

	if (r[2] & 0x80)
		off = im->block[(where >> 9) % im->blocks] + (where & 511) * 8;
	memcpy(&value, r + 4, sizeof(value));
	value = LE_ORDER64(value);
	now = fuzz_get(off);
	switch (r[2] & 15) {
	case 0: fuzz_put(off, value); break;
	case 1: fuzz_put(off, now ^ 1ull << (value & 63)); break;
	case 2: fuzz_put(off, fuzz_get(other + (value & 511) * 8)); break;
	case 3: fuzz_put(off, value & 0xff); break;
	case 4: fuzz_put(off, (now & ~PTE_ADDR) | fuzz_address(value)); break;
	case 5: fuzz_put(off, now + value % 1024 - 512); break;
	case 6: fuzz_put(off, 0); break;
	case 7: fuzz_put(off, fuzz_entry(value)); break;
	case 8: // the base of a tag
		fuzz_put(offsetof(struct ptfs_super, base) + (value & 7) * 8,
			 ptfs_base_encode(fuzz_bases[value >> 3 & 7], value & 7));
		break;
	case 9: fuzz_undo(off, value & 1 ? value : now); break;
	case 10: fuzz_copy(off, other + (value & 4095), PTFS_INODE_BYTES); break;
	case 11: fuzz_copy(off, other + (value & 4095), PTFS_DIRENT_UNIT); break;
	case 12: fuzz_copy(off, other, PTFS_BLOCK); break;
	case 13: // type of a chunk
		off = le64(fuzz_super()->chunk_map_off);
		value = (value & 7) << (value >> 4 & 7) * 8;
		fuzz_put(off, (fuzz_get(off) & ~(0xffull << (r[7] & 7) * 8)) | value);
		break;
	case 14: fuzz_put(off, now ^ 1ull << (32 + (value & 31))); break;
	case 15: fuzz_put(off, (now & ~0xffffull) | (value & 0xffff)); break;
	}
}

// ---- Checksums: an image that fails at the first one tests little ----

static void fuzz_crc(u64 at, u64 from, u64 len)
{
	le32_t crc = LE32(crc32c(0, fuzz.at->image.map + from, len));

	memcpy(fuzz.at->image.map + at, &crc, sizeof(crc));
	fuzz_touch(at);
}

static void fuzz_seal_snapshot(void)
{
	const struct ptfs_super *s = fuzz_super();
	const u8 *map = fuzz.at->image.map, *type = map + le64(s->chunk_map_off);
	u64 at = le64(s->snapshot_off);
	le32_t crc = LE32(0);

	for (u64 nr = 0; nr < FUZZ_BYTES / PTFS_CHUNK; nr++)
		if (type[nr] != PTFS_CHUNK_FREE)
			crc = LE32(crc32c(le32_get(crc),
					  map + at + PTFS_BLOCK + nr * PTFS_BITMAP_BYTES,
					  PTFS_BITMAP_BYTES));
	memcpy(fuzz.at->image.map + at + offsetof(struct ptfs_snapshot, data_crc), &crc,
	       sizeof(crc));
	fuzz_crc(at + offsetof(struct ptfs_snapshot, crc), at, PTFS_SNAPSHOT_CRC_BYTES);
}

// Names keep their hash where it was right before.
static void fuzz_seal_names(u64 block)
{
	for (u64 at = block; at < block + PTFS_BLOCK; at += PTFS_DIRENT_UNIT) {
		u64 head = fuzz_get(at + 8), len = PTFS_DE_NAME_BYTES(head);

		if (len && at + PTFS_DIRENT_NAME + len <= block + PTFS_BLOCK)
			fuzz_put(at + 8, (head & ~0xffffffffull) |
						 crc32c(0, fuzz.at->image.map + at + 16, len));
	}
}

static bool fuzz_is_names(u64 block)
{
	u64 head, sound;

	memcpy(&sound, fuzz.at->sound + block + 8, sizeof(sound));
	head = LE_ORDER64(sound);
	return PTFS_DE_UNITS(head) && PTFS_DE_NAME_BYTES(head) &&
	       PTFS_DE_HASH(head) == crc32c(0, fuzz.at->sound + block + PTFS_DIRENT_NAME,
					    PTFS_DE_NAME_BYTES(head));
}

// Only what was touched can be wrong. It touches more, in blocks of the system area.
static void fuzz_seal(void)
{
	const struct ptfs_super *s = fuzz_super();
	u32 nr = fuzz.nr_touched;

	for (u32 i = 0; i < nr; i++) {
		u64 block = fuzz.touched[i] * PTFS_BLOCK;

		if (block == 0 || block == le64(s->copy_off))
			fuzz_crc(block + offsetof(struct ptfs_super, crc), block,
				 PTFS_SUPER_CRC_BYTES);
		if (block < le64(s->system_bytes))
			continue;
		for (u64 at = block; at < block + PTFS_BLOCK; at += PTFS_INODE_BYTES)
			if ((u32)fuzz_get(at) == PTFS_INODE_MAGIC)
				fuzz_crc(at + offsetof(struct ptfs_dinode, crc),
					 at + PTFS_INODE_CRC_FROM,
					 PTFS_INODE_CRC_TO - PTFS_INODE_CRC_FROM);
		if (fuzz_is_names(block))
			fuzz_seal_names(block);
	}
	if (nr)
		fuzz_seal_snapshot();
}
