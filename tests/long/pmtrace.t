#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A whole system, seen by its stores: each store into the DIMM, by kernel and user, is traced by a
QEMU plugin. Replayed over the image it started with they give the image it ended with, so the trace
is complete; and each store of the kernel was made by drivers/nvdimm/pmem.c or pmem.h. The trace has
write-backs and fences, too: at a sample of the fences, what a power failure could have left is
mounted at another address by the host's ptfs, and checked (tests/crash/replay.c)."""

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

RECORD = struct.Struct("<QQ16sHHI")
STORE, STORE_NT, FLUSH, FENCE = range(4)
KERNEL_HALF = 1 << 63
COMMAND = """cd /pmem
for i in 1 2 3 4 5 6 7 8; do cp /bin/maptour f$i; mkdir d$i; mv f$i d$i/g; done
dd if=/dev/zero of=big bs=64k count=40 2>/dev/null; ln d1/g l; ln -s d1 s; rm -r d2 d3; : >d4/g
echo word >>d5/g; rm big; sync
writeloop w 10 >log && writeloop -c w <log"""


def makers(addresses):
    """For each address in the kernel the functions whose code it is, the innermost of what the
    compiler has put in line first: lists of (function, place in the source)."""
    out = subprocess.run(["addr2line", "-aife", KERNEL], input="\n".join(map(hex, addresses)),
                         capture_output=True, text=True, check=True).stdout
    found = {}
    lines = iter(out.splitlines())
    for line in lines:
        if line.startswith("0x"):
            frames = found[int(line, 16)] = []
        else:
            frames.append((line, next(lines)))
    return found


def is_pmem(frames):
    """A pmem function, or the loop below pmem_copy_from_user_nt, in uaccess."""
    return any("drivers/nvdimm/pmem." in place or function == "copy_from_user_nt"
               for function, place in frames)


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    image, before, trace = folder / "pm.img", folder / "before.img", folder / "trace"
    images.run_tool("mkfs.ptfs", "-s", "32M", image)
    shutil.copy(image, before)
    plugin = f"{BUILD}/pmtrace.so,image={image},out={trace}"
    # One instruction a translation block: else the plugin sees wrong registers.
    config = Config(dimms=[Dimm(str(image))], extra=["-singlestep", "-plugin", plugin])
    done = guest.run(config, COMMAND, timeout=600)
    replayed = bytearray(before.read_bytes())
    by_pc, kinds = collections.Counter(), collections.Counter()
    with open(trace, "rb") as file:
        for pc, offset, value, size, kind, _ in RECORD.iter_unpack(file.read()):
            kinds[kind] += 1
            if kind in (STORE, STORE_NT):
                replayed[offset:offset + size] = value[:size]
                by_pc[pc] += 1
    tap.equal(done.status, 0, "the guest did its work")
    tap.ok(sum(by_pc.values()) > 1000, "stores were traced")
    tap.ok(kinds[STORE_NT] > 1000 and kinds[FLUSH] > 1000 and kinds[FENCE] > 1000,
           "non-temporal ones, write-backs and fences, too", dict(kinds))
    tap.ok(bytes(replayed) == image.read_bytes(), "replayed, they give the image")
    frames = makers([pc for pc in by_pc if pc >= KERNEL_HALF])
    strangers = {chain[0]: by_pc[pc] for pc, chain in frames.items() if not is_pmem(chain)}
    tap.ok(not strangers, "no store of the kernel bypasses the pmem functions", strangers)
    kernel = sum(count for pc, count in by_pc.items() if pc >= KERNEL_HALF)
    programs = sum(by_pc.values()) - kernel
    tap.diag(f"{kernel} stores by the kernel, {programs} by programs")
    tap.ok(programs > 1000, "programs stored through mappings, too", programs)
    crash = subprocess.run([str(BUILD / "crash/replay"), before, trace, "--every", "16"],
                           capture_output=True, text=True, timeout=1200, check=False)
    figures = [line[2:] for line in crash.stdout.splitlines() if line.startswith("# ")]
    tap.diag("\n".join(figures))
    tap.ok(crash.returncode == 0 and "not ok" not in crash.stdout,
           "what a power failure leaves mounts at another address and is sound",
           crash.stdout[-2000:] + crash.stderr[-2000:])
    blind = subprocess.run([str(BUILD / "crash/replay"), before, trace, "--every", "64", "--blind"],
                           capture_output=True, text=True, timeout=1200, check=False)
    tap.ok("not ok 1" in blind.stdout, "without its write-backs it would not")
tap.done()
