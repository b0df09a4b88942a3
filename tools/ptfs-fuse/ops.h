// SPDX-License-Identifier: MIT
//
// The operation table of ptfs-fuse, apart from the program so that tests can call it.
#pragma once

#define FUSE_USE_VERSION 31
#include <fuse3/fuse.h>

#include "user/ptfs/host_home.h"

// Paths are those of `fs`; new files belong to whom `who` names. One thread at a time.
void ptfs_fuse_start(struct ptfs_fs *fs, void (*who)(u32 *uid, u32 *gid));

const struct fuse_operations *ptfs_fuse_operations(void);
