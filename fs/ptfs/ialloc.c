// SPDX-License-Identifier: MIT
//
// What: inode numbers, and new inodes. Free numbers are found by a cursor that looks at each block
// of the inode table once a mount; what it finds, and what is freed in front of it, waits on a
// stack.
// Not here: the life of an inode in core (inode.c).
//
// Invariants
//   I1  a number on the stack is free on the medium (mode_links 0) and in no other place
//   I2  blocks of the inode table below the cursor hold no free inode that is not on the stack
//       (numbers that memory was short for are found after the next mount), but for those whose
//       blocks are still being freed: PTFS_IN_DYING is set before the medium says that they are
//       free, and cleared when they are
// Locking: ialloc_lock.
// Persistence: a new inode is written in full while mode_links is 0; the transaction that names it
// makes it live.
#include "fs/ptfs/ptfs_internal.h"

static void stack_push(struct ptfs_fs *fs, u64 ino)
{
	u32 per = PTFS_SEG_BYTES / sizeof(u64);

	if (ptfs_segs_grow(&fs->free_inodes, (u32)(fs->free_count / per + 1)))
		return;
	*(u64 *)ptfs_segs_at(&fs->free_inodes, fs->free_count++, sizeof(u64)) = ino;
}

// Free on the medium, but whoever frees it has its blocks in hand. It will go to the stack then.
static bool is_dying(struct ptfs_fs *fs, u64 off)
{
	const u8 *states;
	bool dying;

	ptfs_mutex_lock(&fs->alloc_lock); // for `aux`
	states = ptfs_chunk_at(fs, off)->aux;
	dying = states &&
		(__atomic_load_n(ptfs_inode_state(fs, off), __ATOMIC_ACQUIRE) & PTFS_IN_DYING);
	ptfs_mutex_unlock(&fs->alloc_lock);
	return dying;
}

// Look at one block of the inode table, making it if it is a hole.
static int cursor_step(struct ptfs_fs *fs)
{
	u64 first = fs->inode_cursor * PTFS_INODES_PER_BLOCK;
	struct ptfs_extent x;
	int err = ptfs_map_extent(&fs->itable, fs->inode_cursor, 1, &x);

	if (!err && x.hole) {
		err = ptfs_map_zeroed(&fs->itable, fs->inode_cursor, PT_PTE);
		if (!err)
			err = ptfs_map_extent(&fs->itable, fs->inode_cursor, 1, &x);
	}
	if (err == -ENOSPC || err == -ENOMEM)
		return err;
	if (err && ptfs_word(fs, fs->itable.root_off) == PTFS_FAILED)
		return err; // no page of the table can be found any more
	if (err) {          // a refused table page: skip what it maps
		fs->inode_cursor = ALIGN_UP(fs->inode_cursor + 1, PT_ENTRIES);
		return 0;
	}
	fs->inode_cursor++;
	for (u64 i = PTFS_INODES_PER_BLOCK; i-- > 0;) {
		u64 off = x.off + i * PTFS_INODE_BYTES;

		if (!ptfs_word(fs, off + offsetof(struct ptfs_dinode, mode_links)) && first + i &&
		    !is_dying(fs, off)) // asked in this order
			stack_push(fs, first + i);
	}
	return 0;
}

static int number_take(struct ptfs_fs *fs, u64 *ino)
{
	int err = 0;

	ptfs_mutex_lock(&fs->ialloc_lock);
	while (!fs->free_count && !err) {
		if (fs->inode_cursor >= PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT)
			err = -ENOSPC;
		else
			err = cursor_step(fs);
	}
	if (!err) {
		*ino = *(u64 *)ptfs_segs_at(&fs->free_inodes, --fs->free_count, sizeof(u64));
		fs->inodes++;
	}
	ptfs_mutex_unlock(&fs->ialloc_lock);
	return err;
}

void ptfs_inode_number_free(struct ptfs_fs *fs, u64 ino, u64 media_off)
{
	ptfs_mutex_lock(&fs->ialloc_lock);
	fs->inodes--;
	if (media_off)
		__atomic_store_n(ptfs_inode_state(fs, media_off), 0, __ATOMIC_RELAXED);
	if (ino / PTFS_INODES_PER_BLOCK < fs->inode_cursor)
		stack_push(fs, ino);
	ptfs_mutex_unlock(&fs->ialloc_lock);
}

void ptfs_ialloc_count(struct ptfs_fs *fs, s64 delta)
{
	ptfs_mutex_lock(&fs->ialloc_lock);
	fs->inodes += (u64)delta;
	ptfs_mutex_unlock(&fs->ialloc_lock);
}

// The target of a symlink: in direct[], or in a block of its own.
static int target_write(struct ptfs_inode *ip, struct ptfs_dinode *d, const char *target)
{
	struct ptfs_fs *fs = ip->fs;
	u64 off;
	int err;

	if (!ip->leaf_type) {
		memcpy(d->direct, target, ip->size);
		return 0;
	}
	err = ptfs_block_alloc(fs, PTFS_CHUNK_META, &off);
	if (err)
		return err;
	ptfs_copy_nt(fs, off, target, ip->size);
	ptfs_zero(fs, off + ip->size, PTFS_BLOCK - ip->size); // fenced with the inode, see below
	d->direct[0] = LE64(ptfs_entry_leaf(fs, off, PT_PTE));
	return 0;
}

static void dinode_fill(struct ptfs_dinode *d, const struct ptfs_inode *ip)
{
	*d = (struct ptfs_dinode){
		.magic = LE32(PTFS_INODE_MAGIC),
		.ino = LE64(ip->ino),
		.generation = LE64(ip->generation),
		.rdev = LE64(ip->rdev),
		.created_ns = LE64(ip->created_ns),
		.owner = LE64(ptfs_pack(ip->uid, ip->gid)),
		.size = LE64(ip->size),
		.atime_ns = LE64(ip->atime_ns),
		.mtime_ns = LE64(ip->mtime_ns),
		.ctime_ns = LE64(ip->ctime_ns),
		.parent = LE64(ip->parent),
	};
	d->crc = LE32(crc32c(0, (const u8 *)d + PTFS_INODE_CRC_FROM,
			     PTFS_INODE_CRC_TO - PTFS_INODE_CRC_FROM));
}

static void inode_init(struct ptfs_inode *ip, const struct ptfs_create_args *a, u64 parent)
{
	bool dir;

	ip->mode = a->mode & 0xffff;
	dir = ptfs_is(ip, PTFS_S_IFDIR);
	ip->nlink = dir ? 2 : 1;
	ip->uid = a->uid;
	ip->gid = a->gid;
	ip->rdev = a->rdev;
	ip->parent = dir ? parent : 0;
	ip->size = ptfs_is(ip, PTFS_S_IFLNK) ? strlen(a->target) : 0;
	ip->generation = ip->fs->generation;
	ip->created_ns = ptfs_time_ns();
	ip->atime_ns = ip->mtime_ns = ip->ctime_ns = ip->created_ns;
	switch (ip->mode & PTFS_S_IFMT) {
	case PTFS_S_IFREG: ip->leaf_type = PTFS_CHUNK_DATA; break;
	case PTFS_S_IFDIR: ip->leaf_type = PTFS_CHUNK_META; break;
	case PTFS_S_IFLNK:
		ip->leaf_type = ip->size > PTFS_INLINE_BYTES ? PTFS_CHUNK_META : 0;
		break;
	default: break;
	}
}

static int inode_write_new(struct ptfs_inode *ip, const char *target)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_dinode d;
	int err = ptfs_inode_locate(fs, ip->ino, &ip->media_off);

	if (err)
		return err;
	ip->root_off = PTFS_FIELD(ip, root);
	ptfs_mutex_lock(&fs->alloc_lock);
	err = ptfs_chunk_aux_locked(ptfs_chunk_at(fs, ip->media_off));
	if (!err)
		*ptfs_inode_state(fs, ip->media_off) = PTFS_IN_VERIFIED;
	ptfs_mutex_unlock(&fs->alloc_lock);
	if (err)
		return err;
	dinode_fill(&d, ip);
	if (ptfs_is(ip, PTFS_S_IFLNK))
		err = target_write(ip, &d, target);
	if (err)
		return err;
	ptfs_copy_nt(fs, ip->media_off, &d, sizeof(d)); // fenced with the transaction's records
	return 0;
}

int ptfs_inode_new(struct ptfs_fs *fs, const struct ptfs_create_args *a, u64 parent,
		   struct ptfs_inode **out)
{
	struct ptfs_inode *ip = ptfs_zalloc(sizeof(*ip));
	u64 ino;
	int err;

	if (!ip)
		return -ENOMEM;
	err = number_take(fs, &ino);
	if (err) {
		ptfs_free(ip);
		return err;
	}
	ptfs_inode_setup(fs, ip, ino);
	inode_init(ip, a, parent);
	err = inode_write_new(ip, a->target);
	if (err) {
		ptfs_inode_teardown(ip);
		ptfs_free(ip);
		ptfs_inode_number_free(fs, ino, 0);
		return err;
	}
	ptfs_mutex_lock(&fs->cache_lock);
	ip->refs = 1;
	list_add(&fs->hash[ino % PTFS_HASH_HEADS], &ip->hash_node);
	ptfs_mutex_unlock(&fs->cache_lock);
	*out = ip;
	return 0;
}
