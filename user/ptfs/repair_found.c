// SPDX-License-Identifier: MIT
//
// What: /lost+found: a name "#INODE" for each file and directory that has lost its own. The image
// is mounted, its structures are sound.
//
// Each is one transaction over the record, the inode's links (or a directory's parent) and the
// links of /lost+found, so a crash leaves it either there or as lost as before.
#include <stdio.h>

#include "user/ptfs/repair_internal.h"

static int folder(struct ptfs_fs *fs, struct ptfs_inode **out)
{
	const struct ptfs_create_args a = { .mode = PTFS_S_IFDIR | 0700 };
	struct ptfs_inode *root = NULL;
	char name[32] = "lost+found";
	int err = ptfs_iget(fs, PTFS_INO_ROOT, &root);

	for (unsigned i = 1; !err; i++) {
		err = ptfs_lookup(root, name, strlen(name), out);
		if (err == -ENOENT)
			err = ptfs_create(root, name, strlen(name), &a, out);
		if (err || ptfs_is(*out, PTFS_S_IFDIR))
			break;
		ptfs_iput(*out);
		snprintf(name, sizeof(name), "lost+found.%u", i);
	}
	if (root)
		ptfs_iput(root);
	return err;
}

static int slot_for(struct ptfs_inode *dir, const struct ptfs_inode *ip, struct ptfs_dir_slot *slot)
{
	char name[48];
	int err = 0;
	u64 ino;

	for (unsigned i = 0; !err; i++) {
		if (i)
			snprintf(name, sizeof(name), "#%llu.%u", (unsigned long long)ip->ino, i);
		else
			snprintf(name, sizeof(name), "#%llu", (unsigned long long)ip->ino);
		err = ptfs_dir_find(dir, name, strlen(name), slot, &ino);
	}
	if (err != -ENOENT)
		return err;
	return ptfs_dir_prepare(dir, name, strlen(name), (ip->mode & PTFS_S_IFMT) >> 12, slot);
}

static int attach(struct ptfs_fs *fs, struct ptfs_inode *dir, u64 ino)
{
	struct ptfs_dir_slot slot;
	struct ptfs_inode *ip;
	struct ptfs_tx tx;
	int err = ptfs_iget(fs, ino, &ip);

	if (err)
		return err;
	err = slot_for(dir, ip, &slot);
	if (err) {
		ptfs_iput(ip);
		return err;
	}
	ptfs_tx_begin(&tx, fs);
	if (ptfs_is(ip, PTFS_S_IFDIR)) {
		ip->parent = dir->ino;
		dir->nlink++;
		ptfs_tx_set(&tx, PTFS_FIELD(ip, parent), ip->parent);
		ptfs_tx_set(&tx, PTFS_FIELD(dir, mode_links), ptfs_pack(dir->mode, dir->nlink));
	}
	ptfs_tx_set(&tx, slot.off + offsetof(struct ptfs_dirent, ino), ino);
	ptfs_tx_commit(&tx);
	ptfs_dir_added(dir, &slot);
	ptfs_iput(ip);
	return 0;
}

int fix_lost_found(struct fix *x, struct ptfs_fs *fs)
{
	struct ptfs_inode *dir = NULL;
	int err = ptfs_dirty(fs);

	for (size_t b = 0; b < x->iblocks && !err; b++) {
		for (unsigned i = 0; i < PTFS_INODES_PER_BLOCK && !err; i++) {
			if (!x->iblock[b].node[i].detached)
				continue;
			err = dir ? 0 : folder(fs, &dir);
			if (!err)
				err = attach(fs, dir,
					     x->iblock[b].index * PTFS_INODES_PER_BLOCK + i);
			x->result->reattached += !err;
		}
	}
	if (dir)
		ptfs_iput(dir);
	return err;
}
