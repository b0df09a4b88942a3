// SPDX-License-Identifier: MIT
//
// What: the tree of one file: find a block, publish a new one, grow.
// Not here: taking blocks away (shrink.c), deciding whether a table page may be followed
// (verify.c).
//
// Invariants
//   I1  no table page is followed before it is verified
//   I2  nothing is visible to any CPU before it is durable: an entry is stored with P = 0, flushed,
//       fenced, and only then gets P. Whoever meets P = 0 first finishes that job (settle), so
//       nobody ever waits
//   I3  direct words mean nothing while the root word is nonzero; the step between the two worlds
//       is made under grow_lock, and so is publishing in a direct word
//   I4  ip->pte_page is 0 or names a verified PTE page of the file, to which settled entries lead.
//       A tree that grows keeps its PTE pages where they are. Who takes one away or moves it has
//       the mapping lock exclusively and forgets it first; ptfs_map_find, which alone remembers,
//       is not called until that lock is dropped
//   I5  once memory has failed no page is remembered, nor used for a write, so that each call looks
//       at the list of bad blocks; the file in which it was met forgets its page
// Locking: the mapping lock, held shared at least, keeps entries from going away. Publishing is a
// compare-and-swap, and the loser gives its block back.
// Persistence: fill, flush, fence; entry with P = 0, flush, fence; P.
// Failure: -ENOSPC gives back what was taken; a tree that has grown and stays empty is harmless.
#include "fs/ptfs/ptfs_internal.h"

#define FILE_BLOCKS (PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT)

// A direct word has no copy: it maps a file without a table.
void ptfs_entry_changed(struct ptfs_inode *ip, u64 slot)
{
	const struct ptfs_tpage *tp;

	if (likely(!ptfs_home_copied(&ip->home)))
		return;
	tp = ptfs_tpage(ip->fs, slot);
	if (slot == ip->root_off)
		ptfs_home_root_changed(&ip->home);
	else if (tp)
		ptfs_home_entry_changed(&ip->home,
					((u64)tp->index << PMD_SHIFT) +
						slot % PTFS_BLOCK / 8 * pt_span(tp->level),
					tp->level, ptfs_pa(ip->fs, slot));
}

// P = 0 on a valid entry: published, perhaps not yet durable. Make it so, then show it to the MMU.
static void settle(struct ptfs_inode *ip, u64 off, u64 e)
{
	if (ip->fs->read_only || !e || (e & PTFS_E_P))
		return;
	ptfs_flush(ip->fs, off, 8);
	ptfs_fence(ip->fs);
	ptfs_cas8(ip->fs, off, e, e | PTFS_E_P);
	if (off != ip->root_off) // which leads to no less
		ptfs_entry_changed(ip, off);
}

static const pte_t *walk_table(const struct pt_space *s, pte_t e, int level)
{
	const struct ptfs_walk *cw = container_of(s, const struct ptfs_walk, space);
	struct ptfs_walk *w = container_of(s, struct ptfs_walk, space);
	struct ptfs_inode *ip = cw->ip;
	bool root = pt_cursor_slot(&cw->c) == &cw->root;
	u64 value = root ? e.bits & ~PTFS_E_LEVEL : e.bits;
	struct ptfs_ref ref;

	if (ptfs_entry_decode(ip->fs, value, level, &ref)) {
		w->err = ptfs_damage(ip->fs, ptfs_walk_slot(cw));
		return NULL;
	}
	// The MMU must not see such a table, so the file is not attached, and here it learns why
	// not. In tables that only software reads no more is lost than the lines that cannot be
	// loaded.
	if (ip->leaf_type == PTFS_CHUNK_DATA && ptfs_is_bad(ip->fs, ref.off, PTFS_BLOCK)) {
		w->err = -EIO;
		return NULL;
	}
	settle(ip, ptfs_walk_slot(cw), e.bits);
	w->err = ptfs_verify_table(ip, ref.off, level - 1, cw->c.va);
	return w->err ? NULL : ptfs_at(ip->fs, ref.off, PTFS_BLOCK);
}

bool ptfs_walk_init(struct ptfs_walk *w, struct ptfs_inode *ip)
{
	u64 root = ptfs_word(ip->fs, ip->root_off);

	*w = (struct ptfs_walk){ .space = { .table = walk_table },
				 .ip = ip,
				 .root = { LE_ORDER64(root) } };
	if (!root)
		return false;
	if (unlikely(!ptfs_root_level_valid(root))) { // it was sound; its memory has failed
		w->err = ptfs_damage(ip->fs, ip->root_off);
		w->root.bits = 0;
		root = ptfs_root_make(PTFS_E_P, PTFS_ROOT_LEVEL_MAX);
	}
	pt_cursor_init_entry(&w->c, &w->space, &w->root, ptfs_root_level(root));
	return true;
}

u64 ptfs_walk_slot(const struct ptfs_walk *w)
{
	const pte_t *slot = pt_cursor_slot(&w->c);

	if (slot == &w->root)
		return w->ip->root_off;
	return (u64)((const u8 *)slot - (const u8 *)w->ip->fs->region.view);
}

// ---- Finding ----

static u64 leaf_value(const struct ptfs_inode *ip, u64 off)
{
	u64 e = ptfs_word(ip->fs, off);

	return off == ip->root_off ? e & ~PTFS_E_LEVEL : e;
}

// The block that the leaf `e` at `slot` names, settled. False: it is refused.
static bool leaf_block(struct ptfs_inode *ip, u64 slot, u64 e, u64 *off)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_ref ref;

	if (likely(ptfs_leaf_current(fs, e, off)))
		return true;
	if (ptfs_entry_decode(fs, e, PT_PTE, &ref))
		return false;
	settle(ip, slot, e);
	*off = ref.off;
	return true;
}

// The run of leaves, or of holes, from word `slot` on, at most `max` words.
static int extent_of_words(struct ptfs_inode *ip, u64 slot, u64 max, struct ptfs_extent *x)
{
	struct ptfs_fs *fs = ip->fs;
	const le64_t *words = ptfs_at(fs, slot, 8 * max);
	u64 e = le64_get(words), off;

	*x = (struct ptfs_extent){ .blocks = 1, .level = PT_PTE, .hole = !e };
	if (e && !leaf_block(ip, slot, e, &x->off))
		return ptfs_damage(fs, slot);
	for (; x->blocks < max; x->blocks++) {
		e = le64_get(words + x->blocks);
		if (x->hole != !e)
			break;
		if (!x->hole && (!leaf_block(ip, slot + 8 * x->blocks, e, &off) ||
				 off != x->off + x->blocks * PTFS_BLOCK))
			break;
	}
	return 0;
}

static u64 pte_page_word(u64 off, u64 place)
{
	return off >> PTFS_BLOCK_SHIFT << PTFS_PTE_PLACE_BITS | (place + 1);
}

// `page` gets the offset of the PTE page, if there is one on the way.
static int extent_of_walk(struct ptfs_walk *w, u64 block, u64 most, struct ptfs_extent *x,
			  u64 *page)
{
	u64 va = block << PTFS_BLOCK_SHIFT;
	u64 slot, e;
	struct ptfs_ref ref;

	pt_cursor_descend(&w->c, va, PT_PTE);
	if (w->err)
		return w->err;
	slot = ptfs_walk_slot(w);
	if (w->c.level == PT_PTE) {
		*page = ALIGN_DOWN(slot, PTFS_BLOCK);
		return extent_of_words(w->ip, slot,
				       min(most, PT_ENTRIES - (u64)pt_index(va, PT_PTE)), x);
	}
	e = leaf_value(w->ip, slot);
	*x = (struct ptfs_extent){ .blocks = (pt_cursor_end(&w->c) - va) >> PTFS_BLOCK_SHIFT,
				   .level = w->c.level,
				   .hole = !e };
	if (!e)
		return 0;
	if (ptfs_entry_decode(w->ip->fs, e, w->c.level, &ref))
		return ptfs_damage(w->ip->fs, slot);
	if (!ref.leaf)
		return -EAGAIN;
	settle(w->ip, slot, ptfs_word(w->ip->fs, slot));
	x->off = ref.off + (va & (PTFS_CHUNK - 1));
	return 0;
}

static int extent_of_direct(struct ptfs_inode *ip, u64 block, u64 most, struct ptfs_extent *x)
{
	int err = extent_of_words(ip, PTFS_FIELD(ip, direct) + 8 * block,
				  min(most, PTFS_DIRECT - block), x);

	// Behind the direct entries there is nothing.
	if (!err && x->hole && block + x->blocks == PTFS_DIRECT)
		x->blocks = FILE_BLOCKS - block;
	return err;
}

static int look_up(struct ptfs_inode *ip, u64 block, u64 most, struct ptfs_extent *x, u64 *page)
{
	struct ptfs_walk w;
	bool tree;
	int err;

	if (ip->bad)
		return ip->bad;
	do {
		tree = ptfs_walk_init(&w, ip);
		if (!tree && block < PTFS_DIRECT)
			return extent_of_direct(ip, block, most, x);
		if (!tree || block << PTFS_BLOCK_SHIFT >= pt_span(w.c.top)) {
			*x = (struct ptfs_extent){ .blocks = FILE_BLOCKS - block, .hole = true };
			return 0;
		}
		err = extent_of_walk(&w, block, most, x, page);
		// -EAGAIN: between descending and looking, a hole became a table
	} while (err == -EAGAIN);
	return err;
}

int ptfs_map_extent(struct ptfs_inode *ip, u64 block, u64 most, struct ptfs_extent *x)
{
	u64 page = 0;

	return look_up(ip, block, most, x, &page);
}

int ptfs_map_find(struct ptfs_inode *ip, u64 block, u64 most, struct ptfs_extent *x)
{
	u64 place = block / PT_ENTRIES, i = block % PT_ENTRIES;
	u64 page = 0;
	int err;

	if (unlikely(ptfs_bad_count()))
		return look_up(ip, block, most, x, &page); // I5
	if (ptfs_pte_page(ip, place, &page))
		return extent_of_words(ip, page + 8 * i, min(most, PT_ENTRIES - i), x);
	page = 0;
	err = look_up(ip, block, most, x, &page);
	if (!err && page && place < PTFS_FILE_MAX >> PTFS_CHUNK_SHIFT)
		__atomic_store_n(&ip->pte_page, pte_page_word(page, place), __ATOMIC_RELEASE);
	return err;
}

void ptfs_map_forget(struct ptfs_inode *ip)
{
	WRITE_ONCE(ip->bad_answer, 0); // the count of bad blocks is not 0 where it is looked at
	__atomic_store_n(&ip->pte_page, 0, __ATOMIC_RELEASE);
}

u64 ptfs_map_count(struct ptfs_inode *ip)
{
	u64 count = 0;
	u64 block = 0;
	struct ptfs_extent x;

	if (!ip->leaf_type || ip->bad)
		return 0;
	while (block < FILE_BLOCKS) {
		int err = ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x);

		if (err)
			x = (struct ptfs_extent){ .blocks = PT_ENTRIES - block % PT_ENTRIES,
						  .hole = true };
		count += x.hole ? 0 : x.blocks;
		block += x.blocks;
	}
	return count;
}

// ---- Growing ----

int ptfs_table_new(struct ptfs_inode *ip, int level, u64 va, bool ready, u64 *off)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_new b;
	int err = ptfs_block_take(fs, PTFS_CHUNK_TABLE, PTFS_NOTHING, true, &b);

	if (err)
		return err;
	*off = b.off;
	ptfs_mutex_lock(&fs->alloc_lock);
	*ptfs_tpage(fs, *off) = (struct ptfs_tpage){
		.owner = ip->ino,
		.index = (u32)(va >> PMD_SHIFT),
		.level = (u8)level,
		.leaf_type = ip->leaf_type,
		.state = PTFS_TP_KNOWN | PTFS_TP_VERIFIED | (ready ? PTFS_TP_READY : 0),
	};
	ptfs_mutex_unlock(&fs->alloc_lock);
	ptfs_zero_new(fs, &b, 0, PTFS_BLOCK);
	return 0;
}

void ptfs_table_unknown(struct ptfs_fs *fs, u64 off)
{
	ptfs_mutex_lock(&fs->alloc_lock);
	*ptfs_tpage(fs, off) = (struct ptfs_tpage){ 0 };
	ptfs_mutex_unlock(&fs->alloc_lock);
}

void ptfs_table_drop(struct ptfs_fs *fs, u64 off)
{
	ptfs_table_unknown(fs, off);
	ptfs_block_free(fs, off);
}

// The publishing rule. What `e` names is filled; after this fence it is durable. False: somebody
// else was faster, and the word is no longer `old`.
static bool publish(struct ptfs_fs *fs, u64 slot, u64 old, u64 e)
{
	u64 quiet = e & ~PTFS_E_P;

	ptfs_fence(fs);
	if (ptfs_cas8(fs, slot, old, quiet) != old)
		return false;
	ptfs_flush(fs, slot, 8);
	ptfs_fence(fs);
	ptfs_cas8(fs, slot, quiet, e);
	return true;
}

static int root_level_for(u64 block)
{
	int level = PT_PMD;

	while (block << PTFS_BLOCK_SHIFT >= pt_span(level))
		level++;
	return level;
}

// One more level on top: slot 0 of a new page is the old root.
static int grow_top(struct ptfs_inode *ip, u64 root)
{
	struct ptfs_fs *fs = ip->fs;
	int level = ptfs_root_level(root);
	u64 e = (root & ~PTFS_E_LEVEL) | PTFS_E_P;
	u64 top;
	int err;

	settle(ip, ip->root_off, root);
	err = ptfs_table_new(ip, level, 0, ptfs_entry_ready(fs, e, level), &top);
	if (err)
		return err;
	ptfs_store8_flush(fs, top, e);
	if (!publish(fs, ip->root_off, root | PTFS_E_P,
		     ptfs_root_make(ptfs_entry_table(fs, top), level + 1)))
		ptfs_table_drop(fs, top);
	return 0;
}

static bool direct_empty(const struct ptfs_inode *ip)
{
	for (unsigned i = 0; i < PTFS_DIRECT; i++)
		if (ptfs_word(ip->fs, PTFS_FIELD(ip, direct) + 8 * i))
			return false;
	return true;
}

// From direct entries to a tree: a PTE page with the same eight words, or, if there are none, an
// empty page of the level that `block` asks for. grow_lock held, root word 0.
static int grow_direct(struct ptfs_inode *ip, u64 block)
{
	struct ptfs_fs *fs = ip->fs;
	int level = direct_empty(ip) ? root_level_for(block) : PT_PMD;
	u64 page;
	int err = ptfs_table_new(ip, level - 1, 0, true, &page);

	if (err)
		return err;
	for (unsigned i = 0; level == PT_PMD && i < PTFS_DIRECT; i++) {
		u64 e = ptfs_word(fs, PTFS_FIELD(ip, direct) + 8 * i);

		settle(ip, PTFS_FIELD(ip, direct) + 8 * i, e);
		if (e)
			ptfs_store8_flush(fs, page + 8 * i, e | PTFS_E_P);
	}
	if (!publish(fs, ip->root_off, 0, ptfs_root_make(ptfs_entry_table(fs, page), level)))
		ptfs_table_drop(fs, page);
	return 0;
}

// Where the entry of a new unit goes.
struct slot {
	u64 off;
	bool in_inode; // publishing needs grow_lock and root word 0
};

// Down to the entry of `level` for `block`, with new table pages where there are none.
static int slot_in_tree(struct ptfs_walk *w, u64 block, int level, struct slot *slot)
{
	struct ptfs_fs *fs = w->ip->fs;
	u64 va = block << PTFS_BLOCK_SHIFT;

	while (w->c.level > level) {
		u64 page;
		int err;

		if (pt_cursor_down(&w->c, va))
			continue;
		if (w->err)
			return w->err;
		if (!pte_is_none(pt_cursor_get(&w->c))) {
			if (pte_is_leaf(pt_cursor_get(&w->c), w->c.level))
				return -EEXIST;
			continue; // it has just become a table
		}
		err = ptfs_table_new(w->ip, w->c.level - 1, w->c.va, true, &page);
		if (err)
			return err;
		if (publish(fs, ptfs_walk_slot(w), 0, ptfs_entry_table(fs, page)))
			ptfs_entry_changed(w->ip, ptfs_walk_slot(w));
		else
			ptfs_table_drop(fs, page);
	}
	*slot = (struct slot){ .off = ptfs_walk_slot(w) };
	return pte_is_none(pt_cursor_get(&w->c)) ? 0 : -EEXIST;
}

// -EEXIST: there is a block, or a table where a 2 MiB leaf was wanted.
static int slot_find(struct ptfs_inode *ip, u64 block, int level, struct slot *slot)
{
	u64 page;

	if (level == PT_PTE && ptfs_pte_page(ip, block / PT_ENTRIES, &page)) { // I4
		*slot = (struct slot){ .off = page + 8 * (block % PT_ENTRIES) };
		return ptfs_word(ip->fs, slot->off) ? -EEXIST : 0;
	}
	for (;;) {
		struct ptfs_walk w;
		int err;

		if (ptfs_walk_init(&w, ip) && w.c.top >= root_level_for(block))
			return slot_in_tree(&w, block, level, slot);
		if (w.root.bits) {
			err = grow_top(ip, pte_read(&w.root).bits);
		} else if (level == PT_PTE && block < PTFS_DIRECT) {
			*slot = (struct slot){ .off = PTFS_FIELD(ip, direct) + 8 * block,
					       .in_inode = true };
			return ptfs_word(ip->fs, slot->off) ? -EEXIST : 0;
		} else if (level == PT_PMD && block < PT_ENTRIES && direct_empty(ip)) {
			*slot = (struct slot){ .off = ip->root_off, .in_inode = true };
			return 0;
		} else {
			ptfs_mutex_lock(&ip->grow_lock);
			err = ptfs_word(ip->fs, ip->root_off) ? 0 : grow_direct(ip, block);
			ptfs_mutex_unlock(&ip->grow_lock);
		}
		if (err)
			return err;
	}
}

static bool slot_publish(struct ptfs_inode *ip, const struct slot *slot, u64 off, int level)
{
	struct ptfs_fs *fs = ip->fs;
	u64 e = ptfs_entry_leaf(fs, off, level);
	bool ok;

	__atomic_store_n(&ip->blocks_known, false, __ATOMIC_SEQ_CST);
	if (!slot->in_inode) {
		ok = publish(fs, slot->off, 0, e);
		if (ok)
			ptfs_entry_changed(ip, slot->off);
		return ok;
	}
	ptfs_mutex_lock(&ip->grow_lock);
	if (slot->off == ip->root_off)
		ok = direct_empty(ip) && publish(fs, slot->off, 0, ptfs_root_make(e, level));
	else
		ok = !ptfs_word(fs, ip->root_off) && publish(fs, slot->off, 0, e);
	ptfs_mutex_unlock(&ip->grow_lock);
	return ok;
}

int ptfs_map_zeroed(struct ptfs_inode *ip, u64 block, int level)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_new b;
	struct slot slot;
	int err;

	if (ip->bad)
		return ip->bad;
	err = slot_find(ip, block, level, &slot);
	if (err)
		return err;
	err = level == PT_PTE ? ptfs_place_block(ip, block, slot.off, slot.in_inode, true, &b)
			      : ptfs_chunk_take(fs, ptfs_place_chunk(ip, block), true, &b);
	if (err)
		return err;
	ptfs_zero_new(fs, &b, 0, pt_span(level));
	if (slot_publish(ip, &slot, b.off, level)) {
		if (b.full && level == PT_PTE)
			ptfs_merge_mark(ip, block, &b);
		return 0;
	}
	ptfs_space_free(fs, b.off, level == PT_PTE ? 1 : PTFS_CHUNK_BLOCKS);
	return -EEXIST;
}

// The filled block `off` for `block`, of which [skip, skip + len) are the caller's bytes, at `slot`
// (off 0: still to be found). Has a page fault filled the hole meanwhile, they go into that block.
static int publish_filled(struct ptfs_inode *ip, u64 block, struct slot *slot, u64 off, u64 skip,
			  u64 len)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_extent x;
	int err = slot->off ? 0 : slot_find(ip, block, PT_PTE, slot);

	while (!err && !slot_publish(ip, slot, off, PT_PTE))
		err = slot_find(ip, block, PT_PTE, slot);
	if (!err)
		return 0;
	if (err == -EEXIST)
		err = ptfs_map_extent(ip, block, 1, &x);
	if (!err)
		ptfs_copy_nt(fs, x.off + skip, ptfs_at(fs, off + skip, len), len);
	ptfs_block_free(fs, off);
	return err;
}

// A page fault has put something where the filled chunk `off` should stand: block by block then.
static int scatter(struct ptfs_inode *ip, u64 block, u64 off, u64 *done)
{
	u64 first_lost = PTFS_CHUNK_BLOCKS;
	int err = 0;

	for (u64 i = 0; i < PTFS_CHUNK_BLOCKS; i++) {
		u64 at = off + i * PTFS_BLOCK;
		struct slot slot = { .off = 0 };
		int lost = 0;

		if (i * PTFS_BLOCK >= *done || first_lost < i)
			ptfs_block_free(ip->fs, at);
		else
			lost = publish_filled(ip, block + i, &slot, at, 0,
					      min(*done - i * PTFS_BLOCK, (u64)PTFS_BLOCK));
		if (lost) {
			first_lost = i;
			err = lost;
		}
	}
	*done = min(*done, first_lost * PTFS_BLOCK);
	return *done ? 0 : err;
}

int ptfs_map_filled(struct ptfs_inode *ip, u64 block, int level, struct ptfs_iter *from, u64 skip,
		    u64 len, u64 *done)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_new b;
	struct slot slot;
	int err;

	if (ip->bad)
		return ip->bad;
	err = slot_find(ip, block, level, &slot);
	if (err)
		return err;
	err = level == PT_PTE
		      ? ptfs_place_block(ip, block, slot.off, slot.in_inode, len < PTFS_BLOCK, &b)
		      : ptfs_chunk_take(fs, ptfs_place_chunk(ip, block), len < PTFS_CHUNK, &b);
	if (err)
		return err;
	*done = ptfs_iter_to_medium(from, ptfs_pa(fs, b.off + skip), len);
	if (!*done) {
		ptfs_space_free(fs, b.off, level == PT_PTE ? 1 : PTFS_CHUNK_BLOCKS);
		return -EFAULT;
	}
	ptfs_zero_new(fs, &b, 0, skip);
	ptfs_zero_new(fs, &b, skip + *done, pt_span(level) - skip - *done);
	if (level == PT_PMD)
		return slot_publish(ip, &slot, b.off, level) ? 0 : scatter(ip, block, b.off, done);
	err = publish_filled(ip, block, &slot, b.off, skip, *done);
	if (!err && b.full)
		ptfs_merge_mark(ip, block, &b);
	return err;
}
