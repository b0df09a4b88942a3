// SPDX-License-Identifier: MIT
//
// The terminals: line discipline (fs/tty_ldisc.h) over the serial ports. /dev/ttyS0, /dev/ttyS1;
// /dev/console is ttyS0; /dev/tty is the terminal of the caller's session.
//
// Limits: 4096 bytes wait between interrupt and line discipline; what does not fit is dropped,
// counted and logged once a burst. Programs that read keep up with any paste: the port is slower
// than they.
#pragma once

#include "kernel/lib/types.h"

// The devices: they can be written to from then on. Called by vfs_init().
void tty_register(void);
// The input side. When threads can be made and interrupts routed.
void tty_init(void);

// Signals from the keyboard: set by kernel/proc. `pgrp` is the terminal's foreground process group;
// if that has ended, its number may be that of a group of another session by now, which gets
// nothing.
void tty_set_signal(void (*fn)(u32 session, u32 pgrp, int sig));

// Whose terminal it is; set by kernel/proc. The current process's session and group; 0: none.
struct tty_process_ops {
	u32 (*session)(void);
	u32 (*group)(void);
	bool (*is_leader)(void); // of its session
	bool (*group_in_session)(u32 pgrp, u32 session);
	bool (*shuns)(int sig);    // the current thread ignores or blocks it
	bool (*is_orphaned)(void); // nobody could continue the current process's group
};
void tty_set_process(const struct tty_process_ops *ops);

// The session ended (its leader exited): the terminal is nobody's; SIGHUP to the foreground group.
void tty_session_ended(u32 session);
// The number of the terminal of a session (major 4, minor 64..), 0: none. For /proc/PID/stat.
u64 tty_of_session(u32 session, u32 *foreground);
