// SPDX-License-Identifier: MIT
//
// What the debug kernel tells who watches it from outside about memory and addresses that are free
// for another use: the record (kernel/x86/tlbmark.h writes it, tests/tlb/adversary.c reads it).
#pragma once

#include "kernel/lib/types.h"

// MOV [RDI], RAX behind three segment prefixes that mean nothing: the store of `kind`, and of
// nothing else. One instruction, so that no interrupt comes between the mark and what it marks.
#define TLB_MARK_BYTES "\x3e\x3e\x3e\x48\x89\x07"

enum tlb_mark_kind {
	TLB_MARK_MEMORY = 1, // n bytes from pa on, whole pages: a frame, a block of a file system
	TLB_MARK_ENTRIES,    // what n entries of a table, from pa on, lead to: addresses
};

struct tlb_mark {
	u64 pa, n, reserved;
	u64 kind;               // stored last
} __attribute__((aligned(32))); // so that it lies on one page
_Static_assert(sizeof(struct tlb_mark) == 32, "four words");
