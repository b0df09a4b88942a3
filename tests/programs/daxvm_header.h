// SPDX-License-Identifier: MIT
//
// The three flags as the header published with DaxVM (MICRO 2022) defines them. Programs that are
// written for that header include this one instead, and nothing of dax64.
#pragma once

#define MAP_DAXVM           0x400000
#define MAP_DAXVM_BATCHING  0x200000
#define MAP_DAXVM_EPHEMERAL 0x4000000
