// SPDX-License-Identifier: MIT
//
// What: the kernel's side of fs/ptfs/platform.h: memory, locks, log, clock, bytes, revoke. The pmem
// functions of that header are those of drivers/nvdimm/pmem.c, under the same names.
// Not here: the VFS's operations (inode.c, file.c), the VM's (mapping.c).
#include <stdarg.h>

#include "drivers/nvdimm/pmem.h"
#include "fs/ptfs/platform.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/debug.h"
#include "kernel/lib/printf.h"
#include "kernel/panic.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/tlbmark.h"
#include "kernel/x86/time.h"
#include "mm/heap.h"
#include "mm/stat.h"

// ---- Moving a caller's bytes. File-system locks are held, so no faults are taken ----

size_t ptfs_iter_to_medium(struct ptfs_iter *from, phys_t dst, size_t bytes)
{
	struct iov_iter *it = &from->iov;
	size_t done = 0, missing = 0;

	bytes = min(bytes, (size_t)it->left);
	while (done < bytes && !missing) {
		phys_t to = PHYS(dst.pa + done);
		size_t n = min(it->span, bytes - done);

		if (it->user)
			missing = pmem_copy_from_user_nt(to, UVA(it->at), n);
		else
			pmem_memcpy_nt(to, (const void *)it->at, n);
		iov_advance(it, n - missing);
		done += n - missing;
	}
	return done;
}

size_t ptfs_iter_zero(struct ptfs_iter *to, size_t bytes)
{
	return iov_zero(&to->iov, bytes);
}

bool ptfs_bad_find(phys_t start, u64 len, phys_t *first)
{
	return poison_find(start, len, first);
}

void ptfs_bad_add(phys_t block)
{
	poison_known(block);
}

void ptfs_medium_copy(void *dst, const void *src, size_t bytes)
{
	size_t left = asm_copy_user(dst, src, bytes);

	if (unlikely(left))
		memset((u8 *)dst + bytes - left, 0xff, left);
}

// ---- Memory ----

void *ptfs_alloc(size_t bytes)
{
	return kmalloc(bytes);
}

void *ptfs_zalloc(size_t bytes)
{
	return kzalloc(bytes);
}

void ptfs_free(void *p)
{
	kfree(p);
}

// ---- Locks ----

void ptfs_mutex_init(struct ptfs_mutex *m, enum ptfs_rank rank)
{
	static const enum lock_rank kernel_rank[] = {
		[PTFS_RANK_INODE] = RANK_INODE,    [PTFS_RANK_OUTER] = RANK_FS_ALLOC,
		[PTFS_RANK_REST] = RANK_FS_REST,   [PTFS_RANK_INNER] = RANK_FS_INNER,
		[PTFS_RANK_CHUNK] = RANK_FS_CHUNK,
	};

	mutex_init(&m->m, kernel_rank[rank]);
}

void ptfs_mutex_destroy(struct ptfs_mutex *m)
{
	ASSERT(!m->m.owner);
}

void ptfs_home_inode_init(struct ptfs_home_inode *h)
{
	vm_object_init(&h->object, &glue_vm_ops);
	h->vfs = NULL;
	h->path = NULL;
}

void ptfs_home_inode_destroy(struct ptfs_home_inode *h)
{
	ASSERT(!h->vfs && !vm_object_mapped(&h->object) && list_empty(&h->object.vmas));
	vm_dirty_free(&h->object);
	vm_shadow_free(&h->object);
}

void ptfs_map_lock(struct ptfs_home_inode *h) NO_TSA
{
	rwlock_write_lock(&h->object.map_lock);
}

void ptfs_map_unlock(struct ptfs_home_inode *h) NO_TSA
{
	rwlock_write_unlock(&h->object.map_lock);
}

void ptfs_revoke_begin(struct ptfs_home_inode *h)
{
	vm_revoke_begin(&h->object);
}

void ptfs_revoke_finish(struct ptfs_home_inode *h, u64 off, u64 len, enum ptfs_forget how)
{
	vm_revoke_finish(&h->object, off, len,
			 how == PTFS_FORGET_ALL ? VM_FORGET_ALL : VM_FORGET_MAPPED);
}

void ptfs_home_entry_changed(struct ptfs_home_inode *h, u64 off, int level, phys_t entry)
{
	vm_table_changed(&h->object, off, level, phys_to_virt(entry));
}

void ptfs_home_root_changed(struct ptfs_home_inode *h)
{
	vm_root_changed(&h->object);
}

// ---- The epoch ----

bool ptfs_home_reachable(const struct ptfs_home_inode *h)
{
	return vm_object_ever_mapped(&h->object);
}

u64 ptfs_epoch_stamp(void)
{
	u64 stamp = epoch_stamp();

	epoch_want(stamp);
	return stamp;
}

// Debug kernel, `norest`: the mistake that rest.c is there to prevent, for the test that shows that
// it would be noticed (tests/stress/canary.t).
static bool no_rest;

void glue_epoch_init(void)
{
	no_rest = DEBUG_BUILD && bootparam_present("norest");
}

bool ptfs_epoch_passed(u64 stamp)
{
	return unlikely(no_rest) || epoch_passed(stamp, NULL);
}

void ptfs_epoch_wait(u64 stamp)
{
	if (!ptfs_epoch_passed(stamp))
		epoch_wait(stamp);
}

void ptfs_note_free(phys_t start, u64 len)
{
	tlb_mark(TLB_MARK_MEMORY, start.pa, len);
}

// ---- CPUs ----

struct parallel {
	void (*fn)(void *ctx, unsigned worker);
	void *ctx;
	unsigned next;           // worker number that the next thread to start takes [atomic]
	unsigned running;        // threads that have not ended [lock]
	struct spinlock lock;    // RANK_FS_SPIN
	struct wait_queue ended; // woken under `lock`
};

static void parallel_thread(void *arg)
{
	struct parallel *p = arg;

	p->fn(p->ctx, __atomic_fetch_add(&p->next, 1, __ATOMIC_RELAXED));
	spin_lock(&p->lock);
	p->running--;
	wait_wake_all(&p->ended);
	spin_unlock(&p->lock);
}

unsigned ptfs_cpus(void)
{
	return cpu_count();
}

// The threads are spread over the CPUs by the scheduler, which wakes a new one where it is idle.
void ptfs_parallel(void (*fn)(void *ctx, unsigned worker), void *ctx, unsigned nr)
{
	struct parallel p = { .fn = fn, .ctx = ctx, .next = 1, .running = nr - 1 };

	spin_init(&p.lock, RANK_FS_SPIN);
	wait_queue_init(&p.ended);
	for (unsigned i = 1; i < nr; i++) {
		if (thread_create("ptfs-mount", parallel_thread, &p))
			continue;
		spin_lock(&p.lock); // the others do its part
		p.running--;
		spin_unlock(&p.lock);
	}
	fn(ctx, 0);
	wait_event(&p.ended, !READ_ONCE(p.running));
	// A thread's last touch of `p` is under the lock.
	spin_lock(&p.lock);
	spin_unlock(&p.lock);
}

// ---- The rest ----

// A tick is 2^20 ns, about a millisecond; Linux's time stamps have ticks of 1 to 10 ms.
#define TIME_TICK_NS BIT(20)

u64 ptfs_time_ns(void)
{
	return ALIGN_DOWN(time_wall_ns(), TIME_TICK_NS);
}

unsigned ptfs_cpu(void)
{
	return this_cpu()->index;
}

void ptfs_log(enum ptfs_log_level level, const char *fmt, ...)
{
	static const enum log_level kernel_level[] = {
		[PTFS_LOG_ERROR] = LOG_ERR,
		[PTFS_LOG_WARN] = LOG_WARN,
		[PTFS_LOG_INFO] = LOG_INFO,
	};
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	klog(kernel_level[level], "%s", line);
}

void ptfs_count(enum ptfs_stat which, u64 n)
{
	static const enum mm_stat counter[] = {
		[PTFS_STAT_ZERO_BACKGROUND] = MM_STAT_zeroed_background,
		[PTFS_STAT_ZERO_FOUND] = MM_STAT_zeroed_found,
		[PTFS_STAT_ZERO_ALLOC] = MM_STAT_zeroed_alloc,
		[PTFS_STAT_ZERO_READY] = MM_STAT_zeroed_ready,
		[PTFS_STAT_MERGE] = MM_STAT_leaf_merges,
		[PTFS_STAT_SPLIT] = MM_STAT_leaf_splits,
		[PTFS_STAT_VERIFY] = MM_STAT_table_verified,
		[PTFS_STAT_REBASE] = MM_STAT_table_rebased,
	};
	_Static_assert(ARRAY_SIZE(counter) == PTFS_STATS, "each has its counter");

	mm_count_many(counter[which], n);
}

void ptfs_bug(const char *file, int line, const char *what)
{
	panic("%s:%d: ptfs invariant broken: %s", file, line, what);
}

bool ptfs_inject_nospace(void)
{
	return false;
}
