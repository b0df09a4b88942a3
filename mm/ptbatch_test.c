// SPDX-License-Identifier: MIT
//
// Shootdown on several CPUs. Emulators keep a stale translation until it is flushed, so a missing
// one shows as a read of what is not mapped there any more.
//
// Readers share an address space and look at one page all the time; the test changes what is mapped
// there and then raises `floor`: while it stays so, nobody may see a smaller word. Nothing at all
// is fine, and so is zero: the page is being replaced.
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"
#include "mm/attach.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/stat.h"
#include "mm/test_util.h"
#include "mm/uaccess.h"

#define RW     (PROT_READ | PROT_WRITE)
#define ROUNDS 10
#define TAKEN  4  // frames
#define TURN   32 // looks before a reader lets others run

#define PATIENCE_NS 1000000000ull

static struct {
	struct aspace *as;
	u64 va;
	u64 floor;              // smallest word that may be seen
	u64 looks[CPU_MAX + 1]; // of each reader
	u64 stale;              // atomic
	u32 stop, running;
	u32 readers; // more than CPUs: some are switched in and out
} shared;

static bool look(u64 smallest)
{
	u64 word;

	if (copy_from_user(&word, UVA(READ_ONCE(shared.va)), sizeof(word)) || !word)
		return true;
	asm_mfence();
	return word >= smallest || READ_ONCE(shared.floor) != smallest;
}

static void reader(void *arg)
{
	u64 *looks = arg;

	test_use(shared.as);
	for (u64 n = 1; !READ_ONCE(shared.stop); n++) {
		u64 smallest = READ_ONCE(shared.floor);

		asm_mfence();
		if (!look(smallest))
			__atomic_fetch_add(&shared.stale, 1, __ATOMIC_RELAXED);
		WRITE_ONCE(*looks, n);
		if (n % TURN == 0)
			thread_yield();
	}
	test_use(NULL);
	__atomic_fetch_sub(&shared.running, 1, __ATOMIC_RELEASE);
}

static bool start_readers(struct aspace *as, u64 va)
{
	shared.as = as;
	shared.va = va;
	shared.floor = shared.stale = 0;
	shared.stop = 0;
	shared.readers = cpu_count() + 1;
	for (unsigned i = 0; i < shared.readers; i++) {
		__atomic_fetch_add(&shared.running, 1, __ATOMIC_RELAXED);
		shared.looks[i] = 0;
		if (!thread_create("reader", reader, &shared.looks[i])) {
			__atomic_fetch_sub(&shared.running, 1, __ATOMIC_RELAXED);
			return false;
		}
	}
	return true;
}

static void stop_readers(void)
{
	WRITE_ONCE(shared.stop, 1);
	while (__atomic_load_n(&shared.running, __ATOMIC_ACQUIRE))
		thread_yield();
	EXPECT_EQ(shared.stale, 0);
}

// Until all readers have had the present translation in their hands. Story: this gave up after a
// hundred turns, in which a busy host may not have let another CPU run at all; then the tests
// passed with no shootdown of other CPUs (tests/long/mistakes.t).
static void let_them_look(void)
{
	u64 until = time_now_ns() + PATIENCE_NS;

	for (unsigned i = 0; i < shared.readers; i++) {
		u64 from = READ_ONCE(shared.looks[i]);

		while (READ_ONCE(shared.looks[i]) - from < TURN && time_now_ns() < until)
			thread_yield();
	}
}

static void raise_floor(u64 word)
{
	asm_mfence();
	WRITE_ONCE(shared.floor, word);
}

KTEST(shootdown_of_replaced_pages)
{
	struct aspace *as = test_enter();
	u64 at = as ? test_map_anon(as, PAGE_SIZE, RW) : 0;
	struct map_request req = { .addr = UVA(at),
				   .len = PAGE_SIZE,
				   .prot = RW,
				   .may_prot = RW,
				   .flags = MAP_PRIVATE | MAP_FIXED };
	uva_t out;

	if (EXPECT(at) && EXPECT(test_poke(at, 1)) && EXPECT(start_readers(as, at))) {
		for (u64 i = 2; i < ROUNDS; i++) {
			phys_t taken[TAKEN];

			let_them_look();
			EXPECT_EQ(aspace_map(as, &req, &out), 0);
			// The old frame is among the first to be handed out again: somebody else's
			// now.
			for (unsigned k = 0; k < TAKEN; k++) {
				taken[k] = frame_alloc(0, 0);
				*(u64 *)phys_to_virt(taken[k]) = 1;
			}
			EXPECT(test_poke(at, i));
			raise_floor(i);
			let_them_look();
			for (unsigned k = 0; k < TAKEN; k++)
				frame_put(taken[k]);
		}
	}
	stop_readers();
	if (as)
		test_leave(as);
}

KTEST(shootdown_of_copied_pages)
{
	struct aspace *as = test_enter(), *child;
	u64 at = as ? test_map_anon(as, PAGE_SIZE, RW) : 0;

	if (EXPECT(at) && EXPECT(test_poke(at, 1)) && EXPECT(start_readers(as, at))) {
		for (u64 i = 2; i < ROUNDS; i++) {
			let_them_look();
			child = aspace_fork(as);
			EXPECT(test_poke(at, i)); // copied: the readers must follow
			raise_floor(i);
			let_them_look();
			aspace_put(child);
		}
	}
	stop_readers();
	if (as)
		test_leave(as);
}

KTEST(shootdown_of_protected_pages)
{
	struct aspace *as = test_enter();
	u64 at = as ? test_map_anon(as, PAGE_SIZE, RW) : 0;

	if (EXPECT(at) && EXPECT(test_poke(at, 1)) && EXPECT(start_readers(as, at))) {
		for (u64 i = 2; i < ROUNDS; i++) {
			let_them_look();
			EXPECT_EQ(aspace_protect(as, UVA(at), PAGE_SIZE, PROT_NONE), 0);
			raise_floor(~0ull); // nothing may be read at all
			let_them_look();
			WRITE_ONCE(shared.floor, 0);
			EXPECT_EQ(aspace_protect(as, UVA(at), PAGE_SIZE, RW), 0);
		}
	}
	stop_readers();
	if (as)
		test_leave(as);
}

// Blocks and tables of the test file are filled with 0xee when they are freed, and all words of a
// live one are far below: here the floor is a ceiling.
KTEST(shootdown_of_revoked_attachments)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = 0, word;

	if (as && f && test_file_fill(f, 0, KIB(64)))
		at = test_map_file(as, &f->object, 0, KIB(64), RW, MAP_SHARED | MAP_DAXVM);
	if (EXPECT(at) && EXPECT(start_readers(as, at + KIB(8)))) {
		for (u64 i = 2; i < ROUNDS; i++) {
			let_them_look();
			EXPECT(test_file_resize(f, i & 1 ? KIB(4) : 0));
			raise_floor(~0ull);
			EXPECT_EQ(copy_from_user(&word, UVA(at + KIB(8)), 8), -EFAULT);
			let_them_look();
			WRITE_ONCE(shared.floor, 0);
			EXPECT(test_file_resize(f, KIB(64)) && test_file_fill(f, 0, KIB(64)));
		}
	}
	stop_readers();
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}

// A table of the file itself: no entry of it changes, only the one that leads to it.
KTEST(shootdown_of_unmapped_attachments)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	struct map_request req = { .len = KIB(64),
				   .prot = PROT_READ,
				   .may_prot = RW,
				   .flags = MAP_SHARED | MAP_DAXVM | MAP_FIXED,
				   .object = f ? &f->object : NULL };
	u64 at = 0;
	uva_t out;

	if (as && f && test_file_fill(f, 0, KIB(64)))
		at = test_map_file(as, &f->object, 0, KIB(64), PROT_READ, MAP_SHARED | MAP_DAXVM);
	req.addr = UVA(at);
	if (EXPECT(at) && EXPECT(start_readers(as, at + KIB(8)))) {
		for (u64 i = 2; i < ROUNDS; i++) {
			let_them_look();
			EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
			raise_floor(~0ull);
			let_them_look();
			WRITE_ONCE(shared.floor, 0);
			EXPECT_EQ(aspace_map(as, &req, &out), 0);
		}
	}
	stop_readers();
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}

// The same by the light calls. They do not interrupt other CPUs: what those hold is a matter of the
// usual way, to which an unmapping that has begun is handed over. The readers' faults may hold the
// lock, too: then nothing has begun.
KTEST(shootdown_of_light_unmappings)
{
	struct aspace *as = test_enter();
	struct test_file *f = test_file_create(KIB(64));
	u64 at = 0;

	if (as && f && test_file_fill(f, 0, KIB(64)))
		at = test_map_file(as, &f->object, 0, KIB(64), PROT_READ, MAP_SHARED | MAP_DAXVM);
	if (EXPECT(at) && EXPECT(start_readers(as, at + KIB(8)))) {
		f->held = true;
		for (u64 i = 2; i < 4 * ROUNDS; i++) {
			let_them_look();
			if (!test_unmap_light(as, at, KIB(64)) && test_peek(at) != ~0ull)
				EXPECT_EQ(aspace_unmap(as, UVA(at), KIB(64)), 0);
			raise_floor(~0ull);
			let_them_look();
			WRITE_ONCE(shared.floor, 0);
			while (test_map_light(as, &f->object, KIB(64)) != at)
				thread_yield();
		}
	}
	stop_readers();
	if (as)
		test_leave(as);
	if (f)
		test_file_destroy(f);
}

static u64 read_all(struct aspace *as, u64 at, u64 len)
{
	u64 sum = 0;

	(void)as;
	for (u64 o = 0; o < len; o += PAGE_SIZE)
		sum += test_peek(at + o);
	return sum;
}

// A process on one CPU interrupts nobody.
KTEST(no_interrupts_for_a_single_cpu)
{
	struct aspace *as = test_enter();
	u64 ipis, at;

	if (!as)
		return;
	preempt_disable();
	ipis = mm_stat_read(MM_STAT_shootdown_ipis);
	preempt_enable();
	for (int i = 0; i < 10; i++) {
		at = test_map_anon(as, 64 * PAGE_SIZE, RW);
		EXPECT_EQ(read_all(as, at, 64 * PAGE_SIZE), 0);
		EXPECT_EQ(aspace_unmap(as, UVA(at), 64 * PAGE_SIZE), 0);
	}
	// Another CPU that is just between two address spaces may have been asked.
	EXPECT(mm_stat_read(MM_STAT_shootdown_ipis) - ipis < 3);
	test_leave(as);
}
