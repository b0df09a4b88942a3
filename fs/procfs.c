// SPDX-License-Identifier: MIT
//
// What: /proc: the tree of registered names, and text files that are printed when they are opened.
// Not here: directories of processes (fs/procfs_task.c).
//
// Invariants:
//   I1  Names are added at boot by one thread, and never go: the tree is read without a lock.
//   I2  An open file has its text from the time of opening; reads in pieces fit together.
// Locking: none of its own; nodes_lock keeps registrations apart.
#include "fs/procfs.h"

#include "fs/procfs_internal.h"
#include "fs/vfs_internal.h"
#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/x86/time.h"
#include "mm/heap.h"

#define PROC_MAGIC 0x9fa0u
#define STORE_MAX  4096u
#define TEXT_MAX   MIB(2)

static struct spinlock nodes_lock = SPINLOCK_INIT(RANK_FS_SPIN);
static u32 last_ino = 1; // [nodes_lock]
struct proc_node proc_root = { .name = "", .mode = S_IFDIR | 0555, .ino = 1 };

static const struct inode_ops file_ops_inode, link_ops;
static const struct file_ops text_ops, dir_file_ops;

// A text is shared between an open file and the reads of it that are under way: a write makes a new
// one.
static struct spinlock text_lock = SPINLOCK_INIT(RANK_FS_SPIN);

// ---- Text --------------------------------------------------------------------------------------

static bool seq_grow(struct seq *s, size_t more)
{
	size_t room = max(s->room, (size_t)1024);
	char *text;

	while (room < s->len + more + 1)
		room *= 2;
	if (room == s->room)
		return true;
	text = room <= TEXT_MAX ? kmalloc(room) : NULL;
	if (!text) {
		s->full = true;
		return false;
	}
	if (s->text)
		memcpy(text, s->text, s->len);
	kfree(s->text);
	s->text = text;
	s->room = room;
	return true;
}

void seq_write(struct seq *s, const void *bytes, size_t len)
{
	if (s->full || !seq_grow(s, len))
		return;
	memcpy(s->text + s->len, bytes, len);
	s->len += len;
}

void seq_printf(struct seq *s, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (s->full || !seq_grow(s, 80))
		return;
	for (;;) {
		va_start(ap, fmt);
		n = kvsnprintf(s->text + s->len, s->room - s->len, fmt, ap);
		va_end(ap);
		if (n < s->room - s->len)
			break;
		if (!seq_grow(s, n))
			return;
	}
	s->len += n;
}

static void text_put(struct seq *s)
{
	bool last;

	spin_lock(&text_lock);
	last = --s->refs == 0;
	spin_unlock(&text_lock);
	if (!last)
		return;
	kfree(s->text);
	kfree(s);
}

int proc_text_open(struct file *f, int (*print)(struct seq *s, struct proc_inode *pi))
{
	struct seq *s = kzalloc(sizeof(*s)), *before;
	int err;

	if (!s)
		return -ENOMEM;
	err = print(s, proc_i(f->inode));
	if (!err && s->full)
		err = -ENOMEM;
	if (err) {
		kfree(s->text);
		kfree(s);
		return err;
	}
	s->refs = 1;
	spin_lock(&text_lock);
	before = f->private;
	f->private = s;
	spin_unlock(&text_lock);
	if (before)
		text_put(before);
	return 0;
}

static struct seq *text_get(struct file *f)
{
	struct seq *s;

	spin_lock(&text_lock);
	s = f->private;
	s->refs++;
	spin_unlock(&text_lock);
	return s;
}

void proc_text_release(struct file *f)
{
	text_put(f->private);
}

ssize proc_text_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct seq *s = text_get(f);
	ssize done = 0;

	if (*pos < s->len && to->left) {
		size_t want = min(to->left, s->len - *pos);

		done = (ssize)iov_copy_to(to, s->text + *pos, want);
		*pos += (u64)done;
		if (!done)
			done = -EFAULT;
	}
	text_put(s);
	return done;
}

static int print_node(struct seq *s, struct proc_inode *pi)
{
	pi->node->show(s, pi->node->arg);
	return 0;
}

static int text_open(struct inode *i __unused, struct file *f)
{
	return proc_text_open(f, print_node);
}

static ssize text_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	const struct proc_node *n = proc_i(f->inode)->node;
	size_t want = from->left;
	char *text;
	int err;

	if (!n->store)
		return -EIO;
	if (want >= STORE_MAX)
		return -EINVAL;
	text = kmalloc(want + 1);
	if (!text)
		return -ENOMEM;
	err = iov_copy_from(from, text, want) == want ? 0 : -EFAULT;
	text[want] = 0;
	if (!err)
		err = n->store(text, n->arg);
	kfree(text);
	if (!err) // a reader of the same descriptor sees from now on what the file says
		err = proc_text_open(f, print_node);
	*pos += want;
	return err ? err : (ssize)want;
}

static const struct file_ops text_ops = {
	.open = text_open,
	.release = proc_text_release,
	.read = proc_text_read,
	.write = text_write,
};

// ---- Inodes ------------------------------------------------------------------------------------

struct proc_inode *proc_inode_make(struct super *s, const struct inode_ops *ops,
				   const struct file_ops *fops, u64 ino, u32 mode)
{
	struct proc_inode *pi = kzalloc(sizeof(*pi));

	if (!pi)
		return NULL;
	inode_init(&pi->inode, s, ops, fops, ino, mode);
	if (S_ISDIR(mode))
		pi->inode.nlink = 2;
	return pi;
}

void proc_inode_destroy(struct inode *i)
{
	kfree(proc_i(i));
}

struct inode *proc_node_inode(struct super *s, const struct proc_node *n)
{
	const struct inode_ops *ops = S_ISDIR(n->mode)   ? &proc_dir_ops
				      : S_ISLNK(n->mode) ? &link_ops
							 : &file_ops_inode;
	struct proc_inode *pi =
		proc_inode_make(s, ops, S_ISDIR(n->mode) ? &dir_file_ops : &text_ops, n->ino,
				n->mode);

	if (!pi)
		return NULL;
	pi->node = n;
	if (n == &proc_root)
		pi->inode.flags |= INODE_VOLATILE;
	return &pi->inode;
}

struct proc_node *proc_node_find(const struct proc_node *dir, const char *name, size_t len)
{
	struct proc_node *n;

	for (n = __atomic_load_n(&dir->child, __ATOMIC_ACQUIRE); n; n = n->next)
		if (strlen(n->name) == len && memcmp(n->name, name, len) == 0)
			return n;
	return NULL;
}

static int proc_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	const struct proc_node *at = proc_i(dir)->node;
	const struct proc_node *n = proc_node_find(at, name, len);

	if (!n)
		return at == &proc_root ? proc_task_lookup(dir, name, len, out) : -ENOENT;
	*out = proc_node_inode(dir->super, n);
	return *out ? 0 : -ENOMEM;
}

static int proc_readdir(struct file *f, u64 *pos, dir_emit emit, void *ctx)
{
	const struct proc_node *at = proc_i(f->inode)->node, *n;
	u64 k = 2;

	for (n = at->child; n; n = n->next, k++) {
		if (k < *pos)
			continue;
		if (!emit(ctx, n->name, strlen(n->name), n->ino, DT_OF_MODE(n->mode), k + 1))
			return 0;
		*pos = k + 1;
	}
	if (at != &proc_root)
		return 0;
	*pos = max(*pos, (u64)PROC_TASK_POS);
	return proc_task_readdir(pos, emit, ctx);
}

static ssize node_readlink(struct inode *i, char *buf, size_t bytes)
{
	const char *target = proc_i(i)->node->arg;
	size_t n = strlen(target);

	if (n > bytes)
		n = bytes;
	// NOLINTNEXTLINE(bugprone-not-null-terminated-result): readlink(2) gives no NUL
	memcpy(buf, target, n);
	return (ssize)n;
}

static int proc_getattr(struct inode *i __unused, struct inode_attr *out)
{
	out->atime_ns = out->mtime_ns = out->ctime_ns = time_wall_ns();
	out->blksize = 1024;
	return 0;
}

const struct inode_ops proc_dir_ops = {
	.lookup = proc_lookup,
	.getattr = proc_getattr,
	.destroy = proc_inode_destroy,
};

// A text has no length that could be cut, so O_TRUNC (a shell's ">") changes nothing. Owner and
// mode are the kernel's.
static int proc_setattr(struct inode *i, unsigned which, const struct inode_attr *attr)
{
	(void)i;
	(void)attr;
	return which & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
}

static const struct inode_ops file_ops_inode = {
	.getattr = proc_getattr,
	.setattr = proc_setattr,
	.destroy = proc_inode_destroy,
};

static const struct inode_ops link_ops = {
	.readlink = node_readlink,
	.getattr = proc_getattr,
	.destroy = proc_inode_destroy,
};

static const struct file_ops dir_file_ops = {
	.readdir = proc_readdir,
};

// ---- Registering -------------------------------------------------------------------------------

// Adds `n` to `dir`, at the end, for the next reader to see whole.
static int node_add(struct proc_node *dir, struct proc_node *n)
{
	struct proc_node **p = &dir->child;
	int err = 0;

	spin_lock(&nodes_lock);
	n->ino = ++last_ino;
	for (; *p && !err; p = &(*p)->next)
		if (strcmp((*p)->name, n->name) == 0)
			err = -EEXIST;
	if (!err)
		__atomic_store_n(p, n, __ATOMIC_RELEASE);
	spin_unlock(&nodes_lock);
	return err;
}

static struct proc_node *node_make(struct proc_node *dir, const char *name, size_t len, u32 mode)
{
	struct proc_node *n = kzalloc(sizeof(*n));
	char *copy = kmalloc(len + 1);

	if (n && copy) {
		memcpy(copy, name, len);
		copy[len] = 0;
		n->name = copy;
		n->mode = mode;
		if (S_ISDIR(mode) && node_add(dir, n) == 0)
			return n;
		if (!S_ISDIR(mode))
			return n;
	}
	kfree(copy);
	kfree(n);
	return NULL;
}

// Adds `path` with all that `what` says.
static int register_node(const char *path, const struct proc_node *what)
{
	struct proc_node *dir = &proc_root, *n;
	const char *slash;
	int err;

	while ((slash = strchr(path, '/'))) {
		size_t len = (size_t)(slash - path);

		n = proc_node_find(dir, path, len);
		if (!n)
			n = node_make(dir, path, len, S_IFDIR | 0555);
		if (!n)
			return -ENOMEM;
		dir = n;
		path = slash + 1;
	}
	n = node_make(dir, path, strlen(path), what->mode);
	if (!n)
		return -ENOMEM;
	n->show = what->show;
	n->store = what->store;
	n->arg = what->arg;
	err = node_add(dir, n);
	if (err)
		log_err("/proc/%s exists already", path);
	return err;
}

int proc_register(const char *path, void (*show)(struct seq *s, void *arg), void *arg)
{
	return proc_register_rw(path, show, NULL, arg);
}

int proc_register_rw(const char *path, void (*show)(struct seq *s, void *arg),
		     int (*store)(const char *text, void *arg), void *arg)
{
	struct proc_node n = {
		.mode = S_IFREG | (store ? 0644 : 0444), .show = show, .store = store, .arg = arg
	};

	return register_node(path, &n);
}

int proc_register_link(const char *path, const char *target)
{
	struct proc_node n = { .mode = S_IFLNK | 0777, .arg = (void *)(uintptr_t)target };

	return register_node(path, &n);
}

// ---- The file system ---------------------------------------------------------------------------

static int proc_statfs(struct super *s, struct statfs_info *out)
{
	*out = (struct statfs_info){
		.type = PROC_MAGIC, .bsize = PAGE_SIZE, .namelen = NAME_MAX, .fsid = s->dev
	};
	return 0;
}

static int proc_unmount(struct super *s __unused)
{
	return 0;
}

static void proc_destroy(struct super *s)
{
	kfree(s);
}

static const struct super_ops proc_super_ops = {
	.statfs = proc_statfs,
	.unmount = proc_unmount,
	.destroy = proc_destroy,
};

static int proc_mount(const char *source, const char *options, bool read_only, struct super **out);

struct fs_type proc_type = { .name = "proc", .nodev = true, .mount = proc_mount };

static int proc_mount(const char *source, const char *options, bool read_only, struct super **out)
{
	struct super *s = kmalloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	super_init(s, &proc_type, &proc_super_ops, source, options, read_only);
	s->root = proc_node_inode(s, &proc_root);
	if (!s->root) {
		kfree(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}
