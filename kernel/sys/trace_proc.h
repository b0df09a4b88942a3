// SPDX-License-Identifier: MIT
#pragma once

// /proc/sys/daxvm/trace (0, 1) and /proc/daxvm/trace. Once, at init.
void trace_proc_init(void);
