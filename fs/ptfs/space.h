// SPDX-License-Identifier: MIT
//
// Space inside fs/ptfs/: what is known about chunks and blocks, and who hands them out. Part of
// ptfs_internal.h, for the files of this folder only.
#pragma once

#include "fs/ptfs/ptfs.h"

#define PTFS_NOTHING (~0ull) // no offset

// ---- Space: the DRAM truth about chunks and blocks (chunk.c, alloc.c) ----
//
// Invariants
//   A1  a claimed bit has its used bit set; `used`, `claimed` and `zeroed` count the bits, and the
//       sums over all CPUs' counters are those over all chunks
//   A2  type is the type on the medium, or a store that makes it so has been flushed
//   A3  a FREE chunk has no used block and no owner. A chunk without an owner stands in its type's
//       list exactly when it has an unused block; one that is owned stands in none, and its owner
//       alone takes blocks from it, or gives it up
//   A4  the blocks of the system area are used and claimed for ever
//   A5  a FREE chunk that is known to be zero as a whole stands in zeroed_list instead
//   A6  the zero bit is set only while the block is unused, and the block is durably zero. What is
//       known to be zero is known in DRAM only, and nothing is when a mount begins
//   A7  what rests is used and claimed, and `resting` counts it, by list and type
struct ptfs_chunk {
	struct ptfs_mutex lock;    // PTFS_RANK_CHUNK
	u64 used_map[8];           // [lock]
	u64 claim_map[8];          // [lock]
	u64 zero_map[8];           // [lock]
	u16 used, claimed, zeroed; // [lock]
	u8 type;                   // [alloc_lock and lock: to read, either]
	u8 owner;                  // PTFS_OWNER_*, 0: none [alloc_lock and lock: to read, either]
	u32 nr;                    // place in the region
	struct list node;          // [alloc_lock and lock]
	void *aux; // TABLE: struct ptfs_tpage[512]; INODE: u8[8192] of inode states; made late
};

// Who takes single blocks from a chunk: each CPU has a DATA chunk, every other type has one chunk
// that all share, and a few are held for files that grow (place.c).
#define PTFS_HELD_MAX      16u
#define PTFS_SHARED_MAX    (PTFS_CHUNK_TYPES + PTFS_HELD_MAX)
#define PTFS_OWNERS        (PTFS_CPU_MAX + PTFS_SHARED_MAX)
#define PTFS_OWNER_CPU(i)  (1 + (i))
#define PTFS_OWNER_TYPE(t) (1 + PTFS_CPU_MAX + (t))
#define PTFS_OWNER_HELD(i) (1 + PTFS_CPU_MAX + PTFS_CHUNK_TYPES + (i))
_Static_assert(PTFS_OWNERS < 256, "an owner is one byte");

// What a CPU touches when it allocates and frees; a cache line of its own.
struct ptfs_cpu_space {
	struct ptfs_chunk *chunk;   // where it takes DATA blocks from [alloc_lock; read atomically]
	s64 used[PTFS_CHUNK_TYPES]; // blocks taken here minus those given back here [atomic]
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct ptfs_cpu_space) == 64, "one line");

// What has left files and rests for its epoch, by the CPU that it left them on (rest.c). A cache
// line of its own.
struct ptfs_resting {
	struct ptfs_mutex lock;  // PTFS_RANK_REST
	struct ptfs_rest *first; // in the order of their stamps [lock; read atomically as a hint]
	struct ptfs_rest *last;  // [lock]
	u32 runs;                // [lock]
	u64 blocks[PTFS_CHUNK_TYPES]; // [lock; read atomically]
} __attribute__((aligned(64)));

// ---- chunk.c ----

int ptfs_alloc_init(struct ptfs_fs *fs) __must_check; // chunk types from the medium, nothing used
void ptfs_alloc_settle(struct ptfs_fs *fs);           // end of mount: every chunk into its list
// All owners give up their chunks, and those that are empty become FREE. Before the bitmap is
// stored.
void ptfs_alloc_release(struct ptfs_fs *fs);
void ptfs_alloc_destroy(struct ptfs_fs *fs);
struct ptfs_chunk *ptfs_chunk_nr(const struct ptfs_fs *fs, u64 nr);
static inline u64 ptfs_block_off(const struct ptfs_chunk *c, unsigned block)
{
	return ((u64)c->nr << PTFS_CHUNK_SHIFT) + (u64)block * PTFS_BLOCK;
}
static inline unsigned ptfs_block_index(u64 off)
{
	return (off >> PTFS_BLOCK_SHIFT) & (PTFS_CHUNK_BLOCKS - 1);
}
static inline bool ptfs_bit(const u64 *map, unsigned i)
{
	return map[i / 64] >> (i % 64) & 1;
}
u64 ptfs_used(const struct ptfs_fs *fs, unsigned type); // blocks in use or resting
// While mounting, which no lock is needed for: mark as used what `map` says; make what belongs to
// each chunk of tables or inodes (-ENOMEM); blocks that a walk has claimed in chunks of a type;
// count anew what it has claimed, which a scan takes for used.
void ptfs_use_map(struct ptfs_fs *fs, struct ptfs_chunk *c, const u64 *map);
int ptfs_aux_prepare(struct ptfs_fs *fs) __must_check;
u64 ptfs_claimed_of(const struct ptfs_fs *fs, unsigned type);
void ptfs_claims_settle(struct ptfs_fs *fs);
int ptfs_chunk_aux_locked(struct ptfs_chunk *c) __must_check;  // alloc_lock held; -ENOMEM
u8 *ptfs_inode_state(const struct ptfs_fs *fs, u64 media_off); // aux must be there
// For alloc.c and claim.c. The chunk's lock is held:
void ptfs_use_locked(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr);
void ptfs_unuse_locked(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr);
void ptfs_claim_locked(struct ptfs_chunk *c, unsigned first, unsigned nr);
void ptfs_unclaim_locked(struct ptfs_chunk *c, unsigned first, unsigned nr);
void ptfs_count_used(struct ptfs_fs *fs, unsigned type, s64 nr);
// ... and alloc_lock, too:
void ptfs_chunk_retype(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned type);
void ptfs_chunk_own(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned owner); // 0: nobody
void ptfs_chunk_relist(struct ptfs_fs *fs, struct ptfs_chunk *c);
struct ptfs_chunk *ptfs_owned(const struct ptfs_fs *fs, unsigned owner); // a hint without a lock
// NULL, or the first invariant found broken. For tests: nobody else is inside.
const char *ptfs_alloc_verify(struct ptfs_fs *fs);

// ---- alloc.c ----

struct ptfs_new {
	u64 off;
	bool zero; // it is durably zero
	bool full; // its chunk has no unused block now
};
// A block of `type`, used and claimed, perhaps at offset `goal` (PTFS_NOTHING: anywhere). `zeros`:
// rather one that is known to be zero; else rather one that is not. -ENOSPC, -ENOMEM.
int ptfs_block_take(struct ptfs_fs *fs, unsigned type, u64 goal, bool zeros, struct ptfs_new *out)
	__must_check;
int ptfs_block_alloc(struct ptfs_fs *fs, unsigned type, u64 *off) __must_check; // not zeroed
// A whole DATA chunk, perhaps the one at offset `goal` (PTFS_NOTHING: any).
int ptfs_chunk_take(struct ptfs_fs *fs, u64 goal, bool zeros, struct ptfs_new *out) __must_check;
// The first of 512 FREE chunks that fill a GiB of physical addresses; PTFS_NOTHING: there is none.
u64 ptfs_chunk_gib(struct ptfs_fs *fs);
// A fresh chunk (`goal` as above) for a file that grows: nobody else takes blocks from it while it
// is held. Held chunks are few, so the oldest is given up. The offset of its first block;
// PTFS_NOTHING: none to be had.
u64 ptfs_chunk_hold(struct ptfs_fs *fs, u64 goal, bool zeros);
// What was never published, or has rested, is free: to be reused at once, with whatever bytes are
// in it. The one way back for blocks, table pages and chunks (nr: PTFS_CHUNK_BLOCKS). What was
// published comes here by way of rest.c.
void ptfs_space_free(struct ptfs_fs *fs, u64 off, unsigned nr);
static inline void ptfs_block_free(struct ptfs_fs *fs, u64 off)
{
	ptfs_space_free(fs, off, 1);
}
static inline void ptfs_chunk_free(struct ptfs_fs *fs, u64 off)
{
	ptfs_space_free(fs, off, PTFS_CHUNK_BLOCKS);
}

// ---- rest.c: what leaves a file ----

struct ptfs_run {
	u64 off;
	u32 nr; // blocks, all of one chunk
	u32 reserved;
};
#define PTFS_GONE_RUNS 64u

// What one call takes out of a file. On the caller's stack.
struct ptfs_gone {
	struct ptfs_inode *ip;
	u64 from, end; // bytes of the file that are being revoked; from >= end: none
	struct ptfs_rest *full;
	unsigned nr_full, n;
	struct ptfs_run run[PTFS_GONE_RUNS];
};
void ptfs_gone_init(struct ptfs_gone *g, struct ptfs_inode *ip);
// [from, end) of the file loses something: before its entries are cleared. Mapping lock held
// exclusively until ptfs_gone_finish. May be called again, for more.
void ptfs_gone_revoke(struct ptfs_gone *g, u64 from, u64 end);
// No entry names these blocks any more: cleared and written back, not yet fenced if they are being
// revoked.
void ptfs_gone_add(struct ptfs_gone *g, u64 off, unsigned nr);
void ptfs_gone_table(struct ptfs_gone *g, u64 off);
// Fence, revoke, and everything rests; free it is when its epoch has passed. Cannot fail; without
// memory it waits for the epoch.
void ptfs_gone_finish(struct ptfs_gone *g);

// What has rested long enough is free now. No lock of PTFS_RANK_REST or below held.
void ptfs_rest_poll(struct ptfs_fs *fs);
// The same for all that rests at this moment; waits for the epoch.
void ptfs_rest_wait(struct ptfs_fs *fs);
u64 ptfs_rest_blocks(const struct ptfs_fs *fs, unsigned type);
void ptfs_rest_init(struct ptfs_fs *fs);
void ptfs_rest_destroy(struct ptfs_fs *fs);       // forgets what rests
const char *ptfs_rest_verify(struct ptfs_fs *fs); // NULL, or what is wrong (A7). For tests

// ---- claim.c. They take the chunk's lock, but while everything is walked (fs->walking) ----

// Blocks [first, first + nr) of a chunk, for an entry that wants them in a chunk of `type`. NULL:
// claimed; or why not, and nothing is.
const char *ptfs_claim(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned type, unsigned first,
		       unsigned nr);
void ptfs_unclaim(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr);
// One block, while everything is walked; the chunk is known to be of the right type. False: it is
// claimed already.
static inline bool ptfs_claim_walking(struct ptfs_chunk *c, unsigned block)
{
	u64 bit = BIT(block % 64);

	return !(__atomic_fetch_or(&c->claim_map[block / 64], bit, __ATOMIC_ACQUIRE) & bit);
}
// During a scan: keep them out of use, though nobody has them.
void ptfs_quarantine(struct ptfs_chunk *c, unsigned first, unsigned nr);

// ---- prezero.c ----

// Bytes [skip, skip + len) of a new block or chunk become zero, unless they are. Durable after a
// fence.
void ptfs_zero_new(struct ptfs_fs *fs, const struct ptfs_new *b, u64 skip, u64 len);

// ---- place.c ----

// As ptfs_block_take, for the hole at `block` of a file, whose entry stands at offset `slot`, in
// the inode or in a PTE page. Mapping lock held.
int ptfs_place_block(struct ptfs_inode *ip, u64 block, u64 slot, bool in_inode, bool zeros,
		     struct ptfs_new *out) __must_check;
// Where the chunk of the 2 MiB of the file from `block` on should lie; PTFS_NOTHING: anywhere.
u64 ptfs_place_chunk(struct ptfs_inode *ip, u64 block);
