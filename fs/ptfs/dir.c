// SPDX-License-Identifier: MIT
//
// What: directories: records in blocks, and finding, making and listing them.
// Not here: the DRAM index (dirindex.c), what a name operation changes besides the record
// (namei.c).
//
// A block is a chain of records; each takes a number of 64-byte units. ino decides whether a record
// is live, and only transactions change ino. So preparing a record is invisible:
//
//      before     | free record, 7 units                       |
//      step 1     | free record, 7 units    | rest: 0, 5 units |   not in the chain yet; fence
//      step 2     | free, 2 units, "name"   | rest: 0, 5 units |   one store of the head; flush
//      step 3     | ino                     | rest             |   the caller's transaction
//
// Invariants
//   I1  at every moment, and after every crash, the chain of every block is sound
//   I2  bytes of a free record that were heads of merged ones are overwritten only after the head
//       that swallowed them is durable
// Locking: the directory lock.
// Failure: a block with an impossible record makes the directory -EUCLEAN until it is repaired.
#include "fs/ptfs/ptfs_internal.h"

u32 ptfs_name_hash(const char *name, size_t len)
{
	return crc32c(0, name, len);
}

static unsigned units_for(size_t name_len)
{
	return (unsigned)DIV_ROUND_UP(PTFS_DIRENT_NAME + name_len, PTFS_DIRENT_UNIT);
}

static bool name_is_plain(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!name[i] || name[i] == '/')
			return false;
	return len && !(len == 1 && name[0] == '.') && !(len == 2 && !memcmp(name, "..", 2));
}

// The first of its lines was loaded with its head.
static bool name_loadable(const struct ptfs_dirent *d, unsigned name_bytes)
{
	for (unsigned i = 1; i < units_for(name_bytes); i++)
		if (le64_get(&d[i].ino) == PTFS_FAILED)
			return false;
	return true;
}

const char *ptfs_record_read(const void *block, unsigned unit, struct ptfs_record *out)
{
	const struct ptfs_dirent *d =
		(const void *)((const u8 *)block + (size_t)unit * PTFS_DIRENT_UNIT);
	u64 head = le64_get(&d->head);
	unsigned room = (unsigned)PTFS_DIR_UNITS - unit;

	*out = (struct ptfs_record){ .unit = unit,
				     .units = PTFS_DE_UNITS(head) ? PTFS_DE_UNITS(head) : room,
				     .ino = le64_get(&d->ino),
				     .head = head,
				     .name = (const char *)d->name,
				     .name_bytes = PTFS_DE_NAME_BYTES(head),
				     .type = PTFS_DE_TYPE(head) };
	if (out->units > room)
		return "record across the end of the block";
	if (!out->ino)
		return NULL;
	if (head & PTFS_DE_RESERVED)
		return "reserved bits";
	if (units_for(out->name_bytes) > out->units)
		return "name longer than its record";
	if (!name_loadable(d, out->name_bytes))
		return "memory that has failed";
	if (!name_is_plain(out->name, out->name_bytes))
		return "impossible name";
	if (ptfs_name_hash(out->name, out->name_bytes) != PTFS_DE_HASH(head))
		return "hash of the name";
	return NULL;
}

static int dir_refuse(struct ptfs_inode *dir, u64 off, const char *why)
{
	__atomic_fetch_add(&dir->fs->refused, 1, __ATOMIC_RELAXED);
	ptfs_log(PTFS_LOG_ERROR, "ptfs %s: directory %llu: record at offset %#llx refused: %s",
		 dir->fs->name, (unsigned long long)dir->ino, (unsigned long long)off, why);
	return ptfs_damage(dir->fs, off);
}

static int block_find(struct ptfs_inode *dir, u64 block, u64 *off)
{
	struct ptfs_extent x;
	int err = ptfs_map_find(dir, block, 1, &x);

	if (err)
		return err;
	*off = x.off;
	return x.hole ? dir_refuse(dir, block, "a hole") : 0;
}

// Offset of a directory block. A hole inside the size is impossible.
static inline int block_off(struct ptfs_inode *dir, u64 block, u64 *off)
{
	return likely(ptfs_map_quick(dir, block, off)) ? 0 : block_find(dir, block, off);
}

static int index_block(struct ptfs_inode *dir, struct ptfs_dir_index *x, u32 block)
{
	struct ptfs_record r;
	const void *data;
	u64 off;
	int err = block_off(dir, block, &off);

	if (!err) // here, not for all blocks at once: the size may be a lie
		err = ptfs_index_blocks(x, block + 1);
	if (err)
		return err;
	data = ptfs_at(dir->fs, off, PTFS_BLOCK);
	for (unsigned u = 0; u < PTFS_DIR_UNITS; u += r.units) {
		const char *why = ptfs_record_read(data, u, &r);

		if (why)
			return dir_refuse(dir, off + (u64)u * PTFS_DIRENT_UNIT, why);
		if (!r.ino)
			continue;
		err = ptfs_index_reserve(x);
		if (err)
			return err;
		ptfs_index_add(x, PTFS_DE_HASH(r.head), block * (u32)PTFS_DIR_UNITS + u);
		ptfs_index_use(x, block * (u32)PTFS_DIR_UNITS + u, r.units);
	}
	return 0;
}

int ptfs_dir_index_make(struct ptfs_inode *dir)
{
	struct ptfs_dir_index *x;
	u32 blocks = (u32)(dir->size >> PTFS_BLOCK_SHIFT);
	int err;

	if (dir->bad)
		return dir->bad;
	err = ptfs_index_create(&x);
	if (err)
		return err;
	x->blocks = blocks; // and each hint is 0
	for (u32 b = 0; b < blocks && !err; b++)
		err = index_block(dir, x, b);
	if (err)
		ptfs_index_free(x);
	else
		dir->index = x;
	return err;
}

void ptfs_dir_forget(struct ptfs_inode *dir)
{
	ptfs_index_free(dir->index);
	dir->index = NULL;
}

// Is the record at slot->pos a live and sound one of that name? Its units go to the slot. What
// ptfs_record_read looks at beyond this is true of the name that it is compared with.
static bool record_is(const void *block, struct ptfs_dir_slot *slot, const char *name, size_t len,
		      u64 *ino)
{
	unsigned unit = slot->pos % PTFS_DIR_UNITS, room = (unsigned)PTFS_DIR_UNITS - unit;
	const struct ptfs_dirent *d =
		(const void *)((const u8 *)block + (size_t)unit * PTFS_DIRENT_UNIT);
	u64 head = le64_get(&d->head);

	*ino = le64_get(&d->ino);
	slot->units = PTFS_DE_UNITS(head) ? PTFS_DE_UNITS(head) : room;
	return *ino && PTFS_DE_HASH(head) == slot->hash && PTFS_DE_NAME_BYTES(head) == len &&
	       !(head & PTFS_DE_RESERVED) && units_for(len) <= slot->units && slot->units <= room &&
	       name_loadable(d, (unsigned)len) && !memcmp(d->name, name, len);
}

int ptfs_dir_find(struct ptfs_inode *dir, const char *name, size_t len, struct ptfs_dir_slot *slot,
		  u64 *ino)
{
	u32 it = 0;
	int err = ptfs_dir_open(dir);

	slot->hash = ptfs_name_hash(name, len);
	if (err)
		return err;
	while (ptfs_index_next(dir->index, slot->hash, &it, &slot->pos)) {
		unsigned unit = slot->pos % PTFS_DIR_UNITS;
		struct ptfs_record r;
		const void *block;
		const char *why;
		u64 off;

		err = block_off(dir, slot->pos / PTFS_DIR_UNITS, &off);
		if (err)
			return err;
		block = ptfs_at(dir->fs, off, PTFS_BLOCK);
		slot->off = off + (u64)unit * PTFS_DIRENT_UNIT;
		if (likely(record_is(block, slot, name, len, ino)))
			return 0;
		why = ptfs_record_read(block, unit, &r); // another name with that hash?
		if (why)
			return dir_refuse(dir, slot->off, why);
	}
	return -ENOENT;
}

// One more block, of zeros: one free record.
static int dir_grow(struct ptfs_inode *dir)
{
	struct ptfs_dir_index *x = dir->index;
	int err;

	if (x->blocks >= 0xffffffffu / PTFS_DIR_UNITS)
		return -ENOSPC;
	err = ptfs_index_blocks(x, x->blocks + 1);
	if (err)
		return err;
	err = ptfs_map_zeroed(dir, x->blocks, PT_PTE);
	if (err)
		return err == -EEXIST ? dir_refuse(dir, x->blocks, "a block beyond the end") : err;
	ptfs_mutex_lock(&dir->lock);
	ptfs_size_set(dir, dir->size + PTFS_BLOCK);
	ptfs_mutex_unlock(&dir->lock);
	x->blocks++; // all its units are free already, in the index
	return 0;
}

// The units of a free record; 0: it is not one.
static unsigned free_units(const void *block, unsigned unit)
{
	const struct ptfs_dirent *d =
		(const void *)((const u8 *)block + (size_t)unit * PTFS_DIRENT_UNIT);
	unsigned room = (unsigned)PTFS_DIR_UNITS - unit;
	unsigned units = PTFS_DE_UNITS(le64_get(&d->head));

	return le64_get(&d->ino) || units > room ? 0 : units ? units : room;
}

// The free records from `at` on that together have `units`. *merged: more than one. False: the
// index and the block do not agree.
static bool run_measure(const void *block, unsigned units, unsigned at, unsigned *run, bool *merged)
{
	unsigned n;

	*merged = false;
	for (*run = 0; *run < units; *run += n) {
		n = at + *run < PTFS_DIR_UNITS ? free_units(block, at + *run) : 0;
		if (!n)
			return false;
		*merged = *run != 0;
	}
	return true;
}

// The name, and zeros to the end of its last word: a word is stored with nothing to be kept in it.
static void name_write(struct ptfs_fs *fs, u64 off, const char *name, size_t len)
{
	u64 words[DIV_ROUND_UP(PTFS_NAME_MAX, 8)];
	size_t bytes = ALIGN_UP(len, 8);

	words[bytes / 8 - 1] = 0;
	memcpy(words, name, len);
	ptfs_copy_nt(fs, off + PTFS_DIRENT_NAME, words, bytes);
}

// Steps 1 and 2 of the picture above. slot->units: all there is; then what the record keeps.
static void record_write(struct ptfs_fs *fs, struct ptfs_dir_slot *slot, bool merged,
			 const char *name, size_t len, unsigned type)
{
	unsigned run = slot->units, units = units_for(len);
	u64 head = PTFS_DE_HEAD(slot->hash, units, len, type);
	le64_t rest[2] = { LE64(0), LE64(PTFS_DE_HEAD(0, run - units, 0, 0)) };

	slot->units = units;
	if (!merged)
		name_write(fs, slot->off, name, len);
	if (run > units) {
		ptfs_copy_nt(fs, slot->off + (u64)units * PTFS_DIRENT_UNIT, rest, sizeof(rest));
		ptfs_fence(fs);
	} // else the head changes no place in the chain but takes those of merged records
	ptfs_store8_flush(fs, slot->off + offsetof(struct ptfs_dirent, head), head);
	if (!merged)
		return; // the transaction's first fence makes the head durable
	ptfs_fence(fs);
	name_write(fs, slot->off, name, len);
}

int ptfs_dir_prepare(struct ptfs_inode *dir, const char *name, size_t len, unsigned type,
		     struct ptfs_dir_slot *slot)
{
	unsigned units = units_for(len);
	struct ptfs_dir_index *x;
	unsigned at;
	bool merged;
	u32 block;
	u64 off;
	int err = ptfs_dir_open(dir);

	if (err)
		return err;
	x = dir->index;
	err = ptfs_index_reserve(x);
	if (err)
		return err;
	block = ptfs_index_run_find(x, units, &at);
	if (block == x->blocks) {
		err = dir_grow(dir);
		if (err)
			return err;
		at = 0;
	}
	err = block_off(dir, block, &off);
	if (err)
		return err;
	if (!run_measure(ptfs_at(dir->fs, off, PTFS_BLOCK), units, at, &slot->units, &merged))
		return dir_refuse(dir, off, "free space has gone");
	slot->off = off + (u64)at * PTFS_DIRENT_UNIT;
	slot->pos = block * (u32)PTFS_DIR_UNITS + at;
	record_write(dir->fs, slot, merged, name, len, type);
	return 0;
}

void ptfs_dir_added(struct ptfs_inode *dir, const struct ptfs_dir_slot *slot)
{
	ptfs_index_add(dir->index, slot->hash, slot->pos);
	ptfs_index_use(dir->index, slot->pos, slot->units);
}

void ptfs_dir_removed(struct ptfs_inode *dir, const struct ptfs_dir_slot *slot)
{
	ptfs_index_del(dir->index, slot->hash, slot->pos);
	ptfs_index_unuse(dir->index, slot->pos, slot->units);
}

bool ptfs_dir_is_empty(struct ptfs_inode *dir)
{
	return dir->index && !dir->index->live;
}

// The two names that are not stored. Positions 0 and 1; records begin at 2.
#define DOTS 2u

static bool emit_dots(struct ptfs_inode *dir, u64 *pos, ptfs_emit emit, void *ctx)
{
	while (*pos < DOTS) {
		u64 ino = *pos ? dir->parent : dir->ino;

		if (!emit(ctx, "..", *pos + 1, ino, PTFS_S_IFDIR >> 12, *pos + 1))
			return false;
		++*pos;
	}
	return true;
}

int ptfs_readdir(struct ptfs_inode *dir, u64 *pos, ptfs_emit emit, void *ctx)
{
	struct ptfs_record r;
	u64 off;

	if (!ptfs_is(dir, PTFS_S_IFDIR))
		return -ENOTDIR;
	if (dir->bad) // block_off() follows direct entries without asking
		return dir->bad;
	if (!emit_dots(dir, pos, emit, ctx))
		return 0;
	for (u64 block = (*pos - DOTS) / PTFS_DIR_UNITS; block < dir->size / PTFS_BLOCK; block++) {
		int err = block_off(dir, block, &off);

		if (err)
			return err;
		for (unsigned u = 0; u < PTFS_DIR_UNITS; u += r.units) {
			const char *why =
				ptfs_record_read(ptfs_at(dir->fs, off, PTFS_BLOCK), u, &r);
			u64 here = DOTS + block * PTFS_DIR_UNITS + u;

			if (why)
				return dir_refuse(dir, off + (u64)u * PTFS_DIRENT_UNIT, why);
			if (!r.ino || here < *pos)
				continue;
			*pos = here;
			if (!emit(ctx, r.name, r.name_bytes, r.ino, r.type, here + r.units))
				return 0;
			*pos = here + r.units;
		}
	}
	return 0;
}
