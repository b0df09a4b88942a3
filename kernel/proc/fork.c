// SPDX-License-Identifier: MIT
//
// What: fork, vfork and clone for processes. The child is a copy of the calling thread alone.
// Not here: threads (CLONE_THREAD, CLONE_SIGHAND, CLONE_FILES, CLONE_FS): -EINVAL.
//
// Invariants:
//   I1  Everything that can fail happens before process_link(): from then on others see the child.
//   I2  The parent of a vfork does not run in user mode while the child uses its memory.
// Failure: -ENOMEM or -EAGAIN with nothing left behind.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/x86/trap.h"
#include "mm/aspace.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define CLONE_KNOWN                                                                                \
	(CLONE_VM | CLONE_VFORK | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |             \
	 CLONE_CHILD_CLEARTID | CLONE_DETACHED | CLONE_CHILD_SETTID)

static int check_args(const struct clone_args *args)
{
	if (args->flags & ~CLONE_KNOWN)
		return -EINVAL;
	// Memory shared for longer than a vfork would need more than one user of an address space
	// to agree on brk and the like: threads.
	if ((args->flags & CLONE_VM) && !(args->flags & CLONE_VFORK))
		return -EINVAL;
	if (args->exit_signal < 0 || args->exit_signal > SIG_COUNT)
		return -EINVAL;
	return 0;
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

	// Only the parent itself changes these, and that is us.
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
	asm_fxsave(t->fpu); // the kernel does not touch SSE: the registers are still the user's
	preempt_enable();
	t->fs_base = args->flags & CLONE_SETTLS ? args->tls : me->fs_base;
	t->gs_base = me->gs_base;
	t->affinity = me->affinity;
	return t;
}

// Memory, files, signals for the child's thread. 0 or -ENOMEM; the caller unwinds by
// drop_resources.
static int copy_resources(const struct clone_args *args, struct process *child, struct thread *t)
{
	struct thread *me = thread_current();

	t->user = uthread_create();
	if (!t->user)
		return -ENOMEM;
	t->fs = fs_context_clone(me->fs, false, false);
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
	signal_fork(child, t->user);
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

void process_vfork_release(struct process *p)
{
	__atomic_store_n(&p->vfork_done, 1, __ATOMIC_RELEASE);
	wait_wake_all(&p->vfork_wait);
}

// I2. SIGKILL ends the wait: who is killed does not return to user mode, and the memory is counted.
static void wait_for_vfork(struct process *child)
{
	sigset_t old = signal_set_mask(~(sigset_t)0);
	int err = wait_event_interruptible(&child->vfork_wait,
					   __atomic_load_n(&child->vfork_done, __ATOMIC_ACQUIRE));

	if (err && !signal_is_killed()) // SIGSTOP has to wait
		wait_event(&child->vfork_wait,
			   __atomic_load_n(&child->vfork_done, __ATOMIC_ACQUIRE));
	signal_set_mask(old);
}

s64 process_clone(const struct clone_args *args, const struct trapframe *tf)
{
	struct process *parent = process_current(), *child;
	struct thread *t;
	u32 pid, group_signals = READ_ONCE(parent->group_signals);
	int err = check_args(args);

	if (err)
		return err;
	if (system_is_shutting_down())
		return -EAGAIN;
	child = process_alloc();
	if (!child)
		return -EAGAIN;
	t = copy_thread(args, tf);
	if (!t) {
		process_free_unlinked(child);
		return -ENOMEM;
	}
	err = copy_resources(args, child, t);
	pid = child->pid;
	if (!err && (args->flags & CLONE_PARENT_SETTID))
		err = copy_to_user(args->parent_tid, &pid, sizeof(pid));
	if (err)
		goto fail;
	child->exit_signal = args->exit_signal;
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
