// SPDX-License-Identifier: MIT
//
// String and formatting functions as the kernel compiles them (no SSE, REP instructions).
#include "kernel/ktest.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"

static bool prints(const char *want, const char *fmt, ...) __printf(2, 3);
static bool prints(const char *want, const char *fmt, ...)
{
	char buf[64];
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	n = kvsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return n == strlen(want) && strcmp(buf, want) == 0;
}

KTEST(printf_numbers)
{
	EXPECT(prints("-1 4294967295 ffffffff", "%d %u %x", -1, ~0u, ~0u));
	EXPECT(prints("18446744073709551615", "%lu", ~0ul));
	EXPECT(prints("-9223372036854775808", "%ld", (long)BIT(63)));
	EXPECT(prints("0x1f 037 0", "%#x 0%o %#x", 31, 31, 0));
	EXPECT(prints("[00042] [42   ] [   42] [  042]", "[%05d] [%-5d] [%5d] [%5.3d]", 42, 42, 42,
		      42));
	EXPECT(prints("+7 -0007", "%+d %05d", 7, -7));
	EXPECT(prints("ff ffff", "%hhx %hx", (u8)0xff, (u16)0xffff));
	EXPECT(prints("0x10", "%p", (void *)16));
}

KTEST(printf_strings)
{
	EXPECT(prints("abc|  abc|abc  |ab", "%s|%5s|%-5s|%.2s", "abc", "abc", "abc", "abc"));
	EXPECT(prints("  ab 3", "%*.*s %c", 4, 2, "abc", '3'));
	EXPECT(prints("100%", "100%%"));
}

// The length is that of the whole text, and the buffer always ends in NUL.
KTEST(printf_truncates)
{
	char buf[4] = "zzz";

	EXPECT_EQ(ksnprintf(buf, sizeof(buf), "%s", "abcdef"), 6);
	EXPECT(strcmp(buf, "abc") == 0);
	EXPECT_EQ(ksnprintf(buf, 0, "%d", 12345), 5);
}

KTEST(string_memory)
{
	char a[40], b[40];

	for (unsigned n = 0; n < sizeof(a); n++) {
		memset(a, 'x', sizeof(a));
		memset(b, 'y', sizeof(b));
		memcpy(b, a, n);
		EXPECT_EQ(memcmp(a, b, n), 0);
		EXPECT(n == sizeof(b) || b[n] == 'y');
	}
	strlcpy(a, "0123456789abcdefghijklmnop", sizeof(a));
	memmove(a + 3, a, 20);
	EXPECT(memcmp(a, "0120123456789abcdefghij", 23) == 0);
	memmove(a, a + 3, 20);
	EXPECT(memcmp(a, "0123456789abcdefghij", 20) == 0);
}

KTEST(string_glob)
{
	EXPECT(glob_match("*", "") && glob_match("*", "abc") && glob_match("a*c", "abbc"));
	EXPECT(glob_match("a*b*c", "axxbyybzc") && glob_match("?b?", "abc"));
	EXPECT(!glob_match("a*c", "abcd") && !glob_match("", "a") && !glob_match("?", ""));
}

KTEST(string_parse_u64)
{
	const char *end;
	u64 v;

	EXPECT(parse_u64("64M@0x10", &end, true, &v) && v == MIB(64) && *end == '@');
	EXPECT(parse_u64("0x1fG", &end, true, &v) && v == GIB(31));
	EXPECT(parse_u64("010", &end, false, &v) && v == 8);
	EXPECT(!parse_u64("x", &end, false, &v));
	EXPECT(!parse_u64("18446744073709551616", &end, false, &v));
	EXPECT(!parse_u64("0x1000000000000000K", &end, true, &v));
}
