#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ptfs-fuse: an image mounted on Linux. A source tree goes in and out by `cp -a`, and dax64 boots
with the image that FUSE has filled. Without a usable /dev/fuse it is skipped; the operations
themselves are tested by tests/host/ptfs_fuse_test.c."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import run_tool
from lib.machine import BUILD, Config, Dimm

TREE = ["fs", "user", "docs"]


def listing(folder):
    """What `cp -a` keeps, of everything in the folder."""
    result = []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        st = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        result.append((str(path.relative_to(folder)), st.st_mode, st.st_uid, st.st_gid,
                       st.st_mtime_ns, hashlib.md5(content).hexdigest()))
    return result


def mount(image, folder):
    """The server's process, or None and why not."""
    server = subprocess.Popen([str(BUILD / "bin" / "ptfs-fuse"), str(image), str(folder), "-f"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(100):
        if server.poll() is not None:
            return None, server.stdout.read().decode().strip()
        if os.path.ismount(folder):
            return server, None
        time.sleep(0.05)
    server.kill()
    return None, "the mount does not appear"


def unmount(server, folder):
    subprocess.run(["fusermount3", "-u", str(folder)], check=True)
    return server.wait(20)


def round_trip(folder, image, mounted):
    server, why = mount(image, mounted)
    if not server:
        tap.skip("cp -a in and out", why)
        return
    try:
        subprocess.run(["cp", "-a", *TREE, str(mounted)], check=True)
        (mounted / "note").write_text("filled by FUSE\n")
        os.link(mounted / "note", mounted / "again")
        os.rename(mounted / "again", mounted / "moved")
        subprocess.run(["cp", "-a", str(mounted / "fs"), str(folder / "out")], check=True)
        tap.equal(listing(folder / "out"), listing("fs"), "cp -a in and out")
        tap.equal((mounted / "moved").stat().st_nlink, 2, "links")
    finally:
        status = unmount(server, mounted)
    tap.equal(status, 0, "unmounted")
    tap.equal(run_tool("fsck.ptfs", "-fn", image, check=False).returncode, 0, "fsck is content")
    guest = run(Config(dimms=[Dimm(str(image))]),
                "cat /pmem/note; cd /pmem/fs && find . -type f -exec cat {} + | wc -c")
    total = sum(path.stat().st_size for path in pathlib.Path("fs").rglob("*") if path.is_file())
    tap.equal(guest.output.replace("\r", "").split("\n")[:2], ["filled by FUSE", str(total)],
              "dax64 boots with it")


if not (BUILD / "bin" / "ptfs-fuse").exists():
    tap.skip("ptfs-fuse", "not built: run `tools/deps fuse`")
elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
    tap.skip("ptfs-fuse", "/dev/fuse is not there")
else:
    with tempfile.TemporaryDirectory(prefix="dax64-") as scratch:
        FOLDER = pathlib.Path(scratch)
        (FOLDER / "mnt").mkdir()
        run_tool("mkfs.ptfs", "-s", "64M", FOLDER / "pmem.img")
        tap.attempt("round trip", round_trip, FOLDER, FOLDER / "pmem.img", FOLDER / "mnt")
tap.done()
