// SPDX-License-Identifier: MIT
//
// What: descriptor tables: small numbers -> open files.
//
// Invariants:
//   I1  A file in the table carries one reference for its place there.
//   I2  `next` is at most the lowest free descriptor.
//   I3  fd_begin takes no reference only if the table has one user, which is the caller: others
//       that come (threads and processes it makes) come through the caller, and /proc readers, who
//       hold a context and are not counted, only look.
//   I4  fd_grant takes no reference and no lock, and preemption is off. So grants that were
//       outgrown are freed through the epoch. A grant is not 0 only while the file that it was
//       found in is in its place; who reads one in grants that have been outgrown since began
//       before that.
// Locking: table->lock (RANK_FILES), a spinlock; files are put after it was dropped.
#include "fs/fs_context.h"

#include "fs/flock.h"
#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"

static struct fd_grants no_grants;

struct fd_table *fd_table_create(void)
{
	struct fd_table *t = kzalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->users = 1;
	spin_init(&t->lock, RANK_FILES);
	t->files = t->first;
	t->size = FD_FIRST;
	t->grants = &no_grants;
	return t;
}

// Room for descriptor `fd`. Called and returns with the lock held, which it may drop in between.
static int grow_locked(struct fd_table *t, unsigned fd) REQUIRES(t->lock)
{
	while (fd >= t->size) {
		unsigned size = t->size;
		struct file **more, **old;

		while (size <= fd)
			size *= 2;
		spin_unlock(&t->lock);
		more = kzalloc(size * sizeof(struct file *));
		spin_lock(&t->lock);
		if (!more)
			return -ENOMEM;
		if (size <= t->size) { // another thread was faster
			kfree(more);
			continue;
		}
		memcpy(more, t->files, t->size * sizeof(struct file *));
		old = t->files;
		t->files = more;
		WRITE_ONCE(t->size, size);
		if (old != t->first)
			kfree(old);
	}
	return 0;
}

static void set_cloexec(struct fd_table *t, unsigned fd, bool on)
{
	if (on)
		t->cloexec[fd / 64] |= BIT(fd % 64);
	else
		t->cloexec[fd / 64] &= ~BIT(fd % 64);
}

struct fd_table *fd_table_copy(struct fd_table *from)
{
	struct fd_table *t = fd_table_create();
	int err;

	if (!t)
		return NULL;
	spin_lock(&t->lock);
	err = grow_locked(t, READ_ONCE(from->size) - 1);
	spin_unlock(&t->lock);
	if (err) {
		fd_table_put(t);
		return NULL;
	}
	spin_lock(&from->lock);
	// A table that grew in between: what is beyond was opened by another thread during the
	// fork.
	for (unsigned fd = 0; fd < min(from->size, t->size); fd++)
		if (from->files[fd])
			t->files[fd] = file_get(from->files[fd]);
	memcpy(t->cloexec, from->cloexec, sizeof(t->cloexec));
	t->next = min(from->next, t->size);
	spin_unlock(&from->lock);
	return t;
}

struct fd_table *fd_table_get(struct fd_table *t)
{
	ref_get(&t->users);
	return t;
}

// Acquire: what former users did to the table comes before what is done without its lock now.
bool fd_table_is_shared(const struct fd_table *t)
{
	return __atomic_load_n(&t->users, __ATOMIC_ACQUIRE) != 1;
}

void fd_table_put(struct fd_table *t)
{
	if (!ref_put_is_last(&t->users))
		return;
	for (unsigned fd = 0; fd < t->size; fd++)
		if (t->files[fd]) {
			flock_close(t->files[fd], t);
			file_put(t->files[fd]);
		}
	if (t->files != t->first)
		kfree(t->files);
	if (t->grants != &no_grants)
		kfree(t->grants);
	kfree(t);
}

// ---- What places grant --------------------------------------------------------------------------

// Another file, or none, is about to be in the place. I4
static inline void revoke_grant(struct fd_table *t, unsigned fd) REQUIRES(t->lock)
{
	if (unlikely(fd < t->grants->size))
		__atomic_store_n(&t->grants->grant[fd], 0, __ATOMIC_RELEASE);
}

static void free_grants(struct epoch_node *n)
{
	kfree(container_of(n, struct fd_grants, retired));
}

// As many as there are places now.
static void grow_grants_locked(struct fd_table *t) REQUIRES(t->lock)
{
	unsigned size = t->size;
	struct fd_grants *more, *old;

	spin_unlock(&t->lock);
	more = kzalloc(sizeof(*more) + size * sizeof(u64));
	spin_lock(&t->lock);
	old = t->grants;
	if (!more || size <= old->size) { // another thread was faster
		kfree(more);
		return;
	}
	memcpy(more->grant, old->grant, old->size * sizeof(u64));
	more->size = size;
	__atomic_store_n(&t->grants, more, __ATOMIC_RELEASE);
	if (old != &no_grants)
		epoch_defer(&old->retired, free_grants); // I4
}

void fd_set_grant(int fd, const struct file *f, u64 grant)
{
	struct fd_table *t = current_context()->fds;
	bool known;

	preempt_disable();
	known = fd_table_grant(t, fd) == grant;
	preempt_enable();
	if (known) // not stored anew, nor the lock taken: others map by it
		return;
	spin_lock(&t->lock);
	if ((unsigned)fd >= t->grants->size && (unsigned)fd < t->size)
		grow_grants_locked(t);
	if ((unsigned)fd < t->grants->size && t->files[fd] == f)
		__atomic_store_n(&t->grants->grant[fd], grant, __ATOMIC_RELEASE);
	spin_unlock(&t->lock);
}

// ---- Descriptors --------------------------------------------------------------------------------

// Empties the place. The file with the table's reference, or NULL.
static inline __attribute__((always_inline)) struct file *remove(struct fd_table *t, unsigned fd)
{
	struct file *f = NULL;

	spin_lock(&t->lock);
	if (fd < t->size)
		f = t->files[fd];
	if (f) {
		t->files[fd] = NULL;
		revoke_grant(t, fd);
		set_cloexec(t, fd, false);
		t->next = min(t->next, fd);
	}
	spin_unlock(&t->lock);
	return f;
}

static void close_file(struct fd_table *t, struct file *f)
{
	flock_close(f, t);
	file_put(f);
}

void fd_table_close_on_exec(struct fd_table *t)
{
	for (unsigned fd = 0; fd < t->size; fd++) {
		struct file *f = NULL;

		if (t->cloexec[fd / 64] & BIT(fd % 64))
			f = remove(t, fd);
		if (f)
			close_file(t, f);
	}
}

static struct file *get(struct fd_table *t, int fd)
{
	struct file *f = NULL;

	spin_lock(&t->lock);
	if (fd >= 0 && (unsigned)fd < t->size)
		f = t->files[fd];
	if (f)
		file_get(f);
	spin_unlock(&t->lock);
	return f;
}

struct file *fd_get(int fd)
{
	return get(current_context()->fds, fd);
}

struct file *fd_get_of(struct fs_context *c, int fd)
{
	return get(c->fds, fd);
}

int fd_next_of(struct fs_context *c, int fd)
{
	struct fd_table *t = c->fds;
	int found = -1;

	spin_lock(&t->lock);
	for (unsigned k = (unsigned)max(fd, 0); k < t->size && found < 0; k++)
		if (t->files[k])
			found = (int)k;
	spin_unlock(&t->lock);
	return found;
}

unsigned fd_table_size(void)
{
	return READ_ONCE(current_context()->fds->size);
}

static __attribute__((noinline)) struct fd_use begin_counted(struct fd_table *t, int fd)
{
	struct file *f = get(t, fd);

	return (struct fd_use){ .file = f, .counted = f != NULL };
}

struct fd_use fd_begin(int fd)
{
	struct fd_table *t = current_context()->fds;
	struct file *f = NULL;

	if (unlikely(fd_table_is_shared(t)))
		return begin_counted(t, fd);
	if (likely((unsigned)fd < t->size)) // a negative one is a large number
		f = t->files[fd];
	return (struct fd_use){ .file = f };
}

// The lowest free place >= min. -EMFILE: not below `limit`; -ENOMEM. The lock may be dropped in
// between.
static inline __attribute__((always_inline)) int find_free_locked(struct fd_table *t, unsigned min,
								  unsigned limit) REQUIRES(t->lock)
{
	for (;;) {
		unsigned fd = max(min, t->next);
		int err;

		while (fd < t->size && t->files[fd])
			fd++;
		if (unlikely(fd >= limit))
			return -EMFILE;
		if (likely(fd < t->size))
			return (int)fd;
		err = grow_locked(t, fd);
		if (err)
			return err;
	}
}

int fd_install(struct file *f, int min_fd, bool cloexec)
{
	struct fs_context *c = current_context();
	struct fd_table *t = c->fds;
	unsigned min = (unsigned)min_fd, limit = READ_ONCE(c->nofile);
	int fd;

	if (unlikely(min >= limit)) // as is what was negative
		return -EINVAL;
	spin_lock(&t->lock);
	fd = find_free_locked(t, min, limit);
	if (likely(fd >= 0)) {
		if (min <= t->next)
			t->next = (unsigned)fd + 1;
		t->files[fd] = f;
		if (cloexec) // of free places it is off
			set_cloexec(t, (unsigned)fd, true);
	}
	spin_unlock(&t->lock);
	return fd;
}

int fd_close(int fd)
{
	struct fd_table *t = current_context()->fds;
	struct file *f = fd < 0 ? NULL : remove(t, (unsigned)fd);

	if (!f)
		return -EBADF;
	close_file(t, f);
	return 0;
}

int fd_replace(int fd, struct file *f, bool cloexec)
{
	struct fs_context *c = current_context();
	struct fd_table *t = c->fds;
	struct file *old = NULL;
	int err;

	if (fd < 0 || (unsigned)fd >= fs_nofile(c))
		return -EBADF;
	spin_lock(&t->lock);
	err = grow_locked(t, (unsigned)fd);
	if (!err) {
		old = t->files[fd];
		t->files[fd] = f;
		revoke_grant(t, (unsigned)fd);
		set_cloexec(t, (unsigned)fd, cloexec);
	}
	spin_unlock(&t->lock);
	if (old)
		close_file(t, old);
	return err ? err : fd;
}

int fd_get_cloexec(int fd)
{
	struct fd_table *t = current_context()->fds;
	int r = -EBADF;

	spin_lock(&t->lock);
	if (fd >= 0 && (unsigned)fd < t->size && t->files[fd])
		r = (t->cloexec[fd / 64] & BIT(fd % 64)) != 0;
	spin_unlock(&t->lock);
	return r;
}

int fd_set_cloexec(int fd, bool on)
{
	struct fd_table *t = current_context()->fds;
	int r = -EBADF;

	spin_lock(&t->lock);
	if (fd >= 0 && (unsigned)fd < t->size && t->files[fd]) {
		set_cloexec(t, (unsigned)fd, on);
		r = 0;
	}
	spin_unlock(&t->lock);
	return r;
}
