// SPDX-License-Identifier: MIT
//
// What: rebuild what is used from the tables themselves, after a crash: walk the inode table, and
// every file's tree. Claiming a block allocates it (fs->scanning). What was reached is verified and
// ready.
// Not here: rolling back transactions (journal.c), which comes first.
//
// Recovery on the way: inodes without links are freed; entries wholly beyond EOF go, unless
// PREALLOC; the rest of the last leaf behind EOF becomes zeros, because a crash inside a truncate
// leaves old bytes there and a mapping would show them. FREE chunks are never touched, and neither
// is data: the time goes by the number of inodes and table pages.
// Failure: what is refused is logged and left out; only lack of memory or a broken inode table ends
// the mount.
#include "fs/ptfs/ptfs_internal.h"

static void inode_kill(struct ptfs_fs *fs, u64 off)
{
	ptfs_store8_flush(fs, off + offsetof(struct ptfs_dinode, mode_links), 0);
}

static int scan_tail(struct ptfs_inode *ip)
{
	u64 block = ip->size >> PTFS_BLOCK_SHIFT;
	u64 skip = ip->size & (PTFS_BLOCK - 1);
	struct ptfs_extent x;
	int err;

	if (!ptfs_is(ip, PTFS_S_IFREG) || ip->bad)
		return 0;
	err = ptfs_map_extent(ip, block, 1, &x);
	if (err || x.hole || (!skip && x.level == PT_PTE))
		return err;
	ptfs_zero(ip->fs, x.off + skip, (x.level == PT_PMD ? x.blocks : 1) * PTFS_BLOCK - skip);
	return 0;
}

static int scan_inode(struct ptfs_fs *fs, u64 ino, u64 off)
{
	u64 mode_links = ptfs_word(fs, off + offsetof(struct ptfs_dinode, mode_links));
	struct ptfs_inode *ip;
	int err;

	if (!mode_links)
		return 0;
	if (!(mode_links >> 32)) {
		inode_kill(fs, off);
		return 0;
	}
	err = ptfs_iget(fs, ino, &ip);
	if (err)
		return err == -EUCLEAN ? 0 : err;
	fs->inodes++;
	err = ip->bad || !ip->leaf_type ? 0 : ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u);
	if (!err)
		err = scan_tail(ip);
	ptfs_iput(ip);
	return err == -EUCLEAN ? 0 : err;
}

static int scan_inode_block(struct ptfs_fs *fs, u64 block, u64 off)
{
	for (u64 i = 0; i < PTFS_INODES_PER_BLOCK; i++) {
		u64 ino = block * PTFS_INODES_PER_BLOCK + i;
		int err = ino ? scan_inode(fs, ino, off + i * PTFS_INODE_BYTES) : 0;

		if (err)
			return err;
	}
	return 0;
}

static int scan_inodes(struct ptfs_fs *fs)
{
	u64 end = PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT;
	u64 block = 0;

	while (block < end) {
		struct ptfs_extent x;
		int err = ptfs_map_extent(&fs->itable, block, PTFS_WHOLE_RUN, &x);

		if (err == -EUCLEAN)
			x = (struct ptfs_extent){ .blocks = PT_ENTRIES - block % PT_ENTRIES,
						  .hole = true };
		else if (err)
			return err;
		for (u64 i = 0; i < x.blocks && !x.hole; i++) {
			err = scan_inode_block(fs, block + i, x.off + i * PTFS_BLOCK);
			if (err)
				return err;
		}
		block += x.blocks;
	}
	return 0;
}

int ptfs_scan(struct ptfs_fs *fs)
{
	int err;

	fs->scanning = true;
	err = ptfs_verify_inode(&fs->itable); // a root that is refused must not be walked from
	if (!err) {
		err = ptfs_map_ready(&fs->itable, 0, PTFS_FILE_MAX, ~0u);
		if (err == -EUCLEAN && fs->refused)
			err = 0; // parts of the inode table are lost; the rest goes on
		if (!err)
			err = scan_inodes(fs);
	}
	fs->scanning = false;
	if (fs->refused)
		ptfs_log(PTFS_LOG_WARN, "ptfs %s: scan refused %llu things: run ptfs check",
			 fs->name, (unsigned long long)fs->refused);
	return err;
}
