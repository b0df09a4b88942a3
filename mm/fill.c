// SPDX-License-Identifier: MIT
//
// What: plain faults of files that have a table of their own: the entries around the fault are
// copied from it, many at a time, under one hold of each lock.
// Not here: holes, private copies, files without a table (mm/fault.c); attaching (mm/attach.c).
//
// A program that touches a page will touch its neighbours. Asking the file system for each of them
// would cost as much as their faults; the file's table has them side by side in two cache lines.
//
//	file's PTE page      ... | 16 entries: 64 KiB of the file | ...
// 	                           |   |   .   |   |   .   .   |     (. hole or not published: left
//                                 out)
//	private PTE page     ... | R   R       R   R           R | ...
//
// Invariants
//   I1  what is installed was read under the map_lock that is still held: a revoke came before, or
//       finds it, since it looks through all that the mapping shows of the range.
//   I2  only entries that the file has present and ready go in, within what was asked for and not
//       past the end of the file: there SIGBUS is due.
//   I3  only places without anything change, so nobody can have cached what was there: no batch, no
//       flush. A CPU that faults on such a place meanwhile finds it filled when it tries again.
//   I4  a group lies within one PTE page of the file, or its direct entries, and of the process.
//
// Locking: as->lock shared (or exclusively), map_lock shared, held by the caller; pt_lock.
// Failure: what cannot be had in this way is left to the fault's slow path; -ENOMEM for tables.
#include "kernel/lib/errno.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/fault.h"
#include "mm/layout.h"
#include "mm/shadow.h"
#include "mm/stat.h"
#include "mm/vmobject.h"

// Where the file has its pages around a place.
struct source {
	const pte_t *pte; // the entry for the place, in a PTE page or among the direct ones; NULL:
	pte_t leaf;       // the 2 MiB leaf around it
	u64 end;          // byte of the file from which on `pte` has no neighbours any more
};

// Down from the file's entry `e` of `level`. False: nothing is there.
static inline bool find_below(pte_t e, int level, u64 off, struct source *s)
{
	const pte_t *table;

	for (; level > PT_PMD && pte_present(e); level--) {
		table = phys_to_virt(pte_addr(e));
		e = pte_read(&table[pt_index(off, level - 1)]);
	}
	if (!pte_present(e))
		return false;
	table = phys_to_virt(pte_addr(e));
	s->leaf = e;
	s->end = ~0ull;
	s->pte = e.bits & PTE_PS ? NULL : &table[pt_index(off, PT_PTE)];
	return !s->pte || pte_present(pte_read(s->pte));
}

static bool find_by_root(const struct vm_object *o, u64 off, struct source *s)
{
	u64 root = READ_ONCE(o->root_word);
	int level = vm_root_level(root);

	if (level == PT_PTE && off < VM_DIRECT_BLOCKS * PAGE_SIZE) {
		// The file may have grown since: a table has taken over, and these hold still.
		s->pte = &o->direct[off / PAGE_SIZE];
		s->end = VM_DIRECT_BLOCKS * PAGE_SIZE;
		return pte_present(pte_read(s->pte));
	}
	return level > PT_PTE && off < pt_span(level) && find_below((pte_t){ root }, level, off, s);
}

// The first time, or the file's stretch is not ready yet, or the file has grown; or a hole.
static __attribute__((noinline)) bool find_anew(struct vm_object *o, u64 off, struct source *s)
{
	struct vm_table t = { .kind = VM_TABLE_NONE };

	if (vm_table(o, off, PT_PML4, &t))
		return false;
	vm_root_publish(o, off, &t);
	if (t.kind == VM_TABLE_DIRECT)
		return find_by_root(o, off, s);
	return t.kind == VM_TABLE_ENTRY && find_below(t.entry, t.level, off, s);
}

// ---- Installing ---------------------------------------------------------------------------------

// A mapping without any right takes no faults. Where stores are tracked, W comes with a store: the
// fault's own, which has marked the chunk, and of which a group and a leaf are parts.
static inline u64 leaf_rights(const struct vma *v, bool write)
{
	bool writable = vma_is_shared(v) && (write || !vma_tracks(v));

	return pt_user_rights(v->prot, writable) | PTE_P | PTE_A | PTE_D;
}

// `va` lies in a block of 2 MiB or 1 GiB of which the mapping shows all, and none beyond the end of
// the file.
static bool fits_leaf(const struct vma *v, u64 va, int level, u64 size)
{
	u64 first = ALIGN_DOWN(va, pt_span(level));

	return first >= v->start && v->end - first >= pt_span(level) &&
	       IS_ALIGNED(vma_offset(v, first), pt_span(level)) &&
	       vma_offset(v, first) + pt_span(level) <= size;
}

static int fill_leaf(struct aspace *as, const struct vma *v, u64 va, bool write, int level,
		     pte_t leaf)
{
	int result = ATTACH_NONE;
	struct pt_cursor c;

	spin_lock(&as->pt_lock);
	if (pt_reach(as, &c, va, level)) {
		result = -ENOMEM;
	} else if (c.level == level && pte_is_none(pt_cursor_get(&c))) {
		pte_write(pt_slot(&c),
			  (pte_t){ pte_addr(leaf).pa | leaf_rights(v, write) | PTE_PS });
		pt_filled(pt_slot(&c), 1);
		result = ATTACH_DONE;
	}
	spin_unlock(&as->pt_lock);
	if (result == ATTACH_DONE)
		mm_count_many(level == PT_PUD ? MM_STAT_fault_file_1g : MM_STAT_fault_file_2m, 1);
	return result;
}

// The GiB around `va` as one leaf. A store to a tracked mapping grants W for 2 MiB and no more: no
// such leaf then.
static int fill_gib(struct aspace *as, const struct vma *v, u64 va, bool write, u64 size)
{
	pte_t leaf;

	if ((write && vma_tracks(v)) || !fits_leaf(v, va, PT_PUD, size))
		return ATTACH_NONE;
	leaf = vm_gib_leaf(v->object, vma_offset(v, va));
	return pte_present(leaf) ? fill_leaf(as, v, va, write, PT_PUD, leaf) : ATTACH_NONE;
}

// The pages around `va` that are mapped along with it: so many before and after it (I2, I4).
struct group {
	unsigned before, after;
};

static struct group group_around(const struct vma *v, u64 va, u64 size, u64 bytes)
{
	u64 off = vma_offset(v, va), in_table = va & (PMD_SIZE - 1);
	u64 before = off & (bytes - 1), upto = bytes - before;

	before = min(before, in_table);
	before = min(before, va - v->start);
	upto = min(upto, PMD_SIZE - in_table);
	upto = min(upto, v->end - va);
	upto = min(upto, size - off);
	return (struct group){ (unsigned)(before / PAGE_SIZE), (unsigned)(upto / PAGE_SIZE) - 1 };
}

// `to`: the private entry of the fault. Returns how many were filled.
static unsigned fill_entries(pte_t *to, const struct source *s, struct group g, u64 rights)
{
	const pte_t *from = s->pte - g.before, *end = s->pte + g.after;
	unsigned filled = 0;

	for (to -= g.before; from <= end; from++, to++) {
		pte_t e = pte_read(from);

		if (!pte_present(e) || !pte_is_none(pte_read(to)))
			continue;
		pte_write(to, (pte_t){ (e.bits & PTE_ADDR) | rights });
		filled++;
	}
	return filled;
}

// NULL: no memory.
static pte_t *slot_in_new_table(struct aspace *as, u64 va, int *level)
{
	struct pt_cursor c;

	if (pt_reach(as, &c, va, PT_PTE))
		return NULL;
	*level = c.level;
	return pt_slot(&c);
}

static int fill_group(struct aspace *as, const struct vma *v, u64 va, bool write,
		      const struct source *s, struct group g)
{
	u64 rights = leaf_rights(v, write);
	int result = ATTACH_NONE, level;
	unsigned filled = 0;
	pte_t *slot;

	spin_lock(&as->pt_lock);
	slot = pt_find(as, va, &level);
	if (level > PT_PTE && pte_is_none(pte_read(slot)))
		slot = slot_in_new_table(as, va, &level);
	if (!slot) {
		result = -ENOMEM;
	} else if (level == PT_PTE && pte_is_none(pte_read(slot))) {
		filled = fill_entries(slot, s, g, rights);
		pt_filled(slot, filled);
		result = ATTACH_DONE;
	}
	spin_unlock(&as->pt_lock);
	if (filled)
		mm_count(fault_file_4k);
	if (filled > 1)
		mm_count_many(MM_STAT_fault_around, filled - 1);
	return result;
}

int fill_from_table(struct aspace *as, struct vma *v, u64 va, bool write, u64 group)
{
	struct vm_object *o = v->object;
	struct source s = { 0 };
	u64 off = vma_offset(v, va), size;
	int done;

	if (!o->ops->table || (write && !vma_is_shared(v)))
		return ATTACH_NONE;
	size = ALIGN_UP(o->ops->size(o), PAGE_SIZE);
	if (off >= size || (!find_by_root(o, off, &s) && !find_anew(o, off, &s)))
		return ATTACH_NONE;
	if (!s.pte && !fits_leaf(v, va, PT_PMD, size))
		return ATTACH_NONE;
	if (!s.pte && size >= PUD_SIZE) {
		done = fill_gib(as, v, va, write, size);
		if (done != ATTACH_NONE)
			return done;
	}
	if (write && vma_tracks(v)) {
		done = vm_dirty_mark(o, off); // before W is there
		if (done)
			return done;
	}
	return s.pte ? fill_group(as, v, va, write, &s,
				  group_around(v, va, min(size, s.end), group))
		     : fill_leaf(as, v, va, write, PT_PMD, s.leaf);
}
