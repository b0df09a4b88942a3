// SPDX-License-Identifier: MIT
//
// What: what the calls of a workload mean: each is executed by the model, and what the model shows
// becomes a view, which is what the oracle expects.
// Not here: the model itself, which knows no ptfs (model.c), and how ptfs executes them (calls.c).
#include "tests/crash/crash.h"
#include "tests/crash/model.h"

_Static_assert(MODEL_NOREPLACE == PTFS_RENAME_NOREPLACE && MODEL_EXCHANGE == PTFS_RENAME_EXCHANGE,
	       "one meaning of the flags");

static u8 data[MIB(3)];
static int held = -1;
static int stopped = -1; // in it, a block behind the end whose write has not ended

static int create(const struct op *op)
{
	char target[512];

	memset(target, 't', sizeof(target));
	target[op->a] = 0;
	switch (op->call) {
	case CALL_MKDIR: return model_create(op->path, PTFS_S_IFDIR | 0755, NULL);
	case CALL_SYMLINK: return model_create(op->path, PTFS_S_IFLNK | 0777, target);
	default: return model_create(op->path, PTFS_S_IFREG | 0644, NULL);
	}
}

static int write_as(int file, u64 pos, u64 len, bool append)
{
	call_bytes(data, pos, len);
	return append ? model_append(file, data, len) : model_write(file, pos, data, len);
}

static int store(const struct op *op, int file)
{
	int err = 0;

	if ((model_inode[file].mode & PTFS_S_IFMT) != PTFS_S_IFREG)
		return -ENODEV;
	for (u64 pos = op->a; !err && pos + 8 <= min(op->a + op->b, model_size(file)); pos += 8)
		err = model_store(file, pos, call_word(pos));
	return err;
}

// The page is there; what was stored is not the file's.
static int store_tail(int file)
{
	u64 pos = ALIGN_UP(model_size(file), 8);

	if ((model_inode[file].mode & PTFS_S_IFMT) != PTFS_S_IFREG)
		return -ENODEV;
	return pos % PTFS_BLOCK ? model_store(file, pos, 0) : 0;
}

// The first block is there, and nobody has called that finished: no times, and no size.
static int write_stop(const struct op *op, int file)
{
	u64 len = min(op->b, (u64)PTFS_BLOCK);
	int err = 0;

	if (op->a >= model_size(file)) {
		stopped = file;
		model_publish(file, op->a);
		return 0;
	}
	call_bytes(data, op->a, op->b);
	for (u64 i = 0; !err && i < len; i += 8) {
		u64 word;

		memcpy(&word, data + i, 8);
		err = model_store(file, op->a + i, word);
	}
	return err;
}

// What is left of it.
static int write_go(const struct op *op, int file)
{
	u64 done = min(op->b, (u64)PTFS_BLOCK);
	int err = model_touch(file);

	call_bytes(data, op->a, op->b);
	return err || op->b == done ? err
				    : model_write(file, op->a + done, data + done, op->b - done);
}

static int zero_unlink(const struct op *op, int file)
{
	int err = 0;

	for (u64 pos = 0; !err && pos < PTFS_BLOCK; pos += 8)
		err = model_store(file, pos, 0);
	return err ? err : model_unlink(op->path);
}

static int unlink_open(const struct op *op, int file)
{
	int err = model_unlink(op->path);

	if (!err && !model_links(file))
		err = write_as(file, KIB(30), KIB(6), false);
	if (!err && !model_links(file))
		err = model_truncate(file, KIB(2));
	return err;
}

static int setattr(const struct op *op, int file)
{
	static const u32 mode = CALL_ATTR_MODE, uid = CALL_ATTR_UID, gid = CALL_ATTR_GID;
	static const u64 atime = CALL_ATTR_ATIME, mtime = CALL_ATTR_MTIME;

	return model_setattr(file, op->a & PTFS_ATTR_MODE ? &mode : NULL,
			     op->a & PTFS_ATTR_UID ? &uid : NULL,
			     op->a & PTFS_ATTR_GID ? &gid : NULL,
			     op->a & PTFS_ATTR_ATIME ? &atime : NULL,
			     op->a & PTFS_ATTR_MTIME ? &mtime : NULL);
}

// Calls on an open file.
static int on_file(const struct op *op, int file)
{
	switch (op->call) {
	case CALL_TRUNCATE: return model_truncate(file, op->a);
	case CALL_FALLOCATE: return model_fallocate(file, op->a, op->b, false);
	case CALL_RESERVE: return model_fallocate(file, op->a, op->b, true);
	case CALL_ZERO_RANGE: return model_zero_range(file, op->a, op->b, false);
	case CALL_PUNCH: return model_punch(file, op->a, op->b);
	case CALL_COLLAPSE: return model_collapse(file, op->a, op->b);
	case CALL_WRITE: return write_as(file, op->a, op->b, false);
	case CALL_APPEND: return write_as(file, 0, op->b, true);
	case CALL_MMAP: return store(op, file);
	case CALL_MMAP_TAIL: return store_tail(file);
	case CALL_READ: model_accessed(file); return 0;
	case CALL_WRITE_STOP: return write_stop(op, file);
	case CALL_WRITE_GO: return write_go(op, file);
	case CALL_SETATTR: return setattr(op, file);
	case CALL_TOUCH: return model_touch(file);
	case CALL_ZERO_UNLINK: return zero_unlink(op, file);
	case CALL_UNLINK_OPEN: return unlink_open(op, file);
	default: ptfs_bug(__FILE__, __LINE__, op->name);
	}
}

static int tmpfile_(const struct op *op)
{
	int file = model_tmpfile(op->path), err;
	char path[320];

	if (file < 0)
		return file;
	err = write_as(file, 0, op->b, false);
	if (!err && op->path2) {
		snprintf(path, sizeof(path), "%s/%s", op->path, op->path2);
		err = model_linkat(file, path);
	}
	model_close(file);
	return err;
}

static int hold(const struct op *op)
{
	int file = model_open(op->path), err;

	if (file < 0)
		return file;
	err = held >= 0 ? -EBUSY : model_unlink(op->path);
	if (err)
		model_close(file);
	else
		held = file;
	return err;
}

static int crash(void)
{
	if (held >= 0)
		model_close(held);
	if (stopped >= 0)
		(void)model_truncate(stopped, model_size(stopped));
	held = stopped = -1;
	return 0;
}

// At the time of the call.
static int format(void)
{
	held = stopped = -1;
	model_reset();
	model_inode[0].number = PTFS_INO_ROOT;
	return 0;
}

int expect_run(const struct op *op)
{
	int file, err;

	switch (op->call) {
	case CALL_CREATE:
	case CALL_MKDIR:
	case CALL_SYMLINK: return create(op);
	case CALL_LINK: return model_link(op->path, op->path2);
	case CALL_UNLINK: return model_unlink(op->path);
	case CALL_RMDIR: return model_rmdir(op->path);
	case CALL_RENAME: return model_rename(op->path, op->path2, (unsigned)op->a);
	case CALL_TMPFILE: return tmpfile_(op);
	case CALL_HOLD: return hold(op);
	case CALL_CRASH: return crash();
	case CALL_FORMAT: return format();
	case CALL_REBASE: return 0;
	case CALL_PREZERO:
	case CALL_FAIL: return 0;
	case CALL_REMOUNT: return held >= 0 ? -EBUSY : 0;
	default: break;
	}
	file = model_open(op->path);
	if (file < 0)
		return file;
	err = on_file(op, file);
	model_close(file);
	return err;
}

void expect_clock(u64 now)
{
	model_clock(now);
}

void expect_reset(void)
{
	model_clock(CLOCK_START);
	(void)format();
}

// ---- What it looks like ----

static void path_of(int name, char *out, size_t bytes)
{
	const struct model_name *m = &model_name[name];
	char rest[320] = "";

	*out = 0;
	for (;;) {
		snprintf(out, bytes, "/%s%s", m->name, rest);
		if (!m->dir)
			return;
		snprintf(rest, sizeof(rest), "%s", out);
		for (unsigned k = 0; k < MODEL_NAMES; k++)
			if (model_name[k].used && model_name[k].inode == m->dir) {
				m = &model_name[k];
				break;
			}
	}
}

static const char *number_take(struct model_inode *n, const struct view_file *f)
{
	if (!f || n->number)
		return NULL; // what is missing, or differs, is found by comparing
	for (unsigned i = 0; i < MODEL_INODES; i++)
		if (model_inode[i].used && model_inode[i].number == f->ino)
			return "a new file has the number of another";
	n->number = f->ino;
	return NULL;
}

static void file_show(struct view *v, const struct model_inode *n, const char *path)
{
	struct view_file *f = view_add(v, path);
	bool dir = (n->mode & PTFS_S_IFMT) == PTFS_S_IFDIR;

	f->ino = n->number;
	f->mode = n->mode;
	f->nlink = n->nlink;
	f->uid = n->uid;
	f->gid = n->gid;
	f->size = dir ? 0 : n->size;
	f->time[0] = n->time[MODEL_ATIME];
	f->time[1] = n->time[MODEL_MTIME];
	f->time[2] = n->time[MODEL_CTIME];
	for (unsigned b = 0; b < n->blocks; b++)
		view_add_block(v, n->block[b].index, n->block[b].bytes, n->block[b].maybe);
}

const char *expect_view(struct view *v, const struct view *seen)
{
	char path[320];
	const char *wrong = NULL;

	view_clear(v);
	file_show(v, &model_inode[0], "/");
	for (int k = 0; k < (int)MODEL_NAMES; k++) {
		struct model_inode *n = &model_inode[model_name[k].inode];

		if (!model_name[k].used)
			continue;
		path_of(k, path, sizeof(path));
		if (!wrong)
			wrong = number_take(n, view_find(seen, path));
		file_show(v, n, path);
	}
	view_finish(v);
	return wrong;
}
