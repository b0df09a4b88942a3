// SPDX-License-Identifier: MIT
//
// What: everything that can be seen of a mounted file system: names, attributes, which blocks
// exist, and their bytes.
// Not here: which differences are allowed (judge.c).
#include <sys/mman.h>

#include "tests/crash/crash.h"

#define COPIES_BYTES MIB(16)

static const u8 zeros[PTFS_BLOCK];

struct walk {
	struct view *v;
	struct ptfs_fs *fs;
	bool copy;
	char path[320];
	const char *wrong;
};

void view_init(struct view *v)
{
	v->copies = mmap(NULL, COPIES_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ptfs_assert(v->copies != MAP_FAILED);
}

static bool is_zero(const u8 *p)
{
	return !memcmp(p, zeros, PTFS_BLOCK);
}

static const u8 *kept(struct view *v, const u8 *p, u64 len)
{
	u8 *to = v->copies + v->used;

	ptfs_assert(v->used + PTFS_BLOCK <= COPIES_BYTES);
	memset(to, 0, PTFS_BLOCK);
	memcpy(to, p, len);
	v->used += PTFS_BLOCK;
	return to;
}

static void block_add(struct view *v, u64 index, const u8 *bytes, bool maybe)
{
	ptfs_assert(v->blocks < VIEW_BLOCKS);
	v->block[v->blocks++] =
		(struct view_block){ .index = index, .maybe = maybe, .bytes = bytes };
}

void view_clear(struct view *v)
{
	v->files = v->blocks = 0;
	v->used = 0;
}

struct view_file *view_add(struct view *v, const char *path)
{
	struct view_file *f = &v->file[v->files++];

	ptfs_assert(v->files <= VIEW_FILES);
	snprintf(f->path, sizeof(f->path), "%s", path);
	f->first = v->blocks;
	f->blocks = 0;
	return f;
}

void view_add_block(struct view *v, u64 index, const u8 *bytes, bool maybe)
{
	struct view_file *f = &v->file[v->files - 1];

	block_add(v, index, bytes && !is_zero(bytes) ? kept(v, bytes, PTFS_BLOCK) : NULL, maybe);
	f->blocks++;
}

// Bytes behind EOF in its block: a mapping would show them. What blocks further behind hold, nobody
// sees, for who moves the size makes it zero.
static bool tail_dirty(const struct view_file *f, u64 index, const u8 *bytes)
{
	u64 skip = min(f->size - index * PTFS_BLOCK, (u64)PTFS_BLOCK);

	return memcmp(bytes + skip, zeros, PTFS_BLOCK - skip) != 0;
}

static void regular_take(struct walk *w, struct ptfs_inode *ip, struct view_file *f)
{
	u64 end = PTFS_FILE_MAX / PTFS_BLOCK;
	struct ptfs_extent x;

	for (u64 block = 0; block < end && !w->wrong; block += x.blocks) {
		if (ptfs_map_extent(ip, block, PTFS_WHOLE_RUN, &x)) {
			w->wrong = "a file's tree is refused";
			return;
		}
		for (u64 i = 0; i < x.blocks && !x.hole; i++) {
			const u8 *p = ptfs_at(w->fs, x.off + i * PTFS_BLOCK, PTFS_BLOCK);

			if ((block + i) * PTFS_BLOCK >= f->size || is_zero(p))
				p = NULL;
			else if (!w->copy && tail_dirty(f, block + i, p))
				w->wrong = "bytes behind the end of a file";
			else if (w->copy)
				p = kept(w->v, p,
					 min(f->size - (block + i) * PTFS_BLOCK, (u64)PTFS_BLOCK));
			block_add(w->v, block + i, p, false);
			f->blocks++;
		}
	}
}

static void link_take(struct walk *w, struct ptfs_inode *ip, struct view_file *f)
{
	char target[PTFS_BLOCK];
	ssize n = ptfs_readlink(ip, target, sizeof(target));

	if (n <= 0) {
		w->wrong = "a symlink cannot be read";
		return;
	}
	block_add(w->v, 0, kept(w->v, (const u8 *)target, (u64)n), false);
	f->blocks++;
}

static void dir_take(struct walk *w, struct ptfs_inode *dir);

static void attributes_take(struct view_file *f, const struct ptfs_inode *ip)
{
	f->ino = ip->ino;
	f->mode = ip->mode;
	f->nlink = ip->nlink;
	f->uid = ip->uid;
	f->gid = ip->gid;
	f->size = ptfs_is(ip, PTFS_S_IFDIR) ? 0 : ip->size; // may run ahead of the names
	f->time[0] = ip->atime_ns;
	f->time[1] = ip->mtime_ns;
	f->time[2] = ip->ctime_ns;
}

static bool name_take(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct walk *w = ctx;
	struct view *v = w->v;
	size_t at = strlen(w->path);
	struct ptfs_inode *ip;
	struct view_file *f;

	(void)type;
	(void)next;
	if (name[0] == '.')
		return true;
	if (ptfs_iget(w->fs, ino, &ip)) {
		w->wrong = "a name leads nowhere";
		return false;
	}
	snprintf(w->path + at, sizeof(w->path) - at, "/%.*s", (int)len, name);
	f = view_add(v, w->path);
	attributes_take(f, ip);
	if (ptfs_is(ip, PTFS_S_IFREG))
		regular_take(w, ip, f);
	else if (ptfs_is(ip, PTFS_S_IFLNK))
		link_take(w, ip, f);
	else if (ptfs_is(ip, PTFS_S_IFDIR))
		dir_take(w, ip);
	w->path[at] = 0;
	ptfs_iput(ip);
	return !w->wrong;
}

static void dir_take(struct walk *w, struct ptfs_inode *dir)
{
	u64 pos = 0;

	if (ptfs_readdir(dir, &pos, name_take, w))
		w->wrong = "a directory cannot be read";
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct view_file *)a)->path, ((const struct view_file *)b)->path);
}

static u64 mix(u64 h, const void *p, size_t len)
{
	return (h ^ crc32c((u32)h, p, len)) * 0x9e3779b97f4a7c15ull;
}

static void hash_take(struct view *v)
{
	v->hash = v->files;
	for (u32 i = 0; i < v->files; i++) {
		const struct view_file *f = &v->file[i];

		v->hash = mix(v->hash, f->path, strlen(f->path));
		v->hash = mix(v->hash, &f->ino,
			      offsetof(struct view_file, first) - offsetof(struct view_file, ino));
		for (u32 b = 0; b < f->blocks; b++) {
			const struct view_block *k = &v->block[f->first + b];

			v->hash = mix(v->hash, &k->index, 8);
			v->hash = mix(v->hash, k->bytes ? k->bytes : zeros, PTFS_BLOCK);
		}
	}
}

const char *view_take(struct view *v, struct ptfs_fs *fs, bool copy)
{
	struct walk w = { .v = v, .fs = fs, .copy = copy };
	struct ptfs_inode *root;

	view_clear(v);
	if (ptfs_iget(fs, PTFS_INO_ROOT, &root))
		return "no root directory";
	attributes_take(view_add(v, "/"), root);
	dir_take(&w, root);
	ptfs_iput(root);
	qsort(v->file, v->files, sizeof(v->file[0]), by_path);
	return w.wrong;
}

void view_finish(struct view *v)
{
	qsort(v->file, v->files, sizeof(v->file[0]), by_path);
	hash_take(v);
}

const struct view_file *view_find(const struct view *v, const char *path)
{
	for (u32 i = 0; path && i < v->files; i++)
		if (!strcmp(v->file[i].path, path))
			return &v->file[i];
	return NULL;
}

const u8 *view_bytes(const struct view *v, const struct view_file *f, u64 index)
{
	for (u32 b = 0; f && b < f->blocks; b++)
		if (v->block[f->first + b].index == index)
			return v->block[f->first + b].bytes ? v->block[f->first + b].bytes : zeros;
	return zeros;
}

static bool covered(const struct view *a, const struct view_file *f, const struct view *b,
		    const struct view_file *g)
{
	u32 j = 0;

	for (u32 i = 0; i < f->blocks; i++) {
		const struct view_block *k = &a->block[f->first + i];
		const u8 *other = zeros;

		while (j < g->blocks && b->block[g->first + j].index < k->index)
			j++;
		if (j < g->blocks && b->block[g->first + j].index == k->index &&
		    b->block[g->first + j].bytes)
			other = b->block[g->first + j].bytes;
		if (k->bytes != other && memcmp(k->bytes ? k->bytes : zeros, other, PTFS_BLOCK))
			return false;
	}
	return true;
}

bool view_same_file(const struct view *a, const struct view_file *f, const struct view *b,
		    const struct view_file *g)
{
	return !strcmp(f->path, g->path) && f->ino == g->ino && f->size == g->size &&
	       f->mode == g->mode && f->nlink == g->nlink && f->uid == g->uid && f->gid == g->gid &&
	       covered(a, f, b, g) && covered(b, g, a, f);
}

bool view_same(const struct view *a, const struct view *b)
{
	if (a->files != b->files)
		return false;
	for (u32 i = 0; i < a->files; i++)
		if (!view_same_file(a, &a->file[i], b, &b->file[i]))
			return false;
	return true;
}

static bool same_blocks(const struct view *a, const struct view_file *f, const struct view *b,
			const struct view_file *g)
{
	u32 i = 0, j = 0;

	while (i < f->blocks || j < g->blocks) {
		u64 here = i < f->blocks ? a->block[f->first + i].index : PTFS_NOTHING;
		u64 want = j < g->blocks ? b->block[g->first + j].index : PTFS_NOTHING;

		if (here != want && !(want < here && b->block[g->first + j].maybe))
			return false;
		i += here == want;
		j++;
	}
	return true;
}

bool view_same_blocks(const struct view *a, const struct view *b)
{
	for (u32 i = 0; i < a->files; i++)
		if (!same_blocks(a, &a->file[i], b, &b->file[i]))
			return false;
	return true;
}

bool view_same_times(const struct view *a, const struct view *b)
{
	for (u32 i = 0; i < a->files; i++)
		if (memcmp(a->file[i].time, b->file[i].time, sizeof(a->file[i].time)) != 0)
			return false;
	return true;
}

void view_print(const struct view *v, const char *title)
{
	printf("# %s:\n", title);
	for (u32 i = 0; i < v->files; i++) {
		const struct view_file *f = &v->file[i];
		u32 crc = 0;

		for (u32 b = 0; b < f->blocks; b++)
			if (v->block[f->first + b].bytes)
				crc = crc32c(crc, v->block[f->first + b].bytes, PTFS_BLOCK);
		printf("#   %-12s ino %llu mode %o links %u uid %u size %llu blocks %u crc %08x "
		       "times %llu %llu %llu\n",
		       f->path, (unsigned long long)f->ino, f->mode, f->nlink, f->uid,
		       (unsigned long long)f->size, f->blocks, crc, (unsigned long long)f->time[0],
		       (unsigned long long)f->time[1], (unsigned long long)f->time[2]);
	}
}
