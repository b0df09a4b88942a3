// SPDX-License-Identifier: MIT
//
// futex(2) by its number and threads by its side, for the tests of threads.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/abi/clock.h"

#define FUTEX_WAIT           0
#define FUTEX_WAKE           1
#define FUTEX_FD             2
#define FUTEX_REQUEUE        3
#define FUTEX_CMP_REQUEUE    4
#define FUTEX_WAKE_OP        5
#define FUTEX_WAIT_BITSET    9
#define FUTEX_WAKE_BITSET    10
#define FUTEX_PRIVATE        128
#define FUTEX_CLOCK_REALTIME 256

#define WORD_WAITERS    0x80000000u
#define WORD_OWNER_DIED 0x40000000u

static inline long futex(volatile void *at, int op, unsigned value, const void *timeout,
			 volatile void *at2, unsigned value3)
{
	return syscall(SYS_futex, at, op, value, timeout, at2, value3);
}

// The fourth argument is a number for some operations.
static inline const void *number(long n)
{
	return (const void *)n;
}

static inline int my_tid(void)
{
	return (int)syscall(SYS_gettid);
}

static inline uint32_t load(volatile uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static inline void store(volatile uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static inline uint32_t add(volatile uint32_t *p, uint32_t v)
{
	return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST);
}

// Until *p is `v`, ten seconds at most.
static inline int reaches(volatile uint32_t *p, uint32_t v)
{
	for (int i = 0; i < 5000 && load(p) != v; i++)
		sleep_ms(2);
	return load(p) == v;
}
