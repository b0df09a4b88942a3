// SPDX-License-Identifier: MIT
//
// The system calls by family, one prototype a line. Semantics: Linux's manual pages, section 2;
// what is left out of a call stands at its line in table.c.
#pragma once

#include "kernel/sys/sys_file.h"
#include "kernel/sys/sys_mm.h"
#include "kernel/sys/syscall.h"

// ---- processes: sys_proc.c ----
s64 sys_fork(const struct syscall_args *a);
s64 sys_vfork(const struct syscall_args *a);
s64 sys_clone(const struct syscall_args *a);
s64 sys_execve(const struct syscall_args *a);
s64 sys_exit(const struct syscall_args *a);
s64 sys_exit_group(const struct syscall_args *a);
s64 sys_wait4(const struct syscall_args *a);
s64 sys_waitid(const struct syscall_args *a);
s64 sys_getpid(const struct syscall_args *a);
s64 sys_getppid(const struct syscall_args *a);
s64 sys_gettid(const struct syscall_args *a);
s64 sys_set_tid_address(const struct syscall_args *a);
s64 sys_futex(const struct syscall_args *a);
s64 sys_set_robust_list(const struct syscall_args *a);
s64 sys_get_robust_list(const struct syscall_args *a);
s64 sys_getpgid(const struct syscall_args *a);
s64 sys_setpgid(const struct syscall_args *a);
s64 sys_getpgrp(const struct syscall_args *a);
s64 sys_getsid(const struct syscall_args *a);
s64 sys_setsid(const struct syscall_args *a);
s64 sys_arch_prctl(const struct syscall_args *a);
s64 sys_prctl(const struct syscall_args *a);
s64 sys_sched_yield(const struct syscall_args *a);
s64 sys_sched_getaffinity(const struct syscall_args *a);
s64 sys_sched_setaffinity(const struct syscall_args *a);
s64 sys_getpriority(const struct syscall_args *a);
s64 sys_setpriority(const struct syscall_args *a);

// ---- users and groups: sys_cred.c ----
s64 sys_getuid(const struct syscall_args *a);
s64 sys_geteuid(const struct syscall_args *a);
s64 sys_getgid(const struct syscall_args *a);
s64 sys_getegid(const struct syscall_args *a);
s64 sys_getresuid(const struct syscall_args *a);
s64 sys_getresgid(const struct syscall_args *a);
s64 sys_setuid(const struct syscall_args *a);
s64 sys_setgid(const struct syscall_args *a);
s64 sys_setreuid(const struct syscall_args *a);
s64 sys_setregid(const struct syscall_args *a);
s64 sys_setresuid(const struct syscall_args *a);
s64 sys_setresgid(const struct syscall_args *a);
s64 sys_setfsuid(const struct syscall_args *a);
s64 sys_setfsgid(const struct syscall_args *a);
s64 sys_getgroups(const struct syscall_args *a);
s64 sys_setgroups(const struct syscall_args *a);

// ---- signals and interval timers: sys_signal.c ----
s64 sys_rt_sigaction(const struct syscall_args *a);
s64 sys_rt_sigprocmask(const struct syscall_args *a);
s64 sys_rt_sigreturn(const struct syscall_args *a);
s64 sys_rt_sigpending(const struct syscall_args *a);
s64 sys_rt_sigtimedwait(const struct syscall_args *a);
s64 sys_rt_sigqueueinfo(const struct syscall_args *a);
s64 sys_rt_sigsuspend(const struct syscall_args *a);
s64 sys_sigaltstack(const struct syscall_args *a);
s64 sys_kill(const struct syscall_args *a);
s64 sys_tkill(const struct syscall_args *a);
s64 sys_tgkill(const struct syscall_args *a);
s64 sys_pause(const struct syscall_args *a);
s64 sys_alarm(const struct syscall_args *a);
s64 sys_getitimer(const struct syscall_args *a);
s64 sys_setitimer(const struct syscall_args *a);

// ---- time: sys_time.c ----
s64 sys_nanosleep(const struct syscall_args *a);
s64 sys_clock_nanosleep(const struct syscall_args *a);
s64 sys_clock_gettime(const struct syscall_args *a);
s64 sys_clock_getres(const struct syscall_args *a);
s64 sys_gettimeofday(const struct syscall_args *a);
s64 sys_time(const struct syscall_args *a);
s64 sys_times(const struct syscall_args *a);
s64 sys_getrusage(const struct syscall_args *a);

// ---- the system: sys_info.c ----
s64 sys_uname(const struct syscall_args *a);
s64 sys_sysinfo(const struct syscall_args *a);
s64 sys_getrlimit(const struct syscall_args *a);
s64 sys_setrlimit(const struct syscall_args *a);
s64 sys_prlimit64(const struct syscall_args *a);
s64 sys_getrandom(const struct syscall_args *a);
s64 sys_getcpu(const struct syscall_args *a);
s64 sys_sethostname(const struct syscall_args *a);
s64 sys_syslog(const struct syscall_args *a);
s64 sys_reboot(const struct syscall_args *a);
