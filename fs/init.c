// SPDX-License-Identifier: MIT
//
// What: the file systems' boot: types, the root, /dev, /proc.
#include "fs/chrdev.h"
#include "fs/devmem.h"
#include "fs/file.h"
#include "fs/flock.h"
#include "fs/namei.h"
#include "fs/pipe.h"
#include "fs/procfs.h"
#include "fs/ramfs.h"
#include "fs/tty.h"
#include "fs/vfs_internal.h"
#include "kernel/panic.h"

// Nothing works without these: their failure is the end of the boot.
static void must(int err, const char *what)
{
	if (err)
		panic("vfs_init: %s: error %d", what, -err);
}

// Everybody's, whatever the umask; only the owner of a file may remove it.
static int make_tmp(void)
{
	struct dentry *d;
	int err = vfs_mkdirat(AT_FDCWD, "/tmp", 0777);

	if (!err)
		err = path_at(AT_FDCWD, "/tmp", 0, &d);
	if (err)
		return err;
	err = inode_chmod(d->inode, 0777 | S_ISVTX);
	dentry_put(d);
	return err;
}

void vfs_init(void)
{
	rename_init();
	attr_init();
	pipe_init();
	flock_init();
	fs_register(&ramfs_type);
	fs_register(&tmpfs_type);
	fs_register(&devfs_type);
	fs_register(&proc_type);
	devmem_init();
	tty_register();
	must(vfs_mount("root", "/", "ramfs", "", 0), "root");
	must(vfs_mkdirat(AT_FDCWD, "/dev", 0755), "/dev");
	must(vfs_mkdirat(AT_FDCWD, "/proc", 0555), "/proc");
	must(make_tmp(), "/tmp");
	must(vfs_mount("devtmpfs", "/dev", "devtmpfs", "", 0), "/dev");
	must(vfs_mount("proc", "/proc", "proc", "", 0), "/proc");
	must(proc_register("mounts", mounts_show, NULL), "/proc/mounts");
	must(proc_register("filesystems", filesystems_show, NULL), "/proc/filesystems");
}
