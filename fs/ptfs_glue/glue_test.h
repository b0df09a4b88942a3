// SPDX-License-Identifier: MIT
//
// For the in-kernel tests of ptfs: a file system of their own. They need a region that may be used
// up: one whose first block is all zeros (a fresh DIMM, or one carved from RAM). It is left like
// that.
#pragma once

#include "fs/vfs.h"
#include "kernel/ktest.h"

struct aspace;
struct pmem_region;
struct vm_object;

// Where it is mounted: a directory that is there at boot, so that the test makes none.
#define PLACE "/tmp"
#define BUF   KIB(64) // most that one call of write_file() and file_has() can do

// Formats a blank region and mounts it at PLACE. False: there is none (nothing to test), or failed.
bool test_fs_open(struct pmem_region **r);
void test_fs_close(struct pmem_region *r);

// `bytes` that follow from `seed`, at `off` of a file that is made if need be.
bool write_file(const char *path, u64 off, size_t bytes, u64 seed);
bool file_has(const char *path, u64 off, size_t bytes, u64 seed);
u64 size_of(const char *path); // ~0: there is no such file

// A file of `bytes` (test_word_at) in a file system of its own, open and mapped in a new address
// space, in which the thread works then.
struct test_mapped {
	struct pmem_region *region;
	struct aspace *as;
	struct vm_object *object;
	struct file *file;
	u64 va;
};

// False: nothing to test. On failure m->va is 0.
bool test_map_open(struct test_mapped *m, u64 bytes, unsigned flags);
void test_map_close(struct test_mapped *m);
int test_resize(struct test_mapped *m, u64 bytes) __must_check;
u64 test_word_at(u64 off); // that it begins with
