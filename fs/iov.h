// SPDX-License-Identifier: MIT
//
// Where data comes from or goes to: user memory or kernel memory, in pieces (readv, writev). A file
// system moves bytes only through these functions.
//
// Copying while a file's lock is held must not take faults: the page may be a mapping of the same
// file. So a file system switches faults off, and on a short copy drops its locks, calls
// iov_fault_in() and goes on:
//
//      iov_faults_off(it);
//      lock;  n = iov_copy_to(it, src, want);  unlock
//      if (n < want && iov_fault_in(it, true))  return done ? done : -EFAULT
#pragma once

#include "kernel/lib/types.h"

struct iov_piece {
	u64 base; // user address or kernel pointer
	u64 len;  // bytes
};

// The present piece is in the iterator itself, so that the usual call, which has no other, needs no
// memory beside it. Invariant: span is at most left, and above 0 unless left is 0 (iov.c, I1).
struct iov_iter {
	u64 at;                       // the next byte: user address or kernel pointer
	u64 span;                     // bytes of the present piece from there on
	u64 left;                     // bytes left over all pieces
	const struct iov_piece *more; // the pieces behind the present one
	u32 nr_more;
	bool user;    // pieces are user addresses, else kernel pointers
	bool nofault; // user memory, and no faults: a short copy means "fault in and call again"
};

// One piece.
static inline void iov_init_user(struct iov_iter *it, uva_t base, u64 len)
{
	*it = (struct iov_iter){ .at = base.va, .span = len, .left = len, .user = true };
}

static inline void iov_init_kernel(struct iov_iter *it, const void *base, u64 len)
{
	*it = (struct iov_iter){ .at = (u64)base, .span = len, .left = len };
}

static inline void iov_faults_off(struct iov_iter *it)
{
	it->nofault = it->user;
}

// No more than `bytes` are moved.
static inline void iov_clamp(struct iov_iter *it, u64 bytes)
{
	it->left = min(it->left, bytes);
	it->span = min(it->span, bytes);
}

// Pieces of user memory, `left` bytes together. They must live as long as the iterator.
void iov_init_pieces(struct iov_iter *it, const struct iov_piece *pieces, unsigned nr, u64 left);

void iov_next_piece(struct iov_iter *it); // the present one is used up

// Move up to `bytes` and advance. Bytes done: fewer when the pieces end or an address is bad (with
// nofault: or not present). May sleep unless nofault is set or the pieces are kernel memory.
size_t iov_copy_to(struct iov_iter *it, const void *src, size_t bytes); // read(): to the caller
size_t iov_copy_from(struct iov_iter *it, void *dst, size_t bytes);     // write(): from the caller
size_t iov_zero(struct iov_iter *it, size_t bytes);                     // read() of a hole
// For a copy of the file system's own (pmem_copy_from_user_nt), of at most `span` bytes at `at`:
// `bytes` of them are done.
static inline void iov_advance(struct iov_iter *it, size_t bytes)
{
	it->at += bytes;
	it->span -= bytes;
	it->left -= bytes;
	if (!it->span && it->nr_more)
		iov_next_piece(it);
}

// Make the page at the current position present (`write`: for iov_copy_to). No lock that a page
// fault takes may be held. 0, or -EFAULT when there is nothing to make present. -EINTR: the thread
// was killed. Gigabytes may be left, so that who has to come here for each page stops at this.
int iov_fault_in(struct iov_iter *it, bool write) __must_check;
// The same for all pages of the next `bytes` bytes, or of what is left.
int iov_fault_in_all(const struct iov_iter *it, u64 bytes, bool write) __must_check;
