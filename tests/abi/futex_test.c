// SPDX-License-Identifier: MIT
//
// futex(2): what C libraries build their locks from, by its number.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "futex.h"
#include "tap.h"

#define THREADS 4

static volatile uint32_t word, other, inside, done;

static long op(int operation, unsigned value)
{
	return futex(&word, operation, value, NULL, NULL, ~0u);
}

static void test_arguments(void)
{
	struct timespec soon = { 0, 1000000 }, bad = { 0, -1 }, before = { -1, 0 };
	volatile char *odd = (volatile char *)&word + 1;

	word = 0;
	fails(futex(&word, FUTEX_WAIT, 1, &soon, NULL, 0), EAGAIN, "the word has another value");
	fails(futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0), ETIMEDOUT, "relative timeout");
	fails(futex(&word, FUTEX_WAIT, 1, &bad, NULL, 0), EINVAL, "bad nanoseconds come first");
	fails(futex(&word, FUTEX_WAIT, 0, &before, NULL, 0), EINVAL, "negative seconds");
	fails(futex(&word, FUTEX_WAIT, 0, number(8), NULL, 0), EFAULT, "timeout at a bad address");
	fails(futex(odd, FUTEX_WAIT, 0, &soon, NULL, 0), EINVAL, "address not aligned");
	fails(futex(NULL, FUTEX_WAIT, 0, &soon, NULL, 0), EFAULT, "no memory there");
	fails(futex(NULL, FUTEX_WAIT | FUTEX_PRIVATE, 0, &soon, NULL, 0), EFAULT, "... private");
	fails(futex(NULL, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT, "shared wake looks for memory");
	is(futex(NULL, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0), 0, "private wake does not");
	fails(futex((void *)0xffff800000000000, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0),
	      EFAULT, "an address of the kernel's");
	fails(futex(&word, FUTEX_WAIT_BITSET, 0, &soon, NULL, 0), EINVAL, "wait without a bit");
	fails(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL, "wake without a bit");
	fails(futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, &soon, NULL, 0), ENOSYS,
	      "FUTEX_WAIT knows one clock");
	fails(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0), ENOSYS,
	      "FUTEX_WAKE knows none");
	fails(op(FUTEX_FD, 0), ENOSYS, "FUTEX_FD has gone");
	fails(op(99, 0), ENOSYS, "an unknown operation");
	fails(futex(&word, FUTEX_REQUEUE, -1u, number(1), &other, 0), EINVAL, "negative count");
	fails(futex(&word, FUTEX_CMP_REQUEUE, 1, number(1), &other, 9), EAGAIN,
	      "FUTEX_CMP_REQUEUE with another value");
	fails(futex(&word, FUTEX_WAKE_OP, 1, number(1), &other, 7u << 28), ENOSYS,
	      "an unknown operation on the word");
}

static long ms_since(clockid_t clock, const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000;
}

static void absolute(clockid_t clock, int flags, const char *name)
{
	struct timespec begin, end;
	long late;

	clock_gettime(clock, &begin);
	end = begin;
	end.tv_nsec += 60000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	fails(futex(&word, FUTEX_WAIT_BITSET | flags, 0, &end, NULL, ~0u), ETIMEDOUT, name);
	late = ms_since(clock, &begin);
	if (!ok(late >= 60 && late < 5000, "... at that time"))
		fprintf(stderr, "# after %ld ms\n", late);
	fails(futex(&word, FUTEX_WAIT_BITSET | flags, 0, &begin, NULL, ~0u), ETIMEDOUT,
	      "... which may be over");
}

static void test_clocks(void)
{
	absolute(CLOCK_MONOTONIC, FUTEX_PRIVATE, "until a time of the monotonic clock");
	absolute(CLOCK_REALTIME, FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME, "... of the wall clock");
}

// ---- Waking -------------------------------------------------------------------------------------

static struct waiter {
	pthread_t thread;
	uint32_t bitset;
	int operation;
	long result;
	volatile uint32_t place; // 1, 2, ... in the order of waking
} waiters[THREADS];

static void *wait_once(void *arg)
{
	struct waiter *w = arg;

	add(&inside, 1);
	w->result = futex(&word, w->operation, 0, NULL, NULL, w->bitset);
	w->place = add(&done, 1);
	return NULL;
}

// One after the other, so that they wait in this order.
static void start(unsigned n, int operation)
{
	word = inside = done = 0;
	for (unsigned i = 0; i < n; i++) {
		waiters[i] = (struct waiter){ .bitset = 1u << i, .operation = operation };
		pthread_create(&waiters[i].thread, NULL, wait_once, &waiters[i]);
		reaches(&inside, i + 1);
		sleep_ms(30); // and on from there into the call
	}
}

static void finish(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_join(waiters[i].thread, NULL);
}

static void test_wake(void)
{
	start(THREADS, FUTEX_WAIT | FUTEX_PRIVATE);
	is(op(FUTEX_WAKE, 9), 0, "who waits with the private flag is not found without");
	is(op(FUTEX_WAKE | FUTEX_PRIVATE, 9), THREADS, "... only with it");
	finish(THREADS);

	start(THREADS, FUTEX_WAIT_BITSET | FUTEX_PRIVATE);
	is(futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE, 9, NULL, NULL, 4), 1,
	   "one waiter has the bit");
	ok(reaches(&done, 1) && waiters[2].place == 1, "... the third");
	is(op(FUTEX_WAKE | FUTEX_PRIVATE, 1), 1, "one of the others");
	ok(reaches(&done, 2) && waiters[0].place == 2, "... the oldest");
	is(op(FUTEX_WAKE | FUTEX_PRIVATE, 0), 1, "a count of zero wakes one");
	is(op(FUTEX_WAKE | FUTEX_PRIVATE, 9), 1, "the last");
	is(op(FUTEX_WAKE | FUTEX_PRIVATE, 9), 0, "nobody is left");
	finish(THREADS);
	ok(waiters[0].result == 0 && waiters[3].result == 0, "who was woken has 0 for result");
}

static void test_requeue(void)
{
	start(THREADS, FUTEX_WAIT | FUTEX_PRIVATE);
	is(futex(&word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE, 1, number(2), &other, 0), 3,
	   "one woken and two moved");
	is(op(FUTEX_WAKE | FUTEX_PRIVATE, 9), 1, "one is left behind");
	is(futex(&other, FUTEX_WAKE | FUTEX_PRIVATE, 9, NULL, NULL, 0), 2, "two are there");
	finish(THREADS);

	start(3, FUTEX_WAIT);
	is(futex(&word, FUTEX_REQUEUE, 0, number(9), &word, 0), 3, "moved to where they are");
	is(futex(&word, FUTEX_REQUEUE, 1, number(9), &other, 0), 3, "without a comparison");
	is(futex(&other, FUTEX_REQUEUE, 0, number(9), &word, 0), 2, "and back");
	is(op(FUTEX_WAKE, 9), 2, "they wake all the same");
	finish(3);
}

#define OPERATION(what, value, cmp, against)                                                       \
	((unsigned)(what) << 28 | (unsigned)(cmp) << 24 | ((value)&0xfff) << 12 | ((against)&0xfff))

static void test_wake_op(void)
{
	static const struct {
		unsigned operation, before, after;
		const char *name;
	} rows[] = {
		{ OPERATION(0, 5, 1, 0), 9, 5, "set" },
		{ OPERATION(1, -3, 1, 0), 9, 6, "add" },
		{ OPERATION(2, 6, 1, 0), 9, 15, "or" },
		{ OPERATION(3, 1, 1, 0), 9, 8, "and not" },
		{ OPERATION(4, 3, 1, 0), 9, 10, "exclusive or" },
		{ OPERATION(8 | 2, 31, 1, 0), 9, 0x80000009, "or with a bit number" },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		other = rows[i].before;
		is(futex(&word, FUTEX_WAKE_OP, 1, number(1), &other, rows[i].operation), 0,
		   rows[i].name);
		is(other, rows[i].after, "... its result");
	}
	start(3, FUTEX_WAIT);
	is(futex(&other, FUTEX_WAKE_OP, 1, number(2), &word, OPERATION(1, 1, 0, 7)), 0,
	   "the comparison fails");
	word = 0;
	is(futex(&other, FUTEX_WAKE_OP, 1, number(2), &word, OPERATION(1, 1, 0, 0)), 2,
	   "the comparison holds: two of the second word's");
	is(word, 1, "... which was changed");
	is(op(FUTEX_WAKE, 9), 1, "one is left");
	finish(3);
}

// ---- Signals ------------------------------------------------------------------------------------

static volatile uint32_t handled;

static void handler(int sig)
{
	(void)sig;
	add(&handled, 1);
}

struct interrupted {
	const struct timespec *timeout;
	long result;
	int error;
};

static void *wait_interrupted(void *arg)
{
	struct interrupted *w = arg;

	add(&inside, 1);
	w->result = futex(&word, FUTEX_WAIT | FUTEX_PRIVATE, 0, w->timeout, NULL, 0);
	w->error = errno;
	add(&done, 1);
	return NULL;
}

static void interrupt(int flags, const struct timespec *timeout, bool ends, const char *name)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags };
	struct interrupted w = { .timeout = timeout };
	pthread_t t;

	sigaction(SIGUSR1, &act, NULL);
	word = inside = done = handled = 0;
	pthread_create(&t, NULL, wait_interrupted, &w);
	reaches(&inside, 1);
	sleep_ms(30);
	pthread_kill(t, SIGUSR1);
	ok(reaches(&handled, 1), "%s: the handler ran", name);
	sleep_ms(30);
	is(load(&done), ends, ends ? "... and ended the wait" : "... and the wait goes on");
	if (!ends)
		is(op(FUTEX_WAKE | FUTEX_PRIVATE, 1), 1, "... until it is woken");
	pthread_join(t, NULL);
	if (ends)
		ok(w.result == -1 && w.error == EINTR, "... with EINTR");
	else
		is(w.result, 0, "... with 0");
}

static void test_signals(void)
{
	struct timespec long_time = { 100, 0 };

	interrupt(0, NULL, true, "without SA_RESTART");
	interrupt(SA_RESTART, NULL, false, "with SA_RESTART");
	interrupt(SA_RESTART, &long_time, true, "with SA_RESTART and a timeout");
}

// ---- Processes ----------------------------------------------------------------------------------

// A child waits at `its`, we wake at `ours`. How many were there.
static long wake_child(volatile uint32_t *its, volatile uint32_t *ours, int flags)
{
	struct timespec limit = { 10, 0 }, enough = { 0, 300000000 };
	long woken = 0;
	pid_t pid;
	int status;

	*its = 0;
	pid = fork();
	if (pid == 0)
		_exit(futex(its, FUTEX_WAIT | flags, 0, flags ? &enough : &limit, NULL, 0) != 0);
	for (int i = 0; i < 100 && !woken && waitpid(pid, &status, WNOHANG) == 0; i++) {
		sleep_ms(5);
		woken = futex(ours, FUTEX_WAKE | flags, 1, NULL, NULL, 0);
	}
	if (woken)
		waitpid(pid, &status, 0);
	return woken;
}

static void *map(int flags, int fd)
{
	return mmap(NULL, 8192, PROT_READ | PROT_WRITE, flags, fd, 0);
}

static void test_processes(void)
{
	volatile uint32_t *anon = map(MAP_SHARED | MAP_ANONYMOUS, -1);
	volatile uint32_t *own = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int fd = open("words", O_RDWR | O_CREAT, 0600);
	volatile uint32_t *file, *again, *copy;
	struct timespec soon = { 0, 1000000 };

	is(ftruncate(fd, 8192), 0, "a file of words");
	file = map(MAP_SHARED, fd);
	again = map(MAP_SHARED, fd);
	copy = map(MAP_PRIVATE, fd);
	is(wake_child(anon, anon, 0), 1, "shared anonymous memory is one for both processes");
	is(wake_child(anon + 1, anon, 0), 0, "... another word of it is another word");
	is(wake_child(file + 1024, again + 1024, 0), 1, "a file at two addresses");
	is(wake_child(own, own, FUTEX_PRIVATE), 0, "private memory after fork is not shared");
	is(wake_child(anon, anon, FUTEX_PRIVATE), 0, "nor is shared memory with the private flag");
	copy[0] = 0;
	fails(futex(copy, FUTEX_WAIT, 0, &soon, NULL, 0), ETIMEDOUT, "wait in a private mapping");
	mprotect((void *)(uintptr_t)own, 4096, PROT_NONE);
	fails(futex(own, FUTEX_WAIT, 0, &soon, NULL, 0), EFAULT, "memory without rights");
	mprotect((void *)(uintptr_t)own, 4096, PROT_READ);
	fails(futex(own, FUTEX_WAIT, 0, &soon, NULL, 0), EFAULT, "nobody can change it");
	mprotect((void *)(uintptr_t)file, 4096, PROT_READ);
	fails(futex(file, FUTEX_WAIT, 0, &soon, NULL, 0), ETIMEDOUT, "others can change a file");
	is(ftruncate(fd, 4096), 0, "the file loses a page");
	fails(futex(file + 1024, FUTEX_WAIT, 0, &soon, NULL, 0), EFAULT, "beyond the file's end");
	close(fd);
	unlink("words");
}

// ---- No wake-up is lost -------------------------------------------------------------------------

#define ROUNDS 600

static volatile uint32_t turn, lock, counter;

static void *play(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg, now;

	for (int i = 0; i < ROUNDS; i++) {
		while ((now = load(&turn)) % 2 != mine)
			futex(&turn, FUTEX_WAIT | FUTEX_PRIVATE, now, NULL, NULL, 0);
		store(&turn, now + 1);
		futex(&turn, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

// The mutex of Drepper's "Futexes Are Tricky": 0 free, 1 taken, 2 taken and waited for.
static void take(void)
{
	uint32_t c = 0;

	if (__atomic_compare_exchange_n(&lock, &c, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	if (c != 2)
		c = __atomic_exchange_n(&lock, 2, __ATOMIC_SEQ_CST);
	while (c) {
		futex(&lock, FUTEX_WAIT, 2, NULL, NULL, 0);
		c = __atomic_exchange_n(&lock, 2, __ATOMIC_SEQ_CST);
	}
}

static void give(void)
{
	if (__atomic_exchange_n(&lock, 0, __ATOMIC_SEQ_CST) == 2)
		futex(&lock, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		take();
		counter++;
		if (i % 64 == 0)
			sched_yield();
		give();
	}
	return NULL;
}

// The waker comes at a random moment of the waiter's way into its sleep. That the word is looked at
// and the queue entered in one critical section shows only if it comes right between the two.
#define CLOSE_ROUNDS 4000

static volatile uint32_t given, taken;

static void *follows(void *arg)
{
	for (uint32_t i = 0; i < CLOSE_ROUNDS; i++) {
		while (load(&given) == i)
			futex(&given, FUTEX_WAIT | FUTEX_PRIVATE, i, NULL, NULL, 0);
		store(&taken, i + 1);
	}
	return arg;
}

// False: not within two seconds, so nobody has told the other thread.
static bool is_taken(uint32_t round)
{
	struct timespec begin;

	for (unsigned spins = 0; load(&taken) != round && spins < 200; spins++)
		;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (load(&taken) != round) {
		if (ms_since(CLOCK_MONOTONIC, &begin) > 2000)
			return false;
		sched_yield();
	}
	return true;
}

static void test_close_calls(void)
{
	uint32_t x = 1, lost = 0;
	pthread_t t;

	pthread_create(&t, NULL, follows, NULL);
	for (uint32_t i = 1; i <= CLOSE_ROUNDS; i++) {
		x = x * 1664525 + 1013904223;
		for (volatile uint32_t spins = x >> 16 & 1023; spins > 0; spins--)
			;
		store(&given, i);
		futex(&given, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0);
		if (is_taken(i))
			continue;
		lost++;
		futex(&given, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0);
	}
	pthread_join(t, NULL);
	is(lost, 0, "no wake-up comes to nobody, whenever it comes");
}

static void test_nothing_is_lost(void)
{
	pthread_t t[THREADS];

	alarm(100); // a lost wake-up is a hang
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, play, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	is(turn, 2 * ROUNDS, "two threads in turns");
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, count, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	is(counter, THREADS * ROUNDS, "a mutex of futexes keeps threads apart");
	alarm(0);
}

int main(void)
{
	enter_scratch_folder();
	test_arguments();
	test_clocks();
	test_wake();
	test_requeue();
	test_wake_op();
	test_signals();
	test_processes();
	test_close_calls();
	test_nothing_is_lost();
	leave_scratch_folder();
	return tap_done();
}
