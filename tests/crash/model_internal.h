// SPDX-License-Identifier: MIT
//
// What the two files of the reference model share.
#pragma once

#include "tests/crash/model.h"

// A broken model ends the program.
void model_fatal(const char *what);
bool model_is_dir(int i);
// ctime, and mtime if it was modified, become now.
void model_touched(int i, bool modified);
// `nr` blocks from the `first` on are gone.
void model_blocks_drop(struct model_inode *n, unsigned first, unsigned nr);
