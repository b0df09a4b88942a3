// SPDX-License-Identifier: MIT
//
// The memory system's texts in /proc.
#pragma once

#include "kernel/lib/types.h"

struct aspace;
struct seq;

// /proc/PID/maps: one line a mapping, as Linux prints it.
void aspace_show_maps(struct aspace *as, struct seq *s);
// /proc/PID/smaps: the same with sizes, and the level at which the file's table is attached.
void aspace_show_smaps(struct aspace *as, struct seq *s);

// /proc/meminfo, /proc/daxvm/stat, /proc/pagetable. Once, at init.
void mm_proc_init(void);
