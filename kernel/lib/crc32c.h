// SPDX-License-Identifier: MIT
#pragma once

#include "kernel/lib/types.h"

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `len` bytes, continuing from `crc`; start with 0.
// crc32c(crc32c(0, a), b) equals crc32c of a and b joined.
u32 crc32c(u32 crc, const void *data, size_t len);

// The two ways to compute it: a table, for every machine; and what a CPU's layer registers at boot,
// while there is one thread, because it is faster there.
typedef u32 crc32c_fn(u32 crc, const void *data, size_t len);
crc32c_fn crc32c_by_table;
void crc32c_use(crc32c_fn *fn);
