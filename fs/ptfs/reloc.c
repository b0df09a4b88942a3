// SPDX-License-Identifier: MIT
//
// What: relocation: which tag stands for the address at which the region is now, and the pass that
// frees the tags of all other addresses.
//
//      mount at a base that is in the table      its tag becomes current
//      at a new one                              a free tag gets the base, then becomes current
//      at a new one, and no tag is free          first a full pass at the newest base
//      read-only                                 nothing is written; entries of another base stay
//                                                what they are and are followed by software only
//
// Not here: rewriting entries, which verification does (verify.c), and their meaning (medium.c).
//
// Invariants
//   I1  the base of a tag does not change while an entry that can be reached bears the tag
//   I2  every entry made by this mount, and every undo record, bears the current tag
//   I3  a table page that is verified on a writable mount has the current tag everywhere, durably
// Locking: one caller of ptfs_rebase at a time. base[] is cleared while others decode, but then no
// reachable entry bears the tag: an inode that is being evicted is out of the pass's reach, so the
// pass waits for evictions (`evicting`).
// Persistence: base[t], fence; base_current, fence; only then an entry with tag t. The other way:
// all entries, flush, fence (verify.c); only then base[t] := 0.
// Failure: where an entry was refused the tags stay, because something may still be read by them.
#include "fs/ptfs/ptfs_internal.h"

#define SUPER(field)    offsetof(struct ptfs_super, field)
#define INODES_PER_PAGE ((u64)PTFS_INODES_PER_BLOCK * PT_ENTRIES) // a PTE page of the inode table
// Table pages that the pass verifies in one hold of a file's mapping lock.
#define REBASE_HOLD 64u

static void base_store(struct ptfs_fs *fs, unsigned t, u64 base)
{
	ptfs_super_store(fs, SUPER(base) + t * sizeof(u64), base ? ptfs_base_encode(base, t) : 0);
}

// The tag for the region's address; 0: it has none, and none is free (or may be taken).
static unsigned tag_choose(const struct ptfs_fs *fs, bool *fresh)
{
	u64 here = fs->region.base.pa;

	*fresh = false;
	if (fs->base[fs->tag_stored] == here)
		return fs->tag_stored;
	for (unsigned t = 1; t < PTFS_TAGS; t++)
		if (fs->base[t] == here)
			return t;
	for (unsigned t = 1; t < PTFS_TAGS && !fs->read_only; t++) {
		*fresh = !fs->base[t];
		if (*fresh)
			return t;
	}
	return 0;
}

// Leaves with the tag are recognised at once from here on.
static void tag_use(struct ptfs_fs *fs)
{
	bool known = fs->tag && fs->base[fs->tag];

	fs->leaf_first = known ? ptfs_entry_leaf(fs, 0, PT_PTE) : PTFS_NO_LEAF;
}

bool ptfs_tag_find(struct ptfs_fs *fs)
{
	fs->tag = tag_choose(fs, &fs->tag_fresh);
	tag_use(fs);
	return fs->tag || fs->read_only;
}

void ptfs_tag_enter(struct ptfs_fs *fs)
{
	if (fs->read_only || fs->tag == fs->tag_stored)
		return;
	ptfs_log(PTFS_LOG_INFO, "ptfs %s: moved from base address %#llx to %#llx", fs->name,
		 (unsigned long long)fs->base[fs->tag_stored],
		 (unsigned long long)fs->region.base.pa);
	if (fs->tag_fresh) {
		base_store(fs, fs->tag, fs->region.base.pa);
		ptfs_fence(fs);
		fs->base[fs->tag] = fs->region.base.pa;
		tag_use(fs);
	}
	ptfs_super_store(fs, SUPER(base_current), fs->tag);
	// Where all entries bear this tag already, nothing else fences before the pass is through
	// and frees the tag that the medium would still call current: no mount would find a base.
	ptfs_fence(fs);
	fs->tag_fresh = false;
	fs->tag_stored = fs->tag;
}

bool ptfs_rebase_pending(const struct ptfs_fs *fs)
{
	for (unsigned t = 1; t < PTFS_TAGS && !fs->read_only; t++)
		if (t != fs->tag && fs->base[t])
			return true;
	return false;
}

static int rebase_inode(struct ptfs_fs *fs, u64 ino)
{
	struct ptfs_inode *ip;
	int err = ptfs_iget(fs, ino, &ip); // rebases its root or direct words

	if (err)
		return err == -ENOENT ? 0 : err;
	if (ip->leaf_type) {
		ptfs_map_lock_shared(&ip->home);
		err = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, REBASE_HOLD);
		ptfs_map_unlock_shared(&ip->home);
	}
	ptfs_iput(ip);
	return err;
}

// From the cursor on: the next inode that is in use. -ENOENT: there is none.
static int next_inode(struct ptfs_fs *fs, u64 *ino)
{
	u64 end = PTFS_FILE_MAX / PTFS_INODE_BYTES;

	while (*ino < end) {
		u64 block = *ino / PTFS_INODES_PER_BLOCK;
		u64 in_block = *ino % PTFS_INODES_PER_BLOCK;
		struct ptfs_extent x;
		int err = ptfs_map_extent(&fs->itable, block, PTFS_WHOLE_RUN, &x);

		if (err)
			return err;
		if (x.hole) {
			*ino = (block + x.blocks) * PTFS_INODES_PER_BLOCK;
			continue;
		}
		for (; in_block < PTFS_INODES_PER_BLOCK; in_block++, ++*ino) {
			u64 off = x.off + in_block * PTFS_INODE_BYTES;

			if (*ino && ptfs_word(fs, off + offsetof(struct ptfs_dinode, mode_links)))
				return 0;
		}
	}
	return -ENOENT;
}

// Every entry that can be reached bears the current tag, durably.
static int tags_free(struct ptfs_fs *fs)
{
	if (__atomic_load_n(&fs->evicting, __ATOMIC_ACQUIRE))
		return 1;
	if (fs->rebase_refused) {
		ptfs_log(PTFS_LOG_WARN,
			 "ptfs %s: entries were refused, so those of earlier base addresses stay "
			 "readable: run fsck.ptfs",
			 fs->name);
		return -EUCLEAN;
	}
	for (unsigned t = 1; t < PTFS_TAGS; t++) {
		if (t == fs->tag || !fs->base[t])
			continue;
		// No fence: a tag of which no entry is may as well stay, and the next pass frees
		// it.
		base_store(fs, t, 0);
		__atomic_store_n(&fs->base[t], 0, __ATOMIC_RELEASE);
	}
	ptfs_log(PTFS_LOG_INFO, "ptfs %s: all entries are written for base address %#llx", fs->name,
		 (unsigned long long)fs->base[fs->tag]);
	return 0;
}

// What hangs below a refused entry is lost for this mount; the pass goes on.
static int refused(struct ptfs_fs *fs, int err)
{
	if (!ptfs_is_damage(err))
		return err;
	fs->rebase_refused = true;
	return 0;
}

int ptfs_rebase(struct ptfs_fs *fs, unsigned budget)
{
	int err = 0;

	if (!ptfs_rebase_pending(fs))
		return 0;
	if (!fs->rebase_ino)
		err = refused(fs, ptfs_map_ready(&fs->itable, 0, PTFS_FILE_MAX, ~0u));
	while (!err && budget--) {
		err = next_inode(fs, &fs->rebase_ino);
		if (err == -ENOENT)
			return tags_free(fs);
		if (ptfs_is_damage(err)) {
			err = refused(fs, err);
			fs->rebase_ino = ALIGN_UP(fs->rebase_ino + 1, INODES_PER_PAGE);
			continue;
		}
		if (!err)
			err = refused(fs, rebase_inode(fs, fs->rebase_ino));
		fs->rebase_ino += !err;
	}
	return err ? err : 1;
}
