// SPDX-License-Identifier: MIT
//
// The supply of addresses where slots come back late: one CPU maps and another one unmaps what it
// is handed; or a CPU maps and unmaps beside one that computes and seldom forgets. Invariant: of a
// class there are never more slots than are mapped at once, RESTING_MAX and a chunk; where no more
// are to be made, CPUs are interrupted. So the supply neither ends nor grows, and what is missing
// comes by a chunk or more at a time.
//
// Story: where a class had no more slots to be made, a mapping became an ordinary one, until the
// next tick. Of 1 GiB slots there are 384: a few in a hundred of those handed over were ordinary,
// and one in four beside a CPU that computed.
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "mm/arena_internal.h"
#include "mm/test_util.h"

#define RW     (PROT_READ | PROT_WRITE)
#define BATCH  (MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL | MAP_DAXVM_BATCHING)
#define ROUNDS 20000u
#define RING   256u // handed over and not unmapped yet, at most
#define LAST   1u   // handed over instead of an address: no more

static struct {
	struct aspace *as;
	struct test_file *file;
	u64 bytes;
	u64 at[RING];   // 0: empty [atomic]
	u64 slow, none; // mappings that took the slow way; that are not in its arena
	u32 bad, running, computing;
} t;

static void run_on(unsigned cpu)
{
	thread_current()->affinity = BIT(cpu);
	thread_migrate();
}

static void give(u64 *place, u64 at)
{
	while (__atomic_load_n(place, __ATOMIC_ACQUIRE))
		thread_yield();
	__atomic_store_n(place, at, __ATOMIC_RELEASE);
}

static u64 take(u64 *place)
{
	u64 at;

	while (!(at = __atomic_load_n(place, __ATOMIC_ACQUIRE)))
		thread_yield();
	__atomic_store_n(place, 0, __ATOMIC_RELEASE);
	return at;
}

static void unmaps(void *arg)
{
	(void)arg;
	run_on(1);
	test_use(t.as);
	for (u64 i = 0, at = 0; at != LAST; i++) {
		at = take(&t.at[i % RING]);
		if (at == LAST)
			continue;
		if (test_peek(at) != test_file_word(0))
			t.bad++;
		if (!arena_unmap_fast(t.as, at, t.bytes) && aspace_unmap(t.as, UVA(at), t.bytes))
			t.bad++;
	}
	test_use(NULL);
	__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELEASE);
}

static u64 map_one(void)
{
	u64 at = test_map_fast(t.as, &t.file->object, 0, t.bytes, RW, BATCH);

	if (at)
		return at;
	t.slow++;
	at = test_map_file(t.as, &t.file->object, 0, t.bytes, RW, BATCH);
	if (!arena_overlaps(t.as, at, at + 1))
		t.none++;
	return at;
}

static u32 chunks_of(enum slot_class c)
{
	return t.as->arenas->cpu[0]->nr_chunks[c];
}

// So many mappings made here and unmapped there.
static bool hand_over(u64 rounds)
{
	u64 at = 0;

	t.slow = t.none = 0;
	if (!test_start(&t.running, unmaps, 1))
		return false;
	for (u64 i = 0; i <= rounds && at != LAST; i++) {
		at = i < rounds ? map_one() : LAST;
		if (!EXPECT(at))
			at = LAST;
		give(&t.at[i % RING], at);
	}
	test_join(&t.running);
	return true;
}

static bool begin(u64 bytes)
{
	__builtin_memset(&t, 0, sizeof(t));
	if (cpu_count() < 2)
		return false;
	run_on(0);
	t.bytes = bytes;
	t.as = test_enter();
	t.file = test_file_create(bytes);
	return t.as && t.file && EXPECT(test_file_fill(t.file, 0, min(bytes, KIB(64))));
}

static void check(enum slot_class c, u64 maps)
{
	EXPECT_EQ(t.bad, 0);
	EXPECT_EQ(t.none, 0);
	EXPECT(chunks_of(c) <= (RING + RESTING_MAX) / SLOTS_PER_CHUNK + 1);
	EXPECT(t.slow <= 8 + maps / SLOTS_PER_CHUNK);
	EXPECT_EQ(arena_bytes(t.as), 0);
}

static void end(void)
{
	if (t.as)
		test_leave(t.as);
	if (t.file) {
		EXPECT_EQ(t.file->refs, 0);
		test_file_destroy(t.file);
	}
	thread_current()->affinity = ~0ull;
}

static void supply(u64 bytes, enum slot_class c)
{
	if (begin(bytes)) {
		for (int i = 0; i < 3 && EXPECT(hand_over(ROUNDS)); i++)
			check(c, ROUNDS);
	}
	end();
}

KTEST(arena_supply_32k)
{
	supply(KIB(16), SLOT_32K);
}

KTEST(arena_supply_2m)
{
	supply(KIB(64), SLOT_2M);
}

KTEST(arena_supply_1g)
{
	supply(MIB(6), SLOT_1G);
}

// With the space loaded, so that what this CPU has not forgotten is waited for.
static void computes(void *arg)
{
	(void)arg;
	run_on(1);
	test_use(t.as);
	__atomic_store_n(&t.computing, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&t.computing, __ATOMIC_ACQUIRE) == 1)
		asm_pause();
	test_use(NULL);
	__atomic_fetch_sub(&t.running, 1, __ATOMIC_RELEASE);
}

// Several at a time: none finds its range warm.
static void map_and_unmap(void)
{
	for (unsigned i = 0; i < RING; i++)
		t.at[i] = map_one();
	for (unsigned i = 0; i < RING; i++)
		if (!arena_unmap_fast(t.as, t.at[i], t.bytes) &&
		    aspace_unmap(t.as, UVA(t.at[i]), t.bytes))
			t.bad++;
}

KTEST(arena_supply_beside_one_that_computes)
{
	if (begin(MIB(6)) && test_start(&t.running, computes, 1)) {
		while (!__atomic_load_n(&t.computing, __ATOMIC_ACQUIRE))
			thread_yield();
		for (unsigned i = 0; i < ROUNDS / RING; i++)
			map_and_unmap();
		check(SLOT_1G, ROUNDS);
		__atomic_store_n(&t.computing, 2, __ATOMIC_RELEASE);
		test_join(&t.running);
	}
	end();
}
