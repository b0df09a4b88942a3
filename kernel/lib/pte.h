// SPDX-License-Identifier: MIT
//
// x86-64 page-table entries (Intel SDM vol. 3A, 4.5), one type for all levels.
//
// The same 64-bit words live in three places: in tables that the kernel builds in DRAM, in the
// page-table subtrees that ptfs stores in persistent memory, and in fsck's view of an image on
// another machine. This header is therefore freestanding and knows nothing of where it runs.
//
// Levels count from the page upwards: 1 = PTE, 2 = PMD, 3 = PUD, 4 = PML4. "An entry of level n"
// is a word inside a table of level n; it maps 4 KiB << 9 * (n - 1) bytes. A live entry changes
// only by one 8-byte atomic store or compare-and-swap. In memory a word is little-endian; pte_t has
// the byte order of the machine, and the functions at the end stand between the two.
#pragma once

#include "kernel/lib/endian.h"
#include "kernel/lib/types.h"
#include "media_load.h"

typedef struct {
	u64 bits;
} pte_t;

enum { PT_PTE = 1, PT_PMD = 2, PT_PUD = 3, PT_PML4 = 4 };

#define PT_ENTRIES 512u

#define PTE_P    BIT(0) // present: the MMU may use it
#define PTE_W    BIT(1) // writable
#define PTE_U    BIT(2) // user
#define PTE_PWT  BIT(3) // write-through
#define PTE_PCD  BIT(4) // cache disable (device maps)
#define PTE_A    BIT(5) // accessed
#define PTE_D    BIT(6) // dirty (leaves)
#define PTE_PS   BIT(7) // level 2 and 3: a leaf, not a table
#define PTE_G    BIT(8) // global (kernel leaves only: user entries are never global)
#define PTE_SW0  BIT(9) // bits 9-11 and 52-62 are ignored by the MMU
#define PTE_SW1  BIT(10)
#define PTE_SW2  BIT(11)
#define PTE_NX   BIT(63)
#define PTE_ADDR 0x000ffffffffff000ull

// Bytes that one entry of `level` maps, and its log2.
static inline unsigned pt_shift(int level)
{
	return PAGE_SHIFT + 9 * (unsigned)(level - 1);
}

static inline u64 pt_span(int level)
{
	return 1ull << pt_shift(level);
}

// Index of `va` in a table of `level`.
static inline unsigned pt_index(u64 va, int level)
{
	return (va >> pt_shift(level)) & (PT_ENTRIES - 1);
}

static inline bool pte_is_none(pte_t e)
{
	return e.bits == 0;
}

static inline bool pte_present(pte_t e)
{
	return e.bits & PTE_P;
}

static inline bool pte_is_leaf(pte_t e, int level)
{
	return level == PT_PTE || (e.bits & PTE_PS);
}

static inline phys_t pte_addr(pte_t e)
{
	return PHYS(e.bits & PTE_ADDR);
}

// A leaf of `level` that maps `pa` with the given rights (PTE_W, PTE_U, PTE_NX, PTE_G, ...).
// A and D are preset so that the page walker never has to write the entry.
static inline pte_t pte_leaf(phys_t pa, int level, u64 rights)
{
	return (pte_t){ pa.pa | rights | PTE_P | PTE_A | PTE_D | (level > PT_PTE ? PTE_PS : 0) };
}

// A pointer to a table. The rights of a walk are the AND of its entries (W, U) and the OR of NX.
static inline pte_t pte_table(phys_t table, u64 rights)
{
	return (pte_t){ table.pa | rights | PTE_P | PTE_A };
}

// Tables may lie in persistent memory, which may fail: what is loaded then is an entry that is not
// present, and that no file system writes (~1). (media_any8() is the same for the eight words of a
// line: is any of them not zero, or has it failed?) "media_load.h" is found by include path; the
// kernel and the host have one each.
#define PTE_FAILED (~1ull)
static inline pte_t pte_read(const pte_t *slot)
{
	return (pte_t){ LE_ORDER64(media_load64(&slot->bits)) };
}

// For DRAM tables only; tables on the medium are written through the pmem functions.
static inline void pte_write(pte_t *slot, pte_t e)
{
	__atomic_store_n(&slot->bits, LE_ORDER64(e.bits), __ATOMIC_RELEASE);
}

static inline pte_t pte_exchange(pte_t *slot, pte_t e)
{
	u64 old = __atomic_exchange_n(&slot->bits, LE_ORDER64(e.bits), __ATOMIC_SEQ_CST);

	return (pte_t){ LE_ORDER64(old) };
}

// True if `slot` held `old` and now holds `e`.
static inline bool pte_cas(pte_t *slot, pte_t old, pte_t e)
{
	u64 want = LE_ORDER64(old.bits);

	return __atomic_compare_exchange_n(&slot->bits, &want, LE_ORDER64(e.bits), false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
