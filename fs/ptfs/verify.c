// SPDX-License-Identifier: MIT
//
// What: trust. A stored page table is input: every entry is looked at before the kernel follows it
// and long before the MMU may. Looking at an entry *claims* what it names, so that nothing is named
// twice.
//
//      unverified -- all entries sound, targets claimed --> verified -- all below too --> ready
//           \------------------- any entry is not ------> bad (nothing claimed; EUCLEAN)
//
// Not here: following entries (table.c), claims (claim.c), walking everything (scan.c) and the
// quick way for that (quick.c).
//
// Invariants
//   I1  a page is verified or refused as a whole: a refusal gives back the claims it had made
//   I2  a table page's state names the one place (owner, level, index) that may lead to it
//   I3  READY implies VERIFIED, P set and the current tag in all entries, and READY children; on a
//       writable mount VERIFIED implies that the current tags are durable
//   I4  what the kernel itself publishes is claimed by allocation and ready
// Locking: alloc_lock from the first claim of a page to the last; while everything is walked, none
// (claim.c).
// Persistence: verification changes entries only by compare-and-swap to their own meaning (P, tag).
// A scan also clears entries beyond EOF.
// Failure: -EUCLEAN with one log line for the page; -ENOMEM leaves it unverified.
#include "fs/ptfs/ptfs_internal.h"

// First byte of the file whose entries a scan throws away.
static u64 trim_from(const struct ptfs_inode *ip)
{
	if (!ip->fs->scanning || ip->fs->read_only || ip == &ip->fs->itable ||
	    (ip->flags & PTFS_INODE_PREALLOC))
		return PTFS_NOTHING;
	return ALIGN_UP(ip->size, PTFS_BLOCK);
}

// What stands between a page's two states changes under alloc_lock; while everything is walked, by
// the one CPU that has claimed it (claim.c).
static void claims_lock(struct ptfs_fs *fs)
{
	if (!fs->walking)
		ptfs_mutex_lock(&fs->alloc_lock);
}

static void claims_unlock(struct ptfs_fs *fs)
{
	if (!fs->walking)
		ptfs_mutex_unlock(&fs->alloc_lock);
}

// Claim what an entry of `level` at `va` names, and the `nr` - 1 blocks behind it, which the
// entries behind it name. *why is set with -EUCLEAN; then nothing is claimed.
static int claim(struct ptfs_inode *ip, const struct ptfs_ref *r, int level, unsigned nr, u64 va,
		 const char **why)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_chunk *c = ptfs_chunk_at(fs, r->off);
	unsigned block = ptfs_block_index(r->off);
	int err;

	if (r->leaf && level == PT_PMD) {
		*why = ip->leaf_type != PTFS_CHUNK_DATA
			       ? "a 2 MiB leaf in a file that is not regular"
			       : ptfs_claim(fs, c, PTFS_CHUNK_DATA, 0, PTFS_CHUNK_BLOCKS);
		return *why ? -EUCLEAN : 0;
	}
	if (r->leaf) {
		*why = ptfs_claim(fs, c, ip->leaf_type, block, nr);
		return *why ? -EUCLEAN : 0;
	}
	err = ptfs_chunk_aux_locked(c);
	if (err)
		return err;
	*why = ptfs_claim(fs, c, PTFS_CHUNK_TABLE, block, 1);
	if (*why)
		return -EUCLEAN;
	*ptfs_tpage(fs, r->off) = (struct ptfs_tpage){
		.owner = ip->ino,
		.index = (u32)(va >> PMD_SHIFT),
		.level = (u8)(level - 1),
		.leaf_type = ip->leaf_type,
		.state = PTFS_TP_KNOWN,
	};
	return 0;
}

static void unclaim(struct ptfs_inode *ip, const struct ptfs_ref *r, int level)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_chunk *c = ptfs_chunk_at(fs, r->off);

	if (r->leaf && level == PT_PMD) {
		ptfs_unclaim(fs, c, 0, PTFS_CHUNK_BLOCKS);
		return;
	}
	if (!r->leaf)
		*ptfs_tpage(fs, r->off) = (struct ptfs_tpage){ 0 };
	ptfs_unclaim(fs, c, ptfs_block_index(r->off), 1);
}

// Where a run of entries stands: a table page, or the direct entries of an inode.
struct run {
	u64 off; // of the first entry
	unsigned nr;
	int level;
	u64 va; // what the first entry maps
};

static u64 run_entry(const struct ptfs_fs *fs, const struct run *r, unsigned i)
{
	return ptfs_word(fs, r->off + 8 * i);
}

static void run_unclaim(struct ptfs_inode *ip, const struct run *r, unsigned nr)
{
	struct ptfs_ref ref;

	for (unsigned i = 0; i < nr; i++) {
		u64 e = run_entry(ip->fs, r, i);

		if (e && !ptfs_entry_decode(ip->fs, e, r->level, &ref))
			unclaim(ip, &ref, r->level);
	}
}

// The words of a run, looked at in passing: the page was checked to lie in the region. All of them
// are looked at, most of them once: this is the inner loop of recovery.
static const le64_t *run_words(const struct ptfs_fs *fs, const struct run *r)
{
	return ptfs_at(fs, r->off, 8ull * r->nr);
}

#define STEP 64u // eight cache lines: most of a table page of a small file is zero

static inline u64 any_of_8(const le64_t *w)
{
	return media_any8(&w->raw);
}

static inline bool step_is_zero(const le64_t *w)
{
	return !(any_of_8(w) | any_of_8(w + 8) | any_of_8(w + 16) | any_of_8(w + 24) |
		 any_of_8(w + 32) | any_of_8(w + 40) | any_of_8(w + 48) | any_of_8(w + 56));
}

unsigned ptfs_words_skip(const le64_t *w, unsigned i, unsigned end)
{
	const le64_t *at = w + i, *last = w + end;

	while (at < last && !le64_get(at)) {
		while (last - at >= STEP && step_is_zero(at))
			at += STEP;
		while (last - at >= 8 && !any_of_8(at))
			at += 8;
		if (at < last && !le64_get(at))
			at++;
	}
	return (unsigned)(at - w);
}

unsigned ptfs_words_run(const le64_t *w, unsigned most)
{
	const le64_t *at = w + 1, *last = w + most;
	u64 e = le64_get(w) + PTFS_BLOCK;

	for (; last - at >= 4 && le64_get(at) == e && le64_get(at + 1) == e + PTFS_BLOCK &&
	       le64_get(at + 2) == e + 2 * PTFS_BLOCK && le64_get(at + 3) == e + 3 * PTFS_BLOCK;
	     at += 4)
		e += 4 * PTFS_BLOCK;
	for (; at < last && le64_get(at) == e; at++)
		e += PTFS_BLOCK;
	return (unsigned)(at - w);
}

// Throw away the entries of the run from `first` on.
static void run_trim(struct ptfs_fs *fs, const struct run *r, unsigned first)
{
	const le64_t *w = run_words(fs, r);

	for (unsigned i = ptfs_words_skip(w, first, r->nr); i < r->nr;
	     i = ptfs_words_skip(w, i + 1, r->nr))
		ptfs_store8_flush(fs, r->off + 8 * i, 0);
}

// How many entries of the run are not thrown away.
static unsigned run_kept(const struct ptfs_inode *ip, const struct run *r)
{
	u64 trim = trim_from(ip);

	if (trim <= r->va)
		return 0;
	if (trim - r->va >= r->nr * pt_span(r->level))
		return r->nr;
	return (unsigned)((trim - r->va + pt_span(r->level) - 1) >> pt_shift(r->level));
}

// Claim all targets of the run, or none. *soft: some entry is not for the MMU as it stands.
static int run_claim(struct ptfs_inode *ip, const struct run *r, bool *soft)
{
	struct ptfs_fs *fs = ip->fs;
	const le64_t *w = run_words(fs, r);
	unsigned kept = run_kept(ip, r);
	bool one_by_one = false;
	unsigned n;

	for (unsigned i = ptfs_words_skip(w, 0, kept); i < kept;
	     i = ptfs_words_skip(w, i + n, kept)) {
		u64 e = le64_get(&w[i]);
		struct ptfs_ref ref = { .leaf = true };
		const char *why = NULL;
		int err = -EUCLEAN;

		if (r->level != PT_PTE || !ptfs_leaf_current(fs, e, &ref.off)) // most are
			why = ptfs_entry_decode(fs, e, r->level, &ref);
		n = 1;
		if (!why && r->level == PT_PTE && !one_by_one)
			n = ptfs_words_run(w + i, min(kept - i, PTFS_CHUNK_BLOCKS -
									ptfs_block_index(ref.off)));
		if (!why)
			err = claim(ip, &ref, r->level, n, r->va + i * pt_span(r->level), &why);
		if (err == -EUCLEAN && n > 1) {
			one_by_one = true; // the log shall name the very entry
			n = 0;
			continue;
		}
		if (err) {
			run_unclaim(ip, r, i);
			return err != -EUCLEAN
				       ? err
				       : ptfs_refuse(fs, ip, why, r->off + 8 * i, r->level, i, e);
		}
		*soft |= ref.soft;
	}
	if (kept < r->nr)
		run_trim(fs, r, kept);
	return 0;
}

// Bring an entry to what the MMU may follow: P set, current base. By compare-and-swap: a plain
// store would resurrect an entry that a truncate has just cleared.
// True: it has another tag now, and is to be written back.
static bool harden(struct ptfs_fs *fs, u64 off, u64 e, u64 level_bits, int level)
{
	struct ptfs_ref ref;
	u64 hard;

	if (!e || ptfs_entry_decode(fs, e, level, &ref) || !ref.soft)
		return false;
	hard = ref.leaf ? ptfs_entry_leaf(fs, ref.off, level) : ptfs_entry_table(fs, ref.off);
	ptfs_cas8(fs, off, e | level_bits, hard | level_bits);
	return (e ^ hard) & PTFS_E_TAG;
}

// What was rebased is durable before the run counts as verified: the pass that frees the old tags
// looks at nothing but that.
static void run_harden(struct ptfs_fs *fs, const struct run *r)
{
	unsigned rebased = 0;

	for (unsigned i = 0; i < r->nr; i++)
		rebased += harden(fs, r->off + 8 * i, run_entry(fs, r, i), 0, r->level);
	if (!rebased)
		return;
	ptfs_count(PTFS_STAT_REBASE, rebased);
	ptfs_flush(fs, r->off, 8 * r->nr);
	ptfs_fence(fs);
}

// What a refused page names stays out of use: it may be the data that someone wants to rescue, and
// the page would claim it again after the next mount.
static void quarantine(struct ptfs_inode *ip, const struct run *r)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_ref ref;

	for (unsigned i = 0; i < r->nr; i++) {
		u64 e = run_entry(fs, r, i);
		struct ptfs_chunk *c;

		if (!e || ptfs_entry_decode(fs, e, r->level, &ref))
			continue;
		c = ptfs_chunk_at(fs, ref.off);
		if (c->type == PTFS_CHUNK_FREE)
			continue;
		if (ref.leaf && r->level == PT_PMD)
			ptfs_quarantine(c, 0, PTFS_CHUNK_BLOCKS);
		else
			ptfs_quarantine(c, ptfs_block_index(ref.off), 1);
	}
}

static int verify_table_locked(struct ptfs_inode *ip, struct ptfs_tpage *tp, u64 off)
{
	struct ptfs_fs *fs = ip->fs;
	struct run r = {
		.off = off, .nr = PT_ENTRIES, .level = tp->level, .va = (u64)tp->index << PMD_SHIFT
	};
	bool soft = false;
	u8 state = tp->state | PTFS_TP_VERIFIED;
	int err = run_claim(ip, &r, &soft);

	if (ptfs_is_damage(err))
		state = tp->state | PTFS_TP_BAD;
	if (ptfs_is_damage(err) && fs->scanning)
		quarantine(ip, &r);
	if (err && !ptfs_is_damage(err))
		return err;
	if (!err && soft && fs->read_only)
		state |= PTFS_TP_SOFT;
	else if (!err && soft)
		run_harden(fs, &r);
	if (!err && r.level == PT_PTE)
		state |= state & PTFS_TP_SOFT ? PTFS_TP_DONE : PTFS_TP_READY;
	__atomic_store_n(&tp->state, state, __ATOMIC_RELEASE);
	if (!err)
		ptfs_count(PTFS_STAT_VERIFY, 1);
	return err;
}

int ptfs_verify_table(struct ptfs_inode *ip, u64 off, int level, u64 va)
{
	struct ptfs_fs *fs = ip->fs;
	struct ptfs_tpage *tp = ptfs_tpage(fs, off);
	u8 state = tp ? __atomic_load_n(&tp->state, __ATOMIC_ACQUIRE) : 0;
	int err = 0;

	// The entry that led here was verified, so the page is known; as another one's it is
	// refused.
	if (!(state & PTFS_TP_KNOWN) || tp->owner != ip->ino || tp->level != level ||
	    tp->index != va >> PMD_SHIFT || tp->leaf_type != ip->leaf_type)
		return ptfs_refuse(fs, ip, "table page belongs elsewhere", off, level, 0, off);
	if (state & PTFS_TP_BAD)
		return ptfs_damage(fs, off);
	if (state & PTFS_TP_VERIFIED)
		return 0;
	claims_lock(fs);
	if (tp->state & PTFS_TP_BAD)
		err = ptfs_damage(fs, off);
	else if (!(tp->state & PTFS_TP_VERIFIED))
		err = verify_table_locked(ip, tp, off);
	claims_unlock(fs);
	return err;
}

static bool page_is(const struct ptfs_fs *fs, u64 off, u8 states)
{
	struct ptfs_tpage *tp = ptfs_tpage(fs, off);

	return tp && (__atomic_load_n(&tp->state, __ATOMIC_ACQUIRE) & states);
}

bool ptfs_entry_ready(const struct ptfs_fs *fs, u64 e, int level)
{
	struct ptfs_ref ref;

	if (!e)
		return true;
	if (ptfs_entry_decode(fs, e, level, &ref) || ref.soft)
		return false;
	if (ref.leaf)
		return true;
	return page_is(fs, ref.off, PTFS_TP_READY);
}

// Of one page that is verified: what can be said about it and all below.
static u8 state_below(const struct ptfs_fs *fs, const struct run *r)
{
	u8 state = page_is(fs, r->off, PTFS_TP_SOFT) ? PTFS_TP_DONE : PTFS_TP_READY;

	for (unsigned i = 0; i < r->nr && state; i++) {
		u64 e = run_entry(fs, r, i);
		struct ptfs_ref ref;

		if (ptfs_entry_ready(fs, e, r->level))
			continue;
		if (!fs->read_only || ptfs_entry_decode(fs, e, r->level, &ref))
			return 0;
		if (!ref.leaf && !page_is(fs, ref.off, PTFS_TP_READY | PTFS_TP_DONE))
			return 0;
		state = PTFS_TP_DONE;
	}
	return state;
}

// The pages below that map part of [from, end).
static int ready_children(struct ptfs_inode *ip, const struct run *r, u64 from, u64 end,
			  unsigned *budget)
{
	int result = 0;

	for (unsigned i = 0; i < r->nr; i++) {
		u64 e = run_entry(ip->fs, r, i);
		u64 va = r->va + i * pt_span(r->level);
		struct ptfs_ref ref;
		int err;

		if (!e || va >= end || va + pt_span(r->level) <= from)
			continue;
		if (ptfs_entry_decode(ip->fs, e, r->level, &ref) || ref.leaf)
			continue;
		err = ptfs_ready_table(ip, ref.off, r->level - 1, va, from, end, budget);
		if (err < 0)
			result = err;
		else if (err)
			return err;
	}
	return result;
}

int ptfs_ready_table(struct ptfs_inode *ip, u64 off, int level, u64 va, u64 from, u64 end,
		     unsigned *budget)
{
	struct ptfs_fs *fs = ip->fs;
	struct run r = { .off = off, .nr = PT_ENTRIES, .level = level, .va = va };
	u8 state;
	int err;

	if (page_is(fs, off, PTFS_TP_READY | PTFS_TP_DONE))
		return 0;
	if (!*budget)
		return 1;
	--*budget;
	err = ptfs_verify_table(ip, off, level, va);
	if (err || level == PT_PTE)
		return err;
	err = ready_children(ip, &r, from, end, budget);
	if (err)
		return err;
	state = state_below(fs, &r);
	claims_lock(fs);
	__atomic_fetch_or(&ptfs_tpage(fs, off)->state, state, __ATOMIC_RELEASE);
	claims_unlock(fs);
	return 0;
}

static int verify_root_locked(struct ptfs_inode *ip, u64 root)
{
	struct ptfs_fs *fs = ip->fs;
	int level = ptfs_root_level(root);
	u64 e = root & ~PTFS_E_LEVEL;
	const char *why = "impossible root level";
	struct ptfs_ref ref;
	int err = -EUCLEAN;

	if (level >= PTFS_ROOT_LEVEL_MIN && level <= PTFS_ROOT_LEVEL_MAX)
		why = ptfs_entry_decode(fs, e, level, &ref);
	if (!why)
		err = claim(ip, &ref, level, 1, 0, &why);
	if (err == -EUCLEAN)
		return ptfs_refuse(fs, ip, why, ip->root_off, level, 0, root);
	if (!err && ref.soft && !fs->read_only &&
	    harden(fs, ip->root_off, e, root & PTFS_E_LEVEL, level)) {
		ptfs_flush(fs, ip->root_off, 8);
		ptfs_fence(fs);
		ptfs_count(PTFS_STAT_REBASE, 1);
	}
	return err;
}

// A tree that lies wholly beyond EOF goes as a whole. The direct words come first: they are stale.
static void trim_root(struct ptfs_inode *ip)
{
	ptfs_zero(ip->fs, PTFS_FIELD(ip, direct), sizeof(((struct ptfs_dinode *)0)->direct));
	// No fence between: direct words that outlive a crash lie beyond EOF, too.
	ptfs_store8_flush(ip->fs, ip->root_off, 0);
}

static int verify_inode_locked(struct ptfs_inode *ip)
{
	struct ptfs_fs *fs = ip->fs;
	u64 root = ptfs_word(fs, ip->root_off);
	struct run direct = { .off = PTFS_FIELD(ip, direct), .nr = PTFS_DIRECT, .level = PT_PTE };
	bool soft = false;
	int err;

	if (!ip->leaf_type)
		return root ? ptfs_refuse(fs, ip, "a root in a file without blocks", ip->root_off,
					  0, 0, root)
			    : 0;
	if (root && trim_from(ip) == 0) {
		trim_root(ip);
		root = 0;
	}
	if (root || ip == &fs->itable)
		return verify_root_locked(ip, root);
	err = run_claim(ip, &direct, &soft);
	if (ptfs_is_damage(err) && fs->scanning)
		quarantine(ip, &direct);
	if (!err && soft && !fs->read_only)
		run_harden(fs, &direct);
	return err;
}

int ptfs_verify_inode(struct ptfs_inode *ip)
{
	struct ptfs_fs *fs = ip->fs;
	u8 itable_state = 0;
	u8 *state = &itable_state;
	int err;

	claims_lock(fs);
	err = ip == &fs->itable ? 0 : ptfs_chunk_aux_locked(ptfs_chunk_at(fs, ip->media_off));
	if (err)
		goto out;
	if (ip != &fs->itable)
		state = ptfs_inode_state(fs, ip->media_off);
	if (*state & PTFS_IN_BAD)
		err = ptfs_damage(fs, ip->root_off);
	else if (!(*state & PTFS_IN_VERIFIED))
		err = verify_inode_locked(ip);
	if (!err)
		*state |= PTFS_IN_VERIFIED;
	else if (ptfs_is_damage(err))
		*state |= PTFS_IN_BAD;
out:
	claims_unlock(fs);
	return err;
}
