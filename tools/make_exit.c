// SPDX-License-Identifier: MIT
//
// A function for GNU make, $(exit-with N): make ends at once with status N. Without it a failed
// recipe is status 2, whatever the recipe said, and `make exec CMD=false; echo $?` could not tell
// 1. An empty N does nothing.
#include <stdio.h>
#include <stdlib.h>

#include <gnumake.h>

int make_exit_gmk_setup(void);

int plugin_is_GPL_compatible; // make asks for this symbol; the licence above is compatible

static char *exit_with(const char *name, unsigned argc, char **argv)
{
	(void)name;
	if (argc == 1 && argv[0][0]) {
		fflush(stdout);
		exit(atoi(argv[0]));
	}
	return NULL;
}

int make_exit_gmk_setup(void)
{
	gmk_add_function("exit-with", exit_with, 1, 1, GMK_FUNC_DEFAULT);
	return 1;
}
