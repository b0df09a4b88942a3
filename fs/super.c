// SPDX-License-Identifier: MIT
//
// What: file system types and the mount table.
// Not here: the mount(2) system call (kernel/sys/sys_file_mount.c).
//
// A file system is mounted in one place: `covered` is the directory under it, `root_dentry` its
// root. The two are linked under dcache_lock, so a path walk sees a mount wholly or not at all.
//
// Invariants:
//   I1  A mounted super holds a reference to its root dentry and to what it covers, and a covered
//       directory cannot be removed: rmdir and rename look at `mounted` under its parent's lock,
//       and mounting holds the directory's lock.
//   I2  Unmounting succeeds only if no dentry but the root and no cached inode but root's is left.
// Locking: mount_lock over mount, unmount and sync; dcache_lock for the links.
#include "fs/namei.h"
#include "fs/procfs.h"
#include "fs/vfs_internal.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"

static struct mutex mount_lock;                // RANK_MOUNT, set up by vfs_mount of "/"
static struct list types = LIST_INIT(types);   // [constant after boot]
static struct list mounts = LIST_INIT(mounts); // [mount_lock] in order of mounting
static u64 last_dev;                           // atomic

void fs_register(struct fs_type *type)
{
	list_add_tail(&types, &type->node);
}

const struct fs_type *fs_find(const char *name)
{
	struct fs_type *t;

	list_for_each(t, &types, node)
		if (strcmp(t->name, name) == 0)
			return t;
	return NULL;
}

void super_init(struct super *s, const struct fs_type *type, const struct super_ops *ops,
		const char *source, const char *options, bool read_only)
{
	*s = (struct super){
		.type = type,
		.ops = ops,
		.read_only = read_only,
		.dev = __atomic_add_fetch(&last_dev, 1, __ATOMIC_RELAXED),
	};
	strlcpy(s->source, source ? source : "none", sizeof(s->source));
	strlcpy(s->options, options ? options : "", sizeof(s->options));
	list_init(&s->node);
}

// Links `s` over the directory `on` (reference taken over), or as the root of everything.
static NO_TSA int attach(struct super *s, struct dentry *on)
{
	int err = 0;

	if (on)
		mutex_lock(&on->inode->lock);
	spin_lock(&dcache_lock);
	if (on && (on->inode->flags & INODE_DEAD)) {
		err = -ENOENT;
	} else if (on && (on->mounted || on->parent == on || !(on->flags & DENTRY_HASHED))) {
		err = -EBUSY;
	} else if (on) {
		s->covered = on;
		on->mounted = s;
	}
	spin_unlock(&dcache_lock);
	if (on)
		mutex_unlock(&on->inode->lock);
	if (!err)
		list_add_tail(&mounts, &s->node);
	return err;
}

// Gives back a super that is not linked (any more), with all that the VFS holds of it.
static void dispose(struct super *s)
{
	if (s->root_dentry)
		dentry_put(s->root_dentry);
	inode_put(s->root);
	s->ops->destroy(s);
}

static int mount_on(const char *source, struct dentry *on, const struct fs_type *t,
		    const char *options, unsigned flags)
{
	struct super *s;
	int err;

	if (on && on->parent == on)
		return -EBUSY;
	err = t->mount(source, options, flags & MOUNT_RDONLY, &s);
	if (err)
		return err;
	s->no_suid = flags & MOUNT_NOSUID;
	s->no_dev = flags & MOUNT_NODEV;
	s->no_exec = flags & MOUNT_NOEXEC;
	s->root_dentry = dentry_create_root(inode_get(s->root));
	if (!s->root_dentry) {
		inode_put(s->root);
		err = -ENOMEM;
	} else {
		err = attach(s, on);
	}
	if (err) {
		(void)s->ops->unmount(s);
		dispose(s);
	}
	return err;
}

int vfs_mount(const char *source, const char *path, const char *type, const char *options,
	      unsigned flags)
{
	const struct fs_type *t = fs_find(type);
	struct dentry *on = NULL;
	int err;

	if (!t)
		return -ENODEV;
	if (list_empty(&mounts)) {
		mutex_init(&mount_lock, RANK_MOUNT);
		err = strcmp(path, "/") ? -EINVAL : mount_on(source, NULL, t, options, flags);
		if (!err)
			boot_context_set_root(
				list_entry(mounts.next, struct super, node)->root_dentry);
		return err;
	}
	mutex_lock(&mount_lock);
	err = path_at(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &on);
	if (!err)
		err = mount_on(source, on, t, options, flags);
	mutex_unlock(&mount_lock);
	if (err && on)
		dentry_put(on);
	return err;
}

static void link_again(struct super *s, struct dentry *on)
{
	spin_lock(&dcache_lock);
	on->mounted = s;
	s->covered = on;
	spin_unlock(&dcache_lock);
}

// Takes `s` out of the tree if nothing of it is in use. Nobody walks into it from then on.
static int detach(struct super *s)
{
	struct dentry *on = s->covered;
	int err = 0;

	dcache_shrink(s);
	spin_lock(&dcache_lock);
	if (!on || __atomic_load_n(&s->root_dentry->refs, __ATOMIC_ACQUIRE) != 1) {
		err = -EBUSY;
	} else {
		on->mounted = NULL;
		s->covered = NULL;
	}
	spin_unlock(&dcache_lock);
	return err;
}

static int unmount(struct super *s)
{
	struct dentry *on = s->covered;
	int err = detach(s);

	if (err)
		return err;
	if (s->nr_hashed > 1) // mapped files hold inodes without names
		err = -EBUSY;
	if (!err && s->ops->sync)
		err = s->ops->sync(s);
	if (!err)
		err = s->ops->unmount(s);
	if (err) {
		link_again(s, on);
		return err;
	}
	list_del(&s->node);
	dispose(s);
	dentry_put(on);
	return 0;
}

int vfs_unmount(const char *path)
{
	struct dentry *d;
	int err = path_at(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	if (err)
		return err;
	mutex_lock(&mount_lock);
	err = d->super->root_dentry == d ? 0 : -EINVAL;
	dentry_put(d); // the mount table still holds it
	if (!err)
		err = unmount(d->super);
	mutex_unlock(&mount_lock);
	return err;
}

void vfs_sync_all(void)
{
	struct super *s;

	mutex_lock(&mount_lock);
	list_for_each(s, &mounts, node)
		if (s->ops->sync && s->ops->sync(s))
			log_err("sync of %s failed", s->source);
	mutex_unlock(&mount_lock);
}

void vfs_unmount_all(void)
{
	struct super *s;
	struct list *n, *prev;
	int err;

	mutex_lock(&mount_lock);
	for (n = mounts.prev; n != &mounts; n = prev) {
		prev = n->prev;
		s = list_entry(n, struct super, node);
		if (!s->covered)
			continue; // the root lives in RAM
		err = unmount(s);
		// What lives in RAM loses nothing (the first program has a terminal in /dev open).
		if (err && !(err == -EBUSY && s->type->nodev))
			log_warn("%s (%s) stays mounted: error %d", s->source, s->type->name, -err);
	}
	mutex_unlock(&mount_lock);
}

void vfs_drop_caches(void)
{
	dcache_shrink(NULL);
}

// One line of /proc/mounts: source, place, type, options.
static void show_mount(struct seq *out, struct super *s, char *path)
{
	if (vfs_path(s->root_dentry, path, PATH_MAX) < 0)
		return;
	seq_printf(out, "%s %s %s %s%s%s%s%s%s 0 0\n", s->source, path, s->type->name,
		   s->read_only ? "ro" : "rw", s->no_suid ? ",nosuid" : "",
		   s->no_dev ? ",nodev" : "", s->no_exec ? ",noexec" : "", s->options[0] ? "," : "",
		   s->options);
}

void mounts_show(struct seq *out, void *arg __unused)
{
	char *path = kmalloc(PATH_MAX);
	struct super *s;

	if (!path)
		return;
	mutex_lock(&mount_lock);
	list_for_each(s, &mounts, node)
		show_mount(out, s, path);
	mutex_unlock(&mount_lock);
	kfree(path);
}

void filesystems_show(struct seq *out, void *arg __unused)
{
	struct fs_type *t;

	list_for_each(t, &types, node)
		seq_printf(out, "%s\t%s\n", t->nodev ? "nodev" : "", t->name);
}
