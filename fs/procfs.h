// SPDX-License-Identifier: MIT
//
// Files in /proc: any part of the kernel registers a name and a function that prints.
#pragma once

#include "kernel/lib/types.h"

struct seq; // text under construction; grows as needed

void seq_printf(struct seq *s, const char *fmt, ...) __printf(2, 3);

// `path` relative to /proc, folders are made ("sys/daxvm/policy"). `show` prints the whole file at open;
// it may sleep. `arg` is passed on. Once, at init; 0 or -ENOMEM, -EEXIST.
int proc_register(const char *path, void (*show)(struct seq *s, void *arg), void *arg) __must_check;
// The same with a writer: called with the text of one write() (NUL-terminated, at most 4 KiB);
// 0 or -errno. Mode 0644, root writes.
int proc_register_rw(const char *path, void (*show)(struct seq *s, void *arg),
		     int (*store)(const char *text, void *arg), void *arg) __must_check;
