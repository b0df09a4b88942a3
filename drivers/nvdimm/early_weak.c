// SPDX-License-Identifier: MIT
//
// What: no /proc and no user memory, until the files that have them are linked in.
#include "fs/procfs.h"
#include "mm/uaccess.h"

#define WEAK __attribute__((weak))

WEAK int proc_register(const char *path, void (*show)(struct seq *s, void *arg), void *arg)
{
	(void)path;
	(void)show;
	(void)arg;
	return 0;
}

WEAK void seq_printf(struct seq *s, const char *fmt, ...)
{
	(void)s;
	(void)fmt;
}

WEAK size_t copy_from_user_partial(void *dst, uva_t src, size_t bytes)
{
	(void)dst;
	(void)src;
	return bytes;
}

WEAK void uaccess_faults_off(void)
{
}

WEAK void uaccess_faults_on(void)
{
}
