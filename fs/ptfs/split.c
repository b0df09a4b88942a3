// SPDX-License-Identifier: MIT
//
// What: a 2 MiB leaf becomes a PTE page that maps the same 512 blocks.
// Not here: who needs that (shrink.c, when a part of the leaf is to go).
//
// A CPU may cache a large and a small translation of one address at the same time, and the
// manuals leave open what happens then. So no CPU ever sees both: the leaf loses P (for software it
// means the same), all translations are revoked, and only then the table stands in its place.
//
// Locking: the mapping lock exclusively: a fault that meets P = 0 waits for it.
// Persistence: the page, flush, fence; the entry changes from leaf to table in one store. A crash
// leaves one or the other, with P or without.
#include "fs/ptfs/ptfs_internal.h"

static void page_fill(struct ptfs_fs *fs, u64 page, u64 chunk)
{
	for (u64 i = 0; i < PT_ENTRIES; i++)
		ptfs_store8(fs, page + 8 * i, ptfs_entry_leaf(fs, chunk + i * PTFS_BLOCK, PT_PTE));
	ptfs_flush(fs, page, PTFS_BLOCK);
	ptfs_fence(fs);
}

int ptfs_map_split(struct ptfs_inode *ip, u64 block)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_walk w;
	struct ptfs_ref ref;
	u64 slot, e, level, page;
	int err;

	ptfs_assert(ptfs_walk_init(&w, ip));
	pt_cursor_descend(&w.c, block << PTFS_BLOCK_SHIFT, PT_PMD);
	if (w.err)
		return w.err;
	slot = ptfs_walk_slot(&w);
	e = ptfs_word(fs, slot);
	level = slot == ip->root_off ? e & PTFS_E_LEVEL : 0;
	e &= ~level;
	if (ptfs_entry_decode(fs, e, w.c.level, &ref))
		return ptfs_damage(fs, slot);
	ptfs_assert(w.c.level == PT_PMD && ref.leaf);
	err = ptfs_table_new(ip, PT_PTE, w.c.va, true, &page);
	if (err)
		return err;
	page_fill(fs, page, ref.off);
	ptfs_revoke_begin(&ip->home);
	ptfs_store8(fs, slot, (e & ~PTFS_E_P) | level);
	ptfs_entry_changed(ip, slot);
	ptfs_revoke_finish(&ip->home, w.c.va, PTFS_CHUNK, PTFS_FORGET_ALL);
	// No fence: leaf and table map the same durable blocks until the table changes, and who
	// changes it fences before anything depends on that.
	ptfs_store8_flush(fs, slot, ptfs_entry_table(fs, page) | level);
	ptfs_entry_changed(ip, slot);
	ptfs_count(PTFS_STAT_SPLIT, 1);
	return 0;
}
