// SPDX-License-Identifier: MIT
//
// What: advisory locks: fcntl's byte ranges (owned by a process, that is its descriptor table) and
// flock's whole files (owned by an open file).
//
// A file has one list of locks. The two families live in it side by side and do not see each other.
//
// Invariants:
//   I1  Ranges of one owner do not overlap: a new one cuts out of, or swallows, the old ones.
//   I2  Two ranges of different owners overlap only if both are for reading.
//   I3  An inode has a list from its first lock on until it is evicted (flock_release_file frees an
//       empty one with the last open file).
// Locking: locks_lock, one mutex for all files: advisory locks are rare and short. It is a leaf
// (RANK_FS_INNER).
// Failure: no memory: -ENOLCK, nothing changed. Deadlocks of F_SETLKW are not looked for: a signal
// ends the wait.
#include "fs/flock.h"

#include "fs/vfs_internal.h"
#include "kernel/sched/wait.h"
#include "mm/heap.h"

#define END_OF_FILE (~0ull)

struct lock {
	struct list node;
	const void *owner;
	u64 start, end; // first and last byte
	u32 pid;
	int kind;
	bool whole; // of flock(2)
};

struct file_locks {
	struct list locks;      // [locks_lock]
	struct wait_queue wait; // for a lock to go
	u32 waiters;            // [locks_lock]
	u32 changes;            // counts what went; waiters look again [locks_lock]
};

static struct mutex locks_lock;

void flock_init(void)
{
	mutex_init(&locks_lock, RANK_FS_INNER);
}

const void *fs_lock_owner(void)
{
	return fs_current()->fds;
}

static struct file_locks *get_list(struct inode *i, bool make)
{
	struct file_locks *l = i->locks;

	if (l || !make)
		return l;
	l = kzalloc(sizeof(*l));
	if (!l)
		return NULL;
	list_init(&l->locks);
	wait_queue_init(&l->wait);
	__atomic_store_n(&i->locks, l, __ATOMIC_RELEASE);
	return l;
}

static void changed(struct file_locks *l)
{
	l->changes++;
	if (l->waiters)
		wait_wake_all(&l->wait);
}

static bool overlaps(const struct lock *a, u64 start, u64 end)
{
	return a->start <= end && start <= a->end;
}

// What keeps `owner` from having this lock, or NULL.
static struct lock *in_the_way(struct file_locks *l, const struct lock *want)
{
	struct lock *k;

	if (!l)
		return NULL;
	list_for_each(k, &l->locks, node)
		if (k->whole == want->whole && k->owner != want->owner &&
		    overlaps(k, want->start, want->end) &&
		    (k->kind == LOCK_WRITE || want->kind == LOCK_WRITE))
			return k;
	return NULL;
}

// Takes [want->start, want->end] out of what the owner has. `spare` is used when a range is cut in
// two; returns what is left of it.
static struct lock *cut_out(struct file_locks *l, const struct lock *want, struct lock *spare)
{
	struct lock *k, *next;

	list_for_each_safe(k, next, &l->locks, node) {
		if (k->whole != want->whole || k->owner != want->owner ||
		    !overlaps(k, want->start, want->end))
			continue;
		if (k->start < want->start && k->end > want->end) {
			*spare = *k;
			spare->start = want->end + 1;
			list_add(&k->node, &spare->node);
			k->end = want->start - 1;
			return NULL;
		}
		if (k->start < want->start) {
			k->end = want->start - 1;
		} else if (k->end > want->end) {
			k->start = want->end + 1;
		} else {
			list_del(&k->node);
			kfree(k);
		}
	}
	return spare;
}

// Sets or clears the lock now. -EAGAIN: another owner is in the way.
static int set_locked(struct inode *i, const struct lock *want)
{
	struct file_locks *l = get_list(i, want->kind != LOCK_NONE);
	struct lock *fresh, *spare;

	if (!l)
		return want->kind == LOCK_NONE ? 0 : -ENOLCK;
	if (want->kind != LOCK_NONE && in_the_way(l, want))
		return -EAGAIN;
	fresh = kmalloc(sizeof(*fresh));
	spare = kmalloc(sizeof(*spare));
	if (!fresh || !spare) {
		kfree(fresh);
		kfree(spare);
		return -ENOLCK;
	}
	spare = cut_out(l, want, spare);
	kfree(spare);
	if (want->kind == LOCK_NONE) {
		kfree(fresh);
	} else {
		*fresh = *want;
		list_add_tail(&l->locks, &fresh->node);
	}
	changed(l);
	return 0;
}

static int set(struct file *f, const struct lock *want, bool wait)
{
	struct file_locks *l;
	u32 seen;
	int err;

	mutex_lock(&locks_lock);
	for (;;) {
		err = set_locked(f->inode, want);
		if (err != -EAGAIN || !wait)
			break;
		l = f->inode->locks;
		l->waiters++;
		seen = l->changes;
		mutex_unlock(&locks_lock);
		err = wait_event_interruptible(&l->wait, READ_ONCE(l->changes) != seen);
		mutex_lock(&locks_lock);
		l->waiters--;
		if (err) {
			err = -ERESTARTSYS;
			break;
		}
	}
	mutex_unlock(&locks_lock);
	return err;
}

int flock_set(struct file *f, const void *owner, const struct lock_range *want, bool wait)
{
	struct lock l = { .owner = owner,
			  .start = want->start,
			  .end = want->end,
			  .pid = want->pid,
			  .kind = want->kind };

	return set(f, &l, wait);
}

void flock_get(struct file *f, const void *owner, struct lock_range *range)
{
	struct lock want = {
		.owner = owner, .start = range->start, .end = range->end, .kind = range->kind
	};
	struct lock *k;

	mutex_lock(&locks_lock);
	k = in_the_way(f->inode->locks, &want);
	if (k)
		*range = (struct lock_range){ k->kind, k->start, k->end, k->pid };
	else
		range->kind = LOCK_NONE;
	mutex_unlock(&locks_lock);
}

int flock_file(struct file *f, int kind, bool wait)
{
	struct lock l = { .owner = f, .end = END_OF_FILE, .kind = kind, .whole = true };

	return set(f, &l, wait);
}

static void drop_owner(struct file_locks *l, const void *owner)
{
	struct lock *k, *next;

	list_for_each_safe(k, next, &l->locks, node) {
		if (k->owner != owner)
			continue;
		list_del(&k->node);
		kfree(k);
	}
	changed(l);
}

void flock_close(struct file *f, const void *owner)
{
	if (!__atomic_load_n(&f->inode->locks, __ATOMIC_ACQUIRE))
		return;
	mutex_lock(&locks_lock);
	if (f->inode->locks)
		drop_owner(f->inode->locks, owner);
	mutex_unlock(&locks_lock);
}

void flock_release_file(struct file *f)
{
	struct file_locks *l;

	mutex_lock(&locks_lock);
	l = f->inode->locks;
	if (l) {
		drop_owner(l, f);
		if (list_empty(&l->locks) &&
		    !l->waiters) { // waiters have the file open: they come again
			f->inode->locks = NULL;
			kfree(l);
		}
	}
	mutex_unlock(&locks_lock);
}
