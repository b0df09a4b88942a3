// SPDX-License-Identifier: MIT
//
// Memory and strings, as in C's <string.h>. Freestanding; the kernel has no other.
#pragma once

#include "kernel/lib/types.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int byte, size_t n);

size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
char *strstr(const char *s, const char *what);

// The 8 bytes at `p`, however aligned. Not a call, as memcpy is.
static inline u64 load64(const void *p)
{
	u64 v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

// Copy at most `size` - 1 bytes of src and a NUL. Returns strlen(src): truncated if >= size.
size_t strlcpy(char *dst, const char *src, size_t size);
size_t strlcat(char *dst, const char *src, size_t size);

// Does `s` match `glob`? "*" stands for any run of characters, "?" for one.
bool glob_match(const char *glob, const char *s);

// Parse an unsigned number: decimal, 0x... or 0... (octal), with an optional suffix K, M, G or T
// (powers of 1024) if `suffix`. `*end` is the first byte not used. False: no digits, or overflow.
bool parse_u64(const char *s, const char **end, bool suffix, u64 *out);
