// SPDX-License-Identifier: MIT
//
// What: character devices by number, and /dev, a RAM file system that is filled with a file for
// each.
// Not here: the terminal (fs/tty.c).
//
// Invariants:
//   I1  Devices are registered at boot and never go.
#include "fs/chrdev.h"

#include "fs/devmem.h"
#include "fs/ramfs.h"
#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "kernel/sched/lock.h"

#define CHRDEV_MAX 64

static struct chrdev {
	u64 rdev;
	const char *name;
	u32 mode;
	const struct file_ops *ops;
} devices[CHRDEV_MAX]; // [devices_lock] up to nr_devices
static u32 nr_devices; // atomic: published last
static struct spinlock devices_lock = SPINLOCK_INIT(RANK_FS_SPIN);

int chrdev_register(u64 rdev, const char *name, u32 mode, const struct file_ops *ops)
{
	int err = 0;

	spin_lock(&devices_lock);
	for (u32 k = 0; k < nr_devices; k++)
		if (devices[k].rdev == rdev)
			err = -EEXIST;
	if (!err && nr_devices == CHRDEV_MAX)
		err = -ENOMEM;
	if (!err) {
		devices[nr_devices] = (struct chrdev){ rdev, name, mode, ops };
		__atomic_store_n(&nr_devices, nr_devices + 1, __ATOMIC_RELEASE);
	}
	spin_unlock(&devices_lock);
	return err;
}

const struct file_ops *chrdev_ops(u64 rdev)
{
	u32 count = __atomic_load_n(&nr_devices, __ATOMIC_ACQUIRE);

	for (u32 k = 0; k < count; k++)
		if (devices[k].rdev == rdev)
			return devices[k].ops;
	return NULL;
}

// Makes all device files, and the links that programs expect, in the new file system.
static int fill(struct inode *root)
{
	static const char *const links[][2] = {
		{ "fd", "/proc/self/fd" },
		{ "stdin", "/proc/self/fd/0" },
		{ "stdout", "/proc/self/fd/1" },
		{ "stderr", "/proc/self/fd/2" },
	};
	u32 count = __atomic_load_n(&nr_devices, __ATOMIC_ACQUIRE);
	struct inode *made;
	int err = 0;

	mutex_lock(&root->lock);
	for (u32 k = 0; k < count && !err; k++) {
		err = root->ops->create(root, devices[k].name, strlen(devices[k].name),
					S_IFCHR | devices[k].mode, devices[k].rdev, &made);
		if (!err)
			inode_put(made);
	}
	for (unsigned k = 0; k < ARRAY_SIZE(links) && !err; k++) {
		err = root->ops->symlink(root, links[k][0], strlen(links[k][0]), links[k][1],
					 &made);
		if (!err)
			inode_put(made);
	}
	mutex_unlock(&root->lock);
	return err;
}

static int devfs_mount(const char *source, const char *options, bool read_only, struct super **out)
{
	struct super *s;
	int err = ramfs_mount(&devfs_type, source, options, read_only, &s);

	if (err)
		return err;
	err = fill(s->root);
	if (err) {
		(void)s->ops->unmount(s);
		inode_put(s->root);
		s->ops->destroy(s);
		return err;
	}
	*out = s;
	return 0;
}

struct fs_type devfs_type = { .name = "devtmpfs", .nodev = true, .mount = devfs_mount };
