// SPDX-License-Identifier: MIT
//
// What: what /proc/PID says about a process and /proc/PID/task/TID about a thread (proc(5)); ps,
// top and the like read it.
// Not here: the directories (fs/procfs_task.c), numbers of the whole system (system_files.c).
//
// Each file is printed from a copy taken under the locks: printing may sleep.
#include "kernel/proc/proc_files.h"

#include "fs/fs_context.h"
#include "fs/procfs.h"
#include "fs/tty.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/proc/process.h"
#include "kernel/sys/mm_proc.h"
#include "mm/aspace.h"
#include "mm/heap.h"

#define NS_PER_TICK 10000000ul // USER_HZ is 100

// A process as it was at one moment, or one thread of it.
struct snapshot {
	u32 pid, tid, ppid, pgid, sid, uid, euid, suid, gid;
	unsigned nr_threads, cpu;
	char state, name[16];
	struct usage usage, children;
	u64 start_ns, vm_bytes;
	sigset_t blocked, pending, shared_pending, ignored, caught;
};

static char state_letter(const struct process *p, const struct thread *t)
{
	if (p->state == PROCESS_ZOMBIE || !t)
		return 'Z';
	if (p->stopped)
		return 'T';
	switch (READ_ONCE(t->state)) {
	case THREAD_SLEEPING: return READ_ONCE(t->interruptible) ? 'S' : 'D';
	case THREAD_DEAD: return 'X';
	default: return 'R';
	}
}

// `t`: the thread asked for, or the leader; NULL: it has left. proc_lock held.
static void copy_signals(struct snapshot *s, struct process *p, const struct thread *t)
{
	spin_lock(&p->sig_lock);
	s->state = state_letter(p, t);
	s->nr_threads = p->nr_threads;
	s->shared_pending = p->pending.set;
	for (int i = 0; i < SIG_COUNT; i++) {
		s->ignored |= p->actions[i].handler == SIG_IGN ? BIT(i) : 0;
		s->caught |= p->actions[i].handler > SIG_IGN ? BIT(i) : 0;
	}
	if (t) {
		s->blocked = t->user->blocked;
		s->pending = t->user->pending.set;
		s->cpu = READ_ONCE(t->cpu);
	}
	spin_unlock(&p->sig_lock);
}

// tid 0: the process as a whole, with the state of its leader.
static bool take_snapshot(u32 pid, u32 tid, struct snapshot *s)
{
	struct process *p = process_find(pid);
	struct aspace *as;
	struct thread *t;
	u64 flags;

	if (!p)
		return false;
	*s = (struct snapshot){ .pid = pid, .tid = tid ? tid : pid };
	s->usage = process_usage(p);
	flags = spin_lock_irqsave(&proc_lock);
	t = thread_find_locked(s->tid);
	if (t && t->proc != p)
		t = NULL;
	if (!t && tid) {
		spin_unlock_irqrestore(&proc_lock, flags);
		process_put(p);
		return false;
	}
	if (tid)
		s->usage = thread_usage(t);
	s->ppid = p->parent ? p->parent->pid : 0;
	s->pgid = p->pgid;
	s->sid = p->sid;
	s->uid = p->uid;
	s->euid = p->euid;
	s->suid = p->suid;
	s->gid = p->gid;
	s->children = p->dead_children;
	s->start_ns = p->start_ns;
	memcpy(s->name, tid ? t->name : p->name, sizeof(s->name));
	copy_signals(s, p, t);
	spin_unlock_irqrestore(&proc_lock, flags);
	as = process_aspace(p);
	if (as) {
		s->vm_bytes = READ_ONCE(as->mapped_bytes);
		aspace_put(as);
	}
	process_put(p);
	return true;
}

static int show_stat(struct seq *q, u32 pid, u32 tid)
{
	struct snapshot s;
	u32 foreground = 0;
	u64 tty;

	if (!take_snapshot(pid, tid, &s))
		return -ESRCH;
	tty = tty_of_session(s.sid, &foreground);
	// 1-8: who
	seq_printf(q, "%u (%s) %c %u %u %u %lu %d ", s.tid, s.name, s.state, s.ppid, s.pgid, s.sid,
		   tty, tty ? (int)foreground : -1);
	// 9-17: flags, faults, times in ticks
	seq_printf(q, "0 %lu 0 0 0 %lu %lu %lu %lu ", s.usage.faults,
		   s.usage.utime_ns / NS_PER_TICK, s.usage.stime_ns / NS_PER_TICK,
		   s.children.utime_ns / NS_PER_TICK, s.children.stime_ns / NS_PER_TICK);
	// 18-25: priority, nice, threads, itimer, start, virtual and resident size, its limit
	seq_printf(q, "20 0 %u 0 %lu %lu 0 %lu ", s.nr_threads, s.start_ns / NS_PER_TICK,
		   s.vm_bytes, ~0ul);
	// 26-37: addresses (not told), signals, wait channel, swap
	seq_printf(q, "0 0 0 0 0 %lu %lu %lu %lu 0 0 0 ",
		   (s.pending | s.shared_pending) & 0x7fffffff, s.blocked & 0x7fffffff,
		   s.ignored & 0x7fffffff, s.caught & 0x7fffffff);
	// 38-52: exit signal, CPU, policies, the rest
	seq_printf(q, "%d %u 0 0 0 0 0 0 0 0 0 0 0 0 0\n", SIGCHLD, s.cpu);
	return 0;
}

static int show_statm(struct seq *q, u32 pid)
{
	struct snapshot s;

	if (!take_snapshot(pid, 0, &s))
		return -ESRCH;
	seq_printf(q, "%lu 0 0 0 0 0 0\n", s.vm_bytes >> PAGE_SHIFT);
	return 0;
}

static const char *state_name(char letter)
{
	switch (letter) {
	case 'R': return "R (running)";
	case 'S': return "S (sleeping)";
	case 'D': return "D (disk sleep)";
	case 'T': return "T (stopped)";
	case 'Z': return "Z (zombie)";
	default: return "X (dead)";
	}
}

// As Linux does: a name that makes lines of its own would tell what is not true.
static void show_name(struct seq *q, const char *name)
{
	seq_printf(q, "Name:\t");
	for (; *name; name++) {
		if (*name == '\n')
			seq_printf(q, "\\n");
		else if (*name == '\\')
			seq_printf(q, "\\\\");
		else
			seq_write(q, name, 1);
	}
	seq_printf(q, "\n");
}

static int show_status(struct seq *q, u32 pid, u32 tid)
{
	struct snapshot s;

	if (!take_snapshot(pid, tid, &s))
		return -ESRCH;
	show_name(q, s.name);
	seq_printf(q, "State:\t%s\nTgid:\t%u\nPid:\t%u\nPPid:\t%u\n", state_name(s.state), s.pid,
		   s.tid, s.ppid);
	seq_printf(q, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", s.uid, s.euid, s.suid, s.euid,
		   s.gid, s.gid, s.gid, s.gid);
	seq_printf(q, "VmSize:\t%8lu kB\nThreads:\t%u\n", s.vm_bytes / 1024, s.nr_threads);
	seq_printf(q, "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\n", s.pending,
		   s.shared_pending, s.blocked);
	seq_printf(q, "SigIgn:\t%016lx\nSigCgt:\t%016lx\n", s.ignored, s.caught);
	seq_printf(q, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
		   s.usage.switches_voluntary, s.usage.switches_preempted);
	return 0;
}

static int show_comm(struct seq *q, u32 pid, u32 tid)
{
	struct snapshot s;

	if (!take_snapshot(pid, tid, &s))
		return -ESRCH;
	seq_printf(q, "%s\n", s.name);
	return 0;
}

// A thread names itself by prctl, and others of its process by this (pthread_setname_np).
static int store_comm(u32 pid, u32 tid, const char *text)
{
	struct thread *t;
	u64 flags;
	int err = -EINVAL; // as Linux calls it: not one of the caller's threads

	flags = spin_lock_irqsave(&proc_lock);
	t = thread_find_locked(tid ? tid : pid);
	if (t && t->proc == process_current()) {
		strlcpy(t->name, text, sizeof(t->name));
		if (t->tid == pid)
			memcpy(t->proc->name, t->name, sizeof(t->name));
		err = 0;
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	return err;
}

// Arguments as execve got them: the process's own memory is not looked at.
static int show_cmdline(struct seq *q, u32 pid)
{
	struct process *p = process_find(pid);
	char *copy = NULL;
	size_t bytes;
	u64 flags;

	if (!p)
		return -ESRCH;
	for (;;) {
		bytes = READ_ONCE(p->cmdline_bytes);
		copy = kmalloc(bytes ? bytes : 1);
		flags = spin_lock_irqsave(&proc_lock);
		if (!copy || p->cmdline_bytes == bytes)
			break;
		spin_unlock_irqrestore(&proc_lock, flags); // an execve came in between
		kfree(copy);
	}
	if (copy && bytes && p->state == PROCESS_ALIVE)
		memcpy(copy, p->cmdline, bytes);
	else
		bytes = 0;
	spin_unlock_irqrestore(&proc_lock, flags);
	seq_write(q, copy, bytes);
	kfree(copy);
	process_put(p);
	return 0;
}

// A text about the process's memory.
static int show_memory(struct seq *q, u32 pid, void (*show)(struct aspace *as, struct seq *s))
{
	struct process *p = process_find(pid);
	struct aspace *as;

	if (!p)
		return -ESRCH;
	as = process_aspace(p);
	if (as) {
		show(as, q);
		aspace_put(as);
	}
	process_put(p);
	return 0;
}

static int show_maps(struct seq *q, u32 pid)
{
	return show_memory(q, pid, aspace_show_maps);
}

static int show_smaps(struct seq *q, u32 pid)
{
	return show_memory(q, pid, aspace_show_smaps);
}

// ---- Directories --------------------------------------------------------------------------------

static u32 self(void)
{
	const struct process *p = process_current();

	return p ? p->pid : 0;
}

static u32 next(u32 pid)
{
	struct process *p = process_next(pid);
	u32 nr = p ? p->pid : 0;

	if (p)
		process_put(p);
	return nr;
}

static u32 next_thread(u32 pid, u32 tid)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p = process_find_locked(pid);
	struct thread *t = p ? process_thread_next_locked(p, tid) : NULL;
	u32 nr = t ? t->tid : 0;

	spin_unlock_irqrestore(&proc_lock, flags);
	return nr;
}

static bool owner(u32 pid, u32 *uid, u32 *gid)
{
	struct process *p = process_find(pid);

	if (!p)
		return false;
	*uid = READ_ONCE(p->euid);
	*gid = READ_ONCE(p->gid);
	process_put(p);
	return true;
}

static struct fs_context *context(u32 pid)
{
	struct process *p = process_find(pid);
	struct fs_context *fs = p ? process_fs(p) : NULL;

	if (p)
		process_put(p);
	return fs;
}

static struct file *exe(u32 pid)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p = process_find_locked(pid);
	struct file *f = p && p->exe ? file_get(p->exe) : NULL;

	spin_unlock_irqrestore(&proc_lock, flags);
	return f;
}

static bool may_look(u32 pid)
{
	const struct process *me = process_current();
	struct process *p;
	bool yes;

	if (!me || me->euid == 0)
		return true;
	p = process_find(pid);
	yes = p && process_may_look(me->euid, p);
	if (p)
		process_put(p);
	return yes;
}

static const struct proc_task_ops task_ops = {
	.self = self,
	.next = next,
	.next_thread = next_thread,
	.owner = owner,
	.context = context,
	.exe = exe,
	.may_look = may_look,
};

void proc_files_init(void)
{
	static const struct proc_task_file files[] = {
		{ .name = "stat", .show_thread = show_stat },
		{ .name = "statm", .show = show_statm },
		{ .name = "status", .show_thread = show_status },
		{ .name = "cmdline", .show = show_cmdline },
		{ .name = "comm", .show_thread = show_comm, .store_thread = store_comm },
		// Names of files that others may have no right to know of.
		{ .name = "maps", .show = show_maps, .secret = true },
		{ .name = "smaps", .show = show_smaps, .secret = true },
	};

	proc_set_task_ops(&task_ops);
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (proc_register_task_file(&files[i]))
			log_warn("no /proc/PID/%s", files[i].name);
	system_files_init();
}
