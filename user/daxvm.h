// SPDX-License-Identifier: MIT
//
// For programs: the mmap flags of dax64 (docs/abi.md), and how to count what an operation costs. On
// Linux the flags are unknown: MAP_SHARED_VALIDATE with one of them fails with EOPNOTSUPP.
#pragma once

#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MAP_SHARED_VALIDATE // musl names it only for _GNU_SOURCE
#define MAP_SHARED_VALIDATE 0x03
#endif
#define MAP_DAXVM_BATCHING  0x200000
#define MAP_DAXVM           0x400000
#define MAP_DAXVM_NOSYNC    0x800000
#define MAP_DAXVM_EPHEMERAL 0x4000000

// The time-stamp counter. Under `make exec ICOUNT=1` a tick is exactly one instruction.
static inline uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

// Page faults that this process has taken.
static inline long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}
