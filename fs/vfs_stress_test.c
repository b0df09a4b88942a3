// SPDX-License-Identifier: MIT
//
// Several threads on the same few names: create, link, unlink, rename of files and directories,
// walk, open. What is checked: nothing hangs, asserts or leaks, calls fail only as they may, and
// the tree can be removed afterwards. The same calls by one thread while memory fails.
#include "fs/file.h"
#include "fs/namei.h"
#include "kernel/ktest.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/wait.h"
#include "mm/frame.h"
#include "mm/heap.h"

#define AT      AT_FDCWD
#define THREADS 4u
#define ROUNDS  400u
#define NAMES   4u

struct stress {
	u32 seed;
	u32 unexpected; // results that no such call may have
	int worst;      // one of them
};

static struct stress stress[THREADS];
static u32 running; // atomic
static struct wait_queue done = {
	.lock = SPINLOCK_INIT(RANK_WAITQ),
	.waiters = LIST_INIT(done.waiters),
};

static u32 next_random(struct stress *s)
{
	s->seed = s->seed * 1664525u + 1013904223u;
	return s->seed >> 8;
}

// A path of one to three components out of NAMES names each.
static void random_path(struct stress *s, char *path, size_t bytes)
{
	u32 r = next_random(s), depth = r % 3 + 1;
	size_t n = ksnprintf(path, bytes, "/stress");

	for (u32 k = 0; k < depth; k++, r /= NAMES)
		n += ksnprintf(path + n, bytes - n, "/%c", 'a' + (char)(r / 3 % NAMES));
}

static bool may_be(int err)
{
	static const int allowed[] = { 0,       -ENOENT, -EEXIST, -ENOTDIR,   -EISDIR,
				       -EINVAL, -EPERM,  -ELOOP,  -ENOTEMPTY, -EBUSY };

	for (unsigned k = 0; k < ARRAY_SIZE(allowed); k++)
		if (err == allowed[k])
			return true;
	return false;
}

static int open_and_write(const char *path, unsigned flags)
{
	struct file *f;
	int err = vfs_open(path, O_RDWR | O_CREAT | flags, 0644, &f);

	if (err)
		return err;
	if (file_write_kernel(f, path, strlen(path), 5000) != (ssize)strlen(path))
		err = -EIO;
	file_put(f);
	return err;
}

static int look(const char *path)
{
	struct dentry *d;
	char buf[64];
	int err = path_at(AT, path, LOOKUP_FOLLOW, &d);

	if (err)
		return err;
	if (vfs_path(d, buf, sizeof(buf)) < 0)
		err = -EIO;
	dentry_put(d);
	return err;
}

static int random_call(struct stress *s)
{
	char a[32], b[32];

	random_path(s, a, sizeof(a));
	random_path(s, b, sizeof(b));
	switch (next_random(s) % 10) {
	case 0: return vfs_mkdirat(AT, a, 0755);
	case 1: return vfs_rmdirat(AT, a);
	case 2: return vfs_unlinkat(AT, a);
	case 3: return vfs_renameat(AT, a, AT, b, 0);
	case 4: return vfs_renameat(AT, a, AT, b, RENAME_EXCHANGE);
	case 5: return vfs_linkat(AT, a, AT, b, 0);
	case 6: return vfs_symlinkat(b, AT, a);
	case 7: return open_and_write(a, 0);
	case 8: return open_and_write(a, O_EXCL);
	default: return look(a);
	}
}

static void stress_thread(void *arg)
{
	struct stress *s = arg;

	for (u32 k = 0; k < ROUNDS; k++) {
		int err = random_call(s);

		if (!may_be(err)) {
			s->unexpected++;
			s->worst = err;
		}
		if (k % 64 == 0)
			vfs_drop_caches();
		if (k % 16 == 0)
			thread_yield();
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
	wait_wake_all(&done);
}

static bool first_name(void *ctx, const char *name, size_t len, u64 ino __unused,
		       unsigned d_type __unused, u64 next_pos __unused)
{
	char *to = ctx;

	if (name[0] == '.')
		return true;
	memcpy(to, name, len);
	to[len] = 0;
	return false;
}

// Appends "/name" of the first entry of the directory `path`. False: it is empty.
static bool descend(char *path, size_t bytes)
{
	size_t n = strlen(path);
	struct file *f;

	if (!EXPECT_EQ(vfs_open(path, O_RDONLY | O_DIRECTORY, 0, &f), 0) || n + 8 > bytes)
		return false;
	path[n] = '/';
	path[n + 1] = 0;
	EXPECT_EQ(file_readdir(f, first_name, path + n + 1), 0);
	file_put(f);
	if (path[n + 1])
		return true;
	path[n] = 0;
	return false;
}

// Removes whatever is there; directories went into each other to any depth.
static void remove_tree(void)
{
	char *path = kmalloc(1024);

	if (!EXPECT(path != NULL))
		return;
	for (u32 steps = 0; steps < 10000; steps++) {
		strlcpy(path, "/stress", 1024);
		while (descend(path, 1024) && vfs_unlinkat(AT, path) == -EISDIR)
			;
		if (vfs_rmdirat(AT, path) == 0 && strcmp(path, "/stress") == 0)
			break;
	}
	kfree(path);
	EXPECT_EQ(look("/stress"), -ENOENT);
	vfs_drop_caches();
}

KTEST(vfs_stress_names)
{
	EXPECT_EQ(vfs_mkdirat(AT, "/stress", 0755), 0);
	running = THREADS;
	for (u32 k = 0; k < THREADS; k++) {
		stress[k] = (struct stress){ .seed = k * 7919 + 1 };
		if (!EXPECT(thread_create("stress", stress_thread, &stress[k]) != NULL))
			running--;
	}
	wait_event(&done, __atomic_load_n(&running, __ATOMIC_ACQUIRE) == 0);
	for (u32 k = 0; k < THREADS; k++)
		if (!EXPECT_EQ(stress[k].unexpected, 0))
			EXPECT_EQ(stress[k].worst, 0);
	remove_tree();
}

// Calls with the first, second, ... allocation failing: each fails cleanly or not at all.
KTEST(vfs_memory_fails)
{
	struct stress s = { .seed = 99 };

	EXPECT_EQ(vfs_mkdirat(AT, "/stress", 0755), 0);
	for (u32 k = 0; k < 600; k++) {
		int err;

		frame_fail_nth(k % 7 + 1);
		err = random_call(&s);
		frame_fail_nth(0);
		if (err != -ENOMEM && err != -ENOSPC && err != -EIO)
			EXPECT(may_be(err));
		if (k % 16 == 0)
			vfs_drop_caches();
	}
	remove_tree();
}
