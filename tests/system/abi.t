#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tests of tests/abi/ in the guest, on the RAM file system and on ptfs, with 1 and 2 CPUs.

Each must have passed on Linux: prove runs the same binaries there.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import cpio, guest, tap
from lib.images import make_image
from lib.machine import BUILD, Config, Dimm

FAMILIES = sorted(path.name for path in (BUILD / "abi").glob("*_test"))
RUNS = [("ramfs", "/tmp", 1), ("ptfs", "/pmem", 2)]
MARK = "## end of"


def run_families(name, folder, cpus, image):
    """All families in one boot. Each ends with a line that tells its status."""
    script = "; ".join(f'TMPDIR={folder} /put/{family}; echo "{MARK} {family} $?"'
                       for family in FAMILIES)
    files = {f"put/{family}": cpio.host_file(BUILD / "abi" / family) for family in FAMILIES}
    config = Config(smp=cpus, files=files, dimms=[Dimm(image)])
    output = []
    tap.attempt(f"{name}: the guest ended in order", guest.run, config, script, 120, output.append)
    return b"".join(output).decode("latin-1")


def report(name, output):
    """The results of every family; one that did not end fails."""
    lines = output.splitlines()
    for family in FAMILIES:
        end = next((n for n, line in enumerate(lines) if line.startswith(f"{MARK} {family}")), None)
        own, lines = (lines, []) if end is None else (lines[:end], lines[end + 1:])
        complete = tap.forward(own, f"{name} {family}: ")
        tap.ok(complete and end is not None, f"{name} {family}: ran to its end",
               "\n".join(own[-5:]))


with make_image("64M") as ptfs_image:
    for run_name, run_folder, run_cpus in RUNS:
        report(run_name, run_families(run_name, run_folder, run_cpus, ptfs_image))
tap.done()
