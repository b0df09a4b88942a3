// SPDX-License-Identifier: MIT
//
// What: the options of mount(8) in one table, which parses them, writes them out again for
// /proc/mounts, and has the words for the documentation (a test compares).
// Not here: what they do (super.c; prezero, addr and nodaxvm: the home).
#include "fs/ptfs/ptfs.h"

enum kind {
	FLAG,   // name
	WORD,   // name=word, one word only
	NUMBER, // name=number, decimal or 0x and hexadecimal digits
};

struct option {
	const char *name;
	enum kind kind;
	const char *argument; // the word; for people, what number it is
	size_t set;           // a bool of struct ptfs_options
	size_t value;         // NUMBER: a u64 of it
	bool hex;             // shown so
	bool elsewhere;       // /proc/mounts says it in its own way
	const char *help;
};

#define AT(field) offsetof(struct ptfs_options, field)

static const struct option table[] = {
	{ .name = "ro",
	  .set = AT(read_only),
	  .elsewhere = true,
	  .help = "nothing is written; an image that needs recovery is refused" },
	{ .name = "rw", .set = AT(writable), .elsewhere = true, .help = "the default" },
	{ .name = "norecovery",
	  .set = AT(norecovery),
	  .help = "with ro: look at an image that needs recovery, and leave it so" },
	{ .name = "verify",
	  .kind = WORD,
	  .argument = "full",
	  .set = AT(verify),
	  .help = "look at all table pages before mounting ends, not at their first use" },
	{ .name = "nodaxvm",
	  .set = AT(no_attach),
	  .help = "mappings go by page faults; no stored table is attached" },
	{ .name = "prezero",
	  .kind = NUMBER,
	  .argument = "RATE",
	  .set = AT(has_prezero),
	  .value = AT(prezero),
	  .help = "MiB of free space that are zeroed in the background each second; 0: none" },
	{ .name = "addr",
	  .kind = NUMBER,
	  .argument = "ADDRESS",
	  .set = AT(has_addr),
	  .value = AT(addr),
	  .hex = true,
	  .help = "mount only if the region begins at this physical address" },
};

static bool *flag_of(struct ptfs_options *o, const struct option *t)
{
	return (bool *)((u8 *)o + t->set);
}

static u64 *value_of(struct ptfs_options *o, const struct option *t)
{
	return (u64 *)(void *)((u8 *)o + t->value);
}

static int refuse(const char *what, const char *word, size_t len)
{
	ptfs_log(PTFS_LOG_ERROR, "ptfs: %s: mount option '%.*s'", what, (int)min(len, (size_t)64),
		 word);
	return -EINVAL;
}

// All of the text, which is not empty and fits.
static bool number(const char *text, size_t len, u64 *out)
{
	unsigned base = 10;
	u64 n = 0;

	if (len > 2 && text[0] == '0' && (text[1] | 32) == 'x') {
		base = 16;
		text += 2;
		len -= 2;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned c = (u8)text[i];
		unsigned digit = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;

		if (digit >= base || (c > '9' && (c | 32) < 'a') || n > (~0ull - digit) / base)
			return false;
		n = n * base + digit;
	}
	*out = n;
	return len;
}

static bool is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(text, word, len) == 0;
}

// One word: `name` bytes of name, and the argument, if `word` has one behind it.
static int take(struct ptfs_options *o, const char *word, size_t len, size_t name)
{
	const struct option *t = table;
	const char *argument = word + name + 1;
	size_t bytes = len > name ? len - name - 1 : 0;
	u64 value = 0;

	while (t < table + ARRAY_SIZE(table) && !is(word, name, t->name))
		t++;
	if (t == table + ARRAY_SIZE(table))
		return refuse("unknown", word, len);
	if ((t->kind == FLAG) != (len == name) ||
	    (t->kind == WORD && !is(argument, bytes, t->argument)) ||
	    (t->kind == NUMBER && !number(argument, bytes, &value)))
		return refuse("wrong argument", word, len);
	if (t->kind == NUMBER) {
		if (*flag_of(o, t) && *value_of(o, t) != value)
			return refuse("said twice, differently", word, len);
		*value_of(o, t) = value;
	}
	*flag_of(o, t) = true;
	return 0;
}

int ptfs_options_parse(const char *text, struct ptfs_options *o)
{
	const char *p = text ? text : "";

	while (*p) {
		size_t len = 0, name = 0;
		int err;

		while (p[len] && p[len] != ',')
			len++;
		while (name < len && p[name] != '=')
			name++;
		err = len ? take(o, p, len, name) : 0;
		if (err)
			return err;
		p += len + (p[len] == ',');
	}
	if (o->read_only && o->writable)
		return refuse("contradicts ro", "rw", 2);
	if (o->norecovery && !o->read_only)
		return refuse("needs ro", "norecovery", 10);
	if (o->read_only && o->has_prezero && o->prezero)
		return refuse("contradicts ro", "prezero", 7);
	return 0;
}

unsigned ptfs_options_flags(const struct ptfs_options *o)
{
	return (o->read_only ? PTFS_MOUNT_RDONLY : 0) |
	       (o->norecovery ? PTFS_MOUNT_NORECOVERY : 0) | (o->verify ? PTFS_MOUNT_VERIFY : 0);
}

struct text {
	char *at;
	size_t left; // bytes, that of the final NUL among them
};

static void put(struct text *out, const char *s)
{
	for (; *s && out->left > 1; out->left--)
		*out->at++ = *s++;
	*out->at = '\0';
}

static void put_number(struct text *out, u64 n, unsigned base)
{
	char digits[24];
	char *p = digits + sizeof(digits);

	*--p = '\0';
	do {
		*--p = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	put(out, base == 16 ? "0x" : "");
	put(out, p);
}

void ptfs_options_show(const struct ptfs_options *o, char *text, size_t bytes)
{
	struct text out = { text, bytes };
	struct ptfs_options copy = *o;
	bool first = true;

	put(&out, "");
	for (const struct option *t = table; t < table + ARRAY_SIZE(table); t++) {
		if (t->elsewhere || !*flag_of(&copy, t))
			continue;
		put(&out, first ? "" : ",");
		first = false;
		put(&out, t->name);
		put(&out, t->kind == FLAG ? "" : "=");
		if (t->kind == WORD)
			put(&out, t->argument);
		if (t->kind == NUMBER)
			put_number(&out, *value_of(&copy, t), t->hex ? 16 : 10);
	}
}

const char *ptfs_options_help(unsigned i, const char **help)
{
	static char line[32]; // of a caller that is alone: documentation and its test
	struct text out = { line, sizeof(line) };

	if (i >= ARRAY_SIZE(table))
		return NULL;
	put(&out, table[i].name);
	if (table[i].kind != FLAG) {
		put(&out, "=");
		put(&out, table[i].argument);
	}
	*help = table[i].help;
	return line;
}
