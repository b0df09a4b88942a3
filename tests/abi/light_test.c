// SPDX-License-Identifier: MIT
//
// mmap and munmap of an ephemeral mapping may go a shorter way through the kernel than other calls,
// with fewer registers saved. A program must not be able to tell: registers and flags survive, also
// where the short way gives up half way, and when the program single-steps itself over the call. On
// Linux the flags mean nothing, and the calls are ordinary ones.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/abi/tap.h"

#define EPHEMERAL (MAP_SHARED | 0x400000 | 0x4000000 | 0x200000)
#define BYTES     65536l
#define ROUNDS    200 // more than are kept before they are cleared together
#define TRAP_FLAG 0x100ul
#define DIRECTION 0x400ul
#define CARRY     0x1ul

struct state {
	unsigned long rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, flags;
};

// The call s->rax with s's registers and flags; then s is what they are.
static void call(struct state *s)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; push %%rbp; push %%rax\n\t"
			 "push 104(%%rax)\n\t"
			 "mov 8(%%rax), %%rdi; mov 16(%%rax), %%rsi; mov 24(%%rax), %%rdx\n\t"
			 "mov 32(%%rax), %%r10; mov 40(%%rax), %%r8; mov 48(%%rax), %%r9\n\t"
			 "mov 56(%%rax), %%rbx; mov 64(%%rax), %%rbp; mov 72(%%rax), %%r12\n\t"
			 "mov 80(%%rax), %%r13; mov 88(%%rax), %%r14; mov 96(%%rax), %%r15\n\t"
			 "mov (%%rax), %%rax\n\t"
			 "popfq; syscall; pushfq; cld\n\t"
			 "andq $~0x100, (%%rsp); popfq; pushfq\n\t"
			 "mov %%rax, %%rcx; mov 8(%%rsp), %%rax; mov %%rcx, (%%rax)\n\t"
			 "mov %%rdi, 8(%%rax); mov %%rsi, 16(%%rax); mov %%rdx, 24(%%rax)\n\t"
			 "mov %%r10, 32(%%rax); mov %%r8, 40(%%rax); mov %%r9, 48(%%rax)\n\t"
			 "mov %%rbx, 56(%%rax); mov %%rbp, 64(%%rax); mov %%r12, 72(%%rax)\n\t"
			 "mov %%r13, 80(%%rax); mov %%r14, 88(%%rax); mov %%r15, 96(%%rax)\n\t"
			 "pop %%rcx; mov %%rcx, 104(%%rax); pop %%rax; pop %%rbp; cld\n\t"
			 "lea 128(%%rsp), %%rsp"
			 : "+a"(s)
			 :
			 : "rdi", "rsi", "rdx", "r8", "r9", "r10", "r11", "rcx", "rbx", "r12",
			   "r13", "r14", "r15", "memory", "cc");
}

static bool kept(const struct state *a, const struct state *b)
{
	const unsigned long visible = DIRECTION | CARRY;

	return memcmp(&a->rdi, &b->rdi, offsetof(struct state, flags) - 8) == 0 &&
	       ((a->flags ^ b->flags) & visible) == 0;
}

// Maps and unmaps. False: a register has changed, or a call failed.
static bool map_unmap(int fd, long bytes, unsigned long flags)
{
	struct state before = { SYS_mmap,
				0,
				(unsigned long)bytes,
				PROT_READ,
				EPHEMERAL,
				(unsigned long)fd,
				0,
				0x1111,
				0x2222,
				0x3333,
				0x4444,
				0x5555,
				0x6666,
				0x202 | flags };
	struct state s = before;
	bool good;

	call(&s);
	good = (long)s.rax > 0 && kept(&before, &s) && *(volatile char *)(uintptr_t)s.rax == 'x';
	before.rax = SYS_munmap;
	before.rdi = s.rax;
	s = before;
	call(&s);
	return good && s.rax == 0 && kept(&before, &s);
}

static volatile int steps;

static void step(int sig)
{
	(void)sig;
	steps++;
}

static void test_single_step(int fd)
{
	bool good = true;

	signal(SIGTRAP, step);
	for (int i = 0; i < 3; i++)
		good &= map_unmap(fd, BYTES, TRAP_FLAG | CARRY);
	ok(good, "a program that steps itself over the calls keeps its registers");
	ok(steps >= 6, "and gets a step behind each of them");
}

int main(void)
{
	const char *dir = getenv("TMPDIR");
	char name[200], page[BYTES];
	bool good = true;
	int fd;

	snprintf(name, sizeof(name), "%s/light_test", dir ? dir : "/tmp");
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	memset(page, 'x', sizeof(page));
	ok(fd >= 0 && write(fd, page, sizeof(page)) == (ssize_t)sizeof(page), "a file");
	for (int i = 0; i < ROUNDS; i++)
		good &= map_unmap(fd, BYTES, i % 2 ? DIRECTION | CARRY : 0);
	ok(good, "the same range again and again");
	for (int i = 0; i < ROUNDS; i++)
		good &= map_unmap(fd, 4096 * (1 + i % 16), i % 3 ? CARRY : DIRECTION);
	ok(good, "ranges of many lengths");
	test_single_step(fd);
	is(syscall(SYS_mmap, 0, BYTES, PROT_READ, EPHEMERAL, -1, 0), -1, "no such descriptor");
	is(errno, EBADF, "is EBADF");
	is(syscall(SYS_munmap, 4096, BYTES), 0, "munmap of nothing");
	unlink(name);
	return tap_done();
}
