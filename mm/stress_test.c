// SPDX-License-Identifier: MIT
//
// Many threads that map, touch, protect, unmap, fork and go, over files that shrink and grow under
// them. What is read must be the block's own word, zeros, or nothing: blocks that were freed are
// filled with 0xee, and frames that came back hold whatever their next owner wrote.
#include "kernel/lib/errno.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/cpu.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/test_util.h"

#define RW      (PROT_READ | PROT_WRITE)
#define FILES   3
#define PLACES  6
#define STEPS   400
#define SHRINKS 60

static struct test_file *files[FILES];
static u32 workers; // still at work, atomic
static u64 wrong;   // atomic
// Raised before and after a file becomes shorter. Private copies of what it loses go with it, and
// once it has grown again the page is the file's, with what others store there through shared
// mappings. (On a busy host, where a thread may stand still for long between its store and its
// load, that was taken for a store that was lost.)
static u64 shrinks[FILES]; // atomic

static const u64 sizes[FILES] = { KIB(24), KIB(256), MIB(5) };

struct worker {
	struct aspace *as;
	u64 random;
	struct {
		u64 at, len, off;
		struct test_file *file; // NULL: anonymous
		bool shared;
	} place[PLACES];
};

static u64 roll(struct worker *w, u64 below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % below;
}

static void report(const char *what, u64 va, u64 word)
{
	if (__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED) == 0)
		ktest_expect_eq(word, va, what, __FILE__, __LINE__);
}

static void map_something(struct worker *w, unsigned i)
{
	static const unsigned flags[] = { MAP_SHARED, MAP_PRIVATE, MAP_SHARED | MAP_DAXVM,
					  MAP_PRIVATE | MAP_DAXVM };
	unsigned kind = (unsigned)roll(w, 5), f = (unsigned)roll(w, FILES);
	u64 pages = sizes[f] / PAGE_SIZE;

	w->place[i].off = roll(w, pages) * PAGE_SIZE;
	w->place[i].len = (roll(w, pages) + 1) * PAGE_SIZE;
	if (kind == 4) {
		w->place[i].file = NULL;
		w->place[i].shared = false;
		w->place[i].at = test_map_anon(w->as, w->place[i].len, RW);
		return;
	}
	w->place[i].file = files[f];
	w->place[i].shared = flags[kind] & MAP_SHARED;
	w->place[i].at = test_map_file(w->as, &files[f]->object, w->place[i].off, w->place[i].len,
				       RW, flags[kind]);
}

// Odd: right now.
static u64 shrinks_of(const struct test_file *f)
{
	for (unsigned i = 0; i < FILES; i++)
		if (files[i] == f)
			return __atomic_load_n(&shrinks[i], __ATOMIC_SEQ_CST);
	return 0; // anonymous
}

// First words are never written, second words are: by anybody, if the memory is shared.
static void touch(struct worker *w, unsigned i)
{
	u64 off = roll(w, w->place[i].len / PAGE_SIZE) * PAGE_SIZE, at = w->place[i].at + off;
	u64 block = test_file_word((w->place[i].off + off) / PAGE_SIZE), word = test_peek(at);
	u64 before = shrinks_of(w->place[i].file);

	if (word != ~0ull && word != 0 && (word != block || !w->place[i].file))
		report("a foreign word was read", at, word);
	if (!test_poke(at + 8, at) || w->place[i].shared)
		return;
	if (roll(w, 4) == 0)
		thread_yield(); // to those who could take it away
	word = test_peek(at + 8);
	if (before % 2 == 0 && shrinks_of(w->place[i].file) == before && word != at)
		report("a private store was lost", at, word);
}

// Something else, that cannot be touched, in place of a page in the middle.
static int replace_page(struct worker *w, u64 at)
{
	struct map_request req = { .addr = UVA(at),
				   .len = PAGE_SIZE,
				   .prot = PROT_NONE,
				   .flags = MAP_PRIVATE | MAP_FIXED };
	uva_t out;

	return aspace_map(w->as, &req, &out);
}

static void fork_and_touch(struct worker *w)
{
	struct aspace *parent = w->as, *child = aspace_fork(parent);

	if (!child)
		return;
	w->as = child;
	test_use(child);
	for (unsigned i = 0; i < PLACES; i++)
		if (w->place[i].at)
			touch(w, i);
	w->as = parent;
	test_use(parent);
	aspace_put(child);
}

static void step(struct worker *w)
{
	unsigned i = (unsigned)roll(w, PLACES), what = (unsigned)roll(w, 20);
	u64 at = w->place[i].at, part;
	int err = 0;

	if (!at) {
		map_something(w, i);
		return;
	}
	part = roll(w, w->place[i].len / PAGE_SIZE) * PAGE_SIZE;
	if (what < 2) {
		err = aspace_unmap(w->as, UVA(at), w->place[i].len);
		w->place[i].at = 0;
	} else if (what == 2) {
		err = replace_page(w, at + part);
	} else if (what == 3) {
		err = aspace_protect(w->as, UVA(at + part), PAGE_SIZE, PROT_READ);
	} else if (what == 4) {
		err = aspace_advise(w->as, UVA(at + part), PAGE_SIZE, 4); // MADV_DONTNEED
	} else if (what == 5) {
		fork_and_touch(w);
	} else {
		for (unsigned n = 0; n < 8; n++)
			touch(w, i);
	}
	if (err && err != -ENOMEM && err != -EACCES)
		report("a call failed", at, (u64)err);
}

static void work(void *arg)
{
	struct worker w = { .random = (u64)arg * 7919 + 1 };

	w.as = test_enter();
	for (unsigned n = 0; w.as && n < STEPS; n++)
		step(&w);
	if (w.as) {
		if (!vma_tree_verify(&w.as->vmas))
			report("the tree of mappings is broken", 0, 1);
		test_leave(w.as);
	}
	__atomic_fetch_sub(&workers, 1, __ATOMIC_RELEASE);
}

static void shrink_and_grow(unsigned n)
{
	unsigned f = n % FILES;
	u64 bytes = sizes[f] * (n * 37 % 100) / 100;

	if (n % 4 == 0) {
		test_file_punch(files[f], ALIGN_DOWN(bytes, PAGE_SIZE), 4 * PAGE_SIZE);
	} else {
		__atomic_fetch_add(&shrinks[f], 1, __ATOMIC_SEQ_CST);
		(void)test_file_resize(files[f], bytes);
		__atomic_fetch_add(&shrinks[f], 1, __ATOMIC_SEQ_CST);
	}
	thread_yield();
	(void)test_file_resize(files[f], sizes[f]);
}

KTEST(mapping_stress)
{
	wrong = 0;
	for (unsigned f = 0; f < FILES; f++) {
		files[f] = test_file_create(sizes[f]);
		if (!EXPECT(files[f]) || !EXPECT(test_file_fill(files[f], 0, sizes[f] / 2)))
			return;
	}
	for (unsigned i = 0; i < cpu_count() + 2; i++) {
		__atomic_fetch_add(&workers, 1, __ATOMIC_RELAXED);
		if (!EXPECT(thread_create("mapper", work, (void *)(u64)(i + 1))))
			__atomic_fetch_sub(&workers, 1, __ATOMIC_RELAXED);
	}
	for (unsigned n = 1; n < SHRINKS; n++) {
		shrink_and_grow(n);
		thread_sleep_ns(1000000);
	}
	while (__atomic_load_n(&workers, __ATOMIC_ACQUIRE))
		thread_sleep_ns(1000000);
	EXPECT_EQ(wrong, 0);
	for (unsigned f = 0; f < FILES; f++) {
		EXPECT(list_empty(&files[f]->object.vmas));
		EXPECT_EQ(files[f]->refs, 0);
		test_file_destroy(files[f]);
	}
}
