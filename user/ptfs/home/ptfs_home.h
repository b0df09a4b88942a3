// SPDX-License-Identifier: MIT
//
// The host home's types (fs/ptfs/platform.h says what they are for).
#pragma once

#include <pthread.h>
#include <string.h>

#include "kernel/lib/types.h"

struct ptfs_mutex {
	pthread_mutex_t m;
};

struct ptfs_home_inode {
	pthread_rwlock_t map_lock;
	u32 revokes; // how often blocks left the file, for tests
};

static inline bool ptfs_home_copied(const struct ptfs_home_inode *h)
{
	(void)h;
	return false;
}

extern u32 host_bad_count; // host_home.h: host_bad_add
static inline u32 ptfs_bad_count(void)
{
	return host_bad_count;
}

// Bytes in ordinary memory, in order.
struct ptfs_iter {
	u8 *at;
	u64 left;
};
