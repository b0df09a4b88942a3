// SPDX-License-Identifier: MIT
//
// What: an object of zeros in RAM: memory that processes share by fork (MAP_SHARED|MAP_ANONYMOUS).
// Its pages hang in a page-table tree, made on first touch. It never shrinks.
//
// Invariants
//   I1  an entry of the tree, once set, stays until the object goes; the tree owns one reference of
//       each frame, each mapping of a page another.
//
// Locking: lock (RANK_FS_SPIN) guards the tree.
// Failure: -ENOMEM from page().
#include "kernel/lib/errno.h"
#include "mm/aspace_internal.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/vmobject.h"

struct anon_object {
	struct vm_object object;
	struct spinlock lock;
	u32 refs; // atomic
	u64 bytes;
	int level;   // of the tree's root table
	pte_t *root; // [lock]
};

static struct anon_object *anon_of(struct vm_object *o)
{
	return container_of(o, struct anon_object, object);
}

static void tree_free(pte_t *table, int level)
{
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		if (pte_is_none(table[i]))
			continue;
		if (level == PT_PTE)
			frame_put(pte_addr(table[i]));
		else
			tree_free(phys_to_virt(pte_addr(table[i])), level - 1);
	}
	frame_put(virt_to_phys(table));
}

static void anon_get(struct vm_object *o)
{
	__atomic_fetch_add(&anon_of(o)->refs, 1, __ATOMIC_RELAXED);
}

static void anon_put(struct vm_object *o)
{
	struct anon_object *a = anon_of(o);

	if (__atomic_fetch_sub(&a->refs, 1, __ATOMIC_ACQ_REL) > 1)
		return;
	tree_free(a->root, a->level);
	kfree(a);
}

// Zeros are as good as a hole until somebody writes: then all must see the same frame, so reading
// makes it, too. A mapping is charged to who maps it, not to who touches it first.
static int anon_page(struct vm_object *o, u64 off, bool write, struct vm_page *out)
{
	struct anon_object *a = anon_of(o);
	struct pt_cursor c;
	phys_t frame;
	int err;

	(void)write;
	if (off >= a->bytes)
		return -ENXIO;
	frame = frame_alloc(0, FRAME_ZERO);
	if (frame.pa == PHYS_NONE.pa)
		return -ENOMEM;
	spin_lock(&a->lock);
	pt_cursor_init_table(&c, &pt_private, a->root, a->level, off);
	err = pt_build(&c, off, PT_PTE);
	if (!err && pte_is_none(pt_cursor_get(&c))) {
		pte_write(pt_slot(&c), pte_leaf(frame, PT_PTE, 0));
		frame_get(frame); // one for the tree; this one is the caller's
	} else if (!err) {
		phys_t mine = frame;

		frame = pte_addr(pt_cursor_get(&c));
		frame_get(frame);
		frame_put(mine);
	}
	spin_unlock(&a->lock);
	if (err) {
		frame_put(frame);
		return err;
	}
	*out = (struct vm_page){ .pa = frame, .level = PT_PTE, .refcounted = true };
	return 0;
}

static u64 anon_size(struct vm_object *o)
{
	return anon_of(o)->bytes;
}

static void anon_describe(struct vm_object *o, u64 *dev, u64 *ino, char *path, size_t path_bytes)
{
	static const char name[] = "/dev/zero (deleted)"; // as Linux shows it

	(void)o;
	*dev = *ino = 0;
	for (size_t i = 0; i < sizeof(name) && i < path_bytes; i++)
		path[i] = name[i];
}

static const struct vm_object_ops anon_ops = {
	.page = anon_page,
	.size = anon_size,
	.get = anon_get,
	.put = anon_put,
	.describe = anon_describe,
};

struct vm_object *anon_object_create(u64 bytes)
{
	struct anon_object *a = kmalloc(sizeof(*a));
	phys_t root = a ? frame_alloc(0, FRAME_ZERO) : PHYS_NONE;

	if (root.pa == PHYS_NONE.pa) {
		kfree(a);
		return NULL;
	}
	*a = (struct anon_object){ .bytes = bytes, .refs = 1, .root = phys_to_virt(root) };
	for (a->level = PT_PTE; a->level < PT_PML4 && pt_span(a->level + 1) < bytes;)
		a->level++;
	vm_object_init(&a->object, &anon_ops);
	spin_init(&a->lock, RANK_FS_SPIN);
	return &a->object;
}
