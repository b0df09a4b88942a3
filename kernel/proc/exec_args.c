// SPDX-License-Identifier: MIT
//
// What: the strings that execve carries over: collected into kernel memory before the old program's
// memory goes.
// Failure: -E2BIG beyond EXEC_BYTES_MAX in all or EXEC_STRING_MAX in one.
#include "kernel/proc/exec_internal.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define FIRST_CAPACITY 4096
#define STRINGS_MAX    (EXEC_BYTES_MAX / 16) // their pointers take stack too

// Room for one more byte at least.
static int grow(struct exec_args *a)
{
	size_t capacity = a->capacity ? a->capacity * 2 : FIRST_CAPACITY;
	char *buf;

	if (capacity > EXEC_BYTES_MAX)
		return -E2BIG;
	buf = kmalloc(capacity);
	if (!buf)
		return -ENOMEM;
	if (a->buf)
		memcpy(buf, a->buf, a->used);
	kfree(a->buf);
	a->buf = buf;
	a->capacity = capacity;
	return 0;
}

// One string from user or kernel memory. Its length without the NUL, or -ENAMETOOLONG: no room.
static ssize fetch(const struct exec_args *a, bool user, u64 from)
{
	size_t room = a->capacity - a->used, len;

	if (room == 0)
		return -ENAMETOOLONG;
	if (user)
		return strncpy_from_user(a->buf + a->used, UVA(from), room);
	len = strlen((const char *)from);
	if (len >= room)
		return -ENAMETOOLONG;
	memcpy(a->buf + a->used, (const char *)from, len + 1);
	return (ssize)len;
}

static int append(struct exec_args *a, bool user, u64 from)
{
	ssize len;
	int err;

	while ((len = fetch(a, user, from)) == -ENAMETOOLONG) {
		err = grow(a);
		if (err)
			return err;
	}
	if (len < 0)
		return (int)len;
	if (len >= (ssize)EXEC_STRING_MAX)
		return -E2BIG;
	a->used += (size_t)len + 1;
	return 0;
}

static int append_vector(struct exec_args *a, bool user, u64 vector, unsigned *count)
{
	u64 string = 0;
	int err;

	// Linux takes a NULL vector for an empty one.
	for (*count = 0; vector; vector += sizeof(u64), ++*count) {
		if (user && copy_from_user(&string, UVA(vector), sizeof(string)))
			return -EFAULT;
		if (!user)
			string = *(const u64 *)vector;
		if (!string)
			break;
		if (a->argc + a->envc >= STRINGS_MAX)
			return -E2BIG;
		err = append(a, user, string);
		if (err)
			return err;
	}
	return 0;
}

int exec_args_collect(struct exec_args *a, const struct exec_strings *from)
{
	int err;

	*a = (struct exec_args){ 0 };
	err = append_vector(a, from->user, from->argv, &a->argc);
	// Programs rely on argv[0]: an empty vector becomes { "" }, as in Linux since 5.18.
	if (!err && a->argc == 0) {
		err = append(a, false, (u64) "");
		a->argc = 1;
	}
	a->env_off = a->used;
	if (!err)
		err = append_vector(a, from->user, from->envp, &a->envc);
	return err;
}

int exec_args_prepend(struct exec_args *a, const char *const *string, unsigned count)
{
	size_t first = strlen(a->buf) + 1, rest = a->used - first;
	struct exec_args b = { .argc = a->argc - 1 + count, .envc = a->envc };
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++)
		err = append(&b, false, (u64)string[i]);
	while (!err && b.capacity - b.used < rest)
		err = grow(&b);
	if (err) {
		kfree(b.buf);
		return err;
	}
	b.env_off = b.used + a->env_off - first;
	memcpy(b.buf + b.used, a->buf + first, rest);
	b.used += rest;
	kfree(a->buf);
	*a = b;
	return 0;
}

void exec_args_free(struct exec_args *a)
{
	kfree(a->buf);
	a->buf = NULL;
}
