// SPDX-License-Identifier: MIT
//
// What: user and group numbers (credentials(7)). The file system's copy decides what files may be
// touched; the process's, who may signal whom.
// Not here: set-user-id programs, capabilities: effective user 0 may do everything.
//
// Credentials are a thread's own, as in Linux: C libraries change those of all threads, one by one.
// The process's copy is what any of its threads set last.
//
// Locking: only the thread itself changes its credentials; proc_lock for the process's copy.
#include "kernel/sys/sys_calls.h"

#include "fs/fs_context.h"
#include "kernel/proc/process.h"
#include "mm/uaccess.h"

#define KEEP (~0u) // "leave as it is"

static struct credentials *mine(void)
{
	return fs_credentials(thread_current()->fs);
}

static void publish(const struct credentials *c)
{
	struct process *p = process_current();
	u64 flags = spin_lock_irqsave(&proc_lock);

	p->uid = c->uid;
	p->euid = c->euid;
	p->suid = c->suid;
	p->gid = c->gid;
	spin_unlock_irqrestore(&proc_lock, flags);
}

s64 sys_getuid(const struct syscall_args *a)
{
	(void)a;
	return mine()->uid;
}

s64 sys_geteuid(const struct syscall_args *a)
{
	(void)a;
	return mine()->euid;
}

s64 sys_getgid(const struct syscall_args *a)
{
	(void)a;
	return mine()->gid;
}

s64 sys_getegid(const struct syscall_args *a)
{
	(void)a;
	return mine()->egid;
}

static s64 put_three(const struct syscall_args *a, u32 real, u32 effective, u32 saved)
{
	if (copy_to_user(UVA(a->a[0]), &real, sizeof(real)) ||
	    copy_to_user(UVA(a->a[1]), &effective, sizeof(effective)) ||
	    copy_to_user(UVA(a->a[2]), &saved, sizeof(saved)))
		return -EFAULT;
	return 0;
}

s64 sys_getresuid(const struct syscall_args *a)
{
	return put_three(a, mine()->uid, mine()->euid, mine()->suid);
}

s64 sys_getresgid(const struct syscall_args *a)
{
	return put_three(a, mine()->gid, mine()->egid, mine()->sgid);
}

static bool one_of(u32 id, u32 a, u32 b, u32 c)
{
	return id == KEEP || id == a || id == b || id == c;
}

static s64 set_uids(u32 real, u32 effective, u32 saved)
{
	struct credentials *c = mine();

	if (c->euid != 0 && (!one_of(real, c->uid, c->euid, c->suid) ||
			     !one_of(effective, c->uid, c->euid, c->suid) ||
			     !one_of(saved, c->uid, c->euid, c->suid)))
		return -EPERM;
	c->uid = real == KEEP ? c->uid : real;
	c->euid = effective == KEEP ? c->euid : effective;
	c->suid = saved == KEEP ? c->suid : saved;
	c->fsuid = c->euid;
	publish(c);
	return 0;
}

static s64 set_gids(u32 real, u32 effective, u32 saved)
{
	struct credentials *c = mine();

	if (c->euid != 0 && (!one_of(real, c->gid, c->egid, c->sgid) ||
			     !one_of(effective, c->gid, c->egid, c->sgid) ||
			     !one_of(saved, c->gid, c->egid, c->sgid)))
		return -EPERM;
	c->gid = real == KEEP ? c->gid : real;
	c->egid = effective == KEEP ? c->egid : effective;
	c->sgid = saved == KEEP ? c->sgid : saved;
	c->fsgid = c->egid;
	publish(c);
	return 0;
}

s64 sys_setuid(const struct syscall_args *a)
{
	u32 id = (u32)a->a[0];

	if (id == KEEP)
		return -EINVAL;
	if (mine()->euid == 0)
		return set_uids(id, id, id);
	// Unlike setresuid: the effective one is nothing to go back to.
	return id == mine()->uid || id == mine()->suid ? set_uids(KEEP, id, KEEP) : -EPERM;
}

s64 sys_setgid(const struct syscall_args *a)
{
	u32 id = (u32)a->a[0];

	if (id == KEEP)
		return -EINVAL;
	if (mine()->euid == 0)
		return set_gids(id, id, id);
	return id == mine()->gid || id == mine()->sgid ? set_gids(KEEP, id, KEEP) : -EPERM;
}

// The saved one follows the effective one if the real one is set, or the effective one to something
// other than the real one (setreuid(2)).
s64 sys_setreuid(const struct syscall_args *a)
{
	u32 real = (u32)a->a[0], effective = (u32)a->a[1], before = mine()->uid;
	struct credentials *c = mine();
	s64 ret;

	// Unlike setresuid, the real one cannot become the saved one.
	if (c->euid != 0 && !one_of(real, c->uid, c->euid, c->euid))
		return -EPERM;
	ret = set_uids(real, effective, KEEP);
	if (!ret && (real != KEEP || (effective != KEEP && effective != before))) {
		c->suid = c->euid;
		publish(c);
	}
	return ret;
}

s64 sys_setregid(const struct syscall_args *a)
{
	u32 real = (u32)a->a[0], effective = (u32)a->a[1], before = mine()->gid;
	struct credentials *c = mine();
	s64 ret;

	if (c->euid != 0 && !one_of(real, c->gid, c->egid, c->egid))
		return -EPERM;
	ret = set_gids(real, effective, KEEP);
	if (!ret && (real != KEEP || (effective != KEEP && effective != before)))
		c->sgid = c->egid;
	return ret;
}

s64 sys_setresuid(const struct syscall_args *a)
{
	return set_uids((u32)a->a[0], (u32)a->a[1], (u32)a->a[2]);
}

s64 sys_setresgid(const struct syscall_args *a)
{
	return set_gids((u32)a->a[0], (u32)a->a[1], (u32)a->a[2]);
}

// These two return the old number, whether or not they did anything.
s64 sys_setfsuid(const struct syscall_args *a)
{
	struct credentials *c = mine();
	u32 id = (u32)a->a[0], old = c->fsuid;

	if (id != KEEP && (c->euid == 0 || one_of(id, c->uid, c->euid, c->suid)))
		c->fsuid = id;
	return old;
}

s64 sys_setfsgid(const struct syscall_args *a)
{
	struct credentials *c = mine();
	u32 id = (u32)a->a[0], old = c->fsgid;

	if (id != KEEP && (c->euid == 0 || one_of(id, c->gid, c->egid, c->sgid)))
		c->fsgid = id;
	return old;
}

s64 sys_getgroups(const struct syscall_args *a)
{
	const struct credentials *c = mine();
	int room = (int)a->a[0];

	if (room < 0)
		return -EINVAL;
	if (room == 0)
		return c->nr_groups;
	if ((unsigned)room < c->nr_groups)
		return -EINVAL;
	if (copy_to_user(UVA(a->a[1]), c->groups, c->nr_groups * sizeof(u32)))
		return -EFAULT;
	return c->nr_groups;
}

s64 sys_setgroups(const struct syscall_args *a)
{
	struct credentials *c = mine();
	u32 groups[ARRAY_SIZE(c->groups)];
	u64 n = a->a[0];

	if (c->euid != 0)
		return -EPERM;
	if (n > ARRAY_SIZE(groups))
		return -EINVAL;
	if (copy_from_user(groups, UVA(a->a[1]), n * sizeof(u32)))
		return -EFAULT;
	for (unsigned i = 0; i < n; i++)
		c->groups[i] = groups[i];
	c->nr_groups = (unsigned)n;
	return 0;
}
