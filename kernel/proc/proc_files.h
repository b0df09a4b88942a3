// SPDX-License-Identifier: MIT
#pragma once

// Registers /proc/PID/{stat,statm,status,cmdline,comm,maps,limits} and what the directories of
// processes are made from.
void proc_files_init(void);
// Registers /proc/{stat,loadavg,uptime,cpuinfo,version} (kernel/proc/system_files.c).
void system_files_init(void);
