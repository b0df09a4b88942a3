// SPDX-License-Identifier: MIT
//
// Words of a little-endian medium or table, in the byte order of the machine and back. On x86-64
// both are the same and these are nothing; the host tools also run where they are not.
#pragma once

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LE_ORDER16(v) (v)
#define LE_ORDER32(v) (v)
#define LE_ORDER64(v) (v)
#else
#define LE_ORDER16(v) __builtin_bswap16(v)
#define LE_ORDER32(v) __builtin_bswap32(v)
#define LE_ORDER64(v) __builtin_bswap64(v)
#endif
