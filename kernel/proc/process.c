// SPDX-License-Identifier: MIT
//
// What: the tables of processes and threads: numbers, references, links between parents and
// children.
// Not here: fork.c makes processes, exit.c and wait.c end them, exec.c gives them programs.
//
// Invariants:
//   I1  A process is in the table from process_link() until it is reaped. The table holds one
//       reference.
//   I2  A number is in use as long as any process has it as pid, pgid or sid, or any thread as
//       tid; each of these is one user of it (kernel/sched/number.h).
//   I3  Every process in the table but the first has a parent that is alive: orphans go to process
//       1.
//   I4  A thread is in the table of threads exactly while it is in its process's list.
// Locking: proc_lock for table and tree.
// Failure: out of memory or numbers makes process_alloc() return NULL.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/x86/time.h"
#include "mm/aspace.h"
#include "mm/heap.h"

#define PROCESS_MAX   4096u // in all; a fork bomb ends here with EAGAIN
#define KEPT_FOR_ROOT 64u   // of them; so many are left to end it
#define HASH_SIZE     256u

struct spinlock proc_lock = SPINLOCK_INIT(RANK_PROC);
struct list process_list = LIST_INIT(process_list);

static struct list table[HASH_SIZE];        // processes by pid [proc_lock]
static struct list thread_table[HASH_SIZE]; // threads by tid [proc_lock]
static unsigned nr_processes;               // [proc_lock]

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

struct thread *thread_find_locked(u32 tid)
{
	struct uthread *u;

	if (!thread_table[tid % HASH_SIZE].next)
		return NULL;
	list_for_each(u, &thread_table[tid % HASH_SIZE], tid_node)
		if (u->thread->tid == tid)
			return u->thread;
	return NULL;
}

struct process *process_of_number_locked(u32 nr)
{
	struct process *p = process_find_locked(nr);
	struct thread *t = p ? NULL : thread_find_locked(nr);

	return t ? t->proc : p;
}

struct thread *process_thread_next_locked(struct process *p, u32 tid)
{
	struct thread *t, *best = NULL;

	list_for_each(t, &p->threads, proc_node)
		if (t->tid >= tid && (!best || t->tid < best->tid))
			best = t;
	return best;
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

static void init_fields(struct process *p)
{
	p->refs = 1;
	p->exit_signal = SIGCHLD;
	p->vfork_done = 1;
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->hash_node);
	list_init(&p->all_node);
	list_init(&p->threads);
	wait_queue_init(&p->child_wait);
	wait_queue_init(&p->cont_wait);
	wait_queue_init(&p->threads_wait);
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
	p->pid = number_take(NUMBER_INIT) ? NUMBER_INIT : number_alloc(); // I2
	flags = spin_lock_irqsave(&proc_lock);
	full = !p->pid || nr_processes >= PROCESS_MAX;
	if (!full) {
		p->pgid = p->sid = p->pid;
		number_get(p->pgid);
		number_get(p->sid);
		nr_processes++;
		list_add_tail(&process_list, &p->all_node);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	if (full) {
		if (p->pid)
			number_put(p->pid);
		kfree(p);
		return NULL;
	}
	return p;
}

// It leaves the list of all, and its numbers are free. proc_lock held.
static void remove_locked(struct process *p)
{
	list_del(&p->all_node);
	nr_processes--;
	number_put(p->pid);
	number_put(p->pgid);
	number_put(p->sid);
}

void process_free_unlinked(struct process *p)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	remove_locked(p);
	spin_unlock_irqrestore(&proc_lock, flags);
	process_put(p);
}

void process_set_group_locked(struct process *p, u32 pgid, u32 sid)
{
	number_get(pgid);
	number_get(sid);
	number_put(p->pgid);
	number_put(p->sid);
	p->pgid = pgid;
	p->sid = sid;
}

static struct list *bucket_of(struct list *hash, u32 nr)
{
	struct list *bucket = &hash[nr % HASH_SIZE];

	if (!bucket->next)
		list_init(bucket);
	return bucket;
}

static void set_file_limits(const struct process *p, struct fs_context *fs)
{
	fs_set_limits(fs, p->rlimits[RLIMIT_NOFILE].cur, p->rlimits[RLIMIT_FSIZE].cur);
}

// `t`, which has its number, becomes one of p's threads. False: they are all to end.
static REQUIRES(proc_lock) bool add_thread(struct process *p, struct thread *t)
{
	spin_lock(&p->sig_lock);
	if (p->exiting || p->survivor) {
		spin_unlock(&p->sig_lock);
		return false;
	}
	t->proc = p;
	list_add_tail(&p->threads, &t->proc_node);
	list_add_tail(bucket_of(thread_table, t->tid), &t->user->tid_node);
	p->nr_threads++;
	p->nr_live++;
	// What stops the others stops it before its first instruction.
	WRITE_ONCE(t->signal_pending, p->stopped);
	// The limit may have changed since the context was copied.
	if (t->fs)
		set_file_limits(p, t->fs);
	spin_unlock(&p->sig_lock);
	return true;
}

void process_unlink_thread_locked(struct process *p, struct thread *t)
{
	list_del(&t->proc_node);
	list_del(&t->user->tid_node);
	p->nr_threads--;
	t->proc = NULL;
	WRITE_ONCE(t->signal_pending, 0);
	if (p->nr_threads == 1)
		wait_wake_all(&p->threads_wait);
}

void process_take_leader_number_locked(struct thread *t)
{
	u32 pid = t->proc->pid, own = t->tid;

	if (own == pid)
		return;
	list_del(&t->user->tid_node);
	number_get(pid);
	t->tid = pid;
	number_put(own);
	list_add_tail(bucket_of(thread_table, pid), &t->user->tid_node);
}

static REQUIRES(proc_lock) void link_locked(struct process *p, struct process *parent,
					    struct thread *t)
{
	list_add_tail(bucket_of(table, p->pid), &p->hash_node);
	p->state = PROCESS_ALIVE;
	p->parent = parent;
	if (parent) {
		p->ppid = parent->pid;
		process_set_group_locked(p, parent->pgid, parent->sid);
		list_add_tail(&parent->children, &p->sibling);
	}
	memcpy(p->name, t->name, sizeof(p->name));
	number_get(p->pid);
	t->tid = p->pid;
	ASSERT(add_thread(p, t)); // nobody can have told a new process to end
}

void process_link(struct process *p, struct process *parent, struct thread *t)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	link_locked(p, parent, t);
	spin_unlock_irqrestore(&proc_lock, flags);
}

// RLIMIT_NPROC counts the threads of a user. Root has as many as there are. `me` may be about to
// get a child, which is in the table by now.
static REQUIRES(proc_lock) bool has_too_many(const struct process *me)
{
	const struct process *p;
	u64 n = 0;

	if (me->uid == 0 || me->euid == 0)
		return false;
	if (nr_processes > PROCESS_MAX - KEPT_FOR_ROOT)
		return true;
	process_for_each(p)
		n += p->uid == me->uid ? p->nr_threads : 0;
	return n >= me->rlimits[RLIMIT_NPROC].cur;
}

// A timer's signals do not count, or a fork that takes longer than its period would never succeed.
// A group's signal may have been told to another thread, and be taken by now.
int process_link_fork(struct process *p, struct process *parent, struct thread *t, u32 seen)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	bool missed = parent->group_signals != seen && (signal_pending() || parent->nr_threads > 1);
	int err = 0;

	if (signal_is_killed() || missed)
		err = -ERESTARTNOINTR;
	else if (has_too_many(parent))
		err = -EAGAIN;
	else
		link_locked(p, parent, t);
	spin_unlock_irqrestore(&proc_lock, flags);
	return err;
}

// Whoever ends all threads of a process does so under sig_lock: either the caller sees it here, or
// the new thread is in the list by then and is told like the others.
int process_link_thread(struct thread *t)
{
	struct process *p = process_current();
	u64 flags = spin_lock_irqsave(&proc_lock);
	int err = 0;

	if (has_too_many(p))
		err = -EAGAIN;
	else if (!add_thread(p, t))
		err = -ERESTARTNOINTR;
	spin_unlock_irqrestore(&proc_lock, flags);
	return err;
}

void process_unlink_locked(struct process *p)
{
	p->state = PROCESS_REAPED;
	p->parent = NULL;
	list_del(&p->sibling);
	list_del(&p->hash_node);
	remove_locked(p);
}

void process_reaped(struct process *p)
{
	process_put(p);
}

// ---- What belongs to the thread and others look at ----------------------------------------------

struct aspace *process_aspace(struct process *p)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct aspace *as = NULL;
	struct thread *t;

	// Threads that are ending may have none any more.
	list_for_each(t, &p->threads, proc_node)
		as = as ? as : t->as;
	if (as)
		aspace_get(as);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return as;
}

struct fs_context *process_fs(struct process *p)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct fs_context *fs = NULL;
	struct thread *t;

	list_for_each(t, &p->threads, proc_node)
		fs = fs ? fs : t->fs;
	if (fs)
		fs_context_get(fs);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return fs;
}

void process_tell_limits_locked(struct process *p)
{
	struct thread *t;

	spin_lock(&p->sig_lock);
	list_for_each(t, &p->threads, proc_node)
		if (t->fs)
			set_file_limits(p, t->fs);
	spin_unlock(&p->sig_lock);
}

bool process_may_look(u32 uid, const struct process *p)
{
	const struct process *me = process_current();

	return p == me || me->euid == 0 ||
	       (uid == READ_ONCE(p->uid) && uid == READ_ONCE(p->euid) &&
		uid == READ_ONCE(p->suid) && me->gid == READ_ONCE(p->gid));
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

struct uthread *uthread_create(struct thread *t)
{
	struct uthread *u = kzalloc(sizeof(*u));

	if (!u)
		return NULL;
	u->thread = t;
	list_init(&u->tid_node);
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
