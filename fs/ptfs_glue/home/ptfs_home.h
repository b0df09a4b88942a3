// SPDX-License-Identifier: MIT
//
// The kernel home's types (fs/ptfs/platform.h says what they are for).
#pragma once

#include "drivers/nvdimm/pmem.h"
#include "drivers/nvdimm/poison.h"
#include "fs/iov.h"
#include "kernel/lib/string.h"
#include "kernel/sched/lock.h"
#include "mm/vmobject.h"

struct inode;
struct dentry;

struct ptfs_mutex {
	struct mutex m;
};

// Part of every in-core inode of ptfs. Its lifetime is that of the core's inode; the VFS's inode
// comes and goes meanwhile, but stays while the file is open or mapped.
struct ptfs_home_inode {
	struct vm_object object; // map_lock is ptfs's mapping lock
	struct inode *vfs;       // NULL: the VFS does not know the file now
	const char *path; // where it was when first mapped, for /proc/PID/maps; NULL [atomic]
};

// Nothing beside the VFS's iterator: glue_iter() in glue_internal.h.
struct ptfs_iter {
	struct iov_iter iov;
};

static inline NO_TSA void ptfs_mutex_lock(struct ptfs_mutex *m)
{
	mutex_lock(&m->m);
}

static inline NO_TSA void ptfs_mutex_unlock(struct ptfs_mutex *m)
{
	mutex_unlock(&m->m);
}

// Part of each read and write.
static inline NO_TSA void ptfs_map_lock_shared(struct ptfs_home_inode *h)
{
	rwlock_read_lock(&h->object.map_lock);
}

static inline NO_TSA bool ptfs_map_trylock_shared(struct ptfs_home_inode *h)
{
	return rwlock_read_trylock(&h->object.map_lock);
}

static inline NO_TSA void ptfs_map_unlock_shared(struct ptfs_home_inode *h)
{
	rwlock_read_unlock(&h->object.map_lock);
}

static inline bool ptfs_home_copied(const struct ptfs_home_inode *h)
{
	return vm_object_shadowed(&h->object);
}

static inline u32 ptfs_bad_count(void)
{
	return poison_count();
}

static inline void ptfs_bad_update(void)
{
	(void)poison_met();
}

static inline size_t ptfs_iter_from_medium(struct ptfs_iter *to, const void *src, size_t bytes)
{
	return iov_copy_to(&to->iov, src, bytes);
}
