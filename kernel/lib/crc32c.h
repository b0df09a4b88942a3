// SPDX-License-Identifier: MIT
#pragma once

#include "kernel/lib/types.h"

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `len` bytes, continuing from `crc`; start with 0.
// crc32c(crc32c(0, a), b) equals crc32c of a and b joined.
u32 crc32c(u32 crc, const void *data, size_t len);
