#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ptfs-fuse: an image mounted on Linux.

A tree goes in by `cp -a` and comes out by three ways (`cp -a` from the same mount, from the next
one, and `ptfs cp`) with modes, owners, times, links and holes. dax64 boots with the image that FUSE
has filled, reads all of it and adds to it. And the other way: the image of a running system is
copied while that system writes, which is a backup, and an unclean image; ptfs-fuse mounts the copy,
and what the system had said to be done by then is there.

At once after the copy into it, `cp -a` out of the same mount used to lose the hard links: to
libfuse each path is a file of its own, and the kernel remembered, for a second, the link count that
one name had before the other was made.

Without a usable /dev/fuse it is skipped; the operations themselves are tested by
tests/host/ptfs_fuse_test.c."""

import hashlib
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import run_tool
from lib.machine import BUILD, Config, Dimm, GuestError, Machine, patience

SOURCES = ["fs", "user", "docs"]


def make_tree(tree):
    """Sources of this project, and what they do not have."""
    tree.mkdir()
    for name in SOURCES:
        shutil.copytree(name, tree / name, symlinks=True)
    (tree / "empty").mkdir(mode=0o1777)
    (tree / "large").write_bytes(random.Random(1).randbytes(5 << 20))
    os.link(tree / "large", tree / "fs" / "large too")
    (tree / "link").symlink_to("fs/ptfs")
    (tree / "long link").symlink_to("far/" * 200 + "away")
    os.mkfifo(tree / "fifo", 0o620)
    with open(tree / "holes", "wb") as file:
        file.write(b"begin")
        file.seek(20 << 20)
        file.write(b"middle")
        file.truncate(40 << 20)
    (tree / ("n" * 255)).write_text("a long name\n")
    (tree / "setuid").write_text("#!/bin/sh\n")
    (tree / "setuid").chmod(0o4751)
    if os.geteuid() == 0:
        os.chown(tree / "fs" / "namei.c", 1234, 5678)
    number = 0
    for path in sorted(tree.rglob("*"), reverse=True):
        number += 1
        os.utime(path, ns=(1_650_000_000_000_000_000, 1_600_000_000_123_456_789 + number),
                 follow_symlinks=False)


def listing(folder):
    """What `cp -a` keeps, of everything in the folder; hard links as the first of their names."""
    result, first = [], {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        st = path.lstat()
        content = os.readlink(path) if path.is_symlink() else ""
        if stat.S_ISREG(st.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        name = str(path.relative_to(folder))
        size = 0 if stat.S_ISDIR(st.st_mode) else st.st_size
        links = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink
        result.append((name, oct(st.st_mode), links, st.st_uid, st.st_gid, size, st.st_mtime_ns,
                       first.setdefault(st.st_ino, name), content))
    return result


def same(got, expected, name):
    """Like tap.equal, but shows the differences only."""
    got, expected = set(got), set(expected)
    lines = [f"missing {line}" for line in sorted(expected - got)]
    lines += [f"is {line}" for line in sorted(got - expected)]
    return tap.ok(not lines, name, "\n".join(lines[:20]))


class Mount:
    """An image mounted by ptfs-fuse, as a context manager: gives the folder."""

    def __init__(self, image, folder):
        self.image, self.folder, self.server = image, folder, None

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        self.server = subprocess.Popen(
            [str(BUILD / "bin" / "ptfs-fuse"), str(self.image), str(self.folder), "-f"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        deadline = time.time() + 20 * patience()
        while not os.path.ismount(self.folder):
            if self.server.poll() is not None:
                raise RuntimeError(self.server.stdout.read().decode().strip())
            if time.time() > deadline:
                self.server.kill()
                raise RuntimeError("the mount does not appear")
            time.sleep(0.05)
        return self.folder

    def __exit__(self, *_):
        subprocess.run(["fusermount3", "-u", str(self.folder)], check=True)
        tap.equal(self.server.wait(20 * patience()), 0, "unmounted")


def copy(*words):
    subprocess.run(["cp", "-a", *map(str, words)], check=True)


def sound(image, name):
    done = run_tool("fsck.ptfs", "-fn", image, check=False)
    tap.ok(done.returncode == 0 and " 0 errors" in done.stdout, name, done.stdout)


def in_and_out(folder, tree, image):
    run_tool("mkfs.ptfs", "-s", "96M", image)
    expected = listing(tree)
    with Mount(image, folder / "mnt") as mounted:
        copy(f"{tree}/.", mounted)
        copy(f"{mounted}/.", folder / "same")
        same(listing(mounted), expected, "what is in the mount is what went in")
        blocks = (mounted / "holes").stat().st_blocks
        tap.ok(blocks <= 16, "holes stay holes", blocks)
        busy = run_tool("fsck.ptfs", "-fy", image, check=False)
        tap.equal(busy.returncode, 8, "fsck.ptfs keeps away from a mounted image")
        busy = run_tool("mkfs.ptfs", "-s", "96M", image, check=False)
        tap.ok(busy.returncode == 1 and "in use" in busy.stdout, "and so does mkfs.ptfs",
               busy.stdout)
    same(listing(folder / "same"), expected, "cp -a out of the same mount")
    sound(image, "fsck.ptfs is content")
    with Mount(image, folder / "mnt") as mounted:
        copy(f"{mounted}/.", folder / "next")
    same(listing(folder / "next"), expected, "cp -a out of the next mount")
    run_tool("ptfs", "cp", image, ":/", folder / "tool")
    same(listing(folder / "tool"), expected, "ptfs cp out")
    diff = subprocess.run(["diff", "-r", "--no-dereference", "-x", "fifo", str(tree),
                           str(folder / "tool")], capture_output=True, text=True, check=False)
    tap.equal((diff.returncode, diff.stdout), (0, ""), "diff -r agrees")


def sums(folder):
    """As sha256sum prints them, of all regular files below."""
    lines = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = f"./{path.relative_to(folder)}"
            lines[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return lines


GUEST = """cd /pmem
find . -type f -exec sha256sum {} +
echo made by dax64 >note && cp -r docs more && mv fs/namei.c moved && rm "$(readlink link)/alloc.c"
"""


def booted(folder, tree, image):
    guest = run(Config(dimms=[Dimm(str(image))], smp=2), GUEST, timeout=120)
    seen = {name: digest for digest, name in
            (line.split("  ", 1) for line in guest.output.replace("\r", "").splitlines())}
    tap.equal(guest.status, 0, "dax64 boots with the image that FUSE filled")
    same(seen.items(), sums(tree).items(), "and reads each file of it")
    with Mount(image, folder / "mnt") as mounted:
        tap.equal((mounted / "note").read_text(), "made by dax64\n", "what dax64 made is there")
        same(sums(mounted / "more").items(), sums(tree / "docs").items(), "and what it copied")
        tap.equal((mounted / "moved").read_bytes(), (tree / "fs" / "namei.c").read_bytes(),
                  "and what it moved")
        tap.ok(not (mounted / "fs" / "ptfs" / "alloc.c").exists(), "what it removed is not")
    sound(image, "fsck.ptfs is content after that")


def writing(machine):
    """Files that the running system has, by what it said after they were synced."""
    machine.expect("synced")
    lines = machine.unread
    end = time.time() + 1.5 * patience()
    while time.time() < end or lines.count(b"wrote") < 30:
        lines += machine.receive(time.time() + 20 * patience())
    return lines


def rest(machine):
    lines = b""
    try:
        while data := machine.receive(time.time() + 1):
            lines += data
    except GuestError:
        pass  # nothing came for a second
    return lines


RUNNING = """cp -r /bin/busybox /pmem/busybox; mkdir /pmem/d; echo kept >/pmem/d/kept
sha256sum /pmem/busybox; sync; echo synced
writeloop /pmem/w
"""


def backup(folder, image):
    run_tool("mkfs.ptfs", "-s", "96M", image)
    config = Config(dimms=[Dimm(str(image))], append="console=ttyS1 exec",
                    files={"run/exec.sh": (0o755, RUNNING.encode())})
    taken = folder / "backup.img"
    with Machine(config, "ptfs-fuse", 60) as machine:
        before = machine.expect(r"([0-9a-f]{64})  /pmem/busybox").group(1).decode()
        said = writing(machine)
        # The machine stands still while the copy is made. What the pipe holds was said before.
        machine.monitor("stop")
        said += rest(machine)
        subprocess.run(["cp", "--sparse=always", image, taken], check=True)
        machine.monitor("cont")
        machine.expect("wrote")
        machine.kill()
    probe = run_tool("fsck.ptfs", "-n", taken, check=False)
    tap.ok(probe.returncode == 0 and ": clean" not in probe.stdout, "the backup is unclean, and "
           "nothing is wrong with it", probe.stdout)
    with Mount(taken, folder / "mnt") as mounted:
        tap.equal(hashlib.sha256((mounted / "busybox").read_bytes()).hexdigest(), before,
                  "ptfs-fuse mounts the backup of a running system")
        tap.equal((mounted / "d" / "kept").read_text(), "kept\n", "with what was synced before")
        (mounted / "d" / "added").write_text("by FUSE\n")
    sound(taken, "recovered: fsck.ptfs is content")
    lines = said[:said.rfind(b"\n") + 1].replace(b"\r\n", b"\n")
    lines = lines[lines.find(b"wrote"):]
    config = Config(dimms=[Dimm(str(taken))], files={"run/lines": (0o644, lines)})
    guest = run(config, "writeloop -c /pmem/w </run/lines && cat /pmem/d/added")
    tap.ok(guest.status == 0 and guest.output.endswith("by FUSE\n"),
           f"all {lines.count(b'wrote')} writes that were said to be done are in the backup",
           guest.output + guest.log)


def usable():
    if not (BUILD / "bin" / "ptfs-fuse").exists():
        return "not built: run `tools/deps fuse`"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is not there, or may not be used"
    if not shutil.which("fusermount3"):
        return "fusermount3 is not there: run `tools/deps fuse`"
    return None


if why := usable():
    tap.skip("ptfs-fuse", why)
else:
    with tempfile.TemporaryDirectory(prefix="dax64-") as scratch:
        FOLDER = pathlib.Path(scratch)
        make_tree(FOLDER / "tree")
        tap.attempt("in and out", in_and_out, FOLDER, FOLDER / "tree", FOLDER / "pmem.img")
        tap.attempt("booted", booted, FOLDER, FOLDER / "tree", FOLDER / "pmem.img")
        tap.attempt("backup", backup, FOLDER, FOLDER / "running.img")
tap.done()
