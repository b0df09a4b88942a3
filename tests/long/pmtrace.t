#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A whole system, seen by its stores: each store into the DIMM, by kernel and user, is traced by a
QEMU plugin. Replayed over the image it started with they give the image it ended with, so the trace
is complete; and each store of the kernel was made by drivers/nvdimm/pmem.c."""

import bisect
import collections
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import guest, images, tap
from lib.machine import BUILD, KERNEL, Config, Dimm

RECORD = struct.Struct("<QQ16sII")
KERNEL_HALF = 1 << 63
COMMAND = """cd /pmem
for i in 1 2 3 4 5 6 7 8; do cp /bin/maptour f$i; mkdir d$i; mv f$i d$i/g; done
dd if=/dev/zero of=big bs=64k count=40 2>/dev/null; ln d1/g l; ln -s d1 s; rm -r d2 d3; : >d4/g
echo word >>d5/g; rm big; sync"""


def functions():
    """All symbols of the kernel by address, and the names of the functions of pmem.c."""
    out = subprocess.run(["nm", "-n", KERNEL], capture_output=True, text=True, check=True).stdout
    symbols = [(int(line.split()[0], 16), line.split()[2]) for line in out.splitlines()]
    own = subprocess.run(["nm", str(BUILD / "k/drivers/nvdimm/pmem.o")], capture_output=True,
                         text=True, check=True).stdout
    return symbols, {line.split()[-1] for line in own.splitlines() if line.split()[-2] in "tT"}


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    image, before, trace = folder / "pm.img", folder / "before.img", folder / "trace"
    images.run_tool("mkfs.ptfs", "-s", "32M", image)
    shutil.copy(image, before)
    plugin = f"{BUILD}/pmtrace.so,image={image},out={trace}"
    config = Config(dimms=[Dimm(str(image))], extra=["-plugin", plugin])
    done = guest.run(config, COMMAND, timeout=300)
    replayed = bytearray(before.read_bytes())
    by_pc = collections.Counter()
    with open(trace, "rb") as file:
        for pc, offset, value, size, _ in RECORD.iter_unpack(file.read()):
            replayed[offset:offset + size] = value[:size]
            by_pc[pc] += 1
    tap.equal(done.status, 0, "the guest did its work")
    tap.ok(sum(by_pc.values()) > 1000, "stores were traced")
    tap.ok(bytes(replayed) == image.read_bytes(), "replayed, they give the image")
    symbols, allowed = functions()
    allowed.add("copy_from_user_nt")  # the loop below pmem_copy_from_user_nt, in uaccess
    starts = [address for address, _ in symbols]
    strangers = collections.Counter()
    for pc, count in by_pc.items():
        name = symbols[bisect.bisect(starts, pc) - 1][1]
        if pc >= KERNEL_HALF and name not in allowed:
            strangers[name] += count
    tap.ok(not strangers, "no store of the kernel bypasses the pmem functions", strangers)
    kernel = sum(count for pc, count in by_pc.items() if pc >= KERNEL_HALF)
    tap.diag(f"{kernel} stores by the kernel, {sum(by_pc.values()) - kernel} by programs")
tap.done()
