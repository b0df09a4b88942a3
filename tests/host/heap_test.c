// SPDX-License-Identifier: MIT
//
// The heap over frames from malloc, so that the sanitizers watch its edges. Single-threaded: the
// locks are empty here.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/ktest.h"
#include "kernel/panic.h"
#include "kernel/sched/lock.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/layout.h"

// ---- What the heap stands on --------------------------------------------------------------------

#define PAGES_MAX 8192u

static struct {
	u64 page, owner; // page 0: free place
} owners[PAGES_MAX];
static s64 frames_out, frames_kept;
static u64 fail_in; // the n-th frame from now on is not to be had

static unsigned place_of(u64 page)
{
	unsigned i = (unsigned)(page % PAGES_MAX);

	while (owners[i].page && owners[i].page != page)
		i = (i + 1) % PAGES_MAX;
	return i;
}

phys_t frame_alloc(unsigned order, unsigned flags)
{
	void *p;

	if (fail_in && --fail_in == 0)
		return PHYS_NONE;
	p = aligned_alloc(PAGE_SIZE << order, PAGE_SIZE << order);
	memset(p, flags & FRAME_ZERO ? 0 : 0xa5, PAGE_SIZE << order);
	frames_out += 1 << order;
	return virt_to_phys(p);
}

void frame_free(phys_t block, unsigned order)
{
	frames_out -= 1 << order;
	free(phys_to_virt(block));
}

void frame_set_owner(phys_t p, u64 owner)
{
	unsigned i = place_of(p.pa >> PAGE_SHIFT);

	owners[i].page = p.pa >> PAGE_SHIFT;
	owners[i].owner = owner;
}

u64 frame_owner(phys_t p)
{
	return owners[place_of(p.pa >> PAGE_SHIFT)].owner;
}

void frame_note_kept(s64 n)
{
	frames_kept += n;
}

bool frame_fail_now(void)
{
	return false;
}

void spin_init(struct spinlock *l, enum lock_rank rank)
{
	l->rank = (u16)rank;
}

NO_TSA u64 spin_lock_irqsave(struct spinlock *l)
{
	assert_int_equal(l->holder, 0);
	l->holder = 1;
	return 0;
}

NO_TSA void spin_unlock_irqrestore(struct spinlock *l, u64 flags)
{
	(void)flags;
	l->holder = 0;
}

void ktest_watch(const char *name, u64 (*read)(void))
{
	(void)name;
	(void)read;
}

static jmp_buf on_panic;
static bool panic_wanted;

void panic(const char *fmt, ...)
{
	assert_true(panic_wanted);
	(void)fmt;
	longjmp(on_panic, 1);
}

// ---- Tests --------------------------------------------------------------------------------------

static void sizes_and_alignment(void **state)
{
	(void)state;
	for (size_t bytes = 0; bytes < 70000; bytes += bytes < 3000 ? 7 : 1111) {
		u8 *p = kmalloc(bytes);

		assert_non_null(p);
		assert_true(IS_ALIGNED((u64)p, bytes >= 64 ? 64u : 16u));
		memset(p, 1, bytes);
		kfree(p);
	}
	assert_int_equal(heap_objects_in_use(), 0);
	assert_int_equal(frames_out, frames_kept); // what is left are spare slabs
}

static void random_mix(void **state)
{
	static struct {
		u8 *p;
		size_t bytes;
	} held[3000];
	unsigned n = 0;

	(void)state;
	srand(5);
	for (unsigned step = 0; step < 60000; step++) {
		if (n < ARRAY_SIZE(held) && rand() % 2) {
			size_t bytes = (size_t)rand() % (rand() % 16 ? 600 : 9000) + 1;
			u8 *p = rand() % 2 ? kmalloc(bytes) : kzalloc(bytes);

			memset(p, (int)(bytes & 0xff), bytes);
			held[n].p = p;
			held[n++].bytes = bytes;
		} else if (n) {
			unsigned i = (unsigned)rand() % n;

			for (size_t k = 0; k < held[i].bytes; k++)
				assert_int_equal(held[i].p[k], held[i].bytes & 0xff);
			kfree(held[i].p);
			held[i] = held[--n];
		}
		assert_int_equal(heap_objects_in_use(), n);
	}
	while (n)
		kfree(held[--n].p);
	assert_int_equal(heap_objects_in_use(), 0);
	assert_int_equal(frames_out, frames_kept);
	assert_true(frames_kept <= 12 * 8);
}

static void caches(void **state)
{
	struct slab_cache *c = slab_create("test", 72, 8);
	void *p[100];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		p[i] = slab_alloc(c);
		assert_true(IS_ALIGNED((u64)p[i], 16));
		memset(p[i], 0xff, 72);
	}
	for (unsigned i = 0; i < 100; i++)
		slab_free(c, p[i]);
	kfree(c);
}

static void no_frames(void **state)
{
	(void)state;
	for (u64 n = 1; n < 4; n++) {
		void *p;

		fail_in = n;
		p = kmalloc(5000);
		kfree(p);
		p = kmalloc(MIB(1));
		kfree(p);
		fail_in = 0;
	}
	assert_null(kmalloc(MIB(2) + 1));
	assert_int_equal(heap_objects_in_use(), 0);
}

static void double_free_is_noticed(void **state)
{
	u64 *p = kmalloc(100), *q = kmalloc(100);

	(void)state;
	kfree(p);
	panic_wanted = true;
	if (!setjmp(on_panic)) {
		kfree(p);
		fail_msg("freed twice");
	}
	panic_wanted = false;
	(void)q; // its slab's lock is held for ever now: the last test
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_and_alignment),
		cmocka_unit_test(caches),
		cmocka_unit_test(random_mix),
		cmocka_unit_test(no_frames),
		cmocka_unit_test(double_free_is_noticed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
