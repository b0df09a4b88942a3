// SPDX-License-Identifier: MIT
//
// What: the orderly end: processes, then file systems, then the machine.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/console.h"
#include "kernel/x86/machine.h"
#include "kernel/x86/time.h"
#include "mm/aspace.h"

#define KILL_WAIT_NS 2000000000ull // for programs to end once they are told to
#define POLL_NS      10000000ull

static u32 shutting_down; // sticky [atomic]

bool system_is_shutting_down(void)
{
	return __atomic_load_n(&shutting_down, __ATOMIC_ACQUIRE);
}

// How many processes, and threads of its own, are there besides the caller (and zombies)? They are
// told to end.
static unsigned kill_others(void)
{
	const struct siginfo info = { .signo = SIGKILL, .code = SI_KERNEL };
	unsigned alive = process_kill_other_threads();
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p, *me = process_current();

	process_for_each(p) {
		if (p == me || p->pid == 1 || p->state != PROCESS_ALIVE)
			continue;
		alive++;
		p->group_signals++;
		(void)signal_send(p, &info);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	return alive;
}

// What the caller itself holds could keep a file system busy: its program, descriptors, directory.
static void let_go(void)
{
	struct aspace *as = process_swap_aspace(NULL);
	struct fs_context *fs = process_swap_fs(NULL);

	if (as)
		aspace_put(as);
	process_set_exe(NULL);
	if (fs)
		fs_context_free(fs);
}

void system_shutdown(enum shutdown_how how)
{
	u64 deadline_ns = time_now_ns() + KILL_WAIT_NS;
	unsigned alive;

	// Somebody is at it already: wait for the end.
	while (__atomic_exchange_n(&shutting_down, 1, __ATOMIC_ACQ_REL))
		thread_sleep_ns(KILL_WAIT_NS);
	while ((alive = kill_others()) && time_now_ns() < deadline_ns)
		thread_sleep_ns(POLL_NS);
	if (alive)
		log_warn("shutdown: %u processes or threads do not end", alive);
	let_go();
	vfs_sync_all();
	vfs_unmount_all();
	if (how == SHUTDOWN_RESTART)
		machine_reboot();
	if (how == SHUTDOWN_HALT) {
		log_info("system halted");
		machine_halt();
	}
	machine_poweroff();
}
