// SPDX-License-Identifier: MIT
//
// ptfs in the kernel: the file system type "ptfs".
//
//      mount -t ptfs pmem0 /pmem          the whole region, source with or without /dev/
//      options   addr=A     refuse unless the region is at physical address A
//                nodaxvm    mappings by page faults only, never by attaching stored tables
#pragma once

#include "kernel/lib/types.h"

// Registers the type. After vfs_init().
void ptfs_glue_init(void);

// Mounts pmem0 at /pmem, pmem1 at /pmem1 and so on; makes the directories. A region that cannot be
// mounted is logged and left out. With the boot parameter `format`, one that was carved out of RAM
// and is blank gets an empty file system first. Kernel thread, root mounted.
void ptfs_mount_regions(void);
