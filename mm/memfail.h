// SPDX-License-Identifier: MIT
//
// Memory of a file that has failed is taken out of all mappings of that file.
#pragma once

#include "kernel/lib/pte.h"

struct aspace;
struct vm_object;

// What of `as` leads to the 4 KiB block at `block`, as a page or as a table that the MMU walks,
// belongs to a file: detach that file everywhere. The next touch faults and asks the file system,
// which knows that the block is bad. False: nothing of `as` leads there. Thread context, no lock
// held.
bool memfail_detach(struct aspace *as, phys_t block);
// All mappings of `o`. Likewise.
void memfail_detach_object(struct vm_object *o);
