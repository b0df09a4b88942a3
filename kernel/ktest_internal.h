// SPDX-License-Identifier: MIT
#pragma once

#include "kernel/ktest.h"

// linker.ld
extern const struct ktest ktests_start[], ktests_end[];
