// SPDX-License-Identifier: MIT
//
// What: persistent memory that has failed: the list of bad blocks, and the owner's part of a
// machine check (kernel/x86/mce.h).
// Not here: the registers (kernel/x86/mce.c), what a file system does with a bad block (fs/ptfs),
// taking it out of mappings (mm/memfail.c).
//
//	read() of a bad block
//	  machine check      the copy ends short; thread->memory_failed; a record is kept
//	  the file system    sees the short copy, asks poison_met(): records become list and log
//	  from then on       the file system looks at the list first and answers -EIO
//
// Invariants
//   I1  the list only grows, and an entry is there before the count says so: it is read without a
//       lock.
// Locking: list_lock (RANK_FS_SPIN) for adding.
// Failure: a full list is logged; what does not fit in is met by machine checks again and again,
// but is not kept from being used for new files.
#include "drivers/nvdimm/poison.h"

#include "drivers/nvdimm/region.h"
#include "fs/procfs.h"
#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/pte.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/mce.h"
#include "mm/aspace.h"
#include "mm/memfail.h"

#define BLOCKS_MAX 512u
#define BLOCK      PAGE_SIZE
#define GONE_TIMES 8u

#define SIGKILL       9
#define SIGBUS        7
#define BUS_MCEERR_AR 4
#define SI_KERNEL     0x80

u32 poison_blocks;
static u64 block_pa[BLOCKS_MAX];
static struct spinlock list_lock = SPINLOCK_INIT(RANK_FS_SPIN);

static struct wait_queue work;
static u32 wanted; // records wait for the thread [atomic]

// ---- The list -----------------------------------------------------------------------------------

static const struct pmem_region *region_of(u64 pa)
{
	for (unsigned i = 0; i < pmem_region_count(); i++) {
		const struct pmem_region *r = pmem_region_get(i);

		if (r->usable && pa >= r->base.pa && pa - r->base.pa < r->len)
			return r;
	}
	return NULL;
}

bool poison_find(phys_t start, u64 len, phys_t *first)
{
	u64 from = ALIGN_DOWN(start.pa, BLOCK), lowest = ~0ull;
	u32 n = poison_count();

	for (u32 i = 0; i < n; i++)
		if (block_pa[i] >= from && block_pa[i] < start.pa + len)
			lowest = min(lowest, block_pa[i]);
	*first = PHYS(lowest);
	return lowest != ~0ull;
}

static void (*added_fn)(void); // set once at boot

static bool add(phys_t pa, bool tell)
{
	const struct pmem_region *r = region_of(pa.pa);
	bool added = false, full;
	phys_t known;

	if (!r)
		return false;
	spin_lock(&list_lock);
	full = poison_blocks == BLOCKS_MAX;
	if (!poison_find(pa, 1, &known) && !full) {
		block_pa[poison_blocks] = ALIGN_DOWN(pa.pa, BLOCK);
		__atomic_store_n(&poison_blocks, poison_blocks + 1, __ATOMIC_RELEASE); // I1
		added = true;
	}
	spin_unlock(&list_lock);
	if (added && added_fn)
		added_fn();
	if (added && tell)
		log_err("%s: block at 0x%llx (offset 0x%llx) has failed and is not used any more",
			r->name, (unsigned long long)ALIGN_DOWN(pa.pa, BLOCK),
			(unsigned long long)ALIGN_DOWN(pa.pa - r->base.pa, BLOCK));
	else if (full && !added)
		log_err("%s: block at 0x%llx has failed, and the list of bad blocks is full",
			r->name, (unsigned long long)pa.pa);
	return added;
}

bool poison_add(phys_t pa)
{
	return add(pa, true);
}

void poison_known(phys_t pa)
{
	(void)add(pa, false);
}

void poison_list_cut(u32 nr)
{
	spin_lock(&list_lock);
	ASSERT(nr <= poison_blocks);
	__atomic_store_n(&poison_blocks, nr, __ATOMIC_RELEASE);
	spin_unlock(&list_lock);
}

void poison_on_added(void (*fn)(void))
{
	added_fn = fn;
}

static void show_blocks(struct seq *s, void *arg)
{
	(void)arg;
	for (u32 i = 0; i < poison_count(); i++) {
		const struct pmem_region *r = region_of(block_pa[i]);

		seq_printf(s, "%s 0x%llx 0x%llx\n", r->name, (unsigned long long)block_pa[i],
			   (unsigned long long)(block_pa[i] - r->base.pa));
	}
}

// ---- Records become log and list ----------------------------------------------------------------

static void take(const struct mce_record *r)
{
	bool corrected = r->grade == MCA_CORRECTED;
	char where[32] = "";

	if (r->located)
		ksnprintf(where, sizeof(where), " at 0x%llx", (unsigned long long)r->pa);
	klog(corrected ? LOG_WARN : LOG_ERR, "mce: cpu %u bank %u: %s %s error%s, status 0x%llx",
	     r->cpu, r->bank, corrected ? "corrected" : "uncorrected", mca_text(r->error.status),
	     where, (unsigned long long)r->error.status);
	if (!corrected && r->located)
		(void)poison_add(PHYS(r->pa)); // RAM is not in the list
}

static void take_all(void)
{
	static u32 told; // of those lost; a line more or less does not matter
	struct mce_record r;
	u32 lost = mce_lost();

	while (mce_take(&r))
		take(&r);
	if (__atomic_exchange_n(&told, lost, __ATOMIC_RELAXED) != lost)
		log_err("mce: %u records were lost", lost);
}

static void worker(void *arg)
{
	(void)arg;
	for (;;) {
		wait_event(&work, READ_ONCE(wanted));
		WRITE_ONCE(wanted, 0);
		take_all();
	}
}

bool poison_met(void)
{
	struct thread *t = thread_current();

	if (likely(!t->memory_failed))
		return false;
	take_all();
	// The record may be in the hands of another thread, which has not come to this yet.
	(void)poison_add(PHYS(t->memory_failed));
	t->memory_failed = 0;
	return true;
}

// ---- For mce.c ----------------------------------------------------------------------------------

static bool owns(u64 pa)
{
	return region_of(pa);
}

static bool in_kernel(u64 pa, bool copying)
{
	struct thread *t = thread_current();

	if (copying && t)
		t->memory_failed = pa;
	return false;
}

// Nothing in the tables leads to `block`. Another thread may be detaching it: then this CPU's old
// translation is all that was left, and the next touch is the page fault that is wanted. False: it
// has been so several times, so it is something else.
static bool gone_meanwhile(struct thread *t, u64 block)
{
	t->failed_times = t->failed_block == block ? t->failed_times + 1 : 1;
	t->failed_block = block;
	if (t->failed_times > GONE_TIMES)
		return false;
	asm_write_cr3(asm_read_cr3()); // user entries are not global
	return true;
}

static void in_user(struct trapframe *tf, u64 pa, bool restartable)
{
	struct thread *t = thread_current();
	u64 block = ALIGN_DOWN(pa, BLOCK);

	take_all();
	(void)poison_add(PHYS(pa)); // another thread may be at the record
	if (memfail_detach(t->as, PHYS(block)))
		t->failed_times = 0;
	else if (!gone_meanwhile(t, block))
		fault_send_signal(tf, SIGBUS, BUS_MCEERR_AR, UVA(0));
	if (!restartable)
		fault_send_signal(tf, SIGKILL, SI_KERNEL, UVA(0));
}

static void wake(void)
{
	WRITE_ONCE(wanted, 1);
	wait_wake_all(&work);
}

static const struct mce_owner owner = {
	.owns = owns,
	.in_kernel = in_kernel,
	.in_user = in_user,
	.wake = wake,
};

void poison_init(void)
{
	wait_queue_init(&work);
	mce_set_owner(&owner);
	if (proc_register("badblocks", show_blocks, NULL))
		log_warn("pmem: no memory for /proc/badblocks");
}

void poison_start(void)
{
	if (!thread_create("memory-failure", worker, NULL))
		panic("no memory for the thread that looks after failed memory");
}
