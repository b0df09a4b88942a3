// SPDX-License-Identifier: MIT
//
// What: pipes and fifos.
//
// A pipe is a ring of 16 pages, filled as needed: bytes [tail, head) of an endless stream are in
// it, stream position p in page (p / 4096) % 16.
//
// Invariants:
//   I1  head - tail <= PIPE_CAPACITY.
//   I2  A page is there if bytes of [tail, head) lie in it. One that was read to its end is freed,
//       unless head has come around to it.
//   I3  A write of at most PIPE_BUF bytes moves head once: no other write comes in between, and a
//       reader sees all of it or nothing.
//   I4  readers and writers count open files by what they may do; a pipe with neither is freed.
// Locking: pipe->lock (RANK_PIPE), a mutex. User memory is copied under it without taking faults
// (fs/iov.h). fifo_lock guards inode->pipe of fifos, and comes first.
// Failure: no page: what was moved so far counts, else -ENOMEM.
#include "fs/pipe.h"

#include "fs/ioctls.h"
#include "fs/poll.h"
#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/uaccess.h"

#define PIPE_PAGES (PIPE_CAPACITY / PAGE_SIZE)

struct pipe {
	struct mutex lock;
	struct wait_queue wait; // for bytes, for room, for the other side
	struct poll_head pollers;
	u64 head, tail;                 // [lock] I1
	char *page[PIPE_PAGES];         // [lock] I2
	u32 readers, writers;           // [lock] I4
	u32 reader_opens, writer_opens; // how often so far [lock]
};

struct pipe_inode {
	struct inode inode;
	u64 time_ns;
};

static struct super pipe_super;
static u64 last_ino;           // atomic
static struct mutex fifo_lock; // RANK_INODE: which fifos have a pipe
static void (*send_sigpipe)(void);

void pipe_set_signal(void (*fn)(void))
{
	send_sigpipe = fn;
}

static struct pipe *pipe_alloc(void)
{
	struct pipe *p = kzalloc(sizeof(*p));

	if (!p)
		return NULL;
	mutex_init(&p->lock, RANK_PIPE);
	wait_queue_init(&p->wait);
	poll_head_init(&p->pollers);
	return p;
}

static void page_drop(struct pipe *p, unsigned k)
{
	if (p->page[k])
		frame_free(virt_to_phys(p->page[k]), 0);
	p->page[k] = NULL;
}

static void pipe_free(struct pipe *p)
{
	for (unsigned k = 0; k < PIPE_PAGES; k++)
		page_drop(p, k);
	kfree(p);
}

static void pipe_changed(struct pipe *p)
{
	wait_wake_all(&p->wait);
	poll_wake(&p->pollers);
}

static u64 used(const struct pipe *p)
{
	return READ_ONCE(p->head) - READ_ONCE(p->tail);
}

static char *page_at(struct pipe *p, u64 pos, bool make)
{
	unsigned k = (pos / PAGE_SIZE) % PIPE_PAGES;
	phys_t fresh;

	if (!p->page[k] && make) {
		fresh = frame_alloc(0, 0);
		if (fresh.pa != PHYS_NONE.pa)
			p->page[k] = phys_to_virt(fresh);
	}
	return p->page[k];
}

// ---- Reading ------------------------------------------------------------------------------------

// With the ring (nearly) full, head stands in the page that tail has just left, one round later.
static bool reaches_around(const struct pipe *p)
{
	return p->head > p->tail - PAGE_SIZE + PIPE_CAPACITY;
}

// Moves what is there. Bytes done; fewer than asked and than there is: a user page is missing.
static size_t take(struct pipe *p, struct iov_iter *to)
{
	size_t done = 0;

	while (to->left && p->tail < p->head) {
		u64 off = p->tail & (PAGE_SIZE - 1);
		size_t there = min(p->head - p->tail, PAGE_SIZE - off);
		size_t n = min(to->left, there);
		size_t got = iov_copy_to(to, page_at(p, p->tail, false) + off, n);

		p->tail += got;
		done += got;
		if (got && !(p->tail & (PAGE_SIZE - 1)) && !reaches_around(p))
			page_drop(p, ((p->tail - 1) / PAGE_SIZE) % PIPE_PAGES);
		if (got < n)
			break;
	}
	return done;
}

static ssize pipe_read(struct file *f, struct iov_iter *to, u64 *pos __unused)
{
	struct pipe *p = f->private;
	ssize done = 0;
	int err = 0;

	if (!to->left)
		return 0;
	iov_faults_off(to);
	mutex_lock(&p->lock);
	for (;;) {
		done += (ssize)take(p, to);
		if (!to->left)
			break;
		if (p->tail < p->head) { // short because of a missing page
			mutex_unlock(&p->lock);
			err = iov_fault_in(to, true);
			mutex_lock(&p->lock);
			if (err)
				break;
			continue;
		}
		if (done || !p->writers)
			break;
		if (f->flags & O_NONBLOCK) {
			err = -EAGAIN;
			break;
		}
		mutex_unlock(&p->lock);
		err = wait_event_interruptible(&p->wait, used(p) || !READ_ONCE(p->writers));
		mutex_lock(&p->lock);
		if (err) {
			err = -ERESTARTSYS;
			break;
		}
	}
	mutex_unlock(&p->lock);
	if (done)
		pipe_changed(p);
	return done ? done : err;
}

// ---- Writing ------------------------------------------------------------------------------------

// Copies `bytes` behind head, which stays; for the caller to publish. Bytes done.
static size_t put(struct pipe *p, struct iov_iter *from, size_t bytes, int *err)
{
	size_t done = 0;

	while (done < bytes) {
		u64 at = p->head + done;
		u64 off = at & (PAGE_SIZE - 1);
		size_t n = min(bytes - done, PAGE_SIZE - off), got;
		char *page = page_at(p, at, true);

		if (!page) {
			*err = -ENOMEM;
			break;
		}
		got = iov_copy_from(from, page + off, n);
		done += got;
		if (got < n) {
			*err = -EFAULT;
			break;
		}
	}
	return done;
}

// What may be written now: all of a small write or nothing.
static size_t room_for(const struct pipe *p, const struct iov_iter *from, bool atomic)
{
	u64 room = PIPE_CAPACITY - (p->head - p->tail);

	if (atomic)
		return room >= from->left ? from->left : 0;
	return min(room, from->left);
}

static bool has_room(const struct pipe *p, u64 need)
{
	return PIPE_CAPACITY - used(p) >= need || !READ_ONCE(p->readers);
}

// One step of a write with the lock held: bytes written, 0: no room, -EPIPE, -ENOMEM, or -EFAULT:
// the user page at the iterator's position is missing.
static ssize write_step(struct pipe *p, struct iov_iter *from, bool atomic)
{
	size_t got;
	int err = 0;

	if (!p->readers)
		return -EPIPE;
	got = put(p, from, room_for(p, from, atomic), &err);
	if (err && (atomic || !got))
		return err;
	p->head += got;
	return (ssize)got;
}

// Sleeps until there is room. Lock held before and after.
static int wait_for_room(struct pipe *p, const struct file *f, u64 need) REQUIRES(p->lock)
{
	int err;

	if (f->flags & O_NONBLOCK)
		return -EAGAIN;
	mutex_unlock(&p->lock);
	err = wait_event_interruptible(&p->wait, has_room(p, need));
	mutex_lock(&p->lock);
	return err ? -ERESTARTSYS : 0;
}

static ssize pipe_write(struct file *f, struct iov_iter *from, u64 *pos __unused)
{
	struct pipe *p = f->private;
	bool atomic = from->left <= PIPE_BUF;
	struct iov_iter start;
	ssize done = 0, n = 0;

	iov_faults_off(from);
	start = *from;
	mutex_lock(&p->lock);
	while (from->left && n >= 0) {
		n = write_step(p, from, atomic);
		if (n > 0) {
			done += n;
		} else if (n == 0) {
			if (done)
				pipe_changed(p);
			n = wait_for_room(p, f, atomic ? from->left : 1);
		} else if (n == -EFAULT) {
			mutex_unlock(&p->lock);
			n = iov_fault_in(from, false);
			mutex_lock(&p->lock);
			if (atomic)
				*from = start; // nothing was published: begin anew
		}
	}
	mutex_unlock(&p->lock);
	if (done)
		pipe_changed(p);
	if (n == -EPIPE && send_sigpipe)
		send_sigpipe();
	return done ? done : n;
}

// ---- The rest -----------------------------------------------------------------------------------

static bool can_read(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_WRONLY;
}

static bool can_write(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY;
}

static unsigned pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->private;
	unsigned ready = 0;

	poll_wait(&p->pollers, pt);
	mutex_lock(&p->lock);
	if (can_read(f)) {
		if (p->head > p->tail)
			ready |= POLLIN | POLLRDNORM;
		// A fifo that had no writer since it was opened has not hung up.
		if (!p->writers && p->writer_opens != f->pos)
			ready |= POLLHUP;
	}
	if (can_write(f)) {
		if (PIPE_CAPACITY - (p->head - p->tail) >= PIPE_BUF)
			ready |= POLLOUT | POLLWRNORM;
		if (!p->readers)
			ready |= POLLERR;
	}
	mutex_unlock(&p->lock);
	return ready;
}

static s64 pipe_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	int bytes = (int)used(f->private);

	if (cmd != FIONREAD)
		return -ENOTTY;
	return copy_to_user(UVA(arg), &bytes, sizeof(bytes));
}

// The file begins to use `p`; it keeps in pos how many writers there had been.
static void pipe_join(struct pipe *p, struct file *f)
{
	f->private = p;
	f->stream = true;
	f->pos = p->writer_opens;
	if (can_read(f)) {
		p->readers++;
		p->reader_opens++;
	}
	if (can_write(f)) {
		p->writers++;
		p->writer_opens++;
	}
}

// True: nobody uses the pipe any more.
static bool pipe_leave(struct pipe *p, const struct file *f)
{
	bool unused;

	mutex_lock(&p->lock);
	p->readers -= can_read(f);
	p->writers -= can_write(f);
	unused = !p->readers && !p->writers;
	mutex_unlock(&p->lock);
	if (!unused)
		pipe_changed(p);
	return unused;
}

// ---- Fifos --------------------------------------------------------------------------------------

static void fifo_release(struct file *f)
{
	struct pipe *p = f->private;
	bool unused;

	mutex_lock(&fifo_lock);
	unused = pipe_leave(p, f);
	if (unused)
		f->inode->pipe = NULL;
	mutex_unlock(&fifo_lock);
	if (unused)
		pipe_free(p);
}

// Opening waits for the other side (fifo(7)); `seen`: how often that had been opened before.
static int fifo_wait(struct pipe *p, const struct file *f, u32 readers_seen, u32 writers_seen)
{
	switch (f->flags & O_ACCMODE) {
	case O_RDONLY:
		if ((f->flags & O_NONBLOCK) || READ_ONCE(p->writers))
			return 0;
		return wait_event_interruptible(&p->wait,
						READ_ONCE(p->writer_opens) != writers_seen);
	case O_WRONLY:
		if (READ_ONCE(p->readers))
			return 0;
		if (f->flags & O_NONBLOCK)
			return -ENXIO;
		return wait_event_interruptible(&p->wait,
						READ_ONCE(p->reader_opens) != readers_seen);
	default: return 0;
	}
}

static int fifo_open(struct inode *i, struct file *f)
{
	u32 readers_seen, writers_seen;
	struct pipe *p;
	int err;

	mutex_lock(&fifo_lock);
	if (!i->pipe)
		i->pipe = pipe_alloc();
	p = i->pipe;
	if (!p) {
		mutex_unlock(&fifo_lock);
		return -ENOMEM;
	}
	mutex_lock(&p->lock);
	readers_seen = p->reader_opens;
	writers_seen = p->writer_opens;
	pipe_join(p, f);
	mutex_unlock(&p->lock);
	mutex_unlock(&fifo_lock);
	pipe_changed(p);
	if (i->super == &pipe_super) { // a pipe by way of /proc: both sides were there
		f->pos = ~0ull;
		return 0;
	}
	err = fifo_wait(p, f, readers_seen, writers_seen);
	if (err) {
		fifo_release(f);
		return err == -EINTR ? -ERESTARTSYS : err;
	}
	return 0;
}

const struct file_ops fifo_ops = {
	.open = fifo_open,
	.release = fifo_release,
	.read = pipe_read,
	.write = pipe_write,
	.poll = pipe_poll,
	.ioctl = pipe_ioctl,
};

// ---- Pipes --------------------------------------------------------------------------------------

static int pipe_getattr(struct inode *i, struct inode_attr *out)
{
	const struct pipe_inode *pi = container_of(i, struct pipe_inode, inode);

	out->atime_ns = out->mtime_ns = out->ctime_ns = pi->time_ns;
	return 0;
}

static int pipe_setattr(struct inode *i, unsigned which, const struct inode_attr *attr)
{
	mutex_lock(&i->lock);
	if (which & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (attr->mode & 07777);
	if (which & ATTR_UID)
		i->uid = attr->uid;
	if (which & ATTR_GID)
		i->gid = attr->gid;
	mutex_unlock(&i->lock);
	return 0;
}

static void pipe_inode_destroy(struct inode *i)
{
	kfree(container_of(i, struct pipe_inode, inode));
}

static const struct inode_ops pipe_inode_ops = {
	.getattr = pipe_getattr,
	.setattr = pipe_setattr,
	.destroy = pipe_inode_destroy,
};

static struct inode *pipe_inode_make(void)
{
	const struct credentials *c = &fs_current()->cred;
	struct pipe_inode *pi = kmalloc(sizeof(*pi));

	if (!pi)
		return NULL;
	inode_init(&pi->inode, &pipe_super, &pipe_inode_ops, &fifo_ops,
		   __atomic_add_fetch(&last_ino, 1, __ATOMIC_RELAXED), S_IFIFO | 0600);
	pi->inode.uid = c->fsuid;
	pi->inode.gid = c->fsgid;
	pi->time_ns = time_wall_ns();
	return &pi->inode;
}

static struct file *end_make(struct inode *i, struct pipe *p, unsigned flags)
{
	struct file *f = file_alloc(i, NULL, &fifo_ops, flags);

	if (!f)
		return NULL;
	if (can_write(f))
		__atomic_fetch_add(&i->writers, 1, __ATOMIC_RELAXED);
	pipe_join(p, f);
	return f;
}

int pipe_create(unsigned flags, struct file **reader, struct file **writer)
{
	struct inode *i = pipe_inode_make();
	struct pipe *p = i ? pipe_alloc() : NULL;
	int err = -ENOMEM;

	*reader = *writer = NULL;
	if (p) {
		i->pipe = p; // /proc/PID/fd/N opens it like a fifo
		*reader = end_make(i, p, flags | O_RDONLY);
	}
	if (*reader)
		*writer = end_make(i, p, flags | O_WRONLY);
	if (*writer) {
		(*reader)->pos = ~0ull; // whoever has no writer any more was hung up on
		err = 0;
	} else if (*reader) {
		file_put(*reader);
	} else if (p) {
		pipe_free(p);
	}
	if (i)
		inode_put(i);
	return err;
}

void pipe_init(void)
{
	static const struct fs_type pipe_type = { .name = "pipefs", .nodev = true };

	mutex_init(&fifo_lock, RANK_INODE);
	super_init(&pipe_super, &pipe_type, NULL, "pipefs", "", false);
}
