// SPDX-License-Identifier: MIT
//
// What: from a block of memory that has failed to the file that a process maps it from, and that
// file out of every mapping.
// Not here: machine checks (kernel/x86/mce.c), which blocks are bad (drivers/nvdimm/poison.c).
//
// A machine check tells a physical address. The user address that was touched comes from a page
// fault: once the file is detached the instruction runs again, faults, and the file system refuses
// the page (-EHWPOISON), or the table that leads to it (-EUCLEAN). So the address in SIGBUS is
// exact, also where a block is mapped twice, and every other process that touches it learns it the
// same way.
//
// Invariant
//   I1  tables are followed only with as->pt_lock held: it keeps preemption off, so no table page
//       that is found in the tree is freed and used again meanwhile (sched/epoch.h).
// Locking: as->lock shared for the search, pt_lock for one 2 MiB of it; then the object's map_lock,
// with no other lock held.
#include "mm/memfail.h"

#include "mm/arena.h"
#include "mm/aspace.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/vmobject.h"

// What a search found out about one stretch of addresses.
struct look {
	u64 next; // where the stretch ends
	bool hit; // it leads to the block
	u64 hit_va;
};

static bool in_table(const struct pt_cursor *c, phys_t block)
{
	u64 table = ALIGN_DOWN((u64)pt_cursor_slot(c), PAGE_SIZE);

	return table == (u64)phys_to_virt(block);
}

static bool names_block(const struct pt_cursor *c, phys_t block)
{
	pte_t e = pt_cursor_get(c);

	return pte_present(e) && pte_is_leaf(e, c->level) && pte_addr(e).pa <= block.pa &&
	       block.pa - pte_addr(e).pa < pt_span(c->level);
}

// From `va` on, at most to the end of its PTE page.
static struct look look_at(struct aspace *as, u64 va, phys_t block)
{
	struct look l = { .hit_va = va };
	struct pt_cursor c;

	spin_lock(&as->pt_lock);
	pt_cursor_init_table(&c, &pt_mmu, as->root_table, PT_PML4, va);
	while (!l.hit && pt_cursor_down(&c, va))
		l.hit = in_table(&c, block);
	do {
		if (!l.hit && names_block(&c, block)) {
			l.hit = true;
			l.hit_va = max(va, c.va);
		}
		l.next = pt_cursor_end(&c);
	} while (!l.hit && c.level == PT_PTE && l.next % PMD_SIZE && pt_cursor_next(&c));
	spin_unlock(&as->pt_lock);
	return l;
}

// The object mapped at `va`, with a reference; NULL: none.
static struct vm_object *object_at(struct aspace *as, const struct vma *v, u64 va)
{
	struct vma shown;
	struct slot *s = v->arenas ? arena_pin(as, va, &shown) : NULL;
	struct vm_object *o = v->object;

	if (s)
		o = shown.object;
	if (o)
		vm_object_get(o);
	if (s)
		arena_unpin(s);
	return o;
}

static struct vm_object *find_object(struct aspace *as, phys_t block)
{
	struct vm_object *o = NULL;
	u64 va = USER_BASE;

	rwlock_read_lock(&as->lock);
	while (!o && va < USER_END) {
		struct vma *v = vma_find_from(&as->vmas, va);
		struct look l;

		if (!v)
			break;
		va = max(va, v->lo);
		l = look_at(as, va, block);
		if (l.hit)
			o = object_at(as, v, l.hit_va);
		va = l.next;
	}
	rwlock_read_unlock(&as->lock);
	return o;
}

void memfail_detach_object(struct vm_object *o)
{
	rwlock_write_lock(&o->map_lock);
	vm_revoke_begin(o);
	vm_root_changed(o); // a copy of tables that have failed
	vm_revoke_finish(o, 0, ~0ull, VM_FORGET_ALL);
	rwlock_write_unlock(&o->map_lock);
}

bool memfail_detach(struct aspace *as, phys_t block)
{
	struct vm_object *o = find_object(as, block);

	if (!o)
		return false;
	memfail_detach_object(o);
	vm_object_put(o);
	return true;
}
