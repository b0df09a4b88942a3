// SPDX-License-Identifier: MIT
//
// In-kernel tests of ptfs below the VFS and the VM. They need a region that may be used up: one
// whose first block is all zeros (a fresh DIMM, or one carved from RAM). It is left like that.
#include "drivers/nvdimm/pmem.h"
#include "drivers/nvdimm/region.h"
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "kernel/console.h"
#include "kernel/ktest.h"
#include "kernel/lib/printf.h"
#include "mm/heap.h"

#define PLACE "/tmp/ptfs-test"
#define BUF   KIB(64)

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

// Formats the region and mounts it at PLACE.
static bool open_fs(struct pmem_region **r)
{
	const struct ptfs_format_options o = { .label = "ktest" };

	*r = blank_region();
	if (!*r)
		return false;
	const struct ptfs_region region = { (*r)->virt, (*r)->base, (*r)->len, false };

	if (!EXPECT_EQ(ptfs_format(&region, &o), 0))
		return false;
	if (!EXPECT_EQ(vfs_mkdirat(AT_FDCWD, PLACE, 0755), 0))
		return false;
	return EXPECT_EQ(vfs_mount((*r)->name, PLACE, "ptfs", "", false), 0);
}

static void close_fs(struct pmem_region *r)
{
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_rmdirat(AT_FDCWD, PLACE), 0);
	pmem_memset_nt(r->base, 0, PTFS_BLOCK);
	pmem_fence();
	vfs_drop_caches();
}

static void fill(u8 *buf, size_t bytes, u64 seed)
{
	for (size_t i = 0; i < bytes; i++)
		buf[i] = (u8)(seed * 31 + i + i / 251);
}

static bool write_file(const char *path, u64 off, size_t bytes, u64 seed)
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

static bool file_has(const char *path, u64 off, size_t bytes, u64 seed)
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

static u64 size_of(const char *path)
{
	struct inode_attr a = { .size = ~0ull };
	struct file *f;

	if (vfs_open(path, O_RDONLY, 0, &f))
		return ~0ull;
	EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
	file_put(f);
	return a.size;
}

// Sizes on both sides of the direct entries, of a PTE page and of a PMD page (sparse).
KTEST(ptfs_write_remount_read)
{
	static const struct {
		const char *path;
		u64 off;
		size_t bytes;
	} files[] = {
		{ PLACE "/empty", 0, 0 },
		{ PLACE "/small", 0, 100 },
		{ PLACE "/direct", 0, KIB(32) },
		{ PLACE "/table", 0, KIB(32) + 1 },
		{ PLACE "/sparse", MIB(2) - 7, 4000 },
		{ PLACE "/far", GIB(1) - 5, 10 },
		{ PLACE "/farther", GIB(511), 3 },
	};
	struct pmem_region *r;

	if (!open_fs(&r))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		EXPECT(write_file(files[i].path, files[i].off, files[i].bytes, i));
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
			EXPECT(file_has(files[i].path, files[i].off, files[i].bytes, i));
			EXPECT_EQ(size_of(files[i].path),
				  files[i].bytes ? files[i].off + files[i].bytes : 0);
		}
		EXPECT_EQ(vfs_unmount(PLACE), 0);
		EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "", false), 0);
	}
	close_fs(r);
}

// An unlinked file lives as long as it is open, and keeps its file system mounted.
KTEST(ptfs_unlinked_but_open)
{
	struct pmem_region *r;
	struct statfs_info before, after;
	struct inode *root;
	struct file *f, *dir;
	u8 byte = 0;

	if (!open_fs(&r))
		return;
	EXPECT_EQ(vfs_open(PLACE, O_RDONLY | O_DIRECTORY, 0, &dir), 0);
	root = dir->inode;
	EXPECT_EQ(root->super->ops->statfs(root->super, &before), 0);
	EXPECT(write_file(PLACE "/gone", 0, KIB(48), 7));
	EXPECT_EQ(vfs_open(PLACE "/gone", O_RDWR, 0, &f), 0);
	EXPECT_EQ(vfs_unlinkat(AT_FDCWD, PLACE "/gone"), 0);
	EXPECT_EQ(f->inode->nlink, 0);
	EXPECT_EQ(size_of(PLACE "/gone"), ~0ull);
	EXPECT_EQ(vfs_unmount(PLACE), -EBUSY);
	EXPECT_EQ(file_write_kernel(f, "x", 1, KIB(100)), 1);
	EXPECT_EQ(file_read_kernel(f, &byte, 1, KIB(100)), 1);
	EXPECT_EQ(byte, 'x');
	file_put(f);
	vfs_drop_caches();
	EXPECT_EQ(root->super->ops->statfs(root->super, &after), 0);
	EXPECT_EQ(after.bfree, before.bfree);
	file_put(dir);
	close_fs(r);
}

// What the VM sees: pages, holes, the end of the file, and tables as they grow.
KTEST(ptfs_object_pages_and_tables)
{
	struct pmem_region *r;
	struct vm_object *o;
	struct vm_table table;
	struct vm_page page;
	struct file *f;

	if (!open_fs(&r))
		return;
	EXPECT(write_file(PLACE "/map", 0, KIB(5), 1));
	EXPECT_EQ(vfs_open(PLACE "/map", O_RDWR, 0, &f), 0);
	EXPECT_EQ(f->ops->mmap(f, &o), 0);
	EXPECT_EQ(o->ops->size(o), KIB(5));
	rwlock_read_lock(&o->map_lock);
	EXPECT_EQ(o->ops->page(o, 0, false, &page), 0);
	EXPECT(!page.hole && page.level == PT_PTE && page.pa.pa >= r->base.pa);
	EXPECT_EQ(o->ops->page(o, KIB(8), true, &page), -ENXIO);
	EXPECT_EQ(o->ops->table(o, 0, PT_PML4, &table), 0);
	EXPECT_EQ(table.kind, VM_TABLE_DIRECT);
	EXPECT(pte_present(table.direct[0]) && pte_present(table.direct[1]));
	EXPECT(pte_is_none(table.direct[2]));
	rwlock_read_unlock(&o->map_lock);

	EXPECT(write_file(PLACE "/map", MIB(3), 1, 2));
	rwlock_read_lock(&o->map_lock);
	EXPECT_EQ(o->ops->table(o, 0, PT_PML4, &table), 0);
	EXPECT(table.kind == VM_TABLE_ENTRY && table.level == PT_PUD);
	EXPECT_EQ(o->ops->table(o, MIB(3), PT_PMD, &table), 0);
	EXPECT(table.kind == VM_TABLE_ENTRY && table.level == PT_PMD);
	EXPECT_EQ(o->ops->page(o, MIB(1), false, &page), 0);
	EXPECT(page.hole);
	EXPECT_EQ(o->ops->page(o, MIB(1), true, &page), 0);
	EXPECT(!page.hole);
	rwlock_read_unlock(&o->map_lock);
	o->ops->get(o);
	file_put(f);
	EXPECT_EQ(vfs_unmount(PLACE), -EBUSY);
	o->ops->put(o);
	close_fs(r);
}

KTEST(ptfs_mount_options)
{
	struct pmem_region *r;
	char addr[32];

	if (!open_fs(&r))
		return;
	EXPECT_EQ(vfs_mount(r->name, "/tmp", "ptfs", "", false), -EBUSY);
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_mount("pmem99", PLACE, "ptfs", "", false), -ENODEV);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "addr=0x1000", false), -EINVAL);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "what", false), -EINVAL);
	ksnprintf(addr, sizeof(addr), "ro,addr=0x%llx", (unsigned long long)r->base.pa);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", addr, false), 0);
	EXPECT(!write_file(PLACE "/no", 0, 1, 1));
	close_fs(r);
}
