// SPDX-License-Identifier: MIT
//
// A reference model of a file system: what the calls mean, in plain data structures. It knows
// nothing of ptfs, of blocks on a medium, or of crashes; it executes one call after the other, and
// the oracle of the crash explorer compares what ptfs shows with it.
//
// All functions return 0 (or an inode's handle, >= 0) or -errno with Linux's meaning. Paths are
// absolute, and symbolic links are not followed. Space never runs out.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_BLOCK     4096u
#define MODEL_UNIT      512u // blocks that may be one leaf
#define MODEL_INODES    64u
#define MODEL_NAMES     64u
#define MODEL_NOREPLACE 1u
#define MODEL_EXCHANGE  2u

// A block of a file that exists.
struct model_block {
	uint64_t index;
	bool maybe;     // it may as well be a hole: that is left to the file system
	uint8_t *bytes; // NULL: zeros
};

enum model_time { MODEL_ATIME, MODEL_MTIME, MODEL_CTIME };

struct model_inode {
	bool used;
	unsigned opens;
	uint32_t mode, nlink, uid, gid;
	uint64_t size, time[3];
	uint64_t number; // 0: not told yet; which number a file gets is the file system's choice
	struct model_block *block; // by index
	unsigned blocks, room;
};

struct model_name {
	bool used;
	int dir, inode;
	char name[256];
};

extern struct model_inode model_inode[MODEL_INODES]; // 0: the root
extern struct model_name model_name[MODEL_NAMES];

// An empty file system; every call happens at `now` of the clock.
void model_reset(void);
void model_clock(uint64_t now);

int model_create(const char *path, uint32_t mode, const char *target);
int model_link(const char *path, const char *path2);
int model_unlink(const char *path);
int model_rmdir(const char *path);
int model_rename(const char *path, const char *path2, unsigned flags);

// An open file: it stays when its last name goes, until it is closed.
int model_open(const char *path);
int model_tmpfile(const char *path);
int model_linkat(int file, const char *path2);
void model_close(int file);
uint32_t model_links(int file);
uint64_t model_size(int file);

int model_write(int file, uint64_t pos, const uint8_t *data, uint64_t len);
int model_append(int file, const uint8_t *data, uint64_t len);
int model_truncate(int file, uint64_t size);
int model_fallocate(int file, uint64_t off, uint64_t len, bool keep_size);
int model_zero_range(int file, uint64_t off, uint64_t len, bool keep_size);
int model_punch(int file, uint64_t off, uint64_t len);
int model_collapse(int file, uint64_t off, uint64_t len);
// The block at `pos` is there, whatever the size; no more has happened.
void model_publish(int file, uint64_t pos);
// Eight bytes through a mapping.
int model_store(int file, uint64_t pos, uint64_t value);

// NULL: as it is. Modes without the type. ctime is now.
int model_setattr(int file, const uint32_t *mode, const uint32_t *uid, const uint32_t *gid,
		  const uint64_t *atime, const uint64_t *mtime);
int model_touch(int file);
// Read: atime becomes now if it is not later than the other two ("relatime").
void model_accessed(int file);
