// SPDX-License-Identifier: MIT
//
// In-kernel tests of ptfs below the VFS: files, names, lifetimes, mounting. Below the VM:
// mapping_test.c.
#include "drivers/nvdimm/pmem.h"
#include "drivers/nvdimm/region.h"
#include "fs/namei.h"
#include "fs/ptfs/ptfs_internal.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/lib/printf.h"

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

	if (!test_fs_open(&r))
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
		EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "", 0), 0);
	}
	test_fs_close(r);
}

// An unlinked file lives as long as it is open, and keeps its file system mounted.
KTEST(ptfs_unlinked_but_open)
{
	struct pmem_region *r;
	struct statfs_info before, after;
	struct inode *root;
	struct file *f, *dir;
	u8 byte = 0;

	if (!test_fs_open(&r))
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
	test_fs_close(r);
}

KTEST(ptfs_mount_options)
{
	struct pmem_region *r;
	char addr[32];

	if (!test_fs_open(&r))
		return;
	EXPECT_EQ(vfs_mount(r->name, "/dev", "ptfs", "", 0), -EBUSY);
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_mount("pmem99", PLACE, "ptfs", "", 0), -ENODEV);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "addr=0x1000", 0), -EINVAL);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "what", 0), -EINVAL);
	ksnprintf(addr, sizeof(addr), "ro,addr=0x%llx", (unsigned long long)r->base.pa);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", addr, 0), 0);
	EXPECT(!write_file(PLACE "/no", 0, 1, 1));
	test_fs_close(r);
}

// Where the record of `name` in the root says which inode it names.
static phys_t ino_word(struct pmem_region *r, struct inode *root, const char *name)
{
	struct ptfs_dir_slot slot;
	u64 ino;

	mutex_lock(&root->lock);
	EXPECT_EQ(ptfs_dir_find(glue_ip(root), name, strlen(name), &slot, &ino), 0);
	mutex_unlock(&root->lock);
	return PHYS(r->base.pa + slot.off + offsetof(struct ptfs_dirent, ino));
}

// An image in which one directory has two names, a and b. Each name was a dentry of its own, so the
// directory's lock had two places in the order of locks: rename("a/x", "b/y") took it twice, and
// never came back. Now the second name is refused while the first is known.
KTEST(ptfs_directory_with_two_names)
{
	struct pmem_region *r;
	struct inode *root;
	struct file *dir, *a;
	phys_t word;

	if (!test_fs_open(&r))
		return;
	EXPECT_EQ(vfs_mkdirat(AT_FDCWD, PLACE "/a", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT_FDCWD, PLACE "/b", 0755), 0);
	EXPECT(write_file(PLACE "/a/x", 0, 10, 1));
	EXPECT_EQ(vfs_open(PLACE, O_RDONLY | O_DIRECTORY, 0, &dir), 0);
	root = dir->inode;
	word = ino_word(r, root, "b");
	EXPECT_EQ(vfs_open(PLACE "/a", O_RDONLY | O_DIRECTORY, 0, &a), 0);
	pmem_store8(word, a->inode->ino);
	pmem_flush(word, 8);
	pmem_fence();
	file_put(a);
	file_put(dir);
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "", 0), 0);
	EXPECT(file_has(PLACE "/a/x", 0, 10, 1));
	EXPECT_EQ(vfs_renameat(AT_FDCWD, PLACE "/a/x", AT_FDCWD, PLACE "/b/y", 0), -EUCLEAN);
	EXPECT_EQ(vfs_renameat(AT_FDCWD, PLACE "/a", AT_FDCWD, PLACE "/b/y", 0), -EUCLEAN);
	EXPECT_EQ(vfs_rmdirat(AT_FDCWD, PLACE "/b"), -EUCLEAN);
	EXPECT(file_has(PLACE "/a/x", 0, 10, 1));
	EXPECT_EQ(vfs_renameat(AT_FDCWD, PLACE "/a/x", AT_FDCWD, PLACE "/a/y", 0), 0);
	EXPECT_EQ(vfs_unlinkat(AT_FDCWD, PLACE "/a/y"), 0);
	test_fs_close(r);
}
