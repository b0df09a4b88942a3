// SPDX-License-Identifier: MIT
//
// What: the DRAM truth about space: a record per chunk with its type and bitmaps, the lists that
// chunks are found by, and the counts (space.h has the invariants A1-A6).
// Not here: handing blocks out and taking them back (alloc.c), zeroing what is free (prezero.c),
// claims that come from looking at stored entries (claim.c), the stored bitmap (snapshot.c),
// rebuilding it (scan.c).
//
// Locking: a chunk's own lock for its bits and counts. What places it among the others (type,
// owner, list) changes under alloc_lock and the chunk's lock, so either is enough to read it.
// Order: alloc_lock, then the lock of one chunk.
// Persistence: a chunk's type is stored and flushed before its first block is handed out, and
// fenced before that block is named. The bitmap itself is not on the medium while mounted.
// Failure: mounting ends with -ENOMEM, or with -EUCLEAN for an impossible type.
#include "fs/ptfs/ptfs_internal.h"

struct ptfs_chunk *ptfs_chunk_nr(const struct ptfs_fs *fs, u64 nr)
{
	return ptfs_chunk_at(fs, nr << PTFS_CHUNK_SHIFT);
}

// ---- Bits and counts. The chunk's lock is held ----

// Bits [first, first + nr) of the word that holds bits [64 * i, 64 * i + 64).
static u64 word_mask(unsigned i, unsigned first, unsigned nr)
{
	unsigned from = max(first, 64 * i), to = min(first + nr, 64 * i + 64);

	if (from >= to)
		return 0;
	return ~0ull >> (64 - (to - from)) << (from - 64 * i);
}

// How many are set (there is no such instruction on all machines that this runs on): sums of pairs,
// of fours, of bytes, and then of all bytes in the highest.
static unsigned bits(u64 m)
{
	m -= m >> 1 & 0x5555555555555555;
	m = (m & 0x3333333333333333) + (m >> 2 & 0x3333333333333333);
	m = (m + (m >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (unsigned)(m * 0x0101010101010101 >> 56);
}

void ptfs_count_used(struct ptfs_fs *fs, unsigned type, s64 nr)
{
	__atomic_fetch_add(&fs->cpu[ptfs_cpu()].used[type], nr, __ATOMIC_RELAXED);
}

u64 ptfs_used(const struct ptfs_fs *fs, unsigned type)
{
	s64 sum = 0;

	for (unsigned i = 0; i < PTFS_CPU_MAX; i++)
		sum += __atomic_load_n(&fs->cpu[i].used[type], __ATOMIC_RELAXED);
	// A block that moves from one CPU to another while they are read may count twice, or below
	// nothing.
	return (u64)max(sum, (s64)0);
}

void ptfs_use_locked(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	unsigned fresh = 0;

	for (unsigned i = first / 64; i <= (first + nr - 1) / 64; i++) {
		u64 m = word_mask(i, first, nr) & ~c->used_map[i];

		c->used_map[i] |= m;
		fresh += bits(m);
		c->zeroed -= (u16)bits(m & c->zero_map[i]);
		c->zero_map[i] &= ~m;
	}
	c->used += (u16)fresh;
	ptfs_count_used(fs, c->type, fresh);
}

void ptfs_unuse_locked(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	ptfs_note_free(ptfs_pa(fs, ptfs_block_off(c, first)), nr * PTFS_BLOCK);
	for (unsigned i = first / 64; i <= (first + nr - 1) / 64; i++) {
		u64 m = word_mask(i, first, nr);

		ptfs_assert((c->used_map[i] & ~c->claim_map[i] & m) == 0);
		ptfs_assert((c->used_map[i] & m) == m);
		c->used_map[i] &= ~m;
		c->claim_map[i] &= ~m;
	}
	c->used -= (u16)nr;
	c->claimed -= (u16)nr;
	ptfs_count_used(fs, c->type, -(s64)nr);
}

void ptfs_claim_locked(struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	for (unsigned i = first / 64; i <= (first + nr - 1) / 64; i++)
		c->claim_map[i] |= word_mask(i, first, nr);
	c->claimed += (u16)nr;
}

void ptfs_unclaim_locked(struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	for (unsigned i = first / 64; i <= (first + nr - 1) / 64; i++)
		c->claim_map[i] &= ~word_mask(i, first, nr);
	c->claimed -= (u16)nr;
}

// ---- Among the others. alloc_lock and the chunk's lock are held ----

static struct ptfs_chunk **owner_place(struct ptfs_fs *fs, unsigned owner)
{
	unsigned i = owner - 1;

	return i < PTFS_CPU_MAX ? &fs->cpu[i].chunk : &fs->shared[i - PTFS_CPU_MAX];
}

struct ptfs_chunk *ptfs_owned(const struct ptfs_fs *fs, unsigned owner)
{
	unsigned i = owner - 1;

	return i < PTFS_CPU_MAX ? __atomic_load_n(&fs->cpu[i].chunk, __ATOMIC_RELAXED)
				: __atomic_load_n(&fs->shared[i - PTFS_CPU_MAX], __ATOMIC_RELAXED);
}

void ptfs_chunk_own(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned owner)
{
	if (c->owner)
		__atomic_store_n(owner_place(fs, c->owner), NULL, __ATOMIC_RELAXED);
	c->owner = (u8)owner;
	if (owner) {
		ptfs_assert(!ptfs_owned(fs, owner));
		__atomic_store_n(owner_place(fs, owner), c, __ATOMIC_RELAXED);
	}
	ptfs_chunk_relist(fs, c);
}

void ptfs_chunk_relist(struct ptfs_fs *fs, struct ptfs_chunk *c)
{
	bool zeroed = c->type == PTFS_CHUNK_FREE && c->zeroed == PTFS_CHUNK_BLOCKS;

	list_del(&c->node);
	if (!c->owner && c->used < PTFS_CHUNK_BLOCKS)
		list_add(zeroed ? &fs->zeroed_list : &fs->chunk_list[c->type], &c->node);
}

// The type is written back here and made durable by the fence that comes before the first entry
// that names a block of the chunk is stored: every publisher fences what it has filled. FREE may be
// durable late, for recovery finds out.
void ptfs_chunk_retype(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned type)
{
	u64 first = c->nr & ~7ull;
	u64 word = 0;

	ptfs_assert(!c->used && !c->claimed && !c->owner);
	ptfs_free(c->aux);
	c->aux = NULL;
	list_del(&c->node); // of the old type's list
	__atomic_store_n(&fs->chunks_of[c->type], fs->chunks_of[c->type] - 1, __ATOMIC_RELAXED);
	__atomic_store_n(&fs->chunks_of[type], fs->chunks_of[type] + 1, __ATOMIC_RELAXED);
	c->type = (u8)type;
	for (u64 i = 0; i < 8 && first + i < fs->chunks; i++)
		word |= (u64)ptfs_chunk_nr(fs, first + i)->type << 8 * i;
	ptfs_store8_flush(fs, fs->chunk_map_off + first, word);
	ptfs_chunk_relist(fs, c);
}

int ptfs_chunk_aux_locked(struct ptfs_chunk *c)
{
	if (c->aux || (c->type != PTFS_CHUNK_TABLE && c->type != PTFS_CHUNK_INODE))
		return 0;
	c->aux = ptfs_zalloc(c->type == PTFS_CHUNK_TABLE
				     ? PTFS_CHUNK_BLOCKS * sizeof(struct ptfs_tpage)
				     : PTFS_INODES_PER_CHUNK);
	return c->aux ? 0 : -ENOMEM;
}

u8 *ptfs_inode_state(const struct ptfs_fs *fs, u64 media_off)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, media_off);

	ptfs_assert(c->type == PTFS_CHUNK_INODE && c->aux);
	return (u8 *)c->aux + (media_off & (PTFS_CHUNK - 1)) / PTFS_INODE_BYTES;
}

// What rests will be free without anybody doing anything, and who finds no space waits for it.
static u64 used_settled(const struct ptfs_fs *fs, unsigned type)
{
	u64 used = ptfs_used(fs, type);

	return used - min(used, ptfs_rest_blocks(fs, type));
}

void ptfs_statfs(struct ptfs_fs *fs, struct ptfs_statfs *out)
{
	u64 whole, room;

	*out = (struct ptfs_statfs){ .blocks = fs->chunks * PTFS_CHUNK_BLOCKS,
				     .read_only = fs->read_only };
	memcpy(out->uuid, fs->uuid, sizeof(out->uuid));
	ptfs_mutex_lock(&fs->ialloc_lock);
	out->inodes = fs->inodes;
	ptfs_mutex_unlock(&fs->ialloc_lock);
	ptfs_mutex_lock(&fs->alloc_lock);
	memcpy(out->chunks, fs->chunks_of, sizeof(out->chunks));
	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		out->used[t] = used_settled(fs, t);
	ptfs_mutex_unlock(&fs->alloc_lock);
	whole = out->chunks[PTFS_CHUNK_FREE];
	whole -= min(whole, (u64)PTFS_RESERVE_CHUNKS);
	room = (whole + out->chunks[PTFS_CHUNK_DATA]) * PTFS_CHUNK_BLOCKS;
	out->blocks_free = room - min(room, out->used[PTFS_CHUNK_DATA]);
}

// ---- Beginning and end of a mount ----

static int groups_alloc(struct ptfs_fs *fs)
{
	u64 nr = DIV_ROUND_UP(fs->chunks, PTFS_GROUP_CHUNKS);

	fs->groups = ptfs_zalloc(nr * sizeof(void *));
	if (!fs->groups)
		return -ENOMEM;
	for (u64 g = 0; g < nr; g++) {
		u64 chunks = min((u64)PTFS_GROUP_CHUNKS, fs->chunks - g * PTFS_GROUP_CHUNKS);

		fs->groups[g] = ptfs_zalloc(chunks * sizeof(**fs->groups));
		if (!fs->groups[g])
			return -ENOMEM;
		for (u64 i = 0; i < chunks; i++) {
			fs->groups[g][i].nr = (u32)(g * PTFS_GROUP_CHUNKS + i);
			ptfs_mutex_init(&fs->groups[g][i].lock, PTFS_RANK_CHUNK);
			list_init(&fs->groups[g][i].node);
		}
	}
	return 0;
}

// Of eight whose memory has failed no type is possible.
static u8 type_stored(const struct ptfs_fs *fs, u64 nr)
{
	u64 eight = ptfs_word(fs, fs->chunk_map_off + ALIGN_DOWN(nr, 8));

	return eight == PTFS_FAILED ? 0xff : (u8)(eight >> nr % 8 * 8);
}

static int types_load(struct ptfs_fs *fs)
{
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);
		bool system = nr << PTFS_CHUNK_SHIFT < fs->system_bytes;

		c->type = type_stored(fs, nr);
		if (c->type >= PTFS_CHUNK_TYPES || (system && c->type != PTFS_CHUNK_META)) {
			ptfs_log(PTFS_LOG_ERROR, "ptfs %s: chunk %llu has the impossible type %u",
				 fs->name, (unsigned long long)nr, c->type);
			return ptfs_damage(fs, fs->chunk_map_off + nr);
		}
		fs->chunks_of[c->type]++;
	}
	return 0;
}

int ptfs_alloc_init(struct ptfs_fs *fs)
{
	int err;

	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		list_init(&fs->chunk_list[t]);
	list_init(&fs->zeroed_list);
	err = groups_alloc(fs);
	if (err)
		return err;
	err = types_load(fs);
	if (err)
		return err;
	for (u64 off = 0; off < fs->system_bytes; off += PTFS_BLOCK) {
		struct ptfs_chunk *c = ptfs_chunk_at(fs, off);

		ptfs_use_locked(fs, c, ptfs_block_index(off), 1); // A4; nobody else is here yet
		ptfs_claim_locked(c, ptfs_block_index(off), 1);
	}
	return 0;
}

void ptfs_use_map(struct ptfs_fs *fs, struct ptfs_chunk *c, const u64 *map)
{
	unsigned used = 0;

	for (unsigned w = 0; w < ARRAY_SIZE(c->used_map); w++) {
		c->used_map[w] |= map[w];
		used += bits(c->used_map[w]);
	}
	ptfs_count_used(fs, c->type, (s64)used - c->used);
	c->used = (u16)used;
}

int ptfs_aux_prepare(struct ptfs_fs *fs)
{
	int err = 0;

	for (u64 nr = 0; nr < fs->chunks && !err; nr++)
		err = ptfs_chunk_aux_locked(ptfs_chunk_nr(fs, nr));
	return err;
}

u64 ptfs_claimed_of(const struct ptfs_fs *fs, unsigned type)
{
	u64 claimed = 0;

	for (u64 nr = 0; nr < fs->chunks; nr++) {
		const struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);

		for (unsigned w = 0; c->type == type && w < ARRAY_SIZE(c->claim_map); w++)
			claimed += bits(c->claim_map[w]);
	}
	return claimed;
}

void ptfs_claims_settle(struct ptfs_fs *fs)
{
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);
		unsigned claimed = 0;

		if (c->type == PTFS_CHUNK_FREE)
			continue;
		for (unsigned w = 0; w < ARRAY_SIZE(c->claim_map); w++)
			claimed += bits(c->claim_map[w]);
		c->claimed = (u16)claimed;
		if (fs->scanning)
			ptfs_use_map(fs, c, c->claim_map);
	}
}

void ptfs_alloc_settle(struct ptfs_fs *fs)
{
	ptfs_mutex_lock(&fs->alloc_lock);
	for (u64 nr = fs->chunks; nr-- > 0;) { // so that the first chunk comes to stand first
		struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);

		ptfs_mutex_lock(&c->lock);
		if (fs->recovering && !c->used && c->type != PTFS_CHUNK_FREE)
			ptfs_chunk_retype(fs, c, PTFS_CHUNK_FREE);
		else
			ptfs_chunk_relist(fs, c);
		ptfs_mutex_unlock(&c->lock);
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
	fs->zero_wanted = true;
}

void ptfs_alloc_release(struct ptfs_fs *fs)
{
	ptfs_mutex_lock(&fs->alloc_lock);
	for (unsigned owner = 1; owner <= PTFS_OWNERS; owner++) {
		struct ptfs_chunk *c = ptfs_owned(fs, owner);

		if (!c)
			continue;
		ptfs_mutex_lock(&c->lock);
		ptfs_chunk_own(fs, c, 0);
		if (!c->used)
			ptfs_chunk_retype(fs, c, PTFS_CHUNK_FREE);
		ptfs_mutex_unlock(&c->lock);
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
}

void ptfs_alloc_destroy(struct ptfs_fs *fs)
{
	u64 nr = DIV_ROUND_UP(fs->chunks, PTFS_GROUP_CHUNKS);

	for (u64 g = 0; fs->groups && g < nr && fs->groups[g]; g++) {
		u64 chunks = min((u64)PTFS_GROUP_CHUNKS, fs->chunks - g * PTFS_GROUP_CHUNKS);

		for (u64 i = 0; i < chunks; i++) {
			ptfs_mutex_destroy(&fs->groups[g][i].lock);
			ptfs_free(fs->groups[g][i].aux);
		}
		ptfs_free(fs->groups[g]);
	}
	ptfs_free(fs->groups);
	fs->groups = NULL;
}

// ---- For tests ----

static const char *chunk_wrong(const struct ptfs_fs *fs, const struct ptfs_chunk *c)
{
	unsigned used = 0, claimed = 0, zeroed = 0;
	bool listed = !list_empty(&c->node);

	for (unsigned i = 0; i < ARRAY_SIZE(c->used_map); i++) {
		if (c->claim_map[i] & ~c->used_map[i])
			return "A1: a claimed block is not used";
		if (c->zero_map[i] & c->used_map[i])
			return "A6: a used block counts as zeroed";
		used += bits(c->used_map[i]);
		claimed += bits(c->claim_map[i]);
		zeroed += bits(c->zero_map[i]);
	}
	if (used != c->used || claimed != c->claimed || zeroed != c->zeroed)
		return "A1: counts of a chunk";
	if (c->type != *(const u8 *)ptfs_at(fs, fs->chunk_map_off + c->nr, 1))
		return "A2: type on the medium";
	if (c->type == PTFS_CHUNK_FREE && (used || c->owner))
		return "A3: a FREE chunk is used or owned";
	if (listed != (!c->owner && used < PTFS_CHUNK_BLOCKS))
		return "A3: lists";
	if (c->owner && ptfs_owned(fs, c->owner) != c)
		return "A3: owner";
	return NULL;
}

const char *ptfs_alloc_verify(struct ptfs_fs *fs)
{
	u64 used[PTFS_CHUNK_TYPES] = { 0 }, chunks[PTFS_CHUNK_TYPES] = { 0 };

	for (u64 nr = 0; nr < fs->chunks; nr++) {
		const struct ptfs_chunk *c = ptfs_chunk_nr(fs, nr);
		const char *why = chunk_wrong(fs, c);

		if (why)
			return why;
		used[c->type] += c->used;
		chunks[c->type]++;
		for (u64 b = 0; b < PTFS_CHUNK_BLOCKS; b++) {
			const u64 *p =
				ptfs_at(fs, (nr << PTFS_CHUNK_SHIFT) + b * PTFS_BLOCK, PTFS_BLOCK);

			if (!ptfs_bit(c->zero_map, (unsigned)b))
				continue;
			for (unsigned i = 0; i < PTFS_BLOCK / 8; i++)
				if (p[i])
					return "A6: a zeroed block has other bytes";
		}
	}
	for (unsigned t = 0; t < PTFS_CHUNK_TYPES; t++)
		if (used[t] != ptfs_used(fs, t) || chunks[t] != fs->chunks_of[t])
			return "A1: counts of a type";
	return ptfs_rest_verify(fs);
}
