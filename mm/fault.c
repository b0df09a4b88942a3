// SPDX-License-Identifier: MIT
//
// What: page faults: from the trap to a mapped page, a signal, or the exception table.
// Not here: attaching whole tables (mm/attach.c); the usual fault of a file on persistent memory,
// which needs nothing of what is here (mm/fill.c).
//
// A fault looks at the private entry for its page, makes what should stand there (zero page, new
// frame, copy, page of a file) without holding as->pt_lock, then installs it under that lock if the
// entry is still the same, else looks again.
//
//	mapping     nothing there                 read-only entry there, write
//	anonymous   read: zero page               zero page: new frame
//	            write: new frame              frame: ours alone? make writable : copy
//	private     the file's page, read-only    copy of the file's page
//	  file      write: copy of it             own copy already: as anonymous
//	shared      the file's page               hole (zero page): the file allocates it
//	  file      hole: zero page; write: the file allocates it
//	            without W where stores are     first store to the chunk: it is dirty from
//	            tracked, but for a write       here on, and W is granted (mm/dirty.c)
//
// Invariants
//   I1  what was made of a file's page is installed under the map_lock under which it was read.
//   I2  an entry changes to another frame only through the batch, and the old frame's reference is
//       dropped after the shootdown.
//   I3  a zero page that stands for a hole is checked again after it was installed: the hole may
//       have been filled by somebody who looked for zero pages before it was there
//       (vm_hole_filled).
//
// Locking: as->lock shared, object->map_lock shared, as->pt_lock. See fault_resolve.
// Failure: the caller sends a signal; nothing is left half done.
#include "mm/fault.h"

#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/trap.h"
#include "mm/arena.h"
#include "mm/attach.h"
#include "mm/dirty.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/layout.h"
#include "mm/pagetable.h"
#include "mm/stat.h"
#include "mm/vmobject.h"

#define SIGBUS        7
#define SIGSEGV       11
#define SEGV_MAPERR   1
#define SEGV_ACCERR   2
#define BUS_ADRERR    2
#define BUS_MCEERR_AR 4

#define AROUND_PAGES 16u // an aligned group of 64 KiB, as Linux takes it

#define RFLAGS_AC BIT(18) // user accesses are allowed (SMAP)

// Internal answers besides 0 and -errno.
enum { FAULT_AGAIN = 1, FAULT_EXCLUSIVE = 2 };

// One fault on its way.
struct fault {
	struct aspace *as;
	struct vma *v;
	u64 va; // page aligned
	bool write;
	bool exclusive; // as->lock is held exclusively
	pte_t seen;     // the entry when it was looked at
	int level;      // its level
	u64 group;      // of pages that are mapped together, in bytes
};

static void (*signal_fn)(struct trapframe *tf, int sig, int code, uva_t addr);

void fault_set_signal(void (*fn)(struct trapframe *tf, int sig, int code, uva_t addr))
{
	signal_fn = fn;
}

void fault_send_signal(struct trapframe *tf, int sig, int code, uva_t addr)
{
	if (!signal_fn)
		panic_trap(tf, "user fault at %#lx, and nobody to send a signal", addr.va);
	signal_fn(tf, sig, code, addr);
}

// ---- One page -----------------------------------------------------------------------------------

static void look(struct fault *f)
{
	struct pt_cursor c;

	spin_lock(&f->as->pt_lock);
	pt_look(f->as, &c, f->va);
	f->seen = pt_cursor_get(&c);
	f->level = c.level;
	spin_unlock(&f->as->pt_lock);
}

// Put `want` at `level` where `seen` was. FAULT_AGAIN: the entry changed meanwhile, `want` was not
// used. The reference of an owned `want` is the caller's until 0 is returned.
static int install(struct fault *f, int level, pte_t want)
{
	struct pt_cursor c;
	struct ptbatch b;
	pte_t old;
	int err;

	ptbatch_begin(&b, f->as);
	spin_lock(&f->as->pt_lock);
	pt_look(f->as, &c, f->va);
	if (c.level != f->level || pt_cursor_get(&c).bits != f->seen.bits) {
		err = FAULT_AGAIN;
	} else {
		err = attach_split_to(&b, &c, f->va, level);
		if (err == -EAGAIN)
			err = FAULT_EXCLUSIVE;
	}
	if (!err) {
		old = pt_set(&b, &c, want);
		if (old.bits & PTE_OWNED)
			ptbatch_drop(&b, pte_addr(old));
	}
	spin_unlock(&f->as->pt_lock);
	ptbatch_finish(&b);
	return err;
}

// A frame of the process's own: zeros, or a copy of `from`.
static int install_private(struct fault *f, phys_t from)
{
	bool copy = from.pa != PHYS_NONE.pa;
	phys_t frame = frame_alloc(0, copy ? 0 : FRAME_ZERO);
	int err;

	if (frame.pa == PHYS_NONE.pa)
		return -ENOMEM;
	if (copy && asm_copy_user(phys_to_virt(frame), phys_to_virt(from), PAGE_SIZE)) {
		frame_put(frame); // the memory of `from` failed just now
		return -EHWPOISON;
	}
	err = install(f, PT_PTE,
		      pt_user_leaf(frame, PT_PTE, f->v->prot, true, PTE_OWNED | PTE_ANON));
	if (err)
		frame_put(frame);
	return err;
}

static int install_zero_page(struct fault *f)
{
	return install(f, PT_PTE, pt_user_leaf(pt_zero_page, PT_PTE, f->v->prot, false, 0));
}

// A write to a page of the process's own that is mapped read-only: after fork, or after mprotect.
static int write_private(struct fault *f)
{
	struct pt_cursor c;
	struct ptbatch b;
	bool reuse = false;

	ptbatch_begin(&b, f->as);
	spin_lock(&f->as->pt_lock);
	pt_look(f->as, &c, f->va);
	// With one reference nobody else can get at the frame, or take another reference, but
	// through this entry.
	if (pt_cursor_get(&c).bits == f->seen.bits && frame_refs(pte_addr(f->seen)) == 1) {
		pt_set(&b, &c, (pte_t){ f->seen.bits | PTE_W });
		reuse = true;
	}
	spin_unlock(&f->as->pt_lock);
	ptbatch_finish(&b);
	if (reuse) {
		mm_count(fault_cow_reuse);
		return 0;
	}
	mm_count(fault_cow_copy);
	return install_private(f, pte_addr(f->seen));
}

// ---- Files --------------------------------------------------------------------------------------

// The 2 MiB leaf around a page, if the mapping can take it as a whole, nothing smaller is there,
// and no page of it lies beyond the end of the file (SIGBUS).
static bool fits_large_leaf(const struct fault *f, const struct vm_page *page)
{
	u64 first = ALIGN_DOWN(f->va, PMD_SIZE);
	struct vm_object *o = f->v->object;

	return page->level == PT_PMD && !page->refcounted && f->level >= PT_PMD &&
	       pte_is_none(f->seen) && first >= f->v->lo && f->v->hi - first >= PMD_SIZE &&
	       IS_ALIGNED(page->pa.pa - (f->va - first), PMD_SIZE) &&
	       vma_offset(f->v, first) + PMD_SIZE <= ALIGN_UP(o->ops->size(o), PAGE_SIZE);
}

// Which of the `n` pages from `first` on have nothing mapped: bit i for page i. They share a PTE
// page.
static u32 absent_pages(struct fault *f, u64 first, unsigned n)
{
	struct pt_cursor c;
	u32 absent = 0;

	spin_lock(&f->as->pt_lock);
	pt_look(f->as, &c, first);
	for (unsigned i = 0; i < n && c.level == PT_PTE; i++, pt_cursor_next(&c))
		absent |= pte_is_none(pt_cursor_get(&c)) ? 1u << i : 0;
	spin_unlock(&f->as->pt_lock);
	return absent;
}

// May the page at `va` get W along with the one of the fault? A tracked mapping's pages get it with
// a store, whose chunk is marked.
static bool gets_write(const struct fault *f, u64 va)
{
	if (!vma_tracks(f->v))
		return vma_is_shared(f->v);
	return f->write &&
	       vma_offset(f->v, va) >> VM_CHUNK_SHIFT == vma_offset(f->v, f->va) >> VM_CHUNK_SHIFT;
}

static u32 install_absent(struct fault *f, u64 first, const struct vm_page *page, u32 want)
{
	struct pt_cursor c;
	struct ptbatch b;

	ptbatch_begin(&b, f->as);
	spin_lock(&f->as->pt_lock);
	pt_look(f->as, &c, first);
	for (unsigned i = 0; want >> i && c.level == PT_PTE; i++, pt_cursor_next(&c)) {
		if (!(want >> i & 1) || !pte_is_none(pt_cursor_get(&c)))
			continue;
		pt_set(&b, &c,
		       pt_user_leaf(page[i].pa, PT_PTE, f->v->prot,
				    gets_write(f, first + i * PAGE_SIZE),
				    page[i].refcounted ? PTE_OWNED : 0));
		want &= ~(1u << i);
		mm_count(fault_around);
	}
	spin_unlock(&f->as->pt_lock);
	ptbatch_finish(&b);
	return want;
}

// Pages next to the one that was just mapped will be wanted, too: map those of its aligned group
// that the file has. Never a hole, never an error: they have faults of their own.
static void map_around(struct fault *f)
{
	u64 group = ALIGN_DOWN(f->va, AROUND_PAGES * PAGE_SIZE);
	u64 first = max(group, f->v->start);
	u64 last = min(group + AROUND_PAGES * PAGE_SIZE, f->v->end);
	unsigned n = (unsigned)((last - first) / PAGE_SIZE);
	struct vm_object *o = f->v->object;
	struct vm_page page[AROUND_PAGES];
	u32 want = absent_pages(f, first, n);

	for (unsigned i = 0; i < n; i++) {
		if ((want >> i & 1) &&
		    (o->ops->page(o, vma_offset(f->v, first + i * PAGE_SIZE), false, &page[i]) ||
		     page[i].hole))
			want &= ~(1u << i);
	}
	want = want ? install_absent(f, first, page, want) : 0;
	for (unsigned i = 0; i < n; i++) // somebody else was faster
		if ((want >> i & 1) && page[i].refcounted)
			frame_put(page[i].pa);
}

static int install_file_page(struct fault *f, const struct vm_page *page)
{
	bool writable = gets_write(f, f->va);
	int err;

	if (fits_large_leaf(f, page)) {
		phys_t first = PHYS(page->pa.pa - (f->va & (PMD_SIZE - 1)));

		err = install(f, PT_PMD, pt_user_leaf(first, PT_PMD, f->v->prot, writable, 0));
		if (!err)
			mm_count(fault_file_2m);
		return err;
	}
	err = install(f, PT_PTE,
		      pt_user_leaf(page->pa, PT_PTE, f->v->prot, writable,
				   page->refcounted ? PTE_OWNED : 0));
	if (err && page->refcounted)
		frame_put(page->pa);
	if (err)
		return err;
	mm_count(fault_file_4k);
	if (!f->v->unit_level)
		map_around(f);
	return 0;
}

// I3. The zero page is in place; is there still a hole? If not, it is taken out and the access
// tried again.
static int recheck_hole(struct fault *f)
{
	struct vm_object *o = f->v->object;
	struct vm_page page;
	int err;

	asm_mfence();
	err = o->ops->page(o, vma_offset(f->v, f->va), false, &page);
	if (!err && !page.hole && page.refcounted)
		frame_put(page.pa);
	if (err || !page.hole) {
		struct ptbatch b;

		ptbatch_begin(&b, f->as);
		pt_zap_range(&b, f->va, f->va + PAGE_SIZE, PT_ZAP_ZERO);
		ptbatch_finish(&b);
	}
	return 0;
}

static int read_hole(struct fault *f)
{
	struct vm_object *o = f->v->object;
	int err;

	__atomic_store_n(&o->zero_maps, 1, __ATOMIC_SEQ_CST);
	err = install_zero_page(f);
	if (err)
		return err;
	mm_count(fault_hole_read);
	return recheck_hole(f);
}

static int file_page(struct fault *f)
{
	struct vm_object *o = f->v->object;
	bool shared = vma_is_shared(f->v);
	u64 off = vma_offset(f->v, f->va);
	struct vm_page page;
	int err = o->ops->page(o, off, f->write && shared, &page);

	if (err)
		return err;
	// Published since attach_fault() saw a hole: not a reason to split what shows it now.
	if (!page.hole && (shared || !f->write) && attach_shows(f->v, f->va, f->seen, f->level)) {
		mm_count(fault_spurious);
		if (f->write) // was it a hole? As below
			vm_hole_filled(o, off, PAGE_SIZE);
		return 0;
	}
	// What stands in a private page of an attaching mapping must not be folded away.
	if (f->v->unit_level && (page.hole || (f->write && !shared)))
		WRITE_ONCE(f->v->split, true);
	if (f->write && !shared) {
		mm_count(fault_cow_copy);
		err = install_private(f, page.hole ? PHYS_NONE : page.pa);
		if (!page.hole && page.refcounted)
			frame_put(page.pa);
		return err;
	}
	if (page.hole)
		return read_hole(f);
	if (f->write && vma_tracks(f->v))
		err = vm_dirty_mark(o, off); // before W is there
	if (err) {
		if (page.refcounted)
			frame_put(page.pa);
		return err;
	}
	err = install_file_page(f, &page);
	// Was it a hole? Others that show it as zeros must see the block that is there now.
	if (!err && f->write)
		vm_hole_filled(o, off, PAGE_SIZE);
	return err;
}

// Is the entry that was seen good enough? Then another thread took the same fault first.
static bool already_there(const struct fault *f)
{
	bool leaf = pte_is_leaf(f->seen, f->level);

	return pte_present(f->seen) && leaf && (!f->write || (f->seen.bits & PTE_W));
}

static int file_fault(struct fault *f)
{
	struct vm_object *o = f->v->object;
	int err = ATTACH_NONE;

	rwlock_read_lock(&o->map_lock);
	if (f->exclusive)
		err = attach_split_leaf(f->as, f->va);
	if (err == ATTACH_NONE && f->write && vma_tracks(f->v))
		err = dirty_grant(f->as, f->v, f->va);
	if (err != ATTACH_NONE || f->exclusive)
		;
	else if (f->v->unit_level)
		err = attach_fault(f->as, f->v, f->va, f->write);
	else
		err = fill_from_table(f->as, f->v, f->va, f->write, f->group);
	if (err == ATTACH_NONE) {
		look(f);
		if (already_there(f))
			mm_count(fault_spurious);
		else if ((f->seen.bits & PTE_ANON) && f->write)
			err = write_private(f);
		else
			err = file_page(f);
	} else if (err == ATTACH_DONE) {
		err = 0;
	}
	rwlock_read_unlock(&o->map_lock);
	return err == -EAGAIN ? FAULT_EXCLUSIVE : err; // a large leaf is to be split
}

static int anon_fault(struct fault *f)
{
	look(f);
	if (already_there(f)) {
		mm_count(fault_spurious);
		return 0;
	}
	if (f->seen.bits & PTE_ANON)
		return write_private(f);
	if (!f->write) {
		mm_count(fault_anon_zero);
		return install_zero_page(f);
	}
	mm_count(fault_anon_new);
	return install_private(f, PHYS_NONE);
}

static bool allowed(const struct vma *v, enum fault_access access)
{
	switch (access) {
	case FAULT_READ: return v->prot != PROT_NONE; // x86 cannot deny reading alone
	case FAULT_WRITE: return v->prot & PROT_WRITE;
	case FAULT_EXEC: return v->prot & PROT_EXEC;
	}
	return false;
}

static int resolve_in(struct fault *f, struct vma *v, enum fault_access access)
{
	int err;

	f->v = v;
	if (!allowed(v, access))
		return -EACCES;
	do {
		err = v->object ? file_fault(f) : anon_fault(f);
	} while (err == FAULT_AGAIN);
	return err;
}

// In an ephemeral mapping: it stays mapped until this is over.
static int resolve_in_arena(struct fault *f, enum fault_access access)
{
	struct vma v;
	struct slot *s = arena_pin(f->as, f->va, &v);
	int err;

	if (!s)
		return -EFAULT;
	err = arena_prepare_fault(s, &v);
	if (!err)
		err = resolve_in(f, &v, access);
	arena_unpin(s);
	return err;
}

static int resolve_locked(struct fault *f, enum fault_access access)
{
	struct vma *v = vma_find(&f->as->vmas, f->va);

	if (!v)
		return -EFAULT;
	return v->arenas ? resolve_in_arena(f, access) : resolve_in(f, v, access);
}

int fault_resolve_group(struct aspace *as, u64 va, enum fault_access access, u64 group)
{
	struct fault f;
	int err;

	f.as = as; // what was seen of the entry is set by look()
	f.va = ALIGN_DOWN(va, PAGE_SIZE);
	f.write = access == FAULT_WRITE;
	f.exclusive = false;
	f.group = group;
	if (va < USER_BASE || va >= USER_END)
		return -EFAULT;
	rwlock_read_lock(&as->lock);
	err = resolve_locked(&f, access);
	rwlock_read_unlock(&as->lock);
	while (err == FAULT_EXCLUSIVE) {
		f.exclusive = true;
		rwlock_write_lock(&as->lock);
		err = resolve_locked(&f, access);
		rwlock_write_unlock(&as->lock);
	}
	return err;
}

int fault_resolve(struct aspace *as, u64 va, enum fault_access access)
{
	return fault_resolve_group(as, va, access, FILL_GROUP);
}

// ---- The trap -----------------------------------------------------------------------------------

static enum fault_access access_of(u64 error)
{
	if (error & PF_EXEC)
		return FAULT_EXEC;
	return error & PF_WRITE ? FAULT_WRITE : FAULT_READ;
}

static void count_fault(struct aspace *as)
{
	__atomic_fetch_add(&as->faults, 1, __ATOMIC_RELAXED);
	thread_current()->minor_faults++;
}

static void user_fault(struct trapframe *tf, u64 va, struct aspace *as)
{
	int err = fault_resolve(as, va, access_of(tf->error));

	count_fault(as);
	if (!err)
		return;
	mm_count(fault_signal);
	if (err == -EFAULT || err == -EACCES)
		fault_send_signal(tf, SIGSEGV, err == -EACCES ? SEGV_ACCERR : SEGV_MAPERR, UVA(va));
	else
		fault_send_signal(tf, SIGBUS, err == -EHWPOISON ? BUS_MCEERR_AR : BUS_ADRERR,
				  UVA(va));
}

// The kernel touched a user address: a copy, unless it is a bug of ours. SMAP tells: copies set AC.
static void kernel_fault(struct trapframe *tf, u64 va, struct aspace *as)
{
	bool copying = !cpu_features.smap || (tf->rflags & RFLAGS_AC);

	if (copying && as && preemptible() && !thread_current()->faults_disabled) {
		mm_count(fault_kernel);
		count_fault(as);
		if (fault_resolve(as, va, access_of(tf->error)) == 0)
			return;
	}
	if (!copying || !trap_fixup(tf))
		panic_trap(tf, "kernel fault at %#lx", va);
}

static void page_fault(struct trapframe *tf)
{
	u64 va = asm_read_cr2(); // before interrupts are on: the next fault overwrites it
	struct thread *t = thread_current();
	struct aspace *as = t ? t->as : NULL;

	if (tf->rflags & RFLAGS_IF)
		asm_sti();
	if (trap_from_user(tf)) {
		user_fault(tf, va, as);
	} else if (va < USER_END && (tf->rflags & RFLAGS_IF)) {
		kernel_fault(tf, va, as);
	} else if (va >= USER_END || !trap_fixup(tf)) {
		panic_trap(tf,
			   kmap_is_guard(va) ? "kernel stack overflow at %#lx"
					     : "kernel fault at %#lx",
			   va);
	}
}

void fault_init(void)
{
	if (pt_once_init())
		panic("no memory for the zero page");
	trap_set_handler(TRAP_PAGE_FAULT, page_fault);
}
