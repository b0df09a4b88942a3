// SPDX-License-Identifier: MIT
//
// What: the memory system's texts in /proc (mm_proc.h). mm/ itself lies below the file systems and
// knows nothing of them.
#include "kernel/sys/mm_proc.h"

#include "fs/procfs.h"
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/shadow.h"
#include "mm/stat.h"
#include "mm/vmobject.h"

#define PATH_BYTES 256u

static const char *const level_names[] = { "none", "copied entries", "2 MiB", "1 GiB", "512 GiB" };

// ---- maps and smaps -----------------------------------------------------------------------------

static const char *special_name(const struct vma *v)
{
	const struct aspace *as = v->as;

	if (v->start < as->brk_end && v->end > as->brk_start)
		return "[heap]";
	return v->start > as->mmap_top ? "[stack]" : "";
}

static void show_line(struct seq *s, const struct vma *v)
{
	char path[PATH_BYTES] = "", facts[96];
	u64 dev = 0, ino = 0;

	if (v->object && v->object->ops->describe)
		v->object->ops->describe(v->object, &dev, &ino, path, sizeof(path));
	else if (!v->object)
		strlcpy(path, special_name(v), sizeof(path));
	ksnprintf(facts, sizeof(facts), "%08lx-%08lx %c%c%c%c %08lx %02lx:%02lx %lu ", v->start,
		  v->end, v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
		  v->prot & PROT_EXEC ? 'x' : '-', vma_is_shared(v) ? 's' : 'p',
		  v->object ? v->offset : 0, dev >> 8 & 0xfff, (dev & 0xff) | (dev >> 12 & 0xfff00),
		  ino);
	seq_printf(s, path[0] ? "%-73s%s\n" : "%s%s\n", facts, path); // as Linux aligns it
}

static bool show_maps_line(void *ctx, const struct vma *v)
{
	show_line(ctx, v);
	return true;
}

static bool show_smaps_entry(void *ctx, const struct vma *v)
{
	struct seq *s = ctx;

	show_line(s, v);
	seq_printf(s, "Size:           %8lu kB\n", (v->end - v->start) >> 10);
	seq_printf(s, "Reserved:       %8lu kB\n", (v->hi - v->lo) >> 10);
	if (v->unit_level)
		seq_printf(s, "AttachLevel:    %s%s\n", level_names[v->attach_level],
			   v->split ? ", parts private" : "");
	return true;
}

void aspace_show_maps(struct aspace *as, struct seq *s)
{
	aspace_for_each_vma(as, show_maps_line, s);
}

void aspace_show_smaps(struct aspace *as, struct seq *s)
{
	aspace_for_each_vma(as, show_smaps_entry, s);
}

// ---- /proc/pagetable ----------------------------------------------------------------------------

static const char *const table_names[] = { "", "PTE", "PMD", "PUD", "PML4" };

static void show_step(struct seq *s, const struct aspace_step *t)
{
	bool leaf = pte_is_leaf(t->entry, t->level), in_ram = frame_is_ram(t->table);

	seq_printf(s, "  %-4s table %012lx in %-7s entry %016lx ", table_names[t->level],
		   t->table.pa, in_ram ? "RAM," : "PMem,", t->entry.bits);
	if (!pte_present(t->entry)) {
		seq_printf(s, "not present\n");
		return;
	}
	seq_printf(s, "%s %012lx in %s %c%c%c%s\n", leaf ? "page " : "table", pte_addr(t->entry).pa,
		   frame_is_ram(pte_addr(t->entry)) ? "RAM" : "PMem",
		   t->entry.bits & PTE_U ? 'u' : '-', t->entry.bits & PTE_W ? 'w' : '-',
		   t->entry.bits & PTE_NX ? '-' : 'x',
		   !t->attached ? ""
		   : in_ram     ? " (a copy of the file's table)"
				: " (the file's own table)");
}

static void show_pagetable(struct seq *s, void *arg)
{
	struct aspace *as = thread_current()->as;
	struct aspace_step step[PT_PML4];
	unsigned n;

	(void)arg;
	if (!as)
		return;
	n = aspace_walk(as, UVA(as->walk_va), step);
	seq_printf(s, "%016lx\n", as->walk_va);
	for (unsigned i = 0; i < n; i++)
		show_step(s, &step[i]);
}

// A hexadecimal address, with or without 0x.
static int store_pagetable(const char *text, void *arg)
{
	struct aspace *as = thread_current()->as;
	char number[24] = "0x";
	const char *end;
	u64 va;

	(void)arg;
	if (text[0] == '0' && text[1] == 'x')
		text += 2;
	if (strlcat(number, text, sizeof(number)) >= sizeof(number) || !as)
		return -EINVAL;
	if (!parse_u64(number, &end, false, &va) || (*end && *end != '\n'))
		return -EINVAL;
	as->walk_va = va;
	return 0;
}

// ---- /proc/sys/daxvm/shadow ---------------------------------------------------------------------

static void show_shadow(struct seq *s, void *arg)
{
	(void)arg;
	seq_printf(s, "%s\n", shadow_mode_name());
}

static int store_shadow(const char *text, void *arg)
{
	char name[16], *end;

	(void)arg;
	if (strlcpy(name, text, sizeof(name)) >= sizeof(name))
		return -EINVAL;
	end = strchr(name, '\n');
	if (end)
		*end = 0;
	return shadow_set_mode(name);
}

// ---- System-wide --------------------------------------------------------------------------------

static void show_stat(struct seq *s, void *arg)
{
	struct epoch_stats e = epoch_stats();

	(void)arg;
	for (unsigned i = 0; i < MM_STAT_COUNT; i++)
		seq_printf(s, "%-18s %12lu  %s\n", mm_stat_name(i), mm_stat_read(i),
			   mm_stat_text(i));
	seq_printf(s, "%-18s %12lu  %s\n", "epoch", e.epoch, "epochs begun");
	seq_printf(s, "%-18s %12lu  %s\n", "epoch_published", e.published,
		   "flushes at ticks, for an epoch");
	seq_printf(s, "%-18s %12lu  %s\n", "epoch_ipis", e.kicks,
		   "CPUs interrupted because they lagged behind");
	seq_printf(s, "%-18s %12lu  %s\n", "epoch_waiting", e.waiting,
		   "objects that wait for an epoch to be freed");
}

static void show_meminfo(struct seq *s, void *arg)
{
	struct frame_stats f = frame_stats();

	(void)arg;
	seq_printf(s, "MemTotal:       %8lu kB\n", f.total * 4);
	seq_printf(s, "MemFree:        %8lu kB\n", f.free * 4);
	seq_printf(s, "MemAvailable:   %8lu kB\n", f.free * 4);
	seq_printf(s, "Buffers:        %8lu kB\n", 0ul);
	seq_printf(s, "Cached:         %8lu kB\n", 0ul);
	seq_printf(s, "SwapTotal:      %8lu kB\n", 0ul);
	seq_printf(s, "SwapFree:       %8lu kB\n", 0ul);
	seq_printf(s, "KernelObjects:  %8lu\n", heap_objects_in_use());
}

void mm_proc_init(void)
{
	int err = proc_register("meminfo", show_meminfo, NULL);

	if (!err)
		err = proc_register("daxvm/stat", show_stat, NULL);
	if (!err)
		err = proc_register_rw("pagetable", show_pagetable, store_pagetable, NULL);
	if (!err)
		err = proc_register_rw("sys/daxvm/shadow", show_shadow, store_shadow, NULL);
	if (err)
		log_warn("mm: files in /proc are missing (%d)", err);
}
