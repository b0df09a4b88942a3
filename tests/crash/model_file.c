// SPDX-License-Identifier: MIT
//
// What: the reference model's files: which blocks exist, and what is in them.
// Not here: names and attributes (model.c).
//
// Invariants
//   M1  bytes at or behind the size are zero
//   M2  blocks are sorted by index; those wholly behind the size are there because fallocate was
//       asked to keep the size, or a write has not ended, or they are `maybe`
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/crash/model_internal.h"

void model_blocks_drop(struct model_inode *n, unsigned first, unsigned nr)
{
	for (unsigned b = first; b < first + nr; b++)
		free(n->block[b].bytes);
	memmove(n->block + first, n->block + first + nr,
		(n->blocks - first - nr) * sizeof(*n->block));
	n->blocks -= nr;
}

static int regular(int file)
{
	if (S_ISREG(model_inode[file].mode))
		return 0;
	return model_is_dir(file) ? -EISDIR : -EINVAL;
}

// The first block with at least this index.
static unsigned block_place(const struct model_inode *n, uint64_t index)
{
	unsigned b = 0;

	while (b < n->blocks && n->block[b].index < index)
		b++;
	return b;
}

static struct model_block *block_find(struct model_inode *n, uint64_t index)
{
	unsigned b = block_place(n, index);

	return b < n->blocks && n->block[b].index == index ? &n->block[b] : NULL;
}

static struct model_block *block_make(struct model_inode *n, uint64_t index)
{
	struct model_block *k = block_find(n, index);
	unsigned b = block_place(n, index);

	if (k) {
		k->maybe = false;
		return k;
	}
	if (n->blocks == n->room) {
		n->room = n->room ? n->room * 2 : 16;
		n->block = realloc(n->block, n->room * sizeof(*n->block));
		if (!n->block)
			model_fatal("no memory");
	}
	memmove(n->block + b + 1, n->block + b, (n->blocks - b) * sizeof(*n->block));
	n->block[b] = (struct model_block){ .index = index };
	n->blocks++;
	return &n->block[b];
}

static void bytes_put(struct model_block *k, unsigned skip, const uint8_t *data, size_t len)
{
	if (!k->bytes)
		k->bytes = calloc(1, MODEL_BLOCK);
	if (!k->bytes)
		model_fatal("no memory");
	memcpy(k->bytes + skip, data, len);
}

int model_write(int file, uint64_t pos, const uint8_t *data, uint64_t len)
{
	struct model_inode *n = &model_inode[file];
	int err = S_ISLNK(n->mode) ? 0 : regular(file);

	if (err || !len)
		return err;
	for (uint64_t done = 0; done < len;) {
		unsigned skip = (unsigned)((pos + done) % MODEL_BLOCK);
		uint64_t n_bytes = MODEL_BLOCK - skip;

		if (n_bytes > len - done)
			n_bytes = len - done;
		bytes_put(block_make(n, (pos + done) / MODEL_BLOCK), skip, data + done, n_bytes);
		done += n_bytes;
	}
	if (pos + len > n->size)
		n->size = pos + len;
	model_touched(file, true);
	return 0;
}

int model_append(int file, const uint8_t *data, uint64_t len)
{
	return model_write(file, model_inode[file].size, data, len);
}

// Bytes of existing blocks in [off, end) become zero.
static void zero(struct model_inode *n, uint64_t off, uint64_t end)
{
	for (unsigned b = block_place(n, off / MODEL_BLOCK); b < n->blocks; b++) {
		struct model_block *k = &n->block[b];
		uint64_t at = k->index * MODEL_BLOCK;
		uint64_t from = off > at ? off - at : 0;
		uint64_t to = end > at + MODEL_BLOCK ? MODEL_BLOCK : end - at;

		if (at >= end)
			return;
		if (k->bytes)
			memset(k->bytes + from, 0, to - from);
	}
}

// Are all blocks of the unit there? Then they may be one leaf, which goes as a whole or not at all.
static bool unit_is_full(struct model_inode *n, uint64_t unit)
{
	unsigned first = block_place(n, unit * MODEL_UNIT);
	unsigned last = block_place(n, (unit + 1) * MODEL_UNIT);

	return last - first == MODEL_UNIT;
}

int model_truncate(int file, uint64_t size)
{
	struct model_inode *n = &model_inode[file];
	uint64_t keep = (size + MODEL_BLOCK - 1) / MODEL_BLOCK;
	uint64_t unit = size / (MODEL_BLOCK * MODEL_UNIT);
	int err = regular(file);
	unsigned b;

	if (err)
		return err;
	if (size != n->size)
		model_touched(file, true);
	if (size <= n->size) {
		if (size % ((uint64_t)MODEL_BLOCK * MODEL_UNIT) && unit_is_full(n, unit)) {
			for (b = block_place(n, keep); b < block_place(n, (unit + 1) * MODEL_UNIT);
			     b++)
				n->block[b].maybe = true;
			keep = (unit + 1) * MODEL_UNIT;
		}
		b = block_place(n, keep);
		if (b < n->blocks)
			model_blocks_drop(n, b, n->blocks - b);
		zero(n, size, UINT64_MAX);
	}
	n->size = size;
	return 0;
}

static int range(int file, uint64_t len)
{
	int err = regular(file);

	return !err && !len ? -EINVAL : err;
}

int model_fallocate(int file, uint64_t off, uint64_t len, bool keep_size)
{
	struct model_inode *n = &model_inode[file];
	int err = range(file, len);

	if (err)
		return err;
	for (uint64_t k = off / MODEL_BLOCK; k * MODEL_BLOCK < off + len; k++)
		block_make(n, k);
	if (!keep_size && off + len > n->size)
		n->size = off + len;
	model_touched(file, true);
	return 0;
}

int model_zero_range(int file, uint64_t off, uint64_t len, bool keep_size)
{
	int err = model_fallocate(file, off, len, keep_size);

	if (!err)
		zero(&model_inode[file], off, off + len);
	return err;
}

int model_punch(int file, uint64_t off, uint64_t len)
{
	struct model_inode *n = &model_inode[file];
	unsigned first, last;
	int err = range(file, len);

	if (err)
		return err;
	zero(n, off, off + len);
	first = block_place(n, (off + MODEL_BLOCK - 1) / MODEL_BLOCK);
	last = block_place(n, (off + len) / MODEL_BLOCK);
	if (first < last)
		model_blocks_drop(n, first, last - first);
	model_touched(file, true);
	return 0;
}

int model_collapse(int file, uint64_t off, uint64_t len)
{
	struct model_inode *n = &model_inode[file];
	unsigned first, last;
	int err = range(file, len);

	if (err)
		return err;
	if (off % MODEL_BLOCK || len % MODEL_BLOCK || off + len >= n->size)
		return -EINVAL;
	first = block_place(n, off / MODEL_BLOCK);
	last = block_place(n, (off + len) / MODEL_BLOCK);
	model_blocks_drop(n, first, last - first);
	for (unsigned b = first; b < n->blocks; b++)
		n->block[b].index -= len / MODEL_BLOCK;
	n->size -= len;
	model_touched(file, true);
	return 0;
}

void model_publish(int file, uint64_t pos)
{
	block_make(&model_inode[file], pos / MODEL_BLOCK);
}

// A fault makes the block; times are the kernel's to move, later.
int model_store(int file, uint64_t pos, uint64_t value)
{
	struct model_inode *n = &model_inode[file];

	if (!S_ISREG(n->mode))
		return -ENODEV;
	if (pos >= (n->size + MODEL_BLOCK - 1) / MODEL_BLOCK * MODEL_BLOCK)
		return -ENXIO;
	bytes_put(block_make(n, pos / MODEL_BLOCK), (unsigned)(pos % MODEL_BLOCK),
		  (const uint8_t *)&value, 8);
	return 0;
}
