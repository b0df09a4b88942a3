// SPDX-License-Identifier: MIT
//
// What: inodes in memory: reference counts, the cache by (file system, number), permission.
// Not here: names (fs/dcache.c), attributes that users change (fs/attr.c).
//
//      find / insert          refs >= 1, hashed
//      last inode_put         INODE_EVICTING: still hashed, found by nobody, finders wait
//      evict has returned     unhashed; finders look again (and read the medium afresh)
//      destroy                memory is gone
//
// Invariants:
//   I1  refs of a hashed inode goes from 1 to 0 only under inode_lock, together with EVICTING.
//   I2  An inode with EVICTING set gets no new reference.
//   I3  At most one inode of (super, ino) is hashed: the two states of one file never meet.
// Locking: inode_lock guards the hash, flags and super->nr_hashed. It is a leaf.
#include "fs/vfs_internal.h"

#include "kernel/panic.h"
#include "kernel/sched/wait.h"

#define INODE_BUCKETS 4096u

static struct spinlock inode_lock = SPINLOCK_INIT(RANK_FS_SPIN);
static struct list inode_hash[INODE_BUCKETS]; // [inode_lock] all zero: never used
static struct wait_queue evictions = {
	.lock = SPINLOCK_INIT(RANK_WAITQ),
	.waiters = LIST_INIT(evictions.waiters),
};

static struct list *bucket(const struct super *s, u64 ino)
{
	u64 h = (ino + s->dev * 0x9e3779b97f4a7c15ull) * 0x9e3779b97f4a7c15ull;
	struct list *head = &inode_hash[h >> 52];

	if (!head->next)
		list_init(head);
	return head;
}

void inode_init(struct inode *i, struct super *s, const struct inode_ops *ops,
		const struct file_ops *fops, u64 ino, u32 mode)
{
	*i = (struct inode){
		.super = s,
		.ops = ops,
		.fops = fops,
		.ino = ino,
		.mode = mode,
		.nlink = 1,
		.refs = 1,
	};
	mutex_init(&i->lock, S_ISDIR(mode) ? RANK_DIR : RANK_INODE);
	list_init(&i->hash_node);
}

static struct inode *find_locked(struct super *s, u64 ino)
{
	struct list *head = bucket(s, ino);
	struct inode *i;

	list_for_each(i, head, hash_node)
		if (i->ino == ino && i->super == s)
			return i;
	return NULL;
}

static bool being_evicted(struct super *s, u64 ino)
{
	struct inode *i;
	bool evicting;

	spin_lock(&inode_lock);
	i = find_locked(s, ino);
	evicting = i && (i->flags & INODE_EVICTING);
	spin_unlock(&inode_lock);
	return evicting;
}

// The inode in the hash with a reference, after its eviction (if it is in one) has ended. `fresh`
// goes in if there is none.
static struct inode *find_or_insert(struct super *s, u64 ino, struct inode *fresh)
{
	struct inode *i;

	for (;;) {
		spin_lock(&inode_lock);
		i = find_locked(s, ino);
		if (!i && fresh) {
			list_add(bucket(s, ino), &fresh->hash_node);
			fresh->flags |= INODE_HASHED;
			s->nr_hashed++;
			i = fresh;
		} else if (i && !(i->flags & INODE_EVICTING)) {
			ref_get(&i->refs);
		} else if (i) {
			spin_unlock(&inode_lock);
			wait_event(&evictions, !being_evicted(s, ino));
			continue;
		}
		spin_unlock(&inode_lock);
		return i;
	}
}

struct inode *inode_find(struct super *s, u64 ino)
{
	return find_or_insert(s, ino, NULL);
}

struct inode *inode_insert(struct inode *i)
{
	return find_or_insert(i->super, i->ino, i);
}

struct inode *inode_get(struct inode *i)
{
	ref_get(&i->refs);
	return i;
}

bool inode_put_shared(struct inode *i)
{
	return ref_put_not_last(&i->refs);
}

void inode_put(struct inode *i)
{
	bool hashed;

	if (ref_put_not_last(&i->refs))
		return;
	spin_lock(&inode_lock);
	if (!ref_put_is_last(&i->refs)) {
		spin_unlock(&inode_lock);
		return;
	}
	ASSERT(!(i->flags & INODE_EVICTING));
	i->flags |= INODE_EVICTING;
	hashed = i->flags & INODE_HASHED;
	spin_unlock(&inode_lock);

	if (i->ops->evict)
		i->ops->evict(i);
	if (hashed) {
		spin_lock(&inode_lock);
		list_del(&i->hash_node);
		i->super->nr_hashed--;
		spin_unlock(&inode_lock);
		wait_wake_all(&evictions);
	}
	i->ops->destroy(i);
}

bool cred_in_group(const struct credentials *c, u32 gid)
{
	if (c->fsgid == gid)
		return true;
	for (unsigned k = 0; k < c->nr_groups; k++)
		if (c->groups[k] == gid)
			return true;
	return false;
}

// Linux's generic_permission: the first class that fits decides; root may all but execute what
// nobody may execute.
int cred_permission(const struct credentials *c, const struct inode *i, unsigned mask)
{
	u32 mode = READ_ONCE(i->mode);
	u32 bits;

	if ((mask & MAY_WRITE) && i->super->read_only &&
	    (S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode)))
		return -EROFS;
	if ((mask & MAY_EXEC) && S_ISREG(mode) && i->super->no_exec)
		return -EACCES;
	if (c->fsuid == 0)
		return (mask & MAY_EXEC) && !S_ISDIR(mode) && !(mode & 0111) ? -EACCES : 0;
	if (c->fsuid == i->uid)
		bits = mode >> 6;
	else if (cred_in_group(c, i->gid))
		bits = mode >> 3;
	else
		bits = mode;
	return (bits & mask & 7) == (mask & 7) ? 0 : -EACCES;
}

int inode_permission(const struct inode *i, unsigned mask)
{
	return cred_permission(&fs_current()->cred, i, mask);
}

void new_inode_owner(const struct inode *dir, u32 *mode, u32 *uid, u32 *gid)
{
	const struct credentials *c = &fs_current()->cred;

	*uid = c->fsuid;
	*gid = c->fsgid;
	if (!(dir->mode & S_ISGID))
		return;
	*gid = dir->gid;
	if (S_ISDIR(*mode))
		*mode |= S_ISGID;
	else if ((*mode & S_IXGRP) && c->fsuid && !cred_in_group(c, dir->gid))
		*mode &= ~S_ISGID; // not the right to run as a group that is not one's own
}

int inode_begin_write(struct inode *i)
{
	s32 old = __atomic_load_n(&i->writers, __ATOMIC_RELAXED);

	do {
		if (old < 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n(&i->writers, &old, old + 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return 0;
}

void inode_end_write(struct inode *i)
{
	__atomic_fetch_sub(&i->writers, 1, __ATOMIC_RELEASE);
}

int inode_deny_write(struct inode *i)
{
	s32 old = __atomic_load_n(&i->writers, __ATOMIC_RELAXED);

	do {
		if (old > 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n(&i->writers, &old, old - 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return 0;
}

void inode_allow_write(struct inode *i)
{
	__atomic_fetch_add(&i->writers, 1, __ATOMIC_RELEASE);
}
