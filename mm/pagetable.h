// SPDX-License-Identifier: MIT
//
// The private page tables of a user address space: making tables, changing entries, clearing
// ranges.
//
//      PML4 (private) -> PUD (private) -> PMD (private) -> PTE (private) -> page
//                              |                |
//                              |                +--ATTACHED--> PTE page of a file (PMem)
//                              +--ATTACHED--> PMD page of a file -> its PTE pages -> its blocks
//
// An entry marked ATTACHED was copied from a file's own table: what it points at is the file's, and
// is never written or freed here. Unmarked entries of level 2 and up that are no leaves name
// private tables. Software bits of private entries (the MMU ignores them):
//
//      OWNED     the mapping holds a reference of the frame
//      ATTACHED  the target is a part of a file's table, or a block found in one
//      ANON      with OWNED: memory of this process alone (or shared by fork until written), not a
//                page of the mapped object
//
// An entry may be nonzero with P clear: PROT_NONE; the rest of it says what is there.
//
// Invariants
//   I1  a private table's frame counts the nonzero entries below USER_END in its owner word.
//   I2  a private PTE page with count 0 is taken out at once. One of them is kept in store for the
//       next that is wanted, since it need not be zeroed. Upper tables stay where they are until
//       the address space goes (at most 4 KiB per GiB ever used), or a file's takes their place.
//   I3  upper private entries have all rights; rights are in the leaf or ATTACHED entry.
//
// Locking: all functions need as->pt_lock held, unless said otherwise.
#pragma once

#include "kernel/lib/ptcursor.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/ptbatch.h"

#define PTE_OWNED    PTE_SW0
#define PTE_ATTACHED PTE_SW1
#define PTE_ANON     PTE_SW2

// Trees of tables in RAM, followed as far as they are private / as far as the MMU follows them.
extern const struct pt_space pt_private;
extern const struct pt_space pt_mmu;

static inline pte_t *pt_slot(const struct pt_cursor *c)
{
	return (pte_t *)(uintptr_t)pt_cursor_slot(c);
}

// Does `e`, of `level`, name a private table?
static inline bool pt_is_private(pte_t e, int level)
{
	return level > PT_PTE && (e.bits & (PTE_P | PTE_PS | PTE_ATTACHED)) == PTE_P;
}

// How many entries of it are not zero (I1).
static inline u64 pt_private_count(pte_t e)
{
	return frame_owner(pte_addr(e));
}

// Rights of a user leaf or attachment for PROT_*; with PROT_NONE the P bit is to be cleared.
extern u64 pt_rights[8]; // by PROT_*
static inline u64 pt_user_rights(unsigned prot, bool writable)
{
	return pt_rights[prot &
			 (writable ? PROT_READ | PROT_WRITE | PROT_EXEC : PROT_READ | PROT_EXEC)];
}

// The entry for [pa, ...) of `level` in a mapping of protection `prot`. `extra`: software bits.
pte_t pt_user_leaf(phys_t pa, int level, unsigned prot, bool writable, u64 extra);

// A table of `as`, empty root with the kernel's half. -ENOMEM. No lock needed.
int pt_init(struct aspace *as) __must_check;
// Free all private tables; all ranges were cleared, no CPU has the space loaded. No lock needed.
void pt_destroy(struct aspace *as);

// Stand on the lowest private entry for `va` that there is.
void pt_look(struct aspace *as, struct pt_cursor *c, u64 va);
// The same for who needs no cursor: the entry's place, and its level.
static inline pte_t *pt_find(struct aspace *as, u64 va, int *level)
{
	pte_t *slot = &as->root_table[pt_index(va, PT_PML4)];

	for (int l = PT_PML4;; l--) {
		pte_t e = pte_read(slot);

		*level = l;
		if (pte_is_none(e) || (e.bits & PTE_ATTACHED) || pte_is_leaf(e, l))
			return slot;
		slot = (pte_t *)phys_to_virt(pte_addr(e)) + pt_index(va, l - 1);
	}
}

// Does the walk from a present entry of `level` reach a present leaf at `va`? Holes do not.
static inline bool pt_reaches(pte_t e, int level, u64 va)
{
	while (pte_present(e) && !pte_is_leaf(e, level)) {
		const pte_t *table = phys_to_virt(pte_addr(e));

		e = pte_read(&table[pt_index(va, --level)]);
	}
	return pte_present(e);
}

// Likewise, but make tables so as to stand on the entry of `level`: c->level is `level`, or higher
// if a leaf or an attachment is there. -ENOMEM.
int pt_reach(struct aspace *as, struct pt_cursor *c, u64 va, int level) __must_check;
// The same from where the cursor stands, in any tree of private tables. Its own lock, if any.
int pt_build(struct pt_cursor *c, u64 va, int level) __must_check;

// Replace the cursor's entry, through the batch. NULL: nobody has to forget the old one.
pte_t pt_set(struct ptbatch *b, struct pt_cursor *c, pte_t e);

// From `va` on, which is mapped: the first place, `end` at most, whose entry does not allow reading
// (or writing), or that is not to be told from here: holes of attached tables, for a write. It may
// stop early, at the end of a table.
u64 pt_usable_until(struct aspace *as, u64 va, u64 end, bool write);

// `n` entries of the private table that `slot` lies in were 0 and were written by pte_write(), with
// no batch: nobody can have cached that there was nothing. Counts them (I1).
static inline void pt_filled(const pte_t *slot, unsigned n)
{
	frame_owner_add(virt_to_phys((const void *)ALIGN_DOWN((u64)slot, PAGE_SIZE)), n);
}

// `n` entries, of a table that is not of the lowest level, were cleared without a batch.
static inline void pt_emptied(const pte_t *slot, unsigned n)
{
	frame_owner_add(virt_to_phys((const void *)ALIGN_DOWN((u64)slot, PAGE_SIZE)), -(s64)n);
}

enum pt_zap {
	PT_ZAP_ALL,  // everything that maps part of the range
	PT_ZAP_FILE, // all but ANON pages: the file loses blocks, private copies stay
	PT_ZAP_ZERO, // zero pages only
};
// Clear the entries that map part of [va, end), attachments and large leaves as a whole. Returns
// `end`, or where to go on after the batch was flushed (it is full).
u64 pt_zap(struct ptbatch *b, u64 va, u64 end, enum pt_zap what) __must_check;
// pt_zap over and over, taking and releasing as->pt_lock and flushing the batch between. Lock not
// held.
void pt_zap_range(struct ptbatch *b, u64 va, u64 end, enum pt_zap what);

// Remove the private table that the cursor's entry names with everything below: the entry is zero
// then. False: the batch is full, flush and try again.
bool pt_prune(struct ptbatch *b, struct pt_cursor *c) __must_check;

// Nothing is mapped by the cursor's entry, though private tables may be there.
bool pt_empty_below(const struct pt_cursor *at);

// Replace the attached table at the cursor by a private copy of it: 512 ATTACHED entries with the
// rights of the one. The object's map_lock is held shared. The batch may be NULL as for pt_set.
// -ENOMEM.
int pt_split(struct ptbatch *b, struct pt_cursor *c) __must_check;

// Take W from all that is mapped in [va, end), but pages of the process's own. Never runs out of
// batch.
void pt_take_write(struct ptbatch *b, u64 va, u64 end);

// Give the range the rights of `prot`; boundaries cut no entry. `shared`: leaves may become
// writable by it. Never runs out of batch (frees nothing).
void pt_protect(struct ptbatch *b, u64 va, u64 end, unsigned prot, bool shared);

// The frame of zeros that stands for untouched memory and holes. Never counted.
extern phys_t pt_zero_page;
int pt_once_init(void) __must_check;

static inline bool pt_is_zero_page(pte_t e, int level)
{
	return level == PT_PTE && !pte_is_none(e) && pte_addr(e).pa == pt_zero_page.pa;
}
