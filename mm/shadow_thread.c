// SPDX-License-Identifier: MIT
//
// What: the thread that looks after copies of tables: completes them, gives them back when they are
// cold, when memory is short, or by order, and frees their pages in their epoch; the switch.
// Not here: the copies themselves (mm/shadow.c).
//
// Copies are given back, not their pages one by one: a copy with holes would have to be watched for
// faults. The one that was used longest ago goes first.
//
// Locking: list_lock (RANK_SHADOWS, spin). The thread marks a shadow busy under it and then works
// with other locks; whoever ends a shadow takes it off the list, and waits while it is busy. So the
// thread may only try for map_lock: the one who ends it may hold that.
// Failure: none; what cannot be done now is done in the next round.
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/wait.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/shadow_internal.h"
#include "mm/stat.h"

u64 shadow_cold_ns = 10000000000ull;

#define ROUND_NS   1000000000ull // between two looks at all copies
#define STEP_NS    10000000ull   // while there is something to complete
#define EPOCH_NS   1000000ull
#define CALL_PAGES 512u // that one call copies: the tables of 1 GiB in 4 KiB blocks

static struct {
	struct spinlock lock;        // RANK_SHADOWS
	struct list shadows;         // that have a copy [lock]
	struct shadow_chain resting; // retired pages [lock]
	bool freeing;                // others, taken from there [lock]
	bool changed;                // the switch [atomic]
	struct wait_queue wait;      // the thread
	struct wait_queue idle;      // who waits for the thread to be done with something
	u64 made, freed;             // pages [atomic]
} all = { .lock = SPINLOCK_INIT(RANK_SHADOWS) };

// ---- Memory -------------------------------------------------------------------------------------

u64 shadow_pages(void)
{
	return __atomic_load_n(&all.made, __ATOMIC_RELAXED) -
	       __atomic_load_n(&all.freed, __ATOMIC_RELAXED);
}

void shadow_count_made(u64 pages)
{
	__atomic_fetch_add(&all.made, pages, __ATOMIC_RELAXED);
	mm_count_many(MM_STAT_shadow_made, pages);
}

// An eighth of the memory at most, and not the last eighth of what is free.
u32 shadow_room(void)
{
	struct frame_stats f = frame_stats();
	u64 pages = shadow_pages(), room = 0;

	if (pages < f.total / 8 && f.free > f.total / 8)
		room = min(f.total / 8 - pages, f.free - f.total / 8);
	return (u32)min(room, (u64)CALL_PAGES);
}

static bool memory_is_short(void)
{
	struct frame_stats f = frame_stats();

	return f.free < f.total / 16;
}

void shadow_rest(struct shadow_chain *c)
{
	spin_lock(&all.lock);
	frame_set_owner(PHYS(c->last), all.resting.first);
	if (!all.resting.first)
		all.resting.last = c->last;
	all.resting.first = c->first;
	spin_unlock(&all.lock);
	*c = (struct shadow_chain){ 0 };
	wait_wake_all(&all.wait);
}

static u64 take_resting(void)
{
	u64 first;

	spin_lock(&all.lock);
	first = all.resting.first;
	all.resting = (struct shadow_chain){ 0 };
	all.freeing = true;
	spin_unlock(&all.lock);
	return first;
}

// No entry leads to them since before they came to rest, so the stamp may be read now. CPUs are not
// interrupted for it: each passes an epoch at its next tick.
static void free_resting(void)
{
	u64 frame = take_resting(), stamp = epoch_stamp(), n = 0;

	epoch_want(stamp);
	while (!epoch_passed(stamp, NULL))
		thread_sleep_ns(EPOCH_NS);
	while (frame) {
		u64 next = frame_owner(PHYS(frame));

		frame_put(PHYS(frame));
		frame = next;
		n++;
	}
	mm_count_many(MM_STAT_shadow_freed, n);
	__atomic_fetch_add(&all.freed, n, __ATOMIC_RELAXED);
	spin_lock(&all.lock);
	all.freeing = false;
	spin_unlock(&all.lock);
	wait_wake_all(&all.idle);
}

static bool is_resting(void)
{
	return READ_ONCE(all.resting.first) != 0;
}

// ---- The list -----------------------------------------------------------------------------------

void shadow_list(struct vm_shadow *s)
{
	bool first = false;

	spin_lock(&all.lock);
	if (!s->listed) {
		first = list_empty(&all.shadows);
		list_add_tail(&all.shadows, &s->node);
		s->listed = true;
	}
	spin_unlock(&all.lock);
	if (first)
		wait_wake_all(&all.wait);
}

static void unlist(struct vm_shadow *s)
{
	if (s->listed)
		list_del(&s->node);
	s->listed = false;
}

void shadow_unlist(struct vm_shadow *s)
{
	spin_lock(&all.lock);
	unlist(s);
	spin_unlock(&all.lock);
}

static bool is_busy(const struct vm_shadow *s)
{
	bool yes;

	spin_lock(&all.lock);
	yes = s->busy;
	spin_unlock(&all.lock);
	return yes;
}

void shadow_forget(struct vm_shadow *s)
{
	shadow_unlist(s);
	wait_event(&all.idle, !is_busy(s));
}

// The first one is next, and moves to the end. NULL: there is none. It is busy then.
static struct vm_shadow *next_shadow(void)
{
	struct vm_shadow *s = NULL;

	spin_lock(&all.lock);
	if (!list_empty(&all.shadows)) {
		s = list_entry(all.shadows.next, struct vm_shadow, node);
		list_del(&s->node);
		list_add_tail(&all.shadows, &s->node);
		s->busy = true;
	}
	spin_unlock(&all.lock);
	return s;
}

// The last word to it.
static void leave(struct vm_shadow *s)
{
	spin_lock(&all.lock);
	s->busy = false;
	wait_wake_all(&all.idle);
	spin_unlock(&all.lock);
}

static unsigned count(void)
{
	struct vm_shadow *s;
	unsigned n = 0;

	spin_lock(&all.lock);
	list_for_each(s, &all.shadows, node)
		n++;
	spin_unlock(&all.lock);
	return n;
}

// ---- One round ----------------------------------------------------------------------------------

static u64 used_ns(const struct vm_shadow *s)
{
	return __atomic_load_n(&s->used_ns, __ATOMIC_RELAXED);
}

// What is mapped is used now; then the use that is longest ago.
static u64 oldest_use(void)
{
	u64 now = time_now_ns(), oldest = ~0ull;
	struct vm_shadow *s;

	spin_lock(&all.lock);
	list_for_each(s, &all.shadows, node) {
		if (vm_object_mapped(s->object))
			__atomic_store_n(&s->used_ns, now, __ATOMIC_RELAXED);
		oldest = min(oldest, used_ns(s));
	}
	spin_unlock(&all.lock);
	return oldest;
}

// Used since the clock was read: not cold.
static bool is_cold(const struct vm_shadow *s)
{
	u64 used = used_ns(s), now = time_now_ns();

	return now > used && now - used > READ_ONCE(shadow_cold_ns);
}

static NO_TSA void try_give_back(struct vm_shadow *s)
{
	if (!rwlock_write_trylock(&s->object->map_lock))
		return;
	shadow_give_back(s->object);
	rwlock_write_unlock(&s->object->map_lock);
}

// True: there is more to do.
static NO_TSA bool try_deepen(struct vm_shadow *s)
{
	bool more;

	if (!rwlock_read_trylock(&s->object->map_lock))
		return true;
	mutex_lock(&s->lock);
	shadow_deepen(s);
	more = s->partial && shadow_room();
	mutex_unlock(&s->lock);
	rwlock_read_unlock(&s->object->map_lock);
	return more;
}

// True: there is more to do soon. *oldest: the use that makes a copy go when memory is short; one
// in a round, as it takes an epoch until its pages are free.
static bool look_after(struct vm_shadow *s, u64 *oldest)
{
	enum shadow_mode mode = READ_ONCE(shadow_mode);
	bool advised = READ_ONCE(s->object->shadow_advised);
	bool is_short = used_ns(s) <= *oldest && memory_is_short();

	if (vm_object_mapped(s->object))
		__atomic_store_n(&s->used_ns, time_now_ns(), __ATOMIC_RELAXED);
	if (is_short)
		*oldest = 0;
	if (mode == SHADOW_NEVER || (mode == SHADOW_AUTO && !advised) || is_cold(s) || is_short) {
		try_give_back(s);
		return mode == SHADOW_NEVER || is_short;
	}
	return READ_ONCE(s->partial) && try_deepen(s);
}

static bool look_after_all(void)
{
	u64 oldest = oldest_use();
	bool more = false;

	for (unsigned left = count(); left; left--) {
		struct vm_shadow *s = next_shadow();

		if (!s)
			break;
		if (look_after(s, &oldest))
			more = true;
		leave(s);
		thread_yield();
	}
	return more;
}

static bool is_called(void)
{
	return is_resting() || READ_ONCE(all.changed);
}

// Sleeps for good while there is no copy.
static void shadow_thread(void *arg)
{
	bool more = false;

	(void)arg;
	for (;;) {
		if (!count())
			wait_event(&all.wait, is_called() || count());
		else
			(void)wait_event_timeout(&all.wait, is_called(),
						 time_now_ns() + (more ? STEP_NS : ROUND_NS));
		WRITE_ONCE(all.changed, false);
		if (is_resting())
			free_resting();
		more = look_after_all();
	}
}

static bool is_settled(void)
{
	bool yes;

	spin_lock(&all.lock);
	yes = !all.resting.first && !all.freeing;
	spin_unlock(&all.lock);
	return yes;
}

void shadow_settle(void)
{
	wait_event(&all.idle, is_settled());
}

// ---- The switch ---------------------------------------------------------------------------------

static const char *const mode_names[] = { "auto", "always", "never" };

const char *shadow_mode_name(void)
{
	return mode_names[READ_ONCE(shadow_mode)];
}

int shadow_set_mode(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(mode_names); i++) {
		if (strcmp(name, mode_names[i]) != 0)
			continue;
		WRITE_ONCE(shadow_mode, (enum shadow_mode)i);
		WRITE_ONCE(all.changed, true);
		wait_wake_all(&all.wait);
		return 0;
	}
	return -EINVAL;
}

void shadow_start(void)
{
	char name[16];

	list_init(&all.shadows);
	wait_queue_init(&all.wait);
	wait_queue_init(&all.idle);
	if (bootparam_get("shadow", name, sizeof(name)) && shadow_set_mode(name))
		log_warn("shadow=%s: auto, always or never; auto", name);
	if (!thread_create("shadow", shadow_thread, NULL))
		panic("no memory for the thread that looks after copies of tables");
}
