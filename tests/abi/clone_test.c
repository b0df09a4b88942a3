// SPDX-License-Identifier: MIT
//
// clone(2) by its number: which flags go together, what is shared, numbers, words that a thread
// leaves behind (robust lists, clear_child_tid).
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "futex.h"
#include "tap.h"

#ifndef CLONE_DETACHED
#define CLONE_DETACHED 0x00400000
#endif
#define THREAD_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define STACK 65536

static char stack[STACK] __attribute__((aligned(64)));
static void *const stack_top = stack + STACK;

static long clone_flags(unsigned long flags)
{
	return syscall(SYS_clone, flags, 0, 0, 0, 0);
}

static void test_flags(void)
{
	fails(clone_flags(CLONE_THREAD), EINVAL, "CLONE_THREAD alone");
	fails(clone_flags(CLONE_THREAD | CLONE_VM), EINVAL, "CLONE_THREAD without CLONE_SIGHAND");
	fails(clone_flags(CLONE_SIGHAND), EINVAL, "CLONE_SIGHAND alone");
	fails(clone_flags(CLONE_SIGHAND | CLONE_THREAD), EINVAL,
	      "... with CLONE_THREAD, no memory");
}

// ---- Sharing between processes ------------------------------------------------------------------

static int run(int (*fn)(void *), int flags, void *arg)
{
	int status = -1;
	pid_t pid = clone(fn, stack_top, flags | SIGCHLD, arg);

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static int opens(void *arg)
{
	(void)arg;
	return dup2(1, 77) == 77 ? 0 : 1;
}

static int goes_to_root(void *arg)
{
	(void)arg;
	umask(0);
	return chdir("/");
}

static volatile uint32_t shared_word;

static int writes_word(void *arg)
{
	store(&shared_word, (uint32_t)(uintptr_t)arg);
	return 0;
}

static bool at_root(void)
{
	char path[256];

	return getcwd(path, sizeof(path)) && strcmp(path, "/") == 0;
}

static char *const self_exec[] = { "clone_test", "exec", NULL };

static int executes(void *arg)
{
	fcntl(78, F_SETFD, FD_CLOEXEC);
	execv(arg, self_exec);
	return 1;
}

static void test_sharing(void)
{
	char home[256], path[300];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	is(run(opens, 0, NULL), 0, "a child opens a descriptor");
	fails(fcntl(77, F_GETFD), EBADF, "... for itself");
	is(run(opens, CLONE_FILES, NULL), 0, "a child with CLONE_FILES opens one");
	is(fcntl(77, F_GETFD), 0, "... for us");
	close(77);
	is(run(goes_to_root, 0, NULL), 0, "a child goes to the root");
	ok(!at_root(), "... for itself");
	if (!getcwd(home, sizeof(home)))
		exit(1);
	is(run(goes_to_root, CLONE_FS, NULL), 0, "a child with CLONE_FS goes there");
	ok(at_root(), "... and takes us along");
	is(umask(022), 0, "... and our umask");
	is(chdir(home), 0, "back home");
	is(run(writes_word, 0, (void *)1), 0, "a child writes");
	is(shared_word, 0, "... to its memory");
	is(run(writes_word, CLONE_VM, (void *)2), 0, "a child with CLONE_VM writes");
	is(shared_word, 2, "... to ours");

	path[len > 0 ? len : 0] = '\0';
	dup2(1, 78);
	is(run(executes, CLONE_FILES, path), 7 << 8, "a child with CLONE_FILES executes a program");
	is(fcntl(78, F_GETFD), FD_CLOEXEC, "... and its close-on-exec does not close ours");
	close(78);
}

// ---- Numbers and words of a thread --------------------------------------------------------------

static volatile uint32_t parent_tid, child_tid, seen_tid, seen_pid, set_result, go;

static int thread(void *arg)
{
	(void)arg;
	seen_tid = (uint32_t)my_tid();
	seen_pid = (uint32_t)getpid();
	while (!load(&go))
		futex(&go, FUTEX_WAIT, 0, NULL, NULL, 0);
	syscall(SYS_exit, 0);
	return 0;
}

static bool is_cleared(volatile uint32_t *tid)
{
	struct timespec limit = { 10, 0 };
	uint32_t now = load(tid);

	if (now)
		futex(tid, FUTEX_WAIT, now, &limit, NULL, 0);
	return load(tid) == 0;
}

// Its number is free a little later than its word.
static bool goes_away(long tid)
{
	for (int i = 0; i < 5000 && syscall(SYS_tkill, tid, 0) == 0; i++)
		sleep_ms(2);
	return syscall(SYS_tkill, tid, 0) == -1 && errno == ESRCH;
}

// The raw thread has no thread-local memory of its own: it borrows ours, which is at rest.
static void test_words(void)
{
	long tid;

	go = 0;
	child_tid = 1;
	tid = clone(thread, stack_top,
		    (int)(THREAD_FLAGS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID |
			  CLONE_CHILD_CLEARTID | CLONE_DETACHED),
		    NULL, &parent_tid, NULL, &child_tid);
	ok(tid > 0, "a thread");
	is(parent_tid, tid, "CLONE_PARENT_SETTID");
	store(&go, 1);
	futex(&go, FUTEX_WAKE, 1, NULL, NULL, 0);
	ok(is_cleared(&child_tid), "CLONE_CHILD_CLEARTID wakes at the end");
	is(seen_tid, tid, "gettid in the thread");
	is(seen_pid, getpid(), "getpid in the thread");
	is(syscall(SYS_set_tid_address, &child_tid), getpid(), "set_tid_address says who we are");
	ok(goes_away(tid), "the thread has gone");
}

// ---- Robust lists -------------------------------------------------------------------------------

// As in the kernel's header, which musl does not have.
struct node {
	struct node *next;
};
struct head {
	struct node list;
	long offset;
	struct node *pending;
};
struct robust {
	struct node node;
	volatile uint32_t word;
};

#define OFFSET ((long)offsetof(struct robust, word))

static struct area {
	struct head head;
	struct robust mutex[4];
	volatile uint32_t ready;
} * area; // shared with the children

static void list_of(struct head *head, struct robust *mutex, int n)
{
	head->offset = OFFSET;
	head->pending = NULL;
	head->list.next = &head->list;
	for (int i = n - 1; i >= 0; i--) {
		mutex[i].word = (uint32_t)my_tid() | WORD_WAITERS;
		mutex[i].node.next = head->list.next;
		head->list.next = &mutex[i].node;
	}
	syscall(SYS_set_robust_list, head, sizeof(*head));
}

static int dies_with_two(void)
{
	list_of(&area->head, area->mutex, 2);
	area->mutex[1].word = 12345; // somebody else's
	return 0;
}

static int dies_in_between(void)
{
	list_of(&area->head, area->mutex, 1);
	area->mutex[2].word = (uint32_t)my_tid();
	area->head.pending = &area->mutex[2].node;
	return 0;
}

static int dies_with_a_circle(void)
{
	list_of(&area->head, area->mutex, 2);
	area->mutex[1].node.next = &area->mutex[0].node;
	return 0;
}

static int dies_with_rubbish(void)
{
	list_of(&area->head, area->mutex, 2);
	area->mutex[0].node.next = (struct node *)8;
	return 0;
}

static int is_killed(void)
{
	list_of(&area->head, area->mutex, 1);
	store(&area->ready, 1);
	pause();
	return 1;
}

static void test_robust(void)
{
	struct timespec limit = { 10, 0 };
	struct head *head = NULL;
	size_t bytes = 0;
	uint32_t word;
	pid_t pid;

	area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fails(syscall(SYS_set_robust_list, area, 5), EINVAL, "a list head of another size");
	is(syscall(SYS_set_robust_list, &area->head, sizeof(area->head)), 0, "set_robust_list");
	is(syscall(SYS_get_robust_list, 0, &head, &bytes), 0, "get_robust_list");
	ok(head == &area->head && bytes == sizeof(*head), "... says the same");
	fails(syscall(SYS_get_robust_list, 999999, &head, &bytes), ESRCH, "... of nobody");
	syscall(SYS_set_robust_list, NULL, sizeof(*head));

	is(in_child(dies_with_two), 0, "a process ends with a mutex");
	is(area->mutex[0].word, WORD_WAITERS | WORD_OWNER_DIED,
	   "... which says that its owner died");
	is(area->mutex[1].word, 12345, "... and another one's is left alone");
	is(in_child(dies_in_between), 0, "... that is not in the list yet");
	is(area->mutex[2].word, WORD_OWNER_DIED, "... which is found all the same");
	is(in_child(dies_with_a_circle), 0, "a list that is a circle");
	is(in_child(dies_with_rubbish), 0, "a list that leads nowhere");
	is(area->mutex[0].word, WORD_WAITERS | WORD_OWNER_DIED, "... its beginning counts");

	pid = fork();
	if (pid == 0)
		_exit(is_killed());
	ok(reaches(&area->ready, 1), "a process with a mutex waits");
	word = load(&area->mutex[0].word);
	kill(pid, SIGKILL);
	is(futex(&area->mutex[0].word, FUTEX_WAIT, word, &limit, NULL, 0) == 0 || errno == EAGAIN,
	   1, "its end by SIGKILL wakes who waits for it");
	is(load(&area->mutex[0].word), WORD_WAITERS | WORD_OWNER_DIED, "... the owner has died");
	waitpid(pid, NULL, 0);
}

// ---- Limits, CPUs -------------------------------------------------------------------------------

static void *nothing(void *arg)
{
	return arg;
}

static void *sleeps(void *arg)
{
	pause();
	return arg;
}

// As a user of our own, for root has no limit and others have threads.
static int meets_limit(void)
{
	struct rlimit limit = { 4, 4 };
	pthread_t t;
	int n = 0;

	if (setrlimit(RLIMIT_NPROC, &limit) != 0 || setuid(54321) != 0)
		return 1;
	while (n < 10 && pthread_create(&t, NULL, sleeps, NULL) == 0)
		n++;
	if (n != 3 || pthread_create(&t, NULL, nothing, NULL) != EAGAIN)
		return 2;
	return fork() == -1 && errno == EAGAIN ? 0 : 3;
}

static volatile uint32_t thread_tid, user_in_thread;

static void *changes_user(void *arg)
{
	(void)arg;
	if (syscall(SYS_setresuid, 54321, 54321, 54321) == 0)
		store(&user_in_thread, (uint32_t)syscall(SYS_getuid));
	return NULL;
}

static int user_is_a_threads(void)
{
	pthread_t t;

	pthread_create(&t, NULL, changes_user, NULL);
	pthread_join(t, NULL);
	return load(&user_in_thread) == 54321 && syscall(SYS_getuid) == 0 ? 0 : 1;
}

static void *has_cpu(void *arg)
{
	store(&thread_tid, (uint32_t)my_tid());
	while (!load(&go))
		sched_yield();
	return arg;
}

static void test_affinity(void)
{
	cpu_set_t all, one, got;
	pthread_t t;

	go = thread_tid = 0;
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	for (int i = 0; !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	pthread_create(&t, NULL, has_cpu, NULL);
	while (!load(&thread_tid))
		sched_yield();
	is(sched_setaffinity((pid_t)thread_tid, sizeof(one), &one), 0, "a thread to one CPU");
	sched_getaffinity((pid_t)thread_tid, sizeof(got), &got);
	ok(CPU_EQUAL(&got, &one), "... its tid says so");
	sched_getaffinity(getpid(), sizeof(got), &got);
	ok(CPU_EQUAL(&got, &all), "... ours does not");
	store(&go, 1);
	pthread_join(t, NULL);
	ok(goes_away((long)thread_tid), "it goes");
	fails(sched_setaffinity((pid_t)thread_tid, sizeof(one), &one), ESRCH, "... and has no CPU");
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec") == 0)
		return 7;
	enter_scratch_folder();
	test_flags();
	test_sharing();
	test_words();
	test_robust();
	test_affinity();
	if (geteuid() == 0) {
		is(in_child(meets_limit), 0, "RLIMIT_NPROC counts threads");
		is(in_child(user_is_a_threads), 0, "a user number is a thread's own");
	}
	leave_scratch_folder();
	return tap_done();
}
