#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bochs: the prompt is reached; on two CPUs the in-kernel tests pass, and the stress programs of
the mapping interface run for two minutes of the guest's time. Bochs faults where a flush goes to an
unmapped address and keeps global pages over a load of CR3, which QEMU forgives."""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import BUILD


def bochs(iso, until, cpus, seconds):
    """What the console said up to `until`."""
    done = subprocess.run(["tools/bochs", "--smp", str(cpus), "--until", until, "--timeout",
                           str(seconds), str(BUILD / iso)], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, env=os.environ | {"BUILD": str(BUILD)},
                          timeout=seconds + 30, check=False)
    text = done.stdout.decode("latin-1")
    if done.returncode:
        raise AssertionError(f"no {until!r} within {seconds} s:\n{text[-2000:]}")
    return text


def reaches_prompt():
    assert "pmem0" in bochs("bochs.iso", "~ # ", 1, 120), "no carved region"


def passes_ktests():
    console = bochs("bochs-ktest.iso", "# ktest: ", 2, 600)
    complete = tap.forward(console.splitlines(), "Bochs: ")
    assert complete, console[-2000:]


def survives_stress():
    console = bochs("bochs-stress.iso", "stress: done", 2, 1500)
    for program in ("vmstress", "ephstress"):
        assert f"{program} survived" in console, console[-3000:]
    for mechanism in ("attach_pte_page", "attach_direct", "attach_splits", "arena_maps"):
        count = int(re.search(rf"^{mechanism} +(\d+)", console, re.MULTILINE)[1])
        assert count > 100, f"{mechanism}: {count}"


tap.attempt("the shell's prompt", reaches_prompt)
tap.attempt("all in-kernel tests ran", passes_ktests)
tap.attempt("the stress programs ran", survives_stress)
tap.done()
