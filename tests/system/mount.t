#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Mount options, as programs meet them: what mount(8) says, what /proc/mounts shows, what is read;
an image that needs recovery, mounted without it, stays as it is to the last byte; and recovery on
two CPUs."""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import run_tool
from lib.machine import Config, Dimm

# Prints the status, then what /proc/mounts says and the sum of a file.
SCRIPT = """
mkdir -p /m
m() {
  mount -t ptfs -o "$1" pmem0 /m 2>/dev/null; status=$?
  echo "$1: $status" $(grep ptfs /proc/mounts) $(md5sum /m/file 2>/dev/null)
  [ $status != 0 ] || umount /m
}
"""
REFUSED = ["ro", "norecovery", "nope", "addr=0x200000", "prezero=fast",
           "verify=some"]
AFTER = ["nodaxvm", "verify=full", "ro,verify=full", "rw,prezero=7", "nosuid,nodev,noexec,nodaxvm",
         "addr=0x100000000", "rw", "ro"]


def script(options):
    return SCRIPT + "".join(f"m {o}\n" for o in options)


def shown(options, way):
    left = ",".join(o for o in options.split(",") if o not in ("ro", "rw"))
    return f"pmem0 /m ptfs {way}{',' if left else ''}{left} 0 0"


with tempfile.TemporaryDirectory(prefix="dax64-") as folder:
    tree, image = pathlib.Path(folder, "tree"), f"{folder}/image"
    (tree / "many").mkdir(parents=True)
    (tree / "file").write_bytes(bytes(range(256)) * 777)
    for i in range(2000):
        (tree / "many" / str(i)).write_bytes(b"x" * (i * 40))
    run_tool("mkfs.ptfs", "-s", "256M", "-d", str(tree), image)
    run_tool("ptfs", "unclean", image)
    before = pathlib.Path(image).read_bytes()
    digest = subprocess.check_output(["md5sum", str(tree / "file")], text=True).split()[0]

    looking = REFUSED + ["ro,norecovery", "norecovery,ro,nodaxvm"]
    guest = run(Config(smp=2, dimms=[Dimm(image)], append="nomount"), script(looking))
    lines = guest.output.splitlines()
    for options, line in zip(looking, lines):
        if options in REFUSED:
            tap.equal(line, f"{options}: 255", f"{options} is refused")
        else:
            tap.equal(line, f"{options}: 0 {shown(options, 'ro')} {digest} /m/file",
                      f"{options} shows the file")
    tap.ok(pathlib.Path(image).read_bytes() == before, "nothing was written", guest.log)
    tap.equal(guest.log.count("ptfs:") + guest.log.count("is at 0x"), len(REFUSED) - 1,
              "each wrong option has its line in the log")
    tap.ok("ro,norecovery" in guest.log, "what was refused says how to look all the same")

    guest = run(Config(smp=2, dimms=[Dimm(image)], append="nomount"), script(AFTER))
    tap.equal(guest.log.count("scanning"), 1, "recovered by the first mount, clean from then on")
    for options, line in zip(AFTER, guest.output.splitlines()):
        way = "ro" if "ro" in options.split(",") else "rw"
        tap.equal(line, f"{options}: 0 {shown(options, way)} {digest} /m/file",
                  f"{options} is understood")
    check = run_tool("fsck.ptfs", "-fn", image, check=False)
    tap.ok(check.returncode == 0, "fsck is content", check.stdout)
tap.done()
