// SPDX-License-Identifier: MIT
//
// What: reading, writing, seeking, listing: the checks that are the same for every file system.
// Not here: the bytes (file_ops of each file system).
//
// Locking: pos_lock around whatever uses the position of a regular file or directory. Streams have
// no position and take no lock: a reader that waits for input must not keep a writer out.
#include "fs/file.h"

#include "fs/poll.h"
#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"

#define POS_MAX  0x7fffffffffffffffll
#define MOVE_MAX 0x7ffff000u // what Linux moves in one call, at most

static void (*send_sigxfsz)(void);

void file_set_signal(void (*fn)(void))
{
	send_sigxfsz = fn;
}

void file_too_large(void)
{
	if (send_sigxfsz)
		send_sigxfsz();
}

// Has no position that two users could tread on.
static bool needs_no_position(const struct file *f)
{
	return !S_ISREG(f->inode->mode) && !S_ISDIR(f->inode->mode);
}

// A file opened by O_PATH has no operations at all (fs/open.c), so the usual case need not ask.
static int may_read(const struct file *f)
{
	if (unlikely((f->flags & O_ACCMODE) == O_WRONLY))
		return -EBADF;
	if (likely(f->ops->read))
		return 0;
	if (f->flags & O_PATH)
		return -EBADF;
	return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
}

static int may_write(const struct file *f)
{
	if (unlikely((f->flags & O_ACCMODE) == O_RDONLY))
		return -EBADF;
	if (likely(f->ops->write))
		return 0;
	return f->flags & O_PATH ? -EBADF : -EINVAL;
}

static void clamp(struct iov_iter *it)
{
	if (unlikely(it->left > MOVE_MAX))
		iov_clamp(it, MOVE_MAX);
}

// RLIMIT_FSIZE. What a file has beyond it can be read, but not written anew. Who appends is asked
// where the file ends at the moment: one of several who do so at once may get over the limit.
static int keep_limit(const struct file *f, struct iov_iter *from, u64 pos)
{
	u64 limit = READ_ONCE(current_context()->max_file);
	struct inode_attr attr;
	int err;

	if (!from->left || !S_ISREG(f->inode->mode))
		return 0;
	if (f->flags & O_APPEND) {
		err = vfs_getattr(f->inode, &attr);
		if (err)
			return err;
		pos = attr.size;
	}
	if (pos >= limit) {
		file_too_large();
		return -EFBIG;
	}
	iov_clamp(from, limit - pos);
	return 0;
}

static __attribute__((noinline)) ssize write_limited(struct file *f, struct iov_iter *from,
						     u64 *pos)
{
	int err = keep_limit(f, from, *pos);

	return err ? err : f->ops->write(f, from, pos);
}

// Apart, so that who has no limit saves no registers for it.
static ssize write_at(struct file *f, struct iov_iter *from, u64 *pos)
{
	if (unlikely(READ_ONCE(current_context()->max_file) != ~0ull))
		return write_limited(f, from, pos);
	return f->ops->write(f, from, pos);
}

ssize file_read(struct file *f, struct iov_iter *to)
{
	ssize n = may_read(f);

	if (n)
		return n;
	clamp(to);
	if (needs_no_position(f))
		return f->ops->read(f, to, &f->pos);
	mutex_lock(&f->pos_lock);
	n = f->ops->read(f, to, &f->pos);
	mutex_unlock(&f->pos_lock);
	return n;
}

ssize file_write(struct file *f, struct iov_iter *from)
{
	ssize n = may_write(f);

	if (n)
		return n;
	clamp(from);
	if (needs_no_position(f))
		return f->ops->write(f, from, &f->pos);
	if (unlikely(f->inode->mode & (S_ISUID | S_ISGID)))
		inode_drop_set_id(f->inode);
	mutex_lock(&f->pos_lock);
	n = write_at(f, from, &f->pos);
	mutex_unlock(&f->pos_lock);
	return n;
}

// Are `len` bytes at `off` (clamped) something that a file with positions can have? One comparison
// finds what is too large and, as a large number, what is negative.
static bool offset_fits(const struct file *f, u64 off, u64 len)
{
	return likely(off <= POS_MAX - len && !f->stream);
}

static int offset_error(const struct file *f, u64 off)
{
	if (off > POS_MAX)
		return -EINVAL;
	return f->stream ? -ESPIPE : -EOVERFLOW;
}

ssize file_pread(struct file *f, struct iov_iter *to, u64 *off)
{
	int err;

	clamp(to);
	if (!offset_fits(f, *off, to->left))
		return offset_error(f, *off);
	err = may_read(f);
	return unlikely(err) ? err : f->ops->read(f, to, off);
}

ssize file_pwrite(struct file *f, struct iov_iter *from, u64 *off)
{
	int err;

	clamp(from);
	if (!offset_fits(f, *off, from->left))
		return offset_error(f, *off);
	err = may_write(f);
	if (unlikely(err))
		return err;
	if (unlikely(f->inode->mode & (S_ISUID | S_ISGID)))
		inode_drop_set_id(f->inode);
	return write_at(f, from, off);
}

ssize file_read_kernel(struct file *f, void *buf, size_t bytes, u64 off)
{
	struct iov_iter it;
	u64 pos = off;

	iov_init_kernel(&it, buf, bytes);
	if (!f->ops->read)
		return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
	return f->ops->read(f, &it, &pos);
}

ssize file_write_kernel(struct file *f, const void *buf, size_t bytes, u64 off)
{
	struct iov_iter it;
	u64 pos = off;

	iov_init_kernel(&it, buf, bytes);
	return f->ops->write ? f->ops->write(f, &it, &pos) : -EINVAL;
}

// lseek(2) for files whose holes are nobody's business: all is data up to the size.
s64 file_seek_by_size(struct file *f, s64 off, int whence)
{
	struct inode_attr attr;
	s64 base = 0;
	int err;

	if (whence == SEEK_CUR) {
		base = (s64)f->pos;
	} else if (whence != SEEK_SET) {
		err = vfs_getattr(f->inode, &attr);
		if (err)
			return err;
		base = (s64)attr.size;
		if (whence == SEEK_DATA || whence == SEEK_HOLE) {
			if (off < 0 || off >= base)
				return -ENXIO;
			return whence == SEEK_DATA ? off : base;
		}
	}
	if (__builtin_add_overflow(base, off, &base))
		return -EINVAL;
	return base < 0 ? -EINVAL : base;
}

s64 file_lseek(struct file *f, s64 off, int whence)
{
	s64 pos;

	if (f->flags & O_PATH)
		return -EBADF;
	if (f->stream)
		return -ESPIPE;
	if (whence < SEEK_SET || whence > SEEK_HOLE)
		return -EINVAL;
	mutex_lock(&f->pos_lock);
	pos = f->ops->lseek ? f->ops->lseek(f, off, whence) : file_seek_by_size(f, off, whence);
	if (pos >= 0)
		f->pos = (u64)pos;
	mutex_unlock(&f->pos_lock);
	return pos;
}

static u64 parent_ino(struct file *f)
{
	struct dentry *d = f->dentry;
	u64 ino;

	spin_lock(&dcache_lock);
	while (d->parent == d && d->super->covered)
		d = d->super->covered;
	ino = d->parent->inode->ino;
	spin_unlock(&dcache_lock);
	return ino;
}

int file_readdir(struct file *f, dir_emit emit, void *ctx)
{
	struct inode *dir = f->inode;
	int err = 0;

	if ((f->flags & O_PATH))
		return -EBADF;
	if (!S_ISDIR(dir->mode) || !f->ops->readdir)
		return -ENOTDIR;
	mutex_lock(&f->pos_lock);
	mutex_lock(&dir->lock);
	if (dir->flags & INODE_DEAD)
		err = -ENOENT;
	if (!err && f->pos == 0 && emit(ctx, ".", 1, dir->ino, DT_OF_MODE(S_IFDIR), 1))
		f->pos = 1;
	if (!err && f->pos == 1 && emit(ctx, "..", 2, parent_ino(f), DT_OF_MODE(S_IFDIR), 2))
		f->pos = 2;
	if (!err && f->pos >= 2)
		err = f->ops->readdir(f, &f->pos, emit, ctx);
	mutex_unlock(&dir->lock);
	mutex_unlock(&f->pos_lock);
	return err;
}

unsigned file_poll(struct file *f, struct poll_table *pt)
{
	if (f->flags & O_PATH)
		return POLLNVAL;
	if (!f->ops->poll)
		return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
	return f->ops->poll(f, pt);
}

int file_sync(struct file *f, bool data_only)
{
	if (f->flags & O_PATH)
		return -EBADF;
	if (f->ops->fsync)
		return f->ops->fsync(f, data_only);
	return S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode) ? 0 : -EINVAL;
}

#define SYNC_FILE_RANGE_ALL 7u // wait before, write, wait after

int file_sync_range(struct file *f, s64 off, s64 len, unsigned flags)
{
	u32 mode = f->inode->mode;
	s64 end;

	if (f->flags & O_PATH)
		return -EBADF;
	if (flags & ~SYNC_FILE_RANGE_ALL || off < 0 || len < 0 ||
	    __builtin_add_overflow(off, len, &end))
		return -EINVAL;
	if (!S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode) && (mode & S_IFMT) != S_IFBLK)
		return -ESPIPE;
	// Nothing is written in the background, so that who waits would wait for nothing: whatever
	// part is asked for, all of it is done.
	if (!flags || !f->ops->sync_range)
		return 0;
	return f->ops->sync_range(f, (u64)off, len ? (u64)end : ~0ull);
}

int file_truncate(struct file *f, s64 size)
{
	if (f->flags & O_PATH)
		return -EBADF;
	if (size < 0 || !S_ISREG(f->inode->mode) || (f->flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	return inode_truncate(f->inode, size, true);
}

// Which of the flags go together (fallocate(2)). What a file system lacks it refuses itself.
static int fallocate_mode_check(unsigned mode)
{
	const unsigned kinds =
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_COLLAPSE_RANGE;

	if (mode & ~(kinds | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	switch (mode & kinds) {
	case 0:
	case FALLOC_FL_ZERO_RANGE: return 0;
	case FALLOC_FL_PUNCH_HOLE: return mode & FALLOC_FL_KEEP_SIZE ? 0 : -EOPNOTSUPP;
	case FALLOC_FL_COLLAPSE_RANGE: return mode & FALLOC_FL_KEEP_SIZE ? -EOPNOTSUPP : 0;
	default: return -EOPNOTSUPP;
	}
}

int file_fallocate(struct file *f, unsigned mode, s64 off, s64 len)
{
	s64 end;
	int err;

	if (off < 0 || len <= 0)
		return -EINVAL;
	err = fallocate_mode_check(mode);
	if (err)
		return err;
	if ((f->flags & O_ACCMODE) == O_RDONLY || (f->flags & O_PATH))
		return -EBADF;
	if (S_ISFIFO(f->inode->mode))
		return -ESPIPE;
	if (S_ISDIR(f->inode->mode))
		return -EISDIR;
	if (!S_ISREG(f->inode->mode))
		return -ENODEV;
	if (__builtin_add_overflow(off, len, &end))
		return -EFBIG;
	if (!f->ops->fallocate)
		return -EOPNOTSUPP;
	err = mode & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_COLLAPSE_RANGE)
		      ? 0
		      : inode_size_allowed(f->inode, (u64)end);
	if (err)
		return err;
	inode_drop_set_id(f->inode);
	return f->ops->fallocate(f, mode, (u64)off, (u64)len);
}

s64 file_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	if (f->flags & O_PATH)
		return -EBADF;
	return f->ops->ioctl ? f->ops->ioctl(f, cmd, arg) : -ENOTTY;
}
