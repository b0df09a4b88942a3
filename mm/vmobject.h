// SPDX-License-Identifier: MIT
//
// What can be mapped: the meeting point of file systems (below) and address spaces (above).
//
// A file system embeds a vm_object in its in-DRAM inode. The VM asks it for pages (plain mmap: one
// fault, one page) or for its stored page table (MAP_DAXVM: one attach, one store); the file system
// asks the VM to revoke translations before it frees blocks.
//
// Locking: map_lock is the "inode mapping lock". Held shared from reading the file's table to
// installing what was read in a private table (faults, attach, split), exclusively while blocks
// leave the file (truncate, unlink, punch), so a revoke is never overtaken. Order: aspace lock,
// map_lock, inode lock, allocator.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/pte.h"
#include "kernel/sched/lock.h"
#include "mm/layout.h"

struct vm_dirty;
struct vm_object;
struct vm_shadow;

#define VM_DIRECT_BLOCKS                                                                           \
	8 // blocks that a file keeps in its inode (ptfs.md, "Inodes and small files")

enum vm_table_kind {
	VM_TABLE_NONE,   // cannot be attached (a hole, beyond the end, not ready, read-only at a
			 // foreign base): use faults
	VM_TABLE_ENTRY,  // `entry` of `level`: a table pointer or a 2 MiB leaf
	VM_TABLE_DIRECT, // `direct[]`: up to eight 4 KiB leaves (0: hole), the first 32 KiB
};

// The stored subtree that covers one place of the file. An entry of `level` covers the bytes
// [ALIGN_DOWN(off, pt_span(level)), + pt_span(level)) of the file.
struct vm_table {
	enum vm_table_kind kind;
	int level;   // of `entry`: PT_PMD names a PTE page (or is a 2 MiB leaf), PT_PUD a PMD page,
		     // PT_PML4 a PUD page
	pte_t entry; // address, PS and P; rights are all-open, the private entry narrows them
	pte_t direct[VM_DIRECT_BLOCKS];
};

struct vm_page {
	phys_t pa;       // of the 4 KiB page asked for
	int level;       // PT_PTE, or PT_PMD when the page is inside an aligned 2 MiB leaf
	bool hole;       // nothing there: map the zero page read-only; pa is not set
	bool refcounted; // RAM frame with a reference taken for the caller (ramfs); PMem: false
};

struct vm_object_ops {
	// The page at byte offset `off` (page aligned). With `write`, a hole is allocated, zeroed
	// and published first. Called with map_lock held shared. 0, -ENOSPC, -EUCLEAN, -EIO,
	// -ENOMEM; -ENXIO for a page wholly at or beyond the end of the file.
	int (*page)(struct vm_object *o, u64 off, bool write, struct vm_page *out);
	// The highest ready subtree that covers byte `off` and stands at most at `max_level`
	// (PT_PMD .. PT_PML4): the root itself where that is low enough, else an entry found on the
	// way down from it. A file system that readies tables lazily readies what it names here
	// (one PTE page, say). Everything below the entry may be read through the direct map while
	// map_lock is held. NULL: cannot be attached. Called with map_lock held shared, from a
	// mapping or from a fault. 0 or -EUCLEAN.
	int (*table)(struct vm_object *o, u64 off, int max_level, struct vm_table *out);
	// Writes back the lines of [off, off+len) and fences: what was stored there is durable
	// then. No lock of the VM is held but RANK_SYNC. NULL: nothing to do. 0, -EUCLEAN, -EIO.
	int (*sync)(struct vm_object *o, u64 off, u64 len);
	// Stores through mappings change the file's times: called when a chunk becomes dirty (with
	// map_lock held shared) and when it is synced, not for each store. May be NULL. 0 or
	// -errno.
	int (*touch)(struct vm_object *o);
	u64 (*size)(struct vm_object *o); // bytes, at this moment; takes no lock
	// A mapping holds the object; called when it comes and goes. get does not sleep.
	void (*get)(struct vm_object *o);
	void (*put)(struct vm_object *o);
	// put without sleep: if others hold it, too. False: nothing was done. May be NULL.
	bool (*put_shared)(struct vm_object *o);
	// It calls vm_table_changed and vm_root_changed: its tables may be copied (mm/shadow.h).
	bool tells;
	// "dev inode path" facts for /proc/PID/maps.
	void (*describe)(struct vm_object *o, u64 *dev, u64 *ino, char *path, size_t path_bytes);
};

struct vm_object {
	const struct vm_object_ops *ops;
	struct rwlock map_lock;    // RANK_MAPPING
	struct spinlock vmas_lock; // RANK_OBJECT
	struct list vmas;          // all mappings of it, of every address space [vmas_lock]
	u32 zero_maps;             // sticky: zero pages were ever mapped for holes [atomic]
	struct vm_dirty *dirty;    // mm/dirty.h; NULL: nobody stored yet [set once, atomic]
	struct vm_shadow *shadow;  // mm/shadow.h; NULL: never had a copy [set once, atomic]
	u32 users;                 // mappings, and others for a moment [atomic]
	bool shadow_advised;       // MADV_RANDOM [atomic]
	bool ever_mapped;          // sticky: a file that never was needs no revoke
	bool ever_ephemeral;       // sticky: ... by an arena's slot [atomic]
	// What mappings read first: the root that the file's table had when it was asked last, as
	// far as it was ready; 0: ask. Set with map_lock held shared, 0 from vm_revoke_begin on.
	//   I1  It may lag behind growth, then it leads to less than there is; it never leads to
	//       what the file has lost. Whoever holds map_lock may read all that is below.
	u64 root_word __cacheline; // vm_root_word [atomic]
	u64 gib_table;             // a PMD page that vm_gib_leaf found so; as root_word [atomic]
	u32 revoking;              // raised while a revoke runs [atomic]
	u32 zapping;               // rounds over all mappings that have not flushed [atomic]
	pte_t direct[VM_DIRECT_BLOCKS]; // with level PT_PTE: the direct entries [atomic]
};

// A root and its level in one word: PT_PTE: the direct entries.
static inline u64 vm_root_word(pte_t e, int level)
{
	return (e.bits & (PTE_ADDR | PTE_PS | PTE_P)) | (u64)level << 9;
}

static inline int vm_root_level(u64 word)
{
	return (int)(word >> 9 & 7);
}

// The file's entry of `level` (from PT_PMD on) for byte `off`, from its root down. None: not that
// far down, or nothing there. The root is of that level at least, and covers `off`.
static inline __attribute__((always_inline)) pte_t vm_root_entry(u64 root, int level, u64 off)
{
	pte_t e = { root };

	for (int at = vm_root_level(root); at > level; at--) {
		const pte_t *table = phys_to_virt(pte_addr(e));

		if (!pte_present(e) || (e.bits & PTE_PS))
			return (pte_t){ 0 };
		e = pte_read(&table[pt_index(off, at - 1)]);
	}
	return e;
}

// `t` is what the file's table() said about byte `off`, at any level: remember it if it is the root
// (or a subtree at the file's beginning, which serves as well). map_lock is held shared.
void vm_root_publish(struct vm_object *o, u64 off, const struct vm_table *t);

// The GiB of the file around byte `off` as one leaf, if the file is known to have it in 2 MiB
// leaves that lie side by side, and the CPU has such leaves; else none. map_lock is held shared.
pte_t vm_gib_leaf(struct vm_object *o, u64 off);

void vm_object_init(struct vm_object *o, const struct vm_object_ops *ops);

// A reference for a mapping, or for the time that somebody works with the object.
static inline void vm_object_get(struct vm_object *o)
{
	__atomic_fetch_add(&o->users, 1, __ATOMIC_RELAXED);
	if (o->ops->get)
		o->ops->get(o);
}

static inline void vm_object_put(struct vm_object *o)
{
	__atomic_fetch_sub(&o->users, 1, __ATOMIC_RELAXED); // first: the object may go
	if (o->ops->put)
		o->ops->put(o);
}

// Without sleep, if others hold it, too. False: nothing was done.
static inline bool vm_object_put_shared(struct vm_object *o)
{
	__atomic_fetch_sub(&o->users, 1, __ATOMIC_RELAXED);
	if (o->ops->put_shared && o->ops->put_shared(o))
		return true;
	__atomic_fetch_add(&o->users, 1, __ATOMIC_RELAXED);
	return false;
}

static inline bool vm_object_mapped(const struct vm_object *o)
{
	return READ_ONCE(o->users) != 0;
}

// Revoke, the only way a file loses blocks. Caller holds map_lock exclusively around the pair, and
// clears the entries in the file's own table between the two.
//   begin   raises `revoking`
//   finish  clears every private copy that covers [off, off+len) of the file (attached roots,
//           copied direct entries, PTEs of plain mappings), flushes the CPUs that may hold what was
//           found, lowers `revoking`. Mappings stay; the next touch faults and sees the file as it
//           is then.
// What left the file may be used again when the epoch has passed for every CPU (epoch_stamp() after
// finish): where a call in progress on another CPU (munmap) has cleared an entry and not flushed
// yet, nothing is found. VM_FORGET_ALL flushes there, too: on return no CPU holds a translation
// that came from the range. For who frees at once, and where an entry is to change its size.
enum vm_forget { VM_FORGET_MAPPED, VM_FORGET_ALL };
void vm_revoke_begin(struct vm_object *o);
void vm_revoke_finish(struct vm_object *o, u64 off, u64 len, enum vm_forget how);

// ---- Copies of the file's tables in DRAM (mm/shadow.h) follow what the file system does to them
// --

// Is anything to be told? Asked after the change was stored, by a locked operation or with map_lock
// held exclusively: who makes a copy later reads what was stored.
static inline bool vm_object_shadowed(const struct vm_object *o)
{
	return unlikely(__atomic_load_n(&o->shadow, __ATOMIC_ACQUIRE) != NULL);
}

// `entry`, of `level`, which maps bytes [off, ...) of the file, has changed in a table of the file.
// Where it has lost something: between vm_revoke_begin and vm_revoke_finish. map_lock held, shared
// where it became present. Thread context, no spinlock held.
void vm_table_changed(struct vm_object *o, u64 off, int level, const pte_t *entry);
// The same for the root, if it does not lead to all that it led to before. Between begin and
// finish of a revoke of the whole file. Also, without a revoke, before the tables of a file that
// nobody can map any more are freed: somebody may just be copying them.
void vm_root_changed(struct vm_object *o);
// The object goes; nothing maps it.
void vm_shadow_free(struct vm_object *o);

// Was it ever mapped? If not, no CPU holds a translation that came from it. Also after a revoke,
// which nobody who maps the file overtakes.
static inline bool vm_object_ever_mapped(const struct vm_object *o)
{
	return READ_ONCE(o->ever_mapped);
}

// A round over all mappings may have cleared an entry of the object, and not flushed yet. Asked
// after the entry was found cleared, under the space's pt_lock: who then finds none knows that all
// CPUs have flushed since.
static inline bool vm_zap_pending(const struct vm_object *o)
{
	return __atomic_load_n(&o->zapping, __ATOMIC_ACQUIRE) != 0;
}

// The last name of the file is gone: ranges that were unmapped and may still be reachable until the
// next tick (MAP_DAXVM_BATCHING) end now. Thread context, no spinlock held.
void vm_unlinked(struct vm_object *o);

// A hole in [off, off+len) got a block by another way than a fault in a mapping (write(),
// fallocate): takes the zero page out of every mapping that shows it there. Call after the entry
// was published (P set), any number of blocks at once; cheap when no mapping shows holes. After
// page(write) the VM calls it itself for the page asked for. Thread context, no spinlock held;
// sleeping locks may be.
void vm_hole_filled(struct vm_object *o, u64 off, u64 len);
