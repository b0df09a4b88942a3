// SPDX-License-Identifier: MIT
//
// What: attaching stored page tables (attach.h, docs/mapping.md).
// Not here: entries and private tables (mm/pagetable.c), taking attachments away (mm/vmobject.c).
//
// An attachment is one private entry that carries the mapping's rights and points at the file's
// root, or at a subtree of it. Everything that needs less than the unit splits it (pt_split).
//
// Invariants
//   I1  an attached entry of level l lies wholly within [lo, hi) of one VMA, and its address is
//       congruent with the file offset modulo pt_span(l).
//   I2  it is installed under the map_lock under which it was read, so a revoke, which holds that
//       exclusively, either came before (and was seen) or finds it.
//   I3  an attachment replaces private tables (a fold) only if all that they hold is attached from
//       the same file, or plain pages of it, with the mapping's rights. Where the VMA never split,
//       and nothing is dirty, that is so; else it is looked at (mm/unsplit.h).
//
// Failure: no memory for private tables: -ENOMEM. What cannot be attached is served by plain
// faults.
#include "mm/attach.h"

#include "kernel/lib/errno.h"
#include "mm/aspace_internal.h"
#include "mm/attach_unit.h"
#include "mm/dirty.h"
#include "mm/frame.h"
#include "mm/layout.h"
#include "mm/shadow.h"
#include "mm/stat.h"
#include "mm/unsplit.h"
#include "mm/vmobject.h"

// The file's own answer, or what is remembered of it (vm_object.root_word).
static int read_table(struct vm_object *o, u64 off, int level, struct vm_table *t)
{
	u64 root = READ_ONCE(o->root_word);
	int err;

	t->kind = VM_TABLE_NONE;
	if (!o->ops->table)
		return 0;
	if (vm_root_level(root) >= level && off < pt_span(vm_root_level(root))) {
		t->entry = vm_root_entry(root, level, off);
		t->level = level;
		if (pte_present(t->entry)) {
			t->kind = VM_TABLE_ENTRY;
			return 0;
		}
	}
	err = vm_table(o, off, level, t);
	if (!err)
		vm_root_publish(o, off, t);
	return err;
}

static pte_t look(struct aspace *as, u64 va, int *level)
{
	pte_t e;

	spin_lock(&as->pt_lock);
	e = pte_read(pt_find(as, va, level));
	spin_unlock(&as->pt_lock);
	return e;
}

// By the length asked for, since files grow; except that a file that has no table yet takes a small
// slot as long as no more is asked for.
int attach_choose_unit(struct vm_object *o, u64 offset, u64 len, struct attach_unit *out)
{
	struct vm_table t;
	int err = 0;

	t.kind = VM_TABLE_NONE;
	*out = (struct attach_unit){ 0 };
	if (!o->ops->table)
		return 0;
	if (attach_may_copy(offset, len)) {
		rwlock_read_lock(&o->map_lock);
		err = read_table(o, offset, PT_PMD, &t);
		rwlock_read_unlock(&o->map_lock);
	}
	if (err)
		return err;
	if (t.kind == VM_TABLE_DIRECT)
		*out = (struct attach_unit){ PT_PTE, ATTACH_DIRECT_BYTES };
	else
		*out = (struct attach_unit){ attach_level_of(len), pt_span(attach_level_of(len)) };
	return 0;
}

// The highest level that may be attached at `va`: I1.
static int fit_level(const struct vma *v, u64 va)
{
	int level;

	for (level = v->unit_level; level > PT_PTE; level--) {
		u64 first = ALIGN_DOWN(va, pt_span(level));

		if (first >= v->lo && v->hi - first >= pt_span(level) &&
		    IS_ALIGNED(v->offset - v->start, pt_span(level)))
			break;
	}
	return level;
}

static struct file_table file_table(struct vm_object *o, u64 off, const struct vm_table *t)
{
	struct vm_table own = { .kind = VM_TABLE_NONE };

	if (vm_object_shadowed(o) && o->ops->table(o, off, t->level, &own) == 0 &&
	    own.kind == VM_TABLE_ENTRY && own.level == t->level)
		return (struct file_table){ t->level, t->entry, own.entry };
	return (struct file_table){ t->level, t->entry, t->entry };
}

// Is there a dirty chunk, whose W may be in an entry of the mapping?
static bool any_dirty(const struct vma *v, u64 va, int level)
{
	return READ_ONCE(v->object->dirty) && vma_tracks(v) &&
	       vm_dirty_any(v->object, ALIGN_DOWN(vma_offset(v, va), pt_span(level)),
			    pt_span(level));
}

// May something private stand in the place of a table of `level`, or a W? Whoever puts it there has
// set v->split, or the chunk in the dirty set, before taking as->pt_lock.
static bool must_look(const struct vma *v, u64 va, int level)
{
	return READ_ONCE(v->split) || any_dirty(v, va, level);
}

// May what stands at the cursor, a private table or nothing, give way to `f`? I3. as->pt_lock held.
static bool may_prune(const struct vma *v, const struct pt_cursor *c, const struct file_table *f)
{
	return !must_look(v, c->va, f->level) ||
	       unsplit_may(pt_cursor_get(c), f,
			   unsplit_rights(v->prot, vma_is_shared(v) && !vma_tracks(v)));
}

// Whether `f` may be attached at `va`, as far as can be said now.
static bool may_fold(struct aspace *as, const struct vma *v, u64 va, const struct file_table *f)
{
	struct pt_cursor c;
	bool may;

	spin_lock(&as->pt_lock);
	pt_cursor_init_table(&c, &pt_private, as->root_table, PT_PML4, va);
	may = pt_cursor_descend(&c, va, f->level) > f->level || may_prune(v, &c, f);
	spin_unlock(&as->pt_lock);
	return may;
}

// A private PTE page is there, which never is empty, and what the file has at `va` is a hole, of
// which `t` is the PTE page, or of all that it would map.
static bool keeps_hole(struct aspace *as, u64 va, const struct vm_table *t)
{
	int level;

	if (t->kind == VM_TABLE_ENTRY && (t->level != PT_PMD || pt_reaches(t->entry, PT_PMD, va)))
		return false;
	(void)look(as, va, &level);
	return level == PT_PTE;
}

// The highest table of the file that may be attached at `va`, of `top` at most: from below, since
// one that must stay private keeps all above it. Nor is any, for who only reads, where a page of
// zeros will be put now. VM_TABLE_NONE: there is none.
static int choose_by_looking(struct aspace *as, struct vma *v, u64 va, bool write, int top,
			     struct vm_table *t)
{
	struct vm_object *o = v->object;
	u64 off = vma_offset(v, va);
	struct vm_table next;

	t->kind = VM_TABLE_NONE;
	for (int level = PT_PMD; level <= top; level++) {
		int err = read_table(o, off, level, &next);
		struct file_table f;

		if (next.kind == VM_TABLE_DIRECT)
			*t = next;
		if (!write && t->kind == VM_TABLE_NONE && keeps_hole(as, va, &next))
			return err;
		if (!err && next.kind == VM_TABLE_NONE && t->kind == VM_TABLE_NONE)
			continue; // all of a hole: a table above may be there, and say so
		if (err || next.kind != VM_TABLE_ENTRY || next.level != level)
			return t->kind == VM_TABLE_NONE ? err : 0;
		f = file_table(o, off, &next);
		if (!may_fold(as, v, va, &f)) {
			// What is dirty may be the reason. A page of zeros is not: there will be a
			// fault where it was.
			if (any_dirty(v, va, level))
				vm_dirty_split(o, off, v->unit_level);
			return 0;
		}
		*t = next;
	}
	return 0;
}

// Install the file's entry `t` for `va` if nothing is there: nobody can have cached that, so no
// batch. ATTACH_DONE, too, if an attachment is there. PRIVATE_TABLE: that is in the way.
#define PRIVATE_TABLE 2
static int install_on_none(struct aspace *as, struct vma *v, u64 va, const struct vm_table *t)
{
	int result = ATTACH_DONE, level;
	bool installed = false;
	struct pt_cursor c;
	pte_t *slot;

	spin_lock(&as->pt_lock);
	slot = pt_find(as, va, &level);
	if (level != t->level) { // tables are missing, or there are more than it takes
		if (pt_reach(as, &c, va, t->level))
			result = -ENOMEM;
		slot = pt_slot(&c);
		level = c.level;
	}
	if (result == ATTACH_DONE && level == t->level) {
		pte_t old = pte_read(slot);

		if (pte_is_none(old)) {
			pte_write(slot, attached_entry(v, t->entry));
			pt_filled(slot, 1);
			installed = true;
		} else if (!(old.bits & PTE_ATTACHED)) {
			result = PRIVATE_TABLE;
		}
	}
	spin_unlock(&as->pt_lock);
	if (installed)
		note_attached(v, t->level, t->entry);
	return result;
}

// Take a private table out of the place of `f`: clear, flush, and then it can be set. False: it
// must stay.
static bool make_way(struct aspace *as, struct vma *v, u64 va, const struct file_table *f)
{
	struct pt_cursor c;
	struct ptbatch b;
	bool may = true;

	ptbatch_begin(&b, as);
	spin_lock(&as->pt_lock);
	pt_cursor_init_table(&c, &pt_private, as->root_table, PT_PML4, va);
	if (pt_cursor_descend(&c, va, f->level) == f->level && !pte_is_none(pt_cursor_get(&c)) &&
	    !(pt_cursor_get(&c).bits & PTE_ATTACHED)) {
		may = may_prune(v, &c, f);
		if (may) {
			mm_count(attach_folds);
			(void)!pt_prune(&b, &c); // if not all of it, the next round goes on
		}
	}
	spin_unlock(&as->pt_lock);
	// Under the map_lock of the fault: whoever revokes comes when nobody knows the private
	// tables any more.
	ptbatch_finish(&b);
	return may;
}

// Others may fault in the same place meanwhile, so look again after each flush.
static int install_entry(struct aspace *as, struct vma *v, u64 va, const struct vm_table *t)
{
	int result = install_on_none(as, v, va, t);
	struct file_table f;

	if (likely(result != PRIVATE_TABLE))
		return result;
	f = file_table(v->object, vma_offset(v, va), t);
	while (result == PRIVATE_TABLE)
		result = make_way(as, v, va, &f) ? install_on_none(as, v, va, t) : ATTACH_NONE;
	return result;
}

// Copy the direct entries with the rights applied. ATTACH_DONE if the page at `va` is among them.
static int copy_direct(struct aspace *as, struct vma *v, u64 va, const struct vm_table *t)
{
	int result = ATTACH_NONE;
	struct ptbatch b;

	ptbatch_begin(&b, as);
	spin_lock(&as->pt_lock);
	for (unsigned i = 0; i < VM_DIRECT_BLOCKS; i++) {
		u64 at = v->start - v->offset + i * PAGE_SIZE;
		struct pt_cursor c;

		if (!pte_present(t->direct[i]) || at < v->lo || at >= v->hi)
			continue;
		if (pt_reach(as, &c, at, PT_PTE)) {
			result = -ENOMEM;
			break;
		}
		if (c.level != PT_PTE || !pte_is_none(pt_cursor_get(&c)))
			continue;
		pt_set(&b, &c, attached_entry(v, t->direct[i]));
		if (at == va)
			result = ATTACH_DONE;
	}
	spin_unlock(&as->pt_lock);
	ptbatch_finish(&b);
	if (result == ATTACH_DONE) {
		v->attach_level = max(v->attach_level, (u8)PT_PTE);
		mm_count(attach_direct);
	}
	return result;
}

int attach_at(struct aspace *as, struct vma *v, u64 va, bool write)
{
	int level = fit_level(v, va), err;
	struct vm_table t;

	if (!v->object->ops->table)
		return ATTACH_NONE;
	if (level >= PT_PMD && unlikely(must_look(v, va, level)))
		err = choose_by_looking(as, v, va, write, level, &t);
	else
		err = read_table(v->object, vma_offset(v, va), max(level, PT_PMD), &t);
	if (err)
		return err;
	switch (t.kind) {
	case VM_TABLE_DIRECT: return copy_direct(as, v, va, &t);
	case VM_TABLE_ENTRY:
		if (t.level <= level && pte_present(t.entry))
			break;
		return ATTACH_NONE;
	case VM_TABLE_NONE: return ATTACH_NONE;
	}
	t.entry = attach_prefer(v, va, t.level, t.entry);
	return install_entry(as, v, va, &t);
}

// A mapping that turned out to be one unit with one entry: remember its place for attach_unit().
static void note_slot(struct aspace *as, struct vma *v)
{
	u64 span = pt_span(v->unit_level);
	pte_t *slot;
	int level;

	if (v->unit_level <= PT_PTE || v->hi - v->lo != span || !IS_ALIGNED(v->lo, span))
		return;
	spin_lock(&as->pt_lock);
	slot = pt_find(as, v->lo, &level);
	spin_unlock(&as->pt_lock);
	if (level == v->unit_level) {
		v->slot = slot;
		aspace_try_light(as); // with the record that it leaves
	}
}

int attach_all(struct aspace *as, struct vma *v)
{
	u64 va = v->start;

	while (va < v->end) {
		int r = attach_at(as, v, va, true); // holes, too
		struct pt_cursor c;

		// The usual case: one entry for all.
		if (r == ATTACH_DONE && va == v->start &&
		    v->end <= ALIGN_DOWN(va, pt_span(v->attach_level)) + pt_span(v->attach_level)) {
			note_slot(as, v);
			return 0;
		}
		if (r < 0)
			return r;
		if (r == ATTACH_NONE)
			mm_count(attach_fallbacks);
		// On past what is there now, be it nothing. Pages of direct entries are all of a
		// file.
		spin_lock(&as->pt_lock);
		pt_look(as, &c, va);
		spin_unlock(&as->pt_lock);
		if (c.level == PT_PTE)
			return 0;
		va = pt_cursor_end(&c);
	}
	return 0;
}

// ---- Faults -------------------------------------------------------------------------------------

bool attach_shows(const struct vma *v, u64 va, pte_t e, int level)
{
	if (!(e.bits & PTE_ATTACHED))
		return false;
	if (pt_reaches(e, level, va))
		return true;
	return shadow_catch_up(v->object, vma_offset(v, va)) && pt_reaches(e, level, va);
}

// A hole that is written to is filled in the file's own table, for all who have it attached. Pages
// of zeros that stand for it go, here too.
static int fill_hole(const struct vma *v, u64 va)
{
	struct vm_object *o = v->object;
	u64 off = vma_offset(v, va);
	struct vm_page page;
	int err = o->ops->page(o, off, true, &page);

	if (err)
		return err;
	mm_count(fault_hole_write);
	if (page.refcounted)
		frame_put(page.pa);
	vm_hole_filled(o, off, PAGE_SIZE);
	return 0;
}

int attach_fault(struct aspace *as, struct vma *v, u64 va, bool write)
{
	bool copies = write && !vma_is_shared(v);
	int level, err = ATTACH_DONE;
	pte_t e = look(as, va, &level);

	if (write && !copies && pt_is_zero_page(e, level)) {
		err = fill_hole(v, va);
		if (err)
			return err;
		e = look(as, va, &level); // the reason for the split was this page, perhaps
	}
	if (pte_is_none(e)) {
		err = attach_at(as, v, va, write);
		if (err != ATTACH_DONE)
			return err;
		mm_count(fault_attach);
		if (!write)
			return ATTACH_DONE;
		e = look(as, va, &level);
	}
	if (!(e.bits & PTE_ATTACHED) || copies)
		return ATTACH_NONE;
	if (!attach_shows(v, va, e, level)) {
		if (!write)
			return ATTACH_NONE;
		err = fill_hole(v, va);
		if (err)
			return err;
		if (!attach_shows(v, va, e, level))
			return ATTACH_NONE;
	} else if (!write) {
		mm_count(fault_spurious);
	}
	return write && vma_tracks(v) ? dirty_grant(as, v, va) : ATTACH_DONE;
}

// ---- Splitting ----------------------------------------------------------------------------------

int attach_split_to(struct ptbatch *b, struct pt_cursor *c, u64 va, int level)
{
	int err = pt_build(c, va, level);

	while (!err && c->level > level) {
		pte_t e = pt_cursor_get(c);

		if (pte_is_leaf(e, c->level))
			return -EAGAIN;
		mm_count(attach_splits);
		err = pt_split(b, c);
		if (!err)
			err = pt_build(c, va, level);
	}
	return err;
}

static void fill_small_leaves(pte_t *to, pte_t leaf, int level)
{
	u64 bits = leaf.bits & ~(PTE_ADDR | (level - 1 == PT_PTE ? PTE_PS : 0));

	for (unsigned i = 0; i < PT_ENTRIES; i++)
		to[i].bits = bits | (pte_addr(leaf).pa + i * pt_span(level - 1));
}

int attach_split_leaf(struct aspace *as, u64 va)
{
	phys_t frame = frame_alloc(0, 0);
	struct pt_cursor c;
	struct ptbatch b;
	pte_t e;

	if (frame.pa == PHYS_NONE.pa)
		return -ENOMEM;
	ptbatch_begin(&b, as);
	spin_lock(&as->pt_lock);
	pt_look(as, &c, va);
	e = pt_cursor_get(&c);
	if (c.level == PT_PTE || pte_is_none(e) || !pte_is_leaf(e, c.level)) {
		spin_unlock(&as->pt_lock);
		ptbatch_finish(&b);
		frame_put(frame);
		return 0;
	}
	pt_set(&b, &c, (pte_t){ 0 });
	spin_unlock(&as->pt_lock);
	ptbatch_flush(&b);
	fill_small_leaves(phys_to_virt(frame), e, c.level);
	frame_set_owner(frame, PT_ENTRIES);
	// Nobody else can have filled the place: faults wait for as->lock, and entries are only
	// ever cleared (revoke) without it, which map_lock keeps out.
	spin_lock(&as->pt_lock);
	pt_set(&b, &c, pte_table(frame, PTE_W | PTE_U));
	spin_unlock(&as->pt_lock);
	ptbatch_finish(&b);
	mm_count(attach_splits);
	return 0;
}

int attach_split_boundary(struct aspace *as, struct vma *v, u64 va)
{
	struct pt_cursor c;
	struct ptbatch b;
	int err, level;
	pte_t e;

	if (!v->object)
		return 0; // anonymous memory has small pages only
	rwlock_read_lock(&v->object->map_lock);
	// Before the tables are looked at: from here on no sync puts one of the file across `va`.
	WRITE_ONCE(v->cutting, true);
	do {
		err = 0;
		e = look(as, va, &level);
		if (level == PT_PTE || pte_is_none(e) || IS_ALIGNED(va, pt_span(level)))
			break;
		v->split = true;
		ptbatch_begin(&b, as);
		spin_lock(&as->pt_lock);
		pt_look(as, &c, va);
		err = attach_split_to(&b, &c, va, level - 1);
		spin_unlock(&as->pt_lock);
		ptbatch_finish(&b);
		if (err == -EAGAIN)
			err = attach_split_leaf(as, va);
	} while (!err);
	if (err)
		WRITE_ONCE(v->cutting, false);
	rwlock_read_unlock(&v->object->map_lock);
	return err;
}
