#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Persistent memory on machines of every shape: which regions there are, in which state, and that a
file system that may not be written is not."""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.machine import BUILD, Config, Dimm

ARMED, LINE = "ready", r"write-back by (\S+)"


def image(folder, name, size="64M"):
    """A small ptfs image with one known file."""
    path, tree = folder / name, folder / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "hello").write_text("hello from the host\n")
    subprocess.run([BUILD / "bin/mkfs.ptfs", "-s", size, "-d", tree, path], check=True,
                   stdout=subprocess.DEVNULL)
    return str(path)


def regions(text):
    """/proc/pmem as a dict: name -> (in use, state)."""
    rows = [line.split(None, 6) for line in text.splitlines()[1:]]
    return {row[0]: (row[4], row[6]) for row in rows}


def write_back(log):
    import re
    found = re.search(LINE, log)
    return found.group(1) if found else None


def test_no_dimm():
    guest = run(Config(), "cat /proc/pmem; ls /pmem")
    tap.equal(guest.status, 0, "no DIMM: the shell works")
    tap.equal(len(guest.output.splitlines()), 1, "no DIMM: /proc/pmem has only its head")


def test_one(folder):
    guest = run(Config(dimms=[Dimm(image(folder, "one.img"))]),
                "cat /pmem/hello; cat /proc/pmem; grep -c pmem0 /proc/iomem")
    tap.ok(guest.output.startswith("hello from the host\n"), "one DIMM: mounted at /pmem",
           guest.output + guest.log)
    tap.equal(regions(guest.output.split("\n", 1)[1]).get("pmem0"), ("yes", ARMED),
              "one DIMM: in use and ready")
    tap.equal(guest.output.splitlines()[-1], "1", "one DIMM: in /proc/iomem")
    tap.equal(write_back(guest.log), "CLWB", "one DIMM: write-back by CLWB")


def test_unarmed(folder):
    path = image(folder, "unarmed.img")
    before = pathlib.Path(path).read_bytes()
    guest = run(Config(dimms=[Dimm(path, unarmed=True)]),
                "cat /pmem/hello; echo x >/pmem/new; echo $?; echo x >>/pmem/hello; mkdir /pmem/d;"
                "rm /pmem/hello; cat /pmem/hello; cat /proc/pmem")
    tap.ok("read-only: not armed" in guest.output, "unarmed: /proc/pmem says so", guest.output)
    tap.equal(guest.output.count("Read-only file system"), 4, "unarmed: each write gives EROFS")
    tap.equal(guest.output.count("hello from the host"), 2, "unarmed: reading works")
    tap.ok(pathlib.Path(path).read_bytes() == before, "unarmed: the image is untouched")


def test_persistence(folder):
    for promise, expected in (("cpu", "none:"), ("mem-ctrl", "CLWB")):
        path = image(folder, f"{promise}.img")
        guest = run(Config(dimms=[Dimm(path)], persistence=promise),
                    "cp /pmem/hello /pmem/copy && cat /pmem/copy")
        tap.equal(write_back(guest.log), expected, f"nvdimm-persistence={promise}: write-back")
        tap.equal(guest.output, "hello from the host\n", f"nvdimm-persistence={promise}: writes")


def test_two(folder):
    dimms = [Dimm(image(folder, "first.img")), Dimm(image(folder, "second.img"))]
    guest = run(Config(dimms=dimms),
                "cat /proc/pmem; dmesg | grep -c 'pmem1.*written for'")
    table = regions(guest.output)
    tap.equal(table.get("pmem0"), ("yes", ARMED), "two DIMMs: the first is mounted")
    tap.equal((table.get("pmem1") or ("", ""))[1], ARMED, "two DIMMs: the second is a region")


def test_unaligned(folder):
    dimms = [Dimm(image(folder, "label.img"), label="128K"), Dimm(image(folder, "behind.img"))]
    guest = run(Config(dimms=dimms), "cat /proc/pmem; mount -t ptfs pmem1 /tmp; echo $?")
    tap.equal(regions(guest.output).get("pmem1"), ("no", "unused: base not 2 MiB aligned"),
              "behind a label area: listed and refused")
    tap.ok("pmem1 cannot be mounted: unused: base not 2 MiB aligned" in guest.log,
           "behind a label area: mount tells why", guest.log)


def test_carved():
    guest = run(Config(append="pmem=32M@0x10000000 pmem=16M@0x12000000 pmem=2M@0x200000"),
                "cat /proc/pmem; mkdir /tmp/p; mkfs.ptfs /dev/pmem0 2>&1; true")
    table = regions(guest.output)
    tap.equal(sorted(name for name in table if name.startswith("pmem")), ["pmem0", "pmem1"],
              "carved: two regions")
    tap.ok("'2M@0x200000': not free RAM" in guest.log, "carved: the kernel's own RAM is refused")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tap.attempt("no DIMM", test_no_dimm)
        for test in (test_one, test_unarmed, test_persistence, test_two, test_unaligned):
            tap.attempt(test.__name__[5:], test, folder)
        tap.attempt("carved", test_carved)
    tap.done()


main()
