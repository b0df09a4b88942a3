// SPDX-License-Identifier: MIT
//
// What: faults that are taken ahead of the access: MAP_POPULATE, MADV_POPULATE, mlock, and calls
// that try again after a copy that was cut short.
// Not here: taking one (mm/fault.c); mapping a whole PTE page by one (mm/fill.c).
//
// What a fault has mapped is not asked for again: the next one is for the next page that is not
// there.
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "mm/fault.h"
#include "mm/layout.h"
#include "mm/pagetable.h"

// The page at `va` is there now: the next one that is not.
static u64 next_missing(struct aspace *as, u64 va, u64 end, bool write)
{
	spin_lock(&as->pt_lock);
	va = max(va + PAGE_SIZE, pt_usable_until(as, va, end, write));
	spin_unlock(&as->pt_lock);
	return va;
}

int aspace_fault_in(struct aspace *as, uva_t addr, u64 len, bool write)
{
	u64 end = addr.va + len, group = len > FILL_GROUP ? FILL_MOST : FILL_GROUP;

	if (end < addr.va || end > USER_END)
		return -EFAULT;
	for (u64 va = ALIGN_DOWN(addr.va, PAGE_SIZE); va < end;
	     va = next_missing(as, va, end, write)) {
		// Terabytes may have been asked for. The first page always: somebody waits for it.
		if (va > addr.va && READ_ONCE(thread_current()->signal_pending))
			return -EINTR;
		if (fault_resolve_group(as, va, write ? FAULT_WRITE : FAULT_READ, group))
			return -EFAULT;
	}
	return 0;
}
