// SPDX-License-Identifier: MIT
//
// What: a scan's look at inodes that are as nearly all are: entries have P and the current tag and
// name blocks of the right type that nobody else has; the tree is no more than direct entries or
// one page of them; nothing stands behind EOF. Of such an inode all is claimed here, in one pass.
// Not here: what is otherwise, and what that means (verify.c).
//
// Invariants
//   I1  true: all is as ptfs_verify_inode and ptfs_map_ready would have left it
//   I2  false: nothing was changed, and they find an inode that nobody has looked at. So only they
//       refuse, and log
// Locking: none; everything is walked (claim.c).
#include "fs/ptfs/ptfs_internal.h"

// ---- Direct entries ----

// Claims what direct entries name: each a leaf that is as the MMU may have it, in a chunk of the
// right type. False: something is not so, and nothing is claimed.
static bool claim_direct(struct ptfs_inode *ip, const le64_t *w, unsigned nr)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_chunk *c;
	u64 off;

	for (unsigned i = 0; i < nr; i++) {
		u64 e = le64_get(&w[i]);

		if (!e)
			continue;
		if (likely(ptfs_leaf_current(fs, e, &off))) {
			c = ptfs_chunk_at(fs, off);
			if (likely(c->type == ip->leaf_type) &&
			    likely(ptfs_claim_walking(c, ptfs_block_index(off))))
				continue;
		}
		while (i-- > 0) // those before it were right
			if (le64_get(&w[i]) && ptfs_leaf_current(fs, le64_get(&w[i]), &off))
				ptfs_unclaim(fs, ptfs_chunk_at(fs, off), ptfs_block_index(off), 1);
		return false;
	}
	return true;
}

// How many direct entries there are up to the last one that is not zero.
static unsigned direct_used(const le64_t *w)
{
	unsigned n = PTFS_DIRECT;

	if (le64_get(&w[0]) == PTFS_FAILED) // then the rest of the line is left alone
		return PTFS_DIRECT;
	if (!(w[1].raw | w[2].raw | w[3].raw | w[4].raw | w[5].raw | w[6].raw | w[7].raw))
		return w[0].raw != 0;
	while (!w[n - 1].raw)
		n--;
	return n;
}
_Static_assert(PTFS_DIRECT == 8, "all of them");

static bool direct_quick(struct ptfs_inode *ip)
{
	const le64_t *w = ptfs_at(ip->fs, PTFS_FIELD(ip, direct), 8 * PTFS_DIRECT);
	unsigned nr = direct_used(w);

	// One behind EOF is to be thrown away, or kept.
	return nr * PTFS_BLOCK < ip->size + PTFS_BLOCK && claim_direct(ip, w, nr);
}

// ---- One page of entries ----

// What w[0..nr) name was claimed, and is no longer.
static void unclaim_words(struct ptfs_fs *fs, const le64_t *w, unsigned nr)
{
	u64 off;

	for (unsigned i = ptfs_words_skip(w, 0, nr); i < nr; i = ptfs_words_skip(w, i + 1, nr))
		if (ptfs_leaf_current(fs, le64_get(&w[i]), &off))
			ptfs_unclaim(fs, ptfs_chunk_at(fs, off), ptfs_block_index(off), 1);
}

// All entries of w[0..nr), by runs of neighbours, which lie in one chunk each.
static bool claim_words(struct ptfs_inode *ip, const le64_t *w, unsigned nr)
{
	struct ptfs_fs *fs = ip->fs;
	unsigned n;

	for (unsigned i = ptfs_words_skip(w, 0, nr); i < nr; i = ptfs_words_skip(w, i + n, nr)) {
		unsigned first;
		u64 off;

		if (likely(ptfs_leaf_current(fs, le64_get(&w[i]), &off))) {
			first = ptfs_block_index(off);
			n = ptfs_words_run(w + i, min(nr - i, PTFS_CHUNK_BLOCKS - first));
			if (likely(!ptfs_claim(fs, ptfs_chunk_at(fs, off), ip->leaf_type, first,
					       n)))
				continue;
		}
		unclaim_words(fs, w, i);
		return false;
	}
	return true;
}

// Apart: what it keeps in registers is not to be saved for the many without a page.
static __attribute__((noinline)) bool page_quick(struct ptfs_inode *ip, u64 root)
{
	struct ptfs_fs *fs = ip->fs;
	u64 off = ptfs_word_table(fs, root & ~PTFS_E_LEVEL);
	// A file may reach beyond what its tree maps.
	unsigned kept = (unsigned)min(DIV_ROUND_UP(ip->size, PTFS_BLOCK), PT_ENTRIES + 0ull);
	struct ptfs_tpage *tp;
	struct ptfs_chunk *c;
	const le64_t *w;

	if (off == PTFS_NOTHING || !ip->size)
		return false;
	c = ptfs_chunk_at(fs, off);
	w = ptfs_at(fs, off, PTFS_BLOCK);
	tp = ptfs_tpage(fs, off);
	if (!tp || ptfs_words_skip(w, kept, PT_ENTRIES) < PT_ENTRIES ||
	    !ptfs_claim_walking(c, ptfs_block_index(off)))
		return false;
	if (!claim_words(ip, w, kept)) {
		ptfs_unclaim(fs, c, ptfs_block_index(off), 1);
		return false;
	}
	*tp = (struct ptfs_tpage){
		.owner = ip->ino,
		.level = PT_PTE,
		.leaf_type = ip->leaf_type,
		.state = PTFS_TP_KNOWN | PTFS_TP_VERIFIED | PTFS_TP_READY,
	};
	ptfs_count(PTFS_STAT_VERIFY, 1);
	return true;
}

bool ptfs_scan_quick(struct ptfs_inode *ip, u64 root, u8 *state)
{
	if (!ip->leaf_type || *state || ip->fs->read_only)
		return false;
	if (!root ? !direct_quick(ip) : ptfs_root_level(root) != PT_PMD || !page_quick(ip, root))
		return false;
	*state = PTFS_IN_VERIFIED;
	return true;
}
