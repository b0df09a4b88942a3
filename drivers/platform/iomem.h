// SPDX-License-Identifier: MIT
//
// What is where in the physical address space: /proc/iomem, in Linux's format.
#pragma once

#include "kernel/lib/types.h"

// Adds a range under `name`, which is kept by pointer. At boot, before there is a second thread. A
// range inside another one is shown indented below it.
void iomem_add(phys_t base, u64 len, const char *name);

// The loader's memory map, the kernel image, and the file /proc/iomem. After procfs can be
// registered with; ranges may be added before and after.
void iomem_init(void);
