#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What it costs to map a file of 64 GiB, one block in each 2 MiB of it, against one of 64 KiB:
exact instruction counts, by attaching the file's own table."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import cpio, guest, tap
from lib.images import make_image
from lib.machine import BUILD, Config, Dimm

SIZES = [64 << 10, 512 << 20, 64 << 30]
MARGIN = 0.05


def measure():
    script = "; ".join(f"/put/large /pmem/f{n} {size}" for n, size in enumerate(SIZES))
    script += "; rm /pmem/f2; df /pmem"
    with make_image("1G") as image:
        config = Config(dimms=[Dimm(image)], icount=True,
                        files={"put/large": cpio.host_file(BUILD / "programs" / "large")})
        result = guest.run(config, script, timeout=240)
    assert result.status == 0, result.output + result.log
    tap.diag(result.output)
    return [[int(n) for n in line.split(",")] for line in result.output.splitlines()[:len(SIZES)]]


def main():
    rows = []
    tap.attempt("files of 64 KiB, 512 MiB and 64 GiB are mapped", lambda: rows.extend(measure()))
    for size, mapped, unmapped, faults in rows[1:]:
        name = f"{size >> 20} MiB"
        tap.equal(faults, 0, f"{name}: no fault")
        for what, cost, small in (("map", mapped, rows[0][1]), ("unmap", unmapped, rows[0][2])):
            # It may cost less: a unit of 2 MiB needs more private tables above it.
            tap.ok(cost <= (1 + MARGIN) * small, f"{name}: {what} costs no more than 64 KiB",
                   f"{cost} instructions, {small} for 64 KiB")
    tap.done()


main()
