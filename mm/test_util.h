// SPDX-License-Identifier: MIT
//
// For the tests of mm/: an address space for the test's thread, and a file in RAM with a page table
// of its own, as ptfs stores one on persistent memory.
#pragma once

#include "kernel/ktest.h"
#include "mm/aspace.h"
#include "mm/vmobject.h"

// The calling thread works in a new address space from here on. NULL: no memory.
struct aspace *test_enter(void);
void test_leave(struct aspace *as);
void test_use(struct aspace *as); // work in this one

// Starts threads fn(0) to fn(n - 1); each takes itself off *running with its last words. False: not
// all could be started. test_join: until all are through.
bool test_start(u32 *running, void (*fn)(void *arg), u64 n);
void test_join(const u32 *running);

// Anonymous private memory, or of `o`. 0: failed.
u64 test_map_anon(struct aspace *as, u64 len, unsigned prot);
u64 test_map_file(struct aspace *as, struct vm_object *o, u64 off, u64 len, unsigned prot,
		  unsigned flags);

// arena_map_fast, through a descriptor that grants all.
u64 test_map_fast(struct aspace *as, struct vm_object *o, u64 off, u64 len, unsigned prot,
		  unsigned flags);

// The whole file for reading by the light calls, interrupts off as there. 0: not to be had so.
// test_unmap_light: false: not wholly so; it is ended if it has begun.
u64 test_map_light(struct aspace *as, struct vm_object *o, u64 len);
bool test_unmap_light(struct aspace *as, u64 at, u64 len);

// One word of user memory; ~0 if it cannot be read. Writing: false if it cannot.
u64 test_peek(u64 va);
bool test_poke(u64 va, u64 value);

// In the middle of something: right after the next store to the eight bytes at `word` by this CPU
// fn(ctx) is called, once, in a trap with interrupts off. Preemption is off from here to
// test_break_end(), which says whether there was such a store. False: the machine has no data
// breakpoints (Bochs may be built without), and there is nothing to try.
bool test_break_on_store(void *word, void (*fn)(void *ctx), void *ctx);
bool test_break_end(void);

#define TEST_WATCHED 8

// A file of `bytes` with no block yet (all holes); direct entries up to 32 KiB, else a tree whose
// root stands as low as the size allows. Block n begins with the word test_file_word(n).
struct test_file {
	struct vm_object object;
	u64 behind; // would be a present entry, if somebody took it for one of the object's
	struct spinlock
		lock; // filling holes; everything else that changes holds map_lock exclusively
	u64 bytes;
	int level; // of the root entry: PT_PMD = a PTE page, ...; PT_PTE: direct
	pte_t root;
	pte_t direct[VM_DIRECT_BLOCKS];
	bool ready;                                  // else table() says VM_TABLE_NONE
	void (*not_ready)(void *ctx, int max_level); // called before it says so; NULL: nothing
	void *not_ready_ctx;
	int refs;       // mappings
	bool held;      // by others, too: put_shared() lets go
	int page_calls; // how often the VM asked for a page
	int fail_page;  // what page() answers instead, if not 0
	bool fills;     // page() fills a hole first: another CPU does, just before
	// Write-back. The medium has of each watched word what it was when its line was written
	// back.
	u64 sync_off, sync_bytes; // range of the last call; bytes of all
	int sync_calls, touches;
	int fail_sync;                 // what sync() answers instead, if not 0
	void (*after_sync)(void *ctx); // called when sync() has written back; NULL: nothing
	void *after_sync_ctx;
	unsigned nr_watched;
	u64 watched[TEST_WATCHED], medium[TEST_WATCHED]; // offset; value
};

struct test_file *test_file_create(u64 bytes);
void test_file_destroy(struct test_file *f);
// Blocks for the pages of [off, off + len). False: no memory.
bool test_file_fill(struct test_file *f, u64 off, u64 len);
// Grow (holes), or shrink with a revoke. False: no memory.
bool test_file_resize(struct test_file *f, u64 bytes);
// Take the blocks out, with a revoke.
void test_file_punch(struct test_file *f, u64 off, u64 len);

// A file with all its blocks, and a new address space for the thread. False: no memory; what there
// is may be given to test_end() all the same, which demands that nothing maps the file any more.
bool test_begin(struct aspace **as, struct test_file **f, u64 bytes);
void test_end(struct aspace *as, struct test_file *f);

// Each page of [at, at + len) shows the block of the file that stands at `off` and on.
bool test_shows_blocks(u64 at, u64 off, u64 len);

static inline u64 test_file_word(u64 block)
{
	return 0xb10c000000000000ull + block;
}
