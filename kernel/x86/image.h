// SPDX-License-Identifier: MIT
//
// Bounds of the kernel image, from linker.ld. All are page aligned.
#pragma once

#include "kernel/lib/types.h"
#include "mm/layout.h"

// The whole image, entry code and boot page tables included: what the frame allocator must not
// hand out. Everything below is inside it.
extern char image_start[], image_end[];

extern char text_start[], text_end[];     // read, execute
extern char rodata_start[], rodata_end[]; // read
extern char data_start[], data_end[];     // read, write; .bss included

// Physical address of something inside the image (virt_to_phys is for the direct map only).
static inline phys_t image_pa(const void *in_image)
{
	return PHYS((u64)in_image - KERNEL_BASE);
}
