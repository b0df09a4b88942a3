// SPDX-License-Identifier: MIT
//
// In-kernel tests of ptfs files as objects of the VM: pages, tables, and whole mappings in an
// address space of the test's own.
#include "drivers/nvdimm/region.h"
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"
#include "mm/stat.h"
#include "mm/test_util.h"
#include "mm/uaccess.h"

// What the VM sees: pages, holes, the end of the file, and tables as they grow.
KTEST(ptfs_object_pages_and_tables)
{
	struct pmem_region *r;
	struct vm_object *o;
	struct vm_table table;
	struct vm_page page;
	struct file *f;

	if (!test_fs_open(&r))
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
	test_fs_close(r);
}

// Stores through the mapping are what read() gives, and the other way round.
static void store_and_load(struct test_mapped *m, u64 bytes)
{
	for (u64 off = 0; off + 8 <= bytes; off += 8 * 509)
		if (!EXPECT_EQ(test_peek(m->va + off), test_word_at(off)))
			break;
	for (u64 off = 0; off + 8 <= bytes; off += PAGE_SIZE) {
		u64 got = 0;

		EXPECT(test_poke(m->va + off, ~off));
		EXPECT_EQ(file_read_kernel(m->file, &got, 8, off), 8);
		EXPECT_EQ(got, ~off);
	}
}

KTEST(ptfs_map_plain)
{
	struct test_mapped m;

	if (!test_map_open(&m, KIB(200), MAP_SHARED))
		return;
	store_and_load(&m, KIB(200));
	test_map_close(&m);
}

KTEST(ptfs_map_attached)
{
	struct test_mapped m;

	if (!test_map_open(&m, KIB(200), MAP_SHARED | MAP_DAXVM))
		return;
	store_and_load(&m, KIB(200));
	test_map_close(&m);
}

KTEST(ptfs_map_attached_direct)
{
	struct test_mapped m;

	if (!test_map_open(&m, KIB(20), MAP_SHARED | MAP_DAXVM))
		return;
	store_and_load(&m, KIB(20));
	test_map_close(&m);
}

// Truncated under a mapping: no CPU reaches the freed blocks any more; grown again it shows zeros.
static void truncate_under(unsigned flags)
{
	struct test_mapped m;

	if (!test_map_open(&m, MIB(3), flags))
		return;
	EXPECT_EQ(test_peek(m.va + MIB(2) + 64), test_word_at(MIB(2) + 64));
	EXPECT_EQ(test_peek(m.va + KIB(64)), test_word_at(KIB(64)));
	EXPECT_EQ(test_resize(&m, KIB(64) + 100), 0);
	EXPECT_EQ(test_peek(m.va + MIB(2) + 64), ~0ull);
	EXPECT_EQ(test_peek(m.va + KIB(68)), ~0ull);
	EXPECT_EQ(test_peek(m.va + KIB(64)), test_word_at(KIB(64)));
	EXPECT_EQ(test_resize(&m, MIB(3)), 0);
	EXPECT_EQ(test_peek(m.va + MIB(2) + 64), 0);
	EXPECT_EQ(test_peek(m.va + KIB(64) + 104), 0);
	EXPECT(test_poke(m.va + MIB(2) + 64, 5));
	EXPECT_EQ(test_peek(m.va + MIB(2) + 64), 5);
	EXPECT_EQ(test_resize(&m, 0), 0);
	EXPECT_EQ(test_peek(m.va), ~0ull);
	EXPECT_EQ(test_resize(&m, KIB(4)), 0);
	EXPECT_EQ(test_peek(m.va), 0);
	test_map_close(&m);
}

KTEST(ptfs_truncate_under_plain_map)
{
	truncate_under(MAP_SHARED);
}

KTEST(ptfs_truncate_under_attached_map)
{
	truncate_under(MAP_SHARED | MAP_DAXVM);
}

// A hole that was read shows the zero page; write() fills the hole, and the mapping sees it.
KTEST(ptfs_hole_filled_behind_a_map)
{
	struct test_mapped m;

	if (!test_map_open(&m, KIB(100), MAP_SHARED))
		return;
	EXPECT_EQ(test_resize(&m, MIB(1)), 0);
	m.va = test_map_file(m.as, m.object, 0, MIB(1), PROT_READ, MAP_SHARED);
	EXPECT_EQ(test_peek(m.va + KIB(512)), 0);
	EXPECT(write_file(PLACE "/m", KIB(512), 64, 3));
	EXPECT(test_peek(m.va + KIB(512)) != 0);
	test_map_close(&m);
}

// write() whose source is a mapping of the same file, not present yet: the copy stops at each page,
// and its fault needs the locks that the copy held.
KTEST(ptfs_write_from_its_own_map)
{
	struct iov_iter it;
	struct test_mapped m;
	u64 pos = KIB(512), word = 0;

	if (!test_map_open(&m, KIB(200), MAP_SHARED))
		return;
	iov_init_user(&it, UVA(m.va + 1), KIB(199));
	EXPECT_EQ(m.file->ops->write(m.file, &it, &pos), KIB(199));
	EXPECT_EQ(pos, KIB(711));
	EXPECT_EQ(file_read_kernel(m.file, &word, 8, KIB(512) + KIB(64) - 1), 8);
	EXPECT_EQ(word, test_word_at(KIB(64)));

	// And read() into it.
	pos = KIB(512);
	iov_init_user(&it, UVA(m.va), KIB(100));
	EXPECT_EQ(m.file->ops->read(m.file, &it, &pos), KIB(100));
	EXPECT_EQ(test_peek(m.va + KIB(64) - 1), test_word_at(KIB(64)));
	// A bad address in the middle: what came before it counts.
	pos = 0;
	iov_init_user(&it, UVA(m.va + KIB(196)), KIB(8));
	EXPECT_EQ(m.file->ops->write(m.file, &it, &pos), KIB(4));
	iov_init_user(&it, UVA(64), KIB(8));
	EXPECT_EQ(m.file->ops->write(m.file, &it, &pos), -EFAULT);
	test_map_close(&m);
}

// The last page of a mapping can be stored to behind the end of the file. That is in no file: when
// the file grows there are zeros, whatever makes it grow.
KTEST(ptfs_grows_over_what_is_behind_its_end)
{
	struct test_mapped m;
	u64 end = KIB(60) + 64, word = 1;

	if (!test_map_open(&m, KIB(64), MAP_SHARED | MAP_DAXVM))
		return;
	for (int how = 0; how < 3; how++) {
		EXPECT_EQ(test_resize(&m, end), 0);
		EXPECT_EQ(test_peek(m.va + end), 0);
		EXPECT(test_poke(m.va + end + 8, 4711));
		EXPECT_EQ(test_peek(m.va + end + 8), 4711);
		if (how == 0)
			EXPECT_EQ(test_resize(&m, KIB(64)), 0);
		else if (how == 1)
			EXPECT_EQ(m.file->ops->fallocate(m.file, 0, 0, KIB(64)), 0);
		else
			EXPECT_EQ(file_write_kernel(m.file, &word, 8, end + 64), 8);
		EXPECT_EQ(test_peek(m.va + end + 8), 0);
		EXPECT_EQ(test_peek(m.va + end - 64), test_word_at(KIB(60)));
	}
	test_map_close(&m);
}

// After a mount no table is verified yet: the first mapping goes through what is made ready on the
// way, the thread readies the rest, and then the file attaches as a whole.
KTEST(ptfs_map_after_remount)
{
	struct vm_table table = { .kind = VM_TABLE_NONE };
	struct test_mapped m;

	if (!test_map_open(&m, MIB(9), MAP_SHARED | MAP_DAXVM))
		return;
	EXPECT_EQ(aspace_unmap(m.as, UVA(m.va), MIB(9)), 0);
	file_put(m.file);
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(vfs_mount(m.region->name, PLACE, "ptfs", "", 0), 0);
	EXPECT_EQ(vfs_open(PLACE "/m", O_RDWR, 0, &m.file), 0);
	EXPECT_EQ(m.file->ops->mmap(m.file, &m.object), 0);
	m.va = test_map_file(m.as, m.object, 0, MIB(9), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_DAXVM);
	store_and_load(&m, MIB(9));
	for (unsigned tries = 0; tries < 200 && table.kind == VM_TABLE_NONE; tries++) {
		thread_sleep_ns(1000000);
		rwlock_read_lock(&m.object->map_lock);
		EXPECT_EQ(m.object->ops->table(m.object, 0, PT_PUD, &table), 0);
		rwlock_read_unlock(&m.object->map_lock);
	}
	EXPECT_EQ(table.kind, VM_TABLE_ENTRY);
	EXPECT_EQ(table.level, PT_PUD);
	test_map_close(&m);
}

// Stores that nobody has synced yet move with their blocks: the chunk that they are in now is
// dirty, and the next sync writes it back. One that only knew the old chunk would miss them.
KTEST(ptfs_collapse_moves_what_is_dirty)
{
	struct test_mapped m;
	u64 lines;

	if (!test_map_open(&m, MIB(8), MAP_SHARED | MAP_DAXVM))
		return;
	EXPECT(test_poke(m.va + MIB(6) + 64, 4711));
	EXPECT(vm_dirty_any(m.object, MIB(6), MIB(2)));
	EXPECT(!vm_dirty_any(m.object, 0, MIB(6)));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_COLLAPSE_RANGE, MIB(2), MIB(2)), 0);
	EXPECT_EQ(test_peek(m.va + MIB(4) + 64), 4711);
	EXPECT(vm_dirty_any(m.object, MIB(4), MIB(2)));
	EXPECT(!vm_dirty_any(m.object, 0, MIB(2)));
	lines = mm_stat_read(MM_STAT_dirty_lines);
	EXPECT_EQ(vm_sync(m.object), 0);
	EXPECT(mm_stat_read(MM_STAT_dirty_lines) - lines >= MIB(4) / 64);
	EXPECT(!vm_dirty_any(m.object, 0, ~0ull));
	test_map_close(&m);
}

// And of a file whose direct entries were copied into mappings of both kinds: each shows what is
// there now, and nothing behind the new end.
KTEST(ptfs_collapse_of_a_small_file)
{
	const unsigned ephemeral = MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL;
	struct test_mapped m;
	u64 at[2];

	if (!test_map_open(&m, KIB(20), MAP_SHARED | MAP_DAXVM))
		return;
	at[0] = m.va;
	at[1] = test_map_file(m.as, m.object, 0, KIB(20), PROT_READ, ephemeral);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(test_peek(at[i] + KIB(16)), test_word_at(KIB(16)));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_COLLAPSE_RANGE, KIB(4), KIB(8)), 0);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(test_peek(at[i]), test_word_at(0));
		EXPECT_EQ(test_peek(at[i] + KIB(4)), test_word_at(KIB(12)));
		EXPECT_EQ(test_peek(at[i] + KIB(8)), test_word_at(KIB(16)));
		EXPECT_EQ(test_peek(at[i] + KIB(12)), ~0ull);
	}
	test_map_close(&m);
}

// A file that is let go with dirty chunks is written back first.
KTEST(ptfs_unmount_writes_back)
{
	struct test_mapped m;
	u64 lines;

	if (!test_map_open(&m, MIB(3), MAP_SHARED | MAP_DAXVM))
		return;
	EXPECT(test_poke(m.va + MIB(2) + 64, 1));
	file_put(m.file);
	test_leave(m.as);
	m.file = NULL;
	m.as = NULL;
	lines = mm_stat_read(MM_STAT_dirty_lines);
	EXPECT_EQ(vfs_unmount(PLACE), 0);
	EXPECT_EQ(mm_stat_read(MM_STAT_dirty_lines) - lines, PMD_SIZE / 64);
	EXPECT_EQ(vfs_mount(m.region->name, PLACE, "ptfs", "", 0), 0);
	test_map_close(&m);
}

// A store is a change of the file: its times say so at once, not only when it is synced.
KTEST(ptfs_store_changes_the_times)
{
	struct inode_attr before, after;
	struct test_mapped m;

	if (!test_map_open(&m, MIB(1), MAP_SHARED | MAP_DAXVM))
		return;
	thread_sleep_ns(20000000);
	EXPECT_EQ(m.file->inode->ops->getattr(m.file->inode, &before), 0);
	EXPECT(test_poke(m.va + 64, 1));
	EXPECT_EQ(m.file->inode->ops->getattr(m.file->inode, &after), 0);
	EXPECT(after.mtime_ns > before.mtime_ns && after.ctime_ns > before.ctime_ns);
	test_map_close(&m);
}

static u64 blocks_free(struct file *f)
{
	struct statfs_info st = { .bfree = ~0ull };

	EXPECT_EQ(f->inode->super->ops->statfs(f->inode->super, &st), 0);
	return st.bfree;
}

// No space left: write() stops short and then says so, a store to a hole of a mapping has no block
// to go to, what is there can be read, and all of it comes back.
KTEST(ptfs_full)
{
	struct vm_page page;
	struct test_mapped m;
	u64 before, size = KIB(64);
	u8 *buf;
	ssize n;

	if (!test_map_open(&m, KIB(64), MAP_SHARED))
		return;
	before = blocks_free(m.file);
	buf = kzalloc(BUF);
	while ((n = file_write_kernel(m.file, buf, BUF, size)) > 0)
		size += (u64)n;
	EXPECT_EQ(n, -ENOSPC);
	EXPECT(size > m.region->len / 2);
	EXPECT_EQ(test_resize(&m, size + MIB(4)), 0);
	rwlock_read_lock(&m.object->map_lock);
	EXPECT_EQ(m.object->ops->page(m.object, ALIGN_UP(size, PAGE_SIZE) + MIB(2), true, &page),
		  -ENOSPC);
	EXPECT_EQ(m.object->ops->page(m.object, ALIGN_UP(size, PAGE_SIZE) + MIB(2), false, &page),
		  0);
	EXPECT(page.hole);
	rwlock_read_unlock(&m.object->map_lock);
	EXPECT_EQ(test_peek(m.va + KIB(32)), test_word_at(KIB(32)));
	EXPECT_EQ(test_resize(&m, KIB(64)), 0);
	EXPECT_EQ(blocks_free(m.file), before);
	EXPECT_EQ(test_peek(m.va + KIB(32)), test_word_at(KIB(32)));
	kfree(buf);
	test_map_close(&m);
}
