// SPDX-License-Identifier: MIT
//
// For tests of what a user who is not root may do. They run as root, and become one in children.
#pragma once

#include <grp.h>
#include <sys/utsname.h>

#include "tests/abi/tap.h"

#define USER 1000

static inline int become_user(void)
{
	return setgroups(0, NULL) || setgid(USER) || setuid(USER);
}

// 0 if the call did what was expected: an errno, or success.
static inline int may(int result, int expected_errno, const char *what)
{
	if (expected_errno == 0 ? result >= 0 : result == -1 && errno == expected_errno)
		return 0;
	printf("# %s: result %d, errno %d, expected %d\n", what, result, errno, expected_errno);
	fflush(stdout);
	return 1;
}

// For what one of the two has not, or has under another name. Results are never chosen by it.
static inline bool on_linux(void)
{
	struct utsname u;

	return uname(&u) != 0 || !strstr(u.release, "dax64");
}
