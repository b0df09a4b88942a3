// SPDX-License-Identifier: MIT
//
// What: directories and what their names lead to; link counts; the way up to the root.
// Not here: files that have lost their last name (repair_found.c).
//
// A damaged record is mended as far as its hash and its neighbours tell, else it becomes free; what
// it named is looked for in /lost+found. A directory may have one name: the one in the directory
// that its parent word names, else the first. Trees are sound and claimed by now.
#include <stdlib.h>

#include "user/ptfs/repair_internal.h"

#define INODE_FIELD(off, f) ((off) + offsetof(struct ptfs_dinode, f))
#define NAME_OFFSET(off)    ((off) + offsetof(struct ptfs_dirent, name))

struct name {
	u32 hash, bytes;
	u64 at; // offset of the record
};

struct dir {
	u64 ino, off; // and where its inode is
	struct fix_inode *node;
	struct fix_tree tree;
	u64 *block; // offsets by place, 0: a hole
	size_t room, end;
	struct name *name;
	size_t names, name_room;
};

static void dir_leaf(struct fix *x, void *ctx, u64 block, u64 off, u64 blocks)
{
	struct dir *d = ctx;

	(void)blocks;
	if (block >= 0xffffffffu / PTFS_DIR_UNITS)
		return;
	while (d->room <= block) {
		size_t room = d->room;
		u64 *p = fix_room(x, d->block, &d->room, d->room, sizeof(*d->block));

		if (!p)
			return;
		d->block = p;
		memset(d->block + room, 0, (d->room - room) * sizeof(*d->block));
	}
	d->block[block] = off;
	d->end = max(d->end, (size_t)block + 1);
}

static const void *block_at(const struct fix *x, u64 off)
{
	return ptfs_at(x->fs, off, PTFS_BLOCK);
}

static u64 at_unit(u64 block, unsigned unit)
{
	return block + (u64)unit * PTFS_DIRENT_UNIT;
}

static bool leads_somewhere(const struct fix *x, const struct ptfs_record *r)
{
	struct fix_inode *node = fix_inode_of(x, r->ino, NULL);

	return node && node->mode && (node->mode & PTFS_S_IFMT) >> 12 == r->type;
}

// The next record behind `unit` that is surely one.
static unsigned next_sure(const struct fix *x, u64 block, unsigned unit)
{
	struct ptfs_record r;

	while (++unit < PTFS_DIR_UNITS)
		if (!ptfs_record_read(block_at(x, block), unit, &r) && r.ino &&
		    leads_somewhere(x, &r))
			break;
	return unit;
}

static bool name_plain(const char *name, size_t len)
{
	return len && !memchr(name, 0, len) && !memchr(name, '/', len) &&
	       !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

// The length for which the name has the hash that the record says, 0: none.
static unsigned length_by_hash(const char *name, unsigned most, u32 hash)
{
	for (unsigned n = 1; n <= most; n++)
		if (ptfs_name_hash(name, n) == hash && name_plain(name, n))
			return n;
	return 0;
}

// A damaged record gets a new head, or loses its inode first and becomes free space up to the next
// sure one.
static void record_mend(struct fix *x, u64 block, const struct ptfs_record *r)
{
	u64 at = at_unit(block, r->unit);
	u64 head_at = at + offsetof(struct ptfs_dirent, head);
	unsigned next = next_sure(x, block, r->unit);
	unsigned units = next - r->unit;
	unsigned most = min((unsigned)(units * PTFS_DIRENT_UNIT - PTFS_DIRENT_NAME), PTFS_NAME_MAX);
	unsigned len = length_by_hash(r->name, most, PTFS_DE_HASH(r->head));
	struct fix_inode *node = r->ino ? fix_inode_of(x, r->ino, NULL) : NULL;
	unsigned type;

	// Without a hash that fits, the name that stands there is as good as any, if it ends.
	if (!len && r->name_bytes <= most && name_plain(r->name, r->name_bytes))
		len = r->name_bytes;
	if (node && node->mode && len) {
		type = (node->mode & PTFS_S_IFMT) >> 12;
		if (units == (unsigned)PTFS_DIR_UNITS - r->unit || units > 255)
			units = (unsigned)DIV_ROUND_UP(PTFS_DIRENT_NAME + len, PTFS_DIRENT_UNIT);
		fix_store(x, head_at, PTFS_DE_HEAD(ptfs_name_hash(r->name, len), units, len, type));
		return;
	}
	x->result->lost++;
	if (r->ino)
		fix_store(x, at, 0);
	fix_store(x, head_at, PTFS_DE_HEAD(0, next < PTFS_DIR_UNITS ? units : 0, 0, 0));
}

static void record_drop(struct fix *x, u64 dir, u64 at, u64 ino, const char *why)
{
	x->result->lost++;
	fix_found(x, why, dir, at, ino);
	fix_store(x, at, 0);
}

static u64 parent_of(const struct fix *x, u64 ino)
{
	u64 off = 0;

	return fix_inode_of(x, ino, &off) ? ptfs_word(x->fs, INODE_FIELD(off, parent)) : 0;
}

// A name of a directory. False: it has one already, and that one is right.
static bool subdir_named(struct fix *x, struct dir *d, struct fix_inode *node, u64 ino, u64 at)
{
	struct fix_inode *before;

	if (ino == PTFS_INO_ROOT)
		return false;
	if (node->named_in) {
		if (parent_of(x, ino) != d->ino || node->named_in == d->ino)
			return false;
		record_drop(x, node->named_in, node->record_at, ino,
			    "second name of a directory: record, inode");
		before = fix_inode_of(x, node->named_in, NULL);
		before->subdirs--;
		node->names--;
	}
	node->named_in = d->ino;
	node->record_at = at;
	d->node->subdirs++;
	return true;
}

static void name_note(struct fix *x, struct dir *d, const struct ptfs_record *r, u64 at)
{
	struct name *p = fix_room(x, d->name, &d->name_room, d->names, sizeof(*d->name));

	if (!p)
		return;
	d->name = p;
	d->name[d->names++] = (struct name){ PTFS_DE_HASH(r->head), r->name_bytes, at };
}

// A live record that is sound in itself.
static void record_look(struct fix *x, struct dir *d, const struct ptfs_record *r, u64 at)
{
	struct fix_inode *node = fix_inode_of(x, r->ino, NULL);
	unsigned type;

	if (!node || !node->mode) {
		record_drop(x, d->ino, at, r->ino, "name of a free inode: record, inode");
		return;
	}
	type = (node->mode & PTFS_S_IFMT) >> 12;
	if (type == PTFS_S_IFDIR >> 12 && !subdir_named(x, d, node, r->ino, at)) {
		record_drop(x, d->ino, at, r->ino, "second name of a directory: record, inode");
		return;
	}
	if (type != r->type) {
		fix_found(x, "type in the name: record, inode", d->ino, at, r->ino);
		fix_store(x, at + offsetof(struct ptfs_dirent, head),
			  PTFS_DE_HEAD(PTFS_DE_HASH(r->head), PTFS_DE_UNITS(r->head), r->name_bytes,
				       type));
	}
	node->names++;
	name_note(x, d, r, at);
}

static void block_look(struct fix *x, struct dir *d, u64 block, u64 place)
{
	struct ptfs_record r;

	for (unsigned u = 0; u < PTFS_DIR_UNITS && !x->err; u += r.units) {
		const char *why = ptfs_record_read(block_at(x, block), u, &r);

		if (why) {
			fix_found(x, why, d->ino, place, u);
			record_mend(x, block, &r);
			why = ptfs_record_read(block_at(x, block), u, &r);
		}
		if (why) {
			fix_store(x, at_unit(block, u), 0);
			fix_store(x, at_unit(block, u) + 8, 0);
			return;
		}
		if (r.ino)
			record_look(x, d, &r, at_unit(block, u));
	}
}

static bool block_has_names(const struct fix *x, u64 block)
{
	struct ptfs_record r;

	for (unsigned u = 0; u < PTFS_DIR_UNITS; u += r.units) {
		if (ptfs_record_read(block_at(x, block), u, &r))
			return false;
		if (r.ino && leads_somewhere(x, &r))
			return true;
	}
	return false;
}

// Size and blocks fit each other, and there are no holes.
static void shape_mend(struct fix *x, struct dir *d)
{
	static const u8 zeros[PTFS_BLOCK];
	u64 size_off = INODE_FIELD(d->off, size);
	u64 blocks = ptfs_word(x->fs, size_off) >> PTFS_BLOCK_SHIFT;
	u64 want = blocks;

	for (size_t b = blocks; b < d->end; b++)
		if (d->block[b] && block_has_names(x, d->block[b]))
			want = b + 1;
	want = want > d->end ? d->end : want;
	for (size_t b = 0; b < want; b++) {
		u64 off;

		if (d->block[b])
			continue;
		fix_found(x, "hole in a directory: block", d->ino, b, 0);
		if (!fix_alloc(x, PTFS_CHUNK_META, &off))
			return;
		fix_copy(x, off, zeros, sizeof(zeros));
		fix_tree_insert(x, &d->tree, b, ptfs_entry_leaf(x->fs, off, PT_PTE));
		d->block[b] = off;
	}
	if (want != blocks) {
		fix_found(x, "blocks of a directory: are, become", d->ino, blocks, want);
		fix_store(x, size_off, want << PTFS_BLOCK_SHIFT);
	}
	d->end = want;
}

static int by_name_hash(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static bool name_live(const struct fix *x, const struct name *n)
{
	return ptfs_word(x->fs, n->at) != 0;
}

static bool same_name(const struct fix *x, const struct name *a, const struct name *b)
{
	return a->hash == b->hash && a->bytes == b->bytes && name_live(x, a) && name_live(x, b) &&
	       !memcmp(ptfs_at(x->fs, NAME_OFFSET(a->at), a->bytes),
		       ptfs_at(x->fs, NAME_OFFSET(b->at), b->bytes), a->bytes);
}

static void twice_drop(struct fix *x, struct dir *d, const struct name *n)
{
	u64 ino = ptfs_word(x->fs, n->at);
	struct fix_inode *node = fix_inode_of(x, ino, NULL);

	record_drop(x, d->ino, n->at, ino, "a name that is there twice: record, inode");
	node->names--;
	if ((node->mode & PTFS_S_IFMT) == PTFS_S_IFDIR) {
		node->named_in = 0;
		d->node->subdirs--;
	}
}

static void twice_look(struct fix *x, struct dir *d)
{
	if (d->names)
		qsort(d->name, d->names, sizeof(*d->name), by_name_hash);
	for (size_t i = 0; i < d->names; i++)
		for (size_t j = i + 1; j < d->names && d->name[j].hash == d->name[i].hash; j++)
			if (same_name(x, &d->name[i], &d->name[j]))
				twice_drop(x, d, &d->name[j]);
}

static void dir_look(struct fix *x, u64 ino, struct fix_inode *node, u64 off)
{
	struct dir d = { .ino = ino, .off = off, .node = node };
	struct ptfs_dinode inode;

	memcpy(&inode, ptfs_at(x->fs, off, sizeof(inode)), sizeof(inode));
	fix_tree_of(x, &inode, ino, off, &d.tree);
	fix_tree_visit(x, &d.tree, dir_leaf, &d);
	shape_mend(x, &d);
	for (size_t b = 0; b < d.end && !x->err; b++)
		block_look(x, &d, d.block[b], b);
	twice_look(x, &d);
	free(d.block);
	free(d.name);
	x->result->directories++;
}

static bool is_dir(const struct fix_inode *node)
{
	return (node->mode & PTFS_S_IFMT) == PTFS_S_IFDIR;
}

typedef void (*inode_fn)(struct fix *x, u64 ino, struct fix_inode *node, u64 off);

static void for_each_live(struct fix *x, unsigned pass, inode_fn fn)
{
	for (size_t b = 0; b < x->iblocks && !x->err; b++) {
		struct fix_iblock *ib = &x->iblock[b];

		for (unsigned i = 0; i < PTFS_INODES_PER_BLOCK; i++)
			if (ib->node[i].mode)
				fn(x, ib->index * PTFS_INODES_PER_BLOCK + i, &ib->node[i],
				   ib->off + i * PTFS_INODE_BYTES);
		fix_progress(x, pass, b + 1, x->iblocks);
	}
}

static void live_look(struct fix *x, u64 ino, struct fix_inode *node, u64 off)
{
	if (is_dir(node))
		dir_look(x, ino, node, off);
}

void fix_names(struct fix *x)
{
	for_each_live(x, 5, live_look);
}

// ---- Up to the root ----

static bool climb(const struct fix *x, u64 ino)
{
	for (u64 steps = 0; steps <= x->iblocks * PTFS_INODES_PER_BLOCK; steps++) {
		struct fix_inode *node = fix_inode_of(x, ino, NULL);

		if (ino == PTFS_INO_ROOT || (node && node->reached))
			return true;
		if (!node || !node->named_in)
			return false;
		ino = node->named_in;
	}
	return false;
}

static bool in_cycle(const struct fix *x, u64 ino)
{
	u64 at = ino;

	for (u64 steps = 0; steps <= x->iblocks * PTFS_INODES_PER_BLOCK; steps++) {
		struct fix_inode *node = fix_inode_of(x, at, NULL);

		if (!node || !node->named_in)
			return false;
		at = node->named_in;
		if (at == ino)
			return true;
	}
	return false;
}

// A directory without a name, or one in a circle of directories, goes to /lost+found; what hangs
// below it comes with it.
static void way_up(struct fix *x, u64 ino, struct fix_inode *node, u64 off)
{
	(void)off;
	if (!is_dir(node))
		return;
	if (climb(x, ino)) {
		node->reached = true;
		return;
	}
	if (node->named_in && in_cycle(x, ino)) {
		struct fix_inode *in = fix_inode_of(x, node->named_in, NULL);

		record_drop(x, node->named_in, node->record_at, ino,
			    "directory below itself: record, inode");
		in->subdirs--;
		node->names = 0;
		node->named_in = 0;
	}
	if (node->named_in)
		return;
	fix_found(x, "directory without a name", ino, 0, 0);
	node->detached = true;
}

static void parent_mend(struct fix *x, u64 ino, struct fix_inode *node, u64 off)
{
	u64 want = ino == PTFS_INO_ROOT ? ino : node->named_in;
	u64 parent = ptfs_word(x->fs, INODE_FIELD(off, parent));

	if (!is_dir(node) || node->detached || parent == want)
		return;
	fix_found(x, "parent of a directory: says, is in", ino, parent, want);
	fix_store(x, INODE_FIELD(off, parent), want);
}

// Files that nothing names and that say so themselves were open when they lost their last name:
// recovery frees them, and did not if the image says that it is clean.
static void links_mend(struct fix *x, u64 ino, struct fix_inode *node, u64 off)
{
	u64 word = ptfs_word(x->fs, INODE_FIELD(off, mode_links));
	u32 links = (u32)(word >> 32);
	u32 want = is_dir(node) ? 2 + node->subdirs : node->names;

	x->result->inodes++;
	if (!is_dir(node) && !node->names) {
		if (!links && x->result->was_clean)
			fix_found(x, "no links, and not free: mode_links", ino, word, 0);
		if (!links)
			return;
		fix_found(x, "file without a name: links", ino, links, 0);
		node->detached = true;
		want = 1;
	}
	if (links == want)
		return;
	fix_found(x, "link count: is, should be", ino, links, want);
	fix_store(x, INODE_FIELD(off, mode_links), (u64)want << 32 | (u32)word);
}

void fix_links(struct fix *x)
{
	for_each_live(x, 5, way_up);
	for_each_live(x, 5, parent_mend);
	for_each_live(x, 5, links_mend);
}
