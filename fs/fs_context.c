// SPDX-License-Identifier: MIT
//
// What: the file system context of a process: root, working directory, umask, credentials.
// Not here: its descriptors (fs/fd_table.c).
//
// Invariants:
//   I1  root and cwd are set while a process runs, and change only under dcache_lock: a path walk
//       reads them under that lock and needs no reference.
#include "fs/fs_context.h"

#include "fs/vfs_internal.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"

static struct fs_context boot = { .refs = 1, .umask = 022, .nofile = FD_MAX };

struct fs_context *boot_context(void)
{
	return &boot;
}

void boot_context_set_root(struct dentry *root)
{
	boot.root = dentry_get(root);
	boot.cwd = dentry_get(root);
	boot.fds = fd_table_create();
	if (!boot.fds)
		panic("no memory for the first descriptor table");
}

struct fs_context *fs_current(void)
{
	struct thread *t = thread_current();

	return t && t->fs ? t->fs : &boot;
}

struct credentials *fs_credentials(struct fs_context *c)
{
	return &c->cred;
}

static struct fs_context *create(struct fs_context *from, struct fd_table *fds)
{
	struct fs_context *c = fds ? kmalloc(sizeof(*c)) : NULL;

	if (!c) {
		if (fds)
			fd_table_free(fds);
		return NULL;
	}
	*c = (struct fs_context){
		.refs = 1,
		.umask = READ_ONCE(from->umask),
		.nofile = from->nofile,
		.cred = from->cred,
		.fds = fds,
	};
	spin_lock(&dcache_lock);
	c->root = dentry_get(from->root);
	c->cwd = dentry_get(from->cwd);
	spin_unlock(&dcache_lock);
	return c;
}

struct fs_context *fs_context_create(void)
{
	return create(&boot, fd_table_create());
}

struct fs_context *fs_context_copy(struct fs_context *from)
{
	return create(from, fd_table_copy(from->fds));
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
	fd_table_free(c->fds);
	dentry_put(c->root);
	dentry_put(c->cwd);
	kfree(c->spare);
	kfree(c);
}

void fs_context_exec(struct fs_context *c)
{
	fd_table_close_on_exec(c->fds);
}

unsigned fs_nofile(struct fs_context *c)
{
	return READ_ONCE(c->nofile);
}

void fs_set_nofile(struct fs_context *c, unsigned limit)
{
	WRITE_ONCE(c->nofile, min(limit, (unsigned)FD_MAX));
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
	return get_locked(&c->cwd);
}

struct dentry *fs_root(struct fs_context *c)
{
	return get_locked(&c->root);
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
	replace(&c->cwd, d);
}

void fs_set_root(struct fs_context *c, struct dentry *d)
{
	replace(&c->root, d);
}

u32 fs_set_umask(struct fs_context *c, u32 mask)
{
	return __atomic_exchange_n(&c->umask, mask & 0777, __ATOMIC_RELAXED);
}
