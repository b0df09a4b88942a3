// SPDX-License-Identifier: MIT
//
// Files in /proc: any part of the kernel registers a name and a function that prints.
#pragma once

#include "kernel/lib/types.h"

struct file;
struct fs_context;
struct seq; // text under construction; grows as needed

void seq_printf(struct seq *s, const char *fmt, ...) __printf(2, 3);
void seq_write(struct seq *s, const void *bytes, size_t len);

// `path` relative to /proc, folders are made ("sys/daxvm/policy"). `show` prints the whole file at
// open; it may sleep. `arg` is passed on. At init, any time after the heap is there; 0 or -ENOMEM,
// -EEXIST.
int proc_register(const char *path, void (*show)(struct seq *s, void *arg), void *arg) __must_check;
// The same with a writer: called with the text of one write() (NUL-terminated, at most 4 KiB);
// 0 or -errno. Mode 0644, root writes.
int proc_register_rw(const char *path, void (*show)(struct seq *s, void *arg),
		     int (*store)(const char *text, void *arg), void *arg) __must_check;
// A symbolic link with a fixed target.
int proc_register_link(const char *path, const char *target) __must_check;

// ---- Processes: /proc/PID, /proc/PID/task/TID, /proc/self ---------------------------------------

// What the directories of processes are made from; set by kernel/proc. All may be called for
// numbers that do not exist (any more).
struct proc_task_ops {
	u32 (*self)(void);                          // the current process; 0: a kernel thread
	u32 (*next)(u32 pid);                       // the lowest number >= pid; 0: none
	u32 (*next_thread)(u32 pid, u32 tid);       // its lowest thread number >= tid; 0: none
	bool (*owner)(u32 pid, u32 *uid, u32 *gid); // false: no such process
	struct fs_context *(*context)(u32 pid);     // with a reference, or NULL
	struct file *(*exe)(u32 pid);               // with a reference, or NULL
	bool (*may_look)(u32 pid); // may the current thread follow its links and list descriptors?
};
void proc_set_task_ops(const struct proc_task_ops *ops);

// A file in every /proc/PID and /proc/PID/task/TID. One of the two `show` prints it at open: 0, or
// -ESRCH when the process or thread has gone; tid 0: the process is asked for. `store_thread`, if
// there is one, gets what is written. Mode 0444, or 0400 if `secret`, and 0200 with a store.
struct proc_task_file {
	const char *name;
	int (*show)(struct seq *s, u32 pid);
	int (*show_thread)(struct seq *s, u32 pid, u32 tid);
	int (*store_thread)(u32 pid, u32 tid, const char *text);
	bool secret;
};
int proc_register_task_file(const struct proc_task_file *file) __must_check;
// The same for a file without a store that is about the process alone.
int proc_register_task(const char *name, int (*show)(struct seq *s, u32 pid), bool secret)
	__must_check;
