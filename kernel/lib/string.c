// SPDX-License-Identifier: MIT
//
// What: memory and string functions. The compiler calls memcpy, memset, memmove and memcmp by
// itself, so these must not be written as loops that it recognises and turns into such calls.
//
// Not here: formatting (printf.c), user memory (mm/uaccess.h), persistent memory (the pmem
// functions): none of those may be touched by the functions of this file.
#include "kernel/lib/string.h"

#include "kernel/x86/asm.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	size_t words = n / 8;

	asm_rep_movsq(dst, src, words);
	asm_rep_movsb((u8 *)dst + words * 8, (const u8 *)src + words * 8, n % 8);
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if ((u64)d - (u64)s >= n)
		return memcpy(dst, src, n);
	while (n--) {
		d[n] = s[n];
		asm_barrier();
	}
	return dst;
}

void *memset(void *dst, int byte, size_t n)
{
	u64 pattern = (u8)byte * 0x0101010101010101ull;
	size_t words = n / 8;

	asm_rep_stosq(dst, pattern, words);
	asm_rep_stosb((u8 *)dst + words * 8, (u8)byte, n % 8);
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n >= 8 && load64(x) == load64(y); n -= 8)
		x += 8, y += 8;
	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

void *memchr(const void *s, int byte, size_t n)
{
	const u8 *p = s;

	for (size_t i = 0; i < n; i++)
		if (p[i] == (u8)byte)
			return (void *)(uintptr_t)(p + i);
	return NULL;
}

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p) {
		p++;
		asm_barrier();
	}
	return (size_t)(p - s);
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b)
			return (u8)*a - (u8)*b;
		if (!*a)
			break;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	const char *last = NULL;

	for (;; s++) {
		if (*s == (char)c)
			last = s;
		if (!*s)
			return (char *)(uintptr_t)last;
	}
}

char *strstr(const char *s, const char *what)
{
	size_t n = strlen(what);

	for (;; s++) {
		if (strncmp(s, what, n) == 0)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

size_t strlcpy(char *dst, const char *src, size_t size)
{
	size_t len = strlen(src);

	if (size) {
		size_t n = len < size ? len : size - 1;

		memcpy(dst, src, n);
		dst[n] = '\0';
	}
	return len;
}

size_t strlcat(char *dst, const char *src, size_t size)
{
	size_t used = strnlen(dst, size);

	return used + strlcpy(dst + used, src, size - used);
}

// Backtracks to the last "*" only: whatever an earlier star could still take, the last can too.
bool glob_match(const char *glob, const char *s)
{
	const char *star = NULL, *resume = NULL;

	while (*s) {
		if (*glob == '*') {
			star = glob++;
			resume = s;
		} else if (*glob == '?' || *glob == *s) {
			glob++;
			s++;
		} else if (star) {
			glob = star + 1;
			s = ++resume;
		} else {
			return false;
		}
	}
	while (*glob == '*')
		glob++;
	return *glob == '\0';
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static unsigned suffix_shift(char c)
{
	switch (c | 0x20) {
	case 'k': return 10;
	case 'm': return 20;
	case 'g': return 30;
	case 't': return 40;
	default: return 0;
	}
}

bool parse_u64(const char *s, const char **end, bool suffix, u64 *out)
{
	int base = 10, first;
	u64 value = 0;

	if (s[0] == '0' && (s[1] | 0x20) == 'x' && digit_of(s[2]) < 16) {
		base = 16;
		s += 2;
	} else if (s[0] == '0') {
		base = 8;
	}
	first = digit_of(*s);
	for (; digit_of(*s) < base; s++)
		if (__builtin_mul_overflow(value, (u64)base, &value) ||
		    __builtin_add_overflow(value, (u64)digit_of(*s), &value))
			return false;
	if (first >= base)
		return false;
	if (suffix && suffix_shift(*s)) {
		unsigned shift = suffix_shift(*s++);

		if (value > (~0ull >> shift))
			return false;
		value <<= shift;
	}
	if (end)
		*end = s;
	*out = value;
	return true;
}
