// SPDX-License-Identifier: MIT
//
// In-kernel tests of the thread that looks after copies of tables (mm/shadow_thread.c): what it
// gives back, and what it must not touch any more. Where a moment matters, the lock of a copy is
// held, so that the thread stands still in the midst of its round.
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/sched/thread.h"
#include "mm/frame.h"
#include "mm/shadow_internal.h"
#include "mm/stat.h"
#include "mm/test_util.h"

static char mode_before[16];
static u32 running; // threads of a test [atomic]

// A file that is mapped through its copy.
static bool open_copied(struct test_mapped *m, u64 bytes)
{
	strlcpy(mode_before, shadow_mode_name(), sizeof(mode_before));
	EXPECT_EQ(shadow_set_mode("always"), 0);
	if (!test_map_open(m, bytes, MAP_SHARED | MAP_DAXVM)) {
		EXPECT_EQ(shadow_set_mode(mode_before), 0);
		return false;
	}
	EXPECT_EQ(test_peek(m->va), test_word_at(0));
	return EXPECT(m->object && m->object->shadow);
}

static void mode_restore(void)
{
	EXPECT_EQ(shadow_set_mode(mode_before), 0);
	shadow_settle();
}

static bool has_copy(const struct vm_object *o)
{
	const struct vm_shadow *s = READ_ONCE(o->shadow);

	return s && READ_ONCE(s->top.bits);
}

// ---- The thread stands still --------------------------------------------------------------------

static struct {
	struct vm_object *object;
	bool holds, let_go; // [atomic]
} halt;

static void hold_copy(void *arg)
{
	(void)arg;
	mutex_lock(&halt.object->shadow->lock);
	WRITE_ONCE(halt.holds, true);
	while (!READ_ONCE(halt.let_go))
		thread_sleep_ns(1000000);
	mutex_unlock(&halt.object->shadow->lock);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
}

// On return the thread waits for the lock of the object's copy, in order to complete it, and holds
// map_lock shared. `first`, if not NULL, is done by another thread before it can come. False: it
// does not come.
static bool halt_thread(struct vm_object *o, void (*first)(void *arg))
{
	struct vm_table t = { .kind = VM_TABLE_NONE };
	bool started;

	halt.object = o;
	halt.holds = halt.let_go = false;
	rwlock_write_lock(&o->map_lock);
	shadow_give_back(o);
	frame_fail_nth(2); // the top alone
	EXPECT_EQ(vm_table(o, 0, PT_PML4, &t), 0);
	frame_fail_nth(0);
	if (first && EXPECT(test_start(&running, first, 1)))
		test_join(&running);
	started = test_start(&running, hold_copy, 1);
	while (started && !READ_ONCE(halt.holds))
		thread_yield();
	rwlock_write_unlock(&o->map_lock);
	EXPECT(READ_ONCE(o->shadow->partial));
	for (unsigned tries = 0; !READ_ONCE(o->map_lock.word) && tries < 4000; tries++)
		thread_sleep_ns(1000000);
	return EXPECT(started && READ_ONCE(o->map_lock.word));
}

static void let_thread_go(void)
{
	WRITE_ONCE(halt.let_go, true);
	test_join(&running);
}

// ---- Tests --------------------------------------------------------------------------------------

static void unlink_file(void *arg)
{
	(void)arg;
	EXPECT_EQ(vfs_unlinkat(AT_FDCWD, PLACE "/m"), 0);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
}

static u64 blocks_free(struct super *s)
{
	struct statfs_info st = { .bfree = 0 };

	EXPECT_EQ(s->ops->statfs(s, &st), 0);
	return st.bfree;
}

// The last name and the last reference of a file went while the thread completed its copy: blocks
// and table pages were given back, and the thread read on in them, whatever they were by then.
KTEST(ptfs_copy_of_tables_of_a_released_file)
{
	struct test_mapped m;
	struct super *super;
	u64 before = 0;

	if (!open_copied(&m, MIB(5)))
		return;
	super = m.file->inode->super;
	EXPECT_EQ(aspace_unmap(m.as, UVA(m.va), MIB(5)), 0);
	if (halt_thread(m.object, NULL)) {
		file_put(m.file);
		m.file = NULL;
		before = blocks_free(super);
		EXPECT(test_start(&running, unlink_file, 1));
		thread_sleep_ns(100000000);
		EXPECT_EQ(blocks_free(super), before);
	}
	let_thread_go();
	EXPECT(blocks_free(super) > before);
	test_map_close(&m);
	mode_restore();
	EXPECT_EQ(shadow_pages(), 0);
}

static struct vm_object *other;

static void map_other(void *arg)
{
	struct aspace *as = test_enter();

	(void)arg;
	EXPECT(as && test_map_file(as, other, 0, MIB(4), PROT_READ, MAP_SHARED | MAP_DAXVM));
	if (as)
		test_leave(as);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
}

// A file was mapped while a round was under way, later than the round's beginning: the time since
// then was less than none, which is a long time in unsigned numbers, and its copy was given back.
KTEST(ptfs_copy_of_tables_used_during_a_round)
{
	const struct inode_attr less = { .size = MIB(3) + KIB(4) };
	struct file *f = NULL;
	struct test_mapped m;
	u64 va;

	if (!open_copied(&m, MIB(5)))
		return;
	EXPECT(write_file(PLACE "/n", MIB(3), KIB(8), 1));
	if (EXPECT_EQ(vfs_open(PLACE "/n", O_RDWR, 0, &f), 0) &&
	    EXPECT_EQ(f->ops->mmap(f, &other), 0) && halt_thread(m.object, map_other)) {
		EXPECT(has_copy(other));
		EXPECT_EQ(f->inode->ops->setattr(f->inode, ATTR_SIZE, &less), 0); // asked anew
		va = test_map_file(m.as, other, 0, MIB(4), PROT_READ, MAP_SHARED | MAP_DAXVM);
		EXPECT_EQ(aspace_unmap(m.as, UVA(va), MIB(4)), 0);
		EXPECT(!vm_object_mapped(other));
		let_thread_go();
		thread_sleep_ns(100000000);
		EXPECT(has_copy(other));
	}
	let_thread_go();
	if (f)
		file_put(f);
	test_map_close(&m);
	mode_restore();
}

// A store splits the table of a GiB that is copied in part, then the rest is copied: the private
// page leads to tables of the file where the copy leads to copies of these. It was never folded
// away again, and its GiB was walked through the file's tables for good.
KTEST(ptfs_copy_of_tables_completed_below_a_split)
{
	struct test_mapped m;
	u64 folds;

	if (!open_copied(&m, MIB(5)))
		return;
	rwlock_write_lock(&m.object->map_lock);
	shadow_give_back(m.object);
	rwlock_write_unlock(&m.object->map_lock);
	frame_fail_nth(2); // the copy of the first PTE page
	EXPECT_EQ(test_peek(m.va), test_word_at(0));
	frame_fail_nth(0);
	EXPECT(test_poke(m.va + MIB(4), 4711));
	for (unsigned tries = 0; READ_ONCE(m.object->shadow->partial) && tries < 4000; tries++)
		thread_sleep_ns(1000000);
	EXPECT(!m.object->shadow->partial);
	folds = mm_stat_read(MM_STAT_dirty_folds);
	EXPECT_EQ(m.file->ops->fsync(m.file, false), 0);
	EXPECT_EQ(m.file->ops->fsync(m.file, false), 0); // finds the GiB clean
	EXPECT_EQ(mm_stat_read(MM_STAT_dirty_folds), folds + 1);
	EXPECT_EQ(test_peek(m.va + MIB(4)), 4711);
	EXPECT_EQ(test_peek(m.va), test_word_at(0));
	test_map_close(&m);
	mode_restore();
}

// Memory was short, and only copies that nobody used were given back: one whose file is mapped was
// used at this moment, each time that it was looked at, and so never the one used longest ago.
KTEST(ptfs_copy_of_tables_goes_when_memory_is_short)
{
	struct frame_stats f = frame_stats();
	phys_t taken = PHYS_NONE;
	struct test_mapped m;

	if (!open_copied(&m, MIB(5)))
		return;
	EXPECT(has_copy(m.object));
	while (frame_stats().free >= f.total / 16) {
		phys_t block = frame_alloc(FRAME_ORDER_MAX, 0);

		if (!EXPECT(block.pa != PHYS_NONE.pa))
			break;
		frame_set_owner(block, taken.pa);
		taken = block;
	}
	for (unsigned tries = 0; has_copy(m.object) && tries < 4000; tries++)
		thread_sleep_ns(1000000);
	EXPECT(!has_copy(m.object));
	while (taken.pa != PHYS_NONE.pa) {
		phys_t next = PHYS(frame_owner(taken));

		frame_free(taken, FRAME_ORDER_MAX);
		taken = next;
	}
	EXPECT_EQ(test_peek(m.va + MIB(2)), test_word_at(MIB(2)));
	test_map_close(&m);
	mode_restore();
}
