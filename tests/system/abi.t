#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tests of tests/abi/ in the guest, on the RAM file system and on ptfs, with 1 and 2 CPUs.

Those of threads run built with glibc, too. Each must have passed on Linux: prove runs the same
binaries there. And again all of them where a mapping comes about in another way, which no program
may notice: by page faults alone (mount option nodaxvm), by attached tables wherever they fit (boot
parameter forceattach), and by copies of those tables in DRAM (shadow=always).
"""

import dataclasses
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import cpio, guest, tap
from lib.images import make_image
from lib.machine import BUILD, Config, Dimm

MARK = "## end of"


@dataclasses.dataclass
class Run:
    name: str
    folder: str
    cpus: int
    binaries: str = "abi"
    append: str = ""  # boot parameters
    before: str = "true"  # a command


REMOUNT = "umount /pmem && mount -t ptfs -o nodaxvm pmem0 /pmem"
RUNS = [Run("ramfs", "/tmp", 1), Run("ptfs", "/pmem", 2), Run("glibc", "/tmp", 2, "abi-glibc"),
        Run("nodaxvm", "/pmem", 2, before=REMOUNT),
        Run("forceattach", "/pmem", 2, append="forceattach"),
        Run("shadows", "/pmem", 2, append="forceattach shadow=always")]


def families_in(binaries):
    return sorted(path.name for path in (BUILD / binaries).glob("*_test"))


def run_families(how, image):
    """All families in one boot. Each ends with a line that tells its status."""
    families = families_in(how.binaries)
    script = how.before + "; " + "; ".join(
        f'TMPDIR={how.folder} /put/{family}; echo "{MARK} {family} $?"' for family in families)
    files = {f"put/{family}": cpio.host_file(BUILD / how.binaries / family) for family in families}
    config = Config(smp=how.cpus, files=files, dimms=[Dimm(image)], append=how.append)
    output = []
    script += f'; echo "{MARK} all"; grep -E "attach_|shadow_" /proc/daxvm/stat'
    tap.attempt(f"{how.name}: the guest ended in order", guest.run, config, script, 180,
                output.append)
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


def attached(output):
    """Units of files' tables that were attached while all ran."""
    return sum(int(n) for n in re.findall(r"^attach_(?:pte|pmd|pud|leaf|direct)\S* +(\d+)",
                                          output.partition(f"{MARK} all")[2], re.MULTILINE))


def copied(output):
    """Pages of files' tables that were copied to DRAM."""
    return int(re.search(r"^shadow_made +(\d+)", output, re.MULTILINE)[1])


counts = {}
copies = {}
with make_image("64M") as ptfs_image:
    for run in RUNS:
        text = run_families(run, ptfs_image)
        report(run.name, families_in(run.binaries), text)
        counts[run.name] = attached(text)
        copies[run.name] = copied(text)
tap.diag(f"units attached: {counts}")
tap.equal(counts["nodaxvm"], 0, "nodaxvm: nothing was attached")
tap.ok(counts["forceattach"] > counts["ptfs"] > 0, "forceattach: more was attached", str(counts))
tap.diag(f"table pages copied to DRAM: {copies}")
tap.ok(copies["shadows"] > 0 == copies["forceattach"], "shadow=always: tables were copied",
       str(copies))
tap.done()
