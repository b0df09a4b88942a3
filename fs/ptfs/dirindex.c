// SPDX-License-Identifier: MIT
//
// What: the DRAM index of a directory: hash -> positions of names, and per block which units live
// records have, so that neither a lookup nor an insertion nor a removal reads records it does not
// want.
// Not here: records on the medium (dir.c).
//
// Invariants
//   I1  each live name has exactly one node, in the chain of its hash
//   I2  bit u of used[b] is set exactly if a live record has unit u of block b; no block below
//       hint[u] has a run of u free units
// Locking: the directory lock.
// Failure: memory for a node is reserved before anything on the medium changes.
#include "fs/ptfs/ptfs_internal.h"

#define HEADS_PER_PAGE (PTFS_SEG_BYTES / sizeof(u32))
#define NODES_PER_PAGE (PTFS_SEG_BYTES / sizeof(struct ptfs_index_node))

static struct ptfs_index_node *node(const struct ptfs_dir_index *x, u32 n)
{
	return ptfs_segs_at(&x->nodes, n - 1, sizeof(struct ptfs_index_node));
}

static u32 *head(const struct ptfs_dir_index *x, u32 hash)
{
	u32 heads = x->heads.nr * (u32)HEADS_PER_PAGE;

	return ptfs_segs_at(&x->heads, hash & (heads - 1), sizeof(u32));
}

int ptfs_index_create(struct ptfs_dir_index **out)
{
	struct ptfs_dir_index *x = ptfs_zalloc(sizeof(*x));

	if (!x)
		return -ENOMEM;
	if (ptfs_segs_grow(&x->heads, 1)) {
		ptfs_index_free(x);
		return -ENOMEM;
	}
	*out = x;
	return 0;
}

void ptfs_index_free(struct ptfs_dir_index *x)
{
	if (!x)
		return;
	ptfs_segs_free(&x->heads);
	ptfs_segs_free(&x->nodes);
	ptfs_segs_free(&x->used);
	ptfs_free(x);
}

static void link_node(struct ptfs_dir_index *x, u32 n)
{
	u32 *h = head(x, node(x, n)->hash);

	node(x, n)->next = *h;
	*h = n;
}

// Twice as many chains. Not having the memory for that only makes lookups slower.
static void index_widen(struct ptfs_dir_index *x)
{
	u32 pages = x->heads.nr;
	u32 all = 0;

	if (ptfs_segs_grow(&x->heads, pages * 2)) {
		while (x->heads.nr > pages)
			ptfs_free(x->heads.page[--x->heads.nr]);
		return;
	}
	for (u32 i = 0; i < pages * HEADS_PER_PAGE; i++) {
		u32 *h = ptfs_segs_at(&x->heads, i, sizeof(u32));

		while (*h) {
			u32 n = *h;

			*h = node(x, n)->next;
			node(x, n)->next = all;
			all = n;
		}
	}
	while (all) {
		u32 n = all;

		all = node(x, n)->next;
		link_node(x, n);
	}
}

int ptfs_index_reserve(struct ptfs_dir_index *x)
{
	if (x->reserved_node)
		return 0;
	if (x->live >= x->heads.nr * HEADS_PER_PAGE)
		index_widen(x);
	if (x->free_node) {
		x->reserved_node = x->free_node;
		x->free_node = node(x, x->free_node)->next;
		return 0;
	}
	if (ptfs_segs_grow(&x->nodes, x->nr_nodes / (u32)NODES_PER_PAGE + 1))
		return -ENOMEM;
	x->reserved_node = ++x->nr_nodes;
	return 0;
}

void ptfs_index_add(struct ptfs_dir_index *x, u32 hash, u32 pos)
{
	u32 n = x->reserved_node;

	ptfs_assert(n);
	x->reserved_node = 0;
	*node(x, n) = (struct ptfs_index_node){ .hash = hash, .pos = pos };
	link_node(x, n);
	x->live++;
}

void ptfs_index_del(struct ptfs_dir_index *x, u32 hash, u32 pos)
{
	u32 *link = head(x, hash);

	while (*link && node(x, *link)->pos != pos)
		link = &node(x, *link)->next;
	if (*link) {
		u32 n = *link;

		*link = node(x, n)->next;
		node(x, n)->next = x->free_node;
		x->free_node = n;
		x->live--;
	}
}

bool ptfs_index_next(const struct ptfs_dir_index *x, u32 hash, u32 *it, u32 *pos)
{
	u32 n = *it ? node(x, *it)->next : *head(x, hash);

	while (n && node(x, n)->hash != hash)
		n = node(x, n)->next;
	if (!n)
		return false;
	*it = n;
	*pos = node(x, n)->pos;
	return true;
}

int ptfs_index_blocks(struct ptfs_dir_index *x, u32 blocks)
{
	return ptfs_segs_grow(&x->used,
			      (u32)DIV_ROUND_UP((u64)blocks * sizeof(u64), PTFS_SEG_BYTES));
}

static u64 *used_map(const struct ptfs_dir_index *x, u32 block)
{
	return ptfs_segs_at(&x->used, block, sizeof(u64));
}

// `nr` bits from bit `at` on.
static u64 bits(unsigned at, unsigned nr)
{
	return (nr == 64 ? ~0ull : BIT(nr) - 1) << at;
}

// The bits at which a run of `nr` set bits begins. Each step doubles the runs that are known.
static u64 run_starts(u64 map, unsigned nr)
{
	unsigned have = 1;

	while (map && have < nr) {
		unsigned step = min(have, nr - have);

		map &= map >> step;
		have += step;
	}
	return map;
}

void ptfs_index_use(struct ptfs_dir_index *x, u32 pos, unsigned units)
{
	*used_map(x, pos / PTFS_DIR_UNITS) |= bits(pos % PTFS_DIR_UNITS, units);
}

void ptfs_index_unuse(struct ptfs_dir_index *x, u32 pos, unsigned units)
{
	u32 block = pos / (u32)PTFS_DIR_UNITS;
	unsigned at = pos % PTFS_DIR_UNITS;
	u64 *used = used_map(x, block);
	// Free units on both sides. Runs that either side had alone were counted before (I2).
	u64 below = *used & (BIT(at) - 1), above = *used & ~(bits(at, units) | (BIT(at) - 1));
	unsigned left = below ? at - 64 + (unsigned)__builtin_clzll(below) : at;
	unsigned end = above ? (unsigned)__builtin_ctzll(above) : (unsigned)PTFS_DIR_UNITS;
	unsigned right = end - at - units;

	*used &= ~bits(at, units);
	for (unsigned u = max(left, right) + 1; u <= left + units + right; u++)
		x->hint[u] = min(x->hint[u], block);
}

u32 ptfs_index_run_find(struct ptfs_dir_index *x, unsigned units, unsigned *unit)
{
	u32 block = x->hint[units];
	u64 starts = 0;

	while (block < x->blocks && !(starts = run_starts(~*used_map(x, block), units)))
		block++;
	x->hint[units] = block;
	if (starts)
		*unit = (unsigned)__builtin_ctzll(starts);
	return block;
}
