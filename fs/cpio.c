// SPDX-License-Identifier: MIT
//
// What: the cpio parser. Every length is checked against what is left before it is used.
// Not here: making files of it (fs/initrd.c).
#include "fs/cpio.h"

#include "kernel/lib/string.h"

// Header: magic, then 13 fields of eight hexadecimal digits.
#define MAGIC_LEN  6u
#define FIELDS     13u
#define HEADER     (MAGIC_LEN + 8 * FIELDS)
#define NAME_LIMIT 4096u
#define TRAILER    "TRAILER!!!"

enum {
	F_INO,
	F_MODE,
	F_UID,
	F_GID,
	F_NLINK,
	F_MTIME,
	F_SIZE,
	F_DEV_MAJOR,
	F_DEV_MINOR,
	F_RDEV_MAJOR,
	F_RDEV_MINOR,
	F_NAME_SIZE,
	F_CHECK
};

void cpio_begin(struct cpio *c, const void *base, u64 len)
{
	*c = (struct cpio){ .base = base, .len = len };
}

static enum cpio_result bad(struct cpio *c, const char *why)
{
	c->why = why;
	return CPIO_BAD;
}

static bool parse_hex8(const u8 *s, u32 *out)
{
	u32 v = 0;

	for (unsigned k = 0; k < 8; k++) {
		u8 d = s[k];

		if (d >= '0' && d <= '9')
			d = (u8)(d - '0');
		else if ((d | 0x20) >= 'a' && (d | 0x20) <= 'f')
			d = (u8)((d | 0x20) - 'a' + 10);
		else
			return false;
		v = v << 4 | d;
	}
	*out = v;
	return true;
}

// To the next header: archives are padded with zeros, to any length.
static void skip_zeros(struct cpio *c)
{
	while (c->at < c->len && c->base[c->at] == 0)
		c->at++;
}

static const char *plain_name(const char *name)
{
	while (name[0] == '/' || (name[0] == '.' && name[1] == '/'))
		name++;
	return name;
}

static enum cpio_result parse_entry(struct cpio *c, struct cpio_entry *e)
{
	const u8 *h = c->base + c->at;
	u64 left = c->len - c->at, name_at = HEADER, data_at;
	u32 f[FIELDS];

	if (left < HEADER)
		return bad(c, "header is cut off");
	if (memcmp(h, "070701", MAGIC_LEN) != 0 && memcmp(h, "070702", MAGIC_LEN) != 0)
		return bad(c, "no cpio header (newc)");
	for (unsigned k = 0; k < FIELDS; k++)
		if (!parse_hex8(h + MAGIC_LEN + 8 * k, &f[k]))
			return bad(c, "a header field is no number");
	if (f[F_NAME_SIZE] == 0 || f[F_NAME_SIZE] > NAME_LIMIT)
		return bad(c, "length of a name");
	if (f[F_NAME_SIZE] > left - name_at)
		return bad(c, "name is cut off");
	if (h[name_at + f[F_NAME_SIZE] - 1] != 0)
		return bad(c, "name does not end");
	data_at = ALIGN_UP(c->at + name_at + f[F_NAME_SIZE], 4);
	if (f[F_SIZE] && (data_at > c->len || f[F_SIZE] > c->len - data_at))
		return bad(c, "contents are cut off");
	*e = (struct cpio_entry){
		.name = plain_name((const char *)h + name_at),
		.mode = f[F_MODE],
		.uid = f[F_UID],
		.gid = f[F_GID],
		.nlink = f[F_NLINK],
		.mtime = f[F_MTIME],
		.ino = f[F_INO],
		.dev_major = f[F_DEV_MAJOR],
		.dev_minor = f[F_DEV_MINOR],
		.rdev_major = f[F_RDEV_MAJOR],
		.rdev_minor = f[F_RDEV_MINOR],
		.bytes = f[F_SIZE],
		.data = f[F_SIZE] ? c->base + data_at : NULL,
	};
	c->at = min(ALIGN_UP(data_at + f[F_SIZE], 4), c->len);
	return CPIO_ENTRY;
}

enum cpio_result cpio_next(struct cpio *c, struct cpio_entry *e)
{
	for (;;) {
		enum cpio_result r;

		skip_zeros(c);
		if (c->at >= c->len)
			return CPIO_END;
		r = parse_entry(c, e);
		if (r != CPIO_ENTRY || strcmp(e->name, TRAILER) != 0)
			return r;
	}
}
