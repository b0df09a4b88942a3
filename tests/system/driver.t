#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The machinery itself: a guest that hangs is a failure with the console and the CPUs' state kept,
nothing keeps running, and an image is never used by two machines."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import BUILD, Config, Dimm, GuestError, Machine, lock_images


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def hang_is_noticed():
    (BUILD / "artifacts" / "hang.log").unlink(missing_ok=True)
    try:
        with Machine(Config(extra=["-S"]), "hang", timeout=2) as machine:
            machine.expect("what the guest never says")
    except GuestError as error:
        assert "it ends with" in str(error), error
    else:
        raise AssertionError("no error")
    assert not is_alive(machine.process.pid), "QEMU still runs"
    assert not machine.scratch.exists(), "its files are still there"
    kept = (BUILD / "artifacts" / "hang.log").read_text(encoding="utf-8")
    assert "CR3=" in kept, kept


def end_is_noticed():
    with Machine(Config(), "end", timeout=20) as machine:
        machine.expect("dax64")
        machine.kill()
        try:
            machine.expect("what the guest never says")
        except GuestError as error:
            assert "ended" in str(error), error


def image_is_locked(path):
    held = lock_images([Dimm(path)])
    try:
        with Machine(Config(dimms=[Dimm(path)]), "locked"):
            raise AssertionError("it started")
    except GuestError as error:
        assert "in use" in str(error), error
    for file in held:
        file.close()
    with Machine(Config(dimms=[Dimm(path)]), "unlocked"):
        pass


image = BUILD / "driver-test.img"
image.write_bytes(bytes(1 << 20))
tap.attempt("a hang", hang_is_noticed)
tap.attempt("an unexpected end", end_is_noticed)
tap.attempt("an image in use", image_is_locked, str(image))
image.unlink()
tap.done()
