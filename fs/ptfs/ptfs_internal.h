// SPDX-License-Identifier: MIT
//
// What the files of fs/ptfs/ share with each other and with nobody else.
//
//      namei.c  file.c  falloc.c  map.c       the operations
//      dir.c dirindex.c   shrink.c            directories; taking blocks away
//      inode.c ialloc.c   table.c             in-core inodes; the tree: look up, publish, grow
//      journal.c          verify.c            transactions; trust
//      super.c reloc.c snapshot.c scan.c      mounting; another address
//      chunk.c alloc.c claim.c                space: what is where; take and give; who names it
//      rest.c prezero.c place.c               what waits for its epoch; zeros; neighbours
//      medium.c shadow.c                      reading and writing the medium, entries
//      mkfs.c  check.c                        whole images
//
// Lock order: directory lock (caller), mapping lock (home), inode lock, then one of the outer locks
// (cache_lock, ialloc_lock, grow_lock, dirty_lock, tx_lock), then the lock of what rests on one
// CPU, then alloc_lock, then a chunk's lock.
#pragma once

#include "fs/ptfs/ptfs.h"
#include "fs/ptfs/space.h"

// What is known about a table page: who may name it, and whether its contents were looked at.
#define PTFS_TP_KNOWN    BIT(0) // claimed by the entry at (owner, level, index)
#define PTFS_TP_VERIFIED BIT(1) // each of its entries is sound and claimed
#define PTFS_TP_READY    BIT(2) // and so is all below it: the MMU may walk it
#define PTFS_TP_BAD      BIT(3) // refused, for the rest of this mount
#define PTFS_TP_SOFT     BIT(4) // holds entries that only software can follow (read-only mounts)
#define PTFS_TP_DONE     BIT(5) // all below is verified, and will not become ready for that reason
struct ptfs_tpage {
	u64 owner;    // inode number
	u32 index;    // 2 MiB units from the start of the file to what it maps
	u8 level;     // of its entries
	u8 leaf_type; // chunk type of the leaves below
	u8 state;     // PTFS_TP_* [alloc_lock; read by walkers atomically]
};

#define PTFS_IN_VERIFIED      BIT(0) // root or direct entries are sound and claimed
#define PTFS_IN_BAD           BIT(1)
#define PTFS_IN_LOGGED        BIT(2) // the immutable part is broken, and the log has said so
#define PTFS_IN_DYING         BIT(3) // free on the medium, and its blocks are still being freed
#define PTFS_INODES_PER_BLOCK (PTFS_BLOCK / PTFS_INODE_BYTES)
#define PTFS_INODES_PER_CHUNK (PTFS_CHUNK_BLOCKS * PTFS_INODES_PER_BLOCK)

#define PTFS_GROUP_CHUNKS   256u // chunks that one DRAM allocation describes
#define PTFS_RESERVE_CHUNKS 2u   // that data leaves to tables and names

// An array in pieces of one page, for sizes that no single allocation gives (util.c).
struct ptfs_segs {
	void **page;
	u32 nr, cap; // pages there; slots in `page`
};
#define PTFS_SEG_BYTES PTFS_BLOCK
#define PTFS_SEGS_MAX  (KIB(128) / sizeof(void *))

// Too far from any entry, and from the word of a hole: ptfs_leaf_current says no.
#define PTFS_NO_LEAF BIT(63)

#define PTFS_HASH_HEADS 512u
#define PTFS_LRU_MAX    256u // unreferenced inodes that stay in core

struct ptfs_fs {
	// constant while mounted
	struct ptfs_region region; // bytes: of the file system, not of the region
	char name[16];
	bool read_only;
	u8 uuid[16];
	u64 chunks, system_bytes;
	u64 journal_off, chunk_map_off, snapshot_off, super_copy_off;
	u64 base[PTFS_TAGS]; // 0: free tag
	unsigned tag;   // of new entries; 0: read-only, at an address without a tag or shadowed
	u64 leaf_first; // the leaf that would name block 0; PTFS_NO_LEAF: no tag
	unsigned tag_stored;        // the current one on the medium
	bool tag_fresh;             // `tag` was free and is not entered yet
	struct ptfs_shadow *shadow; // what rolling back would change; NULL: nothing (shadow.c)
	u64 rebase_ino;             // where the pass over all entries is; one caller at a time
	bool rebase_refused;        // it met entries that cannot be rebased

	struct ptfs_mutex dirty_lock;
	bool dirty; // the clean mark is cleared: the medium may change; not in a read-only mount
		    // [dirty_lock; atomic]
	bool recovering; // journal rollback and scan may write without it; not in a read-only mount
	u64 generation;  // [dirty_lock]

	struct ptfs_mutex
		tx_lock; // a transaction is open, or mode/links/owner/parent are being read
	u64 next_txid;   // [tx_lock]

	struct ptfs_mutex alloc_lock;
	struct ptfs_chunk **groups; // the array is constant; what it holds has locks of its own
	struct list chunk_list[PTFS_CHUNK_TYPES]; // chunks with unused blocks, by type [alloc_lock]
	struct list zeroed_list;                  // FREE chunks that are zero (A5) [alloc_lock]
	u64 chunks_of[PTFS_CHUNK_TYPES];          // [alloc_lock; read atomically as a hint]
	struct ptfs_chunk
		*shared[PTFS_SHARED_MAX]; // the other owners' [alloc_lock; read atomically]
	unsigned held_next;               // of PTFS_OWNER_HELD, the oldest [alloc_lock]
	struct ptfs_cpu_space cpu[PTFS_CPU_MAX];
	struct ptfs_resting resting[PTFS_CPU_MAX];
	bool zero_wanted; // something was given back since the zeroing began its round [atomic]
	u64 zero_next;    // chunk that the zeroing goes on with [prezero.c, one caller at a time]
	bool walking;  // mounting: all CPUs verify everything, and nobody else is here [const then]
	bool scanning; // so, and what is claimed is in use: the bitmap is rebuilt [const then]
	u64 refused;   // entries and structures found bad [atomic]
	bool bad_full; // the log has said that the list of bad blocks is [dirty_lock]

	struct ptfs_mutex cache_lock;
	struct list hash[PTFS_HASH_HEADS]; // in-core inodes [cache_lock]
	struct list lru;                   // those without a reference, oldest first [cache_lock]
	u32 lru_count;                     // [cache_lock]
	u32 evicting; // inodes without links whose blocks are being freed [cache_lock; atomic]

	struct ptfs_mutex ialloc_lock;
	u64 inode_cursor;             // block of the inode table to be searched next [ialloc_lock]
	struct ptfs_segs free_inodes; // stack of free inode numbers in front of it [ialloc_lock]
	u64 free_count;               // [ialloc_lock]
	u64 inodes;                   // in use [ialloc_lock]

	struct ptfs_inode itable; // the inode table as a file
};

// The chunk of an offset inside the file system.
static inline struct ptfs_chunk *ptfs_chunk_at(const struct ptfs_fs *fs, u64 off)
{
	u64 nr = off >> PTFS_CHUNK_SHIFT;

	ptfs_assert(nr < fs->chunks);
	return &fs->groups[nr / PTFS_GROUP_CHUNKS][nr % PTFS_GROUP_CHUNKS];
}

// What is known about the table page at `off`. NULL: nothing yet.
static inline struct ptfs_tpage *ptfs_tpage(const struct ptfs_fs *fs, u64 off)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, off);
	struct ptfs_tpage *tp = c->type == PTFS_CHUNK_TABLE ? c->aux : NULL;

	return tp ? tp + ptfs_block_index(off) : NULL;
}

// ---- util.c ----

// Make room for pages [0, nr). 0 or -ENOMEM; on failure what was there stays.
int ptfs_segs_grow(struct ptfs_segs *s, u32 nr) __must_check;
void ptfs_segs_free(struct ptfs_segs *s);
// Element `i` of `bytes` size, which divides the page size.
static inline void *ptfs_segs_at(const struct ptfs_segs *s, u64 i, u32 bytes)
{
	u32 per = PTFS_SEG_BYTES / bytes;

	return (u8 *)s->page[i / per] + i % per * bytes;
}

// ---- shadow.c ----

// As ptfs_at, while fs->shadow is set.
const void *ptfs_shadow_at(const struct ptfs_fs *fs, u64 off, u64 len);
// The word at `off`, in a chunk of inodes or directories, reads as `value` from now on. -ENOMEM.
int ptfs_shadow_set(struct ptfs_fs *fs, u64 off, u64 value) __must_check;
void ptfs_shadow_free(struct ptfs_fs *fs);

// ---- medium.c: every read and write of the medium ----

static inline void ptfs_check_range(const struct ptfs_fs *fs, u64 off, u64 len)
{
	ptfs_assert(off < fs->region.bytes && len <= fs->region.bytes - off);
}
// The same for 8 bytes: a region has more than that.
static inline void ptfs_check_word(const struct ptfs_fs *fs, u64 off)
{
	ptfs_assert(off <= fs->region.bytes - 8);
}
// Bytes [off, off + len) as a const pointer; the range lies in the file system.
static inline const void *ptfs_at(const struct ptfs_fs *fs, u64 off, u64 len)
{
	ptfs_check_range(fs, off, len);
	if (unlikely(fs->shadow))
		return ptfs_shadow_at(fs, off, len);
	return (const u8 *)fs->region.view + off;
}
static inline u64 ptfs_word(const struct ptfs_fs *fs, u64 off)
{
	ptfs_check_word(fs, off);
	if (unlikely(fs->shadow))
		return le64_get(ptfs_shadow_at(fs, off, 8));
	return le64_get((const void *)((const u8 *)fs->region.view + off));
}
static inline phys_t ptfs_pa(const struct ptfs_fs *fs, u64 off)
{
	return PHYS(fs->region.base.pa + off);
}

void ptfs_store8(struct ptfs_fs *fs, u64 off, u64 value);
void ptfs_store8_flush(struct ptfs_fs *fs, u64 off, u64 value);
u64 ptfs_cas8(struct ptfs_fs *fs, u64 off, u64 old, u64 value);
void ptfs_flush(struct ptfs_fs *fs, u64 off, u64 len);
void ptfs_fence(struct ptfs_fs *fs);
void ptfs_copy_nt(struct ptfs_fs *fs, u64 off, const void *src, u64 len);
// Make bytes zero. Lines that read as zero are written back, not stored, so a sparse image stays
// sparse. Durable after a fence. `len` may be 0.
void ptfs_zero(struct ptfs_fs *fs, u64 off, u64 len);

// ---- Entries (medium.c) ----

struct ptfs_ref {
	u64 off; // of the block, chunk or table page named
	bool leaf;
	bool soft; // P clear, or a tag that is not current: not for the MMU as it stands
};
// What the entry `e` of `level` (root: without its level bits) names. NULL, or why it is refused.
const char *ptfs_entry_decode(const struct ptfs_fs *fs, u64 e, int level, struct ptfs_ref *out);
// Is it a 4 KiB leaf as the MMU may have it, P set and with the current tag? Then *off is the block
// that it names. Nearly all are; of the others ptfs_entry_decode tells more.
static inline bool ptfs_leaf_current(const struct ptfs_fs *fs, u64 e, u64 *off)
{
	// Any bit that is not as it should be makes the distance too large, or not a multiple of a
	// block.
	*off = e - fs->leaf_first;
	return IS_ALIGNED(*off, PTFS_BLOCK) && *off < fs->region.bytes;
}
// The offset of the table page that `e` names, an entry as it should be; PTFS_NOTHING: it is not.
static inline u64 ptfs_word_table(const struct ptfs_fs *fs, u64 e)
{
	u64 off = e - fs->leaf_first + PTFS_E_LEAF - PTFS_E_TABLE;

	return IS_ALIGNED(off, PTFS_BLOCK) && off < fs->region.bytes ? off : PTFS_NOTHING;
}
// An entry of `level` for `off`, P set, with the current tag.
u64 ptfs_entry_table(const struct ptfs_fs *fs, u64 off);
u64 ptfs_entry_leaf(const struct ptfs_fs *fs, u64 off, int level);
static inline int ptfs_root_level(u64 root)
{
	return (int)((root & PTFS_E_LEVEL) >> PTFS_E_LEVEL_SHIFT);
}
static inline bool ptfs_root_level_valid(u64 root)
{
	int level = ptfs_root_level(root);

	return level >= PTFS_ROOT_LEVEL_MIN && level <= PTFS_ROOT_LEVEL_MAX;
}
static inline u64 ptfs_root_make(u64 e, int level)
{
	return e ? e | (u64)level << PTFS_E_LEVEL_SHIFT : 0;
}
// The base address that word `t` of a base table says, 0 if the tag is free, PTFS_NOTHING if
// broken.
u64 ptfs_base_decode(u64 word, unsigned t);
u64 ptfs_base_encode(u64 base, unsigned t);

// A word of the base table, or its current tag, in the superblock: these change also while the
// image is clean. Flushed.
void ptfs_base_store(struct ptfs_fs *fs, u64 off, u64 value);

// A word of the superblock's block, there and in the copy. Flushed.
void ptfs_super_store(struct ptfs_fs *fs, u64 off, u64 value);
// One log line about something impossible on the medium; counts it. Returns ptfs_damage's errno.
int ptfs_refuse(struct ptfs_fs *fs, const struct ptfs_inode *ip, const char *what, u64 entry_off,
		int level, u64 index, u64 value) __must_check;

// ---- merge.c ----

// Block `b` was published at `block`: perhaps it completes what can be a 2 MiB leaf.
void ptfs_merge_mark(struct ptfs_inode *ip, u64 block, const struct ptfs_new *b);
void ptfs_merge_marked(struct ptfs_inode *ip); // takes the mapping lock exclusively
// At the end of a call that may have published blocks, with no lock held.
static inline void ptfs_merge(struct ptfs_inode *ip)
{
	if (unlikely(__atomic_load_n(&ip->merge_mark, __ATOMIC_RELAXED)))
		ptfs_merge_marked(ip);
}

// ---- verify.c ----

// Root or direct entries of an inode, once per mount. Claims what they name. -EUCLEAN: refused,
// -ENOMEM.
int ptfs_verify_inode(struct ptfs_inode *ip) __must_check;
// The table page at `off` as the one with entries of `level` that maps the file from `va` on.
int ptfs_verify_table(struct ptfs_inode *ip, u64 off, int level, u64 va) __must_check;
// Verify the page and all below it that maps part of [from, end). *budget counts pages verified or
// visited down to 0. 0: ready as far as asked; 1: budget used up.
int ptfs_ready_table(struct ptfs_inode *ip, u64 off, int level, u64 va, u64 from, u64 end,
		     unsigned *budget) __must_check;
bool ptfs_entry_ready(const struct ptfs_fs *fs, u64 e, int level);
// Of words that are entries of the lowest level: the first one from `i` on that is not zero, or
// `end`; how many from w[0] on, at most `most`, name block after block: each the word before it and
// one block, so that what was found right about the first is right about all.
unsigned ptfs_words_skip(const le64_t *w, unsigned i, unsigned end);
unsigned ptfs_words_run(const le64_t *w, unsigned most);

// ---- quick.c ----

// The work of ptfs_verify_inode and ptfs_map_ready while a scan walks, for an inode as nearly all
// are; *state: its own. False: nothing was done, and they have to do it.
bool ptfs_scan_quick(struct ptfs_inode *ip, u64 root, u8 *state);

// ---- table.c: the tree of one file ----

struct ptfs_walk {
	struct pt_space space;
	struct pt_cursor c;
	struct ptfs_inode *ip;
	pte_t root; // a copy as on the medium: the root word may grow, and this subtree stays
	int err;    // why `table` refused
};

// An entry or the root word at `slot` was stored: copies of the file's tables follow. Where
// something was lost: in a revoke of what the slot maps; the root: of the whole file.
void ptfs_entry_changed(struct ptfs_inode *ip, u64 slot);

// False: there is no tree (the direct entries are the file). If the root word cannot be loaded
// `err` says so, and the walk finds a hole.
bool ptfs_walk_init(struct ptfs_walk *w, struct ptfs_inode *ip);
u64 ptfs_walk_slot(const struct ptfs_walk *w); // offset of the current entry

struct ptfs_extent {
	u64 off;    // of the block asked for; meaningless for a hole
	u64 blocks; // that follow on from it, itself included
	int level;  // PT_PMD: inside a 2 MiB leaf
	bool hole;
};
// What stands at `block`. Of a run of 4 KiB entries at most the first `most` are looked at, which
// is all that a short read pays for; a larger unit comes whole. Mapping lock held (any mode), or
// the file belongs to the caller alone.
#define PTFS_WHOLE_RUN (~0ull)
int ptfs_map_extent(struct ptfs_inode *ip, u64 block, u64 most, struct ptfs_extent *x) __must_check;
// The same for those who come again and again: remembers the PTE page. Not for who takes blocks
// away.
int ptfs_map_find(struct ptfs_inode *ip, u64 block, u64 most, struct ptfs_extent *x) __must_check;
// Before a table page goes away or elsewhere, or blocks that have failed (map.c, ptfs_has_bad).
// Mapping lock held exclusively, or the file belongs to the caller alone.
void ptfs_map_forget(struct ptfs_inode *ip);
// The blocks that `len` bytes touch, the first of them from `skip` on.
static inline u64 ptfs_blocks_touched(u64 skip, u64 len)
{
	return DIV_ROUND_UP(skip + len, PTFS_BLOCK);
}
// Publish a new zeroed unit of `level` (PT_PTE: block, PT_PMD: chunk) in the hole at `block`.
// -EEXIST: no such hole any more, look again. Mapping lock held.
int ptfs_map_zeroed(struct ptfs_inode *ip, u64 block, int level) __must_check;
// Publish a new unit of `level` that holds `len` bytes of `from` at `skip`, zeros elsewhere. *done:
// bytes taken. -EEXIST: nothing was taken, look again.
int ptfs_map_filled(struct ptfs_inode *ip, u64 block, int level, struct ptfs_iter *from, u64 skip,
		    u64 len, u64 *done) __must_check;
u64 ptfs_map_count(struct ptfs_inode *ip); // leaf blocks
// A new table page, zeroed and owned by (ip, level, va), not yet durable and named by nobody.
// -ENOSPC, -ENOMEM.
int ptfs_table_new(struct ptfs_inode *ip, int level, u64 va, bool ready, u64 *off) __must_check;
void ptfs_table_drop(struct ptfs_fs *fs, u64 off); // one that was never published
// What is known about it no longer holds.
void ptfs_table_unknown(struct ptfs_fs *fs, u64 off);
// The 2 MiB leaf around `block` becomes a PTE page that maps the same blocks. Mapping lock held
// exclusively. -ENOSPC, -ENOMEM: nothing has changed.
int ptfs_map_split(struct ptfs_inode *ip, u64 block) __must_check;

// Of one word: the PTE page found last, its number on the medium above, 1 + its place in the file
// below. So 0 is the page of no place.
#define PTFS_PTE_PLACE_BITS 19
_Static_assert(PTFS_FILE_MAX >> PTFS_CHUNK_SHIFT < BIT(PTFS_PTE_PLACE_BITS), "every place fits");

static inline bool ptfs_pte_page(const struct ptfs_inode *ip, u64 place, u64 *off)
{
	u64 word = __atomic_load_n(&ip->pte_page, __ATOMIC_ACQUIRE);

	*off = word >> PTFS_PTE_PLACE_BITS << PTFS_BLOCK_SHIFT;
	return (word & (BIT(PTFS_PTE_PLACE_BITS) - 1)) == place + 1;
}

// The same answer as ptfs_map_find() for one block, where nothing is left to do: its word is near,
// and what it names is durable and at its present address. False: ask ptfs_map_find.
static inline bool ptfs_map_quick(const struct ptfs_inode *ip, u64 block, u64 *off)
{
	const u64 direct = ip->media_off + offsetof(struct ptfs_dinode, direct);
	const u8 *view = ip->fs->region.view;
	u64 page;

	// Files with blocks that are known to have failed have no such page (ptfs_map_find), but
	// for those that were remembered and not met since: who stores asks for ptfs_bad_count
	// first.
	if (likely(ptfs_pte_page(ip, block / PT_ENTRIES, &page)))
		page += 8 * (block % PT_ENTRIES);
	else if (block < PTFS_DIRECT && likely(!ptfs_bad_count()) &&
		 !le64_get((const le64_t *)(const void *)(view + ip->root_off)))
		page = direct + 8 * block;
	else
		return false;
	return ptfs_leaf_current(ip->fs, le64_get((const le64_t *)(const void *)(view + page)),
				 off);
}

// There is nothing at `block`, and the page of its entry is near. False: perhaps.
static inline bool ptfs_map_hole_quick(const struct ptfs_inode *ip, u64 block)
{
	u64 page;

	return ptfs_pte_page(ip, block / PT_ENTRIES, &page) &&
	       !ptfs_word(ip->fs, page + 8 * (block % PT_ENTRIES));
}

// ---- file.c ----

// Zero what exists of [from, to), but for blocks that are known to have failed. Not fenced. Mapping
// and inode lock held.
int ptfs_zero_existing(struct ptfs_inode *ip, u64 from, u64 to) __must_check;
// Would a 2 MiB leaf fit at `block`, where x begins, for a request of `blocks`?
bool ptfs_chunk_fits(u64 block, u64 blocks, const struct ptfs_extent *x);

// ---- shrink.c ----

// A 2 MiB leaf that begins before byte `at` (a block multiple) and reaches beyond it becomes 512
// small ones; no other leaf changes. Mapping lock held exclusively. -ENOSPC, -ENOMEM, -EUCLEAN:
// nothing was changed.
int ptfs_map_part(struct ptfs_inode *ip, u64 at) __must_check;
// Take every block at or beyond `from` bytes (a block multiple) out of the tree, then shrink it.
// Mapping lock held exclusively. -EUCLEAN: a table on the way is bad; then nothing was changed.
int ptfs_map_cut(struct ptfs_inode *ip, u64 from) __must_check;
// Take the blocks of [from, end) (block multiples) out of the tree, and tables that have become
// empty. 2 MiB leaves at the edges are split; without a table page for that their part is zeroed in
// place (not fenced). Mapping and inode lock held exclusively. -EUCLEAN: nothing was changed, or no
// more than the first part.
int ptfs_map_punch(struct ptfs_inode *ip, u64 from, u64 end) __must_check;
// Take off top levels that are not needed.
void ptfs_map_tidy(struct ptfs_inode *ip);
// Free all blocks of an inode whose mode_links are durably 0.
void ptfs_map_release(struct ptfs_inode *ip);

// ---- collapse.c ----

// Take [from, from + len) out of the file and move up what follows; the size goes to size - len.
// One transaction. Block multiples, inside the size. Mapping and inode lock held exclusively. Every
// error leaves the file as it was.
int ptfs_map_collapse(struct ptfs_inode *ip, u64 from, u64 len) __must_check;

// ---- journal.c ----

struct ptfs_tx {
	struct ptfs_fs *fs;
	unsigned n;
	struct {
		u64 off, value;
	} change[PTFS_TX_RECORDS];
};
// begin takes tx_lock, commit makes all changes at once and drops it. Nothing in between can fail.
// What the words lead to is durable before them if there are at least two; before a single one
// nothing is fenced (journal.c).
void ptfs_tx_begin(struct ptfs_tx *tx, struct ptfs_fs *fs);
void ptfs_tx_set(struct ptfs_tx *tx, u64 off, u64 value);
void ptfs_tx_commit(struct ptfs_tx *tx);
// 0, or ptfs_damage's errno with a log line: a slot's memory has failed.
int ptfs_journal_loadable(const struct ptfs_fs *fs) __must_check;
bool ptfs_journal_open(const struct ptfs_fs *fs); // some transaction needs to be rolled back
void ptfs_journal_recover(struct ptfs_fs *fs);
// The same for readers only: the medium stays as it is. -ENOMEM.
int ptfs_journal_shadow(struct ptfs_fs *fs) __must_check;
void ptfs_journal_init(struct ptfs_fs *fs); // finds the next transaction number

// ---- reloc.c ----

// Choose the tag for the address of the region. False: a writable mount, and all tags are taken.
bool ptfs_tag_find(struct ptfs_fs *fs);
// Make it current on the medium, durably. After the rollback of transactions, before anything else.
void ptfs_tag_enter(struct ptfs_fs *fs);

// ---- super.c, snapshot.c, scan.c, mkfs.c ----

// Before the first change of every call: clears the clean mark, once. -EROFS.
int ptfs_dirty(struct ptfs_fs *fs) __must_check;
// For repair: superblock and base table are sound, and nothing else is looked at: no chunk types,
// no recovery. Ends with ptfs_abandon.
int ptfs_mount_bare(const struct ptfs_region *r, const char *name, struct ptfs_fs **out)
	__must_check;
// NULL if the superblock is sound for a region of that size, else what is wrong.
const char *ptfs_super_wrong(const struct ptfs_super *s, u64 bytes);
// The layout that follows from the number of chunks alone.
void ptfs_layout(struct ptfs_super *s, u64 chunks);
bool ptfs_snapshot_valid(const struct ptfs_fs *fs);
void ptfs_snapshot_load(struct ptfs_fs *fs);
void ptfs_snapshot_store(struct ptfs_fs *fs);
// Verify everything that can be reached. `scan`: and rebuild what is in use from it, which is
// recovery. Things refused are logged and counted; -EUCLEAN: no inode table, -ENOMEM.
int ptfs_walk_all(struct ptfs_fs *fs, bool scan) __must_check;

// ---- inode.c, ialloc.c ----

void ptfs_inode_setup(struct ptfs_fs *fs, struct ptfs_inode *ip, u64 ino);
void ptfs_inode_teardown(struct ptfs_inode *ip);
void ptfs_cache_destroy(struct ptfs_fs *fs, bool force);
bool ptfs_cache_busy(struct ptfs_fs *fs);
// Offset of inode `ino` on the medium; -ENOENT: its block is a hole.
int ptfs_inode_locate(struct ptfs_fs *fs, u64 ino, u64 *off) __must_check;
// NULL if the inode's immutable part and its fields are sound, else what is wrong.
// Words from root on are not looked at.
const char *ptfs_inode_wrong(const struct ptfs_dinode *d, u64 ino);
// The two halves of that: the immutable part, and the fields by their values.
const char *ptfs_inode_wrong_head(const struct ptfs_dinode *d, u64 ino);
const char *ptfs_inode_wrong_fields(u64 mode_links, u64 size, u64 flags);
// Says so in the log, once a mount for each inode. Returns -EUCLEAN.
int ptfs_inode_refuse(struct ptfs_fs *fs, u64 ino, u64 off, const char *why) __must_check;
// Blocks of what kind a file of this mode has; 0: none.
u8 ptfs_leaf_type(u32 mode, u64 size);
static inline u64 ptfs_inode_word(const struct ptfs_inode *ip, size_t field)
{
	return ip->media_off + field;
}
#define PTFS_FIELD(ip, f) ptfs_inode_word(ip, offsetof(struct ptfs_dinode, f))
static inline u64 ptfs_pack(u32 lo, u32 hi)
{
	return (u64)hi << 32 | lo;
}
static inline bool ptfs_is(const struct ptfs_inode *ip, u32 type)
{
	return (ip->mode & PTFS_S_IFMT) == type;
}
static inline u64 ptfs_size(const struct ptfs_inode *ip)
{
	return __atomic_load_n(&ip->size, __ATOMIC_ACQUIRE);
}
// Store the size, durably. Inode lock held.
void ptfs_size_set(struct ptfs_inode *ip, u64 size);
// mtime and ctime := now, stored and flushed but not fenced. Inode lock held.
void ptfs_times_set(struct ptfs_inode *ip, bool modified);

// A new inode of the given kind, in core with one reference, free on the medium until mode_links is
// set by the transaction that names it. `target` as in ptfs_create_args.
int ptfs_inode_new(struct ptfs_fs *fs, const struct ptfs_create_args *a, u64 parent,
		   struct ptfs_inode **out) __must_check;
// The number may be used again, and nothing is known any more about the inode at `media_off` (0:
// nothing was). Takes ialloc_lock.
void ptfs_inode_number_free(struct ptfs_fs *fs, u64 ino, u64 media_off);
void ptfs_ialloc_count(struct ptfs_fs *fs, s64 delta);

// ---- dir.c, dirindex.c. The directory lock is held ----

struct ptfs_dir_slot {
	u64 off; // of the record on the medium
	u32 pos; // its place in the directory, in units
	u32 units, hash;
};
// Index of the directory's names, made at first use. Also the place where free space is remembered.
int ptfs_dir_index_make(struct ptfs_inode *dir) __must_check;
static inline __must_check int ptfs_dir_open(struct ptfs_inode *dir)
{
	return likely(dir->index) ? 0 : ptfs_dir_index_make(dir);
}
void ptfs_dir_forget(struct ptfs_inode *dir);
// -ENOENT: then of the slot only the hash is set. *ino as the record says.
int ptfs_dir_find(struct ptfs_inode *dir, const char *name, size_t len, struct ptfs_dir_slot *slot,
		  u64 *ino) __must_check;
// A free record with this name in it: the caller's transaction stores the ino. All memory and space
// is taken here. Afterwards call _added; without that the record stays free. slot->hash is that of
// the name already.
int ptfs_dir_prepare(struct ptfs_inode *dir, const char *name, size_t len, unsigned type,
		     struct ptfs_dir_slot *slot) __must_check;
void ptfs_dir_added(struct ptfs_inode *dir, const struct ptfs_dir_slot *slot);
// The record's ino has become 0.
void ptfs_dir_removed(struct ptfs_inode *dir, const struct ptfs_dir_slot *slot);
bool ptfs_dir_is_empty(struct ptfs_inode *dir);
u32 ptfs_name_hash(const char *name, size_t len);

// One record of a directory block, validated. `units` is never 0 here.
struct ptfs_record {
	unsigned unit, units; // place in the block
	u64 ino;              // 0: free
	u64 head;
	const char *name;
	unsigned name_bytes, type;
};
// The record at `unit` of `block`; NULL or what is wrong with it.
const char *ptfs_record_read(const void *block, unsigned unit, struct ptfs_record *out);

struct ptfs_index_node {
	u32 hash;
	u32 pos;  // in units
	u32 next; // node number + 1
	u32 reserved;
};
struct ptfs_dir_index {
	struct ptfs_segs heads;       // u32 node number + 1, a power of two of pages
	struct ptfs_segs nodes;       // struct ptfs_index_node
	struct ptfs_segs used;        // u64 per block: a bit for each unit that a live record has
	u32 nr_nodes;                 // nodes made
	u32 free_node;                // node number + 1
	u32 live;                     // names
	u32 blocks;                   // directory blocks
	u32 hint[PTFS_DIR_UNITS + 1]; // no block below hint[u] has a run of u units
	u32 reserved_node;            // taken by prepare, number + 1
};
int ptfs_index_create(struct ptfs_dir_index **out) __must_check;
void ptfs_index_free(struct ptfs_dir_index *x);
int ptfs_index_reserve(struct ptfs_dir_index *x) __must_check;    // one node; -ENOMEM
void ptfs_index_add(struct ptfs_dir_index *x, u32 hash, u32 pos); // uses the reserved node
void ptfs_index_del(struct ptfs_dir_index *x, u32 hash, u32 pos);
// First and following positions with that hash; false: no more. *it starts at 0.
bool ptfs_index_next(const struct ptfs_dir_index *x, u32 hash, u32 *it, u32 *pos);
int ptfs_index_blocks(struct ptfs_dir_index *x, u32 blocks) __must_check; // room for their units
// The record of `units` at `pos` has come to life, or is dead.
void ptfs_index_use(struct ptfs_dir_index *x, u32 pos, unsigned units);
void ptfs_index_unuse(struct ptfs_dir_index *x, u32 pos, unsigned units);
// The first block with a run of `units` free units, *unit: where the run begins, which is where a
// record begins. x->blocks: there is none.
u32 ptfs_index_run_find(struct ptfs_dir_index *x, unsigned units, unsigned *unit);

#include "fs/ptfs/failed.h"
