// SPDX-License-Identifier: MIT
//
// What: taking blocks away from a file: clear entries, gather what they led to; and a tree loses
// levels. Each call revokes once, when all is cleared.
// Not here: revoking, and what becomes of blocks afterwards (rest.c), the order of size, zeroed
// tail and cut (falloc.c), moving what follows (collapse.c), evicting an inode (inode.c).
//
// Invariants
//   I1  a block or table page is handed to rest.c when its entry is cleared in the file's table.
//       What was below keeps its contents and may be walked until then
//   I2  the root word never names a table page that is free
//   I3  only what is claimed goes: a subtree that fails verification stays allocated (and is
//       lost until the next scan)
// Locking: the mapping lock exclusively, or nobody else has the inode.
// Persistence: entries 0, flush, fence; then the blocks may serve others. Root words change by one
// store after what they name, or the direct words, are durable.
#include "fs/ptfs/ptfs_internal.h"

// All that the entry `e`, which was cleared, led to.
static void entry_gone(struct ptfs_gone *g, u64 e, int level, u64 va)
{
	struct ptfs_inode *ip = g->ip;
	struct ptfs_ref ref;

	if (!e || ptfs_entry_decode(ip->fs, e, level, &ref))
		return;
	if (ref.leaf) {
		ptfs_gone_add(g, ref.off, level == PT_PMD ? PTFS_CHUNK_BLOCKS : 1);
		return;
	}
	if (ptfs_verify_table(ip, ref.off, level - 1, va))
		return;
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		entry_gone(g, ptfs_word(ip->fs, ref.off + 8 * i), level - 1,
			   va + i * pt_span(level - 1));
	ptfs_gone_table(g, ref.off);
}

static void cut(struct ptfs_gone *g, u64 slot, int level, u64 va)
{
	struct ptfs_fs *fs = g->ip->fs;
	u64 e = ptfs_word(fs, slot);

	if (!e)
		return;
	ptfs_store8_flush(fs, slot, 0);
	ptfs_entry_changed(g->ip, slot);
	entry_gone(g, e, level, va);
}

static void cut_direct(struct ptfs_gone *g, u64 from, u64 end)
{
	u64 last = min(end >> PTFS_BLOCK_SHIFT, (u64)PTFS_DIRECT);

	ptfs_gone_revoke(g, from, end);
	for (u64 i = from >> PTFS_BLOCK_SHIFT; i < last; i++)
		cut(g, PTFS_FIELD(g->ip, direct) + 8 * i, PT_PTE, i << PTFS_BLOCK_SHIFT);
}

// The root word changes to `to`, behind a fence for what it names (0: the direct words). No other
// one is needed here: what the old one named is freed behind the fence of ptfs_gone_finish.
static void root_replace(struct ptfs_inode *ip, u64 to)
{
	ptfs_fence(ip->fs);
	ptfs_store8_flush(ip->fs, ip->root_off, to);
	ptfs_entry_changed(ip, ip->root_off);
}

static void direct_write(struct ptfs_inode *ip, const u64 *words)
{
	for (unsigned i = 0; i < PTFS_DIRECT; i++)
		ptfs_store8(ip->fs, PTFS_FIELD(ip, direct) + 8 * i, words[i]);
	ptfs_flush(ip->fs, PTFS_FIELD(ip, direct), 8 * PTFS_DIRECT);
}

static void cut_all(struct ptfs_gone *g, u64 root)
{
	static const u64 holes[PTFS_DIRECT];

	ptfs_gone_revoke(g, 0, PTFS_FILE_MAX);
	direct_write(g->ip, holes);
	root_replace(g->ip, 0);
	entry_gone(g, root & ~PTFS_E_LEVEL, ptfs_root_level(root), 0);
}

// Clear every entry that maps nothing outside [from, end), in tables on the paths to both. They are
// verified: the caller has walked down to them. A 2 MiB leaf that reaches out of the range stays.
static int cut_tree(struct ptfs_gone *g, struct ptfs_walk *w, u64 from, u64 end)
{
	bool more = true;

	ptfs_gone_revoke(g, from, end);
	while (more && w->c.va < end) {
		if (w->c.va >= from && pt_cursor_end(&w->c) <= end)
			cut(g, ptfs_walk_slot(w), w->c.level, w->c.va);
		else if (pt_cursor_end(&w->c) > from && pt_cursor_down(&w->c, max(from, w->c.va)))
			continue;
		more = !w->err && pt_cursor_next(&w->c);
	}
	return w->err;
}

// Take off one top level that is not needed for what lies below `from`. False: nothing to take.
static bool shrink_once(struct ptfs_gone *g, u64 from)
{
	struct ptfs_inode *ip = g->ip;
	struct ptfs_fs *fs = ip->fs;
	u64 root = ptfs_word(fs, ip->root_off);
	int level = ptfs_root_level(root);
	u64 words[PTFS_DIRECT];
	struct ptfs_ref ref;
	u64 limit = level <= PT_PMD ? PTFS_DIRECT * PTFS_BLOCK : pt_span(level - 1);

	if (!root || from > limit || ptfs_entry_decode(fs, root & ~PTFS_E_LEVEL, level, &ref) ||
	    ref.leaf || ptfs_verify_table(ip, ref.off, level - 1, 0))
		return false;
	for (unsigned i = 0; i < PTFS_DIRECT; i++) {
		words[i] = ptfs_word(fs, ref.off + 8 * i);
		if (words[i] == PTFS_FAILED)
			return false; // nothing to build on
	}
	ptfs_gone_revoke(g, 0, PTFS_FILE_MAX);
	if (level == PT_PMD || !words[0]) {
		if (level != PT_PMD)
			memset(words, 0, sizeof(words));
		direct_write(ip, words);
		root_replace(ip, 0);
	} else {
		root_replace(ip, ptfs_root_make(words[0], level - 1));
	}
	ptfs_gone_table(g, ref.off);
	return true;
}

static int cut_from(struct ptfs_gone *g, u64 from)
{
	struct ptfs_inode *ip = g->ip;
	struct ptfs_walk w;
	int err;

	if (!ptfs_walk_init(&w, ip)) {
		if (from < PTFS_DIRECT * PTFS_BLOCK)
			cut_direct(g, from, PTFS_FILE_MAX);
		return 0;
	}
	if (w.err)
		return w.err;
	if (!from) {
		cut_all(g, pte_read(&w.root).bits);
		return 0;
	}
	if (from < pt_span(w.c.top)) {
		pt_cursor_descend(&w.c, from, PT_PTE);
		if (w.err)
			return w.err;
		ptfs_walk_init(&w, ip);
		err = cut_tree(g, &w, from, PTFS_FILE_MAX);
		if (err)
			return err;
	}
	while (shrink_once(g, from))
		;
	return 0;
}

int ptfs_map_cut(struct ptfs_inode *ip, u64 from)
{
	struct ptfs_gone g;
	int err;

	if (ip->bad)
		return ip->bad;
	__atomic_store_n(&ip->blocks_known, false, __ATOMIC_SEQ_CST);
	ptfs_map_forget(ip);
	ptfs_gone_init(&g, ip);
	err = cut_from(&g, from);
	ptfs_gone_finish(&g);
	return err;
}

// First byte behind what the slots in use of the top page map; 0: none is.
static u64 top_reach(struct ptfs_inode *ip)
{
	u64 root = ptfs_word(ip->fs, ip->root_off);
	int level = ptfs_root_level(root);
	struct ptfs_ref ref;

	if (!root || ptfs_entry_decode(ip->fs, root & ~PTFS_E_LEVEL, level, &ref) || ref.leaf)
		return PTFS_NOTHING;
	for (unsigned i = PT_ENTRIES; i-- > 0;)
		if (ptfs_word(ip->fs, ref.off + 8 * i))
			return (i + 1) * pt_span(level - 1);
	return 0;
}

static bool page_is_empty(const struct ptfs_fs *fs, u64 off)
{
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		if (ptfs_word(fs, off + 8 * i))
			return false;
	return true;
}

// The table pages on the way to `va` that have become empty go too, from the lowest upwards. The
// top page is left to shrink_once.
static void prune(struct ptfs_gone *g, u64 va)
{
	struct ptfs_inode *ip = g->ip;

	for (int level = PT_PMD;; level++) {
		struct ptfs_walk w;
		struct ptfs_ref ref;

		if (!ptfs_walk_init(&w, ip) || va >= pt_span(w.c.top) || level >= w.c.top)
			return;
		pt_cursor_descend(&w.c, va, level);
		if (w.err)
			return;
		if (w.c.level > level) // nothing that low
			continue;
		if (!ptfs_word(ip->fs, ptfs_walk_slot(&w)) ||
		    ptfs_entry_decode(ip->fs, pt_cursor_get(&w.c).bits, level, &ref))
			continue;
		if (ref.leaf || !page_is_empty(ip->fs, ref.off))
			return;
		ptfs_gone_revoke(g, w.c.va, pt_cursor_end(&w.c));
		cut(g, ptfs_walk_slot(&w), level, w.c.va);
	}
}

static void tidy(struct ptfs_gone *g)
{
	u64 reach;

	ptfs_map_forget(g->ip);
	do
		reach = top_reach(g->ip);
	while (reach != PTFS_NOTHING && shrink_once(g, reach));
}

void ptfs_map_tidy(struct ptfs_inode *ip)
{
	struct ptfs_gone g;

	ptfs_gone_init(&g, ip);
	tidy(&g);
	ptfs_gone_finish(&g);
}

int ptfs_map_part(struct ptfs_inode *ip, u64 at)
{
	struct ptfs_extent x;
	int err;

	if (at >= PTFS_FILE_MAX)
		return 0;
	err = ptfs_map_extent(ip, at >> PTFS_BLOCK_SHIFT, 1, &x);
	if (err || x.hole || x.level != PT_PMD || IS_ALIGNED(at, PTFS_CHUNK))
		return err;
	return ptfs_map_split(ip, at >> PTFS_BLOCK_SHIFT);
}

// The same for an end of [from, end). No table page to be had: what of the range lies in the leaf
// is zeroed in place, unless the memory of that has failed, which zeros do not help.
static int edge(struct ptfs_inode *ip, u64 at, u64 from, u64 end)
{
	int err = ptfs_map_part(ip, at);
	struct ptfs_extent x;

	if (err != -ENOSPC && err != -ENOMEM)
		return err;
	at = ALIGN_DOWN(at, PTFS_CHUNK);
	from = max(from, at);
	end = min(end, at + PTFS_CHUNK);
	if (ptfs_map_extent(ip, from >> PTFS_BLOCK_SHIFT, 1, &x) ||
	    ptfs_is_bad(ip->fs, x.off, end - from))
		return err;
	return ptfs_zero_existing(ip, from, end);
}

static int punch(struct ptfs_gone *g, u64 from, u64 end)
{
	struct ptfs_inode *ip = g->ip;
	struct ptfs_walk w;
	int err = 0;

	if (!ptfs_walk_init(&w, ip)) {
		if (from < PTFS_DIRECT * PTFS_BLOCK)
			cut_direct(g, from, end);
		return 0;
	}
	if (w.err)
		return w.err;
	if (!from && end >= pt_span(w.c.top)) {
		cut_all(g, pte_read(&w.root).bits);
		return 0;
	}
	if (from < pt_span(w.c.top)) {
		err = cut_tree(g, &w, from, end);
		prune(g, from);
		prune(g, end - 1);
	}
	tidy(g);
	return err;
}

int ptfs_map_punch(struct ptfs_inode *ip, u64 from, u64 end)
{
	struct ptfs_gone g;
	int err = edge(ip, from, from, end);

	if (!err)
		err = edge(ip, end, from, end);
	if (err)
		return err;
	__atomic_store_n(&ip->blocks_known, false, __ATOMIC_SEQ_CST);
	ptfs_map_forget(ip);
	ptfs_gone_init(&g, ip);
	err = punch(&g, from, end);
	ptfs_gone_finish(&g);
	return err;
}

// Neither a tree nor a direct block: most files that come and go, and every empty one.
static bool is_empty(const struct ptfs_inode *ip, u64 root)
{
	const le64_t *words = ptfs_at(ip->fs, PTFS_FIELD(ip, direct), 8 * PTFS_DIRECT);
	u64 any = root;

	for (unsigned i = 0; i < PTFS_DIRECT; i++)
		any |= le64_get(&words[i]);
	return !any;
}

// Nobody maps the file and nobody will: who maps has a reference. So there is nothing to revoke.
void ptfs_map_release(struct ptfs_inode *ip)
{
	u64 root = ptfs_word(ip->fs, ip->root_off);
	struct ptfs_gone g;

	if (!ip->leaf_type || ip->bad || is_empty(ip, root))
		return;
	ptfs_map_forget(ip);
	if (ptfs_home_copied(&ip->home)) { // whoever sees to the copy reads tables under the lock
		ptfs_map_lock(&ip->home);
		ptfs_home_root_changed(&ip->home);
		ptfs_map_unlock(&ip->home);
	}
	ptfs_gone_init(&g, ip);
	if (root)
		entry_gone(&g, root & ~PTFS_E_LEVEL, ptfs_root_level(root), 0);
	for (unsigned i = 0; !root && i < PTFS_DIRECT; i++)
		entry_gone(&g, ptfs_word(ip->fs, PTFS_FIELD(ip, direct) + 8 * i), PT_PTE,
			   i * PTFS_BLOCK);
	ptfs_gone_finish(&g);
}
