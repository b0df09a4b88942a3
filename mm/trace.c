// SPDX-License-Identifier: MIT
//
// What: the rings of mm/trace.h.
// Not here: what the events look like to a reader (kernel/sys/trace_proc.c).
//
// Invariants
//   I1  A ring is written by its own CPU alone, with interrupts off: one writer at a time.
//   I2  seq is 0 while an event is written, and the event's own number after it. So a reader that
//       finds the same number before and after copying has a whole event.
// Locking: none. Whoever starts first installs a ring; a second one gives his back.
// Failure: no memory for the rings: tracing stays off.
#include "mm/trace.h"

#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/layout.h"

#define RING_ORDER 5 // 4 KiB << 5 = TRACE_RING events of 32 bytes

_Static_assert(TRACE_RING * sizeof(struct trace_event) == PAGE_SIZE << RING_ORDER, "a ring");

struct ring {
	struct trace_event *event;
	u64 next;  // number of the next event [its CPU, interrupts off]
	u64 first; // events before it are forgotten [atomic]
} __cacheline;

bool trace_on __read_mostly;
static struct ring rings[CPU_MAX];

void trace_write(enum trace_kind kind, u16 id, u64 at_ns, u64 value)
{
	const struct thread *t = thread_current();
	u64 flags = asm_irq_save(); // I1
	struct ring *r = &rings[this_cpu()->index];
	struct trace_event *e;

	if (r->event) {
		e = &r->event[r->next % TRACE_RING];
		__atomic_store_n(&e->seq, 0, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		e->at_ns = at_ns ? at_ns : time_now_ns();
		e->value = value;
		e->tid = t ? t->tid : 0;
		e->kind = (u16)kind;
		e->id = id;
		__atomic_store_n(&e->seq, ++r->next, __ATOMIC_RELEASE); // I2
	}
	asm_irq_restore(flags);
}

static int ring_make(struct ring *r)
{
	struct trace_event *none = NULL;
	phys_t block;

	if (READ_ONCE(r->event))
		return 0;
	block = frame_alloc(RING_ORDER, FRAME_ZERO);
	if (block.pa == PHYS_NONE.pa)
		return -ENOMEM;
	if (__atomic_compare_exchange_n(&r->event, &none, phys_to_virt(block), false,
					__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		frame_note_kept(1 << RING_ORDER);
	else
		frame_free(block, RING_ORDER);
	return 0;
}

int trace_start(void)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		int err = ring_make(&rings[i]);

		if (err)
			return err;
		WRITE_ONCE(rings[i].first, READ_ONCE(rings[i].next));
	}
	WRITE_ONCE(trace_on, true);
	return 0;
}

void trace_stop(void)
{
	WRITE_ONCE(trace_on, false);
}

// Event number `nr` of the ring, if it is still there. I2
static bool event_read(const struct ring *r, u64 nr, struct trace_event *out)
{
	const struct trace_event *e = &r->event[nr % TRACE_RING];
	u64 seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);

	*out = *e;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return seq == nr + 1 && READ_ONCE(e->seq) == seq;
}

void trace_for_each(u64 most, void (*fn)(void *ctx, unsigned cpu, const struct trace_event *e),
		    void *ctx)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		const struct ring *r = &rings[i];
		u64 end = READ_ONCE(r->next);
		u64 room = min(most, (u64)TRACE_RING);
		struct trace_event e;

		if (!__atomic_load_n(&r->event, __ATOMIC_ACQUIRE))
			continue;
		for (u64 nr = max(end > room ? end - room : 0, READ_ONCE(r->first)); nr < end; nr++)
			if (event_read(r, nr, &e))
				fn(ctx, i, &e);
	}
}
