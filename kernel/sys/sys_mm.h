// SPDX-License-Identifier: MIT
//
// The system calls on memory (kernel/sys/sys_mm.c), for the table of calls.
#pragma once

#include "kernel/sys/syscall.h"

s64 sys_mmap(const struct syscall_args *a);
s64 sys_mprotect(const struct syscall_args *a);
s64 sys_munmap(const struct syscall_args *a);
s64 light_mmap(u64 addr, u64 len, u64 prot, u64 flags, u64 fd, u64 off);
s64 light_munmap(u64 addr, u64 len, u64 a2, u64 a3, u64 a4, u64 a5);
s64 sys_brk(const struct syscall_args *a);
s64 sys_mremap(const struct syscall_args *a);
s64 sys_msync(const struct syscall_args *a);
s64 sys_mincore(const struct syscall_args *a);
s64 sys_madvise(const struct syscall_args *a);
s64 sys_mlock(const struct syscall_args *a);
s64 sys_mlock2(const struct syscall_args *a);
s64 sys_munlock(const struct syscall_args *a);
s64 sys_mlockall(const struct syscall_args *a);
s64 sys_munlockall(const struct syscall_args *a);
