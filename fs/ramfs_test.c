// SPDX-License-Identifier: MIT
//
// Tests of files in RAM: holes, growth, truncation, punching, the object that is mapped.
#include "fs/file.h"
#include "fs/namei.h"
#include "fs/ramfs.h"
#include "kernel/ktest.h"
#include "kernel/lib/string.h"
#include "mm/arena.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/test_util.h"

#define AT AT_FDCWD

static struct file *open_new(const char *path)
{
	struct file *f;

	return EXPECT_EQ(vfs_open(path, O_CREAT | O_EXCL | O_RDWR, 0644, &f), 0) ? f : NULL;
}

static void drop(struct file *f, const char *path)
{
	file_put(f);
	EXPECT_EQ(vfs_unlinkat(AT, path), 0);
	vfs_drop_caches();
}

static u64 blocks_of(struct file *f)
{
	struct inode_attr a;

	EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
	return a.blocks;
}

static u64 size_of(struct file *f)
{
	struct inode_attr a;

	EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
	return a.size;
}

// All of [off, off + len) reads as `byte`.
static bool all_are(struct file *f, u64 off, size_t len, u8 byte)
{
	u8 buf[256];

	while (len) {
		size_t n = min(len, sizeof(buf));

		if (file_read_kernel(f, buf, n, off) != (ssize)n)
			return false;
		for (size_t k = 0; k < n; k++)
			if (buf[k] != byte)
				return false;
		off += n;
		len -= n;
	}
	return true;
}

KTEST(ramfs_sparse_file)
{
	struct file *f = open_new("/sparse");
	const u64 far = GIB(3) + 5;

	if (!f)
		return;
	EXPECT_EQ(file_write_kernel(f, "end", 3, far), 3);
	EXPECT_EQ(size_of(f), far + 3);
	EXPECT_EQ(blocks_of(f), 8); // one page
	EXPECT(all_are(f, 0, 9000, 0));
	EXPECT(all_are(f, far - 5000, 5000, 0));
	EXPECT_EQ(file_write_kernel(f, "x", 1, MIB(2) - 1), 1);
	EXPECT_EQ(file_write_kernel(f, "y", 1, MIB(2)), 1);
	EXPECT(all_are(f, MIB(2) - 1, 1, 'x'));
	EXPECT(all_are(f, MIB(2), 1, 'y'));
	EXPECT_EQ(file_write_kernel(f, "x", 1, GIB(512)), -EFBIG);
	EXPECT_EQ(file_truncate(f, (s64)GIB(512) + 1), -EFBIG);
	drop(f, "/sparse");
}

KTEST(ramfs_truncate_exposes_zeros)
{
	struct file *f = open_new("/trunc");
	u8 *page = kmalloc(PAGE_SIZE);

	if (!f || !EXPECT(page != NULL))
		return;
	memset(page, 0xee, PAGE_SIZE);
	for (u64 k = 0; k < 5; k++)
		EXPECT_EQ(file_write_kernel(f, page, PAGE_SIZE, k * PAGE_SIZE), PAGE_SIZE);
	EXPECT_EQ(blocks_of(f), 40);
	EXPECT_EQ(file_truncate(f, PAGE_SIZE + 100), 0);
	EXPECT_EQ(blocks_of(f), 16);
	EXPECT_EQ(file_read_kernel(f, page, PAGE_SIZE, PAGE_SIZE), 100);
	EXPECT_EQ(file_truncate(f, 3 * PAGE_SIZE), 0);
	EXPECT(all_are(f, PAGE_SIZE, 100, 0xee));
	EXPECT(all_are(f, PAGE_SIZE + 100, 2 * PAGE_SIZE - 100, 0));
	EXPECT_EQ(file_truncate(f, 0), 0);
	EXPECT_EQ(blocks_of(f), 0);
	EXPECT_EQ(file_truncate(f, 10), 0);
	EXPECT(all_are(f, 0, 10, 0));
	kfree(page);
	drop(f, "/trunc");
}

// Found: a tree that is one page only lost it whenever the file was shortened, however little.
KTEST(ramfs_truncate_within_the_only_page)
{
	struct file *f = open_new("/one");

	if (!f)
		return;
	EXPECT_EQ(file_write_kernel(f, "0123456789", 10, 0), 10);
	EXPECT_EQ(file_truncate(f, 5), 0);
	EXPECT_EQ(blocks_of(f), 8);
	EXPECT(all_are(f, 4, 1, '4'));
	EXPECT_EQ(file_truncate(f, 10), 0);
	EXPECT(all_are(f, 5, 5, 0));
	drop(f, "/one");
}

KTEST(ramfs_punch_and_allocate)
{
	struct file *f = open_new("/punch");
	u8 *page = kmalloc(PAGE_SIZE);

	if (!f || !EXPECT(page != NULL))
		return;
	memset(page, 0xab, PAGE_SIZE);
	EXPECT_EQ(file_fallocate(f, 0, 0, 4 * PAGE_SIZE), 0);
	EXPECT_EQ(size_of(f), 4 * PAGE_SIZE);
	EXPECT_EQ(blocks_of(f), 32);
	EXPECT_EQ(file_fallocate(f, FALLOC_FL_KEEP_SIZE, 4 * PAGE_SIZE, PAGE_SIZE), 0);
	EXPECT_EQ(size_of(f), 4 * PAGE_SIZE);
	EXPECT_EQ(blocks_of(f), 40);
	for (u64 k = 0; k < 4; k++)
		EXPECT_EQ(file_write_kernel(f, page, PAGE_SIZE, k * PAGE_SIZE), PAGE_SIZE);
	EXPECT_EQ(file_fallocate(f, FALLOC_FL_PUNCH_HOLE, 0, 1), -EOPNOTSUPP);
	EXPECT_EQ(file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE_SIZE - 10,
				 PAGE_SIZE + 20),
		  0);
	EXPECT_EQ(blocks_of(f), 32);
	EXPECT(all_are(f, 0, PAGE_SIZE - 10, 0xab));
	EXPECT(all_are(f, PAGE_SIZE - 10, PAGE_SIZE + 20, 0));
	EXPECT(all_are(f, 2 * PAGE_SIZE + 10, 2 * PAGE_SIZE - 10, 0xab));
	EXPECT_EQ(file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10, 20), 0);
	EXPECT(all_are(f, 9, 1, 0xab));
	EXPECT(all_are(f, 10, 20, 0));
	EXPECT(all_are(f, 30, 1, 0xab));
	EXPECT_EQ(file_fallocate(f, 0, 0, 0), -EINVAL);
	kfree(page);
	drop(f, "/punch");
}

// What a mapping stores behind the end of the file must not come out when the file grows (I1 of
// fs/ramfs_data.c).
KTEST(ramfs_mapped_tail_is_zeroed)
{
	struct file *f = open_new("/tail");
	struct vm_object *o;
	struct vm_page page;

	if (!f)
		return;
	EXPECT_EQ(file_write_kernel(f, "abc", 3, 0), 3);
	if (EXPECT_EQ(f->ops->mmap(f, &o), 0)) {
		rwlock_read_lock(&o->map_lock);
		EXPECT_EQ(o->ops->page(o, PAGE_SIZE, true, &page), -ENXIO);
		if (EXPECT_EQ(o->ops->page(o, 0, true, &page), 0)) {
			memset((u8 *)phys_to_virt(page.pa) + 3, 0x77, 100);
			EXPECT(page.refcounted);
			frame_put(page.pa);
		}
		rwlock_read_unlock(&o->map_lock);
	}
	EXPECT_EQ(file_truncate(f, 50), 0);
	EXPECT(all_are(f, 3, 47, 0));
	drop(f, "/tail");
}

// Files without tables of their own: what asks for them to be attached is plain mmap.
KTEST(ramfs_maps_as_if_nobody_had_asked)
{
	static const unsigned asks[] = {
		MAP_SHARED | MAP_DAXVM,
		MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL,
		MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING,
		MAP_SHARED | MAP_DAXVM | MAP_DAXVM_NOSYNC,
		MAP_PRIVATE | MAP_DAXVM,
	};
	struct file *f = open_new("/plain");
	struct aspace *as = test_enter();
	struct vm_object *o;
	u64 word = 4711, at;

	if (!f || !as)
		return;
	EXPECT_EQ(file_write_kernel(f, &word, 8, PAGE_SIZE), 8);
	EXPECT_EQ(f->ops->mmap(f, &o), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
		at = test_map_file(as, o, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, asks[i]);
		if (!EXPECT(at))
			break;
		EXPECT(!arena_overlaps(as, at, at + 1));
		EXPECT_EQ(test_peek(at + PAGE_SIZE), 4711);
		EXPECT(test_poke(at, i));
		EXPECT_EQ(aspace_unmap(as, UVA(at), PAGE_SIZE), 0); // of a part
		EXPECT_EQ(test_peek(at), ~0ull);
		EXPECT_EQ(test_peek(at + PAGE_SIZE), 4711);
		EXPECT_EQ(aspace_unmap(as, UVA(at + PAGE_SIZE), PAGE_SIZE), 0);
	}
	test_leave(as);
	EXPECT_EQ(file_read_kernel(f, &word, 8, 0), 8);
	EXPECT_EQ(word, 3); // the last one that was shared
	drop(f, "/plain");
}

KTEST(ramfs_append)
{
	struct file *f;
	struct iov_iter it;

	if (!EXPECT_EQ(vfs_open("/app", O_CREAT | O_RDWR | O_APPEND, 0644, &f), 0))
		return;
	for (unsigned k = 0; k < 3; k++) {
		iov_init_kernel(&it, "0123456789", 10);
		EXPECT_EQ(file_lseek(f, 0, SEEK_SET), 0);
		EXPECT_EQ(file_write(f, &it), 10);
		EXPECT_EQ(file_lseek(f, 0, SEEK_CUR), 10 * (k + 1));
	}
	EXPECT_EQ(size_of(f), 30);
	EXPECT_EQ(file_lseek(f, 0, SEEK_END), 30);
	EXPECT_EQ(file_lseek(f, 5, SEEK_DATA), 5);
	EXPECT_EQ(file_lseek(f, 5, SEEK_HOLE), 30);
	EXPECT_EQ(file_lseek(f, 30, SEEK_DATA), -ENXIO);
	EXPECT_EQ(file_lseek(f, -1, SEEK_SET), -EINVAL);
	EXPECT_EQ(file_lseek(f, 0, 9), -EINVAL);
	drop(f, "/app");
}
