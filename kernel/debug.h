// SPDX-License-Identifier: MIT
//
// The debug build, `make DEBUG=1`: what it checks beyond assertions (kernel/panic.h) costs too much
// for every lock and every call. Elsewhere the condition is the constant 0, and the compiler drops
// the check. The tests run on it.
#pragma once

#ifdef DAX64_DEBUG
#define DEBUG_BUILD 1
#else
#define DEBUG_BUILD 0
#endif
