// SPDX-License-Identifier: MIT
//
// Found by the stress programs (tests/stress/): calls at the edges of what a kernel expects.
//
// * A buffer that begins in the last page of user space and ends beyond it. The copy did not even
//   begin, because its end was bad; the caller took that for a missing page, made the first page
//   present, which went well, and tried again, for ever and beyond SIGKILL. Linux answers EFAULT at
//   once, or moves the bytes that are there.
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/abi/tap.h"

#define USER_END 0x7ffffffff000ul
#define TOO_MUCH 4000

// 1 byte, or EFAULT.
static void one_byte(ssize_t n, const char *name)
{
	ok(n == 1 || (n == -1 && errno == EFAULT), "%s", name);
}

static void buffer_leaves_user_space(void)
{
	char *last = (char *)(USER_END - 1);
	int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600), fds[2];

	mmap((void *)(USER_END - 4096), 4096, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0); // or the stack is there
	is(pipe(fds), 0, "pipe");
	one_byte(write(fd, last, TOO_MUCH), "write to a file from the last byte");
	is(ftruncate(fd, TOO_MUCH), 0, "ftruncate");
	one_byte(pread(fd, last, TOO_MUCH, 0), "read from a file to the last byte");
	one_byte(write(fds[1], last, TOO_MUCH), "write to a pipe from the last byte");
	is(write(fds[1], "0123456789", 10), 10, "fill a pipe");
	one_byte(read(fds[0], last, TOO_MUCH), "read from a pipe to the last byte");
	close(fds[0]);
	close(fds[1]);
	close(fd);
	unlink("f");
}

int main(void)
{
	enter_scratch_folder();
	alarm(20); // what hangs has failed
	buffer_leaves_user_space();
	leave_scratch_folder();
	return tap_done();
}
