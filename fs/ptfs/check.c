// SPDX-License-Identifier: MIT
//
// What: fsck's question: do all invariants hold? Mounts the image as it is, notes its bitmap,
// mounts it again by scan, compares, and then follows every name.
// Not here: entries and claims, which the scan itself judges (verify.c).
//
// Checked besides: each name leads to a live inode of its type, is there once, and hashes right;
// link counts; no inode without links that is not free; every directory hangs below the root where
// its parent word says; nothing beyond EOF without PREALLOC; bitmap and inode count of the
// snapshot.
#include "fs/ptfs/ptfs_internal.h"

struct check {
	struct ptfs_fs *fs;
	ptfs_report report;
	void *ctx;
	struct ptfs_check_result *result;
	struct ptfs_segs before; // used bitmaps of the clean image, PTFS_BITMAP_BYTES a chunk
	struct ptfs_segs names;  // u32 per inode: names that lead to it
	u64 inode_end;           // one past the last inode number
	u64 snapshot_inodes;
};

static void found(struct check *c, const char *what, u64 ino, u64 a, u64 b)
{
	c->result->errors++;
	c->report(c->ctx, what, ino, a, b);
}

// Blocks of the inode table from `block` on that are there, or not; a refused table page counts as
// not.
static int itable_extent(struct check *c, u64 block, struct ptfs_extent *x)
{
	int err = ptfs_map_extent(&c->fs->itable, block, PTFS_WHOLE_RUN, x);

	if (!ptfs_is_damage(err))
		return err;
	*x = (struct ptfs_extent){ .blocks = PT_ENTRIES - block % PT_ENTRIES, .hole = true };
	return 0;
}

// Calls fn for every inode that can be loaded.
static int for_each_inode(struct check *c, int (*fn)(struct check *c, struct ptfs_inode *ip))
{
	struct ptfs_extent x;

	for (u64 ino = 1; ino < c->inode_end; ino++) {
		struct ptfs_inode *ip;
		u64 block = ino / PTFS_INODES_PER_BLOCK;
		int err = itable_extent(c, block, &x);

		if (!err && x.hole) {
			ino = (block + x.blocks) * PTFS_INODES_PER_BLOCK - 1;
			continue;
		}
		if (!err)
			err = ptfs_iget(c->fs, ino, &ip);
		if (ptfs_is_damage(err) || err == -ENOENT)
			continue;
		if (!err) {
			err = fn(c, ip);
			ptfs_iput(ip);
		}
		if (err)
			return err;
	}
	return 0;
}

static int find_inode_end(struct check *c)
{
	u64 end = PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT;

	c->inode_end = 0;
	for (u64 block = 0; block < end;) {
		struct ptfs_extent x;
		int err = itable_extent(c, block, &x);

		if (err)
			return err;
		block += x.blocks;
		if (!x.hole)
			c->inode_end = block * PTFS_INODES_PER_BLOCK;
	}
	return 0;
}

// ---- First pass: the image as it is ----

static int check_beyond_eof(struct check *c, struct ptfs_inode *ip)
{
	u64 block = DIV_ROUND_UP(ip->size, PTFS_BLOCK);
	struct ptfs_extent x;
	int err = 0;

	if (!ip->leaf_type || ip->bad || (ip->flags & PTFS_INODE_PREALLOC))
		return 0;
	while (block < PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT) {
		err = ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x);
		if (err)
			return ptfs_is_damage(err) ? 0 : err;
		// A 2 MiB leaf may reach beyond EOF if it begins before it.
		if (!x.hole && !(x.level == PT_PMD && block % PTFS_CHUNK_BLOCKS)) {
			found(c, "blocks beyond the end of the file: first block, size", ip->ino,
			      block, ip->size);
			return 0;
		}
		block += x.blocks;
	}
	return 0;
}

// Recovery sets what has lost its last name to 0. What it has forgotten can never be used again.
static int check_dead(struct check *c)
{
	for (u64 block = 0; block * PTFS_INODES_PER_BLOCK < c->inode_end;) {
		struct ptfs_extent x;
		int err = itable_extent(c, block, &x);

		if (err)
			return err;
		for (u64 i = 0; !x.hole && i < x.blocks * PTFS_INODES_PER_BLOCK; i++) {
			u64 w = ptfs_word(c->fs, x.off + i * PTFS_INODE_BYTES +
							 offsetof(struct ptfs_dinode, mode_links));

			u64 ino = block * PTFS_INODES_PER_BLOCK + i;

			// Number 0 is never a file, whatever stands in its place.
			if (ino && w && !(w >> 32))
				found(c, "no links, and not free: mode_links, 0", ino, w, 0);
		}
		block += x.blocks;
	}
	return 0;
}

static int note_bitmap(struct check *c)
{
	u64 per = PTFS_SEG_BYTES / PTFS_BITMAP_BYTES;
	int err = ptfs_segs_grow(&c->before, (u32)DIV_ROUND_UP(c->fs->chunks, per));

	for (u64 nr = 0; nr < c->fs->chunks && !err; nr++)
		memcpy(ptfs_segs_at(&c->before, nr, PTFS_BITMAP_BYTES),
		       ptfs_chunk_at(c->fs, nr << PTFS_CHUNK_SHIFT)->used_map, PTFS_BITMAP_BYTES);
	return err;
}

static int first_pass(struct check *c, const struct ptfs_region *r)
{
	int err = ptfs_mount(r, "check", 0, &c->fs);

	if (err)
		return err;
	c->result->was_clean = !c->fs->dirty;
	c->snapshot_inodes = c->fs->inodes;
	if (c->result->was_clean)
		err = note_bitmap(c);
	if (!err)
		err = find_inode_end(c);
	if (!err && c->result->was_clean)
		err = check_dead(c);
	if (!err && c->result->was_clean)
		err = for_each_inode(c, check_beyond_eof);
	ptfs_abandon(c->fs);
	return err;
}

// ---- Second pass: as the scan found it ----

static u32 *names_of(struct check *c, u64 ino)
{
	return ino < c->inode_end ? ptfs_segs_at(&c->names, ino, sizeof(u32)) : NULL;
}

static bool found_once(struct ptfs_inode *dir, const struct ptfs_record *r, u64 pos)
{
	struct ptfs_dir_slot slot;
	u64 ino;

	return !ptfs_dir_find(dir, r->name, r->name_bytes, &slot, &ino) && slot.pos == pos;
}

static int check_record(struct check *c, struct ptfs_inode *dir, const struct ptfs_record *r,
			u64 pos, u32 *subdirs)
{
	u32 *names = names_of(c, r->ino);
	struct ptfs_inode *ip;
	int err = names ? ptfs_iget(c->fs, r->ino, &ip) : -ENOENT;

	if (err == -ENOMEM)
		return err;
	if (names)
		++*names;
	if (!found_once(dir, r, pos))
		found(c, "a name that is there twice: place, inode", dir->ino, pos, r->ino);
	if (err) {
		found(c, "a name of a free or broken inode: place, inode", dir->ino, pos, r->ino);
		return 0;
	}
	if ((ip->mode & PTFS_S_IFMT) >> 12 != r->type)
		found(c, "type in the name: place, inode", dir->ino, pos, r->ino);
	if (ptfs_is(ip, PTFS_S_IFDIR)) {
		++*subdirs;
		if (ip->parent != dir->ino)
			found(c, "parent of a directory: says, is in", ip->ino, ip->parent,
			      dir->ino);
	}
	ptfs_iput(ip);
	return 0;
}

static int check_block(struct check *c, struct ptfs_inode *dir, u64 block, u32 *subdirs)
{
	struct ptfs_extent x;
	struct ptfs_record r;
	int err = ptfs_map_extent(dir, block, PTFS_WHOLE_RUN, &x);

	if (err || x.hole) {
		found(c, "directory block missing: block, error", dir->ino, block, (u64)-err);
		return err == -ENOMEM ? err : 0;
	}
	for (unsigned u = 0; u < PTFS_DIR_UNITS; u += r.units) {
		const char *why = ptfs_record_read(ptfs_at(c->fs, x.off, PTFS_BLOCK), u, &r);

		if (why) {
			found(c, why, dir->ino, block, u);
			return 0;
		}
		err = r.ino ? check_record(c, dir, &r, block * PTFS_DIR_UNITS + u, subdirs) : 0;
		if (err)
			return err;
	}
	return 0;
}

static int check_dir(struct check *c, struct ptfs_inode *dir)
{
	u32 subdirs = 0;
	int err = 0;

	if (!ptfs_is(dir, PTFS_S_IFDIR))
		return 0;
	c->result->directories++;
	if (dir->bad) {
		found(c, "directory whose entries were refused", dir->ino, 0, 0);
		return 0;
	}
	err = ptfs_dir_open(dir);
	if (err == -ENOMEM)
		return err;
	for (u64 b = 0; b < dir->size >> PTFS_BLOCK_SHIFT && !err; b++)
		err = check_block(c, dir, b, &subdirs);
	if (ptfs_is_damage(err))
		found(c, "directory with impossible records", dir->ino, 0, 0);
	else if (!err && dir->nlink != 2 + subdirs)
		found(c, "links of a directory: are, should be", dir->ino, dir->nlink, 2 + subdirs);
	return ptfs_is_damage(err) ? 0 : err;
}

static bool reaches_root(struct check *c, u64 ino)
{
	for (u64 depth = 0; depth < c->inode_end && ino != PTFS_INO_ROOT; depth++) {
		struct ptfs_inode *ip;

		if (ptfs_iget(c->fs, ino, &ip))
			return false;
		ino = ip->parent;
		ptfs_iput(ip);
	}
	return ino == PTFS_INO_ROOT;
}

static int check_links(struct check *c, struct ptfs_inode *ip)
{
	u32 names = *names_of(c, ip->ino);
	bool dir = ptfs_is(ip, PTFS_S_IFDIR);
	u32 want = !dir ? ip->nlink : ip->ino != PTFS_INO_ROOT;

	c->result->inodes++;
	if (names != want)
		found(c, "names that lead here: are, should be", ip->ino, names, want);
	if (dir && !reaches_root(c, ip->ino))
		found(c, "directory that does not hang below the root: parent", ip->ino, ip->parent,
		      0);
	return 0;
}

static void check_bitmap(struct check *c)
{
	for (u64 off = 0; off < c->fs->region.bytes; off += PTFS_BLOCK) {
		const u64 *before =
			ptfs_segs_at(&c->before, off >> PTFS_CHUNK_SHIFT, PTFS_BITMAP_BYTES);
		unsigned b = ptfs_block_index(off);
		bool now = ptfs_bit(ptfs_chunk_at(c->fs, off)->used_map, b);

		if (now && !ptfs_bit(before, b))
			found(c, "block in use that the bitmap calls free: offset", 0, off, 0);
		c->result->leaked +=
			!now && ptfs_bit(before, b) && !ptfs_is_bad(c->fs, off, PTFS_BLOCK);
	}
	if (c->snapshot_inodes != c->result->inodes)
		found(c, "inodes in use: the snapshot says, are", 0, c->snapshot_inodes,
		      c->result->inodes);
}

static int second_pass(struct check *c, const struct ptfs_region *r)
{
	int err = ptfs_mount(r, "check", PTFS_MOUNT_SCAN, &c->fs);

	if (err)
		return err;
	if (c->fs->refused)
		found(c, "entries or structures refused, see the log: number", 0, c->fs->refused,
		      0);
	err = ptfs_segs_grow(&c->names, (u32)(c->inode_end * sizeof(u32) / PTFS_SEG_BYTES + 1));
	if (!err)
		err = for_each_inode(c, check_dir);
	if (!err)
		err = for_each_inode(c, check_links);
	if (!err && c->result->was_clean)
		check_bitmap(c);
	c->result->bad = ptfs_bad_load(c->fs);
	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		c->result->used[t] = ptfs_used(c->fs, t);
	c->result->tables = c->result->used[PTFS_CHUNK_TABLE];
	ptfs_abandon(c->fs);
	return err;
}

int ptfs_check(const struct ptfs_region *r, ptfs_report report, void *ctx,
	       struct ptfs_check_result *result)
{
	struct check c = { .report = report, .ctx = ctx, .result = result };
	int err;

	*result = (struct ptfs_check_result){ 0 };
	err = first_pass(&c, r);
	if (!err)
		err = second_pass(&c, r);
	ptfs_segs_free(&c.before);
	ptfs_segs_free(&c.names);
	return err;
}
