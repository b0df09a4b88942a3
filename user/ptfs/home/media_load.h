// SPDX-License-Identifier: MIT
//
// Loads from memory that may fail: kernel/lib/pte.h says what they are for. The host's, where it
// fails only when a test wants that.
#pragma once

#include "kernel/lib/types.h"

extern u32 host_failing; // how many lines fail (user/ptfs/host_fail.c)
u64 host_load64(const u64 *p);

static inline u64 media_load64(const u64 *p)
{
	return unlikely(host_failing) ? host_load64(p) : __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline u64 media_any8(const u64 *p)
{
	if (unlikely(host_failing) && host_load64(p) == ~1ull)
		return 1;
	return p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7];
}
