// SPDX-License-Identifier: MIT
//
// What ptfs needs from its home. The core is compiled once for the kernel (fs/ptfs_glue/) and once
// for the host (user/ptfs/); the two differ by what is linked. This is the only header from outside
// that the core includes.
//
// "ptfs_home.h" is found by include path and belongs to the home. It declares memcpy, memmove,
// memset, memcmp and strlen, and defines
//   struct ptfs_mutex       a sleeping lock, not recursive
//   struct ptfs_home_inode  what the home keeps inside each in-core inode: at least the mapping
//                           lock (kernel: the vm_object, whose map_lock it is, and the VFS inode)
//   struct ptfs_iter        where the bytes of a read go to, or those of a write come from
#pragma once

#include "kernel/lib/crc32c.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/list.h"
#include "kernel/lib/ptcursor.h"
#include "kernel/lib/types.h"
#include "ptfs_home.h"

#define PTFS_CPU_MAX 64u

// ---- Persistent memory: the only way in which the medium changes ----
//
// These are the functions of drivers/nvdimm/pmem.h, and the same names on the host. Durable =
// stored, written back (pmem_flush) and fenced (pmem_fence); pmem_memcpy_nt and pmem_memset_nt need
// the fence only. `dst` lies inside a region that was mounted writable.

void pmem_store8(phys_t dst, u64 value);
u64 pmem_cas8(phys_t dst, u64 old, u64 value); // the value found; == old: it was replaced
void pmem_flush(phys_t start, u64 len);
void pmem_fence(void);
void pmem_memcpy_nt(phys_t dst, const void *src, size_t len);
void pmem_memset_nt(phys_t dst, u8 byte, size_t len);

// ---- Moving a caller's bytes ----
//
// Called with file-system locks held, so they take no page faults: they stop at a page that is not
// there and return what they did. The core then ends the call with a short count, or -EFAULT if
// nothing was moved; the home, holding no locks, faults the page in and calls again for the rest.

size_t ptfs_iter_to_medium(struct ptfs_iter *from, phys_t dst, size_t bytes); // needs a fence only
size_t ptfs_iter_from_medium(struct ptfs_iter *to, const void *src, size_t bytes);
size_t ptfs_iter_zero(struct ptfs_iter *to, size_t bytes);

// ---- Memory that has failed ----
//
// "ptfs_home.h" defines u32 ptfs_bad_count(void), how many blocks are known to be bad anywhere. It
// never goes down, and as long as it is 0 there is nothing to ask.
//
// Is any block of [start, start + len) bad? *first: the lowest one.
bool ptfs_bad_find(phys_t start, u64 len, phys_t *first);
// The block is known to have failed from now on: the medium says so. Without room for it nothing
// happens.
void ptfs_bad_add(phys_t block);
// A load from the medium that meets such memory gives what nothing on the medium is (le64_get,
// pte_read: ~1), so that it is refused as damage would be. Here what this thread's loads have met
// so far becomes known: ptfs_bad_find finds it. Any locks may be held.
void ptfs_bad_update(void);
// Copies what nobody changes meanwhile. Bytes 0xff stand for what cannot be loaded, and for all
// behind it.
void ptfs_medium_copy(void *dst, const void *src, size_t bytes);

// ---- Memory ----

void *ptfs_alloc(size_t bytes) __must_check; // at most 128 KiB; NULL: none
void *ptfs_zalloc(size_t bytes) __must_check;
void ptfs_free(void *p); // NULL is fine

// ---- Locks, outermost first; nothing is taken twice within one rank ----

enum ptfs_rank {
	PTFS_RANK_INODE, // an inode's size and times (kernel: RANK_INODE)
	PTFS_RANK_OUTER, // inode cache, inode allocator, transactions (RANK_FS_ALLOC)
	PTFS_RANK_REST,  // what rests on one CPU (RANK_FS_REST)
	PTFS_RANK_INNER, // space and claims (RANK_FS_INNER)
	PTFS_RANK_CHUNK, // one chunk's blocks (RANK_FS_CHUNK)
};

void ptfs_mutex_init(struct ptfs_mutex *m, enum ptfs_rank rank);
void ptfs_mutex_destroy(struct ptfs_mutex *m);
void ptfs_mutex_lock(struct ptfs_mutex *m);
void ptfs_mutex_unlock(struct ptfs_mutex *m);

// The inode's part that belongs to the home, and its mapping lock (outside PTFS_RANK_INODE).
void ptfs_home_inode_init(struct ptfs_home_inode *h);
void ptfs_home_inode_destroy(struct ptfs_home_inode *h);
void ptfs_map_lock_shared(struct ptfs_home_inode *h);
bool ptfs_map_trylock_shared(struct ptfs_home_inode *h); // false: not at once
void ptfs_map_unlock_shared(struct ptfs_home_inode *h);
void ptfs_map_lock(struct ptfs_home_inode *h);
void ptfs_map_unlock(struct ptfs_home_inode *h);

// Revoke, around the clearing of entries, with the mapping lock held exclusively. After `begin` no
// new copy of this file's entries is made; `finish` clears every copy that covers [off, off + len)
// of the file, and returns when nobody reaches through a mapping what the file has lost. What
// leaves the file rests then (below), for a CPU may still know a way that a call in progress
// elsewhere has cleared. PTFS_FORGET_ALL waits for those, too: no CPU holds any translation, upper
// levels included, that came from the range. That is for an entry that changes its size.
enum ptfs_forget { PTFS_FORGET_MAPPED, PTFS_FORGET_ALL };
void ptfs_revoke_begin(struct ptfs_home_inode *h);
void ptfs_revoke_finish(struct ptfs_home_inode *h, u64 off, u64 len, enum ptfs_forget how);

// The home may keep copies of a file's tables, which follow each change.
// "ptfs_home.h" defines bool ptfs_home_copied(const struct ptfs_home_inode *h): may there be one?
// Asked after the change was stored by a locked operation, or with the mapping lock held
// exclusively. If so:
// The entry at `entry` has changed, of `level`, which maps the file from byte `off` on. Where it
// has lost something: inside a revoke of what it mapped.
void ptfs_home_entry_changed(struct ptfs_home_inode *h, u64 off, int level, phys_t entry);
// The root word leads to less, or elsewhere. Inside a revoke of the whole file; or nobody maps it,
// nobody will, and what it leads to is about to be freed.
void ptfs_home_root_changed(struct ptfs_home_inode *h);

// ---- The epoch: when can no CPU reach it any more? ----
//
// May a CPU hold a translation that came from this file, or code on it a pointer into its tables?
// False only if it was never mapped.
bool ptfs_home_reachable(const struct ptfs_home_inode *h);
// Of something that no entry leads to any more: a full fence, then the present epoch, which is
// asked to end. Stamps do not decrease.
u64 ptfs_epoch_stamp(void);
// Has every CPU forgotten what was stamped so? If so, it is for every smaller stamp, too.
bool ptfs_epoch_passed(u64 stamp);
// Returns when that is the case; soon, for CPUs are asked. No lock of PTFS_RANK_INNER or below.
void ptfs_epoch_wait(u64 stamp);

// The memory can be had for another use in a moment: nobody may be able to reach it any more. For
// who checks that from outside; locks may be held.
void ptfs_note_free(phys_t start, u64 len);

// ---- CPUs ----

// How many may work at once, at least 1. On the host it is 1 unless a tool asks for more.
unsigned ptfs_cpus(void);
// Calls fn(ctx, 0), fn(ctx, 1) and so on, each with a number below `nr` (at most PTFS_CPU_MAX) once
// at most, on as many CPUs as there are and at the same time; fn(ctx, 0) is called in any case.
// Returns when all calls have returned, and then sees what they have stored. fn takes its work from
// what all share, so that it does not matter how many of them there are.
void ptfs_parallel(void (*fn)(void *ctx, unsigned worker), void *ctx, unsigned nr);

// ---- The rest ----

// Since 1970. It may tick coarsely: what is changed more often than that keeps its time stamps, and
// they are not stored again. All stamps come from this one clock, so their order is never wrong.
u64 ptfs_time_ns(void);
unsigned ptfs_cpu(void); // < PTFS_CPU_MAX; only a hint for locality

enum ptfs_log_level { PTFS_LOG_ERROR, PTFS_LOG_WARN, PTFS_LOG_INFO };
void ptfs_log(enum ptfs_log_level level, const char *fmt, ...)
	__printf(2, 3); // one line, no newline

// Things that happen, for whoever counts them. Any locks may be held.
enum ptfs_stat {
	PTFS_STAT_ZERO_BACKGROUND, // free blocks made zero ahead of their use
	PTFS_STAT_ZERO_FOUND,      // free blocks looked at for that, which were zero
	PTFS_STAT_ZERO_ALLOC,      // blocks made zero, as a whole or in part, when they were taken
	PTFS_STAT_ZERO_READY,      // blocks taken that were known to be zero
	PTFS_STAT_MERGE,           // table pages that became a 2 MiB leaf
	PTFS_STAT_SPLIT,           // and the other way
	PTFS_STAT_VERIFY,          // table pages looked at before the MMU may follow them
	PTFS_STAT_REBASE,          // entries that were written for another address
	PTFS_STATS,
};
void ptfs_count(enum ptfs_stat which, u64 n);

// An invariant of the core is broken. Never reached through user input or the medium.
void ptfs_bug(const char *file, int line, const char *what) __noreturn;
#define ptfs_assert(cond)                                                                          \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			ptfs_bug(__FILE__, __LINE__, #cond);                                       \
	} while (0)

// Failure injection: true makes the allocation of a block or chunk fail with -ENOSPC. The kernel's
// home answers false.
bool ptfs_inject_nospace(void);
