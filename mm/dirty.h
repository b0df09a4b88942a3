// SPDX-License-Identifier: MIT
//
// Which parts of a file were stored to through mappings, and making them durable.
//
// The unit is the chunk: 2 MiB of the file. A shared mapping that may be written begins without W.
// The first store to a chunk faults once; the fault puts the chunk in the file's dirty set and
// grants W for that chunk. A sync takes chunk and W away again, makes CPUs forget W, and writes the
// chunk's lines back. So what costs a fault is a clean chunk, not a page, and what a sync costs
// goes by what was stored to, not by the size of the file (docs/mapping.md, "Dirty tracking").
//
// Mappings with MAP_DAXVM_NOSYNC have W from the start and stand outside of all this.
#pragma once

#include "mm/aspace.h"
#include "mm/ptbatch.h"
#include "mm/unsplit.h"
#include "mm/vma.h"
#include "mm/vmobject.h"

#define VM_CHUNK_SHIFT PMD_SHIFT
#define VM_CHUNK_BYTES PMD_SIZE

// ---- For file systems ---------------------------------------------------------------------------

// Everything that was stored through tracked mappings before the call is durable at its return.
// One shootdown, whatever the number of chunks. Thread context; no lock held that comes after
// RANK_SYNC. 0, or what object->ops->sync returns: then the chunks count as dirty still.
int vm_sync(struct vm_object *o) __must_check;

// The same for bytes [off, end) of the object. Chunks that are covered to the end of the file
// become clean; of others the lines of the range are written back, and they stay as dirty as they
// were.
int vm_sync_range(struct vm_object *o, u64 off, u64 end) __must_check;

// While the contents move inside the file (collapse): no sync is between taking chunks and writing
// them back. -ENOMEM. Then, if they did move, vm_dirty_moved: every chunk from `off` on may be
// dirty.
int vm_sync_hold(struct vm_object *o) __must_check;
void vm_dirty_moved(struct vm_object *o, u64 off);
void vm_sync_release(struct vm_object *o);

// The object goes; nothing maps it.
void vm_dirty_free(struct vm_object *o);

// ---- Within mm/ ---------------------------------------------------------------------------------

// Does the mapping begin without W, so that the first store is noticed?
static inline bool vma_tracks(const struct vma *v)
{
	return v->object && v->object->ops->table &&
	       (v->flags & (MAP_SHARED | MAP_DAXVM_NOSYNC)) == MAP_SHARED;
}

// Bytes [off, off + len) of the object: is a chunk of it dirty? map_lock held.
bool vm_dirty_any(const struct vm_object *o, u64 off, u64 len);

// The chunk of byte `off` is about to become writable. map_lock held shared, from here until W is
// granted. -ENOMEM, or what object->ops->touch returns.
int vm_dirty_mark(struct vm_object *o, u64 off) __must_check;

// A store fault in a tracked mapping: mark the chunk, and grant W if the page is there. as->lock
// and map_lock held shared. ATTACH_DONE (mm/attach.h). ATTACH_NONE: nothing is there yet. -EAGAIN:
// a 1 GiB leaf has to be split first. Or an error.
int dirty_grant(struct aspace *as, struct vma *v, u64 va) __must_check;

// A fault left a table around byte `off` split, perhaps for some W: the syncs try it again.
void vm_dirty_split(struct vm_object *o, u64 off, int unit_level);

// What one sync does to each mapping of the object.
#define DIRTY_TRIES 8
struct chunk_set;
struct dirty_pass {
	const struct chunk_set *taken;
	unsigned nr_tries;
	struct unsplit_try try[DIRTY_TRIES];
};
// `w`: what b->as shows of the object somewhere. pt_lock held.
void dirty_pass_over(struct dirty_pass *p, struct ptbatch *b, const struct unsplit_view *w);

// I1 of mm/dirty.c for a tracked mapping: true if every chunk with W is in the set. For tests.
bool dirty_verify(struct aspace *as, const struct vma *v);
