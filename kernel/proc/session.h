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
// A member of the group, or the parent of one, has ended: if the group is orphaned now and has
// stopped members, they get SIGHUP and go on (POSIX, _exit). proc_lock held.
void session_group_lost_parent(u32 pgrp);
// The process ends: if it led a session, the session's terminal is free. No lock held.
void session_leader_exits(struct process *p);
