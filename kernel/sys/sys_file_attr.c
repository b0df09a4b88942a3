// SPDX-License-Identifier: MIT
//
// What: changing attributes: mode, owner, times, size.
// Not here: who may (fs/attr.c).
#include "kernel/sys/sys_file.h"

#include "fs/file.h"
#include "fs/fs_context.h"
#include "kernel/x86/time.h"
#include "mm/uaccess.h"

#define NS_PER_S   1000000000ll
#define UTIME_NOW  0x3fffffffll
#define UTIME_OMIT 0x3ffffffell

static s64 chmod_at(int dirfd, uva_t path, u32 mode)
{
	struct inode *i;
	s64 err = user_inode_at(dirfd, path, 0, &i);

	if (err)
		return err;
	err = inode_chmod(i, mode);
	inode_put(i);
	return err;
}

s64 sys_chmod(const struct syscall_args *args)
{
	return chmod_at(AT_FDCWD, UVA(args->a[0]), (u32)args->a[1]);
}

s64 sys_fchmodat(const struct syscall_args *args)
{
	return chmod_at((int)args->a[0], UVA(args->a[1]), (u32)args->a[2]);
}

// An open file whose attributes may be changed through it; O_PATH does not.
static struct file *attr_file(int fd)
{
	struct file *f = fd_get(fd);

	if (f && (f->flags & O_PATH)) {
		file_put(f);
		return NULL;
	}
	return f;
}

s64 sys_fchmod(const struct syscall_args *args)
{
	struct file *f = attr_file((int)args->a[0]);
	s64 err;

	if (!f)
		return -EBADF;
	err = inode_chmod(f->inode, (u32)args->a[1]);
	file_put(f);
	return err;
}

static s64 chown_at(int dirfd, uva_t path, u32 uid, u32 gid, unsigned flags)
{
	struct inode *i;
	s64 err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = user_inode_at(dirfd, path, flags, &i);
	if (err)
		return err;
	err = inode_chown(i, uid, gid);
	inode_put(i);
	return err;
}

s64 sys_chown(const struct syscall_args *args)
{
	return chown_at(AT_FDCWD, UVA(args->a[0]), (u32)args->a[1], (u32)args->a[2], 0);
}

s64 sys_lchown(const struct syscall_args *args)
{
	return chown_at(AT_FDCWD, UVA(args->a[0]), (u32)args->a[1], (u32)args->a[2],
			AT_SYMLINK_NOFOLLOW);
}

s64 sys_fchownat(const struct syscall_args *args)
{
	return chown_at((int)args->a[0], UVA(args->a[1]), (u32)args->a[2], (u32)args->a[3],
			(unsigned)args->a[4]);
}

s64 sys_fchown(const struct syscall_args *args)
{
	struct file *f = attr_file((int)args->a[0]);
	s64 err;

	if (!f)
		return -EBADF;
	err = inode_chown(f->inode, (u32)args->a[1], (u32)args->a[2]);
	file_put(f);
	return err;
}

// ---- Times --------------------------------------------------------------------------------------

// Two times as asked for: nanoseconds since 1970, or NULL to leave one.
struct times {
	u64 ns[2];
	bool set[2];
	bool now; // both the present time
};

static void both_now(struct times *t)
{
	*t = (struct times){ .set = { true, true }, .now = true };
	t->ns[0] = t->ns[1] = time_wall_ns();
}

static s64 set_times(struct inode *i, const struct times *t)
{
	return inode_set_times(i, t->set[0] ? &t->ns[0] : NULL, t->set[1] ? &t->ns[1] : NULL,
			       t->now);
}

// Times before 1970 become 1970: file systems here keep unsigned nanoseconds.
static u64 to_ns(s64 sec, s64 nsec)
{
	if (sec < 0)
		return 0;
	if ((u64)sec >= ~0ull / NS_PER_S)
		return ~0ull;
	return (u64)sec * NS_PER_S + (u64)nsec;
}

static s64 times_at(int dirfd, uva_t path, const struct times *t, unsigned flags)
{
	struct inode *i;
	s64 err = user_inode_at(dirfd, path, flags, &i);

	if (err)
		return err;
	err = set_times(i, t);
	inode_put(i);
	return err;
}

s64 sys_utime(const struct syscall_args *args)
{
	struct abi_utimbuf buf;
	struct times t;

	if (!args->a[1]) {
		both_now(&t);
	} else {
		if (copy_from_user(&buf, UVA(args->a[1]), sizeof(buf)))
			return -EFAULT;
		t = (struct times){ .ns = { to_ns(buf.actime, 0), to_ns(buf.modtime, 0) },
				    .set = { true, true } };
	}
	return times_at(AT_FDCWD, UVA(args->a[0]), &t, 0);
}

static s64 utimes_at(int dirfd, uva_t path, uva_t user)
{
	struct abi_timeval tv[2];
	struct times t;

	if (!user.va) {
		both_now(&t);
	} else {
		if (copy_from_user(tv, user, sizeof(tv)))
			return -EFAULT;
		for (unsigned k = 0; k < 2; k++) {
			if (tv[k].usec < 0 || tv[k].usec >= 1000000)
				return -EINVAL;
			t.ns[k] = to_ns(tv[k].sec, tv[k].usec * 1000);
			t.set[k] = true;
		}
		t.now = false;
	}
	return times_at(dirfd, path, &t, 0);
}

s64 sys_utimes(const struct syscall_args *args)
{
	return utimes_at(AT_FDCWD, UVA(args->a[0]), UVA(args->a[1]));
}

s64 sys_futimesat(const struct syscall_args *args)
{
	return utimes_at((int)args->a[0], UVA(args->a[1]), UVA(args->a[2]));
}

static int get_timespecs(uva_t user, struct times *t)
{
	struct abi_timespec ts[2];

	if (!user.va) {
		both_now(t);
		return 0;
	}
	if (copy_from_user(ts, user, sizeof(ts)))
		return -EFAULT;
	t->now = ts[0].nsec == UTIME_NOW && ts[1].nsec == UTIME_NOW;
	for (unsigned k = 0; k < 2; k++) {
		t->set[k] = ts[k].nsec != UTIME_OMIT;
		if (ts[k].nsec == UTIME_NOW)
			t->ns[k] = time_wall_ns();
		else if (!t->set[k])
			t->ns[k] = 0;
		else if (ts[k].nsec < 0 || ts[k].nsec >= NS_PER_S)
			return -EINVAL;
		else
			t->ns[k] = to_ns(ts[k].sec, ts[k].nsec);
	}
	return 0;
}

s64 sys_utimensat(const struct syscall_args *args)
{
	unsigned flags = (unsigned)args->a[3];
	struct file *f;
	struct times t;
	s64 err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = get_timespecs(UVA(args->a[2]), &t);
	if (err)
		return err;
	if (!t.set[0] && !t.set[1])
		return 0;
	if (args->a[1] || (int)args->a[0] == AT_FDCWD)
		return times_at((int)args->a[0], UVA(args->a[1]), &t, flags);
	if (flags)
		return -EINVAL;
	f = attr_file((int)args->a[0]); // futimens(3)
	if (!f)
		return -EBADF;
	err = set_times(f->inode, &t);
	file_put(f);
	return err;
}

// ---- Size ---------------------------------------------------------------------------------------

s64 sys_truncate(const struct syscall_args *args)
{
	struct inode *i;
	s64 err;

	if ((s64)args->a[1] < 0)
		return -EINVAL;
	err = user_inode_at(AT_FDCWD, UVA(args->a[0]), 0, &i);
	if (err)
		return err;
	if (S_ISDIR(i->mode))
		err = -EISDIR;
	else if (!S_ISREG(i->mode))
		err = -EINVAL;
	else
		err = inode_permission(i, MAY_WRITE);
	if (!err)
		err = inode_truncate(i, (s64)args->a[1], false);
	inode_put(i);
	return err;
}

s64 sys_xattr(const struct syscall_args *args __unused)
{
	return -EOPNOTSUPP;
}
