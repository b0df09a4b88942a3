// SPDX-License-Identifier: MIT
//
// In-kernel test of ptfs under several threads: files of their own, names in one directory, one
// file that all write, truncate and map. Afterwards all space is back and the image is sound.
#include "drivers/nvdimm/region.h"
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/lib/printf.h"
#include "kernel/sched/thread.h"
#include "mm/test_util.h"

#define THREADS 4u
#define ROUNDS  8u

static struct {
	u32 running; // atomic
	u32 failed;  // atomic
	struct wait_queue done;
} stress;

static void must(bool ok)
{
	if (!ok)
		__atomic_fetch_add(&stress.failed, 1, __ATOMIC_RELAXED);
}

// Make, grow past direct entries, rename over another, remove.
static void own_files(unsigned who, unsigned round)
{
	u64 seed = who * 1000 + round;
	char a[48], b[48];

	ksnprintf(a, sizeof(a), PLACE "/a%u", who);
	ksnprintf(b, sizeof(b), PLACE "/b%u", who);
	must(write_file(a, 0, 5000, seed));
	must(write_file(b, 0, KIB(40), seed + 1));
	must(file_has(a, 0, 5000, seed));
	must(!vfs_renameat(AT_FDCWD, a, AT_FDCWD, b, 0));
	must(file_has(b, 0, 5000, seed));
	must(write_file(b, MIB(2), KIB(20), seed + 2));
	must(file_has(b, MIB(2), KIB(20), seed + 2));
	must(!vfs_unlinkat(AT_FDCWD, b));
}

// All threads store to one file, through a mapping and by write(), while one of them truncates it.
static void shared_file(struct aspace *as, unsigned who, unsigned round)
{
	struct inode_attr a = { .size = KIB(16) * (1 + round % 5) };
	struct vm_object *o;
	struct file *f;
	u64 va, word;

	if (vfs_open(PLACE "/shared", O_RDWR | O_CREAT, 0644, &f)) {
		must(false);
		return;
	}
	must(!f->ops->mmap(f, &o));
	va = test_map_file(as, o, 0, KIB(256), PROT_READ | PROT_WRITE,
			   MAP_SHARED | (round % 2 ? MAP_DAXVM : 0));
	must(va);
	for (u64 off = 0; off < KIB(256) && va; off += KIB(20)) {
		must(file_write_kernel(f, &off, 8, off + 8 * who) == 8);
		(void)test_poke(va + off + 64 + 8 * who, off);
		word = test_peek(va + off + 8 * who);
		must(word == off || word == 0 || word == ~0ull);
		if (who == 0 && off % KIB(60) == 0)
			must(!f->inode->ops->setattr(f->inode, ATTR_SIZE, &a));
	}
	must(!va || !aspace_unmap(as, UVA(va), KIB(256)));
	file_put(f);
}

static void stress_thread(void *arg)
{
	unsigned who = (unsigned)(u64)arg;
	struct aspace *as = test_enter();

	must(as);
	for (unsigned round = 0; round < ROUNDS && as; round++) {
		own_files(who, round);
		shared_file(as, who, round);
	}
	if (as)
		test_leave(as);
	__atomic_fetch_sub(&stress.running, 1, __ATOMIC_RELEASE);
	wait_wake_all(&stress.done);
}

KTEST(ptfs_stress)
{
	struct statfs_info before, after;
	struct pmem_region *r;
	struct file *dir;

	if (!test_fs_open(&r))
		return;
	EXPECT_EQ(vfs_open(PLACE, O_RDONLY | O_DIRECTORY, 0, &dir), 0);
	EXPECT(write_file(PLACE "/first", 0, 1, 1)); // the directory's own first block
	EXPECT_EQ(vfs_unlinkat(AT_FDCWD, PLACE "/first"), 0);
	vfs_drop_caches();
	EXPECT_EQ(dir->inode->super->ops->statfs(dir->inode->super, &before), 0);
	wait_queue_init(&stress.done);
	stress.failed = 0;
	stress.running = THREADS;
	for (u64 i = 0; i < THREADS; i++)
		if (!thread_create("ptfs-stress", stress_thread, (void *)i))
			__atomic_fetch_sub(&stress.running, 1, __ATOMIC_RELEASE);
	wait_event(&stress.done, !__atomic_load_n(&stress.running, __ATOMIC_ACQUIRE));
	EXPECT_EQ(stress.failed, 0);
	EXPECT_EQ(vfs_unlinkat(AT_FDCWD, PLACE "/shared"), 0);
	vfs_drop_caches();
	EXPECT_EQ(dir->inode->super->ops->statfs(dir->inode->super, &after), 0);
	EXPECT_EQ(after.files - after.ffree, before.files - before.ffree);
	EXPECT_EQ(after.bfree, before.bfree);
	file_put(dir);
	test_fs_close(r);
}
