// SPDX-License-Identifier: MIT
//
// The cpio parser on good, joined and hostile archives. Every archive lies at the end of a heap
// block of its exact length, so that ASan sees a read beyond it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/cpio.h"

static char archive[8192];
static size_t len;

static void add(const char *name, unsigned mode, const char *data, size_t bytes)
{
	len += (size_t)sprintf(archive + len,
			       "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 7,
			       mode, 1, 2, 1, 3, bytes, 0, 0, 5, 1, strlen(name) + 1, 0);
	memcpy(archive + len, name, strlen(name) + 1);
	len += strlen(name) + 1;
	while (len % 4)
		archive[len++] = 0;
	memcpy(archive + len, data, bytes);
	len += bytes;
	while (len % 4)
		archive[len++] = 0;
}

static void finish(void)
{
	add("TRAILER!!!", 0, "", 0);
}

static int start(void **state)
{
	(void)state;
	len = 0;
	memset(archive, 0, sizeof(archive));
	return 0;
}

// Parses the first `bytes` of the archive; how many entries, and how it ended.
static unsigned parse(size_t bytes, enum cpio_result *end, const char **why)
{
	u8 *copy = malloc(bytes ? bytes : 1);
	struct cpio_entry e;
	unsigned count = 0;
	struct cpio c;
	u8 sum = 0;

	assert_non_null(copy);
	memcpy(copy, archive, bytes);
	cpio_begin(&c, copy, bytes);
	while ((*end = cpio_next(&c, &e)) == CPIO_ENTRY) {
		assert_true(++count < 1000);
		sum += (u8)strlen(e.name);
		for (u32 k = 0; k < e.bytes; k++)
			sum += e.data[k];
	}
	if (why)
		*why = c.why;
	free(copy);
	return count + 0u * sum;
}

static void test_entries(void **state)
{
	struct cpio_entry e;
	struct cpio c;

	(void)state;
	add(".", 040755, "", 0);
	add("./etc/passwd", 0100644, "root:x:0:0", 10);
	add("/bin/ls", 0120777, "busybox", 7);
	finish();
	cpio_begin(&c, archive, len);
	assert_int_equal(cpio_next(&c, &e), CPIO_ENTRY);
	assert_string_equal(e.name, ".");
	assert_int_equal(cpio_next(&c, &e), CPIO_ENTRY);
	assert_string_equal(e.name, "etc/passwd");
	assert_int_equal(e.mode, 0100644);
	assert_int_equal(e.uid, 1);
	assert_int_equal(e.gid, 2);
	assert_int_equal(e.bytes, 10);
	assert_memory_equal(e.data, "root:x:0:0", 10);
	assert_int_equal(cpio_next(&c, &e), CPIO_ENTRY);
	assert_string_equal(e.name, "bin/ls");
	assert_int_equal(e.rdev_major, 5);
	assert_int_equal(cpio_next(&c, &e), CPIO_END);
	assert_int_equal(cpio_next(&c, &e), CPIO_END);
}

static void test_joined(void **state)
{
	enum cpio_result end;

	(void)state;
	add("a", 0100644, "1", 1);
	finish();
	len += 512; // padding, as cpio(1) writes it
	add("b", 0100644, "22", 2);
	finish();
	add("c", 0100644, "", 0);
	finish();
	len += 3;
	assert_int_equal(parse(len, &end, NULL), 3);
	assert_int_equal(end, CPIO_END);
	assert_int_equal(parse(0, &end, NULL), 0);
	assert_int_equal(end, CPIO_END);
}

static void test_garbage_behind(void **state)
{
	enum cpio_result end;
	const char *why;

	(void)state;
	add("a", 0100644, "1", 1);
	finish();
	strcpy(archive + len, "something else");
	len += 14;
	assert_int_equal(parse(len, &end, &why), 1);
	assert_int_equal(end, CPIO_BAD);
	assert_non_null(why);
}

// Cut off at any byte: what came before is given, then it is an end or a bad archive.
static void test_cut_anywhere(void **state)
{
	enum cpio_result end;

	(void)state;
	add("first", 0100644, "0123456789", 10);
	add("second/file", 0100644, "abc", 3);
	finish();
	for (size_t n = 0; n <= len; n++) {
		assert_true(parse(n, &end, NULL) <= 2);
		assert_int_not_equal(end, CPIO_ENTRY);
	}
}

static void set_field(unsigned field, const char *hex8)
{
	memcpy(archive + 6 + 8 * field, hex8, 8);
}

static void test_hostile_fields(void **state)
{
	static const struct {
		unsigned field;
		const char *value;
	} bad[] = {
		{ 6, "ffffffff" },  { 6, "7fffffff" },  { 6, "fffffff0" },  { 11, "00000000" },
		{ 11, "ffffffff" }, { 11, "00001001" }, { 11, "00000002" }, { 6, "0000000g" },
		{ 0, "        " },  { 1, "-0000001" },  { 11, "80000000" },
	};
	enum cpio_result end;
	const char *why;

	(void)state;
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		start(NULL);
		add("victim", 0100644, "0123", 4);
		finish();
		set_field(bad[k].field, bad[k].value);
		assert_int_equal(parse(len, &end, &why), 0);
		assert_int_equal(end, CPIO_BAD);
		assert_non_null(why);
	}
}

static void test_every_byte_changed(void **state)
{
	enum cpio_result end;

	(void)state;
	add("dir/file", 0100644, "contents", 8);
	finish();
	for (size_t k = 0; k < len; k++)
		for (unsigned v = 0; v < 256; v += 5) {
			char was = archive[k];

			archive[k] = (char)v;
			assert_true(parse(len, &end, NULL) < 1000);
			archive[k] = was;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_entries, start),
		cmocka_unit_test_setup(test_joined, start),
		cmocka_unit_test_setup(test_garbage_behind, start),
		cmocka_unit_test_setup(test_cut_anywhere, start),
		cmocka_unit_test_setup(test_hostile_fields, start),
		cmocka_unit_test_setup(test_every_byte_changed, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
