// SPDX-License-Identifier: MIT
//
// What: the system calls on memory: decoding and checks, in Linux's order (mm/mmap.c, do_mmap), so
// that a wrong call gets the same errno.
// Not here: doing it (mm/).
//
// Accepted and without effect: MAP_NORESERVE, MAP_STACK, MAP_GROWSDOWN (a stack is mapped whole and
// filled when touched), MAP_32BIT, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_NONBLOCK. Memory once touched
// is resident, so mlock touches it and leaves a record for msync.
#include "fs/fd_table.h"
#include "fs/vfs.h"
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/sys/sys_mm.h"
#include "mm/arena.h"
#include "mm/aspace.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/uaccess.h"
#include "mm/vmobject.h"

#define MAP_32BIT      0x40u
#define MAP_GROWSDOWN  0x100u
#define MAP_DENYWRITE  0x800u
#define MAP_EXECUTABLE 0x1000u
#define MAP_NONBLOCK   0x10000u
#define MAP_STACK      0x20000u
#define MAP_HUGETLB    0x40000u

#define PROT_SEM       8u
#define PROT_GROWSDOWN 0x01000000u
#define PROT_GROWSUP   0x02000000u

#define MAP_HUGE_SIZES 0x7c000000u // what MAP_HUGE_2MB and MAP_HUGE_1GB are made of

// What MAP_SHARED_VALIDATE knows for every file; MAP_SYNC depends on the file.
#define MAP_VALIDATE_KNOWN                                                                         \
	(MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE |        \
	 MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK |   \
	 MAP_FIXED_NOREPLACE | MAP_DAXVM_ALL | MAP_HUGE_SIZES)

static struct aspace *current_as(void)
{
	return thread_current()->as;
}

// ---- mmap ---------------------------------------------------------------------------------------

// Persistent memory: stores reach the medium without a page cache between.
static bool can_sync(const struct vm_object *o)
{
	return o->ops->table != NULL;
}

// What a file on persistent memory is mapped by is asked for once per descriptor; others look at
// each mapping.
static inline int find_object(struct file *f, struct vm_object **out)
{
	struct vm_object *o = READ_ONCE(f->map_object); // others read it to map
	int err;

	if (unlikely(!o || !can_sync(o))) {
		if (!f->ops->mmap)
			return -ENODEV;
		err = f->ops->mmap(f, &o);
		if (err)
			return err;
		if (READ_ONCE(f->map_object) != o)
			__atomic_store_n(&f->map_object, o, __ATOMIC_RELEASE);
	}
	*out = o;
	return 0;
}

// The descriptor's part of the checks; fills in object and may_prot. What validates the flags is
// done with, and from now on just shared.
static inline int check_file(struct file *f, struct map_request *req)
{
	unsigned mode = f->flags & O_ACCMODE;
	bool validate = (req->flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
	int err;

	if (f->flags & O_PATH)
		return -EBADF;
	switch (req->flags & MAP_TYPE) {
	case MAP_SHARED_VALIDATE:
	case MAP_SHARED:
		if ((req->prot & PROT_WRITE) && mode == O_RDONLY)
			return -EACCES;
		if (mode == O_RDONLY)
			req->may_prot &= ~PROT_WRITE;
		break;
	case MAP_PRIVATE: break;
	default: return -EINVAL;
	}
	if (mode == O_WRONLY)
		return -EACCES;
	if (unlikely(f->inode->super->no_exec)) {
		if (req->prot & PROT_EXEC)
			return -EPERM;
		req->may_prot &= ~PROT_EXEC;
	}
	err = find_object(f, &req->object);
	if (err || !validate)
		return err;
	if (req->flags & ~(MAP_VALIDATE_KNOWN | (can_sync(req->object) ? MAP_SYNC : 0u)))
		return -EOPNOTSUPP;
	req->flags &= ~(MAP_TYPE & ~MAP_SHARED);
	return 0;
}

static int check_anonymous(const struct map_request *req)
{
	unsigned type = req->flags & MAP_TYPE;

	return type == MAP_PRIVATE || type == MAP_SHARED ? 0 : -EINVAL;
}

static inline s64 mmap_any(const struct syscall_args *a)
{
	struct map_request req = { .addr = UVA(a->a[0]),
				   .len = a->a[1],
				   .prot = (unsigned)a->a[2] & PROT_ALL,
				   .may_prot = PROT_ALL,
				   .flags = (unsigned)a->a[3],
				   .offset = a->a[5] };
	struct fd_use use = { 0 };
	struct file *f;
	uva_t at = UVA(0);
	int err = 0;

	if (!IS_ALIGNED(req.offset, PAGE_SIZE))
		return -EINVAL;
	if (!(req.flags & MAP_ANONYMOUS)) {
		use = fd_begin((int)a->a[4]);
		if (!use.file)
			return -EBADF;
	}
	f = use.file;
	if (!req.len || (f && (req.flags & MAP_HUGETLB)))
		err = -EINVAL;
	else if (req.len > USER_END || (req.flags & MAP_HUGETLB)) // there is no pool of huge pages
		err = -ENOMEM;
	else if (f && req.offset > MAP_OFFSET_END - ALIGN_UP(req.len, PAGE_SIZE))
		err = -EOVERFLOW;
	else
		err = f ? check_file(f, &req) : check_anonymous(&req);
	if (req.flags & MAP_LOCKED)
		req.flags |= MAP_POPULATE;
	if (!err && f && (req.flags & (MAP_DAXVM_EPHEMERAL | MAP_DAXVM)) &&
	    (req.flags & MAP_SHARED))
		fd_set_grant((int)a->a[4], f, vm_grant(req.object, req.may_prot));
	if (!err)
		err = aspace_map(current_as(), &req, &at);
	fd_end(use);
	return err ? err : (s64)at.va;
}

static __attribute__((noinline)) u64 map_fast(const struct syscall_args *a)
{
	u64 va;

	preempt_disable();
	va = arena_map_fast(current_as(), fd_grant((int)a->a[4]), a->a[1], a->a[2],
			    (unsigned)a->a[3], a->a[5]);
	preempt_enable();
	return va;
}

s64 sys_mmap(const struct syscall_args *a)
{
	u64 va;

	if (unlikely(a->a[3] & MAP_DAXVM_EPHEMERAL)) {
		va = map_fast(a);
		if (va)
			return (s64)va;
	}
	return mmap_any(a);
}

// A mapping that is kept, through a descriptor that nobody else can close meanwhile.
static __attribute__((noinline)) s64 map_kept_light(u64 addr, u64 len, u64 prot, u64 flags, u64 fd,
						    u64 off)
{
	const unsigned known = MAP_SHARED_VALIDATE | MAP_DAXVM | MAP_DAXVM_BATCHING |
			       MAP_DAXVM_NOSYNC | MAP_SYNC | MAP_NORESERVE;
	struct vm_object *o;
	u64 grant, va;

	if (((unsigned)flags & (~known | MAP_DAXVM | MAP_SHARED)) != (MAP_DAXVM | MAP_SHARED) ||
	    addr || !IS_ALIGNED(off, PAGE_SIZE) || !syscall_light_begin())
		return TRAP_NOT_LIGHT;
	grant = fd_grant_kept((int)fd);
	o = vm_grant_object(grant);
	if (!o || !can_sync(o) || prot & (~(u64)PROT_ALL | grant))
		return TRAP_NOT_LIGHT;
	va = aspace_map_light(current_as(), o, off, len,
			      (unsigned)(prot | (~grant & PROT_ALL) << PROTS_MAY),
			      (unsigned)flags & ~MAP_PRIVATE);
	return va ? (s64)va : TRAP_NOT_LIGHT;
}

// The two calls of mappings that come and go often, without what other calls need around them.
s64 light_mmap(u64 addr, u64 len, u64 prot, u64 flags, u64 fd, u64 off)
{
	if (!(flags & MAP_DAXVM_EPHEMERAL))
		return map_kept_light(addr, len, prot, flags, fd, off);
	if (!syscall_light_begin())
		return TRAP_NOT_LIGHT;
	return arena_map_light(fd_grant((int)fd), len, prot, (unsigned)flags, off);
}

s64 light_munmap(u64 addr, u64 len, u64 a2, u64 a3, u64 a4, u64 a5)
{
	(void)a2, (void)a3, (void)a4, (void)a5;
	return syscall_light_begin() ? arena_unmap_light(addr, len) : TRAP_NOT_LIGHT;
}

s64 sys_munmap(const struct syscall_args *a)
{
	struct aspace *as = current_as();

	if (aspace_in_arenas(as, a->a[0])) { // then the lock is not even looked at
		if (READ_ONCE(as->arenas) && arena_unmap_fast(as, a->a[0], a->a[1]))
			return 0;
	} else if (aspace_unmap_has_begun(as)) { // by light_munmap
		aspace_unmap_rest(as);
		return 0;
	}
	return aspace_unmap(as, UVA(a->a[0]), a->a[1]);
}

s64 sys_mprotect(const struct syscall_args *a)
{
	u64 len = a->a[1], prot = a->a[2];

	if (prot & (PROT_GROWSDOWN | PROT_GROWSUP) || !IS_ALIGNED(a->a[0], PAGE_SIZE))
		return -EINVAL;
	if (!len)
		return 0;
	if (prot & ~(u64)(PROT_ALL | PROT_SEM))
		return -EINVAL;
	return aspace_protect(current_as(), UVA(a->a[0]), len, (unsigned)prot & PROT_ALL);
}

s64 sys_brk(const struct syscall_args *a)
{
	return (s64)aspace_brk(current_as(), UVA(a->a[0])).va;
}

s64 sys_mremap(const struct syscall_args *a)
{
	uva_t at;
	int err = aspace_remap(current_as(), UVA(a->a[0]), a->a[1], a->a[2], (unsigned)a->a[3],
			       UVA(a->a[4]), &at);

	return err ? err : (s64)at.va;
}

s64 sys_madvise(const struct syscall_args *a)
{
	return aspace_advise(current_as(), UVA(a->a[0]), a->a[1], (int)a->a[2]);
}

s64 sys_msync(const struct syscall_args *a)
{
	return aspace_sync(current_as(), UVA(a->a[0]), a->a[1], (unsigned)a->a[2]);
}

// The answers go out a page at a time.
s64 sys_mincore(const struct syscall_args *a)
{
	u64 addr = a->a[0], pages, done = 0;
	u8 *vec;
	int err = 0;

	if (!IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	if (a->a[1] > USER_END || addr > USER_END - a->a[1])
		return -ENOMEM;
	pages = DIV_ROUND_UP(a->a[1], PAGE_SIZE);
	vec = kmalloc(PAGE_SIZE);
	if (!vec)
		return -EAGAIN;
	while (done < pages && !err) {
		u64 n = min(pages - done, PAGE_SIZE);

		err = aspace_incore(current_as(), UVA(addr + done * PAGE_SIZE), n * PAGE_SIZE, vec);
		if (!err)
			err = copy_to_user(UVA(a->a[2] + done), vec, n);
		done += n;
	}
	kfree(vec);
	return err;
}

// ---- mlock and its family -----------------------------------------------------------------------

#define MLOCK_ONFAULT 1u
#define MCL_CURRENT   1u
#define MCL_FUTURE    2u
#define MCL_ONFAULT   4u

static s64 lock_range(u64 addr, u64 len, bool lock, bool touch)
{
	u64 start = ALIGN_DOWN(addr, PAGE_SIZE);
	int err;

	if (len > USER_END || addr > USER_END - len)
		return len > ~0ull - addr ? -EINVAL : -ENOMEM;
	if (!len)
		return 0;
	err = aspace_lock_range(current_as(), UVA(start), addr + len - start, lock);
	if (err || !touch)
		return err;
	err = aspace_fault_in(current_as(), UVA(start), addr + len - start, false);
	if (err == -EINTR)
		return -ERESTARTSYS;
	return err ? -ENOMEM : 0;
}

s64 sys_mlock(const struct syscall_args *a)
{
	return lock_range(a->a[0], a->a[1], true, true);
}

s64 sys_mlock2(const struct syscall_args *a)
{
	if (a->a[2] & ~(u64)MLOCK_ONFAULT)
		return -EINVAL;
	return lock_range(a->a[0], a->a[1], true, !(a->a[2] & MLOCK_ONFAULT));
}

s64 sys_munlock(const struct syscall_args *a)
{
	return lock_range(a->a[0], a->a[1], false, false);
}

s64 sys_mlockall(const struct syscall_args *a)
{
	u64 flags = a->a[0];

	if (!flags || flags == MCL_ONFAULT ||
	    (flags & ~(u64)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)))
		return -EINVAL;
	aspace_lock_all(current_as(), flags & MCL_CURRENT, true, flags & MCL_FUTURE);
	return 0;
}

s64 sys_munlockall(const struct syscall_args *a)
{
	(void)a;
	aspace_lock_all(current_as(), true, false, false);
	return 0;
}
