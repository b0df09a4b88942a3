// SPDX-License-Identifier: MIT
//
// What: the thread of each mounted file system that makes free blocks zero ahead of their use, when
// and as fast as it may.
// It also writes blocks that have failed into the list on the medium.
// Not here: the zeroing, and what is left to be done (fs/ptfs/prezero.c), the list (badlist.c).
//
//      rate   the mount option prezero=, else /proc/sys/daxvm/prezero, in MiB a second; 0: none
//      when   as much as half a CPU has been idle since the thread looked last
//
// Every slice it does the rate's share of work. With nothing to do it looks again a few times a
// second; with a rate of 0 it sleeps until that changes, so that measurements are not disturbed.
//
// Locking: none of its own. Ended by `stop` and a wake-up, as the thread in mapping.c is.
#include "fs/procfs.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/time.h"

#define MS             1000000ull
#define SLICE_NS       (20 * MS)  // while there is work
#define LOOK_NS        (250 * MS) // while there is none, or the machine is busy
#define RATE_DEFAULT   64u        // MiB/s
#define RATE_MAX       (1u << 20)
#define SLICES_PER_SEC (1000 * MS / SLICE_NS)

static u64 default_rate = RATE_DEFAULT; // [atomic]
static struct wait_queue changed;       // the rate has, or some thread shall end

static u64 rate_of(const struct glue_super *g)
{
	u64 rate = g->options.has_prezero ? g->options.prezero
					  : __atomic_load_n(&default_rate, __ATOMIC_RELAXED);

	return min(rate, (u64)RATE_MAX);
}

// Was half a CPU idle since *idle_ns and *at_ns were noted? They are noted anew.
static bool was_idle(u64 *idle_ns, u64 *at_ns)
{
	u64 idle = sched_stats().idle_ns, now = time_now_ns();
	bool yes = idle - *idle_ns >= (now - *at_ns) / 2;

	*idle_ns = idle;
	*at_ns = now;
	return yes;
}

// Have blocks failed that the list on the medium does not have?
static bool bad_unwritten(const struct glue_super *g)
{
	return ptfs_bad_count() != g->bad_written;
}

static void write_bad(struct glue_super *g)
{
	u32 now = ptfs_bad_count();

	ptfs_bad_store(g->fs);
	g->bad_written = now;
}

static void wake(void)
{
	wait_wake_all(&changed);
}

static void zero_thread(void *arg)
{
	struct glue_super *g = arg;
	u64 idle_ns = sched_stats().idle_ns, at_ns = time_now_ns();
	u64 wait_ns = LOOK_NS;

	while (!READ_ONCE(g->zero_stop)) {
		u64 bytes = rate_of(g) * MIB(1) / SLICES_PER_SEC;

		if (unlikely(bad_unwritten(g)))
			write_bad(g);
		if (!bytes) {
			wait_event(&changed,
				   READ_ONCE(g->zero_stop) || rate_of(g) || bad_unwritten(g));
			continue;
		}
		if (wait_event_timeout(&changed, READ_ONCE(g->zero_stop) || bad_unwritten(g),
				       time_now_ns() + wait_ns) != -ETIMEDOUT)
			continue;
		wait_ns = LOOK_NS;
		if (was_idle(&idle_ns, &at_ns) && ptfs_prezero(g->fs, bytes) >= bytes)
			wait_ns = SLICE_NS;
	}
	spin_lock(&g->ready_lock);
	g->zero_running = false;
	wait_wake_all(&g->ready_wait);
	spin_unlock(&g->ready_lock);
}

int glue_zero_start(struct glue_super *g)
{
	if (ptfs_read_only(g->fs))
		return 0;
	g->zero_running = true;
	if (thread_create("ptfs-zero", zero_thread, g))
		return 0;
	g->zero_running = false;
	return -ENOMEM;
}

void glue_zero_stop(struct glue_super *g)
{
	WRITE_ONCE(g->zero_stop, true);
	wait_wake_all(&changed);
	wait_event(&g->ready_wait, !READ_ONCE(g->zero_running));
	// The thread clears the mark under the lock: with it taken, its last touch of `g` is over.
	spin_lock(&g->ready_lock);
	spin_unlock(&g->ready_lock);
}

// ---- /proc/sys/daxvm/prezero ----

static void show_rate(struct seq *s, void *arg)
{
	(void)arg;
	seq_printf(s, "%llu\n",
		   (unsigned long long)__atomic_load_n(&default_rate, __ATOMIC_RELAXED));
}

static int store_rate(const char *text, void *arg)
{
	const char *end;
	u64 rate;

	(void)arg;
	if (!parse_u64(text, &end, false, &rate) || (*end && *end != '\n') || rate > RATE_MAX)
		return -EINVAL;
	__atomic_store_n(&default_rate, rate, __ATOMIC_RELAXED);
	wait_wake_all(&changed);
	return 0;
}

void glue_zero_init(void)
{
	wait_queue_init(&changed);
	poison_on_added(wake);
	if (proc_register_rw("sys/daxvm/prezero", show_rate, store_rate, NULL))
		log_warn("ptfs: /proc/sys/daxvm/prezero is missing");
}
