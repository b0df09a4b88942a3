// SPDX-License-Identifier: MIT
//
// Ephemeral mappings that meet something in the middle of what they do: a revoke between reading
// the file's root and attaching it; a file that is gone when its place in a descriptor table says
// where it was; an unmapping during a fault; a touch of a slot that nobody has. Where it takes two
// CPUs, a data breakpoint makes it happen for sure (test_break_on_store).
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/arena_internal.h"
#include "mm/aspace_internal.h"
#include "mm/fault.h"
#include "mm/heap.h"
#include "mm/test_util.h"

#define RW      (PROT_READ | PROT_WRITE)
#define EPH     (MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL)
#define BATCH   (EPH | MAP_DAXVM_BATCHING)
#define LONG    200  // ticks, of which a few are enough
#define RECORDS 256u // more than are free in all slabs together
#define TICK_NS (1000000000ull / TICK_HZ)

static struct {
	struct aspace *as;
	u64 at;
	u32 running;
} t;

static enum slot_state state_of(const struct slot *s)
{
	return slot_state(slot_load(s));
}

// ---- Attaching before a revoke could know -------------------------------------------------------

// How far the revoke comes before the mapper goes on.
enum reach { RAISED, BEGUN, OVER, REACHES };

static struct {
	struct vm_object *object;
	enum reach reach;
} revoke;

// The revoker on another CPU, between two instructions of the mapper. Its scan would wait for the
// slot, which is SETTING, so it is left out.
static void revoke_now(void *ctx)
{
	struct vm_object *o = revoke.object;

	(void)ctx;
	if (revoke.reach == RAISED)
		__atomic_fetch_add(&o->revoking, 1, __ATOMIC_SEQ_CST);
	else
		vm_revoke_begin(o);
	if (revoke.reach == OVER)
		__atomic_fetch_sub(&o->revoking, 1, __ATOMIC_SEQ_CST);
}

static void end_revoke(struct vm_object *o)
{
	if (revoke.reach != OVER)
		__atomic_fetch_sub(&o->revoking, 1, __ATOMIC_SEQ_CST);
}

// The mapper has read the root, and has made its descriptor visible just now.
static void map_beside_revoke(struct aspace *as, struct test_file *f)
{
	struct arena *a;
	struct slot *s;
	u64 at;

	preempt_disable();
	a = arena_of_this_cpu(as);
	s = a ? a->free[SLOT_2M] : NULL;
	if (EXPECT(s && f->object.root_word) && test_break_on_store(&s->state, revoke_now, NULL)) {
		at = test_map_fast(as, &f->object, 0, KIB(64), PROT_READ, EPH);
		EXPECT(test_break_end());
		EXPECT_EQ(at, 0); // what it had read is being taken away: it gives way
		EXPECT_EQ(state_of(s), SLOT_FREE);
		EXPECT_EQ(s->entry->bits, 0);
		EXPECT(a->free[SLOT_2M] == s);
		end_revoke(&f->object);
	}
	preempt_enable();
}

KTEST(arena_map_gives_way_to_a_revoke)
{
	struct aspace *as;
	struct test_file *f;
	u64 at;

	thread_current()->affinity = BIT(0); // one arena
	thread_migrate();
	if (test_begin(&as, &f, KIB(64))) {
		revoke.object = &f->object;
		for (revoke.reach = RAISED; revoke.reach < REACHES; revoke.reach++) {
			at = test_map_file(as, &f->object, 0, KIB(64), RW, EPH);
			if (!EXPECT(at))
				break;
			map_beside_revoke(as, f);
			EXPECT(test_shows_blocks(at, 0, KIB(64)));
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
		}
	}
	thread_current()->affinity = ~0ull;
	test_end(as, f);
}

// ---- A file that is freed between descriptor and check ------------------------------------------

// The place in the descriptor table was read, then the file was closed and let go: the mapper holds
// nothing but an address. It takes no reference there, calls nothing, maps nothing.
static void map_what_is_gone(struct aspace *as, struct test_file *f)
{
	struct vm_object_ops none = { 0 };
	const struct vm_object_ops *ops = f->object.ops;

	EXPECT_EQ(f->refs, 0); // nobody holds it: it may be freed at any moment
	f->object.ops = &none;
	for (unsigned flags = EPH; flags; flags = flags == EPH ? BATCH : 0) {
		EXPECT_EQ(test_map_fast(as, &f->object, 0, KIB(64), PROT_READ, flags), 0);
		EXPECT_EQ(test_map_fast(as, &f->object, 0, KIB(64), RW, flags), 0);
	}
	f->object.ops = ops;
	EXPECT_EQ(f->refs, 0);
	EXPECT_EQ(f->object.users, 0);
}

// The memory of its record has other users now, who happen to name the same file.
static void map_by_a_record_of_old(struct aspace *as, struct test_file *f)
{
	static struct held *other[RECORDS];

	for (unsigned i = 0; i < RECORDS; i++) {
		other[i] = kzalloc(sizeof(*other[i]));
		if (EXPECT(other[i]))
			other[i]->object = &f->object;
	}
	map_what_is_gone(as, f);
	for (unsigned i = 0; i < RECORDS; i++)
		kfree(other[i]);
}

KTEST(arena_map_of_a_file_that_is_gone)
{
	struct test_file *f, *g = test_file_create(KIB(64));
	struct aspace *as;
	u64 at, other;

	if (test_begin(&as, &f, KIB(64)) && g && EXPECT(test_file_fill(g, 0, KIB(64)))) {
		at = test_map_file(as, &f->object, 0, KIB(64), RW, BATCH);
		// Never held here, though all that can be remembered of it is.
		vm_root_publish(&g->object, 0,
				&(struct vm_table){ .kind = VM_TABLE_ENTRY,
						    .level = PT_PMD,
						    .entry = g->root });
		EXPECT(g->object.root_word);
		map_what_is_gone(as, g);
		// Held once, the last one that was, and let go. More than once: the tick that lets
		// it go must not, at last, take what a slot shows for unused.
		for (int round = 0; round < 3; round++) {
			other = test_map_file(as, &g->object, 0, KIB(64), RW, BATCH);
			EXPECT(other);
			EXPECT_EQ(aspace_unmap(as, UVA(other), KIB(64)), 0);
			other = test_map_file(as, &g->object, 0, KIB(32), RW, EPH); // by its record
			EXPECT_EQ(aspace_unmap(as, UVA(other), KIB(32)), 0);
			for (int i = 0; i < LONG && READ_ONCE(g->refs); i++)
				thread_sleep_ns(TICK_NS);
			EXPECT(f->refs > 0);
			map_what_is_gone(as, g);
			map_by_a_record_of_old(as, g);
		}
		EXPECT(at && test_shows_blocks(at, 0, KIB(64)));
	}
	test_end(as, f);
	test_end(NULL, g);
}

// ---- A fault in a slot that is to be used again -------------------------------------------------

static void unmapper(void *arg)
{
	(void)arg;
	test_use(t.as);
	EXPECT_EQ(aspace_unmap(t.as, UVA(t.at), KIB(64)), 0);
	test_use(NULL);
	__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELEASE);
}

// While a fault is on its way to grant W the slot stays what it is: else W would be granted to
// whatever is mapped there next.
KTEST(arena_unmap_waits_for_a_fault)
{
	struct test_file *f;
	struct slot *s;
	struct vma v;

	__builtin_memset(&t, 0, sizeof(t));
	if (test_begin(&t.as, &f, KIB(64))) {
		t.at = test_map_file(t.as, &f->object, 0, KIB(64), RW, BATCH);
		s = arena_pin(t.as, t.at, &v); // as a fault does
		if (EXPECT(s)) {
			EXPECT(!arena_unmap_fast(t.as, t.at, KIB(64)));
			EXPECT_EQ(state_of(s), SLOT_LIVE);
			if (test_start(&t.running, unmapper, 1)) {
				thread_sleep_ns(3 * TICK_NS);
				EXPECT_EQ(t.running, 1);
				EXPECT_EQ(state_of(s), SLOT_LIVE);
			}
			EXPECT(test_poke(t.at, test_file_word(0))); // W is granted
			arena_unpin(s);
			test_join(&t.running);
			EXPECT(state_of(s) != SLOT_LIVE);
		}
	}
	test_end(t.as, f);
}

// ---- Touching a freed slot ----------------------------------------------------------------------

static void touch(struct aspace *as, u64 at)
{
	EXPECT_EQ(fault_resolve(as, at, FAULT_READ), -EFAULT);
	EXPECT_EQ(fault_resolve(as, at, FAULT_WRITE), -EFAULT);
	EXPECT_EQ(fault_resolve(as, at, FAULT_EXEC), -EFAULT);
	EXPECT_EQ(test_peek(at), ~0ull);
	EXPECT(!test_poke(at, 1));
}

// A slot that was given back, its neighbours, of which some were never used, some not even made,
// and the arenas of other CPUs: nothing is there, and a touch changes nothing.
KTEST(arena_touch_where_nothing_is)
{
	struct aspace *as;
	struct test_file *f;
	struct slot *s;
	struct vma v;
	u64 at;

	thread_current()->affinity = BIT(0);
	thread_migrate();
	if (test_begin(&as, &f, KIB(64))) {
		at = test_map_file(as, &f->object, 0, KIB(64), RW, EPH);
		s = arena_pin(as, at, &v);
		if (EXPECT(s)) {
			arena_unpin(s);
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
			touch(as, at); // it rests
			for (int i = 0; i < LONG && state_of(s) != SLOT_FREE; i++)
				thread_sleep_ns(TICK_NS);
			EXPECT_EQ(state_of(s), SLOT_FREE);
			touch(as, at);
			EXPECT_EQ(state_of(s), SLOT_FREE);
			EXPECT_EQ(s->entry->bits, 0);
			touch(as, at + PMD_SIZE);
			touch(as, at + 100 * PMD_SIZE);
			touch(as, as->arenas->base);
			touch(as, as->arenas->base + GIB(300));
			touch(as, as->arenas->base + as->arenas->count * pt_span(PT_PML4) - 8);
		}
	}
	thread_current()->affinity = ~0ull;
	test_end(as, f);
}

// ---- Nobody else comes into an arena ------------------------------------------------------------

KTEST(arena_is_kept_free_of_the_heap)
{
	struct aspace *as;
	struct test_file *f;
	u64 base;

	if (test_begin(&as, &f, KIB(64)) &&
	    EXPECT(test_map_file(as, &f->object, 0, KIB(64), RW, EPH))) {
		base = as->arenas->base;
		as->brk_start = as->brk_end = base - KIB(64);
		EXPECT_EQ(aspace_brk(as, UVA(base + KIB(4))).va, base - KIB(64));
		EXPECT_EQ(aspace_brk(as, UVA(base + GIB(300))).va, base - KIB(64));
		EXPECT_EQ(aspace_brk(as, UVA(base)).va, base); // up to it
		EXPECT_EQ(aspace_brk(as, UVA(base + 1)).va, base);
	}
	test_end(as, f);
}

// Whoever knows where the arenas of one process are knows nothing of another one's.
KTEST(arena_places_are_random)
{
	struct aspace *as;
	struct test_file *f;
	u64 first = 0;
	bool differ = false;

	for (int i = 0; i < 8; i++) {
		if (test_begin(&as, &f, KIB(4)) &&
		    EXPECT(test_map_file(as, &f->object, 0, KIB(4), RW, EPH))) {
			differ |= first && first != as->arenas->base;
			first = as->arenas->base;
		}
		test_end(as, f);
	}
	EXPECT(differ);
}
