// SPDX-License-Identifier: MIT
//
// User address spaces: a tree of VMAs over one page table; map, unmap, protect, brk, fork, faults.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/pte.h"
#include "kernel/sched/lock.h"
#include "mm/vma.h"

struct arenas;
struct trapframe;
struct vm_object;

// mmap's bits (Linux values, asm-generic/mman-common.h), and ours (docs/abi.md).
#define PROT_NONE  0u
#define PROT_READ  1u
#define PROT_WRITE 2u
#define PROT_EXEC  4u
#define PROT_ALL   (PROT_READ | PROT_WRITE | PROT_EXEC)

#define MAP_SHARED          0x01u
#define MAP_PRIVATE         0x02u
#define MAP_SHARED_VALIDATE 0x03u
#define MAP_TYPE            0x0fu
#define MAP_FIXED           0x10u
#define MAP_ANONYMOUS       0x20u
#define MAP_LOCKED          0x2000u
#define MAP_POPULATE        0x8000u
#define MAP_NORESERVE       0x4000u
#define MAP_SYNC            0x80000u
#define MAP_FIXED_NOREPLACE 0x100000u
#define MAP_DAXVM_BATCHING  0x200000u
#define MAP_DAXVM           0x400000u
#define MAP_DAXVM_NOSYNC    0x800000u
#define MAP_DAXVM_EPHEMERAL 0x4000000u

#define MAP_DAXVM_ALL (MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING | MAP_DAXVM_NOSYNC)

struct aspace {
	struct rwlock lock;      // RANK_ASPACE: the VMAs and brk. Faults hold it shared.
	struct spinlock pt_lock; // RANK_PT: every entry of the private tables
	phys_t root;             // PML4
	pte_t *root_table;       // [pt_lock] below USER_END
	u64 spare_table; // physical address of a page of zeros, or 0 (pagetable.h, I2) [atomic]
	struct vma_tree vmas;      // [lock]
	struct vma *spare_vma;     // a record in store for the next mapping, or NULL [atomic]
	struct vm_object *parting; // of what was unmapped, still to be let go, or NULL [lock]
	struct vma *half_unmapped; // by a light call: cleared, to be flushed, or NULL [lock]
	u64 brk_start, brk_end;    // [lock]
	u64 mmap_top;              // where the search for free addresses begins, downwards
	bool lock_future;          // mlockall(MCL_FUTURE): new mappings are locked [lock]
	u64 mapped_bytes;          // sum of VMA lengths (RLIMIT_AS) [lock]
	u64 walk_va;               // address that /proc/PID/pagetable shows
	u32 refs;                  // threads and borrowers (vfork) [atomic]
	u64 faults;                // page faults taken [atomic], /proc/PID/stat
	// Read by every ephemeral mmap, hardly ever written: a line of their own.
	struct arenas *arenas __cacheline; // made at first use [lock; set once]
	u64 arenas_base, arenas_bytes;     // where they lie [as they]
	u64 limit_bytes;                   // RLIMIT_AS [atomic]
	bool tries_light; // kept mappings are tried light, too, since one was a unit [atomic]
};

// Hint: an address of an arena. Only such a one is, for whoever has been given it.
static inline bool aspace_in_arenas(const struct aspace *as, u64 va)
{
	return va - as->arenas_base < as->arenas_bytes;
}

static inline bool vma_is_shared(const struct vma *v)
{
	return v->flags & MAP_SHARED;
}

void place_init(void);              // reads the boot parameters
struct aspace *aspace_create(void); // one reference; NULL when memory is short
void aspace_get(struct aspace *as);
void aspace_put(struct aspace *as); // the last one unmaps everything; may sleep

// fork: private pages become copy-on-write, shared ones stay shared. NULL when memory is short.
struct aspace *aspace_fork(struct aspace *parent);

// No mapping shows more of an object than this, as no file of Linux's is longer. So offsets do not
// wrap, however far mremap makes a mapping grow: whoever looks for the mappings of a range (revoke)
// adds an address space's length to an offset.
#define MAP_OFFSET_END (BIT(63) - PAGE_SIZE)

// What to map. `object` NULL: anonymous.
struct map_request {
	uva_t addr;               // hint, or the place itself with MAP_FIXED
	u64 len;                  // bytes; rounded up to pages
	unsigned prot;            // PROT_*; already checked against the descriptor
	unsigned may_prot;        // the most that mprotect may grant later
	unsigned flags;           // MAP_*; of a type, MAP_SHARED or MAP_PRIVATE
	struct vm_object *object; // a reference is taken
	u64 offset;               // bytes, page aligned
};

// All sleep and take as->lock. -EINVAL, -ENOMEM, -EEXIST (NOREPLACE), -EACCES, -EOPNOTSUPP.
int aspace_map(struct aspace *as, const struct map_request *req, uva_t *out) __must_check;
int aspace_unmap(struct aspace *as, uva_t addr, u64 len) __must_check;
int aspace_protect(struct aspace *as, uva_t addr, u64 len, unsigned prot) __must_check;
// New break, or the present one if `want` cannot be had (brk(2) as Linux does it).
uva_t aspace_brk(struct aspace *as, uva_t want);

// The usual case of both, for light calls: interrupts are off, nothing sleeps. A mapping without a
// hint that is one unit of a file with a table, mapped again where the last such was unmapped. The
// caller holds the object. 0 or TRAP_NOT_LIGHT: it is for the usual way; if an unmapping has begun
// then, this thread holds as->lock (aspace_unmap_has_begun), and aspace_unmap_rest() has to end it
// before anything else is done: all of the call that is left.
#define PROTS_MAY 4 // prots: PROT_*, and may_prot from this bit on
u64 aspace_map_light(struct aspace *as, struct vm_object *o, u64 off, u64 len, unsigned prots,
		     unsigned flags);
s64 aspace_unmap_light(struct aspace *as, u64 addr, u64 len);
static inline bool aspace_unmap_has_begun(const struct aspace *as)
{
	return unlikely(rwlock_is_mine(&as->lock));
}
void aspace_unmap_rest(struct aspace *as); // releases as->lock

// More of mmap's family, as in Linux's manual pages; called by kernel/sys/sys_mm.c.
int aspace_remap(struct aspace *as, uva_t old, u64 old_len, u64 new_len, unsigned flags, uva_t to,
		 uva_t *out) __must_check;
int aspace_advise(struct aspace *as, uva_t addr, u64 len, int advice) __must_check;
int aspace_sync(struct aspace *as, uva_t addr, u64 len, unsigned flags) __must_check;
// mlock and munlock of whole pages: memory stays where it is anyway, so this is a record, which
// msync(MS_INVALIDATE) respects. -ENOMEM: part of the range is not mapped, or no memory.
int aspace_lock_range(struct aspace *as, uva_t addr, u64 len, bool locked) __must_check;
// mlockall and munlockall: of what is mapped now (`current`), and what will be.
void aspace_lock_all(struct aspace *as, bool current, bool locked, bool future);
// One byte per page into `vec`: bit 0 set if resident. -ENOMEM: part of the range is not mapped.
int aspace_incore(struct aspace *as, uva_t addr, u64 len, u8 *vec) __must_check;

// Calls fn for each mapping in rising order, as->lock held shared; stops when it returns false.
// `vma` fields are in mm/vma.h. For /proc/PID/maps.
void aspace_for_each_vma(struct aspace *as, bool (*fn)(void *ctx, const struct vma *vma),
			 void *ctx);

// What processes that share a word know it by (futexes): the object that is mapped MAP_SHARED at
// `va`, with a reference, and the offset in it. *object NULL: memory of the process's own. Takes
// as->lock. -EFAULT: nothing readable is mapped there, or private memory that cannot be written, so
// that nobody could ever change it.
int aspace_shared_place(struct aspace *as, uva_t va, struct vm_object **object, u64 *offset)
	__must_check;
// Nobody but the caller uses it: no other thread, no vfork child.
bool aspace_is_sole(const struct aspace *as);

// The way of the MMU to `va`, highest level first: at most 4 steps. Returns how many.
struct aspace_step {
	int level;
	pte_t entry;   // as it stands in the table
	phys_t table;  // that the entry lies in
	bool attached; // the table is a file's, not the process's own
};
unsigned aspace_walk(struct aspace *as, uva_t va, struct aspace_step step[PT_PML4]);

// Load `as` (NULL: the kernel's own tables) on this CPU. Preemption off. Called by the scheduler.
void aspace_switch(struct aspace *as);

// Make [addr, addr+len) usable for `write` or read by taking the faults now (get_user-like; used by
// exec to fill pages and by calls that retry after a short copy). -EFAULT; -EINTR: a signal came
// after the first page.
int aspace_fault_in(struct aspace *as, uva_t addr, u64 len, bool write) __must_check;

// The page-fault handler; registers itself with x86. Sends nothing itself: an unresolved user fault
// goes to the function set here (kernel/proc): signal number, si_code, faulting address.
void fault_init(void);
// By the same way; the current thread.
void fault_send_signal(struct trapframe *tf, int sig, int code, uva_t addr);
void fault_set_signal(void (*fn)(struct trapframe *tf, int sig, int code, uva_t addr));
