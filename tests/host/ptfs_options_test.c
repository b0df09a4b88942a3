// SPDX-License-Identifier: MIT
//
// Mount options: what is understood, what is refused with one line that names it, and that the
// documentation lists the table as it is.
#include "tests/host/ptfs_test.h"

static void good(const char *text, const char *shown, unsigned flags)
{
	struct ptfs_options o = { 0 }, again = { 0 };
	char out[PTFS_OPTIONS_TEXT];

	assert_int_equal(ptfs_options_parse(text, &o), 0);
	assert_int_equal(ptfs_options_flags(&o), flags);
	ptfs_options_show(&o, out, sizeof(out));
	assert_string_equal(out, shown);
	again.read_only = o.read_only; // what the list of mounts says by itself
	again.writable = o.writable;
	assert_int_equal(ptfs_options_parse(out, &again), 0);
	assert_memory_equal(&o, &again, sizeof(o));
}

static void understood(void **state)
{
	struct ptfs_options o = { 0 };

	(void)state;
	good(NULL, "", 0);
	good("", "", 0);
	good(",,rw,", "", 0);
	good("ro", "", PTFS_MOUNT_RDONLY);
	good("nodaxvm,nodaxvm", "nodaxvm", 0);
	good("verify=full", "verify=full", PTFS_MOUNT_VERIFY);
	good("norecovery,ro", "norecovery", PTFS_MOUNT_RDONLY | PTFS_MOUNT_NORECOVERY);
	good("prezero=0", "prezero=0", 0);
	good("addr=4294967296", "addr=0x100000000", 0);
	good("addr=0x143E00000,addr=0x143e00000", "addr=0x143e00000", 0);
	good("ro,addr=0xffffffffffffffff,prezero=00000000000000000000000000000,nodaxvm,verify=full,"
	     "norecovery",
	     "norecovery,verify=full,nodaxvm,prezero=0,addr=0xffffffffffffffff",
	     PTFS_MOUNT_RDONLY | PTFS_MOUNT_NORECOVERY | PTFS_MOUNT_VERIFY);
	assert_int_equal(ptfs_options_parse("prezero=18446744073709551615", &o), 0);
	assert_int_equal(o.prezero, ~0ull);
	// The flag of mount(2) and the word agree.
	o = (struct ptfs_options){ .read_only = true };
	assert_int_equal(ptfs_options_parse("norecovery", &o), 0);
}

static void bad(const char *text, const char *named)
{
	struct ptfs_options o = { 0 };
	struct heard heard;

	hear(&heard);
	assert_int_equal(ptfs_options_parse(text, &o), -EINVAL);
	host_log_to(NULL, NULL);
	assert_int_equal(heard.errors, 1);
	if (!strstr(heard.last, named))
		print_message("%s: %s\n", text, heard.last);
	assert_non_null(strstr(heard.last, named));
}

static void refused(void **state)
{
	char long_word[400];

	(void)state;
	bad("rox", "'rox'");
	bad("r", "'r'");
	bad("nodaxvm,journal", "'journal'");
	bad("nodaxvm=1", "'nodaxvm=1'");
	bad("ro=", "'ro='");
	bad("verify", "'verify'");
	bad("verify=", "'verify='");
	bad("verify=most", "'verify=most'");
	bad("prezero", "'prezero'");
	bad("prezero=", "'prezero='");
	bad("prezero=-1", "'prezero=-1'");
	bad("prezero=12k", "'prezero=12k'");
	bad("prezero=1/", "'prezero=1/'");
	bad("prezero=1:", "'prezero=1:'");
	bad("prezero=18446744073709551616", "'prezero=1844");
	bad("addr=0x", "'addr=0x'");
	bad("addr=0xg", "'addr=0xg'");
	bad("addr=0x1ffffffffffffffff", "'addr=0x1f");
	bad("addr=1,addr=2", "'addr=2'");
	bad("ro,rw", "'rw'");
	bad("norecovery", "'norecovery'");
	bad("rw,norecovery", "'norecovery'");
	bad("ro,prezero=5", "'prezero'");
	memset(long_word, 'x', sizeof(long_word) - 1);
	long_word[sizeof(long_word) - 1] = '\0';
	bad(long_word, "'xxxx");
}

// Too little room: cut off, never beyond it.
static void short_text(void **state)
{
	struct ptfs_options o = { .no_attach = true, .verify = true };
	char out[8];

	(void)state;
	for (size_t n = 1; n <= sizeof(out); n++) {
		memset(out, '#', sizeof(out));
		ptfs_options_show(&o, out, n);
		assert_int_equal(strlen(out), n - 1);
		assert_memory_equal(out, "verify=full", n - 1);
	}
}

// docs/ptfs.md has a row "| `option` | what it does |" for each, word for word.
static void documented(void **state)
{
	static char docs[KIB(256)];
	FILE *f = fopen("docs/ptfs.md", "r");
	const char *option, *help;
	char row[256];
	unsigned i = 0;

	(void)state;
	assert_non_null(f);
	assert_true(fread(docs, 1, sizeof(docs) - 1, f) > 0);
	fclose(f);
	for (; (option = ptfs_options_help(i, &help)); i++) {
		snprintf(row, sizeof(row), "\n| `%s` | %s |\n", option, help);
		if (!strstr(docs, row))
			print_message("docs/ptfs.md lacks: %s", row + 1);
		assert_non_null(strstr(docs, row));
	}
	assert_true(i > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(understood), cmocka_unit_test(refused),
					    cmocka_unit_test(short_text),
					    cmocka_unit_test(documented) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
