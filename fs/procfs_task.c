// SPDX-License-Identifier: MIT
//
// What: the directories of processes in /proc, and /proc/self.
// Not here: registered names (fs/procfs.c); what the text files say (kernel/proc registers that).
//
//      /proc/self -> PID
//      /proc/PID/{stat, status, ...}     text, registered by proc_register_task()
//      /proc/PID/{cwd, root, exe}, fd/N  links that lead to the place itself, whatever its name
//      /proc/PID/task/TID/               the same for one thread; it has no task folder of its own
//
// Processes come and go: their names are not cached, every look asks proc_task_ops. An inode knows
// its process by number only; a file of a process that has gone says -ENOENT or -ESRCH.
//
// Invariants:
//   I1  Inode numbers: PID << 16 | kind, or | FD_INO + descriptor; of a thread, TID instead of PID,
//       and THREAD_INO.
#include "fs/procfs_internal.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/x86/time.h"
#include "mm/heap.h"

#define TASK_FILES_MAX 24
#define FD_INO         0x1000u
#define SELF_INO       0xffffull
#define THREAD_INO     BIT(40)
#define STORE_MAX      64u // bytes of a write that count
#define LINK_MODE      (S_IFLNK | 0777)

enum task_kind {
	KIND_DIR,
	KIND_FD_DIR,
	KIND_CWD,
	KIND_ROOT,
	KIND_EXE,
	KIND_FD,
	KIND_TEXT,
	KIND_TASK_DIR
};

static struct proc_task_file files[TASK_FILES_MAX]; // of every process [constant after boot]
static u32 nr_files;                                // atomic, published last
static const struct proc_task_ops *task;

static const struct {
	const char *name;
	enum task_kind kind;
	u32 mode;
} fixed[] = {
	{ "fd", KIND_FD_DIR, S_IFDIR | 0500 },     { "cwd", KIND_CWD, LINK_MODE },
	{ "root", KIND_ROOT, LINK_MODE },          { "exe", KIND_EXE, LINK_MODE },
	{ "task", KIND_TASK_DIR, S_IFDIR | 0555 }, // last: threads have none
};

static const struct inode_ops task_dir_ops, fd_dir_ops, threads_dir_ops, place_ops, text_inode_ops,
	self_ops;
static const struct file_ops task_dir_fops, fd_dir_fops, threads_dir_fops, task_text_ops, no_ops;

void proc_set_task_ops(const struct proc_task_ops *ops)
{
	__atomic_store_n(&task, ops, __ATOMIC_RELEASE);
}

int proc_register_task_file(const struct proc_task_file *file)
{
	if (nr_files == TASK_FILES_MAX)
		return -ENOMEM;
	files[nr_files] = *file;
	__atomic_store_n(&nr_files, nr_files + 1, __ATOMIC_RELEASE);
	return 0;
}

int proc_register_task(const char *name, int (*show)(struct seq *s, u32 pid), bool secret)
{
	struct proc_task_file file = { .name = name, .show = show, .secret = secret };

	return proc_register_task_file(&file);
}

// A decimal number without leading zeros; ~0: it is none.
static u32 parse_number(const char *s, size_t len)
{
	u64 n = 0;

	if (!len || len > 9 || (s[0] == '0' && len > 1))
		return ~0u;
	for (size_t k = 0; k < len; k++) {
		if (s[k] < '0' || s[k] > '9')
			return ~0u;
		n = n * 10 + (u64)(s[k] - '0');
	}
	return (u32)n;
}

// ---- Inodes -------------------------------------------------------------------------------------

static u64 ino_base(u32 pid, u32 tid)
{
	return tid ? THREAD_INO | (u64)tid << 16 : (u64)pid << 16; // I1
}

static const struct inode_ops *inode_ops_of(enum task_kind kind)
{
	switch (kind) {
	case KIND_DIR: return &task_dir_ops;
	case KIND_FD_DIR: return &fd_dir_ops;
	case KIND_TASK_DIR: return &threads_dir_ops;
	case KIND_TEXT: return &text_inode_ops;
	default: return &place_ops;
	}
}

static const struct file_ops *file_ops_of(enum task_kind kind)
{
	switch (kind) {
	case KIND_DIR: return &task_dir_fops;
	case KIND_FD_DIR: return &fd_dir_fops;
	case KIND_TASK_DIR: return &threads_dir_fops;
	case KIND_TEXT: return &task_text_ops;
	default: return &no_ops;
	}
}

static int task_inode(struct super *s, u32 pid, u32 tid, enum task_kind kind, u32 index, u32 mode,
		      struct inode **out)
{
	u64 low = kind == KIND_FD ? FD_INO + index : kind == KIND_TEXT ? 0x100u + index : kind;
	struct proc_inode *pi;
	u32 uid, gid;

	if (!task->owner(pid, &uid, &gid))
		return -ENOENT;
	pi = proc_inode_make(s, inode_ops_of(kind), file_ops_of(kind), ino_base(pid, tid) | low,
			     mode);
	if (!pi)
		return -ENOMEM;
	pi->pid = pid;
	pi->tid = tid;
	pi->kind = kind;
	pi->fd = index;
	pi->inode.uid = uid;
	pi->inode.gid = gid;
	pi->inode.flags |= S_ISDIR(mode) ? INODE_VOLATILE : 0;
	*out = &pi->inode;
	return 0;
}

static int task_getattr(struct inode *i, struct inode_attr *out)
{
	out->atime_ns = out->mtime_ns = out->ctime_ns = time_wall_ns();
	out->size = S_ISLNK(i->mode) ? 64 : 0; // as Linux: enough room for most
	out->blksize = 1024;
	return 0;
}

// ---- Links to places ----------------------------------------------------------------------------

// The open file behind a link: a descriptor's, or the program.
static struct file *file_of(const struct proc_inode *pi)
{
	struct fs_context *c;
	struct file *f;

	if (pi->kind == KIND_EXE)
		return task->exe(pi->pid);
	c = task->context(pi->pid);
	if (!c)
		return NULL;
	f = fd_get_of(c, (int)pi->fd);
	fs_context_free(c);
	return f;
}

static struct dentry *directory_of(const struct proc_inode *pi)
{
	struct fs_context *c = task->context(pi->pid);
	struct dentry *d;

	if (!c)
		return NULL;
	d = pi->kind == KIND_CWD ? fs_cwd(c) : fs_root(c);
	fs_context_free(c);
	return d;
}

static bool is_directory(const struct proc_inode *pi)
{
	return pi->kind == KIND_CWD || pi->kind == KIND_ROOT;
}

static int place_follow(struct inode *i, struct dentry **out)
{
	const struct proc_inode *pi = proc_i(i);
	struct file *f;

	if (!task->may_look(pi->pid))
		return -EACCES;
	if (is_directory(pi)) {
		*out = directory_of(pi);
		return *out ? 0 : -ENOENT;
	}
	f = file_of(pi);
	if (!f)
		return -ENOENT;
	*out = f->dentry ? dentry_get(f->dentry) : dentry_create_root(inode_get(f->inode));
	if (!*out)
		inode_put(f->inode);
	file_put(f);
	return *out ? 0 : -ENOMEM;
}

static ssize place_text(const struct proc_inode *pi, char *path)
{
	struct dentry *d;
	struct file *f;
	ssize n = -ENOENT;

	if (is_directory(pi)) {
		d = directory_of(pi);
		if (d) {
			n = vfs_path(d, path, PATH_MAX);
			dentry_put(d);
		}
		return n;
	}
	f = file_of(pi);
	if (f) {
		n = file_path(f, path, PATH_MAX);
		file_put(f);
	}
	return n;
}

static ssize place_readlink(struct inode *i, char *buf, size_t bytes)
{
	const struct proc_inode *pi = proc_i(i);
	char *path;
	ssize n;

	if (!task->may_look(pi->pid))
		return -EACCES;
	path = kmalloc(PATH_MAX);
	if (!path)
		return -ENOMEM;
	n = place_text(pi, path);
	if (n > 0) {
		n = min(n, (ssize)bytes);
		memcpy(buf, path, (size_t)n);
	}
	kfree(path);
	return n;
}

static const struct inode_ops place_ops = {
	.readlink = place_readlink,
	.follow = place_follow,
	.getattr = task_getattr,
	.destroy = proc_inode_destroy,
};

static const struct file_ops no_ops;

// ---- Text ---------------------------------------------------------------------------------------

// The inode's owner is who had the process, or another one of that number, when it was looked up.
static int print_task(struct seq *s, struct proc_inode *pi)
{
	const struct proc_task_file *t = &files[pi->fd];

	if (t->secret && !task->may_look(pi->pid))
		return -EACCES;
	return t->show_thread ? t->show_thread(s, pi->pid, pi->tid) : t->show(s, pi->pid);
}

static int task_text_open(struct inode *i __unused, struct file *f)
{
	return proc_text_open(f, print_task);
}

static ssize task_text_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	const struct proc_inode *pi = proc_i(f->inode);
	const struct proc_task_file *t = &files[pi->fd];
	char text[STORE_MAX + 1];
	size_t all = from->left, want = min(all, (size_t)STORE_MAX);
	int err;

	if (!t->store_thread)
		return -EIO;
	if (iov_copy_from(from, text, want) != want)
		return -EFAULT;
	text[want] = '\0';
	err = t->store_thread(pi->pid, pi->tid, text);
	if (err)
		return err;
	*pos += all;
	return (ssize)all;
}

static const struct file_ops task_text_ops = {
	.open = task_text_open,
	.release = proc_text_release,
	.read = proc_text_read,
	.write = task_text_write,
};

static const struct inode_ops text_inode_ops = {
	.getattr = task_getattr,
	.destroy = proc_inode_destroy,
};

// ---- /proc/PID ----------------------------------------------------------------------------------

static u32 text_mode(const struct proc_task_file *t)
{
	return S_IFREG | (t->secret ? 0400 : 0444) | (t->store_thread ? 0200 : 0);
}

static unsigned nr_fixed(u32 tid)
{
	return ARRAY_SIZE(fixed) - (tid != 0);
}

static int task_dir_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	u32 pid = proc_i(dir)->pid, tid = proc_i(dir)->tid;
	u32 count = __atomic_load_n(&nr_files, __ATOMIC_ACQUIRE);

	for (unsigned k = 0; k < nr_fixed(tid); k++)
		if (strlen(fixed[k].name) == len && memcmp(fixed[k].name, name, len) == 0)
			return task_inode(dir->super, pid, tid, fixed[k].kind, 0, fixed[k].mode,
					  out);
	for (u32 k = 0; k < count; k++)
		if (strlen(files[k].name) == len && memcmp(files[k].name, name, len) == 0)
			return task_inode(dir->super, pid, tid, KIND_TEXT, k, text_mode(&files[k]),
					  out);
	return -ENOENT;
}

static int task_dir_readdir(struct file *f, u64 *pos, dir_emit emit, void *ctx)
{
	const struct proc_inode *pi = proc_i(f->inode);
	u64 base = ino_base(pi->pid, pi->tid), places = nr_fixed(pi->tid);
	u32 count = __atomic_load_n(&nr_files, __ATOMIC_ACQUIRE);

	for (u64 k = *pos - 2; k < places + count; k++) {
		bool text = k >= places;
		const char *name = text ? files[k - places].name : fixed[k].name;
		u32 mode = text ? S_IFREG : fixed[k].mode;
		u64 ino = base | (text ? 0x100 + k - places : fixed[k].kind);

		if (!emit(ctx, name, strlen(name), ino, DT_OF_MODE(mode), k + 3))
			break;
		*pos = k + 3;
	}
	return 0;
}

static const struct inode_ops task_dir_ops = {
	.lookup = task_dir_lookup,
	.getattr = task_getattr,
	.destroy = proc_inode_destroy,
};

static const struct file_ops task_dir_fops = { .readdir = task_dir_readdir };

// ---- /proc/PID/fd -------------------------------------------------------------------------------

// Linux shows in the link's mode what the descriptor may do.
static u32 fd_mode(const struct file *f)
{
	unsigned access = f->flags & O_ACCMODE;

	return S_IFLNK | 0100 | (access != O_WRONLY ? 0400 : 0) | (access != O_RDONLY ? 0200 : 0);
}

static int fd_dir_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	struct proc_inode link = { .pid = proc_i(dir)->pid,
				   .tid = proc_i(dir)->tid,
				   .kind = KIND_FD,
				   .fd = parse_number(name, len) };
	struct file *f;
	u32 mode;

	if (link.fd >= FD_MAX)
		return -ENOENT;
	if (!task->may_look(link.pid))
		return -EACCES;
	f = file_of(&link);
	if (!f)
		return -ENOENT;
	mode = fd_mode(f);
	file_put(f);
	return task_inode(dir->super, link.pid, link.tid, KIND_FD, link.fd, mode, out);
}

static int fd_dir_readdir(struct file *f, u64 *pos, dir_emit emit, void *ctx)
{
	u32 pid = proc_i(f->inode)->pid;
	u64 base = ino_base(pid, proc_i(f->inode)->tid);
	struct fs_context *c;
	char name[12];
	int fd;

	if (!task->may_look(pid))
		return -EACCES;
	c = task->context(pid);
	if (!c)
		return 0;
	while ((fd = fd_next_of(c, (int)*pos - 2)) >= 0) {
		size_t len = ksnprintf(name, sizeof(name), "%d", fd);

		if (!emit(ctx, name, len, base | (FD_INO + (u32)fd), DT_OF_MODE(LINK_MODE),
			  (u64)fd + 3))
			break;
		*pos = (u64)fd + 3;
	}
	fs_context_free(c);
	return 0;
}

static const struct inode_ops fd_dir_ops = {
	.lookup = fd_dir_lookup,
	.getattr = task_getattr,
	.destroy = proc_inode_destroy,
};

static const struct file_ops fd_dir_fops = { .readdir = fd_dir_readdir };

// ---- /proc/PID/task -----------------------------------------------------------------------------

static int threads_dir_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	u32 pid = proc_i(dir)->pid, tid = parse_number(name, len);

	if (tid == ~0u || !tid || task->next_thread(pid, tid) != tid)
		return -ENOENT;
	return task_inode(dir->super, pid, tid, KIND_DIR, 0, S_IFDIR | 0555, out);
}

static int threads_dir_readdir(struct file *f, u64 *pos, dir_emit emit, void *ctx)
{
	u32 pid = proc_i(f->inode)->pid, tid;
	char name[12];

	while ((tid = task->next_thread(pid, (u32)(*pos - 2)))) {
		size_t len = ksnprintf(name, sizeof(name), "%u", tid);

		if (!emit(ctx, name, len, ino_base(pid, tid), DT_OF_MODE(S_IFDIR), (u64)tid + 3))
			break;
		*pos = (u64)tid + 3;
	}
	return 0;
}

static const struct inode_ops threads_dir_ops = {
	.lookup = threads_dir_lookup,
	.getattr = task_getattr,
	.destroy = proc_inode_destroy,
};

static const struct file_ops threads_dir_fops = { .readdir = threads_dir_readdir };

// ---- In the root --------------------------------------------------------------------------------

static ssize self_readlink(struct inode *i __unused, char *buf, size_t bytes)
{
	char name[12];
	u32 pid = task->self();
	size_t n = ksnprintf(name, sizeof(name), "%u", pid);

	if (!pid)
		return -ENOENT;
	n = min(n, bytes);
	memcpy(buf, name, n);
	return (ssize)n;
}

static const struct inode_ops self_ops = {
	.readlink = self_readlink,
	.getattr = task_getattr,
	.destroy = proc_inode_destroy,
};

int proc_task_lookup(struct inode *root, const char *name, size_t len, struct inode **out)
{
	u32 pid = parse_number(name, len);
	struct proc_inode *pi;

	if (!__atomic_load_n(&task, __ATOMIC_ACQUIRE))
		return -ENOENT;
	if (len == 4 && memcmp(name, "self", 4) == 0) {
		pi = proc_inode_make(root->super, &self_ops, &no_ops, SELF_INO, LINK_MODE);
		*out = pi ? &pi->inode : NULL;
		return pi ? 0 : -ENOMEM;
	}
	if (pid == ~0u || !pid)
		return -ENOENT;
	return task_inode(root->super, pid, 0, KIND_DIR, 0, S_IFDIR | 0555, out);
}

int proc_task_readdir(u64 *pos, dir_emit emit, void *ctx)
{
	char name[12];
	u32 pid;

	if (!__atomic_load_n(&task, __ATOMIC_ACQUIRE))
		return 0;
	if (*pos == PROC_TASK_POS) {
		if (!emit(ctx, "self", 4, SELF_INO, DT_OF_MODE(LINK_MODE), PROC_TASK_POS + 1))
			return 0;
		*pos = PROC_TASK_POS + 1;
	}
	while ((pid = task->next((u32)(*pos - PROC_TASK_POS)))) {
		size_t len = ksnprintf(name, sizeof(name), "%u", pid);
		u64 next = (u64)PROC_TASK_POS + pid + 1;

		if (!emit(ctx, name, len, (u64)pid << 16, DT_OF_MODE(S_IFDIR), next))
			return 0;
		*pos = next;
	}
	return 0;
}
