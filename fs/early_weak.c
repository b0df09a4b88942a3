// SPDX-License-Identifier: MIT
//
// What: ppoll without signals, until kernel/proc is linked in.
#include "kernel/proc/signal.h"

__attribute__((weak)) void signal_set_temporary_mask(sigset_t set)
{
	(void)set;
}
