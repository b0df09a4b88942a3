#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A hundred rounds of one image at ever other addresses, with SIGKILL of QEMU at random moments:
while it boots and mounts, while entries are rewritten, while files are written. What had been said
before is the model."""

import os
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import reloc, tap
from lib.images import run_tool
from lib.machine import GuestError, Machine

ROUNDS = int(os.environ.get("ROUNDS", "100"))
KEEP = 2  # writers' directories that stay and are compared, besides the present one
MIN_LINES = 20


class History:
    """The image, and for each directory the lines that its writer had printed."""

    def __init__(self, path, seed):
        self.path, self.random, self.lines = path, random.Random(seed), {}

    def script(self, number):
        checks = "".join(f"writeloop -c /pmem/r{n} </run/lines{n} || exit 1\n"
                         for n in self.lines)
        old = " ".join(f"/pmem/r{n}" for n in range(number) if n not in self.lines)
        return f"{checks}echo compared\nrm -rf {old} /pmem/none\nwriteloop /pmem/r{number}\n"

    def config(self, number):
        config = reloc.config(self.path, self.random.randrange(len(reloc.PLACES)),
                              smp=1 + number % 2, append="console=ttyS1 exec")
        config.files["run/exec.sh"] = (0o755, self.script(number).encode())
        for n, lines in self.lines.items():
            config.files[f"run/lines{n}"] = (0o644, lines)
        return config


def cut_early(machine, seconds):
    """Somewhere between power-on and the first writes."""
    try:
        end = time.time() + seconds
        while machine.receive(end):
            pass
    except GuestError:
        pass
    machine.kill()


def cut_writing(machine, seconds):
    """In the middle of a write loop: its lines."""
    machine.expect("compared\r?\n")
    machine.expect("wrote 0")
    lines = bytearray(b"wrote 0" + machine.unread)
    end = time.time() + seconds
    while time.time() < end or lines.count(b"\n") < MIN_LINES:
        if not (data := machine.receive(time.time() + 30)):
            raise GuestError("the machine ended by itself")
        lines += data
    machine.kill()
    while data := machine.receive(time.time() + 5):
        lines += data
    return bytes(lines).replace(b"\r\n", b"\n")


def one_round(history, number):
    early = number % 4 == 3
    seconds = history.random.uniform(0.2, 3 if early else 1.5)
    with Machine(history.config(number), "reloc", 120) as machine:
        if early:
            cut_early(machine, seconds)
        else:
            history.lines[number] = cut_writing(machine, seconds)
        log = machine.log()
    if "refused" in log or "panic" in log:
        raise GuestError(f"the log of round {number}:\n{log}")
    while len(history.lines) > KEEP:
        del history.lines[min(history.lines)]
    reloc.sound(history.path)


def main():
    seed = int(os.environ.get("SEED", time.time()))
    tap.diag(f"SEED={seed}")
    with tempfile.TemporaryDirectory(prefix="dax64-") as folder:
        path = pathlib.Path(folder, "pmem.img")
        run_tool("mkfs.ptfs", "-s", "256M", path)
        history = History(path, seed)
        for number in range(ROUNDS):
            if not tap.attempt(f"round {number}", one_round, history, number):
                break
    tap.done()


main()
