// SPDX-License-Identifier: MIT
//
// Dirty tracking on a file with a page table of its own (mm/test_util.h): what faults, what a sync
// takes and writes back, what must not get W by another way. mm/dirty_smp_test.c has the races.
#include "kernel/lib/errno.h"
#include "mm/arena.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/fault.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define RW        (PROT_READ | PROT_WRITE)
#define ATTACH    (MAP_SHARED | MAP_DAXVM)
#define EPHEMERAL (ATTACH | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)
#define MS_SYNC   4u

static u64 count_of(enum mm_stat which)
{
	static u64 last[MM_STAT_COUNT];
	u64 now = mm_stat_read(which), n = now - last[which];

	last[which] = now;
	return n;
}

// Since it was asked last.
#define SINCE(name) count_of(MM_STAT_##name)

static void forget_counts(void)
{
	for (enum mm_stat s = 0; s < MM_STAT_COUNT; s++)
		count_of(s);
}

struct setup {
	struct aspace *as;
	struct test_file *f;
	u64 at;
};

// A file of `bytes` with all blocks, mapped whole.
static bool begin(struct setup *s, u64 bytes, unsigned flags)
{
	*s = (struct setup){ test_enter(), test_file_create(bytes), 0 };
	if (s->as && s->f && test_file_fill(s->f, 0, bytes))
		s->at = test_map_file(s->as, &s->f->object, 0, bytes, RW, flags);
	forget_counts();
	return EXPECT(s->at);
}

static struct vma *vma_of(const struct setup *s)
{
	return vma_find(&s->as->vmas, s->at);
}

static void leave(struct setup *s)
{
	if (s->as)
		test_leave(s->as);
	if (s->f)
		test_file_destroy(s->f);
}

static void end(struct setup *s)
{
	if (s->at && vma_find(&s->as->vmas, s->at) && !vma_of(s)->arenas)
		EXPECT(dirty_verify(s->as, vma_of(s)));
	leave(s);
}

static int level_at(struct aspace *as, u64 va)
{
	struct pt_cursor c;

	spin_lock(&as->pt_lock);
	pt_look(as, &c, va);
	spin_unlock(&as->pt_lock);
	return c.level;
}

// ---- Faults -------------------------------------------------------------------------------------

// The first store to a chunk faults, and no other access does.
static void one_fault_per_chunk(unsigned flags, unsigned per_chunk)
{
	struct setup s;

	if (begin(&s, MIB(6), flags)) {
		for (u64 off = 0; off < MIB(6); off += KIB(64))
			EXPECT_EQ(test_peek(s.at + off), test_file_word(off / PAGE_SIZE));
		EXPECT_EQ(SINCE(fault_dirty), 0);
		for (u64 off = 0; off < MIB(6); off += PAGE_SIZE)
			EXPECT(test_poke(s.at + off + 8, off));
		EXPECT_EQ(SINCE(fault_dirty), 3 * per_chunk);
		EXPECT_EQ(SINCE(dirty_chunks), 3);
		EXPECT_EQ(s.f->touches, 3);
		EXPECT(vm_dirty_any(&s.f->object, MIB(5), 1));
	}
	end(&s);
}

KTEST(dirty_one_fault_per_chunk_attached)
{
	one_fault_per_chunk(ATTACH, 1);
}

KTEST(dirty_one_fault_per_group_of_small_pages)
{
	one_fault_per_chunk(MAP_SHARED, 32);
}

// The one private entry for a GiB gives way to a table of its own, once; the rest stays attached.
KTEST(dirty_store_splits_to_the_chunk)
{
	struct setup s;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT_EQ(level_at(s.as, s.at), PT_PUD);
		EXPECT(test_poke(s.at + MIB(2) + 8, 1));
		EXPECT_EQ(level_at(s.as, s.at), PT_PMD);
		EXPECT_EQ(level_at(s.as, s.at + MIB(2)), PT_PMD);
		EXPECT_EQ(SINCE(attach_splits), 1);
		EXPECT(test_poke(s.at + MIB(4) + 8, 1));
		EXPECT_EQ(SINCE(attach_splits), 0);
		EXPECT_EQ(SINCE(shootdowns), 0); // nobody has to forget anything
		EXPECT(!vma_of(&s)->split);
	}
	end(&s);
}

// A chunk that another mapping made dirty is still clean in this one: its W is missing here.
KTEST_NOMEM(dirty_each_mapping_faults)
{
	struct setup s;
	u64 other;

	if (begin(&s, KIB(64), ATTACH)) {
		other = test_map_file(s.as, &s.f->object, 0, KIB(64), RW, ATTACH);
		EXPECT(test_poke(s.at + 8, 1));
		EXPECT(test_poke(other + 8, 2));
		EXPECT_EQ(SINCE(fault_dirty), 2);
		EXPECT_EQ(SINCE(dirty_chunks), 1);
	}
	end(&s);
}

KTEST_NOMEM(dirty_direct_entries)
{
	struct setup s;

	if (begin(&s, KIB(20), ATTACH)) {
		EXPECT(test_poke(s.at + 8, 1));
		EXPECT(test_poke(s.at + KIB(16) + 8, 1));
		EXPECT_EQ(SINCE(fault_dirty), 1);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT(test_poke(s.at + KIB(16) + 8, 2));
		EXPECT_EQ(SINCE(fault_dirty), 1);
	}
	end(&s);
}

// A store that fills a hole is a store: the block that is there then must be written back.
KTEST_NOMEM(dirty_hole_that_is_filled)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(6));
	u64 at = as && f && test_file_fill(f, MIB(2), PAGE_SIZE)
			 ? test_map_file(as, &f->object, 0, MIB(6), RW, ATTACH)
			 : 0;

	forget_counts();
	if (EXPECT(at)) {
		EXPECT(test_poke(at + MIB(2) + KIB(8), 5)); // in a table that the file has
		EXPECT(test_poke(at + MIB(4), 6));          // in one that it gets now
		EXPECT_EQ(SINCE(dirty_chunks), 2);
		// What the second one needed took nothing from the first.
		SINCE(fault_dirty);
		EXPECT(test_poke(at + MIB(2) + KIB(8), 5));
		EXPECT_EQ(SINCE(fault_dirty), 0);
		f->watched[0] = MIB(2) + KIB(8);
		f->watched[1] = MIB(4);
		f->nr_watched = 2;
		EXPECT_EQ(vm_sync(&f->object), 0);
		EXPECT_EQ(f->medium[0], 5);
		EXPECT_EQ(f->medium[1], 6);
	}
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}

// ---- Sync ---------------------------------------------------------------------------------------

// What is taken is what was stored to, and it costs one shootdown, whatever the number of chunks.
static void sync_takes_what_is_dirty(unsigned flags)
{
	struct setup s;

	if (begin(&s, MIB(64), flags)) {
		for (u64 off = MIB(4); off < MIB(60); off += MIB(8))
			EXPECT(test_poke(s.at + off + 8, off));
		SINCE(shootdowns);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(SINCE(shootdowns), 1);
		EXPECT_EQ(SINCE(dirty_syncs), 1);
		EXPECT_EQ(SINCE(dirty_cleaned), 7);
		EXPECT_EQ(s.f->sync_calls, 7);
		EXPECT_EQ(s.f->sync_bytes, MIB(14));
		EXPECT(!vm_dirty_any(&s.f->object, 0, ~0ull));
		// Nothing is left for the next one.
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(s.f->sync_calls, 7);
		EXPECT_EQ(SINCE(dirty_syncs), 0);
		// And the next store is noticed again.
		SINCE(fault_dirty);
		EXPECT(test_poke(s.at + MIB(4) + 8, 1));
		EXPECT(test_poke(s.at + MIB(4) + 16, 1));
		EXPECT_EQ(SINCE(fault_dirty), 1);
	}
	end(&s);
}

KTEST(dirty_sync_takes_what_is_dirty_attached)
{
	sync_takes_what_is_dirty(ATTACH);
}

KTEST(dirty_sync_takes_what_is_dirty_plain)
{
	sync_takes_what_is_dirty(MAP_SHARED);
}

// Neighbours are written back together.
KTEST(dirty_sync_runs)
{
	struct setup s;

	if (begin(&s, MIB(8), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT(test_poke(s.at + MIB(4), 1));
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(s.f->sync_calls, 1);
		EXPECT_EQ(s.f->sync_off, MIB(2));
		EXPECT_EQ(s.f->sync_bytes, MIB(4));
	}
	end(&s);
}

// W goes in every mapping of every process, of every kind.
KTEST(dirty_sync_takes_w_everywhere)
{
	static const unsigned kind[] = { ATTACH, MAP_SHARED, EPHEMERAL };
	struct setup s;
	struct aspace *second;
	u64 at[6];

	if (begin(&s, MIB(4), ATTACH)) {
		second = aspace_create();
		for (unsigned i = 0; i < 6; i++) {
			if (i == 3)
				test_use(second);
			at[i] = test_map_file(i < 3 ? s.as : second, &s.f->object, 0, MIB(4), RW,
					      kind[i % 3]);
			EXPECT(test_poke(at[i] + MIB(2) + 8, i));
		}
		// A store to a page that a plain mapping does not have yet maps it with W at once.
		EXPECT_EQ(SINCE(fault_dirty), 4);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		SINCE(fault_dirty);
		for (unsigned i = 0; i < 6; i++) {
			test_use(i < 3 ? s.as : second);
			EXPECT(test_poke(at[i] + MIB(2) + 8, i));
			EXPECT_EQ(SINCE(fault_dirty), 1);
		}
		test_leave(second);
		test_use(s.as);
	}
	end(&s);
}

// A write-back that fails loses nothing: the next sync has the chunks again.
KTEST(dirty_sync_that_fails)
{
	struct setup s;

	if (begin(&s, MIB(4), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		s.f->fail_sync = -EIO;
		EXPECT_EQ(vm_sync(&s.f->object), -EIO);
		EXPECT(vm_dirty_any(&s.f->object, MIB(2), 1));
		s.f->fail_sync = 0;
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(s.f->sync_off, MIB(2));
	}
	end(&s);
}

// Story of the design: a msync of part of a chunk that cleans the chunk loses the rest of it.
KTEST(dirty_msync_of_a_part)
{
	struct setup s;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT(test_poke(s.at + MIB(3), 2));
		SINCE(shootdowns);
		EXPECT_EQ(aspace_sync(s.as, UVA(s.at + MIB(3)), 8, MS_SYNC), 0);
		EXPECT_EQ(s.f->sync_off, MIB(3));
		EXPECT_EQ(s.f->sync_bytes, 8);
		EXPECT_EQ(SINCE(dirty_lines), 1);
		EXPECT_EQ(SINCE(shootdowns), 0);
		EXPECT(vm_dirty_any(&s.f->object, MIB(2), 1));
		SINCE(fault_dirty);
		EXPECT(test_poke(s.at + MIB(2), 3));
		EXPECT_EQ(SINCE(fault_dirty), 0); // W is still there
		// Two parts and the chunk between them; the chunk at the end is covered to the end.
		s.f->sync_bytes = 0;
		EXPECT_EQ(aspace_sync(s.as, UVA(s.at + MIB(1)), MIB(5), MS_SYNC), 0);
		EXPECT_EQ(s.f->sync_bytes, MIB(3));
		EXPECT(!vm_dirty_any(&s.f->object, 0, ~0ull));
	}
	end(&s);
}

// As POSIX says for a program that did not ask for anything else: whole pages.
KTEST(dirty_msync_of_a_plain_mapping)
{
	struct setup s;

	if (begin(&s, MIB(4), MAP_SHARED)) {
		EXPECT(test_poke(s.at + MIB(1), 1));
		EXPECT_EQ(aspace_sync(s.as, UVA(s.at + MIB(1)), 8, MS_SYNC), 0);
		EXPECT_EQ(s.f->sync_bytes, PAGE_SIZE);
		EXPECT(vm_dirty_any(&s.f->object, MIB(1), 1));
	}
	end(&s);
}

// ---- Nosync -------------------------------------------------------------------------------------

static void nosync(unsigned flags)
{
	struct setup s;
	u64 tracked;

	if (begin(&s, MIB(4), flags | MAP_DAXVM_NOSYNC)) {
		for (u64 off = 0; off < MIB(4); off += KIB(64))
			EXPECT(test_poke(s.at + off + 8, off));
		EXPECT_EQ(SINCE(fault_dirty), 0);
		EXPECT_EQ(SINCE(dirty_chunks), 0);
		EXPECT_EQ(aspace_sync(s.as, UVA(s.at), MIB(4), MS_SYNC), 0);
		EXPECT_EQ(s.f->sync_calls, 0);
		EXPECT_EQ(s.f->touches, 1); // the file's times all the same
		// Another mapping is tracked, and a sync leaves this one alone.
		tracked = test_map_file(s.as, &s.f->object, 0, MIB(4), RW, ATTACH);
		EXPECT(test_poke(tracked + 8, 1));
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		SINCE(fault_dirty);
		EXPECT(test_poke(s.at + 8, 2));
		EXPECT_EQ(SINCE(fault_dirty), 0);
	}
	leave(&s);
}

KTEST(dirty_nosync_attached)
{
	nosync(ATTACH);
}

KTEST(dirty_nosync_plain)
{
	nosync(MAP_SHARED);
}

KTEST(dirty_nosync_ephemeral)
{
	nosync(EPHEMERAL);
}

// ---- Other calls --------------------------------------------------------------------------------

// mprotect gives no W that a store has not asked for, and takes none that would be missed.
KTEST(dirty_mprotect)
{
	struct setup s;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT_EQ(aspace_protect(s.as, UVA(s.at), MIB(6), PROT_READ), 0);
		EXPECT(!test_poke(s.at, 1));
		EXPECT_EQ(aspace_protect(s.as, UVA(s.at), MIB(6), RW), 0);
		EXPECT(dirty_verify(s.as, vma_of(&s)));
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT_EQ(SINCE(dirty_chunks), 1);
		// A part of a dirty chunk loses its rights and has them again.
		EXPECT_EQ(aspace_protect(s.as, UVA(s.at + MIB(3)), PAGE_SIZE, PROT_READ), 0);
		EXPECT(test_poke(s.at + MIB(2) + 8, 1));
		EXPECT(!test_poke(s.at + MIB(3), 1));
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(aspace_protect(s.as, UVA(s.at + MIB(3)), PAGE_SIZE, RW), 0);
		EXPECT(dirty_verify(s.as, vma_find(&s.as->vmas, s.at + MIB(3))));
		SINCE(dirty_chunks);
		EXPECT(test_poke(s.at + MIB(3), 1));
		EXPECT_EQ(SINCE(dirty_chunks), 1);
	}
	end(&s);
}

// A child has the W of its parent, and loses it with it.
KTEST(dirty_fork)
{
	struct setup s;
	struct aspace *child;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		child = aspace_fork(s.as);
		if (EXPECT(child)) {
			EXPECT(dirty_verify(child, vma_find(&child->vmas, s.at)));
			EXPECT_EQ(vm_sync(&s.f->object), 0);
			EXPECT(dirty_verify(child, vma_find(&child->vmas, s.at)));
			test_use(child);
			SINCE(dirty_chunks);
			EXPECT(test_poke(s.at + MIB(2), 2));
			EXPECT_EQ(SINCE(dirty_chunks), 1);
			test_leave(child);
			test_use(s.as);
		}
	}
	end(&s);
}

// Cut in pieces and moved, what is left is tracked as before.
KTEST(dirty_munmap_and_mremap)
{
	struct setup s;
	uva_t to;

	if (begin(&s, MIB(8), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT_EQ(aspace_unmap(s.as, UVA(s.at + MIB(3)), PAGE_SIZE), 0);
		SINCE(fault_dirty);
		EXPECT(test_poke(s.at + MIB(2) + 8, 1));
		EXPECT_EQ(SINCE(fault_dirty), 0);
		EXPECT_EQ(aspace_remap(s.as, UVA(s.at), MIB(3), MIB(5), 1, UVA(0), &to), 0);
		EXPECT(dirty_verify(s.as, vma_find(&s.as->vmas, to.va)));
		EXPECT(test_poke(to.va + MIB(4), 7));
		EXPECT(vm_dirty_any(&s.f->object, MIB(4), 1));
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT(dirty_verify(s.as, vma_find(&s.as->vmas, to.va)));
		s.at = to.va;
	}
	end(&s);
}

// What the file loses is lost here, W or not; what it gains is tracked.
KTEST(dirty_truncate_and_punch)
{
	struct setup s;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT(test_poke(s.at + MIB(4), 1));
		test_file_punch(s.f, MIB(2), KIB(64));
		EXPECT_EQ(test_peek(s.at + MIB(2)), 0);
		EXPECT(test_file_resize(s.f, MIB(4)));
		EXPECT(!test_poke(s.at + MIB(4), 2));
		EXPECT(dirty_verify(s.as, vma_of(&s)));
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT(test_file_resize(s.f, MIB(6)));
		EXPECT(test_poke(s.at + MIB(4), 3));
		EXPECT(vm_dirty_any(&s.f->object, MIB(4), 1));
		EXPECT(test_poke(s.at + MIB(2), 4));
		EXPECT(vm_dirty_any(&s.f->object, MIB(2), 1));
	}
	end(&s);
}

// The kernel stores into a mapping for the program: read() into it, say.
KTEST(dirty_kernel_stores)
{
	struct setup s;

	if (begin(&s, MIB(4), ATTACH)) {
		EXPECT_EQ(aspace_fault_in(s.as, UVA(s.at + MIB(2)), 100, true), 0);
		EXPECT(vm_dirty_any(&s.f->object, MIB(2), 1));
		EXPECT(!vm_dirty_any(&s.f->object, 0, MIB(2)));
	}
	end(&s);
}

// A warm map of a range that a sync has passed over while it was unmapped: its W is gone, too. A
// tick between may clear the range, and then it is not warm; that is no reason to miss the store
// either.
KTEST(dirty_unmapped_ephemeral)
{
	struct setup s;
	unsigned warm = 0;

	if (begin(&s, MIB(1), EPHEMERAL)) {
		for (u64 i = 0; i < 40; i++) {
			u64 again;

			EXPECT(test_poke(s.at + 8, i));
			EXPECT_EQ(aspace_unmap(s.as, UVA(s.at), MIB(1)), 0);
			EXPECT_EQ(vm_sync(&s.f->object), 0);
			again = test_map_fast(s.as, &s.f->object, 0, MIB(1), RW, EPHEMERAL);
			warm += again == s.at;
			s.at = again ? again
				     : test_map_file(s.as, &s.f->object, 0, MIB(1), RW, EPHEMERAL);
			SINCE(fault_dirty);
			EXPECT(test_poke(s.at + 8, i));
			EXPECT_EQ(SINCE(fault_dirty), 1);
			EXPECT(vm_dirty_any(&s.f->object, 0, 1));
		}
		EXPECT(warm > 0);
	}
	leave(&s);
}

// ---- Re-attachment ------------------------------------------------------------------------------

// A private table that W was the reason for stays as long as each sync finds the GiB dirty, and
// goes with the first that does not. Both shapes of mapping have it.
static void fold(unsigned flags)
{
	struct setup s;

	if (begin(&s, MIB(6), flags)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(level_at(s.as, s.at), PT_PMD);
		EXPECT(test_poke(s.at + MIB(2), 2));
		EXPECT_EQ(SINCE(attach_splits), 1);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(level_at(s.as, s.at), PT_PMD);
		SINCE(shootdowns);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(SINCE(shootdowns), 1);
		EXPECT_EQ(level_at(s.as, s.at), PT_PUD);
		EXPECT_EQ(SINCE(dirty_folds), 1);
		SINCE(fault_dirty);
		for (u64 off = 0; off < MIB(6); off += MIB(1))
			EXPECT_EQ(test_peek(s.at + off + PAGE_SIZE),
				  test_file_word(off / PAGE_SIZE + 1));
		EXPECT(test_poke(s.at + MIB(2), 3));
		EXPECT_EQ(SINCE(fault_dirty), 1);
	}
	leave(&s);
}

KTEST(dirty_fold_attached)
{
	fold(ATTACH);
}

KTEST(dirty_fold_ephemeral)
{
	fold(EPHEMERAL);
}

// Mapped again where private tables of an earlier mapping stay behind, while the file is dirty: one
// entry all the same. It once was one for each chunk.
KTEST(dirty_file_is_attached_whole)
{
	struct setup s;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		EXPECT_EQ(aspace_unmap(s.as, UVA(s.at), MIB(6)), 0);
		EXPECT_EQ(test_map_file(s.as, &s.f->object, 0, MIB(6), RW, ATTACH), s.at);
		EXPECT_EQ(level_at(s.as, s.at), PT_PUD);
	}
	end(&s);
}

// Not where something else is private: the zero page of a hole that was read.
KTEST(dirty_fold_not_over_zero_pages)
{
	struct setup s;

	if (begin(&s, MIB(6), ATTACH)) {
		EXPECT(test_poke(s.at + MIB(2), 1));
		test_file_punch(s.f, MIB(4) + KIB(64), PAGE_SIZE);
		EXPECT_EQ(test_peek(s.at + MIB(4) + KIB(64)), 0);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(vm_sync(&s.f->object), 0);
		EXPECT_EQ(SINCE(dirty_folds), 0);
		EXPECT_EQ(level_at(s.as, s.at + MIB(4) + KIB(64)), PT_PTE);
		EXPECT_EQ(test_peek(s.at + MIB(4) + KIB(64)), 0);
		EXPECT_EQ(test_peek(s.at + MIB(4)), test_file_word(1024));
	}
	end(&s);
}
