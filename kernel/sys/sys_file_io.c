// SPDX-License-Identifier: MIT
//
// What: reading, writing and listing by descriptor.
// Not here: the rules of each call (fs/rw.c); descriptors themselves (sys_file_fd.c).
#include "kernel/sys/sys_file.h"

#include "fs/file.h"
#include "fs/fs_context.h"
#include "kernel/lib/string.h"
#include "kernel/proc/signal.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define IOV_MAX        1024u
#define IOV_SMALL      8u
#define SENDFILE_CHUNK 16384u

typedef ssize (*move_fn)(struct file *f, struct iov_iter *it);
typedef ssize (*move_at_fn)(struct file *f, struct iov_iter *it, u64 *off);

static __attribute__((noinline)) s64 move_counted(struct fd_use u, struct iov_iter *it, move_fn fn)
{
	s64 n = fn(u.file, it);

	fd_end(u);
	return n;
}

static __attribute__((noinline)) s64 move_at_counted(struct fd_use u, struct iov_iter *it, u64 *off,
						     move_at_fn fn)
{
	s64 n = fn(u.file, it, off);

	fd_end(u);
	return n;
}

// A copy for each call, with nothing to give back afterwards in most cases.
static inline __attribute__((always_inline)) s64 move(const struct syscall_args *args, move_fn fn)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	struct iov_iter it;

	if (unlikely(!u.file))
		return -EBADF;
	iov_init_user(&it, UVA(args->a[1]), args->a[2]);
	return likely(!u.counted) ? fn(u.file, &it) : move_counted(u, &it, fn);
}

static inline __attribute__((always_inline)) s64 move_at(const struct syscall_args *args,
							 move_at_fn fn)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	u64 off = args->a[3];
	struct iov_iter it;

	if (unlikely(!u.file))
		return -EBADF;
	iov_init_user(&it, UVA(args->a[1]), args->a[2]);
	return likely(!u.counted) ? fn(u.file, &it, &off) : move_at_counted(u, &it, &off, fn);
}

s64 sys_read(const struct syscall_args *args)
{
	return move(args, file_read);
}

s64 sys_write(const struct syscall_args *args)
{
	return move(args, file_write);
}

s64 sys_pread64(const struct syscall_args *args)
{
	return move_at(args, file_pread);
}

s64 sys_pwrite64(const struct syscall_args *args)
{
	return move_at(args, file_pwrite);
}

// Copies an array of struct iovec, which is laid out like struct iov_piece. `small` or heap in
// *out.
static int get_pieces(uva_t user, u64 count, struct iov_piece *small, struct iov_piece **out,
		      struct iov_iter *it)
{
	struct iov_piece *p = small;
	u64 total = 0;
	int err = 0;

	if (count > IOV_MAX)
		return -EINVAL;
	if (count > IOV_SMALL)
		p = kmalloc(count * sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (copy_from_user(p, user, count * sizeof(*p)))
		err = -EFAULT;
	for (u64 k = 0; k < count && !err; k++) {
		if ((s64)p[k].len < 0 || (s64)(total + p[k].len) < 0)
			err = -EINVAL;
		total += p[k].len;
	}
	if (err) {
		if (p != small)
			kfree(p);
		return err;
	}
	iov_init_pieces(it, p, (unsigned)count, total);
	*out = p;
	return 0;
}

// `at` NULL: at the file's position.
static s64 move_vector(const struct syscall_args *args, move_fn fn, move_at_fn at)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	struct iov_piece small[IOV_SMALL], *p;
	struct iov_iter it;
	u64 off = args->a[3];
	s64 n;

	if (!u.file)
		return -EBADF;
	n = get_pieces(UVA(args->a[1]), args->a[2], small, &p, &it);
	if (!n) {
		n = at ? at(u.file, &it, &off) : fn(u.file, &it);
		if (p != small)
			kfree(p);
	}
	fd_end(u);
	return n;
}

s64 sys_readv(const struct syscall_args *args)
{
	return move_vector(args, file_read, NULL);
}

s64 sys_writev(const struct syscall_args *args)
{
	return move_vector(args, file_write, NULL);
}

s64 sys_preadv(const struct syscall_args *args)
{
	return move_vector(args, NULL, file_pread);
}

s64 sys_pwritev(const struct syscall_args *args)
{
	return move_vector(args, NULL, file_pwrite);
}

s64 sys_lseek(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	s64 pos;

	if (!u.file)
		return -EBADF;
	pos = file_lseek(u.file, (s64)args->a[1], (int)args->a[2]);
	fd_end(u);
	return pos;
}

// One chunk from `in` (at *off, or at its position if off is NULL) to `out`.
static ssize send_chunk(struct file *out, struct file *in, s64 *off, char *buf, size_t want)
{
	u64 from = off ? (u64)*off : 0;
	struct iov_iter it;
	ssize n, put;

	iov_init_kernel(&it, buf, want);
	n = off ? file_pread(in, &it, &from) : file_read(in, &it);
	if (n <= 0)
		return n;
	iov_init_kernel(&it, buf, (size_t)n);
	put = file_write(out, &it);
	if (off && put > 0)
		*off += put;
	else if (!off && put < n) // give back what was not sent
		(void)file_lseek(in, max(put, (ssize)0) - n, SEEK_CUR);
	return put;
}

static s64 send(struct file *out, struct file *in, s64 *off, u64 count)
{
	char *buf = kmalloc(SENDFILE_CHUNK);
	s64 done = 0;
	ssize n = 1;

	if (!buf)
		return -ENOMEM;
	while (count && n > 0) {
		n = send_chunk(out, in, off, buf, min(count, (u64)SENDFILE_CHUNK));
		if (n <= 0)
			break;
		done += n;
		count -= (u64)n;
		if (signal_pending()) // a file sent to itself has no end
			break;
	}
	kfree(buf);
	return done ? done : n;
}

s64 sys_sendfile(const struct syscall_args *args)
{
	struct file *out = fd_get((int)args->a[0]);
	struct file *in = fd_get((int)args->a[1]);
	uva_t user_off = UVA(args->a[2]);
	s64 off = 0, n = -EBADF;

	if (out && in) {
		n = S_ISREG(in->inode->mode) && !(out->flags & O_APPEND) ? 0 : -EINVAL;
		if (!n && user_off.va && copy_from_user(&off, user_off, sizeof(off)))
			n = -EFAULT;
		if (!n)
			n = send(out, in, user_off.va ? &off : NULL, args->a[3]);
		if (n > 0 && user_off.va && copy_to_user(user_off, &off, sizeof(off)))
			n = -EFAULT;
	}
	if (out)
		file_put(out);
	if (in)
		file_put(in);
	return n;
}

static s64 sync_fd(int fd, bool data_only)
{
	struct fd_use u = fd_begin(fd);
	s64 err;

	if (!u.file)
		return -EBADF;
	err = file_sync(u.file, data_only);
	fd_end(u);
	return err;
}

s64 sys_fsync(const struct syscall_args *args)
{
	return sync_fd((int)args->a[0], false);
}

s64 sys_fdatasync(const struct syscall_args *args)
{
	return sync_fd((int)args->a[0], true);
}

s64 sys_sync_file_range(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	s64 err;

	if (!u.file)
		return -EBADF;
	err = file_sync_range(u.file, (s64)args->a[1], (s64)args->a[2], (unsigned)args->a[3]);
	fd_end(u);
	return err;
}

s64 sys_ftruncate(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	s64 err;

	if (!u.file)
		return -EBADF;
	err = file_truncate(u.file, (s64)args->a[1]);
	fd_end(u);
	return err;
}

s64 sys_fallocate(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	s64 err;

	if (!u.file)
		return -EBADF;
	err = file_fallocate(u.file, (unsigned)args->a[1], (s64)args->a[2], (s64)args->a[3]);
	fd_end(u);
	return err;
}

// Advice has nothing to act on: there is no page cache beside the files.
s64 sys_fadvise64(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	s64 err = 0;

	if (!u.file)
		return -EBADF;
	if (u.file->flags & O_PATH)
		err = -EBADF;
	else if (S_ISFIFO(u.file->inode->mode))
		err = -ESPIPE;
	else if ((s64)args->a[2] < 0 || args->a[3] > 5)
		err = -EINVAL;
	fd_end(u);
	return err;
}

// ---- getdents64 ---------------------------------------------------------------------------------

struct dents {
	uva_t at;
	u64 left;
	int err;
	bool any;
};

static bool put_dirent(void *ctx, const char *name, size_t len, u64 ino, unsigned d_type,
		       u64 next_pos)
{
	struct dents *d = ctx;
	union {
		struct abi_dirent64 e;
		char bytes[sizeof(struct abi_dirent64) + NAME_MAX + 8];
	} rec;
	size_t size = ALIGN_UP(sizeof(rec.e) + len + 1, 8);

	if (size > d->left) {
		if (!d->any)
			d->err = -EINVAL;
		return false;
	}
	memset(rec.bytes + size - 8, 0, 8);
	rec.e.ino = ino;
	rec.e.off = (s64)next_pos;
	rec.e.reclen = (u16)size;
	rec.e.type = (u8)d_type;
	memcpy(rec.e.name, name, len);
	rec.e.name[len] = 0;
	if (copy_to_user(d->at, rec.bytes, size)) {
		d->err = -EFAULT;
		return false;
	}
	d->at.va += size;
	d->left -= size;
	d->any = true;
	return true;
}

s64 sys_getdents64(const struct syscall_args *args)
{
	struct fd_use u = fd_begin((int)args->a[0]);
	struct dents d = { .at = UVA(args->a[1]), .left = (u32)args->a[2] };
	int err;

	if (!u.file)
		return -EBADF;
	err = file_readdir(u.file, put_dirent, &d);
	fd_end(u);
	if (d.any)
		return (s64)(d.at.va - args->a[1]);
	return err ? err : d.err;
}
