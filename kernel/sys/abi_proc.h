// SPDX-License-Identifier: MIT
//
// Structs of the process and time calls as they travel to user space (Linux x86-64).
#pragma once

#include "kernel/lib/types.h"
#include "kernel/proc/process.h"
#include "kernel/sys/abi.h"

struct abi_itimerval {
	struct abi_timeval interval, value;
};

struct abi_rusage {
	struct abi_timeval utime, stime;
	s64 maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, oublock, msgsnd, msgrcv,
		nsignals, nvcsw, nivcsw;
};
_Static_assert(sizeof(struct abi_rusage) == 144, "ABI");

#define NS_PER_SEC  1000000000ull
#define NS_PER_USEC 1000ull
#define USER_HZ     100 // clock ticks of times(2) and /proc/PID/stat

static inline struct abi_timeval abi_timeval_of(u64 ns)
{
	return (struct abi_timeval){ (s64)(ns / NS_PER_SEC), (s64)(ns % NS_PER_SEC / NS_PER_USEC) };
}

static inline struct abi_timespec abi_timespec_of(u64 ns)
{
	return (struct abi_timespec){ (s64)(ns / NS_PER_SEC), (s64)(ns % NS_PER_SEC) };
}

static inline struct abi_rusage abi_rusage_of(const struct usage *u)
{
	return (struct abi_rusage){
		.utime = abi_timeval_of(u->utime_ns),
		.stime = abi_timeval_of(u->stime_ns),
		.minflt = (s64)u->faults,
		.nvcsw = (s64)u->switches_voluntary,
		.nivcsw = (s64)u->switches_preempted,
	};
}
