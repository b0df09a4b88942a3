// SPDX-License-Identifier: MIT
//
// What: space. Which chunk has which type, which blocks are used, which are claimed
// (ptfs_internal.h has the invariants A1-A4).
// Not here: claims that come from looking at stored entries (claim.c), the stored bitmap
// (snapshot.c), rebuilding it (scan.c).
//
// Locking: alloc_lock for everything. Each CPU has a DATA chunk of its own that it takes single
// blocks from, so neighbours in time are neighbours in space.
// Persistence: a chunk's type is stored and flushed before its first block is handed out, and
// fenced before that block is named. The bitmap itself is not on the medium while mounted.
// Failure: -ENOSPC leaves everything as it was. Data leaves two chunks to tables and names.
#include "fs/ptfs/ptfs_internal.h"

struct ptfs_chunk *ptfs_chunk_at(const struct ptfs_fs *fs, u64 off)
{
	u64 nr = off >> PTFS_CHUNK_SHIFT;

	ptfs_assert(nr < fs->chunks);
	return &fs->groups[nr / PTFS_GROUP_CHUNKS][nr % PTFS_GROUP_CHUNKS];
}

static struct ptfs_chunk *chunk_nr(const struct ptfs_fs *fs, u64 nr)
{
	return ptfs_chunk_at(fs, nr << PTFS_CHUNK_SHIFT);
}

static u64 block_off(const struct ptfs_chunk *c, unsigned block)
{
	return ((u64)c->nr << PTFS_CHUNK_SHIFT) + (u64)block * PTFS_BLOCK;
}

// In a list exactly when something can be had from it (A3).
static void chunk_relist(struct ptfs_fs *fs, struct ptfs_chunk *c)
{
	if (c->used == PTFS_CHUNK_BLOCKS)
		list_del(&c->node);
	else if (list_empty(&c->node))
		list_add(&fs->chunk_list[c->type], &c->node);
}

static void map_set(u64 *map, unsigned first, unsigned nr, bool on)
{
	for (unsigned i = first; i < first + nr; i++) {
		if (on)
			map[i / 64] |= BIT(i % 64);
		else
			map[i / 64] &= ~BIT(i % 64);
	}
}

static void use(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	for (unsigned i = first; i < first + nr; i++) {
		if (ptfs_bit(c->used_map, i))
			continue;
		c->used_map[i / 64] |= BIT(i % 64);
		c->used++;
		fs->used_of[c->type]++;
	}
}

static void unuse(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	map_set(c->used_map, first, nr, false);
	c->used -= nr;
	fs->used_of[c->type] -= nr;
}

void ptfs_claim_locked(struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	map_set(c->claim_map, first, nr, true);
	c->claimed += nr;
}

void ptfs_unclaim_locked(struct ptfs_chunk *c, unsigned first, unsigned nr)
{
	map_set(c->claim_map, first, nr, false);
	c->claimed -= nr;
}

// The type is written back here and made durable by the fence that comes before the first entry
// that names a block of the chunk is stored: every publisher fences what it has filled. FREE may be
// durable late, for recovery finds out.
static void chunk_retype(struct ptfs_fs *fs, struct ptfs_chunk *c, unsigned type)
{
	u64 first = c->nr & ~7ull;
	u64 word = 0;

	ptfs_assert(!c->used && !c->claimed);
	if (c->cpu)
		fs->current[c->cpu - 1] = NULL;
	c->cpu = 0;
	ptfs_free(c->aux);
	c->aux = NULL;
	list_del(&c->node);
	fs->chunks_of[c->type]--;
	fs->chunks_of[type]++;
	c->type = (u8)type;
	for (u64 i = 0; i < 8 && first + i < fs->chunks; i++)
		word |= (u64)chunk_nr(fs, first + i)->type << 8 * i;
	ptfs_store8_flush(fs, fs->chunk_map_off + first, word);
	chunk_relist(fs, c);
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

struct ptfs_tpage *ptfs_tpage(const struct ptfs_fs *fs, u64 off)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, off);
	struct ptfs_tpage *tp = c->type == PTFS_CHUNK_TABLE ? c->aux : NULL;

	return tp ? tp + ptfs_block_index(off) : NULL;
}

u8 *ptfs_inode_state(const struct ptfs_fs *fs, u64 media_off)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, media_off);

	ptfs_assert(c->type == PTFS_CHUNK_INODE && c->aux);
	return (u8 *)c->aux + (media_off & (PTFS_CHUNK - 1)) / PTFS_INODE_BYTES;
}

// Chunks that a request of this type must leave: data never takes the room of tables and names.
static u64 chunks_kept(unsigned type)
{
	return type == PTFS_CHUNK_DATA ? PTFS_RESERVE_CHUNKS : 0;
}

static struct ptfs_chunk *chunk_from_free(struct ptfs_fs *fs, unsigned type)
{
	struct ptfs_chunk *c;

	if (fs->chunks_of[PTFS_CHUNK_FREE] <= chunks_kept(type))
		return NULL;
	c = list_entry(fs->chunk_list[PTFS_CHUNK_FREE].next, struct ptfs_chunk, node);
	chunk_retype(fs, c, type);
	return c;
}

// A broken chunk that no other CPU works in, else a fresh one, else any.
static struct ptfs_chunk *chunk_pick(struct ptfs_fs *fs, unsigned type)
{
	struct list *head = &fs->chunk_list[type];
	struct ptfs_chunk *c;

	list_for_each(c, head, node)
		if (!c->cpu)
			return c;
	c = chunk_from_free(fs, type);
	if (!c && !list_empty(head))
		c = list_entry(head->next, struct ptfs_chunk, node);
	return c;
}

// This CPU's own DATA chunk while it has room.
static struct ptfs_chunk *chunk_current(struct ptfs_fs *fs)
{
	unsigned cpu = ptfs_cpu();
	struct ptfs_chunk *c = fs->current[cpu];

	if (c && c->used < PTFS_CHUNK_BLOCKS)
		return c;
	if (c)
		c->cpu = 0;
	fs->current[cpu] = NULL;
	c = chunk_pick(fs, PTFS_CHUNK_DATA);
	if (c && !c->cpu) {
		c->cpu = (u8)(cpu + 1);
		fs->current[cpu] = c;
	}
	return c;
}

static unsigned first_unused(const struct ptfs_chunk *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->used_map); i++)
		if (~c->used_map[i])
			return i * 64 + (unsigned)__builtin_ctzll(~c->used_map[i]);
	ptfs_bug(__FILE__, __LINE__, "a full chunk in a list");
}

static int block_alloc(struct ptfs_fs *fs, unsigned type, u64 *off)
{
	struct ptfs_chunk *c;
	unsigned block;
	int err;

	c = type == PTFS_CHUNK_DATA ? chunk_current(fs) : chunk_pick(fs, type);
	if (!c)
		return -ENOSPC;
	err = ptfs_chunk_aux_locked(c);
	if (err)
		return err;
	block = first_unused(c);
	use(fs, c, block, 1);
	map_set(c->claim_map, block, 1, true);
	c->claimed++;
	chunk_relist(fs, c);
	*off = block_off(c, block);
	return 0;
}

int ptfs_block_alloc(struct ptfs_fs *fs, unsigned type, u64 *off)
{
	int err;

	if (ptfs_inject_nospace())
		return -ENOSPC;
	ptfs_mutex_lock(&fs->alloc_lock);
	err = block_alloc(fs, type, off);
	ptfs_mutex_unlock(&fs->alloc_lock);
	return err;
}

int ptfs_chunk_alloc(struct ptfs_fs *fs, u64 *off)
{
	struct ptfs_chunk *c;

	if (ptfs_inject_nospace())
		return -ENOSPC;
	ptfs_mutex_lock(&fs->alloc_lock);
	c = chunk_from_free(fs, PTFS_CHUNK_DATA);
	if (c) {
		use(fs, c, 0, PTFS_CHUNK_BLOCKS);
		map_set(c->claim_map, 0, PTFS_CHUNK_BLOCKS, true);
		c->claimed = PTFS_CHUNK_BLOCKS;
		chunk_relist(fs, c);
		*off = block_off(c, 0);
	}
	ptfs_mutex_unlock(&fs->alloc_lock);
	return c ? 0 : -ENOSPC;
}

static void range_free(struct ptfs_fs *fs, u64 off, unsigned nr)
{
	struct ptfs_chunk *c = ptfs_chunk_at(fs, off);
	unsigned first = ptfs_block_index(off);

	ptfs_mutex_lock(&fs->alloc_lock);
	for (unsigned i = first; i < first + nr; i++)
		ptfs_assert(ptfs_bit(c->claim_map, i) && ptfs_bit(c->used_map, i));
	map_set(c->claim_map, first, nr, false);
	c->claimed -= nr;
	unuse(fs, c, first, nr);
	if (c->used)
		chunk_relist(fs, c);
	else
		chunk_retype(fs, c, PTFS_CHUNK_FREE);
	ptfs_mutex_unlock(&fs->alloc_lock);
}

void ptfs_block_free(struct ptfs_fs *fs, u64 off)
{
	range_free(fs, off, 1);
}

void ptfs_chunk_free(struct ptfs_fs *fs, u64 off)
{
	range_free(fs, off, PTFS_CHUNK_BLOCKS);
}

void ptfs_statfs(struct ptfs_fs *fs, struct ptfs_statfs *out)
{
	u64 whole;

	*out = (struct ptfs_statfs){ .blocks = fs->chunks * PTFS_CHUNK_BLOCKS,
				     .read_only = fs->read_only };
	memcpy(out->uuid, fs->uuid, sizeof(out->uuid));
	ptfs_mutex_lock(&fs->ialloc_lock);
	out->inodes = fs->inodes;
	ptfs_mutex_unlock(&fs->ialloc_lock);
	ptfs_mutex_lock(&fs->alloc_lock);
	memcpy(out->chunks, fs->chunks_of, sizeof(out->chunks));
	memcpy(out->used, fs->used_of, sizeof(out->used));
	ptfs_mutex_unlock(&fs->alloc_lock);
	whole = out->chunks[PTFS_CHUNK_FREE];
	whole -= min(whole, (u64)PTFS_RESERVE_CHUNKS);
	out->blocks_free = (whole + out->chunks[PTFS_CHUNK_DATA]) * PTFS_CHUNK_BLOCKS -
			   out->used[PTFS_CHUNK_DATA];
}

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
			list_init(&fs->groups[g][i].node);
		}
	}
	return 0;
}

static int types_load(struct ptfs_fs *fs)
{
	const u8 *type = ptfs_at(fs, fs->chunk_map_off, fs->chunks);

	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = chunk_nr(fs, nr);
		bool system = nr << PTFS_CHUNK_SHIFT < fs->system_bytes;

		c->type = READ_ONCE(type[nr]);
		if (c->type >= PTFS_CHUNK_TYPES || (system && c->type != PTFS_CHUNK_META)) {
			ptfs_log(PTFS_LOG_ERROR, "ptfs %s: chunk %llu has the impossible type %u",
				 fs->name, (unsigned long long)nr, c->type);
			return -EUCLEAN;
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
	err = groups_alloc(fs);
	if (err)
		return err;
	err = types_load(fs);
	if (err)
		return err;
	for (u64 off = 0; off < fs->system_bytes; off += PTFS_BLOCK) {
		struct ptfs_chunk *c = ptfs_chunk_at(fs, off);

		use(fs, c, ptfs_block_index(off), 1);
		ptfs_claim_locked(c, ptfs_block_index(off), 1);
	}
	return 0;
}

// The compiler's own calls a library that the kernel does not have.
static unsigned count_bits(u64 v)
{
	v -= v >> 1 & 0x5555555555555555ull;
	v = (v & 0x3333333333333333ull) + (v >> 2 & 0x3333333333333333ull);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (unsigned)(v * 0x0101010101010101ull >> 56);
}

void ptfs_use_map(struct ptfs_fs *fs, struct ptfs_chunk *c, const u64 *map)
{
	unsigned used = 0;

	for (unsigned w = 0; w < ARRAY_SIZE(c->used_map); w++) {
		c->used_map[w] |= map[w];
		used += count_bits(c->used_map[w]);
	}
	fs->used_of[c->type] += used - c->used;
	c->used = (u16)used;
}

int ptfs_aux_prepare(struct ptfs_fs *fs)
{
	int err = 0;

	for (u64 nr = 0; nr < fs->chunks && !err; nr++)
		err = ptfs_chunk_aux_locked(chunk_nr(fs, nr));
	return err;
}

u64 ptfs_claimed_of(const struct ptfs_fs *fs, unsigned type)
{
	u64 claimed = 0;

	for (u64 nr = 0; nr < fs->chunks; nr++) {
		const struct ptfs_chunk *c = chunk_nr(fs, nr);

		for (unsigned w = 0; c->type == type && w < ARRAY_SIZE(c->claim_map); w++)
			claimed += count_bits(c->claim_map[w]);
	}
	return claimed;
}

void ptfs_claims_settle(struct ptfs_fs *fs)
{
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = chunk_nr(fs, nr);
		unsigned claimed = 0;

		if (c->type == PTFS_CHUNK_FREE)
			continue;
		for (unsigned w = 0; w < ARRAY_SIZE(c->claim_map); w++)
			claimed += count_bits(c->claim_map[w]);
		c->claimed = (u16)claimed;
		if (fs->scanning)
			ptfs_use_map(fs, c, c->claim_map);
	}
}

void ptfs_alloc_settle(struct ptfs_fs *fs)
{
	for (u64 nr = 0; nr < fs->chunks; nr++) {
		struct ptfs_chunk *c = chunk_nr(fs, nr);

		if (fs->recovering && !c->used && c->type != PTFS_CHUNK_FREE)
			chunk_retype(fs, c, PTFS_CHUNK_FREE);
		list_del(&c->node);
		if (c->used < PTFS_CHUNK_BLOCKS)
			list_add_tail(&fs->chunk_list[c->type], &c->node);
	}
}

void ptfs_alloc_destroy(struct ptfs_fs *fs)
{
	u64 nr = DIV_ROUND_UP(fs->chunks, PTFS_GROUP_CHUNKS);

	for (u64 g = 0; fs->groups && g < nr && fs->groups[g]; g++) {
		u64 chunks = min((u64)PTFS_GROUP_CHUNKS, fs->chunks - g * PTFS_GROUP_CHUNKS);

		for (u64 i = 0; i < chunks; i++)
			ptfs_free(fs->groups[g][i].aux);
		ptfs_free(fs->groups[g]);
	}
	ptfs_free(fs->groups);
	fs->groups = NULL;
}
