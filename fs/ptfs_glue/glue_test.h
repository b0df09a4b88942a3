// SPDX-License-Identifier: MIT
//
// For the in-kernel tests of ptfs: a file system of their own. They need a region that may be used
// up: one whose first block is all zeros (a fresh DIMM, or one carved from RAM). It is left like
// that.
#pragma once

#include "fs/vfs.h"
#include "kernel/ktest.h"

struct pmem_region;

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
