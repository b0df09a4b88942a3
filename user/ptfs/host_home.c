// SPDX-License-Identifier: MIT
//
// What: the host's side of fs/ptfs/platform.h that has no medium in it: memory, locks, log, clock,
// bytes.
// Not here: images and the pmem functions (host_pmem.c), memory that fails (host_fail.c).
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "user/ptfs/host_home.h"

// A countdown to one failure.
struct injector {
	u64 left;
	bool hit;
};

static struct {
	void (*log)(void *ctx, enum ptfs_log_level level, const char *line);
	void *log_ctx;
	enum ptfs_log_level log_max;
	struct injector memory, space;
	u64 allocs;
	u64 clock_ns;
	unsigned cpus;
	// The epoch. What CPUs have seen is behind while a test holds it back.
	u64 epoch, seen; // [atomic]
	bool held;
	u32 waits; // [atomic]
} home = { .log_max = PTFS_LOG_WARN, .cpus = 1 };

static bool inject(struct injector *i)
{
	if (!i->left)
		return false;
	if (--i->left)
		return false;
	i->hit = true;
	return true;
}

void host_fail_memory_at(u64 nth)
{
	home.memory = (struct injector){ .left = nth };
}

void host_fail_space_at(u64 nth)
{
	home.space = (struct injector){ .left = nth };
}

bool host_memory_failed(void)
{
	return home.memory.hit;
}

bool host_space_failed(void)
{
	return home.space.hit;
}

bool ptfs_inject_nospace(void)
{
	return inject(&home.space);
}

u64 host_allocs_live(void)
{
	return home.allocs;
}

void *ptfs_alloc(size_t bytes)
{
	void *p;

	ptfs_assert(bytes <= KIB(128));
	p = inject(&home.memory) ? NULL : malloc(bytes);
	if (p)
		__atomic_fetch_add(&home.allocs, 1, __ATOMIC_RELAXED);
	return p;
}

void *ptfs_zalloc(size_t bytes)
{
	void *p = ptfs_alloc(bytes);

	return p ? memset(p, 0, bytes) : NULL;
}

void ptfs_free(void *p)
{
	if (p)
		__atomic_fetch_sub(&home.allocs, 1, __ATOMIC_RELAXED);
	free(p);
}

static u64 stat_count[PTFS_STATS];

void ptfs_count(enum ptfs_stat which, u64 n)
{
	__atomic_fetch_add(&stat_count[which], n, __ATOMIC_RELAXED);
}

u64 host_stat(enum ptfs_stat which)
{
	return __atomic_load_n(&stat_count[which], __ATOMIC_RELAXED);
}

void ptfs_mutex_init(struct ptfs_mutex *m, enum ptfs_rank rank)
{
	(void)rank;
	pthread_mutex_init(&m->m, NULL);
}

void ptfs_mutex_destroy(struct ptfs_mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

void ptfs_mutex_lock(struct ptfs_mutex *m)
{
	pthread_mutex_lock(&m->m);
}

void ptfs_mutex_unlock(struct ptfs_mutex *m)
{
	pthread_mutex_unlock(&m->m);
}

void ptfs_home_inode_init(struct ptfs_home_inode *h)
{
	h->revokes = 0;
	pthread_rwlock_init(&h->map_lock, NULL);
}

void ptfs_home_inode_destroy(struct ptfs_home_inode *h)
{
	pthread_rwlock_destroy(&h->map_lock);
}

void ptfs_map_lock_shared(struct ptfs_home_inode *h)
{
	pthread_rwlock_rdlock(&h->map_lock);
}

bool ptfs_map_trylock_shared(struct ptfs_home_inode *h)
{
	return pthread_rwlock_tryrdlock(&h->map_lock) == 0;
}

void ptfs_map_unlock_shared(struct ptfs_home_inode *h)
{
	pthread_rwlock_unlock(&h->map_lock);
}

void ptfs_map_lock(struct ptfs_home_inode *h)
{
	pthread_rwlock_wrlock(&h->map_lock);
}

void ptfs_map_unlock(struct ptfs_home_inode *h)
{
	pthread_rwlock_unlock(&h->map_lock);
}

// Nothing on the host maps a file through its table, so there is nothing to clear.
// Nobody maps files here.
void ptfs_home_entry_changed(struct ptfs_home_inode *h, u64 off, int level, phys_t entry)
{
	(void)h;
	(void)off;
	(void)level;
	(void)entry;
}

void ptfs_home_root_changed(struct ptfs_home_inode *h)
{
	(void)h;
}

void ptfs_revoke_begin(struct ptfs_home_inode *h)
{
	h->revokes++;
}

void ptfs_revoke_finish(struct ptfs_home_inode *h, u64 off, u64 len, enum ptfs_forget how)
{
	(void)h;
	(void)off;
	(void)len;
	(void)how;
}

// ---- The epoch: there are no CPUs that remember. A test may pretend that there are ----

bool ptfs_home_reachable(const struct ptfs_home_inode *h)
{
	(void)h;
	return true;
}

u64 ptfs_epoch_stamp(void)
{
	return __atomic_fetch_add(&home.epoch, 1, __ATOMIC_SEQ_CST);
}

bool ptfs_epoch_passed(u64 stamp)
{
	return !home.held || __atomic_load_n(&home.seen, __ATOMIC_ACQUIRE) > stamp;
}

void host_epoch_advance(void)
{
	__atomic_store_n(&home.seen, __atomic_load_n(&home.epoch, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
}

void ptfs_epoch_wait(u64 stamp)
{
	if (ptfs_epoch_passed(stamp))
		return;
	__atomic_fetch_add(&home.waits, 1, __ATOMIC_RELAXED);
	host_epoch_advance();
}

void host_epoch_hold(bool hold)
{
	home.held = hold;
	home.waits = 0;
}

u32 host_epoch_waits(void)
{
	return __atomic_load_n(&home.waits, __ATOMIC_RELAXED);
}

// Programs reach no file but by calls.
void ptfs_note_free(phys_t start, u64 len)
{
	(void)start;
	(void)len;
}

void host_clock_set(u64 ns)
{
	home.clock_ns = ns;
}

void host_clock_from_environment(void)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");

	if (epoch)
		host_clock_set(strtoull(epoch, NULL, 10) * 1000000000ull);
}

u64 ptfs_time_ns(void)
{
	struct timespec t;

	if (home.clock_ns)
		return home.clock_ns;
	clock_gettime(CLOCK_REALTIME, &t);
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

// A number per thread, so that tests with threads use several current chunks.
unsigned ptfs_cpu(void)
{
	static unsigned next;
	static __thread unsigned mine;

	if (!mine)
		mine = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % PTFS_CPU_MAX + 1;
	return mine - 1;
}

void host_cpus_set(unsigned nr)
{
	home.cpus = nr;
}

unsigned ptfs_cpus(void)
{
	return home.cpus;
}

struct job {
	void (*fn)(void *ctx, unsigned worker);
	void *ctx;
	unsigned worker;
	pthread_t thread;
};

static void *job_run(void *arg)
{
	struct job *j = arg;

	j->fn(j->ctx, j->worker);
	return NULL;
}

void ptfs_parallel(void (*fn)(void *ctx, unsigned worker), void *ctx, unsigned nr)
{
	struct job job[PTFS_CPU_MAX];
	unsigned started = 1;

	for (; started < nr; started++) {
		struct job *j = &job[started];

		*j = (struct job){ .fn = fn, .ctx = ctx, .worker = started };
		if (pthread_create(&j->thread, NULL, job_run, j))
			break; // the others do its part
	}
	fn(ctx, 0);
	for (unsigned i = 1; i < started; i++)
		pthread_join(job[i].thread, NULL);
}

void host_log_to(void (*fn)(void *ctx, enum ptfs_log_level level, const char *line), void *ctx)
{
	home.log = fn;
	home.log_ctx = ctx;
}

void host_log_level(enum ptfs_log_level level)
{
	home.log_max = level;
}

void ptfs_log(enum ptfs_log_level level, const char *fmt, ...)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&one_at_a_time);
	if (home.log)
		home.log(home.log_ctx, level, line);
	else if (level <= home.log_max)
		fprintf(stderr, "%s\n", line);
	pthread_mutex_unlock(&one_at_a_time);
}

void ptfs_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, what);
	abort();
}

struct ptfs_iter host_iter(void *p, u64 bytes)
{
	return (struct ptfs_iter){ .at = p, .left = bytes };
}

size_t ptfs_iter_to_medium(struct ptfs_iter *from, phys_t dst, size_t bytes)
{
	size_t n = min(bytes, (size_t)from->left);

	pmem_memcpy_nt(dst, from->at, n);
	from->at += n;
	from->left -= n;
	return n;
}

size_t ptfs_iter_from_medium(struct ptfs_iter *to, const void *src, size_t bytes)
{
	size_t n = host_sound(src, min(bytes, (size_t)to->left));

	memcpy(to->at, src, n);
	to->at += n;
	to->left -= n;
	return n;
}

size_t ptfs_iter_zero(struct ptfs_iter *to, size_t bytes)
{
	size_t n = min(bytes, (size_t)to->left);

	memset(to->at, 0, n);
	to->at += n;
	to->left -= n;
	return n;
}
