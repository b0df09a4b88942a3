// SPDX-License-Identifier: MIT
//
// What: who shares memory: the place of a word in a shared mapping, users of an address space.
// Locking: as->lock, shared.
#include "kernel/lib/errno.h"
#include "mm/aspace.h"
#include "mm/vmobject.h"

int aspace_shared_place(struct aspace *as, uva_t va, struct vm_object **object, u64 *offset)
{
	const struct vma *v;
	int err = -EFAULT;

	*object = NULL;
	*offset = 0;
	rwlock_read_lock(&as->lock);
	v = vma_find(&as->vmas, va.va);
	if (v && (va.va < v->start || va.va >= v->end))
		v = NULL;
	if (v && v->object && vma_is_shared(v) && v->prot != PROT_NONE) {
		*object = v->object;
		*offset = v->offset + (va.va - v->start);
		vm_object_get(v->object);
		err = 0;
	} else if (v && !vma_is_shared(v) && (v->prot & PROT_WRITE)) {
		err = 0;
	}
	rwlock_read_unlock(&as->lock);
	return err;
}

bool aspace_is_sole(const struct aspace *as)
{
	return __atomic_load_n(&as->refs, __ATOMIC_ACQUIRE) == 1;
}
