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
//   I4  fd_peek_map takes no reference and no lock, and preemption is off. An array of places that
//       was outgrown is freed through the epoch. A file is not: its memory may be another file by
//       now, or anything else. What was read there counts if afterwards the file is still in
//       its place and `born` is what it was before (it is 0 while a file is being made): then
//       it was there all the time.
// Locking: table->lock (RANK_FILES), a spinlock; files are put after it was dropped.
#include "fs/fs_context.h"

#include "fs/flock.h"
#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "kernel/sched/epoch.h"
#include "mm/heap.h"

#define FD_FIRST 64 // places in a new table; grows to FD_MAX by doubling

struct fd_table {
	// What every look-up reads, and hardly anything writes.
	struct file **files; // [lock; atomic for fd_peek_map] `size` places
	unsigned size;       // [lock; atomic] never more than `files` has
	u32 users;           // contexts that use it [atomic]

	struct spinlock lock __cacheline; // RANK_FILES
	unsigned next;                    // [lock] I2
	u64 cloexec[FD_MAX / 64];         // [lock]
	struct file *first[FD_FIRST];
};

// Places in memory of their own.
struct places {
	struct epoch_node retired;
	struct file *file[];
};

struct fd_table *fd_table_create(void)
{
	struct fd_table *t = kzalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->users = 1;
	spin_init(&t->lock, RANK_FILES);
	t->files = t->first;
	t->size = FD_FIRST;
	return t;
}

static struct places *places_of(struct file **files)
{
	return container_of(files, struct places, file[0]);
}

static void free_places(struct epoch_node *n)
{
	kfree(container_of(n, struct places, retired));
}

// Room for descriptor `fd`. Called and returns with the lock held, which it may drop in between.
static int grow_locked(struct fd_table *t, unsigned fd) REQUIRES(t->lock)
{
	while (fd >= t->size) {
		unsigned size = t->size;
		struct places *more;
		struct file **old;

		while (size <= fd)
			size *= 2;
		spin_unlock(&t->lock);
		more = kzalloc(sizeof(*more) + size * sizeof(struct file *));
		spin_lock(&t->lock);
		if (!more)
			return -ENOMEM;
		if (size <= t->size) { // another thread was faster
			kfree(more);
			continue;
		}
		memcpy(more->file, t->files, t->size * sizeof(struct file *));
		old = t->files;
		__atomic_store_n(&t->files, more->file, __ATOMIC_RELEASE);
		__atomic_store_n(&t->size, size, __ATOMIC_RELEASE); // after the places: fd_peek_map
		if (old != t->first)
			epoch_defer(&places_of(old)->retired, free_places); // I4
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
		kfree(places_of(t->files));
	kfree(t);
}

// Empties the place. The file with the table's reference, or NULL.
static inline __attribute__((always_inline)) struct file *remove(struct fd_table *t, unsigned fd)
{
	struct file *f = NULL;

	spin_lock(&t->lock);
	if (fd < t->size)
		f = t->files[fd];
	if (f) {
		__atomic_store_n(&t->files[fd], NULL, __ATOMIC_RELEASE);
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

struct vm_object *fd_peek_map(int fd, unsigned *flags)
{
	const struct fd_table *t = current_context()->fds;
	struct vm_object *o;
	struct file *f, **place;
	u64 born;

	if (unlikely((unsigned)fd >= __atomic_load_n(&t->size, __ATOMIC_ACQUIRE)))
		return NULL;
	place = &__atomic_load_n(&t->files, __ATOMIC_ACQUIRE)[fd];
	f = __atomic_load_n(place, __ATOMIC_ACQUIRE);
	if (unlikely(!f))
		return NULL;
	born = __atomic_load_n(&f->born, __ATOMIC_ACQUIRE);
	*flags = __atomic_load_n(&f->flags, __ATOMIC_ACQUIRE);
	o = __atomic_load_n(&f->map_object, __ATOMIC_ACQUIRE);
	if (unlikely(!born || READ_ONCE(f->born) != born || READ_ONCE(*place) != f)) // I4
		return NULL;
	return o;
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
		__atomic_store_n(&t->files[fd], f, __ATOMIC_RELEASE);
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
		__atomic_store_n(&t->files[fd], f, __ATOMIC_RELEASE);
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
