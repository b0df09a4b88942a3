// SPDX-License-Identifier: MIT
//
// What: a kernel without user memory, until the files of mm that know better are linked in.
#include "kernel/lib/errno.h"
#include "mm/aspace.h"
#include "mm/uaccess.h"
#include "mm/vmobject.h"

#define WEAK __attribute__((weak))

WEAK int copy_from_user(void *dst __unused, uva_t src __unused, size_t bytes __unused)
{
	return -EFAULT;
}

WEAK int copy_to_user(uva_t dst __unused, const void *src __unused, size_t bytes __unused)
{
	return -EFAULT;
}

WEAK size_t copy_from_user_partial(void *dst __unused, uva_t src __unused, size_t bytes)
{
	return bytes;
}

WEAK size_t copy_to_user_partial(uva_t dst __unused, const void *src __unused, size_t bytes)
{
	return bytes;
}

WEAK void uaccess_faults_off(void)
{
}

WEAK void uaccess_faults_on(void)
{
}

WEAK int aspace_fault_in(struct aspace *as __unused, uva_t addr __unused, u64 len __unused,
			 bool write __unused)
{
	return -EFAULT;
}

WEAK void vm_object_init(struct vm_object *o, const struct vm_object_ops *ops)
{
	o->ops = ops;
	rwlock_init(&o->map_lock, RANK_MAPPING);
}

WEAK void vm_revoke_begin(struct vm_object *o __unused)
{
}

WEAK void vm_revoke_finish(struct vm_object *o __unused, u64 off __unused, u64 len __unused)
{
}

WEAK void vm_hole_filled(struct vm_object *o __unused, u64 off __unused, u64 len __unused)
{
}

WEAK ssize strncpy_from_user(char *dst __unused, uva_t src __unused, size_t bytes __unused)
{
	return -EFAULT;
}

WEAK void signal_set_temporary_mask(u64 set);
WEAK void signal_set_temporary_mask(u64 set __unused)
{
}
