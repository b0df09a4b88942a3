#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tests of tests/abi/ in the guest, on the RAM file system and on ptfs, with 1 and 2 CPUs.

Those of threads run built with glibc, too. Each must have passed on Linux: prove runs the same
binaries there.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import cpio, guest, tap
from lib.images import make_image
from lib.machine import BUILD, Config, Dimm

RUNS = [("ramfs", "/tmp", 1, "abi"), ("ptfs", "/pmem", 2, "abi"), ("glibc", "/tmp", 2, "abi-glibc")]
MARK = "## end of"


def families_in(binaries):
    return sorted(path.name for path in (BUILD / binaries).glob("*_test"))


def run_families(name, folder, cpus, binaries, image):
    """All families in one boot. Each ends with a line that tells its status."""
    families = families_in(binaries)
    script = "; ".join(f'TMPDIR={folder} /put/{family}; echo "{MARK} {family} $?"'
                       for family in families)
    files = {f"put/{family}": cpio.host_file(BUILD / binaries / family) for family in families}
    config = Config(smp=cpus, files=files, dimms=[Dimm(image)])
    output = []
    tap.attempt(f"{name}: the guest ended in order", guest.run, config, script, 180, output.append)
    return b"".join(output).decode("latin-1")


def report(name, families, output):
    """The results of every family; one that did not end fails."""
    lines = output.splitlines()
    for family in families:
        end = next((n for n, line in enumerate(lines) if line.startswith(f"{MARK} {family}")), None)
        own, lines = (lines, []) if end is None else (lines[:end], lines[end + 1:])
        complete = tap.forward(own, f"{name} {family}: ")
        tap.ok(complete and end is not None, f"{name} {family}: ran to its end",
               "\n".join(own[-5:]))


with make_image("64M") as ptfs_image:
    for run_name, run_folder, run_cpus, run_binaries in RUNS:
        report(run_name, families_in(run_binaries),
               run_families(run_name, run_folder, run_cpus, run_binaries, ptfs_image))
tap.done()
