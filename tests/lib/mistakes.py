# SPDX-License-Identifier: MIT
"""Mistakes in the mapping interface that were made by somebody once, or nearly, each with the place
in the source where it would be made again, and the test that notices.

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


# ---- Known ways to get it wrong ------------------------------------------------------------------

WAYS = [
    Mistake("a root that was freed when a sparse file shrank is used further", "mm/vmobject.c",
            "\t__atomic_store_n(&o->root_word, 0, __ATOMIC_RELEASE);\n", "", "ktest arena_*"),
    Mistake("a mapping beyond what the root covers shows the start of the file",
            "fs/ptfs_glue/mapping.c", "map->level <= max_level && off < pt_span(map->level)",
            "map->level <= max_level", "ktest ptfs_*"),
    Mistake("and an ephemeral one", "mm/arena_map.c",
            "(vm_root_level(root) < (int)c + PT_PTE || w.last >> pt_shift(vm_root_level(root)))",
            "vm_root_level(root) < (int)c + PT_PTE", "abi ephemeral_test"),
    Mistake("blocks that punch or truncate freed stay mapped", "mm/vmobject.c",
            "\t\tif (off < min(size, end))", "\t\tif (off > end)", "ktest *_truncate_*"),
    Mistake("and those beyond the new end", "mm/vmobject.c",
            "\t\tif (end > max(size, off))", "\t\tif (off > end)", "ktest *_truncate*"),
    Mistake("a copied (split) table is forgotten by a revoke", "mm/pagetable.c",
            "(e.bits & keep) | PTE_ATTACHED)", "(e.bits & keep) | PTE_ATTACHED | PTE_ANON)",
            "ktest revoke_*"),
    Mistake("a table page is given back while a CPU may remember the way through it",
            "mm/ptbatch.c", "\telse\n\t\tb->all = true;\n\treturn old;", "\treturn old;",
            "ktest shootdown_*", 4),
    Mistake("a revoke leaves the translations of the other CPUs", "mm/ptbatch.c",
            "\t\tif (loaded == as || loaded == AS_SWITCHING)",
            "\t\tif (i == this_cpu()->index && loaded == as)", "ktest shootdown_*", 4),
    Mistake("a slot is used again before a CPU that remembers it has flushed",
            "kernel/sched/epoch.c", "matters && __atomic_load_n(&epoch_cpus[cpu].seen, "
            "__ATOMIC_ACQUIRE) <= stamp", "matters && !stamp", "ktest arena_slot_waits*"),
    Mistake("an interrupted section counts as seen", "kernel/sched/epoch.c",
            "cpu->preempt_count == 0 && cpu->irq_depth == 1", "cpu->irq_depth == 1",
            "ktest epoch_*"),
    Mistake("part of an ephemeral mapping is unmapped, and leaves live entries",
            "mm/arena_unmap.c", "start < addr || stop > end ||\n"
            "\t\t    (exact && (start != addr || stop != end))",
            "start != addr || (!exact && stop > end)",
            "abi ephemeral_test"),
    Mistake("munmap twice", "mm/arena_unmap.c",
            "slot_state(word) != SLOT_LIVE || start < addr || stop > end",
            "slot_state(word) == SLOT_FREE || start < addr || stop > end", "ktest arena_*"),
    Mistake("a fault brings back a slot that was given up", "mm/arena_find.c",
            "\twhile (slot_state(word) == SLOT_LIVE) {",
            "\twhile (slot_state(word) != SLOT_FREE) {", "ktest arena_*"),
    Mistake("a slot is taken back that has shown something else since", "mm/arena_map.c",
            "\tword = e->zombie;", "\tword = slot_load(e->slot);", "ktest arena_warm_slot_of*"),
    Mistake("no slots: the mapping is an ordinary one", "mm/arena.c",
            "\tif (a->nr_resting[c])\n", "\tif (a->nr_resting[c] > RESTING_MAX)\n",
            "ktest arena_supply*"),
    Mistake("what a descriptor denies is had by the fast way", "mm/arena_map.c",
            "prot & (~(u64)PROT_ALL | grant)", "prot & ~(u64)PROT_ALL",
            "ktest arena_warm_is_the*"),
    Mistake("a closed descriptor still maps its file", "fs/fd_table.c",
            "\tif (unlikely(fd < t->grants->size))", "\tif (fd >= FD_MAX)", "ktest fd_grants*"),
    Mistake("NX is ignored", "mm/pagetable.c",
            "(prot & PROT_EXEC ? 0 : PTE_NX)", "0", "abi mapping_test"),
    Mistake("PROT_NONE is ignored where a table is attached", "mm/attach.c",
            "(v->prot == PROT_NONE ? 0 : PTE_P)", "PTE_P", "ktest attach_without_any*"),
    Mistake("and in a slot", "mm/arena_map.c", "if (pte_present(e) && (w->key & 7))",
            "if (pte_present(e))", "ktest arena_rights"),
    Mistake("mprotect of an attached mapping changes nothing", "mm/aspace_ops.c",
            "\tpt_protect(&b, v->lo, v->hi, prot, vma_is_shared(v) && !vma_tracks(v));\n", "",
            "abi mapping_test"),
    Mistake("a descriptor for writing only is mapped, and read", "kernel/sys/sys_mm.c",
            "\tif (mode == O_WRONLY)\n\t\treturn -EACCES;\n", "", "abi mapping_test"),
    Mistake("one for reading only is mapped for writing", "kernel/sys/sys_mm.c",
            "\t\tif ((req->prot & PROT_WRITE) && mode == O_RDONLY)\n"
            "\t\t\treturn -EACCES;\n", "", "abi memory_test"),
    Mistake("and may be made writable later", "kernel/sys/sys_mm.c",
            "\t\tif (mode == O_RDONLY)\n\t\t\treq->may_prot &= ~PROT_WRITE;\n", "",
            "abi memory_test"),
    Mistake("munmap of a part takes the whole unit", "mm/aspace.c",
            "\tif (attach_split_boundary(as, v, addr))\n\t\treturn -ENOMEM;\n", "",
            "ktest unmap_part*"),
    Mistake("a write to a private mapping faults for ever", "mm/attach.c",
            "\tif (!(e.bits & PTE_ATTACHED) || copies)",
            "\tif (!(e.bits & PTE_ATTACHED) || (copies && !va))",
            "ktest private_attach*"),
    Mistake("a write to a private mapping reaches the file", "mm/attach.c",
            "\tu64 rights = pt_user_rights(v->prot, vma_is_shared(v) && !vma_tracks(v));",
            "\tu64 rights = pt_user_rights(v->prot, true);", "ktest private_attach*"),
    Mistake("exit leaves what live slots hold", "mm/arena.c",
            "\t\t\tend_slot(slot_get(a, c, i));",
            "\t\t\tif (!a)\n\t\t\t\tend_slot(slot_get(a, c, i));",
            "ktest arena_left_at_exit"),
    Mistake("zombies stay while a process idles", "kernel/sched/epoch.c",
            "\tif (c->busy)\n\t\twork();\n", "", "ktest arena_zombies_end_in*"),
    Mistake("reading a sparse file fills the disk", "mm/fault.c",
            "\tint err = o->ops->page(o, off, f->write && shared, &page);",
            "\tint err = o->ops->page(o, off, shared, &page);", "ktest attach_holes"),
    Mistake("a filled hole still reads as zeros for others", "mm/vmobject.c",
            "\tif (READ_ONCE(o->zero_maps))", "\tif (READ_ONCE(o->zero_maps) > 1)",
            "ktest *hole*"),
    Mistake("the world may write tuning files", "fs/procfs.c", "(store ? 0644 : 0444)",
            "(store ? 0666 : 0444)", "system trace.t"),
    Mistake("a table page serves two files", "fs/ptfs/verify.c",
            "\t\tif (!why)\n\t\t\terr = claim(",
            "\t\tif (why)\n\t\t\terr = claim(", "host ptfs_hostile_test"),
]

# ---- Dirty tracking ------------------------------------------------------------------------------

SHOT_DOWN = "\tptbatch_finish(&b);\n\tif (any) {\n"

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
    Mistake("an attachment has W from the start", "mm/attach.c",
            "vma_is_shared(v) && !vma_tracks(v)", "vma_is_shared(v)", "ktest dirty_one_fault*"),
    Mistake("an ephemeral mapping has W from the start", "mm/arena_map.c",
            "how & SLOT_NOSYNC)", "true)", "ktest dirty_unmapped*"),
    Mistake("a plain fault by reading grants W", "mm/fill.c",
            "vma_is_shared(v) && (write || !vma_tracks(v))", "vma_is_shared(v) && (write || v)",
            "ktest dirty_one_fault*"),
    Mistake("W is granted and the chunk not marked", "mm/dirty.c",
            "\tif (has_chunk(&d->set, chunk))\n", "\tif (chunk < CHUNKS)\n", "ktest dirty_fork"),
    Mistake("private tables for W stay for ever", "mm/dirty.c", "\tif (whole)\n",
            "\tif (whole && !o)\n", "ktest dirty_fold_*"),
    Mistake("and go where a zero page is", "mm/pagetable.c",
            "\t\t\treturn false;\n\t\trights = rights",
            "\t\t\tcontinue;\n\t\trights = rights", "ktest dirty_fold_not*"),
    Mistake("a fault folds away the W of other chunks", "mm/attach.c",
            "\tbool dirty = READ_ONCE(v->object->dirty) && ", "\tbool dirty = !v && ",
            "ktest dirty_hole*"),
    Mistake("a dirty file is attached chunk by chunk", "mm/attach.c",
            "(dirty ? pt_empty_below(&c) :", "(dirty ? false :", "ktest dirty_file_is*"),
    Mistake("blocks that move leave their dirty bits behind", "fs/ptfs_glue/file.c",
            "\t\tvm_dirty_moved(o, off);\n", "\t\to = NULL;\n", "ktest ptfs_collapse_moves*"),
    Mistake("a file with dirty chunks is evicted as if it were clean", "fs/ptfs_glue/inode.c",
            "READ_ONCE(gi->ip->nlink) && glue_write_back(gi)",
            "!READ_ONCE(gi->ip->nlink) && glue_write_back(gi)", "ktest ptfs_unmount_writes*"),
    Mistake("MS_INVALIDATE of locked memory", "mm/aspace_sync.c",
            "(flags & MS_INVALIDATE) && v->locked", "(flags & MS_INVALIDATE) && !v",
            "abi sync_test"),
]

# ---- The rules of the interface ------------------------------------------------------------------

RULES = [
    Mistake("MAP_SYNC does not hold", "kernel/sys/sys_mm.c", "\treturn o->ops->table != NULL;",
            "\treturn o->ops->table == NULL;", "abi ephemeral_test"),
    Mistake("mprotect of an ephemeral mapping", "mm/aspace_ops.c",
            "\tif (arena_any_mapped(as, start, end))\n"
            "\t\treturn -EINVAL; // an ephemeral mapping is what it is\n", "",
            "abi ephemeral_test"),
    Mistake("mremap of an ephemeral mapping", "mm/aspace_ops.c",
            "\tif (arena_any_mapped(as, old.va, old.va + old_len))\n\t\treturn -EINVAL;\n",
            "", "abi ephemeral_test"),
    Mistake("fork takes ephemeral mappings along", "mm/arena_map.c",
            "\tv->dont_fork = true;\n", "", "abi ephemeral_test"),
    Mistake("more than 1 GiB in an arena", "mm/arena_map.c", "\treturn apart < PUD_SIZE;",
            "\treturn apart < 2 * PUD_SIZE;", "abi ephemeral_test"),
    Mistake("MAP_FIXED into an arena", "mm/place.c",
            "\t\tif (arena_overlaps(as, hint, hint + len))\n\t\t\treturn -EINVAL;\n", "",
            "abi ephemeral_test"),
    Mistake("an attachment at an address that is not congruent", "mm/place.c",
            "\tif (!IS_ALIGNED(start - req->offset, PMD_SIZE))\n\t\treturn 0;\n", "",
            "ktest attach_at_fixed*"),
    Mistake("an error of the file system is none of the fault", "mm/attach.c",
            "\terr = v->object->ops->page(v->object, vma_offset(v, va), true, &page);\n"
            "\tif (err)\n\t\treturn err;",
            "\terr = v->object->ops->page(v->object, vma_offset(v, va), true, &page);\n"
            "\tif (err)\n\t\treturn ATTACH_DONE;", "ktest errors_of*"),
    Mistake("the last unlink leaves zombies their way to the blocks", "mm/vmobject.c",
            "\twhile (!arena_zap(o, &b, 0, ~0ull, ARENA_ZOMBIES))",
            "\twhile (!o)",
            "ktest arena_zombies_end_by*"),
    Mistake("blocks serve others before their epoch has passed", "fs/ptfs/rest.c",
            "\tif (!ptfs_epoch_passed(stamp))\n\t\tr = rest_new(g);", "", "host ptfs_rest_test"),
    Mistake("no space, while space rests", "fs/ptfs/alloc.c",
            "\tptfs_rest_wait(fs);\n\treturn take_once(", "\treturn take_once(",
            "host ptfs_rest_test"),
    Mistake("what rests at unmounting is lost", "fs/ptfs/super.c", "\tptfs_rest_wait(fs);\n", "",
            "host ptfs_rest_test"),
    Mistake("a group of pages goes beyond the direct entries", "mm/fill.c",
            "min(size, s.end)", "size", "ktest fill_*"),
    Mistake("smaps does not tell the level", "mm/arena_find.c",
            "\t\tv->attach_level = (u8)c.level;", "\t\tv->attach_level = 0;",
            "ktest arena_seen*"),
    Mistake("RLIMIT_AS does not count ephemeral mappings", "mm/arena_map.c",
            "\t\tif (as->mapped_bytes + arena_bytes(as) + len > as->limit_bytes)",
            "\t\tif (as->mapped_bytes + len > as->limit_bytes)", "ktest arena_limits"),
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
    Mistake("a copy lower than the root stays when nothing leads to it any more", "mm/shadow.c",
            "\t\tbury_all(s); // I6: it led to what the copy is of\n", "\t\ts->left = 0;\n",
            "ktest ptfs_copy_of_tables_below*"),
    Mistake("no memory for a copy is an error", "mm/shadow.c",
            "\t\ts->partial = true;\n\t\treturn e;\n",
            "\t\ts->partial = true;\n\t\treturn (pte_t){ 0 };\n",
            "ktest ptfs_copy_of_tables_without*"),
    Mistake("a copy that nobody uses stays for ever", "mm/shadow_thread.c",
            "now - used_ns(s) > READ_ONCE(shadow_cold_ns)", "now < used_ns(s)",
            "ktest ptfs_copy_of_tables_by_advice"),
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
    Mistake("this CPU is left out", "mm/ptbatch.c",
            "\tif (mask.bits & self)\n", "\tif (mask.bits == 0)\n", "tlb threadstress"),
    Mistake("munmap beside a truncate finds nothing cleared, and flushes nothing",
            "mm/aspace_internal.h", "\treturn v->object && vm_zap_pending(v->object);",
            "\treturn !v;", "tlb unmapstress", 3),
    Mistake("idle CPUs stay on user tables", "mm/ptbatch.c",
            "\tasm_write_cr3(as ? as->root.pa : kmap_root().pa);",
            "\tif (as)\n\t\tasm_write_cr3(as->root.pa);", "tlb threadstress"),
]
