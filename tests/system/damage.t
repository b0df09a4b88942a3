#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kernel is given each damaged image that fsck.ptfs is tested with: it may refuse to mount it
or to read this or that, and neither panics nor hangs. Fifteen images at a time are the DIMMs of one
machine; afterwards fsck.ptfs repairs each of them, and finds nothing in a second run."""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import run_tool
from lib.machine import BUILD, Config, Dimm

MAKER = BUILD / "host" / "ptfs_repair_test"

# Whatever is mounted: look at all of it, read it, change it.
SCRIPT = """
for d in /pmem /pmem[0-9]*; do
  [ -d $d ] || continue
  ls -lR $d
  find $d -type f -size -400k -exec cat {} +
  head -c 300000 $d/huge
  mkdir $d/new; echo new >$d/new/file; cp $d/paged $d/new/copy
  rm -r $d/other
done >/dev/null 2>&1
sync
echo survived
"""


def boot(group):
    guest = run(Config(mem="256M", dimms=[Dimm(path, addr=addr) for path, addr in group]), SCRIPT)
    tap.ok("survived" in guest.output, "the script comes to its end", guest.log)
    tap.ok("panic" not in guest.log.lower(), "no panic", guest.log)
    boot.mounted += guest.log.count(": mounted")


boot.mounted = 0


def repair(name, path):
    first = run_tool("fsck.ptfs", "-fy", path, check=False)
    second = run_tool("fsck.ptfs", "-fn", path, check=False)
    tap.ok(first.returncode in (0, 1) and second.returncode == 0, f"{name}: repaired",
           f"{first.returncode}, {second.returncode}\n{first.stdout}{second.stdout}")


with tempfile.TemporaryDirectory(prefix="dax64-") as folder:
    listed = subprocess.check_output([str(MAKER), "--write", folder], text=True).splitlines()
    images = [(name, f"{folder}/{name}.img", addr) for name, addr in map(str.split, listed)]
    by_place = sorted({addr for *_, addr in images}, key=lambda addr: int(addr, 16))
    groups = []
    for place in by_place:
        for number, image in enumerate(image for image in images if image[2] == place):
            while len(groups) <= number:
                groups.append([])
            groups[number].append(image)
    for number, members in enumerate(groups):
        tap.attempt(f"machine {number} goes on", boot, [image[1:] for image in members])
    tap.ok(boot.mounted > len(images) // 2, f"{boot.mounted} of {len(images)} are mounted")
    for name, path, _ in images:
        repair(name, path)
tap.done()
