// SPDX-License-Identifier: MIT
//
// What: the kernel's half of every address space: building it at boot, adding windows later.
// Not here: user halves (mm/pagetable.c, mm/aspace.c), kernel stacks (mm/kstack.c).
//
// Invariants
//   I1  nothing is both writable and executable; no second mapping of text or constants is
//       writable.
//   I2  PMem is writable through PMEM_ALIAS_BASE only.
//   I3  top-level entries do not change once an address space copied them (kmap_copy_top).
//   I4  tables are never freed, and an entry that names a table names it for ever, so the tables
//       may be read without the lock.
//
// Locking: kmap_lock (RANK_KMAP, interrupts off) guards changes. Frames are taken under it.
// Failure: -ENOMEM or NULL leaves a part of the window mapped, which the next attempt goes over.
#include "mm/kmap.h"

#include "kernel/bootinfo.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/ptcursor.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/lock.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/image.h"
#include "kernel/x86/smp.h"
#include "mm/bootmem.h"
#include "mm/frame.h"
#include "mm/kmap_internal.h"
#include "mm/layout.h"
#include "mm/ptbatch.h"

#define TOP_HALF  (PT_ENTRIES / 2) // first kernel entry of a top-level table
#define TOP_READY GIB(1024)        // windows below this address can always be added

static struct spinlock kmap_lock = SPINLOCK_INIT(RANK_KMAP);
static pte_t *kernel_root __read_mostly; // [kmap_lock]; NULL until kmap_init
static bool have_frames;                 // frame_init is done: tables come from there
static bool top_fixed;                   // I3 [kmap_lock]

static const pte_t *kmap_table(const struct pt_space *s, pte_t e, int level)
{
	(void)s;
	(void)level;
	return phys_to_virt(pte_addr(e));
}
static const struct pt_space kmap_space = { .table = kmap_table };

u64 kmap_rights(u64 rights)
{
	if (!cpu_features.nx)
		rights &= ~PTE_NX;
	if (!cpu_features.pge)
		rights &= ~PTE_G;
	return rights;
}

// ---- Building -----------------------------------------------------------------------------------

// An empty table, or NULL. Before frame_init it comes from memory that the boot tables reach.
static pte_t *table_new(void)
{
	phys_t p;
	pte_t *t;

	if (have_frames) {
		p = frame_alloc(0, FRAME_ZERO);
		if (p.pa == PHYS_NONE.pa)
			return NULL;
		frame_note_kept(1); // I4
		return phys_to_virt(p);
	}
	p = bootmem_alloc(PAGE_SIZE, PAGE_SIZE, GIB(4));
	t = phys_to_virt(p);
	memset(t, 0, PAGE_SIZE);
	return t;
}

// The cursor's entry, to be written. All kernel tables are in RAM.
static pte_t *slot_of(const struct pt_cursor *c)
{
	return (pte_t *)(uintptr_t)pt_cursor_slot(c);
}

// The entry at `slot` becomes a table: empty, or, where a leaf was, 512 smaller leaves of the same
// translation. Replacing a live leaf that way needs no flush first: both forms translate alike.
static int make_table(pte_t *slot, int level)
{
	pte_t e = pte_read(slot), *t;

	if (level == PT_PML4 && top_fixed)
		return -ENOMEM;
	t = table_new();
	if (!t)
		return -ENOMEM;
	if (pte_present(e)) {
		u64 rights = e.bits & ~PTE_ADDR & ~(PTE_PS | PTE_P | PTE_A | PTE_D);

		for (unsigned i = 0; i < PT_ENTRIES; i++)
			t[i] = pte_leaf(PHYS(pte_addr(e).pa + i * pt_span(level - 1)), level - 1,
					rights);
	}
	pte_write(slot, pte_table(virt_to_phys(t), PTE_W));
	return 0;
}

// Put the cursor on the entry of `level` for `va`, or lower where a table stands already. Makes
// tables on the way.
static int reach(struct pt_cursor *c, u64 va, int level)
{
	pt_cursor_init_table(c, &kmap_space, kernel_root, PT_PML4, va);
	for (;;) {
		if (pt_cursor_down(c, va))
			continue;
		if (c->level <= level)
			return 0;
		if (make_table(slot_of(c), c->level))
			return -ENOMEM;
	}
}

static int leaf_level(u64 va, u64 pa, u64 len)
{
	u64 align = va | pa;

	if (cpu_features.gib_pages && IS_ALIGNED(align, PUD_SIZE) && len >= PUD_SIZE)
		return PT_PUD;
	return IS_ALIGNED(align, PMD_SIZE) && len >= PMD_SIZE ? PT_PMD : PT_PTE;
}

// Map [va, va + len) to `pa`, all page aligned, over whatever was there. Stale translations are the
// caller's business.
static int map_range(u64 va, u64 pa, u64 len, u64 rights)
{
	struct pt_cursor c;

	rights = kmap_rights(rights | PTE_G);
	while (len) {
		if (reach(&c, va, leaf_level(va, pa, len)))
			return -ENOMEM;
		pte_write(slot_of(&c), pte_leaf(PHYS(pa), c.level, rights));
		va += pt_span(c.level);
		pa += pt_span(c.level);
		len -= pt_span(c.level);
	}
	return 0;
}

static int map_range_locked(u64 va, u64 pa, u64 len, u64 rights)
{
	u64 irq = spin_lock_irqsave(&kmap_lock);
	int err = map_range(va, pa, len, rights);

	spin_unlock_irqrestore(&kmap_lock, irq);
	return err;
}

// ---- The map at boot ----------------------------------------------------------------------------

// Boot has nobody to report an error to; bootmem panics by itself.
static void boot_map(u64 va, u64 pa, u64 len, u64 rights)
{
	ASSERT(map_range(va, pa, len, rights) == 0);
}

static void map_ram(void)
{
	for (unsigned i = 0; i < bootinfo.nr_ranges; i++) {
		const struct boot_range *r = &bootinfo.range[i];
		u64 base = ALIGN_UP(r->base.pa, PAGE_SIZE);
		u64 end = min(ALIGN_DOWN(r->base.pa + r->len, PAGE_SIZE), PHYS_LIMIT);

		if (r->type == BOOT_MEM_RAM && base < end)
			boot_map(PHYSMAP_BASE + base, base, end - base, PTE_W | PTE_NX);
	}
}

static void map_section(const char *start, const char *end, u64 rights)
{
	u64 pa = image_pa(start).pa, len = (u64)(end - start);

	boot_map((u64)start, pa, len, rights);
	if (!(rights & PTE_W)) // I1: the direct map's view of it, too
		boot_map(PHYSMAP_BASE + pa, pa, len, PTE_NX);
}

// The second-level tables of windows that may be added later: I3.
static void prepare_top(u64 base)
{
	struct pt_cursor c;

	for (u64 off = 0; off < TOP_READY; off += pt_span(PT_PML4))
		ASSERT(reach(&c, base + off, PT_PUD) == 0);
}

void kmap_init(void)
{
	bootmem_init();
	kernel_root = table_new();
	map_ram();
	map_section(text_start, text_end, 0);
	map_section(rodata_start, rodata_end, PTE_NX);
	map_section(data_start, data_end, PTE_W | PTE_NX);
	prepare_top(PHYSMAP_BASE);
	prepare_top(KSTACK_BASE);
	prepare_top(PMEM_ALIAS_BASE);
	prepare_top(IOMAP_BASE);
	prepare_top(FIRMWARE_BASE);
	asm_write_cr3(kmap_root().pa);
}

void kmap_frames_ready(void)
{
	have_frames = true;
}

phys_t kmap_root(void)
{
	return virt_to_phys(kernel_root);
}

void kmap_copy_top(pte_t *pml4)
{
	u64 irq = spin_lock_irqsave(&kmap_lock);

	top_fixed = true;
	memcpy(pml4 + TOP_HALF, kernel_root + TOP_HALF, TOP_HALF * sizeof(*pml4));
	spin_unlock_irqrestore(&kmap_lock, irq);
}

pte_t kmap_lookup(u64 va, int *level)
{
	struct pt_cursor c;
	pte_t e;

	pt_cursor_init_table(&c, &kmap_space, kernel_root, PT_PML4, va);
	*level = pt_cursor_descend(&c, va, PT_PTE);
	e = pt_cursor_get(&c);
	return pte_is_leaf(e, c.level) ? e : (pte_t){ 0 };
}

// ---- Windows ------------------------------------------------------------------------------------

static void *window(u64 window_base, phys_t base, u64 len, u64 rights)
{
	u64 first = ALIGN_DOWN(base.pa, PAGE_SIZE), end = ALIGN_UP(base.pa + len, PAGE_SIZE);

	if (base.pa >= PHYS_LIMIT || len > PHYS_LIMIT - base.pa)
		return NULL;
	if (map_range_locked(window_base + first, first, end - first, rights))
		return NULL;
	return (void *)(window_base + base.pa);
}

volatile void *kmap_device(phys_t base, u64 len)
{
	return window(IOMAP_BASE, base, len, PTE_W | PTE_NX | PTE_PCD | PTE_PWT);
}

const void *kmap_firmware(phys_t base, u64 len)
{
	return window(FIRMWARE_BASE, base, len, PTE_NX);
}

int kmap_stack_map(u64 va, phys_t frames, u64 len)
{
	return map_range_locked(va, frames.pa, len, PTE_W | PTE_NX);
}

int kmap_pmem(phys_t base, u64 len, bool read_only)
{
	int err;

	if (!IS_ALIGNED(base.pa | len, PAGE_SIZE) || base.pa >= PHYS_LIMIT ||
	    len > PHYS_LIMIT - base.pa)
		return -EINVAL;
	err = map_range_locked(PHYSMAP_BASE + base.pa, base.pa, len, PTE_NX);
	if (!err && !read_only)
		err = map_range_locked(PMEM_ALIAS_BASE + base.pa, base.pa, len, PTE_W | PTE_NX);
	// Carved from RAM: the direct map was writable there (I2).
	ptbatch_flush_kernel();
	return err;
}
