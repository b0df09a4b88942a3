// SPDX-License-Identifier: MIT
//
// Sessions and process groups as terminals see them.
#pragma once

#include "kernel/lib/types.h"

struct process;

// Registers with the terminals.
void session_init(void);
// No member of the group has a parent that could continue it: a stop by the keyboard would be for
// ever. proc_lock held.
bool session_group_is_orphaned(u32 pgrp);
// `child` or its `parent` ends. If it was through these two that somebody could continue the
// child's group, and the group has stopped members, they get SIGHUP and go on (POSIX, _exit).
// proc_lock held; who ends is not ALIVE any more.
void session_link_lost(const struct process *child, const struct process *parent);
// The process ends: if it led a session, the session's terminal is free. No lock held.
void session_leader_exits(struct process *p);
