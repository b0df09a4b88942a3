#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each mistake of tests/lib/ways.py and mistakes.py is made in a copy of the tree, and its test
must notice.

ONLY=TEXT tries those whose description contains TEXT.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lib import adversary, cpio, guest, tap
from lib.images import make_image
from lib.machine import BUILD, Config, Dimm, GuestError, Machine
from lib.mistakes import COPIES, DIRTY, FLUSHES, RULES
from lib.ways import PROMISES, WAYS

PASSED = 33  # QEMU's status after isa-debug-exit with 0x10
SECONDS = 40
LEFT_OUT = ("build", ".git")


def copy_tree(tree):
    """With times: only what is changed will be compiled again."""
    shutil.copytree(ROOT, tree, ignore=lambda folder, names: [
        n for n in names if folder == str(ROOT) and n in LEFT_OUT])
    (tree / "build").mkdir()
    for part in ("k-debug", "dax64-debug.elf", "initrd.cpio"):
        source, to = ROOT / "build" / part, tree / "build" / part
        if source.is_dir():
            shutil.copytree(source, to)
        else:
            shutil.copy2(source, to)


def make(tree, target):
    done = subprocess.run(["make", "-C", tree, "DEPS=no", f"build/{target}"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, f"make {target}:\n{done.stdout[-2000:]}"


def ktest_passes(kernel, glob, cpus):
    config = Config(kernel=kernel, smp=cpus, dimms=[Dimm()], append=f"testexit ktest={glob}")
    with Machine(config, "mistake", timeout=SECONDS) as machine:
        status = machine.wait()
        return status == PASSED and b"ktest: 0 passed" not in machine.console


def abi_passes(kernel, program, cpus):
    files = {f"put/{program}": cpio.host_file(BUILD / "abi" / program)}
    with make_image("64M") as image:
        config = Config(kernel=kernel, smp=cpus, files=files, dimms=[Dimm(image)])
        return guest.run(config, f"TMPDIR=/pmem /put/{program}", timeout=SECONDS).status == 0


def tlb_passes(kernel, program, cpus):
    folders = "" if program == "threadstress" else "/pmem/a"
    report = adversary.run(program, folders, cpus, seconds=5, first=True, kernel=kernel)
    return not report.alarms


def succeeds(program, **environment):
    return subprocess.run([program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          timeout=3 * SECONDS, check=False,
                          env=os.environ | environment).returncode == 0


def passes(tree, test, cpus):
    kind, name = test.split()
    if kind == "host":
        make(tree, f"host/{name}")
        return succeeds(tree / "build" / "host" / name)
    make(tree, "dax64-debug.elf")
    kernel = str(tree / "build" / "dax64-debug.elf")
    if kind == "system":
        return succeeds(ROOT / "tests" / "system" / name, DAX64_KERNEL=kernel)
    if kind == "tlb":
        return tlb_passes(kernel, name, cpus)
    try:
        return (ktest_passes if kind == "ktest" else abi_passes)(kernel, name, cpus)
    except GuestError:
        return False  # it hangs, or has panicked


def must_notice(tree, mistake):
    file = tree / mistake.file
    text, times = file.read_text(), file.stat()
    assert text.count(mistake.was) == 1, f"{mistake.file}: {mistake.was!r} is not there once"
    file.write_text(text.replace(mistake.was, mistake.becomes))
    try:
        assert not passes(tree, mistake.test, mistake.cpus), "it passes all the same"
    finally:
        file.write_text(text)  # newer than the object made from the mistake


def main():
    own = [m for way in WAYS + PROMISES for m in way.own]
    chosen = [m for m in own + DIRTY + RULES + COPIES + FLUSHES
              if os.environ.get("ONLY", "") in m.what]
    with tempfile.TemporaryDirectory(prefix="dax64-") as folder:
        tree = pathlib.Path(folder) / "tree"
        copy_tree(tree)
        for test, cpus in sorted({(m.test, m.cpus) for m in chosen}):
            tap.ok(passes(tree, test, cpus), f"{test}, {cpus} CPUs: passes as it is")
        for mistake in chosen:
            tap.attempt(f"{mistake.what}: {mistake.test} notices", must_notice, tree, mistake)
    tap.done()


main()
