// SPDX-License-Identifier: MIT
//
// The initial RAM disk: cpio archives that the loader left in memory become files of the root.
#pragma once

#include "kernel/lib/types.h"

// Unpacks all boot modules into the root. What is torn or does not fit costs a log line, the rest
// is kept. After vfs_init().
void initrd_unpack(void);
// One archive (or several) in memory, below the directory `into` ("" or "/tmp/x"). Entries made.
unsigned initrd_unpack_at(const void *base, u64 len, const char *into);
