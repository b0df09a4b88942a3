// SPDX-License-Identifier: MIT
//
// What: the directories of processes in /proc, and /proc/self.
// Not here: registered names (fs/procfs.c); what the files say (kernel/proc registers that).
#include "fs/procfs_internal.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"

int proc_task_lookup(struct inode *root __unused, const char *name __unused, size_t len __unused,
		     struct inode **out __unused)
{
	return -ENOENT;
}

int proc_task_readdir(u64 *pos __unused, dir_emit emit __unused, void *ctx __unused)
{
	return 0;
}
