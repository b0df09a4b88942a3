// SPDX-License-Identifier: MIT
//
// Copies in DRAM of the tables that files have on persistent memory, attached instead of them.
//
// A TLB miss in an attached file walks through tables in PMem, where a load takes several times as
// long as from DRAM. For a file that is read here and there, a copy of its tables pays. It is the
// same tree, entry by entry; where memory was short, an entry leads on into the file's own table.
//
//      the file's tables (PMem)                  the copy (DRAM)
//
//      root -> PMD page -+-> PTE page            root -> PMD page -+-> PTE page  -> the same blocks
//                        +-> PTE page                              +-> PTE page
//                        +-> PTE page <------------------------------- (not copied yet)
//                        +-> 2 MiB block                           +-> the same block
//
// Who gets one: /proc/sys/daxvm/shadow (boot parameter shadow=)
//      never   nobody, and those that are there go
//      auto    files of which some mapping was advised MADV_RANDOM
//      always  every file that is attached
// A copy goes when nothing has mapped its file for shadow_cold_ns (ten seconds), when memory runs
// short, by `never`, and with the file.
//
// This header is for mm/ and for those who start it; file systems find in mm/vmobject.h what they
// have to call.
#pragma once

#include "kernel/lib/types.h"
#include "mm/vmobject.h"

extern u64 shadow_cold_ns; // tests make it shorter [atomic]

// Once, when threads run. Reads the boot parameter.
void shadow_start(void);

// object->ops->table(), with the entry that leads into the copy if the file has one, or is to have
// one. map_lock held (shared will do). 0 or what the operation returns; without memory for a copy
// the file's own table is the answer.
int vm_table(struct vm_object *o, u64 off, int max_level, struct vm_table *out) __must_check;

// A fault at byte `off` met an attached table in which it found nothing. If the file has a copy of
// its tables, that may lag behind an update that is under way (mm/shadow.c, I2): it is brought up
// to date there. False: there is no copy. map_lock held shared.
bool shadow_catch_up(struct vm_object *o, u64 off);

// The revoke of a range is done: what left the copy in it waits for its epoch. map_lock held
// exclusively.
void shadow_retire(struct vm_object *o);

// Mappings of it will be read here and there (MADV_RANDOM), or not any more. Thread context;
// as->lock may be held.
void shadow_advise(struct vm_object *o, bool random);

// The switch: "auto", "always" or "never". With `never` all copies are given back soon; `always`
// holds for each file from the next time on that its table is asked for. -EINVAL: another word.
int shadow_set_mode(const char *name) __must_check;
const char *shadow_mode_name(void);

// Pages of copies that exist, those that wait for their epoch included.
u64 shadow_pages(void);
// Returns when nothing waits for its epoch. For tests and whoever counts what is left.
void shadow_settle(void);
// Does the copy say what the file's tables say, below every entry that it has? Without a copy: yes.
// map_lock held exclusively. For tests.
bool shadow_matches(struct vm_object *o);
