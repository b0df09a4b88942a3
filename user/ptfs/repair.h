// SPDX-License-Identifier: MIT
//
// Repair of a ptfs image: finds everything that breaks an invariant and makes it sound again, with
// as much of the files as can be kept.
#pragma once

#include "fs/ptfs/ptfs.h"

struct repair_result {
	u64 found;      // things that were wrong, each reported and repaired
	u64 lost;       // of these: entries, inodes and names that could not be kept
	u64 reattached; // files and directories without a name that are now in /lost+found
	u64 inodes, directories;
	bool was_clean; // and nothing had to be recovered either
	bool written;   // the image was changed
};

struct repair_options {
	ptfs_report report; // as for ptfs_check
	// Steps of a pass (1 to REPAIR_PASSES); NULL: nobody wants to know.
	void (*progress)(void *ctx, unsigned pass, u64 done, u64 total);
	void *ctx;
	u64 base; // what to take for the base address when both superblocks have lost it; 0: fail
};
#define REPAIR_PASSES 6u

// Repairs the image in `r`, which belongs to a registered host image, is writable and not mounted;
// r->base is set from the superblock. What needs no repair is recovered if the image is unclean and
// else left alone to the byte. Every change is durable before the next one that relies on it, so
// after a crash a second run finds a repairable image. Callers that only want to look pass a
// private copy.
// 0: sound now, or as sound as could be made (check with ptfs_check). -EUCLEAN: not a ptfs image,
// or beyond repair; -ENXIO: no base address is known; -EROFS: a later version of ptfs made it, and
// forbids this one to write; -ENOMEM; -ENOSPC: no room for what the repair needs.
int ptfs_repair(struct ptfs_region *r, const struct repair_options *o, struct repair_result *result)
	__must_check;
