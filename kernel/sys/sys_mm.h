// SPDX-License-Identifier: MIT
//
// The system calls on memory (kernel/sys/sys_mm.c), for the table of calls.
#pragma once

#include "kernel/sys/syscall.h"

s64 sys_mmap(const struct syscall_args *a);
s64 sys_mprotect(const struct syscall_args *a);
s64 sys_munmap(const struct syscall_args *a);
s64 light_mmap(const struct syscall_args *a);
s64 light_munmap(const struct syscall_args *a);
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
