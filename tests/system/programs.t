#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs written for DaxVM's published header, unchanged, on a mount point of their choice: the
results are right, and the counters say that tables were attached."""

import pathlib
import random
import re
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import cpio, guest, tap
from lib.images import make_image
from lib.machine import BUILD, Config, Dimm

PLACE = "/mnt/nvmm1"
SIZES = [100, 5000, 32768, 65536, 200000, 3 << 20]
FILES = {f"data/{i}": random.Random(i).randbytes(SIZES[i % len(SIZES)]) for i in range(12)}
THREADS, ROUNDS, CPUS = 3, 20, 2
OWN_PAGES = 100  # more than any of these programs has
TIMES = 500
PIECES = [("small", 1 << 20, 4096), ("large", 8 << 20, 1 << 16)]
COMMANDS = ([f"scan @/data {THREADS} {ROUNDS}"]
            + [f"rewrite @/{name} {size} {piece}" for name, size, piece in PIECES]
            + [f"lookup @/{name} {TIMES}" for name, _, _ in PIECES])


MASK = (1 << 64) - 1


def scanned():
    total = sum(sum(struct.unpack_from(f"<{len(c) // 8}Q", c)) for c in FILES.values())
    return f"{len(FILES)} files, sum {total & MASK:#x}"


def looked_up(size):
    """What rewrite wrote: at each multiple of 16, this multiple as four 32-bit words."""
    state, total = 88172645463325252, 0
    for _ in range(TIMES):
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        for word in range(512):
            offset = state % (size // 4096) * 4096 + word * 8 & ~15
            total = total * 31 + (offset << 32 | offset) & MASK
    return f"sum {total:#x}"


def right():
    return ([scanned()] + [f"{size} bytes" for _, size, _ in PIECES]
            + [looked_up(size) for _, size, _ in PIECES])


def in_guest():
    """(what it printed, the counters that it changed) per command"""
    script = f"umount /pmem && mkdir -p {PLACE} && mount -t ptfs pmem0 {PLACE}; "
    script += "; ".join(f"cat /proc/daxvm/stat; echo '## {c}'; /put/{c.replace('@', PLACE)}; "
                        "echo '## end'" for c in COMMANDS) + "; cat /proc/daxvm/stat"
    names = {c.split()[0] for c in COMMANDS}
    files = {f"put/{name}": cpio.host_file(BUILD / "programs" / name) for name in names}
    with make_image("128M", FILES) as image:
        config = Config(smp=CPUS, files=files, dimms=[Dimm(image)])
        output = guest.run(config, script).output
    parts = re.split(r"^## .*\n", output, flags=re.MULTILINE)
    stats = [{name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)", part, re.MULTILINE)}
             for part in parts[::2]]
    changes = [{name: after[name] - before[name] for name in before}
               for before, after in zip(stats, stats[1:])]
    return [(printed.strip(), change) for printed, change in zip(parts[1::2], changes)]


def few_faults(what, counts):
    """The program's own text and data are pages of a file, too. What it maps has 256 at least."""
    faults = counts["fault_file_4k"] + counts["fault_file_2m"]
    tap.ok(faults < OWN_PAGES, f"{what}: no fault on what it maps", f"{faults} faults")


def judge(results):
    for command, expected, (printed, _) in zip(COMMANDS, right(), results):
        tap.equal(printed, expected, command)
    scan = results[0][1]
    maps = len(FILES) * THREADS * ROUNDS
    tap.equal(scan["arena_maps"] + scan["arena_warm"], maps,
              f"scan: each of {maps} mappings was ephemeral")
    few_faults("scan", scan)
    # A thread that ends gives its stack back, which other CPUs may have to be told: once for each.
    # (This once demanded 0, and failed when a thread ended while another one ran.)
    tap.ok(scan["shootdown_ipis"] <= THREADS * CPUS, "scan: no CPU was interrupted by a mapping",
           scan["shootdown_ipis"])
    for n, (name, size, _) in enumerate(PIECES):
        for what, counts in (("rewrite", results[1 + n][1]), ("lookup", results[3 + n][1])):
            attached = sum(counts[f"attach_{unit}"] for unit in
                           ("pte_page", "pmd_page", "leaf_2m", "direct"))
            tap.equal(attached, 1, f"{what} {name}: one table for {size >> 20} MiB")
            few_faults(f"{what} {name}", counts)


def main():
    results = []
    tap.attempt("the programs run", lambda: results.extend(in_guest()))
    if results:
        judge(results)
    tap.done()


main()
