// SPDX-License-Identifier: MIT
//
// The kernel map: W^X everywhere, aliases of text and constants read-only, PMem writable through
// its own alias alone, nothing for users.
#include "kernel/ktest.h"
#include "kernel/lib/ptcursor.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/image.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/layout.h"
#include "mm/pagetable.h"

static u64 rights_at(u64 va)
{
	int level;
	pte_t e = kmap_lookup(va, &level);

	return pte_present(e) ? e.bits & (PTE_P | PTE_W | PTE_U | PTE_NX) : 0;
}

KTEST(kmap_image_rights)
{
	u64 nx = kmap_rights(PTE_NX);

	for (u64 va = (u64)text_start; va < (u64)text_end; va += PAGE_SIZE)
		EXPECT_EQ(rights_at(va), PTE_P);
	for (u64 va = (u64)rodata_start; va < (u64)rodata_end; va += PAGE_SIZE)
		EXPECT_EQ(rights_at(va), PTE_P | nx);
	for (u64 va = (u64)data_start; va < (u64)data_end; va += PAGE_SIZE)
		EXPECT_EQ(rights_at(va), PTE_P | PTE_W | nx);
	EXPECT_EQ(rights_at(KERNEL_BASE), 0);
	EXPECT_EQ(rights_at(0), 0); // the identity map of boot is gone
}

KTEST(kmap_aliases_are_read_only)
{
	u64 nx = kmap_rights(PTE_NX);

	for (u64 va = (u64)text_start; va < (u64)rodata_end; va += PAGE_SIZE)
		EXPECT_EQ(rights_at(PHYSMAP_BASE + image_pa((void *)va).pa), PTE_P | nx);
	EXPECT_EQ(rights_at(PHYSMAP_BASE + image_pa(data_start).pa), PTE_P | PTE_W | nx);
}

// Every leaf of the kernel half: not for users, never writable and executable at once, global where
// the CPU can.
KTEST(kmap_no_leaf_breaks_the_rules)
{
	struct pt_cursor c;
	u64 from = PHYSMAP_BASE, leaves = 0;

	pt_cursor_init_table(&c, &pt_mmu, phys_to_virt(kmap_root()), PT_PML4, from);
	while (pt_cursor_find_leaf(&c, from, ~0ull)) {
		u64 bits = pt_cursor_get(&c).bits;

		EXPECT(!(bits & PTE_U));
		EXPECT(!(bits & PTE_W) || (bits & PTE_NX) || !cpu_features.nx);
		EXPECT((bits & PTE_G) || !cpu_features.pge);
		leaves++;
		from = pt_cursor_end(&c);
		if (from < PHYSMAP_BASE)
			break; // the last page of all
	}
	EXPECT(leaves > 10);
}

KTEST(kmap_device_windows_are_uncached)
{
	volatile u32 *a = kmap_device(PHYS(0xfee00020), 4); // the LAPIC's number, on every PC
	int level;
	pte_t e = kmap_lookup((u64)a, &level);

	EXPECT_EQ((u64)a, IOMAP_BASE + 0xfee00020);
	EXPECT(pte_present(e) && (e.bits & PTE_PCD));
	EXPECT(kmap_device(PHYS(PHYS_LIMIT), 1) == NULL);
	EXPECT(kmap_device(PHYS(0), PHYS_LIMIT + 1) == NULL);
	EXPECT(kmap_firmware(PHYS(~0ull), 2) == NULL);
}

KTEST(kmap_stores_to_constants_fault)
{
	u64 word;

	EXPECT(asm_read_word((u64)rodata_start, &word));
	EXPECT(asm_read_cr0() & BIT(16)); // WP: read-only holds for the kernel, too
}
