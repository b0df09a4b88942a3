// SPDX-License-Identifier: MIT
//
// What: the reference model (model.h): inodes, names, attributes.
// Not here: contents (model_file.c), what ptfs shows of the same calls (view.c), and which of the
// differences a power failure may make (judge.c).
//
// Invariant: an inode is used while it has links or is open.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/crash/model_internal.h"

struct model_inode model_inode[MODEL_INODES];
struct model_name model_name[MODEL_NAMES];

static uint64_t now_ns;

void model_fatal(const char *what)
{
	fprintf(stderr, "model: %s\n", what);
	abort();
}

// ---- Inodes ----

void model_touched(int i, bool modified)
{
	if (modified)
		model_inode[i].time[MODEL_MTIME] = now_ns;
	model_inode[i].time[MODEL_CTIME] = now_ns;
}

static int inode_new(uint32_t mode)
{
	for (int i = 0; i < (int)MODEL_INODES; i++) {
		if (model_inode[i].used)
			continue;
		model_inode[i] = (struct model_inode){ .used = true, .mode = mode };
		for (unsigned t = 0; t < 3; t++)
			model_inode[i].time[t] = now_ns;
		return i;
	}
	model_fatal("no inode is left");
	return -1;
}

static void inode_release(int i)
{
	struct model_inode *n = &model_inode[i];

	if (n->nlink || n->opens)
		return;
	if (n->blocks)
		model_blocks_drop(n, 0, n->blocks);
	free(n->block);
	*n = (struct model_inode){ 0 };
}

bool model_is_dir(int i)
{
	return S_ISDIR(model_inode[i].mode);
}

// ---- Names ----

static struct model_name *name_in(int dir, const char *name, size_t len)
{
	for (unsigned k = 0; k < MODEL_NAMES; k++) {
		struct model_name *m = &model_name[k];

		if (m->used && m->dir == dir && strlen(m->name) == len &&
		    !memcmp(m->name, name, len))
			return m;
	}
	return NULL;
}

static void name_add(int dir, const char *name, int inode)
{
	for (unsigned k = 0; k < MODEL_NAMES; k++) {
		struct model_name *m = &model_name[k];

		if (m->used)
			continue;
		*m = (struct model_name){ .used = true, .dir = dir, .inode = inode };
		snprintf(m->name, sizeof(m->name), "%s", name);
		return;
	}
	model_fatal("no name is left");
}

static int walk(const char *path, size_t bytes)
{
	const char *end = path + bytes;
	int at = 0;

	while (path < end) {
		size_t len;
		struct model_name *m;

		if (*path == '/') {
			path++;
			continue;
		}
		len = strcspn(path, "/");
		if (!model_is_dir(at))
			return -ENOTDIR;
		m = name_in(at, path, len);
		if (!m)
			return -ENOENT;
		at = m->inode;
		path += len;
	}
	return at;
}

// The directory of the last name, which must be one.
static int parent(const char *path, const char **name)
{
	int dir;

	*name = strrchr(path, '/') + 1;
	dir = walk(path, (size_t)(*name - path));
	return dir >= 0 && !model_is_dir(dir) ? -ENOTDIR : dir;
}

static bool dir_is_empty(int dir)
{
	for (unsigned k = 0; k < MODEL_NAMES; k++)
		if (model_name[k].used && model_name[k].dir == dir)
			return false;
	return true;
}

static int parent_of(int dir)
{
	for (unsigned k = 0; k < MODEL_NAMES; k++)
		if (model_name[k].used && model_name[k].inode == dir)
			return model_name[k].dir;
	return 0;
}

// Is `dir` the directory `top`, or below it?
static bool is_below(int dir, int top)
{
	while (dir && dir != top)
		dir = parent_of(dir);
	return dir == top;
}

void model_clock(uint64_t now)
{
	now_ns = now;
}

void model_reset(void)
{
	memset(model_name, 0, sizeof(model_name));
	for (int i = 0; i < (int)MODEL_INODES; i++) {
		model_inode[i].nlink = model_inode[i].opens = 0;
		inode_release(i);
	}
	inode_new(S_IFDIR | 0755);
	model_inode[0].nlink = 2;
}

int model_create(const char *path, uint32_t mode, const char *target)
{
	const char *name;
	int dir = parent(path, &name), i;

	if (dir < 0)
		return dir;
	if (name_in(dir, name, strlen(name)))
		return -EEXIST;
	i = inode_new(mode);
	model_inode[i].nlink = S_ISDIR(mode) ? 2 : 1;
	model_inode[dir].nlink += S_ISDIR(mode) ? 1 : 0;
	if (target) {
		model_write(i, 0, (const uint8_t *)target, strlen(target));
		for (unsigned t = 0; t < 3; t++)
			model_inode[i].time[t] = now_ns;
	}
	name_add(dir, name, i);
	model_touched(dir, true);
	return 0;
}

int model_linkat(int file, const char *path2)
{
	const char *name;
	int dir = parent(path2, &name);

	if (dir < 0)
		return dir;
	if (model_is_dir(file))
		return -EPERM;
	if (name_in(dir, name, strlen(name)))
		return -EEXIST;
	name_add(dir, name, file);
	model_inode[file].nlink++;
	model_touched(file, false);
	model_touched(dir, true);
	return 0;
}

int model_link(const char *path, const char *path2)
{
	int file = walk(path, strlen(path));

	return file < 0 ? file : model_linkat(file, path2);
}

int model_unlink(const char *path)
{
	const char *name;
	int dir = parent(path, &name), i;
	struct model_name *m;

	if (dir < 0)
		return dir;
	m = name_in(dir, name, strlen(name));
	if (!m)
		return -ENOENT;
	i = m->inode;
	if (model_is_dir(i))
		return -EISDIR;
	m->used = false;
	model_inode[i].nlink--;
	model_touched(i, false);
	model_touched(dir, true);
	inode_release(i);
	return 0;
}

int model_rmdir(const char *path)
{
	const char *name;
	int dir = parent(path, &name), i;
	struct model_name *m;

	if (dir < 0)
		return dir;
	m = name_in(dir, name, strlen(name));
	if (!m)
		return -ENOENT;
	i = m->inode;
	if (!model_is_dir(i))
		return -ENOTDIR;
	if (!dir_is_empty(i))
		return -ENOTEMPTY;
	m->used = false;
	model_inode[i].nlink = 0;
	model_inode[dir].nlink--;
	model_touched(dir, true);
	inode_release(i);
	return 0;
}

static int exchange(struct model_name *a, struct model_name *b)
{
	int from = a->dir, to = b->dir, i = a->inode, k = b->inode;

	if ((model_is_dir(i) && is_below(to, i)) || (model_is_dir(k) && is_below(from, k)))
		return -EINVAL;
	a->inode = k;
	b->inode = i;
	model_inode[from].nlink += (unsigned)model_is_dir(k) - (unsigned)model_is_dir(i);
	model_inode[to].nlink += (unsigned)model_is_dir(i) - (unsigned)model_is_dir(k);
	model_touched(from, true);
	model_touched(to, true);
	model_touched(i, false);
	model_touched(k, false);
	return 0;
}

// What may not stand at the new name.
static int victim_check(int i, int victim)
{
	if (!model_is_dir(i))
		return model_is_dir(victim) ? -EISDIR : 0;
	if (!model_is_dir(victim))
		return -ENOTDIR;
	return dir_is_empty(victim) ? 0 : -ENOTEMPTY;
}

static void victim_go(int dir, struct model_name *m)
{
	int i = m->inode;

	m->used = false;
	model_inode[dir].nlink -= model_is_dir(i) ? 1 : 0;
	model_inode[i].nlink -= model_is_dir(i) ? 2 : 1;
	model_touched(i, false);
	inode_release(i);
}

int model_rename(const char *path, const char *path2, unsigned flags)
{
	const char *name, *name2;
	int from = parent(path, &name), to, i, err = 0;
	struct model_name *m, *v;

	if (from < 0)
		return from;
	to = parent(path2, &name2);
	if (to < 0)
		return to;
	m = name_in(from, name, strlen(name));
	if (!m)
		return -ENOENT;
	v = name_in(to, name2, strlen(name2));
	if (!v && (flags & MODEL_EXCHANGE))
		return -ENOENT;
	if (v && (flags & MODEL_NOREPLACE))
		return -EEXIST;
	i = m->inode;
	if (v && v->inode == i)
		return 0;
	if (flags & MODEL_EXCHANGE)
		return exchange(m, v);
	if (model_is_dir(i) && is_below(to, i))
		return -EINVAL;
	if (v)
		err = victim_check(i, v->inode);
	if (err)
		return err;
	if (v)
		victim_go(to, v);
	m->used = false;
	name_add(to, name2, i);
	model_inode[from].nlink -= model_is_dir(i) ? 1 : 0;
	model_inode[to].nlink += model_is_dir(i) ? 1 : 0;
	model_touched(from, true);
	model_touched(to, true);
	model_touched(i, false);
	return 0;
}

// ---- Open files ----

int model_open(const char *path)
{
	int i = walk(path, strlen(path));

	if (i >= 0)
		model_inode[i].opens++;
	return i;
}

int model_tmpfile(const char *path)
{
	int dir = walk(path, strlen(path)), i;

	if (dir < 0)
		return dir;
	if (!model_is_dir(dir))
		return -ENOTDIR;
	i = inode_new(S_IFREG | 0644);
	model_inode[i].opens = 1;
	return i;
}

void model_close(int file)
{
	model_inode[file].opens--;
	inode_release(file);
}

uint32_t model_links(int file)
{
	return model_inode[file].nlink;
}

uint64_t model_size(int file)
{
	return model_inode[file].size;
}

// ---- Attributes ----

int model_setattr(int file, const uint32_t *mode, const uint32_t *uid, const uint32_t *gid,
		  const uint64_t *atime, const uint64_t *mtime)
{
	struct model_inode *n = &model_inode[file];

	if (mode)
		n->mode = (n->mode & S_IFMT) | *mode;
	if (uid)
		n->uid = *uid;
	if (gid)
		n->gid = *gid;
	if (atime)
		n->time[MODEL_ATIME] = *atime;
	if (mtime)
		n->time[MODEL_MTIME] = *mtime;
	n->time[MODEL_CTIME] = now_ns;
	return 0;
}

int model_touch(int file)
{
	model_touched(file, true);
	return 0;
}

void model_accessed(int file)
{
	uint64_t *t = model_inode[file].time;

	if (t[MODEL_ATIME] <= t[MODEL_MTIME] || t[MODEL_ATIME] <= t[MODEL_CTIME])
		t[MODEL_ATIME] = now_ns;
}
