// SPDX-License-Identifier: MIT
//
// What: read, write and the other calls on open regular files.
// Not here: how the bytes lie (fs/ptfs), mappings (mapping.c).
//
// The core copies to and from user memory under its locks and so takes no faults: the page may
// belong to a mapping of this very file, and its fault would need the same locks. The core stops
// short, returns, and with no lock held the page is faulted in here, and the call goes on.
//
//      n = ptfs_write(...)   locks; copies until a page is missing; unlocks
//      iov_fault_in()        may call glue_vm_page() on this file: takes its mapping lock, shared
//      n = ptfs_write(...)   goes on where it stopped
//
// A block that has failed is replaced by a write of all of it, whose bytes are then wanted in one
// piece (ptfs_write): all of their pages are faulted in.
//
// Durable: all that a write() returned for. fsync has work only after stores through mappings.
#include "fs/ptfs_glue/glue_internal.h"

// A page can go away again between its fault and the copy (another thread unmaps, truncates). Who
// loses that race so often in a row has an adversary, not bad luck.
#define FAULT_RETRIES 1000

// After a core call that copied nothing because a page was missing: make it present. 0: go on.
static int fault_in_again(struct iov_iter *it, bool write, unsigned *tries)
{
	int err;

	if (++*tries > FAULT_RETRIES)
		return -EFAULT;
	err = iov_fault_in(it, write);
	// With the first page there most calls do something. One that did not wants more of them.
	if (!err && unlikely(poison_count()) && iov_fault_in_all(it, PTFS_BLOCK, write) &&
	    *tries > 1)
		err = -EFAULT;
	return err;
}

// The rest of a read that `total` bytes are done of: at a missing page, or in another piece.
static __attribute__((noinline)) ssize read_on(struct ptfs_inode *ip, struct iov_iter *to, u64 *pos,
					       ssize total)
{
	unsigned tries = 0;
	ssize n;

	while (to->left) {
		// Was the copy cut short by memory that failed? Now the core knows.
		// (Or an earlier call's: then it is taken out of its mappings for nothing.)
		if (unlikely(poison_met()))
			glue_detach_bad(ip);
		n = ptfs_read(ip, glue_iter(to), *pos, to->left);
		if (n > 0) {
			*pos += (u64)n;
			total += n;
			tries = 0;
			if (*pos >= READ_ONCE(ip->size))
				break;
		} else if (n != -EFAULT) {
			return total ? total : n; // 0: end of file
		} else if (fault_in_again(to, true, &tries)) {
			return total ? total : -EFAULT;
		}
	}
	return total;
}

static ssize glue_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct ptfs_inode *ip = glue_ip(f->inode);
	ssize n;

	iov_faults_off(to);
	if (!ptfs_atime_stands(ip) && to->left && !(f->flags & O_NOATIME))
		ptfs_accessed(ip);
	n = ptfs_read(ip, glue_iter(to), *pos, to->left);
	if (unlikely(n < 0))
		return n == -EFAULT ? read_on(ip, to, pos, 0) : n;
	*pos += (u64)n;
	if (likely(!to->left || *pos >= READ_ONCE(ip->size)))
		return n;
	return read_on(ip, to, pos, n);
}

static ssize glue_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct ptfs_inode *ip = glue_ip(f->inode);
	bool append = f->flags & O_APPEND;
	unsigned tries = 0;
	ssize total = 0, n;

	poison_forget();
	while (from->left) {
		u64 want = from->left, start;

		n = ptfs_write(ip, glue_iter(from), pos, want, append);
		// Holes may have been filled beyond what was copied: then they hold zeros.
		start = n > 0 ? *pos - (u64)n : *pos;
		vm_hole_filled(&ip->home.object, start, want);
		if (n > 0) {
			total += n;
			tries = 0;
		} else if (n != -EFAULT) {
			return total ? total : n;
		} else if (unlikely(poison_met())) { // in what the data come from
			return total ? total : -EFAULT;
		} else if (fault_in_again(from, false, &tries)) {
			return total ? total : -EFAULT;
		}
	}
	return total;
}

static s64 glue_lseek(struct file *f, s64 off, int whence)
{
	struct ptfs_inode *ip = glue_ip(f->inode);
	s64 base = 0;

	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		return off < 0 ? -ENXIO : ptfs_seek(ip, (u64)off, whence == SEEK_HOLE);
	if (whence == SEEK_CUR)
		base = (s64)f->pos;
	else if (whence == SEEK_END)
		base = (s64)READ_ONCE(ip->size);
	if (__builtin_add_overflow(base, off, &base))
		return -EINVAL;
	return base < 0 || base > (s64)PTFS_FILE_MAX ? -EINVAL : base;
}

static int glue_fsync(struct file *f, bool data_only)
{
	(void)data_only;
	return glue_write_back(glue_inode(f->inode));
}

static int glue_sync_range(struct file *f, u64 off, u64 end)
{
	return vm_sync_range(&glue_ip(f->inode)->home.object, off, end);
}

// What lies behind the range moves, and with it lines that are not written back yet: their chunks
// are others now. A sync in between would write back the old ones.
static int collapse(struct ptfs_inode *ip, u64 off, u64 len)
{
	struct vm_object *o = &ip->home.object;
	int err = vm_sync_hold(o);

	if (err)
		return err;
	err = ptfs_collapse(ip, off, len);
	if (!err)
		vm_dirty_moved(o, off);
	vm_sync_release(o);
	return err;
}

static int glue_fallocate(struct file *f, unsigned mode, u64 off, u64 len)
{
	struct ptfs_inode *ip = glue_ip(f->inode);
	bool keep_size = mode & FALLOC_FL_KEEP_SIZE;
	int err;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case FALLOC_FL_PUNCH_HOLE: return ptfs_punch(ip, off, len);
	case FALLOC_FL_COLLAPSE_RANGE: return collapse(ip, off, len);
	case FALLOC_FL_ZERO_RANGE: err = ptfs_zero_range(ip, off, len, keep_size); break;
	case 0: err = ptfs_fallocate(ip, off, len, keep_size); break;
	default: return -EOPNOTSUPP;
	}
	vm_hole_filled(&ip->home.object, off, len);
	return err;
}

static int glue_mmap(struct file *f, struct vm_object **out)
{
	struct glue_inode *gi = glue_inode(f->inode);
	struct glue_super *g = glue_super(f->inode->super);
	struct ptfs_inode *ip = gi->ip;

	if ((f->flags & O_ACCMODE) != O_RDONLY && !g->vfs.read_only) {
		// From now on stores may sit in CPU caches until somebody writes them back.
		mutex_lock(&g->dirty_lock);
		if (list_empty(&gi->dirty_node))
			list_add_tail(&g->dirty, &gi->dirty_node);
		mutex_unlock(&g->dirty_lock);
	}
	glue_remember_path(ip, f);
	*out = &ip->home.object;
	return 0;
}

const struct file_ops glue_file_fops = {
	.read = glue_read,
	.write = glue_write,
	.lseek = glue_lseek,
	.fsync = glue_fsync,
	.sync_range = glue_sync_range,
	.fallocate = glue_fallocate,
	.mmap = glue_mmap,
};
