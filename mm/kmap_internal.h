// SPDX-License-Identifier: MIT
//
// The kernel map, within mm/ only.
#pragma once

#include "kernel/lib/types.h"

// From now on tables of the kernel map come from frame_alloc. Called by frame_init.
void kmap_frames_ready(void);

// Map a kernel stack, writable. -ENOMEM.
int kmap_stack_map(u64 va, phys_t frames, u64 len) __must_check;
