#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Known ways to get the mapping interface wrong, and for each the mistakes that show who notices:
in the source (lib/mistakes.py says how they are made) and in the models of tests/model/.

    ways.py                   the tables of docs/mistakes.md
    ways.py --check FILE      they stand in FILE as they are here
    ways.py --write FILE      from now on
"""

import dataclasses
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib.mistakes import COPIES, DIRTY, FLUSHES, Mistake


@dataclasses.dataclass
class Way:
    what: str
    own: list  # of mistakes that are no others'
    also: list = dataclasses.field(default_factory=list)  # of lib/mistakes.py
    models: str = ""  # "MODEL: MISTAKE ...", as in tests/model/epoch.t


def named(*begins):
    found = [m for m in DIRTY + FLUSHES if m.what.startswith(begins)]
    assert len(found) == len(begins), begins
    return found


COPY = """\tif (head)
\t\tdone = user_part(dst, src, head);
\tif (likely(done == head)) {
\t\twords = ALIGN_DOWN(len - head, 8);
\t\tdone += words - copy_from_user_nt(pmem_alias(PHYS(dst.pa + head)),
\t\t\t\t\t\t  UVA(src.va + head), words);
\t\tif (done < len)
\t\t\tdone += user_part(PHYS(dst.pa + done), UVA(src.va + done),
\t\t\t\t\t  min(len - done, 8ul));
\t}
"""
FLAG_CHECKED = """\tif (READ_ONCE(w->object->revoking) || READ_ONCE(w->object->root_word) != root)
\t\treturn give_up(a, s);
"""
MADE_VISIBLE = "\t__atomic_exchange_n(&s->state, word, __ATOMIC_SEQ_CST);\n"

WAYS = [
    Way("A sparse file shrinks past a level of its root, and the root that was freed is used "
        "on", [
        Mistake("a root that was freed when a sparse file shrank is used further", "mm/vmobject.c",
                "\t__atomic_store_n(&o->root_word, 0, __ATOMIC_RELEASE);\n", "", "ktest arena_*"),
    ]),
    Way("A mapping beyond what the root covers shows the start of the file again", [
        Mistake("a mapping beyond what the root covers shows the start of the file",
                "fs/ptfs_glue/mapping.c", "map->level <= max_level && off < pt_span(map->level)",
                "map->level <= max_level", "ktest ptfs_*"),
        Mistake("and an ephemeral one", "mm/arena_map.c",
                "(int)c + PT_PTE || w.last >> pt_shift(vm_root_level(root)))", "(int)c + PT_PTE)",
                "abi ephemeral_test"),
    ]),
    Way("The mark of a large piece survives a truncate of a part of it", [
        Mistake("a GiB that was one piece counts as one after part of it was cut off",
                "mm/vmobject.c", "\t__atomic_store_n(&o->gib_table, 0, __ATOMIC_RELAXED);\n", "",
                "ktest gib_leaf_by_one*"),
        Mistake("a 2 MiB leaf reaches beyond the new end of its file", "fs/ptfs/falloc.c",
                "\terr = ptfs_map_part(ip, from);\n", "", "host ptfs_leaf_test"),
    ]),
    Way("Blocks that truncate, punch or collapse freed stay mapped", [
        Mistake("blocks that punch or truncate freed stay mapped", "mm/vmobject.c",
                "\t\tif (off < min(size, end))", "\t\tif (off > end)", "ktest *_truncate_*"),
        Mistake("and those beyond the new end", "mm/vmobject.c",
                "\t\tif (end > max(size, off))", "\t\tif (off > end)", "ktest *_truncate*"),
        Mistake("a copied (split) table is forgotten by a revoke", "mm/pagetable.c",
                "(e.bits & keep) | PTE_ATTACHED)", "(e.bits & keep) | PTE_ATTACHED | PTE_ANON)",
                "ktest revoke_*"),
        Mistake("what collapse moves is seen where it was", "fs/ptfs/collapse.c",
                "\t// The whole file: the top page that mappings were attached to is one of those "
                "that go.\n\tptfs_gone_init(&g, ip);\n\tptfs_gone_revoke(&g, 0, PTFS_FILE_MAX);\n",
                "\tptfs_gone_init(&g, ip);\n", "ktest ptfs_collapse_*"),
        Mistake("and in a small file", "fs/ptfs/collapse.c",
                "\tptfs_gone_revoke(&g, c->from, PTFS_FILE_MAX);\n", "", "ktest ptfs_collapse_*"),
    ]),
    Way("Attaching before a revoke could know", [
        Mistake("attaching before a revoke could know: its flag is not looked at", "mm/arena_map.c",
                "\tif (READ_ONCE(w->object->revoking) || ", "\tif (", "ktest arena_map_gives_way*"),
        Mistake("attaching before a revoke could know: the flag is looked at too early",
                "mm/arena_map.c", MADE_VISIBLE + FLAG_CHECKED, FLAG_CHECKED + MADE_VISIBLE,
                "ktest arena_map_gives_way*"),
        Mistake("attaching what a revoke that is over has taken away", "mm/arena_map.c",
                " || READ_ONCE(w->object->root_word) != root)\n\t\treturn give_up",
                ")\n\t\treturn give_up", "ktest arena_map_gives_way*"),
    ],
        models="revoke: FLAG_BEFORE_DESC FLAG_AFTER_ENTRY DESC_AFTER_SETTING "
               "SETTING_WITHOUT_BARRIER SETTING_NOT_AWAITED FLAG_PLAIN_STORE "
               "FLAG_LOWERED_EARLY"),
    Way("A table page is given back while a CPU remembers the way through it", [
        Mistake("a table page is given back while a CPU may remember the way through it",
                "mm/ptbatch.c", "\telse\n\t\tb->all = true;\n\treturn old;", "\treturn old;",
                "tlb vmstress", 3),
        Mistake("a revoke leaves the translations of the other CPUs", "mm/ptbatch.c",
                "\t\tif (loaded == as || loaded == AS_SWITCHING)",
                "\t\tif (i == this_cpu()->index && loaded == as)", "ktest shootdown_*", 4),
    ], named("tables below a slot", "a table goes", "a revoke clears"),
        models="revoke: NO_FLUSH FLUSH_LEAVES_ONLY FREED_AT_ONCE"),
    Way("What was unmapped is remembered again after its CPU has forgotten it", [
        Mistake("a slot is used again before a CPU that remembers it has flushed",
                "kernel/sched/epoch.c", "matters && __atomic_load_n(&epoch_cpus[cpu].seen, "
                "__ATOMIC_ACQUIRE) <= stamp", "matters && !stamp", "ktest arena_slot_waits*"),
        Mistake("an interrupted section counts as seen", "kernel/sched/epoch.c",
                "cpu->preempt_count == 0 && cpu->irq_depth == 1", "cpu->irq_depth == 1",
                "ktest epoch_*"),
    ], named("the epoch publishes", "an epoch that began", "a slot's stamp", "idle CPUs"),
        models="epoch: STAMP_AT_UNMAP READ_E_AFTER_FLUSH PUBLISH_BEFORE_FLUSH SEEN_EQUAL "
               "SEEN_IN_SECTION"),
    Way("A stamp is read before the clear has left the store buffer", [],
        models="epoch: STAMP_BEFORE_FENCE"),
    Way("A fault grants W to a slot that is used again", [
        Mistake("a fault grants W to a slot that is used again: munmap passes it",
                "mm/arena_unmap.c", "(word & (SLOT_STATE | SLOT_LOCK | SLOT_PINS)) != SLOT_LIVE",
                "(word & (SLOT_STATE | SLOT_LOCK)) != SLOT_LIVE", "ktest arena_unmap_waits*"),
        Mistake("a fault grants W to a slot that is used again: munmap does not wait",
                "mm/arena_unmap.c", "\t\tif (word & (SLOT_LOCK | SLOT_PINS)) {",
                "\t\tif (word & SLOT_LOCK) {", "ktest arena_unmap_waits*"),
        Mistake("a fault brings back a slot that was given up", "mm/arena_find.c",
                "\twhile (slot_state(word) == SLOT_LIVE) {",
                "\twhile (slot_state(word) != SLOT_FREE) {", "ktest arena_*"),
        Mistake("a slot is taken back that has shown something else since", "mm/arena_map.c",
                "\tword = e->zombie;", "\tword = slot_load(e->slot);", "ktest arena_warm_slot_of*"),
    ],
        models="revoke: FAULT_WITHOUT_PIN UNMAP_IGNORES_PIN"),
    Way("A sync erases the bit of a store that it did not write back", [],
        named("a sync erases", "lines are written back", "a second sync", "a warm map has",
              "a sync forgets", "a sync flushes only"),
        models="fsync: CLEAR_BIT_FIRST CLEAR_BIT_AFTER_SHOOTDOWN BIT_WITHOUT_LOCK"),
    Way("A sync of a part cleans the chunk", [],
        named("msync of a part cleans", "msync of a part writes"),
        models="fsync: MSYNC_CLEANS_CHUNK"),
    Way("A file is freed while a map is between descriptor and check", [
        Mistake("a file that may be gone is held on the way from its descriptor", "mm/arena_map.c",
                "\t\th = arena_find_held(a, w.object);\n", "\t\th = arena_hold(a, w.object);\n",
                "ktest arena_map_of_a_file*"),
        Mistake("a file is let go while slots show it", "mm/arena.c",
                "\t\t\tif (h->slots || ++h->ticks < HELD_TICKS) {",
                "\t\t\tif (++h->ticks < HELD_TICKS) {", "ktest arena_map_of_a_file*"),
        Mistake("the record of a file that was let go is used on", "mm/arena.c",
                "\t\t\tif (a->recent == h)\n\t\t\t\ta->recent = NULL;\n", "",
                "ktest arena_map_of_a_file*"),
        Mistake("grants are freed while a map reads them", "fs/fd_table.c",
                "\t\tepoch_defer(&old->retired, free_grants); // I4",
                "\t\tfree_grants(&old->retired);", "ktest fd_grants_outlive*"),
        Mistake("a descriptor that others may close is mapped without a reference", "fs/fd_table.h",
                "__atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 1 ?", "t->users ?",
                "ktest fd_table_counts*"),
        Mistake("a closed descriptor still maps its file", "fs/fd_table.c",
                "\tif (unlikely(fd < t->grants->size))", "\tif (fd >= FD_MAX)", "ktest fd_grants*"),
    ]),
    Way("A rebase meets a truncate", [
        Mistake("a rebase writes back an entry that truncate has cleared", "fs/ptfs/verify.c",
                "\tptfs_cas8(fs, off, e | level_bits, hard | level_bits);",
                "\tptfs_store8(fs, off, hard | level_bits);", "host ptfs_reloc_test"),
        Mistake("a rebase reads tables that truncate may free", "fs/ptfs/reloc.c",
                "\t\tptfs_map_lock_shared(&ip->home);\n"
                "\t\terr = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, REBASE_HOLD);\n"
                "\t\tptfs_map_unlock_shared(&ip->home);\n",
                "\t\terr = ptfs_map_ready(ip, 0, PTFS_FILE_MAX, REBASE_HOLD);\n",
                "host ptfs_reloc_test"),
    ]),
    Way("A table page serves two files, or two levels", [
        Mistake("a table page serves two files", "fs/ptfs/verify.c",
                "\t\tif (!why)\n\t\t\terr = claim(",
                "\t\tif (why)\n\t\t\terr = claim(", "host ptfs_hostile_test"),
        Mistake("a table page serves two levels of a file", "fs/ptfs/verify.c",
                "\t*why = ptfs_claim(fs, c, PTFS_CHUNK_TABLE, block, 1);\n\tif (*why)",
                "\t*why = ptfs_tpage(fs, r->off)->owner == ip->ino\n"
                "\t\t       ? NULL : ptfs_claim(fs, c, PTFS_CHUNK_TABLE, block, 1);\n\tif (*why)",
                "host ptfs_hostile_test"),
        Mistake("a table page is claimed for the level above it", "fs/ptfs/verify.c",
                "\t\t.level = (u8)(level - 1),\n", "\t\t.level = (u8)level,\n",
                "host ptfs_walk_test"),
    ]),
    Way("Part of an ephemeral mapping is unmapped, and leaves live entries", [
        Mistake("part of an ephemeral mapping is unmapped, and leaves live entries",
                "mm/arena_unmap.c", "start < addr || stop > end ||\n"
                "\t\t    (exact && (start != addr || stop != end))",
                "start != addr || (!exact && stop > end)",
                "abi ephemeral_test"),
    ]),
    Way("Munmap twice", [
        Mistake("munmap twice", "mm/arena_unmap.c",
                "slot_state(word) != SLOT_LIVE || start < addr || stop > end",
                "slot_state(word) == SLOT_FREE || start < addr || stop > end", "ktest arena_*"),
    ]),
    Way("A freed slot is touched", [
        Mistake("a freed slot is touched", "mm/arena_find.c",
                "\twhile (slot_state(word) == SLOT_LIVE) {",
                "\twhile (slot_state(word) != SLOT_ZOMBIE) {", "ktest arena_touch*"),
    ]),
    Way("NX and PROT_NONE are ignored", [
        Mistake("NX is ignored", "mm/pagetable.c",
                "(prot & PROT_EXEC ? 0 : PTE_NX)", "0", "abi mapping_test"),
        Mistake("PROT_NONE is ignored where a table is attached", "mm/attach_unit.h",
                "(v->prot == PROT_NONE ? 0 : PTE_P)", "PTE_P", "ktest attach_without_any*"),
        Mistake("and in a slot", "mm/arena_map.c", "if (pte_present(e) && (w->key & 7))",
                "if (pte_present(e))", "ktest arena_rights"),
        Mistake("what a descriptor denies is had by the fast way", "mm/arena_map.c",
                "prot & (~(u64)PROT_ALL | grant)", "prot & ~(u64)PROT_ALL",
                "ktest arena_warm_is_the*"),
        Mistake("a mapping has the rights of the one that was there before", "mm/map.c",
                "\t\tv->may_prot = (u8)(prots >> PROTS_MAY);\n", "", "abi kept_test"),
    ]),
    Way("A descriptor for writing only is mapped, and read", [
        Mistake("a descriptor for writing only is mapped, and read", "kernel/sys/sys_mm.c",
                "\tif (mode == O_WRONLY)\n\t\treturn -EACCES;\n", "", "abi mapping_test"),
        Mistake("one for reading only is mapped for writing", "kernel/sys/sys_mm.c",
                "\t\tif ((req->prot & PROT_WRITE) && mode == O_RDONLY)\n"
                "\t\t\treturn -EACCES;\n", "", "abi memory_test"),
        Mistake("and may be made writable later", "kernel/sys/sys_mm.c",
                "\t\tif (mode == O_RDONLY)\n\t\t\treq->may_prot &= ~PROT_WRITE;\n", "",
                "abi memory_test"),
    ]),
    Way("mprotect, mremap or madvise of an attached mapping crashes", [
        Mistake("mprotect, mremap and madvise take a table of the file for their own",
                "mm/pagetable.h",
                "\treturn level > PT_PTE && (e.bits & (PTE_P | PTE_PS | PTE_ATTACHED)) == PTE_P;",
                "\treturn level > PT_PTE && (e.bits & (PTE_P | PTE_PS)) == PTE_P;",
                "abi mapping_test"),
        Mistake("mprotect of an attached mapping changes nothing", "mm/aspace_ops.c",
                "\tpt_protect(&b, v->lo, v->hi, prot, vma_is_shared(v) && !vma_tracks(v));\n", "",
                "abi mapping_test"),
        Mistake("mremap leaves what it moved where it was", "mm/aspace_ops.c",
                "\terr = unmap_locked(as, from, end); // whole mapping: cannot fail\n", "",
                "abi mapping_test"),
        Mistake("madvise forgets nothing", "mm/aspace_ops.c",
                "\tcase MADV_DONTNEED: forget(as, v, start, end); return 0;",
                "\tcase MADV_DONTNEED: v ? (void)0 : forget(as, v, start, end); return 0;",
                "abi mapping_test"),
        Mistake("munmap of a part takes the whole unit", "mm/aspace.c",
                "\tif (attach_split_boundary(as, v, addr))\n\t\treturn -ENOMEM;\n", "",
                "ktest unmap_part*"),
        Mistake("the file's list of mappings forgets one that came lightly", "mm/map.c",
                "\t\tvma_join_object(v);\n\t\tattach_unit",
                "\t\tvm_object_get(o);\n\t\tattach_unit", "abi kept_test"),
    ]),
    Way("A write to a private mapping faults for ever", [
        Mistake("a write to a private mapping faults for ever", "mm/attach.c",
                "\tif (!(e.bits & PTE_ATTACHED) || copies)",
                "\tif (!(e.bits & PTE_ATTACHED) || (copies && !va))",
                "ktest private_attach*"),
        Mistake("a write to a private mapping reaches the file", "mm/attach_unit.h",
                "\tu64 rights = pt_user_rights(v->prot, vma_is_shared(v) && !vma_tracks(v));",
                "\tu64 rights = pt_user_rights(v->prot, true);", "ktest private_attach*"),
    ]),
    Way("Exit and exec leave what live or unmapped slots hold", [
        Mistake("exit leaves what live slots hold", "mm/arena.c",
                "\t\t\tend_slot(slot_get(a, c, i));",
                "\t\t\tif (!a)\n\t\t\t\tend_slot(slot_get(a, c, i));",
                "ktest arena_left_at_exit"),
        Mistake("exit leaves what slots hold that were just unmapped", "mm/arena.c",
                "slot_state(slot_load(s)) == SLOT_CLEARED)\n",
                "slot_state(slot_load(s)) != SLOT_LIVE)\n", "ktest arena_left_at_exit"),
        Mistake("exec leaves the slots of the program that was", "kernel/proc/exec.c",
                "\tif (old)\n\t\taspace_put(old);\n", "\tif (old && !path)\n\t\taspace_put(old);\n",
                "abi ephemeral_test"),
    ]),
    Way("An idle process keeps what it unmapped for ever", [
        Mistake("zombies stay while a process idles", "kernel/sched/epoch.c",
                "\tif (c->busy)\n\t\twork();\n", "", "ktest arena_zombies_end_in*"),
    ]),
    Way("write() from a mapping of the same file locks itself out", [
        Mistake("write() from a mapping of the same file takes faults with its locks held",
                "drivers/nvdimm/pmem.c",
                "\tuaccess_faults_off();\n" + COPY + "\tuaccess_faults_on();\n", COPY,
                "ktest ptfs_write_from_its_own_map"),
        Mistake("read() into a mapping of the same file takes faults with its locks held",
                "fs/ptfs_glue/file.c", "\tiov_faults_off(to);\n", "",
                "ktest ptfs_write_from_its_own_map"),
    ]),
    Way("Reading a sparse file fills the disk", [
        Mistake("reading a sparse file fills the disk", "mm/fault.c",
                "\tint err = o->ops->page(o, off, f->write && shared, &page);",
                "\tint err = o->ops->page(o, off, shared, &page);", "ktest attach_holes"),
        Mistake("a filled hole still reads as zeros for others", "mm/vmobject.c",
                "\tif (READ_ONCE(o->zero_maps))", "\tif (READ_ONCE(o->zero_maps) > 1)",
                "ktest *hole*"),
        Mistake("and one that was filled where an attachment came just before", "mm/fault.c",
                "\t\tif (f->write) // was it a hole? As below\n", "\t\tif (!f)\n",
                "ktest unsplit_not_needed_and*"),
    ]),
    Way("No space for a table page", [
        Mistake("no space for a table page is no error", "fs/ptfs/table.c",
                "\t\t\treturn err;\n\t\tif (publish(fs, ptfs_walk_slot(w)",
                "\t\t\treturn 0;\n\t\tif (publish(fs, ptfs_walk_slot(w)",
                "host ptfs_failure_test"),
    ]),
    Way("The world may write tuning files", [
        Mistake("the world may write tuning files", "fs/procfs.c", "(store ? 0644 : 0444)",
                "(store ? 0666 : 0444)", "system trace.t"),
    ]),
    Way("A copy of a table in DRAM goes stale", [], COPIES,
        models="shadow: LOOK_BEFORE_STORE READ_BEFORE_KNOWN TELL_WITHOUT_LOCK "
               "TELL_AFTER_UNSHARE TELL_BEFORE_CUT CUT_UNTOLD"),
]


def of_way(begin):
    return [m for way in WAYS if way.what.startswith(begin) for m in way.own]


# What the interface promises (docs/mmap-flags.md, docs/mapping.md).
PROMISES = [
    Way("MAP_DAXVM attaches the file's own tables", [
        Mistake("MAP_DAXVM attaches nothing", "mm/place.c",
                "(req->flags & (MAP_DAXVM | MAP_DAXVM_EPHEMERAL))",
                "(req->flags & MAP_DAXVM_EPHEMERAL)",
                "ktest attach_pte_page"),
    ]),
    Way("MAP_DAXVM_EPHEMERAL takes an address of this CPU's supply", [
        Mistake("no slots: the mapping is an ordinary one", "mm/arena.c",
                "\tif (a->nr_resting[c])\n", "\tif (a->nr_resting[c] > RESTING_MAX)\n",
                "ktest arena_supply*"),
    ]),
    Way("MAP_DAXVM_BATCHING lets munmap defer, and nothing else does", [
        Mistake("MAP_DAXVM_BATCHING defers nothing", "mm/arena_unmap.c",
                "\tbool now = !(s->key & SLOT_BATCHING);", "\tbool now = s->key;",
                "ktest arena_warm_slots"),
        Mistake("munmap without MAP_DAXVM_BATCHING leaves translations", "mm/arena_unmap.c",
                "\tif (now)\n\t\tflush_slot(a, s);\n", "\tif (now && !a)\n\t\tflush_slot(a, s);\n",
                "ktest arena_unmap_interrupts*"),
    ]),
    Way("MAP_DAXVM_NOSYNC: the kernel does not track", [],
        named("a nosync mapping", "and an ephemeral one")),
    Way("The flags have the published values; MAP_HUGETLB wins over bit 26", [
        Mistake("a flag of the published header has another value", "mm/aspace.h",
                "#define MAP_DAXVM_EPHEMERAL 0x4000000u", "#define MAP_DAXVM_EPHEMERAL 0x8000000u",
                "system programs.t"),
        Mistake("MAP_HUGETLB, and its bit 26 is taken for MAP_DAXVM_EPHEMERAL", "mm/arena_map.c",
                "(MAP_SHARED_VALIDATE | MAP_DAXVM_ALL | MAP_SYNC | MAP_NORESERVE)",
                "(MAP_SHARED_VALIDATE | MAP_DAXVM_ALL | MAP_SYNC | MAP_NORESERVE | 0x40000u)",
                "abi ephemeral_test"),
    ]),
    Way("Other kinds of mapping, and files without tables: plain mmap", [
        Mistake("a type of mapping that does not exist is taken for shared", "kernel/sys/sys_mm.c",
                "\tconst unsigned known = MAP_SHARED_VALIDATE |",
                "\tconst unsigned known = MAP_TYPE |", "abi kept_test"),
        Mistake("a file without tables of its own gets a slot", "mm/map.c",
                "req->object && req->object->ops->table &&", "req->object &&", "ktest ramfs_maps*"),
    ]),
    Way("MAP_SYNC holds", [
        Mistake("MAP_SYNC does not hold", "kernel/sys/sys_mm.c", "\treturn o->ops->table != NULL;",
                "\treturn o->ops->table == NULL;", "abi ephemeral_test"),
    ]),
    Way("All mappings are seen in maps and smaps, and count", [
        Mistake("ephemeral mappings are in no list", "mm/aspace.c",
                "v->arenas ? arena_for_each(as, fn, ctx)", "v->arenas ? true", "ktest arena_seen*"),
        Mistake("smaps does not tell the level", "mm/arena_find.c",
                "\t\tv->attach_level = (u8)c.level;", "\t\tv->attach_level = 0;",
                "ktest arena_seen*"),
        Mistake("RLIMIT_AS does not count ephemeral mappings", "mm/arena_map.c",
                "\t\tif (as->mapped_bytes + arena_bytes(as) + len > as->limit_bytes)",
                "\t\tif (as->mapped_bytes + len > as->limit_bytes)", "ktest arena_limits"),
    ]),
    Way("Of ephemeral ones: munmap of a part, mprotect, mremap are refused", [
        Mistake("mprotect of an ephemeral mapping", "mm/aspace_ops.c",
                "\tif (arena_any_mapped(as, start, end))\n"
                "\t\treturn -EINVAL; // an ephemeral mapping is what it is\n", "",
                "abi ephemeral_test"),
        Mistake("mremap of an ephemeral mapping", "mm/aspace_ops.c",
                "\tif (arena_any_mapped(as, old.va, old.va + old_len))\n\t\treturn -EINVAL;\n",
                "", "abi ephemeral_test"),
    ], of_way("Part of an ephemeral")),
    Way("fork does not take them along", [
        Mistake("fork takes ephemeral mappings along", "mm/arena_map.c",
                "\tv->dont_fork = true;\n", "", "abi ephemeral_test"),
    ]),
    Way("More than 1 GiB is no ephemeral mapping", [
        Mistake("more than 1 GiB in an arena", "mm/arena_map.c", "\treturn apart < PUD_SIZE;",
                "\treturn apart < 2 * PUD_SIZE;", "abi ephemeral_test"),
    ]),
    Way("Nothing else comes into an arena, and nobody knows where it is", [
        Mistake("MAP_FIXED into an arena", "mm/place.c",
                "\t\tif (arena_overlaps(as, hint, hint + len))\n\t\t\treturn -EINVAL;\n", "",
                "abi ephemeral_test"),
        Mistake("the heap grows into an arena", "mm/aspace_ops.c",
                "\tif (!vma_range_free(&as->vmas, start, end) ||\n\t    aspace_bytes",
                "\tif (aspace_bytes", "ktest arena_is_kept*"),
        Mistake("a hint into an arena is followed", "mm/place.c",
                "hint <= USER_END - len &&\n\t    vma_range_free(&as->vmas, hint, hint + len))",
                "hint <= USER_END - len)", "ktest arena_calls*"),
        Mistake("the arenas of all processes are in one place", "mm/arena_map.c",
                "(1 + random_u64() % places)", "(1 + i % places)", "ktest arena_places*"),
    ]),
    Way("Where address and offset are not congruent: plain mmap", [
        Mistake("an attachment at an address that is not congruent", "mm/place.c",
                "\tif (!IS_ALIGNED(start - req->offset, PMD_SIZE))\n\t\treturn 0;\n", "",
                "ktest attach_at_fixed*"),
    ]),
    Way("Behind the length asked for, up to the end of the unit: the file", [
        Mistake("behind the length asked for nothing is there", "mm/fault.c",
                "\tif (!v)\n\t\treturn -EFAULT;\n\treturn v->arenas",
                "\tif (!v || (!v->arenas && f->va >= v->end))\n\t\treturn -EFAULT;\n"
                "\treturn v->arenas", "ktest attach_part*"),
    ]),
    Way("Behind the end of the file: zeros also when it grows, or SIGBUS", [
        Mistake("what a file showed behind its end is there when it grows", "fs/ptfs/falloc.c",
                "\terr = size ? zero_tail(ip, size) : 0;\n",
                "\terr = ip ? 0 : zero_tail(ip, size);\n", "abi mapping_test"),
        Mistake("and what was stored there", "fs/ptfs/falloc.c",
                "\tint err = ptfs_zero_existing(ip, ip->size, ALIGN_UP(size, PTFS_BLOCK));\n",
                "\tint err = 0;\n", "ktest ptfs_grows*"),
        Mistake("no SIGBUS behind the end of a file", "fs/ptfs/map.c",
                "\tif (off >= ALIGN_UP(ptfs_size(ip), PTFS_BLOCK))\n\t\treturn -ENXIO;\n", "",
                "abi ephemeral_test"),
    ]),
    Way("A store to a hole fills it for all; no space is SIGBUS", [
        Mistake("what fills a hole shows what the block held before", "fs/ptfs/table.c",
                "\tptfs_zero_new(fs, &b, 0, pt_span(level));\n", "", "host ptfs_model_test"),
        Mistake("a store to a hole is two faults", "mm/attach.c",
                "\tif (!attach_shows(v, va, e, level)) {\n\t\tif (!write)\n",
                "\tif (!attach_shows(v, va, e, level)) {\n\t\tif (!write || v)\n",
                "ktest unsplit_not_needed*"),
        Mistake("an error of the file system is none of the fault", "mm/attach.c",
                "\tint err = o->ops->page(o, off, true, &page);\n\n\tif (err)\n\t\treturn err;",
                "\tint err = o->ops->page(o, off, true, &page);\n\n"
                "\tif (err)\n\t\treturn ATTACH_DONE;", "ktest errors_of*"),
    ], of_way("Reading a sparse")),
    Way("After a deferred munmap: two ticks; truncate and the last unlink end it at once", [
        Mistake("a revoke leaves what was unmapped a moment ago", "mm/arena_find.c",
                "\t\tend_zombie(s, word);\n\t\tptbatch_flush_all(scan->batch);\n",
                "\t\tif (!scan)\n\t\t\tend_zombie(s, word);\n"
                "\t\t__atomic_fetch_and(&s->state, ~SLOT_LOCK, __ATOMIC_SEQ_CST);\n",
                "ktest arena_zombies_end_by*"),
        Mistake("the last unlink leaves zombies their way to the blocks", "mm/vmobject.c",
                "\twhile (!arena_zap(o, &b, 0, ~0ull, ARENA_ZOMBIES))",
                "\twhile (!o)",
                "ktest arena_zombies_end_by*"),
    ], of_way("An idle process")),
]


def short(tests):
    """Those that begin alike in one."""
    by_word = {}
    for test in sorted(tests):
        by_word.setdefault(test.split("_")[0], []).append(test)
    return [t[0] if len(t) == 1 else os.path.commonprefix(t).rstrip("*") + "*"
            for t in by_word.values()]


def noticed_by(way):
    return [f"`{name}`" for name in short({m.test.split()[1] for m in way.own + way.also})]


def table_of_ways():
    """Mistakes in the source, mistakes in models, who notices."""
    lines = ["| known way | mistakes | in models | noticed by |", "|---|--:|--:|---|"]
    for way in WAYS:
        model, _, names = way.models.partition(":")
        notice = noticed_by(way) + ([f"`{model}.pml`"] if model else [])
        lines.append(f"| {way.what} | {len(way.own + way.also) or '-'} | "
                     f"{len(names.split()) or '-'} | {', '.join(notice)} |")
    return "\n".join(lines) + "\n"


def table_of_promises():
    lines = ["| promise | mistakes | noticed by |", "|---|--:|---|"]
    for way in PROMISES:
        lines.append(f"| {way.what} | {len(way.own + way.also)} | {', '.join(noticed_by(way))} |")
    return "\n".join(lines) + "\n"


def main():
    tables = [table_of_ways(), table_of_promises()]
    if len(sys.argv) == 1:
        print("\n".join(tables), end="")
        return
    file = pathlib.Path(sys.argv[-1])
    text = is_now = file.read_text()
    for table in tables:
        head = table[:table.index("\n")]
        text, n = re.subn(re.escape(head) + r"\n(\|.*\n)*", lambda _, t=table: t, text)
        assert n == 1, f"{file}: no table {head}"
    if sys.argv[1] == "--write":
        file.write_text(text)
    elif text != is_now:
        sys.exit(f"{file}: not the tables that tests/lib/ways.py prints (--write)")


if __name__ == "__main__":
    main()
