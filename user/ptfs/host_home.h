// SPDX-License-Identifier: MIT
//
// The host home: images in files or memory, and hooks for tests.
#pragma once

#include "fs/ptfs/ptfs.h"

#define HOST_DEFAULT_BASE 0x100000000ull

// An image file (or memory) that stands in for a region of persistent memory.
struct host_image {
	struct ptfs_region region;
	u8 *map; // the same bytes, writable
	int fd;  // -1: memory only
	u64 bytes;
	bool locked; // holds an advisory lock on the file
	struct host_image *next;
};

enum host_open {
	HOST_PRIVATE, // changes stay in memory: for readers and checkers
	HOST_SHARED,  // changes go to the file
};

// Opens an image file and registers it for the pmem functions at the base address that its
// superblock names, so that entries need no translation. 0 or -errno; says why on stderr.
int host_image_open(struct host_image *im, const char *path, enum host_open how) __must_check;
// The same for an image whose superblock may be damaged: registered at address 0, for ptfs_repair.
int host_image_open_raw(struct host_image *im, const char *path, enum host_open how) __must_check;
// Creates a sparse file of `bytes` and registers it at `base`. An existing file is emptied.
int host_image_create(struct host_image *im, const char *path, u64 bytes, u64 base) __must_check;
// Registers ordinary zeroed memory. Never fails (ends the program instead).
void host_image_memory(struct host_image *im, u64 bytes, u64 base);
// Registers `bytes` of a copy of `from` at `base`.
void host_image_copy(struct host_image *im, const void *from, u64 bytes, u64 base);
void host_image_close(struct host_image *im);
// Of several images at one base address, this one takes the stores.
void host_image_activate(struct host_image *im);

// What the log lets through (default: warnings and errors), and where it goes; NULL: stderr.
void host_log_to(void (*fn)(void *ctx, enum ptfs_log_level level, const char *line), void *ctx);
void host_log_level(enum ptfs_log_level max);

// Every change of the medium, in program order. The recorder sees the old bytes still in place.
enum host_pm_kind {
	HOST_PM_STORE, // cached store: durable after flush and fence
	HOST_PM_NT,    // non-temporal: durable after a fence
	HOST_PM_FLUSH,
	HOST_PM_FENCE,
};
struct host_pm_event {
	enum host_pm_kind kind;
	struct host_image *image; // NULL: fence
	u64 off, len;
	const u8 *data; // new bytes, for stores
};
// NULL: no recorder.
void host_pm_record(void (*fn)(void *ctx, const struct host_pm_event *e), void *ctx);

// The n-th allocation from now fails (1: the next), and none after it; 0: never.
void host_fail_memory_at(u64 nth);
void host_fail_space_at(u64 nth);
// True once the failure asked for has happened.
bool host_memory_failed(void);
bool host_space_failed(void);
// Blocks that ptfs_alloc has handed out and not got back.
u64 host_allocs_live(void);

// On how many CPUs the core may work at once (mounting with a scan). With one, which is the
// default, what happens and its order are always the same.
void host_cpus_set(unsigned nr);

// Nothing that leaves a file from now on may be used again until host_epoch_advance(), or until
// somebody has to wait for it, which advances, too. false: at once, which is the default.
void host_epoch_hold(bool hold);
void host_epoch_advance(void);
// How often something had to wait since host_epoch_hold().
u32 host_epoch_waits(void);

// How often it has happened since the start of the program.
u64 host_stat(enum ptfs_stat which);

// A fixed clock for tests; 0: the real one.
void host_clock_set(u64 ns);
// Equal changes make equal images if the environment fixes the clock
// (https://reproducible-builds.org/specs/source-date-epoch/).
void host_clock_from_environment(void);

// The line of 64 bytes at `off` of an image cannot be loaded from now on.
void host_fail_line(const struct host_image *im, u64 off);
void host_fail_none(void); // all can again; what is known stays known
// How many of `bytes` at `src` can be loaded.
size_t host_sound(const void *src, size_t bytes);

// The block at address `pa` is known to have failed, until all are forgotten.
void host_bad_add(u64 pa);
void host_bad_forget(void);

struct ptfs_iter host_iter(void *p, u64 bytes);
