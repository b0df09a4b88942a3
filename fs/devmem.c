// SPDX-License-Identifier: MIT
//
// What: /dev/null, zero, full, random, urandom, kmsg.
#include "fs/devmem.h"

#include "fs/chrdev.h"
#include "fs/vfs.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/random.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"

#define MEM_MAJOR  1
#define KMSG_LINE  1024u
#define ZERO_CHUNK KIB(64)

static ssize null_read(struct file *f __unused, struct iov_iter *to __unused, u64 *pos __unused)
{
	return 0;
}

static ssize null_write(struct file *f __unused, struct iov_iter *from, u64 *pos __unused)
{
	return (ssize)from->left;
}

static s64 null_lseek(struct file *f __unused, s64 off __unused, int whence __unused)
{
	return 0;
}

// A signal ends what is longer than a chunk: a read may be of two GiB.
static bool interrupted(ssize done)
{
	return done && READ_ONCE(thread_current()->signal_pending);
}

static ssize zero_read(struct file *f __unused, struct iov_iter *to, u64 *pos __unused)
{
	ssize done = 0;

	while (to->left && !interrupted(done)) {
		size_t n = min(to->left, (size_t)ZERO_CHUNK), got = iov_zero(to, n);

		done += (ssize)got;
		if (got < n)
			return done ? done : -EFAULT;
	}
	return done;
}

static ssize full_write(struct file *f __unused, struct iov_iter *from __unused, u64 *pos __unused)
{
	return -ENOSPC;
}

static ssize random_read(struct file *f __unused, struct iov_iter *to, u64 *pos __unused)
{
	u8 bytes[256];
	ssize done = 0;

	while (to->left && !interrupted(done)) {
		size_t n = min(to->left, sizeof(bytes)), got;

		random_bytes(bytes, n);
		got = iov_copy_to(to, bytes, n);
		done += (ssize)got;
		if (got < n)
			break;
	}
	memset(bytes, 0, sizeof(bytes));
	return done || !to->left ? done : -EFAULT;
}

// One write is one line of the log. "<N>" in front is its level (dmesg(1)).
static ssize kmsg_write(struct file *f __unused, struct iov_iter *from, u64 *pos __unused)
{
	size_t n = min(from->left, (size_t)KMSG_LINE - 1), all = from->left;
	enum log_level level = LOG_INFO;
	char *line = kmalloc(KMSG_LINE), *text = line;

	if (!line)
		return -ENOMEM;
	if (iov_copy_from(from, line, n) != n) {
		kfree(line);
		return -EFAULT;
	}
	line[n] = 0;
	while (n && line[n - 1] == '\n')
		line[--n] = 0;
	if (n >= 3 && line[0] == '<' && line[2] == '>') {
		level = line[1] <= '3'   ? LOG_ERR
			: line[1] == '4' ? LOG_WARN
			: line[1] == '7' ? LOG_DEBUG
					 : LOG_INFO;
		text += 3;
	}
	klog(level, "%s", text);
	kfree(line);
	return (ssize)all;
}

// The log from where this file has read up to; 0 at its end (it does not wait for more).
static ssize kmsg_read(struct file *f __unused, struct iov_iter *to, u64 *pos)
{
	size_t room = min(to->left, (size_t)4096), n;
	char *text = kmalloc(room ? room : 1);
	u64 at = *pos;

	if (!text)
		return -ENOMEM;
	n = klog_read(&at, text, room);
	if (iov_copy_to(to, text, n) == n)
		*pos = at;
	else
		n = 0;
	kfree(text);
	return n || at == *pos ? (ssize)n : -EFAULT;
}

static const struct file_ops null_ops = {
	.read = null_read,
	.write = null_write,
	.lseek = null_lseek,
};
static const struct file_ops zero_ops = {
	.read = zero_read,
	.write = null_write,
	.lseek = null_lseek,
};
static const struct file_ops full_ops = {
	.read = zero_read,
	.write = full_write,
	.lseek = null_lseek,
};
static const struct file_ops random_ops = {
	.read = random_read,
	.write = null_write,
	.lseek = null_lseek,
};
static const struct file_ops kmsg_ops = { .read = kmsg_read, .write = kmsg_write };

void devmem_init(void)
{
	static const struct {
		unsigned minor;
		const char *name;
		u32 mode;
		const struct file_ops *ops;
	} all[] = {
		{ 3, "null", 0666, &null_ops },      { 5, "zero", 0666, &zero_ops },
		{ 7, "full", 0666, &full_ops },      { 8, "random", 0666, &random_ops },
		{ 9, "urandom", 0666, &random_ops }, { 11, "kmsg", 0644, &kmsg_ops },
	};

	for (unsigned k = 0; k < ARRAY_SIZE(all); k++)
		if (chrdev_register(MKDEV(MEM_MAJOR, all[k].minor), all[k].name, all[k].mode,
				    all[k].ops))
			log_err("device %s is left out", all[k].name);
}
