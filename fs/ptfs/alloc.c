// SPDX-License-Identifier: MIT
//
// What: taking blocks and chunks, and giving them back.
// Not here: the records of chunks and their invariants A1-A6 (chunk.c), where a file's next block
// should lie (place.c).
//
//      a block is taken from the chunk that the CPU owns            the chunk's lock, nothing else
//      the chunk is full: another one; the chunk changes its list   alloc_lock, then the chunk's
//
// The order in which DATA chunks are looked for keeps whole ones whole: first the goal, then the
// CPU's own chunk, a broken one that nobody owns, a FREE one, and before -ENOSPC what is held for
// growing files and what other CPUs own.
//
// Locking: as chunk.c says. An owner is only a hint found without a lock; the chunk's lock decides.
// Failure: -ENOSPC comes after what rests (rest.c) was waited for, and leaves everything as it was.
// Data leaves two chunks to tables and names.
#include "fs/ptfs/ptfs_internal.h"

// ---- One chunk. Its lock is held ----

// The first unused block, rather of the kind asked for. There is one.
static unsigned find_unused(const struct ptfs_chunk *c, bool zeros)
{
	unsigned wanted = zeros ? c->zeroed : PTFS_CHUNK_BLOCKS - c->used - c->zeroed;

	for (unsigned i = 0; i < ARRAY_SIZE(c->used_map); i++) {
		u64 m = ~c->used_map[i];

		if (wanted)
			m &= zeros ? c->zero_map[i] : ~c->zero_map[i];
		if (m)
			return i * 64 + (unsigned)__builtin_ctzll(m);
	}
	ptfs_bug(__FILE__, __LINE__, "no unused block in a chunk that counts one");
}

static void take_block(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned block,
		       struct ptfs_new *out)
{
	u64 m = BIT(block % 64);

	c->used_map[block / 64] |= m;
	c->claim_map[block / 64] |= m;
	c->used++;
	c->claimed++;
	out->off = ptfs_block_off(c, block);
	out->zero = c->zero_map[block / 64] & m;
	out->full = c->used == PTFS_CHUNK_BLOCKS;
	if (out->zero) {
		c->zero_map[block / 64] &= ~m;
		c->zeroed--;
	}
	ptfs_count_used(fs, c->type, 1);
}

// From the chunk of `owner`, if it still owns it and there is room.
static bool take_owned(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned owner, bool zeros,
		       struct ptfs_new *out)
{
	bool ok;

	ptfs_mutex_lock(&c->lock);
	ok = c->owner == owner && c->used < PTFS_CHUNK_BLOCKS;
	if (ok)
		take_block(fs, c, find_unused(c, zeros), out);
	ptfs_mutex_unlock(&c->lock);
	return ok;
}

static bool goal_is_free(const struct ptfs_chunk *c, unsigned type, unsigned block)
{
	return c->type == type && !ptfs_bit(c->used_map, block) &&
	       (c->owner == 0 || c->owner > PTFS_CPU_MAX || c->owner == PTFS_OWNER_CPU(ptfs_cpu()));
}

// The block at `goal`, unless it is used, or its chunk is another CPU's: neighbours are good, but
// not worth sharing a cache line for. The last block of a chunk without an owner changes a list,
// and is taken with alloc_lock held, too.
static bool take_goal(struct ptfs_fs *fs, unsigned type, u64 goal, struct ptfs_new *out)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, goal);
	unsigned block = ptfs_block_index(goal);
	bool ok, last;

	ptfs_mutex_lock(&c->lock);
	ok = goal_is_free(c, type, block);
	last = ok && !c->owner && c->used == PTFS_CHUNK_BLOCKS - 1;
	if (ok && !last)
		take_block(fs, c, block, out);
	ptfs_mutex_unlock(&c->lock);
	if (!last)
		return ok;
	ptfs_mutex_lock(&fs->alloc_lock);
	ptfs_mutex_lock(&c->lock);
	ok = goal_is_free(c, type, block);
	if (ok)
		take_block(fs, c, block, out);
	ptfs_chunk_relist(fs, c);
	ptfs_mutex_unlock(&c->lock);
	ptfs_mutex_unlock(&fs->alloc_lock);
	return ok;
}

// ---- Among all chunks. alloc_lock is held, no chunk's ----

// FREE chunks that a request of this type must leave: data never takes the room of tables and
// names.
static u64 chunks_kept(unsigned type)
{
	return type == PTFS_CHUNK_DATA ? PTFS_RESERVE_CHUNKS : 0;
}

// A chunk that is owned and empty counts as room for data only. When FREE ones run short it is
// FREE.
static void reclaim_empty(struct ptfs_fs *fs)
{
	for (unsigned owner = 1; owner <= PTFS_OWNERS; owner++) {
		struct ptfs_chunk *c = ptfs_owned(fs, owner);

		if (!c)
			continue;
		ptfs_mutex_lock(&c->lock);
		if (!c->used) {
			ptfs_chunk_own(fs, c, 0);
			ptfs_chunk_retype(fs, c, PTFS_CHUNK_FREE);
		}
		ptfs_mutex_unlock(&c->lock);
	}
}

static bool free_is_short(const struct ptfs_fs *fs)
{
	return __atomic_load_n(&fs->chunks_of[PTFS_CHUNK_FREE], __ATOMIC_RELAXED) <=
	       PTFS_RESERVE_CHUNKS;
}

// A FREE chunk becomes one of `type`: the one at `goal`, if it is FREE.
static struct ptfs_chunk *chunk_from_free(struct ptfs_fs *fs, unsigned type, u64 goal, bool zeros)
{
	struct list *head = zeros ? &fs->zeroed_list : &fs->chunk_list[PTFS_CHUNK_FREE];
	struct ptfs_chunk *c;

	if (free_is_short(fs))
		reclaim_empty(fs);
	if (fs->chunks_of[PTFS_CHUNK_FREE] <= chunks_kept(type))
		return NULL;
	if (list_empty(head))
		head = zeros ? &fs->chunk_list[PTFS_CHUNK_FREE] : &fs->zeroed_list;
	c = list_entry(head->next, struct ptfs_chunk, node);
	if (goal >> PTFS_CHUNK_SHIFT < fs->chunks &&
	    ptfs_chunk_at(fs, goal)->type == PTFS_CHUNK_FREE)
		c = ptfs_chunk_at(fs, goal);
	ptfs_mutex_lock(&c->lock);
	ptfs_chunk_retype(fs, c, type);
	ptfs_mutex_unlock(&c->lock);
	return c;
}

#define GIB_CHUNKS (PUD_SIZE / PTFS_CHUNK)

static bool gib_is_free(const struct ptfs_fs *fs, u64 first)
{
	for (u64 nr = first; nr < first + GIB_CHUNKS; nr++)
		if (ptfs_chunk_nr(fs, nr)->type != PTFS_CHUNK_FREE)
			return false;
	return true;
}

u64 ptfs_chunk_gib(struct ptfs_fs *fs)
{
	u64 nr = (-fs->region.base.pa & (PUD_SIZE - 1)) / PTFS_CHUNK, goal = PTFS_NOTHING;

	ptfs_mutex_lock(&fs->alloc_lock);
	for (; goal == PTFS_NOTHING && nr + GIB_CHUNKS <= fs->chunks; nr += GIB_CHUNKS)
		if (gib_is_free(fs, nr))
			goal = nr << PTFS_CHUNK_SHIFT;
	ptfs_mutex_unlock(&fs->alloc_lock);
	return goal;
}

// A DATA chunk with room that is held, the oldest first, or another CPU's.
static struct ptfs_chunk *chunk_steal(struct ptfs_fs *fs)
{
	unsigned owner[PTFS_HELD_MAX + PTFS_CPU_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < PTFS_HELD_MAX; i++)
		owner[n++] = PTFS_OWNER_HELD((fs->held_next + i) % PTFS_HELD_MAX);
	for (unsigned i = 0; i < PTFS_CPU_MAX; i++)
		owner[n++] = PTFS_OWNER_CPU(i);
	for (unsigned i = 0; i < n; i++) {
		struct ptfs_chunk *c = ptfs_owned(fs, owner[i]);
		bool room;

		if (!c)
			continue;
		ptfs_mutex_lock(&c->lock);
		ptfs_chunk_own(fs, c, 0);
		room = c->used < PTFS_CHUNK_BLOCKS;
		ptfs_mutex_unlock(&c->lock);
		if (room)
			return c;
	}
	return NULL;
}

static struct ptfs_chunk *chunk_pick(struct ptfs_fs *fs, unsigned type, bool zeros)
{
	struct ptfs_chunk *c;

	if (!list_empty(&fs->chunk_list[type]))
		return list_entry(fs->chunk_list[type].next, struct ptfs_chunk, node);
	c = chunk_from_free(fs, type, PTFS_NOTHING, zeros);
	return c || type != PTFS_CHUNK_DATA ? c : chunk_steal(fs);
}

// The owner's chunk is full, or it has none.
static int take_slowly(struct ptfs_fs *fs, unsigned type, unsigned owner, bool zeros,
		       struct ptfs_new *out)
{
	struct ptfs_chunk *c;
	int err = -ENOSPC;

	ptfs_mutex_lock(&fs->alloc_lock);
	c = ptfs_owned(fs, owner);
	if (c && take_owned(fs, c, owner, zeros, out)) { // somebody was faster
		ptfs_mutex_unlock(&fs->alloc_lock);
		return 0;
	}
	if (c) {
		ptfs_mutex_lock(&c->lock);
		ptfs_chunk_own(fs, c, 0);
		ptfs_mutex_unlock(&c->lock);
	}
	c = chunk_pick(fs, type, zeros);
	if (c)
		err = ptfs_chunk_aux_locked(c);
	if (!err) {
		ptfs_mutex_lock(&c->lock);
		ptfs_chunk_own(fs, c, owner);
		take_block(fs, c, find_unused(c, zeros), out);
		ptfs_mutex_unlock(&c->lock);
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
	return err;
}

static int take_any(struct ptfs_fs *fs, unsigned type, u64 goal, bool zeros, struct ptfs_new *out)
{
	unsigned owner =
		type == PTFS_CHUNK_DATA ? PTFS_OWNER_CPU(ptfs_cpu()) : PTFS_OWNER_TYPE(type);
	struct ptfs_chunk *c;

	if (goal != PTFS_NOTHING && take_goal(fs, type, goal, out))
		return 0;
	c = ptfs_owned(fs, owner);
	if (likely(c && take_owned(fs, c, owner, zeros, out)))
		return 0;
	ptfs_rest_poll(fs);
	return take_slowly(fs, type, owner, zeros, out);
}

// A block whose memory has failed is in use from now on, and nobody's.
static void retire(struct ptfs_fs *fs, u64 off)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, off);

	ptfs_mutex_lock(&c->lock);
	ptfs_unclaim_locked(c, ptfs_block_index(off), 1);
	ptfs_mutex_unlock(&c->lock);
}

// One whose memory works.
static int take_once(struct ptfs_fs *fs, unsigned type, u64 goal, bool zeros, struct ptfs_new *out)
{
	int err = take_any(fs, type, goal, zeros, out);

	while (!err && ptfs_is_bad(fs, out->off, PTFS_BLOCK)) {
		retire(fs, out->off);
		err = take_any(fs, type, PTFS_NOTHING, zeros, out);
	}
	return err;
}

// What was taken out of files before this call is free for it, if it must be by waiting. Once: what
// others take meanwhile is theirs.
int ptfs_block_take(struct ptfs_fs *fs, unsigned type, u64 goal, bool zeros, struct ptfs_new *out)
{
	int err;

	if (ptfs_inject_nospace())
		return -ENOSPC;
	err = take_once(fs, type, goal, zeros, out);
	if (likely(err != -ENOSPC))
		return err;
	ptfs_rest_wait(fs);
	return take_once(fs, type, goal, zeros, out);
}

int ptfs_block_alloc(struct ptfs_fs *fs, unsigned type, u64 *off)
{
	struct ptfs_new b;
	int err = ptfs_block_take(fs, type, PTFS_NOTHING, false, &b);

	if (!err)
		*off = b.off;
	return err;
}

static int take_chunk(struct ptfs_fs *fs, u64 goal, bool zeros, struct ptfs_new *out)
{
	struct ptfs_chunk *c;

	ptfs_mutex_lock(&fs->alloc_lock);
	c = chunk_from_free(fs, PTFS_CHUNK_DATA, goal, zeros);
	if (c) {
		ptfs_mutex_lock(&c->lock);
		*out = (struct ptfs_new){ .off = ptfs_block_off(c, 0),
					  .zero = c->zeroed == PTFS_CHUNK_BLOCKS,
					  .full = true };
		ptfs_use_locked(fs, c, 0, PTFS_CHUNK_BLOCKS);
		ptfs_claim_locked(c, 0, PTFS_CHUNK_BLOCKS);
		ptfs_chunk_relist(fs, c);
		ptfs_mutex_unlock(&c->lock);
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
	return c ? 0 : -ENOSPC;
}

static int chunk_take_once(struct ptfs_fs *fs, u64 goal, bool zeros, struct ptfs_new *out)
{
	int err = take_chunk(fs, goal, zeros, out);

	while (!err && ptfs_is_bad(fs, out->off, PTFS_CHUNK)) {
		// All but the bad blocks goes back: the chunk is not FREE any more, and not whole.
		ptfs_space_free(fs, out->off, PTFS_CHUNK_BLOCKS);
		err = take_chunk(fs, PTFS_NOTHING, zeros, out);
	}
	return err;
}

int ptfs_chunk_take(struct ptfs_fs *fs, u64 goal, bool zeros, struct ptfs_new *out)
{
	int err;

	if (ptfs_inject_nospace())
		return -ENOSPC;
	ptfs_rest_poll(fs);
	err = chunk_take_once(fs, goal, zeros, out);
	// Who gets none takes single blocks: a chunk that only rests is worth waiting for.
	if (likely(!err) || ptfs_rest_blocks(fs, PTFS_CHUNK_DATA) < PTFS_CHUNK_BLOCKS)
		return err;
	ptfs_rest_wait(fs);
	return chunk_take_once(fs, goal, zeros, out);
}

// A chunk that its owner gives up: FREE if nothing is in it. alloc_lock held.
static void chunk_give_up(struct ptfs_fs *fs, struct ptfs_chunk *c)
{
	ptfs_mutex_lock(&c->lock);
	ptfs_chunk_own(fs, c, 0);
	if (!c->used)
		ptfs_chunk_retype(fs, c, PTFS_CHUNK_FREE);
	ptfs_mutex_unlock(&c->lock);
}

u64 ptfs_chunk_hold(struct ptfs_fs *fs, u64 goal, bool zeros)
{
	struct ptfs_chunk *c, *old;

	ptfs_rest_poll(fs);
	ptfs_mutex_lock(&fs->alloc_lock);
	c = free_is_short(fs) ? NULL : chunk_from_free(fs, PTFS_CHUNK_DATA, goal, zeros);
	if (c) {
		unsigned owner = PTFS_OWNER_HELD(fs->held_next);

		fs->held_next = (fs->held_next + 1) % PTFS_HELD_MAX;
		old = ptfs_owned(fs, owner);
		if (old)
			chunk_give_up(fs, old);
		ptfs_mutex_lock(&c->lock);
		ptfs_chunk_own(fs, c, owner);
		ptfs_mutex_unlock(&c->lock);
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
	return c ? ptfs_block_off(c, 0) : PTFS_NOTHING;
}

// ---- Giving back ----

// Giving `nr` blocks back moves the chunk: from full to its list, or to FREE. Only a CPU's own
// chunk may be empty and stay (the next block comes from it), while there are enough others.
static bool moves(const struct ptfs_fs *fs, const struct ptfs_chunk *c, unsigned nr)
{
	if (c->used == nr)
		return !c->owner || c->owner > PTFS_CPU_MAX || free_is_short(fs);
	return !c->owner && c->used == PTFS_CHUNK_BLOCKS;
}

static void free_slowly(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	ptfs_mutex_lock(&fs->alloc_lock);
	ptfs_mutex_lock(&c->lock);
	ptfs_unuse_locked(fs, c, first, nr);
	if (c->used) {
		ptfs_chunk_relist(fs, c);
	} else {
		ptfs_chunk_own(fs, c, 0);
		ptfs_chunk_retype(fs, c, PTFS_CHUNK_FREE);
	}
	ptfs_mutex_unlock(&c->lock);
	ptfs_mutex_unlock(&fs->alloc_lock);
}

static void free_run(struct ptfs_fs *fs, u64 off, unsigned nr)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, off);
	unsigned first = ptfs_block_index(off);
	bool here;

	ptfs_mutex_lock(&c->lock);
	here = !moves(fs, c, nr);
	if (here)
		ptfs_unuse_locked(fs, c, first, nr);
	ptfs_mutex_unlock(&c->lock);
	if (!here)
		free_slowly(fs, c, first, nr);
}

// What lies between bad blocks.
static void free_good(struct ptfs_fs *fs, u64 off, unsigned nr)
{
	for (u64 end = off + nr * PTFS_BLOCK; off < end; off += PTFS_BLOCK) {
		if (ptfs_is_bad(fs, off, PTFS_BLOCK))
			retire(fs, off);
		else
			free_run(fs, off, 1);
	}
}

void ptfs_space_free(struct ptfs_fs *fs, u64 off, unsigned nr)
{
	if (ptfs_is_bad(fs, off, nr * PTFS_BLOCK))
		free_good(fs, off, nr);
	else
		free_run(fs, off, nr);
	if (!__atomic_load_n(&fs->zero_wanted, __ATOMIC_RELAXED))
		__atomic_store_n(&fs->zero_wanted, true, __ATOMIC_RELEASE);
}
