// SPDX-License-Identifier: MIT
//
// In-kernel tests: they stand beside the code they test (mm/frame_test.c), are collected by the
// linker and run with `ktest=GLOB` on the command line ("*" for all): TAP on the console, result as
// QEMU's exit code. Around each test the counts of frames, heap objects and held locks are
// compared; a difference fails the test. A test runs in a kernel thread with interrupts on and may
// sleep.
#pragma once

#include "kernel/lib/types.h"

struct ktest {
	const char *name;
	void (*fn)(void);
	bool short_of_memory; // KTEST_NOMEM
};

// Aligned by hand: the entries must follow each other without the gaps that gcc likes to leave.
#define KTEST_DEFINE(test_name, nomem)                                                             \
	static void ktest_##test_name(void);                                                       \
	static const struct ktest ktest_entry_##test_name __section("ktests")                      \
		__attribute__((used, aligned(8))) = { #test_name, ktest_##test_name, nomem };      \
	static void ktest_##test_name(void)

#define KTEST(test_name) KTEST_DEFINE(test_name, false)

// Is run again with its first allocation failing, then the second, and so on until none fails. In
// these runs EXPECT does not count (it still tells the test whether to go on), but leaks and
// crashes do. The test must give up in good order when it is told that memory is short.
#define KTEST_NOMEM(test_name) KTEST_DEFINE(test_name, true)

// Record a failure and go on; the test fails. Evaluates to the truth of the condition.
#define EXPECT(cond)    ktest_expect((cond), #cond, __FILE__, __LINE__)
#define EXPECT_EQ(a, b) ktest_expect_eq((u64)(a), (u64)(b), #a " == " #b, __FILE__, __LINE__)

bool ktest_expect(bool ok, const char *what, const char *file, int line);
bool ktest_expect_eq(u64 a, u64 b, const char *what, const char *file, int line);

// A quantity that must be the same before and after each test (frames in use, heap objects, ...).
// Registered at init by its owner.
void ktest_watch(const char *name, u64 (*read)(void));

// Called before the watches are read: gives back what is only kept in case it is needed again.
// One function; set by main().
void ktest_set_settle(void (*fn)(void));

// Run all tests whose name matches `glob` ("*" and "?"), print TAP, return the number of failures.
unsigned ktest_run(const char *glob);
