#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Persistent memory on machines of every shape: which regions there are, in which state, and that
what may not be written is not."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import check_image, make_image
from lib.machine import Config, Dimm

HELLO = {"hello": b"hello from the host\n"}


def regions(text):
    """/proc/pmem as a dict: name -> (in use, state)."""
    rows = [line.split(None, 6) for line in text.splitlines() if re.match(r"pmem\d+ ", line)]
    return {row[0]: (row[4], row[6]) for row in rows}


def write_back(log):
    found = re.search(r"write-back by (\S+)", log)
    return found.group(1) if found else None


def no_dimm():
    guest = run(Config(), "cat /proc/pmem; ls /pmem")
    tap.equal(guest.status, 0, "no DIMM: the shell works")
    tap.equal(len(guest.output.splitlines()), 1, "no DIMM: /proc/pmem has only its head")


def one_dimm():
    with make_image(files=HELLO) as image:
        guest = run(Config(dimms=[Dimm(image)]),
                    "cat /pmem/hello; cat /proc/pmem; grep -c pmem0 /proc/iomem")
    tap.ok(guest.output.startswith("hello from the host\n"), "one DIMM: mounted at /pmem",
           guest.output + guest.log)
    tap.equal(regions(guest.output), {"pmem0": ("yes", "ready")}, "one DIMM: in use and ready")
    tap.equal(guest.output.splitlines()[-1], "1", "one DIMM: in /proc/iomem")
    tap.equal(write_back(guest.log), "CLWB", "one DIMM: write-back by CLWB")


def unarmed():
    """QEMU drops stores to a read-only backend silently: the kernel must not even try."""
    with make_image(files=HELLO) as image:
        before = pathlib.Path(image).read_bytes()
        guest = run(Config(dimms=[Dimm(image, unarmed=True)]),
                    "cat /pmem/hello; echo x >/pmem/new; echo x >>/pmem/hello; mkdir /pmem/d;"
                    "rm -f /pmem/hello; cat /pmem/hello; cat /proc/pmem")
        tap.ok(pathlib.Path(image).read_bytes() == before, "unarmed: the image is untouched")
    tap.ok("read-only: not armed" in guest.output, "unarmed: /proc/pmem says so", guest.output)
    tap.equal(guest.output.count("Read-only file system"), 4, "unarmed: each write gives EROFS")
    tap.equal(guest.output.count("hello from the host"), 2, "unarmed: reading works")


def persistence(promise, expected):
    name = f"nvdimm-persistence={promise}"
    with make_image(files=HELLO) as image:
        guest = run(Config(dimms=[Dimm(image)], persistence=promise),
                    "cp /pmem/hello /pmem/copy && cat /pmem/copy")
    tap.equal(write_back(guest.log), expected, f"{name}: write-back by {expected}")
    tap.equal(guest.output, "hello from the host\n", f"{name}: writes")


def two_dimms():
    """The second image was made for the first address: it is moved to its own, and says so."""
    with make_image(files=HELLO) as first, make_image(files=HELLO) as second:
        guest = run(Config(dimms=[Dimm(first), Dimm(second)]),
                    "cat /proc/pmem; cat /pmem/hello /pmem1/hello")
    tap.equal(regions(guest.output), {"pmem0": ("yes", "ready"), "pmem1": ("yes", "ready")},
              "two DIMMs: both are regions, both are mounted")
    tap.equal(guest.output.splitlines()[-2:], ["hello from the host"] * 2,
              "two DIMMs: the file is on both")
    tap.ok(re.search(r"pmem1.*0x100000000.*0x104000000", guest.log),
           "two DIMMs: the second was moved, both addresses in the log", guest.log)


def two_mounts():
    """Each at its own address: both are mounted, and files move between them."""
    with make_image(files=HELLO) as first, make_image(base="0x104000000") as second:
        guest = run(Config(dimms=[Dimm(first), Dimm(second)]),
                    "cp /pmem/hello /pmem1/copy; mv /pmem/hello /pmem1/moved; sync;"
                    "cat /pmem1/copy /pmem1/moved; ls /pmem | wc -l; ln /pmem1/copy /pmem/x")
        for image in (first, second):
            tap.equal(check_image(image), None, "two mounts: the image is sound afterwards")
    tap.equal(guest.output.splitlines()[:3], ["hello from the host"] * 2 + ["0"],
              "two mounts: /pmem and /pmem1")
    tap.ok("Invalid cross-device link" in guest.output, "two mounts: no link across (EXDEV)",
           guest.output)


def unaligned():
    with make_image(files=HELLO) as first, make_image(files=HELLO) as second:
        guest = run(Config(dimms=[Dimm(first, label="128K"), Dimm(second)]),
                    "cat /proc/pmem; mount -t ptfs pmem1 /tmp; echo $?")
    why = "unused: base not 2 MiB aligned"
    tap.equal(regions(guest.output).get("pmem1"), ("no", why), "behind a label area: listed")
    tap.ok(guest.output.splitlines()[-1] != "0", "behind a label area: not mounted", guest.output)
    tap.ok(f"pmem1: cannot be mounted: {why}" in guest.log,
           "behind a label area: the log tells why", guest.log)


def carved():
    guest = run(Config(append="pmem=32M@0x10000000 pmem=16M@0x12000000 pmem=2M@0x200000"),
                "cat /proc/pmem; grep -c pmem /proc/iomem")
    tap.equal(sorted(regions(guest.output)), ["pmem0", "pmem1"], "carved: two regions")
    tap.ok("'2M@0x200000': not free RAM" in guest.log, "carved: the kernel's own RAM is refused",
           guest.log)


def carved_and_formatted():
    """Nothing else can be put there before it is looked for: so the stress programs ran in Bochs
    for weeks on the RAM file system that lies under an empty /pmem."""
    guest = run(Config(append="pmem=32M@0x10000000 format"),
                "grep /pmem /proc/mounts; cp /bin/busybox /pmem/b && cmp /bin/busybox /pmem/b &&"
                "umount /pmem && mount -t ptfs pmem0 /pmem && ls /pmem")
    tap.equal(guest.output.splitlines(), ["pmem0 /pmem ptfs rw 0 0", "b"],
              "carved and formatted: files stay")


def unmount():
    """An open file keeps it mounted; afterwards it is clean, and can be mounted again."""
    with make_image(files=HELLO) as image:
        guest = run(Config(dimms=[Dimm(image)]),
                    "exec 3</pmem/hello; rm /pmem/hello; umount /pmem; echo $?; cat <&3; exec 3<&-;"
                    "umount /pmem && echo gone; ls /pmem; mount -t ptfs pmem0 /pmem && ls /pmem;"
                    "mount -t ptfs pmem0 /tmp; echo $?")
    lines = guest.output.splitlines()
    tap.ok("busy" in lines[0].lower() and lines[1] != "0", "unmount with an open file: EBUSY",
           guest.output)
    tap.ok("hello from the host" in lines, "an unlinked file is there while it is open",
           guest.output)
    tap.ok("gone" in lines, "unmount when nothing is open", guest.output)
    tap.equal(guest.log.count("unmounted, clean"), 2, "clean each time, by poweroff too")
    tap.ok(lines[-1] != "0", "a region is mounted once only", guest.output)


for test in (no_dimm, one_dimm, unarmed, two_dimms, two_mounts, unaligned, carved,
             carved_and_formatted, unmount):
    tap.attempt(test.__name__, test)
tap.attempt("persistence cpu", persistence, "cpu", "none:")
tap.attempt("persistence mem-ctrl", persistence, "mem-ctrl", "CLWB")
tap.done()
