// SPDX-License-Identifier: MIT
//
// What: the iterator over the caller's memory; every byte of read() and write() passes here.
// Not here: the copy itself with its fault recovery (mm/uaccess.h).
//
// Invariants:
//   I1  left is at most the sum of what the pieces still hold; span is at most left, and above 0
//       unless left is 0.
#include "fs/iov.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "mm/aspace.h"
#include "mm/uaccess.h"

enum iov_op { IOV_TO, IOV_FROM, IOV_ZERO };

void iov_next_piece(struct iov_iter *it)
{
	while (!it->span && it->nr_more) {
		it->at = it->more->base;
		it->span = min(it->more->len, it->left);
		it->more++;
		it->nr_more--;
	}
}

void iov_init_pieces(struct iov_iter *it, const struct iov_piece *pieces, unsigned nr, u64 left)
{
	*it = (struct iov_iter){ .user = true, .more = pieces, .nr_more = nr, .left = left };
	iov_next_piece(it);
}

// Bytes that could not be copied between `kernel` memory and the present piece.
static size_t copy_piece(const struct iov_iter *it, enum iov_op op, void *kernel, size_t bytes)
{
	u64 at = it->at;

	if (!it->user) {
		if (op == IOV_TO) // from persistent memory, which may fail
			return asm_copy_user((void *)at, kernel, bytes);
		if (op == IOV_FROM)
			memcpy(kernel, (void *)at, bytes);
		else
			memset((void *)at, 0, bytes);
		return 0;
	}
	if (op == IOV_FROM)
		return copy_from_user_partial(kernel, UVA(at), bytes);
	return copy_to_user_partial(UVA(at), kernel, bytes);
}

static size_t copy_pieces(struct iov_iter *it, enum iov_op op, char *kernel, size_t bytes)
{
	size_t done = 0;

	bytes = min(bytes, it->left);
	while (done < bytes) {
		size_t n = min(bytes - done, it->span);
		size_t missed = copy_piece(it, op, op == IOV_ZERO ? kernel : kernel + done, n);

		iov_advance(it, n - missed);
		done += n - missed;
		if (missed)
			break;
	}
	return done;
}

static __attribute__((noinline)) size_t copy(struct iov_iter *it, enum iov_op op, void *kernel,
					     size_t bytes)
{
	size_t done;

	if (!it->nofault)
		return copy_pieces(it, op, kernel, bytes);
	uaccess_faults_off();
	done = copy_pieces(it, op, kernel, bytes);
	uaccess_faults_on();
	return done;
}

static __attribute__((noinline)) size_t to_next_piece(struct iov_iter *it, size_t done)
{
	iov_next_piece(it);
	return done;
}

// The usual case first: it lies inside one piece of user memory.
size_t iov_copy_to(struct iov_iter *it, const void *src, size_t bytes)
{
	size_t done;

	if (unlikely(!it->nofault || bytes > it->span))
		return copy(it, IOV_TO, (void *)(uintptr_t)src, bytes);
	uaccess_faults_off();
	done = bytes - copy_to_user_partial(UVA(it->at), src, bytes);
	uaccess_faults_on();
	it->at += done;
	it->left -= done;
	it->span -= done;
	return likely(it->span || !it->nr_more) ? done : to_next_piece(it, done);
}

size_t iov_copy_from(struct iov_iter *it, void *dst, size_t bytes)
{
	return copy(it, IOV_FROM, dst, bytes);
}

size_t iov_zero(struct iov_iter *it, size_t bytes)
{
	static const char zeros[PAGE_SIZE] __attribute__((aligned(64)));
	size_t done = 0;

	while (done < bytes && it->left) {
		size_t n = min(bytes - done, sizeof(zeros));
		size_t got = copy(it, IOV_ZERO, (void *)(uintptr_t)zeros, min(n, it->left));

		done += got;
		if (got < n)
			break;
	}
	return done;
}

int iov_fault_in(struct iov_iter *it, bool write)
{
	struct aspace *as = thread_current()->as;
	size_t len = it->span;

	if (!it->user || !as || !len)
		return -EFAULT;
	if (unlikely(READ_ONCE(thread_current()->killed)))
		return -EINTR;
	return aspace_fault_in(as, UVA(it->at), min(len, PAGE_SIZE - (it->at & (PAGE_SIZE - 1))),
			       write);
}

int iov_fault_in_all(const struct iov_iter *it, u64 bytes, bool write)
{
	struct iov_iter ahead = *it;
	int err = 0;

	iov_clamp(&ahead, bytes);
	while (!err && ahead.left) {
		err = iov_fault_in(&ahead, write);
		iov_advance(&ahead, min(ahead.span, PAGE_SIZE - (ahead.at & (PAGE_SIZE - 1))));
	}
	return err;
}
