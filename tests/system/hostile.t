#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hostile images: entries that point where they must not. The page with such an entry is refused,
by read (EUCLEAN) and by every kind of mapping (SIGBUS), the log names inode and entry, and
everything else goes on.

Each victim is a file of its own whose entries were changed by `ptfs poke`. All are on one image,
which is mounted once clean (a page is verified when it is first used) and once after a power cut
(all are verified by the scan).
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import make_image, run_tool
from lib.machine import Config, Dimm

BASE, SIZE = 0x100000000, 64 << 20
EUCLEAN, SIGBUS = "Structure needs cleaning", 128 + 7

# What the file is called, the block and level of the entry, and how it is changed.
PAGED = [
    ("kernel-ram", 3, 1, ["address=0x300000"]),
    ("low-memory", 0, 1, ["address=0"]),
    ("outside", 3, 1, [f"address={BASE + SIZE:#x}"]),
    ("below", 3, 1, [f"address={BASE - 4096:#x}"]),
    ("superblock", 3, 1, [f"address={BASE:#x}"]),
    ("table-block", 3, 1, ["self"]),
    ("reserved-bits", 3, 1, ["set=0x8"]),
    ("no-execute", 3, 1, ["set=0x8000000000000000"]),
    ("global", 3, 1, ["set=0x100"]),
    ("supervisor", 3, 1, ["clear=0x4"]),
    ("unknown-tag", 3, 1, ["tag=5"]),
    ("tag-zero", 3, 1, ["tag=0"]),
    ("huge-bit", 3, 1, ["set=0x80"]),
    ("root-outside", 0, 2, ["address=0x7fff000"]),
    ("two-levels", 600, 2, ["self"]),
    ("two-files", 0, 2, ["entry=/other:0:2"]),
    ("claimed-twice", 3, 1, ["entry=/other:3:1"]),
]
DIRECT = [
    ("direct-kernel-ram", 1, 1, ["address=0x300000"]),
    ("direct-claimed-twice", 1, 1, ["entry=/other:5:1"]),
]
VICTIMS = PAGED + DIRECT
OTHER = bytes(range(256)) * 640  # 40 blocks


def content(name):
    return name.encode().ljust(64, b".") * (64 * (700 if name == "two-levels" else 40))


def make(image):
    for name, block, level, change in VICTIMS:
        run_tool("ptfs", "poke", image, f"/{name}", block, level, *change)


def script():
    """For each victim its three ways to be read, between marks; then what must go on."""
    lines = ["cat /pmem/other | md5sum"]
    for name, *_ in VICTIMS:
        path = f"/pmem/{name}"
        lines += [f"echo '== {name}'", f"cat {path} >/dev/null; echo read $?",
                  f"mapcat {path} >/dev/null; echo map $?",
                  f"mapcat -d {path} >/dev/null; echo daxvm $?"]
    lines += ["echo '== end'", "cat /pmem/other | md5sum", "cat /pmem/small",
              f"rm {' '.join('/pmem/' + name for name, *_ in VICTIMS)}; echo rm $?",
              "cat /bin/busybox /bin/busybox /bin/busybox >/pmem/new; sync",
              "mapcat -d /pmem/new | md5sum",
              "cat /bin/busybox /bin/busybox /bin/busybox | md5sum", "cat /pmem/other | md5sum"]
    return "\n".join(lines)


def check_victim(kind, name, text):
    tap.ok(EUCLEAN in text and "read 1" in text, f"{kind}: {name}: read gives EUCLEAN", text)
    tap.ok(f"map {SIGBUS}" in text, f"{kind}: {name}: touching a mapping gives SIGBUS", text)
    tap.ok(f"daxvm {SIGBUS}" in text, f"{kind}: {name}: touching an attached one, too", text)


def mount_and_look(kind, image):
    guest = run(Config(dimms=[Dimm(image)], append="loglevel=7"), script())
    parts = re.split(r"== (\S+)\r?\n", guest.output)
    for name, text in zip(parts[1:-2:2], parts[2:-2:2]):
        # After a scan it is the order of inodes that says which of two files is refused.
        if kind == "scanned" and name in ("two-files", "claimed-twice", "direct-claimed-twice"):
            tap.ok("read" in text, f"{kind}: {name}: the system goes on", text)
        else:
            check_victim(kind, name, text)
    rest = parts[-1].splitlines()
    sums = re.findall(r"[0-9a-f]{32}", guest.output)
    tap.ok("small file" in rest, f"{kind}: other files can be read", parts[-1])
    tap.ok("rm 0" in rest, f"{kind}: the victims can be removed", parts[-1])
    tap.ok(len(sums) == 5 and sums[2] == sums[3], f"{kind}: new files can be written", parts[-1])
    if kind == "clean":
        tap.ok(sums[0] == sums[1] == sums[4],
               f"{kind}: the file that was pointed into is unchanged", guest.output)
    refused = re.findall(r"ptfs pmem0: .*refused.*", guest.log)
    tap.ok(len(refused) >= len(VICTIMS) - 3, f"{kind}: the log names each", guest.log)
    tap.ok("panic" not in guest.log, f"{kind}: no panic")


files = {name: content(name) for name, *_ in PAGED}
files |= {name: content(name)[:20000] for name, *_ in DIRECT}
files |= {"other": OTHER, "small": b"small file\n"}
for way in ("clean", "scanned"):
    with make_image(files=files) as path:
        make(path)
        if way == "scanned":
            run_tool("ptfs", "unclean", path)
        tap.attempt(f"{way}: the guest survives", mount_and_look, way, path)
tap.done()
