// SPDX-License-Identifier: MIT
//
// What: descriptors: open, close, dup, fcntl, ioctl, pipes, and paths from user space.
#include "kernel/sys/sys_file.h"

#include "fs/file.h"
#include "fs/flock.h"
#include "fs/fs_context.h"
#include "fs/ioctls.h"
#include "fs/namei.h"
#include "fs/pipe.h"
#include "kernel/proc/process.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

// fcntl(2)
#define F_DUPFD         0
#define F_GETFD         1
#define F_SETFD         2
#define F_GETFL         3
#define F_SETFL         4
#define F_GETLK         5
#define F_SETLK         6
#define F_SETLKW        7
#define F_SETOWN        8
#define F_GETOWN        9
#define F_OFD_GETLK     36
#define F_OFD_SETLK     37
#define F_OFD_SETLKW    38
#define F_DUPFD_CLOEXEC 1030
#define F_SETPIPE_SZ    1031
#define F_GETPIPE_SZ    1032
#define FD_CLOEXEC      1

#define SETFL_FLAGS (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)

// flock(2)
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8

static __attribute__((noinline)) int long_path_get(struct user_path *p, uva_t user)
{
	ssize n;

	p->str = kmalloc(PATH_MAX);
	if (!p->str)
		return -ENOMEM;
	n = strncpy_from_user(p->str, user, PATH_MAX);
	if (n >= 0)
		return 0;
	kfree(p->str);
	return (int)n;
}

int user_path_get(struct user_path *p, uva_t user)
{
	ssize n = strncpy_from_user(p->small, user, sizeof(p->small));

	p->str = p->small;
	if (likely(n >= 0))
		return 0;
	return n == -ENAMETOOLONG ? long_path_get(p, user) : (int)n;
}

void user_path_put(struct user_path *p)
{
	if (p->str != p->small)
		kfree(p->str);
}

int fd_inode(int fd, struct inode **out)
{
	struct fd_use u = fd_begin(fd);

	if (!u.file)
		return -EBADF;
	*out = inode_get(u.file->inode);
	fd_end(u);
	return 0;
}

static int empty_path_inode(int dirfd, struct inode **out)
{
	struct dentry *d;

	if (dirfd != AT_FDCWD)
		return fd_inode(dirfd, out);
	d = fs_cwd(fs_current());
	*out = inode_get(d->inode);
	dentry_put(d);
	return 0;
}

int user_inode_at(int dirfd, uva_t path, unsigned flags, struct inode **out)
{
	struct user_path p;
	struct dentry *d;
	int err = user_path_get(&p, path);

	if (err)
		return err;
	if (!*p.str && (flags & AT_EMPTY_PATH)) {
		err = empty_path_inode(dirfd, out);
	} else {
		err = path_at(dirfd, p.str, flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &d);
		if (!err) {
			*out = inode_get(d->inode);
			dentry_put(d);
		}
	}
	user_path_put(&p);
	return err;
}

// Linux's 64-bit kernel sets O_LARGEFILE itself, and F_GETFL shows it.
static s64 open_path(int dirfd, uva_t path, unsigned flags, u32 mode)
{
	struct user_path p;
	struct file *f;
	int fd, err = user_path_get(&p, path);

	if (err)
		return err;
	err = vfs_openat(dirfd, p.str, flags | O_LARGEFILE, mode, &f);
	user_path_put(&p);
	if (err)
		return err;
	fd = fd_install(f, 0, flags & O_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

s64 sys_open(const struct syscall_args *args)
{
	return open_path(AT_FDCWD, UVA(args->a[0]), (unsigned)args->a[1], (u32)args->a[2]);
}

s64 sys_openat(const struct syscall_args *args)
{
	return open_path((int)args->a[0], UVA(args->a[1]), (unsigned)args->a[2], (u32)args->a[3]);
}

s64 sys_creat(const struct syscall_args *args)
{
	return open_path(AT_FDCWD, UVA(args->a[0]), O_CREAT | O_WRONLY | O_TRUNC, (u32)args->a[1]);
}

s64 sys_close(const struct syscall_args *args)
{
	return fd_close((int)args->a[0]);
}

static s64 dup_from(int fd, int min_fd, bool cloexec)
{
	struct file *f = fd_get(fd);
	int new;

	if (!f)
		return -EBADF;
	new = fd_install(f, min_fd, cloexec);
	if (new < 0)
		file_put(f);
	return new;
}

s64 sys_dup(const struct syscall_args *args)
{
	return dup_from((int)args->a[0], 0, false);
}

static s64 dup_to(int old, int new, bool cloexec)
{
	struct file *f = fd_get(old);
	int r;

	if (!f)
		return -EBADF;
	r = fd_replace(new, f, cloexec);
	if (r < 0)
		file_put(f);
	return r;
}

s64 sys_dup2(const struct syscall_args *args)
{
	int old = (int)args->a[0], new = (int)args->a[1];

	if (old == new)
		return fd_get_cloexec(old) < 0 ? -EBADF : new;
	return dup_to(old, new, false);
}

s64 sys_dup3(const struct syscall_args *args)
{
	int old = (int)args->a[0], new = (int)args->a[1];

	if (((unsigned)args->a[2] & ~O_CLOEXEC) || old == new)
		return -EINVAL;
	return dup_to(old, new, args->a[2] & O_CLOEXEC);
}

// ---- Locks --------------------------------------------------------------------------------------

// struct flock to a range of bytes from the file's beginning.
static int lock_range_of(struct file *f, const struct abi_flock *l, struct lock_range *r)
{
	struct inode_attr attr;
	s64 start = 0, end;
	int err;

	if (l->type < LOCK_READ || l->type > LOCK_NONE)
		return -EINVAL;
	if (l->whence == SEEK_CUR) {
		start = (s64)f->pos;
	} else if (l->whence == SEEK_END) {
		err = vfs_getattr(f->inode, &attr);
		if (err)
			return err;
		start = (s64)attr.size;
	} else if (l->whence != SEEK_SET) {
		return -EINVAL;
	}
	if (__builtin_add_overflow(start, l->start, &start))
		return -EOVERFLOW;
	if (start < 0)
		return -EINVAL;
	if (__builtin_add_overflow(start, l->len - (l->len > 0), &end))
		return -EOVERFLOW;
	if (l->len < 0) { // the bytes before start
		s64 first = end;

		end = start - 1;
		start = first;
	}
	if (start < 0)
		return -EINVAL;
	*r = (struct lock_range){ l->type, (u64)start, l->len ? (u64)end : ~0ull,
				  process_current()->pid };
	return 0;
}

// Another thread may have closed the descriptor after it was looked up here. If that was before the
// lock was there, it has not gone with the close, and nobody would ever take it away.
static s64 still_open(int fd, struct file *f, const void *owner, struct lock_range *range)
{
	struct file *now = fd_get(fd);

	if (now)
		file_put(now);
	if (now == f)
		return 0;
	range->kind = LOCK_NONE;
	if (flock_set(f, owner, range, false)) // no memory: all of them, as the close would have
		flock_close(f, owner);
	return -EBADF;
}

static s64 lock_call(struct file *f, int fd, int cmd, uva_t user)
{
	bool ofd = cmd >= F_OFD_GETLK;
	const void *owner = ofd ? (const void *)f : fs_lock_owner();
	struct lock_range range;
	struct abi_flock l;
	int err;

	if (copy_from_user(&l, user, sizeof(l)))
		return -EFAULT;
	err = lock_range_of(f, &l, &range);
	if (err)
		return err;
	if (ofd && l.pid)
		return -EINVAL;
	if (ofd) // no process has it: F_GETLK says -1
		range.pid = ~0u;
	if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
		if (range.kind == LOCK_NONE)
			return -EINVAL;
		flock_get(f, owner, &range);
		l.type = (s16)range.kind;
		if (range.kind != LOCK_NONE) {
			l.whence = SEEK_SET;
			l.start = (s64)range.start;
			l.len = range.end == ~0ull ? 0 : (s64)(range.end - range.start + 1);
			l.pid = (s32)range.pid;
		}
		return copy_to_user(user, &l, sizeof(l));
	}
	if ((range.kind == LOCK_READ && (f->flags & O_ACCMODE) == O_WRONLY) ||
	    (range.kind == LOCK_WRITE && (f->flags & O_ACCMODE) == O_RDONLY))
		return -EBADF;
	err = flock_set(f, owner, &range, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
	return err || ofd || range.kind == LOCK_NONE ? err : still_open(fd, f, owner, &range);
}

s64 sys_flock(const struct syscall_args *args)
{
	struct file *f = fd_get((int)args->a[0]);
	int op = (int)args->a[1];
	s64 err = -EINVAL;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH) {
		file_put(f);
		return -EBADF;
	}
	switch (op & ~LOCK_NB) {
	case LOCK_SH: err = flock_file(f, LOCK_READ, !(op & LOCK_NB)); break;
	case LOCK_EX: err = flock_file(f, LOCK_WRITE, !(op & LOCK_NB)); break;
	case LOCK_UN: err = flock_file(f, LOCK_NONE, false); break;
	default: break;
	}
	file_put(f);
	return err;
}

// ---- fcntl, ioctl -------------------------------------------------------------------------------

static s64 set_flags(struct file *f, unsigned flags)
{
	if ((flags & O_NOATIME) && !(f->flags & O_NOATIME)) {
		u32 uid = fs_credentials(fs_current())->fsuid;

		if (uid && uid != f->inode->uid)
			return -EPERM;
	}
	WRITE_ONCE(f->flags, (f->flags & ~SETFL_FLAGS) | (flags & SETFL_FLAGS));
	return 0;
}

static s64 fcntl_file(struct file *f, int fd, int cmd, u64 arg)
{
	switch (cmd) {
	case F_DUPFD: return dup_from(fd, (int)arg, false);
	case F_DUPFD_CLOEXEC: return dup_from(fd, (int)arg, true);
	case F_GETFD: return fd_get_cloexec(fd);
	case F_SETFD: return fd_set_cloexec(fd, arg & FD_CLOEXEC);
	case F_GETFL: return f->flags;
	default: break;
	}
	if (f->flags & O_PATH)
		return -EBADF;
	switch (cmd) {
	case F_SETFL: return set_flags(f, (unsigned)arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW: return lock_call(f, fd, cmd, UVA(arg));
	case F_GETPIPE_SZ: return S_ISFIFO(f->inode->mode) ? (s64)PIPE_CAPACITY : -EBADF;
	case F_SETPIPE_SZ: // pipes have one size; less was asked for: it is there
		if (!S_ISFIFO(f->inode->mode))
			return -EBADF;
		return (u32)arg <= PIPE_CAPACITY ? (s64)PIPE_CAPACITY : -EPERM;
	case F_GETOWN:
	case F_SETOWN: return 0; // no SIGIO is ever sent
	default: return -EINVAL;
	}
}

s64 sys_fcntl(const struct syscall_args *args)
{
	struct file *f = fd_get((int)args->a[0]);
	s64 r;

	if (!f)
		return -EBADF;
	r = fcntl_file(f, (int)args->a[0], (int)args->a[1], args->a[2]);
	file_put(f);
	return r;
}

static s64 set_nonblock(struct file *f, uva_t arg)
{
	int on;

	if (copy_from_user(&on, arg, sizeof(on)))
		return -EFAULT;
	WRITE_ONCE(f->flags, on ? f->flags | O_NONBLOCK : f->flags & ~O_NONBLOCK);
	return 0;
}

static s64 bytes_to_read(struct file *f, uva_t arg)
{
	struct inode_attr attr;
	int n, err = vfs_getattr(f->inode, &attr);

	if (err)
		return err;
	n = (int)(attr.size > f->pos ? attr.size - f->pos : 0);
	return copy_to_user(arg, &n, sizeof(n));
}

s64 sys_ioctl(const struct syscall_args *args)
{
	struct file *f = fd_get((int)args->a[0]);
	unsigned cmd = (unsigned)args->a[1];
	s64 r;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (cmd == FIOCLEX || cmd == FIONCLEX)
		r = fd_set_cloexec((int)args->a[0], cmd == FIOCLEX);
	else if (cmd == FIONBIO)
		r = set_nonblock(f, UVA(args->a[2]));
	else if (cmd == FIONREAD && S_ISREG(f->inode->mode))
		r = bytes_to_read(f, UVA(args->a[2]));
	else
		r = file_ioctl(f, cmd, args->a[2]);
	file_put(f);
	return r;
}

// ---- Pipes --------------------------------------------------------------------------------------

static s64 make_pipe(uva_t user, unsigned flags)
{
	struct file *end[2];
	int fd[2], err;

	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	err = pipe_create(flags & O_NONBLOCK, &end[0], &end[1]);
	if (err)
		return err;
	fd[0] = fd_install(end[0], 0, flags & O_CLOEXEC);
	fd[1] = fd[0] < 0 ? fd[0] : fd_install(end[1], 0, flags & O_CLOEXEC);
	if (fd[1] < 0) {
		if (fd[0] >= 0)
			(void)!fd_close(fd[0]);
		else
			file_put(end[0]);
		file_put(end[1]);
		return fd[1];
	}
	err = copy_to_user(user, fd, sizeof(fd));
	if (err) {
		(void)!fd_close(fd[0]);
		(void)!fd_close(fd[1]);
	}
	return err;
}

s64 sys_pipe(const struct syscall_args *args)
{
	return make_pipe(UVA(args->a[0]), 0);
}

s64 sys_pipe2(const struct syscall_args *args)
{
	return make_pipe(UVA(args->a[0]), (unsigned)args->a[1]);
}
