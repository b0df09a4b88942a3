#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ephemeral mappings of different CPUs share no cache line that one of them writes: 2, 4 and 8
CPUs, different files and the same one, processes and threads, and beside MAP_DAXVM alone
(docs/scalability.md). What an epoch or an interrupt does in between is counted apart.

What it found when it was new, all of it lines that were shared for no reason: records of held files
of two arenas, 32 bytes each, in one line; the frame allocator's lock beside the number of CPUs and
the address of the system calls' function; flags, roots and a descriptor's object stored anew by
whoever took the slow path, though they were the same.

Threads of one process once counted the users of a descriptor while they looked it up; now they
only look at it (fd_grant)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.conflicts import APART, CALL, causes, describe, is_conflict, measure

EPHEMERAL = ["ephemeral", "ephemeral-same", "cold", "cold-same", "ephemeral+attach"]


def is_between(accesses):
    """In conflict between one of the even CPUs and one of the odd ones, which do something else."""
    def parities(some):
        return {a.cpu % 2 for a in some}
    return len(parities(accesses)) == 2 and parities(a for a in accesses if a.writes)


def check_ephemeral(how, cpus):
    sections = measure(how, cpus, EPHEMERAL)
    for section in sections.values():
        name = f"{section.even} beside {section.odd}, {cpus} {how}"
        seen = {a.cpu for found in section.lines[CALL].values() for a in found}
        tap.equal(seen, set(range(cpus)), f"{name}: all CPUs were at work")
        found = section.conflicts()
        if section.even != section.odd:
            found = {line: a for line, a in found.items() if is_between(a)}
        tap.ok(not found, f"{name}: no line in conflict", "\n".join(describe(found)))
    epochs = [a for s in sections.values() for found in s.lines[APART].values() for a in found]
    tap.ok(epochs, f"{cpus} {how}: there were epochs in between")


def check_instrument():
    """Zero would mean nothing if conflicts were not seen."""
    sections = measure("processes", 2, ["create", "getpid+create", "stat"])
    found = sections[1].conflicts()
    tap.ok(any("ptfs_tx_commit" in writers for _, writers, _, _ in causes(found)),
           "creating files beside each other: the journal is in conflict",
           "\n".join(describe(found)))
    tap.ok(all(is_conflict(a) for a in found.values()), "what is in conflict is written by one")
    tap.ok(not sections[2].conflicts(), "beside a call that touches nothing it is not",
           "\n".join(describe(sections[2].conflicts())))
    tap.ok(any("dcache_lock" in place for place, _, _, _ in causes(sections[3].conflicts())),
           "a lock is known by its name")


check_instrument()
for workers in ("processes", "threads"):
    for number in (2, 4, 8):
        check_ephemeral(workers, number)
tap.done()
