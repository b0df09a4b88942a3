// SPDX-License-Identifier: MIT
//
// In-kernel tests of copies of tables in DRAM (mm/shadow.h): after everything that can happen to a
// file's tables the copy says what they say, and mappings go through it.
#include "drivers/nvdimm/poison.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "fs/ptfs_glue/glue_test.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "mm/dirty.h"
#include "mm/frame.h"
#include "mm/pagetable.h"
#include "mm/shadow.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define GROWN (GIB(1) + MIB(6))

static char mode_before[16];

static void mode_set(const char *name)
{
	strlcpy(mode_before, shadow_mode_name(), sizeof(mode_before));
	EXPECT_EQ(shadow_set_mode(name), 0);
}

static void mode_restore(void)
{
	EXPECT_EQ(shadow_set_mode(mode_before), 0);
}

// The table that the mapping leads into at `va` is in DRAM, and none of the process's own.
static bool goes_through_copy(struct test_mapped *m, u64 va)
{
	int level;
	pte_t e;

	spin_lock(&m->as->pt_lock);
	e = pte_read(pt_find(m->as, va, &level));
	spin_unlock(&m->as->pt_lock);
	return (e.bits & PTE_ATTACHED) && !pte_is_leaf(e, level) && frame_is_ram(pte_addr(e));
}

// Without a fault.
static bool is_shown(struct test_mapped *m, u64 va)
{
	int level;
	bool yes;
	pte_t e;

	spin_lock(&m->as->pt_lock);
	e = pte_read(pt_find(m->as, va, &level));
	yes = pt_reaches(e, level, va);
	spin_unlock(&m->as->pt_lock);
	return yes;
}

static bool matches(struct test_mapped *m)
{
	bool yes;

	rwlock_write_lock(&m->object->map_lock);
	yes = shadow_matches(m->object);
	rwlock_write_unlock(&m->object->map_lock);
	return yes;
}

// What the mapping shows is what read() gives, page by page in [off, end); ~0: past the end.
static void shows_file(struct test_mapped *m, u64 off, u64 end)
{
	for (; off < end; off += PAGE_SIZE) {
		u64 word = ~0ull;

		if (file_read_kernel(m->file, &word, 8, off) < 0)
			word = 0;
		if (!EXPECT_EQ(test_peek(m->va + off), word))
			return;
	}
	EXPECT(matches(m));
}

static bool open_copied(struct test_mapped *m, u64 bytes)
{
	mode_set("always");
	if (!test_map_open(m, bytes, MAP_SHARED | MAP_DAXVM)) {
		mode_restore();
		return false;
	}
	EXPECT_EQ(test_peek(m->va), test_word_at(0));
	EXPECT(goes_through_copy(m, m->va));
	return true;
}

static void close_copied(struct test_mapped *m)
{
	EXPECT(matches(m));
	test_map_close(m);
	mode_restore();
	shadow_settle();
}

KTEST(ptfs_copy_of_tables_grows)
{
	struct test_mapped m;

	if (!open_copied(&m, MIB(1)))
		return;
	// In a page that is there, a new page below a new level, by write() and by a fault.
	EXPECT_EQ(test_resize(&m, MIB(2)), 0);
	EXPECT(write_file(PLACE "/m", MIB(1) + KIB(64), KIB(8), 7));
	EXPECT(goes_through_copy(&m, m.va));
	shows_file(&m, 0, MIB(2)); // a hole that is read splits it
	EXPECT(test_poke(m.va + MIB(1) + KIB(512), 4711));
	shows_file(&m, MIB(1), MIB(2));
	EXPECT(write_file(PLACE "/m", MIB(5), KIB(8), 8));
	EXPECT(write_file(PLACE "/m", GROWN - MIB(1), KIB(8), 9));
	m.va = test_map_file(m.as, m.object, 0, GROWN, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_DAXVM);
	EXPECT(m.va);
	EXPECT(test_peek(m.va + MIB(5)) != ~0ull);
	EXPECT(goes_through_copy(&m, m.va + MIB(5)));
	shows_file(&m, MIB(5) - KIB(64), MIB(5) + KIB(64));
	EXPECT(test_poke(m.va + MIB(9), 4712));
	shows_file(&m, MIB(9), MIB(9) + KIB(64));
	shows_file(&m, GROWN - MIB(1) - KIB(16), GROWN - MIB(1) + KIB(16));
	close_copied(&m);
}

// The entry of the copy for the page at `va`, which is attached, as it was before the file's own
// was published: a moment that comes and goes between the two steps of an update.
static void set_back(struct test_mapped *m, u64 va)
{
	struct pt_cursor c;

	spin_lock(&m->as->pt_lock);
	pt_cursor_init_table(&c, &pt_mmu, m->as->root_table, PT_PML4, va);
	if (EXPECT_EQ(pt_cursor_descend(&c, va, PT_PTE), PT_PTE) &&
	    EXPECT(frame_is_ram(virt_to_phys(pt_cursor_slot(&c)))))
		pte_write(pt_slot(&c), (pte_t){ 0 });
	spin_unlock(&m->as->pt_lock);
	asm_invlpg(va);
}

// Story: an access between the publishing of a block and its entry in the copy found the block, put
// it in a private page table, and split what was attached for good.
KTEST(ptfs_copy_of_tables_lags_behind)
{
	struct test_mapped m;
	u64 splits;

	if (!open_copied(&m, MIB(5)))
		return;
	splits = mm_stat_read(MM_STAT_attach_splits);
	set_back(&m, m.va + MIB(4) + KIB(64));
	EXPECT_EQ(test_peek(m.va + MIB(4) + KIB(64)), test_word_at(MIB(4) + KIB(64)));
	EXPECT(matches(&m));
	EXPECT_EQ(mm_stat_read(MM_STAT_attach_splits), splits);
	set_back(&m, m.va + MIB(4) + KIB(128));
	EXPECT(test_poke(m.va + MIB(4) + KIB(128), 4711)); // the split for W
	EXPECT_EQ(mm_stat_read(MM_STAT_attach_splits), splits + 1);
	EXPECT_EQ(test_peek(m.va + MIB(4) + KIB(128)), 4711);
	EXPECT(goes_through_copy(&m, m.va + MIB(4) + KIB(64)));
	EXPECT(goes_through_copy(&m, m.va + MIB(4) + KIB(128)));
	close_copied(&m);
}

// A hole that was read, filled by write(): the copy is attached again, not the file's own tables.
KTEST(ptfs_copy_of_tables_is_attached_again)
{
	struct test_mapped m;
	int level;

	if (!open_copied(&m, MIB(5)))
		return;
	EXPECT_EQ(test_resize(&m, MIB(6)), 0);
	EXPECT_EQ(test_peek(m.va + MIB(5) - KIB(64)), test_word_at(MIB(5) - KIB(64)));
	m.va = test_map_file(m.as, m.object, 0, MIB(6), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_DAXVM);
	EXPECT_EQ(test_peek(m.va + MIB(5) + KIB(64)), 0);
	EXPECT(!goes_through_copy(&m, m.va + MIB(5) + KIB(64)));
	EXPECT(write_file(PLACE "/m", MIB(5) + KIB(64), KIB(4), 7));
	EXPECT(test_peek(m.va + MIB(5) + KIB(64)) != 0);
	EXPECT(goes_through_copy(&m, m.va + MIB(5) + KIB(64)));
	spin_lock(&m.as->pt_lock);
	(void)pt_find(m.as, m.va, &level);
	spin_unlock(&m.as->pt_lock);
	EXPECT_EQ(level, PT_PUD);
	shows_file(&m, MIB(4), MIB(5) + KIB(68));
	close_copied(&m);
}

KTEST(ptfs_copy_of_tables_loses_what_the_file_loses)
{
	struct test_mapped m;

	if (!open_copied(&m, MIB(9)))
		return;
	shows_file(&m, 0, MIB(9));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 KIB(64), KIB(4)),
		  0);
	EXPECT_EQ(test_peek(m.va + KIB(64)), 0);
	shows_file(&m, 0, MIB(9));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(1),
					 MIB(4)),
		  0);
	EXPECT_EQ(test_peek(m.va + MIB(3)), 0);
	shows_file(&m, 0, MIB(9));
	EXPECT(goes_through_copy(&m, m.va + MIB(8)));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_COLLAPSE_RANGE, MIB(2), MIB(2)), 0);
	shows_file(&m, 0, MIB(7));
	EXPECT_EQ(test_resize(&m, MIB(5) + KIB(6)), 0);
	EXPECT_EQ(test_peek(m.va + MIB(6)), ~0ull);
	shows_file(&m, 0, MIB(5) + KIB(4));
	EXPECT_EQ(test_resize(&m, MIB(8)), 0);
	shows_file(&m, 0, MIB(8));
	EXPECT(test_poke(m.va + MIB(6), 4711));
	shows_file(&m, MIB(5), MIB(8));
	EXPECT_EQ(test_resize(&m, KIB(8)), 0); // direct entries again
	shows_file(&m, 0, KIB(8));
	EXPECT_EQ(test_resize(&m, 0), 0);
	EXPECT_EQ(test_peek(m.va), ~0ull);
	EXPECT(write_file(PLACE "/m", 0, BUF, 3));
	shows_file(&m, 0, BUF);
	close_copied(&m);
}

// The file's root grew, and the copy is still of what stands at its beginning. What led there then
// leads elsewhere: the copy was kept, and would have been shown where the file had new blocks.
KTEST(ptfs_copy_of_tables_below_a_new_root)
{
	struct test_mapped m;

	if (!open_copied(&m, MIB(1)))
		return;
	EXPECT(write_file(PLACE "/m", MIB(5), KIB(8), 8));
	EXPECT(matches(&m));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					 MIB(2)),
		  0);
	EXPECT(matches(&m));
	EXPECT(write_file(PLACE "/m", KIB(64), KIB(8), 9));
	shows_file(&m, 0, MIB(1));
	close_copied(&m);
}

// A page of 512 entries becomes a 2 MiB leaf, and the leaf a page.
KTEST(ptfs_copy_of_tables_follows_leaves)
{
	struct test_mapped m;
	u64 caught_up;

	if (!open_copied(&m, MIB(1)))
		return;
	EXPECT_EQ(m.file->ops->fallocate(m.file, 0, 0, MIB(12)), 0);
	m.va = test_map_file(m.as, m.object, 0, MIB(12), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_DAXVM);
	shows_file(&m, 0, MIB(12));
	EXPECT(goes_through_copy(&m, m.va));
	EXPECT_EQ(m.file->ops->fallocate(m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 MIB(6) + KIB(4), KIB(4)),
		  0);
	shows_file(&m, 0, MIB(12));
	EXPECT(write_file(PLACE "/m", MIB(6) + KIB(4), KIB(4), 5));
	caught_up = mm_stat_read(MM_STAT_fault_spurious);
	shows_file(&m, 0, MIB(12));
	EXPECT_EQ(mm_stat_read(MM_STAT_fault_spurious), caught_up); // no fault had to see to it
	close_copied(&m);
}

// Nobody has met it yet: the mapping still leads there.
static void page_fails(struct test_mapped *m, u64 off)
{
	struct vm_page page = { .pa = PHYS_NONE };

	rwlock_read_lock(&m->object->map_lock);
	EXPECT_EQ(m->object->ops->page(m->object, off, false, &page), 0);
	rwlock_read_unlock(&m->object->map_lock);
	EXPECT(poison_add(page.pa));
}

// The memory of a block fails, then of one in a 2 MiB leaf, and each is replaced by a write of all
// of it. What mappings and the copy led to is gone then, and the file is attached again.
KTEST(ptfs_copy_of_tables_follows_new_blocks)
{
	static const u64 bad[] = { KIB(64), MIB(2) + KIB(64) };
	u32 known = poison_count();
	struct test_mapped m;

	if (!open_copied(&m, MIB(1)))
		return;
	EXPECT_EQ(m.file->ops->fallocate(m.file, 0, 0, MIB(4)), 0);
	m.va = test_map_file(m.as, m.object, 0, MIB(4), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_DAXVM);
	shows_file(&m, 0, MIB(4));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		page_fails(&m, bad[i]);
		EXPECT(!write_file(PLACE "/m", bad[i], KIB(4) - 1, 5));
		EXPECT(!file_has(PLACE "/m", bad[i], 1, 5));
		EXPECT(write_file(PLACE "/m", bad[i], KIB(4), 6));
		EXPECT(file_has(PLACE "/m", bad[i], KIB(4), 6));
		EXPECT(matches(&m));
		shows_file(&m, 0, MIB(4));
		EXPECT(goes_through_copy(&m, m.va + bad[i]));
	}
	close_copied(&m);
	poison_list_cut(known);
}

// The copy goes while mappings lead through it, and comes again.
KTEST(ptfs_copy_of_tables_goes)
{
	struct test_mapped m;

	if (!open_copied(&m, MIB(5)))
		return;
	EXPECT(test_poke(m.va + MIB(2), 4711));
	EXPECT_EQ(shadow_set_mode("never"), 0);
	for (unsigned tries = 0; shadow_pages() && tries < 2000; tries++)
		thread_sleep_ns(1000000);
	EXPECT_EQ(shadow_pages(), 0);
	EXPECT(!goes_through_copy(&m, m.va));
	EXPECT_EQ(test_peek(m.va + MIB(2)), 4711);
	EXPECT(!goes_through_copy(&m, m.va));
	EXPECT_EQ(shadow_set_mode("always"), 0);
	EXPECT_EQ(test_resize(&m, MIB(4)), 0); // whoever maps it asks for its tables again
	EXPECT_EQ(test_peek(m.va), test_word_at(0));
	EXPECT(goes_through_copy(&m, m.va));
	close_copied(&m);
}

// MADV_RANDOM asks for a copy where the switch is at auto, the next advice gives it back. A file
// that nobody maps any more keeps it for a time only.
KTEST(ptfs_copy_of_tables_by_advice)
{
	u64 cold_ns = shadow_cold_ns;
	struct test_mapped m;

	mode_set("auto");
	if (test_map_open(&m, MIB(5), MAP_SHARED | MAP_DAXVM)) {
		EXPECT_EQ(test_peek(m.va + MIB(2)), test_word_at(MIB(2)));
		EXPECT(!goes_through_copy(&m, m.va));
		EXPECT_EQ(aspace_advise(m.as, UVA(m.va), MIB(5), 1), 0); // MADV_RANDOM
		EXPECT_EQ(test_peek(m.va + MIB(2)), test_word_at(MIB(2)));
		EXPECT(goes_through_copy(&m, m.va));
		EXPECT_EQ(aspace_advise(m.as, UVA(m.va), MIB(5), 0), 0); // MADV_NORMAL
		EXPECT_EQ(test_peek(m.va + MIB(2)), test_word_at(MIB(2)));
		EXPECT(!goes_through_copy(&m, m.va));
		EXPECT_EQ(aspace_advise(m.as, UVA(m.va), MIB(5), 1), 0);
		EXPECT_EQ(test_peek(m.va), test_word_at(0));
		EXPECT(goes_through_copy(&m, m.va));
		EXPECT_EQ(aspace_unmap(m.as, UVA(m.va), MIB(5)), 0);
		WRITE_ONCE(shadow_cold_ns, 1);
		for (unsigned tries = 0; shadow_pages() && tries < 4000; tries++)
			thread_sleep_ns(1000000);
		EXPECT_EQ(shadow_pages(), 0);
		WRITE_ONCE(shadow_cold_ns, cold_ns);
		test_map_close(&m);
	}
	mode_restore();
}

// Story: a store had split a table, the file was synced and closed. At the next sync, the one at
// its eviction say, the tables were asked for, to be attached again, and with `always` all of them
// were copied, for a file that nobody maps.
KTEST(ptfs_copy_of_tables_not_for_a_sync)
{
	struct test_mapped m;

	mode_set("never");
	for (unsigned tries = 0; shadow_pages() && tries < 2000; tries++)
		thread_sleep_ns(1000000); // of tests before
	if (test_map_open(&m, MIB(5), MAP_SHARED | MAP_DAXVM)) {
		EXPECT(test_poke(m.va + MIB(2), 4711));
		EXPECT_EQ(vm_sync(m.object), 0);
		EXPECT_EQ(aspace_unmap(m.as, UVA(m.va), MIB(5)), 0);
		EXPECT_EQ(shadow_set_mode("always"), 0);
		EXPECT_EQ(vm_sync(m.object), 0);
		EXPECT_EQ(shadow_pages(), 0);
		test_map_close(&m);
	}
	mode_restore();
}

// A CPU is in the middle of something (a fault, a map), and may have read the way through the copy:
// its pages keep their contents until that is over.
static struct {
	struct aspace *as;
	u32 running;
	bool in, out; // [atomic]
} section;

static void hold_section(void *arg)
{
	(void)arg;
	thread_current()->affinity = BIT(1);
	thread_migrate();
	test_use(section.as);
	preempt_disable();
	__atomic_store_n(&section.in, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&section.out, __ATOMIC_ACQUIRE))
		asm_pause();
	preempt_enable();
	test_use(NULL);
	__atomic_fetch_sub(&section.running, 1, __ATOMIC_RELEASE);
}

static void give_back(struct test_mapped *m)
{
	rwlock_write_lock(&m->object->map_lock);
	vm_revoke_begin(m->object);
	vm_root_changed(m->object);
	vm_revoke_finish(m->object, 0, ~0ull, VM_FORGET_MAPPED);
	rwlock_write_unlock(&m->object->map_lock);
}

KTEST(ptfs_copy_of_tables_waits_for_its_epoch)
{
	struct test_mapped m;
	u64 pages;

	if (cpu_count() < 2 || !open_copied(&m, MIB(5)))
		return;
	section.as = m.as;
	section.in = section.out = false;
	section.running = 0;
	thread_current()->affinity = BIT(0);
	thread_migrate();
	if (EXPECT(test_start(&section.running, hold_section, 1))) {
		while (!__atomic_load_n(&section.in, __ATOMIC_ACQUIRE))
			thread_sleep_ns(1000000);
		pages = shadow_pages();
		EXPECT(pages);
		give_back(&m);
		for (unsigned i = 0; i < 10; i++) {
			thread_sleep_ns(4000000);
			EXPECT_EQ(shadow_pages(), pages);
		}
		__atomic_store_n(&section.out, true, __ATOMIC_RELEASE);
		test_join(&section.running);
	}
	shadow_settle();
	EXPECT_EQ(shadow_pages(), 0);
	thread_current()->affinity = ~0ull;
	close_copied(&m);
}

// Ephemeral mappings take the copy, too, and a slot that is used again right away shows what there
// is then.
KTEST(ptfs_copy_of_tables_ephemeral)
{
	const unsigned flags = MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING;
	struct test_mapped m;
	u64 made;

	if (!open_copied(&m, MIB(3)))
		return;
	made = mm_stat_read(MM_STAT_shadow_made);
	for (unsigned round = 0; round < 8; round++) {
		u64 va = test_map_file(m.as, m.object, 0, MIB(3), PROT_READ, flags);

		EXPECT_EQ(test_peek(va + KIB(64)), test_word_at(KIB(64)));
		EXPECT(goes_through_copy(&m, va));
		if (round == 4) {
			EXPECT_EQ(test_resize(&m, MIB(2) + KIB(64)), 0);
			EXPECT_EQ(test_peek(va + MIB(2) + KIB(64)), ~0ull);
			EXPECT_EQ(test_resize(&m, MIB(3)), 0);
			EXPECT_EQ(test_peek(va + MIB(2) + KIB(64)), 0);
		}
		EXPECT_EQ(aspace_unmap(m.as, UVA(va), MIB(3)), 0);
	}
	EXPECT(mm_stat_read(MM_STAT_shadow_made) - made < 8);
	close_copied(&m);
}

// Without memory for the copy, or for parts of it, the file's own tables serve.
KTEST(ptfs_copy_of_tables_without_memory)
{
	struct test_mapped m;
	u64 caught_up;

	if (!open_copied(&m, MIB(5)))
		return;
	for (u64 n = 1; n < 12; n++) {
		give_back(&m);
		frame_fail_nth(n);
		(void)test_peek(m.va + MIB(3)); // a fault without memory is SIGBUS
		frame_fail_nth(0);
		caught_up = mm_stat_read(MM_STAT_fault_spurious);
		EXPECT_EQ(test_peek(m.va + MIB(3)), test_word_at(MIB(3)));
		shows_file(&m, 0, MIB(5));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_spurious), caught_up); // the copy has no holes
	}
	close_copied(&m);
}

// The root grew by two levels, and there was memory for the copy of one of the two new pages. The
// new top led past the copy that there was: its pages were never given back, and mappings that led
// through it missed what the file got.
KTEST(ptfs_copy_of_tables_grows_by_half)
{
	struct test_mapped m;

	if (!open_copied(&m, MIB(1)))
		return;
	EXPECT(write_file(PLACE "/m", GROWN - MIB(1), KIB(8), 9));
	for (u64 n = 1; n < 4; n++) {
		struct vm_table t = { .kind = VM_TABLE_NONE };

		rwlock_read_lock(&m.object->map_lock);
		frame_fail_nth(n);
		EXPECT_EQ(vm_table(m.object, 0, PT_PML4, &t), 0);
		frame_fail_nth(0);
		rwlock_read_unlock(&m.object->map_lock);
		EXPECT(goes_through_copy(&m, m.va));
		EXPECT(write_file(PLACE "/m", MIB(1) + n * KIB(64), KIB(4), n));
		EXPECT(is_shown(&m, m.va + MIB(1) + n * KIB(64)));
	}
	shows_file(&m, 0, MIB(2));
	close_copied(&m);
	EXPECT_EQ(shadow_pages(), 0);
}

// One thread fills holes while another one makes the copy and gives it back: no entry is lost
// between the two (mm/shadow.c, I3).
#define CHURNS 200u
static struct {
	struct test_mapped m;
	u32 running;
	u32 round; // of the one that makes copies [atomic]
} churn;

static void fill_holes(void *arg)
{
	u64 off = KIB(64), one = 1;
	unsigned n = 0;

	(void)arg;
	while (__atomic_load_n(&churn.round, __ATOMIC_RELAXED) < CHURNS) {
		if (off < MIB(64))
			EXPECT_EQ(file_write_kernel(churn.m.file, &one, 8, off), 8);
		off += KIB(36);
		// Where an emulator runs its CPUs in turns, nobody else has one otherwise.
		if (++n % 16 == 0)
			thread_yield();
		if (off >= MIB(64)) {
			off = KIB(64);
			EXPECT_EQ(test_resize(&churn.m, KIB(64)), 0);
		}
	}
	__atomic_fetch_sub(&churn.running, 1, __ATOMIC_RELEASE);
}

KTEST(ptfs_copy_of_tables_made_beside_growth)
{
	if (!open_copied(&churn.m, KIB(64)))
		return;
	churn.round = 0;
	churn.running = 0;
	if (EXPECT(test_start(&churn.running, fill_holes, 1))) {
		for (; churn.round < CHURNS;
		     __atomic_fetch_add(&churn.round, 1, __ATOMIC_RELAXED)) {
			struct vm_table t = { .kind = VM_TABLE_NONE };

			EXPECT(matches(&churn.m));
			give_back(&churn.m);
			rwlock_read_lock(&churn.m.object->map_lock);
			EXPECT_EQ(vm_table(churn.m.object, 0, PT_PML4, &t), 0);
			rwlock_read_unlock(&churn.m.object->map_lock);
			thread_yield();
		}
		test_join(&churn.running);
	}
	close_copied(&churn.m);
}
