// SPDX-License-Identifier: MIT
//
// What: mount, umount2, sync.
// Not here: the mount table (fs/super.c).
#include "kernel/sys/sys_file.h"

#include "fs/fs_context.h"
#include "kernel/lib/string.h"
#include "mm/arena.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define MS_REMOUNT  0x20u
#define MS_BIND     0x1000u
#define MS_MOVE     0x2000u
#define MS_SHARING  0x1e0000u // unbindable, private, slave, shared
#define OPTIONS_MAX 256u

struct mount_strings {
	struct user_path source, path;
	char type[32];
	char options[OPTIONS_MAX];
};

// The strings that may be NULL. Options longer than any that mean something here: -EINVAL.
static int get_optional(char *to, uva_t user, size_t bytes)
{
	ssize n;

	to[0] = 0;
	if (!user.va)
		return 0;
	n = strncpy_from_user(to, user, bytes);
	if (n == -ENAMETOOLONG)
		return -EINVAL;
	return n < 0 ? (int)n : 0;
}

static s64 mount_strings(struct mount_strings *m, const struct syscall_args *args)
{
	int err = get_optional(m->type, UVA(args->a[2]), sizeof(m->type));

	if (!err)
		err = get_optional(m->options, UVA(args->a[4]), sizeof(m->options));
	if (!err && !m->type[0])
		err = -ENODEV;
	if (err)
		return err;
	err = user_path_get(&m->path, UVA(args->a[1]));
	if (err)
		return err;
	m->source.str = m->source.small;
	memcpy(m->source.small, "none", 5);
	if (args->a[0])
		err = user_path_get(&m->source, UVA(args->a[0]));
	if (!err) {
		err = vfs_mount(m->source.str, m->path.str, m->type, m->options,
				(unsigned)args->a[3]);
		user_path_put(&m->source);
	}
	user_path_put(&m->path);
	return err;
}

s64 sys_mount(const struct syscall_args *args)
{
	struct mount_strings *m;
	s64 err;

	if (fs_credentials(fs_current())->euid)
		return -EPERM;
	if (args->a[3] & (MS_REMOUNT | MS_BIND | MS_MOVE | MS_SHARING))
		return -EINVAL; // a file system stands in one place, with the rights it came with
	m = kmalloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	err = mount_strings(m, args);
	kfree(m);
	return err;
}

s64 sys_umount2(const struct syscall_args *args)
{
	struct user_path p;
	s64 err;

	if (fs_credentials(fs_current())->euid)
		return -EPERM;
	err = user_path_get(&p, UVA(args->a[0]));
	if (err)
		return err;
	// What programs unmapped a moment ago holds its file for some ticks (MAP_DAXVM_EPHEMERAL).
	arena_settle();
	err = vfs_unmount(p.str);
	user_path_put(&p);
	return err;
}

s64 sys_sync(const struct syscall_args *args __unused)
{
	vfs_sync_all();
	return 0;
}

s64 sys_syncfs(const struct syscall_args *args)
{
	struct file *f = fd_get((int)args->a[0]);
	struct super *s;
	s64 err = -EBADF;

	if (!f)
		return err;
	if (!(f->flags & O_PATH)) {
		s = f->inode->super;
		err = s->ops && s->ops->sync ? s->ops->sync(s) : 0;
	}
	file_put(f);
	return err;
}
