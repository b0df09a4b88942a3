// SPDX-License-Identifier: MIT
//
// What: ptfs files as objects that can be mapped: pages for faults, stored tables for attaching,
// the thread that verifies tables ahead of faults, write-back of what mappings stored.
// Not here: address spaces and revoke (mm/), verification itself (fs/ptfs).
//
// Invariants
//   I1  A mapping holds a reference to the VFS's inode, so home.vfs is set while mappings exist,
//       the file lives on without links, and its file system cannot be unmounted.
//   I2  What glue_vm_table() returns is ready: verified and written for the present base, down to
//       the last level. The core says so; a table that is not ready is never named.
// Locking: page and table are called with map_lock held shared and take the core's locks inside.
#include "fs/ptfs_glue/glue_internal.h"

#include "drivers/nvdimm/region.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"
#include "mm/memfail.h"

// Table pages that a fault or a mapping call verifies itself before it leaves the rest to the
// thread: about the cost of one page fault each.
#define READY_INLINE 8
// Table pages that the thread verifies in one hold of the mapping lock.
#define READY_BUDGET 64
// Inodes that the thread looks at after a move before it asks for other work.
#define REBASE_BUDGET 64

static struct ptfs_inode *object_ip(struct vm_object *o)
{
	return container_of(o, struct ptfs_inode, home.object);
}

static struct inode *object_inode(struct vm_object *o)
{
	return __atomic_load_n(&object_ip(o)->home.vfs, __ATOMIC_ACQUIRE);
}

static int glue_vm_page(struct vm_object *o, u64 off, bool write, struct vm_page *out)
{
	struct ptfs_page page;
	int err = ptfs_map_page(object_ip(o), off, write, &page);

	if (err)
		return err;
	*out = (struct vm_page){ .pa = page.pa, .level = page.level, .hole = page.hole };
	return 0;
}

static void table_from_map(const struct ptfs_map *map, struct vm_table *out)
{
	_Static_assert(VM_DIRECT_BLOCKS == PTFS_DIRECT, "both are the format's");

	out->kind = map->kind == PTFS_MAP_ROOT ? VM_TABLE_ENTRY : VM_TABLE_DIRECT;
	out->level = map->level;
	out->entry = map->entry;
	for (unsigned i = 0; i < VM_DIRECT_BLOCKS; i++)
		out->direct[i] = map->direct[i];
}

// Nothing was looked at since the mount, or not all. A small file is made ready here and now; of a
// large one the stretch around `off`, and the thread does the rest.
static int make_ready(struct vm_object *o, u64 off)
{
	struct ptfs_inode *ip = object_ip(o);
	struct inode *i = object_inode(o);
	int left = ptfs_map_ready(ip, 0, READ_ONCE(ip->size), READY_INLINE);

	if (!left)
		return 0;
	if (left > 0)
		glue_ready_queue(glue_super(i->super), i->ino);
	// A bad page elsewhere in the file is no reason to refuse this stretch.
	left = ptfs_map_ready(ip, ALIGN_DOWN(off, PMD_SIZE), PMD_SIZE, READY_INLINE);
	return left < 0 ? left : 0;
}

static bool map_covers(const struct ptfs_map *map, u64 off, int max_level)
{
	if (map->kind == PTFS_MAP_DIRECT)
		return off < VM_DIRECT_BLOCKS * PAGE_SIZE;
	return map->kind == PTFS_MAP_ROOT && map->level <= max_level && off < pt_span(map->level);
}

static int glue_vm_table(struct vm_object *o, u64 off, int max_level, struct vm_table *out)
{
	struct ptfs_inode *ip = object_ip(o);
	struct ptfs_map map;
	int err;

	out->kind = VM_TABLE_NONE;
	if (glue_super(object_inode(o)->super)->no_attach)
		return 0;
	if (unlikely(ptfs_bad_count()) && ptfs_has_bad(ip))
		return 0; // page by page, so that the bad one can be refused
	err = ptfs_map_table(ip, &map);
	if (!err && map.kind == PTFS_MAP_NONE) {
		err = make_ready(o, off);
		if (!err)
			err = ptfs_map_table(ip, &map);
	}
	if (err)
		return err;
	if (map_covers(&map, off, max_level)) {
		table_from_map(&map, out);
		return 0;
	}
	if (map.kind == PTFS_MAP_DIRECT)
		return 0;
	for (int level = max_level; level >= PT_PMD && out->kind == VM_TABLE_NONE; level--) {
		err = ptfs_map_subtree(ip, off, level, &map);
		if (err)
			return err;
		if (map.kind != PTFS_MAP_NONE)
			table_from_map(&map, out);
	}
	return 0;
}

static int glue_vm_sync(struct vm_object *o, u64 off, u64 len)
{
	return ptfs_sync_range(object_ip(o), off, len);
}

static int glue_vm_touch(struct vm_object *o)
{
	return ptfs_touch(object_ip(o));
}

void glue_detach_bad(struct ptfs_inode *ip)
{
	ptfs_bad_met(ip);
	if (READ_ONCE(ip->home.object.ever_mapped))
		memfail_detach_object(&ip->home.object);
}

static u64 glue_vm_size(struct vm_object *o)
{
	return READ_ONCE(object_ip(o)->size);
}

static void glue_vm_get(struct vm_object *o)
{
	// The caller has the file open or mapped, so home.vfs is set (I1).
	inode_get(object_inode(o));
}

static void glue_vm_put(struct vm_object *o)
{
	inode_put(object_inode(o));
}

static bool glue_vm_put_shared(struct vm_object *o)
{
	return inode_put_shared(object_inode(o));
}

static void glue_vm_describe(struct vm_object *o, u64 *dev, u64 *ino, char *path, size_t path_bytes)
{
	const char *name = __atomic_load_n(&object_ip(o)->home.path, __ATOMIC_ACQUIRE);
	struct inode *i = object_inode(o);

	*dev = i->super->dev;
	*ino = i->ino;
	if (path_bytes)
		strlcpy(path, name ? name : "", path_bytes);
}

// A renamed file keeps the name under which it was mapped first: what a mapping is called is a help
// for readers, and not worth a reference from the file to its directory.
void glue_remember_path(struct ptfs_inode *ip, struct file *f)
{
	const char *none = NULL, *path = NULL;
	char *buf;

	if (__atomic_load_n(&ip->home.path, __ATOMIC_RELAXED))
		return;
	buf = kmalloc(PATH_MAX);
	if (buf && file_path(f, buf, PATH_MAX) >= 0)
		path = kstrdup(buf);
	kfree(buf);
	if (path && !__atomic_compare_exchange_n(&ip->home.path, &none, path, false,
						 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		kfree((void *)(uintptr_t)path);
}

void glue_forget_path(struct ptfs_inode *ip)
{
	const char *path = __atomic_exchange_n(&ip->home.path, NULL, __ATOMIC_RELAXED);

	kfree((void *)(uintptr_t)path);
}

const struct vm_object_ops glue_vm_ops = {
	.page = glue_vm_page,
	.table = glue_vm_table,
	.sync = glue_vm_sync,
	.touch = glue_vm_touch,
	.size = glue_vm_size,
	.get = glue_vm_get,
	.put = glue_vm_put,
	.put_shared = glue_vm_put_shared,
	.tells = true,
	.describe = glue_vm_describe,
};

// ---- Write-back ----

int glue_write_back(struct glue_inode *gi)
{
	return vm_sync(&gi->ip->home.object);
}

// The number of the next file on the list, which moves to its end; 0: the list is empty.
static u64 next_dirty(struct glue_super *g)
{
	struct glue_inode *gi;
	u64 ino = 0;

	mutex_lock(&g->dirty_lock);
	if (!list_empty(&g->dirty)) {
		gi = list_entry(g->dirty.next, struct glue_inode, dirty_node);
		ino = gi->vfs.ino;
		list_del(&gi->dirty_node);
		list_add_tail(&g->dirty, &gi->dirty_node);
	}
	mutex_unlock(&g->dirty_lock);
	return ino;
}

static unsigned count_dirty(struct glue_super *g)
{
	struct glue_inode *gi;
	unsigned n = 0;

	mutex_lock(&g->dirty_lock);
	list_for_each(gi, &g->dirty, dirty_node)
		n++;
	mutex_unlock(&g->dirty_lock);
	return n;
}

// Goes round the list once. By number, not by pointer: inode_find() knows whether the inode is
// being evicted (then it writes back by itself), and waits for that with no lock held.
int glue_write_back_all(struct glue_super *g)
{
	int err = 0;

	for (unsigned left = count_dirty(g); left && !err; left--) {
		u64 ino = next_dirty(g);
		struct inode *i = ino ? inode_find(&g->vfs, ino) : NULL;

		if (!i)
			continue;
		err = glue_write_back(glue_inode(i));
		inode_put(i);
	}
	return err;
}

// ---- Readying in the background ----

void glue_ready_queue(struct glue_super *g, u64 ino)
{
	unsigned i;

	spin_lock(&g->ready_lock);
	for (i = 0; i < g->ready_count; i++)
		if (g->ready_ino[(g->ready_head + i) % GLUE_READY_QUEUE] == ino)
			break;
	// A full queue forgets: faults will ready the file.
	if (i == g->ready_count && i < GLUE_READY_QUEUE)
		g->ready_ino[(g->ready_head + g->ready_count++) % GLUE_READY_QUEUE] = ino;
	spin_unlock(&g->ready_lock);
	wait_wake_all(&g->ready_wait);
}

// The next file to ready, 0: there is none, but entries to rebase; false: the thread shall end.
static bool ready_next(struct glue_super *g, u64 *ino)
{
	bool go_on;

	wait_event(&g->ready_wait,
		   READ_ONCE(g->ready_count) || READ_ONCE(g->ready_stop) || g->rebasing);
	spin_lock(&g->ready_lock);
	go_on = !g->ready_stop;
	*ino = 0;
	if (go_on && g->ready_count) {
		*ino = g->ready_ino[g->ready_head];
		g->ready_head = (g->ready_head + 1) % GLUE_READY_QUEUE;
		g->ready_count--;
	}
	spin_unlock(&g->ready_lock);
	return go_on;
}

// Holds a reference of the core only: it must keep neither the VFS from unmounting nor an
// unlinked file's blocks for longer than one round.
static void ready_file(struct glue_super *g, u64 ino)
{
	struct ptfs_inode *ip;
	int err;

	do {
		if (ptfs_iget(g->fs, ino, &ip))
			return;
		ptfs_map_lock_shared(&ip->home);
		err = ptfs_map_ready(ip, 0, READ_ONCE(ip->size), READY_BUDGET);
		ptfs_map_unlock_shared(&ip->home);
		ptfs_iput(ip);
		thread_yield();
	} while (err == 1 && !READ_ONCE(g->ready_stop));
}

// Damage and lack of memory end the pass; the next mount begins it anew.
static void rebase_some(struct glue_super *g)
{
	g->rebasing = ptfs_rebase(g->fs, REBASE_BUDGET) == 1;
	thread_yield();
}

static void ready_thread(void *arg)
{
	struct glue_super *g = arg;
	u64 ino;

	while (ready_next(g, &ino)) {
		if (ino)
			ready_file(g, ino);
		else
			rebase_some(g);
	}
	spin_lock(&g->ready_lock);
	g->ready_running = false;
	wait_wake_all(&g->ready_wait);
	spin_unlock(&g->ready_lock);
}

int glue_ready_start(struct glue_super *g)
{
	g->ready_running = true;
	g->rebasing = ptfs_rebase_pending(g->fs);
	if (thread_create("ptfs-ready", ready_thread, g))
		return 0;
	g->ready_running = false;
	return -ENOMEM;
}

void glue_ready_stop(struct glue_super *g)
{
	spin_lock(&g->ready_lock);
	g->ready_stop = true;
	spin_unlock(&g->ready_lock);
	wait_wake_all(&g->ready_wait);
	wait_event(&g->ready_wait, !READ_ONCE(g->ready_running));
	// The thread clears the mark under the lock: with it taken, its last touch of `g` is over.
	spin_lock(&g->ready_lock);
	spin_unlock(&g->ready_lock);
}
