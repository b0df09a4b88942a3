// SPDX-License-Identifier: MIT
//
// What: poll, ppoll, select, pselect6.
// Not here: sleeping on many objects (fs/poll.c).
#include "kernel/sys/sys_file.h"

#include "fs/file.h"
#include "fs/fs_context.h"
#include "fs/poll.h"
#include "kernel/lib/string.h"
#include "kernel/proc/signal.h"
#include "kernel/x86/time.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define NS_PER_S   1000000000ll
#define NO_TIMEOUT (~0ull)

struct poll_item {
	int fd;
	unsigned wanted, ready;
	struct file *file;
};

// Asks each file once. How many are ready.
static unsigned ask(struct poll_item *item, unsigned count, struct poll_table *pt)
{
	unsigned hits = 0;

	for (unsigned k = 0; k < count; k++) {
		if (item[k].fd < 0)
			continue;
		item[k].ready = POLLNVAL;
		if (item[k].file)
			item[k].ready = file_poll(item[k].file, hits ? NULL : pt) &
					(item[k].wanted | POLLERR | POLLHUP | POLLNVAL);
		hits += item[k].ready != 0;
	}
	return hits;
}

// Waits until one of the files is ready, `timeout_ns` from now at most. How many, or -EINTR,
// -ENOMEM.
static s64 poll_items(struct poll_item *item, unsigned count, u64 timeout_ns)
{
	u64 deadline = 0;
	struct poll_table pt;
	unsigned hits;
	int err = 0;

	if (timeout_ns && timeout_ns != NO_TIMEOUT &&
	    __builtin_add_overflow(time_now_ns(), timeout_ns, &deadline))
		deadline = 0; // centuries
	for (unsigned k = 0; k < count; k++)
		item[k].file = item[k].fd < 0 ? NULL : fd_get(item[k].fd);
	poll_table_init(&pt);
	hits = ask(item, count, timeout_ns ? &pt : NULL);
	while (!hits && timeout_ns && !err && !pt.error) {
		err = poll_sleep(&pt, deadline);
		hits = ask(item, count, NULL);
	}
	poll_table_finish(&pt);
	for (unsigned k = 0; k < count; k++)
		if (item[k].file)
			file_put(item[k].file);
	if (hits)
		return hits;
	if (pt.error)
		return pt.error;
	return err == -ETIMEDOUT ? 0 : err;
}

// ---- poll ---------------------------------------------------------------------------------------

static s64 poll_user(uva_t user, u64 count, u64 timeout_ns)
{
	struct abi_pollfd *fds;
	struct poll_item *item;
	s64 n;

	if (count > fs_nofile(fs_current()))
		return -EINVAL;
	fds = kmalloc(count * sizeof(*fds) + 1);
	item = kmalloc(count * sizeof(*item) + 1);
	n = fds && item ? 0 : -ENOMEM;
	if (!n && copy_from_user(fds, user, count * sizeof(*fds)))
		n = -EFAULT;
	if (!n) {
		for (u64 k = 0; k < count; k++)
			item[k] =
				(struct poll_item){ .fd = fds[k].fd, .wanted = (u16)fds[k].events };
		n = poll_items(item, (unsigned)count, timeout_ns);
		for (u64 k = 0; k < count; k++)
			fds[k].revents = (s16)item[k].ready;
		if (n >= 0 && copy_to_user(user, fds, count * sizeof(*fds)))
			n = -EFAULT;
	}
	kfree(fds);
	kfree(item);
	return n;
}

s64 sys_poll(const struct syscall_args *args)
{
	int ms = (int)args->a[2];

	return poll_user(UVA(args->a[0]), (u32)args->a[1], ms < 0 ? NO_TIMEOUT : (u64)ms * 1000000);
}

// A timeout in struct timespec or timeval; NULL: none.
static int get_timeout(uva_t user, s64 units_per_s, u64 *ns)
{
	struct abi_timespec t;

	*ns = NO_TIMEOUT;
	if (!user.va)
		return 0;
	if (copy_from_user(&t, user, sizeof(t)))
		return -EFAULT;
	if (t.sec < 0 || t.nsec < 0 || (units_per_s == NS_PER_S && t.nsec >= units_per_s))
		return -EINVAL;
	t.sec += t.nsec / units_per_s;
	t.nsec = t.nsec % units_per_s * (NS_PER_S / units_per_s);
	if (t.sec < 9000000000ll)
		*ns = (u64)t.sec * NS_PER_S + (u64)t.nsec;
	return 0;
}

// Linux tells what is left of the timeout; that it cannot be written is no error.
static void put_rest(uva_t user, s64 units_per_s, u64 timeout_ns, u64 began_ns)
{
	u64 spent = time_now_ns() - began_ns;
	u64 left = timeout_ns > spent ? timeout_ns - spent : 0;
	struct abi_timespec t = {
		.sec = (s64)(left / NS_PER_S),
		.nsec = (s64)(left % NS_PER_S / (u64)(NS_PER_S / units_per_s)),
	};

	if (user.va && timeout_ns != NO_TIMEOUT)
		(void)!copy_to_user(user, &t, sizeof(t));
}

static int set_mask(uva_t user, u64 bytes)
{
	sigset_t set;

	if (!user.va)
		return 0;
	if (bytes != sizeof(set))
		return -EINVAL;
	if (copy_from_user(&set, user, sizeof(set)))
		return -EFAULT;
	signal_set_temporary_mask(set);
	return 0;
}

s64 sys_ppoll(const struct syscall_args *args)
{
	uva_t timeout = UVA(args->a[2]);
	u64 ns, began = time_now_ns();
	s64 n = get_timeout(timeout, NS_PER_S, &ns);

	if (!n)
		n = set_mask(UVA(args->a[3]), args->a[4]);
	if (n)
		return n;
	n = poll_user(UVA(args->a[0]), (u32)args->a[1], ns);
	put_rest(timeout, NS_PER_S, ns, began);
	return n;
}

// ---- select -------------------------------------------------------------------------------------

#define SETS  3
#define WORDS (FD_MAX / 64)

struct select_sets {
	u64 bit[SETS][WORDS];
	uva_t user[SETS];
	unsigned count; // descriptors 0 .. count - 1
};

static const unsigned set_wanted[SETS] = { POLLIN | POLLRDNORM | POLLHUP | POLLERR,
					   POLLOUT | POLLWRNORM | POLLERR, POLLPRI };

static size_t set_bytes(const struct select_sets *s)
{
	return DIV_ROUND_UP(s->count, 64) * sizeof(u64);
}

static int get_sets(struct select_sets *s)
{
	memset(s->bit, 0, sizeof(s->bit));
	for (unsigned k = 0; k < SETS; k++)
		if (s->user[k].va && copy_from_user(s->bit[k], s->user[k], set_bytes(s)))
			return -EFAULT;
	return 0;
}

static unsigned wanted_of(const struct select_sets *s, unsigned fd)
{
	unsigned wanted = 0;

	for (unsigned k = 0; k < SETS; k++)
		if (s->bit[k][fd / 64] & BIT(fd % 64))
			wanted |= set_wanted[k];
	return wanted;
}

static unsigned sets_to_items(const struct select_sets *s, struct poll_item *item)
{
	unsigned n = 0;

	for (unsigned fd = 0; fd < s->count; fd++) {
		unsigned wanted = wanted_of(s, fd);

		if (wanted)
			item[n++] = (struct poll_item){ .fd = (int)fd, .wanted = wanted };
	}
	return n;
}

// The sets keep what is ready. How many bits.
static s64 items_to_sets(struct select_sets *s, const struct poll_item *item, unsigned n)
{
	s64 hits = 0;

	for (unsigned j = 0; j < n; j++) {
		unsigned fd = (unsigned)item[j].fd;

		if (item[j].ready & POLLNVAL)
			return -EBADF;
		for (unsigned k = 0; k < SETS; k++) {
			u64 bit = s->bit[k][fd / 64] & BIT(fd % 64);

			if (bit && (item[j].ready & set_wanted[k]))
				hits++;
			else
				s->bit[k][fd / 64] &= ~bit;
		}
	}
	return hits;
}

static s64 select_sets(struct select_sets *s, u64 timeout_ns)
{
	struct poll_item *item;
	unsigned n;
	s64 r = get_sets(s);

	if (r)
		return r;
	item = kmalloc(s->count * sizeof(*item) + 1);
	if (!item)
		return -ENOMEM;
	n = sets_to_items(s, item);
	r = poll_items(item, n, timeout_ns);
	if (r >= 0)
		r = items_to_sets(s, item, n);
	kfree(item);
	for (unsigned k = 0; k < SETS && r >= 0; k++)
		if (s->user[k].va && copy_to_user(s->user[k], s->bit[k], set_bytes(s)))
			r = -EFAULT;
	return r;
}

static s64 select_user(const struct syscall_args *args, u64 timeout_ns)
{
	struct select_sets s = {
		.user = { UVA(args->a[1]), UVA(args->a[2]), UVA(args->a[3]) },
	};

	if ((int)args->a[0] < 0)
		return -EINVAL;
	s.count = min((unsigned)args->a[0], fd_table_size());
	return select_sets(&s, timeout_ns);
}

s64 sys_select(const struct syscall_args *args)
{
	uva_t timeout = UVA(args->a[4]);
	u64 ns, began = time_now_ns();
	s64 n = get_timeout(timeout, 1000000, &ns);

	if (n)
		return n;
	n = select_user(args, ns);
	put_rest(timeout, 1000000, ns, began);
	return n;
}

s64 sys_pselect6(const struct syscall_args *args)
{
	uva_t timeout = UVA(args->a[4]);
	u64 mask[2] = { 0, 0 }, ns, began = time_now_ns();
	s64 n = get_timeout(timeout, NS_PER_S, &ns);

	if (!n && args->a[5] && copy_from_user(mask, UVA(args->a[5]), sizeof(mask)))
		n = -EFAULT;
	if (!n)
		n = set_mask(UVA(mask[0]), mask[1]);
	if (n)
		return n;
	n = select_user(args, ns);
	put_rest(timeout, NS_PER_S, ns, began);
	return n;
}
