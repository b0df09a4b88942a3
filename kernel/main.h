// SPDX-License-Identifier: MIT
#pragma once

#include "kernel/lib/types.h"

// Called by boot/boot.asm on the boot CPU and the boot stack, interrupts off. `magic`: what the
// loader left in EAX (0 for PVH); `info`: its information.
void main(u32 magic, phys_t info) __noreturn;
