// SPDX-License-Identifier: MIT
//
// What: the one way in which blocks, chunks and table pages leave a file. They are gathered while
// their entries are cleared, and rest until no CPU can reach them any more; then they are free.
//
//      in a file  --entry cleared-->  gone  --fence, revoke, stamp-->  resting  --epoch-->  free
//
// The revoke ends what mappings show. It does not wait for CPUs whose way was cleared by others: a
// munmap, on another CPU, that has cleared its entries and not yet flushed. Nor does it know of
// code that follows a pointer into a table page with preemption off. Both are over when every CPU
// has passed a quiescent point, and that is what the epoch tells (docs/epochs.md).
//
// Not here: which entries go (shrink.c, collapse.c, merge.c), what is free (alloc.c).
//
// Invariants
//   I1  stamped is only what no entry leads to, neither in the file's table nor in a copy; one that
//       was left could be followed anew after a CPU has said that it forgot
//   I2  until its epoch has passed a block stays used and claimed: nobody gets it, and an entry on
//       a damaged medium that names it is refused (A7). A table page keeps its contents
//   I3  a list is in the order of its stamps: they are taken under its lock
// Locking: the list's lock, also while what it held is freed: who takes the lock afterwards finds
// it free. So a call that finds no space and then waits here never misses what was freed before it.
// Persistence: nothing is on the medium. After a crash what rested is in use by nobody, and the
// scan finds it free; unmounting waits before it stores the bitmap.
// Failure: no memory: waits for the epoch, and needs none.
#include "fs/ptfs/ptfs_internal.h"

#define FULL_MAX 63u    // times PTFS_GONE_RUNS: then a long call hands over what it has so far
#define RUNS_MAX 16384u // that rest on one CPU: then CPUs are asked for an epoch

struct ptfs_rest {
	struct ptfs_rest *next;
	u64 stamp;
	u32 n, reserved;
	struct ptfs_run run[];
};

static u64 rest_bytes(unsigned n)
{
	return sizeof(struct ptfs_rest) + n * sizeof(struct ptfs_run);
}

// ---- Resting. The list's lock is held ----

static void count(struct ptfs_fs *fs, struct ptfs_resting *list, const struct ptfs_rest *r,
		  bool comes)
{
	for (u32 i = 0; i < r->n; i++) {
		u64 *blocks = &list->blocks[ptfs_chunk_at(fs, r->run[i].off)->type];

		__atomic_store_n(blocks, *blocks + (comes ? r->run[i].nr : -(u64)r->run[i].nr),
				 __ATOMIC_RELAXED);
	}
	list->runs += comes ? r->n : -r->n;
}

static void free_runs(struct ptfs_fs *fs, const struct ptfs_run *run, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ptfs_space_free(fs, run[i].off, run[i].nr);
}

static void append(struct ptfs_fs *fs, struct ptfs_resting *list, struct ptfs_rest *r, u64 stamp)
{
	r->stamp = stamp;
	r->next = NULL;
	count(fs, list, r, true);
	if (list->last)
		list->last->next = r;
	else
		__atomic_store_n(&list->first, r, __ATOMIC_RELAXED);
	list->last = r;
}

static void free_passed(struct ptfs_fs *fs, struct ptfs_resting *list)
{
	struct ptfs_rest *r;

	while ((r = list->first) && ptfs_epoch_passed(r->stamp)) {
		__atomic_store_n(&list->first, r->next, __ATOMIC_RELAXED);
		if (!r->next)
			list->last = NULL;
		count(fs, list, r, false); // its chunk may be FREE after that
		free_runs(fs, r->run, r->n);
		ptfs_free(r);
	}
}

void ptfs_rest_poll(struct ptfs_fs *fs)
{
	for (unsigned i = 0; i < PTFS_CPU_MAX; i++) {
		struct ptfs_resting *list = &fs->resting[i];

		if (!__atomic_load_n(&list->first, __ATOMIC_RELAXED))
			continue;
		ptfs_mutex_lock(&list->lock);
		free_passed(fs, list);
		ptfs_mutex_unlock(&list->lock);
	}
}

// Lists that look empty may be in the hands of somebody who frees what was on them: every lock is
// taken.
void ptfs_rest_wait(struct ptfs_fs *fs)
{
	u64 stamp = 0;
	bool any = false;

	for (unsigned i = 0; i < PTFS_CPU_MAX; i++) {
		struct ptfs_resting *list = &fs->resting[i];

		ptfs_mutex_lock(&list->lock);
		if (list->last) {
			stamp = max(stamp, list->last->stamp);
			any = true;
		}
		ptfs_mutex_unlock(&list->lock);
	}
	if (!any)
		return;
	ptfs_epoch_wait(stamp);
	ptfs_rest_poll(fs);
}

u64 ptfs_rest_blocks(const struct ptfs_fs *fs, unsigned type)
{
	u64 sum = 0;

	for (unsigned i = 0; i < PTFS_CPU_MAX; i++)
		sum += __atomic_load_n(&fs->resting[i].blocks[type], __ATOMIC_RELAXED);
	return sum;
}

// ---- Gone ----

void ptfs_gone_init(struct ptfs_gone *g, struct ptfs_inode *ip)
{
	g->ip = ip;
	g->from = PTFS_NOTHING;
	g->end = 0;
	g->full = NULL;
	g->nr_full = 0;
	g->n = 0;
}

void ptfs_gone_revoke(struct ptfs_gone *g, u64 from, u64 end)
{
	if (g->from >= g->end)
		ptfs_revoke_begin(&g->ip->home);
	g->from = min(g->from, from);
	g->end = max(g->end, end);
}

// The runs of the array in memory of their own; NULL: none to be had.
static struct ptfs_rest *rest_new(const struct ptfs_gone *g)
{
	struct ptfs_rest *r = ptfs_alloc(rest_bytes(g->n));

	if (r) {
		r->n = g->n;
		r->next = g->full;
		memcpy(r->run, g->run, g->n * sizeof(g->run[0]));
	}
	return r;
}

static void free_at_once(struct ptfs_gone *g)
{
	struct ptfs_fs *fs = g->ip->fs;
	struct ptfs_rest *r;

	while ((r = g->full)) {
		g->full = r->next;
		free_runs(fs, r->run, r->n);
		ptfs_free(r);
	}
	free_runs(fs, g->run, g->n);
}

// No entry leads to any of it.
static void hand_over(struct ptfs_gone *g)
{
	struct ptfs_fs *fs = g->ip->fs;
	struct ptfs_resting *list = &fs->resting[ptfs_cpu()];
	struct ptfs_rest *r = NULL, *next;
	bool many = false;
	u64 stamp;

	ptfs_mutex_lock(&list->lock);
	stamp = ptfs_epoch_stamp(); // I1, I3
	free_passed(fs, list);
	if (!ptfs_epoch_passed(stamp))
		r = rest_new(g);
	for (struct ptfs_rest *next_of = r; next_of; next_of = next) {
		next = next_of->next;
		append(fs, list, next_of, stamp);
		many = list->runs > RUNS_MAX;
	}
	ptfs_mutex_unlock(&list->lock);
	if (r) {
		g->full = NULL;
		if (!many)
			return;
	}
	ptfs_epoch_wait(stamp);
	if (r)
		ptfs_rest_poll(fs);
	else
		free_at_once(g);
}

void ptfs_gone_finish(struct ptfs_gone *g)
{
	bool revoked = g->from < g->end;

	// Durably gone before a block may serve others. To one thread the call's last fence would
	// do; but another CPU may take a freed block, fill it and lose power before that comes.
	if (revoked) {
		ptfs_fence(g->ip->fs);
		ptfs_revoke_finish(&g->ip->home, g->from, g->end - g->from, PTFS_FORGET_MAPPED);
	}
	if (!g->n && !g->full)
		;
	else if (ptfs_home_reachable(&g->ip->home))
		hand_over(g);
	else
		free_at_once(g);
	ptfs_gone_init(g, g->ip);
}

// The array is full.
static void make_room(struct ptfs_gone *g)
{
	struct ptfs_rest *r = NULL;
	u64 from = g->from, end = g->end;

	if (g->nr_full < FULL_MAX && ptfs_home_reachable(&g->ip->home))
		r = rest_new(g);
	if (r) {
		g->full = r;
		g->nr_full++;
		g->n = 0;
		return;
	}
	ptfs_gone_finish(g);
	if (from < end)
		ptfs_gone_revoke(g, from, end);
}

void ptfs_gone_add(struct ptfs_gone *g, u64 off, unsigned nr)
{
	struct ptfs_run *last = g->n ? &g->run[g->n - 1] : NULL;

	// Neighbours become one run, if they are of one chunk.
	if (last && last->off + last->nr * PTFS_BLOCK == off && !IS_ALIGNED(off, PTFS_CHUNK)) {
		last->nr += nr;
		return;
	}
	if (g->n == PTFS_GONE_RUNS)
		make_room(g);
	g->run[g->n++] = (struct ptfs_run){ .off = off, .nr = nr };
}

void ptfs_gone_table(struct ptfs_gone *g, u64 off)
{
	ptfs_table_unknown(g->ip->fs, off);
	ptfs_gone_add(g, off, 1);
}

// ---- Beginning and end of a mount, tests ----

void ptfs_rest_init(struct ptfs_fs *fs)
{
	for (unsigned i = 0; i < PTFS_CPU_MAX; i++)
		ptfs_mutex_init(&fs->resting[i].lock, PTFS_RANK_REST);
}

void ptfs_rest_destroy(struct ptfs_fs *fs)
{
	for (unsigned i = 0; i < PTFS_CPU_MAX; i++) {
		struct ptfs_rest *r;

		while ((r = fs->resting[i].first)) {
			fs->resting[i].first = r->next;
			ptfs_free(r);
		}
		ptfs_mutex_destroy(&fs->resting[i].lock);
	}
}

static bool run_is_claimed(const struct ptfs_fs *fs, const struct ptfs_run *run)
{
	const struct ptfs_chunk *c = ptfs_chunk_at(fs, run->off);

	for (unsigned i = 0; i < run->nr; i++)
		if (!ptfs_bit(c->claim_map, ptfs_block_index(run->off) + i))
			return false;
	return true;
}

const char *ptfs_rest_verify(struct ptfs_fs *fs)
{
	for (unsigned i = 0; i < PTFS_CPU_MAX; i++) {
		const struct ptfs_resting *list = &fs->resting[i];
		u64 blocks[PTFS_CHUNK_TYPES] = { 0 }, stamp = 0;
		u32 runs = 0;

		for (const struct ptfs_rest *r = list->first; r; r = r->next) {
			for (u32 k = 0; k < r->n; k++) {
				if (!run_is_claimed(fs, &r->run[k]))
					return "A7: what rests is not claimed";
				blocks[ptfs_chunk_at(fs, r->run[k].off)->type] += r->run[k].nr;
			}
			runs += r->n;
			if (r->stamp < stamp)
				return "the order of what rests";
			stamp = r->stamp;
		}
		if (runs != list->runs || memcmp(blocks, list->blocks, sizeof(blocks)) != 0)
			return "A7: counts of what rests";
	}
	return NULL;
}
