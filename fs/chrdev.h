// SPDX-License-Identifier: MIT
//
// Character devices: numbers -> operations. A device file of any file system leads here.
#pragma once

#include "fs/vfs.h"

#define MKDEV(major, minor) (((u64)(major) << 8) | (minor))

// `ops` for the number `rdev`; also makes /dev/`name` (mode: permission bits). At init.
// -ENOMEM, -EEXIST.
int chrdev_register(u64 rdev, const char *name, u32 mode, const struct file_ops *ops) __must_check;
const struct file_ops *chrdev_ops(u64 rdev); // NULL: no such device
extern struct fs_type devfs_type; // /dev: a RAM file system filled with all that is registered
