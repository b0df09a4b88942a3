// SPDX-License-Identifier: MIT
//
// What the debug kernel tells who watches it from outside: what is free for another use, and what
// CPUs have forgotten. The record (kernel/x86/tlbmark.h writes it, tests/tlb/adversary.c reads it).
#pragma once

#include "kernel/lib/types.h"

// MOV [RDI], RAX behind three segment prefixes that mean nothing: the store of `kind`, and of
// nothing else. One instruction, so that no interrupt comes between the mark and what it marks.
#define TLB_MARK_BYTES "\x3e\x3e\x3e\x48\x89\x07"

enum tlb_mark_kind {
	// Free for another use:
	TLB_MARK_MEMORY = 1, // n bytes from physical address `what` on, whole pages
	TLB_MARK_ENTRIES,    // what n entries of a table, from `what` on, led to: addresses
	TLB_MARK_UNMAPPED,   // addresses n to `end` of the space whose root is `what`
	// A change batch, `what` is its name:
	TLB_MARK_BATCH,   // it will flush the space with root n; CPUs are looked for now
	TLB_MARK_FLUSHED, // it has flushed addresses n to `end` of the spaces that were told
};

struct tlb_mark {
	u64 what, n, end;
	u64 kind;               // stored last
} __attribute__((aligned(32))); // so that it lies on one page
_Static_assert(sizeof(struct tlb_mark) == 32, "four words");
