// SPDX-License-Identifier: MIT
//
// cpio archives, format "newc" (cpio(5)): a pure parser over memory that trusts nothing in it.
#pragma once

#include "kernel/lib/types.h"

struct cpio_entry {
	const char *name; // NUL-terminated, inside the archive; without leading "/" and "./"
	u32 mode, uid, gid, nlink, mtime;
	u32 ino, dev_major, dev_minor;
	u64 rdev_major, rdev_minor;
	const u8 *data; // contents, or the target of a symbolic link
	u32 bytes;
};

enum cpio_result {
	CPIO_ENTRY, // *entry is filled
	CPIO_END,   // no more: nothing but zeros follows the last archive
	CPIO_BAD,   // what follows is no archive, or is cut off; `cpio_why` tells
};

struct cpio {
	const u8 *base;
	u64 len, at;     // bytes; where the next header is looked for
	const char *why; // after CPIO_BAD
};

// The archives (several may follow each other, with zeros in between) in [base, base + len).
void cpio_begin(struct cpio *c, const void *base, u64 len);
enum cpio_result cpio_next(struct cpio *c, struct cpio_entry *entry);
