// SPDX-License-Identifier: MIT
//
// What: the helpers of mm/test_util.h. A test file keeps its tree in frames of RAM; the VM treats
// them as it treats persistent memory.
#include "mm/test_util.h"

#include "mm/arena.h"

#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/ptcursor.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/trap.h"
#include "mm/dirty.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/ptbatch.h"
#include "mm/uaccess.h"

void test_use(struct aspace *as)
{
	preempt_disable();
	thread_current()->as = as;
	aspace_switch(as);
	preempt_enable();
}

struct aspace *test_enter(void)
{
	struct aspace *as = aspace_create();

	if (as)
		test_use(as);
	return as;
}

void test_leave(struct aspace *as)
{
	test_use(NULL);
	aspace_put(as);
}

u64 test_map_file(struct aspace *as, struct vm_object *o, u64 off, u64 len, unsigned prot,
		  unsigned flags)
{
	struct map_request req = { .len = len,
				   .prot = prot,
				   .may_prot = PROT_READ | PROT_WRITE | PROT_EXEC,
				   .flags = flags,
				   .object = o,
				   .offset = off };
	uva_t at;

	return aspace_map(as, &req, &at) ? 0 : at.va;
}

u64 test_map_anon(struct aspace *as, u64 len, unsigned prot)
{
	return test_map_file(as, NULL, 0, len, prot, MAP_PRIVATE | MAP_ANONYMOUS);
}

u64 test_map_fast(struct aspace *as, struct vm_object *o, u64 off, u64 len, unsigned prot,
		  unsigned flags)
{
	return arena_map_fast(as, vm_grant(o, PROT_ALL), len, prot, flags, off);
}

u64 test_map_light(struct aspace *as, struct vm_object *o, u64 len)
{
	u64 irq = asm_irq_save();
	u64 at = aspace_map_light(as, o, 0, len, PROT_READ | PROT_READ << PROTS_MAY,
				  MAP_SHARED | MAP_DAXVM);

	asm_irq_restore(irq);
	return at;
}

bool test_unmap_light(struct aspace *as, u64 at, u64 len)
{
	u64 irq = asm_irq_save();
	bool done = aspace_unmap_light(as, at, len) == 0;

	asm_irq_restore(irq);
	if (!done && aspace_unmap_has_begun(as))
		aspace_unmap_rest(as);
	return done;
}

u64 test_peek(u64 va)
{
	u64 v;

	return copy_from_user(&v, UVA(va), sizeof(v)) ? ~0ull : v;
}

bool test_poke(u64 va, u64 value)
{
	return copy_to_user(UVA(va), &value, sizeof(value)) == 0;
}

// ---- Threads ------------------------------------------------------------------------------------

bool test_start(u32 *running, void (*fn)(void *arg), u64 n)
{
	for (u64 i = 0; i < n; i++) {
		__atomic_fetch_add(running, 1, __ATOMIC_RELAXED);
		if (!EXPECT(thread_create("test", fn, (void *)i))) {
			__atomic_fetch_sub(running, 1, __ATOMIC_RELAXED);
			return false;
		}
	}
	return true;
}

void test_join(const u32 *running)
{
	while (__atomic_load_n(running, __ATOMIC_ACQUIRE))
		thread_yield();
}

// ---- In the middle of something -----------------------------------------------------------------

#define DR7_ON_0     BIT(1)       // for all code
#define DR7_STORES_0 (1ull << 16) // read-write bits: stores only
#define DR7_EIGHT_0  (2ull << 18) // length bits: 8 bytes
#define DR7_FIXED    BIT(10)

static struct {
	void (*fn)(void *ctx);
	void *ctx;
	bool met;
} on_store;

static void off(void)
{
	asm_write_dr7(DR7_FIXED);
	trap_set_kernel_debug(NULL);
}

static void store_met(struct trapframe *tf)
{
	(void)tf;
	off();
	asm_write_dr6(0);
	on_store.met = true;
	if (on_store.fn)
		on_store.fn(on_store.ctx);
}

static void on(void *word, void (*fn)(void *ctx), void *ctx)
{
	on_store.fn = fn;
	on_store.ctx = ctx;
	on_store.met = false;
	trap_set_kernel_debug(store_met);
	asm_write_dr0((u64)word);
	asm_write_dr7(DR7_FIXED | DR7_ON_0 | DR7_STORES_0 | DR7_EIGHT_0);
}

bool test_break_on_store(void *word, void (*fn)(void *ctx), void *ctx)
{
	u64 probe;

	ASSERT(!preemptible());
	on(&probe, NULL, NULL);
	WRITE_ONCE(probe, 1);
	off();
	if (!on_store.met) {
		klog_plain("# no data breakpoints");
		return false;
	}
	on(word, fn, ctx);
	return true;
}

bool test_break_end(void)
{
	off();
	return on_store.met;
}

// ---- A file in RAM ------------------------------------------------------------------------------

static struct test_file *file_of(struct vm_object *o)
{
	return container_of(o, struct test_file, object);
}

static const pte_t *follow(const struct pt_space *s, pte_t e, int level)
{
	(void)s;
	(void)level;
	return phys_to_virt(pte_addr(e));
}
static const struct pt_space file_space = { .table = follow };

static phys_t new_block(u64 block)
{
	phys_t p = frame_alloc(0, FRAME_ZERO);

	if (p.pa != PHYS_NONE.pa)
		*(u64 *)phys_to_virt(p) = test_file_word(block);
	return p;
}

// The leaf entry for `off`; with `make`, tables are made. NULL: there is none.
static pte_t *leaf_slot(struct test_file *f, u64 off, bool make)
{
	struct pt_cursor c;

	if (f->level == PT_PTE)
		return off < KIB(32) ? &f->direct[off / PAGE_SIZE] : NULL;
	pt_cursor_init_entry(&c, &file_space, &f->root, f->level);
	while (c.level > PT_PTE) {
		phys_t t;

		if (pt_cursor_down(&c, off))
			continue;
		if (!make)
			return NULL;
		t = frame_alloc(0, FRAME_ZERO);
		if (t.pa == PHYS_NONE.pa)
			return NULL;
		pte_write((pte_t *)(uintptr_t)pt_cursor_slot(&c), pte_table(t, PTE_W | PTE_U));
	}
	return (pte_t *)(uintptr_t)pt_cursor_slot(&c);
}

static bool fill_block(struct test_file *f, u64 off)
{
	pte_t *slot = leaf_slot(f, off, true);
	phys_t p;

	if (!slot || !pte_is_none(*slot))
		return slot;
	p = new_block(off / PAGE_SIZE);
	if (p.pa == PHYS_NONE.pa)
		return false;
	pte_write(slot, pte_leaf(p, PT_PTE, PTE_W | PTE_U));
	return true;
}

static int file_page(struct vm_object *o, u64 off, bool write, struct vm_page *out)
{
	struct test_file *f = file_of(o);
	bool filled = true;
	pte_t *slot;

	__atomic_fetch_add(&f->page_calls, 1, __ATOMIC_RELAXED);
	if (f->fail_page)
		return f->fail_page;
	if (off >= f->bytes)
		return -ENXIO;
	spin_lock(&f->lock);
	if (write || f->fills)
		filled = fill_block(f, off);
	slot = leaf_slot(f, off, false);
	if (!slot || pte_is_none(*slot))
		*out = (struct vm_page){ .hole = true };
	else
		*out = (struct vm_page){ .pa = pte_addr(*slot), .level = PT_PTE };
	spin_unlock(&f->lock);
	return filled ? 0 : -ENOSPC;
}

static int file_table(struct vm_object *o, u64 off, int max_level, struct vm_table *out)
{
	struct test_file *f = file_of(o);
	struct pt_cursor c;

	out->kind = VM_TABLE_NONE;
	if (!f->ready && f->not_ready) {
		f->not_ready(f->not_ready_ctx, max_level); // it may be ready from here on
		return 0;
	}
	if (!f->ready || off >= f->bytes)
		return 0;
	if (f->level == PT_PTE) {
		out->kind = VM_TABLE_DIRECT;
		memcpy(out->direct, f->direct, sizeof(f->direct));
		return 0;
	}
	pt_cursor_init_entry(&c, &file_space, &f->root, f->level);
	pt_cursor_descend(&c, off, max_level);
	if (c.level > max_level || !pte_present(pt_cursor_get(&c)))
		return 0;
	*out = (struct vm_table){ .kind = VM_TABLE_ENTRY,
				  .level = c.level,
				  .entry = pt_cursor_get(&c) };
	return 0;
}

static int file_sync(struct vm_object *o, u64 off, u64 len)
{
	struct test_file *f = file_of(o);

	if (f->fail_sync)
		return f->fail_sync;
	f->sync_off = off;
	f->sync_bytes += len;
	f->sync_calls++;
	rwlock_read_lock(&o->map_lock);
	spin_lock(&f->lock);
	for (unsigned i = 0; i < f->nr_watched; i++) {
		u64 at = f->watched[i];
		const pte_t *slot = leaf_slot(f, at, false);

		if (at >= off && at < off + len && slot && pte_present(*slot))
			f->medium[i] = READ_ONCE(
				*(u64 *)((u8 *)phys_to_virt(pte_addr(*slot)) + at % PAGE_SIZE));
	}
	spin_unlock(&f->lock);
	rwlock_read_unlock(&o->map_lock);
	if (f->after_sync)
		f->after_sync(f->after_sync_ctx);
	return 0;
}

static int file_touch(struct vm_object *o)
{
	__atomic_fetch_add(&file_of(o)->touches, 1, __ATOMIC_RELAXED);
	return 0;
}

static u64 file_size(struct vm_object *o)
{
	return file_of(o)->bytes;
}

static void file_get(struct vm_object *o)
{
	__atomic_fetch_add(&file_of(o)->refs, 1, __ATOMIC_RELAXED);
}

static void file_put(struct vm_object *o)
{
	__atomic_fetch_sub(&file_of(o)->refs, 1, __ATOMIC_RELAXED);
}

static bool file_put_shared(struct vm_object *o)
{
	if (!file_of(o)->held)
		return false;
	file_put(o);
	return true;
}

static const struct vm_object_ops file_ops = {
	.page = file_page,
	.table = file_table,
	.sync = file_sync,
	.touch = file_touch,
	.size = file_size,
	.get = file_get,
	.put = file_put,
	.put_shared = file_put_shared,
};

static int level_for(u64 bytes)
{
	if (bytes <= KIB(32))
		return PT_PTE;
	return bytes <= PMD_SIZE ? PT_PMD : bytes <= PUD_SIZE ? PT_PUD : PT_PML4;
}

struct test_file *test_file_create(u64 bytes)
{
	struct test_file *f = kzalloc(sizeof(*f));

	if (!f)
		return NULL;
	vm_object_init(&f->object, &file_ops);
	spin_init(&f->lock, RANK_FS_SPIN);
	f->behind = PTE_P;
	f->bytes = bytes;
	f->level = level_for(bytes);
	f->ready = true;
	return f;
}

// Frees the blocks of [from, to) and tables that hold nothing else below the entry at `slot`.
static void free_below(pte_t *slot, int level, u64 at, u64 from, u64 to)
{
	pte_t e = *slot, *table;

	if (pte_is_none(e) || at >= to || at + pt_span(level) <= from)
		return;
	if (level > PT_PTE) {
		table = phys_to_virt(pte_addr(e));
		for (u64 i = 0; i < PT_ENTRIES; i++)
			free_below(&table[i], level - 1, at + i * pt_span(level - 1), from, to);
		if (at < from || at + pt_span(level) > to)
			return;
	}
	slot->bits = 0;
	memset(phys_to_virt(pte_addr(e)), 0xee, PAGE_SIZE); // whoever still looks there will show
	frame_put(pte_addr(e));
}

static void free_range(struct test_file *f, u64 from, u64 to)
{
	if (f->level > PT_PTE)
		free_below(&f->root, f->level, 0, from, to);
	for (u64 i = 0; i < VM_DIRECT_BLOCKS && f->level == PT_PTE; i++)
		free_below(&f->direct[i], PT_PTE, i * PAGE_SIZE, from, to);
}

void test_file_destroy(struct test_file *f)
{
	free_range(f, 0, ~0ull);
	vm_dirty_free(&f->object);
	kfree(f);
}

bool test_file_fill(struct test_file *f, u64 off, u64 len)
{
	for (u64 at = ALIGN_DOWN(off, PAGE_SIZE); at < off + len; at += PAGE_SIZE)
		if (!fill_block(f, at))
			return false;
	return true;
}

// The new root is built beside and stored last, as ptfs does it.
static bool grow_levels(struct test_file *f, int level)
{
	while (f->level < level) {
		phys_t t = frame_alloc(0, FRAME_ZERO);
		pte_t *table;

		if (t.pa == PHYS_NONE.pa)
			return false;
		table = phys_to_virt(t);
		if (f->level == PT_PTE) {
			memcpy(table, f->direct, sizeof(f->direct));
			memset(f->direct, 0, sizeof(f->direct));
		} else {
			table[0] = f->root;
		}
		pte_write(&f->root, pte_table(t, PTE_W | PTE_U));
		f->level++;
	}
	return true;
}

// map_lock is held exclusively.
static void revoke(struct test_file *f, u64 from, u64 to)
{
	vm_revoke_begin(&f->object);
	vm_revoke_finish(&f->object, from, to - from, VM_FORGET_ALL);
	free_range(f, from, to);
}

bool test_file_resize(struct test_file *f, u64 bytes)
{
	bool good = true;
	u64 old;

	rwlock_write_lock(&f->object.map_lock);
	old = f->bytes;
	if (bytes > old)
		good = grow_levels(f, level_for(bytes));
	if (good)
		f->bytes = bytes;
	if (good && bytes < old)
		revoke(f, ALIGN_UP(bytes, PAGE_SIZE), ~0ull);
	rwlock_write_unlock(&f->object.map_lock);
	return good;
}

void test_file_punch(struct test_file *f, u64 off, u64 len)
{
	rwlock_write_lock(&f->object.map_lock);
	revoke(f, off, off + len);
	rwlock_write_unlock(&f->object.map_lock);
}

// ---- A file and a space -------------------------------------------------------------------------

bool test_begin(struct aspace **as, struct test_file **f, u64 bytes)
{
	*as = test_enter();
	*f = test_file_create(bytes);
	return *as && *f && test_file_fill(*f, 0, bytes);
}

void test_end(struct aspace *as, struct test_file *f)
{
	if (as)
		test_leave(as);
	if (!f)
		return;
	EXPECT_EQ(f->refs, 0);
	EXPECT(list_empty(&f->object.vmas));
	test_file_destroy(f);
}

bool test_shows_blocks(u64 at, u64 off, u64 len)
{
	for (u64 o = 0; o < len; o += PAGE_SIZE)
		if (test_peek(at + o) != test_file_word((off + o) / PAGE_SIZE))
			return false;
	return true;
}
