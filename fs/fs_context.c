// SPDX-License-Identifier: MIT
//
// What: the file system context of a thread: root, working directory, umask, credentials.
// Not here: its descriptors (fs/fd_table.c).
//
// Invariants:
//   I1  root and cwd are set while a process runs, and change only under dcache_lock: a path walk
//       reads them under that lock and needs no reference.
//   I2  Place and table of a context are constant: who looks at that of another thread (/proc)
//       needs a reference to the context and no more. execve, which must not share descriptors,
//       moves to a new context.
#include "fs/fs_context.h"

#include "fs/vfs_internal.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"

static struct fs_place boot_place = { .users = 1, .umask = 022 };
struct fs_context fs_boot_context = {
	.refs = 1, .place = &boot_place, .nofile = FD_MAX, .max_file = ~0ull
};

void boot_context_set_root(struct dentry *root)
{
	boot_place.root = dentry_get(root);
	boot_place.cwd = dentry_get(root);
	fs_boot_context.fds = fd_table_create();
	if (!fs_boot_context.fds)
		panic("no memory for the first descriptor table");
}

struct fs_context *fs_current(void)
{
	return current_context();
}

struct credentials *fs_credentials(struct fs_context *c)
{
	return &c->cred;
}

static struct fs_place *place_copy(const struct fs_place *from)
{
	struct fs_place *p = kmalloc(sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct fs_place){ .users = 1, .umask = READ_ONCE(from->umask) };
	spin_lock(&dcache_lock);
	p->root = dentry_get(from->root);
	p->cwd = dentry_get(from->cwd);
	spin_unlock(&dcache_lock);
	return p;
}

static struct fs_place *place_get(struct fs_place *p)
{
	ref_get(&p->users);
	return p;
}

static void place_put(struct fs_place *p)
{
	if (!ref_put_is_last(&p->users))
		return;
	dentry_put(p->root);
	dentry_put(p->cwd);
	kfree(p);
}

// Takes over `place` and `fds`, which are NULL if there was no memory for them.
static struct fs_context *create(const struct fs_context *from, struct fs_place *place,
				 struct fd_table *fds)
{
	struct fs_context *c = place && fds ? kmalloc(sizeof(*c)) : NULL;

	if (!c) {
		if (fds)
			fd_table_put(fds);
		if (place)
			place_put(place);
		return NULL;
	}
	*c = (struct fs_context){
		.refs = 1,
		.nofile = READ_ONCE(from->nofile),
		.max_file = READ_ONCE(from->max_file),
		.place = place,
		.fds = fds,
		.cred = from->cred,
	};
	return c;
}

struct fs_context *fs_context_create(void)
{
	return create(&fs_boot_context, place_copy(&boot_place), fd_table_create());
}

struct fs_context *fs_context_clone(struct fs_context *from, bool share_place, bool share_files)
{
	return create(from, share_place ? place_get(from->place) : place_copy(from->place),
		      share_files ? fd_table_get(from->fds) : fd_table_copy(from->fds));
}

struct fs_context *fs_context_get(struct fs_context *c)
{
	ref_get(&c->refs);
	return c;
}

void fs_context_free(struct fs_context *c)
{
	if (!ref_put_is_last(&c->refs))
		return;
	fd_table_put(c->fds);
	place_put(c->place);
	kfree(c->spare);
	kfree(c);
}

bool fs_context_shares_files(const struct fs_context *c)
{
	return fd_table_is_shared(c->fds);
}

void fs_context_exec(struct fs_context *c)
{
	c->cred.suid = c->cred.fsuid = c->cred.euid;
	c->cred.sgid = c->cred.fsgid = c->cred.egid;
	fd_table_close_on_exec(c->fds);
}

unsigned fs_nofile(struct fs_context *c)
{
	return READ_ONCE(c->nofile);
}

void fs_set_limits(struct fs_context *c, u64 nofile, u64 max_file)
{
	WRITE_ONCE(c->nofile, (unsigned)min(nofile, (u64)FD_MAX));
	WRITE_ONCE(c->max_file, max_file);
}

static struct dentry *get_locked(struct dentry **place)
{
	struct dentry *d;

	spin_lock(&dcache_lock);
	d = dentry_get(*place);
	spin_unlock(&dcache_lock);
	return d;
}

struct dentry *fs_cwd(struct fs_context *c)
{
	return get_locked(&c->place->cwd);
}

struct dentry *fs_root(struct fs_context *c)
{
	return get_locked(&c->place->root);
}

static void replace(struct dentry **place, struct dentry *d)
{
	struct dentry *old;

	spin_lock(&dcache_lock);
	old = *place;
	*place = d;
	spin_unlock(&dcache_lock);
	dentry_put(old);
}

void fs_set_cwd(struct fs_context *c, struct dentry *d)
{
	replace(&c->place->cwd, d);
}

void fs_set_root(struct fs_context *c, struct dentry *d)
{
	replace(&c->place->root, d);
}

u32 fs_set_umask(struct fs_context *c, u32 mask)
{
	return __atomic_exchange_n(&c->place->umask, mask & 0777, __ATOMIC_RELAXED);
}
