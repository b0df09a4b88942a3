// SPDX-License-Identifier: MIT
//
// What: a machine with one CPU and no tests, until the files that know better are linked in.
#include "kernel/ktest.h"
#include "kernel/x86/smp.h"
#include "mm/aspace.h"

#define WEAK __attribute__((weak))

WEAK void ktest_watch(const char *name, u64 (*read)(void))
{
	(void)name;
	(void)read;
}

WEAK unsigned cpu_count(void)
{
	return 1;
}

WEAK void smp_call(cpumask_t mask, void (*fn)(void *arg), void *arg)
{
	(void)mask;
	(void)fn;
	(void)arg;
}

WEAK void aspace_switch(struct aspace *as)
{
	(void)as;
}
