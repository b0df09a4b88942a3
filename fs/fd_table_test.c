// SPDX-License-Identifier: MIT
//
// Tests of descriptor tables, each on a context of its own: tables keep the size they grew to.
#include "fs/fs_context.h"

#include "fs/vfs_internal.h"
#include "kernel/ktest.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"

static struct file *open_null(void)
{
	struct file *f;

	return EXPECT_EQ(vfs_open("/dev/null", O_RDWR, 0, &f), 0) ? f : NULL;
}

static bool begin(void)
{
	thread_current()->fs = fs_context_create();
	return EXPECT(thread_current()->fs != NULL);
}

static void end(void)
{
	struct fs_context *c = thread_current()->fs;

	thread_current()->fs = NULL;
	fs_context_free(c);
	vfs_drop_caches();
}

KTEST(fd_numbers_are_lowest_first)
{
	int fd[4];

	if (!begin())
		return;
	for (unsigned k = 0; k < 4; k++) {
		struct file *f = open_null();

		if (!f)
			return;
		fd[k] = fd_install(f, 0, false);
		EXPECT_EQ(fd[k], fd[0] + (int)k);
	}
	EXPECT_EQ(fd_close(fd[1]), 0);
	EXPECT_EQ(fd_close(fd[1]), -EBADF);
	EXPECT_EQ(fd_install(open_null(), 0, true), fd[1]);
	EXPECT_EQ(fd_get_cloexec(fd[1]), 1);
	EXPECT_EQ(fd_set_cloexec(fd[1], false), 0);
	EXPECT_EQ(fd_get_cloexec(fd[1]), 0);
	EXPECT_EQ(fd_install(open_null(), 10, false), 10);
	EXPECT_EQ(fd_next_of(fs_current(), fd[3] + 1), 10);
	EXPECT_EQ(fd_close(10), 0);
	for (unsigned k = 0; k < 4; k++)
		EXPECT_EQ(fd_close(fd[k]), 0);
	EXPECT_EQ(fd_next_of(fs_current(), 0), -1);
	end();
}

KTEST(fd_table_grows_and_ends)
{
	struct fs_context *copy;
	struct file *f;
	int fd;

	if (!begin())
		return;
	f = open_null();
	if (!f)
		return;
	for (fd = 0; fd < FD_MAX; fd++)
		if (fd_install(file_get(f), 0, fd % 3 == 0) != fd)
			break;
	EXPECT_EQ(fd, FD_MAX);
	EXPECT_EQ(fd_install(file_get(f), 0, false), -EMFILE);
	file_put(f);
	EXPECT_EQ(fd_install(file_get(f), FD_MAX, false), -EINVAL);
	file_put(f);
	copy = fs_context_clone(fs_current(), false, false);
	if (EXPECT(copy != NULL)) {
		EXPECT_EQ(f->refs, 2 * FD_MAX + 1);
		fs_context_exec(copy);
		EXPECT_EQ(f->refs, 2 * FD_MAX + 1 - (FD_MAX + 2) / 3);
		fs_context_free(copy);
	}
	EXPECT_EQ(f->refs, FD_MAX + 1);
	for (fd = 0; fd < FD_MAX / 2; fd++)
		EXPECT_EQ(fd_close(fd), 0);
	EXPECT_EQ(f->refs, FD_MAX / 2 + 1);
	file_put(f); // the rest goes with the table
	end();
}

// What fd_begin decides by: a reference is taken only while others use the table, and a context
// that /proc looks at does not count.
KTEST(fd_table_counts_its_users)
{
	struct fs_context *shares, *copies;
	struct fd_use use;
	struct file *f;

	if (!begin())
		return;
	f = open_null();
	if (!f || !EXPECT_EQ(fd_install(f, 3, false), 3))
		return;
	EXPECT(!fs_context_shares_files(fs_current()));
	fs_context_free(fs_context_get(fs_current()));
	use = fd_begin(3);
	EXPECT(use.file == f && !use.counted);
	fd_end(use);
	fd_set_grant(3, f, 64);
	EXPECT_EQ(fd_grant_kept(3), 64);
	shares = fs_context_clone(fs_current(), true, true);
	copies = fs_context_clone(fs_current(), true, false);
	if (!EXPECT(shares && copies))
		return;
	EXPECT(fs_context_shares_files(fs_current()));
	EXPECT(!fs_context_shares_files(copies));
	use = fd_begin(3);
	EXPECT(use.file == f && use.counted);
	fd_end(use);
	EXPECT_EQ(fd_grant_kept(3), 0); // the others may close it meanwhile
	EXPECT_EQ(f->refs, 2);          // two tables
	fs_context_free(copies);
	fs_context_free(shares);
	EXPECT(!fs_context_shares_files(fs_current()));
	EXPECT_EQ(f->refs, 1);
	end();
}

// What mmap found is known as long as that file is in that place, and nowhere else.
KTEST(fd_grants_belong_to_a_place)
{
	struct fs_context *copy;
	struct file *f, *g;
	int fd, far;

	if (!begin())
		return;
	f = open_null();
	g = open_null();
	if (!f || !g || !EXPECT_EQ(fd = fd_install(file_get(f), 3, false), 3))
		return;
	preempt_disable();
	EXPECT_EQ(fd_grant(fd), 0);
	EXPECT_EQ(fd_grant(-1), 0);
	EXPECT_EQ(fd_grant(FD_MAX), 0);
	preempt_enable();
	fd_set_grant(fd, g, 64); // not the file that is there
	EXPECT_EQ(fd_grant(fd), 0);
	fd_set_grant(fd + 1, f, 64); // none is
	EXPECT_EQ(fd_grant(fd + 1), 0);
	fd_set_grant(fd, f, 64);
	EXPECT_EQ(fd_grant(fd), 64);
	// More places: what was known stays known.
	far = fd_install(file_get(g), FD_FIRST + 10, false);
	if (EXPECT_EQ(far, FD_FIRST + 10)) {
		EXPECT_EQ(fd_grant(far), 0);
		fd_set_grant(far, g, 128);
		EXPECT_EQ(fd_grant(far), 128);
		EXPECT_EQ(fd_grant(fd), 64);
		EXPECT_EQ(fd_close(far), 0);
		EXPECT_EQ(fd_grant(far), 0);
	}
	copy = fs_context_clone(fs_current(), false, false);
	if (EXPECT(copy != NULL)) { // a place of its own
		EXPECT_EQ(fd_table_grant(copy->fds, fd), 0);
		fs_context_free(copy);
	}
	EXPECT_EQ(fd_replace(fd, file_get(g), false), fd);
	EXPECT_EQ(fd_grant(fd), 0);
	fd_set_grant(fd, g, 192);
	EXPECT_EQ(fd_close(fd), 0);
	EXPECT_EQ(fd_grant(fd), 0);
	EXPECT_EQ(fd_install(file_get(f), 3, false), fd);
	EXPECT_EQ(fd_grant(fd), 0);
	file_put(f);
	file_put(g);
	end();
}

// Whoever reads a grant holds nothing: what was outgrown is there until its section is over.
KTEST(fd_grants_outlive_their_readers)
{
	static void *other[256]; // more than are free in all slabs together
	const struct fd_grants *old;
	struct file *f;
	int far;

	if (!begin())
		return;
	f = open_null();
	if (!f || !EXPECT_EQ(fd_install(file_get(f), 3, false), 3))
		return;
	fd_set_grant(3, f, 64);
	preempt_disable(); // the reader; the rest might be another CPU
	old = fs_current()->fds->grants;
	EXPECT_EQ(old->size, FD_FIRST);
	far = fd_install(file_get(f), FD_FIRST + 10, false);
	fd_set_grant(far, f, 64);
	EXPECT(fs_current()->fds->grants != old);
	for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
		other[i] = kmalloc(sizeof(*old) + FD_FIRST * sizeof(u64));
		EXPECT(other[i] != old);
	}
	EXPECT_EQ(old->grant[3], 64);
	preempt_enable();
	for (unsigned i = 0; i < ARRAY_SIZE(other); i++)
		kfree(other[i]);
	file_put(f);
	end();
}
