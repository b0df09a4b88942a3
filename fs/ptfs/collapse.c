// SPDX-License-Identifier: MIT
//
// What: taking a range out of the middle of a file (FALLOC_FL_COLLAPSE_RANGE).
//
//      before    [ A | from .. from + len | B ]     tables built beside:   [ A | B ]
//
// Table pages that lie wholly before `from` serve both trees; all others are built anew, because
// what they map moves. One transaction makes the new root word and the new size true; then the old
// pages and the blocks of the range are free. 2 MiB leaves stay so where they move by whole chunks,
// elsewhere their blocks are mapped one by one.
//
// Not here: the tree's usual growth (table.c), the way other blocks leave it (shrink.c).
//
// Invariants
//   I1  until the commit nothing that the old root word leads to has changed
//   I2  blocks and old pages rest (rest.c) after the revoke that follows the commit
// Locking: mapping lock exclusively, inode lock.
// Persistence: new pages, flush; one transaction {root or direct words, size, times}, whose first
// fence makes the pages durable, too, before the root word is stored.
// Failure: -ENOSPC, -ENOMEM, -EUCLEAN give the new pages back.
#include "fs/ptfs/ptfs_internal.h"

struct collapse {
	struct ptfs_inode *ip;
	u64 from, len;          // bytes
	struct ptfs_segs pages; // u64: offsets of the new table pages
	u64 nr_pages;
};

static int page_new(struct collapse *c, int level, u64 va, u64 *off)
{
	u32 per = PTFS_SEG_BYTES / sizeof(u64);
	int err = ptfs_segs_grow(&c->pages, (u32)(c->nr_pages / per + 1));

	if (!err)
		err = ptfs_table_new(c->ip, level, va, true, off);
	if (!err)
		*(u64 *)ptfs_segs_at(&c->pages, c->nr_pages++, sizeof(u64)) = *off;
	return err;
}

// Where the byte that comes to stand at `va` stands now.
static u64 source(const struct collapse *c, u64 va)
{
	return va < c->from ? va : va + c->len;
}

// Is there nothing but holes in [src, src + bytes) of the old file?
static int is_hole(struct collapse *c, u64 src, u64 bytes, bool *hole)
{
	u64 end = min(src + bytes, PTFS_FILE_MAX);

	*hole = true; // also beyond what a file can hold
	while (*hole && src < end) {
		struct ptfs_extent x;
		int err = ptfs_map_extent(c->ip, src >> PTFS_BLOCK_SHIFT, PTFS_WHOLE_RUN, &x);

		if (err)
			return err;
		*hole = x.hole;
		src += x.blocks << PTFS_BLOCK_SHIFT;
	}
	return 0;
}

// The entries of a new PTE page, run by run.
static int fill_page(struct collapse *c, u64 page, u64 va)
{
	struct ptfs_fs *fs = c->ip->fs;
	u64 i = 0;

	while (i < PT_ENTRIES) {
		u64 at = va + i * PTFS_BLOCK, src = source(c, at);
		u64 most = PT_ENTRIES - i;
		struct ptfs_extent x;
		int err;

		if (at < c->from)
			most = min(most, (c->from - at) >> PTFS_BLOCK_SHIFT);
		if (src >= PTFS_FILE_MAX)
			break;
		err = ptfs_map_extent(c->ip, src >> PTFS_BLOCK_SHIFT, most, &x);
		if (err)
			return err;
		most = min(most, x.blocks);
		for (u64 k = 0; k < most && !x.hole; k++)
			ptfs_store8(fs, page + 8 * (i + k),
				    ptfs_entry_leaf(fs, x.off + k * PTFS_BLOCK, PT_PTE));
		i += most;
	}
	ptfs_flush(fs, page, PTFS_BLOCK);
	return 0;
}

// The entry of `level` that maps [va, ...) in the old tree as it is; 0: none.
static int old_entry(struct collapse *c, int level, u64 va, u64 *e)
{
	struct ptfs_walk w;

	*e = 0;
	if (!ptfs_walk_init(&w, c->ip))
		return 0;
	pt_cursor_descend(&w.c, va, level);
	if (!w.err && w.c.level == level)
		*e = pt_cursor_get(&w.c).bits;
	return w.err;
}

// A whole chunk that moves by whole chunks.
static int moved_leaf(struct collapse *c, int level, u64 va, u64 *e)
{
	struct ptfs_extent x;
	int err;

	if (level != PT_PMD || va < c->from || !IS_ALIGNED(c->len, PTFS_CHUNK) ||
	    source(c, va) >= PTFS_FILE_MAX)
		return 0;
	err = ptfs_map_extent(c->ip, source(c, va) >> PTFS_BLOCK_SHIFT, 1, &x);
	if (!err && !x.hole && x.level == PT_PMD)
		*e = ptfs_entry_leaf(c->ip->fs, x.off, PT_PMD);
	return err;
}

// The new tree's entry of `level` for [va, va + span). Recursion ends with the levels.
static int build(struct collapse *c, int level, u64 va, u64 *e)
{
	struct ptfs_fs *fs = c->ip->fs;
	u64 span = pt_span(level);
	bool hole = false;
	u64 page;
	int err;

	if (va + span <= c->from)
		return old_entry(c, level, va, e);
	*e = 0;
	err = moved_leaf(c, level, va, e);
	if (err || *e)
		return err;
	if (va >= c->from)
		err = is_hole(c, source(c, va), span, &hole);
	if (err || hole)
		return err;
	err = page_new(c, level - 1, va, &page);
	if (err)
		return err;
	*e = ptfs_entry_table(fs, page);
	if (level == PT_PMD)
		return fill_page(c, page, va);
	for (u64 i = 0; i < PT_ENTRIES && !err; i++) {
		u64 child = 0;

		err = build(c, level - 1, va + i * pt_span(level - 1), &child);
		if (!err && child)
			ptfs_store8(fs, page + 8 * i, child | PTFS_E_P);
	}
	ptfs_flush(fs, page, PTFS_BLOCK);
	return err;
}

// The range's blocks and the pages that only the old tree used.
static void old_gone(struct collapse *c, struct ptfs_gone *g, u64 e, int level, u64 va)
{
	struct ptfs_fs *fs = c->ip->fs;
	u64 end = va + pt_span(level);
	u64 from = max(va, c->from), to = min(end, c->from + c->len);
	struct ptfs_ref ref;

	if (!e || end <= c->from || ptfs_entry_decode(fs, e, level, &ref))
		return;
	if (ref.leaf) {
		if (from < to)
			ptfs_gone_add(g, ref.off + (from - va),
				      (unsigned)((to - from) >> PTFS_BLOCK_SHIFT));
	} else {
		for (u64 i = 0; i < PT_ENTRIES; i++)
			old_gone(c, g, ptfs_word(fs, ref.off + 8 * i), level - 1,
				 va + i * pt_span(level - 1));
		ptfs_gone_table(g, ref.off);
	}
}

static void tx_size_and_times(struct ptfs_tx *tx, struct ptfs_inode *ip, u64 size)
{
	u64 now = ptfs_time_ns();

	__atomic_store_n(&ip->size, size, __ATOMIC_RELEASE);
	ip->mtime_ns = ip->ctime_ns = now;
	ptfs_tx_set(tx, PTFS_FIELD(ip, size), size);
	ptfs_tx_set(tx, PTFS_FIELD(ip, mtime_ns), now);
	ptfs_tx_set(tx, PTFS_FIELD(ip, ctime_ns), now);
}

static void collapse_direct(struct collapse *c)
{
	struct ptfs_inode *ip = c->ip;
	struct ptfs_fs *fs = ip->fs;
	u64 old[PTFS_DIRECT];
	struct ptfs_gone g;
	struct ptfs_tx tx;

	for (unsigned i = 0; i < PTFS_DIRECT; i++)
		old[i] = ptfs_word(fs, PTFS_FIELD(ip, direct) + 8 * i);
	ptfs_gone_init(&g, ip);
	ptfs_gone_revoke(&g, c->from, PTFS_FILE_MAX);
	ptfs_tx_begin(&tx, fs);
	for (u64 i = 0; i < PTFS_DIRECT; i++) {
		u64 k = source(c, i * PTFS_BLOCK) >> PTFS_BLOCK_SHIFT;

		ptfs_tx_set(&tx, PTFS_FIELD(ip, direct) + 8 * i, k < PTFS_DIRECT ? old[k] : 0);
	}
	tx_size_and_times(&tx, ip, ip->size - c->len);
	ptfs_tx_commit(&tx);
	for (u64 i = 0; i < PTFS_DIRECT; i++)
		old_gone(c, &g, old[i], PT_PTE, i * PTFS_BLOCK);
	ptfs_gone_finish(&g);
}

static void commit(struct collapse *c, u64 root, u64 e)
{
	struct ptfs_inode *ip = c->ip;
	int level = ptfs_root_level(root);
	struct ptfs_gone g;
	struct ptfs_tx tx;

	if (!e) // the direct words begin to mean something
		ptfs_zero(ip->fs, PTFS_FIELD(ip, direct), 8 * PTFS_DIRECT);
	// The whole file: the top page that mappings were attached to is one of those that go.
	ptfs_gone_init(&g, ip);
	ptfs_gone_revoke(&g, 0, PTFS_FILE_MAX);
	ptfs_tx_begin(&tx, ip->fs);
	ptfs_tx_set(&tx, ip->root_off, ptfs_root_make(e, level));
	tx_size_and_times(&tx, ip, ip->size - c->len);
	ptfs_tx_commit(&tx);
	ptfs_entry_changed(ip, ip->root_off);
	old_gone(c, &g, root & ~PTFS_E_LEVEL, level, 0);
	ptfs_gone_finish(&g);
}

int ptfs_map_collapse(struct ptfs_inode *ip, u64 from, u64 len)
{
	struct collapse c = { .ip = ip, .from = from, .len = len };
	u64 root = ptfs_word(ip->fs, ip->root_off);
	struct ptfs_extent x;
	u64 e;
	int err = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u);

	if (!err && root && !ptfs_root_level_valid(root))
		err = ptfs_damage(ip->fs, ip->root_off);
	if (err)
		return err;
	__atomic_store_n(&ip->blocks_known, false, __ATOMIC_SEQ_CST);
	ptfs_map_forget(ip);
	if (!root) {
		collapse_direct(&c);
		return 0;
	}
	err = ptfs_map_extent(ip, 0, 1, &x);
	if (!err && !x.hole && x.level == PT_PMD && ptfs_root_level(root) == PT_PMD) {
		// The root word is itself a leaf. It needs a page, as what is left may not be a
		// chunk.
		err = ptfs_map_split(ip, 0);
		root = ptfs_word(ip->fs, ip->root_off);
	}
	if (!err)
		err = build(&c, ptfs_root_level(root), 0, &e);
	if (err) {
		for (u64 i = 0; i < c.nr_pages; i++)
			ptfs_table_drop(ip->fs, *(u64 *)ptfs_segs_at(&c.pages, i, sizeof(u64)));
	} else {
		commit(&c, root, e);
		ptfs_map_tidy(ip);
	}
	ptfs_segs_free(&c.pages);
	return err;
}
