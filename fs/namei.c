// SPDX-License-Identifier: MIT
//
// What: the path walk.
// Not here: calls that change names (fs/namei_ops.c), opening (fs/open.c).
//
// The walk runs in two gears. In the fast one all components that are cached are walked under one
// hold of dcache_lock, without a reference on the way: permission needs only fields of inodes,
// which live as long as their dentries. What is not cached, and symbolic links, need the file
// system: the walk takes references, drops the lock, does one step, and goes on.
//
//      step_cached    0: there      WALK_MISS: look up `name`      WALK_LINK: follow `child`
//
// Invariants:
//   I1  Between steps w->at (and w->child) hold references; inside step_cached they need none.
//   I2  A walk never leaves the context's root by "..", and crosses mount points both ways.
//   I3  At most 40 links: a walk ends.
// Locking: dcache_lock; the directory's lock around one lookup.
#include "fs/namei.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"

#define LINKS_MAX  40
#define LINK_USUAL 200 // bytes of most targets

enum { WALK_MISS = 1, WALK_LINK = 2 };

// Flags beside LOOKUP_*.
#define WALK_PARENT 0x100u // stop before the last component

struct walk_link {
	struct walk_link *up;
	const char *rest; // what follows the link in the string above; never empty
	char target[];
};

static struct dentry *walk_root(const struct walk *w)
{
	return w->ctx->place->root;
}

// What is mounted on `d`, however often.
static struct dentry *cross_down(struct dentry *d)
{
	while (d->mounted)
		d = d->mounted->root_dentry;
	return d;
}

static struct dentry *step_up(const struct walk *w, struct dentry *d)
{
	struct dentry *root = walk_root(w);

	while (d != root && d->parent == d && d->super->covered)
		d = d->super->covered;
	if (d == root)
		return d;
	return cross_down(d->parent);
}

// The end of the component at `s`, which is not empty; its hash and its head.
static const char *component_end(const char *s, u32 *hash, u64 *head)
{
	const char *begin = s;
	u64 h = 0, w, ends;
	unsigned bytes;

	for (;; s += 8) {
		w = name_word(s, 8);
		ends = name_zero_byte(w) | name_zero_byte(w ^ '/' * 0x0101010101010101ull);
		if (ends)
			break;
		if (s == begin)
			*head = w;
		h = name_hash_step(h, w);
	}
	bytes = (unsigned)__builtin_ctzll(ends) / 8;
	w = name_word_head(w, bytes);
	if (s == begin)
		*head = w;
	*hash = (u32)(bytes ? name_hash_step(h, w) : h);
	return s + bytes;
}

// Parses the next component: name, name_len, hash, rest behind it (and behind its slashes). False
// at the end of the path.
static bool next_component(struct walk *w)
{
	const char *s = w->rest;

	while (*s == '/')
		s++;
	if (!*s)
		return false;
	w->name = s;
	s = component_end(s, &w->hash, &w->head);
	w->name_len = (u32)(s - w->name);
	w->slash = *s == '/';
	while (*s == '/')
		s++;
	w->rest = s;
	w->last = LAST_NAME;
	if (unlikely(w->name[0] == '.' && w->name_len <= 2)) {
		if (w->name_len == 1)
			w->last = LAST_DOT;
		else if (w->name[1] == '.')
			w->last = LAST_DOTDOT;
	}
	return true;
}

// The innermost link above whose string has more to walk.
static struct walk_link *waiting_link(const struct walk *w)
{
	struct walk_link *l = w->link;

	while (l && !l->rest)
		l = l->up;
	return l;
}

// The string of a link is used up: back to the one above it.
static void pop_link(struct walk *w)
{
	struct walk_link *l = *w->rest ? NULL : waiting_link(w);

	if (!l)
		return;
	w->rest = l->rest;
	l->rest = NULL; // its target stays: `name` may point into it
}

static bool at_last(const struct walk *w)
{
	return !*w->rest && !waiting_link(w);
}

// May one search the directory? Uses no more than the inode's fields.
static int may_search(const struct walk *w, const struct dentry *d)
{
	if (!S_ISDIR(d->inode->mode))
		return -ENOTDIR;
	if (w->kernel || !w->ctx->cred.fsuid) // root may search every directory
		return 0;
	return cred_permission(&w->ctx->cred, d->inode, MAY_EXEC);
}

// The present component is the cached `d`: 0: *cur stands on it; WALK_LINK, or -errno.
static int enter(struct walk *w, struct dentry *d, bool last, struct dentry **cur)
{
	if (!d->inode)
		return -ENOENT;
	d = cross_down(d);
	if (S_ISLNK(d->inode->mode) && (!last || w->slash || (w->flags & LOOKUP_FOLLOW))) {
		w->child = d;
		return WALK_LINK;
	}
	if (last && (w->slash || (w->flags & LOOKUP_DIRECTORY)) && !S_ISDIR(d->inode->mode))
		return -ENOTDIR;
	*cur = d;
	return 0;
}

// Walks on from *cur as far as cached names lead. `found` is the present component's dentry from a
// slow lookup, or NULL.
static int step_locked(struct walk *w, struct dentry *found, struct dentry **cur)
	REQUIRES(dcache_lock)
{
	for (;;) {
		bool last;
		int err;

		if (!found) {
			pop_link(w);
			if (!next_component(w))
				return 0;
			err = may_search(w, *cur);
			if (err)
				return err;
			if (w->name_len > NAME_MAX)
				return -ENAMETOOLONG;
		}
		last = at_last(w);
		if (last && (w->flags & WALK_PARENT))
			return 0;
		if (w->last == LAST_DOT)
			continue;
		if (w->last == LAST_DOTDOT) {
			*cur = step_up(w, *cur);
			continue;
		}
		if (!found)
			found = dcache_find(*cur, w->name, w->name_len, w->hash, w->head);
		if (!found)
			return WALK_MISS;
		err = enter(w, found, last, cur);
		if (err)
			return err;
		found = NULL;
	}
}

// Where a walk begins: no reference is needed, dcache_lock is held.
static struct dentry *start_of(const struct walk *w)
{
	return *w->rest == '/' ? walk_root(w) : w->ctx->place->cwd;
}

static int step_cached(struct walk *w)
{
	struct dentry *old = w->at, *found = w->child, *cur;
	int r;

	spin_lock(&dcache_lock);
	cur = old ? old : start_of(w);
	w->child = NULL;
	r = step_locked(w, found, &cur);
	if (cur != old)
		dentry_get(cur);
	if (w->child)
		dentry_get(w->child);
	spin_unlock(&dcache_lock);
	w->at = cur;
	if (old && cur != old)
		dentry_put(old);
	if (found)
		dentry_put(found);
	return r;
}

static int lookup_slow(struct walk *w)
{
	struct inode *dir = w->at->inode;
	int err;

	mutex_lock(&dir->lock);
	err = dcache_lookup(w->at, w->name, w->name_len, w->hash, &w->child);
	mutex_unlock(&dir->lock);
	return err;
}

// The target of `d` in a new link with room for `bytes` of it. -E2BIG: it does not fit.
static int read_link(struct dentry *d, size_t bytes, struct walk_link **out)
{
	struct walk_link *l = kmalloc(sizeof(*l) + bytes);
	ssize n;

	if (!l)
		return -ENOMEM;
	n = vfs_readlink(d, l->target, bytes);
	if (n > 0 && (size_t)n < bytes) {
		l->target[n] = 0;
		*out = l;
		return 0;
	}
	kfree(l);
	return n > 0 ? -E2BIG : n ? (int)n : -ENOENT;
}

// Puts the target of `d` on top of the walk.
static int push_link(struct walk *w, struct dentry *d)
{
	struct walk_link *l;
	int err = read_link(d, LINK_USUAL, &l);

	if (err == -E2BIG)
		err = read_link(d, PATH_MAX, &l);
	if (err)
		return err == -E2BIG ? -ENAMETOOLONG : err;
	// A slash behind a link in the last place holds for what the link leads to.
	if (w->slash && at_last(w))
		w->flags |= LOOKUP_DIRECTORY;
	l->rest = *w->rest ? w->rest : NULL;
	l->up = w->link;
	w->link = l;
	w->rest = l->target;
	return 0;
}

static void move_to(struct walk *w, struct dentry *d)
{
	dentry_put(w->at);
	w->at = d;
}

int walk_follow(struct walk *w, struct dentry *d)
{
	struct dentry *to;
	int err;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	if (d->inode->ops->follow) {
		err = d->inode->ops->follow(d->inode, &to);
		if (err)
			return err;
		move_to(w, to);
		w->last = LAST_ROOT;
		if (!at_last(w) || (!w->slash && !(w->flags & LOOKUP_DIRECTORY)))
			return 0;
		return S_ISDIR(to->inode->mode) ? 0 : -ENOTDIR;
	}
	err = push_link(w, d);
	if (err || *w->rest != '/')
		return err;
	spin_lock(&dcache_lock);
	to = dentry_get(cross_down(walk_root(w)));
	spin_unlock(&dcache_lock);
	move_to(w, to);
	w->last = LAST_ROOT;
	w->slash = false;
	return 0;
}

static int walk_run(struct walk *w)
{
	for (;;) {
		struct dentry *d;
		int r = step_cached(w);

		if (r <= 0)
			return r;
		if (r == WALK_MISS) {
			r = lookup_slow(w);
		} else {
			d = w->child;
			w->child = NULL;
			r = walk_follow(w, d);
			dentry_put(d);
		}
		if (r)
			return r;
	}
}

int walk_start(struct walk *w, int dirfd, const char *path, unsigned flags)
{
	struct file *f;

	// Of the other fields, which tell of a component, `slash` counts before there was one.
	w->at = w->child = NULL;
	w->rest = path;
	w->last = LAST_ROOT;
	w->slash = w->kernel = false;
	w->flags = flags;
	w->links = 0;
	w->dirfd = dirfd;
	w->ctx = current_context();
	w->link = NULL;
	if (!*path)
		return -ENOENT;
	if (*path == '/' || dirfd == AT_FDCWD)
		return 0; // begins at the root or the working directory, without a reference
	f = fd_get(dirfd);
	if (!f)
		return -EBADF;
	if (f->dentry && S_ISDIR(f->inode->mode))
		w->at = dentry_get(f->dentry);
	file_put(f);
	return w->at ? 0 : -ENOTDIR;
}

int walk_parent(struct walk *w)
{
	w->flags |= WALK_PARENT;
	return walk_run(w);
}

int walk_all(struct walk *w)
{
	w->flags &= ~WALK_PARENT;
	return walk_run(w);
}

void walk_finish(struct walk *w)
{
	struct walk_link *l;

	if (w->at)
		dentry_put(w->at);
	if (w->child)
		dentry_put(w->child);
	while ((l = w->link)) {
		w->link = l->up;
		kfree(l);
	}
}

static int walk_to(struct walk *w, struct dentry **out)
{
	int err = walk_all(w);

	if (!err)
		*out = walk_take(w);
	walk_finish(w);
	return err;
}

int path_at(int dirfd, const char *path, unsigned flags, struct dentry **out)
{
	struct walk w;
	int err = walk_start(&w, dirfd, path, flags);

	return err ? err : walk_to(&w, out);
}

int path_kernel(const char *path, struct dentry **out)
{
	struct walk w;
	int err = walk_start(&w, AT_FDCWD, path, LOOKUP_FOLLOW);

	if (err)
		return err;
	w.kernel = true;
	w.ctx = boot_context();
	return walk_to(&w, out);
}

ssize vfs_readlink(struct dentry *d, char *buf, size_t bytes)
{
	struct inode *i = d->inode;

	if (!S_ISLNK(i->mode) || !i->ops->readlink)
		return -EINVAL;
	return i->ops->readlink(i, buf, bytes);
}
