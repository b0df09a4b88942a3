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

// A plain fault of a file that has a table of its own: maps the page at `va`, which is page
// aligned, and its neighbours as far as the file has them ready. as->lock and the object's map_lock
// are held shared; the access is allowed. ATTACH_DONE (mm/attach.h): mapped. ATTACH_NONE: not in
// this way. -ENOMEM.
int fill_from_table(struct aspace *as, struct vma *v, u64 va, bool write) __must_check;
