// SPDX-License-Identifier: MIT
//
// The table that tools/ksyms.awk makes and the second link adds behind the constants: entries
// sorted by offset, then the names.
#pragma once

#include "kernel/lib/types.h"

struct ksym {
	u32 offset; // from text_start
	u32 name;   // from the first name
};

struct ksym_table {
	u64 count;
	struct ksym entry[];
};

// Absent in the first link.
extern const struct ksym_table ksym_table __attribute__((weak));
