// SPDX-License-Identifier: MIT
//
// kvsnprintf against the C library's vsnprintf: every combination of flags, width, precision and
// length must give the same text and the same length, also when the buffer is too short.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/lib/printf.h"

// Formats are made at run time here, and some are wrong on purpose.
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-overflow"

static void compare(const char *fmt, ...)
{
	char ours[128], theirs[128];

	for (size_t size = 0; size <= sizeof(ours); size += size < 8 ? 1 : 60) {
		size_t n, m;
		va_list ap;

		memset(ours, '!', sizeof(ours));
		memset(theirs, '!', sizeof(theirs));
		va_start(ap, fmt);
		n = kvsnprintf(ours, size, fmt, ap);
		va_end(ap);
		va_start(ap, fmt);
		m = (size_t)vsnprintf(theirs, size, fmt, ap);
		va_end(ap);
		if (n != m || memcmp(ours, theirs, sizeof(ours)) != 0)
			fail_msg("\"%s\" in %zu bytes: ours \"%s\" (%zu), theirs \"%s\" (%zu)", fmt,
				 size, size ? ours : "", n, size ? theirs : "", m);
	}
}

static const char *const flags[] = { "", "-", "0", "+", " ", "#", "-0", "+0", "0#", "-#", "+-" };
static const char *const widths[] = { "", "1", "12" };
static const char *const precisions[] = { "", ".", ".0", ".1", ".9" };
static const char *const lengths[] = { "hh", "h", "", "l", "ll", "z", "j", "t" };
static const u64 values[] = { 0,
			      1,
			      9,
			      42,
			      255,
			      0x7fffffff,
			      0x80000000,
			      0xffffffff,
			      0x7fffffffffffffff,
			      0x8000000000000000,
			      0xffffffffffffffff };

static bool defined_in_c(const char *f, char conv)
{
	if (strchr(f, '#') && strchr("diu", conv)) // undefined in C
		return false;
	return !(strchr(f, '#') && conv == 'o'); // we do not print the octal prefix
}

static void one_spec(const char *f, const char *w, const char *p, const char *l)
{
	char fmt[32];

	for (const char *conv = "diuxXo"; *conv; conv++) {
		if (!defined_in_c(f, *conv))
			continue;
		snprintf(fmt, sizeof(fmt), "<%%%s%s%s%s%c>", f, w, p, l, *conv);
		for (size_t i = 0; i < ARRAY_SIZE(values); i++)
			compare(fmt, values[i]);
	}
}

static void test_numbers(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_SIZE(flags); f++)
		for (size_t w = 0; w < ARRAY_SIZE(widths); w++)
			for (size_t p = 0; p < ARRAY_SIZE(precisions); p++)
				for (size_t l = 0; l < ARRAY_SIZE(lengths); l++)
					one_spec(flags[f], widths[w], precisions[p], lengths[l]);
}

static void test_strings(void **state)
{
	(void)state;
	compare("%s|%10s|%-10s|%.2s|%5.1s|%-5.1s|", "one", "two", "three", "four", "five", "six");
	compare("%*s|%-*s|%.*s|%*.*s|", 7, "a", 7, "b", 2, "cde", 6, 3, "fghij");
	compare("%*d|%.*d|", -6, 42, -1, 0); // negative: left, and as if not given
	compare("%c%c%%%5c|%-5c|", 'x', 'y', 'z', 'w');
	compare("%s", "");
	compare("no conversion");
	compare("");
}

// Where C leaves it open, or we differ on purpose.
static void test_our_own(void **state)
{
	char buf[32];

	(void)state;
	assert_int_equal(ksnprintf(buf, sizeof(buf), "%p", (void *)0x1f), 4);
	assert_string_equal(buf, "0x1f");
	ksnprintf(buf, sizeof(buf), "%s", (char *)NULL);
	assert_string_equal(buf, "(null)");
	ksnprintf(buf, sizeof(buf), "%y 5%");
	assert_string_equal(buf, "%y 5%"); // unknown conversions are shown as they stand
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_our_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
