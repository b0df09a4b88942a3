// SPDX-License-Identifier: MIT
//
// What: the helpers of glue_test.h.
#include "drivers/nvdimm/pmem.h"
#include "drivers/nvdimm/region.h"
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/console.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"
#include "mm/test_util.h"

static struct pmem_region *blank_region(void)
{
	for (unsigned i = 0; i < pmem_region_count(); i++)
		if (glue_region_is_blank(pmem_region_get(i)))
			return pmem_region_get(i);
	log_info("ptfs test: no blank region, nothing tested");
	return NULL;
}

bool test_fs_open(struct pmem_region **r)
{
	const struct ptfs_format_options o = { .label = "ktest" };

	*r = blank_region();
	if (!*r)
		return false;
	const struct ptfs_region region = { (*r)->virt, (*r)->base, (*r)->len, false };

	if (!EXPECT_EQ(ptfs_format(&region, &o), 0))
		return false;
	return EXPECT_EQ(vfs_mount((*r)->name, PLACE, "ptfs", "", 0), 0);
}

void test_fs_close(struct pmem_region *r)
{
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	pmem_memset_nt(r->base, 0, PTFS_BLOCK);
	pmem_fence();
	vfs_drop_caches();
	// The thread that readied tables gives its memory back after it has ended.
	thread_sleep_ns(10000000);
}

static void fill(u8 *buf, size_t bytes, u64 seed)
{
	for (size_t i = 0; i < bytes; i++)
		buf[i] = (u8)(seed * 31 + i + i / 251);
}

bool write_file(const char *path, u64 off, size_t bytes, u64 seed)
{
	u8 *buf = kmalloc(BUF);
	struct file *f;
	ssize n = -1;

	if (buf && !vfs_open(path, O_RDWR | O_CREAT, 0644, &f)) {
		fill(buf, bytes, seed);
		n = file_write_kernel(f, buf, bytes, off);
		file_put(f);
	}
	kfree(buf);
	return n == (ssize)bytes;
}

bool file_has(const char *path, u64 off, size_t bytes, u64 seed)
{
	u8 *buf = kmalloc(2 * BUF);
	struct file *f;
	bool same = false;

	if (buf && !vfs_open(path, O_RDONLY, 0, &f)) {
		fill(buf + BUF, bytes, seed);
		same = file_read_kernel(f, buf, bytes, off) == (ssize)bytes &&
		       memcmp(buf, buf + BUF, bytes) == 0;
		file_put(f);
	}
	kfree(buf);
	return same;
}

u64 size_of(const char *path)
{
	struct inode_attr a = { .size = ~0ull };
	struct file *f;

	if (vfs_open(path, O_RDONLY, 0, &f))
		return ~0ull;
	EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
	file_put(f);
	return a.size;
}

bool test_map_open(struct test_mapped *m, u64 bytes, unsigned flags)
{
	*m = (struct test_mapped){ 0 };
	if (!test_fs_open(&m->region))
		return false;
	m->as = test_enter();
	for (u64 off = 0; off < bytes; off += BUF)
		EXPECT(write_file(PLACE "/m", off, min(bytes - off, BUF), off));
	if (EXPECT(m->as) && EXPECT_EQ(vfs_open(PLACE "/m", O_RDWR, 0, &m->file), 0) &&
	    EXPECT_EQ(m->file->ops->mmap(m->file, &m->object), 0))
		m->va = test_map_file(m->as, m->object, 0, bytes, PROT_READ | PROT_WRITE, flags);
	EXPECT(m->va);
	return true;
}

void test_map_close(struct test_mapped *m)
{
	if (m->file)
		file_put(m->file);
	if (m->as)
		test_leave(m->as);
	test_fs_close(m->region);
}

int test_resize(struct test_mapped *m, u64 bytes)
{
	const struct inode_attr a = { .size = bytes };

	return m->file->inode->ops->setattr(m->file->inode, ATTR_SIZE, &a);
}

u64 test_word_at(u64 off)
{
	u8 bytes[8];
	u64 word;

	for (unsigned i = 0; i < 8; i++) {
		u64 at = off % BUF + i;

		bytes[i] = (u8)((off - off % BUF) * 31 + at + at / 251);
	}
	memcpy(&word, bytes, 8);
	return word;
}
