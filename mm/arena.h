// SPDX-License-Identifier: MIT
//
// Ephemeral mappings: a supply of addresses for each CPU (docs/mapping.md, "Ephemeral mappings").
//
// An address space has, per CPU, one arena: a slot of its PML4 with slots for mappings in three
// sizes. To map a file for a moment is to take a slot and to store one entry; to unmap it is one
// compare-and-swap. No VMA, no tree, no lock, nothing counted. mm/ keeps the inside to itself
// (arena_internal.h).
#pragma once

#include "mm/aspace.h"
#include "mm/vmobject.h"

struct dirty_pass;
struct ptbatch;

// An object, and the PROT_* that whoever maps it through some descriptor must not ask for, in one
// word. 0: none.
static inline u64 vm_grant(const struct vm_object *o, unsigned may_prot)
{
	_Static_assert(_Alignof(struct vm_object) > PROT_ALL, "room for rights below the address");

	return (u64)o | (~may_prot & PROT_ALL);
}

static inline struct vm_object *vm_grant_object(u64 grant)
{
	return (struct vm_object *)(grant & ~(u64)PROT_ALL);
}

// Once, by a thread, before the first address space: the thread that lets go of files.
void arena_start(void);

// ---- mmap and munmap ----------------------------------------------------------------------------

// The fast way. Everything but `grant` is as mmap was given it, unchecked, but that the flags have
// MAP_DAXVM_EPHEMERAL. 0: take the slow way, nothing was done. Thread context, any lock. The caller
// holds the object open, or has preemption off since before a moment at which it was held open by
// somebody.
u64 arena_map_fast(struct aspace *as, u64 grant, u64 len, u64 prot, unsigned flags, u64 off);
// The same for the address space that this CPU has loaded, with interrupts off, which is all that
// it needs. TRAP_NOT_LIGHT: nothing was done.
s64 arena_map_light(u64 grant, u64 len, u64 prot, unsigned flags, u64 off);

// The slow way makes what the fast one found missing. ARENA_OTHERWISE: no ephemeral mapping is to
// be had for this, serve it as MAP_DAXVM. -ENOMEM (RLIMIT_AS), -EUCLEAN. Takes as->lock and the
// object's map_lock. The object has tables.
enum { ARENA_OTHERWISE = 1 };
int arena_map(struct aspace *as, const struct map_request *req, uva_t *out) __must_check;

// The fast way, for an ephemeral mapping with MAP_DAXVM_BATCHING, as a whole. False: take the slow
// way. Any address and length.
bool arena_unmap_fast(struct aspace *as, u64 addr, u64 len);
// The same for the address space that this CPU has loaded, with interrupts off; what is not in this
// CPU's arena is for aspace_unmap_light(). 0; TRAP_NOT_LIGHT also when it is time to clear what was
// unmapped.
s64 arena_unmap_light(u64 addr, u64 len);
// ARENA_OTHERWISE: no byte of the range lies in an arena. 0. -EINVAL: no ephemeral mapping is
// there,
// or part of one; nothing changed. Mappings that the range covers in full go; the range may reach
// beyond the arenas. -ENOMEM as munmap. Thread context, no lock held.
int arena_unmap(struct aspace *as, u64 addr, u64 len) __must_check;

// ---- Other calls --------------------------------------------------------------------------------

// Does the range touch the address space's arenas / an ephemeral mapping?
bool arena_overlaps(struct aspace *as, u64 start, u64 end);
bool arena_any_mapped(struct aspace *as, u64 start, u64 end);
// Bytes asked for by ephemeral mappings (RLIMIT_AS).
u64 arena_bytes(struct aspace *as);

// A slot that stays mapped while it is held.
struct slot;
// The ephemeral mapping that shows `va`: a record of it in *v, valid until arena_unpin. NULL: none.
struct slot *arena_pin(struct aspace *as, u64 va, struct vma *v) __must_check;
void arena_unpin(struct slot *s);
// Before a fault may hang private tables below the slot. -ENOMEM.
int arena_prepare_fault(struct slot *s, const struct vma *v) __must_check;

// Calls fn for each ephemeral mapping, by address; stops when it returns false (then false).
bool arena_for_each(struct aspace *as, bool (*fn)(void *ctx, const struct vma *vma), void *ctx);

// Calls fn for each ephemeral mapping that [start, end) meets, by address, with the part of the
// range
// that lies in it; an error ends it. -ENOMEM: part of the range is not mapped. For ranges that lie
// in arenas or reach into them.
int arena_for_range(struct aspace *as, u64 start, u64 end,
		    int (*fn)(const struct vma *v, u64 start, u64 end, void *ctx), void *ctx)
	__must_check;

// ---- Life and revoke ----------------------------------------------------------------------------

// This CPU has loaded the space (NULL: the kernel's own tables): its arena, and whether light calls
// are of use. Preemption off.
void arena_switch(const struct aspace *as);

// The last reference to the address space is gone, no CPU has it loaded: end all its mappings.
void arena_destroy(struct aspace *as);

enum arena_zap {
	ARENA_REVOKE,     // all that shows part of the range
	ARENA_REVOKE_ALL, // and flush also where nothing is found
	ARENA_ZERO,       // zero pages in the range
	ARENA_ZOMBIES,    // mappings that were unmapped and are still reachable
	ARENA_PASS,       // nothing: arena_pass
};
// As one round over all mappings of an object (mm/vmobject.c). False: the batch is full: flush, and
// again.
bool arena_zap(struct vm_object *o, struct ptbatch *b, u64 off, u64 end, enum arena_zap what)
	__must_check;

// A sync's pass over all mappings of an object that are tracked, unmapped ones included while they
// are reachable (mm/dirty.c). The caller holds map_lock exclusively.
void arena_pass(struct vm_object *o, struct ptbatch *b, struct dirty_pass *pass);

// Sleeps until no unmapped mapping is reachable any more and the files that they held are let go.
void arena_settle(void);
