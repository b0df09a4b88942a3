// SPDX-License-Identifier: MIT
//
// Shared by the files of the terminals.
#pragma once

#include "drivers/serial/serial.h"
#include "fs/poll.h"
#include "fs/tty.h"
#include "fs/tty_ldisc.h"
#include "fs/vfs.h"
#include "kernel/sched/wait.h"

#define TTY_RING  4096u
#define TTY_MAJOR 4
#define TTY_MINOR 64 // ttyS0

struct winsize {
	u16 rows, cols, xpixel, ypixel;
};

struct tty {
	unsigned port;
	struct mutex lock;
	struct ldisc ld;                    // [lock]
	struct winsize size;                // [lock]
	u32 session, group;                 // whose it is, and who is in front; 0: nobody [lock]
	struct wait_queue readers, writers; // for input; for ^Q
	struct poll_head pollers;
	struct wait_queue input; // the input thread
	struct spinlock ring_lock;
	u8 ring[TTY_RING];        // [ring_lock]
	u32 ring_head, ring_tail; // free running [ring_lock]
	u32 lost;                 // bytes that found the ring full [ring_lock]
	bool room;                // the line discipline may have room again [atomic]
};

extern struct tty ttys[SERIAL_PORTS];
extern const struct tty_process_ops *tty_process; // NULL until kernel/proc is there

// The signal to a process group; nothing while there is nobody to deliver it.
void tty_signal(u32 session, u32 group, int sig);

// Job control: a process in the background may not do this. -ERESTARTSYS after it was sent `sig`
// (SIGTTIN, SIGTTOU); -EIO if nobody could continue it then, or for a read if it shuns the signal;
// else 0.
int tty_check_foreground(struct tty *t, int sig);

// fs/tty_ioctl.c
bool tty_is_mine(const struct tty *t); // the session of the current process has it
s64 tty_ioctl(struct file *f, unsigned cmd, u64 arg);
