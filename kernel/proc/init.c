// SPDX-License-Identifier: MIT
//
// What: the first process. It begins as a thread in the kernel, prepares what programs expect
// (mounts, descriptors 0 to 2 on the console) and then becomes the program of `init=`.
// Failure: without a program to run there is nothing to do: one log line, and the machine goes off.
#include "kernel/proc/process.h"

#include "fs/fs_context.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/proc_files.h"
#include "kernel/proc/session.h"
#include "kernel/x86/trap.h"

#define INIT_DEFAULT "/sbin/init"
#define CONSOLE      "/dev/console"

static void open_console(void)
{
	struct file *f;
	int err = vfs_open(CONSOLE, O_RDWR, 0, &f);

	for (int fd = 0; fd < 3 && !err; fd++) {
		err = fd_install(file_get(f), fd, false);
		err = err == fd ? 0 : err < 0 ? err : -EBADF;
	}
	if (err)
		log_warn("init: no " CONSOLE ": error %d", -err);
	else
		file_put(f);
}

static void init_main(void *arg)
{
	void (*prepare)(void) = (void (*)(void))arg;
	static char path[PATH_MAX];
	const char *argv[] = { path, bootparam_present("exec") ? "exec" : NULL, NULL };
	static const char *const envp[] = { "HOME=/", "TERM=vt100",
					    "PATH=/bin:/sbin:/usr/bin:/usr/sbin", "USER=root",
					    NULL };
	struct exec_strings strings = { .argv = (u64)argv, .envp = (u64)envp };
	int err;

	if (!bootparam_get("init", path, sizeof(path)))
		__builtin_memcpy(path, INIT_DEFAULT, sizeof(INIT_DEFAULT));
	prepare();
	open_console();
	err = process_exec(path, &strings, thread_current()->user_frame);
	if (err) {
		log_err("init: %s cannot be run: error %d", path, -err);
		system_shutdown(SHUTDOWN_POWEROFF);
	}
}

void process_start_init(void (*prepare)(void))
{
	static const struct trapframe empty;
	struct process *p = process_alloc();
	struct thread *t = thread_create_user("init", &empty);

	if (t) {
		t->user = uthread_create(t);
		t->fs = fs_context_create();
	}
	if (!p || !t || !t->user || !t->fs)
		panic("no memory for the first process");
	ASSERT(p->pid == 1);
	t->fn = init_main;
	t->arg = (void *)prepare;
	process_link(p, NULL, t);
	thread_start(t);
}

void process_init(void)
{
	futex_init();
	signal_init();
	session_init();
	proc_files_init();
}
