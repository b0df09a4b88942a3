// SPDX-License-Identifier: MIT
//
// What: a PTE page that maps the 512 blocks of one chunk in order becomes a 2 MiB leaf: one load
// less in every walk, one TLB entry instead of 512, and a table page less.
// Not here: the way back (split.c), placing blocks so that it comes to this (place.c).
//
// Only the block that fills a chunk can complete such a page. Who publishes it at its place leaves
// a mark in the inode (ptfs_merge_mark), and the call that did it merges when its work is done and
// its locks are dropped. A mark is a hint: what it says is checked, and one that is lost costs a
// 2 MiB leaf, nothing else.
//
// As in split.c no CPU ever sees both sizes for one address: the entry loses P, all translations
// are revoked, and only then the leaf stands in its place.
//
// Locking: the mapping lock exclusively: a fault that meets P = 0 waits for it.
// Persistence: the blocks are durable where they are, and stay. The entry changes from table to
// leaf in one store, flush, fence; only then may the table page serve others. A crash leaves one or
// the other, with P or without.
#include "fs/ptfs/ptfs_internal.h"

// The chunk that the words of the page map in order; PTFS_NOTHING: they do not.
static u64 chunk_in_order(struct ptfs_fs *fs, u64 page)
{
	u64 chunk = PTFS_NOTHING;
	struct ptfs_chunk *c;
	bool ok;

	for (u64 i = 0; i < PT_ENTRIES; i++) {
		u64 e = ptfs_word(fs, page + 8 * i);
		struct ptfs_ref ref;

		if (!e || ptfs_entry_decode(fs, e, PT_PTE, &ref) || ref.soft)
			return PTFS_NOTHING;
		if (!i)
			chunk = ref.off;
		if (!IS_ALIGNED(chunk, PTFS_CHUNK) || ref.off != chunk + i * PTFS_BLOCK)
			return PTFS_NOTHING;
	}
	c = ptfs_chunk_at(fs, chunk);
	ptfs_mutex_lock(&c->lock);
	ok = c->type == PTFS_CHUNK_DATA && c->claimed == PTFS_CHUNK_BLOCKS;
	ptfs_mutex_unlock(&c->lock);
	return ok ? chunk : PTFS_NOTHING;
}

// The 2 MiB around `va`. Nothing to merge there is no error.
static int merge_at(struct ptfs_inode *ip, u64 va)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_walk w;
	struct ptfs_gone gone;
	struct ptfs_ref ref;
	u64 slot, e, level, chunk;
	int err;

	if (ip->bad || !ptfs_walk_init(&w, ip) || va >= pt_span(w.c.top))
		return 0;
	pt_cursor_descend(&w.c, va, PT_PMD);
	if (w.err || w.c.level != PT_PMD)
		return w.err;
	slot = ptfs_walk_slot(&w);
	e = ptfs_word(fs, slot);
	level = slot == ip->root_off ? e & PTFS_E_LEVEL : 0;
	e &= ~level;
	if (!e || ptfs_entry_decode(fs, e, PT_PMD, &ref) || ref.leaf || ref.soft)
		return 0;
	err = ptfs_verify_table(ip, ref.off, PT_PTE, w.c.va);
	if (err)
		return err;
	chunk = chunk_in_order(fs, ref.off);
	if (chunk == PTFS_NOTHING)
		return 0;
	ptfs_map_forget(ip);
	ptfs_gone_init(&gone, ip);
	ptfs_revoke_begin(&ip->home);
	ptfs_store8(fs, slot, (e & ~PTFS_E_P) | level);
	ptfs_entry_changed(ip, slot);
	ptfs_revoke_finish(&ip->home, w.c.va, PTFS_CHUNK, PTFS_FORGET_ALL);
	// With P at once: leaf and table map the same durable blocks. The fence is for the table
	// page, which may serve others from here on.
	ptfs_store8_flush(fs, slot, ptfs_entry_leaf(fs, chunk, PT_PMD) | level);
	ptfs_entry_changed(ip, slot);
	ptfs_fence(fs);
	ptfs_gone_table(&gone, ref.off);
	ptfs_gone_finish(&gone);
	ptfs_count(PTFS_STAT_MERGE, 1);
	return 0;
}

void ptfs_merge_mark(struct ptfs_inode *ip, u64 block, const struct ptfs_new *b)
{
	if (b->full && ip->leaf_type == PTFS_CHUNK_DATA &&
	    ptfs_block_index(b->off) == block % PT_ENTRIES)
		__atomic_store_n(&ip->merge_mark, (u32)(block / PT_ENTRIES) + 1, __ATOMIC_RELAXED);
}

void ptfs_merge_marked(struct ptfs_inode *ip)
{
	u32 mark;

	ptfs_map_lock(&ip->home);
	mark = __atomic_exchange_n(&ip->merge_mark, 0, __ATOMIC_RELAXED);
	if (mark && merge_at(ip, (u64)(mark - 1) * PTFS_CHUNK))
		ptfs_log(PTFS_LOG_WARN,
			 "ptfs %s: inode %llu: a page of small entries stays as it is",
			 ip->fs->name, (unsigned long long)ip->ino);
	ptfs_map_unlock(&ip->home);
}
