// SPDX-License-Identifier: MIT
//
// Words in user memory that tell others of a thread's end.
#pragma once

#include "kernel/lib/types.h"

// struct robust_list_head: the list of the robust mutexes that a thread holds.
struct robust_head {
	u64 next;    // struct robust_list *; the last one points to the head
	s64 offset;  // from an entry to its word
	u64 pending; // entry that is just being taken or released; 0: none
};
_Static_assert(sizeof(struct robust_head) == 24, "ABI");

// The current thread is about to leave the memory that it runs on (exit, execve): marks the mutexes
// of its robust list, then clears and wakes the word at clear_child_tid if others share the memory.
// Both are forgotten. May sleep.
void thread_release_words(void);
