// SPDX-License-Identifier: MIT
//
// Private leaves of 1 GiB (vm_gib_leaf), for plain mappings and for MAP_DAXVM: when there is one,
// how it is split, and that a revoke finds it. The file of these tests is the first gigabyte of
// physical memory, in 2 MiB leaves; only frames that a test owns are touched.
#include "kernel/lib/errno.h"
#include "kernel/x86/cpu.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define RW     (PROT_READ | PROT_WRITE)
#define ATTACH (MAP_SHARED | MAP_DAXVM)

struct gib_file {
	struct vm_object object;
	pte_t *pmd;   // its table: 512 leaves
	phys_t frame; // the test's own, somewhere in the file
	phys_t other; // and another one
	int refs;
};

static struct gib_file *file_of(struct vm_object *o)
{
	return container_of(o, struct gib_file, object);
}

static int gib_page(struct vm_object *o, u64 off, bool write, struct vm_page *out)
{
	pte_t e = file_of(o)->pmd[off / PMD_SIZE];

	(void)write;
	if (off >= PUD_SIZE)
		return -ENXIO;
	*out = (struct vm_page){ .pa = PHYS(pte_addr(e).pa + (off & (PMD_SIZE - 1))),
				 .level = PT_PMD };
	return 0;
}

static int gib_table(struct vm_object *o, u64 off, int max_level, struct vm_table *out)
{
	struct gib_file *f = file_of(o);

	*out = (struct vm_table){ .kind = VM_TABLE_NONE };
	if (off >= PUD_SIZE)
		return 0;
	out->kind = VM_TABLE_ENTRY;
	out->level = max_level >= PT_PUD ? PT_PUD : PT_PMD;
	out->entry = out->level == PT_PUD ? pte_table(virt_to_phys(f->pmd), PTE_W | PTE_U)
					  : f->pmd[off / PMD_SIZE];
	return 0;
}

static u64 gib_size(struct vm_object *o)
{
	(void)o;
	return PUD_SIZE;
}

static void gib_get(struct vm_object *o)
{
	__atomic_fetch_add(&file_of(o)->refs, 1, __ATOMIC_RELAXED);
}

static void gib_put(struct vm_object *o)
{
	__atomic_fetch_sub(&file_of(o)->refs, 1, __ATOMIC_RELAXED);
}

static const struct vm_object_ops gib_ops = {
	.page = gib_page, .table = gib_table, .size = gib_size, .get = gib_get, .put = gib_put
};

static bool begin(struct gib_file *f, struct aspace **as)
{
	phys_t table = frame_alloc(0, 0);

	*f = (struct gib_file){ .frame = frame_alloc(0, FRAME_ZERO),
				.other = frame_alloc(0, FRAME_ZERO) };
	vm_object_init(&f->object, &gib_ops);
	*as = test_enter();
	if (!EXPECT(*as && table.pa != PHYS_NONE.pa && f->frame.pa < PUD_SIZE &&
		    f->other.pa < PUD_SIZE))
		return false;
	f->pmd = phys_to_virt(table);
	for (u64 i = 0; i < PT_ENTRIES; i++)
		f->pmd[i] = pte_leaf(PHYS(i * PMD_SIZE), PT_PMD, PTE_W | PTE_U);
	*(u64 *)phys_to_virt(f->frame) = 4711;
	*(u64 *)phys_to_virt(f->other) = 4712;
	return cpu_features.gib_pages;
}

static void end(struct gib_file *f, struct aspace *as)
{
	if (as)
		test_leave(as);
	EXPECT_EQ(f->refs, 0);
	EXPECT(list_empty(&f->object.vmas));
	vm_dirty_free(&f->object);
	frame_put(f->frame);
	frame_put(f->other);
	if (f->pmd)
		frame_put(virt_to_phys(f->pmd));
}

// Level and entry that lead to `va`.
static pte_t entry(struct aspace *as, u64 va, int *level)
{
	struct pt_cursor c;
	pte_t e;

	spin_lock(&as->pt_lock);
	pt_look(as, &c, va);
	e = pt_cursor_get(&c);
	*level = c.level;
	spin_unlock(&as->pt_lock);
	return e;
}

static int level_at(struct aspace *as, u64 va)
{
	int level;
	pte_t e = entry(as, va, &level);

	return pte_present(e) ? level : 0;
}

static u64 map(struct aspace *as, struct gib_file *f, unsigned prot, unsigned flags)
{
	return test_map_file(as, &f->object, 0, PUD_SIZE, prot, flags);
}

KTEST(gib_leaf_by_one_fault)
{
	u64 before = mm_stat_read(MM_STAT_fault_file_1g), faults, at, far;
	struct gib_file f;
	struct aspace *as;

	if (begin(&f, &as)) {
		far = (f.frame.pa / PMD_SIZE + 3) % PT_ENTRIES;
		at = map(as, &f, PROT_READ, MAP_SHARED);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(level_at(as, at + f.frame.pa), PT_PUD);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_file_1g) - before, 1);
		faults = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT_EQ(test_peek(at + f.other.pa), 4712);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults);
		EXPECT(!test_poke(at + f.frame.pa, 1));
		// What it came from goes: so does it.
		rwlock_write_lock(&f.object.map_lock);
		vm_revoke_begin(&f.object);
		vm_revoke_finish(&f.object, 100 * PMD_SIZE, PAGE_SIZE, VM_FORGET_ALL);
		rwlock_write_unlock(&f.object.map_lock);
		EXPECT_EQ(level_at(as, at + f.frame.pa), 0);
		EXPECT_EQ(f.object.gib_table, 0);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(level_at(as, at + f.frame.pa), PT_PUD);
		// And when not all of it is there any more, it does not come back.
		rwlock_write_lock(&f.object.map_lock);
		vm_revoke_begin(&f.object);
		f.pmd[far] = (pte_t){ 0 };
		vm_revoke_finish(&f.object, far * PMD_SIZE, PMD_SIZE, VM_FORGET_ALL);
		rwlock_write_unlock(&f.object.map_lock);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(level_at(as, at + f.frame.pa), PT_PMD);
	}
	end(&f, as);
}

// One block elsewhere, or all of them not where a GiB can begin: 2 MiB leaves.
KTEST(gib_leaf_only_of_blocks_side_by_side)
{
	struct gib_file f;
	struct aspace *as;
	u64 at;

	if (begin(&f, &as)) {
		u64 far = (f.frame.pa / PMD_SIZE + 3) % PT_ENTRIES;

		f.pmd[far] = f.pmd[(far + 1) % PT_ENTRIES];
		at = map(as, &f, PROT_READ, MAP_SHARED);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(level_at(as, at + f.frame.pa), PT_PMD);
		at = map(as, &f, PROT_READ, ATTACH);
		EXPECT_EQ(entry(as, at, &(int){ 0 }).bits & PTE_PS, 0);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(f.object.gib_table, 0);
	}
	end(&f, as);
	if (begin(&f, &as)) {
		for (u64 i = 0; i < PT_ENTRIES; i++)
			f.pmd[i] = pte_leaf(PHYS((i + 1) * PMD_SIZE), PT_PMD, PTE_W | PTE_U);
		at = map(as, &f, PROT_READ, MAP_SHARED);
		EXPECT_EQ(test_peek(at + f.frame.pa - PMD_SIZE), 4711);
		EXPECT_EQ(level_at(as, at + f.frame.pa - PMD_SIZE), PT_PMD);
	}
	end(&f, as);
}

KTEST(gib_leaf_is_split_for_a_private_copy)
{
	struct gib_file f;
	struct aspace *as;
	u64 at;

	if (begin(&f, &as)) {
		at = map(as, &f, RW, MAP_PRIVATE);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(level_at(as, at), PT_PUD);
		EXPECT(test_poke(at + f.frame.pa, 1));
		EXPECT_EQ(level_at(as, at + f.frame.pa), PT_PTE);
		EXPECT_EQ(test_peek(at + f.frame.pa), 1);
		EXPECT_EQ(*(u64 *)phys_to_virt(f.frame), 4711);
		EXPECT_EQ(test_peek(at + f.other.pa), 4712);
	}
	end(&f, as);
}

KTEST(gib_leaf_is_split_at_the_edges_of_an_unmap)
{
	struct gib_file f;
	struct aspace *as;
	u64 at;

	if (begin(&f, &as)) {
		at = map(as, &f, PROT_READ, MAP_SHARED);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(aspace_unmap(as, UVA(at + f.frame.pa), PAGE_SIZE), 0);
		EXPECT_EQ(test_peek(at + f.frame.pa), ~0ull);
		EXPECT_EQ(test_peek(at + f.other.pa), 4712);
		EXPECT_EQ(level_at(as,
				   at + ALIGN_DOWN(f.frame.pa + PUD_SIZE / 2, PMD_SIZE) % PUD_SIZE),
			  PT_PMD);
	}
	end(&f, as);
}

// A store to a clean chunk gets W for that chunk and no more, so the leaf must be split for it.
KTEST(gib_leaf_of_a_tracked_mapping)
{
	struct gib_file f;
	struct aspace *as;
	int level;
	u64 at;

	if (begin(&f, &as)) {
		at = map(as, &f, RW, MAP_SHARED);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(level_at(as, at + f.frame.pa), PT_PUD);
		EXPECT(test_poke(at + f.frame.pa, 5));
		EXPECT(entry(as, at + f.frame.pa, &level).bits & PTE_W);
		EXPECT_EQ(level, PT_PMD);
		EXPECT(!(entry(as, at + (f.frame.pa + PUD_SIZE / 2) % PUD_SIZE, &level).bits &
			 PTE_W));
		EXPECT(dirty_verify(as, vma_find(&as->vmas, at)));
		EXPECT_EQ(*(u64 *)phys_to_virt(f.frame), 5);
	}
	end(&f, as);
}

KTEST(gib_leaf_attached)
{
	u64 leaves = mm_stat_read(MM_STAT_attach_leaf_1g), faults, at;
	struct gib_file f;
	struct aspace *as;
	int level;

	if (begin(&f, &as)) {
		at = map(as, &f, PROT_READ, ATTACH);
		EXPECT_EQ(mm_stat_read(MM_STAT_attach_leaf_1g) - leaves, 1);
		EXPECT(entry(as, at, &level).bits & PTE_PS);
		EXPECT_EQ(level, PT_PUD);
		faults = mm_stat_read(MM_STAT_fault_kernel);
		EXPECT_EQ(test_peek(at + f.frame.pa), 4711);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_kernel), faults);
		// Where stores are tracked: the file's own table, which is split by a copy.
		at = map(as, &f, RW, ATTACH);
		EXPECT_EQ(entry(as, at, &level).bits & PTE_PS, 0);
		EXPECT(test_poke(at + f.frame.pa, 6));
		EXPECT_EQ(test_peek(at + f.frame.pa), 6);
		// Made writable later: split then.
		at = map(as, &f, PROT_READ, ATTACH);
		EXPECT_EQ(aspace_protect(as, UVA(at), PUD_SIZE, RW), 0);
		EXPECT(entry(as, at, &level).bits & PTE_PS);
		EXPECT(test_poke(at + f.frame.pa, 7));
		EXPECT_EQ(test_peek(at + f.frame.pa), 7);
		EXPECT_EQ(test_peek(at + f.other.pa), 4712);
		EXPECT(dirty_verify(as, vma_find(&as->vmas, at)));
	}
	end(&f, as);
}

KTEST(populate_maps_whole_tables_and_leaves)
{
	u64 faults = mm_stat_read(MM_STAT_fault_file_4k), at;
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(MIB(4));
	struct gib_file g;

	if (as && f && EXPECT(test_file_fill(f, 0, MIB(4)))) {
		at = test_map_file(as, &f->object, 0, MIB(4), PROT_READ, MAP_SHARED | MAP_POPULATE);
		EXPECT_EQ(mm_stat_read(MM_STAT_fault_file_4k) - faults, 2); // a PTE page each
		for (u64 va = at; va < at + MIB(4); va += PAGE_SIZE)
			EXPECT_EQ(level_at(as, va), PT_PTE);
		EXPECT_EQ(f->page_calls, 0);
	}
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
	if (begin(&g, &as)) {
		at = map(as, &g, PROT_READ, MAP_SHARED | MAP_POPULATE);
		EXPECT_EQ(level_at(as, at), PT_PUD);
	}
	end(&g, as);
}

// Holes in the middle, and a file that ends: what can be had is there, in whatever order it lies.
KTEST(populate_goes_on_after_holes)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(256));
	u64 at = 0;

	if (as && f && EXPECT(test_file_fill(f, 0, KIB(40))) &&
	    EXPECT(test_file_fill(f, KIB(100), KIB(156))))
		at = test_map_file(as, &f->object, 0, KIB(256), RW, MAP_SHARED | MAP_POPULATE);
	for (u64 va = at; at && va < at + KIB(256); va += PAGE_SIZE)
		EXPECT_EQ(level_at(as, va), PT_PTE);
	if (at) {
		EXPECT_EQ(test_peek(at + KIB(60)), 0);
		EXPECT_EQ(aspace_advise(as, UVA(at), KIB(256), 23), 0); // MADV_POPULATE_WRITE
		EXPECT(dirty_verify(as, vma_find(&as->vmas, at)));
		for (u64 va = at; va < at + KIB(256); va += PAGE_SIZE) {
			int level;

			EXPECT(entry(as, va, &level).bits & PTE_W);
		}
	}
	if (as)
		test_leave(as);
	if (f) {
		vm_dirty_free(&f->object);
		test_file_destroy(f);
	}
}
