// SPDX-License-Identifier: MIT
//
// What: fork, vfork and clone: new processes, whose first thread is a copy of the calling one
// alone, and new threads.
// Not here: CLONE_SIGHAND and CLONE_PARENT without CLONE_THREAD, CLONE_VFORK with it, CLONE_PIDFD,
// namespaces: -EINVAL.
//
// Invariants:
//   I1  Everything that can fail happens before the new thread is linked: from then on others see
//       it.
//   I2  The parent of a vfork does not run in user mode while the child uses its memory.
// Failure: -ENOMEM or -EAGAIN with nothing left behind.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/x86/fpu.h"
#include "kernel/x86/trap.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

// The last line has no effect: nobody traces, and there is no I/O priority to share.
#define CLONE_KNOWN                                                                                \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_VFORK |          \
	 CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID |               \
	 CLONE_CHILD_SETTID | CLONE_DETACHED | CLONE_PTRACE | CLONE_UNTRACED | CLONE_IO)

#define THREAD_MEMORY_SHARE 8 // stacks of threads may take one part in so many of RAM, as in Linux

static int check_args(const struct clone_args *args)
{
	u64 flags = args->flags;

	if (flags & ~CLONE_KNOWN)
		return -EINVAL;
	// Linux's rules.
	if ((flags & CLONE_THREAD) && !(flags & CLONE_SIGHAND))
		return -EINVAL;
	if ((flags & CLONE_SIGHAND) && !(flags & CLONE_VM))
		return -EINVAL;
	// What is not there.
	if ((flags & CLONE_SIGHAND) && !(flags & CLONE_THREAD))
		return -EINVAL;
	if ((flags & CLONE_VFORK) && (flags & CLONE_THREAD))
		return -EINVAL;
	if (args->exit_signal < 0 || args->exit_signal > SIG_COUNT)
		return -EINVAL;
	return 0;
}

// Stacks cannot be swapped out: without a limit they could take all memory. The last ones are
// root's.
static bool memory_has_room(void)
{
	const struct process *me = process_current();
	u64 room = frame_stats().total * PAGE_SIZE / THREAD_MEMORY_SHARE / KSTACK_SIZE;

	return thread_count() < (me->uid && me->euid ? room - room / 16 : room);
}

static void copy_process(struct process *child, struct process *parent)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	memcpy(child->rlimits, parent->rlimits, sizeof(child->rlimits));
	child->uid = parent->uid;
	child->euid = parent->euid;
	child->suid = parent->suid;
	child->gid = parent->gid;
	spin_unlock_irqrestore(&proc_lock, flags);

	// Only execve changes these, and it waits until its thread is the only one: we are here.
	if (parent->exe && inode_deny_write(parent->exe->inode) == 0)
		child->exe = file_get(parent->exe);
	if (parent->cmdline) {
		child->cmdline = kmalloc(parent->cmdline_bytes);
		if (child->cmdline) {
			memcpy(child->cmdline, parent->cmdline, parent->cmdline_bytes);
			child->cmdline_bytes = parent->cmdline_bytes;
		}
	}
}

static void uncopy_process(struct process *child)
{
	if (!child->exe)
		return;
	inode_allow_write(child->exe->inode);
	file_put(child->exe);
	child->exe = NULL;
}

static struct thread *copy_thread(const struct clone_args *args, const struct trapframe *tf)
{
	struct thread *me = thread_current(), *t;
	struct trapframe child_tf = *tf;

	child_tf.rax = 0;
	if (args->stack)
		child_tf.rsp = args->stack;
	t = thread_create_user(me->name, &child_tf);
	if (!t)
		return NULL;
	preempt_disable();
	fpu_save(t->fpu); // the registers are still the user's
	preempt_enable();
	t->fs_base = args->flags & CLONE_SETTLS ? args->tls : me->fs_base;
	t->gs_base = me->gs_base;
	t->affinity = me->affinity;
	return t;
}

// Memory, files, signals for the new thread. 0 or -ENOMEM; the caller unwinds by drop_resources.
static int copy_resources(const struct clone_args *args, struct thread *t)
{
	struct thread *me = thread_current();

	t->user = uthread_create(t);
	if (!t->user)
		return -ENOMEM;
	t->fs = fs_context_clone(me->fs, args->flags & CLONE_FS, args->flags & CLONE_FILES);
	if (!t->fs)
		return -ENOMEM;
	if (args->flags & CLONE_VM) {
		aspace_get(me->as);
		t->as = me->as;
	} else {
		t->as = aspace_fork(me->as);
		if (!t->as)
			return -ENOMEM;
	}
	// A stack for signals is used by one thread only, and vfork's child borrows its parent's.
	signal_clone(t->user, !(args->flags & CLONE_VM) || (args->flags & CLONE_VFORK));
	if (args->flags & CLONE_CHILD_SETTID)
		t->user->set_child_tid = args->child_tid;
	if (args->flags & CLONE_CHILD_CLEARTID)
		t->user->clear_child_tid = args->child_tid;
	return 0;
}

static void drop_resources(struct thread *t)
{
	if (t->as)
		aspace_put(t->as);
	if (t->fs)
		fs_context_free(t->fs);
	uthread_free(t->user);
	t->as = NULL;
	t->fs = NULL;
	thread_destroy(t);
}

// Linux does not look at the result either.
static void tell_parent_tid(const struct clone_args *args, u32 tid)
{
	if (args->flags & CLONE_PARENT_SETTID)
		(void)!copy_to_user(args->parent_tid, &tid, sizeof(tid));
}

// ---- vfork --------------------------------------------------------------------------------------

void process_vfork_release(struct process *p)
{
	u64 flags;

	if (p->vfork_done) // only the process itself sets it
		return;
	flags = spin_lock_irqsave(&proc_lock);
	__atomic_store_n(&p->vfork_done, 1, __ATOMIC_RELEASE);
	wait_wake_all(&p->parent->cont_wait); // whose it was, or init's if it has ended
	spin_unlock_irqrestore(&proc_lock, flags);
}

// I2. SIGKILL ends the wait: who is killed does not return to user mode, and the memory is counted.
// No other signal does, SIGSTOP neither; so the wait is where who ends a process wakes its threads.
static void wait_for_vfork(struct process *child)
{
	struct process *me = process_current();
	sigset_t old = signal_set_mask(~(sigset_t)0);

	wait_event(&me->cont_wait,
		   __atomic_load_n(&child->vfork_done, __ATOMIC_ACQUIRE) || signal_is_killed());
	signal_set_mask(old);
	// The child may have changed its own limit, which was kept in the memory that both had.
	WRITE_ONCE(thread_current()->as->limit_bytes, READ_ONCE(me->rlimits[RLIMIT_AS].cur));
}

// ---- clone --------------------------------------------------------------------------------------

static s64 clone_thread(const struct clone_args *args, const struct trapframe *tf)
{
	struct thread *t = copy_thread(args, tf);
	u32 tid;
	int err;

	if (!t)
		return -ENOMEM;
	t->tid = tid = number_alloc();
	err = tid ? copy_resources(args, t) : -EAGAIN;
	if (!err) {
		tell_parent_tid(args, tid);
		err = process_link_thread(t); // I1
	}
	if (err) {
		drop_resources(t);
		return err;
	}
	thread_start(t);
	return tid;
}

static s64 clone_process(const struct clone_args *args, const struct trapframe *tf)
{
	struct process *parent = process_current(), *child;
	struct thread *t;
	u32 pid, group_signals = READ_ONCE(parent->group_signals);
	int err;

	child = process_alloc();
	if (!child)
		return -EAGAIN;
	t = copy_thread(args, tf);
	if (!t) {
		process_free_unlinked(child);
		return -ENOMEM;
	}
	err = copy_resources(args, t);
	if (err)
		goto fail;
	pid = child->pid;
	tell_parent_tid(args, pid);
	signal_fork(child);
	child->exit_signal = args->exit_signal;
	child->vfork_done = !(args->flags & CLONE_VFORK);
	copy_process(child, parent);
	process_get(child); // for the wait below: the child may be gone before we look
	err = process_link_fork(child, parent, t, group_signals); // I1
	if (err) {
		uncopy_process(child);
		process_put(child);
		goto fail;
	}
	thread_start(t);
	if (args->flags & CLONE_VFORK)
		wait_for_vfork(child);
	process_put(child);
	return pid;

fail:
	drop_resources(t);
	process_free_unlinked(child);
	return err;
}

s64 process_clone(const struct clone_args *args, const struct trapframe *tf)
{
	int err = check_args(args);

	if (err)
		return err;
	if (system_is_shutting_down() || !memory_has_room())
		return -EAGAIN;
	return args->flags & CLONE_THREAD ? clone_thread(args, tf) : clone_process(args, tf);
}
