// SPDX-License-Identifier: MIT
//
// The way back from a split (mm/unsplit.h): for each reason that a table is split for, that it
// stays split as long as the reason is there, and that one entry maps everything again soon after.
#include "mm/arena.h"
#include "mm/aspace_internal.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/stat.h"
#include "mm/test_util.h"
#include "mm/unsplit.h"

#define RW        (PROT_READ | PROT_WRITE)
#define ATTACH    (MAP_SHARED | MAP_DAXVM)
#define EPHEMERAL (ATTACH | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)

#define MADV_DONTNEED 4

struct setup {
	struct aspace *as;
	struct test_file *f;
	u64 at, bytes;
};

// A file with a block in each of three places, two of them next to holes, mapped whole.
static bool begin(struct setup *s, u64 bytes, unsigned flags)
{
	*s = (struct setup){ test_enter(), test_file_create(bytes), 0, bytes };
	if (s->as && s->f && test_file_fill(s->f, 0, KIB(16)) &&
	    test_file_fill(s->f, bytes / 2, KIB(16)) &&
	    test_file_fill(s->f, bytes - PAGE_SIZE, PAGE_SIZE))
		s->at = test_map_file(s->as, &s->f->object, 0, bytes, RW, flags);
	return EXPECT(s->at);
}

static int level_at(const struct setup *s, u64 off)
{
	int level;

	spin_lock(&s->as->pt_lock);
	(void)pt_find(s->as, s->at + off, &level);
	spin_unlock(&s->as->pt_lock);
	return level;
}

static bool shows(const struct setup *s, u64 off)
{
	return test_peek(s->at + off) == test_file_word(off / PAGE_SIZE);
}

static void end(struct setup *s)
{
	if (s->at) {
		struct vma *v = vma_find(&s->as->vmas, s->at);

		EXPECT(shows(s, PAGE_SIZE) && shows(s, s->bytes / 2 + PAGE_SIZE) &&
		       shows(s, s->bytes - PAGE_SIZE));
		EXPECT(v && (v->arenas || !vma_tracks(v) || dirty_verify(s->as, v)));
	}
	if (s->as)
		test_leave(s->as);
	if (s->f)
		test_file_destroy(s->f);
}

// As write() does it.
static void fill(struct setup *s, u64 off)
{
	EXPECT(test_file_fill(s->f, off, PAGE_SIZE));
	vm_hole_filled(&s->f->object, off, PAGE_SIZE);
}

static void sync(struct setup *s)
{
	EXPECT_EQ(vm_sync(&s->f->object), 0);
}

// ---- Zero pages ---------------------------------------------------------------------------------

// Story: a table that was split for a hole that was read stayed split for ever, and from the hole
// on each page cost a fault, and a walk through private tables on top of the file's.
static void hole_filled(u64 bytes, unsigned flags)
{
	struct setup s;
	int level;

	if (begin(&s, bytes, flags)) {
		u64 hole = bytes / 2 + KIB(32);

		level = level_at(&s, 0);
		EXPECT_EQ(test_peek(s.at + hole), 0);
		EXPECT_EQ(test_peek(s.at + hole + KIB(8)), 0);
		EXPECT_EQ(level_at(&s, hole), PT_PTE);
		// One of two reasons is gone.
		fill(&s, hole);
		EXPECT(shows(&s, hole));
		EXPECT_EQ(level_at(&s, hole), PT_PTE);
		EXPECT_EQ(test_peek(s.at + hole + KIB(8)), 0);
		fill(&s, hole + KIB(8));
		EXPECT(shows(&s, hole + KIB(8)));
		EXPECT_EQ(level_at(&s, hole), level);
		EXPECT_EQ(level_at(&s, 0), level);
		EXPECT(shows(&s, hole));
	}
	end(&s);
}

KTEST(unsplit_hole_filled_in_a_pte_page)
{
	hole_filled(KIB(256), ATTACH);
	hole_filled(KIB(256), EPHEMERAL);
}

KTEST(unsplit_hole_filled_in_a_pmd_page)
{
	hole_filled(MIB(12), ATTACH);
	hole_filled(MIB(12), EPHEMERAL);
	hole_filled(MIB(12), ATTACH | MAP_DAXVM_NOSYNC);
	hole_filled(MIB(12), MAP_PRIVATE | MAP_DAXVM);
}

KTEST(unsplit_hole_filled_in_a_pud_page)
{
	hole_filled(GIB(70), ATTACH);
	hole_filled(GIB(70), MAP_PRIVATE | MAP_DAXVM);
}

// By the mapping itself: what is split then is split for the W of the chunk, or for nothing.
static void hole_stored_to(u64 bytes, unsigned flags, bool tracked)
{
	struct setup s;
	int level;

	if (begin(&s, bytes, flags)) {
		u64 hole = bytes / 2 + KIB(32);

		level = level_at(&s, 0);
		EXPECT_EQ(test_peek(s.at + hole), 0);
		EXPECT_EQ(level_at(&s, hole), PT_PTE);
		EXPECT(test_poke(s.at + hole + 8, 4711));
		EXPECT_EQ(level_at(&s, hole), tracked ? PT_PMD : level);
		EXPECT_EQ(test_peek(s.at + hole + 8), 4711);
		sync(&s);
		sync(&s);
		EXPECT_EQ(level_at(&s, hole), level);
		EXPECT_EQ(test_peek(s.at + hole + 8), 4711);
	}
	end(&s);
}

KTEST(unsplit_hole_stored_to)
{
	hole_stored_to(KIB(256), ATTACH, true);
	hole_stored_to(MIB(12), ATTACH, true);
	hole_stored_to(MIB(12), EPHEMERAL, true);
	hole_stored_to(MIB(12), ATTACH | MAP_DAXVM_NOSYNC, false);
	hole_stored_to(GIB(70), ATTACH, true);
}

// A hole where the file has not even a table: written to at once, nothing is split to the page, by
// one fault.
KTEST(unsplit_not_needed_for_a_store)
{
	u64 splits, faults;
	struct setup s;

	if (begin(&s, MIB(12), ATTACH)) {
		splits = mm_stat_read(MM_STAT_attach_splits);
		faults = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT(test_poke(s.at + MIB(8) + KIB(4), 4711));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults + 1);
		EXPECT_EQ(level_at(&s, MIB(8)), PT_PMD);
		EXPECT_EQ(mm_stat_read(MM_STAT_attach_splits), splits + 1);
		fill(&s, MIB(8) + KIB(8));
		EXPECT(shows(&s, MIB(8) + KIB(8)));
		EXPECT_EQ(test_peek(s.at + MIB(8) + KIB(4)), 4711);
	}
	end(&s);
}

// Story: a hole that somebody fills while a fault reads it is no hole any more when the fault asks
// the file, and its block was put in a private table. The attachment shows it by then.
KTEST(unsplit_not_needed_for_a_hole_just_filled)
{
	struct setup s;

	if (begin(&s, MIB(12), ATTACH)) {
		s.f->fills = true;
		EXPECT(shows(&s, MIB(6) + KIB(32)));
		s.f->fills = false;
		EXPECT_EQ(level_at(&s, MIB(6)), PT_PUD);
	}
	end(&s);
}

// Story: while a chunk of a file is dirty the table that is attached is chosen from below. So a
// mapping that begins with 2 MiB of hole, for which the file has no PTE page, had nothing attached,
// and then a fault for each page, and private tables.
KTEST(unsplit_not_needed_for_a_hole_without_a_table)
{
	u64 attached, fallbacks, at;
	struct setup s;

	if (begin(&s, MIB(12), ATTACH)) {
		EXPECT(test_poke(s.at + 8, 1));
		attached = mm_stat_read(MM_STAT_attach_pmd_page);
		fallbacks = mm_stat_read(MM_STAT_attach_fallbacks);
		at = test_map_file(s.as, &s.f->object, MIB(2), MIB(10), RW, ATTACH);
		EXPECT_EQ(mm_stat_read(MM_STAT_attach_pmd_page), attached + 1);
		EXPECT_EQ(mm_stat_read(MM_STAT_attach_fallbacks), fallbacks);
		EXPECT_EQ(test_peek(at + MIB(4)), test_file_word(MIB(6) / PAGE_SIZE));
	}
	end(&s);
}

// The table of the file is ready now, and another CPU attaches it, just when the fault was told
// that it is not.
static void attach_beside(void *ctx, int max_level)
{
	struct setup *s = ctx;
	struct vma *v = vma_find(&s->as->vmas, s->at);

	if (max_level < v->unit_level)
		return; // it will be asked for what is above, too
	s->f->ready = true;
	EXPECT_EQ(attach_at(s->as, v, s->at, false), ATTACH_DONE);
}

// Story: a fault that fills a hole, and finds then that an attachment shows the block by now, has
// nothing to map. So it told nobody that the hole is filled, and another mapping, which had a page
// of zeros there, went on to show that.
KTEST(unsplit_not_needed_and_others_are_told)
{
	u64 other, hole = MIB(6) + KIB(32);
	struct setup s;

	if (begin(&s, MIB(12), MAP_SHARED)) {
		other = s.at;
		s.f->ready = false;
		s.at = test_map_file(s.as, &s.f->object, 0, s.bytes, RW, ATTACH);
		EXPECT_EQ(test_peek(other + hole + 8), 0);
		s.f->not_ready = attach_beside;
		s.f->not_ready_ctx = &s;
		EXPECT(test_poke(s.at + hole + 8, 4711));
		EXPECT(s.f->ready);
		EXPECT_EQ(level_at(&s, hole), PT_PMD); // for the W alone
		EXPECT_EQ(test_peek(s.at + hole + 8), 4711);
		EXPECT_EQ(test_peek(other + hole + 8), 4711);
	}
	end(&s);
}

// ---- W ------------------------------------------------------------------------------------------

// A page of zeros goes while a chunk beside it is dirty: its W is not lost, which would be a fault
// for nothing, nor is it given to others. The syncs end what the fault could not.
KTEST(unsplit_keeps_w_of_dirty_chunks)
{
	u64 faults, hole = MIB(6) + KIB(32);
	struct setup s;

	if (begin(&s, MIB(12), ATTACH)) {
		EXPECT_EQ(test_peek(s.at + hole), 0);
		EXPECT(test_poke(s.at + 8, 1));
		EXPECT(test_poke(s.at + MIB(6) + 8, 1)); // in the table with the page of zeros
		fill(&s, hole);
		EXPECT(shows(&s, hole));
		EXPECT_EQ(level_at(&s, hole), PT_PTE);
		faults = mm_stat_read(MM_STAT_fault_dirty);
		EXPECT(test_poke(s.at + 8, 2));
		EXPECT(test_poke(s.at + MIB(6) + 8, 2));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_dirty), faults);
		sync(&s);
		EXPECT_EQ(level_at(&s, hole), PT_PTE); // it was dirty until now
		sync(&s);
		EXPECT_EQ(level_at(&s, hole), PT_PUD);
		EXPECT(test_poke(s.at + 8, 3));
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_dirty), faults + 1);
	}
	end(&s);
}

// Of several tables each goes that can.
KTEST(unsplit_one_of_two)
{
	u64 hole = MIB(6) + KIB(32);
	struct setup s;

	if (begin(&s, MIB(12), ATTACH)) {
		EXPECT_EQ(test_peek(s.at + KIB(32)), 0); // stays
		EXPECT_EQ(test_peek(s.at + hole), 0);
		EXPECT(test_poke(s.at + MIB(6) + 8, 1));
		fill(&s, hole);
		EXPECT(shows(&s, hole));
		EXPECT_EQ(level_at(&s, hole), PT_PTE);
		sync(&s);
		sync(&s);
		EXPECT_EQ(level_at(&s, 0), PT_PTE);
		EXPECT_EQ(level_at(&s, hole), PT_PMD);
		fill(&s, KIB(32));
		EXPECT(shows(&s, KIB(32)));
		EXPECT_EQ(level_at(&s, 0), PT_PUD);
	}
	end(&s);
}

// Story: the PUD page of a unit of 512 GiB was split by the first store, and never attached again.
KTEST(unsplit_pud_page)
{
	struct setup s;

	if (begin(&s, GIB(70), ATTACH)) {
		EXPECT_EQ(level_at(&s, 0), PT_PML4);
		EXPECT(test_poke(s.at + 8, 1));
		EXPECT(test_poke(s.at + GIB(35) + 8, 1));
		EXPECT_EQ(level_at(&s, 0), PT_PMD);
		EXPECT_EQ(level_at(&s, GIB(35)), PT_PMD);
		sync(&s);
		EXPECT(test_poke(s.at + GIB(35) + 8, 2));
		sync(&s); // one GiB is clean, the other not: nothing above it goes
		EXPECT_EQ(level_at(&s, 0), PT_PUD);
		EXPECT_EQ(level_at(&s, GIB(35)), PT_PMD);
		sync(&s);
		EXPECT_EQ(level_at(&s, 0), PT_PML4);
		EXPECT_EQ(test_peek(s.at + 8), 1);
		EXPECT_EQ(test_peek(s.at + GIB(35) + 8), 2);
	}
	end(&s);
}

// A sync tries some GiBs at a time; none is forgotten.
KTEST(unsplit_many)
{
	unsigned syncs = 0;
	struct setup s;

	if (begin(&s, GIB(70), ATTACH)) {
		for (u64 off = GIB(1); off < GIB(21); off += GIB(1)) {
			fill(&s, off);
			EXPECT(test_poke(s.at + off + 8, off));
		}
		while (level_at(&s, 0) != PT_PML4 && syncs++ < 10)
			sync(&s);
		EXPECT_EQ(syncs, 1 + DIV_ROUND_UP(20, DIRTY_TRIES));
		for (u64 off = GIB(1); off < GIB(21); off += GIB(1))
			EXPECT_EQ(test_peek(s.at + off + 8), off);
	}
	end(&s);
}

// More tables than one batch can free.
KTEST(unsplit_more_than_a_batch)
{
	unsigned syncs = 0;
	struct setup s;

	if (begin(&s, MIB(400), ATTACH)) {
		for (u64 off = 0; off < MIB(400); off += MIB(4)) {
			fill(&s, off);
			EXPECT_EQ(test_peek(s.at + off + KIB(32)), 0);
			EXPECT(test_poke(s.at + off + 8, off));
		}
		for (u64 off = 0; off < MIB(400); off += MIB(4)) {
			fill(&s, off + KIB(32));
			EXPECT(shows(&s, off + KIB(32)));
		}
		EXPECT_EQ(level_at(&s, 0), PT_PTE);
		while (level_at(&s, 0) != PT_PUD && syncs++ < 10)
			sync(&s);
		EXPECT_EQ(syncs, 3);
		for (u64 off = 0; off < MIB(400); off += MIB(4))
			EXPECT_EQ(test_peek(s.at + off + 8), off);
	}
	end(&s);
}

// ---- Private copies, parts ----------------------------------------------------------------------

KTEST(unsplit_when_a_private_copy_goes)
{
	struct setup s;

	if (begin(&s, MIB(12), MAP_PRIVATE | MAP_DAXVM)) {
		EXPECT(test_poke(s.at + MIB(6) + 8, 1));
		EXPECT_EQ(test_peek(s.at + KIB(32)), 0);
		fill(&s, KIB(32));
		EXPECT(shows(&s, KIB(32)));
		EXPECT_EQ(test_peek(s.at + MIB(6) + 8), 1); // not folded away
		EXPECT_EQ(level_at(&s, 0), PT_PMD);         // but that table, which had no copy
		EXPECT_EQ(aspace_advise(s.as, UVA(s.at + MIB(6)), PAGE_SIZE, MADV_DONTNEED), 0);
		EXPECT_EQ(test_peek(s.at + MIB(6) + 8), 0);
		EXPECT_EQ(level_at(&s, 0), PT_PUD);
	}
	end(&s);
}

// Story: munmap of a part makes a boundary in what is attached, then sets the mapping's bounds. A
// sync between the two put the file's table across the boundary again: what was unmapped stayed
// mapped, and was part of no mapping.
KTEST(unsplit_not_across_a_boundary)
{
	struct setup s;
	struct vma *v;

	if (begin(&s, MIB(12), ATTACH)) {
		v = vma_find(&s.as->vmas, s.at);
		EXPECT(test_poke(s.at + 8, 1));
		sync(&s);
		rwlock_write_lock(&s.as->lock);
		EXPECT_EQ(attach_split_boundary(s.as, v, s.at + MIB(6)), 0);
		sync(&s);
		EXPECT_EQ(level_at(&s, 0), PT_PMD);
		vma_set_bounds(v, v->lo, v->start, v->end, v->hi);
		rwlock_write_unlock(&s.as->lock);
		EXPECT(test_poke(s.at + 8, 2));
		sync(&s);
		sync(&s);
		EXPECT_EQ(level_at(&s, 0), PT_PUD);
	}
	end(&s);
}

// A part of a mapping that is cut off for good: what is whole in it is attached again.
KTEST(unsplit_in_a_part)
{
	u64 hole = MIB(6) + KIB(32);
	struct setup s;

	if (begin(&s, MIB(12), ATTACH)) {
		EXPECT_EQ(aspace_protect(s.as, UVA(s.at + MIB(8)), PAGE_SIZE, PROT_READ), 0);
		EXPECT_EQ(test_peek(s.at + hole), 0);
		EXPECT(test_poke(s.at + MIB(6) + 8, 1));
		fill(&s, hole);
		EXPECT(shows(&s, hole));
		EXPECT_EQ(level_at(&s, hole), PT_PTE);
		sync(&s);
		sync(&s);
		EXPECT_EQ(level_at(&s, hole), PT_PMD);
	}
	end(&s);
}

// ---- All at once --------------------------------------------------------------------------------

#define ROUNDS 300u

static struct setup race;
static u32 racing;
static u64 stored[4];

// Reads holes, which splits, in each chunk that is not its own.
static void reader(void *arg)
{
	u64 me = (u64)arg;

	test_use(race.as);
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 off = (i * 7 + me) % 4 * MIB(2) + KIB(32) + i % 64 * PAGE_SIZE;
		u64 word = test_peek(race.at + off);

		EXPECT(word == 0 || word == test_file_word(off / PAGE_SIZE));
		EXPECT(test_peek(race.at + me * MIB(2)) == test_file_word(me * 512));
	}
	test_use(NULL);
	__atomic_fetch_sub(&racing, 1, __ATOMIC_RELEASE);
}

// Stores to its own word; what it stored must be there, and written back by a sync that came later.
static void storer(void *arg)
{
	u64 me = (u64)arg;

	test_use(race.as);
	for (u64 i = 1; i <= ROUNDS; i++) {
		EXPECT(test_poke(race.at + me * MIB(2) + 8, i));
		EXPECT_EQ(test_peek(race.at + me * MIB(2) + 8), i);
		__atomic_store_n(&stored[me], i, __ATOMIC_RELEASE);
	}
	test_use(NULL);
	__atomic_fetch_sub(&racing, 1, __ATOMIC_RELEASE);
}

// Fills holes behind the mapping, takes the blocks out again, and syncs.
static void changer(void *arg)
{
	(void)arg;
	test_use(race.as);
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 chunk = i % 4, before = __atomic_load_n(&stored[chunk], __ATOMIC_ACQUIRE);
		u64 off = chunk * MIB(2) + KIB(32) + i / 4 % 64 * PAGE_SIZE;

		if (i % 3 == 2)
			test_file_punch(race.f, chunk * MIB(2) + KIB(32), KIB(256));
		rwlock_read_lock(&race.f->object.map_lock);
		spin_lock(&race.f->lock);
		EXPECT(test_file_fill(race.f, off, PAGE_SIZE));
		spin_unlock(&race.f->lock);
		rwlock_read_unlock(&race.f->object.map_lock);
		vm_hole_filled(&race.f->object, off, PAGE_SIZE);
		if (i % 2)
			sync(&race);
		if (i % 2)
			EXPECT(race.f->medium[chunk] >= before);
	}
	test_use(NULL);
	__atomic_fetch_sub(&racing, 1, __ATOMIC_RELEASE);
}

KTEST(unsplit_stress)
{
	if (begin(&race, MIB(8), ATTACH)) {
		for (u64 i = 0; i < 4; i++) {
			EXPECT(test_file_fill(race.f, i * MIB(2), PAGE_SIZE));
			race.f->watched[i] = i * MIB(2) + 8;
			stored[i] = 0;
		}
		race.f->nr_watched = 4;
		if (test_start(&racing, reader, 4) && test_start(&racing, storer, 4))
			(void)test_start(&racing, changer, 1);
		test_join(&racing);
		// And when all is quiet, and no hole is left that was read, it is one entry again.
		for (u64 off = 0; off < MIB(8); off += PAGE_SIZE) {
			fill(&race, off);
			(void)test_peek(race.at + off);
		}
		sync(&race);
		sync(&race);
		EXPECT_EQ(level_at(&race, 0), PT_PUD);
	}
	end(&race);
}
