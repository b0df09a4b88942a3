# SPDX-License-Identifier: MIT
"""Mistakes in the mapping interface that were made by somebody once, or nearly, each with the place
in the source where it would be made again, and the test that notices. Those that belong to a known
way to get it wrong: lib/ways.py.

tests/long/mistakes.t makes each of them in a copy of the tree. `was` stands in `file` once; whoever
changes that place changes it here, too.
"""

import dataclasses


@dataclasses.dataclass
class Mistake:
    what: str
    file: str
    was: str
    becomes: str
    test: str  # "ktest GLOB", "abi PROGRAM" (on ptfs), "host PROGRAM", "system FILE" or
    # "tlb PROGRAM" (of tests/stress, under the adversarial TLB)
    cpus: int = 2


# ---- Dirty tracking ------------------------------------------------------------------------------

SHOT_DOWN = "\tptbatch_finish(&b);\n\tif (any) {\n"
LEADS = "(leads_to(e, f->entry) || leads_to(e, f->own)) && "
ANYWHERE = "(leads_to(e, f->entry) || !pte_is_none(e)) && "
MAY_PRUNE = "\treturn !must_look(v, c->va, f->level) ||\n"

DIRTY = [
    Mistake("a sync erases the bit of a store that it did not write back", "mm/dirty.c", SHOT_DOWN,
            "\tptbatch_finish(&b);\n"
            "\tfor (u64 at = first; (at = next_chunk(&d->taken, at, last)) < last; at++)\n"
            "\t\tremove_chunk(&d->set, at);\n\tif (any) {\n", "ktest dirty_stress", 4),
    Mistake("a sync leaves CPUs the W that they remember", "mm/dirty.c", SHOT_DOWN,
            "\tptbatch_begin(&b, NULL);\n" + SHOT_DOWN, "ktest dirty_sync_interrupts*"),
    Mistake("and interrupts nobody but itself", "mm/dirty.c", SHOT_DOWN,
            "\tb.others.bits = 1;\n" + SHOT_DOWN, "ktest dirty_sync_interrupts*"),
    Mistake("lines are written back while CPUs still remember W", "mm/dirty.c", SHOT_DOWN,
            "\tif (any)\n\t\terr = write_back_taken(o, d, first, last);\n" + SHOT_DOWN,
            "ktest dirty_store_after*"),
    Mistake("a second sync returns before the first has written back", "mm/dirty.c",
            "\tif (!d)\n\t\treturn 0; // nobody",
            "\tif (!d || d->sync.owner)\n\t\treturn 0; // nobody",
            "ktest dirty_stress", 4),
    Mistake("msync of a part cleans the chunk", "mm/dirty.c",
            "\terr = write_back(o, off, end - off);\n\tif (!err && o",
            "\terr = write_back(o, off, end - off);\n\tif (d)\n"
            "\t\tremove_chunk(&record_of(o)->set, off >> VM_CHUNK_SHIFT);\n\tif (!err && o",
            "ktest dirty_msync_of_a_part"),
    Mistake("msync of a part writes back the whole file", "mm/dirty.c",
            "\tbool to_the_end = end >= o->ops->size(o);\n",
            "\tbool to_the_end = true;\n\n\toff = 0;\n", "ktest dirty_msync_of_a_part"),
    Mistake("a chunk that could not be written back is clean", "mm/dirty.c",
            "\t\t\tif (err)\n\t\t\t\tadd_chunk(&d->set, at); // I2\n", "",
            "ktest dirty_sync_that_fails"),
    Mistake("a warm map has the W of before the sync", "mm/arena_find.c",
            "\t\tpass_over_slot(a, s, scan);", "\t\tif (slot_state(word) == SLOT_LIVE)\n"
            "\t\t\tpass_over_slot(a, s, scan);", "ktest dirty_unmapped*"),
    Mistake("a sync forgets ephemeral mappings", "mm/dirty.c",
            "\t\tarena_pass(o, &b, &pass);\n", "",
            "ktest dirty_sync_takes_w*"),
    Mistake("a sync flushes only where it found W", "mm/dirty.c",
            "\t\tptbatch_flush_all(b); // I3\n", "", "ktest dirty_sync_flushes*"),
    Mistake("a nosync mapping is tracked", "mm/dirty.h", "MAP_SHARED | MAP_DAXVM_NOSYNC))",
            "MAP_SHARED))", "ktest dirty_nosync_*"),
    Mistake("and an ephemeral one", "mm/arena_find.c",
            "\tif (s->key & SLOT_NOSYNC)\n\t\treturn;\n", "", "ktest dirty_nosync_ephemeral"),
    Mistake("mprotect grants W unnoticed", "mm/aspace_ops.c",
            "vma_is_shared(v) && !vma_tracks(v)", "vma_is_shared(v)", "ktest dirty_mprotect"),
    Mistake("an attachment has W from the start", "mm/attach_unit.h",
            "vma_is_shared(v) && !vma_tracks(v)", "vma_is_shared(v)", "ktest dirty_one_fault*"),
    Mistake("an ephemeral mapping has W from the start", "mm/arena_map.c",
            "how & SLOT_NOSYNC)", "true)", "ktest dirty_unmapped*"),
    Mistake("a plain fault by reading grants W", "mm/fill.c",
            "vma_is_shared(v) && (write || !vma_tracks(v))", "vma_is_shared(v) && (write || v)",
            "ktest dirty_one_fault*"),
    Mistake("W is granted and the chunk not marked", "mm/dirty.c",
            "\tif (has_chunk(&d->set, chunk))\n", "\tif (chunk < CHUNKS)\n", "ktest dirty_fork"),
    Mistake("private tables for W stay for ever", "mm/dirty.c",
            "\tif (whole && vm_object_mapped(o))\n", "\tif (whole && !o)\n",
            "ktest dirty_fold_*"),
    Mistake("and go where a zero page is", "mm/unsplit.c", LEADS, ANYWHERE,
            "ktest dirty_fold_not*"),
    Mistake("and with them the W of a chunk", "mm/unsplit.c", "(e.bits & RIGHTS) == rights",
            "(e.bits & RIGHTS & ~PTE_W) == rights", "ktest unsplit_keeps_w*"),
    Mistake("a fault folds away the W of other chunks", "mm/attach.c",
            "\treturn READ_ONCE(v->object->dirty) && ", "\treturn !v && ", "ktest dirty_hole*"),
    Mistake("a dirty file is attached chunk by chunk", "mm/attach.c", MAY_PRUNE,
            "\tif (any_dirty(v, c->va, f->level))\n\t\treturn false;\n" + MAY_PRUNE,
            "ktest dirty_file_is*"),
    Mistake("what was split for a hole stays split when it is filled", "mm/attach.c", MAY_PRUNE,
            "\tif (READ_ONCE(v->split))\n\t\treturn false;\n" + MAY_PRUNE,
            "ktest unsplit_hole_filled*"),
    Mistake("and when it is filled by a store", "mm/attach.c",
            "\tif (write && !copies && pt_is_zero_page", "\tif (!v && pt_is_zero_page",
            "ktest unsplit_hole_stored*"),
    Mistake("a hole that is filled meanwhile splits a table", "mm/fault.c",
            "\tif (!page.hole && (shared", "\tif (!f && (shared", "ktest unsplit_not_needed*"),
    Mistake("a dirty file is not attached from a hole on", "mm/attach.c",
            "\t\tif (!err && next.kind == VM_TABLE_NONE && t->kind == VM_TABLE_NONE)\n",
            "\t\tif (!o)\n", "ktest unsplit_not_needed*"),
    Mistake("what a dirty chunk keeps from going is tried by no sync", "mm/attach.c",
            "\t\t\tif (any_dirty(v, va, level))\n"
            "\t\t\t\tvm_dirty_split(o, off, v->unit_level);\n", "", "ktest unsplit_keeps_w*"),
    Mistake("a PUD page is never attached again", "mm/dirty.c",
            "\tif (unit_level == PT_PML4)\n", "\tif (!unit_level)\n", "ktest unsplit_pud_page"),
    Mistake("one table that has to stay keeps all its neighbours", "mm/unsplit.c",
            "(same || f->level > PT_PMD)", "same", "ktest unsplit_one_of_two"),
    Mistake("what finds no room in the batch is not tried again", "mm/dirty.c",
            "\t\tif (p->try[i].again)\n", "\t\tif (!o)\n", "ktest unsplit_more_than*"),
    Mistake("a sync attaches across a boundary that is being made", "mm/dirty.c",
            "\t\tif (READ_ONCE(v->cutting)) {", "\t\tif (!v) {", "ktest unsplit_not_across*"),
    Mistake("blocks that move leave their dirty bits behind", "fs/ptfs_glue/file.c",
            "\t\tvm_dirty_moved(o, off);\n", "\t\to = NULL;\n", "ktest ptfs_collapse_moves*"),
    Mistake("a file with dirty chunks is evicted as if it were clean", "fs/ptfs_glue/inode.c",
            "READ_ONCE(gi->ip->nlink) && glue_write_back(gi)",
            "!READ_ONCE(gi->ip->nlink) && glue_write_back(gi)", "ktest ptfs_unmount_writes*"),
    Mistake("MS_INVALIDATE of locked memory", "mm/aspace_sync.c",
            "(flags & MS_INVALIDATE) && v->locked", "(flags & MS_INVALIDATE) && !v",
            "abi sync_test"),
]

# ---- Other rules ---------------------------------------------------------------------------------

RULES = [
    Mistake("fork looks for what to take along in the file's own table", "mm/pagetable.c",
            "\treturn e.bits & PTE_ATTACHED ? NULL : phys_to_virt(pte_addr(e));",
            "\treturn phys_to_virt(pte_addr(e));", "ktest fork_shares_attachments"),
    Mistake("blocks serve others before their epoch has passed", "fs/ptfs/rest.c",
            "\tif (!ptfs_epoch_passed(stamp))\n\t\tr = rest_new(g);", "", "host ptfs_rest_test"),
    Mistake("no space, while space rests", "fs/ptfs/alloc.c",
            "\tptfs_rest_wait(fs);\n\treturn take_once(", "\treturn take_once(",
            "host ptfs_rest_test"),
    Mistake("a write goes to a block that has failed, by a page that was remembered",
            "fs/ptfs/file.c", " && likely(!ptfs_bad_count()) &&\n", " &&\n",
            "host ptfs_mend_test"),
    Mistake("a part of a block that has failed is written, and the rest becomes zeros",
            "fs/ptfs/mend.c", "(from == start && end >= kept)", "(from == start && end)",
            "host ptfs_mend_test"),
    Mistake("a file with a block that has failed is never attached again, mended or not",
            "fs/ptfs/table.c",
            "\tWRITE_ONCE(ip->bad_answer, 0);", "", "host ptfs_mend_test"),
    Mistake("a block that has failed: of the pages that are to replace it one is faulted in",
            "fs/ptfs_glue/file.c", "unlikely(poison_count()) && iov_fault_in_all",
            "unlikely(poison_count() == 77) && iov_fault_in_all", "system poison.t"),
    Mistake("what rests at unmounting is lost", "fs/ptfs/super.c", "\tptfs_rest_wait(fs);\n", "",
            "host ptfs_rest_test"),
    Mistake("a group of pages goes beyond the direct entries", "mm/fill.c",
            "min(size, s.end)", "size", "ktest fill_*"),
    Mistake("who waits for all that was deferred does not wait for what is being called",
            "kernel/sched/epoch.c", "if (c->calling || (", "if ((", "ktest epoch_synchronize*"),
]

# ---- Copies of tables in DRAM --------------------------------------------------------------------

COPIES = [
    Mistake("a block that the file got is not in the copy", "fs/ptfs/table.c",
            "\t\tif (ok)\n\t\t\tptfs_entry_changed(ip, slot->off);\n", "",
            "ktest ptfs_copy_of_tables_grows"),
    Mistake("what the file has lost stays in the copy", "fs/ptfs/shrink.c",
            "\tptfs_entry_changed(g->ip, slot);\n", "", "ktest ptfs_copy_of_tables_loses*"),
    Mistake("the root leads elsewhere, and the copy does not", "fs/ptfs/shrink.c",
            "\tptfs_entry_changed(ip, ip->root_off);\n", "", "ktest ptfs_copy_of_tables_loses*"),
    Mistake("collapse leaves the copy of the old tree", "fs/ptfs/collapse.c",
            "\tptfs_entry_changed(ip, ip->root_off);\n", "", "ktest ptfs_copy_of_tables_loses*"),
    Mistake("a 2 MiB leaf becomes a table, and the copy keeps a hole", "fs/ptfs/split.c",
            "\tptfs_store8_flush(fs, slot, ptfs_entry_table(fs, page) | level);\n"
            "\tptfs_entry_changed(ip, slot);\n",
            "\tptfs_store8_flush(fs, slot, ptfs_entry_table(fs, page) | level);\n",
            "ktest ptfs_copy_of_tables_follows*"),
    Mistake("a table becomes a leaf, and the copy keeps a hole", "fs/ptfs/merge.c",
            "ptfs_entry_leaf(fs, chunk, PT_PMD) | level);\n\tptfs_entry_changed(ip, slot);\n",
            "ptfs_entry_leaf(fs, chunk, PT_PMD) | level);\n",
            "ktest ptfs_copy_of_tables_follows*"),
    Mistake("a block that has failed is replaced, and the copy keeps a hole", "fs/ptfs/mend.c",
            "\tptfs_store8(fs, slot, e);\n\tptfs_entry_changed(ip, slot);\n",
            "\tptfs_store8(fs, slot, e);\n", "ktest ptfs_copy_of_tables_follows*"),
    Mistake("a copy lower than the root stays when nothing leads to it any more", "mm/shadow.c",
            "\t\tbury_all(s); // I6: it led to what the copy is of\n", "\t\ts->left = 0;\n",
            "ktest ptfs_copy_of_tables_below*"),
    Mistake("a sync makes a copy for a file that nobody maps", "mm/dirty.c",
            "\tif (whole && vm_object_mapped(o))\n", "\tif (whole)\n",
            "ktest ptfs_copy_of_tables_not_for*"),
    Mistake("no memory for a copy is an error", "mm/shadow.c",
            "\t\ts->partial = true;\n\t\treturn e;\n",
            "\t\ts->partial = true;\n\t\treturn (pte_t){ 0 };\n",
            "ktest ptfs_copy_of_tables_without*"),
    Mistake("a copy that nobody uses stays for ever", "mm/shadow_thread.c",
            "now - used > READ_ONCE(shadow_cold_ns)", "!READ_ONCE(shadow_cold_ns)",
            "ktest ptfs_copy_of_tables_by_advice"),
    Mistake("the copy of a new root leads past the copy that was there", "mm/shadow.c",
            "int level = is_copy(s->top) ? s->level + 1 : root->level;", "int level = root->level;",
            "ktest ptfs_copy_of_tables_grows_by*"),
    Mistake("tables of a released file are read on", "fs/ptfs/shrink.c",
            "\tif (ptfs_home_copied(&ip->home)) {", "\tif (!ip) {",
            "ktest ptfs_copy_of_tables_of*", 4),
    Mistake("a use after the round's beginning was long ago", "mm/shadow_thread.c",
            "now = time_now_ns();\n\n\treturn now > used && ", "now = used - 1;\n\n\treturn ",
            "ktest ptfs_copy_of_tables_used*", 4),
    Mistake("the copy of a mapped file is kept when memory is short", "mm/shadow_thread.c",
            "used_ns(s) <= *oldest", "used_ns(s) < *oldest",
            "ktest ptfs_copy_of_tables_goes_when*"),
    Mistake("an access before a block is in the copy splits what is attached", "mm/attach.c",
            "\treturn shadow_catch_up(v->object, vma_offset(v, va)) && ", "\treturn !v && ",
            "ktest ptfs_copy_of_tables_lags*"),
    Mistake("pages of a copy are freed before their epoch", "mm/shadow_thread.c",
            "\twhile (!epoch_passed(stamp, NULL))\n\t\tthread_sleep_ns(EPOCH_NS);\n", "",
            "ktest ptfs_copy_of_tables_waits*"),
]

# ---- Uses that begin too early, seen by the adversarial TLB (docs/adversarial-tlb.md) ------------

FLUSHES = [
    Mistake("the epoch publishes without a flush", "kernel/sched/epoch.c",
            "\tasm_write_cr3(asm_read_cr3());\n\tepoch_publish(e);", "\tepoch_publish(e);",
            "tlb ephstress"),
    Mistake("an epoch that began before the clear counts", "kernel/sched/epoch.c",
            "__ATOMIC_ACQUIRE) <= stamp; // I3", "__ATOMIC_ACQUIRE) < stamp; // I3",
            "tlb ephstress"),
    Mistake("a slot's stamp is older than its clear", "mm/arena.c",
            "\tstamp = epoch_stamp(); // one", "\tstamp = epoch_stamp();\n\tepoch_want(stamp);\n"
            "\tstamp--; // one", "tlb ephstress"),
    Mistake("tables below a slot go back at once", "mm/arena.c",
            "\tepoch_defer(&t->node, free_tree);", "\tfree_tree(&t->node);", "tlb ephstress"),
    Mistake("a revoke clears, and does not flush", "mm/vmobject.c",
            "\tptbatch_finish(&b);\n\t__atomic_fetch_sub(&o->zapping",
            "\tptbatch_begin(&b, NULL);\n\t__atomic_fetch_sub(&o->zapping",
            "tlb unmapstress", 3),
    Mistake("no CPU but this one is asked", "mm/ptbatch.c",
            "\tif (unlikely(remote.bits)) {", "\tif (remote.bits & self) {", "tlb threadstress"),
    Mistake("the last page of several is not flushed", "mm/ptbatch.c",
            "\tfor (u64 va = o->start; va < o->end; va += PAGE_SIZE)\n",
            "\tfor (u64 va = o->start; va == o->start || va + PAGE_SIZE < o->end; "
            "va += PAGE_SIZE)\n", "tlb threadstress"),
    Mistake("a table goes, and nothing is flushed for it", "mm/ptbatch.c",
            "\tif (o->all || this_cpu()", "\tif (o->all)\n\t\treturn;\n\tif (this_cpu()",
            "tlb threadstress"),
    Mistake("frames go back before the shootdown", "mm/ptbatch.c",
            "\t\tshoot_down(b);\n\t}\n"
            "\tfor (unsigned i = 0; i < b->nr_frames; i++)\n\t\tdrop(b->as, b->frames[i]);\n",
            "\t}\n"
            "\tfor (unsigned i = 0; i < b->nr_frames; i++)\n\t\tdrop(b->as, b->frames[i]);\n"
            "\tif (is_dirty(b) || b->others.bits)\n\t\tshoot_down(b);\n",
            "tlb threadstress"),
    Mistake("a private table that gives way to the file's is free at once", "mm/unsplit.c",
            "\tptbatch_drop(b, pte_addr(pt_set(b, c, e))); // I2\n",
            "\tframe_put(pte_addr(pt_set(b, c, e)));\n", "tlb ephstress"),
    Mistake("this CPU is left out", "mm/ptbatch.c",
            "\tif (mask.bits & self)\n", "\tif (mask.bits == 0)\n", "tlb threadstress"),
    Mistake("munmap beside a truncate finds nothing cleared, and flushes nothing",
            "mm/aspace_internal.h", "\treturn v->object && vm_zap_pending(v->object);",
            "\treturn !v;", "tlb unmapstress", 3),
    Mistake("a light munmap asks no other CPU", "mm/ptbatch.c",
            "\tif (unlikely(pausing) || unlikely(holders(as).bits != BIT(asm_gs_index())))",
            "\tif (unlikely(pausing) || unlikely(!holders(as).bits))",
            "ktest shootdown_of_light*", 4),
    Mistake("a light munmap leaves the translation", "mm/map.c",
            "\tif ((how == DETACHED_PRESENT || others_zap(v)) && !ptbatch_flush_light(as)) {",
            "\tif (others_zap(v) && !ptbatch_flush_light(as)) {", "ktest map_light*"),
    Mistake("and what it hands over", "mm/map.c",
            "\tif (v) {\n\t\tptbatch_flush_space(as);\n", "\tif (v) {\n",
            "ktest shootdown_of_light*", 4),
    Mistake("idle CPUs stay on user tables", "mm/ptbatch.c",
            "\tasm_write_cr3(as ? as->root.pa : kmap_root().pa);",
            "\tif (as)\n\t\tasm_write_cr3(as->root.pa);", "tlb threadstress"),
]
