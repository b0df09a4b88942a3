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

static bool region_is_blank(const struct pmem_region *r)
{
	const u64 *word = r->virt;

	if (!r->usable || r->read_only || r->in_use || r->len < MIB(16))
		return false;
	for (unsigned i = 0; i < PTFS_BLOCK / 8; i++)
		if (word[i])
			return false;
	return true;
}

static struct pmem_region *blank_region(void)
{
	for (unsigned i = 0; i < pmem_region_count(); i++)
		if (region_is_blank(pmem_region_get(i)))
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
	return EXPECT_EQ(vfs_mount((*r)->name, PLACE, "ptfs", "", false), 0);
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
