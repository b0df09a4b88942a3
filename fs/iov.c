// SPDX-License-Identifier: MIT
//
// What: the iterator over the caller's memory; every byte of read() and write() passes here.
// Not here: the copy itself with its fault recovery (mm/uaccess.h).
//
// Invariants:
//   I1  left is the sum of what the pieces still hold; piece_off < piece->len unless left is 0.
#include "fs/iov.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "mm/aspace.h"
#include "mm/uaccess.h"

enum iov_op { IOV_TO, IOV_FROM, IOV_ZERO };

void iov_init_user(struct iov_iter *it, struct iov_piece *piece, uva_t base, u64 len)
{
	*piece = (struct iov_piece){ .base = base.va, .len = len };
	*it = (struct iov_iter){ .user = true, .piece = piece, .nr_pieces = 1, .left = len };
}

void iov_init_kernel(struct iov_iter *it, struct iov_piece *piece, const void *base, u64 len)
{
	*piece = (struct iov_piece){ .base = (u64)base, .len = len };
	*it = (struct iov_iter){ .piece = piece, .nr_pieces = 1, .left = len };
}

void iov_advance(struct iov_iter *it, size_t bytes)
{
	it->left -= bytes;
	it->piece_off += bytes;
	while (it->nr_pieces && it->piece_off >= it->piece->len) {
		it->piece_off -= it->piece->len;
		it->piece++;
		it->nr_pieces--;
	}
}

// Bytes that could not be copied between `kernel` memory and the current piece.
static size_t copy_piece(struct iov_iter *it, enum iov_op op, void *kernel, size_t bytes)
{
	u64 at = it->piece->base + it->piece_off;

	if (!it->user) {
		if (op == IOV_TO)
			memcpy((void *)at, kernel, bytes);
		else if (op == IOV_FROM)
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
		size_t n = min(bytes - done, it->piece->len - it->piece_off);
		size_t missed = copy_piece(it, op, op == IOV_ZERO ? kernel : kernel + done, n);

		iov_advance(it, n - missed);
		done += n - missed;
		if (missed)
			break;
	}
	return done;
}

// The usual case: what is asked for lies inside one piece.
static size_t copy(struct iov_iter *it, enum iov_op op, void *kernel, size_t bytes)
{
	size_t done;

	if (!it->user || !it->nofault)
		return copy_pieces(it, op, kernel, bytes);
	uaccess_faults_off();
	if (likely(it->nr_pieces == 1 && bytes <= it->left)) {
		done = bytes - copy_piece(it, op, kernel, bytes);
		it->piece_off += done;
		it->left -= done;
	} else {
		done = copy_pieces(it, op, kernel, bytes);
	}
	uaccess_faults_on();
	return done;
}

size_t iov_copy_to(struct iov_iter *it, const void *src, size_t bytes)
{
	return copy(it, IOV_TO, (void *)(uintptr_t)src, bytes);
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

uva_t iov_user_span(const struct iov_iter *it, size_t *len)
{
	*len = it->left ? it->piece->len - it->piece_off : 0;
	return UVA(it->left ? it->piece->base + it->piece_off : 0);
}

const void *iov_kernel_span(const struct iov_iter *it, size_t *len)
{
	return (const void *)iov_user_span(it, len).va;
}

int iov_fault_in(struct iov_iter *it, bool write)
{
	struct aspace *as = thread_current()->as;
	size_t len;
	uva_t at = iov_user_span(it, &len);

	if (!it->user || !as || !len)
		return -EFAULT;
	return aspace_fault_in(as, at, min(len, PAGE_SIZE - (at.va & (PAGE_SIZE - 1))), write);
}
