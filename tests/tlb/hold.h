// SPDX-License-Identifier: MIT
//
// What CPUs could hold of translations and upper-level entries (hold.c): the worst TLB that the
// architecture allows, fed by adversary.c. Functions may be called by several threads.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HOLD_CPUS 64u

// `page`: where QEMU keeps the guest's page at `pa`; NULL: no memory is there. Alarms go to `to`;
// `first`: the first one ends the process.
void hold_init(const uint64_t *(*page)(uint64_t pa), FILE *to, bool first);
// The line of counts.
void hold_end(void);

// Does the host's page that `host` lies in hold a table of the guest? Cheap, without a lock.
bool hold_is_table(uint64_t host);
// The kernel has stored to [host, host + bytes): `pc` did.
void hold_stored(uint64_t host, unsigned bytes, uint64_t pc);

// What a CPU has done: it loaded CR3; it flushed in another way; INVLPG.
void hold_root(unsigned cpu, uint64_t root);
void hold_flushed(unsigned cpu);
void hold_invalidated(unsigned cpu, uint64_t va);

// What the kernel says: memory is free for another use; so is what `nr` entries from `pa` on led
// to. An alarm if a CPU could still hold a way to it.
void hold_check_memory(uint64_t pa, uint64_t bytes, uint64_t pc);
void hold_check_entries(uint64_t pa, uint64_t nr, uint64_t pc);

// A batch of changes to the space of `root` is going to be flushed: CPUs were looked for now.
void hold_batch(uint64_t id, uint64_t root);
// It is: of what had ended in its spaces by then, in [start, end), nothing may be held, be it only
// by the rights that it had.
void hold_check_flushed(uint64_t id, uint64_t start, uint64_t end, uint64_t pc);
// The range is not mapped any more, and nothing that was may be held.
void hold_check_unmapped(uint64_t root, uint64_t start, uint64_t end, uint64_t pc);
