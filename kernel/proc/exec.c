// SPDX-License-Identifier: MIT
//
// What: execve in order: open, look at scripts, copy the strings, build the new memory, end the
// other threads, commit.
// Not here: strings (exec_args.c), segments and stack (exec_load.c), ELF rules (elf.c).
//
// Invariants:
//   I1  The thread runs on the new address space while it is filled, and goes back to the old one
//       if anything fails. The other threads end when all else has succeeded. After that the commit
//       can fail in one thing only, a descriptor table that other processes share; the program is
//       lost then, and the process with it.
//   I2  The program's inode is denied writing from the look at its header until the process lets
//       go.
// Failure: -ENOENT, -EACCES, ... of the open; -ENOEXEC, -E2BIG, -ELOOP, -ENOMEM, -ETXTBSY.
#include "kernel/proc/exec_internal.h"

#include "fs/fs_context.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/proc/robust.h"
#include "kernel/x86/fpu.h"
#include "kernel/x86/trap.h"
#include "mm/aspace.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define SCRIPT_LINE_MAX  256 // bytes of "#!interpreter argument" that count, as in Linux
#define SCRIPT_DEPTH_MAX 4   // interpreters that are scripts

struct exec {
	struct exec_args args;
	struct file *exe; // what runs in the end, denied writing; NULL: not yet
	struct elf_info *elf;
	struct exec_image image; // of the program
	u64 entry;               // first instruction: its, or the program interpreter's
	u64 base;                // where the program interpreter is; 0: there is none
	u64 sp;
	char path[PATH_MAX]; // of `exe`
};

// ---- Scripts ------------------------------------------------------------------------------------

// Cuts "#!interp arg\n" into its words; *arg is NULL if there is none. False: no interpreter named.
static bool parse_script_line(char *line, char **interp, char **arg)
{
	char *end = strchr(line, '\n'), *at = line + 2;

	if (end)
		*end = '\0';
	else
		end = line + strlen(line);
	while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	while (*at == ' ' || *at == '\t')
		at++;
	*interp = at;
	*arg = NULL;
	while (*at && *at != ' ' && *at != '\t')
		at++;
	if (*at) {
		*at++ = '\0';
		while (*at == ' ' || *at == '\t')
			at++;
		if (*at)
			*arg = at;
	}
	return **interp != '\0';
}

// If `f` is a script: its interpreter becomes the path, and argv says how it was meant. 1: so it
// was; 0: no script.
static int try_script(struct exec *x, struct file *f)
{
	char line[SCRIPT_LINE_MAX + 1], *interp, *arg;
	const char *string[3];
	unsigned n = 0;
	ssize got = file_read_kernel(f, line, SCRIPT_LINE_MAX, 0);
	int err;

	if (got < 0)
		return (int)got;
	line[got] = '\0';
	if (got < 2 || line[0] != '#' || line[1] != '!')
		return 0;
	if (!parse_script_line(line, &interp, &arg))
		return -ENOEXEC;
	string[n++] = interp;
	if (arg)
		string[n++] = arg;
	string[n++] = x->path;
	err = exec_args_prepend(&x->args, string, n);
	if (err)
		return err;
	strlcpy(x->path, interp, sizeof(x->path));
	return 1;
}

// ---- Opening ------------------------------------------------------------------------------------

static int open_denied(const char *path, struct file **out)
{
	struct file *f;
	int err = vfs_open_exec(path, &f);

	if (err)
		return err;
	err = inode_deny_write(f->inode); // I2
	if (err) {
		file_put(f);
		return err;
	}
	*out = f;
	return 0;
}

static void close_denied(struct file *f)
{
	if (!f)
		return;
	inode_allow_write(f->inode);
	file_put(f);
}

// Finds the ELF file behind path and scripts.
static int open_program(struct exec *x)
{
	for (unsigned depth = 0;; depth++) {
		struct file *f;
		int err = open_denied(x->path, &f);

		if (err)
			return err;
		err = try_script(x, f);
		if (err == 0) {
			x->exe = f;
			return exec_read_elf(f, x->elf);
		}
		close_denied(f);
		if (err < 0)
			return err;
		if (depth == SCRIPT_DEPTH_MAX)
			return -ELOOP;
	}
}

// ---- The new memory -----------------------------------------------------------------------------

static int load_interpreter(struct exec *x, struct aspace *as)
{
	size_t bytes = x->elf->interp_bytes;
	struct elf_info *info;
	struct exec_image image;
	struct file *f = NULL;
	char *path;
	ssize n;
	int err;

	x->entry = x->image.entry;
	if (bytes == 0)
		return 0;
	path = kmalloc(bytes);
	info = kmalloc(sizeof(*info));
	err = path && info ? 0 : -ENOMEM;
	if (!err) {
		n = file_read_kernel(x->exe, path, bytes, x->elf->interp_off);
		err = n == (ssize)bytes && path[bytes - 1] == '\0' ? 0 : -ENOEXEC;
	}
	err = err ? err : vfs_open_exec(path, &f);
	err = err ? err : exec_read_elf(f, info);
	if (!err && (info->interp_bytes || !info->dynamic))
		err = -ENOEXEC;
	err = err ? err : exec_load(as, f, info, true, &image);
	if (!err) {
		x->entry = image.entry;
		x->base = image.bias;
	}
	if (f)
		file_put(f);
	kfree(info);
	kfree(path);
	return err;
}

// Fills `as`, which the thread runs on.
static int build(struct exec *x, struct aspace *as)
{
	const struct credentials *cred = fs_credentials(thread_current()->fs);
	const struct process *p = process_current();
	struct exec_aux aux = {
		.phnum = x->elf->phnum,
		.uid = cred->uid,
		.euid = cred->euid,
		.gid = cred->gid,
		.egid = cred->egid,
		.execfn = x->path,
	};
	u64 stack_limit = p->rlimits[RLIMIT_STACK].cur;
	int err;

	as->limit_bytes = p->rlimits[RLIMIT_AS].cur;
	err = exec_reserve_stack(as, stack_limit, x->elf->exec_stack);
	err = err ? err : exec_load(as, x->exe, x->elf, false, &x->image);
	if (err)
		return err;
	as->brk_start = as->brk_end = x->image.end;
	err = load_interpreter(x, as);
	if (err)
		return err;
	aux.phdr = x->image.phdr;
	aux.entry = x->image.entry;
	aux.base = x->base;
	return exec_fill_stack(&x->args, &aux, stack_limit, &x->sp);
}

// ---- Commit -------------------------------------------------------------------------------------

static void set_identity(struct exec *x, const char *path)
{
	struct thread *t = thread_current();
	const struct credentials *cred = fs_credentials(t->fs); // after fs_context_exec()
	struct process *p = t->proc;
	const char *slash = strrchr(path, '/');
	char *cmdline = kmalloc(x->args.env_off), *old;
	u64 flags;

	if (cmdline)
		memcpy(cmdline, x->args.buf, x->args.env_off);
	flags = spin_lock_irqsave(&proc_lock);
	strlcpy(t->name, slash ? slash + 1 : path, sizeof(t->name));
	memcpy(p->name, t->name, sizeof(p->name));
	p->has_execed = true;
	p->exit_signal = SIGCHLD; // what clone(2) chose was the old program's affair
	p->uid = cred->uid;
	p->euid = cred->euid;
	p->suid = cred->suid;
	p->gid = cred->gid;
	old = p->cmdline;
	p->cmdline = cmdline;
	p->cmdline_bytes = cmdline ? x->args.env_off : 0;
	spin_unlock_irqrestore(&proc_lock, flags);
	kfree(old);
	process_set_exe(x->exe);
	x->exe = NULL;
}

// Close-on-exec must not close what other processes use.
static void own_files(struct thread *t)
{
	struct fs_context *own;

	if (!fs_context_shares_files(t->fs))
		return;
	own = fs_context_clone(t->fs, true, false);
	if (own) {
		fs_context_free(process_swap_fs(own));
		return;
	}
	log_warn("process %u: no memory for descriptors in execve", t->proc->pid);
	process_exit(WAIT_KILLED(SIGSEGV));
}

// The last look at the old memory, on the way from it.
static void leave_old_memory(struct thread *t, struct aspace *old)
{
	struct aspace *new;

	if (!old || (!t->user->robust_list.va && !t->user->clear_child_tid.va))
		return;
	new = process_swap_aspace(old);
	thread_release_words();
	ASSERT(process_swap_aspace(new) == old);
}

static void commit(struct exec *x, const char *path, struct aspace *old, struct trapframe *tf)
{
	struct thread *t = thread_current();

	leave_old_memory(t, old);
	if (old)
		aspace_put(old);
	own_files(t);
	fs_context_exec(t->fs);
	// After close-on-exec: posix_spawn's parent waits for the end of a pipe.
	process_vfork_release(t->proc);
	signal_exec();
	set_identity(x, path);
	thread_set_tls(0, 0);
	preempt_disable();
	fpu_init_state(t->fpu);
	fpu_load(t->fpu);
	preempt_enable();
	// All registers are zero, rdx among them: programs take it for a function to call at exit.
	*tf = (struct trapframe){ .rip = x->entry, .rsp = x->sp, .vector = TRAP_SYSCALL };
}

static int exec(struct exec *x, const char *path, const struct exec_strings *strings,
		struct trapframe *tf)
{
	struct aspace *as, *old;
	int err = exec_args_collect(&x->args, strings);

	if (err)
		return err;
	strlcpy(x->path, path, sizeof(x->path));
	err = open_program(x);
	if (err)
		return err;
	as = aspace_create();
	if (!as)
		return -ENOMEM;
	old = process_swap_aspace(as);
	err = build(x, as);
	if (!err)
		err = process_end_other_threads();
	if (err) {
		aspace_put(process_swap_aspace(old)); // I1
		return err;
	}
	commit(x, path, old, tf);
	return 0;
}

int process_exec(const char *path, const struct exec_strings *strings, struct trapframe *tf)
{
	struct exec *x = kzalloc(sizeof(*x));
	int err;

	if (!x)
		return -ENOMEM;
	x->elf = kmalloc(sizeof(*x->elf));
	err = x->elf ? exec(x, path, strings, tf) : -ENOMEM;
	close_denied(x->exe);
	exec_args_free(&x->args);
	kfree(x->elf);
	kfree(x);
	return err;
}
