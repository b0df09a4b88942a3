// SPDX-License-Identifier: MIT
//
// Sessions and process groups as terminals see them.
#pragma once

#include "kernel/lib/types.h"

struct process;

// Registers with the terminals.
void session_init(void);
// The process ends: if it led a session, the session's terminal is free. No lock held.
void session_leader_exits(struct process *p);
