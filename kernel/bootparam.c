// SPDX-License-Identifier: MIT
//
// What: the kernel's command line. The table below is its documentation; a word that is not in it
// is reported once at boot and otherwise left alone (init may want it).
#include "kernel/bootinfo.h"

#include "kernel/console.h"
#include "kernel/lib/string.h"

static const struct {
	const char *name;
	const char *what;
} known[] = {
	{ "console", "ttyS0 (default) or ttyS1: the serial port that carries the kernel log" },
	{ "crash", "panic, null, stack, irq, exec, hang: crash on purpose (tests of the panic)" },
	{ "exec", "init runs /run/exec.sh, reports its status and powers off" },
	{ "forceattach", "plain shared mappings attach, too, where whole units fit (tests)" },
	{ "format", "what pmem= carves out of RAM gets an empty file system if it is blank" },
	{ "init", "PATH of the first program (/sbin/init)" },
	{ "ktest", "GLOB: run the in-kernel tests whose names match, then exit" },
	{ "loglevel", "0-7: which log lines go to the console (6: all but debugging)" },
	{ "nomount", "do not mount persistent memory at /pmem" },
	{ "norest", "debug kernel: blocks that leave a file serve others at once (a mistake)" },
	{ "nosmp", "use the boot CPU only" },
	{ "shadow", "auto, always, never: copies in DRAM of the tables of attached files" },
	{ "pause", "debug kernel, =shootdown: sleep before CPUs are made to forget" },
	{ "smpnowait", "test: give up each CPU that is started at once" },
	{ "pmem", "SIZE@ADDR: carve persistent memory out of RAM; may come several times" },
	{ "testexit", "end QEMU through isa-debug-exit, with a status" },
};

// Words are separated by blanks. Returns the first word at or after *at and its length, and moves
// *at behind it; NULL at the end.
static const char *next_word(const char **at, size_t *len)
{
	const char *word = *at;

	while (*word == ' ')
		word++;
	*len = 0;
	while (word[*len] && word[*len] != ' ')
		++*len;
	*at = word + *len;
	return *len ? word : NULL;
}

static size_t name_length(const char *word, size_t len)
{
	const char *eq = memchr(word, '=', len);

	return eq ? (size_t)(eq - word) : len;
}

// The value of occurrence `nth`, or of the last one up to it.
static const char *find_nth(const char *name, unsigned nth, size_t *value_len, unsigned *count)
{
	const char *at = bootinfo.cmdline, *word, *found = NULL;
	size_t len, want = strlen(name);

	*count = 0;
	while (*count <= nth && (word = next_word(&at, &len))) {
		size_t n = name_length(word, len);

		if (n != want || memcmp(word, name, n) != 0)
			continue;
		found = n == len ? word + n : word + n + 1;
		*value_len = (size_t)(word + len - found);
		++*count;
	}
	return found;
}

// The last one wins, so that an appended option overrides.
static const char *find(const char *name, size_t *value_len)
{
	unsigned count;

	return find_nth(name, ~0u - 1, value_len, &count);
}

bool bootparam_get(const char *name, char *buf, size_t len)
{
	size_t value_len = 0;
	const char *value = find(name, &value_len);

	if (!value)
		return false;
	strlcpy(buf, value, min(len, value_len + 1));
	return true;
}

bool bootparam_nth(const char *name, unsigned n, char *buf, size_t len)
{
	size_t value_len = 0;
	unsigned count;
	const char *value = find_nth(name, n, &value_len, &count);

	if (count != n + 1)
		return false;
	strlcpy(buf, value, min(len, value_len + 1));
	return true;
}

bool bootparam_present(const char *name)
{
	size_t len;

	return find(name, &len) != NULL;
}

bool bootparam_u64(const char *name, u64 *out)
{
	char buf[32];

	return bootparam_get(name, buf, sizeof(buf)) && parse_u64(buf, NULL, true, out);
}

void bootparam_check(void)
{
	const char *at = bootinfo.cmdline, *word;
	size_t len;

	while ((word = next_word(&at, &len))) {
		size_t n = name_length(word, len);
		bool ok = false;

		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			ok |= strlen(known[i].name) == n && memcmp(known[i].name, word, n) == 0;
		if (!ok)
			log_warn("boot: unknown parameter '%.*s'", (int)len, word);
	}
}
