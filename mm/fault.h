// SPDX-License-Identifier: MIT
//
// Page faults, within mm/. Public: fault_init and fault_set_signal in mm/aspace.h.
#pragma once

#include "mm/aspace.h"

enum fault_access { FAULT_READ, FAULT_WRITE, FAULT_EXEC };

// Make the page at `va` usable for `access`. 0: done, or somebody else did, try the access again.
//   -EFAULT  no mapping                  SIGSEGV, SEGV_MAPERR
//   -EACCES  the mapping does not allow it   SIGSEGV, SEGV_ACCERR
//   -ENXIO   beyond the end of the file  SIGBUS; as -ENOSPC, -EIO, -EUCLEAN
//   -ENOMEM  no frame                    SIGBUS
// Takes as->lock and the object's map_lock shared (exclusively if a large leaf must be split).
int fault_resolve(struct aspace *as, u64 va, enum fault_access access) __must_check;
// The same, and of a file with a table of its own the neighbours in a group of so many bytes.
int fault_resolve_group(struct aspace *as, u64 va, enum fault_access access, u64 group)
	__must_check;

// How much of a file a fault maps at most, an aligned part of it, where the file has small pages:
// as Linux takes it; and where a long range is asked for at once (MAP_POPULATE), a whole PTE page.
#define FILL_GROUP (16 * PAGE_SIZE)
#define FILL_MOST  PMD_SIZE

// A plain fault of a file that has a table of its own: maps the page at `va`, which is page
// aligned, and its neighbours in the group of so many bytes as far as the file has them ready.
// as->lock and the object's map_lock are held shared; the access is allowed. ATTACH_DONE
// (mm/attach.h): mapped. ATTACH_NONE: not in this way. -ENOMEM.
int fill_from_table(struct aspace *as, struct vma *v, u64 va, bool write, u64 group) __must_check;
