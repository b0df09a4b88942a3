// SPDX-License-Identifier: MIT
//
// What: contents of files in RAM: the tree of frames, read, write, truncate, punch, mapping.
// Not here: names, attributes (fs/ramfs.c).
//
// Invariants:
//   I1  Bytes of a page at or beyond the size are zero when the file grows over them: zeroed on
//       shrinking, and again on growing, because a mapping may have stored there in between.
//   I2  A page leaves the tree with map_lock held exclusively and all its translations revoked.
//       map_lock is not held by read and write: the tree itself is guarded by inode.lock. That is
//       held from the change of the size to the last page's leaving: a write in between would find
//       old pages, and lose what it wrote to them.
//   I3  Nodes lie in the tree until the file is evicted or shrinks to nothing.
// Locking: map_lock, then inode.lock. User copies under inode.lock take no faults: the page might
// be one of this file (fs/iov.h).
// Failure: no frame, or beyond the limit: -ENOSPC, what was written so far stays.
#include "fs/ramfs.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/layout.h"

#define NODE_SHIFT     9
#define NODE_SLOTS     512u
#define HEIGHT_MAX     3
#define SIZE_MAX_BYTES (1ull << (PAGE_SHIFT + NODE_SHIFT * HEIGHT_MAX))

static u64 pages_used, inodes_used; // of all RAM file systems, atomic

u64 ramfs_pages_max(void)
{
	return frame_stats().total / 2;
}

u64 ramfs_pages_used(void)
{
	return __atomic_load_n(&pages_used, __ATOMIC_RELAXED);
}

bool ramfs_reserve_inode(void)
{
	static u64 limit;

	if (!limit)
		limit = frame_stats().total / 4;
	if (__atomic_add_fetch(&inodes_used, 1, __ATOMIC_RELAXED) <= limit)
		return true;
	ramfs_release_inode();
	return false;
}

void ramfs_release_inode(void)
{
	__atomic_fetch_sub(&inodes_used, 1, __ATOMIC_RELAXED);
}

// A zeroed frame for contents, within the limit; PHYS_NONE otherwise.
static phys_t page_alloc(void)
{
	static u64 limit;
	phys_t p = PHYS_NONE;

	if (!limit)
		limit = ramfs_pages_max();
	if (__atomic_add_fetch(&pages_used, 1, __ATOMIC_RELAXED) <= limit)
		p = frame_alloc(0, FRAME_ZERO);
	if (p.pa == PHYS_NONE.pa)
		__atomic_fetch_sub(&pages_used, 1, __ATOMIC_RELAXED);
	return p;
}

static u64 *node_of(u64 pa)
{
	return phys_to_virt(PHYS(pa));
}

static u64 node_alloc(void)
{
	phys_t p = frame_alloc(0, FRAME_ZERO);

	return p.pa == PHYS_NONE.pa ? 0 : p.pa;
}

// Pages that a tree of this height can hold.
static u64 span(unsigned height)
{
	return 1ull << (NODE_SHIFT * height);
}

static u64 page_find(const struct ramfs_data *d, u64 index)
{
	u64 pa = d->root;

	if (index >= span(d->height))
		return 0;
	for (unsigned h = d->height; h && pa; h--)
		pa = node_of(pa)[(index >> (NODE_SHIFT * (h - 1))) & (NODE_SLOTS - 1)];
	return pa;
}

// The first page at or behind `from` below `pa` that is there (`hole`: is not); ~0: none.
static u64 page_seek(u64 pa, unsigned height, u64 base, u64 from, bool hole)
{
	u64 step, found = ~0ull;

	if (from >= base + span(height))
		return ~0ull;
	if (!pa)
		return hole ? max(from, base) : ~0ull;
	if (!height)
		return hole ? ~0ull : base;
	step = span(height - 1);
	for (u64 k = from > base ? (from - base) / step : 0; k < NODE_SLOTS && found == ~0ull; k++)
		found = page_seek(node_of(pa)[k], height - 1, base + k * step, from, hole);
	return found;
}

static int grow_tree(struct ramfs_data *d, u64 index)
{
	while (index >= span(d->height)) {
		if (d->root) {
			u64 top = node_alloc();

			if (!top)
				return -ENOSPC;
			node_of(top)[0] = d->root;
			d->root = top;
		}
		d->height++;
	}
	return 0;
}

// The page at `index`, made if it is not there (*fresh tells).
static int page_make(struct ramfs_inode *r, u64 index, u64 *pa, bool *fresh)
{
	struct ramfs_data *d = &r->data;
	u64 *slot = &d->root;
	phys_t page;
	int err = grow_tree(d, index);

	*fresh = false;
	if (err)
		return err;
	for (unsigned h = d->height; h; h--) {
		if (!*slot)
			*slot = node_alloc();
		if (!*slot)
			return -ENOSPC;
		slot = &node_of(*slot)[(index >> (NODE_SHIFT * (h - 1))) & (NODE_SLOTS - 1)];
	}
	if (!*slot) {
		page = page_alloc();
		if (page.pa == PHYS_NONE.pa)
			return -ENOSPC;
		*slot = page.pa;
		d->frames++;
		*fresh = true;
	}
	*pa = *slot;
	return 0;
}

// Frees pages [first, last] below `*slot`, whose subtree begins at page `base`; whole subtrees go
// with their nodes.
static void free_range(struct ramfs_data *d, u64 *slot, unsigned height, u64 base, u64 first,
		       u64 last)
{
	u64 step;

	if (!*slot || first >= base + span(height) || last < base)
		return;
	if (!height) {
		frame_put(PHYS(*slot));
		__atomic_fetch_sub(&pages_used, 1, __ATOMIC_RELAXED);
		d->frames--;
		*slot = 0;
		return;
	}
	step = span(height - 1);
	for (u64 k = first > base ? (first - base) / step : 0; k < NODE_SLOTS; k++) {
		if (base + k * step > last)
			break;
		free_range(d, &node_of(*slot)[k], height - 1, base + k * step, first, last);
	}
	if (first <= base && last >= base + span(height) - 1) {
		frame_free(PHYS(*slot), 0);
		*slot = 0;
	}
}

static void zero_bytes(struct ramfs_inode *r, u64 from, u64 to)
{
	while (from < to) {
		u64 off = from & (PAGE_SIZE - 1);
		u64 n = min(to - from, PAGE_SIZE - off);
		u64 pa = page_find(&r->data, from >> PAGE_SHIFT);

		if (pa)
			memset((char *)phys_to_virt(PHYS(pa)) + off, 0, n);
		from += n;
	}
}

// I1: before the size goes from r->size to something larger.
static void zero_tail(struct ramfs_inode *r)
{
	zero_bytes(r, r->size, ALIGN_UP(r->size, PAGE_SIZE));
}

static void touch_modified(struct ramfs_inode *r)
{
	r->mtime_ns = r->ctime_ns = time_wall_ns();
}

// Removes whole pages [first, last] with map_lock held exclusively, and inode.lock.
static void drop_pages(struct ramfs_inode *r, u64 first, u64 last)
{
	if (first > last)
		return;
	if (r->object.ever_mapped) {
		vm_revoke_begin(&r->object);
		vm_revoke_finish(&r->object, first << PAGE_SHIFT, (last - first + 1) << PAGE_SHIFT,
				 VM_FORGET_ALL);
	}
	free_range(&r->data, &r->data.root, r->data.height, 0, first, last);
	if (!r->data.root)
		r->data.height = 0;
}

int ramfs_set_size(struct ramfs_inode *r, u64 size)
{
	bool grows;

	if (size > SIZE_MAX_BYTES)
		return -EFBIG;
	rwlock_write_lock(&r->object.map_lock);
	mutex_lock(&r->inode.lock);
	grows = size > r->size;
	if (grows)
		zero_tail(r);
	r->size = size;
	if (!grows)
		zero_tail(r);
	touch_modified(r);
	if (!grows)
		drop_pages(r, DIV_ROUND_UP(size, PAGE_SIZE), (SIZE_MAX_BYTES >> PAGE_SHIFT) - 1);
	mutex_unlock(&r->inode.lock);
	rwlock_write_unlock(&r->object.map_lock);
	return 0;
}

void ramfs_data_free(struct ramfs_inode *r)
{
	struct ramfs_data *d = &r->data;

	free_range(d, &d->root, d->height, 0, 0, span(d->height) - 1);
}

// Copies from one page. Bytes done.
static size_t read_page(struct ramfs_inode *r, struct iov_iter *to, u64 pos, size_t bytes)
{
	u64 pa = page_find(&r->data, pos >> PAGE_SHIFT);

	if (!pa)
		return iov_zero(to, bytes);
	return iov_copy_to(to, (char *)phys_to_virt(PHYS(pa)) + (pos & (PAGE_SIZE - 1)), bytes);
}

static ssize ramfs_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct ramfs_inode *r = ramfs_i(f->inode);
	u64 at = *pos, start = at;
	ssize err = 0;

	iov_faults_off(to);
	mutex_lock(&r->inode.lock);
	while (to->left && at < r->size) {
		size_t there = min(r->size - at, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
		size_t n = min(to->left, there);
		size_t got = read_page(r, to, at, n);

		at += got;
		if (got == n)
			continue;
		mutex_unlock(&r->inode.lock);
		err = iov_fault_in(to, true);
		mutex_lock(&r->inode.lock);
		if (err)
			break;
	}
	if (r->atime_ns <= r->mtime_ns && !(f->flags & O_NOATIME)) // as Linux's "relatime"
		r->atime_ns = time_wall_ns();
	mutex_unlock(&r->inode.lock);
	*pos = at;
	return at > start ? (ssize)(at - start) : err;
}

// Copies into one page, which is made if need be. Bytes done (0: fault in) or -ENOSPC.
static ssize write_page(struct ramfs_inode *r, struct iov_iter *from, u64 pos, size_t bytes)
{
	bool fresh;
	u64 pa;
	int err = page_make(r, pos >> PAGE_SHIFT, &pa, &fresh);
	size_t got;

	if (err)
		return err;
	if (pos > r->size)
		zero_tail(r);
	got = iov_copy_from(from, (char *)phys_to_virt(PHYS(pa)) + (pos & (PAGE_SIZE - 1)), bytes);
	if (pos + got > r->size)
		r->size = pos + got;
	if (fresh)
		vm_hole_filled(&r->object, ALIGN_DOWN(pos, PAGE_SIZE), PAGE_SIZE);
	return (ssize)got;
}

static ssize ramfs_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct ramfs_inode *r = ramfs_i(f->inode);
	u64 at = *pos;
	ssize done = 0, got = 0;

	iov_faults_off(from);
	mutex_lock(&r->inode.lock);
	if (f->flags & O_APPEND)
		at = r->size;
	while (from->left) {
		size_t n = min(from->left, PAGE_SIZE - (at & (PAGE_SIZE - 1)));

		got = at < SIZE_MAX_BYTES ? write_page(r, from, at, n) : -EFBIG;
		if (got < 0)
			break;
		at += (u64)got;
		done += got;
		if ((size_t)got == n)
			continue;
		mutex_unlock(&r->inode.lock);
		got = iov_fault_in(from, false);
		mutex_lock(&r->inode.lock);
		if (got)
			break;
		if (f->flags & O_APPEND) // another one may have appended in between
			at = r->size;
	}
	if (done)
		touch_modified(r);
	mutex_unlock(&r->inode.lock);
	*pos = at;
	return done ? done : got;
}

static int ramfs_fallocate(struct file *f, unsigned mode, u64 off, u64 len)
{
	struct ramfs_inode *r = ramfs_i(f->inode);
	u64 end = off + len, pa;
	bool fresh;
	int err = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	if (end > SIZE_MAX_BYTES)
		return -EFBIG;
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		u64 first = ALIGN_UP(off, PAGE_SIZE), last = ALIGN_DOWN(end, PAGE_SIZE);

		rwlock_write_lock(&r->object.map_lock);
		mutex_lock(&r->inode.lock);
		zero_bytes(r, off, min(first, end));
		zero_bytes(r, max(last, off), end);
		touch_modified(r);
		if (first < last)
			drop_pages(r, first >> PAGE_SHIFT, (last >> PAGE_SHIFT) - 1);
		mutex_unlock(&r->inode.lock);
		rwlock_write_unlock(&r->object.map_lock);
		return 0;
	}
	mutex_lock(&r->inode.lock);
	for (u64 at = ALIGN_DOWN(off, PAGE_SIZE); at < end && !err; at += PAGE_SIZE) {
		err = page_make(r, at >> PAGE_SHIFT, &pa, &fresh);
		if (!err && fresh)
			vm_hole_filled(&r->object, at, PAGE_SIZE);
	}
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && end > r->size) {
		zero_tail(r);
		r->size = end;
	}
	touch_modified(r);
	mutex_unlock(&r->inode.lock);
	return err;
}

static s64 ramfs_lseek(struct file *f, s64 off, int whence)
{
	struct ramfs_inode *r = ramfs_i(f->inode);
	const struct ramfs_data *d = &r->data;
	bool hole = whence == SEEK_HOLE;
	s64 pos = -ENXIO;
	u64 page;

	if (whence != SEEK_DATA && !hole)
		return file_seek_by_size(f, off, whence);
	mutex_lock(&r->inode.lock);
	if (off >= 0 && (u64)off < r->size) {
		page = page_seek(d->root, d->height, 0, (u64)off >> PAGE_SHIFT, hole);
		if (page == ~0ull && hole) // behind the tree
			page = span(d->height);
		if (page != ~0ull && page << PAGE_SHIFT < r->size)
			pos = max(off, (s64)(page << PAGE_SHIFT));
		else if (hole)
			pos = (s64)r->size;
	}
	mutex_unlock(&r->inode.lock);
	return pos;
}

static int ramfs_mmap(struct file *f, struct vm_object **out)
{
	*out = &ramfs_i(f->inode)->object;
	return 0;
}

const struct file_ops ramfs_file_ops = {
	.read = ramfs_read,
	.write = ramfs_write,
	.lseek = ramfs_lseek,
	.fallocate = ramfs_fallocate,
	.mmap = ramfs_mmap,
};

// ---- The object that is mapped ------------------------------------------------------------------

static struct ramfs_inode *of_object(struct vm_object *o)
{
	return container_of(o, struct ramfs_inode, object);
}

static int object_page(struct vm_object *o, u64 off, bool write, struct vm_page *out)
{
	struct ramfs_inode *r = of_object(o);
	bool fresh;
	u64 pa = 0;
	int err = 0;

	mutex_lock(&r->inode.lock);
	if (off >= ALIGN_UP(r->size, PAGE_SIZE))
		err = -ENXIO;
	else if (write)
		err = page_make(r, off >> PAGE_SHIFT, &pa, &fresh);
	else
		pa = page_find(&r->data, off >> PAGE_SHIFT);
	if (!err && pa)
		frame_get(PHYS(pa));
	if (!err && write)
		touch_modified(r);
	mutex_unlock(&r->inode.lock);
	*out = (struct vm_page){ .pa = PHYS(pa), .level = PT_PTE, .hole = !pa, .refcounted = pa };
	return err;
}

static u64 object_size(struct vm_object *o)
{
	return READ_ONCE(of_object(o)->size);
}

static void object_get(struct vm_object *o)
{
	inode_get(&of_object(o)->inode);
}

static void object_put(struct vm_object *o)
{
	inode_put(&of_object(o)->inode);
}

static void object_describe(struct vm_object *o, u64 *dev, u64 *ino, char *path, size_t path_bytes)
{
	inode_describe(&of_object(o)->inode, dev, ino, path, path_bytes);
}

const struct vm_object_ops ramfs_object_ops = {
	.describe = object_describe,
	.page = object_page,
	.size = object_size,
	.get = object_get,
	.put = object_put,
};
