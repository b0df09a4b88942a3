// SPDX-License-Identifier: MIT
//
// What: operations on names. Each is one transaction over {record's ino, inode's mode and links,
// parent's links}: decode and refuse; take memory, inode and space; commit, which cannot fail.
// Not here: records (dir.c), the transaction itself (journal.c).
//
// Locking: the caller holds the directory locks. tx_lock guards mode, links, owner and parent.
// Persistence: done once the transaction is committed. The times are stored just before it, where
// nothing can fail any more, and its first fence makes them durable: whoever sees the change sees
// that there was one. A crash in between leaves new times on names that stayed.
// Failure: until the commit nothing is visible, and what was taken is given back.
#include "fs/ptfs/ptfs_internal.h"

#define LINKS_MAX 0xffffffu

static int name_check(const struct ptfs_inode *dir, const char *name, size_t len)
{
	if (!ptfs_is(dir, PTFS_S_IFDIR))
		return -ENOTDIR;
	if (len > PTFS_NAME_MAX)
		return -ENAMETOOLONG;
	for (size_t i = 0; i < len; i++)
		if (!name[i] || name[i] == '/')
			return -EINVAL;
	return len ? 0 : -EINVAL;
}

static bool name_is_dots(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

static u64 ino_word(const struct ptfs_dir_slot *s)
{
	return s->off + offsetof(struct ptfs_dirent, ino);
}

static void links_set(struct ptfs_tx *tx, struct ptfs_inode *ip, s32 delta)
{
	ip->nlink += (u32)delta;
	ip->orphan = !ip->nlink;
	ip->linkable = false;
	ptfs_tx_set(tx, PTFS_FIELD(ip, mode_links), ptfs_pack(ip->mode, ip->nlink));
}

// Right before the transaction, which fences.
static void touch(struct ptfs_inode *ip, bool modified)
{
	ptfs_mutex_lock(&ip->lock);
	ptfs_times_set(ip, modified);
	ptfs_mutex_unlock(&ip->lock);
}

// The same for a file that loses `links` names. One that loses its last ends with the next crash,
// so its time changes only for those who have it open.
static void touch_losing(struct ptfs_inode *ip, u32 links)
{
	if (ip->nlink > links) {
		touch(ip, false);
		return;
	}
	ptfs_mutex_lock(&ip->lock);
	ip->ctime_ns = ptfs_time_ns();
	ptfs_mutex_unlock(&ip->lock);
}

static int name_refuse(const struct ptfs_inode *dir, const char *what, u64 ino)
{
	ptfs_log(PTFS_LOG_ERROR, "ptfs %s: directory %llu names %s %llu", dir->fs->name,
		 (unsigned long long)dir->ino, what, (unsigned long long)ino);
	return -EUCLEAN;
}

// A name that leads to a free inode is damage, not absence. So is a second name of a directory: who
// follows names only downwards never comes back to where it was, and locks rely on that. (A
// directory's lock keeps what its names lead to from getting another parent.)
static int named_get(struct ptfs_inode *dir, u64 ino, struct ptfs_inode **out)
{
	struct ptfs_inode *ip;
	int err = ptfs_iget(dir->fs, ino, &ip);

	if (err)
		return err == -ENOENT ? name_refuse(dir, "the free inode", ino) : err;
	if (unlikely(ip->orphan))
		err = name_refuse(dir, "inode without links", ino);
	else if (ptfs_is(ip, PTFS_S_IFDIR) && unlikely(ip == dir || ip->parent != dir->ino))
		err = name_refuse(dir, "directory of another place", ino);
	if (err)
		ptfs_iput(ip);
	else
		*out = ip;
	return err;
}

int ptfs_lookup(struct ptfs_inode *dir, const char *name, size_t len, struct ptfs_inode **out)
{
	struct ptfs_dir_slot slot;
	u64 ino;
	int err = name_check(dir, name, len);

	if (err)
		return err == -EINVAL ? -ENOENT : err;
	if (name_is_dots(name, len))
		return ptfs_iget(dir->fs, len == 1 ? dir->ino : dir->parent, out);
	err = ptfs_dir_find(dir, name, len, &slot, &ino);
	return err ? err : named_get(dir, ino, out);
}

// Room for a new name in `dir`. -EEXIST: it is there.
static int name_prepare(struct ptfs_inode *dir, const char *name, size_t len, u32 mode,
			struct ptfs_dir_slot *slot)
{
	u64 ino;
	int err = name_check(dir, name, len);

	if (err)
		return err;
	if (name_is_dots(name, len))
		return -EEXIST;
	if (dir->orphan)
		return -ENOENT;
	err = ptfs_dir_find(dir, name, len, slot, &ino);
	if (!err)
		return -EEXIST;
	if (err != -ENOENT)
		return err;
	return ptfs_dir_prepare(dir, name, len, (mode & PTFS_S_IFMT) >> 12, slot);
}

static int create_check(const struct ptfs_inode *dir, const struct ptfs_create_args *a)
{
	switch (a->mode & PTFS_S_IFMT) {
	case PTFS_S_IFDIR: return dir->nlink < LINKS_MAX ? 0 : -EMLINK;
	case PTFS_S_IFLNK:
		if (!a->target || !a->target[0])
			return -ENOENT;
		return strlen(a->target) < PTFS_BLOCK ? 0 : -ENAMETOOLONG;
	case PTFS_S_IFREG:
	case PTFS_S_IFCHR:
	case PTFS_S_IFBLK:
	case PTFS_S_IFIFO:
	case PTFS_S_IFSOCK: return 0;
	default: return -EINVAL;
	}
}

int ptfs_create(struct ptfs_inode *dir, const char *name, size_t len,
		const struct ptfs_create_args *a, struct ptfs_inode **out)
{
	struct ptfs_dir_slot slot;
	struct ptfs_inode *ip;
	struct ptfs_tx tx;
	int err = create_check(dir, a);

	if (!err)
		err = ptfs_dirty(dir->fs);
	if (!err)
		err = name_prepare(dir, name, len, a->mode, &slot);
	if (err)
		return err;
	err = ptfs_inode_new(dir->fs, a, dir->ino, &ip);
	if (err)
		return err;
	touch(dir, true);
	ptfs_tx_begin(&tx, dir->fs);
	ptfs_tx_set(&tx, ino_word(&slot), ip->ino);
	links_set(&tx, ip, 0);
	if (ptfs_is(ip, PTFS_S_IFDIR))
		links_set(&tx, dir, 1);
	ptfs_tx_commit(&tx);
	ptfs_dir_added(dir, &slot);
	*out = ip;
	return 0;
}

int ptfs_tmpfile(struct ptfs_inode *dir, const struct ptfs_create_args *a, bool linkable,
		 struct ptfs_inode **out)
{
	struct ptfs_inode *ip;
	struct ptfs_tx tx;
	int err;

	if ((a->mode & PTFS_S_IFMT) != PTFS_S_IFREG)
		return -EINVAL;
	if (!ptfs_is(dir, PTFS_S_IFDIR))
		return -ENOTDIR;
	if (dir->orphan)
		return -ENOENT;
	err = ptfs_dirty(dir->fs);
	if (!err)
		err = ptfs_inode_new(dir->fs, a, dir->ino, &ip);
	if (err)
		return err;
	ptfs_tx_begin(&tx, dir->fs);
	links_set(&tx, ip, -1);
	ip->linkable = linkable;
	ptfs_tx_commit(&tx);
	*out = ip;
	return 0;
}

int ptfs_link(struct ptfs_inode *dir, const char *name, size_t len, struct ptfs_inode *target)
{
	struct ptfs_dir_slot slot;
	struct ptfs_tx tx;
	int err = 0;

	if (ptfs_is(target, PTFS_S_IFDIR))
		return -EPERM;
	if (target->nlink >= LINKS_MAX)
		return -EMLINK;
	if (target->orphan && !target->linkable)
		return -ENOENT;
	err = ptfs_dirty(dir->fs);
	if (!err)
		err = name_prepare(dir, name, len, target->mode, &slot);
	if (err)
		return err;
	touch(target, false);
	touch(dir, true);
	ptfs_tx_begin(&tx, dir->fs);
	ptfs_tx_set(&tx, ino_word(&slot), target->ino);
	links_set(&tx, target, 1);
	ptfs_tx_commit(&tx);
	ptfs_dir_added(dir, &slot);
	return 0;
}

// The name, and a reference to what it names.
static int name_find(struct ptfs_inode *dir, const char *name, size_t len,
		     struct ptfs_dir_slot *slot, struct ptfs_inode **out)
{
	u64 ino;
	int err = name_check(dir, name, len);

	if (!err && name_is_dots(name, len))
		err = -EINVAL;
	if (!err)
		err = ptfs_dir_find(dir, name, len, slot, &ino);
	return err ? err : named_get(dir, ino, out);
}

int ptfs_unlink(struct ptfs_inode *dir, const char *name, size_t len)
{
	struct ptfs_dir_slot slot;
	struct ptfs_inode *ip;
	struct ptfs_tx tx;
	int err = ptfs_dirty(dir->fs);

	if (!err)
		err = name_find(dir, name, len, &slot, &ip);
	if (err)
		return err;
	if (ptfs_is(ip, PTFS_S_IFDIR)) {
		ptfs_iput(ip);
		return -EISDIR;
	}
	touch_losing(ip, 1);
	touch(dir, true);
	ptfs_tx_begin(&tx, dir->fs);
	ptfs_tx_set(&tx, ino_word(&slot), 0);
	links_set(&tx, ip, -1);
	ptfs_tx_commit(&tx);
	ptfs_dir_removed(dir, &slot);
	ptfs_iput(ip);
	return 0;
}

static int rmdir_check(struct ptfs_inode *dir, struct ptfs_inode *ip)
{
	int err;

	if (!ptfs_is(ip, PTFS_S_IFDIR))
		return -ENOTDIR;
	if (ip == dir || ip->ino == PTFS_INO_ROOT)
		return -EBUSY;
	err = ptfs_dir_open(ip);
	if (err)
		return err;
	return ptfs_dir_is_empty(ip) ? 0 : -ENOTEMPTY;
}

int ptfs_rmdir(struct ptfs_inode *dir, const char *name, size_t len)
{
	struct ptfs_dir_slot slot;
	struct ptfs_inode *ip;
	struct ptfs_tx tx;
	int err = ptfs_dirty(dir->fs);

	if (!err)
		err = name_find(dir, name, len, &slot, &ip);
	if (err)
		return err;
	err = rmdir_check(dir, ip);
	if (!err) {
		touch_losing(ip, ip->nlink);
		touch(dir, true);
		ptfs_tx_begin(&tx, dir->fs);
		ptfs_tx_set(&tx, ino_word(&slot), 0);
		links_set(&tx, ip, (s32)-ip->nlink); // as it is on the medium: any number
		links_set(&tx, dir, -1);
		ptfs_tx_commit(&tx);
		ptfs_dir_removed(dir, &slot);
	}
	ptfs_iput(ip);
	return err;
}

// ---- Rename ----

struct rename {
	struct ptfs_inode *from, *to;          // directories
	struct ptfs_inode *ip, *victim;        // what moves; what it replaces, or NULL
	struct ptfs_dir_slot old, fresh, gone; // its old name, its new one, the victim's
};

// Is `dir` the directory `ip` or below it? Walks up by the parents' numbers.
static int is_below(struct ptfs_inode *dir, const struct ptfs_inode *ip)
{
	struct ptfs_fs *fs = dir->fs;
	u64 ino = dir->ino;

	for (unsigned depth = 0; depth < 65536; depth++) {
		struct ptfs_inode *up;
		int err;

		if (ino == ip->ino)
			return -EINVAL;
		if (ino == PTFS_INO_ROOT)
			return 0;
		err = ptfs_iget(fs, ino, &up);
		if (err)
			return err == -ENOENT ? -EUCLEAN : err;
		ino = up->parent;
		ptfs_iput(up);
	}
	return -EUCLEAN; // parents in a circle
}

static int victim_check(const struct rename *r, unsigned flags)
{
	bool dir = ptfs_is(r->ip, PTFS_S_IFDIR);

	if (flags & PTFS_RENAME_NOREPLACE)
		return -EEXIST;
	if (dir)
		return rmdir_check(r->to, r->victim);
	return ptfs_is(r->victim, PTFS_S_IFDIR) ? -EISDIR : 0;
}

static void rename_touch(struct rename *r)
{
	touch(r->from, true);
	if (r->to != r->from)
		touch(r->to, true);
	touch(r->ip, false);
}

// One transaction: the new name appears, the old one and the victim's go, links and parent follow.
// The new name is a record of its own, so a record never changes its type.
static void rename_commit(struct rename *r)
{
	bool dir = ptfs_is(r->ip, PTFS_S_IFDIR);
	s32 to_links = (dir ? 1 : 0) - (dir && r->victim ? 1 : 0);
	struct ptfs_tx tx;

	rename_touch(r);
	if (r->victim)
		touch_losing(r->victim, dir ? r->victim->nlink : 1);
	ptfs_tx_begin(&tx, r->from->fs);
	ptfs_tx_set(&tx, ino_word(&r->fresh), r->ip->ino);
	ptfs_tx_set(&tx, ino_word(&r->old), 0);
	if (r->victim) {
		ptfs_tx_set(&tx, ino_word(&r->gone), 0);
		links_set(&tx, r->victim, dir ? (s32)-r->victim->nlink : -1);
	}
	if (r->from == r->to) {
		to_links -= dir;
	} else if (dir) {
		links_set(&tx, r->from, -1);
		r->ip->parent = r->to->ino;
		ptfs_tx_set(&tx, PTFS_FIELD(r->ip, parent), r->to->ino);
	}
	if (to_links)
		links_set(&tx, r->to, to_links);
	ptfs_tx_commit(&tx);
	ptfs_dir_removed(r->from, &r->old);
	if (r->victim)
		ptfs_dir_removed(r->to, &r->gone);
	ptfs_dir_added(r->to, &r->fresh);
}

// The record names another inode; where that is of another kind, the record's head says so, too.
static void record_set(struct ptfs_tx *tx, const struct ptfs_dir_slot *s,
		       const struct ptfs_inode *ip)
{
	u64 off = s->off + offsetof(struct ptfs_dirent, head);
	u64 head = ptfs_word(ip->fs, off);
	u64 type = (u64)((ip->mode & PTFS_S_IFMT) >> 12);

	ptfs_tx_set(tx, ino_word(s), ip->ino);
	if (PTFS_DE_TYPE(head) != type)
		ptfs_tx_set(tx, off, (head & ~PTFS_DE_TYPE_MASK) | type << PTFS_DE_TYPE_SHIFT);
}

// A directory that moves to another one takes the link of its ".." along.
static void parent_set(struct ptfs_tx *tx, struct ptfs_inode *ip, const struct ptfs_inode *to)
{
	if (!ptfs_is(ip, PTFS_S_IFDIR) || ip->parent == to->ino)
		return;
	ip->parent = to->ino;
	ptfs_tx_set(tx, PTFS_FIELD(ip, parent), to->ino);
}

static void exchange_commit(struct rename *r)
{
	s32 links = (s32)ptfs_is(r->ip, PTFS_S_IFDIR) - (s32)ptfs_is(r->victim, PTFS_S_IFDIR);
	struct ptfs_tx tx;

	rename_touch(r);
	touch(r->victim, false);
	ptfs_tx_begin(&tx, r->from->fs);
	record_set(&tx, &r->old, r->victim);
	record_set(&tx, &r->gone, r->ip);
	parent_set(&tx, r->ip, r->to);
	parent_set(&tx, r->victim, r->from);
	if (links && r->from != r->to) {
		links_set(&tx, r->from, -links);
		links_set(&tx, r->to, links);
	}
	ptfs_tx_commit(&tx);
}

static int exchange_check(const struct rename *r)
{
	s32 links = (s32)ptfs_is(r->ip, PTFS_S_IFDIR) - (s32)ptfs_is(r->victim, PTFS_S_IFDIR);
	const struct ptfs_inode *more = links > 0 ? r->to : r->from;
	int err = 0;

	if (r->from == r->to)
		return 0;
	if (ptfs_is(r->ip, PTFS_S_IFDIR))
		err = is_below(r->to, r->ip);
	if (!err && ptfs_is(r->victim, PTFS_S_IFDIR))
		err = is_below(r->from, r->victim);
	return err ? err : links && more->nlink >= LINKS_MAX ? -EMLINK : 0;
}

static int rename_found(struct rename *r, const char *new_name, size_t new_len, unsigned flags)
{
	bool dir = ptfs_is(r->ip, PTFS_S_IFDIR);
	int err = 0;

	if ((flags & PTFS_RENAME_EXCHANGE) && !r->victim)
		return -ENOENT;
	if (r->victim == r->ip)
		return 0; // two names of one file: POSIX says do nothing
	if (flags & PTFS_RENAME_EXCHANGE) {
		err = exchange_check(r);
		if (!err)
			exchange_commit(r);
		return err;
	}
	if (r->victim)
		err = victim_check(r, flags);
	if (!err && dir && r->from != r->to)
		err = is_below(r->to, r->ip);
	if (!err && dir && r->from != r->to && r->to->nlink >= LINKS_MAX)
		err = -EMLINK;
	r->fresh.hash = r->gone.hash; // of the new name, which was looked up
	if (!err)
		err = ptfs_dir_prepare(r->to, new_name, new_len, (r->ip->mode & PTFS_S_IFMT) >> 12,
				       &r->fresh);
	if (!err)
		rename_commit(r);
	return err;
}

int ptfs_rename(struct ptfs_inode *from, const char *name, size_t len, struct ptfs_inode *to,
		const char *new_name, size_t new_len, unsigned flags)
{
	struct rename r = { .from = from, .to = to };
	int err = name_check(to, new_name, new_len);

	if (!err && name_is_dots(new_name, new_len))
		err = -EEXIST;
	if (!err && to->orphan)
		err = -ENOENT;
	if (!err)
		err = ptfs_dirty(from->fs);
	if (!err)
		err = name_find(from, name, len, &r.old, &r.ip);
	if (err)
		return err;
	err = name_find(to, new_name, new_len, &r.gone, &r.victim);
	if (!err || err == -ENOENT)
		err = rename_found(&r, new_name, new_len, flags);
	if (r.victim)
		ptfs_iput(r.victim);
	ptfs_iput(r.ip);
	return err;
}

ssize ptfs_readlink(struct ptfs_inode *ip, char *buf, size_t bytes)
{
	size_t n = min(bytes, (size_t)ip->size);
	struct ptfs_extent x;
	u64 off = PTFS_FIELD(ip, direct);
	int err = 0;

	if (!ptfs_is(ip, PTFS_S_IFLNK))
		return -EINVAL;
	if (ip->leaf_type) {
		err = ptfs_map_extent(ip, 0, 1, &x);
		if (!err && x.hole)
			err = -EUCLEAN;
		off = x.off;
	}
	if (err)
		return err;
	if (n && !ptfs_loadable(ip->fs, off, n))
		return ptfs_damage(ip->fs, off);
	ptfs_copy_out(ip->fs, buf, off, n);
	return (ssize)n;
}
