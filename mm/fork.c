// SPDX-License-Identifier: MIT
//
// What: a copy of an address space for fork: the same mappings; memory of the process's own is
// shared read-only until one side writes; attachments are shared as they are; what else shows a
// file, and zero pages, the child faults in by itself.
//
// Invariants
//   I1  the child's VMA is in its object's list before the child gets an entry of the object, under
//       the map_lock: a revoke clears both or comes before.
//   I2  the locks of the two page tables are never held together: entries travel in a small array.
//
// Locking: parent's as->lock exclusively; object->map_lock shared; the pt_locks in turn.
// Failure: no memory: what was built of the child is taken down, the parent is left with pages that
// are read-only until their next write.
#include "kernel/lib/errno.h"
#include "mm/aspace_internal.h"
#include "mm/attach.h"
#include "mm/frame.h"
#include "mm/pagetable.h"
#include "mm/vmobject.h"

#define FORK_CHUNK 32

struct travel {
	u64 va;
	int level;
	pte_t entry;
};

// Gather up to FORK_CHUNK entries from `*va` on; `*va` is moved on. Own pages lose W in the parent
// and get a reference for the child.
static unsigned gather(struct ptbatch *b, u64 *va, u64 end, struct travel *t)
{
	struct pt_cursor c;
	unsigned n = 0;

	pt_cursor_init_table(&c, &pt_private, b->as->root_table, PT_PML4, *va);
	do {
		pte_t e;

		while (pt_cursor_down(&c, max(*va, c.va)))
			;
		e = pt_cursor_get(&c);
		*va = max(*va, c.va);
		if (*va >= end || n == FORK_CHUNK)
			return n;
		if (!(e.bits & (PTE_ANON | PTE_ATTACHED)))
			continue;
		if (e.bits & PTE_ANON) {
			e.bits &= ~PTE_W;
			pt_set(b, &c, e);
			frame_get(pte_addr(e));
		}
		t[n++] = (struct travel){ c.va, c.level, e };
	} while (pt_cursor_next(&c));
	*va = end;
	return n;
}

static int scatter(struct aspace *child, const struct travel *t, unsigned n)
{
	unsigned i = 0;
	struct ptbatch b;
	struct pt_cursor c;

	ptbatch_begin(&b, child);
	spin_lock(&child->pt_lock);
	for (; i < n && pt_reach(child, &c, t[i].va, t[i].level) == 0; i++)
		pt_set(&b, &c, t[i].entry);
	spin_unlock(&child->pt_lock);
	ptbatch_finish(&b);
	if (i == n)
		return 0;
	for (; i < n; i++)
		if (t[i].entry.bits & PTE_OWNED)
			frame_put(pte_addr(t[i].entry));
	return -ENOMEM;
}

static int copy_entries(struct ptbatch *b, struct aspace *child, const struct vma *v)
{
	struct aspace *parent = b->as;
	struct travel t[FORK_CHUNK];
	u64 va = v->lo;

	while (va < v->hi) {
		unsigned n;
		int err;

		spin_lock(&parent->pt_lock);
		n = gather(b, &va, v->hi, t);
		spin_unlock(&parent->pt_lock);
		err = scatter(child, t, n);
		if (err)
			return err;
	}
	return 0;
}

// NO_TSA: the object's lock is there only if there is an object.
NO_TSA static int copy_vma(struct ptbatch *b, struct aspace *child, const struct vma *v)
{
	struct vma *n = vma_new(child, v->start, v->end);
	int err;

	if (!n)
		return -ENOMEM;
	n->lo = v->lo;
	n->hi = v->hi;
	n->object = v->object;
	n->offset = v->offset;
	n->flags = v->flags;
	n->prot = v->prot;
	n->may_prot = v->may_prot;
	n->unit_level = v->unit_level;
	n->attach_level = v->attach_level;
	n->split = v->split;
	if (n->object)
		rwlock_read_lock(&n->object->map_lock);
	vma_link(n);
	err = copy_entries(b, child, v);
	if (n->object)
		rwlock_read_unlock(&n->object->map_lock);
	return err;
}

struct aspace *aspace_fork(struct aspace *parent)
{
	struct aspace *child = aspace_create();
	struct ptbatch b;
	int err = 0;

	if (!child)
		return NULL;
	ptbatch_begin(&b, parent);
	rwlock_write_lock(&parent->lock);
	child->brk_start = parent->brk_start;
	child->brk_end = parent->brk_end;
	child->mmap_top = parent->mmap_top;
	child->limit_bytes = parent->limit_bytes;
	for (struct vma *v = vma_first(&parent->vmas); v && !err; v = vma_next(v))
		if (!v->dont_fork)
			err = copy_vma(&b, child, v);
	// Before the child can run: no CPU may write to a shared page by an old entry any more.
	ptbatch_finish(&b);
	rwlock_write_unlock(&parent->lock);
	if (!err)
		return child;
	aspace_put(child);
	return NULL;
}
