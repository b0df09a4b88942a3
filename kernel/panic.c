// SPDX-License-Identifier: MIT
//
// What: the last words.
#include "kernel/panic.h"

#include <stdarg.h>

#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/x86/machine.h"

void panic(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	console_panic();
	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_err("panic: %s", text);
	machine_exit(EXIT_PANIC);
}
