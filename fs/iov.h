// SPDX-License-Identifier: MIT
//
// Where data comes from or goes to: user memory or kernel memory, in pieces (readv, writev). A file
// system moves bytes only through these functions.
//
// Copying while a file's lock is held must not take faults: the page may be a mapping of the same
// file. So a file system sets `nofault`, and on a short copy drops its locks, calls iov_fault_in()
// and goes on:
//
//      it->nofault = true;
//      lock;  n = iov_copy_to(it, src, want);  unlock
//      if (n < want && iov_fault_in(it, true))  return done ? done : -EFAULT
#pragma once

#include "kernel/lib/types.h"

struct iov_piece {
	u64 base; // user address or kernel pointer
	u64 len;  // bytes
};

struct iov_iter {
	bool user;    // pieces are user addresses, else kernel pointers
	bool nofault; // take no faults: a short copy means "fault in and call again"
	const struct iov_piece *piece;
	unsigned nr_pieces;
	u64 piece_off; // bytes used of piece[0]
	u64 left;      // bytes left over all pieces
};

// One piece; `piece` must live as long as the iterator.
void iov_init_user(struct iov_iter *it, struct iov_piece *piece, uva_t base, u64 len);
void iov_init_kernel(struct iov_iter *it, struct iov_piece *piece, const void *base, u64 len);

// Move up to `bytes` and advance. Bytes done: fewer when the pieces end or an address is bad (with
// nofault: or not present). May sleep unless nofault is set or the pieces are kernel memory.
size_t iov_copy_to(struct iov_iter *it, const void *src, size_t bytes); // read(): to the caller
size_t iov_copy_from(struct iov_iter *it, void *dst, size_t bytes);     // write(): from the caller
size_t iov_zero(struct iov_iter *it, size_t bytes);                     // read() of a hole
// The next piece of user memory for a copy of the file system's own (pmem_copy_from_user_nt): its
// address, and its length in *len. iov_advance() says how much of it was used.
uva_t iov_user_span(const struct iov_iter *it, size_t *len);
const void *iov_kernel_span(const struct iov_iter *it, size_t *len);
void iov_advance(struct iov_iter *it, size_t bytes);

// Make the page at the current position present (`write`: for iov_copy_to). No lock that a page
// fault takes may be held. 0, or -EFAULT when there is nothing to make present.
int iov_fault_in(struct iov_iter *it, bool write) __must_check;
