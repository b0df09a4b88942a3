// SPDX-License-Identifier: MIT
//
// What: the process table: numbers, references, links between parents and children.
// Not here: fork.c makes processes, exit.c and wait.c end them, exec.c gives them programs.
//
// Invariants:
//   I1  A process is in the table from process_link() until it is reaped. The table holds one
//       reference.
//   I2  A number is in use as long as any process has it as pid, pgid or sid.
//   I3  Every process in the table but the first has a parent that is alive: orphans go to process
//       1.
// Locking: proc_lock for table and tree.
// Failure: out of memory or numbers makes process_alloc() return NULL.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/x86/time.h"
#include "mm/aspace.h"
#include "mm/heap.h"

#define PID_MAX     32768u
#define PROCESS_MAX 4096u // in all; a fork bomb ends here with EAGAIN
#define HASH_SIZE   256u

struct spinlock proc_lock = SPINLOCK_INIT(RANK_PROC);
struct list process_list = LIST_INIT(process_list);

static struct list table[HASH_SIZE];   // by pid [proc_lock]
static unsigned nr_processes;          // [proc_lock]
static u32 last_pid;                   // [proc_lock]
static u64 numbers_used[PID_MAX / 64]; // bit per number, while one is looked for [proc_lock]

static const struct rlimit default_rlimits[RLIMIT_COUNT] = {
	[RLIMIT_CPU] = { RLIM_INFINITY, RLIM_INFINITY },
	[RLIMIT_FSIZE] = { RLIM_INFINITY, RLIM_INFINITY },
	[RLIMIT_DATA] = { RLIM_INFINITY, RLIM_INFINITY },
	[RLIMIT_STACK] = { MIB(8), RLIM_INFINITY },
	[RLIMIT_CORE] = { 0, RLIM_INFINITY },
	[RLIMIT_RSS] = { RLIM_INFINITY, RLIM_INFINITY },
	[RLIMIT_NPROC] = { PROCESS_MAX, PROCESS_MAX },
	[RLIMIT_NOFILE] = { 1024, 1024 },
	[RLIMIT_MEMLOCK] = { MIB(8), MIB(8) },
	[RLIMIT_AS] = { RLIM_INFINITY, RLIM_INFINITY },
	[RLIMIT_LOCKS] = { RLIM_INFINITY, RLIM_INFINITY },
	[RLIMIT_SIGPENDING] = { PROCESS_MAX, PROCESS_MAX },
	[RLIMIT_MSGQUEUE] = { 819200, 819200 },
	[RLIMIT_RTTIME] = { RLIM_INFINITY, RLIM_INFINITY },
};

struct process *process_find_locked(u32 pid)
{
	struct process *p;

	if (!table[pid % HASH_SIZE].next)
		return NULL;
	list_for_each(p, &table[pid % HASH_SIZE], hash_node)
		if (p->pid == pid)
			return p;
	return NULL;
}

void process_get(struct process *p)
{
	__atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
}

static void process_free(struct process *p)
{
	ASSERT(list_empty(&p->threads) && !p->exe);
	sigpending_flush(&p->pending);
	kfree(p->cmdline);
	kfree(p);
}

void process_put(struct process *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) == 0)
		process_free(p);
}

struct process *process_find(u32 pid)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p = process_find_locked(pid);

	if (p)
		process_get(p);
	spin_unlock_irqrestore(&proc_lock, flags);
	return p;
}

struct process *process_next(u32 pid)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p, *best = NULL;

	process_for_each(p)
		if (p->state != PROCESS_NEW && p->pid >= pid && (!best || p->pid < best->pid))
			best = p;
	if (best)
		process_get(best);
	spin_unlock_irqrestore(&proc_lock, flags);
	return best;
}

unsigned process_count(void)
{
	return READ_ONCE(nr_processes);
}

u32 process_last_pid(void)
{
	return READ_ONCE(last_pid);
}

static void mark_used(u32 nr)
{
	numbers_used[nr / 64] |= BIT(nr % 64);
}

// One pass over the processes, however many numbers in a row are taken: a fork bomb makes long
// rows, and everybody waits for proc_lock.
static REQUIRES(proc_lock) u32 next_number(void)
{
	struct process *p;

	memset(numbers_used, 0, sizeof(numbers_used));
	process_for_each(p) { // I2
		mark_used(p->pid);
		mark_used(p->pgid);
		mark_used(p->sid);
	}
	do
		last_pid = last_pid + 1 < PID_MAX ? last_pid + 1 : 2;
	while (numbers_used[last_pid / 64] & BIT(last_pid % 64));
	return last_pid;
}

static void init_fields(struct process *p)
{
	p->refs = 1;
	p->exit_signal = SIGCHLD;
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->hash_node);
	list_init(&p->all_node);
	list_init(&p->threads);
	wait_queue_init(&p->child_wait);
	wait_queue_init(&p->vfork_wait);
	wait_queue_init(&p->cont_wait);
	spin_init(&p->sig_lock, RANK_SIGNAL);
	sigpending_init(&p->pending);
	process_itimer_init(p);
	memcpy(p->rlimits, default_rlimits, sizeof(p->rlimits));
	p->start_ns = time_now_ns();
}

struct process *process_alloc(void)
{
	struct process *p = kzalloc(sizeof(*p));
	u64 flags;
	bool full;

	if (!p)
		return NULL;
	init_fields(p);
	flags = spin_lock_irqsave(&proc_lock);
	full = nr_processes >= PROCESS_MAX;
	if (!full) {
		p->pid = p->pgid = p->sid = next_number();
		nr_processes++;
		// From now on the number is taken (I2), though nobody finds the process by it.
		list_add_tail(&process_list, &p->all_node);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	if (full) {
		kfree(p);
		return NULL;
	}
	return p;
}

void process_free_unlinked(struct process *p)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	list_del(&p->all_node);
	nr_processes--;
	spin_unlock_irqrestore(&proc_lock, flags);
	process_put(p);
}

static REQUIRES(proc_lock) void link_locked(struct process *p, struct process *parent,
					    struct thread *t)
{
	struct list *bucket = &table[p->pid % HASH_SIZE];

	if (!bucket->next)
		list_init(bucket);
	list_add_tail(bucket, &p->hash_node);
	p->state = PROCESS_ALIVE;
	p->parent = parent;
	if (parent) {
		p->ppid = parent->pid;
		p->pgid = parent->pgid;
		p->sid = parent->sid;
		list_add_tail(&parent->children, &p->sibling);
	}
	memcpy(p->name, t->name, sizeof(p->name));
	spin_lock(&p->sig_lock);
	t->proc = p;
	t->tid = p->pid;
	list_add_tail(&p->threads, &t->proc_node);
	p->nr_threads = 1;
	spin_unlock(&p->sig_lock);
}

void process_link(struct process *p, struct process *parent, struct thread *t)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	link_locked(p, parent, t);
	spin_unlock_irqrestore(&proc_lock, flags);
}

// A timer's signals do not count, or a fork that takes longer than its period would never succeed.
int process_link_fork(struct process *p, struct process *parent, struct thread *t, u32 seen)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool missed = parent->group_signals != seen && signal_pending();

	if (!missed)
		link_locked(p, parent, t);
	spin_unlock_irqrestore(&proc_lock, flags);
	return missed ? -ERESTARTNOINTR : 0;
}

void process_unlink_locked(struct process *p)
{
	p->state = PROCESS_REAPED;
	p->parent = NULL;
	list_del(&p->sibling);
	list_del(&p->hash_node);
	list_del(&p->all_node);
	nr_processes--;
}

void process_reaped(struct process *p)
{
	process_put(p);
}

// ---- What belongs to the thread and others look at ----------------------------------------------

static struct thread *main_thread(struct process *p)
{
	return list_empty(&p->threads) ? NULL
				       : list_entry(p->threads.next, struct thread, proc_node);
}

struct aspace *process_aspace(struct process *p)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct thread *t = main_thread(p);
	struct aspace *as = t ? t->as : NULL;

	if (as)
		aspace_get(as);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return as;
}

struct fs_context *process_fs(struct process *p)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct thread *t = main_thread(p);
	struct fs_context *fs = t && t->fs ? fs_context_get(t->fs) : NULL;

	spin_unlock_irqrestore(&p->sig_lock, flags);
	return fs;
}

struct aspace *process_swap_aspace(struct aspace *as)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	struct aspace *old = t->as;

	t->as = as;
	aspace_switch(as);
	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return old;
}

struct fs_context *process_swap_fs(struct fs_context *fs)
{
	struct thread *t = thread_current();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	struct fs_context *old = t->fs;

	t->fs = fs;
	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return old;
}

void process_set_exe(struct file *exe)
{
	struct process *p = process_current();
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct file *old = p->exe;

	p->exe = exe;
	spin_unlock_irqrestore(&proc_lock, flags);
	if (old) {
		inode_allow_write(old->inode);
		file_put(old);
	}
}

struct uthread *uthread_create(void)
{
	struct uthread *u = kzalloc(sizeof(*u));

	if (!u)
		return NULL;
	sigpending_init(&u->pending);
	u->alt_flags = SS_DISABLE;
	return u;
}

void uthread_free(struct uthread *u)
{
	if (!u)
		return;
	sigpending_flush(&u->pending);
	kfree(u);
}

// ---- What was used ------------------------------------------------------------------------------

void usage_add(struct usage *sum, const struct usage *u)
{
	sum->utime_ns += u->utime_ns;
	sum->stime_ns += u->stime_ns;
	sum->faults += u->faults;
	sum->switches_voluntary += u->switches_voluntary;
	sum->switches_preempted += u->switches_preempted;
}

static u64 tsc_to_ns(u64 tsc)
{
	u64 hz = time_tsc_hz();

	return tsc / hz * 1000000000ull + tsc % hz * 1000000000ull / hz;
}

struct usage thread_usage(const struct thread *t)
{
	u64 run_ns = thread_run_ns(t);
	struct usage u = {
		.stime_ns = min(run_ns, tsc_to_ns(READ_ONCE(t->stime_tsc))),
		.faults = READ_ONCE(t->minor_faults),
		.switches_voluntary = READ_ONCE(t->switches_voluntary),
		.switches_preempted = READ_ONCE(t->switches_preempted),
	};

	u.utime_ns = run_ns - u.stime_ns;
	return u;
}

struct usage process_usage(struct process *p)
{
	struct usage sum = { 0 }, one;
	struct thread *t;
	u64 flags = spin_lock_irqsave(&proc_lock);

	sum = p->final;
	spin_lock(&p->sig_lock);
	list_for_each(t, &p->threads, proc_node) {
		one = thread_usage(t);
		usage_add(&sum, &one);
	}
	spin_unlock(&p->sig_lock);
	spin_unlock_irqrestore(&proc_lock, flags);
	return sum;
}
