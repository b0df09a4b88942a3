// SPDX-License-Identifier: MIT
//
// What: the RAM file system: directories, inodes, attributes, the file system as a whole.
// Not here: contents of files (fs/ramfs_data.c).
//
// Invariants:
//   I1  A directory entry holds one reference to its inode; an inode without entries and users is
//       freed. Directories: nlink is 2 plus the number of subdirectories.
//   I2  Positions of entries grow and are never used again in their directory: readdir goes on at
//       the first entry at or behind its position, whatever came and went.
// Locking: a directory's entries under its inode.lock, which the VFS holds (fs/vfs.h).
#include "fs/ramfs.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/heap.h"

#define TMPFS_MAGIC    0x01021994u
#define TABLE_BITS_MIN 3
#define TABLE_BITS_MAX 18 // 2 MiB of pointers; chains grow beyond
#define LINK_MAX       65000u

struct ramfs_entry {
	struct ramfs_entry *next; // chain
	struct list order;
	struct inode *inode; // I1
	u64 pos;
	u32 hash;
	u8 len;
	char name[];
};

static const struct inode_ops dir_ops, file_inode_ops, link_ops;
static const struct file_ops dir_file_ops;

static struct ramfs_super *super_of(const struct inode *i)
{
	return container_of(i->super, struct ramfs_super, super);
}

// ---- Inodes -------------------------------------------------------------------------------------

static struct ramfs_inode *inode_make(struct ramfs_super *s, u32 mode, u64 rdev)
{
	const struct inode_ops *ops = S_ISDIR(mode)   ? &dir_ops
				      : S_ISLNK(mode) ? &link_ops
						      : &file_inode_ops;
	const struct file_ops *fops = S_ISDIR(mode) ? &dir_file_ops : &ramfs_file_ops;
	struct ramfs_inode *r;

	if (!ramfs_reserve_inode())
		return NULL;
	r = kzalloc(sizeof(*r));
	if (!r) {
		ramfs_release_inode();
		return NULL;
	}
	inode_init(&r->inode, &s->super, ops, fops,
		   __atomic_add_fetch(&s->next_ino, 1, __ATOMIC_RELAXED), mode);
	r->inode.rdev = rdev;
	r->atime_ns = r->mtime_ns = r->ctime_ns = time_wall_ns();
	if (S_ISREG(mode))
		vm_object_init(&r->object, &ramfs_object_ops);
	if (S_ISDIR(mode)) {
		r->inode.nlink = 2;
		list_init(&r->dir.order);
		r->dir.next_pos = 2;
	}
	spin_lock(&s->lock);
	list_add_tail(&s->inodes, &r->super_node);
	spin_unlock(&s->lock);
	return r;
}

static struct ramfs_inode *inode_make_in(struct inode *dir, u32 mode, u64 rdev)
{
	struct ramfs_inode *r;
	u32 uid, gid;

	new_inode_owner(dir, &mode, &uid, &gid);
	r = inode_make(super_of(dir), mode, rdev);
	if (r) {
		r->inode.uid = uid;
		r->inode.gid = gid;
	}
	return r;
}

static void changed(struct inode *i)
{
	struct ramfs_inode *r = ramfs_i(i);

	r->mtime_ns = r->ctime_ns = time_wall_ns();
}

static void ramfs_destroy(struct inode *i)
{
	struct ramfs_inode *r = ramfs_i(i);
	struct ramfs_super *s = super_of(i);

	spin_lock(&s->lock);
	list_del(&r->super_node);
	spin_unlock(&s->lock);
	if (S_ISREG(i->mode))
		ramfs_data_free(r);
	else if (S_ISLNK(i->mode))
		kfree(r->target);
	else if (S_ISDIR(i->mode))
		kfree(r->dir.table);
	ramfs_release_inode();
	kfree(r);
}

static int ramfs_getattr(struct inode *i, struct inode_attr *out)
{
	struct ramfs_inode *r = ramfs_i(i);

	out->size = S_ISDIR(i->mode) ? r->dir.count * 32 : READ_ONCE(r->size);
	out->blocks = S_ISREG(i->mode) ? r->data.frames * (PAGE_SIZE / 512) : 0;
	out->atime_ns = r->atime_ns;
	out->mtime_ns = r->mtime_ns;
	out->ctime_ns = r->ctime_ns;
	return 0;
}

static int ramfs_setattr(struct inode *i, unsigned which, const struct inode_attr *attr)
{
	struct ramfs_inode *r = ramfs_i(i);
	int err = 0;

	if (which & ATTR_SIZE)
		err = ramfs_set_size(r, attr->size);
	if (err)
		return err;
	mutex_lock(&i->lock);
	if (which & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (attr->mode & 07777);
	if (which & ATTR_UID)
		i->uid = attr->uid;
	if (which & ATTR_GID)
		i->gid = attr->gid;
	if (which & ATTR_ATIME)
		r->atime_ns = attr->atime_ns;
	if (which & ATTR_MTIME)
		r->mtime_ns = attr->mtime_ns;
	r->ctime_ns = time_wall_ns();
	mutex_unlock(&i->lock);
	return 0;
}

static ssize ramfs_readlink(struct inode *i, char *buf, size_t bytes)
{
	struct ramfs_inode *r = ramfs_i(i);
	size_t n = min(bytes, r->size);

	memcpy(buf, r->target, n);
	return (ssize)n;
}

// ---- Entries ------------------------------------------------------------------------------------

static struct ramfs_entry **chain(struct ramfs_dir *d, u32 hash)
{
	return &d->table[(hash * 0x9e3779b1u) >> (32 - d->bits)];
}

static struct ramfs_entry *entry_find(struct inode *dir, const char *name, size_t len)
{
	struct ramfs_dir *d = &ramfs_i(dir)->dir;
	u32 hash = name_hash(name, len);
	struct ramfs_entry *e;

	if (!d->table)
		return NULL;
	for (e = *chain(d, hash); e; e = e->next)
		if (e->hash == hash && e->len == len && memcmp(e->name, name, len) == 0)
			return e;
	return NULL;
}

static void table_grow(struct ramfs_dir *d)
{
	unsigned bits = d->table ? d->bits + 1 : TABLE_BITS_MIN;
	struct ramfs_entry **old = d->table, **more;
	struct ramfs_entry *e;

	if (bits > TABLE_BITS_MAX)
		return;
	more = kzalloc(sizeof(struct ramfs_entry *) << bits);
	if (!more)
		return; // longer chains do as well; the first table is checked by the caller
	d->table = more;
	d->bits = bits;
	list_for_each(e, &d->order, order) {
		struct ramfs_entry **head = chain(d, e->hash);

		e->next = *head;
		*head = e;
	}
	kfree(old);
}

// A name for `i`, not in a directory yet. -ENOSPC is Linux's word for "no memory for a name".
static struct ramfs_entry *entry_make(struct inode *dir, const char *name, size_t len)
{
	struct ramfs_dir *d = &ramfs_i(dir)->dir;
	struct ramfs_entry *e;

	if (!d->table || d->count >= 1ull << d->bits)
		table_grow(d);
	e = d->table ? kmalloc(sizeof(*e) + len) : NULL;
	if (!e)
		return NULL;
	*e = (struct ramfs_entry){ .hash = name_hash(name, len), .len = (u8)len };
	memcpy(e->name, name, len);
	return e;
}

static void entry_add(struct inode *dir, struct ramfs_entry *e, struct inode *i)
{
	struct ramfs_dir *d = &ramfs_i(dir)->dir;
	struct ramfs_entry **head = chain(d, e->hash);

	e->inode = inode_get(i);
	e->pos = d->next_pos++;
	e->next = *head;
	*head = e;
	list_add_tail(&d->order, &e->order);
	d->count++;
	changed(dir);
}

// Takes the name out; the entry's reference goes too (the caller has one of its own).
static void entry_remove(struct inode *dir, struct ramfs_entry *e)
{
	struct ramfs_dir *d = &ramfs_i(dir)->dir;
	struct ramfs_entry **p = chain(d, e->hash);

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	list_del(&e->order);
	d->count--;
	inode_put(e->inode);
	kfree(e);
	changed(dir);
}

static int ramfs_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	struct ramfs_entry *e = entry_find(dir, name, len);

	if (!e)
		return -ENOENT;
	*out = inode_get(e->inode);
	return 0;
}

// Puts the new inode `r` (or NULL: no memory) under its name; its first reference is the caller's.
static int enter_new(struct inode *dir, const char *name, size_t len, struct ramfs_inode *r,
		     struct inode **out)
{
	struct ramfs_entry *e = r ? entry_make(dir, name, len) : NULL;

	if (!e) {
		if (r)
			inode_put(&r->inode);
		return -ENOSPC;
	}
	entry_add(dir, e, &r->inode);
	*out = &r->inode;
	return 0;
}

static int ramfs_create(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev,
			struct inode **out)
{
	return enter_new(dir, name, len, inode_make_in(dir, mode, rdev), out);
}

static int ramfs_mkdir(struct inode *dir, const char *name, size_t len, u32 mode,
		       struct inode **out)
{
	int err;

	if (dir->nlink >= LINK_MAX)
		return -EMLINK;
	err = enter_new(dir, name, len, inode_make_in(dir, mode, 0), out);
	if (!err)
		dir->nlink++;
	return err;
}

static int ramfs_symlink(struct inode *dir, const char *name, size_t len, const char *target,
			 struct inode **out)
{
	struct ramfs_inode *r = inode_make_in(dir, S_IFLNK | 0777, 0);

	if (r) {
		r->target = kstrdup(target);
		r->size = strlen(target);
		if (!r->target) {
			inode_put(&r->inode);
			r = NULL;
		}
	}
	return enter_new(dir, name, len, r, out);
}

// A file whose last name is gone stays without one: it is freed when its last user closes it.
static int add_name(struct inode *target)
{
	int err = 0;

	mutex_lock(&target->lock);
	if (!target->nlink && !(READ_ONCE(target->flags) & INODE_LINKABLE))
		err = -ENOENT;
	else if (target->nlink >= LINK_MAX)
		err = -EMLINK;
	else
		target->nlink++;
	ramfs_i(target)->ctime_ns = time_wall_ns();
	mutex_unlock(&target->lock);
	return err;
}

static int ramfs_tmpfile(struct inode *dir, u32 mode, bool linkable __unused, struct inode **out)
{
	struct ramfs_inode *r = inode_make_in(dir, mode, 0);

	if (!r)
		return -ENOSPC;
	r->inode.nlink = 0;
	*out = &r->inode;
	return 0;
}

static int ramfs_link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
	struct ramfs_entry *e = entry_make(dir, name, len);
	int err = e ? add_name(target) : -ENOSPC;

	if (err) {
		kfree(e);
		return err;
	}
	entry_add(dir, e, target);
	return 0;
}

static void drop_name(struct inode *i)
{
	mutex_lock(&i->lock);
	i->nlink--;
	ramfs_i(i)->ctime_ns = time_wall_ns();
	mutex_unlock(&i->lock);
}

static int ramfs_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
	drop_name(victim);
	entry_remove(dir, entry_find(dir, name, len));
	return 0;
}

static int ramfs_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
	if (ramfs_i(victim)->dir.count)
		return -ENOTEMPTY;
	victim->nlink = 0; // its lock is held
	dir->nlink--;
	entry_remove(dir, entry_find(dir, name, len));
	return 0;
}

static int exchange(struct inode *from, struct ramfs_entry *a, struct inode *to,
		    struct ramfs_entry *b)
{
	struct inode *i = a->inode;
	int dirs = (int)S_ISDIR(b->inode->mode) - (int)S_ISDIR(i->mode);

	a->inode = b->inode;
	b->inode = i;
	from->nlink += (u32)dirs;
	to->nlink -= (u32)dirs;
	changed(from);
	changed(to);
	return 0;
}

static int ramfs_rename(struct inode *from, const char *name, size_t len, struct inode *moved,
			struct inode *to, const char *new_name, size_t new_len,
			struct inode *replaced, unsigned flags)
{
	struct ramfs_entry *old = entry_find(from, name, len), *e;

	if (flags & RENAME_EXCHANGE)
		return exchange(from, old, to, entry_find(to, new_name, new_len));
	if (replaced && S_ISDIR(replaced->mode) && ramfs_i(replaced)->dir.count)
		return -ENOTEMPTY;
	e = entry_make(to, new_name, new_len);
	if (!e)
		return -ENOSPC;
	if (replaced) {
		if (S_ISDIR(replaced->mode)) {
			replaced->nlink = 0;
			to->nlink--;
		} else {
			drop_name(replaced);
		}
		entry_remove(to, entry_find(to, new_name, new_len));
	}
	if (S_ISDIR(moved->mode)) {
		from->nlink--;
		to->nlink++;
	}
	entry_add(to, e, moved);
	entry_remove(from, old);
	ramfs_i(moved)->ctime_ns = time_wall_ns();
	return 0;
}

static int ramfs_readdir(struct file *f, u64 *pos, dir_emit emit, void *ctx)
{
	struct ramfs_dir *d = &ramfs_i(f->inode)->dir;
	struct ramfs_entry *e;

	list_for_each(e, &d->order, order) {
		if (e->pos < *pos)
			continue;
		if (!emit(ctx, e->name, e->len, e->inode->ino, DT_OF_MODE(e->inode->mode),
			  e->pos + 1))
			break;
		*pos = e->pos + 1;
	}
	return 0;
}

static const struct inode_ops dir_ops = {
	.lookup = ramfs_lookup,
	.create = ramfs_create,
	.mkdir = ramfs_mkdir,
	.symlink = ramfs_symlink,
	.tmpfile = ramfs_tmpfile,
	.link = ramfs_link,
	.unlink = ramfs_unlink,
	.rmdir = ramfs_rmdir,
	.rename = ramfs_rename,
	.getattr = ramfs_getattr,
	.setattr = ramfs_setattr,
	.destroy = ramfs_destroy,
};

static const struct inode_ops file_inode_ops = {
	.getattr = ramfs_getattr,
	.setattr = ramfs_setattr,
	.destroy = ramfs_destroy,
};

static const struct inode_ops link_ops = {
	.readlink = ramfs_readlink,
	.getattr = ramfs_getattr,
	.setattr = ramfs_setattr,
	.destroy = ramfs_destroy,
};

static const struct file_ops dir_file_ops = {
	.readdir = ramfs_readdir,
};

// ---- The file system ----------------------------------------------------------------------------

static int ramfs_statfs(struct super *s, struct statfs_info *out)
{
	u64 most = ramfs_pages_max(), used = ramfs_pages_used();
	u64 left = min(most > used ? most - used : 0, frame_stats().free);

	*out = (struct statfs_info){
		.type = TMPFS_MAGIC,
		.bsize = PAGE_SIZE,
		.blocks = used + left,
		.bfree = left,
		.bavail = left,
		.namelen = NAME_MAX,
		.fsid = s->dev,
		.flags = s->read_only,
	};
	return 0;
}

// Empties all directories. Every inode is held meanwhile, so that none is freed inside another's
// release: a deep tree would need a deep stack.
static void empty_all(struct ramfs_super *rs)
{
	struct ramfs_inode *r, *next;

	list_for_each(r, &rs->inodes, super_node)
		inode_get(&r->inode);
	list_for_each(r, &rs->inodes, super_node) {
		if (!S_ISDIR(r->inode.mode))
			continue;
		while (!list_empty(&r->dir.order))
			entry_remove(&r->inode,
				     list_entry(r->dir.order.next, struct ramfs_entry, order));
	}
	list_for_each_safe(r, next, &rs->inodes, super_node)
		inode_put(&r->inode);
}

static int ramfs_unmount(struct super *s)
{
	struct ramfs_super *rs = container_of(s, struct ramfs_super, super);
	struct ramfs_inode *r;

	// One reference by its name; the root's: super and root dentry. More: mapped somewhere.
	list_for_each(r, &rs->inodes, super_node)
		if (!S_ISDIR(r->inode.mode) && r->inode.refs > r->inode.nlink)
			return -EBUSY;
	empty_all(rs);
	return 0;
}

static void ramfs_destroy_super(struct super *s)
{
	struct ramfs_super *rs = container_of(s, struct ramfs_super, super);

	ASSERT(list_empty(&rs->inodes));
	kfree(rs);
}

static const struct super_ops ramfs_super_ops = {
	.statfs = ramfs_statfs,
	.unmount = ramfs_unmount,
	.destroy = ramfs_destroy_super,
};

int ramfs_mount(const struct fs_type *type, const char *source, const char *options, bool read_only,
		struct super **out)
{
	struct ramfs_super *rs = kzalloc(sizeof(*rs));
	struct ramfs_inode *root;

	if (!rs)
		return -ENOMEM;
	super_init(&rs->super, type, &ramfs_super_ops, source, options, read_only);
	spin_init(&rs->lock, RANK_FS_SPIN);
	list_init(&rs->inodes);
	root = inode_make(rs, S_IFDIR | 0755, 0);
	if (!root) {
		kfree(rs);
		return -ENOMEM;
	}
	rs->super.root = &root->inode;
	*out = &rs->super;
	return 0;
}

static int ramfs_mount_type(const char *source, const char *options, bool read_only,
			    struct super **out)
{
	return ramfs_mount(&ramfs_type, source, options, read_only, out);
}

static int tmpfs_mount_type(const char *source, const char *options, bool read_only,
			    struct super **out)
{
	return ramfs_mount(&tmpfs_type, source, options, read_only, out);
}

struct fs_type tmpfs_type = { .name = "tmpfs", .nodev = true, .mount = tmpfs_mount_type };
struct fs_type ramfs_type = { .name = "ramfs", .nodev = true, .mount = ramfs_mount_type };
