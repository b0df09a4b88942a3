// SPDX-License-Identifier: MIT
//
// One execution of the ptfs fuzzer, and how its inputs change into each other.
//
// An input is a program, not an image: which image to start from, what to change in it, what to do
// with it. So every input means something, and an input of some dozens of bytes says all.
//
//      byte 0    FUZZ_* below
//      byte 1    image (2 bits), address of the mount (3), scan, read-only, crash at the end
//      byte 2    number of changes
//      then      changes of 12 bytes (ptfs_fuzz_image.h), operations of 4 (ptfs_fuzz_use.h)
//
// What must hold, besides what the sanitizers and the assertions of the core see
//   O1  every inode can be given back: no unmount finds one busy, and no memory stays allocated
//   O2  a read-only mount stores nothing
//   O3  an image without changes is sound, whatever is done with it, at every address
//   O4  after a repair the image is sound, a second repair finds nothing and stores nothing, and it
//       stays sound whatever is done with it
#pragma once

#include "tests/fuzz/ptfs_fuzz_use.h"
#include "user/ptfs/repair.h"

#define FUZZ_UNSEALED BIT(0) // checksums stay wrong
#define FUZZ_REPAIR   BIT(1) // before it is used
#define FUZZ_CHECK    BIT(2) // after the repair, and in the end
#define FUZZ_WALK     BIT(3) // look at everything first
#define FUZZ_AS_IS    BIT(4) // no recovery, if it is read-only
#define FUZZ_VERIFY   BIT(5) // all tables at once

#define FUZZ_HEAD        3u
#define FUZZ_CHANGES_MAX 16u
#define FUZZ_OPS_MAX     16u
#define FUZZ_SIZE_MAX    (FUZZ_HEAD + FUZZ_CHANGES_MAX * FUZZ_RECORD + FUZZ_OPS_MAX * FUZZ_OP)

static void fuzz_report(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	fuzz.findings++;
	if (getenv("V"))
		fprintf(stderr, "inode %llu: %s: %llu, %llu\n", (unsigned long long)ino, what,
			(unsigned long long)a, (unsigned long long)b);
}

// True: 0 errors. An image that does not mount is none the better for it.
static bool fuzz_check(void)
{
	struct ptfs_check_result result;

	return !ptfs_check(&fuzz.at->image.region, fuzz_report, NULL, &result) && !result.errors;
}

static bool fuzz_repair_finds_nothing(void)
{
	const struct repair_options o = { .report = fuzz_report };
	struct repair_result result;
	u64 stores = fuzz.stores;

	return !ptfs_repair(&fuzz.at->image.region, &o, &result) && !result.found &&
	       result.was_clean && !result.written && stores == fuzz.stores;
}

// True: the image is sound.
static bool fuzz_repair(bool check)
{
	const struct repair_options o = { .report = fuzz_report };
	struct repair_result result;

	if (ptfs_repair(&fuzz.at->image.region, &o, &result))
		return false;
	if (check) {
		FUZZ_MUST(fuzz_repair_finds_nothing());
		FUZZ_MUST(fuzz_check());
	}
	return true;
}

static void fuzz_use(const u8 *head, const u8 *ops, size_t nr, bool sound)
{
	bool read_only = head[1] & 0x40;
	unsigned flags = (head[1] & 0x20 ? PTFS_MOUNT_SCAN : 0) |
			 (head[0] & FUZZ_VERIFY ? PTFS_MOUNT_VERIFY : 0) |
			 (read_only ? PTFS_MOUNT_RDONLY : 0) |
			 (read_only && head[0] & FUZZ_AS_IS ? PTFS_MOUNT_NORECOVERY : 0);
	struct fuzz_mount m = { .flags = flags };

	if (!fuzz_mount(&m)) {
		FUZZ_MUST(!sound || (read_only && !(flags & PTFS_MOUNT_NORECOVERY)));
		return;
	}
	if (head[0] & FUZZ_WALK)
		fuzz_walk(&m);
	for (size_t i = 0; i < nr; i++)
		if (!fuzz_operate(&m, ops + i * FUZZ_OP)) {
			FUZZ_MUST(!sound);
			return;
		}
	fuzz_unmount(&m, head[1] & 0x80);
}

static inline void fuzz_one(const u8 *data, size_t size)
{
	size_t changes, ops, i;
	bool sound;

	if (size < FUZZ_HEAD)
		return;
	changes = min((size_t)(data[2] % (FUZZ_CHANGES_MAX + 1)), (size - FUZZ_HEAD) / FUZZ_RECORD);
	ops = min((size - FUZZ_HEAD - changes * FUZZ_RECORD) / FUZZ_OP, (size_t)FUZZ_OPS_MAX);
	fuzz_select(data[1] & 3);
	for (i = 0; i < changes; i++)
		fuzz_change(data + FUZZ_HEAD + i * FUZZ_RECORD);
	if (!(data[0] & FUZZ_UNSEALED))
		fuzz_seal();
	sound = !changes;
	if (data[0] & FUZZ_REPAIR)
		sound |= fuzz_repair(data[0] & FUZZ_CHECK);
	if (data[1] >> 2 & 7)
		fuzz.at->image.region.base = PHYS(fuzz_bases[data[1] >> 2 & 7]);
	fuzz_use(data, data + FUZZ_HEAD + changes * FUZZ_RECORD, ops, sound);
	if (data[0] & FUZZ_CHECK)
		FUZZ_MUST(fuzz_check() || !sound);
	FUZZ_MUST(!host_allocs_live());
	fuzz_restore();
}

// ---- Inputs from inputs ----

static u64 fuzz_random(u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ull;
}

static void fuzz_random_bytes(u64 *state, u8 *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (u8)(fuzz_random(state) >> 56);
}

// A new input from nothing.
static inline size_t fuzz_invent(u64 *state, u8 *data)
{
	size_t changes = fuzz_random(state) >> 32 & 3 ? 1 + (fuzz_random(state) >> 32) % 8 : 0;
	size_t ops = (fuzz_random(state) >> 32) % 10;
	size_t size = FUZZ_HEAD + changes * FUZZ_RECORD + ops * FUZZ_OP;

	fuzz_random_bytes(state, data, size);
	// What takes long is done in one of four.
	data[0] &= (u8)(fuzz_random(state) >> 56);
	data[0] &= fuzz_random(state) >> 32 & 3 ? 0xfe : 0xff; // mostly sealed
	data[2] = (u8)changes;
	return size;
}

// Puts a record in, or takes it out, of those that begin at `from`.
static size_t fuzz_splice(u64 *state, u8 *data, size_t size, size_t max, size_t from, size_t end,
			  size_t unit)
{
	size_t nr = (end - from) / unit;
	size_t at = from + (nr ? (fuzz_random(state) >> 32) % nr * unit : 0);

	if (fuzz_random(state) >> 63 && nr) {
		memmove(data + at, data + at + unit, size - at - unit);
		return size - unit;
	}
	if (size + unit > max)
		return size;
	memmove(data + at + unit, data + at, size - at);
	if (fuzz_random(state) >> 63 || !nr) // else it is there twice
		fuzz_random_bytes(state, data + at, unit);
	return size + unit;
}

// One small change that keeps the structure. `max` is room in `data`.
static inline size_t fuzz_mutate(u64 *state, u8 *data, size_t size, size_t max)
{
	size_t changes, end, was = size;

	max = min(max, (size_t)FUZZ_SIZE_MAX);
	if (size < FUZZ_HEAD || size > max)
		return max < FUZZ_SIZE_MAX ? size : fuzz_invent(state, data);
	changes = min((size_t)(data[2] % (FUZZ_CHANGES_MAX + 1)), (size - FUZZ_HEAD) / FUZZ_RECORD);
	end = FUZZ_HEAD + changes * FUZZ_RECORD;
	data[2] = (u8)changes;
	switch (fuzz_random(state) >> 32 & 7) {
	case 0: data[fuzz_random(state) >> 63] ^= (u8)(1u << (fuzz_random(state) >> 61)); break;
	case 1:
	case 2:
		if (changes < FUZZ_CHANGES_MAX)
			size = fuzz_splice(state, data, size, max, FUZZ_HEAD, end, FUZZ_RECORD);
		data[2] = (u8)(changes + (size > was) - (size < was));
		break;
	case 3:
	case 4: size = fuzz_splice(state, data, size, max, end, size, FUZZ_OP); break;
	default:
		if (size > FUZZ_HEAD)
			fuzz_random_bytes(state,
					  data + FUZZ_HEAD +
						  (fuzz_random(state) >> 32) % (size - FUZZ_HEAD),
					  1);
	}
	return size;
}
