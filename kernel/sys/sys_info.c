// SPDX-License-Identifier: MIT
//
// What: about the system as a whole: names, limits, memory, random numbers, switching off.
#include "kernel/sys/sys_calls.h"

#include "fs/fs_context.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/proc/process.h"
#include "kernel/random.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/uaccess.h"

#define UTS_LEN    65
#define HOST_MAX   64
#define NS_PER_SEC 1000000000ull

static char hostname[UTS_LEN] = "dax64"; // [hostname_lock]
static struct spinlock hostname_lock = SPINLOCK_INIT(RANK_FS_SPIN);

struct abi_utsname {
	char sysname[UTS_LEN], nodename[UTS_LEN], release[UTS_LEN], version[UTS_LEN],
		machine[UTS_LEN], domainname[UTS_LEN];
};

// The system's name is Linux's, since its ABI is: C libraries refuse releases that are too old.
s64 sys_uname(const struct syscall_args *a)
{
	struct abi_utsname u = {
		.sysname = "Linux",
		.release = "6.1.0-dax64",
		.version = "dax64: memory is the file interface",
		.machine = "x86_64",
		.domainname = "(none)",
	};

	spin_lock(&hostname_lock);
	memcpy(u.nodename, hostname, sizeof(hostname));
	spin_unlock(&hostname_lock);
	return copy_to_user(UVA(a->a[0]), &u, sizeof(u));
}

s64 sys_sethostname(const struct syscall_args *a)
{
	char name[UTS_LEN] = "";

	if (fs_credentials(thread_current()->fs)->euid != 0)
		return -EPERM;
	if (a->a[1] > HOST_MAX)
		return -EINVAL;
	if (copy_from_user(name, UVA(a->a[0]), a->a[1]))
		return -EFAULT;
	spin_lock(&hostname_lock);
	memcpy(hostname, name, sizeof(hostname));
	spin_unlock(&hostname_lock);
	return 0;
}

struct abi_sysinfo {
	s64 uptime;
	u64 loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	u16 procs, pad;
	u64 totalhigh, freehigh;
	u32 mem_unit, pad2; // named, so that it is zero
};
_Static_assert(sizeof(struct abi_sysinfo) == 112, "ABI");

s64 sys_sysinfo(const struct syscall_args *a)
{
	struct frame_stats m = frame_stats();
	struct abi_sysinfo si = {
		.uptime = (s64)(time_now_ns() / NS_PER_SEC),
		.totalram = m.total * PAGE_SIZE,
		.freeram = m.free * PAGE_SIZE,
		.procs = (u16)process_count(),
		.mem_unit = 1,
	};

	return copy_to_user(UVA(a->a[0]), &si, sizeof(si));
}

// ---- Limits -------------------------------------------------------------------------------------

static s64 set_limit(struct process *p, unsigned which, const struct rlimit *new)
{
	if (new->cur > new->max)
		return -EINVAL;
	if (new->max > p->rlimits[which].max && process_current()->euid != 0)
		return -EPERM;
	if (which == RLIMIT_NOFILE && new->max > FD_MAX)
		return -EPERM;
	p->rlimits[which] = *new;
	return 0;
}

static s64 limit(s32 pid, u64 which, const struct rlimit *new, struct rlimit *old)
{
	struct process *me = process_current(), *p;
	u64 flags;
	s64 ret = 0;

	if (which >= RLIMIT_COUNT)
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	p = pid ? process_of_number_locked((u32)pid) : me;
	if (!p)
		ret = -ESRCH;
	else if (!process_may_look(me->uid, p))
		ret = -EPERM;
	if (!ret) {
		*old = p->rlimits[which];
		ret = new ? set_limit(p, (unsigned)which, new) : 0;
		if (!ret && new && (which == RLIMIT_NOFILE || which == RLIMIT_FSIZE))
			process_tell_limits_locked(p);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	// Address spaces keep their limit themselves; another process's takes it over at its
	// execve.
	if (!ret && new &&which == RLIMIT_AS && p == me)
		WRITE_ONCE(thread_current()->as->limit_bytes, new->cur);
	return ret;
}

// prlimit64(pid, which, new, old)
s64 sys_prlimit64(const struct syscall_args *a)
{
	struct rlimit new, old;
	s64 ret;

	if (a->a[2] && copy_from_user(&new, UVA(a->a[2]), sizeof(new)))
		return -EFAULT;
	ret = limit((s32)a->a[0], (u32)a->a[1], a->a[2] ? &new : NULL, &old);
	if (!ret && a->a[3] && copy_to_user(UVA(a->a[3]), &old, sizeof(old)))
		return -EFAULT;
	return ret;
}

s64 sys_getrlimit(const struct syscall_args *a)
{
	struct rlimit old;
	s64 ret = limit(0, (u32)a->a[0], NULL, &old);

	return ret ? ret : copy_to_user(UVA(a->a[1]), &old, sizeof(old));
}

s64 sys_setrlimit(const struct syscall_args *a)
{
	struct rlimit new, old;

	if (copy_from_user(&new, UVA(a->a[1]), sizeof(new)))
		return -EFAULT;
	return limit(0, (u32)a->a[0], &new, &old);
}

// ---- Random numbers, place, power ---------------------------------------------------------------

#define GRND_RANDOM   2u
#define GRND_INSECURE 4u
#define GRND_KNOWN    7u // and NONBLOCK: all the same here

s64 sys_getrandom(const struct syscall_args *a)
{
	u64 left = min(a->a[1], (u64)INT32_MAX), done = 0;
	u8 buf[256];

	if (((u32)a->a[2] & ~GRND_KNOWN) ||
	    ((u32)a->a[2] & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	while (done < left && !(done && signal_pending())) {
		size_t n = min(left - done, (u64)sizeof(buf));

		random_bytes(buf, n);
		if (copy_to_user(UVA(a->a[0] + done), buf, n))
			return -EFAULT;
		done += n;
	}
	return (s64)done;
}

s64 sys_getcpu(const struct syscall_args *a)
{
	u32 cpu = READ_ONCE(thread_current()->cpu), node = 0;

	if (a->a[0] && copy_to_user(UVA(a->a[0]), &cpu, sizeof(cpu)))
		return -EFAULT;
	if (a->a[1] && copy_to_user(UVA(a->a[1]), &node, sizeof(node)))
		return -EFAULT;
	return 0;
}

enum {
	SYSLOG_CLOSE = 0,
	SYSLOG_OPEN = 1,
	SYSLOG_READ_ALL = 3,
	SYSLOG_CONSOLE_OFF = 6,
	SYSLOG_CONSOLE_ON = 7,
	SYSLOG_CONSOLE_LEVEL = 8,
	SYSLOG_SIZE_UNREAD = 9,
	SYSLOG_SIZE_BUFFER = 10,
};
#define SYSLOG_BYTES_MAX KIB(64)

// The newest lines that fit.
static s64 read_log(u64 uva, u64 room)
{
	u64 len = min(room, SYSLOG_BYTES_MAX), end = klog_end(), pos = end > len ? end - len : 0;
	char *buf = kmalloc(len ? len : 1);
	size_t n, done = 0;
	s64 ret;

	if (!buf)
		return -ENOMEM;
	while (done < len && (n = klog_read(&pos, buf + done, len - done)))
		done += n;
	ret = copy_to_user(UVA(uva), buf, done);
	kfree(buf);
	return ret ? ret : (s64)done;
}

// syslog(action, buf, len)
s64 sys_syslog(const struct syscall_args *a)
{
	switch ((u32)a->a[0]) {
	case SYSLOG_READ_ALL: return (s32)a->a[2] < 0 ? -EINVAL : read_log(a->a[1], (u32)a->a[2]);
	case SYSLOG_SIZE_UNREAD:
	case SYSLOG_SIZE_BUFFER: return (s64)min(klog_end(), SYSLOG_BYTES_MAX);
	case SYSLOG_CLOSE:
	case SYSLOG_OPEN: return 0;
	case SYSLOG_CONSOLE_OFF:
	case SYSLOG_CONSOLE_ON:
	case SYSLOG_CONSOLE_LEVEL: return -EPERM; // the kernel's command line decides
	default: return -EINVAL;
	}
}

#define REBOOT_MAGIC1    0xfee1deadu
#define REBOOT_MAGIC2    672274793u
#define REBOOT_RESTART   0x01234567u
#define REBOOT_HALT      0xcdef0123u
#define REBOOT_POWER_OFF 0x4321fedcu
#define REBOOT_CAD_ON    0x89abcdefu // what Ctrl-Alt-Del does: there is no such key
#define REBOOT_CAD_OFF   0u

// reboot(magic, magic2, command, arg)
s64 sys_reboot(const struct syscall_args *a)
{
	if (fs_credentials(thread_current()->fs)->euid != 0)
		return -EPERM;
	if ((u32)a->a[0] != REBOOT_MAGIC1 || (u32)a->a[1] != REBOOT_MAGIC2)
		return -EINVAL;
	switch ((u32)a->a[2]) {
	case REBOOT_CAD_ON:
	case REBOOT_CAD_OFF: return 0;
	case REBOOT_RESTART: system_shutdown(SHUTDOWN_RESTART);
	case REBOOT_HALT: system_shutdown(SHUTDOWN_HALT);
	case REBOOT_POWER_OFF: system_shutdown(SHUTDOWN_POWEROFF);
	default: return -EINVAL;
	}
}
