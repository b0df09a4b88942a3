# SPDX-License-Identifier: MIT
"""Power cuts: SIGKILL to QEMU in the middle of a write loop, then: what had been said must hold."""

import pathlib
import random
import subprocess
import time

from lib.guest import run
from lib.images import check_image, run_tool
from lib.machine import Config, Dimm, GuestError, Machine

IMAGE_SIZE = "96M"
MIN_LINES = 40  # less than that is no test


def write_until_cut(path, seconds, smp):
    """Runs writeloop and kills the machine after `seconds` of writing: the lines it printed."""
    config = Config(dimms=[Dimm(str(path))], smp=smp, append="console=ttyS1 exec")
    config.files["run/exec.sh"] = (0o755, b"writeloop /pmem/w\n")
    lines = bytearray()
    with Machine(config, "powercut", 60) as machine:
        machine.expect("wrote 0")
        lines += b"wrote 0" + machine.unread
        end = time.time() + seconds
        while time.time() < end or lines.count(b"\n") < MIN_LINES:
            lines += machine.receive(time.time() + 20)
        machine.kill()
        # What the pipe still holds was printed, so it counts.
        while data := machine.receive(time.time() + 5):
            lines += data
    return bytes(lines).replace(b"\r\n", b"\n")


def check(path, lines):
    """Boots again and compares. Raises GuestError with what is wrong."""
    config = Config(dimms=[Dimm(str(path))])
    config.files["run/lines"] = (0o644, lines)
    guest = run(config, "writeloop -c /pmem/w </run/lines && echo after >/pmem/after && "
                        "cat /pmem/after")
    if guest.status != 0 or not guest.output.endswith("after\n"):
        raise GuestError(f"files are not as they were said to be:\n{guest.output}\n{guest.log}")
    if "scan" not in guest.log:
        raise GuestError(f"the image was taken as clean after a power cut:\n{guest.log}")


def sound(path):
    if wrong := check_image(path):
        raise GuestError(f"ptfs check: {wrong}")


def one_round(folder, number):
    """One power cut. Checked on a copy first, before the kernel's own recovery has touched it."""
    path = pathlib.Path(folder) / f"round{number}.img"
    run_tool("mkfs.ptfs", "-s", IMAGE_SIZE, path)
    seconds = random.Random(number).uniform(0.3, 2.5)
    lines = write_until_cut(path, seconds, smp=1 + number % 2)
    copy = path.with_suffix(".copy")
    subprocess.run(["cp", "--sparse=always", path, copy], check=True)
    sound(copy)
    copy.unlink()
    check(path, lines)
    sound(path)
    path.unlink()
