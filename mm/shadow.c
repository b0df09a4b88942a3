// SPDX-License-Identifier: MIT
//
// What: copies of files' tables in DRAM (mm/shadow.h): made, kept equal, given back.
// Not here: attaching (mm/attach.c, mm/arena_map.c: an entry is an entry), the thread that adds and
// gives back (mm/shadow_thread.c).
//
// Invariants
//   I1  A page of the copy says what the file's page says: the same entries, or an entry that leads
//       to a copy of what the file's entry leads to. Entries that are not present are 0 here.
//   I2  An update goes to the medium first, then to the copy. The copy's entry is written from the
//       medium, read again under the copy's lock, so that of two updates the last one to come here
//       writes what both left behind. Between the two steps the copy lacks what is new, never has
//       what is gone: entries go away only inside a revoke (I4).
//   I3  Whoever changes a table stores (locked, or with the mapping lock held exclusively), then
//       looks for a copy; who makes one makes `object->shadow` known (locked), then reads. One of
//       the two sees the other. Both orders the other way round lose an entry.
//   I4  A page leaves the copy between vm_revoke_begin and vm_revoke_finish of all that it maps,
//       and is freed an epoch after: by then no private entry leads to it, and no CPU remembers
//       it. It keeps its contents until then; the frames are chained by their owner words.
//   I5  The copy is made of what table() names as ready. New table pages of ready trees are ready.
//   I6  Its top may be lower than the file's root, which may have grown since. Then it is a copy of
//       the subtree at the file's beginning, and goes when an entry above stops leading there. What
//       was the top stays part of the copy: mappings lead to it.
// Locking: shadow->lock (RANK_SHADOW): copy and lists of it. Reading a file's table needs map_lock.
// Failure: without memory, and within what one call may take, entries lead to the file's table.
#include "mm/shadow_internal.h"

#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/stat.h"

enum shadow_mode shadow_mode;

static bool is_table(pte_t e, int level)
{
	return pte_present(e) && !pte_is_leaf(e, level);
}

// Present, for what stands in place of memory that has failed has the mark's bit, too.
static bool is_copy(pte_t e)
{
	return pte_present(e) && (e.bits & PTE_COPY);
}

static pte_t *table_at(pte_t e)
{
	return phys_to_virt(pte_addr(e));
}

// ---- Making -------------------------------------------------------------------------------------

static pte_t copy_table(struct vm_shadow *s, pte_t e, int level, u64 off);

// What stands in the copy for the file's entry `e` of `level`.
static pte_t copy_entry(struct vm_shadow *s, pte_t e, int level, u64 off)
{
	if (!pte_present(e))
		return (pte_t){ 0 };
	if (pte_is_leaf(e, level))
		return (pte_t){ e.bits & ~PTE_COPY };
	if (off == 0 && level == s->level) // I6: the root has grown, what was the top stays
		return s->top;
	return copy_table(s, e, level, off);
}

// A copy of the table that `e` of `level` names, with what is below as far as s->left allows. `e`
// itself: no memory, or the table is in memory that has failed. Recursion ends with the levels.
static pte_t copy_table(struct vm_shadow *s, pte_t e, int level, u64 off)
{
	const pte_t *from = table_at(e);
	phys_t frame = PHYS_NONE;
	pte_t *to;

	e.bits &= ~PTE_COPY;
	if (s->left)
		frame = frame_alloc(0, 0);
	if (frame.pa == PHYS_NONE.pa) {
		s->partial = true;
		return e;
	}
	s->left--;
	to = phys_to_virt(frame);
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		pte_t below = pte_read(&from[i]);

		if (unlikely(below.bits == PTE_FAILED)) {
			// Who walks there is to meet what has failed, as without a copy.
			for (; i > 0; i--)
				if (is_copy(to[i - 1]) && to[i - 1].bits != s->top.bits)
					shadow_bury(s, to[i - 1], level - 1);
			frame_put(frame);
			return e;
		}
		to[i] = copy_entry(s, below, level - 1, off + i * pt_span(level - 1));
	}
	s->pages++;
	shadow_count_made(1);
	return (pte_t){ frame.pa | (e.bits & ~PTE_ADDR) | PTE_COPY };
}

// Below every table of the copy, copies of what still is the file's, as far as s->left allows.
static void deepen(struct vm_shadow *s, pte_t e, int level, u64 off)
{
	pte_t *table = table_at(e);

	for (unsigned i = 0; i < PT_ENTRIES && level - 1 > PT_PTE && s->left; i++) {
		pte_t below = pte_read(&table[i]);
		u64 at = off + i * pt_span(level - 1);

		if (!is_table(below, level - 1))
			continue;
		if (is_copy(below))
			deepen(s, below, level - 1, at);
		else
			pte_write(&table[i], copy_table(s, below, level - 1, at));
	}
}

void shadow_deepen(struct vm_shadow *s)
{
	s->left = shadow_room();
	s->partial = false;
	if (is_copy(s->top))
		deepen(s, s->top, s->level, 0);
	s->partial = s->partial || !s->left;
}

static bool wanted(const struct vm_object *o)
{
	enum shadow_mode mode = READ_ONCE(shadow_mode);

	return o->ops->tells &&
	       (mode == SHADOW_ALWAYS || (mode == SHADOW_AUTO && READ_ONCE(o->shadow_advised)));
}

static struct vm_shadow *shadow_of(struct vm_object *o)
{
	struct vm_shadow *s = __atomic_load_n(&o->shadow, __ATOMIC_ACQUIRE), *none = NULL;

	if (s)
		return s;
	s = kzalloc(sizeof(*s));
	if (!s)
		return NULL;
	mutex_init(&s->lock, RANK_SHADOW);
	s->object = o;
	list_init(&s->node);
	if (__atomic_compare_exchange_n(&o->shadow, &none, s, false, __ATOMIC_SEQ_CST, // I3
					__ATOMIC_ACQUIRE))
		return s;
	kfree(s);
	return none;
}

// The entry of `level` on the way to the file's beginning.
static pte_t first_entry(const struct vm_table *root, int level)
{
	pte_t e = root->entry;

	for (int at = root->level; at > level && is_table(e, at); at--)
		e = pte_read(&table_at(e)[0]);
	return e;
}

// `root`: the file's, or the subtree at its beginning. Where it has grown by several levels each
// new page comes by itself: one that could not be had would lead past what was the top (I6).
static void make_top(struct vm_shadow *s, const struct vm_table *root)
{
	bool raised = is_copy(s->top) && s->level < root->level;

	for (int level = is_copy(s->top) ? s->level + 1 : root->level; level <= root->level;
	     level++) {
		pte_t top = first_entry(root, level);

		if (!is_table(top, level))
			return;
		s->left = raised ? shadow_room() > 0 : shadow_room();
		top = copy_table(s, top, level, 0);
		if (!is_copy(top))
			return;
		s->top = top;
		s->level = level;
	}
	if (raised)
		shadow_deepen(s);
}

// The copy's entry of `level` for `off`, or where it leads to in the file's tables.
static pte_t entry_at(const struct vm_shadow *s, u64 off, int level)
{
	pte_t e = s->top;

	if (!is_copy(e) || level > s->level || off >= pt_span(s->level))
		return (pte_t){ 0 };
	for (int at = s->level; at > level && is_table(e, at); at--)
		e = pte_read(&table_at(e)[pt_index(off, at - 1)]);
	return e;
}

static void answer_by_copy(struct vm_object *o, u64 off, struct vm_table *out)
{
	struct vm_table root = { .kind = VM_TABLE_NONE };
	struct vm_shadow *s = shadow_of(o);
	pte_t e;

	// Damage elsewhere is not this call's business.
	if (!s || o->ops->table(o, 0, PT_PML4, &root) || root.kind != VM_TABLE_ENTRY ||
	    !is_table(root.entry, root.level))
		return;
	mutex_lock(&s->lock);
	make_top(s, &root);
	e = entry_at(s, off, out->level);
	if (is_table(e, out->level))
		out->entry = (pte_t){ e.bits & ~PTE_COPY };
	__atomic_store_n(&s->used_ns, time_now_ns(), __ATOMIC_RELAXED);
	if (is_copy(s->top))
		shadow_list(s);
	mutex_unlock(&s->lock);
}

int vm_table(struct vm_object *o, u64 off, int max_level, struct vm_table *out)
{
	int err = o->ops->table(o, off, max_level, out);

	if (!err && out->kind == VM_TABLE_ENTRY && is_table(out->entry, out->level) && wanted(o))
		answer_by_copy(o, off, out);
	return err;
}

// ---- Keeping it equal ---------------------------------------------------------------------------

void shadow_bury(struct vm_shadow *s, pte_t e, int level)
{
	const pte_t *table = table_at(e);

	for (unsigned i = 0; i < PT_ENTRIES && level - 1 > PT_PTE; i++)
		if (is_copy(pte_read(&table[i])))
			shadow_bury(s, pte_read(&table[i]), level - 1);
	frame_set_owner(pte_addr(e), s->dead.first);
	if (!s->dead.first)
		s->dead.last = pte_addr(e).pa;
	s->dead.first = pte_addr(e).pa;
	s->pages--;
}

// The place in the copy of the entry of `level` for `off`; NULL: the copy does not go that far.
static pte_t *find_entry(const struct vm_shadow *s, u64 off, int level)
{
	pte_t e = s->top;

	if (!is_copy(e) || level >= s->level || off >= pt_span(s->level))
		return NULL;
	for (int at = s->level - 1; at > level; at--) {
		e = pte_read(&table_at(e)[pt_index(off, at)]);
		if (!is_copy(e))
			return NULL;
	}
	return &table_at(e)[pt_index(off, level)];
}

static void bury_all(struct vm_shadow *s)
{
	if (is_copy(s->top))
		shadow_bury(s, s->top, s->level);
	s->top = (pte_t){ 0 };
	s->level = 0;
}

void vm_table_changed(struct vm_object *o, u64 off, int level, const pte_t *entry)
{
	struct vm_shadow *s = __atomic_load_n(&o->shadow, __ATOMIC_ACQUIRE);
	pte_t *place, old, new;

	if (!s)
		return;
	mutex_lock(&s->lock);
	new = pte_read(entry); // I2
	if (level >= s->level && off < pt_span(level) && !is_table(new, level))
		bury_all(s); // I6: it led to what the copy is of
	place = find_entry(s, off, level);
	if (place) {
		old = pte_read(place);
		// A table where a copy of one is: it is what was copied.
		if (!is_copy(old) || !is_table(new, level)) {
			s->left = is_table(new, level) ? shadow_room() : 0;
			pte_write(place, copy_entry(s, new, level, off));
			if (is_copy(old))
				shadow_bury(s, old, level);
		}
	}
	mutex_unlock(&s->lock);
}

// What whoever made the update is about to do; of the two the later one finds it done (I2).
bool shadow_catch_up(struct vm_object *o, u64 off)
{
	struct vm_table t = { .kind = VM_TABLE_NONE };

	if (!vm_object_shadowed(o) || o->ops->table(o, off, PT_PML4, &t) ||
	    t.kind != VM_TABLE_ENTRY)
		return false;
	while (is_table(t.entry, t.level)) {
		const pte_t *entry = &table_at(t.entry)[pt_index(off, t.level - 1)];

		t.level--;
		vm_table_changed(o, ALIGN_DOWN(off, pt_span(t.level)), t.level, entry);
		t.entry = pte_read(entry);
	}
	return true;
}

void vm_root_changed(struct vm_object *o)
{
	struct vm_shadow *s = __atomic_load_n(&o->shadow, __ATOMIC_ACQUIRE);

	if (!s)
		return;
	mutex_lock(&s->lock);
	bury_all(s);
	mutex_unlock(&s->lock);
}

void shadow_retire(struct vm_object *o)
{
	struct vm_shadow *s = __atomic_load_n(&o->shadow, __ATOMIC_ACQUIRE);

	if (!s)
		return;
	mutex_lock(&s->lock);
	if (s->dead.first)
		shadow_rest(&s->dead);
	if (!is_copy(s->top))
		shadow_unlist(s);
	mutex_unlock(&s->lock);
}

void shadow_give_back(struct vm_object *o)
{
	vm_revoke_begin(o);
	vm_root_changed(o);
	vm_revoke_finish(o, 0, ~0ull, VM_FORGET_MAPPED);
}

// A revoke of nothing: all who map the file come again, and are given the copy.
void shadow_advise(struct vm_object *o, bool random)
{
	bool before;

	if (!o->ops->tells)
		return;
	before = __atomic_exchange_n(&o->shadow_advised, random, __ATOMIC_RELAXED);
	if (before == random || READ_ONCE(shadow_mode) != SHADOW_AUTO)
		return;
	rwlock_write_lock(&o->map_lock);
	shadow_give_back(o);
	rwlock_write_unlock(&o->map_lock);
}

// Nobody maps the file, and nobody will.
void vm_shadow_free(struct vm_object *o)
{
	struct vm_shadow *s = o->shadow;

	if (!s)
		return;
	vm_root_changed(o);
	shadow_retire(o); // a CPU may remember a way that a munmap has cleared a moment ago
	shadow_forget(s);
	o->shadow = NULL;
	kfree(s);
}

// ---- Is it equal? -------------------------------------------------------------------------------

static bool matches(pte_t copy, pte_t file, int level)
{
	const u64 place = PTE_ADDR | PTE_PS;

	if (!is_copy(copy))
		return pte_present(copy) == pte_present(file) &&
		       (!pte_present(file) || !((copy.bits ^ file.bits) & place));
	if (!is_table(file, level))
		return false;
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		if (!matches(pte_read(&table_at(copy)[i]), pte_read(&table_at(file)[i]), level - 1))
			return false;
	return true;
}

bool shadow_matches(struct vm_object *o)
{
	struct vm_shadow *s = __atomic_load_n(&o->shadow, __ATOMIC_ACQUIRE);
	struct vm_table root = { .kind = VM_TABLE_NONE };
	bool yes = true;

	if (!s)
		return true;
	if (o->ops->table(o, 0, PT_PML4, &root))
		return false;
	mutex_lock(&s->lock);
	if (is_copy(s->top)) {
		for (; root.level > s->level && is_table(root.entry, root.level); root.level--)
			root.entry = pte_read(&table_at(root.entry)[0]);
		yes = root.kind == VM_TABLE_ENTRY && root.level == s->level &&
		      matches(s->top, root.entry, s->level);
	}
	mutex_unlock(&s->lock);
	return yes;
}
