// SPDX-License-Identifier: MIT
//
// Pipes and fifos: 64 KiB of bytes, atomic writes up to PIPE_BUF.
#pragma once

#include "fs/vfs.h"

#define PIPE_BUF      4096u
#define PIPE_CAPACITY 65536u

void pipe_init(void);
// Both ends; `flags`: O_NONBLOCK. -ENOMEM.
int pipe_create(unsigned flags, struct file **reader, struct file **writer) __must_check;
extern const struct file_ops fifo_ops; // named ones: open by the VFS

// SIGPIPE for the current thread; set by kernel/proc.
void pipe_set_signal(void (*fn)(void));
