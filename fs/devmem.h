// SPDX-License-Identifier: MIT
//
// The devices that are nothing but software: null, zero, full, random, urandom, kmsg.
#pragma once

void devmem_init(void); // registers them
