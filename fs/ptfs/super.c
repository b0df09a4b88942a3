// SPDX-License-Identifier: MIT
//
// What: mounting and unmounting: the superblock, the base table, the clean mark.
// Not here: the words of mount(8) (options.c), making an image (mkfs.c), the stored bitmap
// (snapshot.c), recovery of space (scan.c), the journal (journal.c).
//
// Persistence: an image is clean while snapshot.clean, snapshot.generation and the superblock's
// generation are equal. Before the first change of a mount: generation + 1, fence. A mount that
// changes nothing leaves the image as it found it.
// Failure: whatever the medium says, mounting ends with an errno and a log line.
#include "fs/ptfs/ptfs_internal.h"

#define SUPER(field) offsetof(struct ptfs_super, field)
#define ADDRESS_MAX  (PTE_ADDR + PTFS_BLOCK) // what an entry can hold

void ptfs_layout(struct ptfs_super *s, u64 chunks)
{
	u64 off = PTFS_BLOCK;

	*s = (struct ptfs_super){
		.magic = LE64(PTFS_MAGIC),
		.version = LE32(PTFS_VERSION),
		.block_bytes = LE32(PTFS_BLOCK),
		.chunk_bytes = LE32(PTFS_CHUNK),
		.inode_bytes = LE32(PTFS_INODE_BYTES),
		.chunks = LE64(chunks),
		.journal_slots = LE32(PTFS_JOURNAL_SLOTS),
		.journal_slot_bytes = LE32(PTFS_JOURNAL_SLOT_BYTES),
		.root_ino = LE64(PTFS_INO_ROOT),
	};
	s->journal_off = LE64(off);
	off += PTFS_JOURNAL_SLOTS * PTFS_JOURNAL_SLOT_BYTES;
	s->chunk_map_off = LE64(off);
	s->chunk_map_bytes = LE64(ALIGN_UP(chunks, PTFS_BLOCK));
	off += le64(s->chunk_map_bytes);
	s->snapshot_off = LE64(off);
	s->snapshot_bytes = LE64(ALIGN_UP(PTFS_BLOCK + chunks * PTFS_BITMAP_BYTES, PTFS_BLOCK));
	off += le64(s->snapshot_bytes);
	s->copy_off = LE64(off);
	s->system_bytes = LE64(off + PTFS_BLOCK);
}

static u32 super_crc(const struct ptfs_super *s)
{
	return crc32c(0, s, PTFS_SUPER_CRC_BYTES);
}

static int super_wrong(const struct ptfs_region *r, const char *name, const char *why)
{
	phys_t bad;

	ptfs_bad_update();
	if (r->bytes >= PTFS_BLOCK && ptfs_bad_find(r->base, PTFS_BLOCK, &bad)) {
		ptfs_log(PTFS_LOG_ERROR, "ptfs %s: the memory of the superblock has failed", name);
		return -EIO;
	}
	ptfs_log(PTFS_LOG_ERROR, "ptfs %s: not a usable ptfs image: %s", name, why);
	return -EUCLEAN;
}

// The layout must be the one that follows from the size.
const char *ptfs_super_wrong(const struct ptfs_super *s, u64 bytes)
{
	struct ptfs_super want;
	size_t fixed = SUPER(chunk_map_off);

	if (le64(s->magic) != PTFS_MAGIC)
		return "no ptfs superblock";
	if (le32_get(s->crc) != super_crc(s))
		return "checksum of the superblock";
	if (le32_get(s->version) != PTFS_VERSION || le64(s->incompat))
		return "made by a later version of ptfs";
	if (le64(s->chunks) < PTFS_CHUNKS_MIN || le64(s->chunks) > PTFS_CHUNKS_MAX ||
	    le64(s->chunks) > bytes >> PTFS_CHUNK_SHIFT)
		return "larger than the region";
	ptfs_layout(&want, le64(s->chunks));
	if (memcmp(&want, s, SUPER(uuid)) != 0 ||
	    memcmp(&want.journal_off, &s->journal_off, fixed - SUPER(journal_off)) != 0 ||
	    memcmp(&want.chunk_map_off, &s->chunk_map_off, SUPER(incompat) - fixed) != 0)
		return "impossible layout";
	return NULL;
}

// A copy of the superblock, found sound.
static int super_read(const struct ptfs_region *r, const char *name, struct ptfs_super *s)
{
	const char *why;

	if (r->bytes < PTFS_CHUNKS_MIN * PTFS_CHUNK)
		return super_wrong(r, name, "the region is smaller than 16 MiB");
	ptfs_medium_copy(s, r->view, sizeof(*s));
	why = ptfs_super_wrong(s, r->bytes);
	return why ? super_wrong(r, name, why) : 0;
}

static int bases_read(const struct ptfs_region *r, struct ptfs_super *s, const char *name,
		      u64 *base, unsigned *tag)
{
	u64 bytes = le64(s->chunks) << PTFS_CHUNK_SHIFT;

	for (unsigned t = 0; t < PTFS_TAGS; t++) {
		base[t] = ptfs_base_decode(le64(s->base[t]), t);
		// PTFS_NOTHING is too large, too.
		if ((!t && base[t]) || base[t] > ADDRESS_MAX - bytes)
			return super_wrong(r, name, "broken base table");
	}
	if (le64(s->base_current) >= PTFS_TAGS || !base[le64(s->base_current)])
		return super_wrong(r, name, "no current base address");
	*tag = (unsigned)le64(s->base_current);
	return 0;
}

int ptfs_probe(const struct ptfs_region *r, struct ptfs_probe *out)
{
	struct ptfs_super s;
	const struct ptfs_snapshot *snap;
	u64 base[PTFS_TAGS];
	unsigned tag;
	int err = super_read(r, "image", &s);

	if (!err)
		err = bases_read(r, &s, "image", base, &tag);
	if (err)
		return err;
	snap = (const void *)((const u8 *)r->view + le64(s.snapshot_off));
	*out = (struct ptfs_probe){ .base = base[tag],
				    .bytes = le64(s.chunks) << PTFS_CHUNK_SHIFT,
				    .generation = le64(s.generation),
				    .clean = le64_get(&snap->clean) == le64(s.generation) };
	memcpy(out->uuid, s.uuid, sizeof(out->uuid));
	memcpy(out->label, s.label, sizeof(s.label));
	return 0;
}

static int region_check(const struct ptfs_region *r, const char *name)
{
	if (IS_ALIGNED(r->base.pa, PTFS_CHUNK) && r->base.pa <= ADDRESS_MAX - r->bytes)
		return 0;
	ptfs_log(PTFS_LOG_ERROR,
		 "ptfs %s: the region begins at %#llx, which is not a multiple of 2 MiB that page "
		 "tables can name",
		 name, (unsigned long long)r->base.pa);
	return -EINVAL;
}

static void locks_init(struct ptfs_fs *fs)
{
	ptfs_mutex_init(&fs->dirty_lock, PTFS_RANK_OUTER);
	ptfs_mutex_init(&fs->tx_lock, PTFS_RANK_OUTER);
	ptfs_mutex_init(&fs->cache_lock, PTFS_RANK_OUTER);
	ptfs_mutex_init(&fs->ialloc_lock, PTFS_RANK_OUTER);
	ptfs_mutex_init(&fs->alloc_lock, PTFS_RANK_INNER);
	for (unsigned h = 0; h < PTFS_HASH_HEADS; h++)
		list_init(&fs->hash[h]);
	list_init(&fs->lru);
}

static void fs_setup(struct ptfs_fs *fs, const struct ptfs_region *r, const char *name,
		     const struct ptfs_super *s, bool read_only)
{
	size_t len = min(strlen(name), sizeof(fs->name) - 1);

	memcpy(fs->name, name, len);
	fs->region = *r;
	fs->region.bytes = le64(s->chunks) << PTFS_CHUNK_SHIFT;
	fs->read_only = read_only;
	memcpy(fs->uuid, s->uuid, sizeof(fs->uuid));
	fs->chunks = le64(s->chunks);
	fs->system_bytes = le64(s->system_bytes);
	fs->journal_off = le64(s->journal_off);
	fs->chunk_map_off = le64(s->chunk_map_off);
	fs->snapshot_off = le64(s->snapshot_off);
	fs->super_copy_off = le64(s->copy_off);
	fs->generation = le64(s->generation);
	locks_init(fs);
	ptfs_rest_init(fs);
	ptfs_inode_setup(fs, &fs->itable, PTFS_INO_ITABLE);
	fs->itable.leaf_type = PTFS_CHUNK_INODE;
	fs->itable.mode = PTFS_S_IFREG;
	fs->itable.root_off = SUPER(itable_root);
	fs->itable.size = PTFS_FILE_MAX;
}

static void fs_destroy(struct ptfs_fs *fs, bool force)
{
	ptfs_cache_destroy(fs, force);
	ptfs_inode_teardown(&fs->itable);
	ptfs_segs_free(&fs->free_inodes);
	ptfs_rest_destroy(fs);
	ptfs_alloc_destroy(fs);
	ptfs_shadow_free(fs);
	ptfs_mutex_destroy(&fs->alloc_lock);
	ptfs_mutex_destroy(&fs->ialloc_lock);
	ptfs_mutex_destroy(&fs->cache_lock);
	ptfs_mutex_destroy(&fs->tx_lock);
	ptfs_mutex_destroy(&fs->dirty_lock);
	ptfs_free(fs);
}

int ptfs_dirty(struct ptfs_fs *fs)
{
	if (fs->read_only)
		return -EROFS;
	if (__atomic_load_n(&fs->dirty, __ATOMIC_ACQUIRE))
		return 0;
	ptfs_mutex_lock(&fs->dirty_lock);
	if (!fs->dirty) {
		fs->recovering = true;
		ptfs_store8_flush(fs, SUPER(generation), ++fs->generation);
		// What changes the allocation fences before it does, and that fence would do; this
		// one keeps it from mattering.
		ptfs_fence(fs);
		fs->recovering = false;
		__atomic_store_n(&fs->dirty, true, __ATOMIC_RELEASE);
	}
	ptfs_mutex_unlock(&fs->dirty_lock);
	return 0;
}

// A read-only mount does not recover. It may look at what recovery would make of the names and
// inodes, if that is asked for.
static int roll_back_for_readers(struct ptfs_fs *fs, unsigned flags)
{
	if (flags & PTFS_MOUNT_NORECOVERY) {
		int err = ptfs_journal_loadable(fs);

		if (err)
			return err;
		ptfs_log(PTFS_LOG_INFO, "ptfs %s: was not unmounted cleanly, stays so", fs->name);
		return ptfs_journal_shadow(fs);
	}
	ptfs_log(PTFS_LOG_ERROR,
		 "ptfs %s: read-only, and the image needs recovery: %s; to look all the same: "
		 "ro,norecovery",
		 fs->name,
		 ptfs_journal_open(fs) ? "a transaction is open" : "it was not unmounted");
	return -EROFS;
}

// Open transactions come first: what they roll back may be entries of any base.
static int roll_back(struct ptfs_fs *fs, unsigned flags)
{
	int err;

	if (fs->read_only)
		return roll_back_for_readers(fs, flags);
	err = ptfs_journal_loadable(fs);
	if (err)
		return err;
	ptfs_log(PTFS_LOG_INFO, "ptfs %s: was not unmounted cleanly, scanning", fs->name);
	fs->recovering = true;
	ptfs_journal_recover(fs);
	fs->recovering = false;
	return 0;
}

// Whatever the snapshot says, recovery makes it wrong; unmounting will make another one. What
// recovery changes needs no fence of its own: the next mount would do the same again, and who hands
// on what has become free fences first.
static int rebuild(struct ptfs_fs *fs)
{
	int err = fs->read_only ? 0 : ptfs_dirty(fs);

	if (err)
		return err;
	fs->recovering = !fs->read_only;
	err = ptfs_walk_all(fs, true);
	if (!err)
		ptfs_alloc_settle(fs);
	fs->recovering = false;
	return err;
}

static int root_check(struct ptfs_fs *fs)
{
	struct ptfs_inode *root;
	int err = ptfs_iget(fs, PTFS_INO_ROOT, &root);

	if (err == -ENOMEM)
		return err;
	if (err) {
		ptfs_log(PTFS_LOG_ERROR, "ptfs %s: no root directory", fs->name);
		return err == -EIO ? err : -EUCLEAN;
	}
	if (!ptfs_is(root, PTFS_S_IFDIR)) {
		ptfs_log(PTFS_LOG_ERROR, "ptfs %s: the root is not a directory", fs->name);
		err = -EUCLEAN;
	}
	ptfs_iput(root);
	return err;
}

static int fs_load(struct ptfs_fs *fs, unsigned flags)
{
	int err = ptfs_alloc_init(fs);
	bool clean;

	if (err)
		return err;
	ptfs_bad_load(fs);
	clean = !(flags & PTFS_MOUNT_SCAN) && ptfs_snapshot_valid(fs) && !ptfs_journal_open(fs);
	err = clean ? 0 : roll_back(fs, flags);
	if (err)
		return err;
	ptfs_tag_enter(fs);
	if (clean) {
		ptfs_snapshot_load(fs);
		ptfs_alloc_settle(fs);
		err = flags & PTFS_MOUNT_VERIFY ? ptfs_walk_all(fs, false)
						: ptfs_verify_inode(&fs->itable);
	} else {
		err = rebuild(fs);
	}
	if (err)
		return err;
	ptfs_journal_init(fs);
	return root_check(fs);
}

// Superblock and base table, and nothing behind them.
static int fs_open(const struct ptfs_region *r, const char *name, unsigned flags,
		   struct ptfs_fs **out)
{
	struct ptfs_super s;
	struct ptfs_fs *fs;
	int err = super_read(r, name, &s);

	if (err)
		return err;
	fs = ptfs_zalloc(sizeof(*fs));
	if (!fs)
		return -ENOMEM;
	fs_setup(fs, r, name, &s, r->read_only || (flags & PTFS_MOUNT_RDONLY) || le64(s.ro_compat));
	err = bases_read(r, &s, name, fs->base, &fs->tag_stored);
	fs->tag = fs->tag_stored;
	if (!err)
		err = region_check(&fs->region, name);
	if (err)
		fs_destroy(fs, true);
	else
		*out = fs;
	return err;
}

// All tags are taken. A mount of its own, which shows nothing to anybody, rewrites all entries for
// the newest base in the table; then the other tags are free.
static int make_room(const struct ptfs_region *r, const char *name, unsigned flags)
{
	struct ptfs_fs *fs;
	int err = fs_open(r, name, flags, &fs);

	if (err)
		return err;
	ptfs_log(PTFS_LOG_INFO, "ptfs %s: all base tags are in use, rewriting entries", name);
	err = fs_load(fs, flags);
	while (!err && ptfs_rebase_pending(fs)) {
		err = ptfs_rebase(fs, ~0u);
		if (err == 1)
			err = 0;
	}
	if (!err)
		return ptfs_unmount(fs);
	ptfs_log(PTFS_LOG_ERROR,
		 "ptfs %s: no base tag is free for address %#llx, and none can be freed: run "
		 "fsck.ptfs",
		 name, (unsigned long long)r->base.pa);
	fs_destroy(fs, true);
	return err;
}

int ptfs_mount(const struct ptfs_region *r, const char *name, unsigned flags, struct ptfs_fs **out)
{
	struct ptfs_fs *fs;
	int err;

	if ((flags & PTFS_MOUNT_NORECOVERY) && !(r->read_only || (flags & PTFS_MOUNT_RDONLY))) {
		ptfs_log(PTFS_LOG_ERROR,
			 "ptfs %s: without recovery it can be mounted read-only only", name);
		return -EINVAL;
	}
	err = fs_open(r, name, flags, &fs);
	if (!err && !ptfs_tag_find(fs)) {
		fs_destroy(fs, true);
		err = make_room(r, name, flags);
		if (!err)
			err = fs_open(r, name, flags, &fs);
		if (!err && !ptfs_tag_find(fs))
			ptfs_bug(__FILE__, __LINE__, "no base tag after a full pass");
	}
	if (err)
		return err;
	err = fs_load(fs, flags);
	if (err)
		fs_destroy(fs, true);
	else
		*out = fs;
	return err;
}

int ptfs_mount_bare(const struct ptfs_region *r, const char *name, struct ptfs_fs **out)
{
	return fs_open(r, name, 0, out);
}

// The last steps of a clean unmount: snapshot, superblock copy, and only then the mark.
static void make_clean(struct ptfs_fs *fs)
{
	if (!fs->dirty)
		return;
	ptfs_snapshot_store(fs);
	if (ptfs_loadable(fs, 0, PTFS_BLOCK)) // else the old copy is better
		ptfs_copy_nt(fs, fs->super_copy_off, ptfs_at(fs, 0, PTFS_BLOCK), PTFS_BLOCK);
	ptfs_fence(fs);
	ptfs_store8_flush(fs, fs->snapshot_off + offsetof(struct ptfs_snapshot, clean),
			  fs->generation);
	ptfs_fence(fs);
}

int ptfs_unmount(struct ptfs_fs *fs)
{
	if (ptfs_cache_busy(fs))
		return -EBUSY;
	ptfs_rest_wait(fs);
	ptfs_bad_store(fs);
	make_clean(fs);
	fs_destroy(fs, false);
	return 0;
}

void ptfs_abandon(struct ptfs_fs *fs)
{
	fs_destroy(fs, true);
}

bool ptfs_read_only(const struct ptfs_fs *fs)
{
	return fs->read_only;
}
