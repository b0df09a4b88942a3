// SPDX-License-Identifier: MIT
//
// Futexes: sleep while a word of user memory has a certain value (futex(2)).
//
// All of these: thread context of a process, no lock held. `at` is the word's address. `shared`:
// the word may be known to others by another address; without it only the threads of this address
// space count. Errors of all: -EINVAL (address not a multiple of 4), -EFAULT.
#pragma once

#include "kernel/lib/types.h"

#define FUTEX_ANY (~0u) // bitset that matches every waiter

// Sleep until woken by somebody whose bitset has a bit in common: 0. -EAGAIN: the word is not
// `value`. -EINTR, -ETIMEDOUT (deadline_ns as in wait.h; 0: none).
int futex_wait(uva_t at, u32 value, u32 bitset, bool shared, u64 deadline_ns) __must_check;

// Wake `count` of those that wait, the oldest first; one at least, as Linux has it. How many.
s64 futex_wake(uva_t at, u32 bitset, bool shared, s32 count);

// Wake `wake` of those that wait at `from` and let `move` more wait at `to` instead. If `expected`
// is given, only while it is the value at `from`, else -EAGAIN. How many were woken or moved.
s64 futex_requeue(uva_t from, uva_t to, bool shared, s32 wake, s32 move, const u32 *expected);

// FUTEX_WAKE_OP: changes the word at `to` as `operation` says, wakes `wake` at `from` and, if the
// old value compares as `operation` says, `wake_to` at `to`. How many; -ENOSYS: unknown operation.
s64 futex_wake_op(uva_t from, uva_t to, bool shared, s32 wake, s32 wake_to, u32 operation);

void futex_init(void);
