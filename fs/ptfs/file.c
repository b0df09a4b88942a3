// SPDX-License-Identifier: MIT
//
// What: read, write, seek and sync of regular files.
// Not here: truncate and fallocate (falloc.c), the VM layer's view (map.c), another block for one
// that has failed (mend.c).
//
// Locking: mapping lock shared (blocks stay), inode lock for writers (size, one write at a time). A
// caller's bytes are moved under both, so that takes no faults (platform.h). A block that has
// failed is replaced with the mapping lock held exclusively: a write that comes to it drops its
// locks.
// Persistence: data, fence; size, flush, fence. A hole is filled before it is published, so each
// write is durable block by block, and the size tells how far an append got.
// Failure: a short count if something was written before space, memory or the caller's pages ran
// out, or a block that has failed was to be overwritten in part.
#include "fs/ptfs/ptfs_internal.h"

static int regular_check(const struct ptfs_inode *ip)
{
	if (likely(ip->leaf_type == PTFS_CHUNK_DATA)) // a regular file's, and no other's
		return ip->bad;
	return ptfs_is(ip, PTFS_S_IFDIR) ? -EISDIR : -EINVAL;
}

// Memory that has failed is not touched again: no more than the *bytes at `off` before it. -EIO:
// none.
static int before_bad(const struct ptfs_fs *fs, u64 off, u64 *bytes)
{
	*bytes = ptfs_before_bad(fs, off, *bytes);
	return likely(*bytes) ? 0 : -EIO;
}

// One extent's worth. *done: bytes moved; less than *want means the caller's memory cut it short.
static int read_some(struct ptfs_inode *ip, struct ptfs_iter *to, u64 pos, u64 left, u64 *want,
		     u64 *done)
{
	u64 skip = pos & (PTFS_BLOCK - 1);
	struct ptfs_extent x;
	int err = ptfs_map_find(ip, pos >> PTFS_BLOCK_SHIFT, ptfs_blocks_touched(skip, left), &x);

	if (err)
		return err;
	*want = min(left, x.blocks * PTFS_BLOCK - skip);
	if (!x.hole)
		err = before_bad(ip->fs, x.off + skip, want);
	if (err)
		return err;
	if (x.hole)
		*done = ptfs_iter_zero(to, *want);
	else
		*done = ptfs_iter_from_medium(to, ptfs_at(ip->fs, x.off + skip, *want), *want);
	return 0;
}

// Called with the mapping lock held, which it drops.
static __attribute__((noinline)) ssize read_locked(struct ptfs_inode *ip, struct ptfs_iter *to,
						   u64 pos, u64 bytes)
{
	u64 total = 0;
	int err = 0;

	while (!err && bytes) {
		u64 size = ptfs_size(ip);
		u64 want, done;

		if (pos >= size)
			break;
		err = read_some(ip, to, pos, min(bytes, size - pos), &want, &done);
		if (err)
			break;
		pos += done;
		total += done;
		bytes -= done;
		if (done < want)
			err = -EFAULT;
	}
	ptfs_map_unlock_shared(&ip->home);
	return total ? (ssize)total : err;
}

static __attribute__((noinline)) ssize read_any(struct ptfs_inode *ip, struct ptfs_iter *to,
						u64 pos, u64 bytes)
{
	int err = regular_check(ip);

	if (err)
		return err;
	ptfs_map_lock_shared(&ip->home);
	return read_locked(ip, to, pos, bytes);
}

// A read inside one block and before the end, whose word needs no work and whose lock is to be had
// at once, is done here, with next to nothing to keep while others work.
ssize ptfs_read(struct ptfs_inode *ip, struct ptfs_iter *to, u64 pos, u64 bytes)
{
	u64 skip = pos & (PTFS_BLOCK - 1), off;
	size_t done;

	if (bytes - 1 >= PTFS_BLOCK - skip || unlikely(regular_check(ip)) ||
	    unlikely(!ptfs_map_trylock_shared(&ip->home)))
		return read_any(ip, to, pos, bytes);
	if (unlikely(pos + bytes > ptfs_size(ip)) ||
	    unlikely(!ptfs_map_quick(ip, pos >> PTFS_BLOCK_SHIFT, &off)))
		return read_locked(ip, to, pos, bytes);
	done = ptfs_iter_from_medium(to, (const u8 *)ip->fs->region.view + off + skip, bytes);
	ptfs_map_unlock_shared(&ip->home);
	return likely(done) ? (ssize)done : -EFAULT;
}

int ptfs_zero_existing(struct ptfs_inode *ip, u64 from, u64 to)
{
	while (from < to) {
		u64 skip = from & (PTFS_BLOCK - 1);
		struct ptfs_extent x;
		u64 len;
		int err = ptfs_map_extent(ip, from >> PTFS_BLOCK_SHIFT,
					  ptfs_blocks_touched(skip, to - from), &x);

		if (err)
			return err;
		len = min(to - from, x.blocks * PTFS_BLOCK - skip);
		if (!x.hole)
			ptfs_zero_data(ip->fs, x.off + skip, len);
		from += len;
	}
	return 0;
}

bool ptfs_chunk_fits(u64 block, u64 blocks, const struct ptfs_extent *x)
{
	return block % PTFS_CHUNK_BLOCKS == 0 && blocks >= PTFS_CHUNK_BLOCKS && x->hole &&
	       x->blocks >= PTFS_CHUNK_BLOCKS;
}

// One extent's worth, or one new block. -EEXIST: the tree changed, call again. Of a block that has
// failed: -EIO, the write has a part of it; -EHWPOISON, all (write_anew).
static int write_some(struct ptfs_inode *ip, struct ptfs_iter *from, u64 pos, u64 left, u64 *want,
		      u64 *done)
{
	u64 block = pos >> PTFS_BLOCK_SHIFT;
	u64 skip = pos & (PTFS_BLOCK - 1);
	struct ptfs_extent x;
	int err;

	if (skip + left <= PTFS_BLOCK && likely(!ptfs_bad_count()) &&
	    ptfs_map_quick(ip, block, &x.off)) {
		*want = left;
		*done = ptfs_iter_to_medium(from, ptfs_pa(ip->fs, x.off + skip), left);
		return 0;
	}
	if (skip + left <= PTFS_BLOCK && ptfs_map_hole_quick(ip, block)) {
		*want = left;
		return ptfs_map_filled(ip, block, PT_PTE, from, skip, left, done);
	}
	err = ptfs_map_find(ip, block, ptfs_blocks_touched(skip, left), &x);
	if (err)
		return err;
	if (!skip && ptfs_chunk_fits(block, left >> PTFS_BLOCK_SHIFT, &x)) {
		// Filled before it is published, as a block is: a crash shows the hole or all of
		// it.
		*want = PTFS_CHUNK;
		err = ptfs_map_filled(ip, block, PT_PMD, from, 0, *want, done);
		if (err != -ENOSPC && err != -EEXIST)
			return err;
	}
	if (x.hole) {
		*want = min(left, PTFS_BLOCK - skip);
		return ptfs_map_filled(ip, block, PT_PTE, from, skip, *want, done);
	}
	*want = min(left, x.blocks * PTFS_BLOCK - skip);
	if (unlikely(before_bad(ip->fs, x.off + skip, want)))
		return ptfs_mend_covers(ip, pos, pos + left) ? -EHWPOISON : -EIO;
	*done = ptfs_iter_to_medium(from, ptfs_pa(ip->fs, x.off + skip), *want);
	return 0;
}

static u64 write_all(struct ptfs_inode *ip, struct ptfs_iter *from, u64 pos, u64 bytes, int *err)
{
	u64 total = 0;

	*err = 0;
	while (total < bytes) {
		u64 want, done = 0;

		*err = write_some(ip, from, pos + total, bytes - total, &want, &done);
		if (*err == -EEXIST)
			continue;
		if (*err)
			break;
		total += done;
		if (done < want) {
			*err = -EFAULT;
			break;
		}
	}
	return total;
}

// Inode lock held. `done` bytes were written at `pos`; they become durable, and with them the size.
static void write_settle(struct ptfs_inode *ip, u64 pos, u64 done)
{
	if (done)
		ptfs_times_set(ip, true);
	ptfs_fence(ip->fs);
	if (done && pos + done > ip->size)
		ptfs_size_set(ip, pos + done);
}

// Inode lock held. What lies between the old end and the write becomes zeros first. *why: what has
// cut it short, also if some was written.
static ssize write_locked(struct ptfs_inode *ip, struct ptfs_iter *from, u64 pos, u64 bytes,
			  int *why)
{
	u64 done;
	int err;

	if (pos >= PTFS_FILE_MAX)
		return bytes ? -EFBIG : 0;
	bytes = min(bytes, PTFS_FILE_MAX - pos);
	if (!bytes)
		return 0;
	err = ptfs_zero_existing(ip, ip->size, pos);
	if (err)
		return err;
	done = write_all(ip, from, pos, bytes, why);
	write_settle(ip, pos, done);
	return done ? (ssize)done : *why;
}

static inline ssize write_shared(struct ptfs_inode *ip, struct ptfs_iter *from, u64 *pos, u64 bytes,
				 bool append, int *why)
{
	ssize n;

	ptfs_map_lock_shared(&ip->home);
	ptfs_mutex_lock(&ip->lock);
	if (append)
		*pos = ip->size;
	n = write_locked(ip, from, *pos, bytes, why);
	if (n > 0)
		*pos += (u64)n;
	ptfs_mutex_unlock(&ip->lock);
	ptfs_map_unlock_shared(&ip->home);
	return n;
}

// The first of the blocks that are written has failed, and is replaced. 0: it had, a moment ago.
static ssize write_anew(struct ptfs_inode *ip, struct ptfs_iter *from, u64 *pos, u64 bytes,
			bool append)
{
	struct ptfs_extent x;
	u64 skip, n = 0;
	int err;

	ptfs_map_lock(&ip->home);
	ptfs_mutex_lock(&ip->lock);
	if (append)
		*pos = ip->size;
	skip = *pos & (PTFS_BLOCK - 1);
	err = ptfs_zero_existing(ip, ip->size, *pos); // the lock was free meanwhile
	if (!err)
		err = ptfs_map_extent(ip, *pos >> PTFS_BLOCK_SHIFT, 1, &x);
	if (!err && !x.hole && ptfs_is_bad(ip->fs, x.off, 1) &&
	    ptfs_mend_covers(ip, *pos, *pos + bytes)) {
		n = min(bytes, PTFS_BLOCK - skip);
		err = ptfs_mend(ip, *pos >> PTFS_BLOCK_SHIFT, from, skip, n);
	}
	if (!err) {
		write_settle(ip, *pos, n);
		*pos += n;
	}
	ptfs_mutex_unlock(&ip->lock);
	ptfs_map_unlock(&ip->home);
	return err ? err : (ssize)n;
}

// Memory has failed somewhere, and perhaps it was in the way. *n is what the last step has written,
// or its error, *done the bytes of those before it. True: the write goes on behind *done. False: *n
// is what comes of it.
static __attribute__((noinline)) bool write_on(struct ptfs_inode *ip, struct ptfs_iter *from,
					       u64 *pos, u64 bytes, bool append, u64 *done,
					       ssize *n)
{
	if (*n == -EHWPOISON)
		*n = write_anew(ip, from, pos, bytes - *done, append);
	if (*n > 0)
		*done += (u64)*n;
	// Others may have appended since: what is to come goes elsewhere, which is another call's.
	if (*n >= 0 && *done < bytes && !(append && *done))
		return true;
	*n = *done ? (ssize)*done : *n;
	return false;
}

// A write that ran out of space may have made tables for blocks that it did not get. Those behind
// EOF go again; below it they are part of the tree and wait for the next write. (One that stopped
// at a page that is not there goes on at once: a walk over the file for each such page would cost
// more than all the rest.)
static void tidy(struct ptfs_inode *ip)
{
	ptfs_map_lock(&ip->home);
	ptfs_mutex_lock(&ip->lock);
	if (!(ip->flags & PTFS_INODE_PREALLOC) && ptfs_map_cut(ip, ALIGN_UP(ip->size, PTFS_BLOCK)))
		ptfs_log(PTFS_LOG_WARN, "ptfs %s: inode %llu: tables behind the end stay",
			 ip->fs->name, (unsigned long long)ip->ino);
	ptfs_mutex_unlock(&ip->lock);
	ptfs_map_unlock(&ip->home);
}

ssize ptfs_write(struct ptfs_inode *ip, struct ptfs_iter *from, u64 *pos, u64 bytes, bool append)
{
	u64 done = 0;
	ssize n;
	int err = regular_check(ip), why = 0;

	if (!err)
		err = ptfs_dirty(ip->fs);
	if (err)
		return err;
	do
		n = write_shared(ip, from, pos, bytes - done, append, &why);
	while (unlikely(ptfs_bad_count()) && write_on(ip, from, pos, bytes, append, &done, &n));
	if (n == -ENOSPC || n == -ENOMEM || (n > 0 && (u64)n < bytes && why != -EFAULT))
		tidy(ip);
	ptfs_merge(ip);
	return n;
}

int ptfs_sync_range(struct ptfs_inode *ip, u64 off, u64 len)
{
	u64 limit = ALIGN_UP(ptfs_size(ip), PTFS_CHUNK);
	u64 end = off < limit ? off + min(len, limit - off) : off;
	int err = ip->bad;

	if (!ip->leaf_type || ip->fs->read_only)
		return 0;
	ptfs_map_lock_shared(&ip->home);
	while (!err && off < end) {
		u64 skip = off & (PTFS_BLOCK - 1);
		struct ptfs_extent x;
		u64 n;

		err = ptfs_map_extent(ip, off >> PTFS_BLOCK_SHIFT,
				      ptfs_blocks_touched(skip, end - off), &x);
		if (err)
			break;
		n = min(end - off, x.blocks * PTFS_BLOCK - skip);
		if (!x.hole)
			ptfs_flush(ip->fs, x.off + skip, n);
		off += n;
	}
	ptfs_fence(ip->fs);
	ptfs_map_unlock_shared(&ip->home);
	return err;
}

s64 ptfs_seek(struct ptfs_inode *ip, u64 off, bool hole)
{
	u64 size = ptfs_size(ip);
	s64 found = -ENXIO;
	int err = regular_check(ip);

	if (err || off >= size)
		return err ? err : -ENXIO;
	ptfs_map_lock_shared(&ip->home);
	while (found == -ENXIO && off < size) {
		struct ptfs_extent x;

		err = ptfs_map_extent(ip, off >> PTFS_BLOCK_SHIFT, PTFS_WHOLE_RUN, &x);
		if (err)
			found = err;
		else if (x.hole == hole)
			found = (s64)off;
		else
			off = ALIGN_DOWN(off, PTFS_BLOCK) + x.blocks * PTFS_BLOCK;
	}
	ptfs_map_unlock_shared(&ip->home);
	// The end of a file counts as a hole.
	return found == -ENXIO && hole ? (s64)size : found;
}
