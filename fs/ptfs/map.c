// SPDX-License-Identifier: MIT
//
// What: what the VM layer asks: the block for a page fault, the stored table for an attach.
// Not here: installing them in a process (mm/), clearing them there (the home's revoke hooks).
//
// Locking: the caller holds the mapping lock shared until it has installed the answer.
// Trust: an entry leaves here only if it is ready (verify.c), without its base tag and level bits.
#include "fs/ptfs/ptfs_internal.h"

static pte_t for_mmu(u64 e)
{
	return (pte_t){ e & ~(PTFS_E_TAG | PTFS_E_LEVEL) };
}

// Some memory has failed: a page of it is refused, and a 2 MiB leaf with a bad block is mapped page
// by page.
static int page_in_doubt(struct ptfs_inode *ip, const struct ptfs_extent *x, struct ptfs_page *out)
{
	phys_t pa = ptfs_pa(ip->fs, x->off), first;

	if (ptfs_bad_find(pa, PTFS_BLOCK, &first))
		return -EHWPOISON;
	*out = (struct ptfs_page){ .pa = pa, .level = x->level };
	if (x->level == PT_PMD &&
	    ptfs_bad_find(ptfs_pa(ip->fs, ALIGN_DOWN(x->off, PTFS_CHUNK)), PTFS_CHUNK, &first))
		out->level = PT_PTE;
	return 0;
}

int ptfs_map_page(struct ptfs_inode *ip, u64 off, bool write, struct ptfs_page *out)
{
	struct ptfs_extent x;
	int err;

	if (off >= ALIGN_UP(ptfs_size(ip), PTFS_BLOCK))
		return -ENXIO;
	if (write && ip->fs->read_only)
		return -EROFS;
	err = ptfs_map_extent(ip, off >> PTFS_BLOCK_SHIFT, 1, &x);
	while (!err && x.hole && write) {
		err = ptfs_dirty(ip->fs);
		if (!err)
			err = ptfs_map_zeroed(ip, off >> PTFS_BLOCK_SHIFT, PT_PTE);
		if (!err || err == -EEXIST)
			err = ptfs_map_extent(ip, off >> PTFS_BLOCK_SHIFT, 1, &x);
	}
	if (err)
		return err;
	if (unlikely(ptfs_bad_count()) && !x.hole)
		return page_in_doubt(ip, &x, out);
	*out = (struct ptfs_page){
		.pa = x.hole ? PHYS_NONE : ptfs_pa(ip->fs, x.off),
		.level = x.hole ? PT_PTE : x.level,
		.hole = x.hole,
	};
	return 0;
}

static void map_direct(struct ptfs_inode *ip, struct ptfs_map *out)
{
	out->kind = PTFS_MAP_DIRECT;
	for (unsigned i = 0; i < PTFS_DIRECT; i++) {
		u64 e = ptfs_word(ip->fs, PTFS_FIELD(ip, direct) + 8 * i);

		if (!ptfs_entry_ready(ip->fs, e, PT_PTE))
			out->kind = PTFS_MAP_NONE;
		out->direct[i] = for_mmu(e);
	}
}

static void map_root(struct ptfs_inode *ip, u64 e, int level, struct ptfs_map *out)
{
	if (!e || !ptfs_entry_ready(ip->fs, e & ~PTFS_E_LEVEL, level))
		return;
	out->kind = PTFS_MAP_ROOT;
	out->level = level;
	out->entry = for_mmu(e);
}

// P = 0 in what is about to leave here: publish what was published elsewhere but not finished.
static void settle_ends(struct ptfs_inode *ip)
{
	struct ptfs_extent x;

	for (u64 block = 0; block < PTFS_DIRECT && !ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x);)
		block += x.blocks;
}

int ptfs_map_table(struct ptfs_inode *ip, struct ptfs_map *out)
{
	u64 root;

	*out = (struct ptfs_map){ .kind = PTFS_MAP_NONE };
	if (ip->bad)
		return ip->bad;
	root = ptfs_word(ip->fs, ip->root_off);
	if (root) {
		map_root(ip, root, ptfs_root_level(root), out);
		return 0;
	}
	settle_ends(ip);
	map_direct(ip, out);
	return 0;
}

int ptfs_map_subtree(struct ptfs_inode *ip, u64 off, int level, struct ptfs_map *out)
{
	struct ptfs_walk w;

	*out = (struct ptfs_map){ .kind = PTFS_MAP_NONE };
	if (ip->bad)
		return ip->bad;
	if (!ptfs_walk_init(&w, ip) || off >= pt_span(w.c.top))
		return 0;
	pt_cursor_descend(&w.c, off, level);
	if (w.err)
		return w.err;
	if (w.c.level <= level)
		map_root(ip, pt_cursor_get(&w.c).bits, w.c.level, out);
	return 0;
}

bool ptfs_has_bad(struct ptfs_inode *ip)
{
	u64 known = READ_ONCE(ip->bad_answer), now = ptfs_bad_count();
	u64 block = 0;
	bool found = false;

	// One word, so that the answer never stands beside the count of another call's.
	if (likely(known >> 1 == now))
		return known & 1;
	// Those behind the end, too: the table leads to them, and the file may grow over them.
	while (!found && block < PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT) {
		struct ptfs_extent x;
		phys_t first;

		// A table that cannot be followed counts: so does one in bad memory end.
		found = ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x) ||
			(!x.hole &&
			 ptfs_bad_find(ptfs_pa(ip->fs, x.off), x.blocks * PTFS_BLOCK, &first));
		block += found ? 0 : x.blocks;
	}
	WRITE_ONCE(ip->bad_answer, now << 1 | found);
	return found;
}

void ptfs_bad_met(struct ptfs_inode *ip)
{
	ptfs_map_lock(&ip->home);
	ptfs_map_forget(ip); // table.c, I5
	ptfs_map_unlock(&ip->home);
}

int ptfs_map_ready(struct ptfs_inode *ip, u64 off, u64 len, unsigned budget)
{
	u64 root = ptfs_word(ip->fs, ip->root_off);
	int level = ptfs_root_level(root);
	struct ptfs_ref ref;

	if (ip->bad)
		return ip->bad;
	if (!root)
		return 0;
	if (ptfs_entry_decode(ip->fs, root & ~PTFS_E_LEVEL, level, &ref))
		return ptfs_damage(ip->fs, ip->root_off);
	if (ref.leaf)
		return 0;
	return ptfs_ready_table(ip, ref.off, level - 1, 0, off, off + min(len, PTFS_FILE_MAX),
				&budget);
}
