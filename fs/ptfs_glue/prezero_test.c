// SPDX-License-Identifier: MIT
//
// In-kernel test of the thread that zeroes free blocks: it works while this one sleeps, what it
// zeroed is handed out as it is, and with a rate of 0 it does nothing.
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/sched/thread.h"
#include "drivers/nvdimm/region.h"
#include "mm/stat.h"

#define MS 1000000ull

static bool fill_and_remove(void)
{
	bool ok = true;

	for (unsigned i = 0; i < 16; i++)
		ok &= write_file(PLACE "/f", i * BUF, BUF, i);
	return ok && vfs_unlinkat(AT_FDCWD, PLACE "/f") == 0;
}

static u64 zeroed(void)
{
	return mm_stat_read(MM_STAT_zeroed_background) + mm_stat_read(MM_STAT_zeroed_found);
}

// False: still at work after 30 seconds.
static bool zeroing_ends(void)
{
	u64 last = zeroed();

	for (unsigned i = 0, still = 0; i < 300; i++) {
		u64 now = zeroed();

		still = now == last ? still + 1 : 0;
		if (still == 10)
			return true;
		last = now;
		thread_sleep_ns(100 * MS);
	}
	return false;
}

KTEST(ptfs_prezero)
{
	struct pmem_region *r;
	u64 before, ready;

	if (!test_fs_open(&r))
		return;
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "prezero=8192", 0), 0);
	before = mm_stat_read(MM_STAT_zeroed_background);
	EXPECT(fill_and_remove());
	EXPECT(zeroing_ends());
	EXPECT(mm_stat_read(MM_STAT_zeroed_background) - before > 0);
	ready = mm_stat_read(MM_STAT_zeroed_ready);
	EXPECT(write_file(PLACE "/part", 100, 8, 1)); // zeros around it
	EXPECT(mm_stat_read(MM_STAT_zeroed_ready) > ready);
	EXPECT(file_has(PLACE "/part", 100, 8, 1));

	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_mount(r->name, PLACE, "ptfs", "prezero=0", 0), 0);
	before = zeroed();
	EXPECT(fill_and_remove());
	thread_sleep_ns(1000 * MS);
	EXPECT_EQ(zeroed(), before);
	test_fs_close(r);
}
