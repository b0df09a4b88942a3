#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The host tools on a machine that is unlike the one that the format comes from: s390x is
big-endian, and qemu-user stands in for it. An image that dax64 filled, and one that it was writing
when the power went, are read there with the same words as here; and the same changes, the same
recovery and the same repair give the same image to the byte. Needs the packages of `tools/deps
cross`.

tests/system/ptfs_tools.t does the same with images that mkfs.ptfs made."""

import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.guest import run
from lib.images import run_tool
from lib.machine import BUILD, Config, Dimm, Machine, patience

FIXED = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
HERE, THERE = "here", "there"
TOOLS = {HERE: [BUILD / "bin"], THERE: ["qemu-s390x-static", BUILD / "s390x"]}

# Trees of every height, huge leaves, holes, long names, types of files, and what was taken away.
FILL = """cd /pmem
cp -r /bin /etc . ; cp bin/busybox large
truncate -s 3G tall; echo top | dd of=tall bs=1M seek=2500 conv=notrunc 2>/dev/null
long=file-with-a-name-that-takes-two-units-of-64-bytes-each
fallocate -l 6M huge; echo in | dd of=huge bs=1M seek=3 conv=notrunc 2>/dev/null
mkdir -p d/e/f; for i in $(seq 300); do echo $i >d/$long-$i; done
ln large d/hard; ln -s d/e soft; ln -s /$(printf %0300d 7) long; mkfifo fifo; chmod 4711 large
for i in $(seq 1 3 300); do rm d/$long-$i; done
mv d/e/f moved; truncate -s 100000 d/hard; sync
"""


def tool(where, *words):
    *before, folder = TOOLS[where]
    command = [*map(str, before), str(folder / words[0]), *map(str, words[1:])]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=FIXED,
                          timeout=100 * patience(), check=False)


def both(images, *words):
    """The same command on each image: (statuses, outputs with the image's name taken out)."""
    done = {where: tool(where, *[image if word == "IMAGE" else word for word in words])
            for where, image in images.items()}
    return ([done[where].returncode for where in images],
            [done[where].stdout.replace(str(image).encode(), b"IMAGE")
             for where, image in images.items()])


def copies(folder, image):
    result = {where: folder / f"{where}.img" for where in TOOLS}
    for path in result.values():
        subprocess.run(["cp", "--sparse=always", image, path], check=True)
    return result


def same_images(images, name):
    tap.ok(filecmp.cmp(images[HERE], images[THERE], shallow=False), name)


def reads(folder, image):
    images = copies(folder, image)
    for words in (["ptfs", "ls", "IMAGE", "-l", "-R", "/"], ["ptfs", "tree", "IMAGE"],
                  ["ptfs", "df", "IMAGE"], ["ptfs", "stat", "IMAGE", "/large"],
                  ["ptfs", "show", "IMAGE", "/tall"], ["ptfs", "show", "IMAGE", "/huge"],
                  ["ptfs", "cat", "IMAGE", "/bin/busybox"], ["ptfs", "check", "IMAGE"],
                  ["fsck.ptfs", "-fnv", "IMAGE"]):
        status, output = both(images, *words)
        tap.ok(status == [0, 0] and output[0] == output[1], f"{' '.join(words)}: the same",
               f"{status}\n{output[0][-500:]!r}\n{output[1][-500:]!r}")
    out = {where: folder / f"{where}.out" for where in TOOLS}
    for where, path in out.items():
        path.mkdir()
        tool(where, "ptfs", "cp", images[where], ":/bin", ":/etc", ":/d", ":/huge", path)
    diff = subprocess.run(["diff", "-r", out[HERE], out[THERE]], check=False, capture_output=True)
    tap.equal((diff.returncode, diff.stdout), (0, b""), "ptfs cp out: the same files")
    tap.ok((out[THERE] / "d" / "hard").stat().st_size == 100000, "and they are there")
    for path in images.values():
        tap.ok(filecmp.cmp(path, image, shallow=False), "looking changes nothing")


def writes(folder, image, kind):
    images = copies(folder, image)
    tree = pathlib.Path("docs")
    for words in (["ptfs", "cp", "IMAGE", tree, ":/docs"], ["ptfs", "mkdir", "IMAGE", "/new"],
                  ["ptfs", "truncate", "IMAGE", "/bin/busybox", "70001"],
                  ["ptfs", "fallocate", "IMAGE", "/more", "5M"],
                  ["fsck.ptfs", "-fy", "IMAGE"]):
        status, output = both(images, *words)
        tap.ok(status == [0, 0] and output[0] == output[1], f"{kind}: {words[0]} {words[1]}",
               f"{status}\n{output[0]!r}\n{output[1]!r}")
    same_images(images, f"{kind}: the same image after the same changes")
    for where, path in images.items():
        with open(path, "r+b") as file:
            file.write(b"\0" * 8)
        tool(where, "ptfs", "poke", path, "/bin/busybox", "3", "1", "address=0x200000")
    status, output = both(images, "fsck.ptfs", "-fy", "IMAGE")
    tap.ok(status == [1, 1] and output[0] == output[1], f"{kind}: the same repair",
           f"{status}\n{output[0]!r}\n{output[1]!r}")
    same_images(images, f"{kind}: the same image after it")
    return images[THERE]


def filled(folder):
    image = folder / "filled.img"
    run_tool("mkfs.ptfs", "-s", "96M", image)
    guest = run(Config(dimms=[Dimm(str(image))], smp=2), FILL, timeout=120)
    tap.equal(guest.status, 0, "dax64 fills an image")
    reads(folder, image)
    changed = writes(folder, image, "clean")
    guest = run(Config(dimms=[Dimm(str(changed), addr="0x143e00000")]),
                "cat /pmem/docs/ptfs-format.md && echo x >/pmem/after")
    tap.equal(guest.output.replace("\r", ""), pathlib.Path("docs/ptfs-format.md").read_text(
        encoding="latin-1"), "dax64 mounts what s390x wrote and repaired, at another address")


def cut(folder):
    image = folder / "cut.img"
    run_tool("mkfs.ptfs", "-s", "96M", image)
    config = Config(dimms=[Dimm(str(image))], append="console=ttyS1 exec",
                    files={"run/exec.sh": (0o755, b"cp -r /bin /pmem; writeloop /pmem/w\n")})
    with Machine(config, "s390x", 60) as machine:
        machine.expect("wrote 20 ")
        time.sleep(0.5)
        machine.kill()
    writes(folder, image, "after a power cut")


if not shutil.which("qemu-s390x-static") or not (BUILD / "s390x" / "mkfs.ptfs").exists():
    tap.skip("s390x", "run `tools/deps cross`")
else:
    with tempfile.TemporaryDirectory(prefix="dax64-") as scratch:
        FOLDER = pathlib.Path(scratch)
        tap.attempt("an image that dax64 filled", filled, FOLDER)
        tap.attempt("an image that dax64 was writing", cut, FOLDER)
tap.done()
