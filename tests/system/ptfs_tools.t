#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The host tools from outside: mkfs.ptfs, ptfs and fsck.ptfs as someone at a shell uses them. With
the packages of `tools/deps cross`, also built for s390x, a big-endian machine: there they make the
same image to the byte, and read what was made here."""

import fcntl
import filecmp
import os
import pathlib
import pty
import re
import shutil
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import BUILD

UUID = "01234567-89ab-4def-8123-456789abcdef"
FIXED = {"SOURCE_DATE_EPOCH": "1700000000"}


def tool(*words, arch=None, **options):
    where = [BUILD / "bin"] if not arch else [f"qemu-{arch}-static", BUILD / arch]
    command = [str(word) for word in where[:-1]] + [str(where[-1] / words[0])]
    return subprocess.run(command + [str(word) for word in words[1:]], env=os.environ | FIXED,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100,
                          check=False, **options)


def make_tree(tree):
    tree.mkdir()
    (tree / "dir" / "deep").mkdir(parents=True)
    (tree / "hello").write_text("hello\n")
    (tree / "dir" / "large").write_bytes(bytes(range(256)) * 20000)
    os.link(tree / "dir" / "large", tree / "dir" / "deep" / "again")
    (tree / "link").symlink_to("dir/deep")
    (tree / "longlink").symlink_to("x" * 300)
    os.mkfifo(tree / "fifo", 0o600)
    for number in range(200):
        (tree / "dir" / f"{number:03}").write_text("n" * number)
    with open(tree / "sparse", "wb") as file:
        file.seek(30 << 20)
        file.write(b"end")
    (tree / "script").write_text("#!/bin/sh\n")
    (tree / "script").chmod(0o4755)
    if os.geteuid() == 0:
        os.chown(tree / "hello", 1234, 5678)
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2, follow_symlinks=False)


def describe(tree):
    lines, links = [], {}
    for path in sorted(tree.rglob("*")):
        st = path.lstat()
        kind = stat.S_IFMT(st.st_mode)
        content = os.readlink(path) if stat.S_ISLNK(st.st_mode) else ""
        if stat.S_ISREG(st.st_mode):
            content = hash(path.read_bytes())
        first = links.setdefault(st.st_ino, path.name)
        lines.append((str(path.relative_to(tree)), kind, st.st_mode, st.st_uid, st.st_gid,
                      0 if stat.S_ISDIR(st.st_mode) else st.st_size, st.st_mtime_ns, content,
                      first))
    return lines


def mkfs(tree, image, *more, arch=None):
    return tool("mkfs.ptfs", "-s", "64M", "-U", UUID, "-L", "tools", "-d", tree, *more, image,
                arch=arch)


def round_trip(folder, tree, image):
    tap.equal(mkfs(tree, image).returncode, 0, "mkfs.ptfs fills an image")
    tap.equal(tool("ptfs", "cp", image, ":/", folder / "back").returncode, 0, "cp out")
    tap.equal(describe(folder / "back"), describe(tree), "what comes out is what went in")
    blocks = (folder / "back" / "sparse").stat().st_blocks
    tap.ok(blocks < 2000, "holes stay holes", blocks)
    tap.equal(tool("ptfs", "cp", image, tree / "dir", ":/copied").returncode, 0, "cp in")
    tool("ptfs", "cp", image, ":/copied", folder / "copied")
    tap.equal(describe(folder / "copied"), describe(tree / "dir"), "a tree copied in")
    tap.equal(tool("fsck.ptfs", "-fn", image).returncode, 0, "fsck.ptfs finds nothing")


def looking(image):
    text = tool("ptfs", "show", image, "/dir/large").stdout.decode()
    tap.ok("root of level" in text and "PTE" not in text and "blocks" in text, "show: text", text)
    text = tool("ptfs", "show", image, "/hello").stdout.decode()
    tap.ok("direct entries" in text, "show: direct entries", text)
    text = tool("ptfs", "show", image, "--dot", "/sparse").stdout.decode()
    tap.ok(text.startswith("digraph") and "hole" in text and "->" in text, "show: graph", text)
    if shutil.which("dot"):
        text = tool("ptfs", "show", image, "--svg", "/dir/large").stdout.decode()
        tap.ok("<svg" in text and "</svg>" in text, "show: picture", text[:500])
    else:
        tap.skip("show: picture", "graphviz is not installed")
    text = tool("ptfs", "ls", image, "-l", "-R", "/").stdout.decode()
    tap.ok("/dir/deep:" in text and "-rwsr-xr-x" in text, "ls -lR", text)
    text = tool("ptfs", "tree", image).stdout.decode()
    tap.ok("  deep/\n    again\n" in text, "tree", text)
    tap.ok("free" in tool("ptfs", "df", image).stdout.decode(), "df")


FOREIGN = [(0x438, b"\x53\xef", "ext4"), (0, b"XFSB", "XFS"), (0x10040, b"_BHRfS_M", "Btrfs"),
           (0xFF6, b"SWAPSPACE2", "swap"), (0x8001, b"CD001", "ISO 9660"),
           (0, b"LUKS\xba\xbe", "LUKS"), (0x200, b"EFI PART", "GPT"), (0x1FE, b"\x55\xaa", "FAT"),
           (0x400, b"\x10\x20\xf5\xf2", "F2FS"), (3, b"NTFS    ", "NTFS"), (0, b"hsqs", "squashfs"),
           (100000, b"x", "unknown")]


def foreign_for_real(folder, tree):
    """What the makers of other file systems leave, where they are installed."""
    for words, name in [(["mkfs.ext4", "-q"], "ext4"), (["mkswap"], "swap"),
                        (["mkfs.xfs", "-q"], "XFS"), (["mkfs.vfat"], "FAT"),
                        (["mkfs.btrfs", "-q"], "Btrfs")]:
        path = folder / f"foreign-{name}"
        with open(path, "wb") as file:
            file.truncate(320 << 20)
        maker = shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if not maker:
            continue
        subprocess.run([maker, *words[1:], path], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        done = mkfs(tree, path)
        tap.ok(done.returncode == 1 and name in done.stdout.decode(),
               f"keeps what {words[0]} made", done.stdout)
        path.unlink()


def refusals(folder, tree, image):
    tap.equal(mkfs(tree, image).returncode, 1, "mkfs.ptfs keeps an image that is there")
    tap.equal(mkfs(tree, image, "-f").returncode, 0, "-f: it does not")
    other = folder / "other"
    other.write_bytes(b"precious" * 10000)
    tap.equal(mkfs(tree, other).returncode, 1, "and data that is not ptfs")
    with open(other, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        busy = tool("mkfs.ptfs", "-s", "64M", other)
    tap.ok(busy.returncode == 1 and b"in use" in busy.stdout, "and a file that is in use",
           busy.stdout)
    tap.equal(other.read_bytes(), b"precious" * 10000, "which stays as it was")
    for offset, magic, name in FOREIGN:
        with open(other, "wb") as file:
            file.truncate(1 << 20)
            file.seek(offset)
            file.write(magic)
        done = mkfs(tree, other)
        tap.ok(done.returncode == 1 and name in done.stdout.decode(), f"keeps {name}", done.stdout)
    with open(other, "wb") as file:
        file.truncate(1 << 20)
    tap.equal(mkfs(tree, other).returncode, 0, "a file of zeros is nobody's")
    foreign_for_real(folder, tree)
    tap.equal(tool("mkfs.ptfs", "-U", "12", other).returncode, 2, "a UUID has 32 digits")
    tap.equal(tool("mkfs.ptfs", "-s", "12Q", other).returncode, 2, "sizes have known suffixes")
    # These made an image of 1 GiB, and 65 files of which the last was forgotten.
    tap.equal(tool("mkfs.ptfs", "-s", "17179869185G", other).returncode, 2, "and fit 64 bits")
    many = [word for n in range(65) for word in ("--fallocate", f"/{n}:4K")]
    tap.equal(tool("mkfs.ptfs", "-f", *many, other).returncode, 2, "at most 64 --fallocate")
    tap.equal(tool("fsck.ptfs", tree / "dir" / "large").returncode, 8, "fsck: not a ptfs: 8")
    tap.equal(tool("fsck.ptfs").returncode, 16, "fsck: usage: 16")


def statuses(image):
    tool("ptfs", "unclean", image)
    tap.equal(tool("fsck.ptfs", "-p", image).returncode, 0, "fsck: recovery alone: 0")
    with open(image, "r+b") as file:
        file.write(b"\0" * 512)
    tap.equal(tool("fsck.ptfs", "-n", image).returncode, 4, "fsck -n: errors are left: 4")
    tap.equal(tool("fsck.ptfs", image, stdin=subprocess.DEVNULL).returncode, 4, "nobody says yes")
    tap.equal(tool("fsck.ptfs", "-p", image).returncode, 1, "fsck -p: repaired without loss: 1")
    tap.equal(tool("fsck.ptfs", "-y", image).returncode, 0, "and again: 0")
    tool("ptfs", "poke", image, "/dir/large", 1030, 1, "address=0x200000")
    tap.equal(tool("fsck.ptfs", "-fp", image).returncode, 4, "fsck -p does not lose a block")
    tap.equal(tool("fsck.ptfs", "-fy", image).returncode, 1, "fsck -y does")
    tap.equal(tool("fsck.ptfs", "-fn", image).returncode, 0, "and then nothing is left")


def on_terminal(*words, answer=None):
    """Runs a tool on a terminal of its own: (status, what it showed)."""
    child, terminal = pty.fork()
    if not child:
        os.environ.update(FIXED)
        os.execv(BUILD / "bin" / words[0], [str(word) for word in words])
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the other side has ended
            break
        if not data:
            break
        shown += data
        if answer and b"[y/N]" in shown:
            os.write(terminal, answer)
            answer = None
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def terminal_of(image):
    quiet = tool("fsck.ptfs", "-fn", image)
    tap.ok(b"[" not in quiet.stdout, "fsck: no progress bar in a file", quiet.stdout)
    status, shown = on_terminal("fsck.ptfs", "-fn", image)
    bars = re.findall(r"\r(\d)/6 ([\w-]+) +\[([# ]{40})\]", shown)
    tap.equal(status, 0, "fsck on a terminal: 0")
    tap.ok({number for number, *_ in bars} >= set("1235"), "a progress bar for each pass", shown)
    tap.ok(any(bar == "#" * 40 for *_, bar in bars), "that comes to its end", shown)
    last = shown.splitlines()[-1]
    tap.ok("errors" in last and "[" not in last.split("\r")[-1], "and goes away", repr(last))
    tool("ptfs", "poke", image, "/dir/large", 1031, 1, "address=0x200000")
    tap.equal(on_terminal("fsck.ptfs", "-f", image, answer=b"n\n")[0], 4, "asked, answered no: 4")
    tap.equal(on_terminal("fsck.ptfs", "-f", image, answer=b"\x03")[0], 32, "cancelled: 32")
    tap.equal(on_terminal("fsck.ptfs", "-f", image, answer=b"y\n")[0], 1, "asked, answered yes: 1")
    tap.equal(on_terminal("fsck.ptfs", "-f", image)[0], 0, "and nothing is left: 0")


def big_endian(folder, tree):
    if not shutil.which("qemu-s390x-static") or not (BUILD / "s390x" / "mkfs.ptfs").exists():
        tap.skip("s390x", "run `tools/deps cross`")
        return
    here, there = folder / "here.img", folder / "there.img"
    mkfs(tree, here, "-f")
    made = mkfs(tree, there, "-f", arch="s390x")
    tap.equal(made.returncode, 0, "s390x: mkfs.ptfs")
    tap.ok(filecmp.cmp(here, there, shallow=False), "s390x: the same image to the byte",
           made.stdout)
    for image, arch in [(here, None), (there, "s390x")]:
        tool("ptfs", "cp", image, tree / "dir", ":/more", arch=arch)
        tool("ptfs", "truncate", image, "/dir/large", "3000000", arch=arch)
        tool("ptfs", "rm", image, "/hello", arch=arch)
        tool("ptfs", "fallocate", image, "/huge", "8M", arch=arch)
    tap.ok(filecmp.cmp(here, there, shallow=False), "s390x: and after the same changes")
    tool("ptfs", "cp", here, ":/more", folder / "more", arch="s390x")
    tap.equal(describe(folder / "more"), describe(tree / "dir"), "s390x: reads what was made here")
    for image, arch in [(here, None), (there, "s390x")]:
        tool("ptfs", "poke", image, "/more/large", 1030, 1, "address=0x200000", arch=arch)
        with open(image, "r+b") as file:
            file.write(b"\0" * 8)
        tap.equal(tool("fsck.ptfs", "-y", image, arch=arch).returncode, 1, f"{arch}: repaired")
    tap.ok(filecmp.cmp(here, there, shallow=False), "s390x: the same repair")


with tempfile.TemporaryDirectory(prefix="dax64-") as scratch:
    FOLDER = pathlib.Path(scratch)
    TREE, IMAGE = FOLDER / "tree", FOLDER / "pmem.img"
    make_tree(TREE)
    tap.attempt("round trip", round_trip, FOLDER, TREE, IMAGE)
    tap.attempt("looking", looking, IMAGE)
    tap.attempt("refusals", refusals, FOLDER, TREE, IMAGE)
    tap.attempt("exit statuses", statuses, IMAGE)
    tap.attempt("on a terminal", terminal_of, IMAGE)
    tap.attempt("s390x", big_endian, FOLDER, TREE)
tap.done()
