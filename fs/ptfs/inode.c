// SPDX-License-Identifier: MIT
//
// What: in-core inodes: load and validate, cache, attributes, and the end of an inode without
// links.
// Not here: numbers and new inodes (ialloc.c), contents (file.c, falloc.c), names (namei.c).
//
// Invariants
//   I1  at most one in-core inode per number; it is in the hash from load to teardown
//   I2  refs > 0: not on the LRU list; refs == 0: on it, or being torn down
//   I3  mode_links on the medium is 0 before any block of a dead inode is freed, and its number is
//       given out again only after all of them are
// Locking: cache_lock for hash, LRU, refs. Loading happens under it, so a load never runs twice.
// Failure: an inode whose fields are impossible is -EUCLEAN, logged once; one whose entries are
// refused is loaded as `bad`: it can be looked at and removed, and its data calls give -EUCLEAN.
#include "fs/ptfs/ptfs_internal.h"

static struct list *hash_head(struct ptfs_fs *fs, u64 ino)
{
	return &fs->hash[ino % PTFS_HASH_HEADS];
}

void ptfs_inode_setup(struct ptfs_fs *fs, struct ptfs_inode *ip, u64 ino)
{
	ip->fs = fs;
	ip->ino = ino;
	ptfs_mutex_init(&ip->lock, PTFS_RANK_INODE);
	ptfs_mutex_init(&ip->grow_lock, PTFS_RANK_OUTER);
	ptfs_home_inode_init(&ip->home);
	list_init(&ip->hash_node);
	list_init(&ip->lru_node);
}

void ptfs_inode_teardown(struct ptfs_inode *ip)
{
	ptfs_dir_forget(ip);
	ptfs_home_inode_destroy(&ip->home);
	ptfs_mutex_destroy(&ip->grow_lock);
	ptfs_mutex_destroy(&ip->lock);
}

static void inode_destroy(struct ptfs_inode *ip)
{
	ptfs_inode_teardown(ip);
	ptfs_free(ip);
}

int ptfs_inode_locate(struct ptfs_fs *fs, u64 ino, u64 *off)
{
	struct ptfs_extent x;
	u64 at = ino * PTFS_INODE_BYTES, block = at >> PTFS_BLOCK_SHIFT, page;
	int err;

	if (ino == PTFS_INO_ITABLE || ino >= PTFS_FILE_MAX / PTFS_INODE_BYTES)
		return -ENOENT;
	// The table has no direct entries: only the page found last is near.
	if (unlikely(!ptfs_pte_page(&fs->itable, block / PT_ENTRIES, &page)) ||
	    unlikely(!ptfs_leaf_current(fs, ptfs_word(fs, page + 8 * (block % PT_ENTRIES)),
					&x.off))) {
		err = ptfs_map_find(&fs->itable, block, 1, &x);
		if (err)
			return err;
		if (x.hole)
			return -ENOENT;
	}
	*off = x.off + (at & (PTFS_BLOCK - 1));
	return 0;
}

u8 ptfs_leaf_type(u32 mode, u64 size)
{
	switch (mode & PTFS_S_IFMT) {
	case PTFS_S_IFREG: return PTFS_CHUNK_DATA;
	case PTFS_S_IFDIR: return PTFS_CHUNK_META;
	case PTFS_S_IFLNK: return size > PTFS_INLINE_BYTES ? PTFS_CHUNK_META : 0;
	default: return 0;
	}
}

const char *ptfs_inode_wrong_head(const struct ptfs_dinode *d, u64 ino)
{
	if (le64_get(&d->ino) == PTFS_FAILED) // of the line that the checksum covers
		return "memory that has failed";
	if (le32_get(d->magic) != PTFS_INODE_MAGIC)
		return "no magic";
	if (le32_get(d->crc) !=
	    crc32c(0, (const u8 *)d + PTFS_INODE_CRC_FROM, PTFS_INODE_CRC_TO - PTFS_INODE_CRC_FROM))
		return "checksum";
	return le64(d->ino) == ino ? NULL : "number";
}

const char *ptfs_inode_wrong_fields(u64 mode_links, u64 size, u64 flags)
{
	u32 mode = (u32)mode_links;

	if (flags & ~PTFS_INODE_FLAGS)
		return "flags";
	if (mode >> 16)
		return "mode";
	switch (mode & PTFS_S_IFMT) {
	case PTFS_S_IFREG: return size <= PTFS_FILE_MAX ? NULL : "size";
	case PTFS_S_IFDIR:
		return size <= PTFS_FILE_MAX && IS_ALIGNED(size, PTFS_BLOCK) ? NULL : "size";
	case PTFS_S_IFLNK: return size && size < PTFS_BLOCK ? NULL : "size";
	case PTFS_S_IFCHR:
	case PTFS_S_IFBLK:
	case PTFS_S_IFIFO:
	case PTFS_S_IFSOCK: return NULL;
	default: return "file type";
	}
}

const char *ptfs_inode_wrong(const struct ptfs_dinode *d, u64 ino)
{
	const char *why = ptfs_inode_wrong_head(d, ino);

	return why ? why
		   : ptfs_inode_wrong_fields(le64(d->mode_links), le64(d->size), le64(d->flags));
}

int ptfs_inode_refuse(struct ptfs_fs *fs, u64 ino, u64 off, const char *why)
{
	bool said = true;
	u8 *state;

	ptfs_mutex_lock(&fs->alloc_lock);
	if (!ptfs_chunk_aux_locked(ptfs_chunk_at(fs, off))) {
		state = ptfs_inode_state(fs, off);
		said = *state & PTFS_IN_LOGGED;
		*state |= PTFS_IN_LOGGED;
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
	__atomic_fetch_add(&fs->refused, 1, __ATOMIC_RELAXED);
	if (!said)
		ptfs_log(PTFS_LOG_ERROR, "ptfs %s: inode %llu at offset %#llx refused: %s",
			 fs->name, (unsigned long long)ino, (unsigned long long)off, why);
	return ptfs_damage(fs, off);
}

static void inode_fill(struct ptfs_inode *ip, const struct ptfs_dinode *d, u64 off)
{
	ip->generation = le64(d->generation);
	ip->media_off = off;
	ip->root_off = off + offsetof(struct ptfs_dinode, root);
	ip->rdev = le64(d->rdev);
	ip->created_ns = le64(d->created_ns);
	ip->mode = (u32)le64(d->mode_links);
	ip->nlink = (u32)(le64(d->mode_links) >> 32);
	ip->uid = (u32)le64(d->owner);
	ip->gid = (u32)(le64(d->owner) >> 32);
	ip->parent = le64(d->parent);
	ip->size = le64(d->size);
	ip->flags = le64(d->flags);
	ip->atime_ns = le64(d->atime_ns);
	ip->mtime_ns = le64(d->mtime_ns);
	ip->ctime_ns = le64(d->ctime_ns);
	ip->leaf_type = ptfs_leaf_type(ip->mode, ip->size);
}

static int inode_load(struct ptfs_fs *fs, u64 ino, struct ptfs_inode **out)
{
	struct ptfs_inode *ip;
	struct ptfs_dinode d; // a copy: what is validated is what is used
	const char *why;
	u64 off;
	int err = ptfs_inode_locate(fs, ino, &off);

	if (err)
		return err;
	ptfs_copy_out(fs, &d, off, sizeof(d));
	if (!(le64(d.mode_links) >> 32))
		return -ENOENT;
	why = ptfs_inode_wrong(&d, ino);
	if (why)
		return ptfs_inode_refuse(fs, ino, off, why);
	ip = ptfs_zalloc(sizeof(*ip));
	if (!ip)
		return -ENOMEM;
	ptfs_inode_setup(fs, ip, ino);
	inode_fill(ip, &d, off);
	err = ptfs_verify_inode(ip);
	if (err && !ptfs_is_damage(err)) {
		inode_destroy(ip);
		return err;
	}
	ip->bad = err;
	*out = ip;
	return 0;
}

static struct ptfs_inode *cache_find(struct ptfs_fs *fs, u64 ino)
{
	struct ptfs_inode *ip;

	list_for_each(ip, hash_head(fs, ino), hash_node)
		if (ip->ino == ino)
			return ip;
	return NULL;
}

int ptfs_iget(struct ptfs_fs *fs, u64 ino, struct ptfs_inode **out)
{
	struct ptfs_inode *ip;
	int err = 0;

	ptfs_mutex_lock(&fs->cache_lock);
	ip = cache_find(fs, ino);
	if (!ip) {
		err = inode_load(fs, ino, &ip);
		if (!err)
			list_add(hash_head(fs, ino), &ip->hash_node);
	} else if (!ip->refs) {
		list_del(&ip->lru_node);
		fs->lru_count--;
	}
	if (!err) {
		ip->refs++;
		*out = ip;
	}
	ptfs_mutex_unlock(&fs->cache_lock);
	return err;
}

void ptfs_ihold(struct ptfs_inode *ip)
{
	ptfs_mutex_lock(&ip->fs->cache_lock);
	ptfs_assert(ip->refs);
	ip->refs++;
	ptfs_mutex_unlock(&ip->fs->cache_lock);
}

// No links, no references: the inode dies, then its blocks, then its number is free (I3).
static void inode_evict(struct ptfs_inode *ip)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_tx tx;

	// The medium says "free" before it is: whoever looks there for free numbers looks here,
	// too. It is the last one who has anything to do with this inode's byte.
	__atomic_store_n(ptfs_inode_state(fs, ip->media_off), PTFS_IN_DYING, __ATOMIC_RELEASE);
	ptfs_tx_begin(&tx, fs);
	ptfs_tx_set(&tx, PTFS_FIELD(ip, mode_links), 0);
	ptfs_tx_commit(&tx);
	ptfs_map_release(ip);
	ptfs_inode_number_free(fs, ip->ino, ip->media_off);
	inode_destroy(ip);
	__atomic_fetch_sub(&fs->evicting, 1, __ATOMIC_RELEASE);
}

void ptfs_iput(struct ptfs_inode *ip)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_inode *old = NULL;
	bool evict = false;

	ptfs_mutex_lock(&fs->cache_lock);
	ptfs_assert(ip->refs);
	if (--ip->refs) {
		ptfs_mutex_unlock(&fs->cache_lock);
		return;
	}
	if (ip->orphan) {
		evict = true;
		__atomic_fetch_add(&fs->evicting, 1, __ATOMIC_RELAXED);
		list_del(&ip->hash_node);
	} else {
		list_add_tail(&fs->lru, &ip->lru_node);
		if (++fs->lru_count > PTFS_LRU_MAX) {
			old = list_entry(list_pop(&fs->lru), struct ptfs_inode, lru_node);
			list_del(&old->hash_node);
			fs->lru_count--;
		}
	}
	ptfs_mutex_unlock(&fs->cache_lock);
	if (evict)
		inode_evict(ip);
	if (old)
		inode_destroy(old);
}

bool ptfs_cache_busy(struct ptfs_fs *fs)
{
	struct ptfs_inode *ip;
	bool busy = false;

	ptfs_mutex_lock(&fs->cache_lock);
	for (unsigned h = 0; h < PTFS_HASH_HEADS; h++)
		list_for_each(ip, &fs->hash[h], hash_node)
			busy |= ip->refs != 0;
	ptfs_mutex_unlock(&fs->cache_lock);
	return busy;
}

// The mount is going away. `force`: references are dropped, too.
void ptfs_cache_destroy(struct ptfs_fs *fs, bool force)
{
	for (unsigned h = 0; h < PTFS_HASH_HEADS; h++) {
		struct list *n;

		while ((n = list_pop(&fs->hash[h]))) {
			struct ptfs_inode *ip = list_entry(n, struct ptfs_inode, hash_node);

			ptfs_assert(force || !ip->refs);
			inode_destroy(ip);
		}
	}
}

// ---- Attributes ----

void ptfs_size_set(struct ptfs_inode *ip, u64 size)
{
	__atomic_store_n(&ip->size, size, __ATOMIC_RELEASE);
	ptfs_store8_flush(ip->fs, PTFS_FIELD(ip, size), size);
	ptfs_fence(ip->fs);
}

void ptfs_times_set(struct ptfs_inode *ip, bool modified)
{
	u64 now = ptfs_time_ns();

	// The clock ticks coarsely (platform.h). What is in core has been stored and flushed, by a
	// call that fences before it returns.
	if (ip->ctime_ns == now && (!modified || ip->mtime_ns == now))
		return;
	if (modified) {
		ip->mtime_ns = now;
		ptfs_store8(ip->fs, PTFS_FIELD(ip, mtime_ns), now);
	}
	ip->ctime_ns = now;
	ptfs_store8(ip->fs, PTFS_FIELD(ip, ctime_ns), now);
	ptfs_flush(ip->fs, PTFS_FIELD(ip, mtime_ns), 16);
}

// Counting walks the tree, so the result is kept until the tree changes. A change that comes
// between clears the mark again, and the next call counts anew.
static u64 blocks_count(struct ptfs_inode *ip)
{
	u64 blocks;

	if (__atomic_load_n(&ip->blocks_known, __ATOMIC_ACQUIRE))
		return __atomic_load_n(&ip->blocks, __ATOMIC_RELAXED);
	__atomic_store_n(&ip->blocks_known, true, __ATOMIC_SEQ_CST);
	blocks = ptfs_map_count(ip);
	__atomic_store_n(&ip->blocks, blocks, __ATOMIC_RELEASE);
	return blocks;
}

void ptfs_getattr(struct ptfs_inode *ip, struct ptfs_attr *out)
{
	struct ptfs_fs *fs = ip->fs;

	*out = (struct ptfs_attr){ .ino = ip->ino,
				   .generation = ip->generation,
				   .rdev = ip->rdev,
				   .created_ns = ip->created_ns };
	ptfs_map_lock_shared(&ip->home);
	ptfs_mutex_lock(&ip->lock);
	out->blocks = blocks_count(ip);
	out->size = ip->size;
	out->atime_ns = ip->atime_ns;
	out->mtime_ns = ip->mtime_ns;
	out->ctime_ns = ip->ctime_ns;
	out->flags = ip->flags;
	ptfs_mutex_unlock(&ip->lock);
	ptfs_map_unlock_shared(&ip->home);
	ptfs_mutex_lock(&fs->tx_lock);
	out->mode = ip->mode;
	out->nlink = ip->nlink;
	out->uid = ip->uid;
	out->gid = ip->gid;
	ptfs_mutex_unlock(&fs->tx_lock);
}

int ptfs_setattr(struct ptfs_inode *ip, u64 which, const struct ptfs_attr *a)
{
	struct ptfs_tx tx;
	int err = ptfs_dirty(ip->fs);

	if (err)
		return err;
	ptfs_mutex_lock(&ip->lock);
	ptfs_tx_begin(&tx, ip->fs);
	if (which & PTFS_ATTR_MODE)
		ip->mode = (ip->mode & PTFS_S_IFMT) | (a->mode & ~PTFS_S_IFMT & 0xffff);
	if (which & PTFS_ATTR_UID)
		ip->uid = a->uid;
	if (which & PTFS_ATTR_GID)
		ip->gid = a->gid;
	if (which & PTFS_ATTR_ATIME)
		ip->atime_ns = a->atime_ns;
	if (which & PTFS_ATTR_MTIME)
		ip->mtime_ns = a->mtime_ns;
	ip->ctime_ns = ptfs_time_ns();
	ptfs_tx_set(&tx, PTFS_FIELD(ip, mode_links), ptfs_pack(ip->mode, ip->nlink));
	ptfs_tx_set(&tx, PTFS_FIELD(ip, owner), ptfs_pack(ip->uid, ip->gid));
	ptfs_tx_set(&tx, PTFS_FIELD(ip, atime_ns), ip->atime_ns);
	ptfs_tx_set(&tx, PTFS_FIELD(ip, mtime_ns), ip->mtime_ns);
	ptfs_tx_set(&tx, PTFS_FIELD(ip, ctime_ns), ip->ctime_ns);
	ptfs_tx_commit(&tx);
	ptfs_mutex_unlock(&ip->lock);
	return 0;
}

void ptfs_accessed(struct ptfs_inode *ip)
{
	u64 now;

	if (ptfs_atime_stands(ip) || ip->fs->read_only)
		return;
	now = ptfs_time_ns();
	if (READ_ONCE(ip->atime_ns) == now || ptfs_dirty(ip->fs))
		return;
	ptfs_mutex_lock(&ip->lock);
	ip->atime_ns = now;
	ptfs_store8_flush(ip->fs, PTFS_FIELD(ip, atime_ns), now);
	ptfs_fence(ip->fs);
	ptfs_mutex_unlock(&ip->lock);
}

int ptfs_touch(struct ptfs_inode *ip)
{
	int err = ptfs_dirty(ip->fs);

	if (err)
		return err;
	ptfs_mutex_lock(&ip->lock);
	ptfs_times_set(ip, true);
	ptfs_fence(ip->fs);
	ptfs_mutex_unlock(&ip->lock);
	return 0;
}
