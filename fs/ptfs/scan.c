// SPDX-License-Identifier: MIT
//
// What: look at everything while mounting, on all CPUs: the inode table, and every file's tree.
// After a crash that is the *scan*, which rebuilds what is in use: claiming a block allocates it
// (fs->scanning). Asked for on a clean image it verifies, and the bitmap of the snapshot is what
// claims are measured by. Either way all that was reached is verified and ready.
// Not here: claims (claim.c), rolling back transactions (journal.c), which comes first.
//
//      1  the inode table's own tree                   one CPU
//      2  its blocks, some at a time to each CPU:      all CPUs
//         the inodes, and the trees of files up to 1 GiB
//      3  of larger files 1 GiB at a time              all CPUs
//      4  the tops of these, whose ends are known now  all CPUs
//
// Recovery on the way: inodes without links are freed; entries wholly beyond EOF go, unless
// PREALLOC; the rest of the last leaf behind EOF becomes zeros, because a crash inside a truncate
// leaves old bytes there and a mapping would show them. FREE chunks are never touched, and neither
// is data: the time goes by the number of inodes and table pages. A read-only mount changes nothing
// of that; it counts the space of what it leaves alone as used.
//
// Locking: none between the CPUs but the claims; each file, and each GiB of a large one, belongs to
// one CPU at a time. Each has a struct ptfs_inode of its own that is one inode after the other and
// never in the cache.
// Failure: what is refused is logged and left out; only lack of memory or a broken inode table ends
// the mount.
#include "fs/ptfs/ptfs_internal.h"

#define ITABLE_BLOCKS (PTFS_FILE_MAX >> PTFS_BLOCK_SHIFT)
#define SHARES        32u // portions of the inode table for each CPU, so that all end together
#define PORTION_MAX   64u // blocks
#define SECOND_NS     1000000000ull
#define CLOCK_EFFORT  256u // inodes, or 2 MiB units of files, between two looks at the clock

struct walker {
	struct ptfs_inode ip;
	u64 inodes; // in use
	unsigned effort;
};

struct walk {
	struct ptfs_fs *fs;
	struct walker *walker[PTFS_CPU_MAX];
	unsigned nr; // of walkers
	u64 portion; // blocks of the inode table that one takes at a time, a power of two
	u64 next;    // block, or other item, to be taken next [atomic]
	u64 end;     // of the items
	int err;     // the first one; all end early then [atomic]
	struct ptfs_mutex large_lock; // PTFS_RANK_OUTER
	struct ptfs_segs large;       // u64 numbers of the files for step 3 [large_lock]
	u64 large_count;              // [large_lock]
	u64 said_ns;                  // when progress was shown last [atomic]
	u64 blocks, blocks_done;      // of the inode table [blocks_done: atomic]
};

static void walk_fail(struct walk *w, int err)
{
	int none = 0;

	if (err)
		__atomic_compare_exchange_n(&w->err, &none, err, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

// One line a second, from the second second on, by whoever notices first.
static void progress_look(struct walk *w)
{
	u64 said = __atomic_load_n(&w->said_ns, __ATOMIC_RELAXED);
	u64 now = ptfs_time_ns();
	u64 done;

	if (now < said + SECOND_NS ||
	    !__atomic_compare_exchange_n(&w->said_ns, &said, now, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	done = __atomic_load_n(&w->blocks_done, __ATOMIC_RELAXED);
	ptfs_log(PTFS_LOG_INFO, "ptfs %s: %llu of %llu blocks of the inode table looked at",
		 w->fs->name, (unsigned long long)done, (unsigned long long)w->blocks);
}

static inline void progress(struct walk *w, struct walker *k, u64 effort)
{
	k->effort += (unsigned)effort + 1;
	if (likely(k->effort < CLOCK_EFFORT))
		return;
	k->effort = 0;
	progress_look(w);
}

// ---- One inode ----

#define LINE 64u

static bool bytes_zero(const u8 *p, u64 n)
{
	u8 any = 0;

	while (n--)
		any |= *p++;
	return !any;
}

// Unlike ptfs_zero this leaves alone what reads as zero: nobody has stored there since the machine
// started, so no cache hides anything else. `end` is a multiple of a block.
static void zero_tail(struct ptfs_fs *fs, u64 off, u64 end)
{
	u64 first = ALIGN_UP(off, 8);
	unsigned nr = (unsigned)((end - first) / 8);
	const le64_t *w;

	if (first > off && (!ptfs_loadable(fs, off, first - off) ||
			    !bytes_zero(ptfs_at(fs, off, first - off), first - off)))
		ptfs_zero(fs, off, first - off);
	if (!nr)
		return;
	w = ptfs_at(fs, first, end - first);
	for (unsigned i = ptfs_words_skip(w, 0, nr); i < nr; i = ptfs_words_skip(w, i, nr)) {
		u64 at = first + 8 * i;
		u64 line_end = ALIGN_DOWN(at, LINE) + LINE;

		ptfs_zero(fs, at, line_end - at);
		i = (unsigned)((line_end - first) / 8);
	}
}

static void tail_of_direct(struct ptfs_inode *ip, u64 block, u64 skip)
{
	u64 e = block < PTFS_DIRECT ? ptfs_word(ip->fs, PTFS_FIELD(ip, direct) + 8 * block) : 0;
	struct ptfs_ref ref;

	if (e &&
	    (ptfs_leaf_current(ip->fs, e, &ref.off) || !ptfs_entry_decode(ip->fs, e, PT_PTE, &ref)))
		zero_tail(ip->fs, ref.off + skip, ref.off + PTFS_BLOCK);
}

static int walk_tail(struct ptfs_inode *ip, u64 root)
{
	u64 block = ip->size >> PTFS_BLOCK_SHIFT;
	u64 skip = ip->size & (PTFS_BLOCK - 1);
	struct ptfs_extent x;
	int err;

	// Where there is no 2 MiB leaf, whole blocks have no tail.
	if (!skip && (ptfs_root_level(root) <= PT_PMD && !(root & PTE_PS)))
		return 0;
	if (!ip->fs->scanning || ip->fs->read_only || !ptfs_is(ip, PTFS_S_IFREG))
		return 0;
	if (!root) {
		tail_of_direct(ip, block, skip);
		return 0;
	}
	err = ptfs_map_extent(ip, block, 1, &x);
	if (err || x.hole || (!skip && x.level == PT_PTE))
		return err;
	zero_tail(ip->fs, x.off + skip, x.off + (x.level == PT_PMD ? x.blocks : 1) * PTFS_BLOCK);
	return 0;
}

// The inode at `off` into k->ip. -ENOENT: it is free (now); -EUCLEAN: refused. Each word is read
// once: what is validated is what is used.
static inline __attribute__((always_inline)) int load(struct walk *w, struct walker *k, u64 ino,
						      u64 off)
{
	struct ptfs_fs *fs = w->fs;
	const struct ptfs_dinode *d = ptfs_at(fs, off, sizeof(*d));
	u64 mode_links = le64_get(&d->mode_links);
	struct ptfs_inode *ip = &k->ip;
	const char *why;

	if (!mode_links)
		return -ENOENT;
	if (!(mode_links >> 32)) {
		if (fs->scanning && !fs->read_only)
			ptfs_store8_flush(fs, off + offsetof(struct ptfs_dinode, mode_links), 0);
		return -ENOENT;
	}
	ip->size = le64_get(&d->size);
	ip->flags = le64_get(&d->flags);
	why = ptfs_inode_wrong_head(d, ino);
	if (!why)
		why = ptfs_inode_wrong_fields(mode_links, ip->size, ip->flags);
	if (why)
		return ptfs_inode_refuse(fs, ino, off, why);
	ip->ino = ino;
	ip->media_off = off;
	ip->root_off = off + offsetof(struct ptfs_dinode, root);
	ip->mode = (u32)mode_links;
	ip->leaf_type = ptfs_leaf_type(ip->mode, ip->size);
	return 0;
}

static int skip_refused(int err)
{
	return ptfs_is_damage(err) || err == -ENOENT ? 0 : err;
}

static bool large_add(struct walk *w, u64 ino)
{
	bool ok;

	ptfs_mutex_lock(&w->large_lock);
	ok = !ptfs_segs_grow(&w->large, (u32)(w->large_count / (PTFS_SEG_BYTES / sizeof(u64)) + 1));
	if (ok)
		*(u64 *)ptfs_segs_at(&w->large, w->large_count++, sizeof(u64)) = ino;
	ptfs_mutex_unlock(&w->large_lock);
	return ok;
}

static int walk_tree(struct walk *w, struct walker *k, bool share)
{
	struct ptfs_inode *ip = &k->ip;
	u64 root = ptfs_word(w->fs, ip->root_off);
	int err = 0;

	if (share && ptfs_root_level(root) == PT_PML4 && large_add(w, ip->ino)) {
		err = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 1); // the top page alone
		return err < 0 ? err : 0;
	}
	if (root)
		err = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, ~0u);
	return err ? err : walk_tail(ip, root);
}

static int walk_inode(struct walk *w, struct walker *k, u64 ino, u64 off, u8 *state)
{
	int err = load(w, k, ino, off);
	u64 root;

	if (err)
		return skip_refused(err);
	k->inodes++;
	root = ptfs_word(w->fs, k->ip.root_off);
	if (w->fs->scanning && likely(ptfs_scan_quick(&k->ip, root, state))) {
		if (k->ip.size % PTFS_BLOCK)
			err = walk_tail(&k->ip, root);
	} else {
		err = ptfs_verify_inode(&k->ip);
		if (!err && k->ip.leaf_type)
			err = walk_tree(w, k, w->nr > 1);
	}
	progress(w, k, k->ip.leaf_type ? k->ip.size >> PTFS_CHUNK_SHIFT : 0);
	return skip_refused(err);
}

// ---- Step 2: the inode table ----

static int walk_inode_block(struct walk *w, struct walker *k, u64 block, u64 off)
{
	u8 *state = ptfs_inode_state(w->fs, off); // of the block's first; made before the walk

	for (u64 i = 0; i < PTFS_INODES_PER_BLOCK; i++, state++) {
		u64 ino = block * PTFS_INODES_PER_BLOCK + i;
		int err = ino ? walk_inode(w, k, ino, off + i * PTFS_INODE_BYTES, state) : 0;

		if (err)
			return err;
	}
	__atomic_fetch_add(&w->blocks_done, 1, __ATOMIC_RELAXED);
	return 0;
}

// Nothing stands in [from, to): whoever takes a portion next takes it behind that.
static void leave_out(struct walk *w, u64 to)
{
	u64 next = __atomic_load_n(&w->next, __ATOMIC_RELAXED);

	to = ALIGN_DOWN(to, w->portion);
	while (next < to && !__atomic_compare_exchange_n(&w->next, &next, to, false,
							 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static int walk_portion(struct walk *w, struct walker *k, u64 block)
{
	u64 end = min(block + w->portion, w->end);
	int err = 0;

	while (block < end && !err) {
		struct ptfs_extent x;

		err = ptfs_map_extent(&w->fs->itable, block, end - block, &x);
		if (!err && x.hole) // how far does it reach?
			err = ptfs_map_extent(&w->fs->itable, block, PTFS_WHOLE_RUN, &x);
		if (ptfs_is_damage(err)) {
			// A page of the table was refused.
			x = (struct ptfs_extent){ .blocks = PT_ENTRIES - block % PT_ENTRIES,
						  .hole = true };
			err = 0;
		}
		for (u64 i = 0; i < x.blocks && !x.hole && !err && block + i < end; i++)
			err = walk_inode_block(w, k, block + i, x.off + i * PTFS_BLOCK);
		block += x.blocks;
	}
	if (block > end)
		leave_out(w, block);
	return err;
}

static u64 take(struct walk *w, u64 items)
{
	if (__atomic_load_n(&w->err, __ATOMIC_RELAXED))
		return w->end;
	return __atomic_fetch_add(&w->next, items, __ATOMIC_RELAXED);
}

static void walk_inodes(void *ctx, unsigned nr)
{
	struct walk *w = ctx;

	for (u64 block = take(w, w->portion); block < w->end; block = take(w, w->portion))
		walk_fail(w, walk_portion(w, w->walker[nr], block));
}

// ---- Steps 3 and 4: large files ----

static int load_large(struct walk *w, struct walker *k, u64 item)
{
	u64 ino = *(u64 *)ptfs_segs_at(&w->large, item, sizeof(u64));
	u64 off;
	int err = ptfs_inode_locate(w->fs, ino, &off);

	return err ? err : load(w, k, ino, off);
}

// GiB `i` of the file.
static int walk_gib(struct walk *w, struct walker *k, u64 i)
{
	u64 root = ptfs_word(w->fs, k->ip.root_off) & ~PTFS_E_LEVEL;
	struct ptfs_ref top, ref;
	unsigned budget = ~0u;
	u64 e;
	int err;

	progress(w, k, CLOCK_EFFORT);
	if (ptfs_entry_decode(w->fs, root, PT_PML4, &top))
		return ptfs_damage(w->fs, k->ip.root_off);
	err = ptfs_verify_table(&k->ip, top.off, PT_PUD, 0); // done: a page refused names nothing
	if (err)
		return err;
	e = ptfs_word(w->fs, top.off + 8 * i);
	if (!e)
		return 0;
	if (ptfs_entry_decode(w->fs, e, PT_PUD, &ref))
		return ptfs_damage(w->fs, top.off + 8 * i);
	return ptfs_ready_table(&k->ip, ref.off, PT_PMD, i << PUD_SHIFT, 0, PTFS_FILE_MAX, &budget);
}

static void walk_gibs(void *ctx, unsigned nr)
{
	struct walk *w = ctx;
	struct walker *k = w->walker[nr];

	for (u64 item = take(w, 1); item < w->end; item = take(w, 1)) {
		int err = load_large(w, k, item / PT_ENTRIES);

		if (!err)
			err = walk_gib(w, k, item % PT_ENTRIES);
		walk_fail(w, skip_refused(err));
	}
}

static void walk_tops(void *ctx, unsigned nr)
{
	struct walk *w = ctx;
	struct walker *k = w->walker[nr];

	for (u64 item = take(w, 1); item < w->end; item = take(w, 1)) {
		int err = load_large(w, k, item);

		if (!err)
			err = walk_tree(w, k, false);
		walk_fail(w, skip_refused(err));
	}
}

// ---- The whole ----

static void walkers_free(struct walk *w)
{
	for (unsigned i = 0; i < w->nr; i++) {
		w->fs->inodes += w->walker[i]->inodes;
		ptfs_inode_teardown(&w->walker[i]->ip);
		ptfs_free(w->walker[i]);
	}
}

// One is needed; others as there are CPUs, work and memory.
static int walkers_alloc(struct walk *w)
{
	unsigned want = (unsigned)min((u64)ptfs_cpus(), max(w->blocks, 1ull));

	while (w->nr < min(want, PTFS_CPU_MAX)) {
		struct walker *k = ptfs_zalloc(sizeof(*k));

		if (!k)
			break;
		ptfs_inode_setup(w->fs, &k->ip, 0);
		w->walker[w->nr++] = k;
	}
	return w->nr ? 0 : -ENOMEM;
}

static void step(struct walk *w, void (*fn)(void *ctx, unsigned nr), u64 end)
{
	w->next = 0;
	w->end = end;
	if (!w->err)
		ptfs_parallel(fn, w, w->nr);
}

static int walk_itable(struct ptfs_fs *fs)
{
	int err = ptfs_verify_inode(&fs->itable); // from a root that is refused nothing is walked

	if (!err)
		err = ptfs_map_ready(&fs->itable, 0, PTFS_FILE_MAX, ~0u);
	else
		return err;
	return ptfs_is_damage(err) ? 0 : err; // parts of it are lost; the rest goes on
}

static int walk_files(struct ptfs_fs *fs)
{
	struct walk w = { .fs = fs,
			  .blocks = ptfs_claimed_of(fs, PTFS_CHUNK_INODE),
			  .said_ns = ptfs_time_ns() };
	int err = walkers_alloc(&w);

	if (err)
		return err;
	ptfs_mutex_init(&w.large_lock, PTFS_RANK_OUTER);
	w.portion = 1;
	while (w.portion < PORTION_MAX && w.portion * 2 * w.nr * SHARES <= w.blocks)
		w.portion *= 2;
	fs->inodes = 0;
	step(&w, walk_inodes, ITABLE_BLOCKS);
	step(&w, walk_gibs, w.large_count * PT_ENTRIES);
	step(&w, walk_tops, w.large_count);
	ptfs_segs_free(&w.large);
	ptfs_mutex_destroy(&w.large_lock);
	walkers_free(&w);
	return w.err;
}

int ptfs_walk_all(struct ptfs_fs *fs, bool scan)
{
	int err = ptfs_aux_prepare(fs);

	if (err)
		return err;
	fs->walking = true;
	fs->scanning = scan;
	err = walk_itable(fs);
	if (!err)
		err = walk_files(fs);
	ptfs_claims_settle(fs);
	fs->scanning = false;
	fs->walking = false;
	if (fs->refused)
		ptfs_log(PTFS_LOG_WARN, "ptfs %s: %llu things were refused: run fsck.ptfs",
			 fs->name, (unsigned long long)fs->refused);
	return err;
}
